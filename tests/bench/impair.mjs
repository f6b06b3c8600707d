// What two guests see of each other when one of them has a bad network: Chromium to Chromium through the engine, over a
// link with loss, delay and a rate cap that is lifted at the end of each round. `direct`: the sender with the bad network
// and the receiver without the engine, for what a browser's own estimate of the path can do. `page`: the one with the bad network
// is on our own page, which sends what it sends to any show; the others are on a page of somebody else's.
import { execFileSync } from 'node:child_process';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { connectDirectly, framesEncoded, outgoingEstimate } from '../lib/direct.mjs';
import { Engine } from '../lib/engine.mjs';
import { finish } from '../lib/figures.mjs';
import { isLive, joinAsGuest } from '../lib/guest.mjs';
import { HOST, badLink } from '../lib/namespaces.mjs';
import { servePage } from '../lib/page.mjs';
import { privateFolder } from '../lib/places.mjs';
import { call, foreignGuest } from '../lib/room.mjs';
import { pause, until } from '../lib/wait.mjs';

const ROOM = 'impaired';
const LOSSES = list('GREENROOM_BENCH_LOSSES', [0, 1, 3, 5, 10]);
const DELAYS = list('GREENROOM_BENCH_DELAYS', [20, 50, 100]);
const DIRECTIONS = process.env.GREENROOM_BENCH_DIRECTIONS?.split(',') ?? ['down', 'up', 'page'];
/** Who is on our page. */
const GRACE = 'Grace';
const CAP_KBIT = 1000;
/** How long packets wait at the cap before they are dropped, ms; a few are a policer. */
const QUEUE_MS = Number(process.env.GREENROOM_BENCH_QUEUE ?? 300);
/** What Chromium must believe the path carries before it sends the largest of `ENCODINGS` beside the others. */
const ENOUGH = 1_400_000;
const SETTLE_MS = 12_000;
const MEASURE_MS = Number(process.env.GREENROOM_BENCH_SECONDS ?? 12) * 1000;
const RECOVERY_MS = 15_000;
const SIZE = { width: 1280, height: 720 };
/** Three encodings, as mediasoup's own demo sends them. */
const ENCODINGS = [
  { scaleResolutionDownBy: 4, maxBitrate: 200_000, scalabilityMode: 'L1T3' },
  { scaleResolutionDownBy: 2, maxBitrate: 600_000, scalabilityMode: 'L1T3' },
  { scaleResolutionDownBy: 1, maxBitrate: 2_000_000, scalabilityMode: 'L1T3' },
];

const link = await badLink(import.meta.url);
const engine = await Engine.start({
  name: 'engine-impair',
  media: `announced = ["${HOST}"]\nmax_incoming_bitrate = 4000000`,
  settings: `[listen]\nlan = "${HOST}:3443"\nallowed_origins = ["*"]\n`,
});
await engine.rest('PUT', '/api/lan', { on: true });
await engine.createRoom(ROOM);
const server = await servePage('mediasoup', HOST);
const files = movingPicture();
const args = ['--ignore-certificate-errors', `--unsafely-treat-insecure-origin-as-secure=${server.origin}`];
const [near, far] = await Promise.all([
  launchChromium({ files, args }),
  launchChromium({ files, args, executable: link.far(process.env.GREENROOM_CHROMIUM ?? '/usr/bin/chromium') }),
]);
const shared = { engine, origin: server.origin, roomId: ROOM, url: `https://${HOST}:3443` };
const nearPage = await foreignGuest({ ...shared, browser: near, guest: { ...BEN, ownCamera: true } });
const farPage = await foreignGuest({ ...shared, browser: far, guest: { ...ADA, ownCamera: true } });

const rows = [];
for (const direction of DIRECTIONS) {
  const ownPage = direction === 'page' && (await guestOnOurPage());
  const [from, to] = direction === 'down' ? [nearPage, farPage] : [ownPage || farPage, nearPage];
  const stream = await { down: throughUs, up: throughUs, page: fromOurPage, direct }[direction](from, to);
  for (const delay of DELAYS) {
    for (const loss of LOSSES) {
      rows.push({ direction, loss, delay, ...(await round({ from, to, stream, impairment: { loss, delay } })) });
      print(rows.at(-1), rows.length === 1);
    }
  }
  await stream.close();
}
await Promise.all([near.close(), far.close()]);
await engine.stop();
server.close();
await link.close();
finish({ rows });

async function throughUs(from, to) {
  const producer = await call(from, 'publish', 'video', 'video/VP8', { encodings: ENCODINGS });
  const consumer = await call(to, 'consume', producer.id);
  const close = async () => {
    await call(from, 'closeProducer', producer.id);
    await call(to, 'dropConsumer', consumer.id);
  };
  return { id: consumer.id, close };
}

async function guestOnOurPage() {
  const { url } = await engine.invite(ROOM);
  const guest = { ...ADA, name: GRACE, ownCamera: true };
  const page = await joinAsGuest(far, { url: url.replace(engine.url, shared.url) }, guest);
  await engine.admit(ROOM, guest.name);
  await isLive(page);
  return page;
}

async function fromOurPage(from, to) {
  const { peerId } = await engine.peer(ROOM, GRACE);
  const offered = () => to.evaluate(wanted => window.client.noticesOf('new-producer').find(({ kind, peerId }) => kind === 'video' && peerId === wanted), peerId);
  const { producerId } = await until('their camera is offered', offered);
  const consumer = await call(to, 'consume', producerId);
  const close = async () => {
    await from.context().close();
    await call(to, 'dropConsumer', consumer.id);
  };
  return { id: consumer.id, close };
}

/** One encoding, which takes all there is: a browser understands simulcast as a sender only. */
async function direct(from, to) {
  const connection = await connectDirectly(from, to, { maxBitrate: ENCODINGS.reduce((sum, { maxBitrate }) => sum + maxBitrate, 0) });
  return { id: 'direct', close: connection.close };
}

/** One cell of the table: capped for a while, then free until the full picture is back. */
async function round({ from, to, stream, impairment }) {
  await link.set('both', { ...impairment, rate: CAP_KBIT, queue: QUEUE_MS });
  await pause(SETTLE_MS);
  const before = await framesEncoded(from);
  await call(to, 'watch', stream.id);
  await pause(MEASURE_MS);
  const seen = await call(to, 'watched');
  const sent = (((await framesEncoded(from)) - before) * 1000) / MEASURE_MS;
  const [width, height] = await size(to, stream.id);
  const capped = await outgoingEstimate(from);
  await link.set('both', impairment);
  const lifted = performance.now();
  const timed = (what, condition) =>
    until(what, condition, { within: RECOVERY_MS, every: 100 }).then(() => Math.round(performance.now() - lifted), () => null);
  const [recovered, estimated] = await Promise.all([
    timed('the full picture is back', async () => (await size(to, stream.id))[1] === SIZE.height),
    timed('the sender believes it', async () => (await outgoingEstimate(from)) >= ENOUGH),
  ]);
  return {
    ...{ width, height, fps: Math.round(seen.fps * 10) / 10, sent_fps: Math.round(sent * 10) / 10, longest_gap_ms: Math.round(seen.longestGap), freezes: seen.freezes },
    ...{ recovered_ms: recovered, capped_estimate_kbit: Math.round(capped / 1000), estimated_ms: estimated },
  };
}

async function size(page, consumerId) {
  return page.evaluate(id => {
    const { element } = window.client.state.consumers.get(id);
    return [element.videoWidth, element.videoHeight];
  }, consumerId);
}

/** A camera with enough to do for an encoder to fill a megabit. */
function movingPicture() {
  const folder = privateFolder('moving');
  const [video, audio] = [`${folder}/moving.mjpeg`, `${folder}/tone.wav`];
  const source = `testsrc2=size=${SIZE.width}x${SIZE.height}:rate=25:duration=8,noise=alls=12:allf=t`;
  execFileSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', source, '-pix_fmt', 'yuvj420p', '-q:v', '5', '-f', 'mjpeg', video]);
  execFileSync('ffmpeg', ['-loglevel', 'error', '-f', 'lavfi', '-i', 'sine=frequency=440:duration=10:sample_rate=48000', '-ac', '1', audio]);
  return { video, audio };
}

function print(row, first) {
  if (first) console.log(`\nImpaired link, ${CAP_KBIT} kbit/s each way while capped\ndirection  loss%  delay ms  picture     fps  of sent  freezes>500  longest ms  full picture back ms  sender believes ${ENOUGH / 1000} kbit/s after ms`);
  const cells = [
    row.direction.padEnd(9), String(row.loss).padStart(6), String(row.delay).padStart(9), `  ${row.width}x${row.height}`.padEnd(12),
    String(row.fps).padStart(5), String(row.sent_fps).padStart(8), String(row.freezes).padStart(12), String(row.longest_gap_ms).padStart(11), String(row.recovered_ms ?? '–').padStart(12),
    String(row.estimated_ms ?? '–').padStart(12),
  ];
  console.log(cells.join(' '));
}

function list(name, otherwise) {
  return process.env[name]?.split(',').map(Number) ?? otherwise;
}
