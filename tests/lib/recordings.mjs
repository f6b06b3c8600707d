// Recorded cameras and a recorded microphone: what guests send who are no browsers.
import fs from 'node:fs';
import { run } from './process.mjs';
import { artifact } from './places.mjs';

export const SIZE = [1280, 720];
export const FPS = 30;
export const SECONDS = 10;

/**
 * Ten seconds of a camera as H.264 (Annex B; constrained baseline, as browsers send it) and as VP8 (IVF), and of a voice
 * as Opus (Ogg); made once for each folder of artifacts. Each picture carries its number, at its top and at its bottom.
 */
export async function makeRecordings() {
  const file = name => artifact(`camera-${name}`);
  const [raw, h264, vp8, voice] = [file('raw.nut'), file('h264.h264'), file('vp8.ivf'), file('voice.opus')];
  if ([h264, vp8, voice].every(made => fs.existsSync(made))) return { h264, vp8, voice };
  const seconds = String(SECONDS);
  // Drawn once, so that both codecs get the same; the raw pictures are not kept.
  await run('ffmpeg', [...QUIET, ...camera(), '-t', seconds, '-pix_fmt', 'yuv420p', '-c:v', 'ffvhuff', raw], { within: 120_000 });
  const input = [...QUIET, '-i', raw, '-an'];
  const rate = ['-b:v', '1800k', '-maxrate', '1800k', '-bufsize', '1800k', '-g', String(2 * FPS)];
  const baseline = ['-c:v', 'libx264', '-profile:v', 'baseline', '-preset', 'veryfast', '-tune', 'zerolatency', '-x264-params', 'sliced-threads=0:threads=1:scenecut=0'];
  await run('ffmpeg', [...input, ...baseline, ...rate, '-f', 'h264', h264], { within: 120_000 });
  const realtime = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-threads', '1', '-lag-in-frames', '0', '-auto-alt-ref', '0', '-keyint_min', String(2 * FPS)];
  await run('ffmpeg', [...input, ...realtime, ...rate, '-f', 'ivf', vp8], { within: 120_000 });
  const opus = ['-ac', '1', '-c:a', 'libopus', '-application', 'voip', '-b:a', '32k', '-frame_duration', '20', '-f', 'opus'];
  await run('ffmpeg', [...QUIET, '-f', 'lavfi', '-i', VOICE, '-t', seconds, ...opus, voice]);
  fs.rmSync(raw);
  return { h264, vp8, voice };
}

const QUIET = ['-hide_banner', '-loglevel', 'error', '-nostdin', '-y'];

/** A soft, still background, somebody who moves in front of it, and a sensor's noise. */
function camera() {
  const size = SIZE.join('x');
  const graph = [
    `mandelbrot=size=${size}:rate=1:end_pts=1000:start_scale=0.02,trim=end_frame=1,gblur=sigma=3,loop=loop=-1:size=1,setpts=N/${FPS}/TB,fps=${FPS}[room]`,
    `mandelbrot=size=480x560:rate=${FPS}:start_scale=0.3:end_scale=0.1:end_pts=600,gblur=sigma=2,hue=s=0.6[person]`,
    `[room][person]overlay=x='400+60*sin(t*0.9)':y='130+20*sin(t*1.7)',noise=alls=5:allf=t,format=yuv420p,${numbers()}`,
  ];
  return ['-f', 'lavfi', '-i', graph.join(';')];
}

/** The picture's number in two rows of blocks, the highest bit first. */
function numbers() {
  const box = (x, y, w, h, colour, when = '') => `drawbox=x=${x}:y=${y}:w=${w}:h=${h}:t=fill:color=${colour}${when}`;
  return ROWS.flatMap(top => [
    box(0, top, BITS * BLOCK[0], BLOCK[1], 'black'),
    ...Array.from({ length: BITS }, (_, i) => box(i * BLOCK[0], top, BLOCK[0], BLOCK[1], 'white', `:enable='mod(floor(n/${2 ** (BITS - 1 - i)}),2)'`)),
  ]).join(',');
}

/**
 * The numbers at the top and at the bottom of a recorded picture, each null when it cannot be read. `area`: where in a
 * grey picture the recorded one is, in pixels.
 */
export function readNumbers({ width, data }, [left, top, w, h]) {
  return ROWS.map(row => {
    let number = 0;
    for (let i = 0; i < BITS; i += 1) {
      const x = Math.floor(left + ((i + 0.5) * BLOCK[0] * w) / SIZE[0]);
      const y = Math.floor(top + ((row + BLOCK[1] / 2) * h) / SIZE[1]);
      const level = data[y * width + x];
      if (level > DARK && level < LIGHT) return null;
      number = number * 2 + (level >= LIGHT ? 1 : 0);
    }
    return number;
  });
}

const BITS = 9;
const BLOCK = [64, 40];
const ROWS = [0, SIZE[1] - BLOCK[1]];
const DARK = 95;
const LIGHT = 160;

/** Syllables: harmonics of a low voice that swell four times a second, with some breath. */
const VOICE = "aevalsrc='(0.25*sin(2*PI*140*t)+0.15*sin(2*PI*280*t)+0.1*sin(2*PI*700*t)+0.05*sin(2*PI*1120*t)+0.03*(random(0)-0.5))*(0.5+0.5*sin(2*PI*4*t))':s=48000";
