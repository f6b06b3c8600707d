// Lips and voice: by how much the beep in a recording is later than its flash.
import { beepStarts, median, readAudio } from './audio.mjs';
import { run } from './process.mjs';
import { FLASH_AREA, findPicture, readTimecode, within } from './timecode.mjs';

/**
 * The frames of a recording, small and grey, with their times in seconds.
 * @returns {AsyncGenerator<{time: number, width: number, height: number, data: Uint8Array}>}
 */
export async function readFrames(file, { width = 160, height = 90 } = {}) {
  const listed = await run('ffprobe', [
    ...['-v', 'error', '-select_streams', 'v:0', '-show_entries', 'packet=pts_time', '-of', 'csv=p=0', file],
  ]);
  const times = listed.toString().split('\n').map(parseFloat).filter(Number.isFinite).sort((a, b) => a - b);
  const raw = await run('ffmpeg', [
    ...['-v', 'error', '-copyts', '-i', file, '-an', '-vf', `scale=${width}:${height}:flags=area,format=gray`],
    ...['-vsync', 'passthrough', '-f', 'rawvideo', '-'],
  ]);
  const size = width * height;
  return Array.from({ length: Math.min(times.length, Math.floor(raw.length / size)) }, (_, i) => ({
    time: times[i],
    width,
    height,
    data: raw.subarray(i * size, (i + 1) * size),
  }));
}

/** Where the guest's picture is in these frames: the place from which most time codes can be read. */
export function guestArea(frames) {
  for (const frame of frames) {
    const area = findPicture(frame);
    if (area && readTimecode(frame, area) !== null) return area;
  }
  return null;
}

/** Seconds at which a flash begins in the frames. */
export function flashStarts(frames, area) {
  const [left, top, right, bottom] = within(area, FLASH_AREA);
  const starts = [];
  let lit = true; // A recording that begins in a flash does not show its beginning.
  for (const { time, width, height, data } of frames) {
    let sum = 0;
    let count = 0;
    for (let y = Math.ceil(top * height); y < Math.floor(bottom * height); y += 1) {
      for (let x = Math.ceil(left * width); x < Math.floor(right * width); x += 1, count += 1) sum += data[y * width + x];
    }
    const bright = sum / count > 128;
    if (bright && !lit) starts.push(time);
    lit = bright;
  }
  return starts;
}

/**
 * Pairs each flash with the nearest beep. Offsets in ms, positive when the sound is late.
 * `fresh` is how many different pictures a second the recording has: far fewer than were drawn, and the machine was
 * too busy for the offsets to mean much.
 * @returns {Promise<{offsets: number[], median: number, worst: number, flashes: number, beeps: number, fresh: number}>}
 */
export async function measureSync(file, beep) {
  const frames = await readFrames(file);
  const area = guestArea(frames);
  if (!area) throw new Error(`${file}: no frame of ${frames.length} shows a guest's time code`);
  const flashes = flashStarts(frames, area);
  const beeps = beepStarts(await readAudio(file), beep);
  const offsets = flashes
    .map(flash => beeps.map(start => (start - flash) * 1000).sort((a, b) => Math.abs(a) - Math.abs(b))[0])
    .filter(offset => offset !== undefined && Math.abs(offset) < 450);
  const worst = offsets.reduce((most, offset) => Math.max(most, Math.abs(offset)), 0);
  const codes = new Set(frames.map(frame => readTimecode(frame, area)));
  const fresh = codes.size / (frames.at(-1).time - frames[0].time);
  return { offsets, median: median(offsets), worst, flashes: flashes.length, beeps: beeps.length, fresh };
}
