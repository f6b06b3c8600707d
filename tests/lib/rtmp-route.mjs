// What a user would do without us: a picture sent by ffmpeg to an RTMP server, which OBS plays as a media source.
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { privateFolder } from './places.mjs';
import { freePort } from './ports.mjs';
import { Program } from './process.mjs';
import { CODE_AREA, COLUMNS, ROWS, crc8, encodeTime, unixNow } from './timecode.mjs';
import { until } from './wait.mjs';

/** A running server and sender; `url` is what OBS is to play. Close with `stop`. */
export class RtmpRoute {
  /** Debian's nginx-rtmp, and a picture with the time in it, encoded as for a live stream. */
  static async start({ width, height, fps }) {
    const port = await freePort();
    const server = new Program({ name: 'nginx-rtmp', command: 'nginx', args: ['-c', configure(port)] });
    await until('nginx listens', () => connects(port), { every: 50 });
    const url = `rtmp://127.0.0.1:${port}/live/picture`;
    const input = ['-f', 'rawvideo', '-pix_fmt', 'gray', '-video_size', `${width}x${height}`, '-framerate', `${fps}`, '-i', '-'];
    const encoder = ['-c:v', 'libx264', '-preset', 'veryfast', '-tune', 'zerolatency', '-g', `${2 * fps}`, '-pix_fmt', 'yuv420p'];
    const sender = new Program({
      name: 'rtmp-sender',
      command: 'ffmpeg',
      args: ['-loglevel', 'warning', '-probesize', '32', '-fflags', 'nobuffer', ...input, ...encoder, '-f', 'flv', url],
      input: true,
    });
    // It ends when its server does: what it cannot write then is nobody's loss.
    sender.child.stdin.on('error', () => {});
    return new RtmpRoute(server, sender, url, { width, height, fps });
  }

  constructor(server, sender, url, picture) {
    Object.assign(this, { server, sender, url });
    const frame = 1000 / picture.fps;
    let next = unixNow();
    const tick = () => {
      // A sender that is behind takes no more.
      if (sender.child.stdin.writableLength === 0) sender.child.stdin.write(draw(picture, unixNow()));
      next += frame;
      this.timer = setTimeout(tick, Math.max(0, next - unixNow()));
    };
    tick();
  }

  async stop() {
    clearTimeout(this.timer);
    this.sender.child.stdin.end();
    await this.sender.stop('SIGINT');
    await this.server.stop('SIGTERM');
  }
}

/** The guest's picture as camera.mjs draws it, without its colours. */
function draw({ width, height }, at) {
  const picture = Buffer.alloc(width * height, 110);
  const value = encodeTime(at);
  const crc = crc8(value);
  const [left, top, right, bottom] = CODE_AREA;
  const column = n => Math.round((left + (n * (right - left)) / COLUMNS) * width);
  const line = n => Math.round((top + (n * (bottom - top)) / ROWS) * height);
  for (let bit = 0; bit < COLUMNS * ROWS; bit += 1) {
    const one = bit < 32 ? (value >>> (31 - bit)) & 1 : (crc >>> (39 - bit)) & 1;
    const [x, y] = [bit % COLUMNS, Math.floor(bit / COLUMNS)];
    for (let row = line(y); row < line(y + 1); row += 1) picture.fill(one ? 255 : 0, row * width + column(x), row * width + column(x + 1));
  }
  return picture;
}

function configure(port) {
  const folder = privateFolder('nginx');
  const file = path.join(folder, 'nginx.conf');
  const text = `
    daemon off;
    worker_processes 1;
    pid ${folder}/nginx.pid;
    error_log stderr warn;
    load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
    events { worker_connections 64; }
    rtmp { server { listen 127.0.0.1:${port}; application live { live on; } } }
  `;
  fs.writeFileSync(file, text);
  return file;
}

function connects(port) {
  return new Promise(resolve => {
    const socket = net.connect(port, '127.0.0.1', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
