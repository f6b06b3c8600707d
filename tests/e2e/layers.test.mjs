// Layers of one camera, published and consumed by an unmodified mediasoup-client: each receiver gets what it asks for,
// and sees no more of a change than the change.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { median } from '../lib/audio.mjs';
import { launchChromium } from '../lib/browser.mjs';
import { ADA, BEN } from '../lib/camera.mjs';
import { Engine } from '../lib/engine.mjs';
import { readVideos } from '../lib/look.mjs';
import { servePage } from '../lib/page.mjs';
import { ask, call, foreignGuest } from '../lib/room.mjs';
import { age } from '../lib/timecode.mjs';
import { until } from '../lib/wait.mjs';

const ROOM = 'layers';
// Three sizes that halve evenly, each above VP9's least one for a spatial layer (240 × 135).
const SIZE = { width: 960, height: 540, fps: 15 };
const WIDTHS = [240, 480, 960];
/** Every fourth picture alone comes 267 ms after the one before; a change may cost two of them and a key picture. */
const LONGEST_GAP_MS = 700;
/** Enough for all layers at once, or the browser would begin with the lowest and take its time. */
const codecOptions = { videoGoogleStartBitrate: 2500 };

const simulcast = [
  { scaleResolutionDownBy: 4, maxBitrate: 150_000, scalabilityMode: 'L1T3' },
  { scaleResolutionDownBy: 2, maxBitrate: 500_000, scalabilityMode: 'L1T3' },
  { scaleResolutionDownBy: 1, maxBitrate: 1_500_000, scalabilityMode: 'L1T3' },
];
const svc = scalabilityMode => [{ scalabilityMode, maxBitrate: 1_800_000 }];

let server, engine, browser, ada, ben;

before(async () => {
  server = await servePage('mediasoup');
  engine = await Engine.start({ name: 'engine-layers', settings: `[listen]\nallowed_origins = ["${server.origin}"]\n` });
  await engine.createRoom(ROOM, 'Layers');
  browser = await launchChromium();
  const room = { engine, browser, origin: server.origin, roomId: ROOM };
  ada = await foreignGuest({ ...room, guest: { ...ADA, ...SIZE } });
  ben = await foreignGuest({ ...room, guest: BEN });
}, { timeout: 90_000 });

after(async () => {
  await browser?.close();
  await engine?.stop();
  server?.close();
});

for (const [name, mimeType, encodings, type] of [
  ['VP8 simulcast', 'video/VP8', simulcast, 'simulcast'],
  ['H.264 simulcast', 'video/H264', simulcast, 'simulcast'],
  ['VP9 L3T3_KEY', 'video/VP9', svc('L3T3_KEY'), 'svc'],
  ['AV1 L3T3', 'video/AV1', svc('L3T3'), 'svc'],
]) {
  test(`${name}: the size and the rate of the picture are what the receiver asks for`, { timeout: 180_000 }, async () => {
    const producer = await call(ada, 'publish', 'video', mimeType, { encodings: structuredClone(encodings), codecOptions });
    assert.equal(producer.mimeType, mimeType);
    const consumer = await call(ben, 'consume', producer.id);
    assert.equal(consumer.type, type);
    await arrives('everything', WIDTHS[2], 12);

    /** Resolves with the longest time without a picture meanwhile. */
    const changeTo = async ([spatialLayer, temporalLayer, width, least, most]) => {
      await call(ben, 'watch', consumer.id);
      const layers = { spatialLayer, temporalLayer };
      assert.deepEqual((await ask(ben, 'set-preferred-layers', { consumerId: consumer.id, ...layers })).ok, {});
      await arrives(JSON.stringify(layers), width, least, most);
      return (await call(ben, 'watched')).longestGap;
    };
    let from = [2, 2, WIDTHS[2], 12, 16];
    for (const to of [
      [0, undefined, WIDTHS[0], 12, 16],
      [1, undefined, WIDTHS[1], 12, 16],
      [2, 0, WIDTHS[2], 3, 5],
      [2, 1, WIDTHS[2], 6, 9],
      [1, 0, WIDTHS[1], 3, 5],
      [2, 2, WIDTHS[2], 12, 16],
    ]) {
      const gaps = [await changeTo(to)];
      // A machine that is busy for a moment makes one, too: of three such changes the median counts.
      while (Math.max(...gaps) >= LONGEST_GAP_MS && gaps.length < 3) {
        await changeTo(from);
        gaps.push(await changeTo(to));
      }
      assert.ok(median(gaps) < LONGEST_GAP_MS, `${gaps} ms without a picture from layers ${from.slice(0, 2)} to ${to.slice(0, 2)}`);
      from = to;
      await until(`${to.slice(0, 2)} is whole and live`, async () => {
        const [video] = (await readVideos(ben)).filter(video => video.ids.includes(consumer.id));
        return video.code !== null && age(video.code) < 1_500;
      });
    }
    const { received } = await call(ben, 'counted');
    assert.equal(received[0].nackCount, 0, 'a layer that is left out is no loss');
    assert.equal(received[0].pliCount, 0, 'nor are pictures missed');
    await call(ben, 'dropConsumer', consumer.id);
    await call(ada, 'closeProducer', producer.id);
  });
}

/** Pictures of that width arrive, at that many a second. */
async function arrives(what, width, least, most = Infinity) {
  await until(`${what}: ${width} wide, ${least} to ${most} a second`, async () => {
    const { received } = await call(ben, 'counted');
    const [{ frameWidth, framesPerSecond }] = received;
    return frameWidth === width && framesPerSecond >= least && framesPerSecond <= most;
  }, { within: 30_000 });
}
