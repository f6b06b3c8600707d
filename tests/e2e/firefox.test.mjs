// Firefox as a guest: it joins, is seen and heard, and sees the others. It has no H.264 here, so VP8 is what all share.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox, openFirefoxPage, soundReceived } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { fillIn, isLive, joinAsGuest } from '../lib/guest.mjs';
import { heard, isColour, readVideos } from '../lib/look.mjs';
import { artifact } from '../lib/places.mjs';
import { age } from '../lib/timecode.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'foxes';
const ada = { ...ADA, width: 320, height: 180, fps: 15 };
// Its picture is drawn, its sound is the 1 kHz of Firefox's own fake microphone.
const fox = { ...BEN, name: 'Fox', width: 320, height: 180, fps: 15, ownMicrophone: true, tone: 1000 };
let engine, chromium, firefox, adaPage, foxPage, dashboard;

before(async () => {
  engine = await Engine.start({ name: 'engine-firefox' });
  await engine.createRoom(ROOM);
  [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox()]);
}, { timeout: 90_000 });

after(async () => {
  dashboard?.close();
  await Promise.all([chromium?.close(), firefox?.close()]);
  await engine?.stop();
});

test('Firefox joins through the guest page and is let in', { timeout: 60_000 }, async () => {
  adaPage = await joinAsGuest(chromium, await engine.invite(ROOM), ada);
  await engine.admit(ROOM, 'Ada');
  foxPage = await openFirefoxPage(firefox, { guest: fox, url: (await engine.invite(ROOM)).url });
  await fillIn(foxPage, 'Fox');
  await engine.admit(ROOM, 'Fox');
  await isLive(foxPage);
});

test('Firefox is seen and heard, as VP8', { timeout: 40_000 }, async () => {
  await until('Ada sees Fox', async () => {
    const videos = await readVideos(adaPage);
    return videos.some(video => video.code !== null && age(video.code) < 2000 && isColour(video.colour, fox.colour)) || Promise.reject(new Error(JSON.stringify(videos)));
  });
  await until('Ada hears Fox', async () => {
    const { levels } = await heard(adaPage, [ada.tone, fox.tone]);
    return levels[1] > 0.03 && levels[0] < 0.01;
  });
  await until('that is VP8', async () => {
    const { consumers } = await engine.peer(ROOM, 'Ada');
    return consumers.some(one => one.mimeType === 'video/VP8' && one.packetCount > 0) || Promise.reject(new Error(JSON.stringify(consumers)));
  });
});

test('Firefox sees and hears the other, not itself', { timeout: 40_000 }, async () => {
  await until('Fox sees Ada', async () => {
    const videos = await readVideos(foxPage);
    return videos.some(video => video.code !== null && age(video.code) < 2000 && isColour(video.colour, ada.colour)) || Promise.reject(new Error(JSON.stringify(videos)));
  });
  await until('Fox hears Ada', async () => (await soundReceived(foxPage)) > 0.001);
  await adaPage.locator('[data-testid="microphone-toggle"]').click();
  let energy = await soundReceived(foxPage);
  await until('Fox hears nobody once Ada is muted, so not itself either', async () => {
    const before = energy;
    energy = await soundReceived(foxPage);
    return energy - before < 1e-5;
  }, { every: 1000 });
  await adaPage.locator('[data-testid="microphone-toggle"]').click();
  await foxPage.screenshot({ path: artifact('firefox-live.png') });
});

test('the media worker decodes Firefox: the dashboard has its picture and level', { timeout: 30_000 }, async () => {
  dashboard = await engine.dashboard();
  const { peerId } = await engine.peer(ROOM, 'Fox');
  await until('previews of Fox', () => (dashboard.previews.get(peerId.replaceAll('-', ''))?.count ?? 0) >= 2);
  await until("Fox's level", () => (dashboard.levels.get(peerId)?.rmsDbfs ?? -127) > -60);
});

test('a fresh Firefox with its real (fake-driver) devices joins too', { timeout: 60_000 }, async () => {
  const page = await openFirefoxPage(firefox, { name: 'firefox-devices', url: (await engine.invite(ROOM)).url });
  await fillIn(page, 'Reynard');
  const peerId = await engine.admit(ROOM, 'Reynard');
  await until('previews of Reynard', () => (dashboard.previews.get(peerId.replaceAll('-', ''))?.count ?? 0) >= 2);
  await until('Ada sees Reynard', () => adaPage.evaluate(() => document.querySelector('[data-name="Reynard"] video')?.videoWidth > 100));
});
