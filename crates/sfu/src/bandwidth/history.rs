//! What was sent and when, by transport-wide sequence number, until its receiver has told of it.

use super::Micros;

/// A ring of the last packets of one transport. It grows with the packet rate to [`MAX_LEN`]; when full, the oldest
/// packet is forgotten, and feedback that still speaks of it says nothing.
#[derive(Debug)]
pub struct SentHistory {
    /// None, or a power of two of them.
    entries: Vec<Entry>,
    /// The number after the newest packet's.
    next: u64,
    /// Packets from here on wait for the socket.
    first_unstamped: u64,
    /// The first packet ever noted.
    start: u64,
    last_stamp: Micros,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The low 32 bits: an hour of microseconds, and no feedback is that late.
    sent_at: u32,
    size: u16,
    /// 0: of no probe.
    cluster: u8,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fate {
    #[default]
    InFlight,
    Lost,
    Received,
}

/// A packet that its receiver has told of for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub sent_at: Micros,
    /// Octets on the wire.
    pub size: usize,
    pub cluster: u8,
    /// It was told to be lost before.
    pub was_lost: bool,
}

impl SentHistory {
    /// Fetches what the next packets touch.
    pub fn prefetch(&self) {
        if !self.entries.is_empty() {
            prefetch::start(&self.entries[self.index(self.next)..], NEXT_PACKETS * size_of::<Entry>());
        }
    }

    pub fn new() -> Self {
        Self { entries: Vec::new(), next: 0, first_unstamped: 0, start: 0, last_stamp: 0 }
    }

    /// Packet `sequence` is queued for the socket; numbers follow each other.
    pub fn note(&mut self, sequence: u64, size: usize, cluster: u8) {
        if sequence != self.next {
            (self.start, self.first_unstamped) = (sequence, sequence);
        }
        let len = self.entries.len() as u64;
        if len == 0 || (sequence - self.start >= len && self.is_short_of_room(sequence)) {
            self.grow(sequence);
        }
        let index = self.index(sequence);
        self.entries[index] =
            Entry { sent_at: 0, size: size.min(usize::from(u16::MAX)) as u16, cluster, fate: Fate::InFlight };
        self.next = sequence + 1;
    }

    /// Everything queued leaves now; whether there was anything.
    pub fn stamp(&mut self, now: Micros) -> bool {
        if self.first_unstamped == self.next {
            return false;
        }
        for sequence in self.first_unstamped.max(self.oldest())..self.next {
            let index = self.index(sequence);
            self.entries[index].sent_at = now as u32;
        }
        self.first_unstamped = self.next;
        self.last_stamp = now;
        true
    }

    /// What was sent as `sequence`, told to be received or not; `None` if that is no news, or of no packet of ours.
    pub fn tell(&mut self, sequence: u16, received: bool, now: Micros) -> Option<Told> {
        let behind = (self.next as u16).wrapping_sub(sequence);
        let sequence = self.next.checked_sub(u64::from(behind)).filter(|_| behind > 0)?;
        if sequence < self.oldest() || sequence >= self.first_unstamped {
            return None;
        }
        let index = self.index(sequence);
        let entry = &mut self.entries[index];
        let was_lost = entry.fate == Fate::Lost;
        if entry.fate == Fate::Received || (was_lost && !received) {
            return None;
        }
        entry.fate = if received { Fate::Received } else { Fate::Lost };
        let age = (now as u32).wrapping_sub(entry.sent_at);
        let sent_at = now.saturating_sub(u64::from(age));
        Some(Told { sent_at, size: usize::from(entry.size), cluster: entry.cluster, was_lost })
    }

    fn oldest(&self) -> u64 {
        self.start.max(self.next.saturating_sub(self.entries.len() as u64))
    }

    /// Whether `sequence` would overwrite a packet that may yet be told of.
    fn is_short_of_room(&self, sequence: u64) -> bool {
        let victim = self.entries[self.index(sequence)];
        let age = (self.last_stamp as u32).wrapping_sub(victim.sent_at);
        self.entries.len() < MAX_LEN && victim.fate == Fate::InFlight && u64::from(age) < KEPT
    }

    fn grow(&mut self, sequence: u64) {
        let len = (self.entries.len() * 2).clamp(MIN_LEN, MAX_LEN);
        let mut entries = vec![Entry::default(); len];
        for old in self.oldest()..sequence.min(self.next) {
            entries[(old % len as u64) as usize] = self.entries[self.index(old)];
        }
        self.entries = entries;
    }

    fn index(&self, sequence: u64) -> usize {
        sequence as usize & (self.entries.len() - 1)
    }
}

/// As many as usually leave together.
const NEXT_PACKETS: usize = 8;
const MIN_LEN: usize = 256;
/// Two seconds of a hundred watched guests' 40 packets a second each, or one of 40 Mbit/s.
const MAX_LEN: usize = 8_192;
/// A satellite's round trip and the longest interval of feedback.
const KEPT: Micros = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_told_of_once_and_only_after_it_left() {
        let mut history = SentHistory::new();
        history.note(65_534, 100, 0);
        history.note(65_535, 200, 3);
        assert_eq!(history.tell(65_534, true, 10), None, "it is not out yet");
        history.stamp(5_000);
        history.note(65_536, 300, 0);
        history.stamp(6_000);
        let told = |size, sent_at, cluster, was_lost| Some(Told { sent_at, size, cluster, was_lost });
        assert_eq!(history.tell(65_535, true, 9_000), told(200, 5_000, 3, false));
        assert_eq!(history.tell(65_535, true, 9_000), None);
        assert_eq!(history.tell(0, false, 9_000), told(300, 6_000, 0, false));
        assert_eq!(history.tell(0, false, 9_000), None);
        assert_eq!(history.tell(0, true, 9_000), told(300, 6_000, 0, true), "late, not lost");
        assert_eq!(history.tell(1, true, 9_000), None, "never sent");
        assert_eq!(history.tell(65_533, true, 9_000), None, "before the first");
    }

    #[test]
    fn it_grows_while_answers_are_out_and_stays_as_it_is_when_they_come() {
        let mut history = SentHistory::new();
        let mut now = 0;
        for sequence in 0..50_000u64 {
            now += 1_000;
            history.note(sequence, 1_200, 0);
            history.stamp(now);
            if sequence >= 100 {
                let told = history.tell((sequence - 100) as u16, true, now).unwrap();
                assert_eq!(told.sent_at, now - 100_000);
            }
        }
        assert_eq!(history.entries.len(), 256);
        for sequence in 50_000..150_000u64 {
            history.note(sequence, 1_200, 0);
            history.stamp(now);
        }
        assert_eq!(history.entries.len(), MAX_LEN, "and no further");
        assert!(history.tell(149_999u64 as u16, true, now).is_some());
        assert!(history.tell((150_000 - MAX_LEN as u64) as u16, true, now).is_some());
        assert!(history.tell((149_999 - MAX_LEN as u64) as u16, true, now).is_none());
    }
}
