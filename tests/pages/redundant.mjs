// A page that speaks WebRTC itself, to have what mediasoup-client does not offer: sound sent and received redundantly
// (RFC 2198) because it prefers that codec.

/** Publishes the microphone as `audio/red`; `request` speaks to the engine. The producer's id, and the codec negotiated. */
export async function publishRedundant(request) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  const connection = new RTCPeerConnection();
  const transceiver = connection.addTransceiver(stream.getAudioTracks()[0], { direction: 'sendonly' });
  transceiver.setCodecPreferences(preferred(RTCRtpSender.getCapabilities('audio').codecs));
  await connection.setLocalDescription();
  const offer = connection.localDescription.sdp;
  const transport = await request('create-webrtc-transport', { direction: 'send' });
  const [opus, red] = [payloadType(offer, 'opus'), payloadType(offer, 'red')];
  const [, ssrc, cname] = /a=ssrc:(\d+) cname:(\S+)/.exec(offer);
  const [, mid] = /a=mid:(\S+)/.exec(offer);
  const extensions = extensionsOf(offer).filter(({ uri }) => FORWARDED.includes(uri));
  await connection.setRemoteDescription({ type: 'answer', sdp: description(transport, { setup: 'passive', direction: 'recvonly', mid, opus, red, extensions }) });
  await request('connect-transport', { transportId: transport.id, dtlsParameters: { role: 'client', fingerprints: [fingerprint(offer)] } });
  const codec = (mimeType, payloadType, parameters) => ({ mimeType, payloadType, clockRate: 48000, channels: 2, parameters, rtcpFeedback: [] });
  const rtpParameters = {
    mid,
    codecs: [codec('audio/opus', opus, { minptime: 10, useinbandfec: 1 }), codec('audio/red', red, {})],
    headerExtensions: extensions.map(({ uri, id }) => ({ uri, id, encrypt: false, parameters: {} })),
    encodings: [{ ssrc: Number(ssrc) }],
    rtcp: { cname, reducedSize: true },
  };
  const { id } = await request('produce', { transportId: transport.id, kind: 'audio', rtpParameters, appData: { source: 'audio' } });
  return { id, connection };
}

/** Consumes a producer in whatever form the engine gives, offering `audio/red`, and plays it. */
export async function consumeRedundant(request, producerId, capabilities) {
  const transport = await request('create-webrtc-transport', { direction: 'recv' });
  const red = { kind: 'audio', mimeType: 'audio/red', preferredPayloadType: 109, clockRate: 48000, channels: 2, parameters: {}, rtcpFeedback: [] };
  const others = capabilities.codecs.filter(codec => codec.mimeType.toLowerCase() !== 'audio/red');
  const rtpCapabilities = { ...capabilities, codecs: [...others, red] };
  const consumer = await request('consume', { producerId, transportId: transport.id, rtpCapabilities });
  const { codecs, encodings, headerExtensions, rtcp, mid } = consumer.rtpParameters;
  const number = mimeType => codecs.find(codec => codec.mimeType.toLowerCase() === mimeType)?.payloadType;
  const connection = new RTCPeerConnection();
  const element = document.createElement('audio');
  element.autoplay = true;
  connection.ontrack = ({ track }) => (element.srcObject = new MediaStream([track]));
  const agreed = { setup: 'actpass', direction: 'sendonly', mid, opus: number('audio/opus'), red: number('audio/red'), extensions: headerExtensions };
  await connection.setRemoteDescription({ type: 'offer', sdp: description(transport, { ...agreed, ssrc: encodings[0].ssrc, cname: rtcp.cname }) });
  await connection.setLocalDescription();
  const answer = connection.localDescription.sdp;
  await request('connect-transport', { transportId: transport.id, dtlsParameters: { role: 'client', fingerprints: [fingerprint(answer)] } });
  document.body.append(element);
  await request('resume-consumer', { consumerId: consumer.id });
  element.play().catch(() => {});
  return { id: consumer.id, codecs: codecs.map(codec => codec.mimeType), connection };
}

/** What arrives: packets, and repetitions of packets in them: Chromium counts one of what it has as discarded. */
export async function soundReceived(connection) {
  for (const report of (await connection.getStats()).values()) {
    if (report.type === 'inbound-rtp' && report.kind === 'audio') return { packets: report.packetsReceived, repeated: report.packetsDiscarded ?? 0, lost: report.packetsLost };
  }
  return { packets: 0, repeated: 0, lost: 0 };
}

const FORWARDED = ['urn:ietf:params:rtp-hdrext:sdes:mid', 'urn:ietf:params:rtp-hdrext:ssrc-audio-level'];

/** RED first, then what it wraps. */
const preferred = codecs => ['audio/red', 'audio/opus'].flatMap(type => codecs.filter(codec => codec.mimeType.toLowerCase() === type));

const payloadType = (sdp, name) => Number(new RegExp(`a=rtpmap:(\\d+) ${name}/48000/2`, 'i').exec(sdp)[1]);
const extensionsOf = sdp => [...sdp.matchAll(/a=extmap:(\d+)(?:\/\w+)? (\S+)/g)].map(([, id, uri]) => ({ id: Number(id), uri }));

function fingerprint(sdp) {
  const [, algorithm, value] = /a=fingerprint:(\S+) (\S+)/.exec(sdp);
  return { algorithm, value };
}

/** The engine's side of one m-section of sound (RFC 8866, RFC 8829). */
function description({ iceParameters, iceCandidates, dtlsParameters }, { setup, direction, mid, opus, red, extensions, ssrc, cname }) {
  const { algorithm, value } = dtlsParameters.fingerprints.at(-1);
  const candidate = one => `a=candidate:${one.foundation} 1 ${one.protocol} ${one.priority} ${one.address ?? one.ip} ${one.port} typ ${one.type}`;
  const lines = [
    ...['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'a=ice-lite', `a=group:BUNDLE ${mid}`, 'a=msid-semantic: WMS *'],
    `m=audio 7 UDP/TLS/RTP/SAVPF ${[red, opus].filter(type => type !== undefined).join(' ')}`,
    ...['c=IN IP4 127.0.0.1', 'a=rtcp-mux', 'a=rtcp-rsize', `a=mid:${mid}`, `a=${direction}`, `a=setup:${setup}`],
    ...[`a=ice-ufrag:${iceParameters.usernameFragment}`, `a=ice-pwd:${iceParameters.password}`, `a=fingerprint:${algorithm} ${value}`],
    ...(red === undefined ? [] : [`a=rtpmap:${red} red/48000/2`, `a=fmtp:${red} ${opus}/${opus}`]),
    ...[`a=rtpmap:${opus} opus/48000/2`, `a=fmtp:${opus} minptime=10;useinbandfec=1`],
    ...extensions.map(({ id, uri }) => `a=extmap:${id} ${uri}`),
    ...iceCandidates.filter(one => one.protocol === 'udp').map(candidate),
    'a=end-of-candidates',
    ...(ssrc === undefined ? [] : [`a=msid:${cname} sound`, `a=ssrc:${ssrc} cname:${cname}`]),
  ];
  return `${lines.join('\r\n')}\r\n`;
}
