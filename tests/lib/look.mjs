// Looking and listening inside a page: time codes in its video elements, tones in the streams they play.
import { CODE_AREA, COLOUR_AREA, COLUMNS, ROWS, crc8 } from './timecode.mjs';

/**
 * What each playing video element of the page shows: the time code (or null), the colour of the guest, whether it
 * plays, and its `data-testid`s from the element outwards.
 */
export async function readVideos(page) {
  return page.evaluate(`(${videosInPage})(${JSON.stringify({ CODE_AREA, COLOUR_AREA, COLUMNS, ROWS })}, ${crc8})`);
}

/** Runs in the page. */
function videosInPage(layout, crc8) {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [160, 90];
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  return [...document.querySelectorAll('video')]
    .filter(video => video.videoWidth > 0)
    .map(video => {
      pen.drawImage(video, 0, 0, 160, 90);
      const { data } = pen.getImageData(0, 0, 160, 90);
      const pixel = (x, y) => data.subarray((Math.floor(y * 90) * 160 + Math.floor(x * 160)) * 4).slice(0, 3);
      const [left, top, right, bottom] = layout.CODE_AREA;
      let [value, crc, clear] = [0, 0, true];
      for (let bit = 0; bit < layout.COLUMNS * layout.ROWS; bit += 1) {
        const x = left + ((bit % layout.COLUMNS) + 0.5) * ((right - left) / layout.COLUMNS);
        const y = top + (Math.floor(bit / layout.COLUMNS) + 0.5) * ((bottom - top) / layout.ROWS);
        const level = pixel(x, y)[1];
        if (level > 95 && level < 160) clear = false;
        const one = level >= 160 ? 1 : 0;
        if (bit < 32) value = (value * 2 + one) >>> 0;
        else crc = crc * 2 + one;
      }
      const ids = [];
      for (let element = video; element; element = element.parentElement) {
        if (element.dataset?.testid) ids.push(element.dataset.testid);
      }
      const colour = [...pixel((layout.COLOUR_AREA[0] + layout.COLOUR_AREA[2]) / 2, (layout.COLOUR_AREA[1] + layout.COLOUR_AREA[3]) / 2)];
      return {
        ids,
        code: clear && crc === crc8(value) ? value : null,
        colour,
        width: video.videoWidth,
        height: video.videoHeight,
        muted: video.muted || video.volume === 0,
        paused: video.paused,
        tracks: (video.srcObject?.getTracks?.() ?? []).map(track => track.id),
      };
    });
}

/**
 * Amplitude (0 to 1) of each frequency in what the page plays (unmuted media elements with a live audio track),
 * summed over elements, over `ms`.
 */
export async function heard(page, frequencies, ms = 1500) {
  return page.evaluate(listenInPage, { frequencies, ms });
}

/** Runs in the page. */
async function listenInPage({ frequencies, ms }) {
  const elements = [...document.querySelectorAll('audio, video')].filter(
    element => !element.muted && element.volume > 0 && !element.paused && element.srcObject?.getAudioTracks?.().some(track => track.readyState === 'live' && track.enabled),
  );
  const context = new AudioContext();
  await context.resume();
  const taps = elements.map(element => {
    const tap = new AnalyserNode(context, { fftSize: 16384, smoothingTimeConstant: 0 });
    new MediaStreamAudioSourceNode(context, { mediaStream: new MediaStream(element.srcObject.getAudioTracks()) }).connect(tap);
    return tap;
  });
  const levels = frequencies.map(() => 0);
  const end = performance.now() + ms;
  const samples = new Float32Array(16384);
  while (performance.now() < end) {
    await new Promise(resolve => setTimeout(resolve, 200));
    const round = frequencies.map(() => 0);
    for (const tap of taps) {
      tap.getFloatTimeDomainData(samples);
      frequencies.forEach((frequency, i) => {
        const turn = 2 * Math.cos((2 * Math.PI * frequency) / context.sampleRate);
        let [s1, s2] = [0, 0];
        for (let n = 0; n < samples.length; n += 1) {
          const hann = 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / (samples.length - 1));
          [s1, s2] = [samples[n] * hann + turn * s1 - s2, s1];
        }
        round[i] += (4 * Math.sqrt(Math.max(0, s1 * s1 + s2 * s2 - turn * s1 * s2))) / samples.length;
      });
    }
    round.forEach((level, i) => (levels[i] = Math.max(levels[i], level)));
  }
  await context.close();
  return { elements: elements.length, levels };
}

/** Whether a colour read from a compressed picture is that guest's. */
export const isColour = (seen, wanted) => seen.slice(0, 3).every((value, i) => Math.abs(value - wanted[i]) < 45);
