// The desktop window, driven as a streamer would: create a room, make an invite, see the guest, let them in, say goodbye.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { ADA } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { artifact, binary } from '../lib/places.mjs';
import { childrenNamed, isAlive } from '../lib/process.mjs';
import { CODE_AREA } from '../lib/timecode.mjs';
import { until } from '../lib/wait.mjs';
import { Window } from '../lib/webdriver.mjs';
import { Display } from '../lib/x.mjs';

const ada = { ...ADA, width: 640, height: 360, fps: 15 };
const id = name => `[data-testid="${name}"]`;
const card = `${id('guest-card')}[data-name="Ada"]`;
let display, engine, window, browser, invite, page;

before(async () => {
  display = await Display.start({ width: 1280, height: 900 });
  // Only its folders and settings: the engine itself is inside the window's program.
  engine = new Engine({ name: 'desktop' });
  window = await Window.open({ binary: binary('greenroom'), args: engine.arguments, env: { ...engine.environment, DISPLAY: display.name, LIBGL_ALWAYS_SOFTWARE: '1' } });
  engine.url = new URL(await until('the dashboard has an address', async () => (await window.url()).startsWith('http') && window.url())).origin;
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  await window?.close();
  await display?.stop();
});

test('the window opens on the dashboard, already logged in', { timeout: 30_000 }, async () => {
  await window.find(id('dashboard'));
  const health = await (await fetch(`${engine.url}/health`)).json();
  assert.equal(health.status, 'ok');
  assert.match(await window.text(id('version')), new RegExp(health.version.replaceAll('.', '\\.')));
  assert.doesNotMatch(await window.url(), /token=/, 'the token does not stay in the address');
});

test('the streamer creates a room and an invite, with a QR code', { timeout: 40_000 }, async () => {
  await window.type(id('room-title'), 'Friday show');
  await window.click(id('room-create'));
  await until('the room is open', async () => (await window.text(id('room-heading'))).includes('Friday show'));
  await window.click(id('invite-new'));
  await window.click(id('invite-create'));
  await window.find(id('invite-qr'));
  const url = await window.run(`return document.querySelector('${id('invite-link')}').value`);
  assert.match(url, /^http:\/\/localhost:\d+\/join\/[\w-]+#\S{20,}$/);
  invite = { url };
  await window.screenshot(artifact('desktop-invite.png'));
  await window.click(id('invite-done'));
});

test('a guest waits: the streamer sees picture and name, lets them in, and they are live', { timeout: 60_000 }, async () => {
  browser = await launchChromium();
  page = await joinAsGuest(browser, invite, ada);
  await window.find(`${card}[data-state="waiting"]`);
  await until('the preview shows the picture of the guest', () => window.run(blocksInPreview, card, CODE_AREA), { within: 15_000 });
  await window.screenshot(artifact('desktop-waiting.png'));
  await window.click(`${card} ${id('guest-admit')}`);
  await isLive(page);
  await window.find(`${card}[data-state="live"][data-slot="1"]`);
  const occupants = await window.run(`return [...document.querySelectorAll('${id('slot-occupant')}')].map(element => element.textContent.trim())`);
  assert.equal(occupants[0], 'Ada');
  await until('the preview goes on', () => window.run(blocksInPreview, card, CODE_AREA));
  await window.screenshot(artifact('desktop-live.png'));
  await display.screenshot(artifact('desktop-display.png'));
});

test('the streamer mutes and removes the guest, who is told', { timeout: 40_000 }, async () => {
  await window.click(`${card} ${id('guest-mute-audio')}`);
  await page.waitForSelector('[data-testid="muted-by-host"]');
  await window.click(`${card} ${id('guest-remove')}`);
  await window.click(`${card} ${id('guest-remove-confirm')}`);
  await page.waitForSelector('[data-testid="full-message"]');
  await page.screenshot({ path: artifact('guest-removed.png') });
  await until('the card is gone', async () => !(await window.run(`return document.querySelector('${card}') !== null`)));
});

test('asked to end, the window goes, and with it the engine and its media worker', { timeout: 30_000 }, async () => {
  const [app] = childrenNamed(window.driver.pid, 'greenroom');
  const [worker] = childrenNamed(app, 'greenroom-media');
  assert.ok(app && worker, 'both run');
  // Closes the window. That the driver would do it by killing the program tells nothing of ours.
  process.kill(app, 'SIGTERM');
  await window.driver.line('a goodbye', line => line.includes('Greenroom has ended'));
  await until('both programs are gone', () => !isAlive(app) && !isAlive(worker));
  await assert.rejects(fetch(`${engine.url}/health`));
});

/** Runs in the window: whether the preview's blocks are clearly black and clearly white, as a time code's are. */
const blocksInPreview = `
  const [card, [left, top, right, bottom]] = arguments;
  const canvas = document.querySelector(card + ' canvas');
  if (!canvas) return false;
  const { data, width } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let [dark, light] = [0, 0];
  for (let bit = 0; bit < 40; bit += 1) {
    const x = Math.floor((left + (bit % 10 + 0.5) * (right - left) / 10) * width);
    const y = Math.floor((top + (Math.floor(bit / 10) + 0.5) * (bottom - top) / 4) * canvas.height);
    const level = data[(y * width + x) * 4 + 1];
    if (level < 70) dark += 1;
    if (level > 180) light += 1;
  }
  return dark >= 5 && light >= 5 && dark + light >= 38;`;
