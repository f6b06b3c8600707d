// What fails inside the engine heals by itself: a forwarding worker that panics, and the stage. Debug builds can be hurt by signal.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { heard, isColour, readVideos } from '../lib/look.mjs';
import { age, unixNow } from '../lib/timecode.mjs';
import { until } from '../lib/wait.mjs';

const SMALL = { width: 320, height: 180, fps: 15 };
const ada = { ...ADA, ...SMALL };
const ben = { ...BEN, ...SMALL };
const eve = { ...BEN, ...SMALL, name: 'Eve' };
let engine, browser, adaPage, benPage, evePage, feed;

before(async () => {
  engine = await Engine.start({ name: 'engine-recovery', media: 'workers = 2' });
  browser = await launchChromium();
  await engine.createRoom('first', 'On the first worker');
  await engine.createRoom('second', 'On the other');
  adaPage = await enter('first', ada);
  evePage = await enter('second', eve);
  benPage = await enter('first', ben);
  feed = await engine.dashboard();
  for (const page of [adaPage, benPage, evePage]) await page.evaluate('window.neverReloaded = true');
}, { timeout: 90_000 });

after(async () => {
  feed?.close();
  await browser?.close();
  await engine?.stop();
});

test('guests see and hear each other', { timeout: 40_000 }, async () => {
  await together();
});

test('a forwarding worker panics: its guests are live again within 5 s without a reload, OBS gets pictures again, the other room notices nothing', { timeout: 60_000 }, async () => {
  await until('Eve sends', async () => (await received('second', 'Eve')) > 20_000);
  await evePage.evaluate(`
    window.troubles = 0;
    new MutationObserver(() => { if (document.querySelector('[data-testid="media-trouble"]')) window.troubles += 1; }).observe(document.body, { childList: true, subtree: true });
  `);
  const failed = unixNow();
  process.kill(engine.pid, 'SIGUSR1');
  await engine.program.line('says that it failed', line => line.includes('a forwarding worker failed'));
  const took = await backTogether(failed);
  console.log(`# guests see each other ${took} ms after a panic of their forwarding worker`);
  assert.ok(took < 5000, `${took} ms`);
  await together();
  await preview('Ada');

  const { workers, status } = await (await fetch(`${engine.url}/health`)).json();
  assert.deepEqual({ workers, status }, { workers: 2, status: 'ok' });
  await until('the dashboard says so', () => feed.snapshot.notes.some(note => note.text.includes('started again')) || Promise.reject(new Error(JSON.stringify(feed.snapshot.notes))));
  assert.equal(await evePage.evaluate('window.troubles'), 0, 'Eve was told of no trouble');
  assert.ok((await received('second', 'Eve')) > 20_000, 'Eve still sends');
  assert.equal(await evePage.evaluate('window.neverReloaded'), true);
});

test('the stage panics: the engine starts again at the same address, and everybody is back within 10 s', { timeout: 60_000 }, async () => {
  const pid = engine.pid;
  const failed = unixNow();
  process.kill(pid, 'SIGUSR2');
  const lives = () => engine.program.lines.filter(line => line.includes('Greenroom is ready')).length;
  await until('the next life has begun', () => lives() === 2, { every: 20 });
  await backTogether(unixNow());
  const took = Math.round(unixNow() - failed);
  console.log(`# guests see each other ${took} ms after a panic of the stage`);
  assert.ok(took < 10_000, `${took} ms`);
  await together();
  assert.ok(engine.program.alive && engine.pid === pid);
  assert.ok((await fetch(`${engine.url}/health`)).ok);
});

async function enter(room, guest) {
  const page = await joinAsGuest(browser, await engine.invite(room), guest);
  await engine.admit(room, guest.name);
  await isLive(page);
  return page;
}

/** Bit/s that the engine gets from a guest. */
async function received(room, name) {
  return (await engine.peer(room, name)).quality.recvBitrate;
}

async function sees(page, other, since) {
  await until(`${other.name} is seen`, async () => {
    const videos = await readVideos(page);
    const drawn = video => unixNow() - age(video.code);
    return videos.some(video => video.code !== null && drawn(video) > since && isColour(video.colour, other.colour)) || Promise.reject(new Error(JSON.stringify(videos)));
  }, { every: 50 });
}

/** How many ms after `since` each sees a picture of the other's that was taken later. */
async function backTogether(since) {
  await Promise.all([sees(adaPage, ben, since), sees(benPage, ada, since)]);
  return Math.round(unixNow() - since);
}

async function together() {
  await backTogether(unixNow());
  for (const [page, other] of [[adaPage, ben], [benPage, ada]]) {
    await until(`${other.name} is heard`, async () => (await heard(page, [other.tone])).levels[0] > 0.03);
    assert.equal(await page.evaluate('window.neverReloaded'), true);
  }
}

/** The media worker gets the guest's packets: the dashboard's picture of them is renewed. */
async function preview(name) {
  const { peerId } = await engine.peer('first', name);
  const key = peerId.replaceAll('-', '');
  const before = feed.previews.get(key)?.count ?? 0;
  await until(`${name}'s picture reaches the media worker`, () => (feed.previews.get(key)?.count ?? 0) > before + 2);
}
