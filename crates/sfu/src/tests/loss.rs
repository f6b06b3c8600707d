//! Packets lost on either side, and pictures that need repair.

use super::client::Outgoing;
use super::*;
use rtp::rtcp::{self, Rtcp};

fn video(sequence: u64, key: bool) -> Outgoing {
    vp8_packet(sequence, key, 500)
}

/// The retransmission of `lost` as packet `sequence` of the RTX stream.
fn rtx(sequence: u64, lost: &Outgoing) -> Outgoing {
    let payload = [&(lost.sequence as u16).to_be_bytes()[..], &lost.payload].concat();
    Outgoing { ssrc: RTX_SSRC, payload_type: 97, sequence, payload, ..lost.clone() }
}

fn call() -> (World, usize, usize, ProducerId, ConsumerOptions) {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let consumer = world.consume(receiver, producer);
    world.send_rtp(sender, &video(100, true));
    world.settle();
    (world, sender, receiver, producer, consumer)
}

#[test]
fn packets_lost_on_the_way_in_are_asked_for_and_put_in_their_place() {
    let (mut world, sender, receiver, producer, _) = call();
    world.worker.tap(world.now, producer, 1).unwrap();
    world.send_rtp(sender, &video(103, false));
    world.settle();
    assert_eq!(world.clients[sender].nacked(), [101, 102], "at once");
    world.pass_ms(30);
    world.send_rtp(sender, &rtx(7, &video(101, false)));
    world.settle();
    world.pass_ms(400);
    let again = world.clients[sender].nacked();
    assert!(
        again.len() > 2 && again[2..].iter().all(|n| *n == 102),
        "the other is asked for again: {again:?}"
    );
    world.send_rtp(sender, &rtx(8, &video(102, false)));
    world.send_rtp(sender, &rtx(8, &video(102, false)));
    world.send_rtp(sender, &rtx(9, &video(102, false)));
    world.settle();
    let received = &world.clients[receiver].received;
    let first = received[0].sequence;
    let order: Vec<_> = received.iter().map(|p| p.sequence - first).collect();
    assert_eq!(order, [0, 3, 1, 2]);
    assert_eq!(received[2].payload, vp8_payload(101, false, 500));
    let tapped: Vec<_> = world.heard.packets.iter().map(|(_, p)| u16::from_be_bytes([p[2], p[3]])).collect();
    assert_eq!(tapped, [103, 101, 102]);
    let restored = rtp::packet::Packet::parse(&world.heard.packets[1].1).unwrap();
    assert_eq!((restored.ssrc(), restored.payload_type()), (VIDEO_SSRC, 96));
    assert_eq!(restored.payload(), vp8_payload(101, false, 500));
    let stats = &world.worker.producer_stats(world.now, producer)[0];
    assert_eq!((stats.packets_repaired, stats.packets_lost), (2, 2));
}

#[test]
fn what_does_not_come_back_is_given_up_for_a_keyframe() {
    let (mut world, sender, ..) = call();
    let before = world.clients[sender].plis();
    world.send_rtp(sender, &video(102, false));
    world.settle();
    world.pass_ms(2_000);
    assert!((3..=12).contains(&world.clients[sender].nacked().len()));
    let plis = world.clients[sender].plis() - before;
    assert!((1..=4).contains(&plis), "{plis}");
    world.send_rtp(sender, &video(103, true));
    world.pass_ms(3_000);
    assert_eq!(world.clients[sender].plis() - before, plis, "quiet once it came");
}

#[test]
fn packets_lost_on_the_way_out_come_back_from_the_ring_as_rtx() {
    let (mut world, sender, receiver, _, consumer) = call();
    for n in 101..110 {
        world.send_rtp(sender, &video(n, false));
    }
    world.settle();
    let lost = world.clients[receiver].received[5].clone();
    let encoding = &consumer.rtp_parameters.encodings[0];
    let mut nack = Vec::new();
    rtcp::write_nack(&mut nack, 1, encoding.ssrc.unwrap(), &[lost.sequence]);
    for _ in 0..3 {
        let bytes = world.clients[receiver].protect_rtcp(&nack);
        world.send(receiver, bytes);
    }
    world.settle();
    let again: Vec<_> = world.clients[receiver].received[10..].to_vec();
    assert_eq!(again.len(), 1, "asked for thrice within a round trip, sent once");
    assert_eq!(again[0].ssrc, encoding.rtx.as_ref().unwrap().ssrc);
    assert_eq!((again[0].payload_type, again[0].timestamp), (102, lost.timestamp));
    assert_eq!(again[0].payload, [&lost.sequence.to_be_bytes()[..], &lost.payload].concat());
    let stats = world.worker.consumer_stats(world.now, consumer.id).unwrap();
    assert_eq!((stats.nack_count, stats.packets_retransmitted), (3, 1));
}

#[test]
fn a_nack_for_what_was_never_sent_is_not_answered() {
    let (mut world, _, receiver, _, consumer) = call();
    let ssrc = consumer.rtp_parameters.encodings[0].ssrc.unwrap();
    let sent = world.clients[receiver].received.len();
    let all: Vec<u16> = (0..2_000).collect();
    for chunk in all.chunks(200) {
        let mut nack = Vec::new();
        rtcp::write_nack(&mut nack, 1, ssrc, chunk);
        rtcp::write_nack(&mut nack, 1, 12345, chunk);
        let bytes = world.clients[receiver].protect_rtcp(&nack);
        world.send(receiver, bytes);
    }
    world.settle();
    assert!(world.clients[receiver].received.len() <= sent + 1);
}

#[test]
fn a_receivers_keyframe_requests_reach_the_sender_in_measure() {
    let (mut world, sender, receiver, _, consumer) = call();
    world.pass_ms(1_000);
    let before = world.clients[sender].plis();
    let ssrc = consumer.rtp_parameters.encodings[0].ssrc.unwrap();
    for round in 0..10 {
        let mut request = Vec::new();
        if round % 2 == 0 {
            rtcp::write_pli(&mut request, 1, ssrc);
        } else {
            rtcp::write_fir(&mut request, 1, &[rtcp::FirEntry { ssrc, sequence: round }]);
        }
        let bytes = world.clients[receiver].protect_rtcp(&request);
        world.send(receiver, bytes);
        world.settle();
        if round == 0 {
            assert_eq!(world.clients[sender].plis() - before, 1, "the first at once");
        }
        world.pass_ms(100);
    }
    let asked = world.clients[sender].plis() - before;
    assert!((2..=3).contains(&asked), "one second, one each 500 ms: {asked}");
}

#[test]
fn a_sender_that_knows_only_fir_gets_fir() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let mut parameters = vp8();
    parameters.codecs[0].rtcp_feedback.retain(|f| f.parameter != "pli");
    let producer = world.produce(sender, MediaKind::Video, parameters);
    world.consume(receiver, producer);
    let firs = world.clients[sender].rtcp_of(|p| match p {
        Rtcp::Fir(fir) => Some(fir.entries().map(|e| e.ssrc).collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(firs, [[VIDEO_SSRC]]);
}
