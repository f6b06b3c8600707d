//! One direction of a bad network path: rate, queue, delay, jitter and loss, on any clock.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::str::FromStr;
use std::time::Duration;
use thiserror::Error;

/// What a path does to packets. Nothing, by default.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Share of packets that vanish, 0 to 1, each for itself.
    pub loss: f64,
    /// One way.
    pub delay: Duration,
    /// Up to so much is added to the delay; order is kept.
    pub jitter: Duration,
    /// Bits per second; 0: without bound.
    pub rate: u64,
    /// How long a packet may wait for its turn before the queue's tail is cut (drop-tail).
    pub queue: Duration,
}

impl Default for Impairment {
    fn default() -> Self {
        Self {
            loss: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: 0,
            queue: Duration::from_millis(200),
        }
    }
}

/// Which part of a description cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is not one of loss=PERCENT, delay=MS, jitter=MS, rate=KBIT, queue=MS")]
pub struct ParseError(String);

impl FromStr for Impairment {
    type Err = ParseError;

    /// As in `loss=3 delay=50 rate=1000`; what is not named is as by default.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut impairment = Self::default();
        for word in text.split_whitespace() {
            let wrong = || ParseError(word.to_owned());
            let (name, value) = word.split_once('=').ok_or_else(wrong)?;
            let value: f64 = value.parse().map_err(|_| wrong())?;
            if !(0.0..=1e6).contains(&value) {
                return Err(wrong());
            }
            let ms = Duration::from_secs_f64(value / 1000.0);
            match name {
                "loss" if value <= 100.0 => impairment.loss = value / 100.0,
                "delay" => impairment.delay = ms,
                "jitter" => impairment.jitter = ms,
                "rate" => impairment.rate = (value * 1000.0) as u64,
                "queue" => impairment.queue = ms,
                _ => return Err(wrong()),
            }
        }
        Ok(impairment)
    }
}

/// What became of the packets so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub lost: u64,
    /// The queue was full.
    pub cut: u64,
}

/// A path; time is counted from any moment.
#[derive(Debug)]
pub struct Link {
    pub impairment: Impairment,
    pub tally: Tally,
    /// When the sender's side has put everything on the wire.
    busy_until: Duration,
    last_arrival: Duration,
    random: StdRng,
}

impl Link {
    pub fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            impairment,
            tally: Tally::default(),
            busy_until: Duration::ZERO,
            last_arrival: Duration::ZERO,
            random: StdRng::seed_from_u64(seed),
        }
    }

    /// When a packet of `len` octets that enters at `now` comes out; `None`: never.
    pub fn carry(&mut self, now: Duration, len: usize) -> Option<Duration> {
        let Impairment { loss, delay, jitter, rate, queue } = self.impairment;
        let begins = self.busy_until.max(now);
        if begins - now > queue {
            self.tally.cut += 1;
            return None;
        }
        let ends = match rate {
            0 => begins,
            rate => begins + Duration::from_nanos(len as u64 * 8 * 1_000_000_000 / rate),
        };
        self.busy_until = ends;
        // A packet that is lost on the way has taken its time on the wire.
        if self.random.random::<f64>() < loss {
            self.tally.lost += 1;
            return None;
        }
        let arrival = ends + delay + jitter.mul_f64(self.random.random());
        self.last_arrival = self.last_arrival.max(arrival);
        self.tally.passed += 1;
        Some(self.last_arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_description_says_it_all_or_is_refused() {
        let parsed: Impairment = "loss=3 delay=50 rate=1000".parse().unwrap();
        let expected = Impairment { loss: 0.03, delay: 50 * MS, rate: 1_000_000, ..Impairment::default() };
        assert_eq!(parsed, expected);
        assert_eq!("".parse(), Ok(Impairment::default()));
        for wrong in ["loss=101", "delay", "speed=3", "delay=-1", "rate=nan"] {
            assert!(wrong.parse::<Impairment>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_overloaded_path_passes_its_rate_and_delays_by_no_more_than_its_queue() {
        let mut link = Link::new("rate=1000 delay=50 queue=200".parse().unwrap(), 1);
        // 2 Mbit/s for 10 s.
        let mut longest = Duration::ZERO;
        for i in 0..2_000 {
            let now = i * 5 * MS;
            if let Some(at) = link.carry(now, 1_250) {
                longest = longest.max(at - now);
            }
        }
        assert!((1_000..1_030).contains(&link.tally.passed), "{:?}", link.tally);
        assert!((250 * MS..=261 * MS).contains(&longest), "{longest:?}");
    }

    #[test]
    fn jitter_keeps_the_order_and_loss_is_as_told() {
        let mut link = Link::new("loss=10 delay=20 jitter=30".parse().unwrap(), 7);
        let mut last = Duration::ZERO;
        for i in 0..10_000 {
            if let Some(at) = link.carry(i * MS, 100) {
                assert!(at >= last && at >= i * MS + 20 * MS && at <= i * MS + 50 * MS + 30 * MS);
                last = at;
            }
        }
        assert!((900..1_100).contains(&link.tally.lost), "{:?}", link.tally);
    }
}
