// An unmodified mediasoup-client in Node, over mediasoup-client-aiortc: sends a film with sound, receives every producer
// of the room, media and data, and tells what that was as one line of JSON. How much media arrived its statistics cannot
// say (they fail in 3.16.1); its receiver reports, as the engine had them, do.
//
// usage: mediasoup_aiortc_peer.mjs URL ROOM TOKEN NAME SECONDS VIDEO-MIME, with PYTHON set to one that has aiortc
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { Device } from 'mediasoup-client';
import { createWorker } from 'mediasoup-client-aiortc';
import { io } from 'socket.io-client';

const [url, roomId, token, displayName, seconds, mimeType] = process.argv.slice(2);
const socket = io(url, { auth: { token }, reconnection: false, transports: ['websocket'] });
const admitted = once(socket, 'admitted');
const told = { dtls: [], states: {}, frames: 0, sound: 0, messages: 0, octets: 0 };

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'greenroom-film-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true }));
const worker = await createWorker({ logLevel: 'warn' });
let joined = await ask('join-room', { roomId, displayName });
if (joined.state === 'waiting') joined = { ...joined, ...(await admitted)[0] };
const device = new Device({ handlerFactory: await worker.createHandlerFactory() });
await device.load({ routerRtpCapabilities: await ask('get-router-rtp-capabilities') });

const sender = await transport('send');
const stream = await worker.getUserMedia({ audio: source(), video: source() });
const codec = device.sendRtpCapabilities.codecs.find(one => one.mimeType.toLowerCase() === mimeType.toLowerCase());
await sender.produce({ track: stream.getVideoTracks()[0], codec });
await sender.produce({ track: stream.getAudioTracks()[0] });

const receiver = await transport('recv');
const consumers = [];
for (const { producerId } of joined.producers) {
  const answer = await ask('consume', { producerId, rtpCapabilities: device.recvRtpCapabilities, transportId: receiver.id });
  consumers.push(await receiver.consume(answer));
  await ask('resume-consumer', { consumerId: answer.id });
}
for (const { dataProducerId } of joined.dataProducers) {
  const answer = await ask('consume-data', { dataProducerId, transportId: receiver.id, paused: true });
  const consumer = await receiver.consumeData(answer);
  consumer.on('message', data => {
    told.messages += 1;
    told.octets += typeof data === 'string' ? Buffer.byteLength(data) : data.byteLength;
  });
  if (consumer.readyState !== 'open') await once(consumer, 'open');
  await ask('resume-data-consumer', { dataConsumerId: answer.id });
}

console.log('listening');
await new Promise(resolve => setTimeout(resolve, Number(seconds) * 1000));
for (const { id, kind } of consumers) {
  const [stats] = (await ask('get-stats', { consumerId: id })).consumers;
  told[kind === 'video' ? 'frames' : 'sound'] = stats.packetCount - stats.packetsLost;
  told.reports = stats.roundTripTime !== undefined;
}
told.states = { send: sender.connectionState, recv: receiver.connectionState };
console.log(JSON.stringify(told));
await ask('leave-room');
socket.close();
worker.close();

function ask(event, payload = {}) {
  return new Promise((resolve, reject) => {
    socket.timeout(10_000).emit(event, payload, (late, answer) => {
      if (late || answer.error) reject(late ?? new Error(`${event}: ${answer.code}: ${answer.error}`));
      else resolve(answer);
    });
  });
}

async function transport(direction) {
  const options = await ask('create-webrtc-transport', { direction });
  const made = direction === 'send' ? device.createSendTransport(options) : device.createRecvTransport(options);
  made.on('connect', ({ dtlsParameters }, done, failed) => {
    told.dtls.push([direction, dtlsParameters.role, ...dtlsParameters.fingerprints.map(one => one.algorithm)].join(' '));
    ask('connect-transport', { transportId: made.id, dtlsParameters }).then(done, failed);
  });
  made.on('produce', ({ kind, rtpParameters, appData }, done, failed) => {
    ask('produce', { transportId: made.id, kind, rtpParameters, appData: { ...appData, source: kind } }).then(done, failed);
  });
  made.on('producedata', ({ sctpStreamParameters, label, protocol, appData }, done, failed) => {
    ask('produce-data', { transportId: made.id, sctpStreamParameters, label, protocol, appData }).then(done, failed);
  });
  return made;
}

/** A film of a moving picture and a tone of 770 Hz, again and again. */
function source() {
  const file = path.join(folder, 'film.mp4');
  if (!fs.existsSync(file)) {
    const picture = ['-f', 'lavfi', '-i', 'testsrc=size=640x360:rate=20', '-f', 'lavfi', '-i', 'sine=frequency=770:sample_rate=48000'];
    const codecs = ['-t', '10', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-c:a', 'aac', file];
    execFileSync('ffmpeg', ['-loglevel', 'error', ...picture, ...codecs]);
  }
  return { source: 'file', file, loop: true };
}
