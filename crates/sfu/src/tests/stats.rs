//! Figures and scores, as mediasoup's clients expect them.

use super::client::Outgoing;
use super::*;
use rtp::rtcp::{self, FirEntry};
use wire::stats::{ConsumerScore, StatsType, StreamScore};

fn video(sequence: u64) -> Outgoing {
    Outgoing {
        ssrc: VIDEO_SSRC,
        payload_type: 96,
        sequence,
        timestamp: sequence as u32 * 900,
        payload: vp8_payload(sequence as u16, sequence.is_multiple_of(100), 500),
        ..Default::default()
    }
}

/// The same packet on the RTX stream (RFC 4588 §4).
fn again(rtx_sequence: u64, original: u64) -> Outgoing {
    let lost = video(original);
    let payload = [&(original as u16).to_be_bytes()[..], &lost.payload].concat();
    Outgoing { ssrc: RTX_SSRC, payload_type: 97, sequence: rtx_sequence, payload, ..lost }
}

impl World {
    /// A second of pictures in a hundred packets, without those that `is_lost`.
    fn film(&mut self, client: usize, second: u64, is_lost: impl Fn(u64) -> bool) {
        for n in second * 100..second * 100 + 100 {
            if !is_lost(n) {
                self.send_rtp(client, &video(n));
            }
            self.pass_ms(10);
        }
    }

    fn producer_scores(&mut self) -> Vec<u8> {
        let told = self.events.iter().filter_map(|event| match event {
            Event::ProducerScore { score, .. } => Some(score[0].score),
            _ => None,
        });
        let told = told.collect();
        self.events.retain(|event| !matches!(event, Event::ProducerScore { .. }));
        told
    }

    fn consumer_scores(&mut self) -> Vec<ConsumerScore> {
        let told = self.events.iter().filter_map(|event| match event {
            Event::ConsumerScore { score, .. } => Some(score.clone()),
            _ => None,
        });
        let told = told.collect();
        self.events.retain(|event| !matches!(event, Event::ConsumerScore { .. }));
        told
    }

    /// The receiver's word about one stream.
    fn report_loss(&mut self, client: usize, ssrc: u32, fraction_lost: u8) {
        let block =
            rtcp::ReportBlock { ssrc, fraction_lost, cumulative_lost: 7, jitter: 900, ..Default::default() };
        let mut out = Vec::new();
        rtcp::write_receiver_report(&mut out, 1, &[block]);
        self.send_rtcp(client, &out);
    }

    fn send_rtcp(&mut self, client: usize, rtcp: &[u8]) {
        let bytes = self.clients[client].protect_rtcp(rtcp);
        self.send(client, bytes);
    }
}

#[test]
fn what_a_client_sends_is_counted_stream_by_stream() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    world.film(sender, 1, |n| n % 10 == 5);
    world.send_rtp(sender, &again(1, 105));
    world.send_rtp(sender, &again(2, 115));
    // Nobody misses that one.
    world.send_rtp(sender, &again(3, 111));
    let twice = world.clients[sender].rtp(&video(199));
    world.send(sender, twice);
    world.film(sender, 2, |_| false);
    world.film(sender, 3, |_| false);

    let stats = world.worker.producer_stats(world.now, producer);
    let [stats] = &stats[..] else { panic!("one encoding: {stats:?}") };
    assert_eq!(stats.stats_type, StatsType::InboundRtp);
    assert_eq!((stats.ssrc, stats.rtx_ssrc, stats.rid.as_deref()), (VIDEO_SSRC, Some(RTX_SSRC), None));
    assert_eq!((stats.packets_lost, stats.packets_repaired), (10, 2));
    assert_eq!((stats.packets_retransmitted, stats.rtx_packets_discarded), (3, 1));
    assert_eq!((stats.packets_discarded, stats.packet_count), (1, 293));
    assert!(stats.nack_count > 0 && stats.nack_packet_count >= 10, "{stats:?}");
    assert!(stats.bitrate > 300_000 && stats.bitrate_by_layer.is_empty());
    assert_eq!((stats.kind, stats.mime_type.as_str()), (MediaKind::Video, "video/VP8"));

    let transport = world.worker.transport_stats(world.now, world.clients[sender].transport).unwrap();
    assert_eq!(transport.stats_type, StatsType::WebrtcTransport);
    assert_eq!((transport.ice_role.as_str(), transport.dtls_state.as_str()), ("controlled", "connected"));
    let tuple = transport.ice_selected_tuple.clone().unwrap();
    assert_eq!(tuple.remote_ip, world.clients[sender].address.ip().to_string());
    assert_eq!((tuple.local_address.as_deref(), tuple.local_port), (Some("192.0.2.10"), Some(4_000)));
    assert!(transport.rtx_bytes_received > 3 * 500 && transport.rtx_bytes_received < 3 * 700);
    let rest = transport.bytes_received - transport.rtp_bytes_received - transport.rtx_bytes_received;
    assert!(
        transport.rtp_bytes_received > 190 * 500 && rest < transport.rtp_bytes_received / 10,
        "{transport:?}"
    );
    assert_eq!(transport.rtp_bytes_sent, 0, "only RTCP goes back");
    assert!(transport.bytes_sent > 0);
    assert_eq!(transport.rtp_packet_loss_received, Some(0.0), "in the last interval");
}

#[test]
fn what_a_client_receives_is_counted_with_what_it_asks_for() {
    let mut world = World::new();
    let (sender, receiver) = (world.sender(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let options = world.consume(receiver, producer);
    let ssrc = options.rtp_parameters.encodings[0].ssrc.unwrap();
    world.film(sender, 1, |_| false);
    let lost: Vec<u16> =
        world.clients[receiver].received[40..43].iter().map(|packet| packet.sequence).collect();
    let mut nack = Vec::new();
    rtcp::write_nack(&mut nack, 1, ssrc, &lost);
    world.send_rtcp(receiver, &nack);
    // Asked for once more, a round trip later.
    world.pass_ms(400);
    let mut nack = Vec::new();
    rtcp::write_nack(&mut nack, 1, ssrc, &lost[..1]);
    world.send_rtcp(receiver, &nack);
    let mut asked = Vec::new();
    rtcp::write_pli(&mut asked, 1, ssrc);
    rtcp::write_fir(&mut asked, 1, &[FirEntry { ssrc, sequence: 1 }, FirEntry { ssrc, sequence: 2 }]);
    world.send_rtcp(receiver, &asked);
    world.report_loss(receiver, ssrc, 13);

    let stats = world.worker.consumer_stats(world.now, options.id).unwrap();
    assert_eq!(stats.stats_type, StatsType::OutboundRtp);
    assert_eq!((stats.ssrc, stats.rtx_ssrc), (ssrc, Some(ssrc + 1)));
    assert_eq!((stats.nack_count, stats.nack_packet_count), (2, 4));
    assert_eq!((stats.packets_retransmitted, stats.packets_repaired), (4, 3));
    assert_eq!((stats.pli_count, stats.fir_count), (1, 2));
    assert_eq!((stats.packets_lost, stats.fraction_lost, stats.jitter_ms), (7, 13, 10.0));
    assert_eq!(stats.packet_count, 100);
    let source = world.worker.consumed_stream_stats(world.now, options.id).unwrap();
    assert_eq!((source.producer_id, source.ssrc, source.packet_count), (producer, VIDEO_SSRC, 100));
    let transport = world.worker.transport_stats(world.now, world.clients[receiver].transport).unwrap();
    assert!(transport.rtx_bytes_sent > 4 * 500 && transport.rtx_bytes_sent < 4 * 700, "{transport:?}");
    assert!(transport.rtp_bytes_sent > 100 * 500);
    let all = transport.rtp_bytes_sent + transport.rtx_bytes_sent + transport.probation_bytes_sent;
    assert_eq!(transport.bytes_sent, all, "its sender has told no clock: there is nothing to report");
}

#[test]
fn scores_fall_at_once_recover_slowly_and_are_told_when_they_change() {
    let mut world = World::new();
    let (sender, receiver) = (world.sender(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let options = world.consume(receiver, producer);
    let ssrc = options.rtp_parameters.encodings[0].ssrc.unwrap();
    for second in 1..=3 {
        world.film(sender, second, |_| false);
    }
    let score = |producer_score, score| ConsumerScore {
        score,
        producer_score,
        producer_scores: vec![producer_score],
    };
    assert_eq!((world.producer_scores(), world.consumer_scores()), (vec![10], vec![score(10, 10)]));
    let told = world.worker.producer_stats(world.now, producer);
    assert_eq!(told[0].score, 10);

    // A tenth of it is lost for a while.
    for second in 4..=6 {
        world.film(sender, second, |n| n % 8 == 5);
    }
    let fallen = world.producer_scores();
    assert!(fallen.last().is_some_and(|score| *score <= 4), "{fallen:?}");
    assert_eq!(world.consumer_scores().last().unwrap().producer_score, *fallen.last().unwrap());
    for second in 7..=16 {
        world.film(sender, second, |_| false);
    }
    let risen = world.producer_scores();
    assert!(risen.windows(2).all(|pair| pair[1] == pair[0] + 1) && risen.last() == Some(&10), "{risen:?}");
    world.consumer_scores();

    // The receiver's own path.
    world.report_loss(receiver, ssrc, 64);
    world.film(sender, 17, |_| false);
    assert_eq!((world.producer_scores(), world.consumer_scores()), (vec![], vec![score(10, 2)]));
    let transports = [world.clients[receiver].transport];
    assert_eq!(world.worker.quality(world.now, &transports).score, 2);

    // Nothing comes any more, and nobody paused it.
    world.pass_ms(3_500);
    assert_eq!(world.producer_scores(), [0]);
}

#[test]
fn encodings_of_a_simulcast_are_scored_and_counted_one_by_one() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, simulcast());
    for n in 0..300u64 {
        for layer in 0..2u64 {
            // The second begins later, and loses.
            if layer == 1 && (n < 150 || n % 5 == 0) {
                continue;
            }
            let extensions = vec![(MID_ID, b"2".to_vec()), (RID_ID, format!("r{layer}").into_bytes())];
            let packet = Outgoing { ssrc: 70 + layer as u32, extensions, ..video(n) };
            world.send_rtp(sender, &packet);
        }
        world.pass_ms(10);
    }
    let told = world.events.iter().filter_map(|event| match event {
        Event::ProducerScore { score, .. } => Some(score.clone()),
        _ => None,
    });
    let told: Vec<Vec<StreamScore>> = told.collect();
    let first = StreamScore { encoding_idx: 0, ssrc: 70, rid: Some("r0".into()), score: 10 };
    assert_eq!(told[0], std::slice::from_ref(&first));
    let last = told.last().unwrap();
    assert_eq!((&last[0], last[1].encoding_idx, last[1].rid.as_deref()), (&first, 1, Some("r1")));
    assert!(last[1].score <= 4, "{last:?}");
    let stats = world.worker.producer_stats(world.now, producer);
    assert_eq!(stats.iter().map(|stats| stats.score).collect::<Vec<_>>(), [10, last[1].score]);
}

#[test]
fn totals_only_grow_and_keep_what_has_been_closed() {
    let mut world = World::new();
    let (sender, receiver) = (world.sender(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let options = world.consume(receiver, producer);
    world.film(sender, 1, |_| false);
    let twice = world.clients[sender].rtp(&video(199));
    world.send(sender, twice);
    let stranger = "203.0.113.9:999".parse().unwrap();
    world.send_from(stranger, vec![0x80; 40]);

    let before = world.worker.totals();
    assert_eq!((before.there.transports, before.there.producers, before.there.consumers), (2, 1, 1));
    assert_eq!((before.received_packets, before.forwarded_packets), (100, 100));
    let sent = world.worker.consumer_stats(world.now, options.id).unwrap().byte_count;
    assert_eq!(before.forwarded_octets, sent);
    assert!(before.received_octets > 100 * 500 && before.sent_octets > sent);
    assert_eq!((before.dropped.stray, before.dropped.refused), (1, 1));

    for client in [sender, receiver] {
        world.worker.close_transport(world.clients[client].transport);
    }
    let after = world.worker.totals();
    assert_eq!(after.there, crate::Census::default());
    // What a client is told in parting is no media, and counts with nobody any more.
    assert_eq!(after, crate::Totals { there: after.there, ..before });
}
