// Tells the studio where this browser can be reached, so that a studio behind a NAT can reach out to it.

import { type Transport, connectionOf } from './connection';
import type { AddIceCandidate } from './wire/AddIceCandidate';
import type { IceParameters } from './wire/IceParameters';

/**
 * Calls `tell` for each candidate the browser finds, also after an ICE restart. mediasoup-client keeps candidates and
 * credentials to itself: its model is a server that everybody can reach.
 */
export function tellPath(transport: Transport, tell: (report: AddIceCandidate) => void): void {
  const connection = connectionOf(transport);
  if (connection === null) return;
  connection.addEventListener('icecandidate', ({ candidate }) => {
    if (candidate === null || candidate.candidate === '' || !/ udp /i.test(candidate.candidate)) return;
    const iceParameters = credentials(connection.localDescription?.sdp ?? '', candidate.usernameFragment);
    if (iceParameters === null) return;
    const { candidate: line, usernameFragment } = candidate;
    tell({ transportId: transport.id, candidate: { candidate: line, usernameFragment: usernameFragment ?? null }, iceParameters });
  });
}

/** The first credentials of a session description (RFC 8839 §5.4): all its media share one transport. Stale ones are none. */
export function credentials(sdp: string, usernameFragment: string | null): IceParameters | null {
  const name = /^a=ice-ufrag:(\S+)/m.exec(sdp)?.[1];
  const password = /^a=ice-pwd:(\S+)/m.exec(sdp)?.[1];
  if (name === undefined || password === undefined) return null;
  return usernameFragment === null || usernameFragment === name ? { usernameFragment: name, password } : null;
}
