// The time in the picture: 10 × 4 black and white blocks, 32 bits of time and an 8-bit CRC.
//
// The picture a guest sends (see camera.mjs), in fractions of its size:
//
//   0.00 ┌──────────────────────────────┐
//        │ grey margin                  │
//   0.10 │  ┌────────────────────────┐  │   left 0.05, right 0.95
//        │  │ 4 rows of 10 blocks    │  │   bit 31 of the time first; the last 8 blocks are the CRC
//   0.70 │  └────────────────────────┘  │
//   0.78 ├──────────────┬───────────────┤
//        │ guest colour │ flash area    │   black; white while the beep sounds
//   1.00 └──────────────┴───────────────┘
//
// Blocks survive scaling down to about 40 × 16 pixels and any codec. The unit of time is 0.1 ms of Unix time,
// modulo 2³² (five days).

export const COLUMNS = 10;
export const ROWS = 4;
export const CODE_AREA = [0.05, 0.1, 0.95, 0.7];
export const COLOUR_AREA = [0.05, 0.83, 0.45, 0.96];
export const FLASH_AREA = [0.55, 0.83, 0.95, 0.96];

/** CRC-8 (polynomial 0x07) over the four bytes, started so that neither all-black nor all-white is valid. */
export function crc8(value) {
  let crc = 0x5a;
  for (let shift = 24; shift >= 0; shift -= 8) {
    crc ^= (value >>> shift) & 0xff;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
  }
  return crc;
}

/** Unix milliseconds to the value in the picture. */
export const encodeTime = ms => Math.floor(ms * 10) % 2 ** 32;

/** This machine's clock as finely as it can be read. */
export const unixNow = () => performance.timeOrigin + performance.now();

/** How long ago, in ms, `ticks` was drawn, if now is `now` (Unix ms). Negative: in the future. */
export function age(ticks, now = unixNow()) {
  const behind = (encodeTime(now) - ticks + 2 ** 32) % 2 ** 32;
  return (behind >= 2 ** 31 ? behind - 2 ** 32 : behind) / 10;
}

/**
 * The value in a grey picture, or null when there is none: a block neither dark nor light, or a wrong CRC.
 * `area` is where in the picture the guest's picture is, in fractions.
 * @param {{width: number, height: number, data: Uint8Array}} grey one byte a pixel
 */
export function readTimecode(grey, area = [0, 0, 1, 1]) {
  const [left, top, right, bottom] = within(area, CODE_AREA);
  let value = 0;
  let crc = 0;
  for (let bit = 0; bit < COLUMNS * ROWS; bit += 1) {
    const x = left + ((bit % COLUMNS) + 0.5) * ((right - left) / COLUMNS);
    const y = top + (Math.floor(bit / COLUMNS) + 0.5) * ((bottom - top) / ROWS);
    const level = blockLevel(grey, x, y, (right - left) / COLUMNS, (bottom - top) / ROWS);
    if (level > DARK && level < LIGHT) return null;
    const one = level >= LIGHT ? 1 : 0;
    if (bit < 32) value = (value * 2 + one) >>> 0;
    else crc = crc * 2 + one;
  }
  return crc === crc8(value) ? value : null;
}

/** Mean of the middle third of a block, away from the smear of its edges. */
function blockLevel({ width, height, data }, x, y, w, h) {
  const [x0, x1] = span(x, w, width);
  const [y0, y1] = span(y, h, height);
  let sum = 0;
  for (let row = y0; row <= y1; row += 1) for (let column = x0; column <= x1; column += 1) sum += data[row * width + column];
  return sum / ((x1 - x0 + 1) * (y1 - y0 + 1));
}

function span(centre, size, pixels) {
  const clamp = value => Math.min(pixels - 1, Math.max(0, Math.floor(value * pixels)));
  return [clamp(centre - size / 6), clamp(centre + size / 6)];
}

/** A rectangle given in fractions of `outer`, in fractions of what `outer` is in. */
export function within(outer, inner) {
  const [left, top, right, bottom] = outer;
  const [w, h] = [right - left, bottom - top];
  return [left + inner[0] * w, top + inner[1] * h, left + inner[2] * w, top + inner[3] * h];
}

/**
 * Where in a larger picture the guest's picture is, given that all around it is darker than its grey margin:
 * the bounding box of what is not black, in fractions; null when all is black.
 */
export function findPicture({ width, height, data }) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (data[y * width + x] < MARGIN_AT_LEAST) continue;
      left = Math.min(left, x);
      right = Math.max(right, x);
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
    }
  }
  return right < 0 ? null : [left / width, top / height, (right + 1) / width, (bottom + 1) / height];
}

const DARK = 95;
const LIGHT = 160;
const MARGIN_AT_LEAST = 40;
