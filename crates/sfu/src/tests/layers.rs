//! Layers within one stream, and receivers that want different ones of them.

use super::client::Outgoing;
use super::*;
use crate::Layers;
use rtp::codec::{vp8, vp9};
use rtp::packet::Packet;

/// A picture of three temporal layers, 0 2 1 2, thirty a second; upper layers begin anew with every eighth.
pub fn vp8_picture(n: u64, key: bool) -> Outgoing {
    let tid = [0u8, 2, 1, 2][n as usize % 4];
    let sync = u8::from(matches!(n % 8, 1 | 2));
    let id = n as u16 & 0x7fff;
    let mut payload = vec![0x90, 0xe0, 0x80 | (id >> 8) as u8, id as u8, (n / 4) as u8, tid << 6 | sync << 5];
    payload.push(u8::from(!key));
    payload.resize(200 + 100 * usize::from(2 - tid), 7);
    Outgoing {
        ssrc: VIDEO_SSRC,
        payload_type: 96,
        sequence: n,
        timestamp: n as u32 * 3_000,
        payload,
        ..Default::default()
    }
}

fn temporal() -> RtpParameters {
    let mut parameters = vp8();
    parameters.encodings[0].scalability_mode = Some("L1T3".into());
    parameters
}

/// VP9 of three spatial layers that lean on each other at key pictures only.
fn svc() -> RtpParameters {
    let mut parameters = vp8();
    parameters.codecs[0].mime_type = "video/VP9".into();
    parameters.encodings[0].scalability_mode = Some("L3T1_KEY".into());
    parameters
}

fn vp9_picture(n: u64, key: bool) -> Vec<Outgoing> {
    let layer = |sid: u8| {
        let first = 0xa0 | u8::from(!key) << 6 | 0x0c | u8::from(!key || sid == 2);
        let layer = 0x10 | sid << 1 | u8::from(key && sid > 0);
        let mut payload = vec![first, 0x80 | (n >> 8) as u8 & 0x7f, n as u8, layer, n as u8];
        payload.resize(100 * (1 + usize::from(sid)), 7);
        Outgoing {
            ssrc: VIDEO_SSRC,
            payload_type: 96,
            sequence: n * 3 + u64::from(sid),
            timestamp: n as u32 * 3_000,
            payload,
            ..Default::default()
        }
    };
    (0..3).map(layer).collect()
}

fn consume(
    world: &mut World,
    producer: ProducerId,
    spatial: u8,
    temporal: Option<u8>,
) -> (usize, ConsumerId) {
    let receiver = world.receiver();
    let consumer = world.consume_unmeasured(receiver, producer).id;
    world.worker.set_preferred_layers(consumer, spatial, temporal).unwrap();
    (receiver, consumer)
}

#[test]
fn receivers_of_one_stream_get_different_frame_rates_and_no_gaps() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, temporal());
    let receivers = [0, 1, 2].map(|t| consume(&mut world, producer, 0, Some(t)).0);
    world.worker.tap(world.now, producer, 1).unwrap();
    world.pass_ms(50);
    for n in 0..80 {
        world.send_rtp(sender, &vp8_picture(n, n == 0));
        world.pass_ms(33);
    }
    for (receiver, expected) in receivers.into_iter().zip([20, 40, 80]) {
        let received = &world.clients[receiver].received;
        assert_eq!(received.len(), expected);
        for pair in received.windows(2) {
            let [a, b] = [0, 1].map(|i| vp8::Descriptor::parse(&pair[i].payload).unwrap());
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
            assert_eq!(b.picture_id.unwrap().value(), a.picture_id.unwrap().value() + 1);
        }
        assert_eq!(world.clients[receiver].undecryptable, 0);
    }
    assert_eq!(world.heard.packets.len(), 80);
}

#[test]
fn a_packet_of_a_thinned_stream_is_sent_again_as_it_was() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, temporal());
    let (receiver, _) = consume(&mut world, producer, 0, Some(0));
    world.pass_ms(50);
    for n in 0..40 {
        world.send_rtp(sender, &vp8_picture(n, n == 0));
    }
    world.settle();
    let lost = world.clients[receiver].received[6].clone();
    let mut nack = Vec::new();
    rtp::rtcp::write_nack(&mut nack, 1, lost.ssrc, &[lost.sequence]);
    let bytes = world.clients[receiver].protect_rtcp(&nack);
    world.send(receiver, bytes);
    world.settle();
    let again = world.clients[receiver].received.last().unwrap();
    assert_eq!(again.payload, [&lost.sequence.to_be_bytes()[..], &lost.payload].concat());
    assert_eq!((again.timestamp, again.marker), (lost.timestamp, lost.marker));
}

#[test]
fn each_receiver_of_an_svc_stream_sees_whole_pictures_of_its_size() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, svc());
    let receivers = [0, 1, 2].map(|s| consume(&mut world, producer, s, None));
    world.pass_ms(50);
    for n in 0..10 {
        for packet in vp9_picture(n, n == 0) {
            world.send_rtp(sender, &packet);
        }
        world.pass_ms(33);
    }
    let sids = |world: &World, receiver: usize| -> Vec<(u8, bool)> {
        let received = &world.clients[receiver].received;
        assert!(received.windows(2).all(|w| w[1].sequence == w[0].sequence.wrapping_add(1)));
        received.iter().map(|p| (vp9::Descriptor::parse(&p.payload).unwrap().sid(), p.marker)).collect()
    };
    for (top, (receiver, _)) in (0u8..).zip(receivers) {
        let key = (0..=top).map(|sid| (sid, sid == top));
        let expected: Vec<_> = key.chain(std::iter::repeat_n((top, true), 9)).collect();
        assert_eq!(sids(&world, receiver), expected);
    }

    // Down needs a key picture, which is asked for.
    world.pass_ms(500);
    let before = world.clients[sender].plis();
    world.worker.set_preferred_layers(receivers[2].1, 0, None).unwrap();
    world.settle();
    assert_eq!(world.clients[sender].plis(), before + 1);
    for packet in vp9_picture(10, true).into_iter().chain(vp9_picture(11, false)) {
        world.send_rtp(sender, &packet);
    }
    world.settle();
    let (receiver, _) = receivers[2];
    assert_eq!(sids(&world, receiver)[12..], [(0, true), (0, true)]);
}

#[test]
fn a_tap_takes_little_while_nobody_looks() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, svc());
    let tap = world.worker.tap(world.now, producer, 1).unwrap();
    world.worker.set_tap_layers(tap, Some(Layers::new(0, u8::MAX)));
    let send = |world: &mut World, n, key| {
        let before = world.heard.packets.len();
        for packet in vp9_picture(n, key) {
            world.send_rtp(sender, &packet);
        }
        world.pass_ms(33);
        let heard = &world.heard.packets[before..];
        let sid =
            |bytes: &[u8]| vp9::Descriptor::parse(Packet::parse(bytes).unwrap().payload()).unwrap().sid();
        heard.iter().map(|(_, bytes)| sid(bytes)).collect::<Vec<_>>()
    };
    assert_eq!(send(&mut world, 0, true), [0]);
    assert_eq!(send(&mut world, 1, false), [0]);
    assert_eq!(send(&mut world, 2, false), [0]);
    world.worker.set_tap_layers(tap, None);
    assert_eq!(send(&mut world, 3, true), [0, 1, 2]);
    assert_eq!(send(&mut world, 4, false), [2]);
    let numbers: Vec<u16> =
        world.heard.packets.iter().map(|(_, p)| Packet::parse(p).unwrap().sequence_number()).collect();
    assert!(numbers.windows(2).all(|w| w[1] == w[0] + 1), "{numbers:?}");
}

#[test]
fn a_storm_of_keyframe_requests_reaches_the_sender_as_a_few() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, temporal());
    let receivers: Vec<_> = (0..30).map(|_| consume(&mut world, producer, 0, None)).collect();
    world.send_rtp(sender, &vp8_picture(0, true));
    world.settle();
    let ssrcs: Vec<_> = receivers.iter().map(|(r, _)| world.clients[*r].received[0].ssrc).collect();
    let before = world.clients[sender].plis();
    for _ in 0..20 {
        for ((receiver, consumer), ssrc) in receivers.iter().zip(&ssrcs) {
            let mut request = Vec::new();
            rtp::rtcp::write_pli(&mut request, 1, *ssrc);
            let bytes = world.clients[*receiver].protect_rtcp(&request);
            world.send(*receiver, bytes);
            world.worker.request_key_frame(world.now, *consumer).unwrap();
        }
        world.settle();
        world.pass_ms(100);
    }
    let asked = world.clients[sender].plis() - before;
    assert!((4..=5).contains(&asked), "two seconds, one each half: {asked}");
}
