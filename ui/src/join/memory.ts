// What the page remembers: name and devices for next time, the stay for a reload.

import type { InviteLink } from '../lib/link';
import type { Resume } from '../lib/room-client';

export interface Remembered {
  name: string;
  camera: string;
  microphone: string;
  speaker: string;
}

export function recall(): Remembered {
  const stored = read(localStorageOrNull(), CHOICES);
  const text = (key: keyof Remembered) => (typeof stored?.[key] === 'string' ? (stored[key] as string).slice(0, 256) : '');
  return { name: text('name').slice(0, 64), camera: text('camera'), microphone: text('microphone'), speaker: text('speaker') };
}

export function remember(choices: Remembered): void {
  write(localStorageOrNull(), CHOICES, choices);
}

/** The stay that the last life of this tab had: by the same link, and not ended. */
export function recallStay({ roomId, token }: InviteLink): Resume | null {
  const stored = read(sessionStorageOrNull(), STAY + roomId);
  if (stored?.invite !== token || typeof stored.token !== 'string' || !Array.isArray(stored.producers)) return null;
  return { token: stored.token, producers: stored.producers.filter(id => typeof id === 'string').slice(0, 16) };
}

/** The seat that this browser has by the link, from whichever tab: a link for one use opens the door again. */
export function recallSeat({ roomId, token }: InviteLink): Resume | null {
  const stored = read(localStorageOrNull(), SEAT);
  const good = stored?.room === roomId && stored.invite === token && typeof stored.seat === 'string';
  return good ? { token: stored.seat as string, producers: [] } : null;
}

/** `stays`: a reload of this tab goes straight back in. */
export function rememberStay({ roomId, token }: InviteLink, resume: Resume | null, stays: boolean): void {
  write(sessionStorageOrNull(), STAY + roomId, resume !== null && stays ? { ...resume, invite: token } : null);
  write(localStorageOrNull(), SEAT, resume === null ? null : { room: roomId, invite: token, seat: resume.token });
}

/** Private windows and blocked cookies throw here; the page works without memory. */
function localStorageOrNull(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

function sessionStorageOrNull(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

function read(storage: Storage | null, key: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(storage?.getItem(key) ?? 'null');
    return typeof value === 'object' ? (value as Record<string, unknown> | null) : null;
  } catch {
    return null;
  }
}

function write(storage: Storage | null, key: string, value: object | null): void {
  try {
    if (value === null) storage?.removeItem(key);
    else storage?.setItem(key, JSON.stringify(value));
  } catch {
    // Full or forbidden: not worth a word to the guest.
  }
}

const CHOICES = 'greenroom.choices';
const STAY = 'greenroom.stay.';
/** Only the latest: a guest page is no diary. */
const SEAT = 'greenroom.seat';
