//! Stories of swarms, of live rooms' seats, and of what peers say to each other unread.

use super::world::*;
use crate::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;
use uuid::Uuid;
use wire::live::{LiveNotice, UserId};
use wire::sfu::{Notice, Role};
use wire::swarm::SwarmHash;
use wire::{Code, InviteId, RoomId, SwarmPeerId};

fn hash(text: &str) -> SwarmHash {
    SwarmHash::parse(text).unwrap()
}

fn swarmer(number: u128) -> SwarmPeerId {
    SwarmPeerId(Uuid::from_u128(number))
}

#[test]
fn a_signal_reaches_one_live_peer_of_the_same_room_and_nobody_else() {
    let mut world = World::new();
    let (ada, bob, cleo) = (world.admitted("Ada"), world.admitted("Bob"), world.waiting("Cleo"));
    for guest in [&ada, &bob, &cleo] {
        world.told(guest);
    }
    let offer = serde_json::json!({ "type": "offer", "sdp": "v=0" });
    let signal = |to: &Joined| PeerCommand::Signal { to: to.reply.peer, signal: offer.clone() };
    world.peer(&ada, signal(&bob)).unwrap();
    let Some(Notice::Signal { from, signal: heard }) = world.said[&bob.session].first() else {
        panic!("Bob is told: {:?}", world.said)
    };
    assert_eq!((*from, heard), (ada.reply.peer, &offer));
    assert!(world.told(&cleo).is_empty() && world.told(&ada).is_empty());
    // Neither into the green room, nor out of it, nor to oneself, nor to who left.
    assert_eq!(world.peer(&ada, signal(&cleo)).unwrap_err().code(), Code::NotFound);
    assert_eq!(world.peer(&cleo, signal(&ada)).unwrap_err().code(), Code::Waiting);
    assert_eq!(world.peer(&ada, signal(&ada)).unwrap_err().code(), Code::NotFound);
    world.peer(&bob, PeerCommand::Leave).unwrap();
    assert_eq!(world.peer(&ada, signal(&bob)).unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_signal_does_not_cross_into_another_room() {
    let mut world = World::new();
    let ada = world.admitted("Ada");
    let other = RoomId::parse("other").unwrap();
    world.own(OwnerCommand::CreateRoom { id: other.clone(), title: None, is_private: false }).unwrap();
    let mut join = world.asking("Mira", OWNER);
    join.room = other;
    let mira = world.try_join(join).unwrap();
    let to_ada = PeerCommand::Signal { to: ada.reply.peer, signal: serde_json::Value::Null };
    assert_eq!(world.peer(&mira, to_ada).unwrap_err().code(), Code::NotFound);
}

#[test]
fn who_announces_learns_of_the_others_once() {
    let mut swarms = Swarms::default();
    let (ada, bob) = (swarmer(1), swarmer(2));
    let first = swarms.announce(ada, &hash("file")).unwrap();
    assert_eq!(first, Introduction { others: vec![], is_new: true });
    let second = swarms.announce(bob, &hash("file")).unwrap();
    assert_eq!(second, Introduction { others: vec![ada], is_new: true });
    let again = swarms.announce(bob, &hash("file")).unwrap();
    assert_eq!(again, Introduction { others: vec![ada], is_new: false });
    assert!(swarms.may_relay(ada, bob) && swarms.may_relay(bob, ada) && !swarms.may_relay(ada, ada));
}

#[test]
fn swarms_are_apart() {
    let mut swarms = Swarms::default();
    let (ada, bob, cleo) = (swarmer(1), swarmer(2), swarmer(3));
    swarms.announce(ada, &hash("one")).unwrap();
    swarms.announce(bob, &hash("two")).unwrap();
    for (peer, name) in [(cleo, "one"), (cleo, "two")] {
        swarms.announce(peer, &hash(name)).unwrap();
    }
    assert!(!swarms.may_relay(ada, bob) && swarms.may_relay(ada, cleo) && swarms.may_relay(cleo, bob));
    assert_eq!(swarms.others(cleo), [ada, bob]);
    assert_eq!(swarms.leave(cleo, Some(&hash("one"))), [(hash("one"), vec![ada])]);
    assert!(!swarms.may_relay(ada, cleo) && swarms.may_relay(cleo, bob));
    assert_eq!(swarms.leave(cleo, None), [(hash("two"), vec![bob])]);
    assert!(swarms.leave(ada, None).is_empty() && swarms.leave(bob, None).is_empty());
    assert_eq!(swarms.size(), (0, 0), "nothing stays behind");
}

#[test]
fn swarms_have_limits() {
    let limits = SwarmLimits { swarms: 2, peers_per_swarm: 2, swarms_per_peer: 2 };
    let mut swarms = Swarms::new(limits);
    let mut announce = |peer, name: &str| swarms.announce(swarmer(peer), &hash(name)).map_err(|r| r.code());
    assert!(announce(1, "a").is_ok() && announce(2, "a").is_ok() && announce(1, "b").is_ok());
    assert_eq!(announce(3, "a"), Err(Code::LimitReached), "a swarm is full");
    assert_eq!(announce(1, "c"), Err(Code::LimitReached), "one peer's share");
    assert_eq!(announce(4, "c"), Err(Code::LimitReached), "all swarms");
    assert!(announce(2, "a").is_ok(), "who is in may say so again");
}

#[test]
fn random_swarms_keep_their_invariants() {
    let mut random = StdRng::seed_from_u64(5);
    let limits = SwarmLimits { swarms: 6, peers_per_swarm: 5, swarms_per_peer: 3 };
    let mut swarms = Swarms::new(limits.clone());
    for _ in 0..20_000 {
        let peer = swarmer(random.random_range(0..12));
        let name = hash(&random.random_range(0..8).to_string());
        match random.random_range(0..5) {
            0..3 => drop(swarms.announce(peer, &name)),
            3 => drop(swarms.leave(peer, Some(&name))),
            _ => drop(swarms.leave(peer, None)),
        }
        let (count, _) = swarms.size();
        assert!(count <= limits.swarms);
        for (a, b) in (0..12).flat_map(|a| (0..12).map(move |b| (swarmer(a), swarmer(b)))) {
            assert_eq!(swarms.may_relay(a, b), swarms.others(a).contains(&b));
            assert_eq!(swarms.may_relay(a, b), swarms.may_relay(b, a));
        }
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn session(number: u128) -> SessionId {
    SessionId(Uuid::from_u128(number))
}

fn guest(invite: u128) -> Grant {
    Grant { invite: Some(InviteId(Uuid::from_u128(invite))), may_publish: true, seats: 1 }
}

fn at(secs: u64) -> Now {
    Now { mono_ms: secs * 1_000, unix_ms: secs * 1_000 }
}

/// `type` and whom it is about, for each connection that is told.
fn told(effects: &LiveEffects) -> Vec<(u128, String)> {
    let name = |notice: &LiveNotice| {
        let json = serde_json::to_value(notice).unwrap();
        format!("{} {}", json["type"].as_str().unwrap(), json["userId"].as_str().unwrap_or_default())
    };
    effects.notices.iter().map(|(session, notice)| (session.0.as_u128(), name(notice))).collect()
}

#[test]
fn a_live_room_seats_people_and_tells_the_others() {
    let mut live = LiveRooms::default();
    live.join(session(1), &guest(1), room(), user("ada"), true).unwrap();
    let bob = live.join(session(2), &guest(2), room(), user("bob"), false).unwrap();
    assert_eq!(told(&bob), [(2, "joined bob".to_owned()), (1, "user-joined bob".to_owned())]);
    let LiveNotice::Joined { payload, .. } = &bob.notices[0].1 else { panic!("{bob:?}") };
    assert_eq!((payload.users.len(), payload.users[0].publish, payload.publish), (1, true, false));
    assert_eq!(live.audience(session(2), None).unwrap().2, [session(1)]);
    assert_eq!(live.audience(session(2), Some(&user("ada"))).unwrap().2, [session(1)]);
    assert_eq!(live.audience(session(2), Some(&user("eve"))).unwrap_err().code(), Code::NotFound);
    assert_eq!(live.audience(session(3), None).unwrap_err().code(), Code::NotJoined);
    assert_eq!(told(&live.leave(session(1), "left")), [(2, "user-left ada".to_owned())]);
    live.leave(session(2), "left");
    assert_eq!(live.seats(), 0);
}

#[test]
fn one_publishes_at_a_time() {
    let mut live = LiveRooms::default();
    live.join(session(1), &guest(1), room(), user("ada"), true).unwrap();
    let second = live.join(session(2), &guest(2), room(), user("bob"), true);
    assert_eq!(second.unwrap_err().code(), Code::DuplicatePublisher);
    let watches = Grant { may_publish: false, ..guest(3) };
    let viewer = live.join(session(3), &watches, room(), user("vic"), true);
    assert_eq!(viewer.unwrap_err().code(), Code::Forbidden);
    let elsewhere = RoomId::parse("other").unwrap();
    live.join(session(2), &guest(2), elsewhere, user("bob"), true).unwrap();
    // Also while the first is away, until the seat is given up.
    live.disconnected(at(10), session(1));
    assert_eq!(
        live.join(session(4), &guest(4), room(), user("dan"), true).unwrap_err().code(),
        Code::DuplicatePublisher
    );
    live.handle_timeout(at(40));
    live.join(session(4), &guest(4), room(), user("dan"), true).unwrap();
}

#[test]
fn a_seat_is_kept_for_a_while_and_only_for_who_took_it() {
    let mut live = LiveRooms::default();
    live.join(session(1), &guest(1), room(), user("ada"), true).unwrap();
    live.join(session(2), &guest(2), room(), user("bob"), false).unwrap();
    live.disconnected(at(10), session(1));
    assert!(live.audience(session(2), None).unwrap().2.is_empty());
    assert_eq!(live.poll_timeout(at(20)), Some(Duration::from_secs(20)));
    let thief = live.join(session(3), &guest(2), room(), user("ada"), true);
    assert_eq!(thief.unwrap_err().code(), Code::Conflict);
    let back = live.join(session(4), &guest(1), room(), user("ada"), true).unwrap();
    assert_eq!(told(&back), [(4, "joined ada".to_owned())], "Bob heard of nothing");
    // From another window: the first is shown out.
    let moved = live.join(session(5), &guest(1), room(), user("ada"), true).unwrap();
    assert_eq!(moved.replaced, Some(session(4)));
    live.disconnected(at(50), session(4));
    assert_eq!(live.poll_timeout(at(50)), None, "the old connection's end is nobody's");
    live.disconnected(at(60), session(5));
    assert_eq!(told(&live.handle_timeout(at(90))), [(2, "user-left ada".to_owned())]);
}

#[test]
fn live_rooms_have_limits() {
    let limits = LiveLimits { seats: 3, seats_per_room: 2, ..LiveLimits::default() };
    let mut live = LiveRooms::new(limits);
    let mut join = |line, invite, room: &str, name: &str| {
        let room = RoomId::parse(room).unwrap();
        live.join(session(line), &guest(invite), room, user(name), false).map(drop).map_err(|r| r.code())
    };
    assert_eq!(join(1, 1, "a", "ada"), Ok(()));
    assert_eq!(join(1, 1, "a", "ada"), Err(Code::AlreadyJoined));
    assert_eq!(join(2, 1, "a", "bob"), Err(Code::InviteUsedUp), "the invite is for one");
    assert_eq!(join(2, 2, "a", "bob"), Ok(()));
    assert_eq!(join(3, 3, "a", "cleo"), Err(Code::RoomFull));
    assert_eq!(join(3, 3, "b", "cleo"), Ok(()));
    assert_eq!(join(4, 4, "b", "dan"), Err(Code::LimitReached));
}

#[test]
fn a_grant_says_what_a_token_opens() {
    let mut world = World::new();
    let invite = world.invite(Role::Viewer, 3);
    let other = RoomId::parse("other").unwrap();
    let grant = |world: &World, token: Option<&str>, room: Option<&RoomId>| {
        world.rooms.grant(world.now, token, room).map_err(|refusal| refusal.code())
    };
    let viewer = grant(&world, Some(&invite.token), Some(&room())).unwrap();
    assert_eq!((viewer.invite, viewer.may_publish, viewer.seats), (Some(invite.id), false, 3));
    assert_eq!(grant(&world, Some(&invite.token), Some(&other)), Err(Code::InviteOtherRoom));
    assert_eq!(grant(&world, Some(OWNER), Some(&other)), Err(Code::RoomNotFound));
    assert!(grant(&world, Some(OWNER), None).unwrap().may_publish);
    assert_eq!(grant(&world, None, None), Err(Code::InviteRequired));
    world.own(OwnerCommand::RevokeInvite { room: room(), invite: invite.id, end_peers: false }).unwrap();
    assert_eq!(grant(&world, Some(&invite.token), None), Err(Code::InviteRevoked));
}
