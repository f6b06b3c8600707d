// OBS's output as raw pictures, each with the moment at which it arrived: what a stream's encoder would be given.
import net from 'node:net';
import { unixNow } from './timecode.mjs';

/**
 * Listens for OBS's "custom output (FFmpeg)" in format rawvideo (NV12: luma first). Give `port` to
 * `Obs.start({ rawOutput })`, then let OBS record. `onPicture({ at, width, height, data })` gets each
 * picture's luma and the Unix ms at which its last byte came.
 */
export async function rawOutput([width, height], onPicture) {
  const size = (width * height * 3) / 2;
  const server = net.createServer(connection => {
    let parts = [];
    let held = 0;
    connection.on('error', () => {});
    connection.on('data', data => {
      const at = unixNow();
      parts.push(data);
      held += data.length;
      if (held < size) return;
      const all = Buffer.concat(parts);
      let start = 0;
      for (; all.length - start >= size; start += size) onPicture({ at, width, height, data: all.subarray(start, start + width * height) });
      parts = [all.subarray(start)];
      held = all.length - start;
    });
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, close: () => server.close() };
}
