//! [`Rooms`]: the state, the one door in, the one door out, and the passing of time.

use crate::command::*;
use crate::jwt::Provider;
use crate::permission::{self, Action, Actor, Standing, permits, permits_to};
use crate::record::*;
use crate::refusal::Refusal;
use crate::slots::Slots;
use crate::time::Now;
use crate::token::{OwnerToken, SigningKey};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;
use uuid::Uuid;
use wire::dashboard::Severity;
use wire::ortc::{Direction, MediaKind};
use wire::sfu::{Notice, PeerInfo, PeerState, ProducerInfo, Role};
use wire::{
    ConsumerId, DataConsumerId, DataProducerId, DisplayName, InviteId, PeerId, ProducerId, RoomId, SlotId,
    TransportId,
};

/// All rooms of one engine.
pub struct Rooms {
    pub(crate) limits: Limits,
    pub(crate) key: SigningKey,
    pub(crate) owner: OwnerToken,
    pub(crate) provider: Option<Provider>,
    random: StdRng,
    /// Counts joins and producers, so that "the first" has a meaning.
    births: u64,
    pub(crate) rooms: BTreeMap<RoomId, RoomRecord>,
    pub(crate) invites: BTreeMap<InviteId, Invite>,
    pub(crate) seats: BTreeMap<SeatId, Seat>,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    pub(crate) sessions: HashMap<SessionId, PeerId>,
    pub(crate) slots: Slots,
    pub(crate) transports: BTreeMap<TransportId, Transport>,
    pub(crate) producers: BTreeMap<ProducerId, Producer>,
    pub(crate) consumers: BTreeMap<ConsumerId, Consumer>,
    pub(crate) data_producers: BTreeMap<DataProducerId, DataProducer>,
    pub(crate) data_consumers: BTreeMap<DataConsumerId, DataConsumer>,
    /// When the next invite expires, so that the dashboard hears of it.
    next_expiry_ms: Option<u64>,
    pub(crate) next_cleaning_ms: u64,
    /// Who watches by the live rooms' WebSocket.
    pub(crate) live_viewers: BTreeMap<RoomId, u32>,
    /// See [`Self::set_full`].
    pub(crate) is_full: bool,
    effects: VecDeque<Effect>,
    roster_changed: bool,
}

/// What [`Rooms`] is made of.
#[derive(Debug)]
pub struct Setup {
    pub limits: Limits,
    pub slot_count: u8,
    pub key: SigningKey,
    pub owner: OwnerToken,
    /// Whose tokens open rooms besides our own.
    pub provider: Option<Provider>,
    /// From the system's random source: ids and stream keys are drawn from it.
    pub seed: [u8; 32],
}

/// How much of each thing there may be.
#[derive(Clone, Debug)]
pub struct Limits {
    pub rooms: usize,
    pub peers_per_room: usize,
    pub producers_per_room: usize,
    pub producers_per_peer: usize,
    pub consumers_per_peer: usize,
    pub data_producers_per_peer: usize,
    pub data_consumers_per_peer: usize,
    pub transports_per_peer: usize,
    pub invites_per_room: usize,
    /// How long a peer stays without a connection.
    pub grace: Duration,
    /// How long a room stays that nobody uses; `None`: for ever.
    pub idle: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 100,
            peers_per_room: 15,
            producers_per_room: 50,
            producers_per_peer: 8,
            consumers_per_peer: 100,
            data_producers_per_peer: 8,
            data_consumers_per_peer: 120,
            transports_per_peer: 8,
            invites_per_room: 500,
            grace: Duration::from_secs(30),
            idle: Some(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

/// Somebody in a room.
#[derive(Debug)]
pub(crate) struct Peer {
    pub room: RoomId,
    pub seat: SeatId,
    pub role: Role,
    pub name: DisplayName,
    pub standing: PeerState,
    pub presence: Presence,
    pub hand_raised: bool,
    pub born: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Presence {
    Here(SessionId),
    /// Gone at `until_mono_ms` unless somebody resumes.
    Away {
        until_mono_ms: u64,
    },
}

impl Presence {
    pub fn session(self) -> Option<SessionId> {
        match self {
            Presence::Here(session) => Some(session),
            Presence::Away { .. } => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Transport {
    pub peer: PeerId,
    pub direction: Direction,
    /// Made by the session that this one took over from. A client that resumes keeps using it; one that starts
    /// afresh (a reloaded page) makes its own, and this one goes.
    pub inherited: bool,
}

#[derive(Debug)]
pub(crate) struct Producer {
    pub peer: PeerId,
    pub transport: TransportId,
    pub kind: MediaKind,
    pub app_data: Map<String, Value>,
    pub paused_by_guest: bool,
    pub born: u64,
    pub since_ms: u64,
}

impl Producer {
    pub fn is_screen(&self) -> bool {
        self.kind == MediaKind::Video && self.app_data.get("source").is_some_and(|source| source == "screen")
    }
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub peer: PeerId,
    pub transport: TransportId,
    pub producer: ProducerId,
    pub paused: bool,
}

/// A data channel a peer sends on.
#[derive(Debug)]
pub(crate) struct DataProducer {
    pub peer: PeerId,
    pub transport: TransportId,
    pub label: String,
    pub protocol: String,
    pub app_data: Map<String, Value>,
    pub born: u64,
}

/// A data channel a peer receives on.
#[derive(Debug)]
pub(crate) struct DataConsumer {
    pub peer: PeerId,
    pub transport: TransportId,
    pub producer: DataProducerId,
}

impl Rooms {
    /// From now on these keys of the provider's count. Whom the old ones let in stays: keys are changed as a matter of
    /// routine, and who is to go is withdrawn by name.
    pub fn set_provider(&mut self, provider: Provider) {
        self.provider = Some(provider);
    }

    /// Whether this computer has no room for anybody more. Who is in stays, and comes back after a lost connection.
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Takes up what was kept. Guests who were in a room when the engine stopped have their grace time to come back;
    /// their slots wait for them.
    pub fn restore(setup: Setup, saved: Saved, now: Now) -> Self {
        let mut rooms = Self {
            limits: setup.limits,
            key: setup.key,
            owner: setup.owner,
            provider: setup.provider,
            random: StdRng::from_seed(setup.seed),
            births: 0,
            rooms: saved.rooms.into_iter().map(|room| (room.id.clone(), room)).collect(),
            invites: saved.invites.into_iter().map(|invite| (invite.id, invite)).collect(),
            seats: BTreeMap::new(),
            peers: BTreeMap::new(),
            sessions: HashMap::new(),
            slots: Slots::new(setup.slot_count),
            transports: BTreeMap::new(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            data_producers: BTreeMap::new(),
            data_consumers: BTreeMap::new(),
            next_expiry_ms: None,
            next_cleaning_ms: now.unix_ms,
            live_viewers: BTreeMap::new(),
            is_full: false,
            effects: VecDeque::new(),
            roster_changed: true,
        };
        for seat in saved.seats {
            rooms.restore_seat(seat, now);
        }
        rooms.find_next_expiry(now);
        rooms
    }

    fn restore_seat(&mut self, mut seat: Seat, now: Now) {
        let Some(status) = self.rooms.get(&seat.room).map(|room| room.status) else { return };
        if seat.invite.is_none_or(|invite| !self.invites.contains_key(&invite)) {
            return;
        }
        let fits = self.peers_in(&seat.room).count() < self.limits.peers_per_room;
        seat.present &= fits && !seat.removed && status != wire::rest::RoomStatus::Ended;
        let id = seat.id;
        if seat.present {
            let until_mono_ms = now.mono_after(self.limits.grace);
            self.seat_peer(&seat, Presence::Away { until_mono_ms });
        }
        self.seats.insert(id, seat);
    }

    /// A new peer for a seat, in the seat's slot if that is free. Whether it fits was asked before.
    pub(crate) fn seat_peer(&mut self, seat: &Seat, presence: Presence) -> PeerId {
        let id = PeerId(self.new_uuid());
        let standing = permission::state(self.granted(seat), seat.admitted);
        let peer = Peer {
            room: seat.room.clone(),
            seat: seat.id,
            role: seat.role,
            name: seat.name.clone(),
            standing,
            presence,
            hand_raised: false,
            born: self.next_birth(),
        };
        self.peers.insert(id, peer);
        if let Some(slot) = seat.slot.filter(|_| seat.admitted && seat.role != Role::Viewer)
            && self.slots.check(slot, id).is_ok()
        {
            self.put_in_slot(slot, id);
        }
        id
    }

    /// Does one thing, or says why not and changes nothing.
    pub fn handle(&mut self, now: Now, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::Join(join) => self.join(now, join).map(|joined| Reply::Joined(Box::new(joined))),
            Command::Disconnected(session) => {
                self.on_disconnected(now, session);
                Ok(Reply::Done)
            }
            Command::Peer(session, command) => {
                self.handle_peer(now, session, command)?;
                Ok(Reply::Done)
            }
            Command::Owner(command) => self.handle_owner(now, command),
        }
    }

    fn handle_peer(&mut self, now: Now, session: SessionId, command: PeerCommand) -> Result<(), Refusal> {
        let peer = self.peer_of(session)?;
        self.permit(peer, command.action())?;
        match command {
            PeerCommand::AddTransport { id, direction } => self.add_transport(peer, id, direction),
            PeerCommand::AddProducer { transport, id, kind, app_data, paused } => {
                let record = Producer {
                    peer,
                    transport,
                    kind,
                    app_data,
                    paused_by_guest: paused,
                    born: self.next_birth(),
                    since_ms: now.unix_ms,
                };
                self.add_producer(peer, id, record)
            }
            PeerCommand::AddConsumer { transport, id, producer, paused } => {
                self.add_consumer(peer, transport, id, producer, paused)
            }
            PeerCommand::PauseProducer(id) => self.pause_producer(peer, id, true),
            PeerCommand::ResumeProducer(id) => self.pause_producer(peer, id, false),
            PeerCommand::CloseProducer(id) => {
                self.own_producer(peer, id)?;
                self.end_producer(id);
                Ok(())
            }
            PeerCommand::PauseConsumer(id) => self.pause_consumer(peer, id, true),
            PeerCommand::ResumeConsumer(id) => self.pause_consumer(peer, id, false),
            PeerCommand::CloseConsumer(id) => self.close_consumer(peer, id),
            PeerCommand::AddDataProducer { transport, id, label, protocol, app_data } => {
                let born = self.next_birth();
                let record = DataProducer { peer, transport, label, protocol, app_data, born };
                self.add_data_producer(peer, id, record)
            }
            PeerCommand::AddDataConsumer { transport, id, producer } => {
                self.add_data_consumer(peer, transport, id, producer)
            }
            PeerCommand::CloseDataProducer(id) => self.close_data_producer(peer, id),
            PeerCommand::CloseDataConsumer(id) => self.close_data_consumer(peer, id),
            PeerCommand::Admit { peer: other, slot } => {
                let room = self.permit_to(peer, Action::Place, other)?;
                self.admit(room, other, slot).map(drop)
            }
            PeerCommand::AssignSlot { peer: other, slot } => {
                let room = self.permit_to(peer, Action::Place, other)?;
                self.assign_slot(room, other, slot).map(drop)
            }
            PeerCommand::Mute { peer: other, kind, muted } => {
                self.permit_to(peer, Action::Mute, other)?;
                self.mute(other, kind, muted);
                Ok(())
            }
            PeerCommand::Remove(other) => {
                self.permit_to(peer, Action::Remove, other)?;
                self.remove(other, REMOVED);
                Ok(())
            }
            PeerCommand::Chat(text) => self.chat(now, peer, text),
            PeerCommand::RaiseHand(raised) => self.raise_hand(peer, raised),
            PeerCommand::SetDisplayName(name) => {
                self.rename(peer, name);
                Ok(())
            }
            PeerCommand::Signal { to, signal } => self.relay_signal(peer, to, signal),
            PeerCommand::Leave => {
                self.leave(peer);
                Ok(())
            }
        }
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects
            .pop_front()
            .or_else(|| std::mem::take(&mut self.roster_changed).then_some(Effect::RosterChanged))
    }

    /// How long nothing happens by itself.
    pub fn poll_timeout(&self, now: Now) -> Option<Duration> {
        let grace = self.peers.values().filter_map(|peer| match peer.presence {
            Presence::Away { until_mono_ms } => Some(until_mono_ms.saturating_sub(now.mono_ms)),
            Presence::Here(_) => None,
        });
        let expiry = self.next_expiry_ms.map(|at| at.saturating_sub(now.unix_ms));
        grace.chain(expiry).min().map(Duration::from_millis)
    }

    pub fn handle_timeout(&mut self, now: Now) {
        let over: Vec<PeerId> = self
            .peers
            .iter()
            .filter(|(_, peer)| matches!(peer.presence, Presence::Away { until_mono_ms } if until_mono_ms <= now.mono_ms))
            .map(|(id, _)| *id)
            .collect();
        for peer in over {
            self.on_grace_over(peer);
        }
        self.tidy(now);
        if self.next_expiry_ms.is_some_and(|at| at <= now.unix_ms) {
            self.find_next_expiry(now);
            self.roster_changed = true;
        }
    }

    pub(crate) fn find_next_expiry(&mut self, now: Now) {
        let open = self.invites.values().filter(|i| !i.revoked && i.expires_ms > now.unix_ms);
        self.next_expiry_ms = open.map(|i| i.expires_ms).min();
    }

    pub fn peer_of(&self, session: SessionId) -> Result<PeerId, Refusal> {
        self.sessions.get(&session).copied().ok_or(Refusal::NotJoined)
    }

    /// What [`permission`] knows of a peer.
    pub(crate) fn standing(&self, id: PeerId) -> Result<Standing, Refusal> {
        let peer = self.peers.get(&id).ok_or(Refusal::NotJoined)?;
        let admitted = self.seats.get(&peer.seat).is_some_and(|seat| seat.admitted);
        Ok(Standing { role: peer.role, state: peer.standing, admitted })
    }

    pub(crate) fn permit(&self, peer: PeerId, action: Action) -> Result<(), Refusal> {
        permits(Actor::Peer(self.standing(peer)?), action)
    }

    /// Whether `peer` may do this to `other`, and the room where they both are.
    fn permit_to(&self, peer: PeerId, action: Action, other: PeerId) -> Result<RoomId, Refusal> {
        let actor = Actor::Peer(self.standing(peer)?);
        let room = self.peers.get(&peer).ok_or(Refusal::NotJoined)?.room.clone();
        permits_to(actor, action, self.peer_in(&room, other)?.role)?;
        Ok(room)
    }

    /// What let somebody in, whatever less they asked for.
    pub(crate) fn granted(&self, seat: &Seat) -> Role {
        let invite = seat.invite.and_then(|id| self.invites.get(&id));
        invite.map_or(seat.role, |invite| invite.role)
    }

    /// A peer the owner named, in the room the owner named.
    pub(crate) fn peer_in(&self, room: &RoomId, id: PeerId) -> Result<&Peer, Refusal> {
        self.rooms.get(room).ok_or(Refusal::RoomNotFound)?;
        self.peers.get(&id).filter(|peer| peer.room == *room).ok_or(Refusal::NotFound("guest"))
    }

    pub(crate) fn peers_in<'a>(&'a self, room: &'a RoomId) -> impl Iterator<Item = (PeerId, &'a Peer)> + 'a {
        self.peers.iter().filter(move |(_, peer)| peer.room == *room).map(|(id, peer)| (*id, peer))
    }

    /// Sessions of the room's live peers, but for `except`.
    fn audience(&self, room: &RoomId, except: PeerId) -> Vec<SessionId> {
        self.peers_in(room)
            .filter(|(id, peer)| *id != except && peer.standing == PeerState::Live)
            .filter_map(|(_, peer)| peer.presence.session())
            .collect()
    }

    /// Tells the other live peers of `peer`'s room.
    pub(crate) fn tell_others(&mut self, room: &RoomId, peer: PeerId, notice: Notice) {
        for session in self.audience(room, peer) {
            self.effects.push_back(Effect::Notify { session, notice: notice.clone() });
        }
    }

    /// Tells those who may let people in, but for `peer` itself.
    pub(crate) fn tell_hosts(&mut self, room: &RoomId, peer: PeerId, notice: Notice) {
        let hosts: Vec<PeerId> = self.peers_in(room).map(|(id, _)| id).collect();
        for host in hosts.into_iter().filter(|host| *host != peer) {
            if self.permit(host, Action::Place).is_ok() {
                self.tell(host, notice.clone());
            }
        }
    }

    pub(crate) fn tell(&mut self, peer: PeerId, notice: Notice) {
        if let Some(session) = self.peers.get(&peer).and_then(|p| p.presence.session()) {
            self.push(Effect::Notify { session, notice });
        }
    }

    pub(crate) fn note(&mut self, severity: Severity, text: String) {
        self.push(Effect::Note { severity, text });
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(crate) fn touch_roster(&mut self) {
        self.roster_changed = true;
    }

    /// Changes a seat and keeps it, if it is one that is kept.
    pub(crate) fn change_seat(&mut self, id: SeatId, change: impl FnOnce(&mut Seat)) {
        let Some(seat) = self.seats.get_mut(&id) else { return };
        let before = seat.clone();
        change(seat);
        if seat.invite.is_some() && *seat != before {
            let seat = seat.clone();
            self.push(Effect::Keep(Change::Seat(seat)));
        }
    }

    pub(crate) fn put_in_slot(&mut self, slot: SlotId, peer: PeerId) {
        if let Some(before) = self.slots.put(slot, peer)
            && before != slot
        {
            self.push(Effect::Bind { slot: before, occupant: None });
        }
        self.bind(slot, peer);
    }

    pub(crate) fn bind(&mut self, slot: SlotId, peer: PeerId) {
        let Some(name) = self.peers.get(&peer).map(|p| p.name.clone()) else { return };
        self.push(Effect::Bind { slot, occupant: Some(wire::link::Occupant { peer, name, screen: false }) });
    }

    pub(crate) fn peer_info(&self, id: PeerId, peer: &Peer) -> PeerInfo {
        PeerInfo {
            peer_id: id,
            display_name: peer.name.clone(),
            role: peer.role,
            hand_raised: peer.hand_raised,
        }
    }

    pub(crate) fn producer_info(&self, id: ProducerId, producer: &Producer) -> ProducerInfo {
        ProducerInfo {
            producer_id: id,
            peer_id: producer.peer,
            kind: producer.kind,
            paused: self.is_paused(producer),
            app_data: producer.app_data.clone(),
        }
    }

    pub(crate) fn next_birth(&mut self) -> u64 {
        self.births += 1;
        self.births
    }

    pub(crate) fn new_uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }
}

pub(crate) const REMOVED: &str = "The host removed you from the room.";
