// The join-room and signal client with simple-peer in real browsers: their picture goes from one to the other, the server
// carries only what they say about it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { servePage } from '../lib/page.mjs';
import { call } from '../lib/room.mjs';
import { connect } from '../lib/socket.mjs';
import { bounded, until } from '../lib/wait.mjs';

const ROOM = 'peers';
let server, engine, browser;
before(async () => {
  server = await servePage('simple-peer');
  engine = await Engine.start({ name: 'engine-seeds-signal', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM);
  browser = await launchChromium();
}, { timeout: 60_000 });
after(async () => {
  await browser?.close();
  await engine?.stop();
  server?.close();
});

test('two browsers reach each other through signal', { timeout: 60_000 }, async () => {
  const open = guest => openPage(browser, { guest: { ...guest, width: 320, height: 180, fps: 15 }, name: `peer-${guest.name}`, url: server.origin });
  const [host, guest] = await Promise.all([open(ADA), open(BEN)]);
  const { token } = await engine.invite(ROOM);
  const first = await call(host, 'join', { url: engine.url, token: engine.token, roomId: ROOM, userId: 'u1', role: 'host' });
  const second = await call(guest, 'join', { url: engine.url, token, roomId: ROOM, userId: 'u2', role: 'guest' });
  assert.equal(second.state, 'waiting');
  await engine.admit(ROOM, 'Guest');
  const remotePeerId = await until('the host hears of the guest', () => host.evaluate(() => window.client.state.said[0]));
  assert.equal(remotePeerId, second.peerId);
  // The one who answers listens first.
  const answers = call(guest, 'connect', { isHost: false, remotePeerId: first.peerId });
  await guest.waitForFunction(() => window.client.state.peer);
  const offers = call(host, 'connect', { isHost: true, remotePeerId });
  const seen = await bounded('both see each other', Promise.all([offers, answers]), 30_000);
  for (const { width, tracks } of seen) {
    assert.ok(width > 0);
    assert.deepEqual(tracks, ['audio', 'video']);
  }
  for (const page of [host, guest]) assert.deepEqual(await page.evaluate(() => window.client.state.errors), []);

  // Somebody of another room, who knows the ids, reaches nobody.
  await engine.createRoom('other');
  const stranger = await connect(engine.url, engine.token);
  await stranger.ask('join-room', { roomId: 'other' });
  for (const to of [first.peerId, second.peerId]) {
    assert.equal((await stranger.ask('signal', { to, signal: { type: 'offer' } })).code, 'not-found');
  }
  assert.equal((await stranger.ask('signal', { to: first.peerId, signal: 'x'.repeat(70_000) })).code, 'too-large');
  stranger.close();
});
