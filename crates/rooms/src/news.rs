//! What programs outside are told of rooms, as facts that need no look-up later.

use crate::command::Effect;
use crate::roster::{Peer, Producer, Rooms};
use wire::ortc::MediaKind;
use wire::webhook::{Happening, PeerFact, PeerGone, PublishFact, RoomFact};
use wire::{PeerId, ProducerId, RoomId};

impl Rooms {
    pub(crate) fn tell_outside(&mut self, happening: Happening) {
        self.push(Effect::Happened(happening));
    }

    /// What people call themselves and their rooms, as far as is kept.
    pub fn names(&self) -> Vec<String> {
        let people = self.peers.values().map(|peer| peer.name.to_string());
        let seats = self.seats.values().map(|seat| seat.name.to_string());
        let invites =
            self.invites.values().filter_map(|invite| Some(invite.display_name.as_ref()?.to_string()));
        let titles = self.rooms.values().map(|room| room.title.clone());
        people.chain(seats).chain(invites).chain(titles).collect()
    }

    pub(crate) fn room_fact(&self, room: &RoomId) -> Option<RoomFact> {
        self.rooms.get(room).map(|record| RoomFact { room_id: room.clone(), title: record.title.clone() })
    }

    /// As `shape` says it, if they are there.
    pub(crate) fn tell_of_peer(&mut self, id: PeerId, shape: impl FnOnce(PeerFact) -> Happening) {
        if let Some(peer) = self.peers.get(&id) {
            self.tell_outside(shape(peer_fact(id, peer)));
        }
    }

    pub(crate) fn tell_of_track(
        &mut self,
        id: ProducerId,
        producer: &Producer,
        shape: impl FnOnce(PublishFact) -> Happening,
    ) {
        let Some(peer) = self.peers.get(&producer.peer) else { return };
        let kind = match producer.kind {
            MediaKind::Audio => "audio",
            MediaKind::Video if producer.is_screen() => "screen",
            MediaKind::Video => "video",
        };
        self.tell_outside(shape(PublishFact {
            room_id: peer.room.clone(),
            peer_id: producer.peer,
            display_name: peer.name.clone(),
            producer_id: id,
            kind: kind.to_owned(),
        }));
    }
}

pub(crate) fn gone(id: PeerId, peer: &Peer, reason: &str) -> Happening {
    Happening::PeerLeft(PeerGone { peer: peer_fact(id, peer), reason: reason.to_owned() })
}

fn peer_fact(id: PeerId, peer: &Peer) -> PeerFact {
    PeerFact {
        room_id: peer.room.clone(),
        peer_id: id,
        display_name: peer.name.clone(),
        role: peer.role,
        state: peer.standing,
    }
}
