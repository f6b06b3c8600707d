// Six guests in real browsers, in the scenes that "Add to OBS" makes: docs/obs-solo.jpg, obs-side-by-side.jpg, obs-grid.jpg.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { launchChromium } from '../lib/browser.mjs';
import { DEFAULTS } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { Obs } from '../lib/obs.mjs';
import { privateFolder, root } from '../lib/places.mjs';
import { lookAt, showsLive } from '../lib/scene.mjs';
import { pause, until } from '../lib/wait.mjs';

const ROOM = 'layouts';
const COLOURS = { Ada: [200, 60, 60], Ben: [60, 90, 210], Cleo: [50, 160, 70], Dan: [190, 150, 40], Eve: [150, 60, 180], Finn: [40, 160, 170] };
const guests = Object.entries(COLOURS).map(([name, colour], i) => ({ ...DEFAULTS, name, colour, width: 480, height: 270, fps: 10, tone: 300 + 60 * i }));
const FOLDER = process.env.GREENROOM_BENCH_SCREENSHOTS ?? path.join(root, 'docs');
/** What a screenshot may have in the repository. */
const MOST_BYTES = 200_000;

const folder = privateFolder('obs');
const engine = await Engine.start({ name: 'engine-layouts', env: { XDG_CONFIG_HOME: path.join(folder, 'config') } });
await engine.createRoom(ROOM);
const obs = await Obs.start({ socket: engine.socket, folder, password: 'layouts', canvas: [1280, 720], fps: 10, name: 'obs-layouts' });
const browser = await launchChromium();
for (const [i, guest] of guests.entries()) {
  const page = await joinAsGuest(browser, await engine.invite(ROOM), guest);
  await engine.admit(ROOM, guest.name, i + 1);
  await isLive(page);
}
const dashboard = await engine.dashboard();
await engine.rest('PUT', '/api/obs/control', { on: true });
await until('Greenroom steers OBS', () => dashboard.snapshot.obs.control.state === 'connected', { within: 20_000 });

for (const [layout, count] of [['solo', 1], ['side-by-side', 2], ['grid', 6]]) {
  const slots = guests.slice(0, count).map((_, i) => i + 1);
  const { scene, sources } = await engine.rest('POST', '/api/obs/sources', { layout, slots });
  await obs.call('SetCurrentProgramScene', { sceneName: scene });
  for (const [i, source] of sources.entries()) await showsLive(obs, source, guests[i], { within: 30_000 });
  const { sceneItems } = await obs.call('GetSceneItemList', { sceneName: scene });
  assert.ok(sceneItems.every(item => item.sceneItemTransform.boundsType === 'OBS_BOUNDS_SCALE_INNER'), 'every item has its place, whatever its picture’s size');
  // The transition to the scene, and the best layers of its guests; six browsers may keep the machine from all being live at once.
  await pause(4000);
  await until('all are live', async () => (await Promise.all(sources.map(source => lookAt(obs, source)))).every(({ code, age }) => code !== null && age < 2000), { within: 30_000 });
  const { imageData } = await obs.call('GetSourceScreenshot', { sourceName: scene, imageFormat: 'jpg', imageCompressionQuality: 80, imageWidth: 960, imageHeight: 540 });
  const bytes = Buffer.from(imageData.slice(imageData.indexOf(',') + 1), 'base64');
  assert.ok(bytes.length < MOST_BYTES, `${layout}: ${bytes.length} bytes`);
  const file = path.join(FOLDER, `obs-${layout}.jpg`);
  fs.writeFileSync(file, bytes);
  console.log(`${file}: ${bytes.length} bytes, ${sources.join(', ')}`);
}

dashboard.close();
await browser.close();
await obs.stop();
await engine.stop();
