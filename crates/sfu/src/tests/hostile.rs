//! Strangers, forgers and noise: counted, dropped, never answered with more than they sent.

use super::client::Outgoing;
use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

fn audio(sequence: u64) -> Outgoing {
    Outgoing {
        ssrc: AUDIO_SSRC,
        payload_type: 111,
        sequence,
        payload: vec![0x78, 1, 2],
        ..Default::default()
    }
}

impl World {
    fn discarded(&self, client: usize) -> u64 {
        self.worker.transport_stats(self.now, self.clients[client].transport).unwrap().packets_discarded
    }

    fn count_sent(&mut self) -> usize {
        let before = self.sent_datagrams;
        self.settle();
        self.sent_datagrams - before
    }
}

#[test]
fn a_check_with_a_bad_password_or_name_is_not_answered() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let forged = world.clients[client].check_with("not the password", |w| w.use_candidate());
    world.send(client, forged);
    world.clients[client].options.ice_parameters.username_fragment = "somebodyelse".into();
    let unknown = world.clients[client].check(true);
    world.send(client, unknown);
    assert_eq!(world.count_sent(), 0);
    assert_eq!(world.discarded(client), 1);
}

#[test]
fn an_answer_is_never_longer_than_its_check() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    for from in ["203.0.113.5:1000", "[2001:db8::7]:1000"] {
        let check = world.clients[client].check(true);
        let len = check.len();
        world.send_from(from.parse().unwrap(), check);
        world.settle();
        let (to, answer) = world.astray.pop().unwrap();
        assert_eq!(to.to_string(), from);
        assert!(answer.len() <= len, "{} > {len}", answer.len());
    }
}

#[test]
fn dtls_and_media_from_an_address_without_a_check_are_dropped() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let parameters = world.clients[client].dtls_parameters();
    let transport = world.clients[client].transport;
    world.worker.connect_transport(world.now, transport, parameters).unwrap();
    world.clients[client].start_dtls(world.now);
    world.settle();
    assert_eq!(world.sent_datagrams, 0);
    assert!(!world.clients[client].is_connected());
    world.send_from("203.0.113.9:9".parse().unwrap(), vec![0x80; 100]);
    assert_eq!(world.count_sent(), 0);
}

#[test]
fn media_before_the_handshake_is_dropped() {
    let mut world = World::new();
    let other = world.sender();
    let client = world.join(Direction::Send, Role::Client);
    let transport = world.clients[client].transport;
    world.worker.produce(world.now, transport, MediaKind::Audio, opus(), false).unwrap();
    world.check(client);
    let bytes = world.clients[other].rtp(&audio(1));
    world.send(client, bytes);
    assert_eq!(world.discarded(client), 1);
}

#[test]
fn unknown_ssrcs_replays_and_forgeries_are_counted_and_go_nowhere() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.consume(receiver, producer);
    let good = world.clients[sender].rtp(&audio(1));
    world.send(sender, good.clone());
    let before = world.discarded(sender);
    world.send(sender, good);
    let unknown = world.clients[sender].rtp(&Outgoing { ssrc: 99, ..audio(2) });
    world.send(sender, unknown);
    let mut forged = world.clients[sender].rtp(&audio(3));
    *forged.last_mut().unwrap() ^= 1;
    world.send(sender, forged);
    // Encrypted by a stranger, sent from the sender's address.
    let stranger = world.sender();
    let theirs = world.clients[stranger].rtp(&audio(4));
    world.send(sender, theirs);
    assert_eq!(world.discarded(sender) - before, 4);
    world.settle();
    assert_eq!(world.clients[receiver].received.len(), 1);
    let good = world.clients[sender].rtp(&audio(2));
    world.send(sender, good);
    world.settle();
    assert_eq!(world.clients[receiver].received.len(), 2, "and the sender goes on unharmed");
}

#[test]
fn truncated_rtcp_is_dropped_wherever_it_is_cut() {
    let mut world = World::new();
    let sender = world.sender();
    world.produce(sender, MediaKind::Video, vp8());
    let mut compound = Vec::new();
    let info = rtp::rtcp::SenderInfo { ntp: 1, rtp_timestamp: 1, packet_count: 1, octet_count: 1 };
    rtp::rtcp::write_sender_report(&mut compound, VIDEO_SSRC, &info, &[Default::default(); 3]);
    rtp::rtcp::write_sdes_cname(&mut compound, VIDEO_SSRC, b"guest");
    rtp::rtcp::write_nack(&mut compound, 1, 2, &[1, 2, 3, 500]);
    rtp::rtcp::write_bye(&mut compound, &[VIDEO_SSRC], b"");
    for len in 8..compound.len() {
        let bytes = world.clients[sender].protect_rtcp(&compound[..len]);
        world.send(sender, bytes.clone());
        for cut in [1, 4, 16, bytes.len() / 2] {
            world.send(sender, bytes[..bytes.len() - cut].to_vec());
        }
    }
    world.settle();
    let bytes = world.clients[sender].protect_rtcp(&compound);
    world.send(sender, bytes);
}

#[test]
fn an_address_in_use_is_not_given_to_another_transport() {
    let mut world = World::new();
    let victim = world.sender();
    let attacker = world.sender();
    let address = world.clients[victim].address;
    let check = world.clients[attacker].check(true);
    world.send_from(address, check);
    let producer = world.produce(victim, MediaKind::Audio, opus());
    let bytes = world.clients[victim].rtp(&audio(1));
    world.send(victim, bytes);
    assert_eq!(world.worker.producer_stats(world.now, producer)[0].packet_count, 1);
    // Once the victim is long gone, its address may be somebody else's.
    world.pass_ms(10_000);
    let check = world.clients[attacker].check(true);
    world.send_from(address, check);
    let stats = world.worker.transport_stats(world.now, world.clients[attacker].transport).unwrap();
    assert_eq!(stats.remote_address, Some(address.to_string()));
}

#[test]
fn ten_thousand_ssrcs_are_as_harmless_as_one() {
    let mut world = World::new();
    let sender = world.sender();
    let producer = world.produce(sender, MediaKind::Video, simulcast());
    for ssrc in 1..10_000 {
        let packet = Outgoing {
            ssrc,
            payload_type: 96,
            sequence: 1,
            extensions: vec![(MID_ID, b"2".to_vec()), (RID_ID, format!("r{}", ssrc % 20).into_bytes())],
            payload: vp8_payload(1, true, 10),
            ..Default::default()
        };
        let bytes = world.clients[sender].rtp(&packet);
        world.send(sender, bytes);
    }
    assert_eq!(world.worker.producer_stats(world.now, producer).len(), 2);
}

#[test]
fn noise_and_mutations_of_everything_never_panic_and_the_call_goes_on() {
    let mut random = StdRng::seed_from_u64(11);
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Video, vp8());
    let consumer = world.consume(receiver, producer);
    let fresh = world.join(Direction::Send, Role::Client);
    let parameters = world.clients[fresh].dtls_parameters();
    world.worker.connect_transport(world.now, world.clients[fresh].transport, parameters).unwrap();
    world.check(fresh);
    world.clients[fresh].start_dtls(world.now);
    let hellos: Vec<_> = world.clients[fresh].poll().collect();

    let mut samples = vec![world.clients[sender].check(true)];
    samples.extend(hellos);
    for n in 1..50u64 {
        samples.push(world.clients[sender].rtp(&Outgoing {
            ssrc: VIDEO_SSRC,
            payload_type: 96,
            sequence: n,
            extensions: vec![(MID_ID, b"1".to_vec()), (TRANSPORT_CC_ID, vec![0, n as u8])],
            payload: vp8_payload(n as u16, n % 10 == 1, 300),
            ..Default::default()
        }));
    }
    for round in 0..60_000u32 {
        let mut bytes = match random.random_range(0..4) {
            0 => (0..random.random_range(0..200)).map(|_| random.random()).collect(),
            // Authentic noise: garbage behind a key.
            1 => {
                let mut packet = Outgoing {
                    ssrc: if random.random() { VIDEO_SSRC } else { RTX_SSRC },
                    payload_type: random.random_range(90..100),
                    sequence: u64::from(round / 4) + random.random_range(0..20),
                    ..Default::default()
                };
                packet.payload = (0..random.random_range(0..60)).map(|_| random.random()).collect();
                world.clients[sender].rtp(&packet)
            }
            2 => {
                let mut compound: Vec<u8> =
                    vec![0x80 | random.random_range(0..32), random.random_range(192..224), 0, 0];
                compound.extend((0..random.random_range(4..80)).map(|_| random.random::<u8>()));
                if random.random() {
                    compound[3] = (compound.len() / 4 - 1) as u8;
                }
                let ssrc = consumer.rtp_parameters.encodings[0].ssrc.unwrap().to_be_bytes();
                if random.random() && compound.len() >= 12 {
                    compound[8..12].copy_from_slice(&ssrc);
                }
                let client = if random.random() { sender } else { receiver };
                let bytes = world.clients[client].protect_rtcp(&compound);
                world.send(client, bytes);
                continue;
            }
            _ => samples[random.random_range(0..samples.len())].clone(),
        };
        for _ in 0..random.random_range(0..3) {
            if !bytes.is_empty() {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
        }
        let client = [sender, receiver, fresh][random.random_range(0..3)];
        world.send(client, bytes);
        if round % 500 == 0 {
            world.pass_ms(30);
            world.clients.iter_mut().for_each(|c| c.received.clear());
        }
    }
    world.settle();
    let sequence = 40_000;
    let packet = Outgoing {
        ssrc: VIDEO_SSRC,
        payload_type: 96,
        sequence,
        payload: vp8_payload(1, true, 10),
        ..Default::default()
    };
    world.send_rtp(sender, &packet);
    world.settle();
    assert_eq!(world.clients[receiver].received.last().unwrap().payload.len(), packet.payload.len());
}

#[test]
fn mangled_handshakes_fail_alone() {
    let mut random = StdRng::seed_from_u64(5);
    let mut world = World::new();
    let bystander = world.sender();
    let mut connected = 0;
    for round in 0..400u16 {
        let role = if round % 2 == 0 { Role::Client } else { Role::Server };
        let client = world.join(Direction::Send, role);
        world.clients[client].address.set_port(6_000 + round);
        let parameters = world.clients[client].dtls_parameters();
        world.worker.connect_transport(world.now, world.clients[client].transport, parameters).unwrap();
        world.mangle = Some(random.random_range(1..3_000));
        world.check(client);
        world.settle();
        world.pass_ms(500);
        world.mangle = None;
        connected += usize::from(world.clients[client].is_connected());
        world.worker.close_transport(world.clients[client].transport);
        world.settle();
        world.clients.truncate(1);
    }
    let panicked = world.events.iter().filter(|e| format!("{e:?}").contains("panicked")).count();
    assert_eq!(panicked, 0);
    assert!(connected > 20, "{connected}");
    let producer = world.produce(bystander, MediaKind::Audio, opus());
    world.send_rtp(bystander, &audio(1));
    assert_eq!(world.worker.producer_stats(world.now, producer)[0].packet_count, 1);
}
