// The windows of a display, as their window manager would see them.
import { promisify } from 'node:util';
import x11 from 'x11';

/**
 * Asks the main window of a program to close, as a click on its cross does. `is`: which window by its title. False: there is
 * none.
 */
export async function closeWindow(display, is) {
  const connected = await promisify(x11.createClient)({ display });
  const X = connected.client;
  // What the callback returns says whether an error is dealt with.
  const ask = (request, ...words) => new Promise((resolve, reject) => X[request](...words, (error, answer) => (error ? reject(error) : resolve(answer), true)));
  try {
    const [protocols, close] = [await ask('InternAtom', false, 'WM_PROTOCOLS'), await ask('InternAtom', false, 'WM_DELETE_WINDOW')];
    const { children } = await ask('QueryTree', connected.screen[0].root);
    for (const window of children) {
      // One that has gone meanwhile is an error, and not the one.
      const title = await ask('GetProperty', 0, window, X.atoms.WM_NAME, 0, 0, 1000).catch(() => null);
      const attributes = await ask('GetWindowAttributes', window).catch(() => null);
      if (title === null || attributes?.mapState !== VIEWABLE || !is(title.data.toString())) continue;
      // A ClientMessage of 32-bit words (X11 protocol, §Events; ICCCM §4.2.8).
      const event = Buffer.alloc(32);
      event.writeUInt8(33, 0);
      event.writeUInt8(32, 1);
      [window, protocols, close, 0].forEach((word, index) => event.writeUInt32LE(word, 4 + 4 * index));
      X.SendEvent(window, false, 0, event);
      // An answer says that what was sent before has arrived; the window may be gone by then.
      await ask('QueryTree', connected.screen[0].root);
      return true;
    }
    return false;
  } finally {
    X.terminate();
  }
}

const VIEWABLE = 2;
