//! How long after its capture something of a guest is seen and heard: as long as what comes late needs, and no longer.
//!
//! The delay follows how late sound and pictures have come in the last seconds. It grows at once, because too little of it
//! is heard, and shrinks slowly, by playing a little faster. Two things keep one bad moment from staying: what arrives in
//! one burst after a stall tells nothing about the next packet and is not counted, and a delay that is far too long is
//! given up in one step, after the network was calm for a while.

use std::collections::VecDeque;
use wire::link::Steadiness;

/// One guest's delay.
#[derive(Debug)]
pub struct Delay {
    steadiness: Steadiness,
    sound: Lateness,
    pictures: Lateness,
    /// Sound was lost at this time, and packets of this length carry what rebuilds the ones before them.
    loss: Option<(u64, i64)>,
    current_ns: i64,
    adapted_at_ns: u64,
    /// Since when much less than the current delay would have done.
    generous_since_ns: Option<u64>,
    /// How long that has to last before the rest is given up; twice as long when the last time it was too soon.
    patience_ns: u64,
    dropped_at_ns: Option<u64>,
}

impl Default for Delay {
    fn default() -> Self {
        Self {
            steadiness: Steadiness::default(),
            sound: Lateness::default(),
            pictures: Lateness::default(),
            loss: None,
            current_ns: FIRST_NS,
            adapted_at_ns: 0,
            generous_since_ns: None,
            patience_ns: PATIENCE_NS,
            dropped_at_ns: None,
        }
    }
}

impl Delay {
    pub fn set_steadiness(&mut self, steadiness: Steadiness) {
        self.steadiness = steadiness;
    }

    pub fn steadiness(&self) -> Steadiness {
        self.steadiness
    }

    /// Sound captured at the one time came at the other.
    pub fn note_sound(&mut self, captured_ns: u64, arrival_ns: u64) {
        self.sound.note(arrival_ns, difference(arrival_ns, captured_ns), self.current_ns);
    }

    /// A packet of sound is lost. The next one can rebuild it if it is there when the lost one is due: wait for it.
    pub fn note_loss(&mut self, now_ns: u64, packet_ns: i64) {
        self.loss = Some((now_ns, packet_ns.clamp(0, MAX_PACKET_NS)));
    }

    /// A picture captured at the one time was ready to be shown at the other.
    pub fn note_picture(&mut self, captured_ns: u64, ready_ns: u64) {
        self.pictures.note(ready_ns, difference(ready_ns, captured_ns), self.current_ns);
    }

    /// What was captured earlier was measured with another clock.
    pub fn forget(&mut self) {
        self.sound = Lateness::default();
        self.pictures = Lateness::default();
    }

    pub fn adapt(&mut self, now_ns: u64) -> i64 {
        let elapsed_ns = now_ns.saturating_sub(self.adapted_at_ns);
        if elapsed_ns < ADAPT_EVERY_NS {
            return self.current_ns;
        }
        self.adapted_at_ns = now_ns;
        let Some(needed_ns) = self.needed_ns(now_ns, MEMORY_NS) else { return self.current_ns };
        if needed_ns > self.current_ns {
            if needed_ns - self.current_ns >= FAR_NS {
                self.be_more_patient(now_ns);
            }
            (self.current_ns, self.generous_since_ns) = (needed_ns, None);
            return self.current_ns;
        }
        let lately_ns = self.needed_ns(now_ns, CALM_NS).unwrap_or(needed_ns);
        if self.current_ns - lately_ns < FAR_NS {
            self.generous_since_ns = None;
        } else if now_ns.saturating_sub(*self.generous_since_ns.get_or_insert(now_ns)) >= self.patience_ns {
            (self.current_ns, self.generous_since_ns, self.dropped_at_ns) = (lately_ns, None, Some(now_ns));
            self.sound.keep_since(now_ns.saturating_sub(CALM_NS));
            self.pictures.keep_since(now_ns.saturating_sub(CALM_NS));
            return self.current_ns;
        }
        let excess_ns = self.current_ns - needed_ns;
        let per_second_ns = (excess_ns / 10).clamp(SLOWEST_FALL_NS, FASTEST_FALL_NS);
        let most_ns = (elapsed_ns.min(1_000_000_000) as i64) * per_second_ns / 1_000_000_000;
        self.current_ns -= excess_ns.min(most_ns);
        self.current_ns
    }

    pub fn current_ns(&self) -> i64 {
        self.current_ns
    }

    /// What sound and pictures of the last `memory_ns` would have needed.
    fn needed_ns(&mut self, now_ns: u64, memory_ns: u64) -> Option<i64> {
        let since_ns = now_ns.saturating_sub(memory_ns);
        let (percent, floor_ns, rebuilds, ahead_ns) = match self.steadiness {
            Steadiness::Instant => (90, MIN_NS, false, PICTURE_AHEAD_NS),
            Steadiness::Balanced => (98, MIN_NS, true, 0),
            Steadiness::Steady => (100, STEADY_NS, true, 0),
        };
        let recent = self.loss.filter(|(at, _)| rebuilds && now_ns.saturating_sub(*at) < LOSS_MEMORY_NS);
        let margin_ns = SOUND_MARGIN_NS + recent.map_or(0, |(_, packet_ns)| packet_ns);
        let sound_ns = self.sound.percentile(since_ns, percent).map(|late| late + margin_ns);
        let pictures_ns = self.pictures.percentile(since_ns, PICTURE_PERCENT).map(|late| late - ahead_ns);
        tracing::trace!(current_ns = self.current_ns, memory_ns, sound_ns, pictures_ns, margin_ns, "delay");
        Some(sound_ns.max(pictures_ns)?.clamp(floor_ns, MAX_NS))
    }

    fn be_more_patient(&mut self, now_ns: u64) {
        let ago_ns = self.dropped_at_ns.map_or(u64::MAX, |at| now_ns.saturating_sub(at));
        self.patience_ns = match ago_ns < REGRET_NS {
            true => (self.patience_ns * 2).min(MAX_PATIENCE_NS),
            false => PATIENCE_NS,
        };
    }
}

/// How late things of one kind have come.
#[derive(Debug, Default)]
struct Lateness {
    /// Arrival, and how long after its capture. Of the last [`MEMORY_NS`]; at most [`MAX_RECENT`], when full the oldest goes.
    recent: VecDeque<(u64, i64)>,
    /// When a burst began whose packets are far later than anything before.
    burst_since_ns: Option<u64>,
    /// Nothing came for a while before; until then, what is late tells of the interruption.
    settled_at_ns: u64,
    last_arrival_ns: Option<u64>,
    scratch: Vec<i64>,
}

impl Lateness {
    fn note(&mut self, arrival_ns: u64, late_ns: i64, provided_ns: i64) {
        let before_ns = self.last_arrival_ns.replace(arrival_ns).unwrap_or(arrival_ns);
        if arrival_ns.saturating_sub(before_ns) >= INTERRUPTION_NS {
            self.settled_at_ns = arrival_ns + SETTLING_NS;
        }
        // What is already provided for ends a burst, what is far from that begins one.
        let (usual_ns, far_ns) = match arrival_ns < self.settled_at_ns {
            true => (provided_ns - SOUND_MARGIN_NS, provided_ns - SOUND_MARGIN_NS),
            false => (provided_ns, provided_ns.saturating_add(STALL_NS)),
        };
        if self.recent.is_empty() || (late_ns <= usual_ns && self.burst_since_ns.is_some()) {
            self.burst_since_ns = None;
        } else if late_ns > far_ns || self.burst_since_ns.is_some() {
            let since_ns = *self.burst_since_ns.get_or_insert(arrival_ns);
            if arrival_ns.saturating_sub(since_ns) < BURST_NS {
                return;
            }
            // It stays that way: the path has become longer.
            self.burst_since_ns = None;
            self.recent.clear();
        }
        self.keep_since(arrival_ns.saturating_sub(MEMORY_NS));
        if self.recent.len() == MAX_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((arrival_ns, late_ns.clamp(-MAX_NS, MAX_NS)));
    }

    fn keep_since(&mut self, since_ns: u64) {
        while self.recent.front().is_some_and(|(at, _)| *at < since_ns) {
            self.recent.pop_front();
        }
    }

    fn percentile(&mut self, since_ns: u64, percent: usize) -> Option<i64> {
        self.scratch.clear();
        let late = self.recent.iter().filter(|(at, _)| *at >= since_ns).map(|(_, late_ns)| *late_ns);
        self.scratch.extend(late);
        let last = self.scratch.len().checked_sub(1)?;
        let index = (self.scratch.len() * percent / 100).min(last);
        Some(*self.scratch.select_nth_unstable(index).1)
    }
}

fn difference(later_ns: u64, earlier_ns: u64) -> i64 {
    i64::try_from(i128::from(later_ns) - i128::from(earlier_ns)).unwrap_or(i64::MAX / 4)
}

/// Five seconds.
const MEMORY_NS: u64 = 5_000_000_000;
/// Of packets of 5 ms; rare ones of 2.5 ms are remembered for half as long.
const MAX_RECENT: usize = 1_000;
/// Three pictures in four are at their time; the others are late by what the network makes them.
const PICTURE_PERCENT: usize = 75;
/// Sound is written 10 ms before its time, and a chunk of 10 ms may begin up to that long before the packet in it.
const SOUND_MARGIN_NS: i64 = 25_000_000;
/// How long losses count: they come in company.
const LOSS_MEMORY_NS: u64 = 20_000_000_000;
const MAX_PACKET_NS: i64 = 60_000_000;
/// Sound ahead of its picture by this much is noticed by nobody (ITU-R BT.1359-1 §4: 45 ms are).
const PICTURE_AHEAD_NS: i64 = 20_000_000;
/// Before anything was measured.
const FIRST_NS: i64 = 60_000_000;
const MIN_NS: i64 = 10_000_000;
/// Covers Wi-Fi's usual hiccups and two repetitions of a lost packet within a continent.
const STEADY_NS: i64 = 200_000_000;
/// More than this is no conversation any more, and more than OBS's plugin waits for.
pub const MAX_NS: i64 = 450_000_000;
/// Later than what is provided for by this much: the network stood still.
const STALL_NS: i64 = 150_000_000;
/// A pause this long is no jitter. Guests who send no sound while they are silent (DTX) say so every 400 ms.
const INTERRUPTION_NS: u64 = 500_000_000;
/// How long senders take to be in step again: what they queued is spread, and their congestion control starts over.
const SETTLING_NS: u64 = 2_500_000_000;
/// A burst that lasts longer is none.
const BURST_NS: u64 = 1_000_000_000;
const ADAPT_EVERY_NS: u64 = 200_000_000;
/// Two to five milliseconds a second: nobody hears a tempo change of half a percent.
const SLOWEST_FALL_NS: i64 = 2_000_000;
const FASTEST_FALL_NS: i64 = 5_000_000;
/// A delay too long by this much is given up in one step when it was so for a while. It costs as much sound.
const FAR_NS: i64 = 60_000_000;
const CALM_NS: u64 = 2_000_000_000;
const PATIENCE_NS: u64 = 1_500_000_000;
const MAX_PATIENCE_NS: u64 = 30_000_000_000;
/// Needed again so soon, it was given up too early.
const REGRET_NS: u64 = 60_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Sound of 20 ms packets, each as late as `late_ms` says for its second and number; the delay each second.
    fn live(delay: &mut Delay, seconds: std::ops::Range<u64>, late_ms: impl Fn(u64) -> u64) -> Vec<f64> {
        let mut arrivals: Vec<(u64, u64)> = (seconds.start * 50..seconds.end * 50)
            .map(|packet| (packet * 20 * MS + late_ms(packet) * MS, packet * 20 * MS))
            .collect();
        arrivals.sort_unstable();
        let mut each = Vec::new();
        let mut arrived = arrivals.into_iter().peekable();
        for tick in seconds.start * 100..seconds.end * 100 {
            let now = tick * 10 * MS;
            while let Some((at, captured)) = arrived.next_if(|(at, _)| *at <= now) {
                delay.note_sound(captured, at);
            }
            delay.adapt(now);
            if tick % 100 == 99 {
                each.push(delay.current_ns() as f64 / 1e6);
            }
        }
        each
    }

    fn noise(packet: u64, below: u64) -> u64 {
        (packet.wrapping_mul(6_364_136_223_846_793_005) >> 33) % below
    }

    #[test]
    fn it_covers_the_spread_of_arrivals_and_follows_it_down() {
        let mut delay = Delay::default();
        let rough = live(&mut delay, 0..30, |packet| 20 + noise(packet, 40));
        assert!((78.0..90.0).contains(&rough[29]), "{rough:?}");
        let calm = live(&mut delay, 30..60, |packet| 20 + noise(packet, 3));
        assert!(calm[29] < 50.0, "{calm:?}");
    }

    #[test]
    fn a_stall_leaves_nothing_behind() {
        for stall_s in [1, 3] {
            let mut delay = Delay::default();
            let before = live(&mut delay, 0..20, |packet| 20 + noise(packet, 10));
            // All that was held up comes at once.
            let end = (20 + stall_s) * 50;
            let after = live(&mut delay, 20..40, |packet| {
                if packet < end { (end - packet) * 20 + 20 } else { 20 + noise(packet, 10) }
            });
            assert!(after.iter().all(|ms| *ms <= before[19] + 5.0), "{stall_s}: {after:?}");
        }
    }

    #[test]
    fn a_burst_that_takes_its_time_is_forgotten_within_five_seconds() {
        let mut delay = Delay::default();
        let before = live(&mut delay, 0..20, |packet| 20 + noise(packet, 10));
        // Three seconds of nothing; what was held up then comes at twice the usual pace.
        let after = live(&mut delay, 20..40, |packet| match packet - 1_000 {
            since @ 0..300 => 20 + (300_u64 - since) * 10,
            since => 20 + noise(since, 10),
        });
        assert!(after[11] <= before[19] + 5.0, "{after:?}");
    }

    #[test]
    fn an_unsteady_start_after_an_interruption_is_not_provided_for() {
        let mut delay = Delay::default();
        let before = live(&mut delay, 0..20, |packet| 20 + noise(packet, 10));
        // Three seconds are lost, and for two more every other packet is late.
        let again = |packet: u64| {
            20 + noise(packet, if packet < 1_250 && packet.is_multiple_of(2) { 90 } else { 10 })
        };
        let after = live(&mut delay, 23..40, again);
        assert!(after.iter().all(|ms| *ms <= before[19] + 5.0), "{before:?} {after:?}");
    }

    #[test]
    fn a_path_that_is_longer_after_an_interruption_is_provided_for() {
        let mut delay = Delay::default();
        live(&mut delay, 0..20, |_| 20);
        let after = live(&mut delay, 23..30, |_| 80);
        assert!(after[1] >= 100.0, "{after:?}");
    }

    #[test]
    fn a_longer_path_is_provided_for_and_a_shorter_one_again() {
        let mut delay = Delay::default();
        live(&mut delay, 0..10, |_| 20);
        let longer = live(&mut delay, 10..20, |_| 300);
        assert!(longer[2] >= 320.0 && longer[9] <= 330.0, "{longer:?}");
        let shorter = live(&mut delay, 20..30, |_| 20);
        assert!(shorter[4] <= 60.0, "{shorter:?}");
    }

    #[test]
    fn hiccups_that_return_are_not_forgotten_in_between() {
        let mut delay = Delay::default();
        let hiccup = |packet: u64| if packet % 200 < 10 { 120 } else { 20 };
        let each = live(&mut delay, 0..180, hiccup);
        let steps = each[60..].windows(2).filter(|pair| (pair[1] - pair[0]).abs() > 30.0).count();
        assert!(steps <= 8, "{steps} steps: {each:?}");
    }

    #[test]
    fn a_streamer_chooses_between_soon_and_steady() {
        let of = |steadiness| {
            let mut delay = Delay::default();
            delay.set_steadiness(steadiness);
            live(&mut delay, 0..60, |packet| 20 + noise(packet, 60))[59]
        };
        let (instant, balanced, steady) =
            (of(Steadiness::Instant), of(Steadiness::Balanced), of(Steadiness::Steady));
        assert!(instant + 3.0 < balanced && balanced + 50.0 < steady, "{instant} {balanced} {steady}");
        assert_eq!(steady, 200.0);
    }
}
