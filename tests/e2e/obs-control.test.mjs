// OBS steered from the dashboard: only with the streamer's consent, only what was asked for, and taken back without a trace.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { Engine } from '../lib/engine.mjs';
import { GUEST, Obs } from '../lib/obs.mjs';
import { meetingPlace, Pattern } from '../lib/pattern.mjs';
import { artifact, privateFolder } from '../lib/places.mjs';
import { holds, until } from '../lib/wait.mjs';

const PASSWORD = 'a "password" = 1';
const folder = privateFolder('obs');
const socket = meetingPlace();
let host;
let obs;
let engine;
let dashboard;
let browser;
let page;

const startObs = () => Obs.start({ socket, folder, password: PASSWORD, canvas: [640, 360] });
const control = () => dashboard.snapshot.obs.control;
const becomes = (what, check, within) => until(what, () => check(control()) && control(), { within, every: 50 });
const connected = () => becomes('connected', seen => seen.state === 'connected', 40_000);
const add = (layout, slots) => engine.rest('POST', '/api/obs/sources', { layout, ...(slots && { slots }) });
const allow = on => engine.rest('PUT', '/api/obs/control', { on });

const scenes = async () => (await obs.call('GetSceneList')).scenes.map(scene => scene.sceneName).sort();
const items = async sceneName => (await obs.call('GetSceneItemList', { sceneName })).sceneItems;
const inputs = async () => (await obs.call('GetInputList')).inputs.map(input => input.inputName).sort();
const everything = async () => JSON.stringify([await scenes(), await inputs(), await Promise.all((await scenes()).map(items))]);

before(async () => {
  host = await Pattern.start(socket, ['--slots', '6', '--size', '320x180', '--names', 'Ada,Ben,Cleo,Dan,Eve,Finn']);
  engine = await Engine.start({ env: { XDG_CONFIG_HOME: path.join(folder, 'config') } });
  dashboard = await engine.dashboard();
  browser = await launchChromium({ devices: 'none' });
  page = await openPage(browser, { name: 'obs-dashboard', url: engine.dashboardUrl, viewport: { width: 1400, height: 900 } });
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  dashboard?.close();
  await engine?.stop();
  await obs?.stop();
  await host?.stop();
}, { timeout: 60_000 });

test('without consent OBS is left alone', { timeout: 40_000 }, async () => {
  obs = await startObs();
  await until('OBS is seen', () => dashboard.snapshot.obs.running);
  await holds('nothing happens', () => control().state === 'off', 1500);
  await assert.rejects(add('solo'), { status: 409, code: 'conflict' });
});

test('with consent it is found, with its password, and shown', { timeout: 60_000 }, async () => {
  await page.getByTestId('obs-allow').click();
  const seen = await connected();
  assert.equal(seen.program, 'Scene');
  assert.deepEqual([seen.streaming, seen.recording, seen.preview, seen.hasPlugin, seen.undo], [false, 'off', null, true, null]);
  assert.match(seen.version, /^\d+\.\d+/);
});

test('a guest is added to the current scene: alone on all of it, then in corners', { timeout: 60_000 }, async () => {
  assert.deepEqual(await add('source', [2]), { scene: 'Scene', sources: ['Guest 2'] });
  await page.getByTestId('obs-slot').selectOption('1');
  await page.getByTestId('obs-add').click();
  await page.getByTestId('obs-undo').getByText('“Guest 1” in “Scene”').waitFor();
  const [first, second] = (await items('Scene')).map(item => item.sceneItemTransform);
  assert.deepEqual([first.positionX, first.positionY, first.boundsWidth, first.boundsHeight], [0, 0, 640, 360]);
  assert.ok(second.positionX > 320 && second.positionY > 180 && second.positionX + second.boundsWidth < 640, JSON.stringify(second));
  assert.ok((await items('Scene')).every(item => item.sceneItemEnabled && item.inputKind === GUEST));
  await assert.rejects(add('source', [2]), { status: 409, message: /“Guest 2” is in the scene “Scene” already/ });
});

test('a layout is a scene of its own, with the sources that are there', { timeout: 60_000 }, async () => {
  await obs.call('CreateScene', { sceneName: 'Greenroom grid' });
  assert.deepEqual(await add('side-by-side'), { scene: 'Greenroom side by side', sources: ['Guest 1', 'Guest 2'] });
  const grid = await add('grid');
  assert.equal(grid.scene, 'Greenroom grid (2)', 'the streamer has a scene of that name');
  assert.deepEqual(await inputs(), [1, 2, 3, 4, 5, 6].map(n => `Guest ${n}`), 'a slot has one source');
  assert.equal((await obs.call('GetCurrentProgramScene')).currentProgramSceneName, 'Scene', 'the programme is not touched');
  for (const layout of ['Greenroom side by side', 'Greenroom grid (2)']) {
    await obs.call('SetCurrentProgramScene', { sceneName: layout });
    await until('the guests have pictures', async () => (await items(layout)).every(item => item.sceneItemTransform.sourceWidth > 0));
    await obs.screenshot(layout, { file: artifact(`obs-control-${layout}.png`) });
  }
  await becomes('the scene on program', seen => seen.program === 'Greenroom grid (2)');
});

test('recording and studio mode are seen', { timeout: 60_000 }, async () => {
  const stop = await obs.record();
  await becomes('recording', seen => seen.recording === 'on');
  await page.locator('[data-testid=obs-recording][data-state=on]').waitFor();
  await page.screenshot({ path: artifact('obs-control-dashboard.png') });
  await obs.call('PauseRecord');
  await becomes('paused', seen => seen.recording === 'paused');
  await stop();
  await becomes('not recording', seen => seen.recording === 'off');
  await obs.call('SetStudioModeEnabled', { studioModeEnabled: true });
  await obs.call('SetCurrentPreviewScene', { sceneName: 'Greenroom grid' });
  await becomes('the preview', seen => seen.preview === 'Greenroom grid');
  assert.deepEqual(await add('source', [4]), { scene: 'Greenroom grid', sources: ['Guest 4'] });
  await engine.rest('DELETE', '/api/obs/sources/last');
  await obs.call('SetStudioModeEnabled', { studioModeEnabled: false });
  await becomes('no preview', seen => seen.preview === null);
});

test('what was added is taken back, and nothing else', { timeout: 60_000 }, async () => {
  const undo = () => engine.rest('DELETE', '/api/obs/sources/last');
  await obs.call('SetCurrentProgramScene', { sceneName: 'Greenroom grid (2)' });
  await assert.rejects(undo(), { status: 409, message: /on program/ });
  await obs.call('SetCurrentProgramScene', { sceneName: 'Scene' });
  await undo();
  // OBS answers before its own list of scenes is told.
  await until('the scene is gone', async () => String(await scenes()) === 'Greenroom grid,Greenroom side by side,Scene');
  // The transition away from it may hold its sources for a moment.
  await until('the sources of the scene are gone', async () => String(await inputs()) === 'Guest 1,Guest 2');
  // The streamer made the next one their own.
  await obs.call('CreateInput', { sceneName: 'Greenroom side by side', inputName: 'Backdrop', inputKind: 'color_source_v3' });
  await undo();
  assert.deepEqual((await items('Greenroom side by side')).map(item => item.sourceName), ['Backdrop']);
  await undo();
  await undo();
  await until('the sources are gone', async () => String(await inputs()) === 'Backdrop');
  await until('nothing is left of them', async () => (await items('Scene')).length === 0);
  await becomes('nothing to take back', seen => seen.undo === null);
  await assert.rejects(undo(), { status: 404 });
});

test('what does not fit is refused and leaves nothing behind', { timeout: 60_000 }, async () => {
  const before = await everything();
  await assert.rejects(add('solo', [7]), { status: 400 });
  await assert.rejects(add('side-by-side', [1]), { status: 400 });
  await assert.rejects(add('grid', []), { status: 400 });
  assert.equal(await everything(), before);
});

test('the plugin is updated in place, and the dashboard says when OBS must restart', { timeout: 60_000 }, async () => {
  const plugin = path.join(folder, 'config/obs-studio/plugins/greenroom');
  const view = () => dashboard.snapshot.obs;
  assert.deepEqual([view().plugin, view().restart], ['installed', false], 'what OBS has loaded is what is installed');
  await engine.rest('POST', '/api/obs/plugin');
  await until('the restart is asked for', () => view().restart);
  await obs.call('GetStats');
  fs.writeFileSync(path.join(plugin, 'data/VERSION'), '99.0.0');
  await until('the newer one is seen', () => view().plugin === 'newer');
  await assert.rejects(engine.rest('POST', '/api/obs/plugin'), { status: 409, message: /newer Greenroom plugin \(99\.0\.0\)/ });
  assert.equal(fs.readFileSync(path.join(plugin, 'data/VERSION'), 'utf8'), '99.0.0');
  await engine.rest('DELETE', '/api/obs/plugin');
  await until('it is gone', () => view().plugin === 'missing' && !view().restart);
  assert.ok(!fs.existsSync(plugin) && fs.existsSync(path.dirname(plugin)));
  await obs.call('GetStats');
});

test('OBS may end and come back; the engine too', { timeout: 120_000 }, async () => {
  await obs.stop();
  await becomes('waiting', seen => seen.state === 'waiting');
  // On a computer where another OBS of this user runs, that one may be what is seen.
  await becomes('what to do', seen => /Start OBS|does not listen/.test(seen.hint), 20_000);
  await assert.rejects(add('solo'), { status: 409, message: /not connected to OBS/ });
  obs = await startObs();
  await connected();
  await until('it has loaded the plugin', () => dashboard.snapshot.obs.plugin === 'installed' && !dashboard.snapshot.obs.restart);
  dashboard.close();
  await engine.stop();
  await engine.launch();
  dashboard = await engine.dashboard();
  assert.equal((await connected()).program, 'Scene', 'the consent was kept');
});

test('the consent can be withdrawn', { timeout: 60_000 }, async () => {
  await allow(false);
  await becomes('off', seen => seen.state === 'off');
  await assert.rejects(add('solo'), { status: 409 });
});
