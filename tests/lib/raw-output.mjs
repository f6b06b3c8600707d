// OBS's output as raw pictures, each with the moment at which it arrived: what a stream's encoder would be given.
import net from 'node:net';
import { unixNow } from './timecode.mjs';

/**
 * Listens for OBS's "custom output (FFmpeg)" in format rawvideo (NV12: luma first). Give `port` to
 * `Obs.start({ rawOutput })`, then let OBS record. `onPicture({ at, width, height, data })` gets each
 * picture's luma and the Unix ms at which the last byte of it came. The chroma is not waited for: FFmpeg keeps up to
 * 32 kB at the end of a picture back until it writes the next.
 */
export async function rawOutput([width, height], onPicture) {
  const luma = width * height;
  const size = (luma * 3) / 2;
  const server = net.createServer(connection => {
    const picture = Buffer.alloc(size);
    let filled = 0;
    connection.on('error', () => {});
    connection.on('data', data => {
      const at = unixNow();
      while (data.length > 0) {
        const taken = data.copy(picture, filled);
        if (filled < luma && filled + taken >= luma) onPicture({ at, width, height, data: picture.subarray(0, luma) });
        filled = (filled + taken) % size;
        data = data.subarray(taken);
      }
    });
  });
  await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
  return { port: server.address().port, close: () => server.close() };
}
