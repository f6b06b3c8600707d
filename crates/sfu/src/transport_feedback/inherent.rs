//! Loss that is the path's own, and that a sender need not be told of.
//!
//! A sender slows down for what is lost: right where it sends too much, in vain on a radio that loses a part of whatever it
//! is sent. Browsers tell the two apart slowly or not at all: one that was held at 1 Mbit/s by a path that loses 3 %, too,
//! tries no more for ten seconds and longer once the bottleneck has gone. Here both signs of congestion are seen: packets wait, and
//! loss follows the rate. Where they wait, the sender learns of congestion from their delay; it is told of loss as well only
//! if that goes on for seconds, as with a queue that stays full. Where they do not wait, what is lost is the path's own unless
//! distinctly more is lost than was at lower rates, as with a policer, which drops without any queue.

/// Of one transport.
#[derive(Debug)]
pub(super) struct InherentLoss {
    interval: Interval,
    /// Of the last packets that did not wait, and of the very last of all.
    calm: Share,
    all: Share,
    /// What became at each rate of those that did not wait; the older the less it counts.
    by_rate: [Share; RATES],
    /// How long distinctly more has been lost than at lower rates, waiting or not; in seconds.
    excess_s: f32,
    is_own: bool,
}

/// Since it began, at the arrival of a packet.
#[derive(Debug, Default)]
struct Interval {
    began_ns: u64,
    all: Share,
    calm: Share,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    packets: f32,
    lost: f32,
}

impl Share {
    fn fraction(self) -> f32 {
        self.lost / self.packets.max(1.0)
    }

    fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.lost += other.lost;
    }

    fn fade(&mut self, by: f32) {
        self.packets *= by;
        self.lost *= by;
    }

    /// The same of the last packets only, the older the less it counts.
    fn follow(&mut self, other: Self, packets: f32) {
        self.add(other);
        self.fade(packets / self.packets.max(packets));
    }
}

impl Default for InherentLoss {
    fn default() -> Self {
        let none = Share::default();
        Self {
            interval: Interval::default(),
            calm: none,
            all: none,
            by_rate: [none; RATES],
            excess_s: 0.0,
            is_own: true,
        }
    }
}

impl InherentLoss {
    /// Whether what is lost now is the path's own, or tells the sender nothing that queues do not.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// A packet arrived, and before it `missing` did not.
    pub fn note(&mut self, now_ns: u64, missing: u64, waited: bool) {
        let interval = &mut self.interval;
        let share = Share { packets: missing as f32 + 1.0, lost: missing as f32 };
        interval.all.add(share);
        if !waited {
            interval.calm.add(share);
        }
        let lasted_ns = now_ns.saturating_sub(interval.began_ns);
        if lasted_ns >= INTERVAL_NS {
            let interval = std::mem::take(interval);
            self.interval.began_ns = now_ns;
            if lasted_ns < SILENCE_NS {
                self.judge(&interval, lasted_ns as f32 / 1e9);
            }
        }
    }

    fn judge(&mut self, interval: &Interval, seconds: f32) {
        let fading = 0.5f32.powf(seconds / HALF_LIFE_S);
        self.by_rate.iter_mut().for_each(|share| share.fade(fading));
        // In steps of a quarter of an octave.
        let rate = (4.0 * (interval.all.packets / seconds).log2()) as usize;
        let rate = rate.min(RATES - 1);
        self.by_rate[rate].add(interval.calm);
        self.calm.follow(interval.calm, RECENT_CALM);
        self.all.follow(interval.all, RECENT_ALL);

        let limit = self.limit(rate);
        // Where all of them wait little is known of the path's own.
        let queue_limit = if interval.calm.packets > 0.0 { limit } else { limit.min(MOST_WAITING) };
        let excess = self.all.fraction() > queue_limit;
        self.excess_s = if excess { self.excess_s + seconds } else { 0.0 };
        let follows_rate = self.calm.packets >= FIRST && self.calm.fraction() > limit;
        let is_own = !follows_rate && self.excess_s < PATIENCE_S;
        if is_own != self.is_own {
            self.is_own = is_own;
            let (calm, all) = (self.calm.fraction(), self.all.fraction());
            tracing::debug!(is_own, calm, all, limit, "loss is judged");
        }
    }

    /// What may be lost at that rate if it is the path's own, from what is known of lower ones.
    fn limit(&self, rate: usize) -> f32 {
        let mut lower = Share::default();
        self.by_rate[..rate].iter().for_each(|share| lower.add(*share));
        if lower.packets < ENOUGH {
            return MOST;
        }
        // Two standard deviations.
        let doubt = 2.0 * (lower.fraction().max(LEAST) / lower.packets).sqrt();
        (MORE * (lower.fraction() + doubt) + MARGIN).min(MOST)
    }
}

const INTERVAL_NS: u64 = 250_000_000;
/// The rate before and after it may have nothing in common.
const SILENCE_NS: u64 = 2_000_000_000;
/// Up to 10,000 packets a second.
const RATES: usize = 54;
const HALF_LIFE_S: f32 = 15.0;
/// Packets; two seconds of a poor path.
const RECENT_CALM: f32 = 300.0;
const RECENT_ALL: f32 = 100.0;
const FIRST: f32 = 50.0;
/// Packets at lower rates that say something.
const ENOUGH: f32 = 300.0;
/// Where a path loses more it is not worth while to send as much as it carries.
const MOST: f32 = 0.2;
/// Above it a sender is to slow down in any case (draft-ietf-rmcat-gcc-02 §6).
const MOST_WAITING: f32 = 0.1;
const LEAST: f32 = 0.01;
const MORE: f32 = 1.5;
const MARGIN: f32 = 0.02;
/// A sender that heeds queues has drained one by then that filled when the path became slower.
const PATIENCE_S: f32 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender on a path, whose losses are dice.
    struct Story {
        loss: InherentLoss,
        now_ns: u64,
        dice: u64,
    }

    impl Story {
        fn new() -> Self {
            Self { loss: InherentLoss::default(), now_ns: 1_000_000_000_000, dice: 1 }
        }

        fn is_lost(&mut self, share: f64) -> bool {
            self.dice =
                self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.dice >> 33) as f64 / (1u64 << 31) as f64) < share
        }

        /// For how many seconds of these loss was taken for the path's own.
        fn own_for(&mut self, seconds: u64, rate: u64, lost: f64, waited: bool) -> f64 {
            let (mut missing, mut own) = (0, 0);
            for _ in 0..seconds * rate {
                self.now_ns += 1_000_000_000 / rate;
                if self.is_lost(lost) {
                    missing += 1;
                } else {
                    self.loss.note(self.now_ns, missing, waited);
                    missing = 0;
                }
                own += u64::from(self.loss.is_own());
            }
            own as f64 / rate as f64
        }
    }

    #[test]
    fn a_radio_that_loses_a_part_of_whatever_it_is_sent_is_not_held_against_the_sender() {
        for lost in [0.0, 0.01, 0.03, 0.05, 0.10] {
            let mut story = Story::new();
            for rate in [100, 90, 250, 400, 120] {
                assert_eq!(story.own_for(30, rate, lost, false), 30.0, "{lost} at {rate} packets a second");
            }
        }
    }

    #[test]
    fn a_policer_is_told_within_a_second_and_less_is_taken_for_own_again() {
        for own in [0.0, 0.03, 0.05] {
            let mut story = Story::new();
            story.own_for(10, 90, own, false);
            // All beyond 100 packets a second is lost, without any queue.
            for _ in 0..5 {
                let untold = story.own_for(5, 170, own + (1.0 - own) * (1.0 - 100.0 / 170.0), false);
                assert!(untold < 1.0, "{own}: {untold} s");
                let told = 10.0 - story.own_for(10, 90, own, false);
                assert!(told < 8.0, "{own}: {told} s");
            }
        }
    }

    #[test]
    fn a_sender_that_climbs_slowly_is_told_before_a_policer_takes_a_seventh() {
        let mut story = Story::new();
        story.own_for(10, 90, 0.0, false);
        let mut rate = 90.0f64;
        while story.loss.is_own() {
            rate *= 1.08;
            story.own_for(1, rate as u64, (1.0 - 100.0 / rate).max(0.0), false);
            assert!(rate < 117.0);
        }
    }

    #[test]
    fn a_queue_that_overflows_when_the_path_becomes_slower_is_the_senders_to_see() {
        for own in [0.0, 0.03, 0.10] {
            let mut story = Story::new();
            story.own_for(10, 250, own, false);
            assert_eq!(story.own_for(2, 240, 0.4, true), 2.0, "{own}");
            assert_eq!(story.own_for(20, 110, own, false), 20.0, "{own}");
        }
    }

    #[test]
    fn a_queue_that_stays_full_is_told() {
        let mut story = Story::new();
        story.own_for(10, 90, 0.0, false);
        let untold = story.own_for(20, 130, 1.0 - 100.0 / 130.0, true);
        assert!(untold < 5.0, "{untold} s");
        // Also one of which nothing else is known.
        let untold = Story::new().own_for(20, 120, 1.0 - 100.0 / 120.0, true);
        assert!(untold < 5.0, "{untold} s");
    }

    #[test]
    fn a_path_that_loses_most_is_told_whatever_is_known_of_it() {
        let untold = Story::new().own_for(10, 100, 0.5, false);
        assert!(untold < 1.5, "{untold} s");
    }
}
