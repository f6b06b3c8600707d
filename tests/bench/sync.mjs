// By how much the sound in OBS's own recordings is later than its picture, recording by recording, and how far the two
// drift apart in ten simulated hours.
//
// The recordings are of the plugin alone: a pattern host writes a flash and a beep of one moment into the ring, at
// another phase to OBS's canvas for each recording, and OBS records them as a streamer would (x264, AAC, Matroska).
// What a browser and the network do to the two is not in them; it is in `drift` and in the end-to-end tests.
import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import os from 'node:os';
import { beepStarts, median, readAudio } from '../lib/audio.mjs';
import { flashStarts, readFrames } from '../lib/avsync.mjs';
import { finish } from '../lib/figures.mjs';
import { Obs } from '../lib/obs.mjs';
import { meetingPlace, Pattern, toneOf } from '../lib/pattern.mjs';
import { artifact, binary } from '../lib/places.mjs';
import { run } from '../lib/process.mjs';
import { pause } from '../lib/wait.mjs';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1];
};
/** Frame rates of the canvas; the pattern has the same, to the next whole number. */
const rates = option('fps', '30,60').split(',').map(Number);
const count = Number(option('recordings', 10));
const seconds = Number(option('seconds', 6));
/** Simulated; 0: none. */
const hours = Number(option('hours', 10));
/** Keeps every core busy meanwhile. */
const busy = process.argv.includes('--busy');

process.setMaxListeners(0); // Each recording has a folder, which goes when this process ends.
const recordings = [];
const load = busy ? startLoad() : [];
for (const fps of rates) {
  const socket = meetingPlace();
  let obs;
  for (let i = 0; i < count; i += 1) {
    // Twice as many canvases as one would need: where their ticks fall is chance.
    if (i % 5 === 0) {
      await obs?.stop();
      obs = await Obs.start({ socket, canvas: [320, 180], fps, name: `obs-sync-${fps}-${i}`, env: { GREENROOM_OBS_TRACE: artifact(`trace-${fps}-${i}.txt`) } });
      await obs.addGuest('Guest', { slot: 1 });
    }
    // Every phase between picture and canvas, in the order of a sequence that spreads evenly.
    await pause(((i * 0.618034) % 1) * (1000 / fps));
    const host = await Pattern.start(socket, ['--slots', '1', '--size', '320x180', '--fps', String(Math.ceil(fps)), '--flash']);
    await pause(5000); // The plugin learns where the canvas's ticks fall.
    const stop = await obs.record();
    await pause(seconds * 1000);
    const file = artifact(`sync-${fps}-${i}.mkv`);
    fs.copyFileSync(await stop(), file);
    await host.stop();
    const sync = await measure(file);
    const { renderSkippedFrames, outputSkippedFrames } = await obs.call('GetStats');
    recordings.push({ fps, ...sync });
    console.log(`# ${fps} fps, recording ${i + 1}: ${sync.offset_ms} ms, sd ${sync.sd_ms} (${sync.all.join(' ')}); skipped so far ${renderSkippedFrames} + ${outputSkippedFrames}`);
  }
  const raised = obs.log.split('\n').filter(line => /audio buffering/i.test(line));
  console.log(`# OBS on its audio buffering: ${raised.length ? raised.map(line => line.trim()).join('; ') : 'nothing'}`);
  await obs.stop();
}
for (const worker of load) await worker.terminate();
for (const fps of rates) {
  const offsets = recordings.filter(recording => recording.fps === fps).map(recording => recording.offset_ms);
  console.log(`\n${fps} fps${busy ? ', all cores busy' : ''}: ${offsets.join(', ')} ms; worst ${Math.max(...offsets.map(Math.abs))} ms`);
}
const drift = hours > 0 ? await simulate() : null;
finish({
  recordings: recordings.map(({ fps, offset_ms, sd_ms }) => ({ fps, offset_ms, sd_ms })),
  drift_10h_ms: drift?.worst_ms ?? null,
});

/** Ten hours of one guest in virtual time, with their graph. */
async function simulate() {
  const graph = artifact('drift.svg');
  const told = await run(binary('examples/drift'), ['--hours', String(hours), '--graph', graph], { within: 900_000 });
  const drift = JSON.parse(told.toString());
  console.log(`\n${hours} h simulated: picture and sound at most ${drift.worst_ms} ms apart (p99 ${drift.p99_ms}, median ${drift.p50_ms}; ${drift.over_20_ms} s over 20 ms), ${drift.end_ms} ms in the end\n${graph}`);
  return drift;
}

/** Positive: the sound is late. */
async function measure(file) {
  const frames = await readFrames(file, { width: 64, height: 36 });
  // The whole picture flashes; the numbers in its top rows do not.
  const flashes = flashStarts(frames, [0, 0, 1, 1]);
  const beeps = beepStarts(await readAudio(file), toneOf(1));
  const apart = flashes.flatMap(flash => {
    const nearest = beeps.map(beep => (beep - flash) * 1000).sort((a, b) => Math.abs(a) - Math.abs(b))[0];
    return Math.abs(nearest) < 450 ? [nearest] : [];
  });
  if (apart.length < 3) throw new Error(`${file}: ${flashes.length} flashes, ${beeps.length} beeps`);
  const mean = apart.reduce((sum, x) => sum + x, 0) / apart.length;
  const sd = Math.sqrt(apart.reduce((sum, x) => sum + (x - mean) ** 2, 0) / apart.length);
  const tenth = x => Math.round(x * 10) / 10;
  return { offset_ms: tenth(median(apart)), sd_ms: tenth(sd), all: apart.map(tenth) };
}

/** One endless loop per core; they end with this process, and after ten minutes in any case. */
function startLoad() {
  const loop = 'const end = Date.now() + 600_000; while (Date.now() < end) Math.sqrt(Math.random());';
  return os.cpus().map(() => new Worker(loop, { eval: true }));
}
