// A connection's numbers as a sentence.

import type { PictureSize } from '../lib/wire/PictureSize';
import type { Quality } from '../lib/wire/Quality';

/** `avOffsetMs`: picture minus sound, where measured. `picture`: as it is handed on, where one is. */
export function qualityWords(quality: Quality, avOffsetMs: number | null = null, picture: PictureSize | null = null): string {
  const grade = quality.score >= 8 ? 'Very good' : quality.score >= 6 ? 'Good' : quality.score >= 3 ? 'Fair' : 'Poor';
  const parts = [
    typeof quality.rttMs === 'number' ? `round trip ${Math.round(quality.rttMs)} ms` : null,
    `loss ${quality.packetLossPct.toFixed(1)} %`,
    `jitter ${Math.round(quality.jitterMs)} ms`,
    `sends ${bitrateWords(quality.recvBitrate)}`,
    `receives ${bitrateWords(quality.sendBitrate)}`,
    picture === null ? null : `${picture.width} × ${picture.height}`,
    avOffsetMs === null ? null : `picture ${Math.abs(Math.round(avOffsetMs))} ms ${avOffsetMs < 0 ? 'before' : 'after'} sound`,
  ];
  return `${grade} connection (${quality.score} of 10): ${parts.filter(part => part !== null).join(', ')}`;
}

export function bitrateWords(bits: number): string {
  return bits >= 1_000_000 ? `${(bits / 1_000_000).toFixed(1)} Mbit/s` : `${Math.round(bits / 1_000)} kbit/s`;
}
