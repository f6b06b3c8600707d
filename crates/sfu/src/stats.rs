//! Numbers about connections, as mediasoup names them.

use crate::clock::Millis;
use crate::consumer::Consumer;
use crate::path::Path;
use crate::producer::Producer;
use crate::score::BEST;
use crate::transport::{Security, Transport};
use crate::worker::Worker;
use std::collections::BTreeMap;
use std::time::Instant;
use wire::stats::{
    ConsumerStats, DataConsumerStats, DataProducerStats, IceTuple, ProducerStats, Quality, StatsType,
    TransportStats,
};
use wire::{ConsumerId, DataConsumerId, DataProducerId, ProducerId, TransportId};

impl Worker {
    pub fn transport_stats(&self, now: Instant, transport: TransportId) -> Option<TransportStats> {
        let transport = self.transport(transport)?;
        let ms = self.ms(now);
        let profile = match &transport.security {
            Security::Connected { profile, .. } => Some(profile.name().to_owned()),
            _ => None,
        };
        let traffic = &transport.traffic;
        let (received, sent) = (traffic.receive_rate.bitrate(ms), traffic.send_rate.bitrate(ms));
        let [rtx_in, control_in] =
            [&traffic.rtx_received, &traffic.control_received].map(|flow| flow.rate.bitrate(ms));
        let [rtx_out, padding, control_out] =
            [&traffic.rtx_sent, &traffic.padding_sent, &traffic.control_sent]
                .map(|flow| flow.rate.bitrate(ms));
        let selected = transport.ice.selected();
        Some(TransportStats {
            stats_type: StatsType::WebrtcTransport,
            transport_id: transport.id,
            timestamp: ms,
            ice_state: transport.ice.state().name().into(),
            ice_role: "controlled".into(),
            ice_selected_tuple: selected.map(|path| self.tuple(path)),
            dtls_state: transport.security.name().into(),
            remote_address: selected.map(|path| path.address.to_string()),
            protocol: selected.map(|path| path.protocol.name().into()),
            srtp_profile: profile,
            sctp_state: transport.data.as_ref().map(|path| path.link.name().into()),
            bytes_received: traffic.received,
            bytes_sent: traffic.sent,
            recv_bitrate: received,
            send_bitrate: sent,
            rtp_bytes_received: traffic
                .received
                .saturating_sub(traffic.rtx_received.octets + traffic.control_received.octets),
            rtp_recv_bitrate: received.saturating_sub(rtx_in + control_in),
            rtp_bytes_sent: traffic.sent.saturating_sub(
                traffic.rtx_sent.octets + traffic.padding_sent.octets + traffic.control_sent.octets,
            ),
            rtp_send_bitrate: sent.saturating_sub(rtx_out + padding + control_out),
            rtx_bytes_received: traffic.rtx_received.octets,
            rtx_recv_bitrate: rtx_in,
            rtx_bytes_sent: traffic.rtx_sent.octets,
            rtx_send_bitrate: rtx_out,
            probation_bytes_sent: traffic.padding_sent.octets,
            probation_send_bitrate: padding,
            available_outgoing_bitrate: transport.available_bitrate(self.us(now)),
            available_incoming_bitrate: (!transport.producers.is_empty()).then(|| transport.incoming.limit()),
            max_incoming_bitrate: transport.incoming.limit(),
            rtp_packet_loss_received: self.loss_received(transport),
            rtp_packet_loss_sent: transport.outgoing.as_ref().map(|outgoing| outgoing.controller.loss()),
            rtt_ms: transport.round_trip.map(|ms| ms as f64),
            packets_discarded: traffic.discarded + transport.egress.dropped + transport.incoming.dropped,
        })
    }

    fn tuple(&self, path: Path) -> IceTuple {
        let local = self.offered(path.protocol).find(|ours| ours.is_ipv4() == path.address.is_ipv4());
        IceTuple {
            local_address: local.map(|ours| ours.ip().to_string()),
            local_port: local.map(|ours| ours.port()),
            remote_ip: path.address.ip().to_string(),
            remote_port: path.address.port(),
            protocol: path.protocol.name().into(),
        }
    }

    /// Of all streams together, in the last interval that each was reported upon.
    fn loss_received(&self, transport: &Transport) -> Option<f64> {
        let streams = transport.producers.iter().flat_map(|p| &self.producer_at(*p).streams);
        let (expected, lost) = streams
            .map(|stream| stream.interval)
            .fold((0, 0), |(expected, lost), interval| (expected + interval.0, lost + interval.1));
        (expected > 0).then(|| lost as f64 / expected as f64)
    }

    /// One entry for each encoding that has begun.
    pub fn producer_stats(&self, now: Instant, producer: ProducerId) -> Vec<ProducerStats> {
        let Some(producer) = self.producer(producer) else { return Vec::new() };
        (0u8..).zip(&producer.streams).filter_map(|(at, _)| self.stream_stats(now, producer, at)).collect()
    }

    /// The stream that a consumer is sent at this moment, as it arrives.
    pub fn consumed_stream_stats(&self, now: Instant, consumer: ConsumerId) -> Option<ProducerStats> {
        let consumer = self.consumer(consumer)?;
        self.stream_stats(now, self.producer_of(consumer), consumer.stream())
    }

    fn stream_stats(&self, now: Instant, producer: &Producer, encoding: u8) -> Option<ProducerStats> {
        let ms = self.ms(now);
        let stream = producer.streams.get(usize::from(encoding))?;
        let round_trip = stream.round_trip.or(self.transport_of(producer).round_trip).map(|ms| ms as f64);
        Some(ProducerStats {
            stats_type: StatsType::InboundRtp,
            producer_id: producer.id,
            timestamp: ms,
            kind: producer.agreed.kind,
            mime_type: producer.agreed.parameters.mime_type.clone(),
            rid: stream.rid.clone(),
            ssrc: stream.ssrc?,
            rtx_ssrc: stream.rtx_ssrc,
            packet_count: stream.packets,
            byte_count: stream.octets,
            packets_lost: stream.lost(),
            fraction_lost: stream.fraction_lost(),
            packets_discarded: stream.discarded,
            packets_retransmitted: stream.retransmitted,
            packets_repaired: stream.repaired,
            rtx_packets_discarded: stream.rtx_discarded,
            nack_count: stream.nacks_sent,
            nack_packet_count: stream.nacked_packets,
            pli_count: stream.plis_sent,
            fir_count: stream.firs_sent,
            score: stream.score.value(),
            jitter: stream.jitter(),
            jitter_ms: stream.jitter_ms(),
            bitrate: stream.rate.bitrate(ms),
            bitrate_by_layer: by_layer(producer, encoding, ms),
            round_trip_time: round_trip,
            rtt_ms: round_trip,
        })
    }

    pub fn consumer_stats(&self, now: Instant, consumer: ConsumerId) -> Option<ConsumerStats> {
        let ms = self.ms(now);
        let consumer = self.consumer(consumer)?;
        let producer = self.producer_of(consumer);
        let round_trip = consumer.remote.round_trip.map(|ms| ms as f64);
        Some(ConsumerStats {
            stats_type: StatsType::OutboundRtp,
            consumer_id: consumer.id,
            producer_id: producer.id,
            timestamp: ms,
            kind: producer.agreed.kind,
            mime_type: producer.agreed.parameters.mime_type.clone(),
            ssrc: consumer.agreed.ssrc,
            rtx_ssrc: consumer.agreed.rtx.map(|(_, ssrc)| ssrc),
            packet_count: consumer.packets,
            byte_count: consumer.octets,
            packets_lost: consumer.remote.lost,
            fraction_lost: consumer.remote.fraction_lost,
            packets_discarded: consumer.dropped,
            packets_dropped: consumer.dropped,
            packets_retransmitted: consumer.retransmitted,
            packets_repaired: consumer.resends.distinct,
            nack_count: consumer.nacks,
            nack_packet_count: consumer.nacked_packets,
            pli_count: consumer.plis,
            fir_count: consumer.firs,
            score: consumer.score.value(),
            jitter_ms: consumer.remote_jitter_ms(),
            bitrate: consumer.rate.bitrate(ms),
            round_trip_time: round_trip,
            rtt_ms: round_trip,
        })
    }

    pub fn data_producer_stats(&self, now: Instant, producer: DataProducerId) -> Option<DataProducerStats> {
        let producer = self.data_producer(producer)?;
        Some(DataProducerStats {
            stats_type: StatsType::DataProducer,
            timestamp: self.ms(now),
            data_producer_id: producer.id,
            label: producer.label.clone(),
            protocol: producer.protocol.clone(),
            messages_received: producer.messages,
            bytes_received: producer.octets,
        })
    }

    pub fn data_consumer_stats(&self, now: Instant, consumer: DataConsumerId) -> Option<DataConsumerStats> {
        let consumer = self.data_consumer(consumer)?;
        let producer = self.data_producer_at(consumer.producer);
        Some(DataConsumerStats {
            stats_type: StatsType::DataConsumer,
            timestamp: self.ms(now),
            data_consumer_id: consumer.id,
            data_producer_id: producer.id,
            label: producer.label.clone(),
            protocol: producer.protocol.clone(),
            messages_sent: consumer.messages,
            bytes_sent: consumer.octets,
            messages_dropped: consumer.dropped,
            buffered_amount: consumer.backlog.octets() as u64,
        })
    }

    /// One peer's connection over all its transports.
    ///
    /// Its score is the worst of its streams' that flow ([`crate::score`]), both ways. A picture left out for want of
    /// bandwidth counts as [`STARVED`]. It is 0 while no transport is connected, and at most 3 while any is
    /// disconnected.
    pub fn quality(&self, now: Instant, transports: &[TransportId]) -> Quality {
        let ms = self.ms(now);
        let transports: Vec<&Transport> = transports.iter().filter_map(|t| self.transport(*t)).collect();
        let mut worst = Worst::default();
        let mut quality = Quality::default();
        for transport in &transports {
            quality.send_bitrate += transport.traffic.send_rate.bitrate(ms);
            quality.recv_bitrate += transport.traffic.receive_rate.bitrate(ms);
            quality.available_bitrate =
                quality.available_bitrate.max(transport.available_bitrate(self.us(now)));
            worst.round_trip = worst.round_trip.max(transport.round_trip);
            for producer in transport.producers.iter().map(|p| self.producer_at(*p)).filter(|p| !p.paused) {
                for stream in producer.streams.iter().filter(|stream| stream.is_flowing(ms)) {
                    worst.note(stream.fraction_lost(), stream.jitter_ms(), stream.score.value());
                }
            }
            for consumer in transport.consumers.iter().map(|c| self.consumer_at(*c)).filter(|c| !c.paused) {
                let score = if consumer.starved { STARVED } else { consumer.score.value() };
                worst.note(consumer.remote.fraction_lost, consumer.remote_jitter_ms(), score);
            }
        }
        quality.rtt_ms = worst.round_trip.map(|ms| ms as f64);
        quality.packet_loss_pct = f64::from(worst.fraction_lost) * 100.0 / 256.0;
        quality.jitter_ms = worst.jitter_ms;
        quality.score = worst.score.min(connectivity_limit(&transports));
        quality
    }
}

/// What each layer of one encoding takes, if it has more than one.
fn by_layer(producer: &Producer, encoding: u8, ms: Millis) -> BTreeMap<String, u64> {
    let ladder = producer.ladder(ms);
    let is_simulcast = producer.streams.len() > 1;
    let rungs = ladder.rungs().iter().filter(|rung| !is_simulcast || rung.layers.spatial == encoding);
    let named = rungs.map(|rung| {
        // As in mediasoup, an encoding of a simulcast counts its own spatial layers: one.
        let spatial = if is_simulcast { 0 } else { rung.layers.spatial };
        (format!("{spatial}.{}", rung.layers.temporal), rung.bitrate)
    });
    let named: BTreeMap<String, u64> = named.collect();
    if named.len() > 1 { named } else { BTreeMap::new() }
}

/// The worst of each.
struct Worst {
    fraction_lost: u8,
    jitter_ms: f64,
    round_trip: Option<Millis>,
    score: u8,
}

impl Default for Worst {
    fn default() -> Self {
        Self { fraction_lost: 0, jitter_ms: 0.0, round_trip: None, score: BEST }
    }
}

impl Worst {
    fn note(&mut self, fraction_lost: u8, jitter_ms: f64, score: u8) {
        self.fraction_lost = self.fraction_lost.max(fraction_lost);
        self.jitter_ms = self.jitter_ms.max(jitter_ms);
        self.score = self.score.min(score);
    }
}

fn connectivity_limit(transports: &[&Transport]) -> u8 {
    let state = |t: &&Transport| t.ice.state();
    if !transports.iter().any(|t| t.is_connected() && state(t) == crate::ice::State::Connected) {
        0
    } else if transports.iter().any(|t| t.is_connected() && state(t) != crate::ice::State::Connected) {
        3
    } else {
        10
    }
}

impl Worker {
    fn transport_of(&self, producer: &Producer) -> &Transport {
        self.transport_at(producer.transport)
    }

    fn producer_of(&self, consumer: &Consumer) -> &Producer {
        self.producer_at(consumer.producer)
    }
}

/// What is heard is whole, but somebody is not seen.
const STARVED: u8 = 3;
