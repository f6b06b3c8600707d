// How long to wait before trying again.

/** Waits of 0.5 s, doubling up to 2 s, each shortened by up to a third at random so that guests do not return in step. */
export class Backoff {
  #attempt = 0;

  constructor(private readonly random: () => number = Math.random) {}

  get attempt(): number {
    return this.#attempt;
  }

  nextMs(): number {
    const full = Math.min(SHORTEST_MS * 2 ** this.#attempt, LONGEST_MS);
    this.#attempt += 1;
    return Math.round(full * (1 - this.random() / 3));
  }

  reset(): void {
    this.#attempt = 0;
  }
}

/** A wait that can be cut short. */
export class Wait {
  #finish: () => void = () => {};

  over(ms: number): Promise<void> {
    return new Promise(resolve => {
      const timer = setTimeout(resolve, ms);
      this.#finish = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  cut(): void {
    this.#finish();
  }
}

const SHORTEST_MS = 500;
/** A studio that restarts wants its guests back within seconds, and a dozen of them asking costs it nothing. */
const LONGEST_MS = 2_000;
