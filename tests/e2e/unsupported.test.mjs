// A guest whose stream crashes the decoder, again and again: three times, then they are without a picture, and everybody else goes on.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { Obs } from '../lib/obs.mjs';
import { artifact, privateFolder, root } from '../lib/places.mjs';
import { run } from '../lib/process.mjs';
import { lookAt, showsLive } from '../lib/scene.mjs';
import { holds, until } from '../lib/wait.mjs';

const ROOM = 'unsupported';
const ben = { ...BEN, width: 320, height: 180, fps: 15 };
/** The one whose pictures the decoder cannot bear. */
const mallory = { ...ADA, name: 'Mallory', width: 320, height: 240, fps: 15 };
const folder = privateFolder('fault');
const fault = path.join(folder, 'fault');
let engine, obs, chromium, dashboard, panel;

before(async () => {
  const library = path.join(folder, 'faulty-decoder.so');
  await run('cc', ['-shared', '-fPIC', '-o', library, path.join(root, 'tests/lib/faulty-decoder.c'), '-ldl']);
  fs.writeFileSync(fault, '');
  engine = await Engine.start({ name: 'engine-unsupported', env: { LD_PRELOAD: library, FAULTY_DECODER: fault } });
  await engine.createRoom(ROOM);
  [obs, chromium] = await Promise.all([Obs.start({ socket: engine.socket, name: 'obs-unsupported' }), launchChromium()]);
  await obs.addGuest('Mallory', { slot: 1, away: 'slate' });
  await obs.addGuest('Ben', { slot: 2, away: 'slate' });
  const benPage = await joinAsGuest(chromium, await engine.invite(ROOM), ben);
  await engine.admit(ROOM, 'Ben', 2);
  await isLive(benPage);
  await showsLive(obs, 'Ben', ben);
  dashboard = await engine.dashboard();
  panel = await openPage(chromium, { name: 'unsupported-dashboard', url: engine.dashboardUrl, viewport: { width: 1200, height: 900 } });
}, { timeout: 90_000 });

after(async () => {
  dashboard?.close();
  await chromium?.close();
  await obs?.stop();
  await engine?.stop();
}, { timeout: 40_000 });

const guest = name => dashboard.snapshot.rooms.flatMap(room => room.guests).find(guest => guest.displayName === name);
const crashes = () => engine.program.lines.filter(line => line.includes('the media worker ended')).length;
const isGivenUp = count => until('Mallory’s picture is given up', () => guest('Mallory')?.failed && crashes() === count, { within: 30_000 });

test('three crashes, and the stream is left out: the worker lives, the others are live, the sound goes on', { timeout: 90_000 }, async () => {
  const page = await joinAsGuest(chromium, await engine.invite(ROOM), mallory);
  await engine.admit(ROOM, 'Mallory', 1);
  await isLive(page);
  await isGivenUp(3);
  assert.match(guest('Mallory').trouble, /picture cannot be shown in OBS: unsupported video/);
  assert.ok(!guest('Ben').failed);
  // A machine that is busy with three crashes may lose packets meanwhile.
  await until('Ben has no trouble', () => guest('Ben').trouble === null || Promise.reject(new Error(guest('Ben').trouble)));
  assert.ok(dashboard.snapshot.notes.some(note => /Mallory's picture cannot be shown/.test(note.text)));
  const worker = await engine.mediaWorker();
  await showsLive(obs, 'Ben', ben, { since: Date.now() });
  await until('Mallory is heard', async () => (await obs.peak('Mallory', 700)) > 0.05);
  await holds('nobody dies any more', async () => crashes() === 3 && (await engine.mediaWorker()) === worker, 4000);
  obs.assertNoAddedDelay();
});

test('the source’s card says so, and the dashboard', { timeout: 30_000 }, async () => {
  const { data, width, height } = await until('a card', async () => {
    const seen = await lookAt(obs, 'Mallory');
    const picture = await obs.screenshot('Mallory', { file: artifact('unsupported-obs.png') });
    return seen.code === null && seen.mean[3] > 250 && picture;
  });
  const bright = [];
  for (let y = Math.round(height * 0.6); y < height; y += 1) for (let x = 0; x < width; x += 1) if (data[(y * width + x) * 4] > 180) bright.push(y);
  assert.ok(bright.length > 40, 'there is writing below the name');
  const card = panel.locator('[data-testid=guest-card][data-name=Mallory]');
  assert.match(await card.getByTestId('guest-trouble').textContent(), /unsupported video/);
  await card.screenshot({ path: artifact('unsupported-dashboard.png') });
});

test('tried again, it has three chances more, and no others', { timeout: 60_000 }, async () => {
  await engine.rest('POST', `/api/rooms/${ROOM}/peers/${guest('Mallory').peerId}/try-again`);
  await isGivenUp(6);
  await showsLive(obs, 'Ben', ben, { since: Date.now() });
});

test('with a decoder that bears it, the streamer’s click brings the guest back', { timeout: 60_000 }, async () => {
  fs.rmSync(fault);
  await panel.locator('[data-testid=guest-card][data-name=Mallory]').getByTestId('guest-try-again').click();
  await until('Mallory’s picture is not given up any more', () => !guest('Mallory').failed && guest('Mallory').trouble === null);
  await showsLive(obs, 'Mallory', mallory);
  await showsLive(obs, 'Ben', ben, { since: Date.now() });
  assert.equal(crashes(), 6);
});
