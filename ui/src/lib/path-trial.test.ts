// When the browser is made to try out its path, and how it is told.

import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { PathTrial, availableBitrate, withBandwidth } from './path-trial';

const SDP = 'v=0\r\nm=audio 7 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 127.0.0.1\r\na=mid:0\r\nm=video 7 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 127.0.0.1\r\na=mid:1\r\nm=video 7 UDP/TLS/RTP/SAVPF 96\r\na=mid:2\r\n';

function stats(estimate: number | undefined): RTCStatsReport {
  const pair = { type: 'candidate-pair', nominated: true, ...(estimate === undefined ? {} : { availableOutgoingBitrate: estimate }) };
  return new Map<string, object>([['other', { type: 'candidate-pair', nominated: false, availableOutgoingBitrate: 1 }], ['pair', pair]]) as unknown as RTCStatsReport;
}

/** A browser with that estimate, and what it was told since. */
function browser(estimate: number | undefined) {
  const told: string[] = [];
  const connection = {
    connectionState: 'connected',
    getStats: async () => stats(estimate),
    setRemoteDescription: async ({ sdp }: RTCSessionDescriptionInit) => void told.push(sdp ?? ''),
  } as unknown as RTCPeerConnection;
  const encodings = [{ maxBitrate: 500_000 }, { maxBitrate: 2_500_000 }, { maxBitrate: 9_000_000, active: false }];
  const pictures = {
    paused: false,
    rtpSender: { getParameters: () => ({ encodings }) } as unknown as RTCRtpSender,
    setRtpEncodingParameters: async () => connection.setRemoteDescription({ type: 'answer', sdp: SDP }),
  };
  return { told, connection, pictures };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('the bandwidth stands in its place of each picture, and nowhere else', () => {
  expect(withBandwidth(SDP, 0)).toBe(SDP);
  const told = withBandwidth(SDP, 6_001);
  expect(told.match(/b=AS:6001/g)).toHaveLength(2);
  expect(told).toContain('c=IN IP4 127.0.0.1\r\nb=AS:6001\r\na=mid:1');
  expect(told).toContain('SAVPF 96\r\nb=AS:6001\r\na=mid:2');
});

it('an estimate is that of the path in use', () => {
  expect(availableBitrate(stats(700_000))).toBe(700_000);
  expect(availableBitrate(stats(undefined))).toBeNull();
});

it('while the estimate is less than the pictures could use, each trial offers a little more', async () => {
  const { told, connection, pictures } = browser(1_000_000);
  const trial = new PathTrial(connection, () => [pictures]);
  await vi.advanceTimersByTimeAsync(4_500);
  expect(told.map(sdp => /b=AS:(\d+)/.exec(sdp)?.[1])).toEqual(['3450', '3451']);
  trial.stop();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(told).toHaveLength(2);
});

it.each([
  ['there is enough', browser(3_000_000), false],
  ['the browser does not say', browser(undefined), false],
  ['nothing is shown', browser(1_000_000), true],
])('nothing is tried when %s', async (_, { told, connection, pictures }, paused) => {
  const trial = new PathTrial(connection, () => [{ ...pictures, paused }]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(told).toEqual([]);
  trial.stop();
});

it('a browser that cannot is left in peace until the next time', async () => {
  const { connection, pictures } = browser(1_000_000);
  const refuse = vi.fn(async () => Promise.reject(new Error('closed')));
  const trial = new PathTrial(connection, () => [{ ...pictures, setRtpEncodingParameters: refuse }]);
  await vi.advanceTimersByTimeAsync(4_500);
  expect(refuse).toHaveBeenCalledTimes(2);
  trial.stop();
});
