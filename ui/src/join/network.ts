// A short look at the way to the studio, before joining.

export type NetworkNote = { state: 'checking' } | { state: 'good' | 'slow'; ms: number } | { state: 'unreachable' };

/** Median of a few small requests; the first also pays for the connection and is left out. */
export async function checkNetwork(): Promise<NetworkNote> {
  const times: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    const start = performance.now();
    // `AbortSignal.timeout` came to Safari only with 16.
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), ANSWER_MS);
    try {
      await fetch('/health', { cache: 'no-store', signal: patience.signal });
    } catch {
      return { state: 'unreachable' };
    } finally {
      clearTimeout(timer);
    }
    if (round > 0) times.push(performance.now() - start);
  }
  const ms = Math.round(times.sort((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0);
  return { state: ms < SLOW_MS ? 'good' : 'slow', ms };
}

export function networkWords(note: NetworkNote): string {
  switch (note.state) {
    case 'checking':
      return 'Checking the connection to the studio…';
    case 'good':
      return `Connection to the studio: good (${note.ms} ms)`;
    case 'slow':
      return `Connection to the studio: slow (${note.ms} ms). Stand closer to the Wi-Fi, or use a cable.`;
    case 'unreachable':
      return 'The studio does not answer. You can join anyway; this page keeps trying.';
  }
}

const SLOW_MS = 250;
const ANSWER_MS = 4_000;
