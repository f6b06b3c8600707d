//! Lets packets out no faster than the path takes them: who may pass at once, and who waits in which order.
//!
//! A token bucket: what was sent is a debt that the pacing rate pays off. Up to 40 ms of debt everything passes at once,
//! so a frame goes out as it came in. Beyond, pictures wait, as references into their producer's ring; sound never does.
//! They leave in the order of their classes, in bursts of 5 ms.

use super::Micros;
use std::collections::VecDeque;

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Somebody waits for it already.
    Resend,
    /// Who speaks, or is on air.
    Important,
    Ordinary,
}

/// A reference to a packet that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<T> {
    pub consumer: usize,
    pub what: T,
    since: Micros,
}

/// One transport's bucket and its queues (*media* kind: bounded by [`MAX_WAITING`] packets and by age; when full, or
/// over-aged, the consumer's part of the queue is dropped and its stream begins anew with a keyframe).
#[derive(Debug)]
pub struct Pacer<T> {
    queues: [VecDeque<Waiting<T>>; CLASSES],
    /// Octets per microsecond; without one, everything passes.
    rate: Option<f64>,
    debt: f64,
    paid_at: Micros,
}

impl<T: Copy> Pacer<T> {
    pub fn new() -> Self {
        Self { queues: Default::default(), rate: None, debt: 0.0, paid_at: 0 }
    }

    /// `rate` in bit/s.
    pub fn set_rate(&mut self, rate: Option<f64>) {
        self.rate = rate.map(|rate| rate / 8e6);
    }

    /// Whether a packet of `class` may go at once: within the budget, and nobody of its class or before it waits.
    pub fn admits(&mut self, now: Micros, class: Class) -> bool {
        let Some(rate) = self.rate else { return self.is_empty() };
        self.pay(now, rate);
        self.debt <= burst(rate) && self.queues[..=class as usize].iter().all(VecDeque::is_empty)
    }

    /// A packet goes out.
    pub fn charge(&mut self, octets: usize) {
        self.debt += octets as f64;
    }

    fn pay(&mut self, now: Micros, rate: f64) {
        if now > self.paid_at {
            self.debt = (self.debt - rate * (now - self.paid_at) as f64).max(0.0);
            self.paid_at = now;
        }
    }

    /// Lets a packet wait; false when there is no room.
    #[must_use]
    pub fn hold(&mut self, now: Micros, class: Class, consumer: usize, what: T) -> bool {
        if self.len() >= MAX_WAITING {
            return false;
        }
        self.queues[class as usize].push_back(Waiting { consumer, what, since: now });
        true
    }

    /// The next packet that may leave.
    pub fn release(&mut self, now: Micros) -> Option<Waiting<T>> {
        if let Some(rate) = self.rate {
            self.pay(now, rate);
            if self.debt > burst(rate) {
                return None;
            }
        }
        self.queues.iter_mut().find_map(VecDeque::pop_front)
    }

    /// A consumer whose pictures waited too long.
    pub fn find_late(&self, now: Micros) -> Option<usize> {
        let patience = self.rate.map_or(MIN_PATIENCE, |rate| {
            MIN_PATIENCE + ((KEYFRAME / rate.max(1e-6)) as Micros).min(MAX_KEYFRAME_TIME)
        });
        let late = |w: &&Waiting<T>| now.saturating_sub(w.since) > patience;
        self.queues.iter().find_map(|queue| queue.front().filter(late)).map(|w| w.consumer)
    }

    /// Whether a packet of `consumer` has waited so long that those behind it are better sent instead.
    pub fn is_jammed(&self, now: Micros, consumer: usize) -> bool {
        self.queues.iter().flatten().any(|w| w.consumer == consumer && now.saturating_sub(w.since) > JAM)
    }

    /// Removes all packets of `consumer`, telling each.
    pub fn drop_consumer(&mut self, consumer: usize, mut dropped: impl FnMut(&T)) {
        for queue in &mut self.queues {
            queue.retain(|waiting| {
                let keep = waiting.consumer != consumer;
                if !keep {
                    dropped(&waiting.what);
                }
                keep
            });
        }
    }

    /// When [`Self::release`] will have something; `None` while nothing waits.
    pub fn next_release(&self) -> Option<Micros> {
        if self.is_empty() {
            return None;
        }
        let Some(rate) = self.rate else { return Some(self.paid_at) };
        let excess = self.debt - (burst(rate) - rate * QUANTUM as f64);
        Some(self.paid_at + (excess / rate).clamp(0.0, 1e6) as Micros)
    }

    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty)
    }

    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }
}

fn burst(rate: f64) -> f64 {
    (rate * BURST as f64).max(MIN_BURST)
}

const CLASSES: usize = 3;
/// What a producer's ring can still hold.
const MAX_WAITING: usize = 512;
/// A frame of 25 a second passes in one piece.
const BURST: Micros = 40_000;
/// Three packets, however slow the path.
const MIN_BURST: f64 = 3_600.0;
/// Enough for several segments per send.
const QUANTUM: Micros = 5_000;
/// Beyond this a conversation suffers; on top comes the time a keyframe takes on a path so slow.
const MIN_PATIENCE: Micros = 250_000;
/// Longer than a path that is just full makes anything wait.
const JAM: Micros = 150_000;
const KEYFRAME: f64 = 48_000.0;
const MAX_KEYFRAME_TIME: Micros = 750_000;

#[cfg(test)]
mod tests {
    use super::*;

    /// Offers `octets` of `class` for consumer 1; whether it passed at once.
    fn offer(pacer: &mut Pacer<u32>, now: Micros, class: Class, what: u32) -> bool {
        let passes = pacer.admits(now, class);
        if passes {
            pacer.charge(1_000);
        } else {
            assert!(pacer.hold(now, class, 1, what));
        }
        passes
    }

    #[test]
    fn a_frame_passes_and_a_burst_is_spread() {
        let mut pacer = Pacer::new();
        pacer.set_rate(Some(1e6));
        let passed = (0..30).filter(|n| offer(&mut pacer, 0, Class::Ordinary, *n)).count();
        assert_eq!(passed, 6, "40 ms are 5,000 octets");
        let (mut now, mut order) = (0, Vec::new());
        while let Some(at) = pacer.next_release() {
            assert!(at >= now);
            now = at;
            while let Some(waiting) = pacer.release(now) {
                pacer.charge(1_000);
                order.push(waiting.what);
            }
        }
        assert_eq!(order, (6..30).collect::<Vec<_>>());
        assert!((180_000..200_000).contains(&now), "24,000 octets at 1 Mbit/s: {now}");
        assert!(offer(&mut pacer, now + 10_000, Class::Ordinary, 0), "and all is as before");
    }

    #[test]
    fn what_matters_more_goes_first() {
        let mut pacer = Pacer::new();
        pacer.set_rate(Some(1e6));
        pacer.charge(20_000);
        for (what, class) in
            [(1, Class::Ordinary), (2, Class::Important), (3, Class::Resend), (4, Class::Ordinary)]
        {
            assert!(!offer(&mut pacer, 0, class, what));
        }
        let order: Vec<_> = std::iter::from_fn(|| pacer.release(1_000_000)).map(|w| w.what).collect();
        assert_eq!(order, [3, 2, 1, 4]);
    }

    #[test]
    fn nothing_waits_for_ever() {
        let mut pacer = Pacer::new();
        pacer.set_rate(Some(1e6));
        pacer.charge(1_000_000);
        assert!((0..512).all(|n| pacer.hold(0, Class::Ordinary, 7, n)));
        assert!(!pacer.hold(0, Class::Important, 7, 0), "full");
        assert!(!pacer.is_jammed(150_000, 7) && pacer.is_jammed(151_000, 7) && !pacer.is_jammed(151_000, 8));
        assert_eq!(pacer.find_late(600_000), None);
        assert_eq!(pacer.find_late(700_000), Some(7));
        let mut first = None;
        pacer.drop_consumer(7, |what| first = first.or(Some(*what)));
        assert_eq!((first, pacer.len()), (Some(0), 0));
        assert_eq!(pacer.next_release(), None);
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let mut pacer = Pacer::<u32>::new();
        assert!((0..10_000).all(|_| offer(&mut pacer, 0, Class::Ordinary, 0)));
    }
}
