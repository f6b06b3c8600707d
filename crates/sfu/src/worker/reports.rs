//! RTCP: what clients tell of their streams and ask of ours, and what we tell and ask in return.

use super::{TapSink, Worker, mark_dirty};
use crate::clock::{Millis, to_fixed_point};
use crate::transport::Security;
use crate::transport_feedback;
use crate::xr;
use rtp::rtcp::{
    FirEntry, ReportBlock, Rtcp, SenderInfo, SenderReport, parse, write_fir, write_nack, write_pli,
    write_receiver_report, write_remb, write_sdes_cname, write_sender_report,
};
use std::time::Instant;

impl Worker {
    pub(super) fn handle_rtcp(
        &mut self,
        now: Instant,
        key: usize,
        datagram: &mut [u8],
        taps: &mut dyn TapSink,
    ) {
        let transport = &mut self.transports[key];
        let Security::Connected { keys, .. } = &mut transport.security else {
            transport.traffic.discarded += 1;
            return;
        };
        let Ok(compound) = keys.inbound.unprotect_rtcp(datagram) else {
            transport.traffic.discarded += 1;
            return;
        };
        if transport.ice.note_alive(now) {
            self.on_ice_alive(now, key);
        }
        for packet in parse(compound) {
            match packet {
                Ok(packet) => self.handle_rtcp_packet(now, key, packet, taps),
                Err(_) => self.transports[key].traffic.discarded += 1,
            }
        }
    }

    fn handle_rtcp_packet(&mut self, now: Instant, key: usize, packet: Rtcp<'_>, taps: &mut dyn TapSink) {
        match packet {
            Rtcp::SenderReport(report) => {
                self.handle_sender_report(now, key, &report, taps);
                report.reports.for_each(|block| self.handle_report_block(now, key, block));
            }
            Rtcp::ReceiverReport(report) => {
                report.reports.for_each(|block| self.handle_report_block(now, key, block));
            }
            Rtcp::Bye(bye) => bye.ssrcs().for_each(|ssrc| self.handle_bye(key, ssrc)),
            Rtcp::Nack(nack) => self.handle_nack(now, key, nack.media_ssrc, nack.lost()),
            Rtcp::Pli(pli) => self.handle_keyframe_request(now, key, pli.media_ssrc, Asked::ByPli),
            Rtcp::Fir(fir) => {
                fir.entries()
                    .take(MAX_FIR)
                    .for_each(|entry| self.handle_keyframe_request(now, key, entry.ssrc, Asked::ByFir));
            }
            Rtcp::Remb(remb) => {
                let us = self.clock.us(now);
                if let Some(outgoing) = &mut self.transports[key].outgoing {
                    outgoing.controller.handle_remb(us, remb.bitrate_bps);
                }
            }
            Rtcp::TransportFeedback(feedback) => {
                let us = self.clock.us(now);
                if let Some(outgoing) = &mut self.transports[key].outgoing {
                    outgoing.controller.handle_feedback(us, &feedback);
                }
            }
            Rtcp::Unknown { packet_type: xr::PACKET_TYPE, body, .. } => {
                let compact_now = self.clock.compact_ntp(now);
                let transport = &mut self.transports[key];
                let own = transport.rtcp_ssrc;
                for reply in xr::replies(body).filter(|reply| reply.ssrc == own) {
                    if let Some(sample) = crate::receive::round_trip_of(reply.last, reply.delay, compact_now)
                    {
                        transport.note_round_trip(sample);
                    }
                }
            }
            Rtcp::Sdes(_) | Rtcp::Unknown { .. } => {}
        }
    }

    fn handle_sender_report(
        &mut self,
        now: Instant,
        key: usize,
        report: &SenderReport<'_>,
        taps: &mut dyn TapSink,
    ) {
        let source = self.transports[key].sources.get(&report.ssrc).copied().filter(|s| !s.is_rtx);
        let Some(source) = source else { return };
        let producer = &mut self.producers[source.producer];
        let Some(stream) = producer.streams.get_mut(usize::from(source.layer)) else { return };
        let is_first = stream.sender_clock.is_none();
        stream.handle_sender_report(&report.info, now);
        let ms = self.clock.ms(now);
        if is_first {
            // Lips are in sync as soon as receivers know both clocks: do not make them wait for the next interval.
            for receiver in &producer.receivers {
                let transport = &mut self.transports[receiver.transport as usize];
                transport.next_report = transport.next_report.min(ms);
            }
        }
        if producer.paused {
            return;
        }
        let round_trip = producer.streams.get(usize::from(source.layer)).and_then(|s| s.round_trip);
        let round_trip = round_trip.or(self.transports[producer.transport].round_trip);
        for tap in &producer.taps {
            let tap = &self.taps[*tap];
            let Some((layer, offset)) = tap.forwarder.timestamp_offset() else { continue };
            if layer == source.layer {
                let timestamp = report.info.rtp_timestamp.wrapping_add(offset);
                taps.sender_report(tap.tag, now, report.info.ntp, timestamp);
                if let Some(ms) = round_trip {
                    taps.round_trip(tap.tag, now, u32::try_from(ms).unwrap_or(u32::MAX));
                }
            }
        }
    }

    fn handle_report_block(&mut self, now: Instant, key: usize, block: ReportBlock) {
        let transport = &mut self.transports[key];
        let Some(consumer) = transport.sinks.get(&block.ssrc).map(|c| &mut self.consumers[*c]) else {
            return;
        };
        if consumer.agreed.ssrc != block.ssrc {
            return;
        }
        let lost = i64::from(block.cumulative_lost);
        let newly_lost = lost.saturating_sub(consumer.remote.lost).clamp(0, MAX_INTERVAL_PACKETS);
        let expected = i64::from(block.highest_sequence.wrapping_sub(consumer.remote.highest) as i32);
        if consumer.remote.highest != 0
            && let Some(outgoing) = &mut transport.outgoing
        {
            let received = (expected - newly_lost).clamp(0, MAX_INTERVAL_PACKETS);
            outgoing.controller.handle_report(self.clock.us(now), received as u32, newly_lost as u32);
        }
        consumer.remote.fraction_lost = block.fraction_lost;
        consumer.remote.lost = lost;
        consumer.remote.highest = block.highest_sequence;
        consumer.remote.jitter = block.jitter;
        // Our reports carry the producer's clock, so the time they left is looked up, not computed.
        let Some(sent_at) = consumer.sent_report_at(block.last_sr).filter(|_| block.last_sr != 0) else {
            return;
        };
        let held = crate::clock::from_compact(block.delay_since_last_sr);
        let Some(round_trip) = now.saturating_duration_since(sent_at).checked_sub(held) else { return };
        let sample = round_trip.as_millis() as Millis;
        consumer.remote.round_trip =
            Some(consumer.remote.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
        transport.note_round_trip(sample);
    }

    fn handle_bye(&mut self, key: usize, ssrc: u32) {
        let Some(source) = self.transports[key].sources.get(&ssrc).copied().filter(|s| !s.is_rtx) else {
            return;
        };
        if let Some(stream) = self.producers[source.producer].streams.get_mut(usize::from(source.layer)) {
            stream.handle_bye();
        }
    }

    fn handle_nack(&mut self, now: Instant, key: usize, ssrc: u32, lost: impl Iterator<Item = u16>) {
        let Some(&consumer) = self.transports[key].sinks.get(&ssrc) else { return };
        if self.consumers[consumer].agreed.ssrc != ssrc || self.consumers[consumer].paused {
            return;
        }
        self.consumers[consumer].nacks += 1;
        for number in lost.take(MAX_NACKED) {
            self.consumers[consumer].nacked_packets += 1;
            let _ = self.resend(now, consumer, number);
        }
    }

    fn handle_keyframe_request(&mut self, now: Instant, key: usize, ssrc: u32, asked: Asked) {
        let Some(&consumer) = self.transports[key].sinks.get(&ssrc) else { return };
        let consumer = &mut self.consumers[consumer];
        if consumer.paused {
            return;
        }
        match asked {
            Asked::ByPli => consumer.plis += 1,
            Asked::ByFir => consumer.firs += 1,
        }
        let layer = consumer.forwarder.keyframe_stream();
        let producer = consumer.producer;
        self.request_keyframe_of(now, producer, layer);
    }

    /// Asks this transport's client for what is missing: packets, keyframes.
    pub(super) fn write_feedback(&mut self, now: Instant, key: usize) {
        let ms = self.clock.ms(now);
        let transport = &mut self.transports[key];
        transport.urgent = false;
        if !transport.may_send() {
            return;
        }
        let patience = transport.round_trip;
        let own = transport.rtcp_ssrc;
        let mut compound = std::mem::take(&mut self.compound);
        for index in 0..transport.producers.len() {
            let producer = &mut self.producers[transport.producers[index]];
            let supports = producer.agreed.supports;
            for stream in &mut producer.streams {
                let Some(ssrc) = stream.ssrc else { continue };
                self.lost.clear();
                let round_trip = stream.round_trip.or(patience).unwrap_or(super::media::DEFAULT_ROUND_TRIP);
                if stream.nack.poll(ms, round_trip, &mut self.lost).0
                    && producer.agreed.rtx_payload_type.is_some()
                {
                    stream.keyframes.request();
                }
                if !self.lost.is_empty() {
                    stream.nacks_sent += 1;
                    stream.nacked_packets += self.lost.len() as u64;
                    write_nack(&mut compound, own, ssrc, &self.lost);
                }
                if !producer.paused && stream.keyframes.poll(ms) {
                    if supports.pli || !supports.fir {
                        stream.plis_sent += 1;
                        write_pli(&mut compound, own, ssrc);
                    } else {
                        stream.firs_sent += 1;
                        let sequence = stream.keyframes.fir_sequence;
                        write_fir(&mut compound, own, &[FirEntry { ssrc, sequence }]);
                    }
                }
                if compound.len() > COMPOUND_FULL {
                    push_compound(transport, &mut compound, ms);
                }
            }
        }
        push_compound(transport, &mut compound, ms);
        self.compound = compound;
    }

    /// Tells when this client's packets arrived (transport-wide congestion control).
    pub(super) fn write_arrivals(&mut self, now: Instant, key: usize) {
        let ms = self.clock.ms(now);
        let transport = &mut self.transports[key];
        let Some(mut log) = transport.arrivals.take() else { return };
        let mut compound = std::mem::take(&mut self.compound);
        if transport.may_send() {
            while log.write(&mut compound, transport.rtcp_ssrc) {
                if compound.len() > COMPOUND_FULL_OF_ARRIVALS {
                    push_compound(transport, &mut compound, ms);
                }
            }
            push_compound(transport, &mut compound, ms);
            mark_dirty(&mut self.dirty, transport, key);
        }
        transport.arrivals = Some(log);
        self.compound = compound;
    }

    /// The reports of one interval: of what the client sends, and of what it receives.
    pub(super) fn write_reports(&mut self, now: Instant, key: usize) {
        if !self.transports[key].may_send() {
            return;
        }
        let mut compound = std::mem::take(&mut self.compound);
        self.write_receiver_reports(now, key, &mut compound);
        self.write_sender_reports(now, key, &mut compound);
        self.judge(self.clock.ms(now), key);
        self.compound = compound;
        self.mark_dirty(key);
    }

    fn write_receiver_reports(&mut self, now: Instant, key: usize, compound: &mut Vec<u8>) {
        let ms = self.clock.ms(now);
        let ntp = self.clock.ntp(now);
        let transport = &mut self.transports[key];
        if transport.producers.is_empty() {
            return;
        }
        let mut blocks = [ReportBlock::default(); MAX_BLOCKS];
        let mut count = 0;
        let mut estimated = [0; MAX_BLOCKS];
        let mut estimated_count = 0;
        for index in 0..transport.producers.len() {
            let producer = &mut self.producers[transport.producers[index]];
            let adapts = producer.agreed.supports.remb || producer.agreed.supports.transport_cc;
            for stream in &mut producer.streams {
                let Some(block) = stream.report(now) else { continue };
                if adapts && estimated_count < MAX_BLOCKS {
                    estimated[estimated_count] = block.ssrc;
                    estimated_count += 1;
                }
                blocks[count] = block;
                count += 1;
                if count == MAX_BLOCKS {
                    write_receiver_report(compound, transport.rtcp_ssrc, &blocks);
                    push_compound(transport, compound, ms);
                    count = 0;
                }
            }
        }
        write_receiver_report(compound, transport.rtcp_ssrc, &blocks[..count]);
        write_sdes_cname(compound, transport.rtcp_ssrc, OWN_CNAME);
        xr::write_reference_time(compound, transport.rtcp_ssrc, ntp);
        if estimated_count > 0 {
            let limit = transport.incoming.limit();
            write_remb(compound, transport.rtcp_ssrc, limit, &estimated[..estimated_count]);
        }
        push_compound(transport, compound, ms);
    }

    fn write_sender_reports(&mut self, now: Instant, key: usize, compound: &mut Vec<u8>) {
        let ms = self.clock.ms(now);
        let transport = &mut self.transports[key];
        for index in 0..transport.consumers.len() {
            let consumer = &mut self.consumers[transport.consumers[index]];
            let producer = &self.producers[consumer.producer];
            if consumer.paused || consumer.packets == 0 {
                continue;
            }
            let Some((layer, offset)) = consumer.forwarder.timestamp_offset() else { continue };
            let stream = producer.streams.get(usize::from(layer));
            let Some((clock, stream)) = stream.and_then(|s| Some((s.sender_clock?, s))) else { continue };
            // Both members of the pair go on by the time since the sender's report: the pair stays on the sender's
            // line, so sound and pictures of one guest keep their relation exactly.
            let since = now.saturating_duration_since(clock.arrival);
            let ticks = (since.as_nanos() * u128::from(stream.clock_rate()) / 1_000_000_000) as u32;
            let info = SenderInfo {
                ntp: clock.ntp.wrapping_add(to_fixed_point(since)),
                rtp_timestamp: clock.rtp_timestamp.wrapping_add(ticks).wrapping_add(offset),
                packet_count: consumer.packets as u32,
                octet_count: consumer.payload_octets as u32,
            };
            consumer.note_sent_report(info.compact_ntp(), now);
            let ssrc = consumer.agreed.ssrc;
            write_sender_report(compound, ssrc, &info, &[]);
            write_sdes_cname(compound, ssrc, consumer.agreed.cname.as_bytes());
            if compound.len() > COMPOUND_FULL {
                push_compound(transport, compound, ms);
            }
        }
        push_compound(transport, compound, ms);
    }
}

/// How a receiver asks for a keyframe.
#[derive(Clone, Copy)]
enum Asked {
    ByPli,
    ByFir,
}

/// Queues the compound packet, if there is anything in it, and empties it.
fn push_compound(transport: &mut crate::transport::Transport, compound: &mut Vec<u8>, ms: Millis) {
    if !compound.is_empty()
        && let Security::Connected { keys, .. } = &mut transport.security
        && let Some(len) = transport.egress.push_rtcp(&mut keys.outbound, compound)
    {
        transport.traffic.note_control_sent(ms, len);
    }
    compound.clear();
}

/// Leaves room for the longest single packet within 1,200 octets.
const COMPOUND_FULL: usize = 700;
/// The same before a message of arrivals, of which there are several where some are not told.
const COMPOUND_FULL_OF_ARRIVALS: usize = 1_200 - transport_feedback::MAX_MESSAGE;
const MAX_BLOCKS: usize = 31;
const OWN_CNAME: &[u8] = b"greenroom";
/// In one packet; a page of a storm is answered, the rest is not.
const MAX_NACKED: usize = 512;
const MAX_FIR: usize = 16;
/// Of one stream between two reports; more is a lie.
const MAX_INTERVAL_PACKETS: i64 = 100_000;
