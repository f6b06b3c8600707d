//! RTP on its way in: whose packet it is, whether it is authentic and new, and what a retransmission repeats.

use super::{TapSink, Worker, mark_dirty};
use crate::ortc::Extension;
use crate::ortc::codec::Codec;
use crate::producer::Producer;
use crate::transport::{MAX_SOURCES, Security, Source};
use rtp::ext::{AbsSendTime, stream_name, transport_sequence};
use rtp::packet::{Packet, set_payload_type, set_sequence_number, set_ssrc};
use std::time::Instant;

impl Worker {
    pub(super) fn handle_rtp(
        &mut self,
        now: Instant,
        key: usize,
        datagram: &mut [u8],
        taps: &mut dyn TapSink,
    ) {
        let Some((source, sequence, len)) = self.receive_rtp(now, key, datagram) else {
            return self.discard_rtp(key, datagram);
        };
        let transport = &mut self.transports[key];
        if transport.ice.note_alive(now) {
            self.on_ice_alive(now, key);
        }
        if source.is_rtx {
            let (ms, octets) = (self.clock.ms(now), datagram.len());
            self.transports[key].traffic.rtx_received.record(ms, octets);
        }
        let Some(plain) = datagram.get_mut(..len) else { return };
        if source.is_rtx {
            self.accept_rtx(now, source, sequence, plain, taps);
        } else {
            self.accept_media(now, source, sequence, plain, taps);
        }
    }

    /// Nobody's, seen before, or not authentic.
    fn discard_rtp(&mut self, key: usize, datagram: &[u8]) {
        let transport = &mut self.transports[key];
        transport.traffic.discarded += 1;
        let Ok(header) = Packet::parse_header(datagram) else { return };
        let Some(source) = transport.sources.get(&header.ssrc()) else { return };
        let stream = self.producers[source.producer].streams.get_mut(usize::from(source.layer));
        if let Some(stream) = stream {
            let counter = if source.is_rtx { &mut stream.rtx_discarded } else { &mut stream.discarded };
            *counter += 1;
        }
    }

    /// Finds whose packet it is and decrypts it: source, extended sequence number, length in the clear.
    fn receive_rtp(&mut self, now: Instant, key: usize, datagram: &mut [u8]) -> Option<(Source, u64, usize)> {
        let header = Packet::parse_header(datagram).ok()?;
        let transport = &mut self.transports[key];
        let known = transport.sources.get(&header.ssrc()).copied();
        let Security::Connected { keys, .. } = &transport.security else { return None };
        let (source, sequence) = match known {
            Some(source) => {
                let stream = self.producers[source.producer].streams.get(usize::from(source.layer))?;
                let number = header.sequence_number();
                (source, if source.is_rtx { stream.peek_rtx(number)? } else { stream.peek(number)? })
            }
            None => {
                let source = find_source(&transport.producers, &self.producers, &header);
                let Some(source) = source.filter(|_| transport.sources.len() < MAX_SOURCES) else {
                    transport.traffic.unknown_ssrc += 1;
                    return None;
                };
                (source, 65_536 + u64::from(header.sequence_number()))
            }
        };
        let (ssrc, header_len) = (header.ssrc(), header.header_len());
        let feedback = transport.arrivals.as_mut().and_then(|log| {
            let extensions = &self.producers[source.producer].agreed.extensions;
            let value = |extension| header.extension(extensions.get(extension)?);
            let sent = value(Extension::AbsSendTime).and_then(AbsSendTime::parse);
            Some((log, transport_sequence(value(Extension::TransportCc)?)?, sent))
        });
        // Extended numbers begin at 65,536, the roll-over counter at 0.
        let len = keys.inbound.unprotect_rtp(datagram, header_len, sequence.checked_sub(65_536)?).ok()?;
        if let Some((log, number, sent)) = feedback {
            log.note(number, self.clock.elapsed(now).as_nanos() as u64, sent, ssrc);
        }
        if known.is_none() {
            // Authentic: what its extensions say is the client's word.
            transport.sources.insert(ssrc, source);
            let stream = self.producers[source.producer].streams.get_mut(usize::from(source.layer))?;
            let slot = if source.is_rtx { &mut stream.rtx_ssrc } else { &mut stream.ssrc };
            *slot = Some(ssrc);
        }
        Some((source, sequence, len))
    }

    fn accept_media(
        &mut self,
        now: Instant,
        source: Source,
        sequence: u64,
        plain: &[u8],
        taps: &mut dyn TapSink,
    ) {
        let producer = &mut self.producers[source.producer];
        let Some(stream) = producer.streams.get_mut(usize::from(source.layer)) else { return };
        let Ok(packet) = Packet::parse(plain) else { return };
        let accepted = stream.accept(sequence, packet.timestamp(), plain.len(), now, &self.clock);
        if accepted.hopeless && producer.agreed.codec != Codec::Opus {
            stream.keyframes.request();
        }
        if accepted.gap || accepted.hopeless {
            let transport = &mut self.transports[producer.transport];
            transport.urgent = true;
            mark_dirty(&mut self.dirty, transport, producer.transport);
        }
        let limit = &mut self.transports[producer.transport].incoming;
        if producer.agreed.codec != Codec::Opus && limit.drops(plain.len()) {
            stream.discarded += 1;
            return;
        }
        let known = [Some(producer.agreed.parameters.payload_type), producer.agreed.red_payload_type];
        if known.contains(&Some(packet.payload_type())) {
            self.forward(now, source, sequence, packet, taps);
        }
    }

    /// Turns a retransmission (RFC 4588 §4) back into the packet it repeats, in place, and treats it as that one.
    fn accept_rtx(
        &mut self,
        now: Instant,
        source: Source,
        rtx_sequence: u64,
        plain: &mut [u8],
        taps: &mut dyn TapSink,
    ) {
        let ms = self.clock.ms(now);
        let producer = &mut self.producers[source.producer];
        let Some(stream) = producer.streams.get_mut(usize::from(source.layer)) else { return };
        stream.accept_rtx(rtx_sequence, plain.len(), ms);
        let Ok(packet) = Packet::parse(plain) else { return };
        // Empty ones only probe the path.
        let Some((original, _)) = packet.rtx() else { return };
        let (header_len, payload_type) = (packet.header_len(), packet.payload_type());
        let (Some(ssrc), true) = (stream.ssrc, producer.agreed.rtx_payload_type == Some(payload_type)) else {
            return;
        };
        stream.retransmitted += 1;
        let Some(sequence) = stream.accept_repaired(original, ms) else {
            stream.rtx_discarded += 1;
            return;
        };
        if self.transports[producer.transport].incoming.drops(plain.len()) {
            return;
        }
        // The header moves up over the original sequence number.
        plain.copy_within(..header_len, 2);
        let restored = &mut plain[2..];
        set_payload_type(restored, producer.agreed.parameters.payload_type);
        set_sequence_number(restored, original);
        set_ssrc(restored, ssrc);
        if let Ok(packet) = Packet::parse(restored) {
            self.forward(now, source, sequence, packet, taps);
        }
    }
}

/// Whose packet an unknown SSRC carries, by MID and RID (RFC 8843 §9.2, RFC 8852 §3). Each producer has its own ids.
fn find_source(keys: &[usize], producers: &slab::Slab<Producer>, packet: &Packet<'_>) -> Option<Source> {
    keys.iter().find_map(|&key| {
        let producer = &producers[key];
        let agreed = &producer.agreed;
        let text = |extension| {
            let id = agreed.extensions.get(extension)?;
            stream_name(packet.extension(id)?)
        };
        let mid = text(Extension::Mid);
        if mid.is_some() && mid != agreed.mid.as_deref() {
            return None;
        }
        let is_rtx = agreed.rtx_payload_type == Some(packet.payload_type());
        let media = [Some(agreed.parameters.payload_type), agreed.red_payload_type];
        if !is_rtx && !media.contains(&Some(packet.payload_type())) {
            return None;
        }
        let rid = if is_rtx { text(Extension::RepairedRid) } else { text(Extension::Rid) };
        if mid.is_none() && rid.is_none() {
            return None;
        }
        let layer = producer.streams.iter().position(|stream| {
            let is_open = if is_rtx { stream.rtx_ssrc.is_none() } else { stream.ssrc.is_none() };
            // Without a RID there is one stream only.
            is_open && stream.rid.as_deref() == rid && (rid.is_some() || producer.streams.len() == 1)
        })?;
        Some(Source { producer: key, layer: layer as u8, is_rtx })
    })
}
