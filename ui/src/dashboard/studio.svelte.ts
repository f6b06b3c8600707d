// What the dashboard shows and what its controls do.

import { DashboardClient, type Link } from '../lib/dashboard-client';
import { slugOf } from '../lib/link';
import type { AddToObs } from '../lib/wire/AddToObs';
import type { AlarmId } from '../lib/wire/AlarmId';
import type { CreateInvite } from '../lib/wire/CreateInvite';
import type { GuestView } from '../lib/wire/GuestView';
import type { Hearing } from '../lib/wire/Hearing';
import type { InviteCreated } from '../lib/wire/InviteCreated';
import type { InviteId } from '../lib/wire/InviteId';
import type { Level } from '../lib/wire/Level';
import type { MediaKind } from '../lib/wire/MediaKind';
import type { Monitoring } from '../lib/wire/Monitoring';
import type { PeerId } from '../lib/wire/PeerId';
import type { RoomId } from '../lib/wire/RoomId';
import type { RoomView } from '../lib/wire/RoomView';
import type { SlotId } from '../lib/wire/SlotId';
import type { Snapshot } from '../lib/wire/Snapshot';
import type { Steadiness } from '../lib/wire/Steadiness';
import { keepToken, takeToken } from './token';

/** An invite that was just made: its link can be shown this once. */
export interface FreshInvite {
  room: RoomView;
  invite: InviteCreated;
}

export interface Occupant {
  room: RoomView;
  guest: GuestView;
}

type OnPreview = (jpeg: Uint8Array<ArrayBuffer>) => void;

export class Studio {
  link: Link | 'no-token' = $state('connecting');
  /** True from the first snapshot on: then a lost connection is one that is being restored. */
  snapshot: Snapshot | null = $state.raw(null);
  levels: ReadonlyMap<PeerId, Level> = $state.raw(new Map());
  fresh: FreshInvite | null = $state.raw(null);
  problem = $state('');
  /** Where the last support bundle was put. */
  savedBundle = $state('');
  /** What is under way, by name; its controls wait. */
  busy: ReadonlySet<string> = $state.raw(new Set());
  #chosen: RoomId | null = $state(null);
  #client: DashboardClient | null = null;
  readonly #previews = new Map<PeerId, OnPreview>();

  readonly room: RoomView | null = $derived.by(() => {
    const rooms = this.snapshot?.rooms ?? [];
    return rooms.find(room => room.id === this.#chosen) ?? rooms.find(room => room.status !== 'ended') ?? rooms[0] ?? null;
  });

  constructor() {
    const token = takeToken();
    if (token === null) this.link = 'no-token';
    else this.connect(token);
    addEventListener('hashchange', () => {
      const next = takeToken();
      if (next !== null) this.connect(next);
    });
    addEventListener('online', () => this.retryNow());
  }

  connect(token: string): void {
    this.#client?.close();
    const client = new DashboardClient(location.origin, token);
    this.#client = client;
    this.link = 'connecting';
    client.on('link', link => this.#onLink(client, token, link));
    client.on('snapshot', snapshot => (this.snapshot = snapshot));
    client.on('levels', levels => (this.levels = new Map(levels.map(level => [level.peerId, level]))));
    client.on('preview', (peer, jpeg) => this.#previews.get(peer)?.(jpeg));
    void client.run();
  }

  retryNow(): void {
    this.#client?.retryNow();
  }

  choose(room: RoomId): void {
    this.#chosen = room;
  }

  /** One watcher per guest; returns what ends it. */
  watchPreview(peer: PeerId, onPreview: OnPreview): () => void {
    this.#previews.set(peer, onPreview);
    return () => {
      if (this.#previews.get(peer) === onPreview) this.#previews.delete(peer);
    };
  }

  /** Who is in each slot. Slots are the show's, not a room's: OBS has one set of them. */
  readonly occupants: ReadonlyMap<SlotId, Occupant> = $derived.by(() => {
    const seated = (this.snapshot?.rooms ?? []).flatMap(room => room.guests.map(guest => ({ room, guest })));
    return new Map(seated.flatMap(occupant => (occupant.guest.slot === null ? [] : [[occupant.guest.slot, occupant] as const])));
  });

  async createRoom(title: string): Promise<boolean> {
    const roomId = slugOf(title) || `room-${Math.random().toString(36).slice(2, 8)}`;
    const done = await this.#do('create-room', client => client.createRoom({ roomId, title: title.trim() }));
    if (done) this.#chosen = roomId;
    return done;
  }

  closeRoom(room: RoomId): Promise<boolean> {
    return this.#do(`room-${room}`, client => client.deleteRoom(room));
  }

  invite(room: RoomView, invite: CreateInvite): Promise<boolean> {
    return this.#do('create-invite', async client => {
      this.fresh = { room, invite: await client.createInvite(room.id, invite) };
    });
  }

  revoke(room: RoomId, invite: InviteId, endPeers: boolean): Promise<boolean> {
    return this.#do(`invite-${invite}`, client => client.revokeInvite(room, invite, endPeers));
  }

  admit(room: RoomId, peer: PeerId, slot: SlotId | null): Promise<boolean> {
    return this.#do(`guest-${peer}`, client => client.admit(room, peer, slot));
  }

  move(room: RoomId, peer: PeerId, slot: SlotId | null): Promise<boolean> {
    return this.#do(`guest-${peer}`, client => client.assignSlot(room, peer, slot));
  }

  steady(room: RoomId, peer: PeerId, steadiness: Steadiness): Promise<boolean> {
    return this.#do(`guest-${peer}`, client => client.steady(room, peer, steadiness));
  }

  mute(room: RoomId, peer: PeerId, kind: MediaKind, muted: boolean): Promise<boolean> {
    return this.#do(`guest-${peer}`, client => client.mute(room, peer, { kind, muted }));
  }

  tryAgain(room: RoomId, peer: PeerId): Promise<boolean> {
    return this.#do(`guest-${peer}`, client => client.tryAgain(room, peer));
  }

  remove(room: RoomId, peer: PeerId): Promise<boolean> {
    return this.#do(`guest-${peer}`, client => client.remove(room, peer));
  }

  installPlugin(): Promise<boolean> {
    return this.#do('obs-plugin', client => client.installObsPlugin());
  }

  removePlugin(): Promise<boolean> {
    return this.#do('obs-plugin', client => client.removeObsPlugin());
  }

  allowObsControl(on: boolean): Promise<boolean> {
    return this.#do('obs-control', client => client.allowObsControl(on));
  }

  addToObs(what: AddToObs): Promise<boolean> {
    return this.#do('obs-control', client => client.addToObs(what));
  }

  undoAddToObs(): Promise<boolean> {
    return this.#do('obs-control', client => client.undoAddToObs());
  }

  /** How the streamer hears a guest. */
  hear(room: RoomId, peer: PeerId, hearing: Hearing): Promise<boolean> {
    return this.#do(`hearing-${peer}`, client => client.hear(room, peer, hearing));
  }

  monitor(wanted: Monitoring): Promise<boolean> {
    return this.#do('monitoring', client => client.monitor(wanted));
  }

  /** Of an alarm: the streamer has seen it. */
  dismiss(alarm: AlarmId): Promise<boolean> {
    return this.#do(`alarm-${alarm}`, client => client.dismissAlarm(alarm));
  }

  /** Whether more is logged, for a while. */
  debug(on: boolean): Promise<boolean> {
    return this.#do('debug', client => client.debug(on));
  }

  saveSupportBundle(): Promise<boolean> {
    this.savedBundle = '';
    return this.#do('support-bundle', async client => {
      this.savedBundle = (await client.saveSupportBundle()).path;
    });
  }

  setLanAccess(on: boolean): Promise<boolean> {
    return this.#do('lan', client => client.setLanAccess(on));
  }

  #onLink(client: DashboardClient, token: string, link: Link): void {
    if (client !== this.#client) return;
    this.link = link;
    if (link === 'connected') keepToken(token);
    if (link === 'refused') keepToken(null);
  }

  /** Runs one command; what went wrong is shown. True when it was done. */
  async #do(name: string, command: (client: DashboardClient) => Promise<unknown>): Promise<boolean> {
    if (this.#client === null || this.busy.has(name)) return false;
    this.busy = new Set([...this.busy, name]);
    this.problem = '';
    try {
      await command(this.#client);
      return true;
    } catch (error) {
      this.problem = error instanceof Error ? error.message : 'That did not work.';
      return false;
    } finally {
      this.busy = new Set([...this.busy].filter(other => other !== name));
    }
  }
}
