//! A small world to tell stories in: a clock that moves when told, and what was said and done.

use crate::*;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;
use wire::link::Occupant;
use wire::ortc::{Direction, MediaKind};
use wire::sfu::{Notice, PeerState, Role};
use wire::webhook::Happening;
use wire::{
    ConsumerId, DataConsumerId, DataProducerId, DisplayName, PeerId, ProducerId, RoomId, SlotId, TransportId,
};

pub struct World {
    pub rooms: Rooms,
    pub now: Now,
    pub said: BTreeMap<SessionId, Vec<Notice>>,
    pub kept: Vec<Change>,
    pub slots: BTreeMap<SlotId, Occupant>,
    pub notes: Vec<String>,
    pub closed: Vec<SessionId>,
    /// Pauses and closings of media, as words.
    pub media: Vec<String>,
    pub happened: Vec<Happening>,
    ids: u128,
}

pub const OWNER: &str = "the owner's token";

impl World {
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        let mut world = Self::nth(u32::MAX, limits, Saved::default());
        world
            .own(OwnerCommand::CreateRoom { id: room(), title: None, is_private: false })
            .expect("the first room");
        world
    }

    /// An engine started with what another one kept.
    pub fn restored(limits: Limits, saved: Saved) -> Self {
        Self::nth(0, limits, saved)
    }

    /// Each life of an engine draws other ids.
    pub fn nth(life: u32, limits: Limits, saved: Saved) -> Self {
        let mut seed = [9; 32];
        seed[..4].copy_from_slice(&life.to_le_bytes());
        let now = Now { unix_ms: 1_800_000_000_000, mono_ms: 5_000 };
        let setup = Setup {
            limits,
            slot_count: 3,
            key: SigningKey::new([7; 32]),
            owner: OwnerToken::new(OWNER),
            provider: None,
            seed,
        };
        let mut world = Self {
            rooms: Rooms::restore(setup, saved, now),
            now,
            said: BTreeMap::new(),
            kept: Vec::new(),
            slots: BTreeMap::new(),
            notes: Vec::new(),
            closed: Vec::new(),
            media: Vec::new(),
            happened: Vec::new(),
            ids: (1 << 100) + (u128::from(life) << 64),
        };
        world.settle();
        world
    }

    /// Everything kept so far, as a store would give it back.
    pub fn saved(&self) -> Saved {
        let (mut rooms, mut invites, mut seats) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for change in self.kept.iter().cloned() {
            match change {
                Change::Room(room) => drop(rooms.insert(room.id.clone(), room)),
                Change::RoomDeleted(id) => {
                    rooms.remove(&id);
                    invites.retain(|_, invite: &mut Invite| invite.room != id);
                    seats.retain(|_, seat: &mut Seat| seat.room != id);
                }
                Change::Invite(invite) => drop(invites.insert(invite.id, invite)),
                Change::InviteDeleted(id) => {
                    invites.remove(&id);
                    seats.retain(|_, seat: &mut Seat| seat.invite != Some(id));
                }
                Change::Seat(seat) => drop(seats.insert(seat.id, seat)),
            }
        }
        Saved {
            rooms: rooms.into_values().collect(),
            invites: invites.into_values().collect(),
            seats: seats.into_values().collect(),
        }
    }

    pub fn fresh(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    pub fn pass(&mut self, time: Duration) {
        let ms = time.as_millis() as u64;
        self.now.unix_ms += ms;
        self.now.mono_ms += ms;
        self.rooms.handle_timeout(self.now);
        self.settle();
    }

    pub fn handle(&mut self, command: Command) -> Result<Reply, Refusal> {
        let reply = self.rooms.handle(self.now, command);
        self.settle();
        reply
    }

    pub fn own(&mut self, command: OwnerCommand) -> Result<Reply, Refusal> {
        self.handle(Command::Owner(command))
    }

    pub fn peer(&mut self, guest: &Joined, command: PeerCommand) -> Result<Reply, Refusal> {
        self.handle(Command::Peer(guest.session, command))
    }

    pub fn settle(&mut self) {
        while let Some(effect) = self.rooms.poll_effect() {
            match effect {
                Effect::Keep(change) => self.kept.push(change),
                Effect::Notify { session, notice } => self.said.entry(session).or_default().push(notice),
                Effect::CloseSession(session) => self.closed.push(session),
                Effect::Bind { slot, occupant: Some(occupant) } => drop(self.slots.insert(slot, occupant)),
                Effect::Bind { slot, occupant: None } => drop(self.slots.remove(&slot)),
                Effect::Note { text, .. } => self.notes.push(text),
                Effect::CloseTransport(id) => self.media.push(format!("close {id}")),
                Effect::PauseProducer(id) => self.media.push(format!("pause {id}")),
                Effect::ResumeProducer(id) => self.media.push(format!("resume {id}")),
                Effect::CloseProducer(id) => self.media.push(format!("close {id}")),
                Effect::CloseConsumer(id) => self.media.push(format!("close {id}")),
                Effect::CloseDataProducer(id) => self.media.push(format!("close {id}")),
                Effect::CloseDataConsumer(id) => self.media.push(format!("close {id}")),
                Effect::Happened(happening) => self.happened.push(happening),
                Effect::RoomClosed(_) | Effect::RosterChanged => {}
            }
        }
    }

    pub fn invite(&mut self, role: Role, max_uses: u32) -> NewInvite {
        let command = OwnerCommand::CreateInvite {
            room: room(),
            role,
            expires_in_secs: 3600,
            max_uses,
            display_name: None,
        };
        match self.own(command) {
            Ok(Reply::Invite(invite)) => *invite,
            other => panic!("no invite: {other:?}"),
        }
    }

    pub fn try_join(&mut self, join: Join) -> Result<Joined, Refusal> {
        let session = join.session;
        match self.handle(Command::Join(join))? {
            Reply::Joined(reply) => Ok(Joined { session, reply: *reply }),
            other => panic!("not a join reply: {other:?}"),
        }
    }

    pub fn join(&mut self, name: &str, token: &str) -> Joined {
        let join = self.asking(name, token);
        self.try_join(join).expect("lets them in")
    }

    pub fn asking(&mut self, name: &str, token: &str) -> Join {
        Join {
            session: SessionId(self.fresh()),
            room: room(),
            token: Some(token.to_owned()),
            resume_token: None,
            display_name: DisplayName::parse(name).ok(),
            role: None,
        }
    }

    pub fn resume(&mut self, guest: &Joined) -> Result<Joined, Refusal> {
        let session = SessionId(self.fresh());
        let resume_token = Some(guest.reply.resume_token.clone());
        self.try_join(Join {
            session,
            room: room(),
            token: None,
            resume_token,
            display_name: None,
            role: None,
        })
    }

    /// A guest in the green room.
    pub fn waiting(&mut self, name: &str) -> Joined {
        let invite = self.invite(Role::Guest, 1);
        self.join(name, &invite.token)
    }

    /// A guest in the first free slot.
    pub fn admitted(&mut self, name: &str) -> Joined {
        let guest = self.waiting(name);
        self.own(OwnerCommand::Admit { room: room(), peer: guest.reply.peer, slot: None }).expect("admits");
        guest
    }

    pub fn transport(&mut self, guest: &Joined, direction: Direction) -> TransportId {
        let id = TransportId(self.fresh());
        self.rooms.may_create_transport(guest.session, direction).expect("may have a transport");
        self.peer(guest, PeerCommand::AddTransport { id, direction }).expect("adds a transport");
        id
    }

    pub fn produce(&mut self, guest: &Joined, transport: TransportId, kind: MediaKind) -> ProducerId {
        let id = ProducerId(self.fresh());
        self.rooms.may_produce(guest.session, transport, kind).expect("may produce");
        let add =
            PeerCommand::AddProducer { transport, id, kind, app_data: Default::default(), paused: false };
        self.peer(guest, add).expect("produces");
        id
    }

    pub fn consume(&mut self, guest: &Joined, producer: ProducerId) -> Result<ConsumerId, Refusal> {
        let transport = self.rooms.may_consume(guest.session, None, producer)?;
        let id = ConsumerId(self.fresh());
        self.peer(guest, PeerCommand::AddConsumer { transport, id, producer, paused: true })?;
        Ok(id)
    }

    pub fn produce_data(
        &mut self,
        guest: &Joined,
        transport: TransportId,
    ) -> Result<DataProducerId, Refusal> {
        let id = DataProducerId(self.fresh());
        self.rooms.may_produce_data(guest.session, transport)?;
        let (label, protocol) = ("game".to_owned(), "json".to_owned());
        let add =
            PeerCommand::AddDataProducer { transport, id, label, protocol, app_data: Default::default() };
        self.peer(guest, add)?;
        Ok(id)
    }

    pub fn consume_data(
        &mut self,
        guest: &Joined,
        producer: DataProducerId,
    ) -> Result<DataConsumerId, Refusal> {
        let transport = self.rooms.may_consume_data(guest.session, None, producer)?;
        let id = DataConsumerId(self.fresh());
        self.peer(guest, PeerCommand::AddDataConsumer { transport, id, producer })?;
        Ok(id)
    }

    pub fn view(&self, peer: PeerId) -> Option<wire::dashboard::GuestView> {
        let rooms = self.rooms.room_views(self.now);
        rooms.into_iter().flat_map(|room| room.guests).find(|guest| guest.peer_id == peer)
    }

    /// Names of the events a session was told, since last asked.
    pub fn told(&mut self, guest: &Joined) -> Vec<String> {
        let notices = self.said.remove(&guest.session).unwrap_or_default();
        notices.into_iter().map(|notice| notice.into_event().0).collect()
    }

    /// Who is in each slot.
    pub fn show(&self) -> Vec<(u8, &str)> {
        self.slots.iter().map(|(slot, occupant)| (slot.number(), occupant.name.as_str())).collect()
    }
}

/// A guest's side of a join.
#[derive(Clone, Debug)]
pub struct Joined {
    pub session: SessionId,
    pub reply: JoinReply,
}

impl Joined {
    pub fn is_waiting(&self) -> bool {
        self.reply.state == PeerState::Waiting
    }
}

pub fn room() -> RoomId {
    RoomId::parse("show").expect("a plain id")
}

pub fn slot(number: u8) -> SlotId {
    SlotId::try_from(number).expect("a slot number")
}
