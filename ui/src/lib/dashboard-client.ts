// The dashboard's line to the engine: snapshots, levels and preview pictures by WebSocket, commands by REST.

import { Backoff, Wait } from './backoff';
import { Emitter } from './emitter';
import { ConnectionLost, Refusal, isFailure } from './failure';
import type { AddedToObs } from './wire/AddedToObs';
import type { AddToObs } from './wire/AddToObs';
import type { AlarmId } from './wire/AlarmId';
import type { AllowObsControl } from './wire/AllowObsControl';
import type { AssignSlot } from './wire/AssignSlot';
import type { CreateInvite } from './wire/CreateInvite';
import type { CreateRoom } from './wire/CreateRoom';
import type { DashboardHello } from './wire/DashboardHello';
import type { DashboardMessage } from './wire/DashboardMessage';
import type { Hearing } from './wire/Hearing';
import type { InviteCreated } from './wire/InviteCreated';
import type { InviteId } from './wire/InviteId';
import type { Level } from './wire/Level';
import type { LiveRoom } from './wire/LiveRoom';
import type { Monitoring } from './wire/Monitoring';
import type { MutePeer } from './wire/MutePeer';
import type { PeerId } from './wire/PeerId';
import type { RoomId } from './wire/RoomId';
import type { SavedFile } from './wire/SavedFile';
import type { SetDebug } from './wire/SetDebug';
import type { SlotId } from './wire/SlotId';
import type { Snapshot } from './wire/Snapshot';
import type { Steadiness } from './wire/Steadiness';
import type { UpdateRoom } from './wire/UpdateRoom';

export type Link = 'connecting' | 'connected' | 'lost' | 'refused' | 'closed';

export interface DashboardEvents {
  link: [Link];
  snapshot: [Snapshot];
  levels: [Level[]];
  /** A JPEG of what the guest sends. */
  preview: [PeerId, Uint8Array<ArrayBuffer>];
}

export class DashboardClient extends Emitter<DashboardEvents> {
  readonly #origin: string;
  readonly #token: string;
  readonly #backoff = new Backoff();
  readonly #wait = new Wait();
  #socket: WebSocket | null = null;
  #link: Link = 'connecting';
  #heardAt = 0;

  /** `origin`: where the engine is, e.g. `http://127.0.0.1:3002`. */
  constructor(origin: string, token: string) {
    super();
    this.#origin = origin;
    this.#token = token;
  }

  /** Watches until {@link close}, or until the token is refused. */
  async run(): Promise<void> {
    while (this.#link !== 'closed') {
      // A socket that is refused does not say why; a request does.
      if (await this.#isRefused()) return this.#enter('refused');
      if (this.#stopped()) return;
      await this.#watch();
      if (this.#stopped()) return;
      this.#enter('lost');
      await this.#wait.over(this.#backoff.nextMs());
    }
  }

  retryNow(): void {
    this.#wait.cut();
  }

  close(): void {
    this.#enter('closed');
    this.#socket?.close();
    this.#wait.cut();
  }

  createRoom(room: CreateRoom): Promise<LiveRoom> {
    return this.#call('POST', '/api/rooms', room);
  }

  updateRoom(room: RoomId, change: UpdateRoom): Promise<LiveRoom> {
    return this.#call('PUT', `/api/rooms/${room}`, change);
  }

  async deleteRoom(room: RoomId): Promise<void> {
    await this.#call('DELETE', `/api/rooms/${room}`);
  }

  createInvite(room: RoomId, invite: CreateInvite): Promise<InviteCreated> {
    return this.#call('POST', `/api/rooms/${room}/invites`, invite);
  }

  async revokeInvite(room: RoomId, invite: InviteId, endPeers: boolean): Promise<void> {
    await this.#call('DELETE', `/api/rooms/${room}/invites/${invite}?endPeers=${endPeers}`);
  }

  /** Without a slot: the first free one. */
  async admit(room: RoomId, peer: PeerId, slot: SlotId | null): Promise<void> {
    await this.#call('POST', `/api/rooms/${room}/peers/${peer}/admit`, toAssignment(slot));
  }

  /** `null` takes the guest out of the show and leaves them in the room. */
  async assignSlot(room: RoomId, peer: PeerId, slot: SlotId | null): Promise<void> {
    await this.#call('POST', `/api/rooms/${room}/peers/${peer}/slot`, toAssignment(slot));
  }

  async mute(room: RoomId, peer: PeerId, mute: MutePeer): Promise<void> {
    await this.#call('POST', `/api/rooms/${room}/peers/${peer}/mute`, mute);
  }

  async steady(room: RoomId, peer: PeerId, steadiness: Steadiness): Promise<void> {
    await this.#call('POST', `/api/rooms/${room}/peers/${peer}/steadiness`, { steadiness });
  }

  /** Of what could not be shown in OBS. */
  async tryAgain(room: RoomId, peer: PeerId): Promise<void> {
    await this.#call('POST', `/api/rooms/${room}/peers/${peer}/try-again`);
  }

  /** How the streamer hears them in their headphones. */
  async hear(room: RoomId, peer: PeerId, hearing: Hearing): Promise<void> {
    await this.#call('POST', `/api/rooms/${room}/peers/${peer}/hearing`, hearing);
  }

  async remove(room: RoomId, peer: PeerId): Promise<void> {
    await this.#call('DELETE', `/api/rooms/${room}/peers/${peer}`);
  }

  async debug(on: boolean): Promise<void> {
    await this.#call('PUT', '/api/debug', { on } satisfies SetDebug);
  }

  saveSupportBundle(): Promise<SavedFile> {
    return this.#call('POST', '/api/support-bundle');
  }

  /** It is shown no longer; it comes back when its reason does. */
  async dismissAlarm(alarm: AlarmId): Promise<void> {
    await this.#call('DELETE', `/api/alarms/${alarm}`);
  }

  async installObsPlugin(): Promise<void> {
    await this.#call('POST', '/api/obs/plugin');
  }

  async removeObsPlugin(): Promise<void> {
    await this.#call('DELETE', '/api/obs/plugin');
  }

  /** The streamer's consent to OBS being watched and added to. */
  async allowObsControl(on: boolean): Promise<void> {
    await this.#call('PUT', '/api/obs/control', { on } satisfies AllowObsControl);
  }

  addToObs(what: AddToObs): Promise<AddedToObs> {
    return this.#call('POST', '/api/obs/sources', what);
  }

  /** Takes back what was added last. */
  async undoAddToObs(): Promise<void> {
    await this.#call('DELETE', '/api/obs/sources/last');
  }

  /** Whether guests are played to the streamer, and where. */
  async monitor(wanted: Monitoring): Promise<void> {
    await this.#call('PUT', '/api/monitoring', wanted);
  }

  async setLanAccess(on: boolean): Promise<void> {
    await this.#call('PUT', '/api/lan', { on });
  }

  /** Rejects with {@link Refusal} or {@link ConnectionLost}. */
  async #call<Answer>(method: string, path: string, body?: object): Promise<Answer> {
    const headers = { authorization: `Bearer ${this.#token}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) };
    const init = { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    let response: Response;
    try {
      response = await fetch(this.#origin + path, { ...init, signal: AbortSignal.timeout(ANSWER_MS) });
    } catch {
      throw new ConnectionLost('Greenroom did not answer. Is it still running?');
    }
    const answer: unknown = await response.json().catch(() => null);
    if (isFailure(answer)) throw new Refusal(answer.code, answer.error);
    if (!response.ok) throw new Refusal('internal', `Greenroom answered ${response.status} ${response.statusText}.`);
    return answer as Answer;
  }

  async #isRefused(): Promise<boolean> {
    try {
      await this.#call('GET', '/api/rooms');
      return false;
    } catch (error) {
      return error instanceof Refusal && (error.code === 'unauthorized' || error.code === 'forbidden');
    }
  }

  /** One connection, until it ends or goes dumb. */
  #watch(): Promise<void> {
    return new Promise(resolve => {
      const watchdog = setInterval(() => void this.#checkSilence(ended), SILENCE_MS / 2);
      const ended = () => {
        clearInterval(watchdog);
        // A dead peer never answers the closing handshake: do not wait for `onclose`.
        socket.onmessage = socket.onclose = null;
        socket.close();
        resolve();
      };
      this.#heardAt = Date.now();
      const socket = new WebSocket(this.#origin.replace(/^http/, 'ws') + '/api/dashboard');
      this.#socket = socket;
      socket.binaryType = 'arraybuffer';
      socket.onopen = () => socket.send(JSON.stringify({ token: this.#token } satisfies DashboardHello));
      socket.onmessage = ({ data }: MessageEvent<unknown>) => this.#receive(data);
      socket.onclose = ended;
    });
  }

  /** Without guests nothing is sent for hours; only a question tells silence from death. */
  async #checkSilence(ended: () => void): Promise<void> {
    if (Date.now() - this.#heardAt < SILENCE_MS) return;
    this.#heardAt = Date.now();
    await this.#call('GET', '/health').catch(error => {
      if (error instanceof ConnectionLost) ended();
    });
  }

  #receive(data: unknown): void {
    this.#heardAt = Date.now();
    if (data instanceof ArrayBuffer) return this.#receivePreview(data);
    const message = parseMessage(data);
    if (message === null) return;
    if (message.type === 'levels') return this.emit('levels', message.levels);
    this.#backoff.reset();
    this.#enter('connected');
    this.emit('snapshot', message);
  }

  #receivePreview(data: ArrayBuffer): void {
    if (data.byteLength <= PEER_ID_BYTES) return;
    this.emit('preview', uuidOf(new Uint8Array(data, 0, PEER_ID_BYTES)), new Uint8Array(data, PEER_ID_BYTES));
  }

  #stopped(): boolean {
    return this.#link === 'closed';
  }

  #enter(link: Link): void {
    if (this.#link === link || this.#link === 'closed') return;
    this.#link = link;
    this.emit('link', link);
  }
}

function parseMessage(data: unknown): DashboardMessage | null {
  if (typeof data !== 'string') return null;
  try {
    const message = JSON.parse(data) as Partial<DashboardMessage> | null;
    return message?.type === 'snapshot' || message?.type === 'levels' ? (message as DashboardMessage) : null;
  } catch {
    return null;
  }
}

/** RFC 9562 §4: 16 bytes as 8-4-4-4-12 hexadecimal digits. */
export function uuidOf(bytes: Uint8Array): PeerId {
  const hex = [...bytes].map(byte => byte.toString(16).padStart(2, '0')).join('');
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function toAssignment(slot: SlotId | null): AssignSlot {
  return slot === null ? {} : { slot };
}

const PEER_ID_BYTES = 16;
const ANSWER_MS = 10_000;
const SILENCE_MS = 6_000;
