// Guests of one room on a foreign page with an unmodified mediasoup-client, already let in.
import { openPage } from './browser.mjs';

/** A page that has joined as a guest of the room and been admitted; `page.joined` is the engine's answer. `url`: the engine as this guest reaches it. */
export async function foreignGuest({ engine, browser, origin, roomId, guest, url = engine.url, open = openPage }) {
  const { token } = await engine.invite(roomId);
  const page = await open(browser, { guest, name: `foreign-${guest.name}`, url: origin });
  const options = { url, roomId, token, displayName: guest.name };
  page.joined = await page.evaluate(options => window.client.join(options), options);
  if (page.joined.state === 'waiting') {
    await engine.admit(roomId, guest.name);
    // The client notes every notice, so one that came before this line is not missed.
    const admitted = await page.waitForFunction(() => window.client.noticesOf('admitted')[0]);
    page.admitted = await admitted.jsonValue();
  }
  await page.evaluate(() => window.client.start());
  return page;
}

/** What the engine answers to `event`: `{ ok }` or `{ error, code }`. */
export const ask = (page, event, payload) => page.evaluate(([event, payload]) => window.client.ask(event, payload), [event, payload]);

export const call = (page, method, ...args) => page.evaluate(([method, args]) => window.client[method](...args), [method, args]);
