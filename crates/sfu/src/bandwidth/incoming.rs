//! What a client may send, and what happens to one that does not care.
//!
//! The limit is told by REMB, which every browser obeys within a second. Whoever sends half more than it for seconds is
//! policed: a second's worth passes, then pictures are dropped until half a second's worth is saved up again, and the
//! next keyframe begins anew. Sound passes always, up to what no sound needs.

use crate::clock::Millis;

#[derive(Debug)]
pub struct IncomingLimit {
    limit: u64,
    policing: Option<Policing>,
    over_since: Option<Millis>,
    /// Packets.
    pub dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Policing {
    tokens: f64,
    filled_at: Millis,
    is_dropping: bool,
    /// Since when the client keeps to the limit.
    calm_since: Option<Millis>,
}

/// What a look at the clock showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// Pictures stop.
    Stops,
    /// Pictures may go on, from a keyframe.
    GoesOn,
}

impl IncomingLimit {
    /// In bit/s.
    pub fn new(limit: u64) -> Self {
        Self { limit, policing: None, over_since: None, dropped: 0 }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    pub fn set(&mut self, limit: u64) {
        self.limit = limit;
        self.over_since = None;
    }

    /// Whether a picture's packet is to be dropped.
    pub fn drops(&mut self, octets: usize) -> bool {
        let Some(policing) = &mut self.policing else { return false };
        if policing.is_dropping {
            self.dropped += 1;
        } else {
            policing.tokens -= octets as f64;
        }
        policing.is_dropping
    }

    /// Judges `rate`, what came in over the last second.
    pub fn handle_timeout(&mut self, ms: Millis, rate: u64) -> Change {
        let is_over = rate > self.limit + self.limit / 2 + TOLERANCE;
        let Some(policing) = &mut self.policing else {
            self.over_since = if is_over { self.over_since.or(Some(ms)) } else { None };
            if self.over_since.is_some_and(|since| ms.saturating_sub(since) >= PATIENCE) {
                self.policing =
                    Some(Policing { tokens: 0.0, filled_at: ms, is_dropping: true, calm_since: None });
                return Change::Stops;
            }
            return Change::None;
        };
        policing.calm_since = if is_over { None } else { policing.calm_since.or(Some(ms)) };
        if policing.calm_since.is_some_and(|since| ms.saturating_sub(since) >= CALM) {
            let was_dropping = policing.is_dropping;
            (self.policing, self.over_since) = (None, None);
            return if was_dropping { Change::GoesOn } else { Change::None };
        }
        policing.refill(ms, self.limit as f64 / 8.0)
    }
}

impl Policing {
    fn refill(&mut self, ms: Millis, octets_per_second: f64) -> Change {
        let elapsed = ms.saturating_sub(self.filled_at) as f64 / 1e3;
        self.filled_at = ms;
        self.tokens = (self.tokens + elapsed * octets_per_second).min(octets_per_second);
        if self.is_dropping && self.tokens >= octets_per_second / 2.0 {
            self.is_dropping = false;
            return Change::GoesOn;
        }
        if !self.is_dropping && self.tokens <= 0.0 {
            self.is_dropping = true;
            return Change::Stops;
        }
        Change::None
    }
}

/// A keyframe, and the sound.
const TOLERANCE: u64 = 500_000;
/// REMB goes out every second, and a sender takes one more to follow.
const PATIENCE: Millis = 4_000;
const CALM: Millis = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `rate` bit/s for `seconds`; how many bit/s passed in the last half of it.
    fn run(limit: &mut IncomingLimit, from: Millis, seconds: u64, rate: u64) -> u64 {
        let mut passed = 0;
        for tick in 0..seconds * 40 {
            let ms = from + tick * 25;
            limit.handle_timeout(ms, rate);
            for _ in 0..5 {
                let octets = rate / 8 / 200;
                if !limit.drops(octets as usize) && tick >= seconds * 20 {
                    passed += octets * 8;
                }
            }
        }
        passed * 2 / seconds
    }

    #[test]
    fn who_keeps_roughly_to_the_limit_is_left_alone() {
        let mut limit = IncomingLimit::new(2_000_000);
        assert_eq!(run(&mut limit, 0, 10, 3_000_000), 3_000_000);
        assert_eq!(run(&mut limit, 10_000, 2, 9_000_000), 9_000_000, "for a moment");
        assert_eq!(limit.dropped, 0);
    }

    #[test]
    fn who_ignores_it_gets_no_more_than_it_through() {
        let mut limit = IncomingLimit::new(2_000_000);
        let passed = run(&mut limit, 0, 30, 10_000_000);
        assert!((1_000_000..=2_400_000).contains(&passed), "{passed}");
        assert!(limit.dropped > 1_000);
        assert_eq!(run(&mut limit, 30_000, 10, 2_000_000), 2_000_000, "and everything once it obeys");
    }
}
