//! How much one socket may ask: two token buckets, and a count of refusals that ends it.

use crate::config::Limits;
use std::time::{Duration, Instant};
use wire::{Code, Failure};

/// What to do with a message.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Pass,
    Refuse(Failure),
    /// It went on for too long.
    End(Failure),
}

/// One socket's allowance.
#[derive(Debug)]
pub(crate) struct Gate {
    events: Bucket,
    bytes: Bucket,
    message_bytes: usize,
    refusals: u32,
    allowed_refusals: u32,
    last_refusal: Option<Instant>,
}

impl Gate {
    pub(crate) fn new(limits: &Limits, now: Instant) -> Self {
        Self {
            events: Bucket::new(limits.events_per_second, limits.event_burst, now),
            bytes: Bucket::new(limits.bytes_per_second, limits.byte_burst, now),
            message_bytes: limits.message_bytes,
            refusals: 0,
            allowed_refusals: limits.refusals,
            last_refusal: None,
        }
    }

    pub(crate) fn handle_message(&mut self, now: Instant, bytes: usize) -> Verdict {
        // Both are always charged: what was sent has been paid for in reading it.
        let events_fit = self.events.try_take(now, 1.0);
        let bytes_fit = self.bytes.try_take(now, bytes as f64);
        if bytes > self.message_bytes {
            let most = self.message_bytes / 1024;
            return self
                .refuse(now, Failure::new(Code::TooLarge, format!("A message has at most {most} kB.")));
        }
        if !(events_fit && bytes_fit) {
            return self.refuse(
                now,
                Failure::new(Code::RateLimited, "Too many messages. Wait a moment, then try again."),
            );
        }
        Verdict::Pass
    }

    /// Counts a refusal that was decided elsewhere, too.
    pub(crate) fn refuse(&mut self, now: Instant, failure: Failure) -> Verdict {
        if self.last_refusal.is_some_and(|last| now.duration_since(last) > FORGIVEN_AFTER) {
            self.refusals = 0;
        }
        self.last_refusal = Some(now);
        self.refusals += 1;
        if self.refusals >= self.allowed_refusals { Verdict::End(failure) } else { Verdict::Refuse(failure) }
    }
}

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    most: f64,
    left: f64,
    filled: Instant,
}

impl Bucket {
    fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), most: burst.into(), left: burst.into(), filled: now }
    }

    fn try_take(&mut self, now: Instant, amount: f64) -> bool {
        let since = now.duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.left = (self.left + since * self.per_second).min(self.most);
        let fits = self.left >= amount;
        if fits {
            self.left -= amount;
        }
        fits
    }
}

/// A client that paused this long has understood.
const FORGIVEN_AFTER: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn code(verdict: Verdict) -> Option<Code> {
        match verdict {
            Verdict::Pass => None,
            Verdict::Refuse(failure) | Verdict::End(failure) => Some(failure.code),
        }
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let start = Instant::now();
        let mut gate = Gate::new(&Limits::default(), start);
        for _ in 0..200 {
            assert_eq!(gate.handle_message(start, 100), Verdict::Pass);
        }
        assert_eq!(code(gate.handle_message(start, 100)), Some(Code::RateLimited));
        let later = start + Duration::from_secs(1);
        for _ in 0..50 {
            assert_eq!(gate.handle_message(later, 100), Verdict::Pass);
        }
        assert_eq!(code(gate.handle_message(later, 100)), Some(Code::RateLimited));
    }

    #[test]
    fn bytes_are_limited_too() {
        let start = Instant::now();
        let mut gate = Gate::new(&Limits::default(), start);
        for _ in 0..16 {
            assert_eq!(gate.handle_message(start, 64 * 1024), Verdict::Pass);
        }
        assert_eq!(code(gate.handle_message(start, 64 * 1024)), Some(Code::RateLimited));
        assert_eq!(code(gate.handle_message(start, 64 * 1024 + 1)), Some(Code::TooLarge));
    }

    #[test]
    fn who_goes_on_is_ended_and_who_pauses_is_forgiven() {
        let mut now = Instant::now();
        let mut gate = Gate::new(&Limits { event_burst: 0, events_per_second: 0, ..Limits::default() }, now);
        for _ in 0..199 {
            assert!(matches!(gate.handle_message(now, 1), Verdict::Refuse(_)));
        }
        now += FORGIVEN_AFTER + Duration::from_secs(1);
        for _ in 0..199 {
            assert!(matches!(gate.handle_message(now, 1), Verdict::Refuse(_)));
        }
        assert!(matches!(gate.handle_message(now, 1), Verdict::End(_)));
    }
}
