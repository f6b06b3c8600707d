// Two pages connected with each other, nothing between them: what the browsers do by themselves.
import { reportsOf } from './browser.mjs';

/** Sends `from`'s camera to `to` with these encoding parameters, as VP8. Ends with `close`. */
export async function connectDirectly(from, to, encoding) {
  const offer = await from.evaluate(sendCamera, encoding);
  const answer = await to.evaluate(receive, offer);
  await from.evaluate(answer => window.direct.setRemoteDescription(answer), answer);
  const close = page => page.evaluate(() => window.direct.close());
  return { close: () => Promise.all([close(from), close(to)]) };
}

async function sendCamera(encoding) {
  const connection = (window.direct = new RTCPeerConnection());
  const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
  const transceiver = connection.addTransceiver(stream.getVideoTracks()[0], { direction: 'sendonly', sendEncodings: [encoding] });
  const { codecs } = RTCRtpSender.getCapabilities('video');
  transceiver.setCodecPreferences(codecs.filter(({ mimeType }) => ['video/VP8', 'video/rtx'].includes(mimeType)));
  await connection.setLocalDescription();
  // Every candidate in the offer itself.
  if (connection.iceGatheringState !== 'complete') {
    await new Promise(resolve => connection.addEventListener('icegatheringstatechange', () => connection.iceGatheringState === 'complete' && resolve()));
  }
  return connection.localDescription.toJSON();
}

async function receive(offer) {
  const connection = (window.direct = new RTCPeerConnection());
  connection.addEventListener('track', ({ track }) => {
    const element = document.createElement('video');
    Object.assign(element, { autoplay: true, playsInline: true, muted: true, srcObject: new MediaStream([track]) });
    document.body.append(element);
    window.client.state.consumers.set('direct', { element });
  });
  await connection.setRemoteDescription(offer);
  await connection.setLocalDescription();
  if (connection.iceGatheringState !== 'complete') {
    await new Promise(resolve => connection.addEventListener('icegatheringstatechange', () => connection.iceGatheringState === 'complete' && resolve()));
  }
  return connection.localDescription.toJSON();
}

/** What the page's browser thinks it can send, bit/s. */
export async function outgoingEstimate(page) {
  const pairs = (await reportsOf(page, 'candidate-pair')).filter(({ nominated }) => nominated);
  return Math.max(0, ...pairs.map(({ availableOutgoingBitrate }) => availableOutgoingBitrate ?? 0));
}

/** Pictures that left the page's busiest encoder: a machine that is short of time makes few of them, whatever the path. */
export async function framesEncoded(page) {
  return Math.max(0, ...(await reportsOf(page, 'outbound-rtp')).map(({ framesEncoded }) => framesEncoded ?? 0));
}
