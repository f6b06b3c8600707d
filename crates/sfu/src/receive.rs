//! One received stream: what arrived, what is missing, and what to tell its sender.

use crate::clock::{Clock, Millis, from_compact};
use crate::nack::NackList;
use crate::rate::RateMeter;
use crate::replay::ReplayWindow;
use crate::ring::PacketRing;
use crate::score::{Interval, Score};
use rtp::dependency::Structure;
use rtp::rtcp::{ReportBlock, SenderInfo};
use rtp::sequence::SequenceExtender;
use std::time::Instant;

/// What a sender said of its clocks, and when.
#[derive(Clone, Copy, Debug)]
pub struct SenderClock {
    pub ntp: u64,
    pub rtp_timestamp: u32,
    pub arrival: Instant,
}

/// What a new packet means for the stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Packets before it are missing: ask for them soon.
    pub gap: bool,
    /// So much is missing that only a keyframe helps.
    pub hopeless: bool,
}

/// An encoding of a producer. It lives as long as the producer; its SSRC may be learned later.
#[derive(Debug)]
pub struct Stream {
    pub ssrc: Option<u32>,
    pub rtx_ssrc: Option<u32>,
    pub rid: Option<String>,
    clock_rate: u32,
    extender: SequenceExtender,
    /// RTP replay (RFC 3711 §3.3.2) and duplicates by retransmission are one question: was this number seen?
    seen: ReplayWindow<16>,
    rtx_extender: SequenceExtender,
    rtx_seen: ReplayWindow<4>,
    pub nack: NackList,
    pub asks_for_lost: bool,
    pub ring: PacketRing,
    /// What its dependency descriptors refer to.
    pub structure: Option<Box<Structure>>,
    /// First extended sequence number.
    base: Option<u64>,
    received: u64,
    /// At the last report.
    reported_expected: u64,
    reported_received: u64,
    fraction_lost: u8,
    /// Packets of the last report interval: expected, lost, repaired.
    pub interval: (u64, u64, u64),
    reported_repaired: u64,
    /// RFC 3550 appendix A.8, in timestamp units scaled by 16.
    jitter_scaled: u64,
    last_transit: Option<u32>,
    pub sender_clock: Option<SenderClock>,
    /// Smoothed, from answered NACKs or from XR.
    pub round_trip: Option<Millis>,
    pub last_packet: Option<Millis>,
    pub packets: u64,
    pub octets: u64,
    pub repaired: u64,
    /// RTX packets that carried one of ours again; empty ones only probe the path.
    pub retransmitted: u64,
    /// Media that came twice, could not be decrypted, or was beyond what its client may send.
    pub discarded: u64,
    /// RTX that brought back nothing that was missing.
    pub rtx_discarded: u64,
    pub nacks_sent: u64,
    /// Packets that NACKs named.
    pub nacked_packets: u64,
    pub plis_sent: u64,
    pub firs_sent: u64,
    pub score: Score,
    pub rate: RateMeter,
    pub keyframes: KeyframeRequests,
}

impl Stream {
    pub fn new(
        ssrc: Option<u32>,
        rtx_ssrc: Option<u32>,
        rid: Option<String>,
        clock_rate: u32,
        asks: bool,
    ) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            rid,
            clock_rate,
            extender: SequenceExtender::new(),
            seen: ReplayWindow::default(),
            rtx_extender: SequenceExtender::new(),
            rtx_seen: ReplayWindow::default(),
            nack: NackList::default(),
            asks_for_lost: asks,
            ring: PacketRing::new(),
            structure: None,
            base: None,
            received: 0,
            reported_expected: 0,
            reported_received: 0,
            fraction_lost: 0,
            interval: (0, 0, 0),
            reported_repaired: 0,
            jitter_scaled: 0,
            last_transit: None,
            sender_clock: None,
            round_trip: None,
            last_packet: None,
            packets: 0,
            octets: 0,
            repaired: 0,
            retransmitted: 0,
            discarded: 0,
            rtx_discarded: 0,
            nacks_sent: 0,
            nacked_packets: 0,
            plis_sent: 0,
            firs_sent: 0,
            score: Score::default(),
            rate: RateMeter::default(),
            keyframes: KeyframeRequests::default(),
        }
    }

    /// The extended number and SRTP index of a packet not yet known to be authentic; `None` if it was seen.
    pub fn peek(&self, sequence: u16) -> Option<u64> {
        let extended = self.extender.peek(sequence);
        self.seen.is_new(extended).then_some(extended)
    }

    pub fn peek_rtx(&self, sequence: u16) -> Option<u64> {
        let extended = self.rtx_extender.peek(sequence);
        self.rtx_seen.is_new(extended).then_some(extended)
    }

    /// An authentic packet that [`Self::peek`] numbered.
    pub fn accept(
        &mut self,
        sequence: u64,
        timestamp: u32,
        len: usize,
        now: Instant,
        clock: &Clock,
    ) -> Accepted {
        let ms = clock.ms(now);
        let highest = self.extender.highest();
        self.extender.extend(sequence as u16);
        self.seen.accept(sequence);
        self.base = Some(self.base.map_or(sequence, |base| base.min(sequence)));
        self.received += 1;
        self.note_size(len, ms);
        self.note_transit(timestamp, now, clock);
        let mut accepted = Accepted::default();
        match highest {
            Some(highest) if sequence > highest + 1 && self.asks_for_lost => {
                accepted.hopeless = self.nack.note_gap(highest, sequence, ms).0;
                accepted.gap = !accepted.hopeless;
            }
            Some(highest) if sequence < highest => {
                let _ = self.nack.note_arrival(sequence, ms);
            }
            _ => {}
        }
        accepted
    }

    /// An authentic retransmission on the RTX stream, before its payload is looked at.
    pub fn accept_rtx(&mut self, rtx_sequence: u64, len: usize, ms: Millis) {
        self.rtx_extender.extend(rtx_sequence as u16);
        self.rtx_seen.accept(rtx_sequence);
        self.note_size(len, ms);
    }

    /// The packet a retransmission brings back; `None` if it is here already, or too old, or from the future.
    pub fn accept_repaired(&mut self, original: u16, ms: Millis) -> Option<u64> {
        let sequence = self.peek(original)?;
        // Only what is behind the highest one can have been lost. A number ahead would move the stream forward on the
        // word of the RTX stream: legal, but no sender does it.
        if self.extender.highest().is_none_or(|highest| sequence > highest) {
            return None;
        }
        self.seen.accept(sequence);
        self.repaired += 1;
        if let Some(sample) = self.nack.note_arrival(sequence, ms) {
            self.note_round_trip(sample);
        }
        Some(sequence)
    }

    pub fn note_round_trip(&mut self, sample: Millis) {
        self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }

    fn note_size(&mut self, len: usize, ms: Millis) {
        self.packets += 1;
        self.octets += len as u64;
        self.rate.record(ms, len);
        self.last_packet = Some(ms);
    }

    fn note_transit(&mut self, timestamp: u32, now: Instant, clock: &Clock) {
        let arrival = (clock.elapsed(now).as_nanos() * u128::from(self.clock_rate) / 1_000_000_000) as u32;
        let transit = arrival.wrapping_sub(timestamp);
        if let Some(last) = self.last_transit.replace(transit) {
            let distance = u64::from((transit.wrapping_sub(last) as i32).unsigned_abs());
            self.jitter_scaled = self.jitter_scaled + distance - (self.jitter_scaled + 8) / 16;
        }
    }

    /// Scores the interval of the last report. `round_trip`: of the transport, where the stream has none of its own.
    pub fn judge(&mut self, round_trip: Option<Millis>, ms: Millis) {
        let (expected, lost, repaired) = self.interval;
        let share = |packets: u64| if expected == 0 { 0.0 } else { packets as f64 / expected as f64 };
        let interval = Interval {
            lost: share(lost),
            repaired: share(repaired),
            round_trip: self.round_trip.or(round_trip),
            jitter_ms: self.jitter_ms(),
        };
        self.score.note(if self.is_flowing(ms) { interval.judge() } else { 0 });
    }

    /// Interarrival jitter in timestamp units (RFC 3550 §6.4.1).
    pub fn jitter(&self) -> u32 {
        (self.jitter_scaled / 16) as u32
    }

    pub fn jitter_ms(&self) -> f64 {
        self.jitter_scaled as f64 / 16.0 * 1000.0 / f64::from(self.clock_rate.max(1))
    }

    fn expected(&self) -> u64 {
        match (self.base, self.extender.highest()) {
            (Some(base), Some(highest)) => highest - base + 1,
            _ => 0,
        }
    }

    pub fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    pub fn fraction_lost(&self) -> u8 {
        self.fraction_lost
    }

    /// RFC 3550 §6.4.1 and appendix A.3; begins a new interval.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let (ssrc, highest) = (self.ssrc?, self.extender.highest()?);
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.reported_expected);
        let received_interval = self.received - self.reported_received;
        (self.reported_expected, self.reported_received) = (expected, self.received);
        let lost_interval = expected_interval.saturating_sub(received_interval);
        self.fraction_lost = match expected_interval {
            0 => 0,
            n => (lost_interval * 256 / n).min(255) as u8,
        };
        let repaired_interval = self.repaired - self.reported_repaired;
        self.reported_repaired = self.repaired;
        self.interval = (expected_interval, lost_interval, repaired_interval);
        let (last_sr, delay) = match self.sender_clock {
            Some(clock) => {
                let delay = now.saturating_duration_since(clock.arrival);
                ((clock.ntp >> 16) as u32, (delay.as_nanos() * 65_536 / 1_000_000_000) as u32)
            }
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: self.fraction_lost,
            cumulative_lost: self.lost().clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32,
            // Cycles count from zero; extended numbers begin at 65,536.
            highest_sequence: (highest as u32).wrapping_sub(65_536),
            jitter: self.jitter(),
            last_sr,
            delay_since_last_sr: delay,
        })
    }

    pub fn handle_sender_report(&mut self, info: &SenderInfo, now: Instant) {
        self.sender_clock =
            Some(SenderClock { ntp: info.ntp, rtp_timestamp: info.rtp_timestamp, arrival: now });
    }

    /// Whether it sent anything lately.
    pub fn is_flowing(&self, ms: Millis) -> bool {
        self.last_packet.is_some_and(|last| ms.saturating_sub(last) < FLOWING_WITHIN)
    }

    /// The sender says goodbye (RFC 3550 §6.6).
    pub fn handle_bye(&mut self) {
        self.last_packet = None;
        self.nack.clear();
    }

    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
    }
}

/// DLSR and LRR arithmetic (RFC 3611 §4.5): the round trip a report block tells.
pub fn round_trip_of(last: u32, delay: u32, compact_now: u32) -> Option<Millis> {
    if last == 0 {
        return None;
    }
    let elapsed = compact_now.wrapping_sub(last).wrapping_sub(delay);
    // Above half the range the clocks disagree by a hair and the difference is negative.
    (elapsed < u32::MAX / 2).then(|| from_compact(elapsed).as_millis() as u64)
}

/// Keyframe requests to one stream: the first at once, repeated while none comes, never more than one in
/// [`KeyframeRequests::INTERVAL`].
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyframeRequests {
    wanted: bool,
    last_asked: Option<Millis>,
    asked: u8,
    /// FIR's command counter (RFC 5104 §4.3.1).
    pub fir_sequence: u8,
}

impl KeyframeRequests {
    const INTERVAL: Millis = 500;
    /// After so many in vain, wait for the next who asks.
    const MAX_REPEATS: u8 = 10;

    pub fn request(&mut self) {
        self.wanted = true;
        self.asked = 0;
    }

    pub fn note_keyframe(&mut self) {
        self.wanted = false;
    }

    /// Whether to ask now.
    pub fn poll(&mut self, ms: Millis) -> bool {
        if !self.wanted || self.last_asked.is_some_and(|last| ms.saturating_sub(last) < Self::INTERVAL) {
            return false;
        }
        if self.asked >= Self::MAX_REPEATS {
            self.wanted = false;
            return false;
        }
        self.asked += 1;
        self.last_asked = Some(ms);
        self.fir_sequence = self.fir_sequence.wrapping_add(1);
        true
    }

    pub fn is_due(&self, ms: Millis) -> bool {
        self.wanted && self.last_asked.is_none_or(|last| ms.saturating_sub(last) >= Self::INTERVAL)
    }
}

const FLOWING_WITHIN: Millis = 1_500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::epoch;
    use std::time::Duration;

    #[test]
    fn loss_and_jitter_are_reported_as_rfc_3550_counts_them() {
        let start = epoch();
        let clock = Clock::new(start);
        let mut stream = Stream::new(Some(1), None, None, 90_000, true);
        for n in 0..100u16 {
            if n % 10 == 9 {
                continue;
            }
            let now = start + Duration::from_millis(u64::from(n) * 20 + u64::from(n % 2) * 4);
            let sequence = stream.peek(65_500u16.wrapping_add(n)).unwrap();
            stream.accept(sequence, u32::from(n) * 1800, 100, now, &clock);
        }
        let report = stream.report(start).unwrap();
        assert_eq!(report.cumulative_lost, 9);
        assert_eq!(report.fraction_lost, (9 * 256 / 99) as u8);
        assert_eq!(report.highest_sequence, 0x1_0000 + (65_500 + 98 - 65_536));
        assert!((stream.jitter_ms() - 4.0).abs() < 0.5, "{}", stream.jitter_ms());
        assert_eq!(stream.report(start).unwrap().fraction_lost, 0, "a new interval");
    }

    #[test]
    fn a_repaired_packet_is_taken_once_and_only_if_it_was_lost() {
        let start = epoch();
        let clock = Clock::new(start);
        let mut stream = Stream::new(Some(1), Some(2), None, 90_000, true);
        for n in [10u16, 11, 14] {
            let sequence = stream.peek(n).unwrap();
            let gap = stream.accept(sequence, 0, 100, start, &clock).gap;
            assert_eq!(gap, n == 14);
        }
        assert!(stream.accept_repaired(12, 30).is_some());
        assert!(stream.accept_repaired(12, 30).is_none());
        assert!(stream.accept_repaired(11, 30).is_none());
        assert!(stream.accept_repaired(15, 30).is_none());
        assert!(stream.peek(12).is_none(), "the original comes late");
        assert!(stream.peek(13).is_some());
    }

    #[test]
    fn keyframes_are_asked_for_at_once_then_in_measure() {
        let mut requests = KeyframeRequests::default();
        requests.request();
        assert!(requests.poll(0));
        requests.request();
        assert!(!requests.poll(100));
        assert!(requests.poll(500));
        requests.note_keyframe();
        assert!(!requests.poll(2_000));
    }
}
