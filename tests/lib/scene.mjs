// What a source in OBS shows of a guest.
import { isColour } from './look.mjs';
import { luma, meanColour } from './image.mjs';
import { COLOUR_AREA, age, readTimecode, unixNow } from './timecode.mjs';
import { until } from './wait.mjs';

/** The time code, its age in ms, the guest colour and the mean alpha of a source as OBS draws it. */
export async function lookAt(obs, source, { file } = {}) {
  const picture = await obs.screenshot(source, { width: 320, height: 180, file });
  const code = readTimecode(luma(picture));
  return { code, age: code === null ? null : age(code), colour: meanColour(picture, COLOUR_AREA), mean: meanColour(picture) };
}

/**
 * Resolves with what was seen once the source shows that guest as of less than a second ago, and as drawn after
 * `since` (Unix ms): what a source holds from before does not count.
 */
export function showsLive(obs, source, guest, { within = 15_000, since = 0 } = {}) {
  return until(
    `OBS shows ${guest.name} live in ${source}`,
    async () => {
      const seen = await lookAt(obs, source);
      const young = seen.code !== null && seen.age < Math.min(1000, unixNow() - since);
      if (young && seen.age > -200 && isColour(seen.colour, guest.colour)) return seen;
      throw new Error(`code ${seen.code}, age ${seen.age}, colour ${seen.colour.map(Math.round)}, alpha ${Math.round(seen.mean[3])}`);
    },
    { within, every: 50 },
  );
}
