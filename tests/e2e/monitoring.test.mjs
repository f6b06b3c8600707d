// The streamer hears guests in their headphones: a real sound service without a card, two guests, and OBS, which must
// hear nothing of it.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { RATE, loudness, median, readAudio } from '../lib/audio.mjs';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { Obs } from '../lib/obs.mjs';
import { artifact } from '../lib/places.mjs';
import { childrenNamed } from '../lib/process.mjs';
import { SoundServer } from '../lib/sound-server.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'show';
const guests = [ADA, BEN].map(guest => ({ ...guest, width: 320, height: 180, fps: 15 }));
let sound, engine, browser, pages, feed, peers, unplug;

const SILENCE = 0.002;
const want = (on, device = null) => engine.rest('PUT', '/api/monitoring', { on, device });
const hear = (index, volume, muted = false) => engine.rest('POST', `/api/rooms/${ROOM}/peers/${peers[index]}/hearing`, { volume, muted });
const monitors = async () => childrenNamed(await engine.mediaWorker(), 'greenroom-monitor');
const state = () => feed.snapshot.monitoring.state;
const becomes = what => until(`monitoring is ${what}`, () => state().state === what && state(), { every: 50, within: 20_000 });
const waitsBecause = reason => until(`monitoring waits: ${reason}`, () => reason.test(state().reason) && state().state === 'waiting', { every: 50, within: 20_000 });

/** How loud each guest's tone is on a device. */
async function levels(device = 'headphones', seconds = 2) {
  const samples = await sound.record(device, seconds);
  // Where a clock is being followed a tone is up to half a per cent beside its frequency.
  return guests.map(guest => loudness(samples, guest.tone, RATE, 0.05));
}

/** Records again until it is so: what was played before is still on its way for a moment. */
function isHeard(what, check, device = 'headphones') {
  let last;
  return until(what, async () => check((last = await levels(device, 1))) && last, { within: 30_000, every: 10 }).catch(error => {
    throw new Error(`${error.message}; heard: ${last}`);
  });
}

const cut = (samples, length) => Array.from({ length: Math.floor(samples.length / length) }, (_, i) => samples.subarray(i * length, (i + 1) * length));

before(async () => {
  sound = await SoundServer.start();
  unplug = await sound.device('headphones', 'Headphones');
  await sound.choose('headphones');
  engine = await Engine.start({ env: { PULSE_SERVER: sound.env.PULSE_SERVER } });
  await engine.createRoom(ROOM, 'The show');
  feed = await engine.dashboard();
  browser = await launchChromium();
  pages = [];
  for (const guest of guests) pages.push(await joinAsGuest(browser, await engine.invite(ROOM), guest));
}, { timeout: 90_000 });

after(async () => {
  await browser?.close();
  feed?.close();
  await engine?.stop();
  await sound?.stop();
}, { timeout: 60_000 });

test('nothing is played at first, and nobody who waits is heard', { timeout: 60_000 }, async () => {
  assert.deepEqual(feed.snapshot.monitoring, { wanted: { on: false, device: null }, state: { state: 'off' }, devices: [] });
  assert.deepEqual(await monitors(), []);
  for (const guest of guests) await engine.peer(ROOM, guest.name, { state: 'waiting' });
  await want(true);
  assert.equal((await becomes('playing')).device, 'Headphones');
  await until('a waiting guest speaks', () => feed.levels.size === 2);
  assert.ok(Math.max(...(await levels())) < SILENCE);
});

test('who is let in is heard, each as loud as the streamer likes', { timeout: 90_000 }, async () => {
  peers = [];
  for (const [index, guest] of guests.entries()) peers.push(await engine.admit(ROOM, guest.name, index + 1));
  await Promise.all(pages.map(isLive));
  // Both send their tone at a tenth of full scale.
  await isHeard('both are heard as they are', all => all.every(level => Math.abs(level - 0.1) < 0.02));
  await hear(0, 50);
  // Half way is a quarter of the amplitude.
  await isHeard('Ada is softer, Ben is not', ([ada, ben]) => Math.abs(ada - 0.025) < 0.005 && Math.abs(ben - 0.1) < 0.02);
  await hear(1, 100, true);
  await isHeard('Ben is not heard', ([ada, ben]) => ada > SILENCE && ben < SILENCE);
  await hear(0, 100);
  await hear(1, 100);
  await isHeard('both are heard as they are', all => Math.min(...all) > 0.03);
});

test('it is heard nearly without holes, however busy the machine', { timeout: 90_000 }, async () => {
  const [silent, soft] = [[], []];
  for (let round = 0; round < 3; round += 1) {
    const samples = await sound.record('headphones', 6);
    // What records begins with a gap of its own.
    const pieces = cut(samples.subarray(RATE), RATE / 100).map(piece => Math.max(...piece.map(Math.abs)));
    const usual = median(pieces);
    silent.push(pieces.filter(peak => peak < 1e-4).length / pieces.length);
    soft.push(pieces.filter(peak => peak < usual / 2).length / pieces.length);
  }
  const found = `of each round's pieces of 10 ms, these parts were silent: ${silent}; and these less than half as loud: ${soft}`;
  console.log(`# ${found}`);
  // None in most runs; once 28 of 1,000 with eight to sixteen programs at two cores, and it is not known whose they were: the browser's,
  // which makes the sound, or ours.
  assert.ok(median(silent) <= 0.04 && median(soft) <= 0.06, found);
});

test('OBS hears nothing of it, in a scene without guests', { timeout: 90_000 }, async () => {
  const obs = await Obs.start({ socket: engine.socket, name: 'obs-monitoring', env: { PULSE_SERVER: sound.env.PULSE_SERVER } });
  try {
    const stop = await obs.record();
    const [ada] = await levels('headphones', 3);
    const file = artifact('monitoring.mkv');
    fs.copyFileSync(await stop(), file);
    const recorded = await readAudio(file);
    assert.ok(ada > 0.03 && recorded.length > 0, `${ada}, ${recorded.length}`);
    assert.ok(Math.max(...guests.map(guest => loudness(recorded, guest.tone))) < SILENCE);
  } finally {
    await obs.stop();
  }
});

test('a device that goes is not replaced by another, and is played on again when it is back', { timeout: 90_000 }, async () => {
  await sound.device('speakers', 'Speakers');
  await until('both devices are listed', () => String(feed.snapshot.monitoring.devices.map(device => device.id).sort()) === 'headphones,speakers');
  const [before] = await monitors();
  await want(true, 'headphones');
  await until('it has begun anew', async () => ![undefined, before].includes((await monitors())[0]) && state().state === 'playing');
  await isHeard('both are heard', all => Math.min(...all) > 0.03);
  await unplug();
  await waitsBecause(/Headphones is gone\. Plug it in again/);
  assert.ok(Math.max(...(await levels('speakers'))) < SILENCE, 'the speakers play nothing');
  unplug = await sound.device('headphones', 'Headphones');
  await becomes('playing');
  await isHeard('both are heard again', all => Math.min(...all) > 0.03);
});

test('no device at all is said, and the system’s choice is followed', { timeout: 90_000 }, async () => {
  await want(true, null);
  await sound.choose('speakers');
  await isHeard('both are heard on the speakers', all => Math.min(...all) > 0.03, 'speakers');
  await sound.choose('headphones');
  await isHeard('both are heard in the headphones', all => Math.min(...all) > 0.03);
  await want(true, 'nowhere');
  await waitsBecause(/“nowhere” is not there/);
  await want(true, 'headphones');
  await becomes('playing');
});

test('a sound service that hangs or dies is waited for, and nobody else notices', { timeout: 120_000 }, async () => {
  const worker = await engine.mediaWorker();
  process.kill(sound.pulse.pid, 'SIGSTOP');
  await waitsBecause(/sound service does not answer/);
  assert.equal((await engine.peer(ROOM, 'Ada')).state, 'live');
  process.kill(sound.pulse.pid, 'SIGCONT');
  await becomes('playing');
  await sound.stop();
  await becomes('waiting');
  await sound.run();
  unplug = await sound.device('headphones', 'Headphones');
  await becomes('playing');
  await isHeard('both are heard again', all => Math.min(...all) > 0.03);
  assert.equal(await engine.mediaWorker(), worker, 'the media worker never ended');
});

test('it is as it was after the media worker and the engine were killed', { timeout: 120_000 }, async () => {
  await hear(1, 100, true);
  await engine.killMediaWorker();
  await isHeard('Ada alone is heard again', ([ada, ben]) => ada > 0.03 && ben < SILENCE);
  await engine.die();
  await until('the monitor has ended with the engine', async () => Math.max(...(await levels('headphones', 0.5))) < SILENCE);
  await engine.launch();
  feed.close();
  feed = await engine.dashboard();
  assert.deepEqual(feed.snapshot.monitoring.wanted, { on: true, device: 'headphones' });
  await isHeard('Ada is heard again', ([ada]) => ada > 0.03);
});

test('off is off', { timeout: 60_000 }, async () => {
  await want(false, 'headphones');
  await becomes('off');
  await isHeard('nothing is heard', all => Math.max(...all) < SILENCE);
  assert.deepEqual(await monitors(), []);
});
