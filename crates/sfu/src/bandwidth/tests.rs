//! The send side against a simulated path: one queue in front of a link whose capacity changes.

use super::*;
use rtp::rtcp::{Arrival, Rtcp, TransportFeedbackHeader, parse, write_transport_feedback};
use std::collections::VecDeque;

/// A drop-tail queue, a link, a constant delay, and a receiver that gives feedback every 50 ms.
struct Path {
    capacity: f64,
    /// When the link is done with everything queued.
    free_at: f64,
    /// Longest queue, microseconds.
    buffer: f64,
    delay: f64,
    jitter: f64,
    last_arrival: f64,
    loss: f64,
    dice: u64,
    arrivals: Vec<Arrival>,
    last_told: Option<Arrival>,
    /// Feedback on its way back.
    feedback: VecDeque<(Micros, Vec<u8>)>,
    next_feedback: Micros,
}

impl Path {
    fn new(capacity: f64) -> Self {
        Self {
            capacity,
            free_at: 0.0,
            buffer: 1e6,
            delay: 25e3,
            jitter: 0.0,
            last_arrival: 0.0,
            loss: 0.0,
            dice: 1,
            arrivals: Vec::new(),
            last_told: None,
            feedback: VecDeque::new(),
            next_feedback: 0,
        }
    }

    fn roll(&mut self) -> f64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as f64 / (1u64 << 31) as f64
    }

    fn queue(&self, now: Micros) -> f64 {
        (self.free_at - now as f64).max(0.0)
    }

    fn send(&mut self, now: Micros, sequence: u64, octets: usize) {
        if self.queue(now) > self.buffer || self.roll() < self.loss {
            return;
        }
        self.free_at = self.free_at.max(now as f64) + octets as f64 * 8e6 / self.capacity;
        // Jitter on one path delays; it does not reorder.
        let arrival = f64::max(self.last_arrival, self.free_at + self.delay + self.roll() * self.jitter);
        self.last_arrival = arrival;
        self.arrivals.push(Arrival {
            sequence: sequence + 65_536,
            arrival_ns: (arrival * 1e3) as u64 + 9_000_000_000,
        });
    }

    /// The receiver's feedback, when it is time.
    fn tick(&mut self, now: Micros) {
        if now < self.next_feedback {
            return;
        }
        self.next_feedback = now + 50_000;
        let here = (now + 9_000_000) * 1_000;
        let mut told: Vec<Arrival> = self.arrivals.iter().copied().filter(|a| a.arrival_ns <= here).collect();
        self.arrivals.retain(|a| a.arrival_ns > here);
        told.sort_unstable_by_key(|a| a.sequence);
        if told.is_empty() {
            return;
        }
        let last = told.last().copied();
        if let Some(before) = std::mem::replace(&mut self.last_told, last) {
            told.retain(|a| a.sequence > before.sequence);
            told.insert(0, before);
        }
        let mut rest = told.as_slice();
        while !rest.is_empty() {
            let mut out = Vec::new();
            let written =
                write_transport_feedback(&mut out, &TransportFeedbackHeader::default(), rest, 1_100);
            if written == 0 {
                break;
            }
            rest = &rest[written..];
            self.feedback.push_back((now + self.delay as u64, out));
        }
    }
}

/// A sender of frames at a chosen rate, a controller and a path.
struct Run {
    now: Micros,
    controller: Controller,
    path: Path,
    sequence: u64,
    wanted: f64,
    /// Of the last [`Self::pass`], microseconds.
    longest_queue: f64,
    sent: u64,
}

impl Run {
    fn new(capacity: f64, wanted: f64) -> Self {
        let mut controller = Controller::new(1_000_000);
        controller.expect_feedback();
        Self {
            now: 1_000_000,
            controller,
            path: Path::new(capacity),
            sequence: 1_000,
            wanted,
            longest_queue: 0.0,
            sent: 0,
        }
    }

    fn estimate(&self) -> f64 {
        self.controller.estimate(self.now).unwrap() as f64
    }

    fn packet(&mut self, octets: usize) {
        self.controller.note_sent(self.sequence, octets);
        self.path.send(self.now, self.sequence, octets);
        self.sequence += 1;
        self.sent += octets as u64 * 8;
    }

    /// Lets `seconds` pass, sending 30 frames a second of what `rate` makes of the estimate, and padding for probes.
    fn pass(&mut self, seconds: f64, rate: impl Fn(f64) -> f64) {
        let end = self.now + (seconds * 1e6) as u64;
        (self.longest_queue, self.sent) = (0.0, 0);
        let mut next_frame = self.now;
        while self.now < end {
            if self.now >= next_frame {
                next_frame += 33_333;
                let mut octets = (rate(self.estimate_or_start()) / 30.0 / 8.0) as usize;
                while octets > 0 {
                    let size = octets.min(1_100);
                    self.packet(size);
                    octets -= size;
                }
            }
            let mut due = self.controller.prober().due(self.now);
            while due > 0 {
                self.packet(250);
                due = due.saturating_sub(250);
            }
            self.controller.stamp(self.now);
            self.controller.handle_timeout(self.now, self.wanted as u64, 0);
            self.path.tick(self.now);
            while self.path.feedback.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, bytes) = self.path.feedback.pop_front().unwrap();
                for packet in parse(&bytes) {
                    let Ok(Rtcp::TransportFeedback(feedback)) = packet else { panic!("{packet:?}") };
                    self.controller.handle_feedback(self.now, &feedback);
                }
            }
            self.longest_queue = self.longest_queue.max(self.path.queue(self.now));
            self.now += 1_000;
        }
    }

    fn estimate_or_start(&self) -> f64 {
        self.controller.estimate(self.now).unwrap_or(1_000_000) as f64
    }
}

#[test]
fn a_fast_path_is_known_within_a_second() {
    let mut run = Run::new(100e6, 10e6);
    run.pass(1.0, |estimate| estimate.min(2e6));
    assert!(run.estimate() > 10e6, "{}", run.estimate());
    assert!(run.longest_queue < 30e3);
}

#[test]
fn a_slow_path_is_filled_without_a_queue() {
    let mut run = Run::new(1e6, 3e6);
    run.pass(5.0, |estimate| 0.9 * estimate);
    for _ in 0..12 {
        run.pass(5.0, |estimate| 0.95 * estimate);
        assert!((0.6e6..1.2e6).contains(&run.estimate()), "{}", run.estimate());
        assert!(run.longest_queue < 250e3, "{}", run.longest_queue);
        assert!(run.sent as f64 > 5.0 * 0.6e6, "{}", run.sent);
    }
}

#[test]
fn a_cap_is_felt_within_a_second_and_its_end_within_five() {
    let mut run = Run::new(20e6, 3e6);
    run.pass(10.0, |estimate| estimate.min(3e6));
    assert!(run.estimate() > 3e6);
    run.path.capacity = 1e6;
    run.pass(1.2, |estimate| estimate.min(3e6));
    assert!(run.estimate() < 1.2e6, "{}", run.estimate());
    run.pass(20.0, |estimate| 0.95 * estimate.min(3e6));
    assert!((0.6e6..1.2e6).contains(&run.estimate()), "{}", run.estimate());
    run.path.capacity = 20e6;
    run.pass(5.0, |estimate| 0.95 * estimate.min(3e6));
    assert!(run.estimate() > 3e6, "{}", run.estimate());
}

#[test]
fn jitter_and_a_little_loss_leave_the_estimate_alone() {
    let mut run = Run::new(20e6, 3e6);
    (run.path.jitter, run.path.loss) = (15e3, 0.05);
    run.pass(2.0, |estimate| estimate.min(3e6));
    for _ in 0..30 {
        run.pass(1.0, |estimate| estimate.min(3e6));
        assert!(run.estimate() > 3e6, "{}", run.estimate());
    }
}

/// What a picture in three encodings takes of an estimate of which `loss` is lost again.
fn layered(estimate: f64, loss: f64) -> f64 {
    let fits = |rate: &&f64| **rate * RAISE <= estimate * (1.0 - loss);
    [2e6, 600e3, 200e3].iter().find(fits).copied().unwrap_or(120e3)
}

#[test]
fn a_cap_that_ends_is_forgotten_whatever_the_path_loses_by_itself() {
    for (loss, delay) in
        [0.0, 0.01, 0.03, 0.05, 0.10].iter().flat_map(|l| [20e3, 50e3, 100e3].map(|d| (*l, d)))
    {
        let mut run = Run::new(100e6, 2e6 * RAISE / (1.0 - loss));
        (run.path.loss, run.path.delay, run.path.buffer) = (loss, delay, 300e3);
        run.pass(6.0, |estimate| layered(estimate, loss));
        assert!(layered(run.estimate(), loss) >= 2e6, "{loss} {delay}: {} at first", run.estimate());
        run.path.capacity = 1e6;
        run.pass(12.0, |estimate| layered(estimate, loss));
        run.pass(5.0, |estimate| layered(estimate, loss));
        assert!(run.sent as f64 > 5.0 * 350e3, "{loss} {delay}: {} bits", run.sent);
        assert!(run.longest_queue < 290e3, "{loss} {delay}: {}", run.longest_queue);
        run.path.capacity = 100e6;
        run.pass(7.0, |estimate| layered(estimate, loss));
        assert!(layered(run.estimate(), loss) >= 2e6, "{loss} {delay}: {}", run.estimate());
        run.pass(5.0, |estimate| layered(estimate, loss));
        assert!(run.sent as f64 > 5.0 * 1.8e6, "{loss} {delay}: it stays: {} bits", run.sent);
    }
}

#[test]
fn a_keyframe_after_little_does_not_make_little_the_paths_capacity() {
    for delay in [20e3, 50e3, 100e3] {
        let mut run = Run::new(1e6, 2e6);
        (run.path.delay, run.path.buffer) = (delay, 300e3);
        run.pass(10.0, |_| 100e3);
        assert!(run.estimate() > 0.7e6, "{delay}: {}", run.estimate());
        run.pass(0.3, |_| 1.6e6);
        let mut least = f64::INFINITY;
        for _ in 0..10 {
            run.pass(0.1, |_| 300e3);
            least = least.min(run.estimate());
        }
        assert!(least > 0.5e6, "{delay}: {least}");
    }
}

#[test]
fn a_shallow_buffer_that_loses_is_left_within_seconds() {
    let mut run = Run::new(1e6, 3e6);
    run.path.buffer = 20e3;
    run.pass(10.0, |estimate| 0.95 * estimate);
    for _ in 0..10 {
        run.pass(3.0, |estimate| 0.95 * estimate);
        assert!((0.4e6..1.4e6).contains(&run.estimate()), "{}", run.estimate());
    }
}

#[test]
fn silence_after_feedback_lowers_the_estimate() {
    let mut run = Run::new(20e6, 3e6);
    run.pass(3.0, |estimate| estimate.min(3e6));
    run.path.loss = 1.0;
    run.pass(10.0, |_| 1e5);
    assert!(run.estimate() < 1e6, "{}", run.estimate());
}

#[test]
fn without_transport_wide_feedback_remb_and_then_loss_decide() {
    let mut controller = Controller::new(0);
    assert_eq!(controller.estimate(0), None);
    controller.handle_remb(0, 700_000);
    assert_eq!(controller.estimate(1), Some(700_000));
    controller.handle_timeout(2, 3_000_000, 500_000);
    assert_eq!(controller.padding_rate(3), Some(200_000.0), "or it would never tell more");
    controller.handle_remb(4, 650_000);
    assert_eq!(controller.padding_rate(5), None, "what is too much already needs no more");
    assert_eq!(controller.estimate(20_000_000), None, "it was not repeated");
    controller.handle_timeout(20_000_000, 3_000_000, 2_000_000);
    for n in 0..4u64 {
        controller.handle_report(20_000_000 + n * 1_000_000, 70, 30);
    }
    let estimate = controller.estimate(23_000_000).unwrap();
    assert!((1_000_000..1_800_000).contains(&estimate), "{estimate}");
}

#[test]
fn a_client_that_never_gives_feedback_is_not_held_back_for_long() {
    let mut controller = Controller::new(0);
    controller.expect_feedback();
    controller.note_sent(1, 1_000);
    controller.stamp(1_000);
    assert_eq!(controller.estimate(2_000), Some(600_000));
    controller.handle_timeout(2_100_000, 3_000_000, 1_000_000);
    assert_eq!(controller.estimate(2_100_000), None);
}

#[test]
fn feedback_full_of_lies_does_no_harm() {
    let mut run = Run::new(20e6, 3e6);
    run.pass(2.0, |estimate| estimate.min(3e6));
    let mut dice = 7u64;
    for _ in 0..2_000 {
        let mut body = vec![0u8; 64];
        for octet in &mut body {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            *octet = (dice >> 40) as u8;
        }
        body[..4].copy_from_slice(&[0x8F, 205, 0, 15]);
        for packet in parse(&body) {
            if let Ok(Rtcp::TransportFeedback(feedback)) = packet {
                run.controller.handle_feedback(run.now, &feedback);
            }
        }
        run.pass(0.002, |_| 2e6);
        assert!((50_000.0..=500e6).contains(&run.estimate()));
    }
}
