// Sound sent twice (RED, RFC 2198) by a page that prefers it: who knows RED gets it whole, the others and OBS plain sound.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { heard } from '../lib/look.mjs';
import { servePage } from '../lib/page.mjs';
import { call, foreignGuest } from '../lib/room.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'twice';
let server, engine, dashboard, browser, ada, ben, cleo, producerId;

before(async () => {
  server = await servePage('mediasoup');
  engine = await Engine.start({ name: 'engine-redundant', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM, 'Twice');
  dashboard = await engine.dashboard();
  browser = await launchChromium();
  const room = { engine, browser, origin: server.origin, roomId: ROOM };
  ada = await foreignGuest({ ...room, guest: ADA });
  ben = await foreignGuest({ ...room, guest: BEN });
  cleo = await foreignGuest({ ...room, guest: { ...BEN, name: 'Cleo' } });
}, { timeout: 90_000 });

after(async () => {
  dashboard?.close();
  await browser?.close();
  await engine?.stop();
  server?.close();
});

test('a page that prefers RED publishes with it, and the media worker hears it', { timeout: 40_000 }, async () => {
  producerId = await call(ada, 'publishSoundTwice');
  const { peerId } = await engine.peer(ROOM, 'Ada');
  await until("Ada's level", () => (dashboard.levels.get(peerId)?.rmsDbfs ?? -127) > -50);
});

test('one that knows RED hears it with its repetitions', { timeout: 40_000 }, async () => {
  const { codecs } = await call(cleo, 'consumeSoundTwice', producerId);
  assert.deepEqual(codecs, ['audio/opus', 'audio/red']);
  await hears(cleo, 'Cleo');
  const { packets, repeated, lost } = await counted(cleo);
  assert.ok(repeated > packets / 2 && lost === 0, `${repeated} repetitions in ${packets} packets, ${lost} lost`);
});

test('an unmodified mediasoup-client hears it as plain Opus', { timeout: 40_000 }, async () => {
  const { mimeType } = await call(ben, 'consume', producerId);
  assert.equal(mimeType, 'audio/opus');
  await hears(ben, 'Ben');
  const { packets, repeated, lost } = await counted(ben);
  assert.ok(repeated < packets / 10 && lost === 0, `${repeated} repetitions in ${packets} packets, ${lost} lost`);
});

/** Once a second's worth of packets has come. */
function counted(page) {
  return until('enough packets come', async () => {
    const sound = await call(page, 'soundCounted');
    return sound.packets > 50 && sound;
  });
}

async function hears(page, name) {
  await until(`${name} hears Ada`, async () => (await heard(page, [ADA.tone])).levels[0] > 0.03);
}
