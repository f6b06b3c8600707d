//! RTP on its way out: from one sender's packet in the clear to every receiver's, encrypted.

use super::{TapSink, Worker, mark_dirty, mark_timed};
use crate::bandwidth::{Class, Held, Micros};
use crate::clock::{Clock, Millis};
use crate::consumer::Consumer;
use crate::forward::{Kind, Placed};
use crate::header::{Fresh, HeaderBuffer, Passed};
use crate::layering::Described;
use crate::layers::Layers;
use crate::ortc::Extension;
use crate::producer::Producer;
use crate::transport::{Security, Source, Transport};
use rtp::codec::{VideoCodec, red};
use rtp::dependency::Descriptor;
use rtp::ext::{AbsSendTime, AudioLevel};
use rtp::packet::{FixedHeader, Packet, set_marker, set_sequence_number, set_ssrc, set_timestamp};
use std::time::Instant;

impl Worker {
    /// Hands one packet to taps, and keeps it for everybody else who wants it.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        source: Source,
        sequence: u64,
        packet: Packet<'_>,
        taps: &mut dyn TapSink,
    ) {
        let passed = Passed::read(&packet, &self.producers[source.producer].agreed.extensions);
        if passed.dependency.is_some_and(Descriptor::brings_structure) {
            // Packets before it are read by the structure before it.
            self.queue_arrived();
        }
        let producer = &mut self.producers[source.producer];
        let codec = producer.video_codec();
        let mut described = Described::SOUND;
        if let Some(codec) = codec {
            let kind = producer.layer_kind();
            let Some(stream) = producer.streams.get_mut(usize::from(source.layer)) else { return };
            described = Described::read(codec, packet.payload(), passed.dependency, &mut stream.structure);
            if described.starts_picture_alone {
                stream.keyframes.note_keyframe();
            }
            stream.ring.push(sequence, packet.as_bytes());
            if let Some(meter) = &mut producer.layers {
                let structure = stream.structure.as_deref();
                let layers = match kind {
                    Kind::Simulcast => Layers { spatial: source.layer, ..described.layers() },
                    Kind::Single => described.layers(),
                };
                if kind == Kind::Single
                    && layers.spatial == 0
                    && !described.starts_picture_alone
                    && let Some(is_independent) = described.is_not_for_upper_layers(structure)
                {
                    meter.set_independent(is_independent);
                }
                let len = packet.as_bytes().len();
                meter.note(source.layer, layers, packet.timestamp(), len, self.clock.ms(now));
            }
        }
        if producer.paused {
            return;
        }
        let is_redundant = producer.agreed.red_payload_type == Some(packet.payload_type());
        if is_redundant {
            let expected = producer.agreed.parameters.payload_type;
            if red::primary(packet.payload()).is_none_or(|(payload_type, _)| payload_type != expected) {
                return;
            }
        }
        let extensions = &producer.agreed.extensions;
        if let Some(level) = extensions.get(Extension::AudioLevel).and_then(|id| packet.extension(id)) {
            producer.audio_level = AudioLevel::parse(level).map(|l| l.dbov);
            if let (Some(voice), Some(level)) = (&mut producer.voice, producer.audio_level) {
                voice.note(level, self.clock.ms(now));
            }
        }
        self.hand_to_taps(now, source, sequence, &packet, &described, taps);
        if !self.producers[source.producer].receivers.is_empty() {
            self.fan_out.push(source, sequence, &packet, described, is_redundant);
            if self.fan_out.is_full() {
                self.queue_arrived();
            }
        }
    }

    fn hand_to_taps(
        &mut self,
        now: Instant,
        source: Source,
        sequence: u64,
        packet: &Packet<'_>,
        described: &Described,
        taps: &mut dyn TapSink,
    ) {
        let producer = &self.producers[source.producer];
        let incoming = producer.incoming(source.layer, sequence, packet, described);
        let align = |to: u8| producer.translate_timestamp(source.layer, packet.timestamp(), to);
        for &tap in &producer.taps {
            let tap = &mut self.taps[tap];
            let Some(placed) = tap.forwarder.place(&incoming, align) else { continue };
            if placed.is_empty {
                continue;
            }
            let is_as_it_came = producer.streams.len() == 1
                && (placed.sequence, placed.marker) == (sequence, packet.marker());
            if is_as_it_came {
                taps.rtp(tap.tag, now, packet.as_bytes());
            } else {
                tap_rewritten(tap.tag, now, packet, producer, &placed, taps);
            }
        }
    }

    /// Sends a packet that waited, from its producer's ring.
    pub(super) fn send_held(
        &mut self,
        moment: &Moment,
        key: usize,
        layer: u8,
        sequence: u64,
        placed: &Placed,
    ) -> Option<()> {
        let consumer = self.consumers.get_mut(key)?;
        let producer = &self.producers[consumer.producer];
        let stream = producer.streams.get(usize::from(layer))?;
        let packet = Packet::parse(stream.ring.find(sequence)?).ok()?;
        let codec = producer.video_codec()?;
        let passed = Passed::read(&packet, &producer.agreed.extensions);
        let structure = stream.structure.as_deref();
        let described = &Described::read_again(codec, packet.payload(), passed.dependency, structure);
        let transport = &mut self.transports[consumer.transport];
        let shared = Shared { packet, primary: None, codec: Some(codec), passed, described };
        send_media(moment, consumer, transport, &shared, placed)?;
        mark_dirty(&mut self.dirty, transport, consumer.transport);
        Some(())
    }

    /// Answers a request for a lost packet: at once, or when the path has room.
    pub(super) fn resend(&mut self, now: Instant, key: usize, number: u16) -> Option<()> {
        let moment = Moment::new(&self.clock, now);
        let consumer = &mut self.consumers[key];
        let sent = consumer.forwarder.find_sent(number)?;
        let stream = self.producers[consumer.producer].streams.get(usize::from(sent.stream))?;
        let len = stream.ring.find(sent.original)?.len();
        let round_trip = consumer.remote.round_trip.unwrap_or(DEFAULT_ROUND_TRIP);
        if !consumer.resends.admit(number, len, moment.ms, round_trip, consumer.rate.bitrate(moment.ms)) {
            return None;
        }
        let transport = &mut self.transports[consumer.transport];
        if let Some(outgoing) = &mut transport.outgoing
            && !outgoing.admits(moment.us, Class::Resend)
        {
            // Without room for it, it will be asked for again.
            let _ = outgoing.pacer.hold(moment.us, Class::Resend, key, Held::Resend(number));
            mark_timed(&mut self.timed, transport, consumer.transport);
            return None;
        }
        self.repair(&moment, key, number)
    }

    /// Sends a packet again because it was lost.
    pub(super) fn repair(&mut self, moment: &Moment, key: usize, number: u16) -> Option<()> {
        let len = self.send_again(moment, key, number)?;
        let consumer = &mut self.consumers[key];
        consumer.retransmitted += 1;
        self.transports[consumer.transport].traffic.rtx_sent.record(moment.ms, len);
        Some(())
    }

    /// Sends one packet again, as RTX, if the ring still has it; its length.
    pub(super) fn send_again(&mut self, moment: &Moment, key: usize, number: u16) -> Option<usize> {
        let consumer = self.consumers.get_mut(key)?;
        let (payload_type, ssrc) = consumer.agreed.rtx?;
        let producer = &self.producers[consumer.producer];
        let sent = consumer.forwarder.find_sent(number)?;
        let stream = producer.streams.get(usize::from(sent.stream))?;
        let packet = Packet::parse(stream.ring.find(sent.original)?).ok()?;
        let codec = producer.video_codec()?;
        let passed = Passed::read(&packet, &producer.agreed.extensions);
        let structure = stream.structure.as_deref();
        let described = Described::read_again(codec, packet.payload(), passed.dependency, structure);
        let incoming = producer.incoming(sent.stream, sent.original, &packet, &described);
        let placed = consumer.forwarder.place_again(&sent, &incoming)?;
        let transport = &mut self.transports[consumer.transport];
        let Security::Connected { keys, .. } = &transport.security else { return None };
        let fixed = FixedHeader {
            marker: placed.marker,
            payload_type,
            sequence_number: consumer.rtx_sequence as u16,
            timestamp: placed.timestamp,
            ssrc,
        };
        let fresh = moment.fresh(transport.transport_sequence);
        let mut rewritten = [0; 255];
        let dependency =
            passed.dependency.and_then(|data| placed.edit_dependency(&described, data, &mut rewritten));
        let mut buffer = HeaderBuffer::new();
        let header = buffer.write(fixed, consumer.header(), &passed, dependency, &fresh)?;
        let edit = |payload: &mut [u8]| {
            if let Some(payload) = payload.get_mut(2..) {
                placed.edit_payload(Some(codec), payload);
            }
        };
        let payload = if placed.is_empty { &[] } else { packet.payload() };
        let payload = [&number.to_be_bytes()[..], payload];
        let len = transport.egress.push_rtp(&keys.outbound, consumer.rtx_sequence, header, payload, edit)?;
        consumer.rtx_sequence += 1;
        // Not in the consumer's rate: what may be sent again is a part of that, and would feed itself.
        transport.note_sent(len, consumer.is_numbered());
        mark_dirty(&mut self.dirty, transport, consumer.transport);
        Some(len)
    }
}

/// The time, in the units that sending asks for.
pub(super) struct Moment {
    pub ms: Millis,
    pub us: Micros,
    pub send_time: AbsSendTime,
}

impl Moment {
    pub fn new(clock: &Clock, now: Instant) -> Self {
        let elapsed = clock.elapsed(now);
        Self {
            ms: elapsed.as_millis() as Millis,
            us: elapsed.as_micros() as Micros,
            send_time: AbsSendTime::from_ns(elapsed.as_nanos() as u64),
        }
    }

    pub fn fresh(&self, transport_sequence: u64) -> Fresh {
        Fresh { send_time: self.send_time, transport_sequence: transport_sequence as u16 }
    }
}

/// A producer's packet as all its receivers share it.
pub(super) struct Shared<'a> {
    pub packet: Packet<'a>,
    /// The newest block, if the packet is redundant audio.
    pub primary: Option<&'a [u8]>,
    pub codec: Option<VideoCodec>,
    pub passed: Passed<'a>,
    pub described: &'a Described,
}

/// Encrypts one packet for one consumer into its transport's buffer.
pub(super) fn send_media(
    moment: &Moment,
    consumer: &mut Consumer,
    transport: &mut Transport,
    shared: &Shared<'_>,
    placed: &Placed,
) -> Option<()> {
    let Security::Connected { keys, .. } = &transport.security else { return None };
    let own = consumer.agreed.payload_type;
    let (payload_type, payload) = match (shared.primary, consumer.agreed.red) {
        _ if placed.is_empty => (own, &[][..]),
        (Some(_), Some(red)) => (red, shared.packet.payload()),
        (Some(data), None) => (own, data),
        (None, _) => (own, shared.packet.payload()),
    };
    let fixed = FixedHeader {
        marker: placed.marker,
        payload_type,
        sequence_number: placed.sequence as u16,
        timestamp: placed.timestamp,
        ssrc: consumer.agreed.ssrc,
    };
    let fresh = moment.fresh(transport.transport_sequence);
    let mut rewritten;
    let dependency = match shared.passed.dependency {
        Some(data) => {
            rewritten = [0; 255];
            placed.edit_dependency(shared.described, data, &mut rewritten)
        }
        None => None,
    };
    let mut buffer = HeaderBuffer::new();
    let header = buffer.write(fixed, consumer.header(), &shared.passed, dependency, &fresh)?;
    let edit = |payload: &mut [u8]| match payload_type == own {
        true => placed.edit_payload(shared.codec, payload),
        false => red::set_payload_types(payload, own),
    };
    let len = transport.egress.push_rtp(&keys.outbound, placed.sequence, header, [&[], payload], edit)?;
    transport.note_sent(len, consumer.is_numbered());
    consumer.next_unsent = consumer.next_unsent.max(placed.sequence + 1);
    consumer.packets += 1;
    consumer.octets += len as u64;
    consumer.payload_octets += payload.len() as u64;
    Some(())
}

/// Hands a tap a packet of one of several layers as if there were no others.
fn tap_rewritten(
    tag: u32,
    now: Instant,
    packet: &Packet<'_>,
    producer: &Producer,
    placed: &Placed,
    taps: &mut dyn TapSink,
) {
    let mut scratch = [0; 2_048];
    let bytes = packet.as_bytes();
    let Some(copy) = scratch.get_mut(..bytes.len()) else { return };
    copy.copy_from_slice(bytes);
    if let Some(ssrc) = producer.streams.first().and_then(|s| s.ssrc) {
        set_ssrc(copy, ssrc);
    }
    set_sequence_number(copy, placed.sequence as u16);
    set_timestamp(copy, placed.timestamp);
    set_marker(copy, placed.marker);
    placed.edit_payload(producer.video_codec(), &mut copy[packet.header_len()..]);
    taps.rtp(tag, now, copy);
}

/// Until the first reports have come back.
pub(super) const DEFAULT_ROUND_TRIP: u64 = 100;
