// What the page remembers: name and devices for next time, the stay for a reload.

import type { Resume } from '../lib/room-client';
import type { RoomId } from '../lib/wire/RoomId';

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

/** The stay that the last life of this tab had in the room. */
export function recallStay(room: RoomId): Resume | null {
  const stored = read(sessionStorageOrNull(), STAY + room);
  if (typeof stored?.token !== 'string' || !Array.isArray(stored.producers)) return null;
  return { token: stored.token, producers: stored.producers.filter(id => typeof id === 'string').slice(0, 16) };
}

export function rememberStay(room: RoomId, stay: Resume | null): void {
  write(sessionStorageOrNull(), STAY + room, stay);
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
