// Performers and co-hosts at their own pages: who asks for the stage, who lets them onto it, and who keeps the room in order.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { fillIn, isLive, joinAsGuest } from '../lib/guest.mjs';
import { heard, isColour, readVideos } from '../lib/look.mjs';
import { artifact } from '../lib/places.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'stage';
const small = { width: 320, height: 180, fps: 15 };
const [pia, ben] = [{ ...ADA, ...small, name: 'Pia' }, { ...BEN, ...small }];
const id = name => `[data-testid="${name}"]`;
let engine, browser, dashboard, benPage, piaPage, cemPage;

before(async () => {
  engine = await Engine.start({ name: 'engine-roles' });
  await engine.createRoom(ROOM, 'Open stage');
  browser = await launchChromium();
  dashboard = await openPage(browser, { name: 'roles-dashboard', url: engine.dashboardUrl, viewport: { width: 1200, height: 800 } });
  benPage = await joinAsGuest(browser, await engine.invite(ROOM), ben);
  await engine.admit(ROOM, 'Ben');
  await isLive(benPage);
}, { timeout: 90_000 });

after(async () => {
  await browser?.close();
  await engine?.stop();
});

test('a performer watches, asks for the stage, and is let onto it from the dashboard: everybody sees and hears them', { timeout: 120_000 }, async () => {
  piaPage = await arrive(pia, 'performer');
  await piaPage.locator(id('audience')).filter({ hasText: 'Raise your hand' }).waitFor();
  await seesAndHears(piaPage, ben, 'the audience receives');
  assert.equal(await piaPage.locator(id('self')).count(), 0);
  assert.equal(await benPage.locator(tile('Pia')).count(), 0, 'who watches has no tile');

  const card = dashboard.locator(`${id('guest-card')}[data-name="Pia"]`);
  await piaPage.locator(id('hand-toggle')).click();
  await card.locator(id('guest-hand')).waitFor();
  await dashboard.screenshot({ path: artifact('roles-dashboard-asks.png') });
  await card.locator(id('guest-admit')).filter({ hasText: 'Onto the stage' }).click();

  await seesAndHears(benPage, pia, 'the others receive the performer');
  await piaPage.locator(id('self')).waitFor();
  await until('the hand is down again', async () => (await piaPage.locator(id('hand-toggle')).getAttribute('aria-pressed')) === 'false');
  await seesAndHears(piaPage, ben, 'the performer goes on receiving');
  assert.equal(await piaPage.locator(id('hint')).filter({ hasText: 'could not agree' }).count(), 0);
  await piaPage.screenshot({ path: artifact('roles-performer-on-stage.png') });
  await dashboard.screenshot({ path: artifact('roles-dashboard-on-stage.png') });
});

test('a co-host takes them off the stage, hears them ask, and lets them onto it again', { timeout: 120_000 }, async () => {
  cemPage = await arrive({ ...BEN, ...small, name: 'Cem', colour: [60, 160, 90], tone: 880 }, 'co-host');
  await cemPage.locator(id('people-toggle')).click();
  const person = cemPage.locator(`${id('person')}[data-name="Pia"]`);
  await person.locator(id('person-off-stage')).click();
  await piaPage.locator(id('audience')).waitFor();
  await until('the others see her no more', async () => (await benPage.locator(tile('Pia')).count()) === 0);
  // Whoever only watches has no business with an open camera.
  await until('her camera is closed', () => piaPage.evaluate(() => window.greenroomConnections.filter(c => c.connectionState !== 'closed').every(c => c.getSenders().every(s => s.track === null))));

  await piaPage.locator(id('hand-toggle')).click();
  await person.locator(id('person-onto-stage')).waitFor();
  await cemPage.screenshot({ path: artifact('roles-cohost-list.png') });
  await cemPage.locator(id('people-close')).click();
  await cemPage.locator(id('asking-peer')).filter({ hasText: 'Pia asks for the stage' }).waitFor();
  await cemPage.screenshot({ path: artifact('roles-cohost-asked.png') });
  await cemPage.locator(id('asking-admit')).click();
  await seesAndHears(benPage, pia, 'the performer is back');
});

test('a co-host lets in, turns away, silences and removes, and reaches nobody above', { timeout: 180_000 }, async () => {
  const ada = await joinAsGuest(browser, await engine.invite(ROOM), { ...ADA, ...small });
  const eve = await joinAsGuest(browser, await engine.invite(ROOM), { ...ADA, ...small, name: 'Eve' });
  const waiting = name => cemPage.locator(`${id('people-waiting')}[data-name="${name}"]`);
  await cemPage.locator(id('waiting-peer')).filter({ hasText: 'Ada' }).waitFor();
  await cemPage.locator(id('people-toggle')).click();
  await waiting('Ada').waitFor();
  await waiting('Eve').waitFor();
  assert.equal(await cemPage.locator(id('people-waiting-count')).textContent(), '2');
  await cemPage.screenshot({ path: artifact('roles-cohost-people.png') });
  await waiting('Eve').locator(id('people-reject')).click();
  await eve.locator(`${id('full-message')}[data-code="kicked"]`).waitFor();
  await waiting('Ada').locator(id('people-admit')).click();
  await isLive(ada);

  const person = cemPage.locator(`${id('person')}[data-name="Ada"]`);
  await person.locator(id('person-mute')).click();
  await ada.locator(id('muted-by-host')).filter({ hasText: 'microphone' }).waitFor();
  await ada.screenshot({ path: artifact('roles-guest-muted.png') });
  await person.locator(id('person-mute')).filter({ hasText: 'Unmute' }).click();
  await ada.locator(id('muted-by-host')).waitFor({ state: 'detached' });
  await person.locator(id('person-camera')).click();
  await ada.locator(id('muted-by-host')).filter({ hasText: 'camera' }).waitFor();

  await person.locator(id('person-remove')).click();
  await person.locator(id('person-remove-confirm')).click();
  await ada.locator(`${id('full-message')}[data-code="kicked"]`).waitFor();
  await person.waitFor({ state: 'detached' });

  // A host, and another co-host, are out of reach; guests have no such list at all.
  const host = await arrive({ ...BEN, ...small, name: 'Mira', colour: [160, 60, 160], tone: 990 }, 'host');
  const above = cemPage.locator(`${id('person')}[data-name="Mira"]`);
  await above.waitFor();
  assert.equal(await above.locator('button').count(), 0);
  assert.equal(await benPage.locator(id('people-toggle')).count(), 0);
  await host.locator(id('people-toggle')).click();
  await host.locator(`${id('person')}[data-name="Cem"] ${id('person-remove')}`).waitFor();
});

/** Enters a room by a link of that role; all but guests are in at once. */
async function arrive(guest, role) {
  const { url } = await engine.invite(ROOM, { role });
  const page = await openPage(browser, { guest, url, viewport: { width: 1000, height: 640 } });
  await page.locator(id('name-input')).fill(guest.name);
  await page.locator(id('join-button')).click();
  await isLive(page);
  return page;
}

const tile = name => `${id('remote-peer')}[data-name="${name}"]`;

async function seesAndHears(page, guest, what) {
  await until(`${what}: picture`, async () => {
    const videos = await readVideos(page);
    return videos.some(video => video.ids.includes('remote-video') && video.code !== null && isColour(video.colour, guest.colour)) || Promise.reject(new Error(JSON.stringify(videos)));
  }, { within: 20_000 });
  await until(`${what}: sound`, async () => (await heard(page, [guest.tone])).levels[0] > 0.03, { within: 20_000 });
}
