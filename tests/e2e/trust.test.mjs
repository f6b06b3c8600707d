// Who may do what, over the wire: roles, links, tokens of an identity provider, and what a kill leaves behind.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Engine } from '../lib/engine.mjs';
import { privateFolder } from '../lib/places.mjs';
import { connect } from '../lib/socket.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'trust';
const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
const open = [];
let engine, jwks;

before(async () => {
  jwks = path.join(privateFolder('provider'), 'jwks.json');
  fs.writeFileSync(jwks, keySet(publicKey));
  const settings = `[auth]\njwks = ${JSON.stringify(jwks)}\nissuer = "https://id.example"\n\n[srs]\nrtmp = "rtmp://srs.example/live"\n`;
  engine = await Engine.start({ name: 'engine-trust', settings });
  await engine.createRoom(ROOM);
}, { timeout: 30_000 });

after(async () => {
  for (const client of open.splice(0)) client.close();
  await engine?.stop();
});

test('a performer watches, asks, is let onto the stage by a co-host, and taken off it again', async () => {
  const cohost = await enter('Cem', { role: 'co-host' });
  const pia = await enter('Pia', { role: 'performer' });
  assert.deepEqual([pia.joined.state, pia.joined.maySend, pia.joined.peers.length], ['live', false, 1]);
  const refused = await pia.ask('create-webrtc-transport', { direction: 'send' });
  assert.equal(refused.code, 'waiting');
  assert.match(refused.error, /raise your hand/);

  await pia.ask('raise-hand', { raised: true });
  await told(cohost, 'hand-raised', data => data.peerId === pia.joined.peerId && data.raised);
  assert.equal((await pia.ask('admit', { peerId: pia.joined.peerId })).code, 'forbidden');
  assert.deepEqual(await cohost.ask('admit', { peerId: pia.joined.peerId }), { ok: {} });
  await told(pia, 'admitted', data => data.slot === 1);
  const transport = (await pia.ask('create-webrtc-transport', { direction: 'send' })).ok;
  assert.ok(transport.id);

  assert.deepEqual(await cohost.ask('assign-slot', { peerId: pia.joined.peerId }), { ok: {} });
  await told(pia, 'transport-closed', data => data.transportId === transport.id);
  assert.equal((await pia.ask('create-webrtc-transport', { direction: 'send' })).code, 'waiting');
});

test('a co-host hears who waits, lets them in, and reaches nobody above', async () => {
  const cohost = await enter('Cora', { role: 'co-host' });
  const host = await enter('Mira', { token: engine.token });
  const ada = await enter('Ada', {});
  assert.equal(ada.joined.state, 'waiting');
  await told(cohost, 'peer-waiting', data => data.peerId === ada.joined.peerId);
  assert.deepEqual(await cohost.ask('admit', { peerId: ada.joined.peerId }), { ok: {} });
  await told(ada, 'admitted', () => true);
  assert.equal((await cohost.ask('remove-peer', { peerId: host.joined.peerId })).code, 'forbidden');
  assert.equal((await ada.ask('remove-peer', { peerId: cohost.joined.peerId })).code, 'forbidden');
  assert.deepEqual(await host.ask('remove-peer', { peerId: cohost.joined.peerId }), { ok: {} });
  await cohost.left;
});

test('withdrawing a link ends whom it let in at once, and their way back', async () => {
  const invite = await engine.invite(ROOM, { maxUses: 3 });
  const byLink = await enter('Link', { token: invite.token });
  const byJwt = await enter('Jot', { token: invite.jwt });
  await engine.rest('DELETE', `/api/rooms/${ROOM}/invites/${invite.id}?endPeers=true`);
  for (const guest of [byLink, byJwt]) {
    await told(guest, 'kicked', () => true);
    await guest.left;
  }
  assert.equal((await knock(invite.jwt)).code, 'invite-revoked');
  assert.equal((await knock(undefined, { resumeToken: byLink.joined.resumeToken })).code, 'forbidden');
});

test('a token is good for its uses, however many come at once', async () => {
  const invite = await engine.invite(ROOM, { maxUses: 1, role: 'viewer' });
  const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => knock(n % 2 ? invite.token : invite.jwt)));
  assert.equal(answers.filter(answer => answer.ok).length, 1);
  assert.ok(answers.filter(answer => !answer.ok).every(answer => answer.code === 'invite-used-up'));
});

test('an identity provider’s token opens the room it names, and nothing else does', async () => {
  const now = Math.floor(Date.now() / 1000);
  const good = { iss: 'https://id.example', jti: 'a1', room: ROOM, role: 'guest', name: 'Ines', exp: now + 60, uses: 1 };
  const ines = await knock(es256(good));
  assert.deepEqual([ines.ok.displayName, ines.ok.state], ['Ines', 'waiting']);
  const wrong = [
    [es256(good), 'invite-used-up'],
    [es256({ ...good, jti: 'a2', room: 'other' }), 'invite-other-room'],
    [es256({ ...good, jti: 'a3', exp: now - 120 }), 'invite-expired'],
    [es256({ ...good, jti: 'a4', nbf: now + 600 }), 'invite-not-yet-valid'],
    [es256({ ...good, jti: 'a5', iss: 'https://evil.example' }), 'invite-invalid'],
    [es256({ ...good, jti: 'a6' }, crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey), 'invite-invalid'],
    [`${part({ alg: 'none' })}.${part(good)}.`, 'invite-invalid'],
    [hs256(good, publicKey.export({ format: 'pem', type: 'spki' })), 'invite-invalid'],
  ];
  for (const [token, code] of wrong) assert.equal((await knock(token)).code, code, code);
});

test('the provider changes its keys, and a broken file changes nothing', { timeout: 60_000 }, async () => {
  const claims = { iss: 'https://id.example', room: ROOM, role: 'viewer', exp: Math.floor(Date.now() / 1000) + 600 };
  const next = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
  assert.equal((await knock(es256({ ...claims, jti: 'b1' }, next.privateKey))).code, 'invite-invalid');
  fs.writeFileSync(jwks, keySet(next.publicKey));
  await until('the new key counts', async () => (await knock(es256({ ...claims, jti: 'b2' }, next.privateKey))).ok, { within: 20_000, every: 500 });
  assert.equal((await knock(es256({ ...claims, jti: 'b3' }))).code, 'invite-invalid', 'the old one no more');

  fs.writeFileSync(jwks, '{"keys":');
  const feed = await engine.dashboard();
  await until('the dashboard says so', () => feed.snapshot?.notes.some(({ text }) => /keys cannot be read.*jwks\.json.*stay in use/.test(text)), { within: 20_000 });
  feed.close();
  assert.ok((await knock(es256({ ...claims, jti: 'b4' }, next.privateKey))).ok);
  fs.writeFileSync(jwks, keySet(publicKey));
  await until('the first key counts again', async () => (await knock(es256({ ...claims, jti: 'b5' }))).ok, { within: 20_000, every: 500 });
});

test('a private room is not there for those who only look, addresses are named, and the API describes itself', async () => {
  await engine.rest('PUT', `/api/rooms/${ROOM}`, { isPrivate: true });
  const look = route => fetch(engine.url + route).then(response => response.json());
  assert.deepEqual(await look('/rooms'), []);
  assert.equal((await look(`/rooms/${ROOM}`)).code, 'room-not-found');
  assert.equal((await engine.room(ROOM)).id, ROOM);
  const { streamKey } = await engine.rest('GET', `/api/rooms/${ROOM}`);
  const publish = await engine.rest('GET', `/api/rooms/${ROOM}/publish-url`);
  assert.deepEqual(publish, { rtmp: `rtmp://srs.example/live/${ROOM}?key=${streamKey}`, whip: null, reason: null });
  const play = await engine.rest('GET', `/api/rooms/${ROOM}/play-urls`);
  assert.equal(play.webrtc, `webrtc://srs.example/live/${ROOM}`);
  assert.ok(!JSON.stringify(play).includes(streamKey));
  assert.deepEqual(await engine.rest('GET', `/api/rooms/${ROOM}/stream`), { publishing: false, since: null, codecs: [], bitrate: 0 });
  const { openapi, paths } = await look('/api/openapi.json');
  assert.ok(openapi.startsWith('3.') && paths['/api/rooms/{room}/invites'].post.requestBody);
});

test('a killed engine says what it took up again, and an orderly end is no news', { timeout: 40_000 }, async () => {
  const invite = await engine.invite(ROOM, { maxUses: 2 });
  const eve = await enter('Eve', { token: invite.token });
  await engine.die();
  await engine.launch();
  const health = await (await fetch(`${engine.url}/health`)).json();
  assert.ok(health.recovered.rooms === 1 && health.recovered.invites >= 1 && health.recovered.guests >= 1, JSON.stringify(health));
  const feed = await engine.dashboard();
  assert.ok(feed.snapshot.notes.some(note => note.text.includes('cut off last time')), JSON.stringify(feed.snapshot.notes));
  feed.close();
  const back = await knock(undefined, { resumeToken: eve.joined.resumeToken });
  assert.equal(back.ok.peerId.length, 36);
  assert.equal((await engine.rest('GET', `/api/rooms/${ROOM}/invites`)).find(({ id }) => id === invite.id).uses, 1);

  const client = open.at(-1);
  await engine.stop();
  await told(client, 'server-closing', () => true);
  await engine.launch();
  assert.equal((await (await fetch(`${engine.url}/health`)).json()).recovered, null);
});

async function enter(displayName, { role, token }) {
  token ??= (await engine.invite(ROOM, { role })).token;
  const client = await connect(engine.url, token);
  open.push(client);
  const answer = await client.ask('join-room', { roomId: ROOM, displayName });
  assert.ok(answer.ok, JSON.stringify(answer));
  return { ...client, joined: answer.ok };
}

async function knock(token, more = {}) {
  const client = await connect(engine.url);
  open.push(client);
  return client.ask('join-room', { roomId: ROOM, ...(token && { token }), ...more });
}

function told(client, event, fits) {
  return until(`is told ${event}`, () => client.notices.some(notice => notice.event === event && fits(notice.data)), { every: 20 });
}

function keySet(key) {
  return JSON.stringify({ keys: [{ ...key.export({ format: 'jwk' }), kid: 'k1', use: 'sig' }] });
}

function part(value) {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function es256(claims, key = privateKey) {
  const message = `${part({ alg: 'ES256', kid: 'k1' })}.${part(claims)}`;
  return `${message}.${crypto.sign('sha256', Buffer.from(message), { key, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`;
}

function hs256(claims, secret) {
  const message = `${part({ alg: 'HS256', kid: 'k1' })}.${part(claims)}`;
  return `${message}.${crypto.createHmac('sha256', secret).update(message).digest('base64url')}`;
}
