// A client need not wait for an answer before it asks for the next thing: what it said first is done first.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Engine } from '../lib/engine.mjs';
import { connect } from '../lib/socket.mjs';

const ROOM = 'hurry';
const ROUNDS = 20;
let engine;
before(async () => {
  engine = await Engine.start({ name: 'engine-seeds-order', settings: '[rooms]\nmax_peers = 100\n' });
  await engine.createRoom(ROOM);
});
after(() => engine?.stop());

const FINGERPRINT = { algorithm: 'sha-256', value: Array(32).fill('AB').join(':') };

function opus(ssrc) {
  const codec = { mimeType: 'audio/opus', payloadType: 111, clockRate: 48000, channels: 2, parameters: {}, rtcpFeedback: [] };
  return { mid: '0', codecs: [codec], headerExtensions: [], encodings: [{ ssrc }], rtcp: { cname: 'x', reducedSize: true } };
}

test('join, transports, connect, produce and close, fired without waiting, are done in the order they were said', { timeout: 60_000 }, async () => {
  const hurry = async round => {
    const client = await connect(engine.url, engine.token);
    const order = [];
    const ask = (event, payload) => client.ask(event, payload).then(answer => {
      order.push(event);
      return answer;
    });
    const begin = [
      ask('join-room', { roomId: ROOM, displayName: `Host ${round}` }),
      ask('get-router-rtp-capabilities'),
      ask('create-webrtc-transport', { direction: 'send' }),
      ask('create-webrtc-transport', { direction: 'recv' }),
      ask('chat', { text: 'I am here' }),
      ask('raise-hand', { raised: true }),
      ask('set-display-name', { displayName: `Name ${round}` }),
    ];
    const [joined, , send] = await Promise.all(begin);
    assert.equal(joined.ok.state, 'live');
    assert.ok(send.ok.iceParameters, JSON.stringify(send));
    for (const answer of await Promise.all(begin)) assert.ok(answer.ok, JSON.stringify(answer));
    assert.deepEqual(order.splice(0), ['join-room', 'get-router-rtp-capabilities', 'create-webrtc-transport', 'create-webrtc-transport', 'chat', 'raise-hand', 'set-display-name']);

    const transportId = send.ok.id;
    const rest = await Promise.all([
      ask('connect-transport', { transportId, dtlsParameters: { role: 'client', fingerprints: [FINGERPRINT] } }),
      ask('produce', { transportId, kind: 'audio', rtpParameters: opus(1000 + round) }),
      ask('get-stats', {}),
      ask('leave-room'),
      ask('produce', { transportId, kind: 'audio', rtpParameters: opus(5000 + round) }),
      ask('join-room', { roomId: ROOM }),
      ask('leave-room'),
    ]);
    assert.deepEqual(order, ['connect-transport', 'produce', 'get-stats', 'leave-room', 'produce', 'join-room', 'leave-room']);
    assert.deepEqual(rest.map(answer => answer.code ?? 'ok'), ['ok', 'ok', 'ok', 'ok', 'not-joined', 'ok', 'ok'], JSON.stringify(rest).slice(0, 500));
    assert.equal(rest[2].ok.producers.length >= 0 && rest[2].ok.transports.length, 2, 'the statistics know of both transports');
    // The notice of entering is for who entered, and comes before what follows from it.
    assert.equal(client.notices[0].event, 'room-joined');
    client.close();
  };
  for (let round = 0; round < ROUNDS; round += 4) await Promise.all([0, 1, 2, 3].map(more => hurry(round + more)));
});

test('two sockets of one guest at once: one holds the place, and nothing is left over', { timeout: 30_000 }, async () => {
  const { token } = await engine.invite(ROOM, { maxUses: 1 });
  const clients = await Promise.all([connect(engine.url, token), connect(engine.url, token), connect(engine.url, token)]);
  const answers = await Promise.all(clients.map(client => client.ask('join-room', { roomId: ROOM, displayName: 'Twin' })));
  assert.deepEqual(answers.map(answer => answer.code ?? 'ok').sort(), ['invite-used-up', 'invite-used-up', 'ok']);
  for (const client of clients) client.close();
});
