//! Numbers about connections, and the score they add up to.

use crate::clock::Millis;
use crate::consumer::Consumer;
use crate::producer::Producer;
use crate::transport::{Security, Transport};
use crate::worker::Worker;
use std::time::Instant;
use wire::stats::{
    ConsumerStats, DataConsumerStats, DataProducerStats, ProducerStats, Quality, TransportStats,
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
        Some(TransportStats {
            transport_id: transport.id,
            ice_state: transport.ice.state().name().into(),
            dtls_state: transport.security.name().into(),
            remote_address: transport.ice.selected().map(|path| path.address.to_string()),
            protocol: transport.ice.selected().map(|path| path.protocol.name().into()),
            srtp_profile: profile,
            sctp_state: transport.data.as_ref().map(|path| path.link.name().into()),
            bytes_received: transport.traffic.received,
            bytes_sent: transport.traffic.sent,
            recv_bitrate: transport.traffic.receive_rate.bitrate(ms),
            send_bitrate: transport.traffic.send_rate.bitrate(ms),
            rtt_ms: transport.round_trip.map(|ms| ms as f64),
            available_outgoing_bitrate: transport.available_bitrate(self.us(now)),
            available_incoming_bitrate: (!transport.producers.is_empty()).then(|| transport.incoming.limit()),
            max_incoming_bitrate: transport.incoming.limit(),
            packets_discarded: transport.traffic.discarded
                + transport.egress.dropped
                + transport.incoming.dropped,
        })
    }

    /// One entry for each encoding that has begun.
    pub fn producer_stats(&self, now: Instant, producer: ProducerId) -> Vec<ProducerStats> {
        let ms = self.ms(now);
        let Some(producer) = self.producer(producer) else { return Vec::new() };
        let round_trip = self.transport_of(producer).round_trip;
        producer
            .streams
            .iter()
            .filter_map(|stream| {
                Some(ProducerStats {
                    producer_id: producer.id,
                    kind: producer.agreed.kind,
                    mime_type: producer.agreed.parameters.mime_type.clone(),
                    rid: stream.rid.clone(),
                    ssrc: stream.ssrc?,
                    packet_count: stream.packets,
                    byte_count: stream.octets,
                    packets_lost: stream.lost(),
                    fraction_lost: stream.fraction_lost(),
                    packets_repaired: stream.repaired,
                    nack_count: stream.nacks_sent,
                    pli_count: stream.plis_sent,
                    jitter_ms: stream.jitter_ms(),
                    bitrate: stream.rate.bitrate(ms),
                    rtt_ms: stream.round_trip.or(round_trip).map(|ms| ms as f64),
                })
            })
            .collect()
    }

    pub fn consumer_stats(&self, now: Instant, consumer: ConsumerId) -> Option<ConsumerStats> {
        let ms = self.ms(now);
        let consumer = self.consumer(consumer)?;
        Some(ConsumerStats {
            consumer_id: consumer.id,
            producer_id: self.producer_of(consumer).id,
            kind: self.producer_of(consumer).agreed.kind,
            mime_type: self.producer_of(consumer).agreed.parameters.mime_type.clone(),
            ssrc: consumer.agreed.ssrc,
            packet_count: consumer.packets,
            byte_count: consumer.octets,
            packets_lost: consumer.remote.lost,
            fraction_lost: consumer.remote.fraction_lost,
            packets_retransmitted: consumer.retransmitted,
            packets_dropped: consumer.dropped,
            nack_count: consumer.nacks,
            pli_count: consumer.plis,
            jitter_ms: remote_jitter_ms(consumer),
            bitrate: consumer.rate.bitrate(ms),
            rtt_ms: consumer.remote.round_trip.map(|ms| ms as f64),
        })
    }

    pub fn data_producer_stats(&self, producer: DataProducerId) -> Option<DataProducerStats> {
        let producer = self.data_producer(producer)?;
        Some(DataProducerStats {
            data_producer_id: producer.id,
            label: producer.label.clone(),
            protocol: producer.protocol.clone(),
            messages_received: producer.messages,
            bytes_received: producer.octets,
        })
    }

    pub fn data_consumer_stats(&self, consumer: DataConsumerId) -> Option<DataConsumerStats> {
        let consumer = self.data_consumer(consumer)?;
        let producer = self.data_producer_at(consumer.producer);
        Some(DataConsumerStats {
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

    /// One peer's connection over all its transports, with a score from 0 to 10.
    ///
    /// The score begins at 10 and loses points for what a person notices, each cause by its worst stream of the last
    /// report interval (1 s):
    ///
    /// | cause | points lost |
    /// |---|---|
    /// | packets lost, either way | above 1 %: 1, 3 %: 2, 5 %: 4, 10 %: 6, 20 %: 8 |
    /// | round trip | above 150 ms: 1, 300 ms: 2, 500 ms: 4 |
    /// | jitter | above 30 ms: 1, 60 ms: 2, 100 ms: 3 |
    ///
    /// It is 0 while no transport is connected, and at most 3 while any is disconnected.
    pub fn quality(&self, now: Instant, transports: &[TransportId]) -> Quality {
        let ms = self.ms(now);
        let transports: Vec<&Transport> = transports.iter().filter_map(|t| self.transport(*t)).collect();
        let mut observed = Observed::default();
        let mut quality = Quality::default();
        for transport in &transports {
            quality.send_bitrate += transport.traffic.send_rate.bitrate(ms);
            quality.recv_bitrate += transport.traffic.receive_rate.bitrate(ms);
            let available = transport.available_bitrate(self.us(now));
            quality.available_bitrate = quality.available_bitrate.max(available);
            observed.round_trip = observed.round_trip.max(transport.round_trip);
            for stream in transport.producers.iter().flat_map(|p| &self.producer_at(*p).streams) {
                if stream.is_flowing(ms) {
                    observed.note(stream.fraction_lost(), stream.jitter_ms());
                }
            }
            for consumer in transport.consumers.iter().map(|c| self.consumer_at(*c)) {
                if !consumer.paused {
                    observed.note(consumer.remote.fraction_lost, remote_jitter_ms(consumer));
                }
            }
        }
        quality.rtt_ms = observed.round_trip.map(|ms| ms as f64);
        quality.packet_loss_pct = f64::from(observed.fraction_lost) * 100.0 / 256.0;
        quality.jitter_ms = observed.jitter_ms;
        quality.score = observed.score().min(connectivity_limit(&transports));
        quality
    }
}

/// The worst of each.
#[derive(Default)]
struct Observed {
    fraction_lost: u8,
    jitter_ms: f64,
    round_trip: Option<Millis>,
}

impl Observed {
    fn note(&mut self, fraction_lost: u8, jitter_ms: f64) {
        self.fraction_lost = self.fraction_lost.max(fraction_lost);
        self.jitter_ms = self.jitter_ms.max(jitter_ms);
    }

    fn score(&self) -> u8 {
        let points = |value: f64, steps: &[(f64, u8)]| {
            steps.iter().filter(|(above, _)| value > *above).map(|(_, points)| *points).max().unwrap_or(0)
        };
        let loss = points(f64::from(self.fraction_lost) * 100.0 / 256.0, &LOSS);
        let round_trip = points(self.round_trip.unwrap_or(0) as f64, &ROUND_TRIP);
        let jitter = points(self.jitter_ms, &JITTER);
        10u8.saturating_sub(loss + round_trip + jitter)
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

fn remote_jitter_ms(consumer: &Consumer) -> f64 {
    f64::from(consumer.remote.jitter) * 1000.0 / f64::from(consumer.clock_rate().max(1))
}

impl Worker {
    fn transport_of(&self, producer: &Producer) -> &Transport {
        self.transport_at(producer.transport)
    }

    fn producer_of(&self, consumer: &Consumer) -> &Producer {
        self.producer_at(consumer.producer)
    }
}

const LOSS: [(f64, u8); 5] = [(1.0, 1), (3.0, 2), (5.0, 4), (10.0, 6), (20.0, 8)];
const ROUND_TRIP: [(f64, u8); 3] = [(150.0, 1), (300.0, 2), (500.0, 4)];
const JITTER: [(f64, u8); 3] = [(30.0, 1), (60.0, 2), (100.0, 3)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_falls_with_what_a_person_notices() {
        let score = |loss_pct: f64, round_trip, jitter_ms| {
            let fraction_lost = (loss_pct * 2.56) as u8;
            Observed { fraction_lost, jitter_ms, round_trip: Some(round_trip) }.score()
        };
        assert_eq!(score(0.0, 20, 5.0), 10);
        assert_eq!(score(2.0, 20, 5.0), 9);
        assert_eq!(score(6.0, 200, 40.0), 4);
        assert_eq!(score(30.0, 1_000, 200.0), 0);
    }
}
