// Running Greenroom: what Prometheus reads while a guest is there.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium } from '../lib/browser.mjs';
import { ADA } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { readExposition, valueOf } from '../lib/exposition.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { artifact } from '../lib/places.mjs';
import { connect } from '../lib/socket.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'control-room';
const ada = { ...ADA, width: 320, height: 180, fps: 15 };
let engine, browser, feed;

before(async () => {
  engine = await Engine.start({ name: 'engine-operations' });
  await engine.createRoom(ROOM, 'Control room');
  feed = await engine.dashboard();
  browser = await launchChromium();
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  feed?.close();
  await engine?.stop();
}, { timeout: 60_000 });

/** One scrape, as Prometheus does it. */
async function scrape() {
  const response = await fetch(`${engine.url}/metrics`, { headers: { authorization: `Bearer ${engine.token}` } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  const text = await response.text();
  fs.writeFileSync(artifact('metrics.txt'), text);
  return readExposition(text);
}

test('metrics are for the owner alone', async () => {
  for (const authorization of [undefined, 'Bearer wrong', 'Basic x']) {
    const refused = await fetch(`${engine.url}/metrics`, { headers: authorization ? { authorization } : {} });
    assert.equal(refused.status, 401);
    assert.doesNotMatch(await refused.text(), /greenroom_/);
  }
});

test('figures of an empty engine are there and are zero, and every one is in the documentation', async () => {
  const figures = await scrape();
  assert.equal(valueOf(figures, 'greenroom_rooms', { status: 'preparing' }), 1);
  assert.equal(valueOf(figures, 'greenroom_transports'), 0);
  assert.equal(valueOf(figures, 'greenroom_forwarded_packets_total'), 0);
  assert.equal(valueOf(figures, 'greenroom_sockets', { kind: 'dashboard' }), 1);
  assert.ok(valueOf(figures, 'process_resident_memory_bytes') > 1e6 && valueOf(figures, 'process_cpu_seconds_total') > 0);
  const table = fs.readFileSync(path.join(import.meta.dirname, '../../docs/monitoring.md'), 'utf8');
  const told = new Set([...table.matchAll(/^\| `((?:greenroom|process)_\w+)`/gm)].map(([, name]) => name));
  assert.deepEqual([...figures.keys()].filter(name => !told.has(name)), [], 'not in docs/monitoring.md');
  assert.deepEqual([...told].filter(name => !figures.has(name)), [], 'only in docs/monitoring.md');
});

test('with a guest on air counters move, and everything stays bounded and nameless', { timeout: 90_000 }, async () => {
  const guest = await joinAsGuest(browser, await engine.invite(ROOM), ada);
  await engine.admit(ROOM, ada.name, 1);
  await isLive(guest);
  const stranger = await connect(engine.url);
  await stranger.ask('made-up-by-a-client', {});
  const first = await until('pictures are decoded', async () => {
    const figures = await scrape();
    return valueOf(figures, 'greenroom_media_pictures_total') > 0 && figures;
  }, { within: 20_000, every: 500 });
  assert.equal(valueOf(first, 'greenroom_peers', { role: 'guest', state: 'live' }), 1);
  assert.equal(valueOf(first, 'greenroom_slots_taken'), 1);
  assert.equal(valueOf(first, 'greenroom_media_worker_up'), 1);
  assert.equal(valueOf(first, 'greenroom_message_seconds_count', { event: 'join-room' }), 1);
  assert.equal(valueOf(first, 'greenroom_message_seconds_count', { event: 'other' }), 1);
  assert.ok(valueOf(first, 'greenroom_connections', { listener: 'control' }) >= 2);

  const { peerId } = await engine.peer(ROOM, ada.name);
  const streams = first.get('greenroom_stream_bytes_per_second').samples;
  assert.deepEqual([...new Set(streams.map(({ labels }) => labels.kind))].sort(), ['audio', 'video']);
  assert.ok(streams.every(({ labels }) => labels.room === ROOM && labels.peer === peerId));
  const grows = ['greenroom_received_bytes_total', 'greenroom_received_packets_total', 'greenroom_media_pictures_total', 'greenroom_media_decode_seconds_total', 'process_cpu_seconds_total'];
  await until('each of them grows', async () => {
    const next = await scrape();
    return grows.every(name => valueOf(next, name) > valueOf(first, name));
  }, { within: 10_000, every: 500 });
  assert.doesNotMatch(fs.readFileSync(artifact('metrics.txt'), 'utf8'), /Ada|made-up|127\.0\.0\.1/);

  await engine.killMediaWorker();
  await until('the restart is counted', async () => valueOf(await scrape(), 'greenroom_media_worker_restarts_total') === 1, { within: 10_000, every: 200 });
  stranger.close();
  await guest.close();
  await until('nobody is there any more', async () => valueOf(await scrape(), 'greenroom_transports') === 0, { within: 45_000, every: 500 });
  const last = await scrape();
  assert.ok(valueOf(last, 'greenroom_received_packets_total') >= valueOf(first, 'greenroom_received_packets_total'), 'what has gone stays counted');
});
