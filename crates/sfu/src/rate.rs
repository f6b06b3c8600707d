//! Octets counted over the last second.

use crate::clock::Millis;

/// A sliding window of ten buckets of 100 ms.
#[derive(Clone, Debug, Default)]
pub struct RateMeter {
    buckets: [u32; BUCKETS],
    /// Number of the newest bucket since the worker began.
    newest: u64,
    /// Number of the first bucket after a silence: what has just begun is not slow. Rather too fast, since it begins with
    /// a keyframe; that is the safe side for those who must find room for it.
    first: u64,
    sum: u64,
}

impl RateMeter {
    pub fn record(&mut self, now: Millis, octets: usize) {
        self.advance(now);
        if self.sum == 0 {
            self.first = self.newest;
        }
        let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
        *bucket = bucket.saturating_add(octets as u32);
        self.sum += octets as u64;
    }

    /// Bits per second.
    pub fn bitrate(&self, now: Millis) -> u64 {
        let mut copy = self.clone();
        copy.advance(now);
        let counted = (copy.newest - copy.first + 1).min(BUCKETS as u64);
        copy.sum * 8 * BUCKETS as u64 / counted
    }

    fn advance(&mut self, now: Millis) {
        let target = now / BUCKET_MS;
        if target <= self.newest {
            return;
        }
        if target - self.newest >= BUCKETS as u64 {
            *self = Self { newest: target, ..Self::default() };
            return;
        }
        while self.newest < target {
            self.newest += 1;
            let bucket = &mut self.buckets[(self.newest % BUCKETS as u64) as usize];
            self.sum -= u64::from(std::mem::take(bucket));
        }
    }
}

const BUCKETS: usize = 10;
const BUCKET_MS: u64 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_and_forgotten() {
        let mut meter = RateMeter::default();
        for ms in 0..5_000 {
            meter.record(ms, 125);
        }
        let rate = meter.bitrate(4_999);
        assert!((900_000..=1_000_000).contains(&rate), "{rate}");
        assert_eq!(meter.bitrate(6_100), 0);
        for ms in 9_000..9_500 {
            meter.record(ms, 125);
        }
        let rate = meter.bitrate(9_499);
        assert!((900_000..=1_000_000).contains(&rate), "after half a second of it: {rate}");
    }
}
