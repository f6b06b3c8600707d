// The plugin in real OBS, with a pattern host in the engine's place: picture, sound, every way to be away, every
// way to die, and a host that means harm.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { after, afterEach, before, test } from 'node:test';
import { loudness, median, readAudio } from '../lib/audio.mjs';
import { meanColour } from '../lib/image.mjs';
import { Obs } from '../lib/obs.mjs';
import { counterIn, meetingPlace, Pattern, startExample, toneOf } from '../lib/pattern.mjs';
import { artifact } from '../lib/places.mjs';
import { holds, pause, until } from '../lib/wait.mjs';

const socket = meetingPlace();
let obs;
let host;

before(async () => {
  host = await Pattern.start(socket);
  obs = await Obs.start({ socket, name: 'obs-plugin' });
}, { timeout: 60_000 });

after(async () => {
  await obs?.stop();
  await host?.stop();
}, { timeout: 40_000 });

afterEach(() => obs.assertNoAddedDelay());

const look = async (name, file) => counterIn(await obs.screenshot(name, { file }));
const plays = name => until(`${name} plays`, async () => {
  const first = await look(name);
  return first !== null && (await look(name)) > first;
});
/** The picture is in every look that is answered within `ms` of `since`. */
async function stays(name, since, ms) {
  for (;;) {
    const counter = await look(name);
    if (performance.now() - since > ms) return;
    assert.notEqual(counter, null, `${name} stays`);
    await pause(40);
  }
}
const isBlank = picture => picture.width === 0 || meanColour(picture)[3] < 1;
/** A dark grey card without the pattern. */
const isCard = picture => {
  const [r, g, b, a] = meanColour(picture);
  return picture.width > 0 && a > 254 && Math.max(r, g, b) < 60 && Math.max(r, g, b) - Math.min(r, g, b) < 6 && counterIn(picture) === null;
};
const shows = (name, what, check) => until(`${name} shows ${what}`, async () => check(await obs.screenshot(name)));

test('a slot is a picture that moves, in the size it was sent', { timeout: 60_000 }, async () => {
  const item = await obs.addGuest('Guest A', { slot: 1 });
  await plays('Guest A');
  await look('Guest A', artifact('obs-plugin-guest.png'));
  assert.deepEqual(await obs.sizeOf(item), [640, 360]);
});

test('the properties name who is in each slot', { timeout: 40_000 }, async () => {
  const names = async () => {
    const { propertyItems } = await obs.call('GetInputPropertiesListPropertyItems', { inputName: 'Guest A', propertyName: 'slot' });
    return propertyItems.map(item => item.itemName).join();
  };
  await until('the names', async () => (await names()) === 'Guest 1 — Ada,Guest 2 — Bob');
});

test('the tone of the slot is in the recording', { timeout: 60_000 }, async () => {
  await until('Guest A is heard', async () => (await obs.peak('Guest A')) > 0.2);
  const stop = await obs.record();
  const samples = await readAudio(await stop(3));
  assert.ok(samples.length > 100_000, `${samples.length} samples`);
  const [own, others] = [loudness(samples, toneOf(1)), loudness(samples, toneOf(2))];
  assert.ok(own > 0.2 && own < 0.4 && others < 0.01, `${own} ${others}`);
});

test('the sound can be turned off', { timeout: 40_000 }, async () => {
  await obs.settings('Guest A', { audio: false });
  await until('silence', async () => (await obs.peak('Guest A', 500)) < 0.001);
  await obs.settings('Guest A', { audio: true });
  await until('sound', async () => (await obs.peak('Guest A', 500)) > 0.2);
});

test('another slot, another guest', { timeout: 40_000 }, async () => {
  const slot1 = meanColour(await obs.screenshot('Guest A'));
  await obs.settings('Guest A', { slot: 2 });
  await until('the colour of slot 2', async () => {
    const picture = await obs.screenshot('Guest A');
    const slot2 = meanColour(picture);
    return counterIn(picture) !== null && slot2[2] > slot2[0] && slot1[0] > slot1[2];
  });
  await obs.settings('Guest A', { slot: 1 });
  await plays('Guest A');
});

const AWAY = {
  hold: picture => counterIn(picture) !== null,
  slate: isCard,
  transparent: isBlank,
};

for (const [away, check] of Object.entries(AWAY)) {
  test(`away, ${away}: a guest who leaves, a camera turned off, a host killed, a host hung`, { timeout: 60_000 }, async () => {
    await obs.settings('Guest A', { away });
    await plays('Guest A');
    const isAway = async why => {
      await shows('Guest A', `${away} (${why})`, check);
      // What OBS had before may still follow.
      const { last } = await until('it stands still', async () => {
        const last = await look('Guest A', artifact(`obs-plugin-${away}-${why}.png`));
        await pause(300);
        return (await look('Guest A')) === last && { last };
      });
      await holds('nothing moves', async () => (await look('Guest A')) === last, 300, 50);
      assert.ok(check(await obs.screenshot('Guest A')));
    };
    await host.order('leave 1');
    await isAway('left');
    await host.order('enter 1 Ada');
    await plays('Guest A');

    await host.order('camera 1 off');
    await isAway('camera-off');
    await host.order('camera 1 on');
    await plays('Guest A');

    await host.stop('SIGKILL');
    await pause(1200);
    await isAway('killed');
    host = await Pattern.start(socket);
    await plays('Guest A');

    host.signal('SIGSTOP');
    await pause(2500);
    await isAway('hung');
    const took = [];
    for (let round = 0; round < 5; round += 1) {
      const asked = performance.now();
      await obs.call('GetInputPropertiesListPropertyItems', { inputName: 'Guest A', propertyName: 'slot' });
      took.push(performance.now() - asked);
    }
    assert.ok(median(took) < 200, `a hung host does not slow the dialog: ${took} ms`);
    host.signal('SIGCONT');
    await plays('Guest A');
  });
}

test('a short absence is bridged with the last picture', { timeout: 40_000 }, async () => {
  await obs.settings('Guest A', { away: 'transparent' });
  await plays('Guest A');
  const killed = performance.now();
  await host.stop('SIGKILL');
  const watch = stays('Guest A', killed, 800);
  host = await Pattern.start(socket);
  await watch;
  await plays('Guest A');
});

test('a hidden source is shown at once, even a picture at rest', { timeout: 40_000 }, async () => {
  await host.stop();
  host = await Pattern.start(socket, ['--still']);
  const item = await obs.addGuest('At rest', { slot: 2, away: 'hold' });
  await shows('At rest', 'the picture', picture => counterIn(picture) !== null);
  const took = [];
  for (let round = 0; round < 3; round += 1) {
    await obs.show(item, false);
    await pause(500);
    const shown = performance.now();
    await obs.show(item, true);
    await shows('At rest', 'the picture again', picture => counterIn(picture) !== null);
    took.push(performance.now() - shown);
  }
  assert.ok(median(took) < 1_000, `${took} ms`);
  await obs.call('RemoveInput', { inputName: 'At rest' });
  await host.stop();
});

for (const degrees of [90, 180, 270]) {
  test(`a phone held at ${degrees} degrees stands upright`, { timeout: 40_000 }, async () => {
    host = await Pattern.start(socket, ['--rotate', String(degrees)]);
    const item = await obs.addGuest(`Turned ${degrees}`, { slot: 1 });
    const size = degrees === 180 ? [640, 360] : [360, 640];
    await until('the size', async () => String(await obs.sizeOf(item)) === String(size));
    await until('the counter where the picture was turned to', async () => {
      const picture = await obs.screenshot(`Turned ${degrees}`);
      return counterIn(turnedBack(picture, degrees)) !== null;
    });
    await obs.call('RemoveInput', { inputName: `Turned ${degrees}` });
    await host.stop();
  });
}

/** As the pattern host draws them, from left to right. */
const CARD = [[235, 235, 235], [191, 191, 20], [20, 191, 191], [40, 180, 60], [191, 20, 191], [200, 50, 40], [30, 60, 200], [20, 20, 20]];

test('a test card keeps its colours: BT.601 and BT.709, limited and full, I420 and NV12', { timeout: 60_000 }, async () => {
  let [worst, kinds] = [0, 0];
  for (const kind of ['bt601', 'bt709', 'bt601-full', 'bt709-full', 'bt709-nv12', 'bt601-full-nv12']) {
    host = await Pattern.start(socket, ['--card', kind, '--slots', '1', '--fps', '10']);
    await obs.addGuest(`Card ${kind}`, { slot: 1, away: 'transparent' });
    await shows(`Card ${kind}`, kind, picture => picture.width > 0 && meanColour(picture)[3] > 254);
    const picture = await obs.screenshot(`Card ${kind}`, { file: artifact(`obs-plugin-card-${kind}.png`) });
    CARD.forEach((colour, i) => {
      const x = Math.round(((i + 0.5) * picture.width) / CARD.length);
      const at = (Math.round(picture.height / 2) * picture.width + x) * 4;
      const off = Math.max(...colour.map((level, channel) => Math.abs(level - picture.data[at + channel])));
      worst = Math.max(worst, off);
      assert.ok(off <= 2, `${kind}: ${colour} became ${[...picture.data.subarray(at, at + 3)]}`);
    });
    kinds += 1;
    await obs.call('RemoveInput', { inputName: `Card ${kind}` });
    await host.stop();
  }
  console.log(`# ${kinds} kinds, at most ${worst} levels off`);
});

test('the card of somebody who is away has a colour, or a picture of the streamer’s', { timeout: 60_000 }, async () => {
  host = await Pattern.start(socket);
  const middle = async () => {
    const picture = await obs.screenshot('Styled', { file: artifact('obs-plugin-card-styled.png') });
    const at = (Math.round(picture.height / 2) * picture.width + Math.round(picture.width / 2)) * 4;
    return { corner: [...picture.data.subarray(0, 3)], middle: [...picture.data.subarray(at, at + 3)] };
  };
  const near = (seen, colour) => seen?.every((level, i) => Math.abs(level - colour[i]) <= 3);
  await obs.addGuest('Styled', { slot: 1, away: 'slate', card_colour: 0xff804020 });
  await plays('Styled');
  await host.order('leave 1');
  await until('a card in that colour', async () => near((await middle()).corner, [0x20, 0x40, 0x80]));
  // The picture OBS has just shown, for want of another.
  const file = artifact('obs-plugin-card-bt709.png');
  await obs.settings('Styled', { card_image: file });
  await until('the picture in its middle', async () => near((await middle()).middle, CARD[4]) || near((await middle()).middle, CARD[3]));
  await obs.settings('Styled', { card_image: '/no/such/file.png' });
  await until('the colour again', async () => near((await middle()).corner, [0x20, 0x40, 0x80]));
  await host.order('enter 1 Ada');
  await plays('Styled');

  await obs.settings('Styled', { away_after: 2 });
  // OBS tells a source of its settings before it draws the next picture.
  await plays('Styled');
  const left = performance.now();
  await host.order('leave 1');
  await stays('Styled', left, 1500);
  await shows('Styled', 'the card', picture => counterIn(picture) === null);
  assert.ok(performance.now() - left < 4_500, 'two seconds are not many more');
  await obs.call('RemoveInput', { inputName: 'Styled' });
  await host.stop();
});

test('size, aspect and rotation change in mid-stream without a blink', { timeout: 60_000 }, async () => {
  host = await Pattern.start(socket, ['--slots', '1']);
  const item = await obs.addGuest('Changing', { slot: 1, away: 'transparent' });
  await plays('Changing');
  let [looks, blinks, running, latest] = [0, 0, true, ''];
  const watch = (async () => {
    while (running) {
      const picture = await obs.screenshot('Changing');
      looks += 1;
      if (isBlank(picture) || picture.width === 0) blinks += 1;
      latest = `${picture.width}x${picture.height}`;
    }
  })();
  const shapes = [
    ['size 320x180', '320x180'], ['size 1280x720', '1280x720'], ['rotate 90', '720x1280'], ['size 640x480', '480x640'],
    ['rotate 270', '480x640'], ['rotate 0', '640x480'], ['size 322x182', '322x182'], ['size 640x360', '640x360'],
  ];
  for (let round = 0; round < 2 || looks <= 40; round += 1) {
    for (const [order, shown] of shapes) {
      await host.order(order);
      await pause(250);
      await until(`${order} is shown`, async () => latest === shown);
    }
  }
  running = false;
  await watch;
  console.log(`# ${looks} looks, ${blinks} blinks`);
  assert.equal(blinks, 0, `${blinks} of ${looks}`);
  assert.deepEqual(await obs.sizeOf(item), [640, 360]);
  await plays('Changing');
  await obs.call('RemoveInput', { inputName: 'Changing' });
  await host.stop();
});

test('1080p at 60 pictures a second, and 30, 60, 15, in mid-stream without a blink', { timeout: 90_000 }, async t => {
  host = await Pattern.start(socket, ['--slots', '1', '--size', '1920x1080', '--fps', '60']);
  t.after(() => host.stop());
  const item = await obs.addGuest('Fast', { slot: 1, away: 'transparent' });
  await plays('Fast');
  assert.deepEqual(await obs.sizeOf(item), [1920, 1080]);
  let [looks, blinks] = [0, 0];
  /** Pictures a second, by the counter in them; each look must find one. */
  const rate = async () => {
    const seen = [];
    const end = performance.now() + 2500;
    while (performance.now() < end) {
      const before = performance.now();
      const counter = await look('Fast');
      looks += 1;
      if (counter === null) blinks += 1;
      else seen.push({ at: (before + performance.now()) / 2, counter });
    }
    const [first, last] = [seen[0], seen.at(-1)];
    assert.ok(seen.every((one, i) => i === 0 || one.counter >= seen[i - 1].counter), 'no picture comes back');
    return ((last.counter - first.counter) * 1000) / (last.at - first.at);
  };
  const rates = [];
  for (const fps of [60, 30, 60, 15]) {
    await host.order(`fps ${fps}`);
    await pause(300);
    // Where the machine is busy with something else for a moment, the next ones count.
    const seen = await until(`${fps} pictures a second`, async () => {
      const found = await rate();
      return Math.abs(found - fps) < fps * 0.15 ? found : Promise.reject(new Error(`${found}`));
    });
    rates.push(Math.round(seen));
  }
  console.log(`# 1080p: ${rates.join(', ')} pictures a second; ${blinks} blinks in ${looks} looks`);
  assert.equal(blinks, 0);
  await obs.call('RemoveInput', { inputName: 'Fast' });
});

test('sizes change in mid-show, up to the largest', { timeout: 60_000 }, async () => {
  const item = await obs.addGuest('Any size', { slot: 1 });
  for (const size of ['1920x1080', '4096x2304', '322x182']) {
    host = await Pattern.start(socket, ['--size', size, '--fps', '2', '--slots', '1']);
    await until(size, async () => (await obs.sizeOf(item)).join('x') === size);
    // The largest is too much for a screenshot without a graphics card.
    if (size !== '4096x2304') await shows('Any size', 'the counter', picture => counterIn(picture) !== null);
    await host.stop();
  }
  await obs.call('RemoveInput', { inputName: 'Any size' });
  host = await Pattern.start(socket);
  await plays('Guest A');
});

test('thirty sources come and go', { timeout: 60_000 }, async () => {
  const resources = () => [fs.readdirSync(`/proc/${obs.pid}/task`).length, fs.readdirSync(`/proc/${obs.pid}/fd`).length];
  const round = async i => {
    await obs.addGuest(`Passing ${i}`, { slot: 1 + (i % 2) });
    if (i % 3 === 0) await pause(50);
    await obs.call('RemoveInput', { inputName: `Passing ${i}` });
  };
  await round(0);
  await pause(500);
  const before = resources();
  for (let i = 1; i <= 30; i += 1) await round(i);
  await until('threads and descriptors are given back', () => resources().every((count, i) => count <= before[i] + 2));
  await plays('Guest A');
});

test('a hostile host harms nobody', { timeout: 60_000 }, async () => {
  for (let i = 0; i < 4; i += 1) await obs.addGuest(`Victim ${i}`, { slot: 1 + i, away: 'transparent' });
  await host.stop();
  const hostile = await startExample('hostile', [socket, '12']);
  for (let i = 0; i < 12; i += 1) {
    await pause(800);
    const asked = performance.now();
    await obs.call('GetStats');
    assert.ok(performance.now() - asked < 1500, 'OBS answers');
    await obs.screenshot(`Victim ${i % 4}`);
  }
  await hostile.stop('SIGKILL');
  for (let i = 0; i < 4; i += 1) await obs.call('RemoveInput', { inputName: `Victim ${i}` });
  host = await Pattern.start(socket);
  await plays('Guest A');
  await until('Guest A is heard', async () => (await obs.peak('Guest A')) > 0.2);
  assert.ok(!/Max audio buffering/.test(obs.log), 'no time of a stranger reaches the mixer');
});

test('a source saved while the plugin was missing is heard again; one muted on all tracks stays so', { timeout: 90_000 }, async () => {
  const { folder } = obs;
  const tracks = (name, on) => obs.call('SetInputAudioTracks', { inputName: name, inputAudioTracks: Object.fromEntries([1, 2, 3, 4, 5, 6].map(n => [n, on])) });
  const heardOn = async name => Object.values((await obs.call('GetInputAudioTracks', { inputName: name })).inputAudioTracks).filter(Boolean).length;
  await obs.addGuest('Chosen silence', { slot: 2 });
  await tracks('Chosen silence', false);
  await obs.stop();
  obs = await Obs.start({ socket, folder, plugin: false, name: 'obs-without-plugin' });
  await obs.stop();
  obs = await Obs.start({ socket, folder, name: 'obs-plugin-again' });
  assert.equal(await heardOn('Guest A'), 6);
  assert.equal(await heardOn('Chosen silence'), 0);
  await plays('Guest A');
});

test('OBS ends in good order', { timeout: 60_000 }, async () => {
  const end = await obs.stop();
  assert.deepEqual(end, { code: 0, signal: null });
  // Its last words are read after its end is known.
  const [, leaks] = await until('it has counted its leaks', () => /Number of memory leaks: (\d+)/.exec(obs.log));
  assert.ok(leaks <= 1, `${leaks} leaks; OBS alone has 1`);
});

/** The picture as it was before OBS turned it clockwise. */
function turnedBack({ width, height, data }, degrees) {
  const [w, h] = degrees === 180 ? [width, height] : [height, width];
  const out = new Uint8Array(data.length);
  for (let y = 0; y < h; y += 1) {
    for (let x = 0; x < w; x += 1) {
      const [fromX, fromY] = degrees === 90 ? [width - 1 - y, x] : degrees === 180 ? [width - 1 - x, height - 1 - y] : [y, height - 1 - x];
      out.set(data.subarray((fromY * width + fromX) * 4, (fromY * width + fromX) * 4 + 4), (y * w + x) * 4);
    }
  }
  return { width: w, height: h, data: out };
}
