// How long a guest waits: from opening the link to their first picture in OBS, the host's click included.
//
// Each join is a new guest in a new browser context with an empty cache. The clicks of guest and host are made as soon
// as they can be: what is measured is what the product takes.
import { launchChromium, openPage } from '../lib/browser.mjs';
import { ADA } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { finish, percentiles, table } from '../lib/figures.mjs';
import { fillIn } from '../lib/guest.mjs';
import { Obs } from '../lib/obs.mjs';
import { binary } from '../lib/places.mjs';
import { Program } from '../lib/process.mjs';
import { age, unixNow } from '../lib/timecode.mjs';
import { bounded, until } from '../lib/wait.mjs';

const ROOM = 'bench';
const JOINS = Number(process.env.GREENROOM_BENCH_JOINS ?? 10);
const guest = { ...ADA, width: 640, height: 360, fps: 30 };

const engine = await Engine.start({ name: 'engine-join' });
await engine.createRoom(ROOM);
const [obs, browser] = await Promise.all([Obs.start({ socket: engine.socket }), launchChromium()]);
await obs.addGuest('Ada', { slot: 1 });
const probe = new Program({ name: 'slot-probe', command: binary('examples/slot_probe'), args: [engine.socket, '1'] });

const joins = [];
for (let round = 0; round < JOINS; round += 1) joins.push(await join(`Guest ${round}`));

await probe.stop();
await browser.close();
await obs.stop();
await engine.stop();

const of = step => joins.map(times => times[step]);
const figures = { link_to_obs_ms: percentiles(of('toObs'), [50, 95]) };
table(`From the link to OBS: ${JOINS} guests, one after another`, [
  ['link → first picture in OBS', figures.link_to_obs_ms, JOINS],
  ['  link → in the green room', percentiles(of('toWaiting'), [50, 95]), JOINS, 'page, camera, name, join'],
  ['  admitted → first picture', percentiles(of('fromAdmission'), [50, 95]), JOINS],
]);
finish(figures);

/** One guest in, seen in OBS, and out again. */
async function join(name) {
  const invite = await engine.invite(ROOM);
  const page = await openPage(browser, { guest, name: `join-${name}` });
  const opened = unixNow();
  // A picture counts when it was drawn after the link was opened: the one before may be of the guest before.
  let taken;
  const inObs = new Promise(resolve => {
    taken = (line, stream) => {
      const picture = stream === 'stdout' && JSON.parse(line);
      if (picture && picture.code !== null && age(picture.code, opened) < 0) resolve(picture.handed);
    };
  });
  probe.listeners.add(taken);
  await page.goto(invite.url, { waitUntil: 'commit' });
  await fillIn(page, name);
  const waiting = unixNow();
  const peerId = await engine.admit(ROOM, name, 1);
  const admitted = unixNow();
  const seen = await bounded(`${name} is in OBS`, inObs, 30_000);
  probe.listeners.delete(taken);
  await engine.remove(ROOM, peerId);
  await page.context().close();
  await until('the slot is free', async () => !(await engine.room(ROOM)).peers.some(peer => peer.peerId === peerId));
  return { toObs: seen - opened, toWaiting: waiting - opened, fromAdmission: seen - admitted };
}
