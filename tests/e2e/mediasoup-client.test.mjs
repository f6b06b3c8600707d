// An unmodified mediasoup-client on a page of another origin publishes and consumes with every codec we offer.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { heard, isColour, readVideos } from '../lib/look.mjs';
import { servePage } from '../lib/page.mjs';
import { ask, call, foreignGuest } from '../lib/room.mjs';
import { age } from '../lib/timecode.mjs';
import { holds, until } from '../lib/wait.mjs';

const ROOM = 'foreign';
const SMALL = { width: 320, height: 180, fps: 15 };
let server, engine, browser, ada, ben;

before(async () => {
  server = await servePage('mediasoup');
  engine = await Engine.start({ name: 'engine-mediasoup', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM, 'Foreign clients');
  browser = await launchChromium();
  const room = { engine, browser, origin: server.origin, roomId: ROOM };
  ada = await foreignGuest({ ...room, guest: { ...ADA, ...SMALL } });
  ben = await foreignGuest({ ...room, guest: { ...BEN, ...SMALL } });
}, { timeout: 90_000 });

after(async () => {
  await browser?.close();
  await engine?.stop();
  server?.close();
});

test('the join tells who is there; the guest before the admission is alone in the green room', () => {
  assert.equal(ada.joined.state, 'waiting');
  assert.equal(ada.joined.role, 'guest');
  assert.equal(ada.joined.roomId, ROOM);
  assert.equal(ada.joined.title, 'Foreign clients');
  assert.deepEqual(ben.joined.peers, [], 'a waiting guest sees nobody');
  assert.deepEqual(ben.admitted.peers.map(peer => peer.displayName), ['Ada']);
});

for (const mimeType of ['video/VP8', 'video/VP9', 'video/H264', 'video/AV1']) {
  test(`${mimeType} arrives, live`, { timeout: 40_000 }, async () => {
    const { id, mimeType: negotiated } = await call(ada, 'publish', 'video', mimeType);
    assert.equal(negotiated, mimeType);
    await announced(ben, id, { peerId: ada.joined.peerId, kind: 'video' });
    const consumer = await call(ben, 'consume', id);
    assert.equal(consumer.mimeType, mimeType);
    assert.equal(consumer.peerId, ada.joined.peerId);
    assert.equal(consumer.type, 'simple');
    assert.deepEqual(consumer.appData, { source: 'video' });
    await seesLive(ben, consumer.id, ADA);

    await call(ada, 'closeProducer', id);
    await until('the consumer is told that it is closed', () => noticed(ben, 'consumer-closed', notice => notice.consumerId === consumer.id));
    await call(ben, 'dropConsumer', consumer.id);
  });
}

test('both hear each other and neither themselves', { timeout: 40_000 }, async () => {
  for (const [from, to] of [[ada, ben], [ben, ada]]) {
    const { id, mimeType } = await call(from, 'publish', 'audio');
    assert.equal(mimeType, 'audio/opus');
    await call(to, 'consume', id);
  }
  const tones = [ADA.tone, BEN.tone];
  await until('Ben hears Ada and not himself', async () => {
    const { levels } = await heard(ben, tones);
    return levels[0] > 0.03 && levels[1] < 0.01;
  });
  await until('Ada hears Ben and not herself', async () => {
    const { levels } = await heard(ada, tones);
    return levels[1] > 0.03 && levels[0] < 0.01;
  });
});

test('everybody is told who is heard, how loud, and who has the floor', { timeout: 20_000 }, async () => {
  const peers = [ada.joined.peerId, ben.joined.peerId];
  for (const client of [ada, ben]) {
    const { volumes } = await until('both are heard', async () => noticed(client, 'volumes', notice => notice.volumes.length === 2));
    assert.deepEqual(volumes.map(({ peerId }) => peerId).sort(), [...peers].sort());
    assert.ok(volumes.every(({ volume }) => volume > -60 && volume < 0), JSON.stringify(volumes));
    const { peerId, volume } = await until('somebody has the floor', async () => noticed(client, 'active-speaker', notice => notice.peerId !== null));
    assert.ok(peers.includes(peerId) && volume > -60 && volume < 0);
  }
});

test('pausing stops the picture, resuming brings it back; statistics tell what flows', { timeout: 60_000 }, async () => {
  const { id: producerId } = await call(ada, 'publish', 'video', 'video/VP8');
  const { id: consumerId } = await call(ben, 'consume', producerId);
  await seesLive(ben, consumerId, ADA);

  const stats = await until('round-trip time and bitrates are measured', async () => {
    const { ok } = await ask(ben, 'get-stats', {});
    return ok.quality.sendBitrate > 10_000 && ok.quality.rttMs != null && ok;
  });
  assert.ok(stats.quality.rttMs < 500 && stats.quality.score >= 1 && stats.quality.score <= 10, JSON.stringify(stats.quality));
  assert.equal(stats.transports.length, 2);
  assert.ok(stats.transports.every(one => one.dtlsState === 'connected' && one.iceState === 'connected'), JSON.stringify(stats.transports));
  const sent = stats.consumers.find(one => one.consumerId === consumerId);
  assert.ok(sent.packetCount > 10 && sent.byteCount > 1000 && sent.mimeType === 'video/VP8', JSON.stringify(sent));
  const own = await until('what Ada sends is measured', async () => {
    const { ok } = await ask(ada, 'get-stats', { producerId });
    assert.equal(ok.producers.length, 1);
    return (ok.producers[0].packetCount > 10 && ok.producers[0].bitrate > 10_000 && ok) || Promise.reject(new Error(JSON.stringify(ok.producers)));
  });
  assert.equal((await ask(ben, 'get-stats', { producerId })).code, 'not-found', "another peer's producer has no statistics here");

  const { ok: one } = await ask(ben, 'get-stats', { consumerId });
  assert.deepEqual([one.consumers[0].type, one.producers[0].type], ['outbound-rtp', 'inbound-rtp'], 'what is sent, and what it is made of');
  assert.equal(one.producers[0].producerId, producerId);
  const receiving = stats.transports.find(transport => transport.rtpBytesSent > 0);
  assert.equal(receiving.type, 'webrtc-transport');
  assert.deepEqual([receiving.iceRole, receiving.iceSelectedTuple.protocol, typeof receiving.iceSelectedTuple.remotePort], ['controlled', 'udp', 'number']);
  const { score } = await until('Ada is told how her picture arrives', () => noticed(ada, 'producer-score', notice => notice.producerId === producerId));
  assert.deepEqual([score.length, score[0].encodingIdx, score[0].ssrc], [1, 0, own.producers[0].ssrc]);
  await until('Ben is told how good what he gets is', () => noticed(ben, 'consumer-score', notice => notice.consumerId === consumerId && notice.score.producerScores.length === 1));

  const moves = () => codeMoves(ben, consumerId);
  assert.deepEqual((await ask(ben, 'pause-consumer', { consumerId })).ok, {});
  await until('the paused picture stands', async () => !(await moves()));
  assert.deepEqual((await ask(ben, 'resume-consumer', { consumerId })).ok, {});
  await until('the resumed picture moves', moves);

  assert.deepEqual((await ask(ada, 'pause-producer', { producerId })).ok, {});
  await until('Ben is told', () => noticed(ben, 'producer-paused', notice => notice.producerId === producerId));
  await until("the paused producer's picture stands", async () => !(await moves()));
  assert.deepEqual((await ask(ada, 'resume-producer', { producerId })).ok, {});
  await until('the picture moves again', moves);

  assert.deepEqual((await ask(ben, 'request-key-frame', { consumerId })).ok, {});
  assert.deepEqual((await ask(ben, 'set-preferred-layers', { consumerId, spatialLayer: 0, temporalLayer: 0 })).ok, {});
  await seesLive(ben, consumerId, ADA);

  assert.deepEqual((await ask(ben, 'close-consumer', { consumerId })).ok, {});
  assert.equal((await ask(ben, 'resume-consumer', { consumerId })).code, 'not-found');
  await call(ben, 'dropConsumer', consumerId);
  await call(ada, 'closeProducer', producerId);
});

test('an ICE restart keeps the picture', { timeout: 40_000 }, async () => {
  const { id: producerId } = await call(ada, 'publish', 'video', 'video/VP8');
  const { id: consumerId } = await call(ben, 'consume', producerId);
  await seesLive(ben, consumerId, ADA);
  const before = await call(ada, 'restartIce', 'send');
  const again = await call(ada, 'restartIce', 'send');
  assert.notEqual(before.usernameFragment, again.usernameFragment);
  await call(ben, 'restartIce', 'recv');
  await until('both are connected', async () => (await call(ada, 'connection')).send === 'connected' && (await call(ben, 'connection')).recv === 'connected');
  await seesLive(ben, consumerId, ADA);
  await call(ada, 'closeProducer', producerId);
  await call(ben, 'dropConsumer', consumerId);
});

test('what is refused is refused with its code', { timeout: 40_000 }, async () => {
  const { id: own } = await call(ada, 'publish', 'video', 'video/VP8');
  const { rtpCapabilities, transportId, audioOnly } = await ada.evaluate(() => {
    const { device, recv } = window.client.state;
    const all = device.recvRtpCapabilities;
    return { rtpCapabilities: all, transportId: recv.id, audioOnly: { ...all, codecs: all.codecs.filter(codec => codec.kind === 'audio') } };
  });
  const nobody = '00000000-0000-4000-8000-000000000000';
  const check = async (page, event, payload, code) => {
    const answer = await ask(page, event, payload);
    assert.equal(answer.code, code, `${event}: ${JSON.stringify(answer).slice(0, 300)}`);
    assert.match(answer.error, /^.{3,}/, `${event} says why`);
  };
  await check(ada, 'consume', { producerId: own, rtpCapabilities, transportId }, 'cannot-consume');
  await check(ben, 'consume', { producerId: own, rtpCapabilities: audioOnly }, 'cannot-consume');
  await check(ben, 'consume', { producerId: nobody, rtpCapabilities }, 'not-found');
  await check(ben, 'close-producer', { producerId: own }, 'not-found');
  await check(ada, 'connect-transport', { transportId: nobody, dtlsParameters: { role: 'client', fingerprints: [{ algorithm: 'sha-256', value: Array(32).fill('AB').join(':') }] } }, 'not-found');
  await check(ada, 'restart-ice', { transportId: nobody }, 'not-found');
  await check(ada, 'join-room', { roomId: ROOM }, 'already-joined');
  await check(ada, 'create-webrtc-transport', { direction: 'sideways' }, 'invalid-request');
  const send = await ada.evaluate(() => window.client.state.send.id);
  await check(ada, 'produce', { transportId: send, kind: 'video', rtpParameters: unknownCodec() }, 'unsupported-codec');
  await check(ada, 'produce', { transportId, kind: 'video', rtpParameters: unknownCodec() }, 'invalid-request');
  await call(ada, 'closeProducer', own);
});

test('a guest who leaves is gone for the others', { timeout: 30_000 }, async () => {
  assert.deepEqual((await ask(ada, 'leave-room')).ok, {});
  await until('Ben is told', () => noticed(ben, 'peer-left', notice => notice.peerId === ada.joined.peerId));
  const { peers } = await engine.room(ROOM);
  assert.deepEqual(peers.map(peer => peer.displayName), ['Ben']);
});

function unknownCodec() {
  const codec = { mimeType: 'video/H265', payloadType: 120, clockRate: 90000, parameters: {}, rtcpFeedback: [] };
  return { mid: '9', codecs: [codec], headerExtensions: [], encodings: [{ ssrc: 4711 }], rtcp: { cname: 'x', reducedSize: true } };
}

async function noticed(page, event, match) {
  return (await call(page, 'noticesOf', event)).find(match);
}

async function announced(page, producerId, expected) {
  const notice = await until('the producer is announced', () => noticed(page, 'new-producer', one => one.producerId === producerId));
  for (const [field, value] of Object.entries(expected)) assert.equal(notice[field], value);
}

async function codeOf(page, testid) {
  return (await readVideos(page)).find(video => video.ids.includes(testid));
}

async function codeMoves(page, testid) {
  const first = await codeOf(page, testid);
  await new Promise(resolve => setTimeout(resolve, 700));
  const second = await codeOf(page, testid);
  return first?.code != null && second?.code != null && first.code !== second.code;
}

/** The element shows that guest's picture as it was less than a second ago, and goes on doing so. */
async function seesLive(page, testid, guest) {
  const live = async () => {
    const video = await codeOf(page, testid);
    return video?.code != null && age(video.code) < 1000 && isColour(video.colour, guest.colour);
  };
  await until(`${guest.name}'s live picture`, live);
  await holds(`${guest.name}'s picture stays live`, async () => (await live()) || (await live()), 1000);
}
