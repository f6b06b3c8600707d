//! What to make of loss (draft-ietf-rmcat-gcc-02 §6), told apart from loss that is none of our doing.
//!
//! The draft's rule: above 10 % lost the rate falls by half the loss, below 2 % it may grow, between it stays. A radio
//! that loses a tenth of whatever it is sent would drive that rule to the bottom, so a fall is a trial, too: when a
//! third less was sent and just as much of it lost, that much is taken for the path's own, and only what is lost beyond
//! it counts from then on. It is never more than the least that is lost now.

use super::Micros;

#[derive(Debug, Default)]
pub struct LossControl {
    /// Nothing to say while `None`.
    cap: Option<f64>,
    lost: u32,
    sent: u32,
    interval_began: Micros,
    /// Lost of the last intervals, smoothed.
    fraction: f64,
    /// The path's own part.
    inherent: f64,
    trial: Option<Trial>,
    decreased_at: Option<Micros>,
}

/// A run of decreases.
#[derive(Clone, Copy, Debug)]
struct Trial {
    rate: f64,
    fraction: f64,
}

impl LossControl {
    /// Packets told of.
    pub fn note(&mut self, received: u32, lost: u32) {
        self.sent += received + lost;
        self.lost += lost;
    }

    /// Packets told to be lost that came after all.
    pub fn note_late(&mut self, late: u32) {
        self.lost = self.lost.saturating_sub(late);
    }

    pub fn cap(&self) -> Option<f64> {
        self.cap
    }

    /// Smoothed over about a second, 0 to 1.
    pub fn fraction(&self) -> f64 {
        self.fraction
    }

    /// Judges an interval when it is long enough. `rate` is what is aimed at now, bit/s.
    pub fn update(&mut self, now: Micros, rate: f64, round_trip: Micros) {
        let elapsed = now.saturating_sub(self.interval_began);
        if elapsed < INTERVAL || (self.sent < MIN_PACKETS && elapsed < MAX_INTERVAL) {
            return;
        }
        let fraction = f64::from(self.lost) / f64::from(self.sent.max(1));
        let has_evidence = self.sent >= MIN_PACKETS;
        (self.sent, self.lost, self.interval_began) = (0, 0, now);
        if !has_evidence {
            return;
        }
        self.judge(now, fraction, rate, round_trip, elapsed.min(MAX_INTERVAL));
    }

    /// As [`Self::update`], for one who knows the fraction only (receiver reports).
    pub fn judge(&mut self, now: Micros, fraction: f64, rate: f64, round_trip: Micros, elapsed: Micros) {
        self.fraction += 0.4 * (fraction - self.fraction);
        self.inherent = self.inherent.min(self.fraction);
        // One bad moment is no congestion: both this interval and the last second must say so.
        let ours = ((fraction.min(self.fraction) - self.inherent) / (1.0 - self.inherent)).max(0.0);
        if ours > HIGH {
            self.decrease(now, fraction, ours, rate, round_trip);
        } else if ours < LOW {
            self.trial = None;
            self.cap =
                self.cap.map(|cap| cap * GROWTH.powf(elapsed as f64 / 1e6)).filter(|c| *c < 2.0 * rate);
        }
    }

    fn decrease(&mut self, now: Micros, fraction: f64, ours: f64, rate: f64, round_trip: Micros) {
        let patience = round_trip + REACTION;
        if self.decreased_at.is_some_and(|at| now.saturating_sub(at) < patience) {
            return;
        }
        let rate = self.cap.map_or(rate, |cap| cap.min(rate));
        let trial = *self.trial.get_or_insert(Trial { rate, fraction: self.fraction.max(fraction) });
        let is_same = self.fraction.min(fraction) > TRIAL_SAME * trial.fraction;
        if rate < TRIAL_DEPTH * trial.rate && is_same {
            self.inherent = self.fraction.min(MAX_INHERENT);
            self.cap = Some(trial.rate);
            self.trial = None;
            return;
        }
        self.decreased_at = Some(now);
        self.cap = Some(rate * (1.0 - 0.5 * ours));
    }
}

/// The draft's: §6, equations 7 and 8.
const HIGH: f64 = 0.10;
const LOW: f64 = 0.02;
/// A second's growth; the draft says 5 % per report, of which there is one a second.
const GROWTH: f64 = 1.08;
const INTERVAL: Micros = 200_000;
const MAX_INTERVAL: Micros = 1_000_000;
/// Fewer say little: one of ten is 10 %.
const MIN_PACKETS: u32 = 20;
/// Until a lower rate shows in the reports.
const REACTION: Micros = 300_000;
const TRIAL_DEPTH: f64 = 0.7;
const TRIAL_SAME: f64 = 0.75;
const MAX_INHERENT: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `seconds` with what `lost` says of a rate; answers the rate at the end.
    fn run(control: &mut LossControl, from: u64, seconds: u64, wish: f64, lost: impl Fn(f64) -> f64) -> f64 {
        let mut rate = wish;
        for n in 1..=seconds * 20 {
            let now = from * 1_000_000 + n * 50_000;
            rate = control.cap().unwrap_or(wish).min(wish);
            let packets = (rate / 8_000.0 / 20.0).round();
            let missing = (packets * lost(rate)).round();
            control.note((packets - missing) as u32, missing as u32);
            control.update(now, rate, 50_000);
        }
        rate
    }

    #[test]
    fn a_little_loss_costs_nothing() {
        let mut control = LossControl::default();
        assert_eq!(run(&mut control, 0, 20, 2e6, |_| 0.05), 2e6);
        assert_eq!(control.cap(), None);
    }

    #[test]
    fn a_queue_that_overflows_is_left_alone_within_seconds() {
        let mut control = LossControl::default();
        // No buffer: what is beyond 1 Mbit/s is lost.
        let overflow = |rate: f64| (1.0 - 1e6 / rate).max(0.0);
        let rate = run(&mut control, 0, 6, 2e6, overflow);
        assert!((0.7e6..1.2e6).contains(&rate), "{rate}");
        let rate = run(&mut control, 6, 30, 2e6, overflow);
        assert!((0.7e6..1.3e6).contains(&rate), "it stays there: {rate}");
    }

    #[test]
    fn a_path_that_loses_whatever_it_is_sent_is_not_starved() {
        let mut control = LossControl::default();
        let rate = run(&mut control, 0, 30, 2e6, |_| 0.15);
        assert!(rate > 1.2e6, "{rate}");
        let rate = run(&mut control, 30, 30, 2e6, |_| 0.0);
        assert_eq!(rate, 2e6);
        assert_eq!(control.inherent.round(), 0.0, "and not believed of it for ever");
    }
}
