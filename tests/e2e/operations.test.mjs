// Running Greenroom: what Prometheus reads while a guest is there, alarms on the dashboard, webhooks, and the support bundle.
import assert from 'node:assert/strict';
import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { launchChromium, openPage } from '../lib/browser.mjs';
import { ADA } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { readExposition, valueOf } from '../lib/exposition.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { HookListener } from '../lib/hooks.mjs';
import { artifact } from '../lib/places.mjs';
import { connect } from '../lib/socket.mjs';
import { unzip } from '../lib/unzip.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'control-room';
// More room than any disk has, so that the alarm is there from the beginning.
const SETTINGS = '[alarms]\ndisk_free_mb = 10000000\n';
const MEDIA = '[[media.ice_servers]]\nurls = ["turn:198.51.100.9:3478"]\nusername = "turn-user"\ncredential = "turn-pass"\n';
const ada = { ...ADA, width: 320, height: 180, fps: 15 };
const SECRET = `whsec_${crypto.randomBytes(32).toString('base64')}`;
let engine, browser, feed, hooks, silent;

before(async () => {
  hooks = await HookListener.start(SECRET, [500, 500]);
  silent = await HookListener.start(SECRET, [], { answers: false });
  const endpoints = [hooks, silent].map(({ url }) => `[[webhooks]]\nurl = "${url}"\nsecret = "${SECRET}"\n`);
  engine = await Engine.start({ name: 'engine-operations', media: MEDIA, settings: SETTINGS + endpoints.join('') });
  await engine.createRoom(ROOM, 'Control room');
  feed = await engine.dashboard();
  browser = await launchChromium();
}, { timeout: 60_000 });

after(async () => {
  await browser?.close();
  feed?.close();
  await engine?.stop();
  hooks?.close();
  silent?.close();
}, { timeout: 60_000 });

test('metrics are for the owner alone', async () => {
  const response = await fetch(`${engine.url}/metrics`, { headers: { authorization: `Bearer ${engine.token}` } });
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/plain; version=0.0.4; charset=utf-8');
  for (const authorization of [undefined, 'Bearer wrong', 'Basic x']) {
    const refused = await fetch(`${engine.url}/metrics`, { headers: authorization ? { authorization } : {} });
    assert.equal(refused.status, 401);
    assert.doesNotMatch(await refused.text(), /greenroom_/);
  }
});

test('figures of an empty engine are there and are zero, and every one is in the documentation', async () => {
  // How busy the computer is, is known after two looks.
  const figures = await until('all figures are there', async () => {
    const all = await engine.metrics();
    return valueOf(all, 'greenroom_host_cpu_busy_ratio') !== undefined && all;
  });
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
  const kinds = figures => [...new Set(figures.get('greenroom_stream_bytes_per_second').samples.map(({ labels }) => labels.kind))].sort();
  const first = await until('sound and pictures come, and are decoded', async () => {
    const figures = await engine.metrics();
    return valueOf(figures, 'greenroom_media_pictures_total') > 0 && String(kinds(figures)) === 'audio,video' && figures;
  }, { within: 30_000, every: 500 });
  assert.equal(valueOf(first, 'greenroom_peers', { role: 'guest', state: 'live' }), 1);
  assert.equal(valueOf(first, 'greenroom_slots_taken'), 1);
  assert.equal(valueOf(first, 'greenroom_media_worker_up'), 1);
  assert.equal(valueOf(first, 'greenroom_message_seconds_count', { event: 'join-room' }), 1);
  assert.equal(valueOf(first, 'greenroom_message_seconds_count', { event: 'other' }), 1);
  assert.ok(valueOf(first, 'greenroom_connections', { listener: 'control' }) >= 2);

  const { peerId } = await engine.peer(ROOM, ada.name);
  assert.ok(first.get('greenroom_stream_bytes_per_second').samples.every(({ labels }) => labels.room === ROOM && labels.peer === peerId));
  const grows = ['greenroom_received_bytes_total', 'greenroom_received_packets_total', 'greenroom_media_pictures_total', 'greenroom_media_decode_seconds_total', 'process_cpu_seconds_total'];
  await until('each of them grows', async () => {
    const next = await engine.metrics();
    return grows.every(name => valueOf(next, name) > valueOf(first, name));
  }, { every: 500 });
  assert.doesNotMatch(fs.readFileSync(artifact('metrics.txt'), 'utf8'), /Ada|made-up|whsec|hook\?/);

  await engine.killMediaWorker();
  await until('the restart is counted', async () => valueOf(await engine.metrics(), 'greenroom_media_worker_restarts_total') === 1, { every: 200 });
  stranger.close();
  await guest.close();
  await until('nobody is there any more', async () => valueOf(await engine.metrics(), 'greenroom_transports') === 0, { within: 45_000, every: 500 });
  const last = await engine.metrics();
  assert.ok(valueOf(last, 'greenroom_received_packets_total') >= valueOf(first, 'greenroom_received_packets_total'), 'what has gone stays counted');
});

test('an alarm says what is wrong and what to do, and can be dismissed', { timeout: 60_000 }, async () => {
  // The machine that tests may be busy, which is an alarm of its own.
  const raised = () => feed.snapshot.alarms.find(({ kind }) => kind === 'disk');
  const alarm = await until('the disk is short', raised, { within: 20_000 });
  assert.deepEqual([alarm.severity, alarm.peerId], ['error', null]);
  assert.equal(valueOf(await engine.metrics(), 'greenroom_alarms', { kind: 'disk' }), 1);
  const page = await openPage(browser, { name: 'alarms', url: engine.dashboardUrl });
  const bar = page.locator('[data-testid="alarm"][data-kind="disk"]');
  await bar.waitFor();
  assert.match(await bar.textContent(), /The disk has \d+ MB left.*Delete what you do not need/s);
  await page.screenshot({ path: artifact('dashboard-alarm.png') });
  await bar.locator('[data-testid="alarm-dismiss"]').click();
  await bar.waitFor({ state: 'detached' });
  assert.ok(!(await engine.rest('GET', '/api/alarms')).some(({ kind }) => kind === 'disk'));
  assert.equal(valueOf(await engine.metrics(), 'greenroom_alarms', { kind: 'disk' }), 1, 'dismissed is not over');
  await assert.rejects(engine.rest('DELETE', `/api/alarms/${crypto.randomUUID()}`), { status: 404 });
  await page.close();
});

test('guests who do not reach OBS are an alarm until they do', { timeout: 60_000 }, async () => {
  const pid = await engine.mediaWorker();
  const raised = () => feed.snapshot.alarms.find(alarm => alarm.kind === 'media-worker');
  const restarts = async () => valueOf(await engine.metrics(), 'greenroom_media_worker_restarts_total');
  // Three deaths within a minute: each is over before it is noticed, all together are not.
  for (let death = 0; death < 3; death += 1) {
    await until('the media worker runs', async () => valueOf(await engine.metrics(), 'greenroom_media_worker_up') === 1, { every: 50 });
    const before = await restarts();
    await engine.killMediaWorker();
    await until('it was started again', async () => (await restarts()) > before, { every: 50 });
  }
  const alarm = await until('that is an alarm', raised, { within: 20_000 });
  assert.match(alarm.what, /three times/);
  assert.notEqual(await engine.mediaWorker(), pid);
  assert.ok(feed.snapshot.notes.some(note => note.text.includes('three times')));
});

test('programs are told what happened, in order, signed, and again until they listen', { timeout: 90_000 }, async () => {
  await engine.rest('POST', '/api/rooms', { roomId: 'told', title: 'Told' });
  await engine.rest('PUT', '/api/rooms/told', { status: 'live' });
  const guest = await joinAsGuest(browser, await engine.invite('told'), { ...ada, name: 'Zoë' });
  await engine.admit('told', 'Zoë', 2);
  await isLive(guest);
  const mine = () => hooks.accepted.filter(({ data }) => data.roomId === 'told');
  await until('microphone and camera are told of', () => mine().filter(({ type }) => type === 'publish.started').length === 2, { within: 30_000 });
  const { peerId } = await engine.peer('told', 'Zoë');
  await engine.remove('told', peerId);
  await engine.rest('PUT', '/api/rooms/told', { status: 'ended' });
  await until('the end is told', () => mine().some(({ type }) => type === 'room.ended'), { within: 30_000 });
  const types = mine().map(({ type }) => type);
  assert.deepEqual(types.filter(type => !type.startsWith('publish')), ['room.live', 'peer.joined', 'peer.admitted', 'peer.left', 'room.ended']);
  const tracks = which => mine().filter(({ type }) => type === which).map(({ data }) => `${data.kind} ${data.producerId}`).sort();
  assert.deepEqual(tracks('publish.started').map(track => track.split(' ')[0]), ['audio', 'video']);
  assert.deepEqual(tracks('publish.stopped'), tracks('publish.started'));
  const [joined, left] = ['peer.joined', 'peer.left'].map(which => mine().find(({ type }) => type === which));
  assert.deepEqual(joined.data, { roomId: 'told', peerId, displayName: 'Zoë', role: 'guest', state: 'waiting' });
  assert.deepEqual([left.data.reason, left.data.state], ['removed by the host', 'live']);
  assert.ok(Math.abs(Date.parse(joined.createdAt) - Date.now()) < 60_000);
  assert.equal(new Set(hooks.accepted.map(({ id }) => id)).size, hooks.accepted.length, 'each once');

  // The first message was refused twice, and came again as it was.
  assert.deepEqual(hooks.bad, [], 'every signature fits');
  assert.deepEqual(hooks.refused.map(({ id }) => id), Array(2).fill(hooks.accepted[0].id));
  assert.ok(hooks.accepted.some(({ type, data }) => type === 'alarm.raised' && data.kind === 'disk'));
  await guest.close();
});

test('who never answers is told of on the dashboard and in the metrics', { timeout: 60_000 }, async () => {
  const alarm = await until('that is an alarm', () => feed.snapshot.alarms.find(({ kind }) => kind === 'webhook'), { within: 40_000 });
  assert.match(alarm.what, /Webhook 2 \(127\.0\.0\.1:\d+\) is not told what happens/);
  assert.doesNotMatch(JSON.stringify(feed.snapshot), /whsec|hidden/);
  const figures = await engine.metrics();
  assert.ok(valueOf(figures, 'greenroom_webhook_messages_total', { endpoint: '1', result: 'delivered' }) > 5);
  assert.equal(valueOf(figures, 'greenroom_webhook_messages_total', { endpoint: '2', result: 'delivered' }), 0);
  assert.ok(valueOf(figures, 'greenroom_webhook_waiting', { endpoint: '2' }) > 5);
  assert.ok(silent.came > 0);
  assert.ok(!engine.program.lines.some(line => line.includes(SECRET.slice(6)) || line.includes('hidden')), 'in no log');
});

test('the debug switch logs more, for a while, and a support bundle tells nothing that is nobody else’s concern', { timeout: 60_000 }, async () => {
  const page = await openPage(browser, { name: 'support', url: engine.dashboardUrl });
  assert.equal(feed.snapshot.debugUntil, null);
  await page.locator('[data-testid="debug-toggle"]').click();
  const end = await until('more is logged', () => feed.snapshot.debugUntil, { every: 50 });
  const minutes = (Date.parse(end) - Date.now()) / 60_000;
  assert.ok(minutes > 25 && minutes <= 31, `${minutes} minutes`);
  const guest = await connect(engine.url, (await engine.invite(ROOM, { role: 'viewer' })).token);
  await guest.ask('join-room', { roomId: ROOM, displayName: 'Debbie Bugge' });
  guest.close();

  await page.locator('[data-testid="support-bundle"]').click();
  const where = page.locator('[data-testid="support-bundle-path"] code');
  await where.waitFor();
  const saved = await where.textContent();
  assert.ok(saved.startsWith(engine.folder) && (fs.statSync(saved).mode & 0o077) === 0, saved);
  await page.locator('[data-testid="support-panel"]').scrollIntoViewIfNeeded();
  await page.screenshot({ path: artifact('dashboard-support.png') });
  await page.locator('[data-testid="debug-toggle"]').click();
  await until('no more is logged', () => feed.snapshot.debugUntil === null, { every: 50 });
  await page.close();

  const response = await fetch(`${engine.url}/api/support-bundle`, { headers: { authorization: `Bearer ${engine.token}` } });
  assert.equal(response.headers.get('content-type'), 'application/zip');
  const { streamKey } = await engine.rest('GET', `/api/rooms/${ROOM}`);
  const hidden = [engine.token, streamKey, SECRET.slice(6), 'key=hidden', 'turn-user', 'turn-pass', '198.51.100.9', 'Debbie', 'Bugge', ada.name, 'Zoë', 'Control room', engine.folder, 'eyJ'];
  for (const zip of [fs.readFileSync(saved), Buffer.from(await response.arrayBuffer())]) {
    const files = unzip(zip);
    assert.deepEqual([...files.keys()], ['README.txt', 'about.txt', 'settings.txt', 'alarms.json', 'dashboard.json', 'metrics.txt', 'log.txt']);
    for (const [name, text] of files) {
      for (const secret of hidden) assert.ok(!text.toLowerCase().includes(secret.toLowerCase()), `${secret} is in ${name}`);
      const addresses = (text.match(/\b\d{1,3}(\.\d{1,3}){3}\b/g) ?? []).filter(address => !/^(127|0)\./.test(address));
      assert.deepEqual(addresses, [], name);
    }
    assert.match(files.get('log.txt'), /DEBUG .*joined/);
    readExposition(files.get('metrics.txt'));
    JSON.parse(files.get('dashboard.json'));
    assert.match(files.get('settings.txt'), /max_rooms: 100/);
  }
  fs.copyFileSync(saved, artifact('support.zip'));
});
