//! What the streamer does: rooms, invites, and who is in the show.

use crate::command::{Effect, NewInvite, OwnerCommand, Reply};
use crate::jwt::MAX_USES;
use crate::permission::{Actor, permits};
use crate::record::{Change, Invite, RoomRecord};
use crate::refusal::Refusal;
use crate::roster::{REMOVED, Rooms};
use crate::text::Title;
use crate::time::Now;
use crate::token::InviteToken;
use wire::rest::RoomStatus;
use wire::sfu::{Notice, PeerState, Role};
use wire::webhook::Happening;
use wire::{DisplayName, InviteId, PeerId, RoomId, SlotId};

impl Rooms {
    pub(crate) fn handle_owner(&mut self, now: Now, command: OwnerCommand) -> Result<Reply, Refusal> {
        permits(Actor::Owner, command.action())?;
        match command {
            OwnerCommand::CreateRoom { id, title, is_private } => {
                self.create_room(now, id, title, is_private)
            }
            OwnerCommand::UpdateRoom { id, status, title, is_private } => {
                self.update_room(now, id, status, title, is_private)
            }
            OwnerCommand::DeleteRoom(id) => self.delete_room(id),
            OwnerCommand::CreateInvite { room, role, expires_in_secs, max_uses, display_name } => {
                self.create_invite(now, room, role, expires_in_secs, max_uses, display_name)
            }
            OwnerCommand::RevokeInvite { room, invite, end_peers } => {
                self.revoke_invite(now, room, invite, end_peers)
            }
            OwnerCommand::Admit { room, peer, slot } => self.admit(room, peer, slot),
            OwnerCommand::AssignSlot { room, peer, slot } => self.assign_slot(room, peer, slot),
            OwnerCommand::Mute { room, peer, kind, muted } => {
                self.peer_in(&room, peer)?;
                self.mute(peer, kind, muted);
                Ok(Reply::Done)
            }
            OwnerCommand::Remove { room, peer } => {
                self.peer_in(&room, peer)?;
                self.remove(peer, REMOVED);
                Ok(Reply::Done)
            }
        }
    }

    fn create_room(
        &mut self,
        now: Now,
        id: RoomId,
        title: Option<Title>,
        is_private: bool,
    ) -> Result<Reply, Refusal> {
        if self.rooms.contains_key(&id) {
            return Err(Refusal::RoomExists);
        }
        if self.rooms.len() >= self.limits.rooms {
            return Err(Refusal::LimitReached { what: "rooms", limit: self.limits.rooms });
        }
        let record = RoomRecord {
            title: title.map_or_else(|| id.to_string(), |title| title.as_str().to_owned()),
            is_private,
            status: RoomStatus::Preparing,
            stream_key: self.new_uuid().simple().to_string(),
            created_ms: now.unix_ms,
            started_ms: None,
            ended_ms: None,
            max_viewers: 0,
            used_ms: now.unix_ms,
            id: id.clone(),
        };
        self.rooms.insert(id, record.clone());
        self.keep_room(record)
    }

    fn update_room(
        &mut self,
        now: Now,
        id: RoomId,
        status: Option<RoomStatus>,
        title: Option<Title>,
        is_private: Option<bool>,
    ) -> Result<Reply, Refusal> {
        let record = self.rooms.get_mut(&id).ok_or(Refusal::RoomNotFound)?;
        if status.is_some_and(|status| status <= record.status) {
            return Err(Refusal::StatusOnlyForward);
        }
        if let Some(title) = title {
            record.title = title.as_str().to_owned();
        }
        record.is_private = is_private.unwrap_or(record.is_private);
        match status {
            Some(RoomStatus::Live) => record.started_ms = Some(now.unix_ms),
            Some(RoomStatus::Ended) => record.ended_ms = Some(now.unix_ms),
            Some(RoomStatus::Preparing) | None => {}
        }
        record.status = status.unwrap_or(record.status);
        record.used_ms = now.unix_ms;
        let record = record.clone();
        if status == Some(RoomStatus::Ended) {
            self.empty_room(&id, "The host ended the show.");
        }
        match (status, self.room_fact(&id)) {
            (Some(RoomStatus::Live), Some(fact)) => self.tell_outside(Happening::RoomLive(fact)),
            (Some(RoomStatus::Ended), Some(fact)) => self.tell_outside(Happening::RoomEnded(fact)),
            _ => {}
        }
        self.keep_room(record)
    }

    fn keep_room(&mut self, record: RoomRecord) -> Result<Reply, Refusal> {
        self.push(Effect::Keep(Change::Room(record.clone())));
        self.touch_roster();
        Ok(Reply::Room(Box::new(record)))
    }

    fn delete_room(&mut self, id: RoomId) -> Result<Reply, Refusal> {
        self.rooms.get(&id).ok_or(Refusal::RoomNotFound)?;
        self.forget_room(id, "The host closed this room.");
        Ok(Reply::Done)
    }

    pub(crate) fn forget_room(&mut self, id: RoomId, reason: &str) {
        self.empty_room(&id, reason);
        if let Some(fact) = self.room_fact(&id)
            && self.rooms.remove(&id).is_some_and(|record| record.status != RoomStatus::Ended)
        {
            self.tell_outside(Happening::RoomEnded(fact));
        }
        self.invites.retain(|_, invite| invite.room != id);
        self.seats.retain(|_, seat| seat.room != id);
        self.push(Effect::Keep(Change::RoomDeleted(id)));
        self.touch_roster();
    }

    fn create_invite(
        &mut self,
        now: Now,
        room: RoomId,
        role: Role,
        expires_in_secs: u64,
        max_uses: u32,
        display_name: Option<DisplayName>,
    ) -> Result<Reply, Refusal> {
        let status = self.rooms.get(&room).ok_or(Refusal::RoomNotFound)?.status;
        if status == RoomStatus::Ended {
            return Err(Refusal::RoomEnded);
        }
        if !(1..=MAX_EXPIRY_SECS).contains(&expires_in_secs) {
            return Err(Refusal::OutOfBounds(
                "An invite lives from 1 second to 30 days: change `expiresIn`.",
            ));
        }
        if !(1..=MAX_USES).contains(&max_uses) {
            return Err(Refusal::OutOfBounds("An invite is good for 1 to 1,000 uses: change `maxUses`."));
        }
        self.make_room_for_invite(now, &room)?;
        // Whole seconds, because the token says seconds: link and record end together.
        let expires_secs = now.unix_ms / 1000 + expires_in_secs;
        let invite = Invite {
            id: InviteId(self.new_uuid()),
            room,
            role,
            display_name,
            created_ms: now.unix_ms,
            expires_ms: expires_secs * 1000,
            max_uses,
            uses: 0,
            revoked: false,
        };
        let token = self.key.sign_invite(&InviteToken {
            id: invite.id,
            room: invite.room.clone(),
            role: invite.role,
            expires_secs,
        });
        let jwt = self.key.sign_jwt(&invite.claims(), now);
        let reply = NewInvite { id: invite.id, token, jwt, expires_ms: invite.expires_ms };
        self.push(Effect::Keep(Change::Invite(invite.clone())));
        self.invites.insert(invite.id, invite);
        self.find_next_expiry(now);
        self.touch_roster();
        Ok(Reply::Invite(Box::new(reply)))
    }

    fn revoke_invite(
        &mut self,
        now: Now,
        room: RoomId,
        id: InviteId,
        end_peers: bool,
    ) -> Result<Reply, Refusal> {
        self.rooms.get(&room).ok_or(Refusal::RoomNotFound)?;
        let invite = self
            .invites
            .get_mut(&id)
            .filter(|invite| invite.room == room)
            .ok_or(Refusal::NotFound("invite"))?;
        if !std::mem::replace(&mut invite.revoked, true) {
            let invite = invite.clone();
            self.push(Effect::Keep(Change::Invite(invite)));
            self.find_next_expiry(now);
            self.touch_roster();
        }
        if end_peers {
            let of_invite = |seat| self.seats.get(&seat).is_some_and(|seat| seat.invite == Some(id));
            let guests: Vec<PeerId> =
                self.peers.iter().filter(|(_, peer)| of_invite(peer.seat)).map(|(id, _)| *id).collect();
            for guest in guests {
                self.remove(guest, "The host took your invite back.");
            }
        }
        Ok(Reply::Done)
    }

    pub(crate) fn admit(&mut self, room: RoomId, id: PeerId, slot: Option<SlotId>) -> Result<Reply, Refusal> {
        let peer = self.peer_in(&room, id)?;
        let (seat, role, was) = (peer.seat, peer.role, peer.standing);
        let asks = role == Role::Performer && !self.standing(id)?.admitted;
        if was == PeerState::Live && !asks {
            // A second click, or a named slot for someone who is in already.
            return match slot {
                Some(_) => self.assign_slot(room, id, slot),
                None => Ok(Reply::Done),
            };
        }
        let slot = match (role, slot) {
            (Role::Viewer, Some(_)) => return Err(Refusal::ViewerInSlot),
            (Role::Viewer, None) => None,
            (_, Some(slot)) => Some(slot),
            (_, None) => Some(self.slots.first_free().ok_or(Refusal::NoFreeSlot)?),
        };
        if let Some(slot) = slot {
            self.slots.check(slot, id)?;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.standing = PeerState::Live;
            peer.hand_raised &= !asks;
        }
        self.change_seat(seat, |seat| (seat.admitted, seat.slot) = (true, slot));
        if let Some(slot) = slot {
            self.put_in_slot(slot, id);
        }
        self.tell_of_peer(id, Happening::PeerAdmitted);
        if let Some(peer) = self.peers.get(&id) {
            let (peers, producers) = self.what_is_seen_by(id, peer);
            let data_producers = self.data_seen_by(id, peer);
            self.tell(id, Notice::Admitted { slot, peers, producers, data_producers });
        }
        match was {
            PeerState::Waiting => self.announce(id),
            // Their hand went down: what it asked for is given.
            PeerState::Live => {
                let lowered = Notice::HandRaised { peer_id: id, raised: false };
                self.tell(id, lowered.clone());
                self.tell_others(&room, id, lowered);
            }
        }
        self.touch_roster();
        Ok(Reply::Done)
    }

    pub(crate) fn assign_slot(
        &mut self,
        room: RoomId,
        id: PeerId,
        slot: Option<SlotId>,
    ) -> Result<Reply, Refusal> {
        let peer = self.peer_in(&room, id)?;
        let (seat, role, standing) = (peer.seat, peer.role, peer.standing);
        if let Some(slot) = slot {
            match (role, standing) {
                (Role::Viewer, _) => return Err(Refusal::ViewerInSlot),
                (_, PeerState::Waiting) => return Err(Refusal::NotAdmitted),
                (Role::Performer, _) if !self.standing(id)?.admitted => return Err(Refusal::NotAdmitted),
                _ => self.slots.check(slot, id)?,
            }
        }
        if self.slots.of(id) == slot && !(slot.is_none() && role == Role::Performer) {
            return Ok(Reply::Done);
        }
        match slot {
            Some(slot) => self.put_in_slot(slot, id),
            None => {
                if let Some(slot) = self.slots.take_out(id) {
                    self.push(Effect::Bind { slot, occupant: None });
                }
            }
        }
        let leaves_stage = slot.is_none() && role == Role::Performer;
        self.change_seat(seat, |seat| (seat.slot, seat.admitted) = (slot, seat.admitted && !leaves_stage));
        self.tell(id, Notice::SlotChanged { slot });
        if leaves_stage {
            self.end_sending(id, "The host took you off the stage.");
        }
        self.touch_roster();
        Ok(Reply::Done)
    }

    pub(crate) fn make_room_for_invite(&mut self, now: Now, room: &RoomId) -> Result<(), Refusal> {
        self.forget_dead_invites(now, room);
        let limit = self.limits.invites_per_room;
        if self.invites.values().filter(|invite| invite.room == *room).count() >= limit {
            return Err(Refusal::LimitReached { what: "open invites", limit });
        }
        Ok(())
    }

    /// Invites that let nobody in any more and never did, or long ago, make room for new ones.
    fn forget_dead_invites(&mut self, now: Now, room: &RoomId) {
        let in_use = |id: InviteId, peers: &Self| {
            peers.peers.values().any(|p| peers.seats.get(&p.seat).is_some_and(|seat| seat.invite == Some(id)))
        };
        let dead: Vec<InviteId> = self
            .invites
            .values()
            .filter(|invite| invite.room == *room)
            .filter(|invite| {
                invite.expires_ms.saturating_add(KEEP_DEAD_MS) <= now.unix_ms && !in_use(invite.id, self)
            })
            .map(|invite| invite.id)
            .collect();
        for id in dead {
            self.invites.remove(&id);
            self.seats.retain(|_, seat| seat.invite != Some(id));
            self.push(Effect::Keep(Change::InviteDeleted(id)));
        }
    }
}

const MAX_EXPIRY_SECS: u64 = 30 * 24 * 3600;
/// The dashboard shows an expired invite for this long, so that "why can't they get in" has an answer.
const KEEP_DEAD_MS: u64 = 7 * 24 * 3600 * 1000;
