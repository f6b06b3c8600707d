//! Which packets of one received stream are missing, and when to ask for them (RFC 4585 §6.2.1).

use crate::clock::Millis;

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    since: Millis,
    asked: u8,
    last_asked: Millis,
}

/// Missing packets in ascending order; bounded, and when it overflows the stream needs a keyframe instead.
#[derive(Debug, Default)]
pub struct NackList {
    missing: Vec<Missing>,
}

/// What became of the missing ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp(pub bool);

impl NackList {
    /// The packets between `highest` and the new `arrived` are missing.
    pub fn note_gap(&mut self, highest: u64, arrived: u64, now: Millis) -> GivenUp {
        let gap = arrived.saturating_sub(highest + 1);
        if gap as usize + self.missing.len() > MAX_MISSING {
            self.missing.clear();
            return GivenUp(true);
        }
        let new =
            (highest + 1..arrived).map(|sequence| Missing { sequence, since: now, asked: 0, last_asked: 0 });
        self.missing.extend(new);
        GivenUp(false)
    }

    /// A late or repaired packet. Answers how long ago it was first asked for, if it was asked for once: a measure of
    /// the round trip.
    pub fn note_arrival(&mut self, sequence: u64, now: Millis) -> Option<Millis> {
        let at = self.missing.binary_search_by_key(&sequence, |m| m.sequence).ok()?;
        let found = self.missing.remove(at);
        (found.asked == 1).then(|| now.saturating_sub(found.last_asked))
    }

    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    pub fn clear(&mut self) {
        self.missing.clear();
    }

    /// Puts the numbers to ask for now into `due`. Gives up on those asked for too often or too long.
    pub fn poll(&mut self, now: Millis, round_trip: Millis, due: &mut Vec<u16>) -> GivenUp {
        let before = self.missing.len();
        self.missing.retain(|m| m.asked < MAX_ASKED && now.saturating_sub(m.since) < MAX_AGE);
        let patience = round_trip.clamp(MIN_PATIENCE, MAX_PATIENCE);
        for missing in &mut self.missing {
            if missing.asked == 0 || now.saturating_sub(missing.last_asked) >= patience {
                missing.asked += 1;
                missing.last_asked = now;
                due.push(missing.sequence as u16);
            }
        }
        GivenUp(self.missing.len() < before)
    }
}

/// Half a second of 2 Mbit/s; whoever lost more is better served by a keyframe.
const MAX_MISSING: usize = 128;
const MAX_ASKED: u8 = 10;
/// The sender's own history is about a second.
const MAX_AGE: Millis = 1_000;
const MIN_PATIENCE: Millis = 25;
const MAX_PATIENCE: Millis = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_packets_are_asked_for_again_after_a_round_trip() {
        let mut list = NackList::default();
        let mut due = Vec::new();
        assert_eq!(list.note_gap(100, 103, 0), GivenUp(false));
        list.poll(0, 50, &mut due);
        assert_eq!(due, [101, 102]);
        due.clear();
        list.poll(49, 50, &mut due);
        assert!(due.is_empty());
        assert_eq!(list.note_arrival(101, 50), Some(50));
        list.poll(50, 50, &mut due);
        assert_eq!(due, [102]);
        assert_eq!(list.note_arrival(102, 60), None, "asked twice: whose answer is it");
        assert!(list.is_empty());
    }

    #[test]
    fn it_gives_up_in_the_end_and_at_once_when_flooded() {
        let mut list = NackList::default();
        let mut due = Vec::new();
        list.note_gap(100, 102, 0);
        let gave_up = (0..2_000).step_by(25).any(|now| list.poll(now, 30, &mut due).0);
        assert!(gave_up && list.is_empty() && due.len() == 10);
        assert_eq!(list.note_gap(102, 5_000, 0), GivenUp(true));
        assert!(list.is_empty());
    }
}
