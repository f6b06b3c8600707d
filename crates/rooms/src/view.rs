//! What others may read: the dashboard, REST, and the composition that wires media to people.

use crate::permission::Action;
use crate::record::{Invite, RoomRecord};
use crate::refusal::Refusal;
use crate::roster::{Peer, Presence, Producer, Rooms};
use crate::time::{Now, rfc3339};
use std::collections::BTreeMap;
use wire::dashboard::{GuestView, InviteState, InviteSummary, RoomView, TrackView};
use wire::ortc::MediaKind;
use wire::rest::{LiveRoom, PeerDetails, RoomDetails, RoomSummary};
use wire::sfu::{Notice, PeerState};
use wire::stats::Quality;
use wire::{ConsumerId, PeerId, ProducerId, RoomId, SlotId, TransportId};

/// One track of a peer, as outputs need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerView {
    pub id: ProducerId,
    pub peer: PeerId,
    pub kind: MediaKind,
    /// Of a screen, not of a camera.
    pub screen: bool,
    pub paused: bool,
}

impl Rooms {
    /// Everything the dashboard draws of rooms; connection figures are zero and nobody speaks, for the caller to fill in.
    pub fn room_views(&self, now: Now) -> Vec<RoomView> {
        self.rooms
            .values()
            .map(|room| {
                let mut peers: Vec<_> = self.peers_in(&room.id).collect();
                peers.sort_by_key(|(_, peer)| peer.born);
                RoomView {
                    id: room.id.clone(),
                    title: room.title.clone(),
                    status: room.status,
                    guests: peers.into_iter().map(|(id, peer)| self.guest_view(id, peer)).collect(),
                    invites: self.invites_in(now, &room.id),
                    speaker: None,
                }
            })
            .collect()
    }

    fn guest_view(&self, id: PeerId, peer: &Peer) -> GuestView {
        GuestView {
            peer_id: id,
            display_name: peer.name.clone(),
            role: peer.role,
            state: peer.standing,
            slot: self.slots.of(id),
            connected: matches!(peer.presence, Presence::Here(_)),
            hand_raised: peer.hand_raised,
            camera: self.track_view(id, MediaKind::Video),
            microphone: self.track_view(id, MediaKind::Audio),
            screen: self
                .tracks_of(id)
                .iter()
                .find(|track| track.screen && !track.paused)
                .map(|track| track.id),
            tally: None,
            quality: Quality::default(),
            picture: None,
            av_offset_ms: None,
            steadiness: Default::default(),
            failed: false,
            hearing: Default::default(),
            trouble: None,
        }
    }

    fn track_view(&self, peer: PeerId, kind: MediaKind) -> TrackView {
        let mut own = self.producers_of(peer).map(|(_, producer)| producer);
        let first = own.find(|producer| producer.kind == kind && !producer.is_screen());
        match first {
            _ if self.is_muted(peer, kind) => TrackView::MutedByHost,
            None => TrackView::Off,
            Some(producer) if producer.paused_by_guest => TrackView::MutedByGuest,
            Some(_) => TrackView::On,
        }
    }

    fn invites_in(&self, now: Now, room: &RoomId) -> Vec<InviteSummary> {
        let mut invites: Vec<&Invite> = self.invites.values().filter(|invite| invite.room == *room).collect();
        invites.sort_by_key(|invite| (invite.created_ms, invite.id));
        invites.into_iter().map(|invite| summary(now, invite)).collect()
    }

    pub fn invites(&self, now: Now, room: &RoomId) -> Result<Vec<InviteSummary>, Refusal> {
        self.rooms.get(room).ok_or(Refusal::RoomNotFound)?;
        Ok(self.invites_in(now, room))
    }

    /// As the owner sees it, stream key and all.
    pub fn live_room(&self, room: &RoomId) -> Result<LiveRoom, Refusal> {
        self.rooms.get(room).map(|record| self.live_room_view(record)).ok_or(Refusal::RoomNotFound)
    }

    pub fn live_rooms(&self) -> Vec<LiveRoom> {
        self.rooms.values().map(|record| self.live_room_view(record)).collect()
    }

    fn live_room_view(&self, record: &RoomRecord) -> LiveRoom {
        LiveRoom {
            id: record.id.clone(),
            user_id: OWNER.to_owned(),
            title: record.title.clone(),
            status: record.status,
            is_private: record.is_private,
            stream_key: Some(record.stream_key.clone()),
            start_time: record.started_ms.map(rfc3339),
            end_time: record.ended_ms.map(rfc3339),
            viewers: self.viewers_in(&record.id),
            max_viewers: record.max_viewers,
        }
    }

    /// Those who only watch: viewers, performers who are not on stage, and whoever does so elsewhere
    /// ([`Self::set_live_viewers`]).
    pub(crate) fn viewers_in(&self, room: &RoomId) -> u32 {
        let here =
            self.peers_in(room).filter(|(id, _)| self.permit(*id, Action::Send).is_err()).count() as u32;
        here + self.live_viewers.get(room).copied().unwrap_or_default()
    }

    /// How many watch each room by the live rooms' WebSocket: all rooms that have any.
    pub fn set_live_viewers(&mut self, viewers: BTreeMap<RoomId, u32>) {
        self.live_viewers = viewers;
        for room in self.live_viewers.keys().cloned().collect::<Vec<_>>() {
            self.count_viewers(&room);
        }
    }

    /// Who publishes in a room since when, the longest first; what is paused or muted does not count.
    pub fn streams(&self, room: &RoomId) -> Result<Vec<(ProducerId, u64)>, Refusal> {
        self.rooms.get(room).ok_or(Refusal::RoomNotFound)?;
        let here = |p: &Producer| self.live_in(p.peer) == Some(room) && !self.is_paused(p);
        let mut streams: Vec<_> =
            self.producers.iter().filter(|(_, p)| here(p)).map(|(id, p)| (*id, p.since_ms)).collect();
        streams.sort_by_key(|(id, since_ms)| (*since_ms, *id));
        Ok(streams)
    }

    /// A room's secret name for publishing.
    pub fn stream_key(&self, room: &RoomId) -> Result<&str, Refusal> {
        self.rooms.get(room).map(|room| room.stream_key.as_str()).ok_or(Refusal::RoomNotFound)
    }

    /// Rooms with somebody in them.
    pub fn active_rooms(&self) -> Vec<RoomSummary> {
        let with_peers = self.rooms.values().map(|room| RoomSummary {
            id: room.id.clone(),
            peers: self.peers_in(&room.id).count(),
            is_private: room.is_private,
        });
        with_peers.filter(|room| room.peers > 0).collect()
    }

    /// One room with its peers; figures of consumers and quality are the caller's to fill in.
    pub fn room_details(&self, room: &RoomId) -> Result<RoomDetails, Refusal> {
        let record = self.rooms.get(room).ok_or(Refusal::RoomNotFound)?;
        let mut peers: Vec<_> = self.peers_in(room).collect();
        peers.sort_by_key(|(_, peer)| peer.born);
        let details = |(id, peer): (PeerId, &Peer)| PeerDetails {
            peer_id: id,
            display_name: peer.name.clone(),
            role: peer.role,
            state: peer.standing,
            producers: self.producers_of(id).map(|(p, producer)| self.producer_info(p, producer)).collect(),
            consumers: Vec::new(),
            quality: Quality::default(),
        };
        Ok(RoomDetails {
            id: record.id.clone(),
            title: record.title.clone(),
            status: record.status,
            is_private: record.is_private,
            peers: peers.into_iter().map(details).collect(),
        })
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.rooms.len(), self.peers.len())
    }

    pub fn slot_count(&self) -> u8 {
        self.slots.count()
    }

    pub fn slot_of(&self, peer: PeerId) -> Option<SlotId> {
        self.slots.of(peer)
    }

    pub fn peer_ids(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.peers.keys().copied()
    }

    pub fn transports_of(&self, peer: PeerId) -> Vec<TransportId> {
        self.transports.iter().filter(|(_, t)| t.peer == peer).map(|(id, _)| *id).collect()
    }

    pub fn has_transports(&self, room: &RoomId) -> bool {
        let of_room = |peer: &PeerId| self.peers.get(peer).is_some_and(|peer| peer.room == *room);
        self.transports.values().any(|transport| of_room(&transport.peer))
    }

    pub fn transport_owner(&self, transport: TransportId) -> Option<PeerId> {
        self.transports.get(&transport).map(|t| t.peer)
    }

    pub fn consumer_owner(&self, consumer: ConsumerId) -> Option<PeerId> {
        self.consumers.get(&consumer).map(|c| c.peer)
    }

    pub fn consumers_of(&self, peer: PeerId) -> Vec<ConsumerId> {
        self.consumers.iter().filter(|(_, c)| c.peer == peer).map(|(id, _)| *id).collect()
    }

    /// A peer's tracks, the oldest first.
    pub fn tracks_of(&self, peer: PeerId) -> Vec<ProducerView> {
        self.producers_of(peer).map(|(id, p)| self.producer_view(id, p)).collect()
    }

    pub fn track(&self, id: ProducerId) -> Option<ProducerView> {
        self.producers.get(&id).map(|producer| self.producer_view(id, producer))
    }

    fn producer_view(&self, id: ProducerId, p: &Producer) -> ProducerView {
        ProducerView { id, peer: p.peer, kind: p.kind, screen: p.is_screen(), paused: self.is_paused(p) }
    }

    /// Whether a peer has a connection, not only a place that is kept.
    pub fn is_here(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|peer| matches!(peer.presence, Presence::Here(_)))
    }

    pub fn name_of(&self, peer: PeerId) -> Option<&wire::DisplayName> {
        self.peers.get(&peer).map(|peer| &peer.name)
    }

    /// The room a peer is in, whether they are in the show, and whether their connection is.
    pub fn whereabouts(&self, peer: PeerId) -> Option<(&RoomId, PeerState, bool)> {
        let peer = self.peers.get(&peer)?;
        Some((&peer.room, peer.standing, matches!(peer.presence, Presence::Here(_))))
    }

    /// Says something to one peer that has a connection.
    pub fn notify(&mut self, peer: PeerId, notice: Notice) {
        self.tell(peer, notice);
    }

    /// Says something to every peer that has a connection, in every room.
    pub fn notify_everyone(&mut self, notice: &Notice) {
        let everyone: Vec<PeerId> = self.peers.keys().copied().collect();
        for peer in everyone {
            self.tell(peer, notice.clone());
        }
    }

    /// Says something to every live peer of a room that has a connection.
    pub fn notify_room(&mut self, room: &RoomId, notice: &Notice) {
        let live = |(_, peer): &(PeerId, &Peer)| peer.standing == PeerState::Live;
        let everyone: Vec<PeerId> = self.peers_in(room).filter(live).map(|(id, _)| id).collect();
        for peer in everyone {
            self.tell(peer, notice.clone());
        }
    }

    /// The room in which a peer is live.
    pub fn live_in(&self, peer: PeerId) -> Option<&RoomId> {
        self.peers.get(&peer).filter(|peer| peer.standing == PeerState::Live).map(|peer| &peer.room)
    }
}

fn summary(now: Now, invite: &Invite) -> InviteSummary {
    InviteSummary {
        id: invite.id,
        role: invite.role,
        display_name: invite.display_name.clone(),
        created_at: rfc3339(invite.created_ms),
        expires_at: rfc3339(invite.expires_ms),
        max_uses: invite.max_uses,
        uses: invite.uses,
        state: match invite {
            Invite { revoked: true, .. } => InviteState::Revoked,
            invite if invite.expires_ms <= now.unix_ms => InviteState::Expired,
            invite if invite.uses >= invite.max_uses => InviteState::UsedUp,
            _ => InviteState::Open,
        },
    }
}

/// There is one owner; the field exists for clients that expect a user.
const OWNER: &str = "owner";
