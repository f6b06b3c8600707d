// What the studio is told of this browser's paths.

import { expect, it } from 'vitest';
import { credentials, tellPath } from './path-report';
import type { AddIceCandidate } from './wire/AddIceCandidate';

const SDP = 'v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\na=mid:0\r\n';
const PARAMETERS = { usernameFragment: '8hhY', password: 'asd88fgpdd777uzjYhagZg' };

it.each([
  ['8hhY', PARAMETERS],
  [null, PARAMETERS],
  ['old1', null],
])('credentials of the generation %s are %o', (fragment, expected) => {
  expect(credentials(SDP, fragment)).toEqual(expected);
});

it('a description without credentials has none', () => {
  expect(credentials('v=0\r\n', null)).toBeNull();
});

it('UDP candidates are told with the credentials they belong to, and nothing else is', () => {
  const connection = Object.assign(new EventTarget(), { localDescription: { sdp: SDP } });
  const told: AddIceCandidate[] = [];
  tellPath({ id: 'here', handler: { _pc: connection } }, report => told.push(report));
  const find = (candidate: object | null) => connection.dispatchEvent(Object.assign(new Event('icecandidate'), { candidate }));
  const udp = 'candidate:1 1 udp 2122260223 192.0.2.9 51000 typ host';
  find({ candidate: udp, usernameFragment: '8hhY' });
  find({ candidate: 'candidate:2 1 tcp 1518280447 192.0.2.9 9 typ host tcptype active', usernameFragment: '8hhY' });
  find({ candidate: '', usernameFragment: '8hhY' });
  find(null);
  expect(told).toEqual([{ transportId: 'here', candidate: { candidate: udp, usernameFragment: '8hhY' }, iceParameters: PARAMETERS }]);
});

it('a handler that hides its connection is left alone', () => {
  expect(() => tellPath({ id: 'here', handler: {} }, () => expect.unreachable())).not.toThrow();
});
