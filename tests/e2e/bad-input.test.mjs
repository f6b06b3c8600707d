// Bad input against a live engine: each kind gets its clear error or is dropped, and a running pair of guests notices nothing.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import dgram from 'node:dgram';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import WebSocket from 'ws';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { servePage } from '../lib/page.mjs';
import { call, foreignGuest } from '../lib/room.mjs';
import { connect, rawConnect } from '../lib/socket.mjs';
import { bounded, pause, until } from '../lib/wait.mjs';

const ROOM = 'calm';
const SMALL = { width: 320, height: 180, fps: 15 };
let server, engine, browser, ada, ben;
const open = [];

before(async () => {
  server = await servePage('mediasoup');
  engine = await Engine.start({ name: 'engine-bad-input', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM);
  await engine.createRoom('other');
  browser = await launchChromium();
  const room = { engine, browser, origin: server.origin, roomId: ROOM };
  ada = await foreignGuest({ ...room, guest: { ...ADA, ...SMALL } });
  ben = await foreignGuest({ ...room, guest: { ...BEN, ...SMALL } });
  const { id } = await call(ada, 'publish', 'video', 'video/VP8');
  ben.consumer = (await call(ben, 'consume', id)).id;
  await until('the picture flows', async () => {
    await call(ben, 'watch', ben.consumer);
    await pause(1000);
    return (await call(ben, 'watched')).fps > 5;
  });
}, { timeout: 90_000 });

after(async () => {
  await browser?.close();
  await engine?.stop();
  server?.close();
});

// Each test runs beside the calm pair, which must come out of it as it went in.
beforeEach(() => call(ben, 'watch', ben.consumer));
afterEach(async () => {
  for (const socket of open.splice(0)) socket.close();
  const seen = await until('enough pictures to judge', async () => {
    const state = await ben.evaluate(() => window.client.state.watched);
    return state.frames >= 10 && state;
  });
  const { longestGap } = await call(ben, 'watched');
  assert.ok(seen.frames >= 10 && longestGap < 1500, `the calm pair froze for ${longestGap} ms`);
  assert.deepEqual(await call(ada, 'connection'), { send: 'connected', recv: 'new', socket: true });
  assert.deepEqual(await call(ben, 'connection'), { send: 'new', recv: 'connected', socket: true });
  for (const page of [ada, ben]) {
    for (const event of ['consumer-closed', 'kicked', 'disconnect', 'room-closed']) {
      assert.deepEqual(await call(page, 'noticesOf', event), [], `the calm pair was told ${event}`);
    }
  }
  assert.ok(engine.program.alive && (await fetch(`${engine.url}/health`)).ok, 'the engine is healthy');
  assert.deepEqual(engine.program.lines.filter(line => /panicked/.test(line)), []);
});

describe('entering', () => {
  const refusedJoin = async (payload, code, token) => {
    const client = await client_(token);
    const answer = await client.ask('join-room', payload);
    assert.equal(answer.code, code, `${String(JSON.stringify(payload)).slice(0, 120)}: ${JSON.stringify(answer).slice(0, 200)}`);
    assert.ok(answer.error.length > 5 && answer.error.length < 300, 'in words for a person');
  };

  test('a join that is no join names what is wrong', async () => {
    for (const payload of [undefined, null, 7, 'calm', [], {}, { roomId: 5 }, { roomId: null }, { roomId: '../secrets' }, { roomId: 'x'.repeat(65) }, { roomId: ROOM, role: 'emperor' }]) {
      await refusedJoin(payload, 'invalid-request');
    }
  });

  test('names with control characters, no characters or 10 kB are refused', async () => {
    const { token } = await engine.invite(ROOM);
    for (const displayName of ['', '   ', 'a\u0000b', 'line\nbreak', '\u202Egnp.exe', 'x'.repeat(65), 'n'.repeat(10_240), 5, {}, ['Ada']]) {
      await refusedJoin({ roomId: ROOM, token, displayName }, 'invalid-request');
    }
    // None of these used the invite up.
    const client = await client_(token);
    assert.equal((await client.ask('join-room', { roomId: ROOM, displayName: '  Zoë   🎤 ' })).ok.displayName, 'Zoë 🎤');
    await client.ask('leave-room', {});
  });

  test('a token that is missing, forged, expired, revoked, used up or for another room says so', { timeout: 30_000 }, async () => {
    const { token: good } = await engine.invite(ROOM, { maxUses: 50 });
    const { token: short } = await engine.invite(ROOM, { expiresIn: 1 });
    const elsewhere = await engine.invite('other');
    const revoked = await engine.invite(ROOM);
    await engine.rest('DELETE', `/api/rooms/${ROOM}/invites/${revoked.id}`);
    const once = await engine.invite(ROOM, { maxUses: 1 });
    const first = await client_(once.token);
    assert.equal((await first.ask('join-room', { roomId: ROOM, displayName: 'First' })).ok.state, 'waiting');

    await refusedJoin({ roomId: ROOM }, 'invite-required');
    for (const token of ['x', '.', good.slice(0, -2), flipped(good), `${good}x`, good.toUpperCase(), '\u0000', 'x'.repeat(5000), Buffer.from('{"role":"host"}').toString('base64')]) {
      await refusedJoin({ roomId: ROOM, token }, 'invite-invalid');
    }
    await refusedJoin({ roomId: ROOM, token: elsewhere.token }, 'invite-other-room');
    await refusedJoin({ roomId: ROOM, token: revoked.token }, 'invite-revoked');
    await refusedJoin({ roomId: ROOM, token: once.token, displayName: 'Second' }, 'invite-used-up');
    await refusedJoin({ roomId: 'nowhere' }, 'room-not-found', engine.token);
    await until('the short invite has expired', async () => {
      const answer = await (await client_()).ask('join-room', { roomId: ROOM, token: short, displayName: 'Late' });
      return answer.code === 'invite-expired';
    }, { every: 400 });
    await first.ask('leave-room', {});
  });

  test('a guest cannot ask for more than the invite gives', async () => {
    const { token } = await engine.invite(ROOM, { role: 'viewer' });
    const client = await client_(token);
    const answer = await client.ask('join-room', { roomId: ROOM, token, role: 'host', displayName: 'Climber' });
    assert.ok(answer.code === 'forbidden' || answer.ok?.role === 'viewer', JSON.stringify(answer).slice(0, 200));
    if (answer.ok) {
      assert.equal((await client.ask('create-webrtc-transport', { direction: 'send' })).code, 'forbidden');
      assert.equal((await client.ask('produce', { transportId: crypto.randomUUID(), kind: 'audio', rtpParameters: opus() })).code, 'forbidden');
    }
    await client.ask('leave-room', {});
  });
});

describe('signaling', () => {
  test('requests before joining, of unknown names, wrong types and unknown ids are answered with their codes', async () => {
    const outside = await client_();
    for (const event of ['get-router-rtp-capabilities', 'create-webrtc-transport', 'produce', 'consume', 'get-stats', 'chat', 'leave-room']) {
      const answer = await outside.ask(event, {});
      assert.ok(['not-joined', 'invalid-request'].includes(answer.code), `${event}: ${JSON.stringify(answer)}`);
    }
    assert.equal((await outside.ask('make-coffee', {})).code, 'unknown-event');

    const guest = await waitingGuest();
    const id = crypto.randomUUID();
    const { ok: transport } = await guest.ask('create-webrtc-transport', { direction: 'send' });
    const table = [
      ['create-webrtc-transport', {}, 'invalid-request'],
      ['create-webrtc-transport', { direction: 5 }, 'invalid-request'],
      ['connect-transport', {}, 'invalid-request'],
      ['connect-transport', { transportId: 'x', dtlsParameters: {} }, 'invalid-request'],
      ['connect-transport', { transportId: transport.id, dtlsParameters: { role: 'client', fingerprints: [] } }, 'invalid-request'],
      ['connect-transport', { transportId: transport.id, dtlsParameters: { role: 'client', fingerprints: [{ algorithm: 'sha-256', value: 'zz' }] } }, 'invalid-request'],
      ['connect-transport', { transportId: id, dtlsParameters: { role: 'client', fingerprints: [{ algorithm: 'sha-256', value: Array(32).fill('AB').join(':') }] } }, 'not-found'],
      ['produce', { transportId: transport.id, kind: 'smell', rtpParameters: opus() }, 'invalid-request'],
      ['produce', { transportId: transport.id, kind: 'audio', rtpParameters: 'opus' }, 'invalid-request'],
      ['produce', { transportId: transport.id, kind: 'audio', rtpParameters: { ...opus(), codecs: [] } }, 'invalid-request'],
      ['produce', { transportId: transport.id, kind: 'audio', rtpParameters: { ...opus(), encodings: [] } }, 'invalid-request'],
      ['produce', { transportId: transport.id, kind: 'audio', rtpParameters: { ...opus(), codecs: [{ ...opus().codecs[0], payloadType: 300 }] } }, 'invalid-request'],
      ['produce', { transportId: transport.id, kind: 'video', rtpParameters: opus() }, ['invalid-request', 'unsupported-codec']],
      ['produce', { transportId: transport.id, kind: 'audio', rtpParameters: { ...opus(), codecs: [{ ...opus().codecs[0], mimeType: 'audio/PCMU', clockRate: 8000, channels: 1 }] } }, 'unsupported-codec'],
      ['produce', { transportId: id, kind: 'audio', rtpParameters: opus() }, 'not-found'],
      ['consume', { producerId: id, rtpCapabilities: { codecs: [], headerExtensions: [] } }, 'waiting'],
      ['resume-consumer', { consumerId: id }, 'not-found'],
      ['resume-consumer', { consumerId: [id] }, 'invalid-request'],
      ['close-producer', { producerId: id }, 'not-found'],
      ['restart-ice', { transportId: id }, 'not-found'],
      ['set-preferred-layers', { consumerId: id, spatialLayer: -1 }, 'invalid-request'],
      ['get-stats', { transportId: 5 }, 'invalid-request'],
      ['chat', { text: '' }, 'invalid-request'],
      ['chat', { text: 'x'.repeat(2001) }, 'invalid-request'],
      ['chat', { text: 'bell\u0007' }, 'invalid-request'],
      ['set-display-name', { displayName: 'a\u0000' }, 'invalid-request'],
      ['raise-hand', { raised: 'yes' }, 'invalid-request'],
      ['join-room', { roomId: ROOM }, 'already-joined'],
    ];
    for (const [event, payload, expected] of table) {
      const answer = await guest.ask(event, payload);
      assert.ok([expected].flat().includes(answer.code), `${event} ${JSON.stringify(payload).slice(0, 100)}: ${JSON.stringify(answer).slice(0, 200)}`);
    }
    await guest.ask('leave-room', {});
  });

  test('what is too large or too much is refused, and in the end cut off', { timeout: 40_000 }, async () => {
    const guest = await waitingGuest();
    assert.equal((await guest.ask('chat', { text: 'x'.repeat(100_000) })).code, 'too-large');

    // A burst is allowed; then each is refused as too fast; who goes on is told why and disconnected.
    const codes = {};
    const count = answer => (codes[answer?.code ?? 'ok'] = (codes[answer?.code ?? 'ok'] ?? 0) + 1);
    const end = performance.now() + 15_000;
    while (guest.socket.connected && performance.now() < end) {
      // Those on their way at the end are lost: no more than these.
      const answers = Array.from({ length: 50 }, () => new Promise(resolve => guest.socket.emit('get-stats', {}, resolve)).then(count));
      await Promise.race([Promise.all(answers), guest.left, pause(1000)]);
    }
    const reason = await bounded('the flooding socket is ended', guest.left, 1000);
    assert.ok(codes.ok > 50 && codes['rate-limited'] > 10, JSON.stringify(codes));
    // What is still on its way to the server when it closes makes TCP reset the connection, and the last words are lost.
    if (reason === 'io server disconnect') {
      assert.ok(guest.notices.some(({ event, data }) => event === 'error' && data.code === 'rate-limited'), JSON.stringify(guest.notices.slice(-2)).slice(0, 300));
    }
    await removeByName('Mallory');

    // All at once: cut off before it can be told.
    const other = await waitingGuest();
    for (let i = 0; i < 5000; i += 1) other.socket.emit('get-stats', {}, () => {});
    await bounded('the second flood is ended', other.left, 15_000);
    await removeByName('Mallory');
  });

  test('packets that are no Socket.IO end their own connection only', { timeout: 30_000 }, async () => {
    const deep = '['.repeat(20_000) + ']'.repeat(20_000);
    const packets = ['', '9', '4', '42', '42[', '42{}', '42[5]', '42["join-room"', `42["join-room",${deep}]`, '421e99["join-room",{}]', '451-["join-room",{"_placeholder":true,"num":0}]',
      '40/admin,{}', '41', '43["x"]', '44', '6', 'b!!!', '\u0000\u0001', '42["\ud800"]', '42/other,["join-room",{}]'];
    for (const packet of packets) {
      const raw = await raw_();
      raw.send(packet);
      raw.send(Buffer.from(packet));
      // A connection that is still open must still answer.
      raw.send('427["get-stats",{}]');
      await bounded(`${JSON.stringify(packet).slice(0, 40)}: an answer or an end`, Promise.race([raw.ended, until('answer', () => raw.received.some(text => text.startsWith('437')), { within: 6000, every: 20 })]), 8000);
      raw.close();
    }
    const early = await raw_({ namespace: false });
    early.send(`42["join-room",${JSON.stringify({ roomId: ROOM })}]`);
    await pause(200);
    assert.ok(!early.received.some(text => text.includes('peerId')), 'no event before the namespace is joined');

    const huge = await raw_();
    huge.send(`42["chat",{"text":"${'x'.repeat(8_000_000)}"}]`);
    const ended = await Promise.race([huge.ended.then(() => true), until('too large is answered', () => huge.received.some(text => /too-large/.test(text)), { within: 8000 })]);
    assert.ok(ended);
  });

  test('a crowd that opens and drops connections is only a crowd', { timeout: 30_000 }, async () => {
    const sockets = [];
    for (let i = 0; i < 300; i += 1) {
      const socket = new WebSocket(`${engine.url.replace('http', 'ws')}/socket.io/?EIO=4&transport=websocket`, { origin: engine.url });
      socket.on('error', () => {});
      sockets.push(socket);
    }
    await pause(1500);
    for (const socket of sockets) socket.terminate();
    const client = await until('a new client gets in', () => client_(), { within: 10_000 });
    assert.equal((await client.ask('join-room', { roomId: ROOM })).code, 'invite-required');
  });
});

describe('HTTP', () => {
  const refused = async (method, route, options, status) => {
    const response = await fetch(engine.url + route, { method, signal: AbortSignal.timeout(10_000), ...options });
    const text = await response.text();
    assert.ok([status].flat().includes(response.status), `${method} ${route}: ${response.status} ${text.slice(0, 200)}`);
    return text;
  };
  const asOwner = () => ({ authorization: `Bearer ${engine.token}`, 'content-type': 'application/json' });

  test("the owner's routes open to the owner's token alone, and to no foreign page", async () => {
    for (const authorization of [undefined, 'Bearer ', 'Bearer x', `Basic ${engine.token}`, `Bearer ${engine.token.slice(0, -1)}`]) {
      const text = await refused('GET', '/api/rooms', { headers: authorization ? { authorization } : {} }, 401);
      assert.equal(JSON.parse(text).code, 'unauthorized');
    }
    await refused('GET', '/api/rooms', { headers: { ...asOwner(), origin: 'https://evil.example' } }, 403);
    await refused('POST', '/api/rooms', { headers: { ...asOwner(), origin: 'null' }, body: '{"roomId":"x"}' }, 403);
  });

  test('bodies and paths that cannot be are refused', async () => {
    const post = (body, status) => refused('POST', '/api/rooms', { headers: asOwner(), body }, status);
    for (const body of ['', '{', '[]', '7', '{"roomId":5}', '{"roomId":"../x"}', `{"roomId":"x","title":"${'t'.repeat(201)}"}`, Buffer.from([0xff, 0xfe])]) {
      assert.equal(JSON.parse(await post(body, [400, 422])).code, 'invalid-request');
    }
    await post(JSON.stringify({ roomId: 'big', title: 'x'.repeat(2_000_000) }), 413);
    assert.equal(JSON.parse(await post(JSON.stringify({ roomId: ROOM }), 409)).code, 'room-exists');
    await refused('GET', '/rooms/nowhere', {}, 404);
    await refused('GET', '/rooms/..%2f..%2fetc', {}, [400, 404]);
    await refused('GET', '/join/..%2f..%2fetc%2fpasswd', {}, [400, 404, 200]).then(text => assert.doesNotMatch(text, /root:/));
    await refused('GET', '/assets/..%2f..%2fCargo.toml', {}, [400, 404]).then(text => assert.doesNotMatch(text, /workspace/));
    await refused('POST', `/api/rooms/${ROOM}/peers/${crypto.randomUUID()}/admit`, { headers: asOwner(), body: '{}' }, 404);
    await refused('POST', `/api/rooms/${ROOM}/peers/me/admit`, { headers: asOwner(), body: '{}' }, [400, 404, 422]);
    await refused('POST', `/api/rooms/${ROOM}/invites`, { headers: asOwner(), body: '{"maxUses":0}' }, [400, 422]);
    await refused('POST', `/api/rooms/${ROOM}/invites`, { headers: asOwner(), body: '{"expiresIn":99999999999}' }, [400, 422]);
  });

  test('a dashboard socket without the token is shown nothing and closed', async () => {
    for (const hello of ['{"token":"x"}', '{}', 'hello', Buffer.alloc(70_000)]) {
      const socket = new WebSocket(`${engine.url.replace('http', 'ws')}/api/dashboard`, { origin: engine.url });
      const seen = [];
      socket.on('message', data => seen.push(data.toString()));
      socket.on('error', () => {});
      const closed = new Promise(resolve => socket.once('close', resolve));
      socket.once('open', () => socket.send(hello));
      await bounded('the dashboard socket is closed', closed, 8000);
      assert.ok(!seen.some(text => text.includes('snapshot')), `${seen}`);
    }
  });
});

describe('the media port', () => {
  let udp, transport, candidate;

  before(async () => {
    const guest = await waitingGuest();
    transport = (await guest.ask('create-webrtc-transport', { direction: 'send' })).ok;
    candidate = transport.iceCandidates.find(one => one.protocol === 'udp');
    udp = dgram.createSocket('udp4');
    udp.answers = [];
    udp.on('message', data => udp.answers.push(data));
    await new Promise(resolve => udp.bind(0, '127.0.0.1', resolve));
    open.splice(open.indexOf(guest), 1); // Outlives the tests below.
    udp.guest = guest;
  });
  after(() => {
    udp?.close();
    udp?.guest.close();
  });
  const send = data => new Promise(resolve => udp.send(data, candidate.port, candidate.address ?? candidate.ip, resolve));

  test('noise of every length is not answered', async () => {
    udp.answers.length = 0;
    for (let length = 0; length < 1500; length += 3) {
      const noise = crypto.randomBytes(length);
      await send(noise);
      if (length > 0) {
        // The first byte decides what it pretends to be (RFC 7983 §7): STUN, DTLS, RTP or RTCP.
        for (const first of [0, 1, 20, 22, 63, 128, 144]) await send(Buffer.concat([Buffer.from([first]), noise.subarray(1)]));
      }
    }
    await pause(300);
    assert.deepEqual(udp.answers, []);
  });

  test('RTP of an unknown sender, truncated RTCP and DTLS from an unvalidated address are not answered', async () => {
    udp.answers.length = 0;
    const rtp = Buffer.concat([Buffer.from([0x80, 96, 0, 1, 0, 0, 0, 1, 0xde, 0xad, 0xbe, 0xef]), crypto.randomBytes(200)]);
    for (let i = 0; i < 200; i += 1) await send(rtp);
    for (const type of [200, 201, 202, 203, 204, 205, 206, 207]) {
      const rtcp = Buffer.concat([Buffer.from([0x81, type, 0xff, 0xff, 0, 0, 0, 1]), crypto.randomBytes(20)]);
      for (let length = 1; length <= rtcp.length; length += 1) await send(rtcp.subarray(0, length));
    }
    for (let i = 0; i < 20; i += 1) await send(clientHello());
    await pause(500);
    assert.deepEqual(udp.answers, [], 'an unvalidated address must not be able to draw a flight of DTLS from us');
  });

  test('a STUN check with a wrong password, a wrong name or a broken length validates nothing', async () => {
    udp.answers.length = 0;
    const user = `${transport.iceParameters.usernameFragment}:abcd`;
    const checks = [
      stunCheck(user, 'wrong-password'),
      stunCheck('nobody:abcd', transport.iceParameters.password),
      stunCheck(`${transport.iceParameters.usernameFragment}`, transport.iceParameters.password),
      stunCheck(user, transport.iceParameters.password).subarray(0, 30),
      stunCheck(user, null),
      stunCheck('x'.repeat(600), transport.iceParameters.password),
      brokenLength(stunCheck(user, transport.iceParameters.password)),
    ];
    for (const check of checks) for (let i = 0; i < 5; i += 1) await send(check);
    await send(clientHello());
    await pause(500);
    const successes = udp.answers.filter(data => data.readUInt16BE(0) === 0x0101);
    assert.deepEqual(successes, []);
    assert.ok(udp.answers.every(data => data[0] <= 3 && data.length <= 200), 'only small STUN errors, no DTLS');

    // The proof that these tests could fail: the right password is answered.
    await send(stunCheck(user, transport.iceParameters.password));
    await until('a good check succeeds', () => udp.answers.some(data => data.readUInt16BE(0) === 0x0101), { every: 20 });
  });

  test('a guest whose packets belong to no producer is a guest without a picture', { timeout: 40_000 }, async t => {
    const liar = await foreignGuest({ engine, browser, origin: server.origin, roomId: ROOM, guest: { ...ADA, ...SMALL, name: 'Liar' } });
    t.after(() => liar.context().close());
    await call(liar, 'lieAboutStreams');
    const { id } = await call(liar, 'publish', 'video', 'video/VP8');
    const transportId = await liar.evaluate(() => window.client.state.send.id);
    const stats = await until('its packets are counted as discarded', async () => {
      const { ok } = await liar.evaluate(payload => window.client.ask('get-stats', payload), { transportId });
      return ok.transports[0].packetsDiscarded > 20 && ok;
    });
    assert.ok(stats.transports[0].bytesReceived > 0);
    const own = await liar.evaluate(payload => window.client.ask('get-stats', payload), { producerId: id });
    assert.ok((own.ok.producers[0]?.packetCount ?? 0) === 0, JSON.stringify(own.ok.producers));
    await call(liar, 'request', 'leave-room');
  });
});

async function client_(token) {
  const client = await connect(engine.url, token);
  open.push(client);
  return client;
}

async function raw_(options) {
  const raw = await rawConnect(engine.url, options);
  open.push(raw);
  return raw;
}

/** A joined guest in the green room, driven from here. */
async function waitingGuest() {
  const { token } = await engine.invite(ROOM);
  const client = await client_(token);
  const { ok } = await client.ask('join-room', { roomId: ROOM, token, displayName: 'Mallory' });
  assert.equal(ok?.state, 'waiting');
  return client;
}

/** Those whose socket was cut stay for their grace time; the host need not wait. */
async function removeByName(name) {
  const { peers } = await engine.room(ROOM);
  for (const peer of peers.filter(peer => peer.displayName === name)) await engine.remove(ROOM, peer.peerId);
}

/** Another last character of the signature, whatever the alphabet. */
function flipped(token) {
  const at = token.length - 5;
  return token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);
}

function opus() {
  const codec = { mimeType: 'audio/opus', payloadType: 111, clockRate: 48000, channels: 2, parameters: {}, rtcpFeedback: [] };
  return { mid: '0', codecs: [codec], headerExtensions: [], encodings: [{ ssrc: 4712 }], rtcp: { cname: 'x', reducedSize: true } };
}

/** A binding request (RFC 8489 §5) with USERNAME, PRIORITY, and MESSAGE-INTEGRITY and FINGERPRINT unless `password` is null. */
function stunCheck(username, password) {
  const attribute = (type, value) => {
    const padded = Buffer.alloc(4 + Math.ceil(value.length / 4) * 4);
    padded.writeUInt16BE(type, 0);
    padded.writeUInt16BE(value.length, 2);
    value.copy(padded, 4);
    return padded;
  };
  const head = Buffer.alloc(20);
  head.writeUInt16BE(0x0001, 0);
  head.writeUInt32BE(0x2112a442, 4);
  crypto.randomBytes(12).copy(head, 8);
  let body = Buffer.concat([attribute(0x0006, Buffer.from(username)), attribute(0x0024, Buffer.from([0x6e, 0, 0, 1])), attribute(0x802a, crypto.randomBytes(8))]);
  if (password !== null) {
    head.writeUInt16BE(body.length + 24, 2);
    const mac = crypto.createHmac('sha1', password).update(head).update(body).digest();
    body = Buffer.concat([body, attribute(0x0008, mac)]);
    head.writeUInt16BE(body.length + 8, 2);
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE((crc32(Buffer.concat([head, body])) ^ 0x5354554e) >>> 0);
    body = Buffer.concat([body, attribute(0x8028, crc)]);
  }
  head.writeUInt16BE(body.length, 2);
  return Buffer.concat([head, body]);
}

/** An attribute that claims to reach beyond the message. */
function brokenLength(message) {
  const broken = Buffer.from(message);
  broken.writeUInt16BE(0xffff, 22);
  return broken;
}

function crc32(data) {
  let crc = 0xffffffff;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

/** A DTLS 1.2 ClientHello with one cipher suite and no extensions. */
function clientHello() {
  const body = Buffer.concat([Buffer.from([0xfe, 0xfd]), crypto.randomBytes(32), Buffer.from([0, 0, 0, 2, 0xc0, 0x2b, 1, 0])]);
  const handshake = Buffer.alloc(12);
  handshake[0] = 1;
  handshake.writeUIntBE(body.length, 1, 3);
  handshake.writeUIntBE(body.length, 9, 3);
  const record = Buffer.from([22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  record.writeUInt16BE(handshake.length + body.length, 11);
  return Buffer.concat([record, handshake, body]);
}
