//! Finding each other: checks of ours, NATs on either side, moving, consent, TCP.

use super::*;
use crate::path::Protocol;
use crate::stun::{self, Kind, Message, Writer};

fn theirs(name: &str) -> IceParameters {
    IceParameters {
        username_fragment: name.into(),
        password: "0123456789012345678901".into(),
        ice_lite: None,
    }
}

fn candidate(address: SocketAddr) -> RemoteCandidate {
    let (ip, port) = (address.ip(), address.port());
    RemoteCandidate {
        candidate: format!("candidate:1 1 udp 2122260223 {ip} {port} typ host"),
        username_fragment: None,
    }
}

impl World {
    /// The client tells its credentials, as our own page does.
    fn tell(&mut self, client: usize, name: &str) {
        let ice = theirs(name);
        self.worker.set_remote_ice(self.now, self.clients[client].transport, &ice).unwrap();
        self.clients[client].ice = Some(ice);
    }

    fn report(&mut self, client: usize, address: SocketAddr) {
        self.worker.add_ice_candidate(self.clients[client].transport, &candidate(address)).unwrap();
    }

    fn full_sender(&mut self) -> usize {
        let client = self.join(Direction::Send, Role::Client);
        self.tell(client, "guest");
        self.connect(client);
        self.pass_ms(100);
        client
    }

    fn path(&self, client: usize) -> (String, String) {
        let stats = self.worker.transport_stats(self.now, self.clients[client].transport).unwrap();
        (stats.protocol.unwrap(), stats.remote_address.unwrap())
    }

    fn ice_state(&self, client: usize) -> String {
        self.worker.transport_stats(self.now, self.clients[client].transport).unwrap().ice_state
    }
}

fn audio(sequence: u64) -> client::Outgoing {
    client::Outgoing { ssrc: AUDIO_SSRC, payload_type: 111, sequence, ..Default::default() }
}

#[test]
fn a_client_that_reports_candidates_gets_in_through_our_nat() {
    for tells_password in [true, false] {
        let mut world = World::new();
        world.nat = Some(HashSet::new());
        let client = world.join(Direction::Send, Role::Client);
        let parameters = world.clients[client].dtls_parameters();
        let transport = world.clients[client].transport;
        world.worker.connect_transport(world.now, transport, parameters).unwrap();
        world.check(client);
        world.pass_ms(1_000);
        assert!(world.clients[client].stun_answers.is_empty(), "the NAT lets nobody in");
        if tells_password {
            world.tell(client, "guest");
        }
        world.report(client, world.clients[client].address);
        world.pass_ms(100);
        let kind = Message::parse(&world.clients[client].checks[0]).unwrap().kind;
        assert_eq!(kind, if tells_password { Kind::Request } else { Kind::Indication });
        world.check(client);
        world.settle();
        assert!(world.clients[client].is_connected());
    }
}

#[test]
fn a_check_is_what_rfc_8445_asks_for() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    world.tell(client, "guest");
    world.report(client, world.clients[client].address);
    world.pass_ms(100);
    let check = Message::parse(&world.clients[client].checks[0]).unwrap();
    assert_eq!(check.role.unwrap().0, stun::Role::Controlled);
    assert_eq!(check.priority, Some(110 << 24 | 0xFFFF << 8 | 255));
    assert!(!check.use_candidate && check.unknown_attribute.is_none());
    // The answer alone proves that the path works; the client's DTLS may begin.
    assert_eq!(world.ice_state(client), "connected");
    world.pass_ms(2_000);
    assert_eq!(world.clients[client].checks.len(), 1, "an answered check is not repeated");
}

#[test]
fn an_unanswered_check_is_repeated_ever_more_rarely_and_then_given_up() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    world.tell(client, "guest");
    world.clients[client].answers_checks = false;
    world.report(client, world.clients[client].address);
    let mut counts = Vec::new();
    for _ in 0..30 {
        world.pass_ms(1_000);
        counts.push(world.clients[client].checks.len());
    }
    assert_eq!(&counts[..4], [2, 3, 3, 4]);
    assert_eq!(counts.last(), Some(&7));
    let first = Message::parse(&world.clients[client].checks[0]).unwrap().transaction;
    assert!(world.clients[client].checks.iter().all(|c| Message::parse(c).unwrap().transaction == first));
}

#[test]
fn reported_addresses_are_no_cannon() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let mut by_second = Vec::new();
    for second in 0..60u16 {
        // A hundred new victims a second, new credentials, a restart.
        let transport = world.clients[client].transport;
        world.worker.restart_ice(transport).unwrap();
        world.tell(client, &format!("guest{second}"));
        for host in 0..100 {
            world.report(client, SocketAddr::from(([203, 0, 113, host], 2_000 + second)));
        }
        let before = world.astray.len();
        world.pass_ms(1_000);
        by_second.push(world.astray.len() - before);
    }
    assert!(by_second[0] <= 20, "{by_second:?}");
    assert!(by_second[30..].iter().all(|count| *count <= 3), "{by_second:?}");
    assert!(world.astray.len() < 250, "{}", world.astray.len());
    assert!(world.astray.iter().all(|(_, bytes)| bytes.len() < 130));
    let mut first_second: Vec<_> = world.astray[..by_second[0]].iter().map(|(to, _)| *to).collect();
    first_second.sort();
    first_second.dedup();
    assert!(first_second.len() <= 16);
}

#[test]
fn an_address_nobody_reported_is_checked_when_it_checks_us() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    world.tell(client, "guest");
    world.check(client);
    world.pass_ms(60);
    assert_eq!(world.clients[client].checks.len(), 1);
    world.clients[client].address = "203.0.113.77:6000".parse().unwrap();
    world.check(client);
    world.pass_ms(60);
    assert_eq!(world.clients[client].checks.len(), 2);
    assert_eq!(world.path(client).1, "203.0.113.77:6000");
}

#[test]
fn answers_from_elsewhere_or_without_the_password_do_not_count() {
    for (from, password) in [("203.0.113.5:5000", "0123456789012345678901"), ("198.51.100.1:5000", "wrong")] {
        let mut world = World::new();
        let client = world.join(Direction::Send, Role::Client);
        world.tell(client, "guest");
        world.clients[client].answers_checks = false;
        world.report(client, world.clients[client].address);
        world.pass_ms(60);
        let check = Message::parse(&world.clients[client].checks[0]).unwrap();
        let mut buffer = [0; stun::CAPACITY];
        let answer = Writer::new(&mut buffer, Kind::Success, &check.transaction)
            .mapped_address("192.0.2.10:4000".parse().unwrap())
            .finish(&stun::integrity_key(password))
            .to_vec();
        world.send_from(from.parse().unwrap(), answer);
        assert_eq!(world.ice_state(client), "new");
    }
}

#[test]
fn who_stops_consenting_hears_no_more_until_it_consents_again() {
    let mut world = World::new();
    let client = world.full_sender();
    let transport = world.clients[client].transport;
    let mut elapsed = 0;
    world.clients[client].answers_checks = false;
    while world.ice_state(client) != "failed" {
        // It goes on sending checks, whose sender anybody could forge.
        world.check(client);
        world.pass_ms(1_000);
        elapsed += 1;
        assert!(elapsed < 40);
    }
    assert!(elapsed >= 25, "{elapsed}");
    assert!(
        world
            .events
            .iter()
            .any(|e| matches!(e, Event::TransportFailed { transport: t, .. } if *t == transport))
    );
    world.check(client);
    world.settle();
    assert_eq!(world.ice_state(client), "failed");
    world.clients[client].answers_checks = true;
    world.check(client);
    world.pass_ms(600);
    assert_eq!(world.ice_state(client), "connected");
}

#[test]
fn a_consenting_client_is_asked_every_five_seconds() {
    let mut world = World::new();
    let client = world.full_sender();
    let before = world.clients[client].checks.len();
    world.pass_ms(60_000);
    let asked = world.clients[client].checks.len() - before;
    assert!((10..=15).contains(&asked), "{asked}");
    assert_eq!(world.ice_state(client), "connected", "though it sent nothing of its own");
}

#[test]
fn media_follows_a_client_whose_nat_has_moved_it() {
    let mut world = World::new();
    let sender = world.sender();
    let receiver = world.receiver();
    let producer = world.produce(sender, MediaKind::Audio, opus());
    world.consume(receiver, producer);
    world.pass_ms(1_000);
    // The browser goes on checking what it thinks is the same pair: nothing is nominated.
    for (client, address) in [(sender, "203.0.113.1:1111"), (receiver, "203.0.113.2:2222")] {
        world.clients[client].address = address.parse().unwrap();
        let probe = world.clients[client].check(false);
        world.send(client, probe);
    }
    assert_ne!(world.path(sender).1, "203.0.113.1:1111", "a probe alone moves nothing yet");
    world.send_rtp(sender, &audio(1));
    assert_eq!(world.path(sender).1, "203.0.113.1:1111", "media comes from where the client is");
    // Who only listens shows it by checks.
    world.pass_ms(2_500);
    let probe = world.clients[receiver].check(false);
    world.send(receiver, probe);
    assert_eq!(world.path(receiver).1, "203.0.113.2:2222");
    world.send_rtp(sender, &audio(2));
    world.settle();
    assert_eq!(world.clients[receiver].received.len(), 1);
}

#[test]
fn a_path_in_use_is_not_left_for_a_probe() {
    let mut world = World::new();
    let client = world.sender();
    world.produce(client, MediaKind::Audio, opus());
    let home = world.clients[client].address;
    for sequence in 0..500 {
        world.pass_ms(20);
        world.send_rtp(client, &audio(sequence));
        if sequence % 50 == 0 {
            let probe = world.clients[client].check(false);
            world.send_from("203.0.113.77:6000".parse().unwrap(), probe);
        }
        assert_eq!(world.path(client).1, home.to_string());
    }
}

#[test]
fn an_ice_restart_keeps_producers_and_changes_credentials_on_both_sides() {
    let mut world = World::new();
    let client = world.full_sender();
    let producer = world.produce(client, MediaKind::Audio, opus());
    world.send_rtp(client, &audio(1));
    let transport = world.clients[client].transport;
    world.clients[client].options.ice_parameters = world.worker.restart_ice(transport).unwrap();
    world.send_rtp(client, &audio(2));
    world.clients[client].address = "203.0.113.9:7000".parse().unwrap();
    world.tell(client, "other");
    world.report(client, world.clients[client].address);
    world.check(client);
    world.pass_ms(100);
    world.send_rtp(client, &audio(3));
    assert_eq!(world.path(client).1, "203.0.113.9:7000");
    assert_eq!(world.worker.producer_stats(world.now, producer)[0].packet_count, 3);
    let last = world.clients[client].checks.last().unwrap();
    assert!(Message::parse(last).unwrap().username.unwrap().starts_with("other:"));
}

#[test]
fn a_conflict_of_roles_is_settled_by_the_tie_breakers() {
    for (tie_breaker, refused) in [(0, false), (u64::MAX, true)] {
        let mut world = World::new();
        let client = world.join(Direction::Send, Role::Client);
        world.tell(client, "guest");
        let password = world.clients[client].options.ice_parameters.password.clone();
        let check =
            world.clients[client].check_with(&password, |w| w.role(stun::Role::Controlled, tie_breaker));
        world.send(client, check);
        world.pass_ms(200);
        let answer = Message::parse(&world.clients[client].stun_answers[0]).unwrap();
        assert_eq!(answer.error_code, refused.then_some(487));
        if !refused {
            // We decide now: a first check, and one that nominates.
            let checks: Vec<_> =
                world.clients[client].checks.iter().map(|c| Message::parse(c).unwrap()).collect();
            assert!(checks.iter().all(|c| c.role.unwrap().0 == stun::Role::Controlling));
            assert_eq!(checks.iter().map(|c| c.use_candidate).collect::<Vec<_>>(), [false, true]);
        }
    }
}

#[test]
fn a_client_that_claims_our_role_is_believed() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    world.tell(client, "guest");
    world.clients[client].answers_checks = false;
    world.report(client, world.clients[client].address);
    world.pass_ms(60);
    let check = Message::parse(&world.clients[client].checks[0]).unwrap();
    let mut buffer = [0; stun::CAPACITY];
    let refusal = Writer::new(&mut buffer, Kind::Failure, &check.transaction)
        .error(487)
        .finish(&stun::integrity_key(&theirs("guest").password))
        .to_vec();
    world.send(client, refusal);
    world.pass_ms(100);
    let again = Message::parse(world.clients[client].checks.last().unwrap()).unwrap();
    assert_eq!(again.role.unwrap().0, stun::Role::Controlling);
}

#[test]
fn tcp_and_udp_from_one_address_are_two_paths_and_a_closed_one_is_left() {
    let mut world = World::new();
    let client = world.sender();
    let producer = world.produce(client, MediaKind::Audio, opus());
    let address = world.clients[client].address;
    let over_tcp = Path::tcp(address);
    assert!(!world.worker.knows(over_tcp));
    let check = world.clients[client].check(true);
    world.send_over(over_tcp, check);
    assert!(world.worker.knows(over_tcp));
    assert_eq!(world.path(client).0, "tcp");
    let mut protocols = Vec::new();
    world.worker.flush(world.now, &mut |transmit| protocols.push(transmit.protocol));
    assert_eq!(protocols, [Protocol::Tcp]);
    let packet = world.clients[client].rtp(&audio(1));
    world.send_over(over_tcp, packet);
    assert_eq!(world.worker.producer_stats(world.now, producer)[0].packet_count, 1);
    world.worker.handle_disconnect(over_tcp);
    assert!(!world.worker.knows(over_tcp));
    assert_eq!(world.path(client), ("udp".into(), address.to_string()));
}

#[test]
fn what_a_stun_server_saw_is_offered_and_its_door_kept_open() {
    let mut world = World::new();
    let server: SocketAddr = "198.51.100.250:3478".parse().unwrap();
    world.worker.set_stun_servers(world.now, &[server]);
    world.pass_ms(10);
    let (to, question) = world.astray.pop().unwrap();
    assert_eq!(to, server);
    let transaction = Message::parse(&question).unwrap().transaction;
    let mut buffer = [0; stun::CAPACITY];
    let mapped = "203.0.113.200:61000".parse().unwrap();
    let answer = Writer::new(&mut buffer, Kind::Success, &transaction).mapped_address(mapped).finish_open();
    world.send_from(server, answer.to_vec());
    let client = world.join(Direction::Send, Role::Client);
    let candidates = &world.clients[client].options.ice_candidates;
    let offered: Vec<_> = candidates.iter().map(|c| format!("{} {} {}", c.protocol, c.ip, c.port)).collect();
    assert_eq!(
        offered,
        ["udp 192.0.2.10 4000", "udp 2001:db8::1 4000", "udp 203.0.113.200 61000", "tcp 192.0.2.10 4000"]
    );
    assert!(candidates.is_sorted_by(|a, b| a.priority > b.priority));
    world.worker.close_transport(world.clients[client].transport);
    world.pass_ms(20_400);
    assert_eq!(world.astray.len(), 1, "though there is nobody here");
}

#[test]
fn what_is_not_credentials_or_a_candidate_is_refused() {
    let mut world = World::new();
    let client = world.join(Direction::Send, Role::Client);
    let transport = world.clients[client].transport;
    let short = IceParameters { password: "short".into(), ..theirs("guest") };
    assert!(world.worker.set_remote_ice(world.now, transport, &short).is_err());
    let nonsense = RemoteCandidate { candidate: "here".into(), username_fragment: None };
    assert!(world.worker.add_ice_candidate(transport, &nonsense).is_err());
    // An mDNS name is fine, and nothing to send to.
    let hidden = "candidate:1 1 udp 7 4f2c0a52-2f0f-4b1b-9d0a-1d2b7f1f0c11.local 50000 typ host";
    let hidden = RemoteCandidate { candidate: hidden.into(), username_fragment: None };
    world.worker.add_ice_candidate(transport, &hidden).unwrap();
    world.pass_ms(1_000);
    assert_eq!(world.sent_datagrams, 0);
}
