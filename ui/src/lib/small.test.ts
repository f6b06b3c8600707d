// The small parts: links, room ids, pauses, peer ids in previews, words for connections.

import { describe, expect, it } from 'vitest';
import { addressesOf, isOnlyHere } from '../dashboard/addresses';
import { largestTiles } from '../join/grid';
import { qualityWords } from '../shared/quality';
import { Backoff } from './backoff';
import { uuidOf } from './dashboard-client';
import { Emitter } from './emitter';
import { parseInviteLink, slugOf } from './link';

it.each([
  ['https://h/join/show#abc.def', { roomId: 'show', token: 'abc.def' }],
  ['https://h/join/show/#token=abc', { roomId: 'show', token: 'abc' }],
  ['https://h/join/show#abc%2Edef', { roomId: 'show', token: 'abc.def' }],
  ['https://h/join/show#%E0%A4%A', { roomId: 'show', token: '%E0%A4%A' }],
  ['https://h/join/show', 'no-token'],
  ['https://h/join/#abc', 'no-room'],
  ['https://h/join/a%2Fb#abc', 'no-room'],
])('the link %s is read', (link, expected) => {
  expect(parseInviteLink(new URL(link))).toEqual(expected);
});

it.each([
  ['Friday Show', 'friday-show'],
  ['  Zoë & Émile: live!  ', 'zoe-emile-live'],
  ['日本', ''],
  ['x'.repeat(100), 'x'.repeat(64)],
])('the title %s makes the room id %s', (title, slug) => {
  expect(slugOf(title)).toBe(slug);
});

it('pauses grow to two seconds and start over after success', () => {
  const backoff = new Backoff(() => 0);
  expect(Array.from({ length: 7 }, () => backoff.nextMs())).toEqual([500, 1000, 2000, 2000, 2000, 2000, 2000]);
  backoff.reset();
  expect(backoff.nextMs()).toBe(500);
});

it('sixteen bytes are a peer id', () => {
  expect(uuidOf(Uint8Array.from({ length: 16 }, (_, n) => n * 17))).toBe('00112233-4455-6677-8899-aabbccddeeff');
});

describe('an emitter', () => {
  class Bell extends Emitter<{ ring: [number] }> {
    ring(times: number) {
      this.emit('ring', times);
    }
  }

  it('tells its listeners until they leave', () => {
    const bell = new Bell();
    const heard: number[] = [];
    const leave = bell.on('ring', times => heard.push(times));
    bell.ring(1);
    leave();
    bell.ring(2);
    expect(heard).toEqual([1]);
  });

  it('refuses the listener that is one too many', () => {
    const bell = new Bell();
    for (let n = 0; n < 32; n += 1) bell.on('ring', () => {});
    expect(() => bell.on('ring', () => {})).toThrow(RangeError);
  });
});

it.each([
  [1, 1256, 690, { columns: 1, width: 1226, height: 690 }],
  [2, 1256, 690, { columns: 2, width: 623, height: 623 }],
  [4, 1256, 690, { columns: 2, width: 604, height: 340 }],
  [1, 366, 690, { columns: 1, width: 366, height: 366 }],
  [3, 366, 690, { columns: 1, width: 366, height: 223 }],
  [2, 0, 0, { columns: 1, width: 0, height: 0 }],
])('%i tiles fill %i × %i', (count, width, height, expected) => {
  expect(largestTiles(count, width, height, 10)).toEqual(expected);
});

describe('an invite’s addresses', () => {
  const lan = { on: true, addresses: ['https://192.0.2.7:3443'], certificate: null, problem: null };

  it('put those that others can reach first', () => {
    expect(addressesOf('http://localhost:3002/join/show#T', lan)).toEqual(['https://192.0.2.7:3443/join/show#T', 'http://localhost:3002/join/show#T']);
    expect(addressesOf('https://192.0.2.7:3443/join/show#T', lan)).toEqual(['https://192.0.2.7:3443/join/show#T']);
    expect(addressesOf('http://localhost:3002/join/show#T', { ...lan, on: false })).toEqual(['http://localhost:3002/join/show#T']);
  });

  it.each([
    ['http://127.0.0.1:3002/', true],
    ['http://[::1]/', true],
    ['http://localhost/', true],
    ['https://192.0.2.7:3443/', false],
  ])('%s means this computer only: %s', (url, expected) => {
    expect(isOnlyHere(url)).toBe(expected);
  });
});

it('a connection is described in one sentence', () => {
  const quality = { score: 9, rttMs: 17.6, packetLossPct: 0.14, jitterMs: 3.2, sendBitrate: 900_000, recvBitrate: 2_340_000, availableBitrate: null };
  expect(qualityWords(quality)).toBe('Very good connection (9 of 10): round trip 18 ms, loss 0.1 %, jitter 3 ms, sends 2.3 Mbit/s, receives 900 kbit/s');
  expect(qualityWords(quality, -12.4)).toMatch(/, picture 12 ms before sound$/);
  expect(qualityWords(quality, -12.4, { width: 1280, height: 720 })).toMatch(/, 1280 × 720, picture 12 ms before sound$/);
});
