// Two pages connected with each other, nothing between them: what the browsers do by themselves.

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
export function outgoingEstimate(page) {
  return page.evaluate(async () => {
    let best = 0;
    for (const connection of window.greenroomConnections) {
      if (connection.connectionState === 'closed') continue;
      for (const report of (await connection.getStats()).values()) {
        if (report.type === 'candidate-pair' && report.nominated) best = Math.max(best, report.availableOutgoingBitrate ?? 0);
      }
    }
    return best;
  });
}

/** Pictures that left the page's busiest encoder: a machine that is short of time makes few of them, whatever the path. */
export function framesEncoded(page) {
  return page.evaluate(async () => {
    let most = 0;
    for (const connection of window.greenroomConnections) {
      if (connection.connectionState === 'closed') continue;
      for (const report of (await connection.getStats()).values()) {
        if (report.type === 'outbound-rtp') most = Math.max(most, report.framesEncoded ?? 0);
      }
    }
    return most;
  });
}
