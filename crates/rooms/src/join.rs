//! Entering a room: by a resume token, the owner's token or an invite.

use crate::command::{Effect, Join, JoinReply};
use crate::data::new_data_producer;
use crate::jwt::{self, Claimed};
use crate::permission::{Action, asks_first, lower};
use crate::record::{Change, Invite, Muted, Seat, SeatId};
use crate::refusal::Refusal;
use crate::roster::{Peer, Presence, Rooms};
use crate::time::Now;
use wire::dashboard::Severity;
use wire::ortc::MediaKind;
use wire::rest::RoomStatus;
use wire::sfu::{Notice, PeerState, Role};
use wire::webhook::Happening;
use wire::{DisplayName, InviteId, PeerId, RoomId};

/// What the caller's tokens amount to.
enum Entry {
    /// The peer is still in the room; another connection speaks for it now.
    TakeOver(PeerId),
    /// The seat's peer is gone, the seat is good.
    Return(SeatId),
    Owner,
    Invited(InviteId),
    /// By a JWT: its claims may lower the role, and an outside one makes its own record.
    Claimed(Claimed),
}

/// What a token opens.
pub(crate) enum Door<'a> {
    Owner,
    Invite(&'a Invite),
    /// A JWT, with its claims.
    Claimed(Claimed),
}

impl Rooms {
    pub(crate) fn join(&mut self, now: Now, join: Join) -> Result<JoinReply, Refusal> {
        if self.sessions.contains_key(&join.session) {
            return Err(Refusal::AlreadyJoined);
        }
        let room = join.room.clone();
        let reply = match self.entry(now, &join)? {
            Entry::TakeOver(peer) => Ok(self.take_over(peer, &join)),
            Entry::Return(seat) => self.return_to(seat, &join),
            Entry::Owner => self.enter_as_owner(&join),
            Entry::Invited(invite) => self.enter_by_invite(now, invite, &join),
            Entry::Claimed(claimed) => self.enter_by_claims(now, claimed, join),
        }?;
        self.note_use(now, &room);
        Ok(reply)
    }

    fn entry(&self, now: Now, join: &Join) -> Result<Entry, Refusal> {
        let resumed =
            join.resume_token.as_deref().and_then(|token| self.entry_by_seat(now, &join.room, token));
        if let Some(entry) = resumed {
            return entry;
        }
        // A resume token we do not know any more is no mistake: the invite may still open the door.
        let token = join.token.as_deref().ok_or(Refusal::InviteRequired)?;
        match self.door(now, token, Some(&join.room))? {
            Door::Owner => Ok(Entry::Owner),
            Door::Invite(invite) => Ok(Entry::Invited(invite.id)),
            Door::Claimed(claimed) => Ok(Entry::Claimed(claimed)),
        }
    }

    /// Whose token it is, and whether it opens the room; without a room, whether it opens the one it is for.
    pub(crate) fn door(&self, now: Now, token: &str, room: Option<&RoomId>) -> Result<Door<'_>, Refusal> {
        if self.owner.matches(token) {
            room.map_or(Ok(()), |room| self.open_room(room))?;
            return Ok(Door::Owner);
        }
        if jwt::looks_like_one(token) {
            let claimed = self.key.read_jwt(token, self.provider.as_ref(), now)?;
            if room.is_some_and(|room| *room != claimed.room) {
                return Err(Refusal::InviteOtherRoom);
            }
            self.open_room(&claimed.room)?;
            // An outside token that was never used has no record yet.
            if !claimed.outside || self.invites.contains_key(&claimed.id) {
                self.check_invite(now, claimed.id)?;
            }
            return Ok(Door::Claimed(claimed));
        }
        let invite = self.key.read_invite(token)?;
        if room.is_some_and(|room| *room != invite.room) {
            return Err(Refusal::InviteOtherRoom);
        }
        self.open_room(&invite.room)?;
        self.check_invite(now, invite.id).map(Door::Invite)
    }

    /// `None`: this is not a seat of that room.
    fn entry_by_seat(&self, now: Now, room: &RoomId, token: &str) -> Option<Result<Entry, Refusal>> {
        let seat = self.seats.get(&self.key.read_resume(token)?).filter(|seat| seat.room == *room)?;
        if seat.removed {
            return Some(Err(Refusal::Removed));
        }
        if let Some((id, _)) = self.peers.iter().find(|(_, peer)| peer.seat == seat.id) {
            return Some(Ok(Entry::TakeOver(*id)));
        }
        let good =
            self.open_room(room).and_then(|_| match seat.invite.and_then(|id| self.invites.get(&id)) {
                Some(invite) if invite.revoked => Err(Refusal::InviteRevoked),
                Some(invite) if invite.expires_ms <= now.unix_ms => Err(Refusal::InviteExpired),
                Some(_) => Ok(Entry::Return(seat.id)),
                None => Err(Refusal::InviteForged),
            });
        Some(good)
    }

    fn open_room(&self, room: &RoomId) -> Result<(), Refusal> {
        match self.rooms.get(room).ok_or(Refusal::RoomNotFound)?.status {
            RoomStatus::Ended => Err(Refusal::RoomEnded),
            RoomStatus::Preparing | RoomStatus::Live => Ok(()),
        }
    }

    fn check_invite(&self, now: Now, id: InviteId) -> Result<&Invite, Refusal> {
        let invite = self.invites.get(&id).ok_or(Refusal::InviteForged)?;
        match invite {
            Invite { revoked: true, .. } => Err(Refusal::InviteRevoked),
            invite if invite.expires_ms <= now.unix_ms => Err(Refusal::InviteExpired),
            invite if invite.uses >= invite.max_uses => Err(Refusal::InviteUsedUp),
            invite => Ok(invite),
        }
    }

    fn take_over(&mut self, id: PeerId, join: &Join) -> JoinReply {
        if let Some(peer) = self.peers.get_mut(&id) {
            let before = std::mem::replace(&mut peer.presence, Presence::Here(join.session));
            let name = peer.name.clone();
            match before.session() {
                Some(old) => {
                    self.sessions.remove(&old);
                    let reason = "You joined again from another window or device.".to_owned();
                    self.push(Effect::Notify { session: old, notice: Notice::Kicked { reason } });
                    self.push(Effect::CloseSession(old));
                }
                None => self.note(Severity::Info, format!("{name} is back")),
            }
        }
        self.sessions.insert(join.session, id);
        if let Some(name) = join.display_name.clone() {
            self.rename(id, name);
        }
        self.touch_roster();
        // After a restart of the engine the peer waits with nothing to send on: the client starts afresh.
        let mut resumed = false;
        for transport in self.transports.values_mut().filter(|transport| transport.peer == id) {
            transport.inherited = true;
            resumed = true;
        }
        self.tell_standing(id);
        self.join_reply(id, resumed)
    }

    /// What the answer to `join-room` does not say of who comes back: their slot, and what the host silenced.
    fn tell_standing(&mut self, id: PeerId) {
        if let Some(slot) = self.slots.of(id) {
            self.tell(id, Notice::SlotChanged { slot: Some(slot) });
        }
        for kind in [MediaKind::Audio, MediaKind::Video] {
            if self.is_muted(id, kind) {
                self.tell(id, Notice::MutedByHost { kind, muted: true });
            }
        }
    }

    fn return_to(&mut self, id: SeatId, join: &Join) -> Result<JoinReply, Refusal> {
        self.check_capacity(&join.room)?;
        let name = join.display_name.clone();
        self.change_seat(id, |seat| {
            seat.present = true;
            seat.name = name.unwrap_or_else(|| seat.name.clone());
        });
        let seat = self.seats.get(&id).cloned().ok_or(Refusal::InviteForged)?;
        let waits = self.granted(&seat) == Role::Guest && !seat.admitted;
        let text = match (waits, seat.slot) {
            (true, _) => format!("{} is waiting again", seat.name),
            (false, Some(slot)) if self.slots.first_free().is_none() || self.slot_is_taken(slot) => {
                format!("{} is back, but {slot} is taken: give them another slot", seat.name)
            }
            (false, _) => format!("{} is back", seat.name),
        };
        self.note(Severity::Info, text);
        Ok(self.enter(seat, join))
    }

    fn slot_is_taken(&self, slot: wire::SlotId) -> bool {
        // Nobody has the nil id: whoever is in the slot is somebody else.
        self.slots.check(slot, PeerId(uuid::Uuid::nil())).is_err()
    }

    fn enter_as_owner(&mut self, join: &Join) -> Result<JoinReply, Refusal> {
        self.check_capacity(&join.room)?;
        let name = join.display_name.clone().unwrap_or_else(|| default_name(Role::Host));
        let seat = self.new_seat(join, None, lower(Role::Host, join.role), name, true);
        Ok(self.enter(seat, join))
    }

    fn enter_by_claims(&mut self, now: Now, claimed: Claimed, mut join: Join) -> Result<JoinReply, Refusal> {
        self.check_capacity(&join.room)?;
        if let Some(invite) = self.invites.get(&claimed.id) {
            // One `jti` stands for one room (and our own records say whose they are).
            if invite.room != claimed.room {
                return Err(Refusal::InviteOtherRoom);
            }
        } else {
            self.make_room_for_invite(now, &claimed.room)?;
            let invite = Invite {
                id: claimed.id,
                room: claimed.room,
                role: claimed.role,
                display_name: claimed.display_name,
                created_ms: now.unix_ms,
                expires_ms: claimed.expires_ms,
                max_uses: claimed.max_uses,
                uses: 0,
                revoked: false,
            };
            self.invites.insert(invite.id, invite);
            self.find_next_expiry(now);
        }
        if !claimed.publish {
            join.role = Some(Role::Viewer);
        }
        self.enter_by_invite(now, claimed.id, &join)
    }

    fn enter_by_invite(&mut self, now: Now, id: InviteId, join: &Join) -> Result<JoinReply, Refusal> {
        self.check_capacity(&join.room)?;
        let invite = self.invites.get_mut(&id).ok_or(Refusal::InviteForged)?;
        invite.uses += 1;
        let invite = invite.clone();
        debug_assert!(invite.expires_ms > now.unix_ms, "checked by `entry`");
        let name = join.display_name.clone().or_else(|| invite.display_name.clone());
        let name = name.unwrap_or_else(|| default_name(invite.role));
        // Who waits is decided by what was granted: asking for less must not be a way past the green room.
        let (admitted, waits) = (!asks_first(invite.role), invite.role == Role::Guest);
        let seat = self.new_seat(join, Some(id), lower(invite.role, join.role), name, admitted);
        let text = if waits { format!("{} is waiting", seat.name) } else { format!("{} joined", seat.name) };
        self.note(Severity::Info, text);
        self.push(Effect::Keep(Change::Invite(invite)));
        self.push(Effect::Keep(Change::Seat(seat.clone())));
        Ok(self.enter(seat, join))
    }

    fn new_seat(
        &mut self,
        join: &Join,
        invite: Option<InviteId>,
        role: Role,
        name: DisplayName,
        admitted: bool,
    ) -> Seat {
        let seat = Seat {
            id: SeatId(self.new_uuid()),
            room: join.room.clone(),
            invite,
            role,
            name,
            admitted,
            slot: None,
            muted: Muted::default(),
            present: true,
            removed: false,
        };
        self.seats.insert(seat.id, seat.clone());
        seat
    }

    fn enter(&mut self, seat: Seat, join: &Join) -> JoinReply {
        let id = self.seat_peer(&seat, Presence::Here(join.session));
        self.sessions.insert(join.session, id);
        self.tell_of_peer(id, Happening::PeerJoined);
        match self.peers.get(&id).map(|peer| (peer.standing, self.peer_info(id, peer))) {
            Some((PeerState::Live, _)) => self.announce(id),
            Some((PeerState::Waiting, info)) => self.tell_hosts(&join.room, id, Notice::PeerWaiting(info)),
            None => {}
        }
        self.count_viewers(&join.room);
        self.touch_roster();
        self.tell_standing(id);
        self.join_reply(id, false)
    }

    /// The others learn of a peer that is live from now on, with all it sends already.
    pub(crate) fn announce(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let room = peer.room.clone();
        let notice = Notice::PeerJoined(self.peer_info(id, peer));
        self.tell_others(&room, id, notice);
        let producers: Vec<_> =
            self.producers_of(id).map(|(p, producer)| self.producer_info(p, producer)).collect();
        for info in producers {
            self.tell_others(&room, id, new_producer(info));
        }
        for info in self.data_producer_infos(id) {
            self.tell_others(&room, id, new_data_producer(info));
        }
    }

    fn check_capacity(&self, room: &RoomId) -> Result<(), Refusal> {
        if self.is_full {
            return Err(Refusal::ServerFull);
        }
        let limit = self.limits.peers_per_room;
        if self.peers_in(room).count() < limit { Ok(()) } else { Err(Refusal::RoomFull(limit)) }
    }

    pub(crate) fn count_viewers(&mut self, room: &RoomId) {
        let viewers = self.viewers_in(room);
        if let Some(record) = self.rooms.get_mut(room)
            && viewers > record.max_viewers
        {
            record.max_viewers = viewers;
            let record = record.clone();
            self.push(Effect::Keep(Change::Room(record)));
        }
    }

    fn join_reply(&self, id: PeerId, resumed: bool) -> JoinReply {
        let peer = &self.peers[&id];
        let (peers, producers) = self.what_is_seen_by(id, peer);
        JoinReply {
            peer: id,
            room: peer.room.clone(),
            title: self.rooms.get(&peer.room).map(|room| room.title.clone()).unwrap_or_default(),
            role: peer.role,
            state: peer.standing,
            display_name: peer.name.clone(),
            peers,
            producers,
            data_producers: self.data_seen_by(id, peer),
            waiting: self.waiting_for(id, peer),
            may_send: self.permit(id, Action::Send).is_ok(),
            resume_token: self.key.sign_resume(peer.seat),
            resumed,
        }
    }

    /// Who is in the green room, for those who may let them in.
    fn waiting_for(&self, id: PeerId, peer: &Peer) -> Vec<wire::sfu::PeerInfo> {
        if self.permit(id, Action::Place).is_err() {
            return Vec::new();
        }
        let mut waiting: Vec<_> =
            self.peers_in(&peer.room).filter(|(_, p)| p.standing == PeerState::Waiting).collect();
        waiting.sort_by_key(|(_, p)| p.born);
        waiting.into_iter().map(|(other, p)| self.peer_info(other, p)).collect()
    }

    /// The other live peers and what they send; nothing for those in the green room.
    pub(crate) fn what_is_seen_by(
        &self,
        id: PeerId,
        peer: &Peer,
    ) -> (Vec<wire::sfu::PeerInfo>, Vec<wire::sfu::ProducerInfo>) {
        if peer.standing == PeerState::Waiting {
            return (Vec::new(), Vec::new());
        }
        let mut others: Vec<_> = self
            .peers_in(&peer.room)
            .filter(|(other, p)| *other != id && p.standing == PeerState::Live)
            .collect();
        others.sort_by_key(|(_, p)| p.born);
        let peers = others.iter().map(|(other, p)| self.peer_info(*other, p)).collect();
        let producers = others
            .iter()
            .flat_map(|(other, _)| self.producers_of(*other))
            .map(|(p, producer)| self.producer_info(p, producer))
            .collect();
        (peers, producers)
    }
}

pub(crate) fn new_producer(info: wire::sfu::ProducerInfo) -> Notice {
    Notice::NewProducer {
        producer_id: info.producer_id,
        peer_id: info.peer_id,
        kind: info.kind,
        app_data: info.app_data,
    }
}

fn default_name(role: Role) -> DisplayName {
    let name = match role {
        Role::Host => "Host",
        Role::CoHost => "Co-host",
        Role::Guest => "Guest",
        Role::Performer => "Performer",
        Role::Viewer => "Viewer",
    };
    DisplayName::parse(name).expect("a plain word")
}
