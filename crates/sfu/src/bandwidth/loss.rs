//! What to make of loss (draft-ietf-rmcat-gcc-02 §6), told apart from loss that is none of our doing.
//!
//! The draft's rule: above 10 % lost the rate falls by half the loss, below 2 % it may grow, between it stays. A radio
//! that loses a tenth of whatever it is sent would drive that rule to the bottom, and one that loses a twentieth would
//! keep for ever a cap from worse times. Loss of our doing follows the rate, so every change of the rate is a trial, too:
//! - when a third less was sent and just as much of it lost, that much is taken for the path's own;
//! - when a probe came through faster than the cap allows, the cap is lifted to what it measured. If more is lost then,
//!   it comes back, and the next try waits; if not, what is lost is the path's own.
//!
//! Only what is lost beyond the path's own counts. That is never more than the least that is lost now.

use super::Micros;

#[derive(Debug, Default)]
pub struct LossControl {
    /// Nothing to say while `None`.
    cap: Option<f64>,
    lost: u32,
    sent: u32,
    interval_began: Micros,
    /// Lost of the last intervals, smoothed over a second.
    fraction: f64,
    /// The same over several.
    settled: f64,
    /// The path's own part.
    inherent: f64,
    fall: Option<Fall>,
    decreased_at: Option<Micros>,
    rise: Option<Rise>,
    rise_after: Micros,
    /// How long to wait after a rise that failed.
    patience: Micros,
}

/// A run of decreases.
#[derive(Clone, Copy, Debug)]
struct Fall {
    rate: f64,
    fraction: f64,
}

/// A cap that was lifted by a probe, and what has been lost since.
#[derive(Clone, Copy, Debug)]
struct Rise {
    /// From when on packets were sent at the new rate.
    from: Micros,
    cap: f64,
    fraction: f64,
    sent: u32,
    lost: u32,
}

impl Rise {
    fn fraction_since(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent.max(1))
    }

    fn has_failed(&self) -> bool {
        self.sent >= RISE_MIN_PACKETS && self.fraction_since() > RISE_MORE * self.fraction + RISE_MARGIN
    }
}

/// The rates of the moment, bit/s.
#[derive(Clone, Copy, Debug)]
pub struct Rates {
    /// What is aimed at.
    pub aim: f64,
    /// What arrives.
    pub arrives: f64,
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

    /// What the path loses whatever it is sent, as far as is known.
    pub fn inherent(&self) -> f64 {
        self.inherent
    }

    /// A probe came through, at `measured` bit/s, and no queue grows.
    pub fn note_probe(&mut self, now: Micros, measured: f64, round_trip: Micros) {
        let Some(cap) = self.cap.filter(|cap| measured > NEWS * cap && now >= self.rise_after) else {
            return;
        };
        let before = self.rise.map_or((cap, self.settled), |rise| (rise.cap, rise.fraction));
        let from = now + round_trip + REACTION;
        self.rise = Some(Rise { from, cap: before.0, fraction: before.1, sent: 0, lost: 0 });
        (self.cap, self.fall) = (Some(measured), None);
        tracing::debug!(cap, measured, lost = before.1, "a probe lifts the loss-based cap");
    }

    /// Judges an interval when it is long enough.
    pub fn update(&mut self, now: Micros, rates: Rates, round_trip: Micros) {
        let elapsed = now.saturating_sub(self.interval_began);
        if elapsed < INTERVAL || (self.sent < MIN_PACKETS && elapsed < MAX_INTERVAL) {
            return;
        }
        let (sent, lost) = (self.sent, self.lost.min(self.sent));
        (self.sent, self.lost, self.interval_began) = (0, 0, now);
        if sent < MIN_PACKETS {
            return;
        }
        let fraction = f64::from(lost) / f64::from(sent);
        self.fraction += 0.4 * (fraction - self.fraction);
        self.settled += 0.1 * (fraction - self.settled);
        self.inherent = self.inherent.min(self.settled);
        if let Some(rise) = &mut self.rise {
            if now >= rise.from {
                (rise.sent, rise.lost) = (rise.sent + sent, rise.lost + lost);
            }
            let rise = *rise;
            self.judge_rise(now, &rise, rates);
            return;
        }
        // One bad moment is no congestion: both this interval and the last second must say so.
        let ours = ((fraction.min(self.fraction) - self.inherent) / (1.0 - self.inherent)).max(0.0);
        if ours > HIGH {
            self.decrease(now, fraction, ours, rates.aim, round_trip);
        } else if ours < LOW {
            self.fall = None;
            let growth = GROWTH.powf(elapsed.min(MAX_INTERVAL) as f64 / 1e6);
            self.cap = self.cap.map(|cap| cap * growth).filter(|cap| *cap < 2.0 * rates.aim);
        }
    }

    fn judge_rise(&mut self, now: Micros, rise: &Rise, rates: Rates) {
        let since = rise.fraction_since();
        if rise.has_failed() {
            self.patience = (self.patience * 2).clamp(MIN_PATIENCE, MAX_PATIENCE);
            self.rise_after = now + self.patience;
            (self.cap, self.rise, self.decreased_at) = (Some(rise.cap), None, Some(now));
            tracing::debug!(
                cap = rise.cap,
                lost = since,
                before = rise.fraction,
                "more is lost: the cap is back"
            );
        } else if now >= rise.from + RISE_LASTS {
            if rise.sent >= RISE_MIN_PACKETS && rates.arrives > NEWS * rise.cap {
                // More gets through, and no more is lost.
                self.inherent = self.inherent.max(since.min(rise.fraction)).min(MAX_INHERENT);
                self.patience = 0;
            }
            self.rise = None;
        }
    }

    fn decrease(&mut self, now: Micros, fraction: f64, ours: f64, aim: f64, round_trip: Micros) {
        let patience = round_trip + REACTION;
        if self.decreased_at.is_some_and(|at| now.saturating_sub(at) < patience) {
            return;
        }
        let rate = self.cap.map_or(aim, |cap| cap.min(aim));
        let fall = *self.fall.get_or_insert(Fall { rate, fraction: self.fraction.max(fraction) });
        let is_same = self.fraction.min(fraction) > FALL_SAME * fall.fraction;
        if rate < FALL_DEPTH * fall.rate && is_same {
            self.inherent = self.fraction.min(MAX_INHERENT);
            self.settled = self.fraction;
            self.cap = Some(fall.rate);
            self.fall = None;
            return;
        }
        self.decreased_at = Some(now);
        self.cap = Some(rate * (1.0 - 0.5 * ours));
        tracing::debug!(cap = self.cap, lost = fraction, inherent = self.inherent, "loss lowers the cap");
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
/// Until another rate shows in the reports.
const REACTION: Micros = 300_000;
const FALL_DEPTH: f64 = 0.7;
const FALL_SAME: f64 = 0.75;
const MAX_INHERENT: f64 = 0.3;
/// Measurements waver by so much.
const NEWS: f64 = 1.1;
/// A third of a second of 2 Mbit/s; a path that drops half of them says so within these.
const RISE_MIN_PACKETS: u32 = 60;
const RISE_LASTS: Micros = 2_000_000;
/// Sixty packets of which a twentieth is lost by chance.
const RISE_MORE: f64 = 1.3;
const RISE_MARGIN: f64 = 0.05;
/// A path that got better is used within ten seconds, whatever was tried before.
const MIN_PATIENCE: Micros = 2_000_000;
const MAX_PATIENCE: Micros = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `seconds` with what `lost` says of a rate; answers the rate at the end.
    fn run(control: &mut LossControl, from: u64, seconds: u64, wish: f64, lost: impl Fn(f64) -> f64) -> f64 {
        run_probing(control, from, seconds, wish, None, lost).0
    }

    /// The same with a probe every three seconds while less is sent than wished, which measures `probe`; answers the mean
    /// rate, too.
    fn run_probing(
        control: &mut LossControl,
        from: u64,
        seconds: u64,
        wish: f64,
        probe: Option<f64>,
        lost: impl Fn(f64) -> f64,
    ) -> (f64, f64) {
        let (mut rate, mut total, mut dice) = (wish, 0.0, 1u64);
        for n in 1..=seconds * 20 {
            let now = from * 1_000_000 + n * 50_000;
            if let Some(measured) = probe.filter(|_| n % 60 == 0 && rate < wish) {
                control.note_probe(now, measured, 50_000);
            }
            rate = control.cap().unwrap_or(wish).min(wish);
            total += rate;
            let packets = (rate / 8_000.0 / 20.0).round() as u32;
            let missing = (0..packets)
                .filter(|_| {
                    dice =
                        dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    ((dice >> 33) as f64 / (1u64 << 31) as f64) < lost(rate)
                })
                .count() as u32;
            control.note(packets - missing, missing);
            let rates = Rates { aim: rate, arrives: rate * (1.0 - lost(rate)) };
            control.update(now, rates, 50_000);
        }
        (rate, total / (seconds * 20) as f64)
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

    /// A path of its own loss, and at 1 Mbit/s a policer: no queue, what is beyond is lost.
    fn policed(own: f64) -> impl Fn(f64) -> f64 {
        move |rate| own + (1.0 - own) * (1.0 - 1e6 / rate).max(0.0)
    }

    #[test]
    fn a_cap_goes_when_a_probe_shows_more_and_the_loss_does_not_follow() {
        for own in [0.03, 0.05, 0.07, 0.10] {
            let mut control = LossControl::default();
            let rate = run(&mut control, 0, 10, 2e6, policed(own));
            assert!(rate < 1.4e6, "{own}: {rate}");
            let (rate, _) = run_probing(&mut control, 10, 7, 2e6, Some(2.5e6), |_| own);
            assert_eq!(rate, 2e6, "{own}: the bottleneck is gone, the radio is as it was");
            let (_, mean) = run_probing(&mut control, 17, 30, 2e6, Some(2.5e6), |_| own);
            assert!(mean > 1.8e6, "{own}: and so it stays: {mean}");
            let rate = run(&mut control, 47, 10, 2e6, policed(own));
            assert!(rate < 1.4e6, "{own}: a new bottleneck is still noticed: {rate}");
        }
    }

    #[test]
    fn a_burst_that_passes_where_a_stream_does_not_costs_moments() {
        for own in [0.0, 0.05, 0.10] {
            let mut control = LossControl::default();
            run(&mut control, 0, 10, 2e6, policed(own));
            let (_, mean) = run_probing(&mut control, 10, 60, 2e6, Some(2.5e6), policed(own));
            assert!((0.7e6..1.5e6).contains(&mean), "{own}: {mean}");
        }
    }
}
