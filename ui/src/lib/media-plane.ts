// The media side of one stay in a room: a sending and a receiving transport, what we send, what we receive.

import { Device } from 'mediasoup-client';
import type { Consumer, Device as DeviceType, Producer, Transport, TransportOptions } from 'mediasoup-client/types';
import type { RtpCapabilities as DeviceCapabilities, RtpParameters as DeviceParameters } from 'mediasoup-client/types';
import type { Ask } from './channel';
import { connectionOf } from './connection';
import { Emitter } from './emitter';
import { ConnectionLost, Refusal } from './failure';
import { cameraEncodings, layerFor, spatialLayers } from './layers';
import { tellPath } from './path-report';
import { PathTrial } from './path-trial';
import type { ConsumerId } from './wire/ConsumerId';
import type { Direction } from './wire/Direction';
import type { IceServer } from './wire/IceServer';
import type { MediaKind } from './wire/MediaKind';
import type { PeerId } from './wire/PeerId';
import type { ProducerId } from './wire/ProducerId';
import type { RtpCapabilities } from './wire/RtpCapabilities';
import type { RtpParameters } from './wire/RtpParameters';
import type { TransportId } from './wire/TransportId';

/** `new`: nothing to send or receive yet. `failed` heals too, but by new transports. */
export type MediaState = 'new' | 'connecting' | 'connected' | 'interrupted' | 'failed';

/** What a guest sends: sound, the camera's picture, and a screen as a second picture. */
export type Source = MediaKind | 'screen';

/** What this guest wants to send of one source; the plane makes it so. A screen without a track is not sent at all. */
export interface Outgoing {
  track: MediaStreamTrack | null;
  muted: boolean;
}

export interface Incoming {
  producerId: ProducerId;
  peerId: PeerId;
  kind: MediaKind;
  screen: boolean;
}

/** What another peer sends and we may receive. */
export interface Offer extends Incoming {
  paused: boolean;
}

/** A track we receive. */
export interface Received extends Incoming {
  track: MediaStreamTrack;
  paused: boolean;
  /** Our connection is too slow for it at the moment. */
  starved: boolean;
}

export interface MediaPlaneEvents {
  /** Something of what the getters show changed. */
  change: [];
  /** A path fell silent. Whoever knows whether the studio can still be asked calls {@link MediaPlane.mend}. */
  silent: [];
  /** The transports cannot be mended: make a new plane. */
  broken: [];
  /** One track cannot be sent or received; the rest goes on. */
  trouble: [source: Source, error: Refusal];
}

/** How the plane finds what this browser can do; tests give a device of their own. */
export type MakeDevice = () => Promise<DeviceType>;

export class MediaPlane extends Emitter<MediaPlaneEvents> {
  readonly #ask: () => Ask;
  readonly #outgoing: Readonly<Record<Source, Outgoing>>;
  readonly #makeDevice: MakeDevice;
  #device: DeviceType | null = null;
  readonly #transports: Partial<Record<Direction, Transport>> = {};
  readonly #producers = new Map<Source, Producer>();
  /** A null stands for one that is being set up. */
  readonly #consumers = new Map<ProducerId, { incoming: Incoming; consumer: Consumer | null; paused: boolean; starved: boolean; layer: number | null }>();
  readonly #queues: Record<Source, Promise<void>> = { audio: Promise.resolve(), video: Promise.resolve(), screen: Promise.resolve() };
  readonly #mending = new Map<Direction, ReturnType<typeof setTimeout>>();
  /** Whose new credentials are being asked for. */
  readonly #restarting = new Set<Direction>();
  #trial: PathTrial | null = null;
  /** How high the others' pictures are shown, in pixels of the screen; null: nobody has said. */
  #shownHeight: number | null = null;
  #closed = false;

  /** `ask` gives the channel of the moment: a plane outlives connections. `outgoing` is read whenever {@link sync} is called. */
  constructor(ask: () => Ask, outgoing: Readonly<Record<Source, Outgoing>>, makeDevice: MakeDevice = () => Device.factory()) {
    super();
    this.#ask = ask;
    this.#outgoing = outgoing;
    this.#makeDevice = makeDevice;
  }

  get state(): MediaState {
    const states = Object.values(this.#transports).map(transport => transport.connectionState);
    if (states.includes('failed')) return 'failed';
    if (states.includes('disconnected')) return 'interrupted';
    if (states.includes('connecting')) return 'connecting';
    return states.includes('connected') ? 'connected' : 'new';
  }

  get received(): Received[] {
    return [...this.#consumers.values()].flatMap(({ incoming, consumer, paused, starved }) =>
      consumer === null ? [] : [{ ...incoming, track: consumer.track, paused, starved }],
    );
  }

  /** The ids of what we send: who loads the page again closes them from its next life. */
  get sending(): ProducerId[] {
    return [...this.#producers.values()].map(producer => producer.id);
  }

  /** The engine stopped sending us a track for want of bandwidth, or goes on. */
  starve(consumerId: ConsumerId, starved: boolean): void {
    const entry = [...this.#consumers.values()].find(({ consumer }) => consumer?.id === consumerId);
    if (entry !== undefined) entry.starved = starved;
  }

  /** Whose sound arrives, with its level from 0 to 1, as the RTP packets say (RFC 6464). */
  soundLevels(): Map<PeerId, number> {
    const levels = new Map<PeerId, number>();
    for (const { incoming, consumer } of this.#consumers.values()) {
      if (incoming.kind !== 'audio') continue;
      const source = consumer?.rtpReceiver?.getSynchronizationSources()[0];
      if (source?.audioLevel !== undefined) levels.set(incoming.peerId, source.audioLevel);
    }
    return levels;
  }

  async start(capabilities: RtpCapabilities, iceServers: IceServer[], directions: readonly Direction[]): Promise<void> {
    const device = await this.#makeDevice();
    await device.load({ routerRtpCapabilities: toDevice<DeviceCapabilities>(capabilities) });
    // Only now: whoever calls `sync` meanwhile would ask a device that knows nothing yet.
    this.#device = device;
    await Promise.all(directions.map(direction => this.#open(direction, iceServers)));
    this.sync('audio');
    this.sync('video');
    this.sync('screen');
  }

  /** Makes what is sent of a source as {@link Outgoing} says. Calls queue; each reads the latest wish. */
  sync(source: Source): void {
    this.#queues[source] = this.#queues[source].then(() => this.#settle(source)).catch(error => this.#report(source, error));
  }

  /** From now on the others' pictures are shown that high: asks for the layers that fit. */
  showAt(pixels: number): void {
    this.#shownHeight = pixels;
    for (const id of this.#consumers.keys()) this.#preferLayers(id);
  }

  /** Resolves when everything asked of {@link sync} so far has been done. */
  async settled(): Promise<void> {
    await Promise.all(Object.values(this.#queues));
  }

  /**
   * Receives what stands in `offered` and is not received yet, drops what no longer stands there. Until {@link start}
   * has made a transport to receive on, nothing is received: call again then.
   */
  reconcile(offered: readonly Offer[]): void {
    const kept = new Set(offered.map(offer => offer.producerId));
    for (const id of [...this.#consumers.keys()]) if (!kept.has(id)) this.drop(id);
    for (const offer of offered) {
      const known = this.#consumers.get(offer.producerId);
      if (known === undefined) this.#receive(offer);
      else if (known.paused !== offer.paused) {
        known.paused = offer.paused;
        this.#changed();
      }
    }
  }

  /** The track is no longer sent to us. */
  drop(producerId: ProducerId): void {
    this.#consumers.get(producerId)?.consumer?.close();
    if (this.#consumers.delete(producerId)) this.#changed();
  }

  /** The studio has lost one of our transports: nothing of this plane can be mended. */
  lose(transportId: TransportId): void {
    const ours = Object.values(this.#transports).some(transport => transport.id === transportId);
    if (ours && !this.#closed) this.emit('broken');
  }

  /**
   * The network may have changed under us: find new paths (RFC 8445 §2.4) where packets are known not to flow; or,
   * where the browser does not know yet what signaling has found out, for all. Media flows on over what works.
   */
  async mend(which: 'lost' | 'all' = 'lost'): Promise<void> {
    const fine = which === 'lost' ? ['new', 'connected'] : ['new'];
    const lost = Object.entries(this.#transports).filter(([, transport]) => !fine.includes(transport.connectionState));
    await Promise.all(lost.map(([direction]) => this.#restartIce(direction as Direction)));
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#mending.values()) clearTimeout(timer);
    this.#mending.clear();
    this.#trial?.stop();
    for (const transport of Object.values(this.#transports)) transport.close();
    this.#producers.clear();
    this.#consumers.clear();
  }

  async #open(direction: Direction, iceServers: IceServer[]): Promise<void> {
    const answer = await this.#ask()('create-webrtc-transport', { direction });
    if (this.#closed || this.#device === null) return;
    const options = { ...answer, iceServers: answer.iceServers.length > 0 ? answer.iceServers : iceServers } as TransportOptions;
    const transport = direction === 'send' ? this.#device.createSendTransport(options) : this.#device.createRecvTransport(options);
    this.#transports[direction] = transport;
    // A studio behind a NAT has to send first; it needs to know where to.
    tellPath(transport, report => void this.#ask()('add-ice-candidate', report).catch(() => {}));
    const connection = direction === 'send' ? connectionOf(transport) : null;
    if (connection !== null) this.#trial = new PathTrial(connection, () => [...this.#producers.values()].filter(({ kind }) => kind === 'video'));
    transport.on('connect', ({ dtlsParameters }, done, fail) => {
      const parameters = { role: dtlsParameters.role ?? 'auto', fingerprints: dtlsParameters.fingerprints };
      this.#ask()('connect-transport', { transportId: transport.id, dtlsParameters: parameters }).then(() => done(), fail);
    });
    transport.on('produce', ({ kind, rtpParameters, appData }, done, fail) => {
      const paused = this.#outgoing[appData.source === 'screen' ? 'screen' : kind].muted;
      const request = { transportId: transport.id, kind, rtpParameters: rtpParameters as RtpParameters, appData, paused };
      this.#ask()('produce', request).then(done, fail);
    });
    transport.on('connectionstatechange', () => this.#onConnectionState(direction));
  }

  async #settle(source: Source): Promise<void> {
    if (this.#closed || this.#device === null) return;
    const { track, muted } = this.#outgoing[source];
    const producer = this.#producers.get(source);
    if (producer === undefined) {
      const kind = source === 'audio' ? 'audio' : 'video';
      if (track !== null && track.readyState === 'live' && this.#device.canProduce(kind)) await this.#produce(source, track);
      return;
    }
    if (source === 'screen' && track === null) return this.#endScreen(producer);
    // Muting takes the track away from the encoder instead of disabling it: nothing leaves this computer,
    // and the level meter can still say "you are muted" to somebody who speaks.
    const attached = muted ? null : track;
    if (producer.track !== attached) await producer.replaceTrack({ track: attached });
    const paused = attached === null;
    if (producer.paused === paused) return;
    await this.#ask()(paused ? 'pause-producer' : 'resume-producer', { producerId: producer.id });
    if (paused) producer.pause();
    else producer.resume();
  }

  async #endScreen(producer: Producer): Promise<void> {
    this.#producers.delete('screen');
    producer.close();
    this.#changed();
    await this.#ask()('close-producer', { producerId: producer.id });
  }

  async #produce(source: Source, track: MediaStreamTrack): Promise<void> {
    const transport = this.#transports.send;
    if (transport === undefined) return;
    const producer = await transport.produce({
      track,
      stopTracks: false,
      disableTrackOnPause: false,
      appData: { source: { audio: 'microphone', video: 'camera', screen: 'screen' }[source] },
      ...(source === 'audio' ? { codecOptions: MICROPHONE } : source === 'screen' ? this.#screenOptions() : this.#cameraOptions(track)),
    });
    if (this.#closed) return producer.close();
    this.#producers.set(source, producer);
    if (this.#outgoing[source].muted) producer.pause();
    this.#changed();
    return this.#settle(source);
  }

  #vp8() {
    return this.#device?.sendRtpCapabilities.codecs?.find(codec => codec.mimeType.toLowerCase() === 'video/vp8');
  }

  /** One size: what is written on a screen cannot be read in a smaller one. */
  #screenOptions() {
    const options = { encodings: [{ maxBitrate: SCREEN_BITRATE }], codecOptions: { videoGoogleStartBitrate: CAMERA_START_KBITS } };
    const vp8 = this.#vp8();
    return vp8 === undefined ? options : { ...options, codec: vp8 };
  }

  #cameraOptions(track: MediaStreamTrack) {
    const vp8 = this.#vp8();
    const encodings = cameraEncodings(track.getSettings().height);
    const options = { encodings, codecOptions: { videoGoogleStartBitrate: CAMERA_START_KBITS } };
    return vp8 === undefined ? options : { ...options, codec: vp8 };
  }

  #receive({ producerId, peerId, kind, screen, paused }: Offer): void {
    if (this.#transports.recv === undefined || this.#consumers.size >= MOST_CONSUMERS) return;
    const incoming = { producerId, peerId, kind, screen };
    this.#consumers.set(producerId, { incoming, consumer: null, paused, starved: false, layer: null });
    this.#consume(incoming).catch(error => {
      this.#consumers.delete(producerId);
      this.#report(kind, error);
    });
  }

  async #consume(incoming: Incoming): Promise<void> {
    const transport = this.#transports.recv;
    if (transport === undefined || this.#device === null) return;
    const answer = await this.#ask()('consume', {
      producerId: incoming.producerId,
      rtpCapabilities: fromDevice(this.#device.recvRtpCapabilities),
      transportId: transport.id,
    });
    const options = { id: answer.id, producerId: answer.producerId, kind: answer.kind, rtpParameters: toDevice<DeviceParameters>(answer.rtpParameters) };
    // One stream per peer: the browser keeps lips and voice together (RFC 8829 §5.2.1, msid). A screen has no lips.
    const consumer = await transport.consume({ ...options, streamId: incoming.screen ? incoming.producerId : incoming.peerId });
    const entry = this.#consumers.get(incoming.producerId);
    if (entry === undefined || this.#closed) {
      consumer.close();
      if (!this.#closed) await this.#ask()('close-consumer', { consumerId: answer.id }).catch(() => {});
      return;
    }
    entry.consumer = consumer;
    entry.paused = entry.paused || answer.producerPaused;
    this.#preferLayers(incoming.producerId);
    await this.#ask()('resume-consumer', { consumerId: answer.id });
    this.#changed();
  }

  #preferLayers(producerId: ProducerId): void {
    const entry = this.#consumers.get(producerId);
    if (entry?.consumer == null || entry.incoming.kind !== 'video' || this.#shownHeight === null) return;
    const count = spatialLayers(entry.consumer.rtpParameters.encodings?.[0]?.scalabilityMode);
    const layer = layerFor(this.#shownHeight, count);
    if (count === 1 || entry.layer === layer) return;
    entry.layer = layer;
    // Refused, or the connection went: the studio sends what it sent before, which is not wrong either.
    this.#ask()('set-preferred-layers', { consumerId: entry.consumer.id, spatialLayer: layer }).catch(() => (entry.layer = null));
  }

  #onConnectionState(direction: Direction): void {
    const state = this.#transports[direction]?.connectionState;
    if (state === 'connected' || state === 'closed') this.#forget(direction);
    // By then nothing has come for seconds (RFC 7675 §5.1). Where the network has gone, the connection to the studio has
    // gone as well, and to ask it for new credentials would be to wait for its timeout.
    if (state === 'disconnected' && !this.#closed) this.emit('silent');
    if (state === 'failed') this.#later(direction, 0, () => this.#restartIce(direction));
    this.#changed();
  }

  async #restartIce(direction: Direction): Promise<void> {
    const transport = this.#transports[direction];
    if (transport === undefined || this.#closed || this.#restarting.has(direction)) return;
    this.#later(direction, MENDED_MS, async () => this.#giveUp(direction));
    this.#restarting.add(direction);
    try {
      const { iceParameters } = await this.#ask()('restart-ice', { transportId: transport.id });
      await transport.restartIce({ iceParameters });
    } catch (error) {
      // Without a channel nothing can be mended; whoever opens the next one calls `mend`.
      if (error instanceof ConnectionLost) this.#forget(direction);
      else this.#giveUp(direction);
    } finally {
      this.#restarting.delete(direction);
    }
  }

  #giveUp(direction: Direction): void {
    this.#forget(direction);
    if (!this.#closed && this.#transports[direction]?.connectionState !== 'connected') this.emit('broken');
  }

  #later(direction: Direction, ms: number, then: () => Promise<void>): void {
    this.#forget(direction);
    this.#mending.set(direction, setTimeout(() => void then(), ms));
  }

  #forget(direction: Direction): void {
    clearTimeout(this.#mending.get(direction));
    this.#mending.delete(direction);
  }

  #report(source: Source, error: unknown): void {
    if (this.#closed || error instanceof ConnectionLost) return;
    const refusal = error instanceof Refusal ? error : new Refusal('internal', error instanceof Error ? error.message : String(error));
    // Gone or taken away between the offer and our asking: its notice is on the way.
    if (!['not-found', 'forbidden'].includes(refusal.code)) this.emit('trouble', source, refusal);
  }

  #changed(): void {
    if (!this.#closed) this.emit('change');
  }
}

/** The wire's strings are the unions of mediasoup-client's types; its own validator checks them at run time. */
function toDevice<Theirs>(value: RtpCapabilities | RtpParameters): Theirs {
  return value as unknown as Theirs;
}

function fromDevice(capabilities: DeviceCapabilities): RtpCapabilities {
  return capabilities as unknown as RtpCapabilities;
}

/** Browsers begin at 300 kbit/s and climb for ten seconds; a guest's first picture should be a good one, which takes all sizes. */
const CAMERA_START_KBITS = 1_500;
/** Text that scrolls, and now and then a film. */
const SCREEN_BITRATE = 2_500_000;
/** Speech: in-band FEC (RFC 6716 §2.1.7) against loss; no DTX, since gaps in the sound cost more in OBS than the bits they save. */
const MICROPHONE = { opusStereo: false, opusFec: true, opusDtx: false, opusMaxAverageBitrate: 64_000 };
const MOST_CONSUMERS = 64;
const MENDED_MS = 7_000;
