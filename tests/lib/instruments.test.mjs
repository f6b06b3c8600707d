// The measuring instruments themselves, without the product: each must find what is there, and only that.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import { after, before, test } from 'node:test';
import { amplitude, beepStarts, loudness } from './audio.mjs';
import { measureSync } from './avsync.mjs';
import { launchChromium, openPage } from './browser.mjs';
import { ADA, BEN, cameraFiles } from './camera.mjs';
import { decodePng, decodePpm, luma } from './image.mjs';
import { heard, isColour, readVideos } from './look.mjs';
import { artifact, privateFolder } from './places.mjs';
import { run } from './process.mjs';
import { rawOutput } from './raw-output.mjs';
import { age, encodeTime, findPicture, readTimecode } from './timecode.mjs';
import { until } from './wait.mjs';

const folder = privateFolder('instruments');
let browser;
before(async () => (browser = await launchChromium()));
after(async () => browser?.close());

test('a time code is read at any size and place, through PNG and PPM, and garbage is not', async () => {
  const files = cameraFiles(folder, { ...ADA, fps: 5 }, 1);
  const check = async (filter, area, name) => {
    const image = `${folder}/${name}`;
    await run('ffmpeg', ['-v', 'error', '-y', '-i', files.video, '-vf', `select=eq(n\\,3),${filter}`, '-frames:v', '1', image]);
    const picture = (name.endsWith('png') ? decodePng : decodePpm)(fs.readFileSync(image));
    const grey = luma(picture);
    return readTimecode(grey, area === 'find' ? findPicture(grey) : area);
  };
  assert.equal(await check('null', [0, 0, 1, 1], 'plain.png'), 3);
  assert.equal(await check('scale=80:45:flags=area', [0, 0, 1, 1], 'small.ppm'), 3);
  assert.equal(await check('scale=400:225,pad=800:450:200:100', [0.25, 100 / 450, 0.75, 325 / 450], 'placed.png'), 3);
  assert.equal(await check('scale=400:225,pad=800:450:37:91', 'find', 'found.png'), 3);
  assert.equal(await check('drawbox=x=60:y=60:w=60:h=60:color=white:t=fill,drawbox=x=300:y=60:w=60:h=60:color=white:t=fill', [0, 0, 1, 1], 'painted.png'), null);
  assert.equal(await check('gblur=sigma=60', [0, 0, 1, 1], 'blurred.png'), null);
  for (const level of [0, 110, 255]) {
    assert.equal(readTimecode({ width: 160, height: 90, data: new Uint8Array(160 * 90).fill(level) }), null, `plain ${level}`);
  }
});

test('ages survive the wrap of the 32 bits', () => {
  const wrap = (2 ** 32 / 10) * 4000;
  assert.equal(age(encodeTime(wrap - 50), wrap + 50), 100);
  assert.equal(age(encodeTime(wrap + 50), wrap - 50), -100);
});

test('a tone and the start of a beep are found, others are not', () => {
  const rate = 48_000;
  const samples = Float32Array.from({ length: rate * 3 }, (_, i) => {
    const beep = (i % rate) / rate >= 0.5 && (i % rate) / rate < 0.6 ? 0.5 * Math.sin((2 * Math.PI * 2500 * i) / rate) : 0;
    return 0.1 * Math.sin((2 * Math.PI * 440 * i) / rate) + beep;
  });
  assert.ok(Math.abs(loudness(samples, 440) - 0.1) < 0.01);
  assert.ok(loudness(samples, 660) < 0.005);
  assert.ok(amplitude(samples, 2500, rate * 0.5, rate * 0.6) > 0.45);
  const starts = beepStarts(samples, 2500);
  assert.equal(starts.length, 3);
  starts.forEach((start, i) => assert.ok(Math.abs(start - (i + 0.5)) < 0.003, `${start}`));
  assert.deepEqual(beepStarts(samples, 3300), []);
});

test('the drawn camera carries real time, its tone, and flash with beep; a shifted recording is measured as shifted', { timeout: 90_000 }, async () => {
  const page = await openPage(browser, { guest: ADA });
  await page.route('http://localhost/**', route => route.fulfill({ contentType: 'text/html', body: '<title>camera</title><video autoplay playsinline></video>' }));
  await page.goto('http://localhost/');
  await page.evaluate(async () => {
    window.stream = await navigator.mediaDevices.getUserMedia({ video: true, audio: true });
    document.querySelector('video').srcObject = window.stream;
  });
  const [video] = await until('the video shows a time code', async () => {
    const videos = await readVideos(page);
    return videos[0]?.code != null && videos;
  });
  assert.ok(isColour(video.colour, ADA.colour) && !isColour(video.colour, BEN.colour), `${video.colour}`);
  assert.ok(Math.abs(age(video.code)) < 500, `age ${age(video.code)}`);
  const { levels } = await heard(page, [ADA.tone, BEN.tone]);
  assert.ok(levels[0] > 0.05 && levels[1] < 0.01, `${levels}`);

  const base64 = await page.evaluate(async () => {
    const recorder = new MediaRecorder(window.stream, { mimeType: 'video/webm;codecs=vp8,opus', videoBitsPerSecond: 2e6 });
    const parts = [];
    recorder.ondataavailable = event => parts.push(event.data);
    const stopped = new Promise(resolve => (recorder.onstop = resolve));
    recorder.start(500);
    await new Promise(resolve => setTimeout(resolve, 6000));
    recorder.stop();
    await stopped;
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    let text = '';
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    return btoa(text);
  });
  const camera = await page.evaluate(() => ({ draws: window.greenroomCamera.draws, late: window.greenroomCamera.lateDraws }));
  const file = artifact('instruments-local.webm');
  fs.writeFileSync(file, Buffer.from(base64, 'base64'));
  const sync = await measureSync(file, ADA.beep);
  console.log('local recording', JSON.stringify(sync), JSON.stringify(camera));
  // The recorder of the browser places sound by a clock of its own, some 50 ms late; delivery itself is within 10 ms.
  assert.ok(sync.offsets.length >= 4 && Math.abs(sync.median) < 80, JSON.stringify(sync));

  const shifted = `${folder}/shifted.mkv`;
  await run('ffmpeg', ['-v', 'error', '-y', '-i', file, '-itsoffset', '0.12', '-i', file, '-map', '0:v', '-map', '1:a', '-c', 'copy', shifted]);
  const late = await measureSync(shifted, ADA.beep);
  assert.ok(Math.abs(late.median - sync.median - 120) < 15, JSON.stringify(late));
  await page.context().close();
});

test("Chromium's fake device plays the files: the frame number counts, the tone sounds", { timeout: 60_000 }, async t => {
  const own = await launchChromium({ files: cameraFiles(folder, { ...BEN, width: 320, height: 180 }) });
  t.after(() => own.close());
  const page = await openPage(own, { name: 'files' });
  await page.route('http://localhost/**', route => route.fulfill({ contentType: 'text/html', body: '<title>files</title><video autoplay playsinline></video>' }));
  await page.goto('http://localhost/');
  await page.evaluate(async () => {
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    document.querySelector('video').srcObject = await navigator.mediaDevices.getUserMedia({ video: true, audio });
  });
  const seen = new Set();
  await until('three different frame numbers', async () => {
    const [video] = await readVideos(page);
    if (video?.code != null) seen.add(video.code);
    return seen.size >= 3;
  });
  assert.ok([...seen].every(code => code < 120), `${[...seen]}`);
  const { levels } = await heard(page, [BEN.tone, ADA.tone]);
  assert.ok(levels[0] > 0.05 && levels[1] < 0.01, `${levels}`);
});

test('raw pictures are cut from the stream where they begin, and told before their colours are there', async t => {
  const seen = [];
  const raw = await rawOutput([4, 2], ({ data }) => seen.push([...data]));
  const client = net.connect(raw.port, '127.0.0.1');
  t.after(() => (client.destroy(), raw.close()));
  const picture = level => Buffer.concat([Buffer.alloc(8, level), Buffer.alloc(4, 128)]);
  const stream = Buffer.concat([picture(1), picture(2), picture(3).subarray(0, 8)]);
  for (const part of [stream.subarray(0, 5), stream.subarray(5, 22), stream.subarray(22)]) client.write(part);
  await until('three pictures', () => seen.length === 3, { every: 10 });
  assert.deepEqual(seen.map(data => data[0]), [1, 2, 3]);
  assert.ok(seen.every(data => data.length === 8));
});
