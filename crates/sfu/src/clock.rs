//! The worker's own timeline: milliseconds for bookkeeping, NTP for RTCP, both counted from its start.

use std::time::{Duration, Instant};

/// Milliseconds since the worker began.
pub type Millis = u64;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn new(start: Instant) -> Self {
        Self { start }
    }

    pub fn start(&self) -> Instant {
        self.start
    }

    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }

    pub fn ms(&self, now: Instant) -> Millis {
        self.elapsed(now).as_millis() as u64
    }

    pub fn us(&self, now: Instant) -> u64 {
        self.elapsed(now).as_micros() as u64
    }

    /// NTP time in 32.32 fixed point. Its epoch means nothing to anybody else: RTCP only ever compares our own
    /// stamps with each other (RFC 3550 §4).
    pub fn ntp(&self, now: Instant) -> u64 {
        NTP_BASE.wrapping_add(to_fixed_point(self.elapsed(now)))
    }

    /// The middle 32 bits, as reports carry them.
    pub fn compact_ntp(&self, now: Instant) -> u32 {
        (self.ntp(now) >> 16) as u32
    }
}

/// A duration as 32.32 fixed point seconds.
pub fn to_fixed_point(duration: Duration) -> u64 {
    (duration.as_secs() << 32) | ((u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000)
}

/// A 16.16 fixed point duration, as in LSR and DLSR.
pub fn from_compact(compact: u32) -> Duration {
    Duration::from_nanos((u64::from(compact) * 1_000_000_000) >> 16)
}

/// Far from zero, since a zero LSR means "none" (RFC 3550 §6.4.1).
const NTP_BASE: u64 = 0xE000_0000 << 32;
