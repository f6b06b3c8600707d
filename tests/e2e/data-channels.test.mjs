// Data channels of unmodified mediasoup-clients, Chromium and Firefox, through the engine.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox, openFirefoxPage } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { servePage } from '../lib/page.mjs';
import { ask, call, foreignGuest } from '../lib/room.mjs';
import { pause, until } from '../lib/wait.mjs';

const ROOM = 'data';
const FOX = { ...BEN, name: 'Fox' };
let server, engine, chromium, firefox, ada, ben, fox;

before(async () => {
  server = await servePage('mediasoup');
  engine = await Engine.start({ name: 'engine-data', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM, 'Data');
  [chromium, firefox] = await Promise.all([launchChromium(), launchFirefox()]);
  const room = { engine, origin: server.origin, roomId: ROOM };
  ada = await foreignGuest({ ...room, browser: chromium, guest: ADA });
  ben = await foreignGuest({ ...room, browser: chromium, guest: BEN });
  fox = await foreignGuest({ ...room, browser: firefox, guest: FOX, open: openFirefoxPage });
}, { timeout: 120_000 });

after(async () => {
  await Promise.all([chromium?.close(), firefox?.close()]);
  await engine?.stop();
  server?.close();
});

const MODES = {
  ordered: { ordered: true },
  unordered: { ordered: false },
  'limited retransmits': { ordered: false, maxRetransmits: 0 },
  'limited life time': { ordered: false, maxPacketLifeTime: 500 },
};

for (const [mode, options] of Object.entries(MODES)) {
  test(`${mode}: text, binary, empty and 256 kB reach both browsers`, { timeout: 60_000 }, async () => {
    const { id } = await call(ada, 'publishData', { ...options, label: mode, protocol: 'test', appData: { mode } });
    await until('Ben is told of the channel', async () => {
      const notice = await noticed(ben, 'new-data-producer', one => one.dataProducerId === id);
      return notice?.label === mode && notice.peerId === ada.joined.peerId;
    });
    const listeners = [];
    for (const page of [ben, fox]) {
      const consumer = await call(page, 'consumeData', id);
      assert.deepEqual([consumer.label, consumer.protocol, consumer.peerId, consumer.appData], [mode, 'test', ada.joined.peerId, { mode }]);
      for (const [option, value] of Object.entries(options)) assert.equal(consumer.sctpStreamParameters[option], value, option);
      listeners.push([page, consumer.id]);
    }
    for (const message of ['hello', { length: 3, first: 7 }, '', { length: 0 }, 'grüße 🎬', { length: 200_000, first: 9 }, { length: 262_144, first: 1 }]) {
      await call(ada, 'say', id, [message]);
      // One at a time, so that an unordered channel keeps the order, too.
      await pause(150);
    }
    for (const [page, consumer] of listeners) {
      const heard = await until('all is heard', async () => {
        const heard = await call(page, 'heardOn', consumer);
        return heard.length >= 7 && heard;
      });
      assert.deepEqual(heard.map(one => one.text), ['hello', null, '', null, 'grüße 🎬', null, null]);
      assert.deepEqual(heard.map(one => one.length), [5, 3, 0, 0, 12, 200_000, 262_144]);
      assert.deepEqual(heard.slice(-2).map(one => [one.first, one.sum]), [checksum(200_000, 9), checksum(262_144, 1)]);
    }
    const { ok: sent } = await ask(ada, 'get-stats', { dataProducerId: id });
    assert.deepEqual([sent.dataProducers[0].messagesReceived, sent.dataProducers[0].bytesReceived], [7, 5 + 3 + 12 + 200_000 + 262_144]);
    const { ok: received } = await ask(ben, 'get-stats', { dataConsumerId: listeners[0][1] });
    assert.deepEqual([received.dataConsumers[0].messagesSent, received.dataConsumers[0].messagesDropped], [7, 0]);

    await call(ada, 'closeData', id);
    await until('Ben is told that it is closed', () => noticed(ben, 'data-consumer-closed', one => one.dataConsumerId === listeners[0][1]));
    for (const [page, consumer] of listeners) {
      await until('the browser hears it on the channel itself', async () => (await call(page, 'dataState', consumer)) === 'closed');
    }
  });
}

test('Firefox is heard, beside Chromium at the same time', { timeout: 60_000 }, async () => {
  const { id } = await call(fox, 'publishData', { label: 'fox' });
  const { id: other } = await call(ada, 'publishData', { label: 'ada' });
  const consumers = [[await call(ben, 'consumeData', id), 'f'], [await call(ben, 'consumeData', other), 'a']];
  assert.notEqual(consumers[0][0].sctpStreamParameters.streamId, consumers[1][0].sctpStreamParameters.streamId);
  const numbers = letter => Array.from({ length: 500 }, (_, n) => `${letter}${n}`);
  await Promise.all([call(fox, 'say', id, numbers('f')), call(ada, 'say', other, numbers('a'))]);
  await call(fox, 'say', id, [{ length: 200_000, first: 3 }]);
  for (const [consumer, letter] of consumers) {
    const heard = await until(`all of ${letter}`, async () => {
      const heard = await call(ben, 'heardOn', consumer.id);
      return heard.length >= 500 && heard;
    });
    assert.deepEqual(heard.slice(0, 500).map(one => one.text), numbers(letter), 'in order, complete');
  }
  await until("the fox's long message", async () => (await call(ben, 'heardOn', consumers[0][0].id))[500]?.sum === checksum(200_000, 3)[1]);
  await call(fox, 'closeData', id);
  await call(ada, 'closeData', other);
});

test('12 MB as fast as the browser sends them arrive whole and in order', { timeout: 60_000 }, async () => {
  const { id } = await call(ada, 'publishData', { label: 'file' });
  const consumer = await call(ben, 'consumeData', id);
  const start = Date.now();
  for (let part = 0; part < 6; part += 1) {
    await call(ada, 'say', id, Array.from({ length: 10 }, (_, n) => ({ length: 200_000, first: part * 10 + n })));
    await until('the browser has sent most of it', async () => (await call(ada, 'say', id, [])) < 200_000, { every: 20 });
  }
  const heard = await until('all of it', async () => {
    const heard = await call(ben, 'heardOn', consumer.id);
    return heard.length === 60 && heard;
  });
  console.log(`12 MB in ${((Date.now() - start) / 1000).toFixed(1)} s`);
  assert.deepEqual(heard.map(one => one.first), Array.from({ length: 60 }, (_, n) => n));
  assert.ok(heard.every(one => one.length === 200_000));
  await call(ada, 'closeData', id);
});

test('what is refused is refused with its code', { timeout: 30_000 }, async () => {
  const [send, recv] = await ada.evaluate(() => [window.client.state.send.id, window.client.state.recv.id]);
  const produce = (transportId, sctpStreamParameters, rest = {}) => ask(ada, 'produce-data', { transportId, sctpStreamParameters, ...rest });
  const { ok: { id } } = await produce(send, { streamId: 500, ordered: true });
  assert.equal((await produce(send, { streamId: 500 })).code, 'invalid-request');
  assert.equal((await produce(send, { streamId: 1024 })).code, 'invalid-request');
  assert.equal((await produce(send, { streamId: 501, maxRetransmits: 1, maxPacketLifeTime: 1 })).code, 'invalid-request');
  assert.equal((await produce(recv, { streamId: 501 })).code, 'invalid-request');
  assert.equal((await produce(send, { streamId: 501 }, { label: 'x'.repeat(256) })).code, 'too-large');
  assert.equal((await ask(ada, 'consume-data', { dataProducerId: id })).code, 'cannot-consume');
  assert.equal((await ask(ben, 'close-data-producer', { dataProducerId: id })).code, 'not-found');
  assert.equal((await ask(ben, 'get-stats', { dataProducerId: id })).code, 'not-found');
  for (let stream = 501; stream < 508; stream += 1) assert.ok((await produce(send, { streamId: stream })).ok, `${stream}`);
  assert.equal((await produce(send, { streamId: 508 })).code, 'limit-reached');
  const tooLong = await ada.evaluate(() => {
    const [producer] = window.client.state.dataProducers.values();
    return producer.dataProducerOptions?.maxMessageSize ?? window.client.state.send._handler?._pc?.sctp?.maxMessageSize ?? null;
  });
  assert.ok(tooLong === null || tooLong === 262_144, `a browser is told how long a message may be: ${tooLong}`);
});

test('a guest who leaves takes its channels along', { timeout: 30_000 }, async () => {
  const { id } = await call(fox, 'publishData', { label: 'last' });
  const consumer = await call(ben, 'consumeData', id);
  await call(fox, 'say', id, ['bye']);
  await until('Ben hears it', async () => (await call(ben, 'heardOn', consumer.id)).length === 1);
  assert.deepEqual((await ask(fox, 'leave-room')).ok, {});
  await until('Ben is told', () => noticed(ben, 'data-producer-closed', one => one.dataProducerId === id));
});

async function noticed(page, event, match) {
  return (await call(page, 'noticesOf', event)).find(match);
}

/** First byte and sum of what the page's `pattern` makes. */
function checksum(length, first) {
  let sum = 5381;
  for (let n = 0; n < length; n += 1) sum = (Math.imul(sum, 33) + ((n === 0 ? first : n * 31) & 255)) >>> 0;
  return [first, sum];
}
