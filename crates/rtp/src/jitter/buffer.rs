//! Puts packets back into order and decides when a missing one will not come any more.
//!
//! Meant for pictures: it adds no delay of its own while nothing is missing. Interarrival jitter: RFC 3550 §6.4.1.

use super::MS;
use crate::sequence::{Placed, SequenceTracker};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JitterConfig {
    pub clock_rate: u32,
    /// Sequence numbers held, present or missing. When full, the oldest are given up and reported lost.
    pub max_packets: usize,
    /// Bounds on how long a missing packet is waited for.
    pub min_wait_ns: u64,
    pub max_wait_ns: u64,
}

impl JitterConfig {
    pub fn video() -> Self {
        Self { clock_rate: 90_000, max_packets: 2_048, min_wait_ns: 20 * MS, max_wait_ns: 500 * MS }
    }
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Accepted,
    /// It fills a gap: a packet out of order, or a retransmission.
    Recovered,
    Duplicate,
    /// Its place was already given up.
    Late,
    /// Far from all others; kept aside until the next packet confirms a restart.
    Doubtful,
}

/// What comes next in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Popped<T> {
    Packet {
        sequence: u64,
        item: T,
    },
    /// `count` sequence numbers from `first` on will not come. After a restart of the sender the number means nothing
    /// beyond "many".
    Lost {
        first: u64,
        count: u64,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JitterStats {
    pub received: u64,
    pub recovered: u64,
    pub duplicates: u64,
    pub late: u64,
    pub lost: u64,
    pub restarts: u64,
}

/// A reordering buffer over extended sequence numbers. Ends with its stream.
#[derive(Debug)]
pub struct JitterBuffer<T> {
    config: JitterConfig,
    tracker: SequenceTracker,
    /// Slot 0 belongs to sequence number `next`; the last slot is always present.
    slots: VecDeque<Slot<T>>,
    next: Option<u64>,
    /// Numbers below `next` that were given up and not reported yet.
    skipped: u64,
    doubtful: Option<T>,
    round_trip_ns: u64,
    last_transit_ns: Option<i64>,
    jitter_ns: u64,
    /// How long after its gap was seen a packet still came; the peak, fading.
    recovery_ns: u64,
    stats: JitterStats,
}

#[derive(Debug)]
enum Slot<T> {
    Present(T),
    Missing { since_ns: u64 },
}

/// Until anybody says better: a round trip within a continent.
const DEFAULT_ROUND_TRIP_NS: u64 = 100 * MS;

impl<T> JitterBuffer<T> {
    pub fn new(config: JitterConfig) -> Self {
        let config = JitterConfig { max_packets: config.max_packets.clamp(1, 16_384), ..config };
        Self {
            tracker: SequenceTracker::new(config.max_packets as u16),
            config,
            slots: VecDeque::new(),
            next: None,
            skipped: 0,
            doubtful: None,
            round_trip_ns: DEFAULT_ROUND_TRIP_NS,
            last_transit_ns: None,
            jitter_ns: 0,
            recovery_ns: 0,
            stats: JitterStats::default(),
        }
    }

    /// A hint: how long a retransmission takes from request to arrival.
    pub fn set_round_trip_ns(&mut self, round_trip_ns: u64) {
        self.round_trip_ns = round_trip_ns;
    }

    pub fn insert(&mut self, now_ns: u64, sequence_number: u16, timestamp: u32, item: T) -> Inserted {
        self.stats.received += 1;
        let sequence = match self.tracker.place(sequence_number) {
            Placed::At(sequence) => sequence,
            Placed::Doubtful => {
                self.doubtful = Some(item);
                return Inserted::Doubtful;
            }
            Placed::Restarted(sequence) => {
                self.restart(sequence - 1);
                if let Some(doubtful) = self.doubtful.take() {
                    self.place(now_ns, sequence - 1, doubtful);
                }
                sequence
            }
        };
        self.doubtful = None;
        self.measure(now_ns, timestamp);
        self.place(now_ns, sequence, item)
    }

    /// The next packet in order, or the news that the next ones are lost. `None`: nothing is due before
    /// [`Self::next_deadline_ns`] or the next packet.
    pub fn pop(&mut self, now_ns: u64) -> Option<Popped<T>> {
        let next = self.next?;
        if self.skipped > 0 {
            let count = std::mem::take(&mut self.skipped);
            self.stats.lost += count;
            return Some(Popped::Lost { first: next - count, count });
        }
        if let Some(Slot::Present(_)) = self.slots.front()
            && let Some(Slot::Present(item)) = self.slots.pop_front()
        {
            self.next = Some(next + 1);
            return Some(Popped::Packet { sequence: next, item });
        }
        let wait_ns = self.wait_ns();
        let expired = |slot: &Slot<T>| matches!(slot, Slot::Missing { since_ns } if now_ns >= since_ns.saturating_add(wait_ns));
        let count = self.slots.iter().take_while(|slot| expired(slot)).count();
        if count == 0 {
            return None;
        }
        self.slots.drain(..count);
        self.next = Some(next + count as u64);
        self.stats.lost += count as u64;
        Some(Popped::Lost { first: next, count: count as u64 })
    }

    /// When the oldest gap will be given up, if there is one.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        match self.slots.front()? {
            Slot::Missing { since_ns } => Some(since_ns.saturating_add(self.wait_ns())),
            Slot::Present(_) => None,
        }
    }

    /// How long a missing packet is waited for, from the arrival that revealed the gap: time for a request and one
    /// repetition of it, with the path's jitter on top, and never less than what recoveries have lately taken.
    pub fn wait_ns(&self) -> u64 {
        let expected =
            self.round_trip_ns.saturating_mul(2).saturating_add(4 * self.jitter_ns).saturating_add(10 * MS);
        let seen = self.recovery_ns + self.recovery_ns / 4;
        expected.max(seen).clamp(self.config.min_wait_ns, self.config.max_wait_ns)
    }

    /// RFC 3550 §6.4.1.
    pub fn jitter_ns(&self) -> u64 {
        self.jitter_ns
    }

    /// Slots in use, present or missing.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Sequence numbers waited for, oldest first.
    pub fn missing(&self) -> impl Iterator<Item = u64> {
        let next = self.next.unwrap_or(0);
        let missing = |slot: &Slot<T>| matches!(slot, Slot::Missing { .. });
        self.slots
            .iter()
            .enumerate()
            .filter(move |(_, slot)| missing(slot))
            .map(move |(i, _)| next + i as u64)
    }

    pub fn stats(&self) -> JitterStats {
        self.stats
    }

    fn place(&mut self, now_ns: u64, sequence: u64, item: T) -> Inserted {
        let next = *self.next.get_or_insert(sequence);
        if sequence < next {
            self.stats.late += 1;
            return Inserted::Late;
        }
        self.make_room(sequence);
        let index = (sequence - self.next.unwrap_or(sequence)) as usize;
        match self.slots.get_mut(index) {
            Some(Slot::Present(_)) => {
                self.stats.duplicates += 1;
                Inserted::Duplicate
            }
            Some(slot) => {
                if let Slot::Missing { since_ns } = slot {
                    let took = now_ns.saturating_sub(*since_ns);
                    self.recovery_ns =
                        took.max(self.recovery_ns - self.recovery_ns / 32).min(self.config.max_wait_ns);
                }
                *slot = Slot::Present(item);
                self.stats.recovered += 1;
                Inserted::Recovered
            }
            None => {
                while self.slots.len() < index {
                    self.slots.push_back(Slot::Missing { since_ns: now_ns });
                }
                self.slots.push_back(Slot::Present(item));
                Inserted::Accepted
            }
        }
    }

    /// Gives up the oldest slots until `sequence` fits.
    fn make_room(&mut self, sequence: u64) {
        let Some(next) = &mut self.next else { return };
        let excess = (sequence - *next + 1).saturating_sub(self.config.max_packets as u64);
        if excess > 0 {
            let held = self.slots.len().min(usize::try_from(excess).unwrap_or(usize::MAX));
            self.slots.drain(..held);
            *next += excess;
            self.skipped += excess;
        }
    }

    fn restart(&mut self, first: u64) {
        self.stats.restarts += 1;
        self.last_transit_ns = None;
        self.slots.clear();
        if let Some(next) = self.next.replace(first) {
            self.skipped += first.saturating_sub(next);
        }
    }

    fn measure(&mut self, now_ns: u64, timestamp: u32) {
        // The timestamp's own wrap shows as one difference of hours, which the bound below takes for a second.
        let clock_ns = u64::from(timestamp) * 1_000_000_000 / u64::from(self.config.clock_rate.max(1));
        let transit = (now_ns as i64).wrapping_sub(clock_ns as i64);
        if let Some(last) = self.last_transit_ns.replace(transit) {
            let difference = transit.abs_diff(last);
            if difference < 1_000 * MS {
                self.jitter_ns = (self.jitter_ns * 15 + difference) / 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    fn buffer() -> JitterBuffer<u64> {
        JitterBuffer::new(JitterConfig::video())
    }

    fn drain(buffer: &mut JitterBuffer<u64>, now_ns: u64) -> Vec<Popped<u64>> {
        std::iter::from_fn(|| buffer.pop(now_ns)).collect()
    }

    fn packet(sequence: u64) -> Popped<u64> {
        Popped::Packet { sequence: 65_536 + sequence, item: sequence }
    }

    #[test]
    fn packets_in_order_pass_at_once() {
        let mut buffer = buffer();
        for sequence in 0..5 {
            assert_eq!(buffer.insert(0, sequence as u16, 0, sequence), Inserted::Accepted);
            assert_eq!(drain(&mut buffer, 0), [packet(sequence)]);
        }
        assert_eq!(buffer.next_deadline_ns(), None);
    }

    #[test]
    fn a_gap_is_waited_for_then_given_up() {
        let mut buffer = buffer();
        buffer.set_round_trip_ns(20 * MS);
        buffer.insert(0, 0, 0, 0);
        buffer.insert(0, 3, 0, 3);
        assert_eq!(drain(&mut buffer, 0), [packet(0)]);
        assert_eq!(buffer.missing().collect::<Vec<_>>(), [65_537, 65_538]);
        let deadline = buffer.next_deadline_ns().unwrap();
        assert_eq!(deadline, 50 * MS);
        assert_eq!(buffer.pop(deadline - 1), None);
        assert_eq!(drain(&mut buffer, deadline), [Popped::Lost { first: 65_537, count: 2 }, packet(3)]);
        assert_eq!(buffer.insert(deadline, 1, 0, 1), Inserted::Late);
        assert_eq!((buffer.stats().lost, buffer.stats().late), (2, 1));
    }

    #[test]
    fn a_retransmission_fills_the_gap() {
        let mut buffer = buffer();
        buffer.insert(0, 0, 0, 0);
        buffer.insert(0, 2, 0, 2);
        assert_eq!(buffer.insert(30 * MS, 1, 0, 1), Inserted::Recovered);
        assert_eq!(buffer.insert(30 * MS, 1, 0, 1), Inserted::Duplicate);
        assert_eq!(drain(&mut buffer, 30 * MS), [packet(0), packet(1), packet(2)]);
    }

    #[test]
    fn slow_recoveries_lengthen_the_wait_and_nothing_exceeds_the_bound() {
        let mut buffer = buffer();
        buffer.set_round_trip_ns(0);
        assert_eq!(buffer.wait_ns(), 20 * MS);
        buffer.insert(0, 0, 0, 0);
        buffer.insert(0, 2, 0, 2);
        buffer.insert(200 * MS, 1, 0, 1);
        assert_eq!(buffer.wait_ns(), 250 * MS);
        buffer.set_round_trip_ns(u64::MAX);
        assert_eq!(buffer.wait_ns(), 500 * MS);
    }

    #[test]
    fn a_full_buffer_gives_up_the_oldest() {
        let mut buffer = buffer();
        buffer.insert(0, 0, 0, 0);
        drain(&mut buffer, 0);
        for sequence in 2..2_100u64 {
            buffer.insert(0, sequence as u16, 0, sequence);
        }
        assert!(buffer.len() <= 2_048);
        let popped = drain(&mut buffer, 0);
        assert_eq!(popped[0], Popped::Lost { first: 65_537, count: 51 });
        assert_eq!(popped[1], packet(52));
        assert_eq!(popped.len(), 2_049);
    }

    #[test]
    fn a_restart_loses_no_packet_of_the_new_stream() {
        let mut buffer = buffer();
        buffer.insert(0, 1, 0, 1);
        drain(&mut buffer, 0);
        assert_eq!(buffer.insert(0, 40_000, 0, 7), Inserted::Doubtful);
        assert_eq!(drain(&mut buffer, 0), []);
        assert_eq!(buffer.insert(0, 40_001, 0, 8), Inserted::Accepted);
        let popped = drain(&mut buffer, 0);
        assert!(matches!(popped[0], Popped::Lost { .. }));
        assert!(matches!(popped[1], Popped::Packet { item: 7, .. }));
        assert!(matches!(popped[2], Popped::Packet { item: 8, .. }));
        assert_eq!(buffer.stats().restarts, 1);
    }

    #[test]
    fn one_stray_packet_changes_nothing() {
        let mut buffer = buffer();
        buffer.insert(0, 1, 0, 1);
        buffer.insert(0, 40_000, 0, 7);
        buffer.insert(0, 2, 0, 2);
        assert_eq!(drain(&mut buffer, 0), [packet(1), packet(2)]);
    }

    /// An hour of packets, lost, doubled, delayed and retransmitted: everything comes out once, in order, in time.
    #[test]
    fn an_hour_of_disorder_comes_out_in_order() {
        let mut random = Prng(20);
        let mut buffer = buffer();
        let total = 3_600 * 200u64;
        let mut in_flight: Vec<(u64, u64)> = Vec::new();
        let (mut expected, mut packets, mut lost) = (None, 0u64, 0u64);
        for sent in 0..total {
            let now_ns = sent * 5 * MS;
            if !random.chance(2) {
                in_flight.push((now_ns + random.below(15) * MS, sent));
            } else if random.chance(80) {
                in_flight.push((now_ns + (60 + random.below(60)) * MS, sent));
            }
            if random.chance(1) {
                in_flight.push((now_ns + random.below(30) * MS, sent));
            }
            in_flight.retain(|(due, sequence)| {
                if *due <= now_ns {
                    buffer.insert(now_ns, *sequence as u16, (*sequence * 450) as u32, *sequence);
                }
                *due > now_ns
            });
            for popped in drain(&mut buffer, now_ns) {
                let (first, count) = match popped {
                    Popped::Packet { sequence, item } => {
                        packets += 1;
                        assert_eq!(sequence as u16, item as u16);
                        assert!(now_ns - item * 5 * MS <= 600 * MS, "nothing is held for long");
                        (sequence, 1)
                    }
                    Popped::Lost { first, count } => {
                        lost += count;
                        (first, count)
                    }
                };
                assert!(expected.is_none_or(|expected| expected == first), "without holes");
                expected = Some(first + count);
            }
            assert!(buffer.len() < 200);
        }
        assert!(packets > total * 99 / 100 && lost > 0, "{packets} {lost}");
    }

    #[test]
    fn noise_keeps_its_bounds() {
        let mut random = Prng(21);
        let mut buffer = buffer();
        let mut last = 0;
        for step in 0..300_000u64 {
            let near = step as u16;
            let sequence_number = if random.chance(70) { near } else { random.next() as u16 };
            buffer.insert(step * MS, sequence_number, random.next() as u32, 0);
            assert!(buffer.len() <= 2_048);
            if random.chance(30) {
                while let Some(popped) = buffer.pop(step * MS) {
                    let first = match popped {
                        Popped::Packet { sequence, .. } => sequence,
                        Popped::Lost { first, .. } => first,
                    };
                    assert!(first > last);
                    last = first;
                }
            }
        }
    }
}
