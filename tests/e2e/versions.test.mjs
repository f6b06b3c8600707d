// The plugin in OBS and the app are of versions that do not understand each other: both say so, and what to do; nothing else happens.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { Engine } from '../lib/engine.mjs';
import { Obs } from '../lib/obs.mjs';
import { startExample } from '../lib/pattern.mjs';
import { artifact } from '../lib/places.mjs';
import { until } from '../lib/wait.mjs';

const AWAY = ['slate', 'hold', 'transparent'];
let engine, obs, obsPid;

before(async () => {
  engine = await Engine.start({ name: 'engine-versions' });
  obs = await Obs.start({ socket: engine.socket, name: 'obs-versions', canvas: [1280, 720] });
  obsPid = obs.pid;
  for (const away of AWAY) await obs.addGuest(`Guest ${away}`, { slot: 1, away });
}, { timeout: 60_000 });

after(async () => {
  await obs?.stop();
  await engine?.stop();
}, { timeout: 40_000 });

/** How many lines of bright dots stand below the middle of a dark card: the name's end, and the note. */
async function inkBelow(name, file) {
  const { width, height, data } = await obs.screenshot(name, { ...(file && { file: artifact(file) }) });
  let [lines, dark] = [0, true];
  for (let y = Math.round(height * 0.6); y < height; y += 1) {
    let bright = false;
    for (let x = 0; x < width; x += 1) bright ||= data[(y * width + x) * 4 + 1] > 180 && data[(y * width + x) * 4 + 3] > 254;
    if (bright && dark) lines += 1;
    dark = !bright;
  }
  return lines;
}
const reads = (name, file) => until(`${name} says what is wrong`, async () => (await inkBelow(name, file)) >= 2);
const isPlain = name => until(`${name} says nothing of versions`, async () => (await inkBelow(name)) === 0);

test('an engine of the same version: a card with nothing but a name', { timeout: 30_000 }, async () => {
  for (const away of AWAY) await isPlain(`Guest ${away}`);
});

for (const [major, who] of [[2, 'a newer Greenroom'], [0, 'an older Greenroom']]) {
  test(`${who}: every source says what to update, whatever it shows when a guest is away`, { timeout: 60_000 }, async () => {
    await engine.die();
    const host = await startExample('other_version', ['host', engine.socket, String(major)]);
    for (const away of AWAY) await reads(`Guest ${away}`, `versions-obs-${who}-${away}.png`);
    const advice = major > 1 ? 'the plugin in OBS is older than Greenroom' : 'Greenroom is older than its plugin in OBS';
    await until('OBS’s log says it too', () => obs.log.includes(advice));
    assert.ok(obs.alive && obs.pid === obsPid);
    await host.stop('SIGKILL');
    await engine.launch();
    for (const away of ['slate', 'transparent']) await isPlain(`Guest ${away}`);
  });
}

test('the dashboard says which of the two is to be updated, as long as such a source asks', { timeout: 60_000 }, async t => {
  const browser = await launchChromium({ devices: 'none' });
  t.after(() => browser.close());
  const page = await openPage(browser, { name: 'versions-dashboard', url: engine.dashboardUrl, viewport: { width: 1200, height: 800 } });
  const card = page.getByTestId('obs-mismatch');
  for (const [major, older, words] of [[0, 'plugin', /restart OBS/i], [2, 'app', /Update Greenroom/]]) {
    const reader = await startExample('other_version', ['reader', engine.socket, String(major)]);
    await page.locator(`[data-testid=obs-mismatch][data-older=${older}]`).waitFor();
    assert.match(await card.textContent(), words);
    await page.getByTestId('obs-panel').screenshot({ path: artifact(`versions-dashboard-${older}-is-older.png`) });
    await reader.line('was told our version', line => line === 'answered [1, 1, 3, 0]');
    await reader.stop('SIGKILL');
    await card.waitFor({ state: 'detached' });
  }
  await obs.call('GetStats');
});
