//! ICE and DTLS: coming, going, moving.

use super::*;
use crate::dtls::Certificate;
use crate::srtp::Profile;
use crate::stun::{self, Message};

fn connected_events(world: &World, transport: TransportId) -> usize {
    world.events.iter().filter(|e| **e == Event::TransportConnected { transport }).count()
}

#[test]
fn candidates_are_offered_best_first() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let options = &world.clients[client].options;
    let candidates: Vec<_> = options
        .ice_candidates
        .iter()
        .map(|c| (c.ip.as_str(), c.protocol.as_str(), c.tcp_type.as_deref()))
        .collect();
    assert_eq!(
        candidates,
        [("192.0.2.10", "udp", None), ("2001:db8::1", "udp", None), ("192.0.2.10", "tcp", Some("passive"))]
    );
    assert!(options.ice_candidates.iter().all(|c| c.port == 4000 && c.kind == "host"));
    assert!(options.ice_candidates.is_sorted_by(|a, b| a.priority > b.priority));
    assert_eq!(options.ice_parameters.ice_lite, Some(true));
    assert!(options.sctp_parameters.is_none());
}

#[test]
fn a_client_connects_in_either_dtls_role_with_the_best_profile() {
    for role in [Role::Client, Role::Server] {
        let mut world = World::new();
        let client = world.join(Direction::Send, role);
        world.connect(client);
        let transport = world.clients[client].transport;
        assert_eq!(connected_events(&world, transport), 1);
        let stats = world.worker.transport_stats(world.now, transport).unwrap();
        assert_eq!(stats.srtp_profile.as_deref(), Some(Profile::AeadAes128Gcm.name()));
        assert_eq!((stats.ice_state.as_str(), stats.dtls_state.as_str()), ("connected", "connected"));
    }
}

#[test]
fn the_order_of_signaling_and_checks_does_not_matter() {
    for role in [Role::Client, Role::Server] {
        let mut world = World::new();
        let client = world.join(Direction::Send, role);
        world.check(client);
        world.settle();
        assert!(!world.clients[client].is_connected());
        let parameters = world.clients[client].dtls_parameters();
        let transport = world.clients[client].transport;
        world.worker.connect_transport(world.now, transport, parameters.clone()).unwrap();
        world.settle();
        assert!(world.clients[client].is_connected(), "{role:?}: what came early was kept");
        let again = world.worker.connect_transport(world.now, transport, parameters);
        assert_eq!(again, Err(Error::AlreadyConnected));
    }
}

#[test]
fn a_lost_handshake_flight_is_repeated() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Server);
    let parameters = world.clients[client].dtls_parameters();
    let transport = world.clients[client].transport;
    world.worker.connect_transport(world.now, transport, parameters).unwrap();
    world.check(client);
    let address = std::mem::replace(&mut world.clients[client].address, "203.0.113.1:1".parse().unwrap());
    world.settle();
    assert!(!world.astray.is_empty(), "our ClientHello went into the void");
    world.clients[client].address = address;
    world.clients[client].start_dtls(world.now);
    // Chromium checks a new pair this often; what we repeat to an address that proved nothing is measured by it.
    world.pass_ms(480);
    world.check(client);
    world.pass_ms(220);
    assert!(world.clients[client].is_connected());
}

#[test]
fn a_client_without_aes_gcm_gets_the_older_profile() {
    for role in [Role::Client, Role::Server] {
        let mut world = World::new();
        let client = world.join(Direction::Send, role);
        world.clients[client].certificate = Certificate::generate_without_gcm();
        world.connect(client);
        let stats = world.worker.transport_stats(world.now, world.clients[client].transport).unwrap();
        assert_eq!(stats.srtp_profile.as_deref(), Some(Profile::Aes128CmSha1_80.name()));
        let producer = world.produce(client, MediaKind::Audio, opus());
        let packet = client::Outgoing { ssrc: AUDIO_SSRC, payload_type: 111, ..Default::default() };
        world.send_rtp(client, &packet);
        assert_eq!(world.worker.producer_stats(world.now, producer)[0].packet_count, 1);
    }
}

/// Cuts the first handshake message of a datagram in two, as Chromium's is when it carries a post-quantum key.
fn cut_in_two(datagram: &[u8]) -> [Vec<u8>; 2] {
    let (record, message) = (&datagram[..13], &datagram[13 + 12..]);
    let half = message.len() / 2;
    [(0, &message[..half]), (half, &message[half..])].map(|(offset, piece)| {
        let mut out = record[..11].to_vec();
        // A record number the client will not use itself.
        out[10] = if offset > 0 { 40 } else { 0 };
        out.extend((piece.len() as u16 + 12).to_be_bytes());
        out.extend(&datagram[13..19]);
        for number in [offset, piece.len()] {
            out.extend(&(number as u32).to_be_bytes()[1..]);
        }
        out.extend(piece);
        out
    })
}

#[test]
fn a_client_hello_in_pieces_is_understood_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new();
        let client = world.join(Direction::Send, Role::Client);
        let parameters = world.clients[client].dtls_parameters();
        let transport = world.clients[client].transport;
        world.worker.connect_transport(world.now, transport, parameters).unwrap();
        world.check(client);
        world.clients[client].start_dtls(world.now);
        let hello = world.clients[client].poll().next().unwrap();
        let pieces = cut_in_two(&hello);
        for index in order {
            world.send(client, pieces[index].clone());
        }
        world.settle();
        assert!(world.clients[client].is_connected(), "{order:?}");
    }
}

#[test]
fn handshakes_survive_heavy_loss() {
    for role in [Role::Client, Role::Server] {
        let mut world = World::new();
        world.loss_percent = 30;
        let clients: Vec<_> = (0..60).map(|_| world.join(Direction::Send, role)).collect();
        for &client in &clients {
            let parameters = world.clients[client].dtls_parameters();
            world.worker.connect_transport(world.now, world.clients[client].transport, parameters).unwrap();
            world.check(client);
        }
        world.settle();
        for _ in 0..30 {
            world.pass_ms(500);
            clients.iter().for_each(|client| world.check(*client));
        }
        let connected = |c: &&usize| {
            let stats = world.worker.transport_stats(world.now, world.clients[**c].transport).unwrap();
            stats.dtls_state == "connected" && world.clients[**c].is_connected()
        };
        let count = clients.iter().filter(connected).count();
        assert_eq!(count, clients.len(), "{role:?}");
    }
}

#[test]
fn the_wrong_certificate_is_refused() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let mut parameters = world.clients[client].dtls_parameters();
    let value = &mut parameters.fingerprints[0].value;
    let wrong = if value.starts_with("00") { "01" } else { "00" };
    value.replace_range(..2, wrong);
    let transport = world.clients[client].transport;
    world.worker.connect_transport(world.now, transport, parameters).unwrap();
    world.check(client);
    world.settle();
    let failed = world
        .events
        .iter()
        .any(|e| matches!(e, Event::TransportFailed { transport: t, .. } if *t == transport));
    assert!(failed, "{:?}", world.events);
    assert_eq!(connected_events(&world, transport), 0);
    assert_eq!(world.worker.transport_stats(world.now, transport).unwrap().dtls_state, "failed");
}

#[test]
fn a_client_moves_to_another_address_and_media_follows() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.consume(receiver, producer);
    let old = world.clients[receiver].address;
    world.clients[receiver].address = "203.0.113.77:6000".parse().unwrap();
    let packet =
        |sequence| client::Outgoing { ssrc: AUDIO_SSRC, payload_type: 111, sequence, ..Default::default() };

    // A check without nomination proves the path but does not move media.
    let probe = world.clients[receiver].check(false);
    world.send(receiver, probe);
    let bytes = world.clients[sender].rtp(&packet(1));
    world.send(sender, bytes);
    world.settle();
    assert_eq!(world.clients[receiver].received.len(), 0);
    assert!(world.astray.iter().any(|(to, _)| *to == old));

    world.check(receiver);
    let bytes = world.clients[sender].rtp(&packet(2));
    world.send(sender, bytes);
    world.settle();
    assert_eq!(world.clients[receiver].received.len(), 1);
}

#[test]
fn renomination_follows_the_highest_value() {
    let mut world = World::new();
    let client = world.sender();
    let transport = world.clients[client].transport;
    let password = world.clients[client].options.ice_parameters.password.clone();
    let selected =
        |world: &World| world.worker.transport_stats(world.now, transport).unwrap().remote_address.unwrap();
    for (from, value, expected) in [
        ("203.0.113.1:1", 1, "203.0.113.1:1"),
        ("203.0.113.2:1", 3, "203.0.113.2:1"),
        ("203.0.113.1:1", 2, "203.0.113.2:1"),
        ("203.0.113.1:1", 4, "203.0.113.1:1"),
    ] {
        let check = world.clients[client].check_with(&password, |w| w.nomination(value));
        world.send_from(from.parse().unwrap(), check);
        assert_eq!(selected(&world), expected);
    }
}

#[test]
fn a_client_that_thinks_it_is_controlled_is_told_otherwise() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let password = world.clients[client].options.ice_parameters.password.clone();
    let check = world.clients[client].check_with(&password, |w| w.role(stun::Role::Controlled, 1));
    world.send(client, check);
    world.settle();
    let answer = Message::parse(&world.clients[client].stun_answers[0]).unwrap();
    assert_eq!(answer.error_code, Some(487));
}

#[test]
fn after_an_ice_restart_both_credentials_work_until_the_new_ones_are_used() {
    let mut world = World::new();
    let client = world.sender();
    let transport = world.clients[client].transport;
    let old = world.clients[client].options.ice_parameters.clone();
    let new = world.worker.restart_ice(transport).unwrap();
    assert_ne!(old.username_fragment, new.username_fragment);
    let answers = |world: &World| world.clients[client].stun_answers.len();
    let before = answers(&world);
    world.check(client);
    world.settle();
    assert_eq!(answers(&world), before + 1);
    let stale = world.clients[client].check(true);
    world.clients[client].options.ice_parameters = new;
    world.check(client);
    world.settle();
    assert_eq!(answers(&world), before + 2);
    world.send(client, stale);
    world.settle();
    assert_eq!(answers(&world), before + 2, "the old credentials are retired");
}

#[test]
fn silence_is_noticed_and_a_check_heals_it() {
    let mut world = World::new();
    let client = world.sender();
    let transport = world.clients[client].transport;
    for _ in 0..10 {
        world.pass_ms(2_500);
        world.check(client);
    }
    assert!(!world.events.contains(&Event::TransportDisconnected { transport }));
    world.pass_ms(9_000);
    assert!(world.events.contains(&Event::TransportDisconnected { transport }));
    world.check(client);
    world.settle();
    assert_eq!(connected_events(&world, transport), 2);
    world.pass_ms(31_000);
    let failed = world.events.iter().filter(|e| matches!(e, Event::TransportFailed { .. })).count();
    assert_eq!(failed, 1);
}

#[test]
fn closing_tells_everybody_concerned() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    let consumer = world.consume(receiver, producer).id;
    world.worker.tap(world.now, producer, 1).unwrap();
    let transport = world.clients[sender].transport;
    world.worker.close_transport(transport);
    world.settle();
    assert!(world.events.contains(&Event::ProducerClosed { producer }));
    assert!(world.events.contains(&Event::ConsumerClosed { consumer, producer }));
    assert!(world.clients[sender].is_closed, "close_notify");
    assert_eq!(world.worker.pause_consumer(world.now, consumer), Err(Error::NotFound("consumer")));
    assert_eq!(world.worker.transport_stats(world.now, transport).map(|_| ()), None);
    let router = world.router;
    world.worker.close_router(router);
    assert!(world.worker.poll_timeout().is_none(), "an empty worker sleeps");
}

#[test]
fn joins_and_leaves_leave_nothing_behind() {
    let mut world = World::new();
    let host = world.receiver();
    let before = world.worker.census();
    for round in 0..40 {
        let sender = world.sender();
        let receiver = world.receiver();
        let audio = world.produce(sender, MediaKind::Audio, opus());
        let video = world.produce(sender, MediaKind::Video, vp8());
        for client in [host, receiver] {
            world.consume(client, audio);
            world.consume(client, video);
        }
        world.worker.tap(world.now, video, round).unwrap();
        let packet = client::Outgoing { ssrc: AUDIO_SSRC, payload_type: 111, ..Default::default() };
        world.send_rtp(sender, &packet);
        let transport = world.clients[receiver].transport;
        world.worker.restart_ice(transport).unwrap();
        world.worker.restart_ice(transport).unwrap();
        if round % 2 == 0 {
            world.worker.close_producer(world.now, audio).unwrap();
        }
        // Somebody leaves with packets still waiting to be sent.
        for client in [sender, receiver] {
            world.worker.close_transport(world.clients[client].transport);
        }
        world.pass_ms(100);
        world.clients.truncate(1);
    }
    assert_eq!(world.worker.census(), before);
}

#[test]
fn what_is_not_there_is_not_found() {
    let mut world = World::new();
    let nothing = uuid::Uuid::nil();
    let now = world.now;
    let worker = &mut world.worker;
    let transport = TransportId(nothing);
    assert_eq!(
        worker.create_transport(now, RouterId(nothing), Direction::Send),
        Err(Error::NotFound("router"))
    );
    assert!(matches!(worker.restart_ice(transport), Err(Error::NotFound("transport"))));
    assert_eq!(worker.close_producer(now, ProducerId(nothing)), Err(Error::NotFound("producer")));
    assert_eq!(worker.close_consumer(now, ConsumerId(nothing)), Err(Error::NotFound("consumer")));
    assert_eq!(worker.tap(now, ProducerId(nothing), 1), Err(Error::NotFound("producer")));
    worker.close_transport(transport);
    worker.untap(wire::TapId(nothing));
}
