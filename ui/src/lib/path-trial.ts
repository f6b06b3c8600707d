// Has the browser try out what the path to the studio carries, while it believes that to be less than our pictures could use.
//
// By itself a browser probes a path that is new, or of which it uses a small part only. In between its estimate climbs by 8 % a
// second (draft-ietf-rmcat-gcc-02 §5.5), and a line that is good again is used in full many seconds later. Chromium probes also
// when it may send more than before, and how much it may send stands in the studio's description (b=AS, RFC 8866 §5.8): for each
// trial that is raised by 1 kbit/s. A trial is 15 ms of packets, and where there is nothing to gain nobody sees it.

/** What of a mediasoup-client producer this needs. */
interface Pictures {
  readonly paused: boolean;
  readonly rtpSender?: RTCRtpSender;
  /** Even with nothing to set, it makes the browser read the studio's description again. */
  setRtpEncodingParameters(parameters: object): Promise<void>;
}

export class PathTrial {
  readonly #connection: RTCPeerConnection;
  readonly #pictures: () => Pictures[];
  readonly #timer: ReturnType<typeof setInterval>;
  /** Zero: nothing was tried yet. */
  #kbits = 0;
  #trying = false;

  /** From now on, until {@link stop}. `pictures` are those that are sent over the connection by then. */
  constructor(connection: RTCPeerConnection, pictures: () => Pictures[]) {
    this.#connection = connection;
    this.#pictures = pictures;
    const apply = connection.setRemoteDescription.bind(connection);
    connection.setRemoteDescription = description => apply({ ...description, sdp: withBandwidth(description.sdp ?? '', this.#kbits) });
    this.#timer = setInterval(() => void this.#look(), EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const pictures = this.#pictures().filter(({ paused }) => !paused);
    const [first] = pictures;
    if (this.#trying || first === undefined || this.#connection.connectionState !== 'connected') return;
    this.#trying = true;
    try {
      const estimate = availableBitrate(await this.#connection.getStats());
      const useful = pictures.reduce((sum, one) => sum + wanted(one), 0);
      if (estimate === null || estimate >= useful) return;
      this.#kbits = Math.max(this.#kbits + 1, Math.ceil((useful * ROOM) / 1000));
      await first.setRtpEncodingParameters({});
    } catch {
      // Closed meanwhile, or a browser that does not do this: it climbs by itself.
    } finally {
      this.#trying = false;
    }
  }
}

/** `sdp` with so much bandwidth for each picture in it; as it was, without any. */
export function withBandwidth(sdp: string, kbits: number): string {
  if (kbits === 0) return sdp;
  // After the title and the address, before everything else (RFC 8866 §5).
  return sdp.replace(/^m=video .*\r\n(?:i=.*\r\n)?(?:c=.*\r\n)?/gm, media => `${media}b=AS:${kbits}\r\n`);
}

/** What the browser believes that it can send, bit/s; `null` where it does not say. */
export function availableBitrate(stats: RTCStatsReport): number | null {
  for (const report of stats.values()) {
    if (report.type === 'candidate-pair' && report.nominated && report.availableOutgoingBitrate !== undefined) return report.availableOutgoingBitrate;
  }
  return null;
}

function wanted({ rtpSender }: Pictures): number {
  return (rtpSender?.getParameters().encodings ?? []).reduce((sum, { active, maxBitrate }) => sum + (active === false ? 0 : (maxBitrate ?? 0)), 0);
}

/** Where a path loses many packets a trial may come to nothing: five fit into the ten seconds in which people expect their
 * picture back. */
const EVERY_MS = 2_000;
/** What is said limits everything that is sent: sound and repeats need their part. Much more would only make trials larger. */
const ROOM = 1.15;
