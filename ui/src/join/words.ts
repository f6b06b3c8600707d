// Everything that can go wrong for a guest, in words: what happened, and what to do next.

import type { BadLink } from '../lib/link';
import type { Ending } from '../lib/room-client';
import type { Code } from '../lib/wire/Code';
import type { MediaKind } from '../lib/wire/MediaKind';

export interface Words {
  /** Stable, for tests and for nobody else. */
  code: string;
  title: string;
  advice: string;
  /** What the one button under the words does. */
  action?: 'retry' | 'rejoin';
}

/** What makes the page useless here, before anything was asked of the guest. */
export function pageTrouble(has: { secure: boolean; devices: boolean; webrtc: boolean }): Words | null {
  if (!has.secure) {
    return {
      code: 'insecure',
      title: 'This page was opened without encryption',
      advice:
        'Browsers give camera and microphone only to pages whose address begins with https:// (or to the host’s own computer). Ask the host to turn on LAN access and to send you that link. Your browser may then warn about the certificate: choose “Advanced”, then “Continue”.',
    };
  }
  if (!has.devices || !has.webrtc) {
    return {
      code: 'no-webrtc',
      title: 'This browser cannot make video calls',
      advice: 'Open the link in a current Chrome, Edge, Firefox or Safari. If you opened it inside another app, look for “Open in browser” in its menu.',
    };
  }
  return null;
}

export function linkTrouble(bad: BadLink): Words {
  return bad === 'no-token'
    ? { code: 'link-incomplete', title: 'This link is incomplete', advice: 'The part after “#” is missing. Copy the whole link from the host’s message, or ask the host to send it again.' }
    : { code: 'link-wrong', title: 'This is not an invite link', advice: 'Open the link that the host sent you. It looks like https://…/join/room#…' };
}

/** Why there is no picture or no sound, from what `getUserMedia` threw. */
export function deviceTrouble(kind: MediaKind, error: unknown): Words {
  const it = kind === 'video' ? 'camera' : 'microphone';
  const name = error instanceof Error || error instanceof DOMException ? error.name : '';
  const message = error instanceof Error ? error.message : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      if (/system/i.test(message)) {
        return { code: 'denied-by-system', title: `Your system keeps the ${it} from this browser`, advice: `Allow the ${it} for your browser in the system’s privacy settings, then try again.`, action: 'retry' };
      }
      return {
        code: 'denied',
        title: `This page may not use your ${it}`,
        advice: `Click the ${it} or lock symbol beside the address, allow the ${it}, then try again. On a phone, look in the browser’s settings for this page.`,
        action: 'retry',
      };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return kind === 'video'
        ? { code: 'missing', title: 'No camera found', advice: 'You can join with sound only. To be seen, connect a camera and try again.', action: 'retry' }
        : { code: 'missing', title: 'No microphone found', advice: 'Connect a microphone or a headset and try again. Without one you can join, but nobody hears you.', action: 'retry' };
    case 'NotReadableError':
    case 'AbortError':
      return { code: 'busy', title: `Your ${it} is in use elsewhere`, advice: `Close other programs or tabs that use the ${it} (calls, recording, OBS), then try again. Or choose another ${it}.`, action: 'retry' };
    case 'Unplugged':
      return { code: 'unplugged', title: `Your ${it} was disconnected`, advice: `Plug it in again, or choose another ${it}.`, action: 'retry' };
    default:
      return { code: 'failed', title: `Your ${it} could not be started`, advice: `Try again, choose another ${it}, or restart the browser.`, action: 'retry' };
  }
}

/** One piece of advice where camera and microphone have the same trouble. */
export function bothTrouble(camera: Words, microphone: Words): Words | null {
  if (camera.code !== microphone.code) return null;
  const advice = camera.advice.replace(/allow the camera/i, match => `${match} and the microphone`);
  switch (camera.code) {
    case 'denied':
      return { ...camera, title: 'This page may not use your camera and microphone', advice };
    case 'denied-by-system':
      return { ...camera, title: 'Your system keeps camera and microphone from this browser', advice };
    case 'missing':
      return { ...camera, title: 'No camera and no microphone found', advice: 'Connect them and try again. You can join without: then you see and hear the others, but nobody sees or hears you.' };
    default:
      return null;
  }
}

export function endingWords(ending: Ending, title: string): Words {
  const show = title === '' ? 'the show' : title;
  switch (ending.by) {
    case 'leaving':
      return { code: 'left', title: 'You have left', advice: `Thank you for being part of ${show}. Your camera and microphone are off.`, action: 'rejoin' };
    case 'removal':
      return { code: 'kicked', title: 'You are not in the room any more', advice: `${ending.reason} Your camera and microphone are off here.` };
    case 'room-closing':
      return { code: 'room-closed', title: 'The show is over', advice: `The host closed ${show}. Your camera and microphone are off; you can close this page.` };
    case 'refusal':
      return refusalWords(ending.code, ending.message);
  }
}

/** Without the name of the field, which means something to programs only. */
function plain(message: string): string {
  const words = message.replace(/^`[^`]*`:?\s*/, '').replace(/\.?$/, '.');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function refusalWords(code: Code, message: string): Words {
  switch (code) {
    case 'invite-expired':
      return { code, title: 'This link has expired', advice: 'Ask the host to send you a new one.' };
    case 'invite-revoked':
      return { code, title: 'The host withdrew this link', advice: 'Ask the host to send you a new one.' };
    case 'invite-used-up':
      return { code, title: 'This link was used already', advice: 'Each link lets in a set number of people. Ask the host for one of your own.' };
    case 'invite-other-room':
      return { code, title: 'This link belongs to another room', advice: 'Open the link just as the host sent it, or ask for a new one.' };
    case 'invite-invalid':
    case 'invite-required':
    case 'unauthorized':
      return { code, title: 'This link is not valid', advice: 'Perhaps a part of it got lost. Copy the whole link from the host’s message, or ask for a new one.' };
    case 'room-full':
      return { code, title: 'The room is full', advice: 'Wait until somebody leaves, then try again, or tell the host.', action: 'rejoin' };
    case 'server-full':
      return { code, title: 'The host’s computer has no room for more', advice: 'Tell the host, wait a moment, then try again.', action: 'rejoin' };
    case 'room-not-found':
      return { code, title: 'This room does not exist any more', advice: 'Ask the host for a new link.' };
    case 'room-closed':
      return { code, title: 'The show is over', advice: 'The host closed the room. If you expected a show now, ask the host for a new link.' };
    case 'invalid-request':
      return { code, title: 'The studio did not accept that', advice: `${plain(message)} Change it and try again.`, action: 'rejoin' };
    case 'forbidden':
      return { code, title: 'You cannot enter this room', advice: message };
    case 'already-joined':
      return { code, title: 'You are already in this room', advice: 'Close the other tab or window with this link, then try again.', action: 'rejoin' };
    case 'unsupported-codec':
      return { code, title: 'This browser cannot make video calls with the studio', advice: 'Open the link in a current Chrome, Edge, Firefox or Safari.' };
    default:
      return { code, title: 'You could not be let in', advice: `${message} Try again, or ask the host.`, action: 'rejoin' };
  }
}
