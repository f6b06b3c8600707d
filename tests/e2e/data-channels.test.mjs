// Data channels of unmodified mediasoup-clients, Chromium and Firefox, through the engine.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, launchFirefox, openFirefoxPage } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { servePage } from '../lib/page.mjs';
import { ask, call, foreignGuest } from '../lib/room.mjs';
import { until } from '../lib/wait.mjs';

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

const RELIABLE = { ordered: { ordered: true }, unordered: { ordered: false } };
const LIMITED = {
  'limited retransmits': { ordered: false, maxRetransmits: 0 },
  'limited life time': { ordered: false, maxPacketLifeTime: 500 },
};

for (const [mode, options] of Object.entries({ ...RELIABLE, ...LIMITED })) {
  test(`${mode}: what Chromium says reaches both browsers`, { timeout: 60_000 }, async () => {
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
    const messages = ['hello', { length: 3, first: 7 }, '', { length: 0 }, 'grüße 🎬', { length: 16_000, first: 9 }];
    if (mode in RELIABLE) messages.push({ length: 200_000, first: 9 }, { length: 262_144, first: 1 });
    for (const message of messages) await sayUntilHeard(id, message, listeners, mode in LIMITED);

    // What was said again may be on its way between the two questions.
    const { sent, received } = await until('as much is passed on as came', async () => {
      const { ok: one } = await ask(ada, 'get-stats', { dataProducerId: id });
      const { ok: other } = await ask(ben, 'get-stats', { dataConsumerId: listeners[0][1] });
      const [sent, received] = [one.dataProducers[0], other.dataConsumers[0]];
      const isSame = received.messagesSent === sent.messagesReceived && received.bytesSent === sent.bytesReceived;
      return isSame ? { sent, received } : Promise.reject(new Error(JSON.stringify([sent, received])));
    });
    assert.equal(sent.label, mode);
    assert.equal(received.messagesDropped, 0);
    if (mode in RELIABLE) assert.deepEqual([sent.messagesReceived, sent.bytesReceived], [8, 5 + 3 + 12 + 16_000 + 200_000 + 262_144]);

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

test('12 MB arrive whole and in order', { timeout: 60_000 }, async () => {
  const { id } = await call(ada, 'publishData', { label: 'file' });
  const consumer = await call(ben, 'consumeData', id);
  const start = Date.now();
  for (let part = 0; part < 12; part += 1) {
    await call(ada, 'say', id, Array.from({ length: 5 }, (_, n) => ({ length: 200_000, first: part * 5 + n })));
    // The receiver sets the pace, as any sender of files has to let it.
    await until('this part is there', async () => (await call(ben, 'heardOn', consumer.id)).length === (part + 1) * 5, { every: 20 });
  }
  console.log(`12 MB in ${((Date.now() - start) / 1000).toFixed(1)} s`);
  const heard = await call(ben, 'heardOn', consumer.id);
  assert.deepEqual(heard.map(one => one.first), Array.from({ length: 60 }, (_, n) => n));
  assert.ok(heard.every(one => one.length === 200_000));
  await call(ada, 'closeData', id);
});

test('a flood waits for its receivers, and disturbs nobody', { timeout: 120_000 }, async () => {
  const { id } = await call(ada, 'publishData', { label: 'flood' });
  const { id: quiet } = await call(fox, 'publishData', { label: 'quiet' });
  const listeners = [];
  for (const page of [ben, fox]) listeners.push([page, await call(page, 'consumeData', id)]);
  const other = await call(ben, 'consumeData', quiet);
  await call(ada, 'flood', id, { count: 100, length: 200_000 });
  await call(fox, 'say', quiet, ['still here']);
  await until('the quiet one is heard', async () => (await call(ben, 'heardOn', other.id))[0]?.text === 'still here');
  for (const [page, consumer] of listeners) {
    await until('all of the flood is heard', async () => (await call(page, 'heardOn', consumer.id)).length === 100, { within: 90_000 });
    const heard = await call(page, 'heardOn', consumer.id);
    assert.deepEqual(heard.map(one => [one.first, one.length]), Array.from({ length: 100 }, (_, n) => [n, 200_000]), 'in order, complete');
    const { ok: stats } = await ask(page, 'get-stats', { dataConsumerId: consumer.id });
    assert.deepEqual([stats.dataConsumers[0].messagesSent, stats.dataConsumers[0].messagesDropped], [100, 0]);
  }
  await call(ada, 'closeData', id);
  await call(fox, 'closeData', quiet);
});

test('a channel that is closed is closed on both sides, used or not, and its place is free again', { timeout: 60_000 }, async () => {
  const streams = new Set();
  for (let round = 0; round < 12; round += 1) {
    const { id } = await call(ada, 'publishData', { label: `round ${round}` });
    const consumer = await call(ben, 'consumeData', id);
    streams.add(consumer.sctpStreamParameters.streamId);
    if (round % 2 === 0) {
      await call(ada, 'say', id, [`${round}`]);
      await until('it is heard', async () => (await call(ben, 'heardOn', consumer.id))[0]?.text === `${round}`);
    }
    await call(ada, 'closeData', id);
    await until("the sender's channel is closed", async () => (await call(ada, 'sentState', id)) === 'closed');
    await until("the receiver's channel is closed", async () => (await call(ben, 'dataState', consumer.id)) === 'closed');
  }
  assert.equal(streams.size, 12, 'a fresh stream is taken first');
  const [send, recv] = await ada.evaluate(() => [window.client.state.send.id, window.client.state.recv.id]);
  const stats = await Promise.all([send, recv].map(async transportId => (await ask(ada, 'get-stats', { transportId })).ok.transports[0]));
  assert.deepEqual(stats.map(one => one.sctpState), ['connected', 'new']);
});

test('a receiver that closes its channel alone is sent no more', { timeout: 30_000 }, async () => {
  const { id } = await call(ada, 'publishData', { label: 'unwanted' });
  const consumer = await call(ben, 'consumeData', id);
  await call(ben, 'closeConsumer', consumer.id);
  await until('the engine lets go of it', async () => (await ask(ben, 'get-stats', { dataConsumerId: consumer.id })).code === 'not-found');
  await call(ada, 'say', id, ['anybody?']);
  await until('the engine has it', async () => (await ask(ada, 'get-stats', { dataProducerId: id })).ok.dataProducers[0].messagesReceived === 1);
  const again = await call(ben, 'consumeData', id);
  await call(ada, 'say', id, ['hello again']);
  await until('the new channel hears', async () => (await call(ben, 'heardOn', again.id))[0]?.text === 'hello again');
  await call(ada, 'closeData', id);
});

test('262,144 bytes pass, and one more is refused by the browser in words', { timeout: 30_000 }, async () => {
  for (const page of [ada, fox]) {
    const { id } = await call(page, 'publishData', { label: 'size' });
    const consumer = await call(ben, 'consumeData', id);
    const refusal = await page.evaluate(id => {
      try {
        window.client.say(id, [{ length: 262_145 }]);
        return 'none';
      } catch (error) {
        return `${error.name}: ${error.message}`;
      }
    }, id);
    assert.match(refusal, /TypeError.*(size|large|262144)/i);
    await call(page, 'say', id, [{ length: 262_144, first: 2 }]);
    await until('the longest is heard', async () => (await call(ben, 'heardOn', consumer.id)).some(one => isThis(one, { length: 262_144, first: 2 })));
    await call(page, 'closeData', id);
  }
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
});

test('a guest who leaves takes its channels along', { timeout: 30_000 }, async () => {
  const { id } = await call(fox, 'publishData', { label: 'last' });
  const consumer = await call(ben, 'consumeData', id);
  await call(fox, 'say', id, ['bye']);
  await until('Ben hears it', async () => (await call(ben, 'heardOn', consumer.id)).length === 1);
  assert.deepEqual((await ask(fox, 'leave-room')).ok, {});
  await until('Ben is told', () => noticed(ben, 'data-producer-closed', one => one.dataProducerId === id));
});

/** Says it once, or again and again where what is lost is not repeated, until every listener has heard it. */
async function sayUntilHeard(id, message, listeners, again) {
  const heard = async ([page, consumer]) => (await call(page, 'heardOn', consumer)).some(one => isThis(one, message));
  await call(ada, 'say', id, [message]);
  let patience = 10;
  await until(`${JSON.stringify(message)} is heard`, async () => {
    const all = (await Promise.all(listeners.map(heard))).every(Boolean);
    patience -= 1;
    if (!all && again && patience === 0) {
      patience = 10;
      await call(ada, 'say', id, [message]);
    }
    return all;
  });
}

function isThis(heard, message) {
  if (typeof message === 'string') return heard.text === message && heard.length === new TextEncoder().encode(message).length;
  const { length, first } = message;
  return heard.text === null && heard.length === length && (length === 0 || (heard.first === first && heard.sum === checksum(length, first)[1]));
}

async function noticed(page, event, match) {
  return (await call(page, 'noticesOf', event)).find(match);
}

/** First byte and sum of what the page's `pattern` makes. */
function checksum(length, first) {
  let sum = 5381;
  for (let n = 0; n < length; n += 1) sum = (Math.imul(sum, 33) + ((n === 0 ? first : n * 31) & 255)) >>> 0;
  return [first, sum];
}
