//! A long random run: whatever people do, in whatever order, the invariants hold after every step.

use super::world::*;
use crate::permission::{self, Action};
use crate::roster::Presence;
use crate::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wire::ortc::{Direction, MediaKind};
use wire::rest::RoomStatus;
use wire::sfu::{PeerState, Role};
use wire::{ConsumerId, DataConsumerId, DataProducerId, ProducerId, RoomId, TransportId};

/// Everything anybody was ever given, good or stale: commands draw from it.
#[derive(Default)]
struct Bag {
    sessions: Vec<SessionId>,
    tokens: Vec<String>,
    resume_tokens: Vec<String>,
    invites: Vec<wire::InviteId>,
    peers: Vec<wire::PeerId>,
    transports: Vec<TransportId>,
    producers: Vec<ProducerId>,
    consumers: Vec<ConsumerId>,
    data_producers: Vec<DataProducerId>,
    data_consumers: Vec<DataConsumerId>,
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let (mut consumed, mut data_consumed) = (0, 0);
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let limits = Limits {
            peers_per_room: 4,
            producers_per_room: 6,
            producers_per_peer: 3,
            consumers_per_peer: 4,
            transports_per_peer: 3,
            data_producers_per_peer: 3,
            data_consumers_per_peer: 4,
            ..Limits::default()
        };
        let mut world = World::with(limits.clone());
        let mut bag = Bag::default();
        bag.tokens.push(OWNER.to_owned());
        let mut done = 0;
        for step in 0..3000 {
            done += usize::from(random_step(&mut world, &mut bag, &mut random));
            if let Err(broken) = check(&world) {
                panic!("seed {seed}, step {step}: {broken}");
            }
            if random.random_ratio(1, 400) {
                world = World::nth(step, limits.clone(), world.saved());
                // A new process: what it has to keep begins with what it was given.
                let saved = world.rooms_as_changes();
                world.kept.splice(0..0, saved);
                check(&world).unwrap_or_else(|broken| panic!("seed {seed}, restart at {step}: {broken}"));
            }
        }
        assert!(done > 300, "seed {seed}: only {done} steps did anything");
        consumed += bag.consumers.len();
        data_consumed += bag.data_consumers.len();
    }
    assert!(consumed > 300, "the walk rarely gets anywhere: {consumed} consumers in all");
    assert!(data_consumed > 300, "the walk rarely gets anywhere: {data_consumed} data consumers in all");
}

impl World {
    fn rooms_as_changes(&self) -> Vec<Change> {
        let rooms = self.rooms.rooms.values().cloned().map(Change::Room);
        let invites = self.rooms.invites.values().cloned().map(Change::Invite);
        let seats = self.rooms.seats.values().filter(|s| s.invite.is_some()).cloned().map(Change::Seat);
        rooms.chain(invites).chain(seats).collect()
    }
}

fn pick<T: Clone>(random: &mut StdRng, from: &[T]) -> Option<T> {
    // Mostly what is recent: old things are mostly gone.
    let recent = from.len().saturating_sub(8);
    let from = if random.random_ratio(4, 5) { &from[recent..] } else { from };
    (!from.is_empty()).then(|| from[random.random_range(0..from.len())].clone())
}

/// A hash map's order is not the seed's.
fn pick_sorted<T: Copy + Ord>(random: &mut StdRng, mut from: Vec<T>) -> Option<T> {
    from.sort();
    (!from.is_empty()).then(|| from[random.random_range(0..from.len())])
}

/// Mostly one of the session's own transports.
fn pick_transport(world: &World, bag: &Bag, random: &mut StdRng, session: SessionId) -> Option<TransportId> {
    let own = world.rooms.peer_of(session).map(|peer| world.rooms.transports_of(peer)).unwrap_or_default();
    if random.random_ratio(9, 10) { pick_sorted(random, own) } else { pick(random, &bag.transports) }
}

/// `true`: something was done.
fn random_step(world: &mut World, bag: &mut Bag, random: &mut StdRng) -> bool {
    try_random_step(world, bag, random).unwrap_or(false)
}

fn try_random_step(world: &mut World, bag: &mut Bag, random: &mut StdRng) -> Option<bool> {
    let room = RoomId::parse(["show", "show", "show", "b"][random.random_range(0..4)]).ok()?;
    let kind = if random.random() { MediaKind::Audio } else { MediaKind::Video };
    let role =
        [Role::Host, Role::CoHost, Role::Guest, Role::Guest, Role::Guest, Role::Performer, Role::Viewer]
            [random.random_range(0..7)];
    let slot = random.random_bool(0.5).then(|| slot(random.random_range(1..=4)));
    let command = match random.random_range(0..52) {
        0 => Command::Owner(OwnerCommand::CreateRoom { id: room, title: None, is_private: false }),
        // An ended room is deleted at the next chance, so that the walk goes on.
        1 if random.random_ratio(1, 20)
            || world.rooms.rooms.get(&room).is_some_and(|r| r.status == RoomStatus::Ended) =>
        {
            Command::Owner(OwnerCommand::DeleteRoom(room))
        }
        1 => {
            let status = if random.random_ratio(1, 20) { RoomStatus::Ended } else { RoomStatus::Live };
            Command::Owner(OwnerCommand::UpdateRoom {
                id: room,
                status: Some(status),
                title: None,
                is_private: None,
            })
        }
        2..=4 => {
            let (expires_in_secs, max_uses) = (random.random_range(1..500), random.random_range(1..4));
            let invite =
                OwnerCommand::CreateInvite { room, role, expires_in_secs, max_uses, display_name: None };
            let Ok(Reply::Invite(invite)) = world.own(invite) else { return Some(false) };
            bag.invites.push(invite.id);
            bag.tokens.push(if random.random() { invite.token } else { invite.jwt });
            return Some(true);
        }
        5 => {
            let end_peers = random.random();
            Command::Owner(OwnerCommand::RevokeInvite {
                room,
                invite: pick(random, &bag.invites)?,
                end_peers,
            })
        }
        6..=9 => Command::Owner(OwnerCommand::Admit { room, peer: pick(random, &bag.peers)?, slot }),
        10 => Command::Owner(OwnerCommand::AssignSlot { room, peer: pick(random, &bag.peers)?, slot }),
        11 => {
            let (peer, muted) = (pick(random, &bag.peers)?, random.random());
            Command::Owner(OwnerCommand::Mute { room, peer, kind, muted })
        }
        12 if random.random_ratio(1, 4) => {
            Command::Owner(OwnerCommand::Remove { room, peer: pick(random, &bag.peers)? })
        }
        13 => Command::Disconnected(pick(random, &bag.sessions)?),
        14 => {
            world.pass(Duration::from_secs(random.random_range(0..20)));
            return Some(true);
        }
        15..=20 => {
            let fresh = SessionId(world.fresh());
            let session = if random.random_ratio(1, 10) { pick(random, &bag.sessions)? } else { fresh };
            let resume_token =
                if random.random_ratio(1, 2) { pick(random, &bag.resume_tokens) } else { None };
            let token = pick(random, &bag.tokens);
            let join = Join { session, room, token, resume_token, display_name: None, role: None };
            let Ok(joined) = world.try_join(join) else { return Some(false) };
            bag.sessions.push(session);
            bag.peers.push(joined.reply.peer);
            bag.resume_tokens.push(joined.reply.resume_token);
            return Some(true);
        }
        50.. => {
            let session = pick_sorted(random, world.rooms.sessions.keys().copied().collect())?;
            let actor = world.rooms.peer_of(session).ok()?;
            let peer = pick(random, &bag.peers)?;
            let command = match random.random_range(0..4) {
                0 => PeerCommand::Admit { peer, slot },
                1 => PeerCommand::AssignSlot { peer, slot },
                2 => PeerCommand::Mute { peer, kind, muted: random.random() },
                _ if random.random_ratio(1, 4) => PeerCommand::Remove(peer),
                _ => return Some(false),
            };
            let below = world.rooms.peers.get(&peer).is_some_and(|p| {
                let actor = &world.rooms.peers[&actor];
                let is_host = matches!(actor.role, Role::Host | Role::CoHost);
                is_host
                    && p.room == actor.room
                    && p.role != actor.role
                    && permission::lower(actor.role, Some(p.role)) == p.role
            });
            let done = world.handle(Command::Peer(session, command)).is_ok();
            assert!(!done || below, "somebody reached whom they may not");
            return Some(done);
        }
        n => {
            let here: Vec<SessionId> = world.rooms.sessions.keys().copied().collect();
            let session = if random.random_ratio(9, 10) {
                pick_sorted(random, here)?
            } else {
                pick(random, &bag.sessions)?
            };
            return media_step(world, bag, random, session, kind, n);
        }
    };
    Some(world.handle(command).is_ok())
}

fn media_step(
    world: &mut World,
    bag: &mut Bag,
    random: &mut StdRng,
    session: SessionId,
    kind: MediaKind,
    n: u32,
) -> Option<bool> {
    let id = world.fresh();
    let command = match n {
        21..=24 => {
            let direction = if random.random() { Direction::Send } else { Direction::Recv };
            world.rooms.may_create_transport(session, direction).ok()?;
            bag.transports.push(TransportId(id));
            PeerCommand::AddTransport { id: TransportId(id), direction }
        }
        25..=28 => {
            let transport = pick_transport(world, bag, random, session)?;
            let may = world.rooms.may_produce(session, transport, kind);
            bag.producers.push(ProducerId(id));
            let (app_data, paused) = (Default::default(), random.random());
            let add = PeerCommand::AddProducer { transport, id: ProducerId(id), kind, app_data, paused };
            let done = world.handle(Command::Peer(session, add)).is_ok();
            assert_eq!(may.is_ok(), done, "asking first gives the same answer");
            return Some(done);
        }
        29..=32 => {
            let all: Vec<ProducerId> = world.rooms.producers.keys().copied().collect();
            let producer = if random.random_ratio(9, 10) {
                pick_sorted(random, all)?
            } else {
                pick(random, &bag.producers)?
            };
            let named = if random.random() { pick_transport(world, bag, random, session) } else { None };
            let transport = world.rooms.may_consume(session, named, producer).ok()?;
            bag.consumers.push(ConsumerId(id));
            let add = PeerCommand::AddConsumer { transport, id: ConsumerId(id), producer, paused: true };
            assert!(world.handle(Command::Peer(session, add)).is_ok(), "asking first gives the same answer");
            return Some(true);
        }
        33 => PeerCommand::PauseProducer(pick(random, &bag.producers)?),
        34 => PeerCommand::ResumeProducer(pick(random, &bag.producers)?),
        35 => PeerCommand::CloseProducer(pick(random, &bag.producers)?),
        36 => PeerCommand::CloseConsumer(pick(random, &bag.consumers)?),
        37 if random.random_ratio(1, 4) => {
            let rooms: Vec<RoomId> = world.rooms.rooms.keys().cloned().collect();
            let room = pick(random, &rooms)?;
            world.rooms.on_media_lost(&room, "the worker failed");
            assert!(!world.rooms.has_transports(&room), "nothing of it is left");
            world.settle();
            return Some(true);
        }
        37 => {
            let lost = world.rooms.on_transport_lost(pick(random, &bag.transports)?);
            world.settle();
            return Some(lost);
        }
        38 => PeerCommand::RaiseHand(random.random()),
        40.. => return data_step(world, bag, random, session, n),
        _ if random.random_ratio(1, 3) => PeerCommand::Leave,
        _ => PeerCommand::Chat(ChatText::parse("hello").ok()?),
    };
    Some(world.handle(Command::Peer(session, command)).is_ok())
}

fn data_step(
    world: &mut World,
    bag: &mut Bag,
    random: &mut StdRng,
    session: SessionId,
    n: u32,
) -> Option<bool> {
    let id = world.fresh();
    let command = match n {
        40..=43 => {
            let transport = pick_transport(world, bag, random, session)?;
            let may = world.rooms.may_produce_data(session, transport);
            bag.data_producers.push(DataProducerId(id));
            let (label, protocol, app_data) = (String::new(), String::new(), Default::default());
            let id = DataProducerId(id);
            let add = PeerCommand::AddDataProducer { transport, id, label, protocol, app_data };
            let done = world.handle(Command::Peer(session, add)).is_ok();
            assert_eq!(may.is_ok(), done, "asking first gives the same answer");
            return Some(done);
        }
        44..=47 => {
            let producer = pick_sorted(random, world.rooms.data_producers.keys().copied().collect())?;
            let named = if random.random() { pick_transport(world, bag, random, session) } else { None };
            let transport = world.rooms.may_consume_data(session, named, producer).ok()?;
            bag.data_consumers.push(DataConsumerId(id));
            PeerCommand::AddDataConsumer { transport, id: DataConsumerId(id), producer }
        }
        48 if random.random() => PeerCommand::CloseDataProducer(pick(random, &bag.data_producers)?),
        48 => PeerCommand::CloseDataConsumer(pick(random, &bag.data_consumers)?),
        _ => {
            match random.random() {
                true => world.rooms.on_data_producer_lost(pick(random, &bag.data_producers)?, "lost"),
                false => world.rooms.on_data_consumer_lost(pick(random, &bag.data_consumers)?, "lost"),
            }
            world.settle();
            return Some(true);
        }
    };
    Some(world.handle(Command::Peer(session, command)).is_ok())
}

/// What always holds; the sentence says what does not.
fn check(world: &World) -> Result<(), String> {
    let rooms = &world.rooms;
    let hold = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };

    for (session, peer) in &rooms.sessions {
        let speaks = rooms.peers.get(peer).and_then(|p| p.presence.session());
        hold(speaks == Some(*session), "a session speaks for a peer that does not know it")?;
    }
    let here = rooms.peers.values().filter(|p| matches!(p.presence, Presence::Here(_))).count();
    hold(here == rooms.sessions.len(), "every connected peer has exactly one session")?;

    let mut seats = BTreeSet::new();
    let mut sizes: BTreeMap<&RoomId, usize> = BTreeMap::new();
    for peer in rooms.peers.values() {
        hold(seats.insert(peer.seat), "two peers on one seat")?;
        let seat = rooms.seats.get(&peer.seat).ok_or("a peer without a seat")?;
        hold(
            seat.room == peer.room && seat.present && !seat.removed,
            "a peer on a seat that is not its own",
        )?;
        let granted = match seat.invite {
            None => true,
            Some(invite) => rooms.invites.get(&invite).is_some_and(|invite| invite.room == peer.room),
        };
        hold(granted, "a guest nobody invited")?;
        hold(
            permission::state(rooms.granted(seat), seat.admitted) == peer.standing,
            "admitted in one place and not in the other",
        )?;
        let open = rooms.rooms.get(&peer.room).is_some_and(|r| r.status != RoomStatus::Ended);
        hold(open, "a peer in a room that is not there")?;
        *sizes.entry(&peer.room).or_default() += 1;
    }
    hold(sizes.values().all(|n| *n <= rooms.limits.peers_per_room), "more peers than the room holds")?;
    for invite in rooms.invites.values() {
        hold(invite.uses <= invite.max_uses, "an invite used too often")?;
        let seats = rooms.seats.values().filter(|seat| seat.invite == Some(invite.id)).count();
        hold(seats == invite.uses as usize, "an invite's uses and seats differ")?;
    }

    let mut slots = BTreeMap::new();
    for (slot, peer) in rooms.slots.all() {
        let standing = rooms.peers.get(&peer).map(|p| (p.standing, p.role == Role::Viewer));
        hold(standing == Some((PeerState::Live, false)), "somebody in a slot who should not be")?;
        hold(slots.insert(peer, slot).is_none(), "a peer in two slots")?;
    }
    let told: BTreeMap<_, _> = world.slots.iter().map(|(slot, occupant)| (occupant.peer, *slot)).collect();
    hold(told == slots, "outputs were told something else of the slots")?;

    let mut of_room: BTreeMap<&RoomId, usize> = BTreeMap::new();
    for producer in rooms.producers.values() {
        let transport = rooms.transports.get(&producer.transport).ok_or("a producer without a transport")?;
        let peer = rooms.peers.get(&producer.peer).ok_or("a producer of nobody")?;
        hold(
            transport.peer == producer.peer && transport.direction == Direction::Send,
            "a producer on the wrong transport",
        )?;
        hold(rooms.permit(producer.peer, Action::Send).is_ok(), "somebody sends who may not")?;
        *of_room.entry(&peer.room).or_default() += 1;
    }
    hold(
        of_room.values().all(|n| *n <= rooms.limits.producers_per_room),
        "more producers than the room holds",
    )?;
    for transport in rooms.transports.values() {
        hold(rooms.peers.contains_key(&transport.peer), "a transport of nobody")?;
    }
    for consumer in rooms.consumers.values() {
        let producer = rooms.producers.get(&consumer.producer).ok_or("a consumer without a producer")?;
        let transport = rooms.transports.get(&consumer.transport).ok_or("a consumer without a transport")?;
        let (receiver, sender) = (&rooms.peers[&consumer.peer], &rooms.peers[&producer.peer]);
        hold(
            transport.peer == consumer.peer && transport.direction == Direction::Recv,
            "a consumer on the wrong transport",
        )?;
        hold(
            receiver.room == sender.room && consumer.peer != producer.peer,
            "a consumer across rooms, or of oneself",
        )?;
        hold(receiver.standing == PeerState::Live, "a waiting guest receives")?;
        hold(sender.standing == PeerState::Live, "a waiting guest is received")?;
    }
    for producer in rooms.data_producers.values() {
        let transport = rooms.transports.get(&producer.transport).ok_or("data without a transport")?;
        hold(
            transport.peer == producer.peer && transport.direction == Direction::Send,
            "data on the wrong transport",
        )?;
        hold(rooms.permit(producer.peer, Action::Send).is_ok(), "somebody sends data who may not")?;
    }
    for consumer in rooms.data_consumers.values() {
        let producer = rooms.data_producers.get(&consumer.producer).ok_or("data from nobody")?;
        let transport = rooms.transports.get(&consumer.transport).ok_or("data to no transport")?;
        let (receiver, sender) = (&rooms.peers[&consumer.peer], &rooms.peers[&producer.peer]);
        hold(
            transport.peer == consumer.peer && transport.direction == Direction::Recv,
            "data to the wrong transport",
        )?;
        hold(
            receiver.room == sender.room && consumer.peer != producer.peer,
            "data across rooms, or to oneself",
        )?;
        hold(
            receiver.standing == PeerState::Live && sender.standing == PeerState::Live,
            "data to or from the green room",
        )?;
    }
    Ok(())
}
