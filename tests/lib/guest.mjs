// A guest on Greenroom's own page: opens the invite, sets up camera and microphone, joins, waits, is live.
import { openPage } from './browser.mjs';

const shown = id => `[data-testid="${id}"]`;

/** Opens an invite in a browser of its own context and joins under the guest's name; resolves in the green room. */
export async function joinAsGuest(browser, invite, guest) {
  const page = await openPage(browser, { guest, url: invite.url });
  await fillIn(page, guest.name);
  return page;
}

/** What a guest does on the page, in either driver's words. */
export async function fillIn(page, name) {
  await page.locator(shown('name-input')).fill(name);
  await page.locator(shown('join-button')).click();
  await page.waitForSelector(shown('waiting-step'));
}

/** Resolves when the page says that its guest is in the show. */
export const isLive = page => page.waitForSelector(shown('live-step'));
