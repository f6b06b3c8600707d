//! What we tell a sender of the arrival of its packets (transport-wide congestion control, receiving side).

use rtp::rtcp::{Arrival, TransportFeedbackHeader, write_transport_feedback};
use rtp::sequence::SequenceExtender;

/// Arrivals since the last feedback, of all streams of one transport.
#[derive(Debug)]
pub struct ArrivalLog {
    extender: SequenceExtender,
    arrivals: Vec<Arrival>,
    /// Already told; named again as the first of the next message, so that a gap between two messages is told, too.
    last_told: Option<Arrival>,
    feedback_count: u8,
    media_ssrc: u32,
}

impl ArrivalLog {
    pub fn new() -> Self {
        Self {
            extender: SequenceExtender::new(),
            arrivals: Vec::with_capacity(MAX_ARRIVALS),
            last_told: None,
            feedback_count: 0,
            media_ssrc: 0,
        }
    }

    /// When the log is full the arrival is forgotten: the sender takes it for lost and slows down.
    pub fn note(&mut self, sequence: u16, arrival_ns: u64, media_ssrc: u32) {
        let sequence = self.extender.extend(sequence);
        let is_late = self.last_told.is_some_and(|told| sequence <= told.sequence);
        if is_late || self.arrivals.len() >= MAX_ARRIVALS {
            return;
        }
        self.media_ssrc = media_ssrc;
        self.arrivals.push(Arrival { sequence, arrival_ns });
    }

    /// Fetches what noting an arrival touches.
    pub fn prefetch(&self) {
        prefetch::all(self);
    }

    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// Whether so much has gathered that feedback should not wait.
    pub fn is_filling(&self) -> bool {
        self.arrivals.len() >= MAX_ARRIVALS / 2
    }

    /// Writes one message into `out`; false when nothing is left to tell.
    pub fn write(&mut self, out: &mut Vec<u8>, sender_ssrc: u32) -> bool {
        if self.arrivals.is_empty() {
            return false;
        }
        self.arrivals.sort_unstable_by_key(|a| a.sequence);
        self.arrivals.dedup_by_key(|a| a.sequence);
        if let Some(told) = self.last_told {
            self.arrivals.insert(0, told);
        }
        let header = TransportFeedbackHeader {
            sender_ssrc,
            media_ssrc: self.media_ssrc,
            feedback_count: self.feedback_count,
        };
        let start = out.len();
        let mut written = write_transport_feedback(out, &header, &self.arrivals, MAX_MESSAGE);
        if written <= usize::from(self.last_told.is_some()) {
            // Only what was told already fits before a silence of seconds: begin anew after it.
            out.truncate(start);
            self.arrivals.remove(0);
            written = match self.last_told.take() {
                Some(_) => write_transport_feedback(out, &header, &self.arrivals, MAX_MESSAGE),
                None => 0,
            };
        }
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.last_told = written.checked_sub(1).and_then(|last| self.arrivals.get(last)).copied();
        self.arrivals.drain(..written);
        true
    }
}

/// 100 ms of 25 Mbit/s.
const MAX_ARRIVALS: usize = 512;
const MAX_MESSAGE: usize = 1_000;

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
            log.note(n, 1_000 * ms, 1);
        }
        let mut out = Vec::new();
        assert!(log.write(&mut out, 9));
        assert_eq!(statuses(&out), [(65_534, true), (65_535, true), (0, true)]);
        assert!(!log.write(&mut out, 9));
        for n in [3u16, 5] {
            log.note(n, 1_050 * ms, 1);
        }
        out.clear();
        assert!(log.write(&mut out, 9));
        assert_eq!(statuses(&out), [(0, true), (1, false), (2, false), (3, true), (4, false), (5, true)]);
    }

    #[test]
    fn a_long_silence_starts_anew() {
        let mut log = ArrivalLog::new();
        let s = 1_000_000_000;
        log.note(1, s, 1);
        let mut out = Vec::new();
        assert!(log.write(&mut out, 9));
        log.note(2, 60 * s, 1);
        out.clear();
        while log.write(&mut out, 9) {}
        assert_eq!(statuses(&out), [(2, true)]);
    }
}
