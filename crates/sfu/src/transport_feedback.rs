//! What we tell a sender of the arrival of its packets (transport-wide congestion control, receiving side).
//!
//! A message names a run of numbers and says of each whether it arrived (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).
//! Of loss that is the path's own ([`inherent`]) the sender is not told: one message ends before it and the next begins behind.
//! Saying that it arrived would be worse than untrue: browsers keep what they sent, to send it again, until it is named so.

mod inherent;
mod queueing;

use inherent::InherentLoss;
use queueing::Queueing;
use rtp::ext::AbsSendTime;
use rtp::rtcp::{Arrival, TransportFeedbackHeader, write_transport_feedback};
use rtp::sequence::SequenceExtender;
use std::collections::VecDeque;

/// Arrivals since the last feedback, of all streams of one transport.
#[derive(Debug)]
pub struct ArrivalLog {
    extender: SequenceExtender,
    queueing: Queueing,
    /// Elsewhere in memory: for each packet only the rest is touched.
    inherent: Box<InherentLoss>,
    /// In the order of arrival.
    fresh: Vec<Noted>,
    /// The last one that is no longer fresh.
    last: Option<Noted>,
    /// What is to be told, by number. The first was told if [`ArrivalLog::first_is_told`]: it is named again in the next
    /// message, so that a gap between two messages is told, too.
    outgoing: Vec<Arrival>,
    first_is_told: bool,
    /// Those of them that begin a message, because of what is missing before them nothing is to be told.
    begin_anew: VecDeque<u64>,
    feedback_count: u8,
    media_ssrc: u32,
}

#[derive(Clone, Copy, Debug)]
struct Noted {
    arrival: Arrival,
    /// Whether it waited in a queue; `None`: its sender does not say when it left.
    waited: Option<bool>,
}

impl ArrivalLog {
    pub fn new() -> Self {
        Self {
            extender: SequenceExtender::new(),
            queueing: Queueing::default(),
            inherent: Box::default(),
            fresh: Vec::with_capacity(MAX_ARRIVALS),
            last: None,
            outgoing: Vec::with_capacity(MAX_ARRIVALS / 4),
            first_is_told: false,
            begin_anew: VecDeque::new(),
            feedback_count: 0,
            media_ssrc: 0,
        }
    }

    /// When the log is full the arrival is forgotten, as if it were lost. `sent`: where the sender says it; without, every
    /// loss is told.
    pub fn note(&mut self, sequence: u16, arrival_ns: u64, sent: Option<AbsSendTime>, media_ssrc: u32) {
        let sequence = self.extender.extend(sequence);
        let is_late = self.last.is_some_and(|last| sequence <= last.arrival.sequence);
        if is_late || self.fresh.len() >= MAX_ARRIVALS {
            return;
        }
        let waited = sent.map(|sent| self.queueing.note(arrival_ns, sent) > WAIT_NS);
        self.media_ssrc = media_ssrc;
        self.fresh.push(Noted { arrival: Arrival { sequence, arrival_ns }, waited });
    }

    /// Fetches what noting an arrival touches.
    pub fn prefetch(&self) {
        prefetch::all(self);
    }

    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty()
    }

    /// Whether so much has gathered that feedback should not wait.
    pub fn is_filling(&self) -> bool {
        self.fresh.len() >= MAX_ARRIVALS / 2
    }

    /// Writes one message into `out`; false when nothing is left to tell.
    pub fn write(&mut self, out: &mut Vec<u8>, sender_ssrc: u32) -> bool {
        self.sort_in();
        let mut end = self.first_part();
        while end <= usize::from(self.first_is_told) {
            if end == self.outgoing.len() {
                return false;
            }
            self.drop_first_part(end);
            end = self.first_part();
        }
        let header = TransportFeedbackHeader {
            sender_ssrc,
            media_ssrc: self.media_ssrc,
            feedback_count: self.feedback_count,
        };
        let start = out.len();
        let mut written = write_transport_feedback(out, &header, &self.outgoing[..end], MAX_MESSAGE);
        if written <= usize::from(self.first_is_told) {
            // Only what was told already fits before a silence of seconds: begin anew after it.
            out.truncate(start);
            self.outgoing.remove(0);
            end -= 1;
            written = write_transport_feedback(out, &header, &self.outgoing[..end], MAX_MESSAGE);
        }
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.outgoing.drain(..written.saturating_sub(1));
        self.first_is_told = true;
        true
    }

    /// How many of the outgoing arrivals a message may name.
    fn first_part(&self) -> usize {
        let begins = self.begin_anew.front();
        begins
            .map_or(self.outgoing.len(), |begins| self.outgoing.partition_point(|one| one.sequence < *begins))
    }

    fn drop_first_part(&mut self, end: usize) {
        self.outgoing.drain(..end);
        self.begin_anew.pop_front();
        self.first_is_told = false;
    }

    /// Puts what is fresh in order, and decides what is told of the gaps.
    fn sort_in(&mut self) {
        self.fresh.sort_unstable_by_key(|noted| noted.arrival.sequence);
        self.fresh.dedup_by_key(|noted| noted.arrival.sequence);
        for noted in self.fresh.drain(..) {
            if let Some(last) = self.last.replace(noted) {
                let missing = noted.arrival.sequence - last.arrival.sequence - 1;
                if let (Some(one), Some(other)) = (last.waited, noted.waited) {
                    self.inherent.note(noted.arrival.arrival_ns, missing, one || other);
                    if missing > 0 && self.inherent.is_own() {
                        self.begin_anew.push_back(noted.arrival.sequence);
                    }
                }
            }
            self.outgoing.push(noted.arrival);
        }
    }
}

/// 100 ms of 25 Mbit/s.
const MAX_ARRIVALS: usize = 512;
pub const MAX_MESSAGE: usize = 1_000;
/// More than a picture's packets wait for each other on a path of some megabits a second.
const WAIT_NS: u64 = 50_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::rtcp::{Rtcp, parse};

    fn statuses(bytes: &[u8]) -> Vec<(u16, bool)> {
        parse(bytes)
            .flat_map(|packet| match packet {
                Ok(Rtcp::TransportFeedback(feedback)) => {
                    feedback.packets().map(|p| (p.sequence, p.arrival_us.is_some())).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn losses_are_told_within_and_between_messages() {
        let mut log = ArrivalLog::new();
        let ms = 1_000_000;
        for n in [65_534u16, 0, 65_535] {
            log.note(n, 1_000 * ms, None, 1);
        }
        let mut out = Vec::new();
        assert!(log.write(&mut out, 9));
        assert_eq!(statuses(&out), [(65_534, true), (65_535, true), (0, true)]);
        assert!(!log.write(&mut out, 9));
        for n in [3u16, 5] {
            log.note(n, 1_050 * ms, None, 1);
        }
        out.clear();
        assert!(log.write(&mut out, 9));
        assert_eq!(statuses(&out), [(0, true), (1, false), (2, false), (3, true), (4, false), (5, true)]);
    }

    /// At 1 ms for each number, on a path of 30 ms.
    fn note_sent(log: &mut ArrivalLog, numbers: impl IntoIterator<Item = u16>) {
        for n in numbers {
            let sent_ns = 1_000_000_000 + u64::from(n) * 1_000_000;
            log.note(n, sent_ns + 30_000_000, Some(AbsSendTime::from_ns(sent_ns)), 1);
        }
    }

    #[test]
    fn what_is_the_paths_own_is_not_named_and_all_that_came_is() {
        let mut log = ArrivalLog::new();
        let mut out = Vec::new();
        let gaps = [4, 9, 10, 11, 20, 40, 41];
        for part in [1..4, 5..20, 21..60u16] {
            note_sent(&mut log, part.filter(|n| !gaps.contains(n)));
            while log.write(&mut out, 9) {}
        }
        let told = statuses(&out);
        assert!(told.iter().all(|(_, arrived)| *arrived), "{told:?}");
        let mut named: Vec<_> = told.into_iter().map(|(n, _)| n).collect();
        named.dedup();
        assert!(named.iter().copied().eq((1..60).filter(|n| !gaps.contains(n))), "{named:?}");
    }

    #[test]
    fn what_follows_the_rate_is_named_again() {
        let mut log = ArrivalLog::new();
        let mut out = Vec::new();
        // Every other packet, for three seconds.
        for part in 0..60u16 {
            note_sent(&mut log, (part * 50..part * 50 + 50).filter(|n| n % 2 == 0));
            out.clear();
            while log.write(&mut out, 9) {}
        }
        assert_eq!(statuses(&out).iter().filter(|(_, arrived)| !arrived).count(), 25);
    }

    #[test]
    fn whatever_a_sender_numbers_messages_come_to_an_end_and_little_is_kept() {
        let mut log = ArrivalLog::new();
        let mut out = Vec::new();
        let mut dice = 1u64;
        for _ in 0..200 {
            for _ in 0..1_000 {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (n, at) = ((dice >> 40) as u16, dice >> 24);
                log.note(n, at, (dice & 3 != 0).then_some(AbsSendTime((dice >> 8) as u32 & 0xff_ffff)), 1);
            }
            out.clear();
            while log.write(&mut out, 9) {
                assert!(out.len() < 1_000_000);
            }
            assert!(log.fresh.is_empty() && log.outgoing.len() <= 1 && log.begin_anew.is_empty());
        }
    }

    #[test]
    fn a_long_silence_starts_anew() {
        let mut log = ArrivalLog::new();
        let s = 1_000_000_000;
        log.note(1, s, None, 1);
        let mut out = Vec::new();
        assert!(log.write(&mut out, 9));
        log.note(2, 60 * s, None, 1);
        out.clear();
        while log.write(&mut out, 9) {}
        assert_eq!(statuses(&out), [(2, true)]);
    }
}
