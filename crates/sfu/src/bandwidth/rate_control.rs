//! What to make of the delay: additive increase near the known capacity, multiplicative far from it, and a step below
//! what arrives when a queue grows (draft-ietf-rmcat-gcc-02 §5.5).

use super::Micros;
use super::trendline::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hold,
    Increase,
    Decrease,
}

/// The delay-based estimate, bit/s.
#[derive(Debug)]
pub struct RateControl {
    estimate: f64,
    state: State,
    capacity: Capacity,
    changed_at: Micros,
    decreased_at: Option<Micros>,
}

impl RateControl {
    pub fn new(estimate: f64, now: Micros) -> Self {
        Self {
            estimate,
            state: State::Hold,
            capacity: Capacity::default(),
            changed_at: now,
            decreased_at: None,
        }
    }

    pub fn estimate(&self) -> f64 {
        self.estimate
    }

    pub fn decreased_at(&self) -> Option<Micros> {
        self.decreased_at
    }

    /// A measurement better than any inference.
    pub fn set(&mut self, estimate: f64, now: Micros) {
        self.estimate = estimate;
        self.changed_at = now;
        if self.state == State::Decrease {
            self.state = State::Hold;
        }
    }

    /// Takes what a feedback message showed of packets up to one sent at `sent_at`: the usage, and what arrives
    /// (`acknowledged`, bit/s).
    pub fn update(
        &mut self,
        now: Micros,
        sent_at: Micros,
        usage: Usage,
        acknowledged: Option<f64>,
        round_trip: Micros,
        max: f64,
    ) {
        self.state = match (usage, self.state) {
            (Usage::Over, _) => State::Decrease,
            (Usage::Under, _) => State::Hold,
            (Usage::Normal, State::Hold) => {
                self.changed_at = now;
                State::Increase
            }
            // The queue is gone before its step was due: nothing is left to step down for.
            (Usage::Normal, State::Decrease) => State::Hold,
            (Usage::Normal, State::Increase) => State::Increase,
        };
        match self.state {
            State::Hold => {}
            State::Increase => self.increase(now, acknowledged, round_trip, max),
            State::Decrease => self.decrease(now, sent_at, acknowledged, round_trip),
        }
    }

    fn increase(&mut self, now: Micros, acknowledged: Option<f64>, round_trip: Micros, max: f64) {
        if acknowledged.is_some_and(|rate| rate > self.capacity.upper()) {
            self.capacity = Capacity::default();
        }
        let elapsed = now.saturating_sub(self.changed_at) as f64 / 1e6;
        self.changed_at = now;
        // What is not tried out is not known: beyond half more than what arrives, only probes lift the estimate.
        let limit = acknowledged.map_or(self.estimate, |rate| 1.5 * rate + 10_000.0).min(max);
        if self.estimate >= limit {
            return;
        }
        let step = if self.capacity.mean.is_some() {
            self.additive_per_second(round_trip) * elapsed
        } else {
            (self.estimate * (MULTIPLIER.powf(elapsed.min(1.0)) - 1.0)).max(1_000.0 * elapsed)
        };
        self.estimate = (self.estimate + step).min(limit);
    }

    /// One packet in each response time (§5.5), the time it takes for feedback to show a change.
    fn additive_per_second(&self, round_trip: Micros) -> f64 {
        let frame_bits = self.estimate / 30.0;
        let packets = (frame_bits / (1_200.0 * 8.0)).ceil().max(1.0);
        let response_time = (round_trip + 100_000) as f64 / 1e6;
        (frame_bits / packets / response_time).max(4_000.0)
    }

    fn decrease(&mut self, now: Micros, sent_at: Micros, acknowledged: Option<f64>, round_trip: Micros) {
        let Some(rate) = acknowledged else {
            // Nothing measured yet, and already a queue.
            if self.may_decrease(now, sent_at, round_trip, 0.0) {
                self.settle(now, self.estimate / 2.0);
            }
            return;
        };
        if !self.may_decrease(now, sent_at, round_trip, rate) {
            return;
        }
        let mut decreased = BETA * rate;
        if decreased > self.estimate
            && let Some(capacity) = self.capacity.mean
        {
            decreased = BETA * capacity;
        }
        let decreased = decreased.min(self.estimate);
        if rate < self.capacity.lower() {
            self.capacity = Capacity::default();
        }
        self.capacity.note(rate);
        self.settle(now, decreased);
    }

    /// One step for one queue: the next only for packets sent after the last one (those before it are still coming
    /// out of the queue it was taken for), or when that was too small to begin with.
    fn may_decrease(&self, now: Micros, sent_at: Micros, round_trip: Micros, rate: f64) -> bool {
        let patience = round_trip.clamp(10_000, 200_000);
        let is_felt = |at| now.saturating_sub(at) >= patience && (sent_at > at || rate < self.estimate);
        self.decreased_at.is_none_or(is_felt) || (rate > 0.0 && rate < self.estimate / 2.0)
    }

    fn settle(&mut self, now: Micros, estimate: f64) {
        self.estimate = estimate;
        self.state = State::Hold;
        (self.changed_at, self.decreased_at) = (now, Some(now));
    }
}

/// What arrived when queues grew: the path's capacity, while it stays what it is.
#[derive(Debug, Default)]
struct Capacity {
    mean: Option<f64>,
    /// Of kbit/s, normalised by the mean.
    deviation: f64,
}

impl Capacity {
    fn note(&mut self, rate: f64) {
        let mean = match self.mean {
            Some(mean) => mean + SMOOTHING * (rate - mean),
            None => {
                self.deviation = 0.4;
                rate
            }
        };
        let error = (mean - rate) / 1e3;
        let normalised = error * error / (mean / 1e3).max(1.0);
        self.deviation = ((1.0 - SMOOTHING) * self.deviation + SMOOTHING * normalised).clamp(0.4, 2.5);
        self.mean = Some(mean);
    }

    fn spread(&self, mean: f64) -> f64 {
        3.0 * (self.deviation * mean / 1e3).sqrt() * 1e3
    }

    fn upper(&self) -> f64 {
        self.mean.map_or(f64::INFINITY, |mean| mean + self.spread(mean))
    }

    fn lower(&self) -> f64 {
        self.mean.map_or(0.0, |mean| mean - self.spread(mean))
    }
}

/// §5.5 and §5.7 of the draft.
const BETA: f64 = 0.85;
const MULTIPLIER: f64 = 1.08;
const SMOOTHING: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Micros = 50_000;

    #[test]
    fn it_grows_by_eight_percent_a_second_until_half_more_than_what_arrives() {
        let mut control = RateControl::new(1e6, 0);
        for n in 1..=40 {
            control.update(n * 50_000, n * 50_000, Usage::Normal, Some(1e6), RTT, 1e9);
        }
        assert!((1.14e6..1.18e6).contains(&control.estimate()), "{}", control.estimate());
        for n in 41..=2_000 {
            control.update(n * 50_000, n * 50_000, Usage::Normal, Some(1e6), RTT, 1e9);
        }
        assert_eq!(control.estimate(), 1.51e6);
    }

    #[test]
    fn a_queue_costs_one_step_below_what_arrives_and_the_way_back_is_slow() {
        let mut control = RateControl::new(3e6, 0);
        control.update(100_000, 100_000, Usage::Over, Some(1e6), RTT, 1e9);
        assert_eq!(control.estimate(), 0.85e6);
        control.update(120_000, 120_000, Usage::Over, Some(0.9e6), RTT, 1e9);
        assert_eq!(control.estimate(), 0.85e6, "the first step is not felt yet");
        control.update(170_000, 170_000, Usage::Under, Some(0.9e6), RTT, 1e9);
        for n in 0..20 {
            control.update(200_000 + n * 50_000, 200_000 + n * 50_000, Usage::Normal, Some(0.85e6), RTT, 1e9);
        }
        let gained = control.estimate() - 0.85e6;
        assert!((20e3..80e3).contains(&gained), "{gained}");
    }

    #[test]
    fn a_queue_that_is_gone_costs_no_second_step() {
        let mut control = RateControl::new(3e6, 0);
        control.update(100_000, 100_000, Usage::Over, Some(1e6), RTT, 1e9);
        control.update(120_000, 120_000, Usage::Over, Some(0.6e6), RTT, 1e9);
        control.update(170_000, 170_000, Usage::Normal, Some(0.2e6), RTT, 1e9);
        assert_eq!(control.estimate(), 0.85e6, "little was sent meanwhile, that is all");
    }

    #[test]
    fn when_much_more_arrives_than_the_known_capacity_it_is_forgotten() {
        let mut control = RateControl::new(1e6, 0);
        control.update(100_000, 100_000, Usage::Over, Some(1e6), RTT, 1e9);
        control.update(200_000, 200_000, Usage::Normal, Some(2e6), RTT, 1e9);
        for n in 0..20 {
            control.update(200_000 + n * 50_000, 200_000 + n * 50_000, Usage::Normal, Some(2e6), RTT, 1e9);
        }
        assert!(control.estimate() > 0.85e6 * 1.07);
    }
}
