// The live room's message type from a client over the `ws` package: { type, roomId, userId, payload }.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import WebSocket from 'ws';
import { Engine } from '../lib/engine.mjs';
import { bounded } from '../lib/wait.mjs';

const ROOM = 'live';
let engine;
before(async () => {
  engine = await Engine.start({ name: 'engine-seeds-live' });
  await engine.createRoom(ROOM);
});
after(() => engine?.stop());

/** A client that keeps what it hears in order. */
async function connect({ token, header = false } = {}) {
  const query = token && !header ? `?token=${encodeURIComponent(token)}` : '';
  const headers = token && header ? { authorization: `Bearer ${token}` } : {};
  const socket = new WebSocket(`${engine.url.replace('http', 'ws')}/signaling${query}`, { headers });
  const heard = [];
  let wake = () => {};
  socket.on('message', data => {
    heard.push(JSON.parse(data));
    wake();
  });
  const closed = new Promise(resolve => socket.once('close', code => resolve(code)));
  await bounded('it opens', new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 5000);
  const hear = type => bounded(`${type} comes`, (async () => {
    for (;;) {
      const at = heard.findIndex(message => message.type === type);
      if (at >= 0) return heard.splice(at, 1)[0];
      await new Promise(resolve => (wake = resolve));
    }
  })(), 5000);
  const say = (type, userId, payload, rest = {}) => socket.send(JSON.stringify({ type, roomId: ROOM, userId, payload, ...rest }));
  return { socket, heard, hear, say, closed };
}

test('join, offer, answer, candidate and leave, with the token in the header, the address or the first message', async () => {
  const { token } = await engine.invite(ROOM, { maxUses: 5 });
  const host = await connect({ token: engine.token, header: true });
  host.say('join', 'host', { publish: true });
  assert.deepEqual((await host.hear('joined')).payload.users, []);
  const guest = await connect({ token });
  guest.say('join', 'ada', {});
  assert.deepEqual((await guest.hear('joined')).payload.users, [{ userId: 'host', publish: true }]);
  assert.equal((await host.hear('user-joined')).userId, 'ada');
  const late = await connect();
  late.say('join', 'ben', { token });
  await late.hear('joined');

  guest.say('offer', 'ada', { to: 'host', sdp: 'v=0' });
  assert.deepEqual(await host.hear('offer'), { type: 'offer', roomId: ROOM, userId: 'ada', payload: { to: 'host', sdp: 'v=0' } });
  host.say('answer', 'host', { to: 'ada', sdp: 'v=0' });
  assert.equal((await guest.hear('answer')).userId, 'host');
  host.say('candidate', 'host', { candidate: 'candidate:1' });
  for (const client of [guest, late]) assert.equal((await client.hear('candidate')).payload.candidate, 'candidate:1');
  guest.say('ping', 'ada', null);
  await guest.hear('pong');

  late.say('join', 'ben', {});
  assert.equal((await late.hear('error')).payload.code, 'already-joined');
  const rival = await connect({ token });
  rival.say('join', 'cleo', { publish: true });
  assert.equal((await rival.hear('error')).payload.code, 'duplicate-publisher');
  guest.say('leave', 'ada', null);
  assert.equal((await host.hear('user-left')).userId, 'ada');
  for (const client of [host, guest, late, rival]) client.socket.close();
});

test('who comes back in time kept the seat; who is revoked is shown out at once', async () => {
  const invite = await engine.invite(ROOM, { maxUses: 1 });
  const host = await connect({ token: engine.token });
  host.say('join', 'host-2', {});
  await host.hear('joined');
  const ada = await connect({ token: invite.token });
  ada.say('join', 'ada-2', {});
  await host.hear('user-joined');
  ada.socket.terminate();
  const again = await connect({ token: invite.token });
  again.say('join', 'ada-2', {});
  assert.equal((await again.hear('joined')).payload.resumed, true);
  const thief = await connect({ token: engine.token });
  thief.say('join', 'ada-2', {});
  assert.equal((await thief.hear('error')).payload.code, 'conflict');
  await engine.rest('DELETE', `/api/rooms/${ROOM}/invites/${invite.id}`);
  assert.equal((await again.hear('error')).payload.code, 'invite-revoked');
  await bounded('it is closed', again.closed, 5000);
  assert.equal((await host.hear('user-left')).userId, 'ada-2');
  for (const client of [host, thief]) client.socket.close();
});

test('a token that is forged or for another room opens nothing', async () => {
  await engine.createRoom('elsewhere');
  const { token } = await engine.invite('elsewhere');
  const stray = await connect({ token });
  stray.say('join', 'ada', {});
  assert.equal((await stray.hear('error')).payload.code, 'invite-other-room');
  stray.socket.close();
  await assert.rejects(connect({ token: `${token.slice(0, -3)}abc` }), /403/);
  await assert.rejects(connect({ token: 'eyJhbGciOiJub25lIn0.e30.' }), /403/);
});
