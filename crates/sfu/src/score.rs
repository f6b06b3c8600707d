//! The quality of one stream as a number from 0 to 10.
//!
//! Judged once a report interval (1 s). It begins at 10 and loses points for what a person notices:
//!
//! | cause | points lost |
//! |---|---|
//! | packets lost | above 1 %: 1, 3 %: 2, 5 %: 4, 10 %: 6, 20 %: 8; one that a retransmission brought back counts a quarter: late, but there |
//! | round trip | above 150 ms: 1, 300 ms: 2, 500 ms: 4 |
//! | jitter | above 30 ms: 1, 60 ms: 2, 100 ms: 3 |
//!
//! It is 0 for an encoding of which nothing arrives any more, and for a consumer that gets nothing for want of bandwidth.
//! It falls at once and rises by one point a second, so that one bad second is seen, and a flapping path does not flap here.

use crate::clock::Millis;
use crate::layers::MAX_SPATIAL;
use crate::receive::Stream;

/// What one interval was like. Losses from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Interval {
    pub lost: f64,
    /// Of those, what retransmission brought back.
    pub repaired: f64,
    pub round_trip: Option<Millis>,
    pub jitter_ms: f64,
}

impl Interval {
    pub fn judge(&self) -> u8 {
        let repaired = self.repaired.min(self.lost);
        let felt = (self.lost - repaired) + repaired / 4.0;
        let round_trip = self.round_trip.unwrap_or(0) as f64;
        let lost =
            points(felt * 100.0, &LOSS) + points(round_trip, &ROUND_TRIP) + points(self.jitter_ms, &JITTER);
        BEST.saturating_sub(lost)
    }
}

/// A stream's score as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score(u8);

impl Default for Score {
    fn default() -> Self {
        Self(BEST)
    }
}

impl Score {
    pub fn value(self) -> u8 {
        self.0
    }

    /// Once an interval.
    pub fn note(&mut self, judged: u8) {
        self.0 = judged.min(self.0.saturating_add(1));
    }
}

/// Of each encoding of a producer that has begun, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scores([Option<u8>; MAX_SPATIAL]);

impl Scores {
    pub fn of<'a>(streams: impl Iterator<Item = &'a Stream>) -> Self {
        let mut scores = Self::default();
        for (slot, stream) in scores.0.iter_mut().zip(streams) {
            *slot = stream.ssrc.and(stream.last_packet).map(|_| stream.score.value());
        }
        scores
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    pub fn get(&self, encoding: u8) -> Option<u8> {
        self.0.get(usize::from(encoding)).copied().flatten()
    }

    /// Encodings that have not begun count as 0.
    pub fn to_vec(self, encodings: usize) -> Vec<u8> {
        self.0.iter().take(encodings).map(|score| score.unwrap_or(0)).collect()
    }
}

fn points(value: f64, steps: &[(f64, u8)]) -> u8 {
    steps.iter().filter(|(above, _)| value > *above).map(|(_, points)| *points).max().unwrap_or(0)
}

pub const BEST: u8 = 10;
const LOSS: [(f64, u8); 5] = [(1.0, 1), (3.0, 2), (5.0, 4), (10.0, 6), (20.0, 8)];
const ROUND_TRIP: [(f64, u8); 3] = [(150.0, 1), (300.0, 2), (500.0, 4)];
const JITTER: [(f64, u8); 3] = [(30.0, 1), (60.0, 2), (100.0, 3)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_falls_with_what_a_person_notices() {
        let check = |lost, repaired, round_trip, jitter_ms, expected| {
            let interval = Interval { lost, repaired, round_trip: Some(round_trip), jitter_ms };
            assert_eq!(interval.judge(), expected, "{interval:?}");
        };
        check(0.0, 0.0, 20, 5.0, 10);
        check(0.02, 0.0, 20, 5.0, 9);
        check(0.06, 0.0, 200, 40.0, 4);
        check(0.3, 0.0, 1_000, 200.0, 0);
        check(0.04, 0.04, 20, 5.0, 10);
        check(0.1, 0.1, 20, 5.0, 9);
        check(0.1, 0.05, 20, 5.0, 6);
        check(0.01, 0.5, 20, 5.0, 10);
    }

    #[test]
    fn it_falls_at_once_and_recovers_slowly() {
        let mut score = Score::default();
        let told: Vec<u8> = [10, 3, 10, 10, 5, 10]
            .map(|judged| {
                score.note(judged);
                score.value()
            })
            .to_vec();
        assert_eq!(told, [10, 3, 4, 5, 5, 6]);
    }
}
