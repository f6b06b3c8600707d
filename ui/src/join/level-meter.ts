// How loud a microphone is, for a meter.

import { shownLevel } from '../shared/level';

/** Reads a track about 15 times a second until {@link stop}. The track itself goes on. */
export class LevelMeter {
  readonly #context: AudioContext;
  readonly #source: MediaStreamAudioSourceNode;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #wake = () => void this.#context.resume();

  constructor(track: MediaStreamTrack, onLevel: (level: number) => void) {
    this.#context = new AudioContext();
    const analyser = new AnalyserNode(this.#context, { fftSize: 1024, smoothingTimeConstant: 0 });
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    // Some browsers start no audio before the first touch.
    document.addEventListener('pointerdown', this.#wake);
    this.#wake();
    this.#timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
      onLevel(shownLevel(10 * Math.log10(power) + HEADROOM_DB));
    }, PERIOD_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    document.removeEventListener('pointerdown', this.#wake);
    this.#source.disconnect();
    void this.#context.close();
  }
}

const PERIOD_MS = 66;
/** Speech peaks stand this far above its mean power; without it a good level looks too low. */
const HEADROOM_DB = 12;
