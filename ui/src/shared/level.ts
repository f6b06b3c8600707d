// How a level in dBFS is drawn: −60 dB and below is nothing, 0 dB is the whole bar.

export function shownLevel(dbfs: number): number {
  return Number.isFinite(dbfs) ? Math.min(1, Math.max(0, (dbfs + 60) / 60)) : 0;
}
