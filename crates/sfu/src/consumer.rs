//! One track a client receives: its place in the stream, the header it wants, what it reports back.

use crate::clock::Millis;
use crate::forward::Forwarder;
use crate::header::Template;
use crate::layers::{Ladder, Layers};
use crate::ortc::Extension;
use crate::ortc::consume::Consumed;
use crate::rate::SampledRate;
use crate::score::{Interval, Score, Scores};
use std::mem::offset_of;
use std::time::Instant;
use wire::ConsumerId;
use wire::ortc::ConsumerType;

/// What every packet touches stands first, in few cache lines: with hundreds of consumers, fetching them is what a packet
/// costs most after its encryption.
#[repr(C, align(64))]
pub struct Consumer {
    pub transport: usize,
    /// By its client.
    pub paused: bool,
    /// For want of bandwidth.
    pub starved: bool,
    pub template: Option<Template>,
    /// The extended sequence number after the highest one sent. None at or below it may ever be given again: it is
    /// the nonce of its encryption.
    pub next_unsent: u64,
    pub packets: u64,
    pub octets: u64,
    /// Payload octets, as sender reports count them.
    pub payload_octets: u64,
    pub agreed: Consumed,
    pub forwarder: Forwarder,
    pub id: ConsumerId,
    pub producer: usize,
    /// What the client asked for.
    pub preferred: Layers,
    /// What its share of the bandwidth carries; all of it while nobody counts.
    pub allowed: Layers,
    /// What signaling was told of last: layers, or none for want of bandwidth.
    told: Option<Option<Layers>>,
    pub rtx_sequence: u64,
    pub resends: Resends,
    pub remote: RemoteReport,
    /// Compact NTP times of our last sender reports and when they left, for the round trip.
    sent_reports: [Option<(u32, Instant)>; SENT_REPORTS],
    next_sent_report: usize,
    pub retransmitted: u64,
    /// Waited too long for the path.
    pub dropped: u64,
    pub nacks: u64,
    /// Packets that NACKs named.
    pub nacked_packets: u64,
    pub plis: u64,
    pub firs: u64,
    pub score: Score,
    /// What signaling was told of last: its own and its producer's.
    pub told_score: Option<(u8, Scores)>,
    /// When it was last judged: packets sent and retransmitted by then.
    judged: (u64, u64),
    pub rate: SampledRate,
}

/// What the receiver said last.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoteReport {
    pub fraction_lost: u8,
    pub lost: i64,
    /// Sequence number, extended by the receiver; 0 before the first report.
    pub highest: u32,
    /// Timestamp units.
    pub jitter: u32,
    pub round_trip: Option<Millis>,
}

impl Consumer {
    pub fn new(
        id: ConsumerId,
        producer: usize,
        transport: usize,
        agreed: Consumed,
        paused: bool,
        forwarder: Forwarder,
        rtx_sequence: u64,
    ) -> Self {
        Self {
            transport,
            paused,
            starved: false,
            template: Template::new(&agreed),
            next_unsent: 0,
            packets: 0,
            octets: 0,
            payload_octets: 0,
            forwarder,
            id,
            producer,
            agreed,
            preferred: Layers::ALL,
            allowed: Layers::ALL,
            told: None,
            rtx_sequence,
            resends: Resends::default(),
            remote: RemoteReport::default(),
            sent_reports: [None; SENT_REPORTS],
            next_sent_report: 0,
            retransmitted: 0,
            dropped: 0,
            nacks: 0,
            nacked_packets: 0,
            plis: 0,
            firs: 0,
            score: Score::default(),
            told_score: None,
            judged: (0, 0),
            rate: SampledRate::default(),
        }
    }

    /// What it is sent, if that is news since the last time this was asked. Of a stream without layers only an
    /// interruption is news, and its end.
    pub fn layers_news(&mut self, ladder: &Ladder) -> Option<Option<Layers>> {
        let layers = if self.starved { None } else { Some(ladder.within(self.forwarder.current()?)) };
        let before = self.told.replace(layers);
        let is_news = match before {
            Some(before) => before != layers,
            None => self.starved || self.agreed.consumer_type != ConsumerType::Simple,
        };
        is_news.then_some(layers)
    }

    /// Fetches what a packet touches.
    pub fn prefetch(&self) {
        prefetch::start(self, offset_of!(Self, forwarder) + Forwarder::TOUCHED);
    }

    /// Whether packets go out to it.
    pub fn is_flowing(&self) -> bool {
        !self.paused && !self.starved
    }

    /// What headers are made of.
    pub fn header(&self) -> (Option<&Template>, &Consumed) {
        (self.template.as_ref(), &self.agreed)
    }

    /// Whether its packets carry transport-wide sequence numbers.
    pub fn is_numbered(&self) -> bool {
        if let Some(template) = &self.template {
            return template.is_numbered();
        }
        self.agreed.extensions.get(Extension::TransportCc).is_some()
    }

    /// The best layers it should have.
    pub fn wish(&self) -> Layers {
        self.preferred.min(self.allowed)
    }

    pub fn note_sent_report(&mut self, compact_ntp: u32, now: Instant) {
        self.sent_reports[self.next_sent_report % SENT_REPORTS] = Some((compact_ntp, now));
        self.next_sent_report += 1;
    }

    /// When the report the receiver speaks of left us.
    pub fn sent_report_at(&self, compact_ntp: u32) -> Option<Instant> {
        self.sent_reports.iter().flatten().find(|(ntp, _)| *ntp == compact_ntp).map(|(_, at)| *at)
    }

    /// The encoding it is sent, or is to be.
    pub fn stream(&self) -> u8 {
        self.forwarder.timestamp_offset().map_or(self.forwarder.keyframe_stream(), |(stream, _)| stream)
    }

    pub fn remote_jitter_ms(&self) -> f64 {
        f64::from(self.remote.jitter) * 1000.0 / f64::from(self.clock_rate().max(1))
    }

    /// Scores the interval since this was last done, by what the receiver reported and what it was sent again.
    pub fn judge(&mut self) {
        let (packets, retransmitted) =
            std::mem::replace(&mut self.judged, (self.packets, self.retransmitted));
        if self.paused {
            return;
        }
        let sent = self.packets - packets;
        let repaired = match sent {
            0 => 0.0,
            sent => (self.retransmitted - retransmitted) as f64 / sent as f64,
        };
        let interval = Interval {
            lost: f64::from(self.remote.fraction_lost) / 256.0,
            repaired,
            round_trip: self.remote.round_trip,
            jitter_ms: self.remote_jitter_ms(),
        };
        self.score.note(if self.starved { 0 } else { interval.judge() });
    }

    pub fn clock_rate(&self) -> u32 {
        self.agreed.clock_rate
    }
}

/// Bounds what a consumer can make us send again.
#[derive(Default)]
pub struct Resends {
    /// By sequence number modulo the size: which, and when last. Made with the first NACK.
    last: Vec<(u16, Millis)>,
    /// Packets sent again, each counted once.
    pub distinct: u64,
    allowance: u64,
    filled_at: Millis,
}

impl Resends {
    /// Whether packet `sequence` of `len` octets may be sent again: not twice within a round trip, and all together
    /// no more than half of what flows anyway.
    pub fn admit(&mut self, sequence: u16, len: usize, ms: Millis, round_trip: Millis, bitrate: u64) -> bool {
        if self.last.is_empty() {
            self.last = vec![(0, Millis::MAX); RESEND_SLOTS];
            self.allowance = MAX_ALLOWANCE;
            self.filled_at = ms;
        }
        let elapsed = ms.saturating_sub(self.filled_at).min(10_000);
        let refill = elapsed * (bitrate / 2 + MIN_RESEND_BITRATE) / 8_000;
        if refill > 0 {
            self.allowance = (self.allowance + refill).min(MAX_ALLOWANCE);
            self.filled_at = ms;
        }
        let slot = &mut self.last[usize::from(sequence) % RESEND_SLOTS];
        let is_repeat =
            slot.0 == sequence && slot.1 != Millis::MAX && ms.saturating_sub(slot.1) < round_trip.max(5);
        let Some(left) = self.allowance.checked_sub(len as u64).filter(|_| !is_repeat) else { return false };
        self.allowance = left;
        self.distinct += u64::from(slot.0 != sequence || slot.1 == Millis::MAX);
        *slot = (sequence, ms);
        true
    }
}

const RESEND_SLOTS: usize = 256;
/// A lost burst of a keyframe may come back at once.
const MAX_ALLOWANCE: u64 = 128 * 1024;
const MIN_RESEND_BITRATE: u64 = 300_000;
const SENT_REPORTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resending_is_bounded_per_packet_and_in_all() {
        let mut resends = Resends::default();
        assert!(resends.admit(7, 1_000, 0, 50, 0));
        assert!(!resends.admit(7, 1_000, 49, 50, 0));
        assert!(resends.admit(7, 1_000, 50, 50, 0));
        let granted = (0..10_000u16).filter(|n| resends.admit(*n, 1_000, 60, 50, 0)).count();
        assert!((100..140).contains(&granted), "{granted}");
        assert!(!resends.admit(20_000, 1_000, 61, 50, 0));
        assert!(resends.admit(20_000, 1_000, 200, 50, 0), "it recovers");
    }
}
