// Pictures as OBS and browsers hand them out: PNG (8-bit RGB, RGBA, grey) and PPM to plain RGBA.
import zlib from 'node:zlib';

/** @typedef {{width: number, height: number, data: Uint8Array}} Picture  RGBA, 4 bytes a pixel */

/** @returns {Picture} */
export function decodePng(bytes) {
  if (bytes.readUInt32BE(0) !== 0x89504e47) throw new Error('not a PNG');
  const width = bytes.readUInt32BE(16);
  const height = bytes.readUInt32BE(20);
  const depth = bytes[24];
  const channels = { 0: 1, 2: 3, 4: 2, 6: 4 }[bytes[25]];
  if (depth !== 8 || !channels || bytes[28] !== 0) throw new Error(`PNG of depth ${depth}, type ${bytes[25]}: not read here`);
  const parts = [];
  for (let at = 8; at < bytes.length; ) {
    const length = bytes.readUInt32BE(at);
    const type = bytes.toString('latin1', at + 4, at + 8);
    if (type === 'IDAT') parts.push(bytes.subarray(at + 8, at + 8 + length));
    at += length + 12;
  }
  const raw = unfilter(zlib.inflateSync(Buffer.concat(parts)), width * channels, height, channels);
  return { width, height, data: toRgba(raw, width * height, channels) };
}

/** PNG specification, §9: each line names its predictor. */
function unfilter(lines, stride, height, step) {
  const out = new Uint8Array(stride * height);
  for (let y = 0; y < height; y += 1) {
    const filter = lines[y * (stride + 1)];
    const line = lines.subarray(y * (stride + 1) + 1, (y + 1) * (stride + 1));
    const at = y * stride;
    for (let x = 0; x < stride; x += 1) {
      const left = x >= step ? out[at + x - step] : 0;
      const above = y > 0 ? out[at + x - stride] : 0;
      const corner = x >= step && y > 0 ? out[at + x - stride - step] : 0;
      out[at + x] = line[x] + predicted(filter, left, above, corner);
    }
  }
  return out;
}

function predicted(filter, left, above, corner) {
  if (filter === 0) return 0;
  if (filter === 1) return left;
  if (filter === 2) return above;
  if (filter === 3) return (left + above) >> 1;
  const p = left + above - corner;
  const [a, b, c] = [Math.abs(p - left), Math.abs(p - above), Math.abs(p - corner)];
  return a <= b && a <= c ? left : b <= c ? above : corner;
}

function toRgba(raw, pixels, channels) {
  if (channels === 4) return raw;
  const out = new Uint8Array(pixels * 4);
  for (let i = 0; i < pixels; i += 1) {
    const [r, g, b, a] =
      channels === 3 ? [raw[i * 3], raw[i * 3 + 1], raw[i * 3 + 2], 255] : [raw[i * channels], raw[i * channels], raw[i * channels], channels === 2 ? raw[i * 2 + 1] : 255];
    out.set([r, g, b, a], i * 4);
  }
  return out;
}

/** Binary PPM (P6, 255): no compression, so the quickest to get from OBS. @returns {Picture} */
export function decodePpm(bytes) {
  const header = /^P6\s+(?:#[^\n]*\n)*(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString('latin1', 0, 100));
  if (!header) throw new Error('not a PPM');
  const [width, height] = [Number(header[1]), Number(header[2])];
  return { width, height, data: toRgba(bytes.subarray(header[0].length), width * height, 3) };
}

/** Mean colour and alpha of a rectangle given in fractions of the picture. */
export function meanColour({ width, height, data }, [left, top, right, bottom] = [0, 0, 1, 1]) {
  const sum = [0, 0, 0, 0];
  let count = 0;
  for (let y = Math.floor(top * height); y < Math.ceil(bottom * height); y += 1) {
    for (let x = Math.floor(left * width); x < Math.ceil(right * width); x += 1) {
      for (let c = 0; c < 4; c += 1) sum[c] += data[(y * width + x) * 4 + c];
      count += 1;
    }
  }
  return sum.map(value => value / count);
}

/** ITU-R BT.601 luma of each pixel, what a grey frame from ffmpeg holds too. */
export function luma({ width, height, data }) {
  const out = new Uint8Array(width * height);
  for (let i = 0; i < out.length; i += 1) out[i] = (data[i * 4] * 299 + data[i * 4 + 1] * 587 + data[i * 4 + 2] * 114) / 1000;
  return { width, height, data: out };
}
