// What guests cost on the streamer's computer, from the network to libobs, beside decoding alone.
//
// Guests with recorded cameras and microphones (720p30, H.264 and VP8 in turn) send over real ICE, DTLS and SRTP to the engine,
// are let into slots, and OBS shows all of them in one scene. In the same seconds libavcodec decodes the same streams at
// the same pace on one thread and throws the pictures away: that is the reference. Whether pictures are whole is read
// from OBS's output, where each carries its number at its top and at its bottom.
import fs from 'node:fs';
import { Engine } from '../lib/engine.mjs';
import { finish } from '../lib/figures.mjs';
import { Obs } from '../lib/obs.mjs';
import { artifact, binary } from '../lib/places.mjs';
import { Program } from '../lib/process.mjs';
import { cpuSeconds, threadSeconds } from '../lib/cpu.mjs';
import { rawOutput } from '../lib/raw-output.mjs';
import { FPS, makeRecordings, readNumbers, SIZE } from '../lib/recordings.mjs';
import { pause, until } from '../lib/wait.mjs';

const ROOM = 'bench';
const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(process.argv[at + 1]);
};
const count = option('guests', 6);
const seconds = option('seconds', 20);
const canvas = [960, 540];
const slots = Array.from({ length: count }, (_, i) => i + 1);

const { h264, vp8, voice } = await makeRecordings();
const cameras = [h264, vp8];

const tiles = layout();
const seen = { pictures: 0, unread: 0, torn: 0 };
let looking = false;
const raw = await rawOutput(canvas, picture => looking && tiles.forEach(tile => look(readNumbers(picture, tile))));
function look([top, bottom]) {
  seen.pictures += 1;
  if (top === null || bottom === null) seen.unread += 1;
  else if (top !== bottom) seen.torn += 1;
}

const trace = artifact('guests-trace.txt');
fs.rmSync(trace, { force: true });
const engine = await Engine.start({ name: 'engine-guests' });
await engine.createRoom(ROOM);
const obs = await Obs.start({ socket: engine.socket, canvas, rawOutput: raw.port, name: 'obs-guests', env: { GREENROOM_OBS_TRACE: trace } });
for (const slot of slots) await place(await obs.addGuest(`Guest ${slot}`, { slot }, { fill: false }), tiles[slot - 1]);

const tokens = await Promise.all(slots.map(() => engine.invite(ROOM)));
const guests = new Program({
  name: 'guests',
  command: binary('guests'),
  args: ['--control', new URL(engine.url).host, '--room', ROOM, '--audio', voice, ...tokens.flatMap(({ token }) => ['--token', token]), ...cameras.flatMap(file => ['--video', file])],
  input: true,
});
await guests.line('everybody is in the green room', line => line === 'ready');
for (const slot of slots) await engine.admit(ROOM, `Guest ${slot}`, slot);
await until('OBS is given everybody', () => slots.every(slot => handed(slot).length > FPS), { within: 30_000 });
await pause(5_000); // Key frames, clocks and delays settle.

// First the cost, with nobody looking.
const worker = await engine.mediaWorker();
const streams = slots.flatMap(slot => [cameras[(slot - 1) % cameras.length], voice]);
const bare = new Program({ name: 'bare-decode', command: binary('examples/bare_decode'), args: [String(seconds), ...streams] });
await bare.line('its decoders are warm', line => line === 'begins', 60_000);
const before = costs();
await bare.line('the time is over', line => line === 'ends', (seconds + 30) * 1000);
const after = costs();
const reference = JSON.parse(await bare.line('what it took', line => line.startsWith('{') && line, 60_000));

// Then whether pictures are whole where OBS puts them out.
await obs.call('StartRecord');
await until('OBS puts pictures out', () => {
  looking = true;
  return seen.pictures > 0;
});
await pause(10_000);
looking = false;
await obs.call('StopRecord');
const delivered = slots.map(slot => handed(slot).filter(({ at }) => at >= before.at && at < after.at));
const tornInPlugin = traced().filter(line => line.endsWith('torn')).length;
guests.child.stdin.end();
await guests.ended;
const stats = await obs.call('GetStats');
await obs.stop();
await engine.stop();
raw.close();

const wall = (after.at - before.at) / 1e9;
// Decoded, and written for OBS; on a busy machine OBS's threads may come too late for one.
const pictures = delivered.reduce((sum, each) => sum + each.at(-1).number - each[0].number + 1, 0);
const spent = name => after[name] - before[name];
const perPicture = s => (s * 1000) / pictures;
const engineMs = perPicture(spent('engine') + spent('worker'));
const bareMs = (reference.pictures_ms + reference.sound_ms) / reference.pictures;
const fps = delivered.map(each => each.length / wall);
const late = delivered.flat().map(({ arrived, at }) => (at - arrived) / 1e6);
const inObs = [...after.obs].map(([name, s]) => [name, (100 * (s - (before.obs.get(name) ?? 0))) / wall]);
const plugin = inObs.filter(([name]) => name.startsWith('greenroom')).reduce((sum, [, share]) => sum + share, 0) / count;

const two = x => Math.round(x * 100) / 100;
console.log(`\n${count} guests, ${SIZE.join(' × ')} at ${FPS}, ${two(wall)} s`);
console.log(`decoding alone        ${two(bareMs)} ms a picture (of that, sound ${two(reference.sound_ms / reference.pictures)}); without pauses ${two(reference.flat_out_ms / reference.pictures)}`);
console.log(`engine + media worker ${two(engineMs)} ms a picture (${two(perPicture(spent('engine')))} + ${two(perPicture(spent('worker')))})`);
console.log(`plugin                ${two(plugin)} % of a core for each guest`);
console.log(`handed to libobs      ${fps.map(two).join(', ')} pictures/s (${two(pictures / count / wall)} were written); last packet → handed: p50 ${percentile(late, 50)} ms, p99 ${percentile(late, 99)} ms`);
console.log(`in OBS's output       ${seen.pictures} pictures of guests, ${seen.torn} torn, ${seen.unread} not readable; torn in the plugin, not shown: ${tornInPlugin}`);
console.log(`OBS drew ${two(stats.activeFps)} frames/s; its threads: ${inObs.filter(([, share]) => share > 0.5).sort((a, b) => b[1] - a[1]).slice(0, 8).map(([name, share]) => `${name} ${two(share)} %`).join(', ')}`);
for (const name of ['engine', 'worker']) {
  const threads = [...after[`${name}Threads`]].map(([thread, s]) => [thread, perPicture(s - (before[`${name}Threads`].get(thread) ?? 0))]);
  console.log(`${name}: ${threads.filter(([, ms]) => ms > 0.005).sort((a, b) => b[1] - a[1]).map(([thread, ms]) => `${thread} ${ms.toFixed(3)}`).join(', ')} ms a picture`);
}
finish({
  guests: count,
  fps_min: two(Math.min(...fps)),
  torn: seen.torn,
  engine_ratio_to_decode: two(engineMs / bareMs),
  plugin_core_pct_per_guest: two(plugin),
});

/** What everybody has spent by now. */
function costs() {
  return {
    at: Number(process.hrtime.bigint()),
    engine: cpuSeconds(engine.pid),
    worker: cpuSeconds(worker),
    engineThreads: threadSeconds(engine.pid),
    workerThreads: threadSeconds(worker),
    obs: threadSeconds(obs.pid),
  };
}

function traced() {
  return fs.existsSync(trace) ? fs.readFileSync(trace, 'utf8').split('\n').slice(0, -1) : [];
}

/** The pictures of a slot that the plugin handed to libobs: when the last packet came, when it was handed over (monotonic nanoseconds), its number. */
function handed(slot) {
  const lines = traced().map(line => line.split(' ')).filter(([number, , , , , handed]) => Number(number) === slot && handed);
  return lines.map(([, , arrived, , , handed, , number]) => ({ arrived: Number(arrived), at: Number(handed), number: Number(number) }));
}

function percentile(values, p) {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(sorted[Math.floor((sorted.length * p) / 100)] * 10) / 10;
}

/** As square a grid as it takes, in pixels of the canvas: [left, top, width, height]. */
function layout() {
  const columns = Math.ceil(Math.sqrt(count));
  const [w, h] = [canvas[0] / columns, canvas[1] / columns].map(Math.floor);
  return slots.map((_, i) => [(i % columns) * w, Math.floor(i / columns) * h, w, h]);
}

function place({ sceneName, sceneItemId }, [positionX, positionY, boundsWidth, boundsHeight]) {
  const sceneItemTransform = { positionX, positionY, boundsType: 'OBS_BOUNDS_SCALE_INNER', boundsWidth, boundsHeight };
  return obs.call('SetSceneItemTransform', { sceneName, sceneItemId, sceneItemTransform });
}
