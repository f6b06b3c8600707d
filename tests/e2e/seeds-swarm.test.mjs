// Clients that exist already, as they are: introductions by Socket.IO and by plain WebSocket. The same client tells the
// same story against the bare socket.io server that it was written for.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { io } from 'socket.io-client';
import WebSocket from 'ws';
import { Engine } from '../lib/engine.mjs';
import { serveIntroductions } from '../lib/introductions-reference.mjs';
import { bounded } from '../lib/wait.mjs';

let engine, bare;
before(async () => {
  [engine, bare] = await Promise.all([Engine.start({ name: 'engine-seeds-swarm' }), serveIntroductions()]);
});
after(async () => {
  bare?.close();
  await engine?.stop();
});

/** A player that shares a file: it offers to whom it finds, and answers who offers. */
function player(url, hash, name) {
  const socket = io(url, { forceNew: true });
  const story = [];
  const done = new Promise(resolve => {
    const tell = (event, data) => {
      story.push({ event, data });
      if (event === 'ice-candidate') resolve();
    };
    socket.on('connect', () => socket.emit('announce', { hash, peerId: name }));
    socket.on('peer-list', ({ peers }) => {
      tell('peer-list', { peers });
      for (const targetPeer of peers) socket.emit('offer', { targetPeer, offer: { type: 'offer', sdp: `v=0 ${name}` } });
    });
    socket.on('new-peer', ({ peerId }) => tell('new-peer', { peerId }));
    socket.on('offer', ({ fromPeer, offer }) => {
      tell('offer', { fromPeer, offer });
      socket.emit('answer', { targetPeer: fromPeer, answer: { type: 'answer', sdp: `v=0 ${name}` } });
    });
    socket.on('answer', ({ fromPeer, answer }) => {
      tell('answer', { fromPeer, answer });
      socket.emit('ice-candidate', { targetPeer: fromPeer, candidate: { candidate: 'candidate:1', sdpMid: '0' } });
    });
    socket.on('ice-candidate', ({ fromPeer, candidate }) => {
      tell('ice-candidate', { fromPeer, candidate });
      if (!story.some(line => line.event === 'answer')) {
        socket.emit('ice-candidate', { targetPeer: fromPeer, candidate: { candidate: 'candidate:2', sdpMid: '0' } });
      }
    });
    socket.on('error', error => tell('error', error));
  });
  return { socket, story, done };
}

/** What happened, with ids as names. */
async function tale(url) {
  const first = player(url, 'QmVideo', 'first');
  await bounded('first is announced', new Promise(resolve => first.socket.on('peer-list', resolve)), 5000);
  const second = player(url, 'QmVideo', 'second');
  await bounded('both have exchanged candidates', Promise.all([first.done, second.done]), 10_000);
  const names = new Map();
  for (const { data } of first.story) names.set(data.peerId ?? data.fromPeer, 'second');
  for (const { data } of second.story) names.set(data.fromPeer, 'first');
  const named = story => JSON.parse(JSON.stringify(story), (key, value) => names.get(value) ?? value);
  const told = { first: named(first.story), second: named(second.story) };
  first.socket.close();
  second.socket.close();
  return told;
}

describe('introductions over Socket.IO', () => {
  test('the announce, offer, answer, ice-candidate client sees what it sees of the bare server', async () => {
    const [ours, theirs] = [await tale(engine.url), await tale(bare.url)];
    assert.deepEqual(ours.first.map(line => line.event), ['peer-list', 'new-peer', 'offer', 'ice-candidate']);
    assert.deepEqual(ours, theirs);
  });

  test('whatever transport it begins with', async () => {
    for (const transports of [['polling'], ['websocket']]) {
      const socket = io(engine.url, { forceNew: true, transports });
      const list = new Promise(resolve => socket.on('peer-list', resolve));
      socket.emit('announce', { hash: `QmOf-${transports}`, peerId: 'x' });
      assert.deepEqual((await bounded('a list', list, 5000)).peers, []);
      socket.close();
    }
  });
});

describe('introductions over a plain WebSocket', () => {
  /** Collects messages by type. */
  const connect = async () => {
    const socket = new WebSocket(`${engine.url.replace('http', 'ws')}/swarm`);
    const waiting = [], heard = [];
    socket.on('message', data => {
      const message = JSON.parse(data);
      const at = waiting.findIndex(one => one.type === message.type);
      if (at < 0) heard.push(message);
      else waiting.splice(at, 1)[0].resolve(message);
    });
    await bounded('it opens', new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject)), 5000);
    const hear = type => {
      const at = heard.findIndex(message => message.type === type);
      if (at >= 0) return Promise.resolve(heard.splice(at, 1)[0]);
      return bounded(`${type} comes`, new Promise(resolve => waiting.push({ type, resolve })), 5000);
    };
    return { socket, hear, say: message => socket.send(JSON.stringify(message)) };
  };

  test('announce, then offer, answer and ice-candidate to the others of the hash', async () => {
    const [one, two] = [await connect(), await connect()];
    one.say({ type: 'announce', hash: 'QmNative' });
    assert.deepEqual((await one.hear('peer-list')).peers, []);
    two.say({ type: 'announce', hash: 'QmNative' });
    const { peers } = await two.hear('peer-list');
    assert.equal(peers.length, 1);
    two.say({ type: 'offer', sdp: 'v=0' });
    const offer = await one.hear('offer');
    assert.equal(offer.sdp, 'v=0');
    one.say({ type: 'answer', sdp: 'v=0', targetPeer: offer.fromPeer });
    assert.equal((await two.hear('answer')).fromPeer, peers[0]);
    two.say({ type: 'ice-candidate', candidate: 'candidate:1' });
    assert.equal((await one.hear('ice-candidate')).fromPeer, offer.fromPeer);
    two.socket.close();
    assert.equal((await one.hear('peer-left')).peerId, offer.fromPeer);
    one.socket.close();
  });
});
