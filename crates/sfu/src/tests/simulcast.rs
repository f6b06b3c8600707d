//! Several layers of one picture, SSRCs unknown until they come.

use super::client::Outgoing;
use super::*;
use rtp::rtcp;

fn layer(index: u32, sequence: u64, key: bool) -> Outgoing {
    Outgoing {
        ssrc: 1_000 + index,
        payload_type: 96,
        sequence,
        timestamp: 1_000_000 * index + sequence as u32 * 3_000,
        extensions: vec![(MID_ID, b"2".to_vec()), (RID_ID, format!("r{index}").into_bytes())],
        payload: vp8_payload(sequence as u16 + 500 * index as u16, key, 100 + 100 * index as usize),
    }
}

fn call() -> (World, usize, usize, ProducerId, ConsumerOptions) {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, simulcast());
    let consumer = world.consume(receiver, producer);
    (world, sender, receiver, producer, consumer)
}

#[test]
fn ssrcs_are_learned_from_mid_and_rid() {
    let (mut world, sender, _, producer, consumer) = call();
    assert_eq!(consumer.consumer_type, ConsumerType::Simulcast);
    for index in 0..2 {
        world.send_rtp(sender, &layer(index, 10, true));
    }
    let lost = layer(1, 11, false);
    world.send_rtp(sender, &layer(1, 12, false));
    let rtx = Outgoing {
        ssrc: 2_001,
        payload_type: 97,
        sequence: 1,
        extensions: vec![(MID_ID, b"2".to_vec()), (REPAIRED_RID_ID, b"r1".to_vec())],
        payload: [&11u16.to_be_bytes()[..], &lost.payload].concat(),
        ..lost
    };
    world.send_rtp(sender, &rtx);
    let stats = world.worker.producer_stats(world.now, producer);
    let found: Vec<_> =
        stats.iter().map(|s| (s.rid.as_deref().unwrap(), s.ssrc, s.packets_repaired)).collect();
    assert_eq!(found, [("r0", 1_000, 0), ("r1", 1_001, 1)]);
    let stranger = Outgoing { ssrc: 9, extensions: vec![(RID_ID, b"r7".to_vec())], ..layer(0, 1, true) };
    world.send_rtp(sender, &stranger);
    let pretender = Outgoing { ssrc: 10, ..layer(0, 1, true) };
    world.send_rtp(sender, &pretender);
    assert_eq!(world.worker.producer_stats(world.now, producer)[0].packet_count, 1);
}

#[test]
fn a_receiver_gets_the_best_layer_that_flows_without_a_seam() {
    let (mut world, sender, receiver, _, consumer) = call();
    for n in 10..20 {
        world.send_rtp(sender, &layer(0, n, n == 10));
    }
    world.settle();
    assert_eq!(world.clients[receiver].received.len(), 10, "the only one that flows");
    for n in 20..30 {
        world.send_rtp(sender, &layer(0, n, false));
        world.send_rtp(sender, &layer(1, n + 300, n == 26));
        world.pass_ms(33);
    }
    world.settle();
    let received = &world.clients[receiver].received;
    let sizes: Vec<_> = received[10..].iter().map(|p| p.payload.len()).collect();
    assert_eq!(sizes, [vec![105; 7], vec![205; 4]].concat(), "changed at the keyframe");
    let first = received[0].sequence;
    for (n, packet) in received.iter().enumerate() {
        assert_eq!(packet.sequence, first + n as u16);
        assert_eq!(
            u16::from_be_bytes([packet.payload[2] & 0x7F, packet.payload[3]]),
            10 + n as u16,
            "picture id"
        );
    }
    assert!(received.windows(2).all(|w| (w[1].timestamp.wrapping_sub(w[0].timestamp) as i32) > 0));

    world.worker.set_preferred_layers(consumer.id, 0, None).unwrap();
    world.pass_ms(50);
    world.send_rtp(sender, &layer(0, 30, true));
    world.settle();
    assert_eq!(world.clients[receiver].received.last().unwrap().payload.len(), 105, "as preferred");
}

#[test]
fn timestamps_follow_the_senders_clock_over_a_change_of_layers() {
    let (mut world, sender, receiver, ..) = call();
    world.send_rtp(sender, &layer(0, 10, true));
    world.send_rtp(sender, &layer(1, 10, false));
    for index in 0..2u32 {
        let mut out = Vec::new();
        let info = rtcp::SenderInfo {
            ntp: 1 << 40,
            rtp_timestamp: 1_000_000 * index,
            packet_count: 1,
            octet_count: 1,
        };
        rtcp::write_sender_report(&mut out, 1_000 + index, &info, &[]);
        let bytes = world.clients[sender].protect_rtcp(&out);
        world.send(sender, bytes);
    }
    world.pass_ms(50);
    world.send_rtp(sender, &layer(0, 11, false));
    world.send_rtp(sender, &layer(1, 12, true));
    world.settle();
    let timestamps: Vec<_> = world.clients[receiver].received.iter().map(|p| p.timestamp).collect();
    assert_eq!(timestamps, [30_000, 33_000, 36_000]);
}

#[test]
fn a_tap_hears_one_continuous_stream() {
    let (mut world, sender, _, producer, _) = call();
    world.send_rtp(sender, &layer(0, 10, true));
    world.worker.tap(world.now, producer, 3).unwrap();
    world.send_rtp(sender, &layer(0, 11, false));
    world.send_rtp(sender, &layer(1, 77, false));
    world.pass_ms(50);
    world.send_rtp(sender, &layer(1, 78, true));
    world.send_rtp(sender, &layer(1, 79, false));
    let heard: Vec<_> = world
        .heard
        .packets
        .iter()
        .map(|(_, bytes)| {
            let packet = rtp::packet::Packet::parse(bytes).unwrap();
            assert_eq!(packet.ssrc(), 1_000);
            packet.sequence_number()
        })
        .collect();
    let first = heard[0];
    assert_eq!(heard.iter().map(|n| n - first).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_layer_that_stops_is_missed_within_a_moment() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, simulcast());
    world.consume_unmeasured(receiver, producer);
    for n in 10..60 {
        world.send_rtp(sender, &layer(0, n, n == 10));
        world.send_rtp(sender, &layer(1, n, n == 15));
        world.pass_ms(33);
    }
    let size = |world: &World| world.clients[receiver].received.last().unwrap().payload.len();
    assert_eq!(size(&world), 205);
    let (since, plis) = (world.now, world.clients[sender].plis());
    let mut n = 60;
    while world.clients[sender].plis() == plis {
        world.send_rtp(sender, &layer(0, n, false));
        world.pass_ms(33);
        n += 1;
    }
    let missed = (world.now - since).as_millis();
    assert!((300..600).contains(&missed), "{missed} ms");
    world.send_rtp(sender, &layer(0, n, true));
    world.settle();
    assert_eq!(size(&world), 105);
}
