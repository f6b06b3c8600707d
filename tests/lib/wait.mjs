// Waiting: for conditions that have no event, and bounds for those that have one.

/** Resolves after `ms`. Only for pacing a poll or for letting a measured time pass. */
export const pause = ms => new Promise(resolve => setTimeout(resolve, ms));

/**
 * Polls `probe` until it returns something truthy, and returns that; throws with `what` (and the last thing
 * seen) when `within` ms have passed. A probe that throws counts as "not yet"; its last error is told.
 */
export async function until(what, probe, { within = 15_000, every = 100 } = {}) {
  const end = performance.now() + within;
  let last = 'nothing seen';
  for (;;) {
    try {
      const seen = await bounded(what, Promise.resolve(probe()), Math.max(1000, end - performance.now()));
      if (seen) return seen;
      last = `last seen: ${format(seen)}`;
    } catch (error) {
      // That time ran out says less than what was seen before.
      if (performance.now() < end || last === 'nothing seen') last = `last error: ${error?.message ?? error}`;
    }
    if (performance.now() >= end) throw new Error(`not within ${within} ms: ${what} (${last})`);
    await pause(every);
  }
}

/** Fails when `condition` is not true every time it is asked during `ms`. */
export async function holds(what, condition, ms, every = 200) {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    const seen = await condition();
    if (!seen) throw new Error(`did not hold: ${what} (seen ${format(seen)})`);
    await pause(every);
  }
}

/** `promise`, or an error naming `what` after `ms`. */
export function bounded(what, promise, ms) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${Math.round(ms)} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function format(value) {
  try {
    return JSON.stringify(value)?.slice(0, 300) ?? String(value);
  } catch {
    return String(value);
  }
}
