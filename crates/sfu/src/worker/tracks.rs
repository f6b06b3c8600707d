//! Commands upon producers, consumers and taps.

use super::{Event, Tap, TapFormat, Worker};
use crate::bandwidth::Outgoing;
use crate::consumer::Consumer;
use crate::error::Error;
use crate::forward::Forwarder;
use crate::layers::Layers;
use crate::ortc::codec::Codec;
use crate::ortc::{Extension, consume, produce};
use crate::producer::{Producer, Receiver, video_codec};
use crate::receive::Stream;
use crate::score::Scores;
use crate::speakers::Voice;
use crate::transport::{MAX_SOURCES, Source};
use crate::transport_feedback::ArrivalLog;
use rand::Rng;
use std::time::Instant;
use wire::ortc::{ConsumerOptions, Direction, MediaKind, RtpCapabilities, RtpCodecParameters, RtpParameters};
use wire::{ConsumerId, ProducerId, TapId, TransportId};

impl Worker {
    pub fn produce(
        &mut self,
        _now: Instant,
        transport: TransportId,
        kind: MediaKind,
        parameters: RtpParameters,
        paused: bool,
    ) -> Result<ProducerId, Error> {
        let key = self.transport_key(transport)?;
        let agreed = produce::produce(kind, parameters)?;
        let id = ProducerId(self.uuid());
        let transport = &mut self.transports[key];
        if transport.direction != Direction::Send {
            return Err(Error::invalid("media is produced on a send transport"));
        }
        let new_sources = agreed.encodings.len() * 2;
        let known: usize = transport.producers.iter().map(|p| self.producers[*p].streams.len() * 2).sum();
        if transport.producers.len() >= MAX_PER_TRANSPORT || known + new_sources > MAX_SOURCES {
            return Err(Error::Limit("producers"));
        }
        let ssrcs = || agreed.encodings.iter().flat_map(|e| [e.ssrc, e.rtx_ssrc]).flatten();
        if ssrcs().any(|ssrc| transport.sources.contains_key(&ssrc)) {
            return Err(Error::invalid("an SSRC is already in use on this transport"));
        }
        if let Some(mid) = &agreed.mid
            && transport.producers.iter().any(|p| self.producers[*p].agreed.mid.as_ref() == Some(mid))
        {
            return Err(Error::invalid("the mid is already in use on this transport"));
        }
        if transport.producers.is_empty()
            && let Some(cname) = &agreed.cname
        {
            // Consumers that exist already keep the name they were given.
            transport.cname.clone_from(cname);
        }
        if agreed.supports.transport_cc && transport.arrivals.is_none() {
            transport.arrivals = Some(Box::new(ArrivalLog::new()));
        }
        let clock_rate = agreed.parameters.clock_rate;
        let streams = agreed
            .encodings
            .iter()
            .map(|e| Stream::new(e.ssrc, e.rtx_ssrc, e.rid.clone(), clock_rate, agreed.supports.nack))
            .collect();
        let producer = self.producers.insert(Producer {
            id,
            router: transport.router,
            transport: key,
            agreed,
            paused,
            is_important: false,
            streams,
            receivers: Vec::new(),
            taps: Vec::new(),
            audio_level: None,
            layers: (kind == MediaKind::Video).then(Default::default),
            told_scores: Scores::default(),
            voice: None,
        });
        transport.producers.push(producer);
        for (layer, encoding) in (0u8..).zip(&self.producers[producer].agreed.encodings) {
            for (ssrc, is_rtx) in [(encoding.ssrc, false), (encoding.rtx_ssrc, true)] {
                if let Some(ssrc) = ssrc {
                    transport.sources.insert(ssrc, Source { producer, layer, is_rtx });
                }
            }
        }
        transport.next_report = 0;
        self.producer_keys.insert(id, producer);
        Ok(id)
    }

    pub fn pause_producer(&mut self, now: Instant, producer: ProducerId) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        self.queue_arrived();
        let producer = &mut self.producers[key];
        producer.paused = true;
        producer.audio_level = None;
        if let Some(voice) = &mut producer.voice {
            **voice = Voice::new(self.clock.ms(now));
        }
        self.pause_receivers(key);
        Ok(())
    }

    pub fn resume_producer(&mut self, now: Instant, producer: ProducerId) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        self.producers[key].paused = false;
        self.request_wanted_keyframes(now, key);
        Ok(())
    }

    pub fn close_producer(&mut self, _now: Instant, producer: ProducerId) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        self.remove_producer(key);
        Ok(())
    }

    pub fn consume(
        &mut self,
        now: Instant,
        transport: TransportId,
        producer: ProducerId,
        capabilities: &RtpCapabilities,
        paused: bool,
    ) -> Result<ConsumerOptions, Error> {
        let key = self.transport_key(transport)?;
        self.queue_arrived();
        let producer_key = self.producer_key(producer)?;
        let source = &self.producers[producer_key];
        let cname = self.transports[source.transport].cname.clone();
        let transport = &self.transports[key];
        if transport.direction != Direction::Recv {
            return Err(Error::invalid("media is consumed on a receive transport"));
        }
        if transport.router != source.router {
            return Err(Error::NotFound("producer"));
        }
        if transport.consumers.len() >= MAX_PER_TRANSPORT {
            return Err(Error::Limit("consumers"));
        }
        let ssrc = loop {
            let ssrc = self.random.random_range(1..u32::MAX - 1);
            if !transport.sinks.contains_key(&ssrc) && !transport.sinks.contains_key(&(ssrc + 1)) {
                break ssrc;
            }
        };
        let place =
            consume::Placement { mid: transport.next_mid.to_string(), ssrc, rtx_ssrc: ssrc + 1, cname };
        let (agreed, rtp_parameters) = consume::consume(&source.agreed, capabilities, place)?;
        let codec = video_codec(agreed.codec);
        // Below 2^15, so that losing the first packets cannot lose a roll-over (RFC 3711 §3.3.1).
        let first_out = self.random.random_range(1..0x7000);
        let mut forwarder = Forwarder::new(codec, source.layer_kind(), first_out);
        forwarder.set_target(source.first_aim(Layers::ALL, self.clock.ms(now)));
        let id = ConsumerId(super::marked_uuid(&mut self.random, self.mark));
        let options = ConsumerOptions {
            id,
            producer_id: producer,
            kind: source.agreed.kind,
            consumer_type: agreed.consumer_type,
            rtp_parameters,
            producer_paused: source.paused,
        };
        let rtx_ssrc = agreed.rtx.map(|(_, ssrc)| ssrc);
        let rtx_sequence = self.random.random_range(1..0x7000);
        let now_us = self.clock.us(now);
        let transport = &mut self.transports[key];
        let outgoing = transport.outgoing.get_or_insert_with(|| Box::new(Outgoing::new(now_us)));
        if agreed.extensions.get(Extension::TransportCc).is_some() {
            outgoing.controller.expect_feedback();
        }
        transport.next_sharing = 0;
        let is_counted = outgoing.controller.estimate(now_us).is_some();
        let consumer = self.consumers.insert(Box::new(Consumer::new(
            id,
            producer_key,
            key,
            agreed,
            paused,
            forwarder,
            rtx_sequence,
        )));
        if is_counted {
            // The rest when it was shared out, a moment later.
            self.consumers[consumer].allowed = Layers::default();
        }
        let receiver = Receiver { consumer: consumer as u32, transport: key as u32 };
        self.producers[producer_key].receivers.push(receiver);
        let transport = &mut self.transports[key];
        transport.next_mid += 1;
        transport.consumers.push(consumer);
        transport.sinks.insert(ssrc, consumer);
        if let Some(rtx_ssrc) = rtx_ssrc {
            transport.sinks.insert(rtx_ssrc, consumer);
        }
        self.consumer_keys.insert(id, consumer);
        if !paused {
            self.request_wanted_keyframes(now, producer_key);
        }
        Ok(options)
    }

    pub fn pause_consumer(&mut self, _now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        self.queue_arrived();
        self.drop_waiting(key);
        let consumer = &mut self.consumers[key];
        consumer.paused = true;
        consumer.forwarder.pause();
        Ok(())
    }

    /// The next packet (sound) or keyframe (pictures; asked for at once) goes out.
    pub fn resume_consumer(&mut self, now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        self.queue_arrived();
        let consumer = &mut self.consumers[key];
        if consumer.paused {
            consumer.paused = false;
            consumer.forwarder.pause();
            self.transports[consumer.transport].next_sharing = 0;
            let producer = consumer.producer;
            self.request_wanted_keyframes(now, producer);
        }
        Ok(())
    }

    pub fn close_consumer(&mut self, _now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        self.remove_consumer(key);
        Ok(())
    }

    pub fn request_key_frame(&mut self, now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        let consumer = &self.consumers[key];
        let layer = consumer.forwarder.target_stream();
        self.request_keyframe_of(now, consumer.producer, layer);
        Ok(())
    }

    /// The best layers to send; without `temporal`, every one of that spatial layer. A spatial layer above all there
    /// are means the highest, as in mediasoup.
    pub fn set_preferred_layers(
        &mut self,
        consumer: ConsumerId,
        spatial: u8,
        temporal: Option<u8>,
    ) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        self.queue_arrived();
        let (now, ms) = (self.now, self.clock.ms(self.now));
        let consumer = &mut self.consumers[key];
        let (producer, source) = (consumer.producer, &self.producers[consumer.producer]);
        let spatial = spatial.min(source.top_spatial(ms));
        consumer.preferred = Layers { spatial, temporal: temporal.unwrap_or(u8::MAX) };
        consumer.forwarder.set_target(source.first_aim(consumer.wish(), ms));
        self.request_wanted_keyframes(now, producer);
        Ok(())
    }

    /// Begins to hand a producer's packets to the caller's [`TapSink`] under `tag`, and asks for a keyframe.
    pub fn tap(&mut self, now: Instant, producer: ProducerId, tag: u32) -> Result<TapId, Error> {
        let key = self.producer_key(producer)?;
        if self.taps.len() >= MAX_TAPS {
            return Err(Error::Limit("taps"));
        }
        let id = TapId(self.uuid());
        let source = &mut self.producers[key];
        let mut forwarder = Forwarder::for_tap(source.video_codec(), source.layer_kind());
        forwarder.set_target(source.first_aim(Layers::ALL, self.clock.ms(now)));
        let tap = self.taps.insert(Tap { id, producer: key, tag, wish: Layers::ALL, forwarder });
        source.taps.push(tap);
        self.tap_keys.insert(id, tap);
        self.tap_key_frame(now, id);
        Ok(id)
    }

    /// What whoever listens to the tap can use: little for a hidden source, everything (`None`) for one on air.
    pub fn set_tap_layers(&mut self, tap: TapId, layers: Option<Layers>) {
        if let Some(tap) = self.tap_keys.get(&tap).and_then(|key| self.taps.get_mut(*key)) {
            let (now, ms) = (self.now, self.clock.ms(self.now));
            tap.wish = layers.unwrap_or(Layers::ALL);
            let producer = tap.producer;
            tap.forwarder.set_target(self.producers[producer].first_aim(tap.wish, ms));
            self.request_wanted_keyframes(now, producer);
        }
    }

    pub fn untap(&mut self, tap: TapId) {
        let Some(key) = self.tap_keys.remove(&tap) else { return };
        let tap = self.taps.remove(key);
        self.producers[tap.producer].taps.retain(|t| *t != key);
    }

    pub fn tap_key_frame(&mut self, now: Instant, tap: TapId) {
        if let Some(tap) = self.tap_keys.get(&tap).and_then(|key| self.taps.get(*key)) {
            let (producer, layer) = (tap.producer, tap.forwarder.target_stream());
            self.request_keyframe_of(now, producer, layer);
        }
    }

    pub fn producer_codec(&self, producer: ProducerId) -> Option<RtpCodecParameters> {
        let key = self.producer_keys.get(&producer)?;
        Some(self.producers[*key].agreed.parameters.clone())
    }

    pub fn tap_format(&self, producer: ProducerId) -> Option<TapFormat> {
        let agreed = &self.producers[*self.producer_keys.get(&producer)?].agreed;
        Some(TapFormat {
            kind: agreed.kind,
            codec: agreed.parameters.clone(),
            red_payload_type: agreed.red_payload_type,
            orientation_id: agreed.extensions.get(Extension::VideoOrientation),
            audio_level_id: agreed.extensions.get(Extension::AudioLevel),
            capture_time_id: agreed.extensions.get(Extension::AbsCaptureTime),
            color_space_id: agreed.extensions.get(Extension::ColorSpace),
        })
    }

    /// Loudness of the producer's last packet in dBov, −127 to 0 (RFC 6464); none while paused or not told.
    pub fn audio_level(&self, producer: ProducerId) -> Option<i8> {
        self.producer(producer)?.audio_level
    }

    pub(super) fn remove_producer(&mut self, key: usize) {
        self.queue_arrived();
        let producer = self.producers.remove(key);
        producer.streams.iter().for_each(|stream| self.past.add_stream(stream));
        self.producer_keys.remove(&producer.id);
        if let Some(router) = self.routers.get_mut(&producer.router) {
            router.forget(key);
        }
        let transport = &mut self.transports[producer.transport];
        transport.producers.retain(|p| *p != key);
        transport.sources.retain(|_, source| source.producer != key);
        for consumer in producer.consumers() {
            let id = self.consumers[consumer].id;
            self.forget_consumer(consumer);
            self.emit(Event::ConsumerClosed { consumer: id, producer: producer.id });
        }
        for tap in producer.taps {
            let tap = self.taps.remove(tap);
            self.tap_keys.remove(&tap.id);
        }
    }

    pub(super) fn remove_consumer(&mut self, key: usize) {
        self.queue_arrived();
        let producer = self.consumers[key].producer;
        self.producers[producer].receivers.retain(|receiver| receiver.consumer as usize != key);
        self.forget_consumer(key);
    }

    /// Removes a consumer that its producer no longer lists.
    fn forget_consumer(&mut self, key: usize) {
        self.drop_waiting(key);
        let consumer = self.consumers.remove(key);
        self.past.add_consumer(&consumer);
        self.consumer_keys.remove(&consumer.id);
        let transport = &mut self.transports[consumer.transport];
        transport.consumers.retain(|c| *c != key);
        transport.sinks.retain(|_, c| *c != key);
    }

    /// Asks for the keyframes without which some consumer of `producer` cannot begin or change layers.
    pub(super) fn request_wanted_keyframes(&mut self, now: Instant, producer: usize) {
        let source = &self.producers[producer];
        let wanted = source
            .consumers()
            .map(|c| &self.consumers[c])
            .filter(|c| c.is_flowing() && c.forwarder.wants_keyframe())
            .map(|c| c.forwarder.target_stream())
            .chain(
                source
                    .taps
                    .iter()
                    .map(|t| &self.taps[*t].forwarder)
                    .filter_map(|f| f.wants_keyframe().then_some(f.target_stream())),
            )
            .fold(0u32, |set, layer| set | 1 << layer.min(31));
        for layer in (0..32).filter(|layer| wanted & 1 << layer != 0) {
            self.request_keyframe_of(now, producer, layer);
        }
    }

    pub(super) fn request_keyframe_of(&mut self, _now: Instant, producer: usize, layer: u8) {
        let source = &mut self.producers[producer];
        if source.paused || source.agreed.codec == Codec::Opus {
            return;
        }
        let transport = source.transport;
        if let Some(stream) = source.streams.get_mut(usize::from(layer)) {
            stream.keyframes.request();
            self.transports[transport].urgent = true;
            self.mark_dirty(transport);
        }
    }
}

/// More tracks than any page shows.
const MAX_PER_TRANSPORT: usize = 256;
const MAX_TAPS: usize = 1_024;
