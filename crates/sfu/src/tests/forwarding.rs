//! From one guest to another: numbers, names, order.

use super::client::Outgoing;
use super::*;
use crate::ortc::Extension;

fn audio(sequence: u64, timestamp: u32) -> Outgoing {
    Outgoing {
        ssrc: AUDIO_SSRC,
        payload_type: 111,
        sequence,
        timestamp,
        extensions: vec![(MID_ID, b"0".to_vec()), (LEVEL_ID, vec![0x80 | 30]), (TRANSPORT_CC_ID, vec![0, 1])],
        payload: vec![0x78, sequence as u8, 2, 3],
    }
}

fn video(sequence: u64, key: bool) -> Outgoing {
    Outgoing { extensions: vec![(ORIENTATION_ID, vec![1])], ..vp8_packet(sequence, key, 900) }
}

impl World {
    pub fn send_rtp(&mut self, client: usize, packet: &Outgoing) {
        let bytes = self.clients[client].rtp(packet);
        self.send(client, bytes);
    }
}

#[test]
fn sound_reaches_everybody_else_in_the_routers_numbers() {
    let mut world = World::new();
    let sender = world.sender();
    let receivers = [world.receiver(), world.receiver()];
    let producer = world.produce(sender, MediaKind::Audio, opus());
    let consumers = receivers.map(|r| world.consume(r, producer));
    for n in 0..10 {
        world.send_rtp(sender, &audio(65_530 + n, 960 * n as u32));
    }
    world.settle();
    for (receiver, consumer) in receivers.iter().zip(&consumers) {
        let received = &world.clients[*receiver].received;
        assert_eq!(received.len(), 10);
        let first = received[0].sequence;
        for (n, packet) in received.iter().enumerate() {
            assert_eq!(packet.ssrc, consumer.rtp_parameters.encodings[0].ssrc.unwrap());
            assert_eq!(packet.payload_type, 100);
            assert_eq!(packet.sequence, first + n as u16);
            assert_eq!(packet.timestamp, 960 * n as u32);
            assert_eq!(packet.payload, [0x78, (65_530 + n) as u8, 2, 3]);
            let extension = |e: Extension| packet.extensions.iter().find(|(id, _)| *id == e.router_id());
            assert_eq!(extension(Extension::Mid).unwrap().1, b"0");
            assert_eq!(extension(Extension::AudioLevel).unwrap().1, [0x80 | 30]);
            assert!(extension(Extension::AbsSendTime).is_some());
            assert!(extension(Extension::TransportCc).is_none(), "sound has none from us");
        }
        assert_eq!(world.clients[*receiver].undecryptable, 0);
    }
    assert_eq!(world.clients[sender].received.len(), 0, "nobody hears themselves");
    assert_eq!(world.worker.audio_level(producer), Some(-30));
}

#[test]
fn pictures_begin_with_a_keyframe_that_was_asked_for() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    world.send_rtp(sender, &video(10, true));
    let consumer = world.consume(receiver, producer);
    assert_eq!(world.clients[sender].plis(), 1);
    world.send_rtp(sender, &video(11, false));
    world.send_rtp(sender, &video(12, true));
    world.send_rtp(sender, &video(13, false));
    world.settle();
    let received = &world.clients[receiver].received;
    let payloads: Vec<_> = received.iter().map(|p| p.payload.clone()).collect();
    assert_eq!(payloads, [vp8_payload(12, true, 900), vp8_payload(13, false, 900)]);
    let has = |id: Extension, value: &[u8]| {
        received.iter().all(|p| p.extensions.iter().any(|(i, v)| *i == id.router_id() && v == value))
    };
    assert!(has(Extension::VideoOrientation, &[1]) && has(Extension::Mid, b"0"));
    let transport_numbers: Vec<_> = received
        .iter()
        .flat_map(|p| p.extensions.iter().find(|(id, _)| *id == Extension::TransportCc.router_id()))
        .map(|(_, v)| u16::from_be_bytes([v[0], v[1]]))
        .collect();
    assert_eq!(transport_numbers[1], transport_numbers[0] + 1);
    assert_eq!(consumer.rtp_parameters.rtcp.cname.as_deref(), Some("guest"));
    assert_eq!(consumer.rtp_parameters.msid.as_deref(), Some("stream track"));
}

#[test]
fn a_pause_of_either_side_leaves_no_gap_and_resumes_with_a_keyframe() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let consumer = world.consume(receiver, producer).id;
    world.send_rtp(sender, &video(10, true));
    world.worker.pause_consumer(world.now, consumer).unwrap();
    world.send_rtp(sender, &video(11, false));
    world.pass_ms(600);
    let asked = world.clients[sender].plis();
    world.worker.resume_consumer(world.now, consumer).unwrap();
    world.settle();
    assert_eq!(world.clients[sender].plis(), asked + 1);
    world.send_rtp(sender, &video(12, false));
    world.send_rtp(sender, &video(13, true));
    world.worker.pause_producer(world.now, producer).unwrap();
    world.send_rtp(sender, &video(14, false));
    world.worker.resume_producer(world.now, producer).unwrap();
    world.send_rtp(sender, &video(15, false));
    world.send_rtp(sender, &video(16, true));
    world.settle();
    let received = &world.clients[receiver].received;
    let first = received[0].sequence;
    let numbers: Vec<_> = received.iter().map(|p| (p.sequence - first, p.timestamp / 3_000)).collect();
    assert_eq!(numbers, [(0, 10), (1, 13), (2, 16)]);
    let pictures: Vec<_> = received.iter().map(|p| p.payload[3]).collect();
    assert_eq!(pictures, [10, 11, 12], "picture ids have no gap either");
}

#[test]
fn mids_count_up_and_the_cname_is_shared() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let audio = world.produce(sender, MediaKind::Audio, opus());
    let mut without_cname = vp8();
    without_cname.rtcp.cname = Some(String::new());
    let video = world.produce(sender, MediaKind::Video, without_cname);
    let consumers = [world.consume(receiver, audio), world.consume(receiver, video)];
    let mids: Vec<_> = consumers.iter().map(|c| c.rtp_parameters.mid.clone().unwrap()).collect();
    assert_eq!(mids, ["0", "1"]);
    for consumer in consumers {
        assert_eq!(consumer.rtp_parameters.rtcp.cname.as_deref(), Some("guest"));
    }
}

#[test]
fn a_tap_hears_the_producers_own_packets_in_order_of_arrival() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let tap = world.worker.tap(world.now, producer, 42).unwrap();
    world.settle();
    assert_eq!(world.clients[sender].plis(), 1, "a new tap asks for a keyframe");
    let format = world.worker.tap_format(producer).unwrap();
    assert_eq!((format.codec.payload_type, format.orientation_id), (96, Some(ORIENTATION_ID)));
    for (n, key) in [(10, false), (12, true), (11, false)] {
        world.send_rtp(sender, &video(n, key));
    }
    let packets: Vec<_> = world
        .heard
        .packets
        .iter()
        .map(|(tag, bytes)| {
            let packet = rtp::packet::Packet::parse(bytes).unwrap();
            assert_eq!((*tag, packet.ssrc(), packet.payload_type()), (42, VIDEO_SSRC, 96));
            assert_eq!(packet.extension(ORIENTATION_ID), Some(&[1][..]));
            packet.sequence_number()
        })
        .collect();
    assert_eq!(packets, [10, 12, 11]);
    world.worker.pause_producer(world.now, producer).unwrap();
    world.send_rtp(sender, &video(13, true));
    world.worker.resume_producer(world.now, producer).unwrap();
    world.worker.untap(tap);
    world.send_rtp(sender, &video(14, true));
    assert_eq!(world.heard.packets.len(), 3);
}

#[test]
fn directions_rooms_and_ssrcs_are_kept_apart() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let capabilities = world.worker.router_rtp_capabilities();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    let (send, recv) = (world.clients[sender].transport, world.clients[receiver].transport);
    let now = world.now;
    let wrong = world.worker.produce(now, recv, MediaKind::Audio, opus(), false);
    assert!(matches!(wrong, Err(Error::Invalid(_))));
    let wrong = world.worker.consume(now, send, producer, &capabilities, true);
    assert!(matches!(wrong, Err(Error::Invalid(_))));
    let twice = world.worker.produce(now, send, MediaKind::Audio, opus(), false);
    assert!(matches!(twice, Err(Error::Invalid(_))), "its SSRC is taken");
    let other_room = world.worker.create_router();
    let outside = world.worker.create_transport(now, other_room, Direction::Recv).unwrap().id;
    let refused = world.worker.consume(now, outside, producer, &capabilities, true);
    assert_eq!(refused, Err(Error::NotFound("producer")));
    // Another guest may use the same SSRC: tables are per transport.
    let other = world.sender();
    let same = world.produce(other, MediaKind::Audio, opus());
    world.consume(receiver, producer);
    world.consume(receiver, same);
    world.send_rtp(sender, &audio(1, 1));
    world.send_rtp(other, &audio(1, 2));
    world.settle();
    let timestamps: Vec<_> = world.clients[receiver].received.iter().map(|p| p.timestamp).collect();
    assert_eq!(timestamps, [1, 2]);
}

#[test]
fn while_packets_gather_those_of_a_picture_leave_in_one_piece() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    world.consume(receiver, producer);
    world.worker.set_gathering(true);
    // As libwebrtc cuts a picture: the larger ones last. The fifth lies just beyond a step of padding.
    let sizes = [1_001, 1_001, 1_002, 1_002, 1_040, 100];
    for (n, size) in (10..).zip(sizes) {
        world.send_rtp(sender, &Outgoing { payload: vp8_payload(1, n == 10, size), ..video(n, false) });
    }
    let (now, mut pieces, mut datagrams) = (world.now, Vec::new(), Vec::new());
    world.worker.flush(now, &mut |transmit| {
        let segments: Vec<Vec<u8>> =
            transmit.contents.chunks(transmit.segment_size).map(<[u8]>::to_vec).collect();
        if transmit.destination == world.clients[receiver].address {
            pieces.push(segments.len());
            datagrams.extend(segments);
        }
    });
    assert_eq!(pieces, [4, 2], "and a shorter one may end a piece");
    for datagram in datagrams {
        world.clients[receiver].handle(now, datagram);
    }
    let payloads: Vec<_> = world.clients[receiver].received.iter().map(|p| p.payload.clone()).collect();
    let sent: Vec<_> = (10..).zip(sizes).map(|(n, size)| vp8_payload(1, n == 10, size)).collect();
    assert_eq!(payloads, sent, "the receiver takes the padding off");
    assert_eq!(world.clients[receiver].undecryptable, 0);
}

#[test]
fn a_round_of_any_size_arrives_whole_and_in_order() {
    let mut world = World::new();
    let senders = [world.sender(), world.sender()];
    let receivers = [world.receiver(), world.receiver(), world.receiver()];
    let producers = senders.map(|s| world.produce(s, MediaKind::Video, vp8()));
    let ssrcs = receivers.map(|receiver| {
        let consumed = producers.map(|producer| world.consume_unmeasured(receiver, producer));
        consumed.map(|options| options.rtp_parameters.encodings[0].ssrc.unwrap())
    });
    // More than is handed out at once.
    for n in 10..160 {
        for sender in senders {
            world.send_rtp(sender, &video(n, n == 10));
        }
    }
    world.settle();
    for (receiver, ssrcs) in receivers.into_iter().zip(ssrcs) {
        let received = &world.clients[receiver].received;
        for ssrc in ssrcs {
            let own: Vec<_> = received.iter().filter(|packet| packet.ssrc == ssrc).collect();
            let payloads: Vec<_> = own.iter().map(|packet| packet.payload.clone()).collect();
            assert_eq!(payloads, (10..160).map(|n| vp8_payload(n, n == 10, 900)).collect::<Vec<_>>());
            assert!(own.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
        }
        assert_eq!((received.len(), world.clients[receiver].undecryptable), (300, 0));
    }
}

#[test]
fn a_batch_is_taken_like_its_datagrams_one_by_one_whatever_else_is_in_it() {
    let mut world = World::new();
    let (sender, receiver) = (world.sender(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    world.consume_unmeasured(receiver, producer);
    let from = world.clients[sender].address;
    let stranger: SocketAddr = "192.0.2.99:9".parse().unwrap();
    let mut datagrams = Vec::new();
    for n in 10..80 {
        datagrams.push((from, world.clients[sender].rtp(&video(n, n == 10))));
        // A stranger's packet, nothing, the beginning of a header, and a source that nobody announced.
        datagrams.push((stranger, vec![0x80; 100]));
        datagrams.push((from, Vec::new()));
        datagrams.push((from, vec![0x80, 96, 0]));
        datagrams.push((from, vec![0x80; 60]));
    }
    let mut batch: Vec<_> =
        datagrams.iter_mut().map(|(from, bytes)| ((*from).into(), bytes.as_mut_slice())).collect();
    world.worker.handle_datagrams(world.now, &mut batch, &mut world.heard);
    world.settle();
    let payloads: Vec<_> = world.clients[receiver].received.iter().map(|p| p.payload.clone()).collect();
    assert_eq!(payloads, (10..80).map(|n| vp8_payload(n, n == 10, 900)).collect::<Vec<_>>());
}

#[test]
fn a_command_is_about_what_arrives_after_it() {
    let mut world = World::new();
    let sender = world.sender();
    let [paused, closed, late] = [world.receiver(), world.receiver(), world.receiver()];
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let consumers = [paused, closed].map(|receiver| world.consume(receiver, producer).id);
    world.send_rtp(sender, &video(10, true));
    world.worker.pause_consumer(world.now, consumers[0]).unwrap();
    world.worker.close_consumer(world.now, consumers[1]).unwrap();
    world.consume(late, producer);
    world.send_rtp(sender, &video(11, true));
    world.worker.close_producer(world.now, producer).unwrap();
    world.settle();
    let received = |client: usize| -> Vec<_> {
        world.clients[client].received.iter().map(|packet| packet.timestamp / 3_000).collect()
    };
    assert_eq!([paused, closed, late].map(received), [[10], [10], [11]]);
}
