// One Socket.IO connection to a room: typed requests with answers, notices, and its end.

import { io } from 'socket.io-client';
import { ConnectionLost, Refusal, isFailure } from './failure';
import type { AddIceCandidate } from './wire/AddIceCandidate';
import type { AdmitPeer } from './wire/AdmitPeer';
import type { Chat } from './wire/Chat';
import type { ConnectTransport } from './wire/ConnectTransport';
import type { Consume } from './wire/Consume';
import type { ConsumerRef } from './wire/ConsumerRef';
import type { ConsumerReply } from './wire/ConsumerReply';
import type { Direction } from './wire/Direction';
import type { GetStats } from './wire/GetStats';
import type { IceParameters } from './wire/IceParameters';
import type { JoinRoom } from './wire/JoinRoom';
import type { Joined } from './wire/Joined';
import type { Notice } from './wire/Notice';
import type { PeerRef } from './wire/PeerRef';
import type { Produce } from './wire/Produce';
import type { ProducerId } from './wire/ProducerId';
import type { ProducerRef } from './wire/ProducerRef';
import type { RaiseHand } from './wire/RaiseHand';
import type { SetDisplayName } from './wire/SetDisplayName';
import type { SetPreferredLayers } from './wire/SetPreferredLayers';
import type { SilencePeer } from './wire/SilencePeer';
import type { StatsReport } from './wire/StatsReport';
import type { TransportOptions } from './wire/TransportOptions';
import type { TransportRef } from './wire/TransportRef';

type Nothing = Record<string, never>;

/** Each request with its payload and its answer. */
export interface Requests {
  'join-room': [JoinRoom, Joined];
  'create-webrtc-transport': [{ direction: Direction }, TransportOptions];
  'connect-transport': [ConnectTransport, { connected: boolean }];
  'add-ice-candidate': [AddIceCandidate, Nothing];
  'restart-ice': [TransportRef, { iceParameters: IceParameters }];
  produce: [Produce, { id: ProducerId }];
  consume: [Consume, ConsumerReply];
  'resume-consumer': [ConsumerRef, Nothing];
  'close-consumer': [ConsumerRef, Nothing];
  'set-preferred-layers': [SetPreferredLayers, Nothing];
  'request-key-frame': [ConsumerRef, Nothing];
  'pause-producer': [ProducerRef, Nothing];
  'resume-producer': [ProducerRef, Nothing];
  'close-producer': [ProducerRef, Nothing];
  'get-stats': [GetStats, StatsReport];
  admit: [AdmitPeer, Nothing];
  'assign-slot': [AdmitPeer, Nothing];
  'mute-peer': [SilencePeer, Nothing];
  'remove-peer': [PeerRef, Nothing];
  chat: [Chat, Nothing];
  'raise-hand': [RaiseHand, Nothing];
  'set-display-name': [SetDisplayName, Nothing];
  'leave-room': [Nothing, Nothing];
}

export type Ask = <Event extends keyof Requests>(event: Event, payload: Requests[Event][0]) => Promise<Requests[Event][1]>;

/** One connection. It is never revived: when it is closed, open another. */
export interface Channel {
  /** Rejects with {@link Refusal} or {@link ConnectionLost}; after the latter the channel is closed. */
  readonly ask: Ask;
  /** Resolves when the connection is gone, whoever ended it. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Rejects with {@link ConnectionLost} when nobody answers at the address. */
export type OpenChannel = (onNotice: (notice: Notice) => void) => Promise<Channel>;

/** Opens channels to the engine at `url` (an origin; none: the page's own). */
export function socketIoChannel(url?: string): OpenChannel {
  return onNotice =>
    new Promise((resolve, reject) => {
      const options = {
        // A channel is one connection; coming back is the room client's business.
        reconnection: false,
        forceNew: true,
        timeout: CONNECT_MS,
        // Straight to WebSocket; long polling only where something on the way forbids that.
        transports: ['websocket', 'polling'],
        tryAllTransports: true,
      };
      const socket = url === undefined ? io(options) : io(url, options);
      const closed = new Promise<void>(end => socket.once('disconnect', () => end()));
      const lost = closed.then(() => Promise.reject(new ConnectionLost('The connection is gone.')));
      lost.catch(() => {});

      const ask: Ask = async (event, payload) => {
        if (!socket.connected) throw new ConnectionLost('The connection is gone.');
        const answered = socket
          .timeout(ANSWER_MS)
          .emitWithAck(event, payload)
          .catch(() => {
            socket.disconnect();
            throw new ConnectionLost('The studio did not answer.');
          });
        const answer: unknown = await Promise.race([answered, lost]);
        if (isFailure(answer)) throw new Refusal(answer.code, answer.error);
        return answer as never;
      };

      socket.onAny((event: string, data: unknown) => {
        if (isNotice(event)) onNotice({ event, data } as Notice);
      });
      socket.once('connect', () => resolve({ ask, closed, close: () => void socket.disconnect() }));
      socket.once('connect_error', error => {
        socket.disconnect();
        const refusal: unknown = (error as { data?: unknown }).data;
        reject(isFailure(refusal) ? new Refusal(refusal.code, refusal.error) : new ConnectionLost(error.message));
      });
    });
}

function isNotice(event: string): event is Notice['event'] {
  return event in NOTICES;
}

const NOTICES: Record<Notice['event'], true> = {
  'room-joined': true,
  'peer-joined': true,
  'peer-waiting': true,
  'peer-left': true,
  'peer-renamed': true,
  'new-producer': true,
  'producer-closed': true,
  'producer-paused': true,
  'producer-resumed': true,
  'consumer-closed': true,
  'consumer-paused': true,
  'consumer-resumed': true,
  'consumer-layers-changed': true,
  'transport-closed': true,
  'new-data-producer': true,
  'data-producer-closed': true,
  'data-consumer-closed': true,
  'active-speaker': true,
  volumes: true,
  'producer-score': true,
  'consumer-score': true,
  quality: true,
  admitted: true,
  'slot-changed': true,
  'muted-by-host': true,
  tally: true,
  chat: true,
  signal: true,
  'hand-raised': true,
  kicked: true,
  'room-closed': true,
  'server-closing': true,
};

const CONNECT_MS = 6_000;
/** Longer than the engine ever takes; a phone that changed networks finds out by this. */
const ANSWER_MS = 8_000;
