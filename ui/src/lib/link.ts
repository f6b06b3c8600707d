// The invite link a guest opens: `/join/<room>#<token>`.

import type { RoomId } from './wire/RoomId';

export interface InviteLink {
  roomId: RoomId;
  /** The invite's token. It stands in the fragment, which browsers send to no server. */
  token: string;
}

export type BadLink = 'no-room' | 'no-token';

export function parseInviteLink(url: URL): InviteLink | BadLink {
  const roomId = /\/join\/([A-Za-z0-9_-]{1,64})\/?$/.exec(url.pathname)?.[1];
  if (roomId === undefined) return 'no-room';
  const token = tokenOf(url.hash);
  return token === '' ? 'no-token' : { roomId, token };
}

/** `#token` and `#token=<token>` alike; messengers that escape the fragment are forgiven. */
export function tokenOf(hash: string): string {
  const raw = hash.replace(/^#/, '').replace(/^token=/, '');
  try {
    return decodeURIComponent(raw).trim();
  } catch {
    return raw.trim();
  }
}

/** A room id made from a title: lower case, plain letters and digits, at most 64 of them. */
export function slugOf(title: string): RoomId {
  return title
    .normalize('NFKD')
    .replace(/[\u0300-\u036f]/g, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
    .slice(0, 64)
    .replace(/-+$/, '');
}
