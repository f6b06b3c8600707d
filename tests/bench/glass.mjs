// How old a guest's picture is when OBS gets it and when OBS puts it out, from the moment it was drawn in the guest's browser.
//
// The guest's page draws the time into its picture; everything runs on one machine, so the age of a picture can be
// read wherever it shows up: in the slot's ring, by a reader that does exactly what the OBS plugin does
// (`slot_probe`), and in OBS's raw output. Between the two lies OBS's programme: the plugin's trace says which frame of the canvas
// shows a picture first. Measured twice: with the delay that a guest has by default, in which pictures wait for their sound, and
// with the least. The floor is the same drawn camera shown in a <video> of the same page. The
// reference is the same picture sent by ffmpeg to an RTMP server and played by OBS's media source as it comes.
import fs from 'node:fs';
import { age, findPicture, readTimecode } from '../lib/timecode.mjs';
import { launchChromium } from '../lib/browser.mjs';
import { ADA } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { finish, percentiles, table } from '../lib/figures.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { Obs } from '../lib/obs.mjs';
import { artifact, binary } from '../lib/places.mjs';
import { Program } from '../lib/process.mjs';
import { rawOutput } from '../lib/raw-output.mjs';
import { RtmpRoute } from '../lib/rtmp-route.mjs';
import { showsLive } from '../lib/scene.mjs';
import { measureFloor } from '../lib/floor.mjs';
import { pause, until } from '../lib/wait.mjs';

const ROOM = 'bench';
const guest = { ...ADA, width: 640, height: 360, fps: 30 };
const canvas = [640, 360];
const canvasFps = 60;
/** As the streamer may choose in the dashboard. */
const STEADINESS = ['balanced', 'instant'];
/** A floor whose p95 is above it: the drawing itself is late. */
const FLOOR_LIMIT = 60;
const seconds = Number(process.env.GREENROOM_BENCH_SECONDS ?? 20);

let output = [];
let measuring = false;
let area;
const raw = await rawOutput(canvas, picture => measuring && output.push([picture.at, codeIn(picture)]));
function codeIn(picture) {
  area ??= findPicture(picture);
  return area ? readTimecode(picture, area) : null;
}

const trace = artifact('glass-trace.txt');
fs.rmSync(trace, { force: true });
const engine = await Engine.start({ name: 'engine-glass' });
await engine.createRoom(ROOM);
const [obs, browser] = await Promise.all([Obs.start({ socket: engine.socket, canvas, fps: canvasFps, rawOutput: raw.port, env: { GREENROOM_OBS_TRACE: trace } }), launchChromium()]);
const shown = await obs.addGuest('Ada', { slot: 1 });
const page = await joinAsGuest(browser, await engine.invite(ROOM), guest);
await engine.admit(ROOM, 'Ada', 1);
await isLive(page);
await showsLive(obs, 'Ada', guest);

let pictures = [];
const probe = new Program({ name: 'slot-probe', command: binary('examples/slot_probe'), args: [engine.socket, '1'] });
let onsets = [];
probe.listeners.add((line, stream) => {
  if (!measuring || stream !== 'stdout') return;
  const seen = JSON.parse(line);
  (seen.onset ? onsets : pictures).push(seen);
});
await until('the probe reads pictures', () => probe.lines.length > 5);
await obs.call('StartRecord');
const rounds = [];
for (const steadiness of STEADINESS) rounds.push(await measureRound(steadiness));
const floor = await measureFloor(page, 6000);
await probe.stop();
await browser.close();

await obs.show(shown, false);
const theirs = await measureRtmp();
await obs.call('StopRecord');
await obs.stop();
await engine.stop();
raw.close();

/** What comes of the guest's pictures and sound with this delay. */
async function measureRound(steadiness) {
  const { peerId } = await engine.peer(ROOM, 'Ada');
  await engine.rest('POST', `/api/rooms/${ROOM}/peers/${peerId}/steadiness`, { steadiness });
  await pause(5000); // The bandwidth estimate and the delay settle.
  [pictures, onsets, output, measuring] = [[], [], [], true];
  await pause(seconds * 1000);
  measuring = false;
  return { steadiness, pictures, onsets, output };
}

/** The same canvas and output, with a media source as OBS makes it in the guest's place. */
async function measureRtmp() {
  const route = await RtmpRoute.start(guest);
  const { currentProgramSceneName: sceneName } = await obs.call('GetCurrentProgramScene');
  const inputSettings = { is_local_file: false, input: route.url };
  await obs.call('CreateInput', { sceneName, inputName: 'RTMP', inputKind: 'ffmpeg_source', inputSettings });
  [area, output, measuring] = [undefined, [], true];
  // With its defaults OBS looks at some seconds of the stream before it shows any.
  await until('OBS plays the stream', () => output.filter(([, code]) => code !== null).length > 2 * guest.fps, { within: 60_000 });
  output = [];
  await pause(seconds * 1000);
  measuring = false;
  await route.stop();
  return output;
}

const programme = framesOfProgramme();
const byRtmp = agesWhenSeen(theirs);
const [byDefault, least] = rounds.map(figuresOf);
table("Beside it", [
  ["by RTMP → pixel in OBS's output", percentiles(byRtmp), byRtmp.length, 'ffmpeg, x264 zerolatency, nginx-rtmp, media source'],
  ['floor: drawn → own <video>', percentiles(floor), floor.length, 'the method without encoder and network'],
]);
if (percentiles(floor).p95 > FLOOR_LIMIT) console.log(`\nThe floor's p95 is above ${FLOOR_LIMIT} ms: this machine is too busy for these figures to mean much.`);
finish({ ...byDefault, floor_ms: percentiles(floor), rtmp_ms: percentiles(byRtmp), instant: least });

function figuresOf({ steadiness, pictures, onsets, output }) {
  const read = pictures.filter(picture => picture.code !== null);
  const toObs = read.map(picture => age(picture.code, picture.handed));
  const toProgramme = read.filter(({ number }) => programme.has(number)).map(({ code, presented, number }) => age(code, presented) + programme.get(number));
  const toOutput = agesWhenSeen(output);
  if (read.length < seconds * 10 || toOutput.length < seconds * 10) {
    throw new Error(`too few pictures: ${read.length} of ${pictures.length} read in the ring, ${toOutput.length} in ${output.length} of OBS's output`);
  }
  const arrival = pictures.map(picture => picture.handed - picture.arrived);
  const glassToArrival = read.map(picture => age(picture.code, picture.arrived));
  // Flash and beep begin with each whole second: how late each is, on the timeline OBS is given.
  const flashes = pictures.filter((picture, i) => picture.flash && i > 0 && !pictures[i - 1].flash);
  const lips = onsets.flatMap(({ onset }) => {
    const flash = flashes.find(({ presented }) => Math.abs(presented - onset) < guest.period / 2);
    return flash ? [onset - flash.presented] : [];
  });
  const figures = {
    glass_to_obs_ms: percentiles(toObs),
    glass_to_programme_ms: percentiles(toProgramme),
    glass_to_output_ms: percentiles(toOutput),
    arrival_to_libobs_ms: percentiles(arrival),
  };
  table(`Glass to glass, delay ${steadiness}: ${guest.width}x${guest.height} at ${guest.fps} pictures a second, canvas at ${canvasFps}, ${seconds} s`, [
    ['drawn → handed to OBS', figures.glass_to_obs_ms, toObs.length],
    ["drawn → in OBS's programme", figures.glass_to_programme_ms, toProgramme.length, 'the frame of the canvas that shows it first'],
    ["drawn → pixel in OBS's output", figures.glass_to_output_ms, toOutput.length, 'where first seen; three canvas frames of it are OBS reading back'],
    ['  drawn → last packet here', percentiles(glassToArrival), glassToArrival.length, 'camera, encoder, pacer, network'],
    ['  last packet → handed to OBS', figures.arrival_to_libobs_ms, arrival.length, 'jitter buffer, decoder, ring'],
  ]);
  table('Lips: beep minus flash, as handed to OBS (positive: sound is late)', [['sound − picture', percentiles(lips, [5, 50, 95]), lips.length]]);
  return figures;
}

/** By the number of each picture that was the newest as OBS began a frame of its canvas: how long after its time that was. */
function framesOfProgramme() {
  const lines = fs.readFileSync(trace, 'utf8').split('\n').map(line => line.split(' ').map(Number));
  const frames = new Map(lines.filter(line => line.length === 8).map(([, timestamp, , , , , shown, number]) => [shown, { number, waits: (shown - timestamp) / 1e6 }]));
  return new Map([...frames.values()].map(({ number, waits }) => [number, waits]));
}

/** Of each picture in OBS's output, how old it was when it was first seen there. */
function agesWhenSeen(pictures) {
  const firstSeen = new Map();
  for (const [at, code] of pictures) if (code !== null && !firstSeen.has(code)) firstSeen.set(code, at);
  return [...firstSeen].map(([code, at]) => age(code, at));
}
