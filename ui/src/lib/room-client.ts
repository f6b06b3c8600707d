// A guest's stay in a room, from `join-room` to leaving, through every loss of connection in between.

import { Backoff, Wait } from './backoff';
import type { Ask, Channel, OpenChannel } from './channel';
import { Emitter } from './emitter';
import { ConnectionLost, Refusal, passes } from './failure';
import { MediaPlane, type MakeDevice, type MediaState, type Offer, type Outgoing, type Received, type Source } from './media-plane';
import type { Code } from './wire/Code';
import type { DisplayName } from './wire/DisplayName';
import type { Joined } from './wire/Joined';
import type { MediaKind } from './wire/MediaKind';
import type { Notice } from './wire/Notice';
import type { PeerId } from './wire/PeerId';
import type { PeerInfo } from './wire/PeerInfo';
import type { ProducerId } from './wire/ProducerId';
import type { ProducerInfo } from './wire/ProducerInfo';
import type { Quality } from './wire/Quality';
import type { Role } from './wire/Role';
import type { RoomId } from './wire/RoomId';
import type { SlotId } from './wire/SlotId';
import type { Tally } from './wire/Tally';

/** Where the stay stands. */
export type Phase =
  | { name: 'idle' }
  /** `attempt` above 0: nobody answered so far. */
  | { name: 'joining'; attempt: number }
  | { name: 'waiting' }
  | { name: 'live' }
  | { name: 'restoring'; was: 'waiting' | 'live'; attempt: number; because: 'lost' | 'server-closing' }
  | { name: 'ended'; ending: Ending };

/** Why it is over. */
export type Ending =
  | { by: 'leaving' }
  | { by: 'removal' | 'room-closing'; reason: string }
  | { by: 'refusal'; code: Code; message: string };

export interface ChatLine {
  id: number;
  peerId: PeerId;
  displayName: DisplayName;
  text: string;
  /** Milliseconds since 1970. */
  at: number;
  own: boolean;
}

export interface RemoteTrack {
  track: MediaStreamTrack;
  paused: boolean;
  starved: boolean;
}

export interface RemotePeer extends PeerInfo {
  audio: RemoteTrack | null;
  video: RemoteTrack | null;
  screen: RemoteTrack | null;
}

/** All there is to show, whole. */
export interface RoomSnapshot {
  phase: Phase;
  title: string;
  peerId: PeerId | null;
  displayName: DisplayName;
  /** Null before the first answer. */
  role: Role | null;
  /** False: the studio takes nothing of this guest (a viewer, or a performer not on stage). */
  maySend: boolean;
  /** Who is in the green room, for those who may let them in. */
  waiting: PeerInfo[];
  slot: SlotId | null;
  /** Null until the studio said. */
  tally: Tally | null;
  /** Who has the floor, perhaps this guest. */
  speaker: PeerId | null;
  handRaised: boolean;
  mutedByHost: Record<MediaKind, boolean>;
  media: MediaState;
  /** How often in a row the media path had to be built anew; above 1 the network seems to forbid it. */
  mediaFailures: number;
  peers: RemotePeer[];
  chat: ChatLine[];
  quality: Quality | null;
}

/** What lets the next life of this page take the stay over. */
export interface Resume {
  token: string;
  /** What the last life sent: closed before anything new is sent. */
  producers: ProducerId[];
}

export interface RoomClientEvents {
  change: [RoomSnapshot];
  chat: [ChatLine];
  /** Keep this where only this page reads it. Null: it is worth nothing any more. */
  resume: [Resume | null];
  /** A track cannot be sent or received. */
  trouble: [Source, Refusal];
}

export interface RoomClientOptions {
  open: OpenChannel;
  roomId: RoomId;
  token: string;
  displayName: DisplayName;
  resume?: Resume | null;
  makeDevice?: MakeDevice;
  backoff?: Backoff;
}

export class RoomClient extends Emitter<RoomClientEvents> {
  readonly #options: RoomClientOptions;
  readonly #backoff: Backoff;
  readonly #mediaBackoff: Backoff;
  readonly #wait = new Wait();
  readonly #mediaWait = new Wait();
  readonly #outgoing: Record<Source, Outgoing> = {
    audio: { track: null, muted: false },
    video: { track: null, muted: false },
    screen: { track: null, muted: false },
  };
  #phase: Phase = { name: 'idle' };
  #channel: Channel | null = null;
  /** Which is to give a sign of life just now. */
  #probed: Channel | null = null;
  #plane: MediaPlane | null = null;
  /** Notices that came before the answer to `join-room` was dealt with. When full, the channel is closed: we are too slow. */
  #early: Notice[] | null = [];
  #joined: Joined | null = null;
  #resume: Resume | null;
  #closingInMs: number | null = null;
  #peers = new Map<PeerId, PeerInfo>();
  /** What the others send; the plane receives it. */
  #offered = new Map<ProducerId, Offer>();
  #slot: SlotId | null = null;
  #maySend = true;
  #waiting = new Map<PeerId, PeerInfo>();
  #tally: Tally | null = null;
  #speaker: PeerId | null = null;
  #handRaised = false;
  #mutedByHost: Record<MediaKind, boolean> = { audio: false, video: false };
  #quality: Quality | null = null;
  /** The newest lines; when full, the oldest goes. */
  #chat: ChatLine[] = [];
  #chatCount = 0;
  #mediaFailures = 0;
  #shownHeight: number | null = null;
  #notified = false;
  #quiet: ReturnType<typeof setTimeout> | undefined;
  /** The last connection died without a word: so did whatever took the same way. */
  #wentQuiet = false;

  constructor(options: RoomClientOptions) {
    super();
    this.#options = options;
    this.#resume = options.resume ?? null;
    this.#backoff = options.backoff ?? new Backoff();
    this.#mediaBackoff = options.backoff ?? new Backoff();
  }

  get snapshot(): RoomSnapshot {
    return {
      phase: this.#phase,
      title: this.#joined?.title ?? '',
      peerId: this.#joined?.peerId ?? null,
      displayName: this.#joined?.displayName ?? this.#options.displayName,
      role: this.#joined?.role ?? null,
      maySend: this.#maySend,
      waiting: [...this.#waiting.values()],
      slot: this.#slot,
      tally: this.#tally,
      speaker: this.#speaker,
      handRaised: this.#handRaised,
      mutedByHost: { ...this.#mutedByHost },
      media: this.#plane?.state ?? 'new',
      mediaFailures: this.#mediaFailures,
      peers: this.#remotePeers(),
      chat: this.#chat,
      quality: this.#quality,
    };
  }

  /** Enters the room and stays until it is over; resolves then. */
  async run(): Promise<Ending> {
    if (this.#phase.name !== 'idle') throw new Error('a stay is run once');
    this.#enter({ name: 'joining', attempt: 0 });
    for (;;) {
      try {
        await this.#stay();
      } catch (error) {
        if (!passes(error)) this.#end({ by: 'refusal', code: (error as Refusal).code, message: (error as Refusal).message });
      }
      this.#channel?.close();
      this.#channel = null;
      clearTimeout(this.#quiet);
      this.#quiet = undefined;
      if (!this.#over()) await this.#pause();
      const ending = this.#over();
      if (ending) return ending;
    }
  }

  /** What to send of a source from now on. The caller keeps owning the track. */
  send(source: Source, outgoing: Outgoing): void {
    this.#outgoing[source] = outgoing;
    this.#plane?.sync(source);
  }

  async say(text: string): Promise<void> {
    await this.#ask('chat', { text });
    const { peerId, displayName } = this.snapshot;
    // The studio tells it to the others only.
    this.#write({ peerId: peerId ?? '', displayName, text, at: Date.now() }, true);
  }

  async raiseHand(raised: boolean): Promise<void> {
    await this.#ask('raise-hand', { raised });
    this.#handRaised = raised;
    this.#changed();
  }

  /** How high the others' pictures are shown, in pixels of the screen. */
  showAt(pixels: number): void {
    this.#shownHeight = pixels;
    this.#plane?.showAt(pixels);
  }

  /** Whose sound arrives just now, from 0 to 1. */
  soundLevels(): Map<PeerId, number> {
    return this.#plane?.soundLevels() ?? new Map();
  }

  /** Lets somebody in from the green room, or a performer onto the stage, as a co-host may. */
  async admit(peerId: PeerId): Promise<void> {
    await this.#ask('admit', { peerId });
  }

  /** Takes somebody out of the show; they stay in the room. */
  async takeOff(peerId: PeerId): Promise<void> {
    await this.#ask('assign-slot', { peerId });
  }

  /** Turns somebody's microphone or camera off, which they cannot undo; or gives it back. */
  async mute(peerId: PeerId, kind: MediaKind, muted: boolean): Promise<void> {
    await this.#ask('mute-peer', { peerId, kind, muted });
  }

  /** Sends somebody out for good; who waits is turned away. */
  async remove(peerId: PeerId): Promise<void> {
    await this.#ask('remove-peer', { peerId });
  }

  /** Try at once instead of waiting out the pause. */
  retryNow(): void {
    this.#wait.cut();
  }

  /** The browser says that the network is gone: do not wait for a timeout to believe it. */
  noteOffline(): void {
    this.#channel?.close();
  }

  /** The network changed or the computer woke up: see whether the connection is still one, and mend what is not. */
  probe(): void {
    this.retryNow();
    void this.#probe(PROBE_MS);
  }

  leave(): void {
    if (this.#phase.name === 'ended') return;
    const channel = this.#channel;
    this.#end({ by: 'leaving' });
    // The goodbye goes out before the connection is closed; nobody waits for its answer long.
    channel?.ask('leave-room', {}).catch(() => {}).finally(() => channel.close());
  }

  readonly #ask: Ask = (event, payload) => {
    if (this.#channel === null) return Promise.reject(new ConnectionLost('The connection is being restored.'));
    return this.#channel.ask(event, payload);
  };

  /**
   * Asks the studio for a sign of life. With one, the media paths are mended over this connection; without, over the
   * next one, which {@link #settleIn} sees to.
   */
  async #probe(patienceMs: number): Promise<void> {
    const channel = this.#channel;
    if (channel === null || this.#early !== null || this.#probed === channel) return;
    this.#probed = channel;
    const timer = setTimeout(() => {
      this.#wentQuiet = true;
      channel.close();
    }, patienceMs);
    try {
      await channel.ask('get-stats', {});
    } catch (error) {
      // A refusal is a sign of life as well.
      if (!(error instanceof Refusal)) return;
    } finally {
      clearTimeout(timer);
      if (this.#probed === channel) this.#probed = null;
    }
    // A studio that is late with its report may be lost before the next one.
    if (this.#channel === channel && this.#quiet !== undefined) this.#expectMore();
    void this.#plane?.mend();
  }

  /** One connection, from opening it to its end. */
  async #stay(): Promise<void> {
    this.#early = [];
    const channel = await this.#options.open(notice => this.#receive(notice));
    if (this.#over()) return channel.close();
    this.#channel = channel;
    const { roomId, token, displayName } = this.#options;
    const joined = await channel.ask('join-room', {
      roomId,
      token,
      displayName,
      ...(this.#resume === null ? {} : { resumeToken: this.#resume.token }),
    });
    if (this.#over()) return;
    await this.#settleIn(joined);
    this.#backoff.reset();
    this.#closingInMs = null;
    await channel.closed;
  }

  async #settleIn(joined: Joined): Promise<void> {
    const orphans = joined.resumed && this.#plane === null ? (this.#resume?.producers ?? []) : [];
    this.#joined = joined;
    this.#adopt(joined.peers);
    this.#maySend = joined.maySend;
    this.#waiting = new Map(joined.waiting.map(peer => [peer.peerId, peer]));
    this.#handRaised &&= joined.resumed;
    // Notices say what of this holds still; they come right before or after the answer.
    [this.#slot, this.#mutedByHost] = [null, { audio: false, video: false }];
    if (!joined.resumed) this.#tally = null;
    this.#speaker = null;
    this.#keep({ token: joined.resumeToken, producers: this.#plane?.sending ?? [] });
    // What a former life of this page sent would stand frozen in the show until its transport times out.
    for (const producerId of orphans) await this.#ask('close-producer', { producerId }).catch(ignoreRefusal);

    if (!joined.resumed) this.#closePlane();
    if (this.#plane === null) await this.#buildPlane();
    else void this.#plane.mend(this.#wentQuiet ? 'all' : 'lost');
    this.#wentQuiet = false;
    if (this.#over()) return;
    this.#offer(joined.state === 'live' ? joined.producers : []);
    this.#plane?.sync('audio');
    this.#plane?.sync('video');
    this.#plane?.sync('screen');
    this.#enter({ name: joined.state });

    const early = this.#early ?? [];
    this.#early = null;
    for (const notice of early) this.#on(notice);
  }

  async #buildPlane(): Promise<void> {
    const joined = this.#joined;
    if (joined === null) return;
    const plane = new MediaPlane(() => this.#ask, this.#outgoing, this.#options.makeDevice);
    this.#plane = plane;
    if (this.#shownHeight !== null) plane.showAt(this.#shownHeight);
    plane.on('change', () => this.#onMedia(plane));
    plane.on('trouble', (kind, error) => this.emit('trouble', kind, error));
    plane.on('silent', () => void this.#probe(SILENT_MS));
    plane.on('broken', () => void this.#rebuildPlane(plane));
    try {
      // Who only watches gets nothing to send on.
      const directions = this.#maySend ? (['send', 'recv'] as const) : (['recv'] as const);
      await plane.start(joined.routerRtpCapabilities, joined.iceServers, directions);
    } catch (error) {
      this.#closePlane();
      if (error instanceof Refusal || error instanceof ConnectionLost) throw error;
      // mediasoup-client throws when the browser has no WebRTC, or none that it knows.
      throw new Refusal('unsupported-codec', error instanceof Error ? error.message : String(error));
    }
  }

  /** New transports in the same stay, for when the old ones cannot be mended. */
  async #rebuildPlane(broken: MediaPlane): Promise<void> {
    if (this.#plane !== broken) return;
    this.#mediaFailures += 1;
    const sent = broken.sending;
    this.#closePlane();
    this.#changed();
    await this.#mediaWait.over(this.#mediaBackoff.nextMs());
    if (this.#plane !== null || this.#channel === null || this.#over()) return;
    try {
      for (const producerId of sent) await this.#ask('close-producer', { producerId }).catch(ignoreRefusal);
      await this.#buildPlane();
      this.#reconcile();
    } catch {
      // The next connection starts afresh.
      this.#channel?.close();
    }
  }

  #onMedia(plane: MediaPlane): void {
    if (plane.state === 'connected') {
      this.#mediaFailures = 0;
      this.#mediaBackoff.reset();
    }
    if (this.#resume !== null) this.#keep({ ...this.#resume, producers: plane.sending });
    this.#changed();
  }

  #receive(notice: Notice): void {
    if (notice.event === 'room-joined' || this.#over()) return;
    if (notice.event === 'quality') this.#expectMore();
    if (this.#early === null) return this.#on(notice);
    if (this.#early.length < MOST_EARLY) this.#early.push(notice);
    else this.#channel?.close();
  }

  /** The studio tells the quality every second: where that ends, the network has gone, and this page knows before its browser. */
  #expectMore(): void {
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => void this.#probe(SILENT_MS), QUIET_MS);
  }

  #on(notice: Notice): void {
    switch (notice.event) {
      case 'peer-waiting':
        this.#waiting.set(notice.data.peerId, notice.data);
        break;
      case 'peer-joined':
        this.#waiting.delete(notice.data.peerId);
        this.#peers.set(notice.data.peerId, notice.data);
        break;
      case 'peer-left':
        this.#onPeerLeft(notice.data.peerId);
        break;
      case 'peer-renamed':
        this.#amend(notice.data.peerId, { displayName: notice.data.displayName });
        break;
      case 'hand-raised':
        this.#amend(notice.data.peerId, { handRaised: notice.data.raised });
        if (notice.data.peerId === this.#joined?.peerId) this.#handRaised = notice.data.raised;
        break;
      case 'new-producer':
        if (notice.data.peerId === this.#joined?.peerId) return;
        this.#offered.set(notice.data.producerId, { ...notice.data, screen: isScreen(notice.data), paused: false });
        this.#reconcile();
        break;
      case 'producer-closed':
        this.#offered.delete(notice.data.producerId);
        this.#reconcile();
        break;
      case 'consumer-closed':
        this.#plane?.drop(notice.data.producerId);
        break;
      case 'producer-paused':
      case 'producer-resumed':
        this.#onPaused(notice.data.producerId, notice.event === 'producer-paused');
        break;
      case 'transport-closed':
        return this.#plane?.lose(notice.data.transportId);
      case 'consumer-layers-changed':
        this.#plane?.starve(notice.data.consumerId, notice.data.spatialLayer === null);
        break;
      case 'quality':
        this.#quality = notice.data;
        break;
      case 'admitted':
        this.#onAdmitted(notice.data.slot, notice.data.peers, notice.data.producers);
        break;
      case 'slot-changed':
        this.#slot = notice.data.slot;
        // A performer without a slot is in the audience again; their transport goes next.
        if (this.#joined?.role === 'performer' && this.#slot === null) this.#maySend = false;
        break;
      case 'muted-by-host':
        this.#mutedByHost[notice.data.kind] = notice.data.muted;
        // Given back: what the guest tried to change meanwhile can be done now.
        if (!notice.data.muted) this.#plane?.sync(notice.data.kind);
        if (!notice.data.muted && notice.data.kind === 'video') this.#plane?.sync('screen');
        break;
      case 'tally':
        this.#tally = notice.data.state;
        break;
      case 'chat':
        if (notice.data.peerId !== this.#joined?.peerId) this.#write(notice.data, false);
        break;
      case 'kicked':
        this.#end({ by: 'removal', reason: notice.data.reason });
        break;
      case 'room-closed':
        this.#end({ by: 'room-closing', reason: notice.data.reason });
        break;
      case 'server-closing':
        this.#closingInMs = notice.data.resumeInMs;
        break;
      case 'active-speaker':
        this.#speaker = notice.data.peerId;
        break;
      case 'room-joined':
      case 'consumer-paused':
      case 'consumer-resumed':
      case 'volumes':
      case 'producer-score':
      case 'consumer-score':
        return;
    }
    this.#changed();
  }

  #onAdmitted(slot: SlotId | null, peers: PeerInfo[], producers: ProducerInfo[]): void {
    this.#slot = slot;
    this.#adopt(peers);
    this.#enter({ name: 'live' });
    this.#offer(producers);
    if (!this.#maySend) void this.#comeOnStage();
  }

  /** The audience had nothing to send on. */
  async #comeOnStage(): Promise<void> {
    this.#maySend = true;
    this.#closePlane();
    try {
      await this.#buildPlane();
      this.#reconcile();
      for (const source of ['audio', 'video', 'screen'] as const) this.#plane?.sync(source);
    } catch {
      // The next connection starts afresh.
      this.#channel?.close();
    }
    this.#changed();
  }

  #onPeerLeft(peerId: PeerId): void {
    this.#peers.delete(peerId);
    this.#waiting.delete(peerId);
    if (this.#speaker === peerId) this.#speaker = null;
    for (const offer of [...this.#offered.values()]) if (offer.peerId === peerId) this.#offered.delete(offer.producerId);
    this.#reconcile();
  }

  #onPaused(producerId: ProducerId, paused: boolean): void {
    const offer = this.#offered.get(producerId);
    if (offer === undefined) return;
    this.#offered.set(producerId, { ...offer, paused });
    this.#reconcile();
  }

  #offer(producers: ProducerInfo[]): void {
    const others = producers.filter(producer => producer.peerId !== this.#joined?.peerId);
    this.#offered = new Map(others.map(producer => [producer.producerId, { ...producer, screen: isScreen(producer) }]));
    this.#reconcile();
  }

  #reconcile(): void {
    this.#plane?.reconcile([...this.#offered.values()]);
  }

  #write(said: Omit<ChatLine, 'id' | 'own'>, own: boolean): void {
    this.#chatCount += 1;
    const line = { ...said, id: this.#chatCount, own };
    this.#chat = [...this.#chat, line].slice(-MOST_CHAT);
    this.emit('chat', line);
    this.#changed();
  }

  #adopt(peers: PeerInfo[]): void {
    this.#peers = new Map(peers.filter(peer => peer.peerId !== this.#joined?.peerId).map(peer => [peer.peerId, peer]));
  }

  #amend(peerId: PeerId, change: Partial<PeerInfo>): void {
    const peer = this.#peers.get(peerId);
    if (peer !== undefined) this.#peers.set(peerId, { ...peer, ...change });
  }

  #remotePeers(): RemotePeer[] {
    const received = this.#plane?.received ?? [];
    const of = (peerId: PeerId, kind: MediaKind, screen = false) => toRemoteTrack(received.find(r => r.peerId === peerId && r.kind === kind && r.screen === screen));
    return [...this.#peers.values()].map(peer => ({
      ...peer,
      audio: of(peer.peerId, 'audio'),
      video: of(peer.peerId, 'video'),
      screen: of(peer.peerId, 'video', true),
    }));
  }

  async #pause(): Promise<void> {
    const attempt = this.#backoff.attempt;
    const ms = this.#closingInMs === null ? this.#backoff.nextMs() : Math.min(this.#closingInMs + this.#backoff.nextMs(), LONGEST_CLOSING_MS);
    const phase = this.#phase;
    const because = this.#closingInMs === null ? 'lost' : 'server-closing';
    this.#closingInMs = null;
    if (phase.name === 'joining') this.#enter({ name: 'joining', attempt: attempt + 1 });
    if (phase.name === 'waiting' || phase.name === 'live') this.#enter({ name: 'restoring', was: phase.name, attempt, because });
    if (phase.name === 'restoring') this.#enter({ ...phase, attempt });
    await this.#wait.over(ms);
  }

  #over(): Ending | null {
    return this.#phase.name === 'ended' ? this.#phase.ending : null;
  }

  #end(ending: Ending): void {
    if (this.#over()) return;
    this.#closePlane();
    this.#enter({ name: 'ended', ending });
    this.#keepAfter(ending);
    this.#wait.cut();
    this.#mediaWait.cut();
    if (ending.by !== 'leaving') this.#channel?.close();
  }

  /** Who left by choice, or found the room full, comes back by the same seat; the others never do. */
  #keepAfter(ending: Ending): void {
    const returns = ending.by === 'leaving' || (ending.by === 'refusal' && ['room-full', 'server-full', 'invalid-request', 'already-joined'].includes(ending.code));
    this.#keep(returns && this.#resume !== null ? { token: this.#resume.token, producers: [] } : null);
  }

  #closePlane(): void {
    this.#plane?.close();
    this.#plane = null;
  }

  #keep(resume: Resume | null): void {
    this.#resume = resume;
    this.emit('resume', resume);
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#changed();
  }

  /** Changes of one turn of the event loop are shown once. */
  #changed(): void {
    if (this.#notified) return;
    this.#notified = true;
    queueMicrotask(() => {
      this.#notified = false;
      this.emit('change', this.snapshot);
    });
  }
}

function toRemoteTrack(received: Received | undefined): RemoteTrack | null {
  return received === undefined ? null : { track: received.track, paused: received.paused, starved: received.starved };
}

function isScreen({ kind, appData }: { kind: MediaKind; appData: Record<string, unknown> }): boolean {
  return kind === 'video' && appData['source'] === 'screen';
}

function ignoreRefusal(error: unknown): void {
  if (!(error instanceof Refusal)) throw error;
}

const MOST_CHAT = 200;
const MOST_EARLY = 256;
/** A phone that wakes up needs a second or two for its radio. */
const PROBE_MS = 3_000;
/** Nothing has come for seconds already. */
const SILENT_MS = 2_000;
const QUIET_MS = 3_500;
const LONGEST_CLOSING_MS = 15_000;
