// Other WebRTC stacks as guests, each beside a Chromium guest on a foreign page: who sees and hears whom.
//
// Needs a Python with aiortc, python-socketio, numpy and (for GStreamer) gi: `PYTHON=…/bin/python node interop/run.mjs`.
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
];
const SECONDS = 12;

const server = await servePage('mediasoup');
const engine = await Engine.start({ name: 'engine-interop', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
const browser = await launchChromium();
let failed = 0;
for (const [index, peer] of PEERS.entries()) {
  try {
    console.log(`${peer.name}: ${JSON.stringify(await meet(peer, `interop-${index}`))}`);
  } catch (error) {
    failed += 1;
    console.log(`${peer.name}: FAILED: ${error.message}`);
  }
}
await browser.close();
await engine.stop();
server.close();
console.log(`${PEERS.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);

async function meet({ name, script, mimeType, tone }, roomId) {
  await engine.createRoom(roomId);
  const page = await foreignGuest({ engine, browser, origin: server.origin, roomId, guest: { ...ADA, width: 640, height: 360, fps: 20 } });
  await call(page, 'publish', 'video', 'video/VP8');
  await call(page, 'publish', 'audio');
  const { token } = await engine.invite(roomId);
  const program = new Program({
    name: `peer-${name}`,
    command: process.env.PYTHON ?? 'python3',
    args: [path.join(root, 'tests/interop', script), engine.url, roomId, token, name, String(SECONDS), mimeType],
  });
  await engine.admit(roomId, name);
  const theirs = await until('both of their tracks are announced', async () => {
    const notices = await page.evaluate(() => window.client.noticesOf('new-producer'));
    return notices.length === 2 && notices;
  });
  const consumers = {};
  for (const { producerId, kind } of theirs) consumers[kind] = await call(page, 'consume', producerId);
  await call(page, 'watch', consumers.video.id);
  const told = await program.line('tells what it saw', line => line.startsWith('{') && JSON.parse(line), 60_000);
  const watched = await call(page, 'watched');
  const { levels } = await heard(page, [tone]);
  await page.context().close();
  assert.ok(watched.frames > SECONDS * 5, `Chromium saw ${watched.frames} pictures`);
  assert.ok(told.frames > SECONDS * 5, `it saw ${told.frames} pictures`);
  assert.ok(told.sound > SECONDS * 20, `it heard ${told.sound} pieces of sound`);
  return { chromiumSaw: watched.frames, chromiumHeard: Number(levels[0].toFixed(3)), ...told };
}
