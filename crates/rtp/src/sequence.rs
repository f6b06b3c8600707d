//! Sequence numbers and timestamps that never wrap: RFC 3550 §5.1 fields extended to 64 bits.

/// Extends 16-bit sequence numbers by the distance to the highest one seen.
///
/// The first value maps to itself plus 65,536, so that packets older than the first one stay positive. A value
/// up to 32,767 ahead counts as newer, anything else as older (RFC 3550 appendix A.1 without probation: a caller
/// that doubts a jump decides before it asks).
#[derive(Clone, Debug, Default)]
pub struct SequenceExtender {
    highest: Option<u64>,
}

impl SequenceExtender {
    pub fn new() -> Self {
        Self::default()
    }

    /// The extended number of `sequence_number`, moving the highest one forward where it is newer.
    pub fn extend(&mut self, sequence_number: u16) -> u64 {
        let extended = self.peek(sequence_number);
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        extended
    }

    /// What [`Self::extend`] would answer, without remembering it.
    pub fn peek(&self, sequence_number: u16) -> u64 {
        match self.highest {
            None => (1 << 16) + u64::from(sequence_number),
            Some(highest) => {
                let ahead = sequence_number.wrapping_sub(highest as u16) as i16;
                highest.saturating_add_signed(i64::from(ahead))
            }
        }
    }

    /// Starts over at `sequence_number` as after a restart of the sender: the answer is above all earlier ones.
    pub fn restart(&mut self, sequence_number: u16) -> u64 {
        let extended = match self.highest {
            None => (1 << 16) + u64::from(sequence_number),
            Some(highest) => (((highest >> 16) + 1) << 16) + u64::from(sequence_number),
        };
        self.highest = Some(extended);
        extended
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

/// Extends sequence numbers of a stream whose sender may restart or fall silent for long.
///
/// A number far from the highest one is doubted until the next packet follows it: RFC 3550 appendix A.1, `bad_seq`.
#[derive(Clone, Debug)]
pub struct SequenceTracker {
    extender: SequenceExtender,
    reach: u16,
    doubted: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// Within reach of the highest number, above or below.
    At(u64),
    /// Out of reach: a stray packet, or the first after a restart.
    Doubtful,
    /// The second in a row out of reach: the stream goes on from here. The doubted one before has this number less one.
    Restarted(u64),
}

impl SequenceTracker {
    /// `reach`: how far ahead of or behind the highest number a packet is believed at once; below 32,768.
    pub fn new(reach: u16) -> Self {
        Self { extender: SequenceExtender::new(), reach: reach.min(i16::MAX as u16), doubted: None }
    }

    pub fn place(&mut self, sequence_number: u16) -> Placed {
        let near = match self.extender.highest() {
            None => true,
            Some(highest) => self.extender.peek(sequence_number).abs_diff(highest) <= u64::from(self.reach),
        };
        if near {
            self.doubted = None;
            return Placed::At(self.extender.extend(sequence_number));
        }
        if self.doubted.take() == Some(sequence_number.wrapping_sub(1)) {
            // Placed by the doubted packet, so that it too is above everything before.
            self.extender.restart(sequence_number.wrapping_sub(1));
            return Placed::Restarted(self.extender.extend(sequence_number));
        }
        self.doubted = Some(sequence_number);
        Placed::Doubtful
    }

    pub fn highest(&self) -> Option<u64> {
        self.extender.highest()
    }
}

/// Extends 32-bit RTP timestamps by the distance to the latest one seen; the first maps to itself plus 2^32.
#[derive(Clone, Debug, Default)]
pub struct TimestampExtender {
    highest: Option<u64>,
}

impl TimestampExtender {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn extend(&mut self, timestamp: u32) -> u64 {
        let extended = self.peek(timestamp);
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        extended
    }

    pub fn peek(&self, timestamp: u32) -> u64 {
        match self.highest {
            None => (1 << 32) + u64::from(timestamp),
            Some(highest) => {
                let ahead = timestamp.wrapping_sub(highest as u32) as i32;
                highest.saturating_add_signed(i64::from(ahead))
            }
        }
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    fn check(input: &[u16], expected: &[u64]) {
        let mut extender = SequenceExtender::new();
        let extended: Vec<u64> = input.iter().map(|seq| extender.extend(*seq) - 65_536).collect();
        assert_eq!(extended, expected, "{input:?}");
    }

    #[test]
    fn sequence_numbers_wrap_and_reorder() {
        check(&[1, 2, 3], &[1, 2, 3]);
        check(&[65_534, 65_535, 0, 1], &[65_534, 65_535, 65_536, 65_537]);
        check(&[65_535, 1, 0, 65_534, 2], &[65_535, 65_537, 65_536, 65_534, 65_538]);
        check(&[5, 5, 5], &[5, 5, 5]);
        check(&[0, 32_767], &[0, 32_767]);
    }

    #[test]
    fn a_packet_older_than_the_first_stays_positive() {
        let mut extender = SequenceExtender::new();
        assert_eq!(extender.extend(0), 65_536);
        assert_eq!(extender.extend(65_535), 65_535);
        assert_eq!(extender.highest(), Some(65_536));
    }

    #[test]
    fn a_restart_is_above_everything_before() {
        let mut extender = SequenceExtender::new();
        let before = extender.extend(60_000);
        let after = extender.restart(10);
        assert!(after > before);
        assert_eq!(after as u16, 10);
        assert_eq!(extender.extend(11), after + 1);
    }

    #[test]
    fn ten_million_packets_with_reordering_stay_in_step() {
        let mut random = Prng(1);
        let mut extender = SequenceExtender::new();
        let start = extender.extend(65_000);
        for sent in 1..10_000_000u64 {
            let jittered = (start + sent).saturating_sub(random.below(100));
            assert_eq!(extender.extend(jittered as u16), jittered);
        }
    }

    #[test]
    fn a_far_jump_is_believed_when_the_next_packet_follows_it() {
        let mut tracker = SequenceTracker::new(1_000);
        assert_eq!(tracker.place(30_010), Placed::At(95_546));
        assert_eq!(tracker.place(5_000), Placed::Doubtful);
        assert_eq!(tracker.place(30_011), Placed::At(95_547));
        assert_eq!(tracker.place(5_001), Placed::Doubtful, "a stray does not vouch across good packets");
        assert_eq!(tracker.place(65_535), Placed::Doubtful);
        let Placed::Restarted(first) = tracker.place(0) else { panic!() };
        assert!(first - 1 > 95_547 && first as u16 == 0);
        assert_eq!(tracker.place(1), Placed::At(first + 1));
        assert_eq!(tracker.place(65_535), Placed::At(first - 1));
    }

    #[test]
    fn timestamps_wrap_and_reorder() {
        let mut extender = TimestampExtender::new();
        let first = extender.extend(u32::MAX - 10);
        assert_eq!(extender.extend(20), first + 31);
        assert_eq!(extender.extend(u32::MAX), first + 10);
        assert_eq!(extender.highest(), Some(first + 31));
    }
}
