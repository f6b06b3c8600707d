//! When packets may gather a little before they are sent, so that more of them share one system call.
//!
//! Sending costs several times what encrypting does, and almost all of it per call, not per datagram. A room in which
//! each guest receives thousands of packets a second therefore costs half as much when each guest's packets of a
//! millisecond or two go out together. In a smaller one nothing would have gathered by then, and nobody waits.

use std::time::{Duration, Instant};

/// The choice of one worker, made anew every [`INTERVAL`] from what it sent.
#[derive(Debug)]
pub struct Coalescing {
    mode: Mode,
    interval: Option<Interval>,
    /// Else the mode stays prompt.
    allowed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything goes at once. `until`: gathering was tried and gained nothing.
    Prompt { until: Option<Instant> },
    /// The next round begins at this time, unless nothing comes.
    Gathering { next: Instant, window: Duration },
}

/// One round of receiving and sending.
#[derive(Clone, Copy, Debug, Default)]
pub struct Round {
    /// Sent.
    pub datagrams: u32,
    /// To so many clients.
    pub clients: u32,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    began: Instant,
    rounds: u32,
    sum: Round,
}

impl Coalescing {
    pub fn new(allowed: bool) -> Self {
        Self { mode: Mode::Prompt { until: None }, interval: None, allowed }
    }

    /// How long to let packets gather before the next round; `None`: wait for one, and take it at once.
    pub fn pause(&self, now: Instant) -> Option<Duration> {
        match self.mode {
            Mode::Prompt { .. } => None,
            Mode::Gathering { next, .. } => Some(next.saturating_duration_since(now)),
        }
    }

    /// How long to let the rest of a picture follow its first packet, after `silence` without any.
    pub fn burst(&self, silence: Duration) -> Option<Duration> {
        (self.allowed && silence >= BURST).then_some(BURST)
    }

    pub fn gathers(&self) -> bool {
        matches!(self.mode, Mode::Gathering { .. })
    }

    /// A round that began at `began` is over.
    pub fn note_round(&mut self, began: Instant, round: Round) {
        if let Mode::Gathering { next, window } = &mut self.mode {
            // From beginning to beginning: a round's own work is time in which packets gather, too.
            *next = began + *window;
        }
        let interval = self.interval.get_or_insert(Interval { began, rounds: 0, sum: Round::default() });
        if round.datagrams > 0 {
            interval.rounds += 1;
            interval.sum.datagrams = interval.sum.datagrams.saturating_add(round.datagrams);
            interval.sum.clients = interval.sum.clients.saturating_add(round.clients);
        }
        let passed = began.saturating_duration_since(interval.began);
        if passed >= INTERVAL {
            let Interval { rounds, sum, .. } = *interval;
            self.interval = None;
            self.choose(began, passed, rounds, sum);
        }
    }

    fn choose(&mut self, now: Instant, passed: Duration, rounds: u32, sum: Round) {
        let per_second = f64::from(sum.datagrams) / passed.as_secs_f64();
        self.mode = match self.mode {
            Mode::Prompt { until: Some(until) } if now < until => self.mode,
            Mode::Prompt { .. } => {
                let clients_per_round = f64::from(sum.clients) / f64::from(rounds.max(1));
                let window = window_for(per_second / clients_per_round.max(1.0));
                match window.filter(|_| self.allowed && per_second >= BUSY) {
                    Some(window) => {
                        tracing::debug!(per_second, ?window, "packets gather before they are sent");
                        Mode::Gathering { next: now + window, window }
                    }
                    None => Mode::Prompt { until: None },
                }
            }
            Mode::Gathering { next, window } => {
                // A client's own rate, by what came together in a window.
                let gathered = f64::from(sum.datagrams) / f64::from(sum.clients.max(1));
                match window_for(gathered / window.as_secs_f64()).filter(|_| per_second >= BUSY / 2.0) {
                    Some(window) => Mode::Gathering { next, window },
                    None => {
                        tracing::debug!(per_second, gathered, "packets are sent at once");
                        Mode::Prompt { until: Some(now + RETRY) }
                    }
                }
            }
        };
    }
}

/// From one round to the next, for clients who are sent `rate` datagrams a second each; a packet waits half of it in
/// the middle. `None`: too few would gather.
fn window_for(rate: f64) -> Option<Duration> {
    (rate * LONGEST.as_secs_f64() >= WORTH_IT)
        .then(|| Duration::from_secs_f64(ENOUGH / rate).clamp(SHORTEST, LONGEST))
}

/// Half of it is what a guest in the next room is away by its Wi-Fi alone.
const LONGEST: Duration = Duration::from_micros(2_200);
/// After a silence the first packet is given this time for the rest of its picture to follow it.
const BURST: Duration = Duration::from_micros(250);
const SHORTEST: Duration = Duration::from_micros(500);
/// Datagrams in one call, beyond which another one saves little.
const ENOUGH: f64 = 8.0;
const INTERVAL: Duration = Duration::from_millis(100);
/// Datagrams a second from which on the cost is felt: some 5 % of a core.
const BUSY: f64 = 10_000.0;
/// Datagrams for one client in the longest window: below two, most go alone anyway.
const WORTH_IT: f64 = 2.0;
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_after_a_silence_a_packet_waits_for_others() {
        let gathering = Coalescing::new(true);
        assert_eq!(gathering.burst(Duration::from_millis(5)), Some(BURST));
        assert_eq!(gathering.burst(Duration::from_micros(50)), None);
        assert_eq!(Coalescing::new(false).burst(Duration::from_millis(5)), None);
    }

    /// One second of `per_second` packets, each for `clients` of its room, in rounds as the choice makes them.
    fn run(
        coalescing: &mut Coalescing,
        from: Instant,
        per_second: u64,
        clients: u32,
        rooms: u32,
    ) -> (Instant, bool) {
        let mut now = from;
        let mut sent = 0;
        while now < from + Duration::from_secs(1) {
            let gap = Duration::from_nanos(1_000_000_000 / per_second.max(1));
            let (step, packets) = match coalescing.pause(now) {
                None => (gap, 1),
                Some(pause) => (pause.max(gap), (pause.as_nanos() / gap.as_nanos()).max(1) as u32),
            };
            now += step;
            sent += packets;
            let reached = clients * packets.min(rooms);
            coalescing.note_round(now, Round { datagrams: packets * clients, clients: reached });
        }
        assert!(sent > 0);
        (now, coalescing.pause(now).is_some())
    }

    #[test]
    fn a_busy_room_gathers_and_a_quiet_one_does_not() {
        let check = |per_second, clients, expected| {
            let mut coalescing = Coalescing::new(true);
            let (_, gathers) = run(&mut coalescing, Instant::now(), per_second, clients, 1);
            assert_eq!(gathers, expected, "{per_second} packets a second to {clients}");
        };
        // 15 cameras to 15; five guests among themselves; one camera to a hundred; nothing.
        check(15 * 227, 15, true);
        check(5 * 277, 4, false);
        check(227, 100, false);
        check(1, 1, false);
    }

    #[test]
    fn who_does_not_want_it_never_waits() {
        let mut coalescing = Coalescing::new(false);
        assert!(!run(&mut coalescing, Instant::now(), 15 * 227, 15, 1).1);
    }

    #[test]
    fn what_gains_nothing_is_given_up() {
        let mut coalescing = Coalescing::new(true);
        // Twenty rooms, each with few packets: together busy, but no client gets two in a window.
        let (now, gathers) = run(&mut coalescing, Instant::now(), 3_000, 10, 20);
        assert!(!gathers || !run(&mut coalescing, now, 3_000, 10, 20).1);
    }

    #[test]
    fn when_the_room_empties_nobody_waits_any_longer() {
        let mut coalescing = Coalescing::new(true);
        let (now, gathers) = run(&mut coalescing, Instant::now(), 3_405, 15, 1);
        assert!(gathers);
        assert!(!run(&mut coalescing, now, 227, 15, 1).1);
    }
}
