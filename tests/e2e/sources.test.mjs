// What a source in OBS follows: the active speaker, a shared screen, a guest by name, a stand-in; and what the guest's
// page, the media worker and the tracks notice of being shown or hidden.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { valueOf } from '../lib/exposition.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { isColour, readVideos } from '../lib/look.mjs';
import { GUEST_SOUND, Obs } from '../lib/obs.mjs';
import { artifact } from '../lib/places.mjs';
import { lookAt, showsLive } from '../lib/scene.mjs';
import { holds, pause, until } from '../lib/wait.mjs';

const ROOM = 'sources';
const SIZE = { width: 320, height: 180, fps: 15 };
const ada = { ...ADA, width: 960, height: 540, fps: 15 };
const ben = { ...BEN, ...SIZE };
/** Nobody's camera. */
const SCREEN = [40, 170, 60];
let engine, obs, chromium, adaPage, benPage;

before(async () => {
  engine = await Engine.start({ name: 'engine-sources' });
  await engine.createRoom(ROOM);
  [obs, chromium] = await Promise.all([Obs.start({ socket: engine.socket, name: 'obs-sources' }), launchChromium()]);
  [adaPage, benPage] = await Promise.all([ada, ben].map(async guest => joinAsGuest(chromium, await engine.invite(ROOM), guest)));
  await engine.admit(ROOM, 'Ada', 1);
  await engine.admit(ROOM, 'Ben', 2);
  await Promise.all([isLive(adaPage), isLive(benPage)]);
}, { timeout: 90_000 });

after(async () => {
  await chromium?.close();
  await obs?.stop();
  await engine?.stop();
}, { timeout: 40_000 });

/** A source for the length of a test: what is shown is on air and decoded, which others look for. */
async function addGuest(t, name, settings) {
  const item = await obs.addGuest(name, settings);
  t.after(() => obs.call('RemoveInput', { inputName: name }));
  return item;
}
const click = (page, id) => page.locator(`[data-testid="${id}"]`).click();
/** Only this guest makes any sound. */
async function speaks(talker) {
  for (const [page, guest] of [[adaPage, ada], [benPage, ben]]) {
    const toggle = page.locator('[data-testid="microphone-toggle"]');
    const on = (await toggle.getAttribute('aria-pressed')) === 'true';
    if (on === (guest === talker)) continue;
    await toggle.click();
    await page.locator(`[data-testid="microphone-toggle"][aria-pressed="${!on}"]`).waitFor();
  }
}
const tallyOf = page => page.locator('[data-testid="tally"]').getAttribute('data-state');
const tallyIs = (page, state) => until(`the guest reads ${state}`, async () => (await tallyOf(page)) === state || Promise.reject(new Error(await tallyOf(page))));

test('the active speaker: who speaks is shown, and nothing but guests on the way from one to the next', { timeout: 90_000 }, async t => {
  await speaks(ada);
  await addGuest(t, 'Speaker', { show: 'speaker', sensitivity: 1, hold_ms: 1500 });
  await showsLive(obs, 'Speaker', ada);
  const cards = [];
  for (const talker of [ben, ada, ben]) {
    await speaks(talker);
    await until(`${talker.name} is the picture`, async () => {
      const seen = await lookAt(obs, 'Speaker');
      if (![ada, ben].some(guest => isColour(seen.colour, guest.colour))) cards.push(seen.colour);
      return seen.code !== null && isColour(seen.colour, talker.colour);
    }, { every: 20 });
  }
  assert.deepEqual(cards, [], 'every look found one of the two');
  await obs.screenshot('Scene', { file: artifact('sources-speaker.png') });
  await speaks(null);
  await holds('the last speaker stays in silence', async () => isColour((await lookAt(obs, 'Speaker')).colour, ben.colour), 2000);
  assert.ok((await obs.peak('Speaker', 300)) < 0.001, 'a source that jumps from voice to voice has no sound');
  await speaks(ada);
});

test('a shared screen has a source of its own, a tile on the others’ pages, and ends with the share', { timeout: 60_000 }, async t => {
  await adaPage.evaluate(shareADrawnScreen, SCREEN);
  const item = await addGuest(t, 'Screen', { show: 'screen', away: 'transparent', stand_in: 2 });
  await showsLive(obs, 'Screen', ben);
  await click(adaPage, 'screen-toggle');
  await until('OBS shows the screen', async () => isColour((await lookAt(obs, 'Screen')).mean, SCREEN));
  await until('it is whole', async () => String(await obs.sizeOf(item)) === '1280,720');
  // An encoder begins coarse, and refines a still picture.
  await until('its colour is right', async () => {
    const { mean } = await lookAt(obs, 'Screen', { file: artifact('sources-screen.png') });
    const off = Math.max(...SCREEN.map((level, i) => Math.abs(level - mean[i])));
    if (off <= 4) return true;
    throw new Error(`drawn as ${SCREEN}, in OBS ${mean.slice(0, 3).map(Math.round)}`);
  });
  await until('Ben sees it too', async () => {
    const screen = (await readVideos(benPage)).find(video => video.ids.includes('remote-screen'));
    return screen !== undefined && isColour(screen.colour, SCREEN);
  });
  await benPage.screenshot({ path: artifact('sources-screen-guest-page.png') });
  const dashboard = await engine.dashboard();
  const guest = () => dashboard.snapshot.rooms.flatMap(room => room.guests).find(guest => guest.displayName === 'Ada');
  await until('the dashboard has a preview of it', () => guest().screen !== null && dashboard.previews.get(guest().screen.replaceAll('-', ''))?.count > 1);
  dashboard.close();
  await showsLive(obs, 'Screen', ben, { within: 300 }).then(() => assert.fail('the camera is not the screen'), () => {});
  await click(adaPage, 'screen-toggle');
  await showsLive(obs, 'Screen', ben);
});

test('a guest by name is found in whichever slot, and in none', { timeout: 60_000 }, async t => {
  await addGuest(t, 'Pinned', { show: 'person', person: 'ben' });
  await showsLive(obs, 'Pinned', ben);
  const { peerId } = await engine.peer(ROOM, 'Ben');
  for (const slot of [3, null, 2]) {
    await engine.rest('POST', `/api/rooms/${ROOM}/peers/${peerId}/slot`, { slot });
    await pause(300);
    await showsLive(obs, 'Pinned', ben, { since: Date.now() });
  }
});

test('a stand-in is there while the first is away, and goes when they are back', { timeout: 60_000 }, async t => {
  await addGuest(t, 'Ada or Ben', { slot: 1, stand_in: 2, away: 'transparent' });
  await showsLive(obs, 'Ada or Ben', ada);
  await click(adaPage, 'camera-toggle');
  await showsLive(obs, 'Ada or Ben', ben);
  await click(adaPage, 'camera-toggle');
  await showsLive(obs, 'Ada or Ben', ada);
});

test('the sound of a guest is a source of its own, with its own tracks', { timeout: 30_000 }, async () => {
  await speaks(ada);
  const { currentProgramSceneName: sceneName } = await obs.call('GetCurrentProgramScene');
  await obs.call('CreateInput', { sceneName, inputName: 'Voice', inputKind: GUEST_SOUND, inputSettings: { slot: 1 } });
  await until('Ada is heard', async () => (await obs.peak('Voice', 700)) > 0.05);
  await obs.call('SetInputAudioTracks', { inputName: 'Voice', inputAudioTracks: { 1: false, 2: false, 3: true, 4: false, 5: false, 6: false } });
  const { inputAudioTracks } = await obs.call('GetInputAudioTracks', { inputName: 'Voice' });
  assert.deepEqual(Object.keys(inputAudioTracks).filter(track => inputAudioTracks[track]), ['3']);
  await obs.call('RemoveInput', { inputName: 'Voice' });
});

test('the guest’s page tells what is on air, on preview, and off', { timeout: 60_000 }, async t => {
  const { sceneItemId, sceneName } = await addGuest(t, 'Ada', { slot: 1 });
  await tallyIs(adaPage, 'program');
  await tallyIs(benPage, 'off');
  await adaPage.screenshot({ path: artifact('sources-on-air.png') });
  await obs.call('CreateScene', { sceneName: 'Next' });
  await obs.call('SetStudioModeEnabled', { studioModeEnabled: true });
  const preview = async scene => {
    await obs.call('SetCurrentPreviewScene', { sceneName: scene });
    await until(`${scene} is on preview`, async () => (await obs.call('GetCurrentPreviewScene')).currentPreviewSceneName === scene);
    // OBS does it a moment after it says so, and takes no transition during another.
    await pause(500);
    await until('no transition is under way', async () => (await obs.call('GetCurrentSceneTransitionCursor')).transitionCursor >= 1);
  };
  await preview('Next');
  await tallyIs(adaPage, 'program');
  // What was on programme goes to the preview, as OBS does it.
  await obs.call('TriggerStudioModeTransition');
  await tallyIs(adaPage, 'preview');
  await preview('Next');
  await tallyIs(adaPage, 'off');
  await preview(sceneName);
  await tallyIs(adaPage, 'preview');
  await adaPage.screenshot({ path: artifact('sources-on-next.png') });
  await obs.call('TriggerStudioModeTransition');
  await tallyIs(adaPage, 'program');
  await obs.call('SetStudioModeEnabled', { studioModeEnabled: false });
  await obs.show({ sceneName, sceneItemId }, false);
  await tallyIs(adaPage, 'off');
});

test('what no scene shows is not decoded, and is live again at once', { timeout: 60_000 }, async t => {
  const item = await addGuest(t, 'Costs', { slot: 1 });
  await showsLive(obs, 'Costs', ada);
  await obs.show(item, false);
  // A moment longer it is kept warm.
  let before = await decoded();
  await until('nothing is decoded any more', async () => {
    await pause(2000);
    const earlier = before;
    before = await decoded();
    return isDeepStrictEqual(before, earlier);
  });
  await pause(4000);
  assert.deepEqual(await decoded(), before, 'decoded while it was hidden');
  const shown = Date.now();
  await obs.show(item, true);
  await showsLive(obs, 'Costs', ada, { since: shown });
  console.log(`# live again after ${Date.now() - shown} ms`);
  await pause(4000);
  const after = await decoded();
  console.log(`# shown: ${after.pictures - before.pictures} pictures, ${(after.seconds - before.seconds).toFixed(3)} s of decoding`);
  assert.ok(after.pictures - before.pictures > 30 && after.seconds > before.seconds);
});

/** What the media worker has decoded so far; it tells once a second. */
async function decoded() {
  const figures = await engine.metrics();
  return { pictures: valueOf(figures, 'greenroom_media_pictures_total'), seconds: valueOf(figures, 'greenroom_media_decode_seconds_total') };
}

/** Runs in the page: a screen of one colour with something that moves. */
function shareADrawnScreen(colour) {
  navigator.mediaDevices.getDisplayMedia = async () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [1280, 720];
    const pen = canvas.getContext('2d', { alpha: false });
    let at = 0;
    const draw = () => {
      pen.fillStyle = `rgb(${colour})`;
      pen.fillRect(0, 0, 1280, 720);
      pen.fillStyle = '#fff';
      pen.fillRect((at += 8) % 1240, 700, 20, 20);
    };
    draw();
    const timer = setInterval(draw, 200);
    const stream = canvas.captureStream(5);
    const [track] = stream.getVideoTracks();
    const stop = track.stop.bind(track);
    track.stop = () => {
      clearInterval(timer);
      stop();
    };
    return stream;
  };
}
