// A dashboard of somebody else's: an unmodified mediasoup-client over socket.io-client, and what a test asks of it.
import { Device } from 'mediasoup-client';
import { io } from 'socket.io-client';
import { consumeRedundant, publishRedundant, soundReceived } from './redundant.mjs';

const state = { notices: [], producers: new Map(), consumers: new Map(), dataProducers: new Map(), dataConsumers: new Map() };

/** Emits and awaits the ack; a refusal throws an error with its `code`. */
function request(event, payload = {}) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${event}: no answer in 10 s`)), 10_000);
    state.socket.emit(event, payload, answer => {
      clearTimeout(timer);
      if (answer?.error) reject(Object.assign(new Error(answer.error), { code: answer.code }));
      else resolve(answer);
    });
  });
}

/** The same, as data: `{ ok }` or `{ error, code }`. */
async function ask(event, payload) {
  try {
    return { ok: await request(event, payload) };
  } catch (error) {
    return { error: error.message, code: error.code };
  }
}

async function join({ url, roomId, token, displayName, ...rest }) {
  state.socket = io(url, { auth: { token }, reconnection: false, forceNew: true });
  state.socket.onAny((event, data) => state.notices.push({ event, data }));
  state.socket.on('disconnect', reason => state.notices.push({ event: 'disconnect', data: { reason } }));
  await new Promise((resolve, reject) => state.socket.once('connect', resolve).once('connect_error', reject));
  state.joined = await request('join-room', { roomId, displayName, ...rest });
  return state.joined;
}

/** Loads the device and makes both transports. */
async function start() {
  state.device = await Device.factory();
  await state.device.load({ routerRtpCapabilities: await request('get-router-rtp-capabilities') });
  state.send = await transport('send');
  state.recv = await transport('recv');
}

async function transport(direction) {
  const options = await request('create-webrtc-transport', { direction });
  const made = direction === 'send' ? state.device.createSendTransport(options) : state.device.createRecvTransport(options);
  made.on('connect', ({ dtlsParameters }, done, failed) => {
    request('connect-transport', { transportId: made.id, dtlsParameters }).then(done, failed);
  });
  made.on('produce', ({ kind, rtpParameters, appData }, done, failed) => {
    const told = state.lie ? state.lie(structuredClone(rtpParameters)) : rtpParameters;
    request('produce', { transportId: made.id, kind, rtpParameters: told, appData }).then(done, failed);
  });
  made.on('producedata', ({ sctpStreamParameters, label, protocol, appData }, done, failed) => {
    request('produce-data', { transportId: made.id, sctpStreamParameters, label, protocol, appData }).then(done, failed);
  });
  return made;
}

/** Publishes camera or microphone, with that codec if one is named; `more` goes to `produce` (encodings, codecOptions …). */
async function publish(kind, mimeType, more = {}) {
  const stream = await navigator.mediaDevices.getUserMedia(kind === 'video' ? { video: true } : { audio: true });
  const codec = mimeType && state.device.sendRtpCapabilities.codecs.find(one => one.mimeType.toLowerCase() === mimeType.toLowerCase());
  if (mimeType && !codec) throw new Error(`this browser cannot send ${mimeType} here`);
  const producer = await state.send.produce({ track: stream.getTracks()[0], codec, appData: { source: kind }, stopTracks: true, ...more });
  state.producers.set(producer.id, producer);
  return { id: producer.id, mimeType: producer.rtpParameters.codecs[0].mimeType };
}

/** What leaves and arrives, as the browser counts it. */
async function counted() {
  const of = async (things, type, fields) => {
    const rows = [];
    for (const thing of things) {
      for (const report of (await thing.getStats()).values()) {
        if (report.type === type) rows.push({ of: thing.id, ...Object.fromEntries(fields.map(field => [field, report[field]])) });
      }
    }
    return rows;
  };
  return {
    sent: await of([...state.producers.values()], 'outbound-rtp', SENT),
    received: await of([...state.consumers.values()].map(({ consumer }) => consumer), 'inbound-rtp', RECEIVED),
  };
}

const SENT = ['kind', 'rid', 'frameWidth', 'framesEncoded', 'scalabilityMode', 'encoderImplementation', 'bytesSent'];
const RECEIVED = [
  ...['kind', 'frameWidth', 'framesDecoded', 'framesPerSecond', 'freezeCount', 'totalFreezesDuration', 'nackCount', 'pliCount'],
  ...['keyFramesDecoded', 'packetsLost', 'bytesReceived'],
];

/** Consumes and plays in an element of its own; the consumer's id is the element's `data-testid`. */
async function consume(producerId) {
  const answer = await request('consume', { producerId, rtpCapabilities: state.device.recvRtpCapabilities, transportId: state.recv.id });
  const consumer = await state.recv.consume(answer);
  const element = document.createElement(consumer.kind);
  element.dataset.testid = consumer.id;
  element.autoplay = true;
  element.playsInline = true;
  element.srcObject = new MediaStream([consumer.track]);
  document.body.append(element);
  state.consumers.set(consumer.id, { consumer, element });
  await request('resume-consumer', { consumerId: consumer.id });
  consumer.resume();
  element.play().catch(() => {});
  return { id: consumer.id, peerId: answer.peerId, appData: answer.appData, type: answer.type, mimeType: consumer.rtpParameters.codecs[0].mimeType };
}

/** Counts decoded pictures of a consumer from now on: `frames`, the longest gap between two in ms, and `freezes`. */
function watch(consumerId) {
  const { element } = state.consumers.get(consumerId);
  const seen = { frames: 0, longestGap: 0, freezes: 0, since: performance.now(), last: performance.now() };
  const step = now => {
    if (seen.stopped) return;
    seen.frames += 1;
    seen.longestGap = Math.max(seen.longestGap, now - seen.last);
    if (now - seen.last > FREEZE_MS) seen.freezes += 1;
    seen.last = now;
    element.requestVideoFrameCallback(step);
  };
  element.requestVideoFrameCallback(step);
  state.watched = seen;
}

const FREEZE_MS = 500;

/** What `watch` saw: pictures a second and the longest gap. */
function watched() {
  const seen = state.watched;
  const now = performance.now();
  seen.stopped = true;
  return { frames: seen.frames, freezes: seen.freezes, fps: (seen.frames * 1000) / (now - seen.since), longestGap: Math.max(seen.longestGap, now - seen.last) };
}

async function closeProducer(id) {
  state.producers.get(id).close();
  state.producers.delete(id);
  return request('close-producer', { producerId: id });
}

function dropConsumer(id) {
  const { consumer, element } = state.consumers.get(id);
  consumer.close();
  element.remove();
  state.consumers.delete(id);
}

/** Opens a data channel; `options` are mediasoup-client's. Resolves, when it is open, with the engine's id. */
async function publishData(options) {
  const producer = await state.send.produceData(options);
  if (producer.readyState !== 'open') await new Promise(resolve => producer.once('open', resolve));
  state.dataProducers.set(producer.id, producer);
  return { id: producer.id, sctpStreamParameters: producer.sctpStreamParameters };
}

/** Consumes paused, and resumes once the browser's channel is open, so that the first message is heard. */
async function consumeData(dataProducerId) {
  const answer = await request('consume-data', { dataProducerId, transportId: state.recv.id, paused: true });
  const consumer = await state.recv.consumeData(answer);
  const heard = [];
  let closed = false;
  consumer.on('message', data => {
    const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : new Uint8Array(data);
    heard.push({ text: typeof data === 'string' ? data.slice(0, 40) : null, length: bytes.length, first: bytes[0] ?? null, sum: checksum(bytes) });
  });
  consumer.on('close', () => (closed = true));
  if (consumer.readyState !== 'open') await new Promise(resolve => consumer.once('open', resolve));
  await request('resume-data-consumer', { dataConsumerId: consumer.id });
  state.dataConsumers.set(consumer.id, { consumer, heard, isClosed: () => closed });
  const { sctpStreamParameters, label, protocol, peerId, appData } = answer;
  return { id: consumer.id, sctpStreamParameters, label, protocol, peerId, appData };
}

/** Sends each of `messages`: a text, or `{ length, first }` of binary data. Resolves with what is left to be sent. */
function say(dataProducerId, messages) {
  const producer = state.dataProducers.get(dataProducerId);
  for (const message of messages) producer.send(typeof message === 'string' ? message : pattern(message));
  return producer.bufferedAmount;
}

/** As a page sends a file: no more than eight megabytes wait in the browser. Resolves when all has been handed over. */
async function flood(dataProducerId, { count, length }) {
  const producer = state.dataProducers.get(dataProducerId);
  const isLow = () => new Promise(resolve => producer.once('bufferedamountlow', resolve));
  producer.bufferedAmountLowThreshold = 4_000_000;
  for (let n = 0; n < count; n += 1) {
    if (producer.bufferedAmount > 8_000_000) await isLow();
    producer.send(pattern({ length, first: n }));
  }
}

const heardOn = dataConsumerId => state.dataConsumers.get(dataConsumerId).heard;
const dataState = dataConsumerId => state.dataConsumers.get(dataConsumerId).consumer.readyState;

/** What the browser says of the channel itself. */
const sentState = dataProducerId => state.dataProducers.get(dataProducerId).readyState;

async function closeConsumer(dataConsumerId) {
  state.dataConsumers.get(dataConsumerId).consumer.close();
  return request('close-data-consumer', { dataConsumerId });
}

async function closeData(dataProducerId) {
  state.dataProducers.get(dataProducerId).close();
  return request('close-data-producer', { dataProducerId });
}

function pattern({ length, first = 0 }) {
  return Uint8Array.from({ length }, (_, n) => (n === 0 ? first : n * 31));
}

function checksum(bytes) {
  return bytes.reduce((sum, byte) => (sum * 33 + byte) >>> 0, 5381);
}

/** Announces the next producers with another SSRC and MID than they send: the engine gets packets it knows nothing of. */
function lieAboutStreams() {
  state.lie = parameters => ({
    ...parameters,
    mid: `not-${parameters.mid}`,
    encodings: parameters.encodings.map(encoding => ({ ...encoding, ssrc: 0x1234567, rtx: encoding.rtx && { ssrc: 0x1234568 } })),
  });
}

async function restartIce(direction) {
  const { iceParameters } = await request('restart-ice', { transportId: state[direction].id });
  await state[direction].restartIce({ iceParameters });
  return iceParameters;
}

/** The same by hand, redundantly. */
async function publishSoundTwice() {
  const { id, connection } = await publishRedundant(request);
  state.redundant = connection;
  return id;
}

async function consumeSoundTwice(producerId) {
  const { id, codecs, connection } = await consumeRedundant(request, producerId, state.device.recvRtpCapabilities);
  state.redundant = connection;
  return { id, codecs };
}

/** Packets of sound and repetitions in them, of the redundant connection or of mediasoup-client's. */
const soundCounted = () => soundReceived(state.redundant ?? state.recv);

const noticesOf = event => state.notices.filter(notice => notice.event === event).map(notice => notice.data);
const connection = () => ({ send: state.send?.connectionState, recv: state.recv?.connectionState, socket: state.socket?.connected });

window.client = {
  ...{ state, join, start, request, ask, publish, consume, counted, watch, watched, closeProducer, dropConsumer, lieAboutStreams },
  ...{ publishSoundTwice, consumeSoundTwice, soundCounted },
  ...{ restartIce, noticesOf, connection },
  ...{ publishData, consumeData, say, flood, heardOn, dataState, sentState, closeConsumer, closeData },
};
