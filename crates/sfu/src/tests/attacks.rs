//! Attacks that have names: what each gets at most, and that two others in the room go on talking.

use super::client::Outgoing;
use super::*;
use crate::stun::{self, Kind, Role as IceRole, Writer};
use rtp::rtcp;

const VICTIM: &str = "203.0.113.66:6666";

fn audio(sequence: u64) -> Outgoing {
    Outgoing { ssrc: AUDIO_SSRC, payload_type: 111, sequence, payload: vec![0x78; 60], ..Default::default() }
}

fn video(sequence: u64, key: bool) -> Outgoing {
    vp8_packet(sequence, key, 1_000)
}

/// Two who have nothing to do with it.
struct Others {
    speaker: usize,
    listener: usize,
    sequence: u64,
}

impl Others {
    fn join(world: &mut World) -> Self {
        let (speaker, listener) = (world.sender(), world.receiver());
        let producer = world.produce(speaker, MediaKind::Audio, opus());
        world.consume(listener, producer);
        Self { speaker, listener, sequence: 0 }
    }

    fn assert_unharmed(&mut self, world: &mut World) {
        // Who was away for a while is found again by its next check.
        world.check(self.speaker);
        world.check(self.listener);
        let before = world.clients[self.listener].received.len();
        for _ in 0..5 {
            self.sequence += 1;
            world.send_rtp(self.speaker, &audio(self.sequence));
        }
        world.settle();
        assert_eq!(world.clients[self.listener].received.len() - before, 5);
    }
}

impl World {
    fn octets_to(&self, address: &str) -> usize {
        let address: SocketAddr = address.parse().unwrap();
        self.astray.iter().filter(|(to, _)| *to == address).map(|(_, bytes)| bytes.len()).sum()
    }

    fn client_hello(&mut self, client: usize) -> Vec<u8> {
        self.clients[client].start_dtls(self.now);
        self.clients[client].poll().next().unwrap()
    }
}

#[test]
fn a_client_hello_from_a_spoofed_address_is_not_multiplied() {
    let mut world = World::new();
    let mut others = Others::join(&mut world);
    let insider = world.join(Direction::Send, Role::Client);
    let parameters = world.clients[insider].dtls_parameters();
    let transport = world.clients[insider].transport;
    world.worker.connect_transport(world.now, transport, parameters).unwrap();
    let hello = world.client_hello(insider);
    let victim = VICTIM.parse().unwrap();
    // A stranger gets nothing at all.
    world.send_from(victim, hello.clone());
    world.pass_ms(5_000);
    assert_eq!(world.octets_to(VICTIM), 0);
    // Who knows the password can forge a check, too; what the victim gets is less than what it cost.
    let check = world.clients[insider].check(true);
    let spent = check.len() + hello.len();
    world.send_from(victim, check);
    world.send_from(victim, hello);
    world.pass_ms(40_000);
    assert!(world.octets_to(VICTIM) <= spent, "{} > {spent}", world.octets_to(VICTIM));
    others.assert_unharmed(&mut world);
}

#[test]
fn a_client_that_makes_us_speak_first_is_not_a_cannon_either() {
    let mut world = World::new();
    let mut others = Others::join(&mut world);
    let insider = world.join(Direction::Send, Role::Server);
    let parameters = world.clients[insider].dtls_parameters();
    let transport = world.clients[insider].transport;
    world.worker.connect_transport(world.now, transport, parameters).unwrap();
    let check = world.clients[insider].check(true);
    let spent = check.len();
    world.send_from(VICTIM.parse().unwrap(), check);
    world.pass_ms(40_000);
    assert!(world.octets_to(VICTIM) <= 3 * spent, "{} of {spent}", world.octets_to(VICTIM));
    others.assert_unharmed(&mut world);
}

#[test]
fn nothing_counts_before_the_fingerprint_is_verified() {
    let mut world = World::new();
    let mut others = Others::join(&mut world);
    let impostor = world.join(Direction::Send, Role::Client);
    let listener = world.receiver();
    let transport = world.clients[impostor].transport;
    let producer = world.produce(impostor, MediaKind::Audio, opus());
    world.consume(listener, producer);
    world.worker.enable_sctp(transport).unwrap();
    let honest = world.sender();
    let parameters = world.clients[honest].dtls_parameters();
    world.worker.connect_transport(world.now, transport, parameters).unwrap();
    world.check(impostor);
    world.settle();
    // Its own handshake is sound; only the certificate is not the announced one.
    assert!(world.clients[impostor].keys.is_some());
    for sequence in 0..20 {
        let bytes = world.clients[impostor].rtp(&audio(sequence));
        world.send(impostor, bytes);
        world.clients[impostor].send_application_data(b"what would begin data channels");
        world.settle();
    }
    world.pass_ms(1_000);
    assert!(world.worker.producer_stats(world.now, producer).iter().all(|s| s.packet_count == 0));
    assert!(world.clients[listener].received.is_empty());
    let stats = world.worker.transport_stats(world.now, transport).unwrap();
    assert_eq!((&*stats.dtls_state, stats.packets_discarded >= 20), ("failed", true));
    others.assert_unharmed(&mut world);
}

#[test]
fn guests_who_chose_the_same_ssrc_stay_two() {
    let mut world = World::new();
    let senders = [world.sender(), world.sender()];
    let receiver = world.receiver();
    let mut streams = Vec::new();
    for sender in senders {
        let producer = world.produce(sender, MediaKind::Audio, opus());
        streams.push(world.consume(receiver, producer).rtp_parameters.encodings[0].ssrc.unwrap());
    }
    assert_ne!(streams[0], streams[1]);
    for (n, sender) in senders.into_iter().enumerate() {
        for sequence in 1..5 {
            world.send_rtp(sender, &Outgoing { payload: vec![n as u8; 40], ..audio(sequence) });
        }
    }
    world.settle();
    let received = &world.clients[receiver].received;
    assert_eq!(received.len(), 8);
    for (n, ssrc) in streams.iter().enumerate() {
        let mut of_this = received.iter().filter(|p| p.ssrc == *ssrc);
        assert!(of_this.all(|p| p.payload == vec![n as u8; 40]));
    }
    // On one transport the second cannot be told from the first, so there is none.
    let again =
        world.worker.produce(world.now, world.clients[senders[0]].transport, MediaKind::Audio, opus(), false);
    assert!(again.is_err());
}

#[test]
fn a_producer_of_ten_thousand_streams_is_refused_and_their_packets_are_dropped() {
    let mut world = World::new();
    let mut others = Others::join(&mut world);
    let sender = world.sender();
    let transport = world.clients[sender].transport;
    let mut begun = 0;
    for n in 0..10_000u32 {
        let mut parameters = vp8();
        parameters.mid = Some(n.to_string());
        parameters.encodings[0].ssrc = Some(100_000 + n * 2);
        parameters.encodings[0].rtx = Some(RtxParameters { ssrc: 100_001 + n * 2 });
        begun += usize::from(
            world.worker.produce(world.now, transport, MediaKind::Video, parameters, false).is_ok(),
        );
    }
    assert!((1..=256).contains(&begun), "{begun}");
    let mut many = simulcast();
    let layer = |n: u32| RtpEncodingParameters { ssrc: Some(n + 1), ..Default::default() };
    many.encodings = (0..10_000).map(layer).collect();
    assert!(world.worker.produce(world.now, transport, MediaKind::Video, many, false).is_err());
    let sent = world.sent_datagrams;
    for ssrc in 1_000_000..1_010_000 {
        let bytes = world.clients[sender].rtp(&Outgoing { ssrc, ..video(1, true) });
        world.send(sender, bytes);
    }
    world.settle();
    assert_eq!(world.sent_datagrams, sent, "nobody was sent, or asked for, any of it");
    others.assert_unharmed(&mut world);
}

#[test]
fn a_storm_of_nacks_gets_half_of_what_flows_and_reaches_nobody_else() {
    let mut world = World::new();
    let mut others = Others::join(&mut world);
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let consumer = world.consume(receiver, producer);
    let ssrc = consumer.rtp_parameters.encodings[0].ssrc.unwrap();
    for sequence in 0..400 {
        world.send_rtp(sender, &video(sequence, sequence == 0));
        world.pass_ms(10);
    }
    let sent: Vec<u16> = world.clients[receiver].received.iter().map(|p| p.sequence).collect();
    let asked_before = world.clients[sender].nacked().len();
    let before = world.sent_datagrams;
    for _ in 0..1_000 {
        let mut storm = Vec::new();
        rtcp::write_nack(&mut storm, 1, ssrc, &sent[sent.len() - 200..]);
        let bytes = world.clients[receiver].protect_rtcp(&storm);
        world.send(receiver, bytes);
        world.pass_ms(1);
    }
    world.settle();
    let again = world.worker.consumer_stats(world.now, consumer.id).unwrap().packets_retransmitted;
    // 800 kbit/s flowed: 50 packets a second are half of it, beside the first allowance of 128 kB.
    assert!(again <= 200, "{again}");
    assert!(world.sent_datagrams - before < 260, "{}", world.sent_datagrams - before);
    assert_eq!(world.clients[sender].nacked().len(), asked_before);
    others.assert_unharmed(&mut world);
}

#[test]
fn a_storm_of_keyframe_requests_reaches_the_sender_as_a_few() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let crowd: Vec<_> = (0..20)
        .map(|_| {
            let receiver = world.receiver();
            (receiver, world.consume(receiver, producer).rtp_parameters.encodings[0].ssrc.unwrap())
        })
        .collect();
    world.send_rtp(sender, &video(0, true));
    world.pass_ms(2_000);
    let before = world.clients[sender].plis();
    for round in 1..=100u64 {
        for (receiver, ssrc) in &crowd {
            let mut request = Vec::new();
            rtcp::write_pli(&mut request, 1, *ssrc);
            rtcp::write_fir(&mut request, 1, &[rtcp::FirEntry { ssrc: *ssrc, sequence: round as u8 }]);
            let bytes = world.clients[*receiver].protect_rtcp(&request);
            world.send(*receiver, bytes);
        }
        world.send_rtp(sender, &video(round, round % 10 == 0));
        world.pass_ms(20);
    }
    let told = world.clients[sender].plis() - before;
    assert!((1..=8).contains(&told), "{told} in two seconds");
    for (receiver, _) in crowd {
        assert_eq!(world.clients[receiver].received.len(), 101, "every packet reached everybody meanwhile");
    }
}

#[test]
fn nothing_shaped_like_stun_or_turn_is_answered_with_more_than_it_was() {
    let mut world = World::new();
    let mut others = Others::join(&mut world);
    let client = world.join(Direction::Send, Role::Client);
    let ice = world.clients[client].options.ice_parameters.clone();
    let key = stun::integrity_key(&ice.password);
    let victim: SocketAddr = "[2001:db8::66]:6666".parse().unwrap();
    let mut shapes = Vec::new();
    // Allocate, Refresh, Send, CreatePermission, ChannelBind (RFC 8656 §17), a plain Binding, and an answer.
    for kind in [0x0003u16, 0x0004, 0x0016, 0x0008, 0x0009, 0x0001, 0x0101] {
        let mut bytes = vec![0; 20];
        bytes[..2].copy_from_slice(&kind.to_be_bytes());
        stun::seal(&mut bytes);
        shapes.push(bytes);
    }
    // ChannelData.
    shapes.push([&[0x40, 1, 0, 100][..], &[0; 100]].concat());
    for bytes in shapes {
        world.send_from(victim, bytes);
    }
    world.pass_ms(2_000);
    assert!(world.astray.is_empty());
    // The shortest checks that are authentic, from where the answer is longest.
    let name = format!("{}:", ice.username_fragment);
    for role in [None, Some(IceRole::Controlled), Some(IceRole::Controlling)] {
        let mut buffer = [0; stun::CAPACITY];
        let writer = Writer::new(&mut buffer, Kind::Request, &[5; 12]).username(&name);
        let writer = if let Some(role) = role { writer.role(role, 1) } else { writer };
        let check = writer.finish(&key).to_vec();
        let (before, len) = (world.astray.len(), check.len());
        world.send_from(victim, check);
        world.settle();
        let answers: usize = world.astray[before..].iter().map(|(_, bytes)| bytes.len()).sum();
        assert!((1..=len).contains(&answers), "{answers} for {len}");
    }
    others.assert_unharmed(&mut world);
}

#[test]
fn a_consumer_that_never_reads_or_says_anything_is_not_sent_to_for_ever() {
    let mut world = World::new();
    let sender = world.sender();
    let (receiver, other) = (world.receiver(), world.receiver());
    let producer = world.produce(sender, MediaKind::Video, vp8());
    world.consume(receiver, producer);
    world.consume_unmeasured(other, producer);
    // From here on it is a hole.
    let hole = std::mem::replace(&mut world.clients[receiver].address, "192.0.2.99:9".parse().unwrap());
    let mut by_second = Vec::new();
    for second in 0..45u64 {
        let before = world.octets_to(&hole.to_string());
        for n in 0..50 {
            world.send_rtp(sender, &video(second * 50 + n, n == 0));
            world.pass_ms(20);
        }
        world.check(sender);
        world.check(other);
        by_second.push(world.octets_to(&hole.to_string()) - before);
    }
    assert!(by_second[..5].iter().any(|octets| *octets > 0));
    assert!(by_second[32..].iter().all(|octets| *octets == 0), "{by_second:?}");
    assert_eq!(world.clients[other].received.len(), 45 * 50, "the other missed nothing");
}
