// Cameras and microphones for test guests: one drawn in the page on real time, one in files for Chromium's fake device.
import fs from 'node:fs';
import { CODE_AREA, COLOUR_AREA, COLUMNS, FLASH_AREA, ROWS, crc8 } from './timecode.mjs';

/**
 * What a test guest looks and sounds like. The flash and the beep begin together, once a `period`, at whole
 * multiples of it in Unix time, and last `flash` ms.
 */
export const DEFAULTS = {
  width: 640,
  height: 360,
  fps: 30,
  colour: [200, 60, 60],
  /** Hz; always on, quiet. */
  tone: 440,
  /** Hz; with the flash, loud. */
  beep: 2500,
  period: 1000,
  flash: 100,
  /** True: the browser's own microphone, whatever it sounds like. */
  ownMicrophone: false,
  /** True: the browser's own camera. */
  ownCamera: false,
};

/** Guests that can be told apart by colour and by ear. */
export const ADA = { ...DEFAULTS, name: 'Ada', colour: [200, 60, 60], tone: 440, beep: 2500 };
export const BEN = { ...DEFAULTS, name: 'Ben', colour: [60, 90, 210], tone: 660, beep: 3300 };

/**
 * A script for `addInitScript`: replaces `getUserMedia` by a camera drawn on a canvas (time code, colour, flash)
 * and a microphone made by WebAudio (tone, beep). The picture carries real time, so ages can be read from it
 * anywhere on this machine.
 */
export function syntheticCamera(guest) {
  const layout = { CODE_AREA, COLOUR_AREA, FLASH_AREA, COLUMNS, ROWS };
  return `(${installCamera})(${JSON.stringify({ ...DEFAULTS, ...guest })}, ${JSON.stringify(layout)}, ${crc8});`;
}

/** Runs in the page. */
function installCamera(guest, layout, crc8) {
  if (!navigator.mediaDevices) return; // Not a secure context: the page has to cope, as with a real camera.
  const now = () => performance.timeOrigin + performance.now();
  const canvas = document.createElement('canvas');
  canvas.width = guest.width;
  canvas.height = guest.height;
  const pen = canvas.getContext('2d', { alpha: false });
  /** Each open track and what to call for a frame of it: in Firefox that is the stream. */
  const tracks = new Map();
  const state = { draws: 0, lateDraws: 0, calls: [], tracks };
  let audio;

  const fill = (colour, [left, top, right, bottom]) => {
    pen.fillStyle = colour;
    pen.fillRect(left * guest.width, top * guest.height, (right - left) * guest.width, (bottom - top) * guest.height);
  };

  function draw(at) {
    const value = Math.floor(at * 10) % 2 ** 32;
    const crc = crc8(value);
    fill('rgb(110,110,110)', [0, 0, 1, 1]);
    fill(`rgb(${guest.colour})`, layout.COLOUR_AREA);
    fill((at + 2) % guest.period < guest.flash ? '#fff' : '#000', layout.FLASH_AREA);
    const [left, top, right, bottom] = layout.CODE_AREA;
    const [w, h] = [(right - left) / layout.COLUMNS, (bottom - top) / layout.ROWS];
    for (let bit = 0; bit < layout.COLUMNS * layout.ROWS; bit += 1) {
      const one = bit < 32 ? (value >>> (31 - bit)) & 1 : (crc >>> (39 - bit)) & 1;
      const [x, y] = [left + (bit % layout.COLUMNS) * w, top + Math.floor(bit / layout.COLUMNS) * h];
      fill(one ? '#fff' : '#000', [x, y, x + w, y + h]);
    }
  }

  /** Frames fall on multiples of the frame time, so that a flash begins when its beep does. */
  function tick() {
    const at = now();
    const frame = 1000 / guest.fps;
    for (const track of tracks.keys()) if (track.readyState === 'ended') tracks.delete(track);
    if (tracks.size > 0) {
      draw(at);
      for (const source of tracks.values()) source.requestFrame();
      state.draws += 1;
      if (Math.abs(at - Math.round(at / frame) * frame) > 10) state.lateDraws += 1;
    }
    // Timers may be a little early: rounding keeps that from drawing one frame twice.
    setTimeout(tick, (Math.round(at / frame) + 1) * frame - now() + 0.2);
  }

  /** The microphone: a quiet tone always, a beep at each flash. */
  function startAudio() {
    const context = new AudioContext({ sampleRate: 48000, latencyHint: 'interactive' });
    const out = new GainNode(context, { gain: 1 });
    const tone = new OscillatorNode(context, { frequency: guest.tone });
    tone.connect(new GainNode(context, { gain: 0.1 })).connect(out);
    tone.start();
    const beep = new OscillatorNode(context, { frequency: guest.beep });
    const gate = new GainNode(context, { gain: 0 });
    beep.connect(gate).connect(out);
    beep.start();
    // The context's clock steps once per rendered block: the largest lead of late is the one right after a step. It
    // changes for good when the machine is too busy to render a block in time.
    const leads = [];
    const LEADS = 40;
    let scheduled = Math.ceil((now() + 500) / guest.period) * guest.period;
    setInterval(() => {
      leads.push(context.currentTime * 1000 - performance.now());
      if (leads.length > LEADS) leads.shift();
      const lead = Math.max(...leads);
      const next = scheduled - now();
      if (next > 150) return;
      const at = (performance.now() + next + lead) / 1000;
      if (at > context.currentTime) {
        gate.gain.setValueAtTime(0.5, at);
        gate.gain.setValueAtTime(0, at + guest.flash / 1000);
      }
      scheduled += Math.max(1, Math.ceil((100 - next) / guest.period)) * guest.period;
    }, 5);
    return { context, out };
  }

  function videoTrack() {
    const stream = canvas.captureStream(0);
    const [track] = stream.getVideoTracks();
    tracks.set(track, track.requestFrame ? track : stream);
    return track;
  }

  function audioTrack() {
    audio ??= startAudio();
    audio.context.resume();
    const destination = new MediaStreamAudioDestinationNode(audio.context, { channelCount: 1 });
    audio.out.connect(destination);
    return destination.stream.getAudioTracks()[0];
  }

  /** A drawn track has no device; say which one was asked for, as a real one would. */
  async function asDevice(track, kind, wanted) {
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter(device => device.kind === kind);
    const id = wanted?.deviceId?.exact ?? wanted?.deviceId?.ideal ?? wanted?.deviceId;
    const device = devices.find(device => device.deviceId === id) ?? devices[0];
    const settings = track.getSettings.bind(track);
    track.getSettings = () => ({ ...settings(), deviceId: device?.deviceId, groupId: device?.groupId });
    track.applyConstraints = async () => {};
    return track;
  }

  const openDevice = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints = {}) => {
    state.calls.push(constraints);
    const stream = new MediaStream();
    if (constraints.video && guest.ownCamera) stream.addTrack((await openDevice({ video: constraints.video })).getTracks()[0]);
    else if (constraints.video) stream.addTrack(await asDevice(videoTrack(), 'videoinput', constraints.video));
    if (constraints.audio && guest.ownMicrophone) stream.addTrack((await openDevice({ audio: constraints.audio })).getTracks()[0]);
    else if (constraints.audio) stream.addTrack(await asDevice(audioTrack(), 'audioinput', constraints.audio));
    if (stream.getTracks().length === 0) throw new TypeError('At least one of audio and video must be requested');
    return stream;
  };
  tick();
  window.greenroomCamera = state;
}

/**
 * Files for `--use-file-for-fake-video-capture` and `--use-file-for-fake-audio-capture`. They loop after
 * `seconds`; the picture's time code is the number of the frame.
 */
export function cameraFiles(folder, guest = {}, seconds = 4) {
  const what = { ...DEFAULTS, ...guest };
  const files = { video: `${folder}/camera.y4m`, audio: `${folder}/microphone.wav`, frames: what.fps * seconds };
  const out = fs.openSync(files.video, 'w');
  fs.writeSync(out, `YUV4MPEG2 W${what.width} H${what.height} F${what.fps}:1 Ip A1:1 C420jpeg\n`);
  for (let frame = 0; frame < files.frames; frame += 1) {
    fs.writeSync(out, 'FRAME\n');
    fs.writeSync(out, paintFrame(what, frame, (frame * 1000) / what.fps));
  }
  fs.closeSync(out);
  fs.writeFileSync(files.audio, microphone(what, seconds));
  return files;
}

/** The same picture as the page draws, as planar YUV 4:2:0 (full range BT.601). */
function paintFrame(guest, value, ms) {
  const { width, height } = guest;
  const luma = Buffer.alloc(width * height, 110);
  const chroma = [Buffer.alloc((width * height) / 4, 128), Buffer.alloc((width * height) / 4, 128)];
  const fill = (plane, stride, rows, [left, top, right, bottom], level) => {
    for (let y = Math.round(top * rows); y < Math.round(bottom * rows); y += 1) {
      plane.fill(level, y * stride + Math.round(left * stride), y * stride + Math.round(right * stride));
    }
  };
  const grey = (area, level) => fill(luma, width, height, area, level);
  const [r, g, b] = guest.colour;
  grey(COLOUR_AREA, 0.299 * r + 0.587 * g + 0.114 * b);
  fill(chroma[0], width / 2, height / 2, COLOUR_AREA, 128 - 0.168736 * r - 0.331264 * g + 0.5 * b);
  fill(chroma[1], width / 2, height / 2, COLOUR_AREA, 128 + 0.5 * r - 0.418688 * g - 0.081312 * b);
  grey(FLASH_AREA, ms % guest.period < guest.flash ? 255 : 0);
  const [left, top, right, bottom] = CODE_AREA;
  const [w, h] = [(right - left) / COLUMNS, (bottom - top) / ROWS];
  const crc = crc8(value);
  for (let bit = 0; bit < COLUMNS * ROWS; bit += 1) {
    const one = bit < 32 ? (value >>> (31 - bit)) & 1 : (crc >>> (39 - bit)) & 1;
    const [x, y] = [left + (bit % COLUMNS) * w, top + Math.floor(bit / COLUMNS) * h];
    grey([x, y, x + w, y + h], one ? 255 : 0);
  }
  return Buffer.concat([luma, ...chroma]);
}

/** 48 kHz mono PCM in a WAV. */
function microphone(guest, seconds) {
  const samples = RATE * seconds;
  const wav = Buffer.alloc(44 + samples * 2);
  wav.write('RIFF', 0);
  wav.writeUInt32LE(36 + samples * 2, 4);
  wav.write('WAVEfmt ', 8);
  wav.writeUInt32LE(16, 16);
  wav.writeUInt16LE(1, 20);
  wav.writeUInt16LE(1, 22);
  wav.writeUInt32LE(RATE, 24);
  wav.writeUInt32LE(RATE * 2, 28);
  wav.writeUInt16LE(2, 32);
  wav.writeUInt16LE(16, 34);
  wav.write('data', 36);
  wav.writeUInt32LE(samples * 2, 40);
  for (let i = 0; i < samples; i += 1) {
    const ms = (i * 1000) / RATE;
    const beep = ms % guest.period < guest.flash ? 0.5 * Math.sin((2 * Math.PI * guest.beep * i) / RATE) : 0;
    const level = 0.1 * Math.sin((2 * Math.PI * guest.tone * i) / RATE) + beep;
    wav.writeInt16LE(Math.round(level * 32767), 44 + i * 2);
  }
  return wav;
}

const RATE = 48_000;
