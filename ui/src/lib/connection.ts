// The browser's connection below one of mediasoup-client's transports.

/** What of a mediasoup-client transport this needs. */
export interface Transport {
  readonly id: string;
  readonly handler: object;
}

/**
 * mediasoup-client keeps its connection to itself. `null`: its handler keeps it somewhere else; whoever asks does without,
 * and all works as mediasoup-client does.
 */
export function connectionOf(transport: Transport): RTCPeerConnection | null {
  const connection = (transport.handler as { _pc?: RTCPeerConnection })._pc;
  return typeof connection?.addEventListener === 'function' ? connection : null;
}
