// Data channels of Chromium and Firefox over a network that loses packets, both ways. Needs root, for namespaces.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { launchChromium, launchFirefox, openFirefoxPage } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { throughRouter } from '../lib/namespaces.mjs';
import { servePage } from '../lib/page.mjs';
import { call, foreignGuest } from '../lib/room.mjs';
import { pause, until } from '../lib/wait.mjs';

if (process.getuid() !== 0) {
  console.log('# skipped: network namespaces need root');
  process.exit(0);
}
// All of it happens on one machine of its own, which has an interface, as browsers want one.
const { onHome } = throughRouter(import.meta.url);

const ROOM = 'loss';
const COUNT = 300;
const TABLES = ['iptables', 'ip6tables'];
const MODES = {
  ordered: { ordered: true },
  unordered: { ordered: false },
  'no repeats': { ordered: false, maxRetransmits: 0 },
  'one repeat': { ordered: false, maxRetransmits: 1 },
  'for a while': { ordered: false, maxPacketLifeTime: 400 },
};
let server, engine, chromium, firefox, ada, fox;

before(async () => {
  server = await servePage('mediasoup');
  engine = await Engine.start({ name: 'engine-loss', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM);
  [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox()]);
  const room = { engine, origin: server.origin, roomId: ROOM };
  ada = await foreignGuest({ ...room, browser: chromium, guest: ADA });
  fox = await foreignGuest({ ...room, browser: firefox, guest: { ...BEN, name: 'Fox' }, open: openFirefoxPage });
}, { timeout: 120_000 });

afterEach(() => onHome('iptables -F INPUT; ip6tables -F INPUT'));

after(async () => {
  await Promise.all([chromium?.close(), firefox?.close()]);
  await engine?.stop();
  server?.close();
});

for (const [name, from, to] of [['Chromium to Firefox', () => ada, () => fox], ['Firefox to Chromium', () => fox, () => ada]]) {
  test(`${name}: what may be lost is given up, the rest arrives`, { timeout: 120_000 }, async () => {
    const [sender, receiver] = [from(), to()];
    const channels = [];
    for (const [mode, options] of Object.entries(MODES)) {
      const { id } = await call(sender, 'publishData', { label: mode, ...options });
      const consumer = await call(receiver, 'consumeData', id);
      channels.push({ mode, options, id, consumer: consumer.id });
    }
    for (const tables of TABLES) onHome(`${tables} -A INPUT -p udp -m statistic --mode random --probability 0.05 -j DROP`);
    for (let n = 0; n < COUNT; n += 1) {
      for (const { id } of channels) await call(sender, 'say', id, [`${n}`]);
      await pause(5);
    }
    await pause(3_000);
    const counts = TABLES.map(tables => Number(/(\d+) +\d+ DROP/.exec(onHome(`${tables} -vnxL INPUT; ${tables} -F INPUT`))[1]));
    const dropped = counts[0] + counts[1];
    assert.ok(dropped > 30, `the network lost ${dropped} packets`);
    for (const channel of channels) {
      const { mode, options, id, consumer } = channel;
      const isReliable = options.maxRetransmits === undefined && options.maxPacketLifeTime === undefined;
      await call(sender, 'say', id, ['last']);
      const heard = await until(`${mode}: the last is heard`, async () => {
        const texts = (await call(receiver, 'heardOn', consumer)).map(one => one.text);
        if (texts.includes('last')) return texts;
        // What came too late on a busy machine was given up, too.
        if (!isReliable) await call(sender, 'say', id, ['last']);
        return false;
      }, { within: 20_000, every: 500 });
      const numbers = heard.filter(text => text !== 'last').map(Number);
      console.log(`${name}, ${mode}: ${numbers.length} of ${COUNT}`);
      assert.equal(new Set(numbers).size, numbers.length, 'nothing twice');
      if (options.ordered) assert.deepEqual(numbers, numbers.toSorted((a, b) => a - b), `${mode}: in order`);
      if (isReliable) assert.equal(numbers.length, COUNT, `${mode}: all of them`);
      else assert.ok(numbers.length > COUNT * 0.7, `${mode}: ${numbers.length}`);
      if (mode === 'no repeats') assert.ok(numbers.length < COUNT, 'nothing was lost, or it was repeated');
      await call(sender, 'closeData', id);
    }
  });
}
