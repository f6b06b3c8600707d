// The floor of measuring by picture: the drawn camera into a <video> of the same page, without encoder or network.

/** Ages in ms of the pictures that element shows, over `ms`. */
export async function measureFloor(page, ms) {
  return page.evaluate(floorInPage, ms);
}

/** Runs in the page. The time code's layout and CRC are those of timecode.mjs. */
async function floorInPage(ms) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  const video = document.createElement('video');
  Object.assign(video, { muted: true, autoplay: true, playsInline: true, srcObject: stream });
  Object.assign(video.style, { position: 'fixed', left: 0, top: 0, width: '320px', zIndex: 9999 });
  document.body.append(video);
  await video.play();
  const pen = new OffscreenCanvas(160, 90).getContext('2d', { willReadFrequently: true });
  const ages = [];
  const end = performance.now() + ms;
  while (performance.now() < end) {
    await new Promise(resolve => video.requestVideoFrameCallback(resolve));
    const now = performance.timeOrigin + performance.now();
    pen.drawImage(video, 0, 0, 160, 90);
    const { data } = pen.getImageData(0, 0, 160, 90);
    let value = 0;
    for (let bit = 0; bit < 32; bit += 1) {
      const x = Math.floor((0.05 + ((bit % 10) + 0.5) * 0.09) * 160);
      const y = Math.floor((0.1 + (Math.floor(bit / 10) + 0.5) * 0.15) * 90);
      value = (value * 2 + (data[(y * 160 + x) * 4 + 1] > 128 ? 1 : 0)) >>> 0;
    }
    const behind = ((Math.floor(now * 10) % 2 ** 32) - value + 2 ** 32) % 2 ** 32;
    if (behind < 20_000) ages.push(behind / 10);
  }
  stream.getTracks().forEach(track => track.stop());
  video.remove();
  return ages;
}
