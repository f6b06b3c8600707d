// Other WebRTC stacks as guests, each beside a Chromium guest on a foreign page: who sees and hears whom.
//
// Needs a Python with aiortc, python-socketio, numpy and (for GStreamer) gi: `PYTHON=…/bin/python node interop/run.mjs`.
// With words after it, only those whose names contain one of them.
import assert from 'node:assert/strict';
import path from 'node:path';
import { launchChromium } from '../lib/browser.mjs';
import { ADA } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { heard } from '../lib/look.mjs';
import { servePage } from '../lib/page.mjs';
import { root } from '../lib/places.mjs';
import { Program } from '../lib/process.mjs';
import { call, foreignGuest } from '../lib/room.mjs';
import { until } from '../lib/wait.mjs';

const PEERS = [
  { name: 'aiortc VP8', script: 'aiortc_peer.py', mimeType: 'video/VP8', tone: 660 },
  { name: 'aiortc H264', script: 'aiortc_peer.py', mimeType: 'video/H264', tone: 660 },
  { name: 'GStreamer VP8', script: 'gstreamer_peer.py', mimeType: 'video/VP8', tone: 550 },
  { name: 'GStreamer H264', script: 'gstreamer_peer.py', mimeType: 'video/H264', tone: 550 },
  { name: 'mediasoup-client-aiortc VP8', script: 'mediasoup_aiortc_peer.mjs', mimeType: 'video/VP8', tone: 770, speaks: true },
  { name: 'mediasoup-client-aiortc H264', script: 'mediasoup_aiortc_peer.mjs', mimeType: 'video/H264', tone: 770, speaks: true },
];
const SECONDS = 12;
/** By label. */
const LIMITED = {
  'no repeats': { ordered: false, maxRetransmits: 0 },
  'one repeat': { ordered: false, maxRetransmits: 1 },
  'for a while': { ordered: false, maxPacketLifeTime: 500 },
};

const server = await servePage('mediasoup');
const engine = await Engine.start({ name: 'engine-interop', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
const browser = await launchChromium();
const tasks = [
  ...PEERS.map((peer, index) => [peer.name, () => meet(peer, `interop-${index}`)]),
  ['aiortc data channels', () => converse('interop-data')],
  ['aiortc data channels that lose', () => lose('interop-loss')],
];
const wanted = process.argv.slice(2);
const chosen = tasks.filter(([name]) => wanted.length === 0 || wanted.some(word => name.includes(word)));
let failed = 0;
/** What a task leaves behind. */
const ends = [];
for (const [name, task] of chosen) {
  try {
    console.log(`${name}: ${JSON.stringify(await task())}`);
  } catch (error) {
    failed += 1;
    console.log(`${name}: FAILED: ${error.message}`);
  }
  for (const end of ends.splice(0)) await end();
}
await browser.close();
await engine.stop();
server.close();
console.log(`${chosen.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

async function meet({ name, script, mimeType, tone, speaks }, roomId) {
  await engine.createRoom(roomId);
  const page = await chromiumGuest(roomId, { ...ADA, width: 640, height: 360, fps: 20 });
  await call(page, 'publish', 'video', 'video/VP8');
  await call(page, 'publish', 'audio');
  const talk = speaks && (await call(page, 'publishData', { label: 'talk' }));
  const program = await peer(name, script, roomId, String(SECONDS), mimeType);
  const theirs = await until('both of their tracks are announced', async () => {
    const notices = await page.evaluate(() => window.client.noticesOf('new-producer'));
    return notices.length === 2 && notices;
  });
  const consumers = {};
  for (const { producerId, kind } of theirs) consumers[kind] = await call(page, 'consume', producerId);
  await call(page, 'watch', consumers.video.id);
  if (speaks) {
    await program.line('listens', line => line === 'listening', 30_000);
    await call(page, 'say', talk.id, [...Array.from({ length: 100 }, (_, n) => `word ${n % 10}`), { length: 200_000 }, { length: 262_144 }]);
  }
  const told = await program.line('tells what it saw', line => line.startsWith('{') && JSON.parse(line), 60_000);
  const watched = await call(page, 'watched');
  const { levels } = await heard(page, [tone]);
  assert.ok(watched.frames > SECONDS * 5, `Chromium saw ${watched.frames} pictures`);
  if (speaks) {
    assert.deepEqual(told.dtls, ['send server sha-512', 'recv client sha-512']);
    assert.equal(told.messages, 102);
    assert.ok(told.reports, 'it reports what it receives');
  }
  assert.ok(told.frames > SECONDS * 5, `it saw ${told.frames} pictures`);
  assert.ok(told.sound > SECONDS * 20, `it heard ${told.sound} pieces of sound`);
  return { chromiumSaw: watched.frames, chromiumHeard: Number(levels[0].toFixed(3)), ...told };
}

async function chromiumGuest(roomId, guest) {
  const page = await foreignGuest({ engine, browser, origin: server.origin, roomId, guest });
  ends.push(async () => {
    await call(page, 'ask', 'leave-room').catch(() => {});
    await page.context().close();
  });
  return page;
}

/** Starts a peer and lets it in. */
async function peer(name, script, roomId, ...words) {
  const { token } = await engine.invite(roomId);
  const program = new Program({
    name: `peer-${name.replaceAll(/[^\w]+/g, '-')}`,
    command: script.endsWith('.py') ? (process.env.PYTHON ?? 'python3') : process.execPath,
    args: [path.join(root, 'tests/interop', script), engine.url, roomId, token, name, ...words],
  });
  ends.push(async () => {
    await program.stop();
    for (const left of (await engine.room(roomId)).peers) await engine.remove(roomId, left.peerId);
  });
  await engine.admit(roomId, name);
  return program;
}

/** Says a hundred words and the longest messages to who says everything back. */
async function answered(page, id) {
  const echo = await until('their channel is announced', async () => (await page.evaluate(() => window.client.noticesOf('new-data-producer')))[0]);
  const consumer = await call(page, 'consumeData', echo.dataProducerId);
  // They listen a moment later than they speak.
  await until('they hear us', async () => {
    await call(page, 'say', id, ['hello?']);
    return (await call(page, 'heardOn', consumer.id)).length > 0;
  });
  const words = Array.from({ length: 100 }, (_, n) => `word ${n}`);
  await call(page, 'say', id, [...words, { length: 200_000, first: 5 }, { length: 262_144, first: 6 }, 'bye']);
  const heard = await until('all of it comes back', async () => {
    const heard = (await call(page, 'heardOn', consumer.id)).filter(one => one.text !== 'hello?');
    return heard.length >= 103 && heard;
  }, { within: 60_000 });
  assert.deepEqual(heard.slice(0, 100).map(one => one.text), words);
  assert.deepEqual(heard.slice(100).map(one => one.length), [200_000, 262_144, 3]);
  return { echoed: heard.length };
}

/** Chromium talks to a peer that says everything back. */
async function converse(roomId) {
  await engine.createRoom(roomId);
  const page = await chromiumGuest(roomId, ADA);
  const { id } = await call(page, 'publishData', { label: 'talk' });
  const program = await peer('aiortc data', 'aiortc_data_peer.py', roomId, 'echo');
  const said = await answered(page, id);
  const told = await program.line('tells what it heard', line => line.startsWith('{') && JSON.parse(line), 60_000);
  return { ...said, ...told };
}

/** Both ways over channels with a limit, where one packet in ten is lost: some messages go missing, none waits for them. */
async function lose(roomId) {
  await engine.createRoom(roomId);
  const page = await chromiumGuest(roomId, ADA);
  const channels = {};
  for (const [mode, options] of Object.entries(LIMITED)) channels[mode] = await call(page, 'publishData', { label: mode, ...options });
  const program = await peer('aiortc lossy', 'aiortc_data_peer.py', roomId, 'lossy');
  const theirs = await until('their channels are announced', async () => {
    const notices = await page.evaluate(() => window.client.noticesOf('new-data-producer'));
    return notices.length === 3 && notices;
  });
  const consumers = {};
  for (const { label, dataProducerId } of theirs) consumers[label] = await call(page, 'consumeData', dataProducerId);
  await program.line('listens', line => line === 'listening');
  for (let n = 0; n < 300; n += 1) {
    for (const { id } of Object.values(channels)) await call(page, 'say', id, [`${n}`]);
  }
  const told = await program.line('tells what it heard', line => line.startsWith('{') && JSON.parse(line), 90_000);
  for (const [mode, { id }] of Object.entries(consumers)) {
    const heard = await call(page, 'heardOn', id);
    const numbers = heard.map(one => Number(one.text));
    told[`chromium ${mode}`] = numbers.length;
    assert.ok(numbers.length > 150 && numbers.includes(299), `${mode}: Chromium heard ${numbers.length} of 300, at last ${numbers.at(-1)}`);
  }
  for (const mode of Object.keys(LIMITED)) assert.ok(told[mode] > 150, `${mode}: it heard ${told[mode]} of 300`);
  assert.ok(told['no repeats'] < 300 && told['chromium no repeats'] < 300, 'nothing was lost');
  return told;
}
