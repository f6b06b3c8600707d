// Stories of a guest's stay, told with the real mediasoup-client over a browser that is not there and an engine that is scripted.

import { FakeMediaStreamTrack } from 'fake-mediastreamtrack';
import { Device } from 'mediasoup-client';
import { generateConsumerRemoteParameters, generateLocalDtlsParameters, generateNativeRtpCapabilities, generateRouterRtpCapabilities, generateTransportRemoteParameters } from 'mediasoup-client/fakeParameters';
import { FakeHandler } from 'mediasoup-client/handlers/FakeHandler';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Backoff } from './backoff';
import type { Ask, Channel, OpenChannel, Requests } from './channel';
import { ConnectionLost, Refusal } from './failure';
import { RoomClient, type Resume } from './room-client';
import type { Joined } from './wire/Joined';
import type { Notice } from './wire/Notice';

const PEER = { peerId: 'p-grace', displayName: 'Grace', role: 'guest', handRaised: false } as const;
const CAMERA = { producerId: 'c-grace', peerId: 'p-grace', kind: 'video', paused: false, appData: {} } as const;
const VOICE = { producerId: 'v-grace', peerId: 'p-grace', kind: 'audio', paused: false, appData: {} } as const;

/** An engine that does as told and remembers what it was asked. */
class Script {
  readonly asked: [event: string, payload: unknown][] = [];
  joins: Partial<Joined>[] = [];
  /** Answers in place of the usual ones. */
  readonly answers = new Map<keyof Requests, () => unknown>();
  openings = 0;
  /** Their ids, in the order in which they were asked for. */
  readonly transports: string[] = [];
  unreachable = 0;
  #notice: (notice: Notice) => void = () => {};
  #cut: () => void = () => {};
  #ids = 0;

  readonly open: OpenChannel = async onNotice => {
    this.openings += 1;
    if (this.unreachable > 0) {
      this.unreachable -= 1;
      throw new ConnectionLost('nobody there');
    }
    this.#notice = onNotice;
    let alive = true;
    const closed = new Promise<void>(resolve => {
      this.#cut = () => {
        alive = false;
        resolve();
      };
    });
    const cut = this.#cut;
    const ask: Ask = async (event, payload) => {
      if (!alive) throw new ConnectionLost('gone');
      this.asked.push([event, payload]);
      return (this.answers.get(event) ?? (() => this.#usual(event, payload)))() as never;
    };
    return { ask, closed, close: cut } satisfies Channel;
  };

  tell(notice: Notice): void {
    this.#notice(notice);
  }

  cut(): void {
    this.#cut();
  }

  events(): string[] {
    return this.asked.map(([event]) => event);
  }

  #usual(event: keyof Requests, payload: unknown): unknown {
    this.#ids += 1;
    switch (event) {
      case 'join-room':
        return { ...JOINED, ...this.joins.shift() };
      case 'create-webrtc-transport':
        this.transports.push(`t-${this.#ids}`);
        return { ...generateTransportRemoteParameters(), id: `t-${this.#ids}`, iceServers: [] };
      case 'connect-transport':
        return { connected: true };
      case 'produce':
        return { id: `own-${this.#ids}` };
      case 'restart-ice':
        return { iceParameters: { usernameFragment: 'again', password: 'again' } };
      case 'consume': {
        const { producerId } = payload as { producerId: string };
        const kind = producerId.startsWith('v-') ? 'audio' : 'video';
        const parameters = generateConsumerRemoteParameters({ codecMimeType: kind === 'audio' ? 'audio/opus' : 'video/VP8' });
        return { ...parameters, id: `k-${producerId}`, producerId, peerId: 'p-grace', kind, type: 'simple', producerPaused: false, appData: {} };
      }
      default:
        return {};
    }
  }
}

const JOINED = {
  peerId: 'p-me',
  roomId: 'show',
  role: 'guest',
  state: 'waiting',
  displayName: 'Ada',
  title: 'The Show',
  routerRtpCapabilities: generateRouterRtpCapabilities() as Joined['routerRtpCapabilities'],
  peers: [],
  producers: [],
  dataProducers: [],
  waiting: [],
  maySend: true,
  iceServers: [],
  resumeToken: 'resume-1',
  resumed: false,
} satisfies Joined;

function setting(options: { resume?: Resume } = {}) {
  const script = new Script();
  const handlers: FakeHandler[] = [];
  const make = FakeHandler.createFactory({ generateNativeRtpCapabilities, generateLocalDtlsParameters });
  const makeDevice = async () =>
    new Device({
      handlerFactory: {
        ...make,
        factory: handlerOptions => {
          const handler = make.factory(handlerOptions) as FakeHandler;
          handlers.push(handler);
          return handler;
        },
      },
    });
  const client = new RoomClient({ open: script.open, roomId: 'show', token: 'T', displayName: 'Ada', makeDevice, backoff: new Backoff(() => 0), ...options });
  const microphone = new FakeMediaStreamTrack({ kind: 'audio' });
  const camera = new FakeMediaStreamTrack({ kind: 'video' });
  client.send('audio', { track: microphone, muted: false });
  client.send('video', { track: camera, muted: false });
  const ended = client.run();
  const soon = (ms = 10) => vi.advanceTimersByTimeAsync(ms);
  return { script, handlers, client, microphone, camera, ended, soon };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('a stay', () => {
  it('begins in the green room, where the guest already sends', async () => {
    const { script, client, soon } = setting();
    await soon();
    expect(client.snapshot.phase).toEqual({ name: 'waiting' });
    expect(client.snapshot.title).toBe('The Show');
    expect(script.events().filter(event => event === 'produce')).toHaveLength(2);
    expect(script.events()).not.toContain('consume');
  });

  it('goes live on admission, keeps what it sends, and receives everybody', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.tell({ event: 'admitted', data: { slot: 2, peers: [PEER], producers: [CAMERA, VOICE], dataProducers: [] } });
    await soon();
    const { phase, slot, peers } = client.snapshot;
    expect([phase.name, slot, peers.length]).toEqual(['live', 2, 1]);
    expect([peers[0]?.video?.track.kind, peers[0]?.audio?.track.kind]).toEqual(['video', 'audio']);
    expect(script.events().filter(event => event === 'produce')).toHaveLength(2);
    expect(script.events().filter(event => event === 'resume-consumer')).toHaveLength(2);
  });

  it('forgets a peer who leaves, with their tracks', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.tell({ event: 'admitted', data: { slot: 1, peers: [PEER], producers: [CAMERA], dataProducers: [] } });
    await soon();
    script.tell({ event: 'peer-left', data: { peerId: 'p-grace', reason: 'left' } });
    await soon();
    expect(client.snapshot.peers).toEqual([]);
  });

  it('of a viewer sends nothing', async () => {
    const setup = setting();
    setup.script.joins = [{ role: 'viewer', state: 'live', maySend: false, peers: [PEER], producers: [CAMERA] }];
    await setup.soon();
    expect(setup.client.snapshot).toMatchObject({ phase: { name: 'live' }, role: 'viewer' });
    expect(setup.script.events().filter(event => event === 'create-webrtc-transport')).toHaveLength(1);
    expect(setup.script.events()).not.toContain('produce');
  });

  it('of a performer watches, sends once on stage, and watches again when taken off it', async () => {
    const { script, client, camera, soon } = setting();
    script.joins = [{ role: 'performer', state: 'live', maySend: false, peers: [PEER], producers: [CAMERA] }];
    await soon();
    expect(client.snapshot.maySend).toBe(false);
    expect(script.events()).not.toContain('produce');

    const troubles: string[] = [];
    client.on('trouble', (_source, refusal) => troubles.push(refusal.message));
    script.tell({ event: 'admitted', data: { slot: 1, peers: [PEER], producers: [CAMERA], dataProducers: [] } });
    // The page opens the camera and says so while the new transports are being made.
    client.send('video', { track: camera, muted: false });
    await soon();
    expect(troubles).toEqual([]);
    expect(client.snapshot).toMatchObject({ maySend: true, slot: 1 });
    expect(script.events().filter(event => event === 'produce')).toHaveLength(2);
    expect(client.snapshot.peers[0]?.video?.track.kind).toBe('video');

    const directions = () => script.asked.filter(([event]) => event === 'create-webrtc-transport').map(([, payload]) => (payload as { direction: string }).direction);
    const sending = directions().indexOf('send');
    script.tell({ event: 'slot-changed', data: { slot: null } });
    script.tell({ event: 'transport-closed', data: { transportId: script.transports[sending] ?? '', reason: 'The host took you off the stage.' } });
    await soon();
    expect(client.snapshot).toMatchObject({ maySend: false, slot: null, phase: { name: 'live' } });
    expect(directions().at(-1)).toBe('recv');
    expect(script.events().filter(event => event === 'produce')).toHaveLength(2);
    expect(script.openings).toBe(1);
  });

  it('of a co-host shows who waits, and lets them in', async () => {
    const { script, client, soon } = setting();
    const waiting = { peerId: 'p-early', displayName: 'Early', role: 'guest', handRaised: false } as const;
    script.joins = [{ role: 'co-host', state: 'live', waiting: [waiting] }];
    await soon();
    script.tell({ event: 'peer-waiting', data: PEER });
    await soon();
    expect(client.snapshot.waiting.map(peer => peer.displayName)).toEqual(['Early', 'Grace']);
    await client.admit('p-early');
    expect(script.asked.at(-1)).toEqual(['admit', { peerId: 'p-early' }]);
    script.tell({ event: 'peer-joined', data: waiting });
    script.tell({ event: 'peer-left', data: { peerId: 'p-grace', reason: 'left' } });
    await soon();
    expect(client.snapshot.waiting).toEqual([]);
  });

  it('mutes by taking the track away and telling the studio, and gives it back', async () => {
    const { script, client, microphone, soon } = setting();
    await soon();
    client.send('audio', { track: microphone, muted: true });
    await soon();
    expect(script.events().at(-1)).toBe('pause-producer');
    client.send('audio', { track: microphone, muted: false });
    await soon();
    expect(script.events().at(-1)).toBe('resume-producer');
    expect(microphone.readyState).toBe('live');
  });

  it('enters muted without a sound when that was chosen before', async () => {
    const { script, client, microphone, soon } = setting();
    client.send('audio', { track: microphone, muted: true });
    await soon();
    const produced = script.asked.filter(([event]) => event === 'produce').map(([, payload]) => payload);
    expect(produced).toContainEqual(expect.objectContaining({ kind: 'audio', paused: true }));
  });

  it('keeps the newest 200 lines of chat, its own among them, once', async () => {
    const { script, client, soon } = setting();
    await soon();
    for (let n = 0; n < 250; n += 1) script.tell({ event: 'chat', data: { peerId: 'p-grace', displayName: 'Grace', text: `${n}`, at: n } });
    await client.say('hello');
    script.tell({ event: 'chat', data: { peerId: 'p-me', displayName: 'Ada', text: 'hello', at: 0 } });
    const { chat } = client.snapshot;
    expect([chat.length, chat[0]?.text, chat.at(-1)?.text, chat.at(-1)?.own]).toEqual([200, '51', 'hello', true]);
  });

  it('ends by removal, and never comes back by itself', async () => {
    const { script, client, ended, soon } = setting();
    const kept: (Resume | null)[] = [];
    client.on('resume', resume => kept.push(resume));
    await soon();
    script.tell({ event: 'kicked', data: { reason: 'removed by the host' } });
    script.cut();
    expect(kept.at(-1)).toBeNull();
    await expect(ended).resolves.toEqual({ by: 'removal', reason: 'removed by the host' });
    await soon(60_000);
    expect(script.openings).toBe(1);
    expect(client.snapshot.phase.name).toBe('ended');
  });

  it('says goodbye when the guest leaves', async () => {
    const { script, client, ended, soon } = setting();
    await soon();
    client.leave();
    await expect(ended).resolves.toEqual({ by: 'leaving' });
    expect(script.events().at(-1)).toBe('leave-room');
  });
});

describe('who speaks', () => {
  it('is shown until another has the floor, or they leave', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.tell({ event: 'admitted', data: { slot: 1, peers: [PEER], producers: [VOICE], dataProducers: [] } });
    script.tell({ event: 'active-speaker', data: { peerId: PEER.peerId, volume: -30 } });
    script.tell({ event: 'volumes', data: { volumes: [{ peerId: PEER.peerId, volume: -30 }] } });
    expect(client.snapshot.speaker).toBe(PEER.peerId);
    script.tell({ event: 'active-speaker', data: { peerId: 'p-me', volume: -30 } });
    expect(client.snapshot.speaker).toBe('p-me');
    script.tell({ event: 'active-speaker', data: { peerId: PEER.peerId, volume: -30 } });
    script.tell({ event: 'peer-left', data: { peerId: PEER.peerId, reason: 'left' } });
    expect(client.snapshot.speaker).toBeNull();
    await soon();
  });
});

describe('refusals', () => {
  it.each(['invite-expired', 'invite-revoked', 'invite-used-up', 'invite-other-room', 'room-full', 'room-not-found'] as const)('%s ends the stay', async code => {
    const { script, ended, soon } = setting();
    script.answers.set('join-room', () => {
      throw new Refusal(code, 'no');
    });
    await soon();
    await expect(ended).resolves.toEqual({ by: 'refusal', code, message: 'no' });
    expect(script.openings).toBe(1);
  });

  it('a busy studio is asked again', async () => {
    const { script, client, soon } = setting();
    script.answers.set('join-room', () => {
      throw new Refusal('busy', 'later');
    });
    await soon(300);
    script.answers.delete('join-room');
    await soon(2_000);
    expect(client.snapshot.phase.name).toBe('waiting');
  });
});

describe('a lost connection', () => {
  it('is restored with the resume token; what is sent and received stays', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.tell({ event: 'admitted', data: { slot: 1, peers: [PEER], producers: [CAMERA, VOICE], dataProducers: [] } });
    await soon();
    script.joins = [{ resumed: true, state: 'live', peers: [PEER], producers: [VOICE], resumeToken: 'resume-2' }];
    script.cut();
    await soon();
    expect(client.snapshot.phase).toMatchObject({ name: 'restoring', was: 'live' });
    expect(client.snapshot.peers).toHaveLength(1);
    await soon(1_000);
    expect(client.snapshot.phase).toEqual({ name: 'live' });
    expect(script.asked.filter(([event]) => event === 'join-room').at(-1)?.[1]).toMatchObject({ resumeToken: 'resume-1', token: 'T' });
    expect(script.events().filter(event => event === 'produce')).toHaveLength(2);
    // The camera was closed meanwhile: the snapshot does not have it any more.
    expect([client.snapshot.peers[0]?.video, client.snapshot.peers[0]?.audio?.track.kind]).toEqual([null, 'audio']);
  });

  it('forgets a slot and a mute that ended meanwhile, and learns of those that hold', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.tell({ event: 'admitted', data: { slot: 1, peers: [], producers: [], dataProducers: [] } });
    script.tell({ event: 'muted-by-host', data: { kind: 'audio', muted: true } });
    await soon();
    script.joins = [{ resumed: true, state: 'live' }];
    script.cut();
    await soon(1_000);
    expect([client.snapshot.slot, client.snapshot.mutedByHost.audio]).toEqual([null, false]);
    script.tell({ event: 'slot-changed', data: { slot: 4 } });
    expect(client.snapshot.slot).toBe(4);
  });

  it('is retried with growing pauses while the studio is away, and at once when the network returns', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.unreachable = 5;
    script.cut();
    await soon(8_000);
    expect(client.snapshot.phase).toMatchObject({ name: 'restoring', attempt: 5 });
    const before = script.openings;
    client.retryNow();
    await soon();
    expect(script.openings).toBe(before + 1);
    expect(client.snapshot.phase.name).toBe('waiting');
  });

  it('makes everything anew when the studio has restarted and knows the guest no more', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.tell({ event: 'server-closing', data: { resumeInMs: 2_000 } });
    script.cut();
    await soon();
    expect(client.snapshot.phase).toMatchObject({ name: 'restoring', because: 'server-closing' });
    await soon(3_000);
    expect(client.snapshot.phase.name).toBe('waiting');
    expect(script.events().filter(event => event === 'produce')).toHaveLength(4);
    expect(script.events().filter(event => event === 'create-webrtc-transport')).toHaveLength(4);
  });

  it('mends a broken media path by ICE restart, and by new transports when that fails', async () => {
    const { script, client, handlers, soon } = setting();
    await soon();
    for (const handler of handlers) handler.setConnectionState('connected');
    handlers[0]?.setConnectionState('failed');
    await soon(10);
    expect(script.events().at(-1)).toBe('restart-ice');
    expect(client.snapshot.media).toBe('failed');
    await soon(10_000);
    expect(script.events().filter(event => event === 'create-webrtc-transport')).toHaveLength(4);
    expect(script.events().filter(event => event === 'close-producer')).toHaveLength(2);
    expect(script.events().filter(event => event === 'produce')).toHaveLength(4);
    for (const handler of handlers.slice(2)) handler.setConnectionState('connected');
    expect(client.snapshot).toMatchObject({ media: 'connected', mediaFailures: 0, phase: { name: 'waiting' } });
  });

  it('of which media falls silent first is asked for a sign of life, and with one the path is mended over it at once', async () => {
    const { script, client, handlers, soon } = setting();
    await soon();
    for (const handler of handlers) handler.setConnectionState('connected');
    for (const handler of handlers) handler.setConnectionState('disconnected');
    await soon(10);
    const asked = script.events().slice(-3);
    expect(asked).toEqual(['get-stats', 'restart-ice', 'restart-ice']);
    for (const handler of handlers) handler.setConnectionState('connected');
    await soon(10_000);
    expect(script.events().filter(event => event === 'create-webrtc-transport')).toHaveLength(2);
    expect(client.snapshot).toMatchObject({ media: 'connected', phase: { name: 'waiting' } });
  });

  it('that carries nothing any more costs two seconds, not the time an answer may take', async () => {
    const { script, client, handlers, soon } = setting();
    await soon();
    for (const handler of handlers) handler.setConnectionState('connected');
    // The address is gone: what is written to the connection goes nowhere, and nobody says so.
    script.answers.set('get-stats', () => new Promise(() => {}));
    script.joins = [{ resumed: true }];
    handlers[1]?.setConnectionState('disconnected');
    await soon(1_900);
    handlers[0]?.setConnectionState('disconnected');
    expect([client.snapshot.phase.name, script.events().includes('restart-ice')]).toEqual(['waiting', false]);
    await soon(200);
    expect(client.snapshot.phase.name).toBe('restoring');
    await soon(500);
    expect(client.snapshot.phase.name).toBe('waiting');
    expect(script.events().filter(event => event === 'restart-ice')).toHaveLength(2);
    expect(script.events().filter(event => event === 'get-stats')).toHaveLength(1);
  });

  it('is missed when the studio’s report of every second stops, and all paths are made anew', async () => {
    const { script, client, handlers, soon } = setting();
    await soon();
    for (const handler of handlers) handler.setConnectionState('connected');
    const quality = { score: 10, rttMs: 20, packetLossPct: 0, jitterMs: 1, sendBitrate: 0, recvBitrate: 0, availableBitrate: null };
    for (let second = 0; second < 5; second += 1) {
      script.tell({ event: 'quality', data: quality });
      await soon(1_000);
    }
    expect(script.events()).not.toContain('get-stats');
    await soon(2_600);
    // A studio that is only late answers.
    expect(script.events().filter(event => event === 'get-stats')).toHaveLength(1);
    expect([client.snapshot.phase.name, script.events().includes('restart-ice')]).toEqual(['waiting', false]);

    // It may be lost before it has caught up.
    script.answers.set('get-stats', () => new Promise(() => {}));
    script.joins = [{ resumed: true }];
    await soon(3_500 + 2_000);
    expect(client.snapshot.phase.name).toBe('restoring');
    await soon(600);
    expect(client.snapshot.phase.name).toBe('waiting');
    // The browser still takes the dead paths for good ones.
    expect(script.events().filter(event => event === 'restart-ice')).toHaveLength(2);
    await soon(60_000);
    expect(script.openings).toBe(2);
  });

  it('makes new transports at once when the studio lost them, and receives what is offered anew', async () => {
    const { script, client, handlers, soon } = setting();
    await soon();
    for (const handler of handlers) handler.setConnectionState('connected');
    script.tell({ event: 'admitted', data: { slot: 1, peers: [PEER], producers: [VOICE], dataProducers: [] } });
    await soon();
    script.tell({ event: 'transport-closed', data: { transportId: 'not-ours', reason: 'gone' } });
    await soon(1_000);
    expect(script.events().filter(event => event === 'create-webrtc-transport')).toHaveLength(2);
    // The fake makes ids that only the answers know.
    for (const transportId of ['t-2', 't-3']) script.tell({ event: 'transport-closed', data: { transportId, reason: 'gone' } });
    script.tell({ event: 'producer-closed', data: { producerId: VOICE.producerId, peerId: PEER.peerId } });
    await soon();
    expect(client.snapshot.mediaFailures).toBe(1);
    // Grace is faster than we are: her voice is offered before we have anything to receive it on.
    let made = () => {};
    const slow = new Promise<void>(resolve => (made = resolve));
    script.answers.set('create-webrtc-transport', async () => {
      await slow;
      return { ...generateTransportRemoteParameters(), id: `t-again-${Math.random()}`, iceServers: [] };
    });
    await soon(600);
    script.tell({ event: 'new-producer', data: { ...VOICE, producerId: 'v-again' } });
    await soon();
    made();
    await soon();
    expect(script.events().filter(event => event === 'create-webrtc-transport')).toHaveLength(4);
    expect(script.events().filter(event => event === 'restart-ice')).toHaveLength(0);
    expect(script.events().filter(event => event === 'produce')).toHaveLength(4);
    expect(client.snapshot.peers[0]?.audio?.track.kind).toBe('audio');
    expect(client.snapshot.phase).toEqual({ name: 'live' });
  });

  it('gives up on a connection that does not answer a probe', async () => {
    const { script, client, soon } = setting();
    await soon();
    script.answers.set('get-stats', () => new Promise(() => {}));
    client.probe();
    await soon(3_100);
    expect(client.snapshot.phase.name).toBe('restoring');
  });
});

describe('a page that was loaded anew', () => {
  it('takes the stay over and closes what its last life sent', async () => {
    const script = setting({ resume: { token: 'old', producers: ['own-old'] } });
    script.script.joins = [{ resumed: true, state: 'live', peers: [PEER], producers: [CAMERA] }];
    await script.soon();
    expect(script.script.asked[0]).toEqual(['join-room', { roomId: 'show', token: 'T', displayName: 'Ada', resumeToken: 'old' }]);
    expect(script.script.asked).toContainEqual(['close-producer', { producerId: 'own-old' }]);
    expect(script.client.snapshot.phase.name).toBe('live');
  });

  it('keeps what the next life needs, and after leaving what brings the guest back', async () => {
    const { client, soon } = setting();
    const kept: (Resume | null)[] = [];
    client.on('resume', resume => kept.push(resume));
    await soon();
    expect(kept.at(-1)).toEqual({ token: 'resume-1', producers: [expect.stringMatching(/^own-/), expect.stringMatching(/^own-/)] });
    client.leave();
    expect(kept.at(-1)).toEqual({ token: 'resume-1', producers: [] });
  });
});
