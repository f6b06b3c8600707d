// Sound in recordings: how loud a frequency is, and when a beep begins.
import { run } from './process.mjs';

export const RATE = 48_000;

/**
 * The sound of a file as 48 kHz mono; sample 0 is the file's time 0, whatever the stream starts with.
 * @returns {Promise<Float32Array>}
 */
export async function readAudio(file) {
  const raw = await run('ffmpeg', [
    ...['-v', 'error', '-copyts', '-i', file, '-vn'],
    ...['-af', 'aresample=async=1:min_hard_comp=0.01:first_pts=0', '-ac', '1', '-ar', String(RATE), '-f', 'f32le', '-'],
  ]);
  return new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + (raw.length & ~3)));
}

/** Amplitude (0 to 1, a full-scale sine is 1) of `frequency` in samples [from, to): Goertzel under a Hann window. */
export function amplitude(samples, frequency, from = 0, to = samples.length, rate = RATE) {
  const count = Math.min(to, samples.length) - from;
  if (count < 2) return 0;
  const turn = 2 * Math.cos((2 * Math.PI * frequency) / rate);
  let [s1, s2] = [0, 0];
  for (let i = 0; i < count; i += 1) {
    const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / (count - 1));
    [s1, s2] = [samples[from + i] * hann + turn * s1 - s2, s1];
  }
  return (4 * Math.sqrt(Math.max(0, s1 * s1 + s2 * s2 - turn * s1 * s2))) / count;
}

/**
 * Median over pieces of so many seconds of how loud `frequency` is: a short click or gap does not move it. Short pieces also find
 * a tone that is a little beside its frequency: 5 Hz away, pieces of 0.25 s find a third of it, pieces of 0.05 s all but a 25th.
 */
export function loudness(samples, frequency, rate = RATE, seconds = 0.25) {
  const piece = Math.round(rate * seconds);
  const levels = [];
  for (let at = 0; at + piece <= samples.length; at += piece) levels.push(amplitude(samples, frequency, at, at + piece, rate));
  return median(levels);
}

/** Seconds at which a beep of `frequency` begins, after at least 200 ms without. */
export function beepStarts(samples, frequency, rate = RATE) {
  const step = Math.round(rate / 1000);
  const window = step * 8;
  const levels = [];
  for (let at = 0; at + window <= samples.length; at += step) levels.push(amplitude(samples, frequency, at, at + window, rate));
  const half = Math.max(LEAST_BEEP, Math.max(0, ...percentile(levels, 0.99)) / 2);
  const starts = [];
  let quiet = QUIET_BEFORE;
  levels.forEach((level, i) => {
    // The window is half full of the beep when the level passes the half: its middle is the start.
    if (level >= half && quiet >= QUIET_BEFORE) starts.push((i * step + window / 2) / rate);
    quiet = level >= half ? 0 : quiet + 1;
  });
  return starts;
}

const percentile = (values, p) => (values.length ? [[...values].sort((a, b) => a - b)[Math.floor(values.length * p)]] : []);

export function median(values) {
  if (values.length === 0) return 0;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/** In steps of 1 ms. */
const QUIET_BEFORE = 200;
const LEAST_BEEP = 0.05;
