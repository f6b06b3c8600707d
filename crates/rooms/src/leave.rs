//! Leaving a room: by choice, by silence, by the host's hand, or because the room closes.

use crate::command::{Effect, SessionId};
use crate::news;
use crate::permission::asks_first;
use crate::record::Seat;
use crate::refusal::Refusal;
use crate::roster::{Presence, Rooms};
use crate::text::ChatText;
use crate::time::Now;
use wire::dashboard::Severity;
use wire::sfu::{Notice, PeerState, Role};
use wire::{DisplayName, PeerId, RoomId, TransportId};

impl Rooms {
    pub(crate) fn on_disconnected(&mut self, now: Now, session: SessionId) {
        let Some(id) = self.sessions.remove(&session) else { return };
        let grace = self.limits.grace;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.presence = Presence::Away { until_mono_ms: now.mono_after(grace) };
        let text = format!("{}'s connection was lost; waiting {} s for them", peer.name, grace.as_secs());
        self.note(Severity::Warning, text);
        self.touch_roster();
    }

    pub(crate) fn on_grace_over(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let text = format!("{} did not come back; their link still works", peer.name);
        self.note(Severity::Warning, text);
        self.end_peer(id, "connection lost", None);
    }

    pub(crate) fn leave(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (seat, text) = (peer.seat, format!("{} left", peer.name));
        self.note(Severity::Info, text);
        self.end_peer(id, "left", None);
        // Who leaves by choice and comes back is let in again by the host.
        let waits = self.seats.get(&seat).is_some_and(|seat| self.waits_when_new(seat));
        self.change_seat(seat, |seat| {
            seat.admitted &= !waits;
            seat.slot = None;
        });
    }

    fn waits_when_new(&self, seat: &Seat) -> bool {
        let invite = seat.invite.and_then(|id| self.invites.get(&id));
        invite.is_some_and(|invite| asks_first(invite.role))
    }

    /// The seat dies with the peer: neither link nor resume token brings this guest back.
    pub(crate) fn remove(&mut self, id: PeerId, reason: &str) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (seat, text) = (peer.seat, format!("{} was removed", peer.name));
        self.note(Severity::Info, text);
        self.end_peer(id, "removed by the host", Some(Notice::Kicked { reason: reason.to_owned() }));
        self.change_seat(seat, |seat| {
            seat.removed = true;
            seat.slot = None;
        });
    }

    /// Takes a peer and everything of it away. `last`: what its own session is told before it is closed.
    pub(crate) fn end_peer(&mut self, id: PeerId, reason: &str, last: Option<Notice>) {
        let Some(room) = self.peers.get(&id).map(|peer| peer.room.clone()) else { return };
        let transports: Vec<TransportId> =
            self.transports.iter().filter(|(_, t)| t.peer == id).map(|(id, _)| *id).collect();
        for transport in transports {
            self.end_transport(transport);
        }
        if let Some(slot) = self.slots.take_out(id) {
            self.push(Effect::Bind { slot, occupant: None });
        }
        if let Some(notice) = last {
            self.tell(id, notice);
        }
        let Some(peer) = self.peers.remove(&id) else { return };
        if let Some(session) = peer.presence.session() {
            self.sessions.remove(&session);
            self.push(Effect::CloseSession(session));
        }
        self.tell_outside(news::gone(id, &peer, reason));
        let left = Notice::PeerLeft { peer_id: id, reason: reason.to_owned() };
        match peer.standing {
            PeerState::Live => self.tell_others(&room, id, left),
            PeerState::Waiting => self.tell_hosts(&room, id, left),
        }
        match self.seats.get(&peer.seat).is_some_and(|seat| seat.invite.is_some()) {
            true => self.change_seat(peer.seat, |seat| seat.present = false),
            // The owner needs no seat kept: their token opens every room.
            false => drop(self.seats.remove(&peer.seat)),
        }
        self.touch_roster();
    }

    pub(crate) fn empty_room(&mut self, room: &RoomId, reason: &str) {
        let everyone: Vec<PeerId> = self.peers_in(room).map(|(id, _)| id).collect();
        for peer in everyone {
            self.end_peer(peer, "room closed", Some(Notice::RoomClosed { reason: reason.to_owned() }));
        }
        self.push(Effect::RoomClosed(room.clone()));
    }

    pub(crate) fn chat(&mut self, now: Now, id: PeerId, text: ChatText) -> Result<(), Refusal> {
        let peer = self.live(id)?;
        let (room, display_name) = (peer.room.clone(), peer.name.clone());
        let text = text.as_str().to_owned();
        self.tell_others(&room, id, Notice::Chat { peer_id: id, display_name, text, at: now.unix_ms });
        Ok(())
    }

    pub(crate) fn raise_hand(&mut self, id: PeerId, raised: bool) -> Result<(), Refusal> {
        let room = self.live(id)?.room.clone();
        let Some(peer) = self.peers.get_mut(&id) else { return Err(Refusal::NotJoined) };
        if std::mem::replace(&mut peer.hand_raised, raised) != raised {
            if raised {
                let asks = peer.role == Role::Performer && self.slots.of(id).is_none();
                let what = if asks { "asks to come onto the stage" } else { "raised a hand" };
                let text = format!("{} {what}", peer.name);
                self.note(Severity::Info, text);
            }
            self.tell_others(&room, id, Notice::HandRaised { peer_id: id, raised });
            self.touch_roster();
        }
        Ok(())
    }

    pub(crate) fn rename(&mut self, id: PeerId, name: DisplayName) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.name == name {
            return;
        }
        peer.name = name.clone();
        let (room, seat, standing) = (peer.room.clone(), peer.seat, peer.standing);
        self.change_seat(seat, |seat| seat.name = name.clone());
        if standing == PeerState::Live {
            self.tell_others(&room, id, Notice::PeerRenamed { peer_id: id, display_name: name });
        }
        if let Some(slot) = self.slots.of(id) {
            self.bind(slot, id);
        }
        self.touch_roster();
    }
}
