// The guest page by itself: real (fake-driver) devices, and clear words for each thing that can go wrong.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { ADA, BEN, cameraFiles } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { fillIn, isLive, joinAsGuest } from '../lib/guest.mjs';
import { artifact, privateFolder } from '../lib/places.mjs';
import { run } from '../lib/process.mjs';
import { readTimecode } from '../lib/timecode.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'door';
const folder = privateFolder('guest-page');
const small = { width: 320, height: 180, fps: 15 };
const id = name => `[data-testid="${name}"]`;
let engine, dashboard, browser;

before(async () => {
  engine = await Engine.start({ name: 'engine-guest-page', settings: '[rooms]\nmax_peers = 3\n' });
  await engine.createRoom(ROOM, 'The door');
  dashboard = await engine.dashboard();
  browser = await launchChromium();
}, { timeout: 60_000 });

after(async () => {
  dashboard?.close();
  await browser?.close();
  await engine?.stop();
});

test("a guest with the browser's own devices: chosen by name, seen and heard, switched off and on", { timeout: 90_000 }, async t => {
  const files = cameraFiles(folder, { ...ADA, ...small });
  const own = await launchChromium({ files });
  t.after(() => own.close());
  const page = await openPage(own, { name: 'own-devices', url: (await engine.invite(ROOM)).url });
  await page.locator(`${id('camera-select')} option`).filter({ hasText: 'camera.y4m' }).first().waitFor({ state: 'attached' });
  await fillIn(page, 'Files');
  await page.screenshot({ path: artifact('guest-files-waiting.png') });

  const { peerId } = await engine.peer(ROOM, 'Files', { state: 'waiting' });
  const view = () => dashboard.snapshot.rooms.flatMap(room => room.guests).find(guest => guest.peerId === peerId);
  const codes = new Set();
  await until('the numbers in the preview count', async () => {
    const code = await codeInPreview(peerId);
    if (code !== null) codes.add(code);
    return codes.size >= 3;
  }, { within: 30_000 });
  assert.ok([...codes].every(code => code < files.frames), `frame numbers: ${[...codes]}`);
  await until('the microphone is heard', () => (dashboard.levels.get(peerId)?.rmsDbfs ?? -127) > -50);

  await engine.admit(ROOM, 'Files');
  await isLive(page);
  await until('the host sees both on', () => view().camera === 'on' && view().microphone === 'on');
  await page.locator(id('camera-toggle')).click();
  await until('the host sees that the camera is off', () => view().camera !== 'on');
  await page.locator(id('microphone-toggle')).click();
  await until('the host sees that the microphone is muted', () => view().microphone === 'muted-by-guest');
  await page.locator(id('camera-toggle')).click();
  await page.locator(id('microphone-toggle')).click();
  await until('both are on again', () => view().camera === 'on' && view().microphone === 'on');
  codes.clear();
  await until('the picture is back', async () => codes.add(await codeInPreview(peerId)).size >= 3);
  await engine.remove(ROOM, peerId);
  await page.locator(`${id('full-message')}[data-code="kicked"]`).waitFor();
});

test('permission refused, or no devices at all: the page says so, and lets the guest watch', { timeout: 90_000 }, async t => {
  for (const [devices, code] of [['denied', 'denied'], ['none', 'missing']]) {
    const poor = await launchChromium({ devices });
    t.after(() => poor.close());
    const page = await openPage(poor, { name: `devices-${devices}`, url: (await engine.invite(ROOM)).url });
    await page.locator(`[data-code="${code}"]`).first().waitFor();
    await page.screenshot({ path: artifact(`guest-${devices}.png`) });
    await fillIn(page, 'Silent');
    const peerId = await engine.admit(ROOM, 'Silent');
    await isLive(page);
    await engine.remove(ROOM, peerId);
    await until('the room is empty', async () => (await engine.room(ROOM)).peers.length === 0);
  }
});

test('a link that cannot be used says why, each in its own words', { timeout: 90_000 }, async () => {
  const page = await openPage(browser, { guest: { ...BEN, ...small } });
  const says = async (url, code) => {
    await page.goto('about:blank');
    await page.goto(url);
    const message = page.locator(id('full-message'));
    // What only the engine knows comes with the attempt to join.
    await page.locator(`${id('full-message')}, ${id('name-input')}`).first().waitFor();
    if ((await message.count()) === 0) {
      await page.locator(id('name-input')).fill('Ben');
      await page.locator(id('join-button')).click();
      await message.waitFor();
    }
    assert.equal(await message.getAttribute('data-code'), code);
    assert.ok((await page.locator(id('full-title')).textContent()).length > 10);
  };
  const revoked = await engine.invite(ROOM);
  await engine.rest('DELETE', `/api/rooms/${ROOM}/invites/${revoked.id}`);
  const short = await engine.invite(ROOM, { expiresIn: 1 });
  const { url, token } = await engine.invite(ROOM);
  await says(url.split('#')[0], 'link-incomplete');
  await says(url.replace(token, `${token.slice(0, -4)}AAAA`), 'invite-invalid');
  await says(revoked.url, 'invite-revoked');
  await until('the short invite is over', () => Date.now() > Date.parse(short.expiresAt));
  await says(short.url, 'invite-expired');
  await page.screenshot({ path: artifact('guest-expired.png') });

  const once = await engine.invite(ROOM);
  const first = await joinAsGuest(browser, once, { ...ADA, ...small });
  await says(once.url, 'invite-used-up');
  await joinAsGuest(browser, await engine.invite(ROOM), { ...ADA, ...small, name: 'Second' });
  await joinAsGuest(browser, await engine.invite(ROOM), { ...ADA, ...small, name: 'Third' });
  await says((await engine.invite(ROOM)).url, 'room-full');
  for (const { peerId } of (await engine.room(ROOM)).peers) await engine.remove(ROOM, peerId);
  await first.locator(`${id('full-message')}[data-code="kicked"]`).waitFor();
  await page.context().close();
});

test('a reload in the show goes straight back in, to the same slot', { timeout: 60_000 }, async () => {
  const page = await joinAsGuest(browser, await engine.invite(ROOM), { ...ADA, ...small });
  await engine.admit(ROOM, 'Ada', 2);
  await isLive(page);
  await page.reload();
  await isLive(page);
  const back = await until('Ada is in her slot, once', () => {
    const guests = dashboard.snapshot.rooms.flatMap(room => room.guests);
    return guests.length === 1 && guests[0].slot === 2 && guests[0].connected && guests[0];
  });
  const before = dashboard.previews.get(back.peerId.replaceAll('-', ''))?.count ?? 0;
  await until('her picture is back', () => (dashboard.previews.get(back.peerId.replaceAll('-', ''))?.count ?? 0) > before + 2);
  await page.context().close();
});

test('the page fits a phone', { timeout: 60_000 }, async () => {
  const page = await openPage(browser, { guest: { ...BEN, ...small }, viewport: { width: 360, height: 740 }, url: (await engine.invite(ROOM)).url });
  await page.locator(id('join-button')).waitFor();
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.equal(await overflow(), 0);
  await page.screenshot({ path: artifact('phone-check.png') });
  await fillIn(page, 'Ben');
  assert.equal(await overflow(), 0);
  await engine.admit(ROOM, 'Ben', 1);
  await isLive(page);
  assert.equal(await overflow(), 0);
  await page.screenshot({ path: artifact('phone-live.png') });
  await page.context().close();
});

/** The number in the newest preview picture of a peer, or null. */
async function codeInPreview(peerId) {
  const preview = dashboard.previews.get(peerId.replaceAll('-', ''));
  if (!preview) return null;
  const file = `${folder}/preview.jpg`;
  fs.writeFileSync(file, preview.jpeg);
  const data = await run('ffmpeg', ['-v', 'error', '-i', file, '-vf', 'scale=160:90:flags=area,format=gray', '-f', 'rawvideo', '-']);
  return readTimecode({ width: 160, height: 90, data });
}
