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

/// The same of a counter that is looked at now and then: nothing is done for each packet.
#[derive(Clone, Debug, Default)]
pub struct SampledRate {
    meter: RateMeter,
    counted: u64,
}

impl SampledRate {
    /// The counter stands at `total`; wanted every [`SAMPLING_INTERVAL`].
    pub fn sample(&mut self, now: Millis, total: u64) {
        let octets = total - self.counted;
        if octets > 0 {
            self.counted = total;
            self.meter.record(now, octets as usize);
        }
    }

    /// Bits per second.
    pub fn bitrate(&self, now: Millis) -> u64 {
        self.meter.bitrate(now)
    }
}

const BUCKETS: usize = 10;
const BUCKET_MS: u64 = 100;
/// One bucket.
pub const SAMPLING_INTERVAL: Millis = BUCKET_MS;

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

    #[test]
    fn a_counter_looked_at_ten_times_a_second_gives_the_same() {
        let (mut meter, mut sampled) = (RateMeter::default(), SampledRate::default());
        for ms in 0..5_000 {
            meter.record(ms, 125);
            if ms % SAMPLING_INTERVAL == 0 {
                sampled.sample(ms, (ms + 1) * 125);
            }
        }
        let (all, some) = (meter.bitrate(4_999), sampled.bitrate(4_999));
        assert!(some.abs_diff(all) < all / 10, "{some} of {all}");
        assert_eq!(sampled.bitrate(6_100), 0);
    }
}
