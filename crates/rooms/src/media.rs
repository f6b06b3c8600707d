//! Who owns which transport, producer and consumer, and who may see what.

use crate::command::{Effect, SessionId};
use crate::join::new_producer;
use crate::permission::Action;
use crate::refusal::Refusal;
use crate::roster::{Consumer, Peer, Producer, Rooms, Transport};
use serde_json::{Map, Value};
use wire::ortc::{Direction, MediaKind};
use wire::sfu::{Notice, PeerState};
use wire::webhook::Happening;
use wire::{ConsumerId, PeerId, ProducerId, RoomId, TransportId};

/// Questions, asked before the forwarding plane makes anything.
impl Rooms {
    /// The room whose router a session's media goes through.
    pub fn may_create_transport(&self, session: SessionId, direction: Direction) -> Result<RoomId, Refusal> {
        let id = self.peer_of(session)?;
        let peer = self.peers.get(&id).ok_or(Refusal::NotJoined)?;
        if direction == Direction::Send {
            self.permit(id, Action::Send)?;
        }
        let limit = self.limits.transports_per_peer;
        // Those the new one replaces do not count.
        let stays = |t: &&Transport| t.peer == id && !(t.inherited && t.direction == direction);
        let has = self.transports.values().filter(stays).count();
        if has < limit {
            Ok(peer.room.clone())
        } else {
            Err(Refusal::LimitReached { what: "transports", limit })
        }
    }

    pub fn may_use_transport(&self, session: SessionId, transport: TransportId) -> Result<(), Refusal> {
        self.own_transport(self.peer_of(session)?, transport).map(|_| ())
    }

    /// Whether the track has to start paused because the host muted this guest.
    pub fn may_produce(
        &self,
        session: SessionId,
        transport: TransportId,
        kind: MediaKind,
    ) -> Result<bool, Refusal> {
        let id = self.peer_of(session)?;
        self.check_produce(id, transport)?;
        Ok(self.is_muted(id, kind))
    }

    /// The transport to consume on: the one named, or the peer's only way in.
    pub fn may_consume(
        &self,
        session: SessionId,
        transport: Option<TransportId>,
        producer: ProducerId,
    ) -> Result<TransportId, Refusal> {
        let id = self.peer_of(session)?;
        self.permit(id, Action::Receive)?;
        let transport = self.receiving_transport(id, transport)?;
        self.check_consume(id, transport, producer)?;
        Ok(transport)
    }

    pub fn may_use_producer(&self, session: SessionId, producer: ProducerId) -> Result<(), Refusal> {
        self.own_producer(self.peer_of(session)?, producer).map(|_| ())
    }

    pub fn may_use_consumer(&self, session: SessionId, consumer: ConsumerId) -> Result<(), Refusal> {
        self.own_consumer(self.peer_of(session)?, consumer).map(|_| ())
    }

    /// Whose producer it is, with what they said of it.
    pub fn producer_owner(&self, producer: ProducerId) -> Option<(PeerId, &Map<String, Value>)> {
        self.producers.get(&producer).map(|p| (p.peer, &p.app_data))
    }
}

/// The answers written down.
impl Rooms {
    pub(crate) fn add_transport(
        &mut self,
        peer: PeerId,
        id: TransportId,
        direction: Direction,
    ) -> Result<(), Refusal> {
        let replaced: Vec<_> = self
            .transports
            .iter()
            .filter(|(_, t)| t.peer == peer && t.direction == direction && t.inherited)
            .map(|(id, _)| *id)
            .collect();
        for old in replaced {
            self.end_transport(old);
        }
        self.transports.insert(id, Transport { peer, direction, inherited: false });
        Ok(())
    }

    pub(crate) fn add_producer(
        &mut self,
        id: PeerId,
        producer: ProducerId,
        record: Producer,
    ) -> Result<(), Refusal> {
        self.check_produce(id, record.transport)?;
        let info = self.producer_info(producer, &record);
        self.tell_of_track(producer, &record, Happening::PublishStarted);
        self.producers.insert(producer, record);
        if let Ok(peer) = self.live(id) {
            let room = peer.room.clone();
            self.tell_others(&room, id, new_producer(info));
        }
        self.touch_roster();
        Ok(())
    }

    pub(crate) fn add_consumer(
        &mut self,
        id: PeerId,
        transport: TransportId,
        consumer: ConsumerId,
        producer: ProducerId,
        paused: bool,
    ) -> Result<(), Refusal> {
        self.check_consume(id, transport, producer)?;
        self.consumers.insert(consumer, Consumer { peer: id, transport, producer, paused });
        Ok(())
    }

    pub(crate) fn pause_producer(
        &mut self,
        peer: PeerId,
        id: ProducerId,
        paused: bool,
    ) -> Result<(), Refusal> {
        let kind = self.own_producer(peer, id)?.kind;
        if !paused && self.is_muted(peer, kind) {
            return Err(Refusal::MutedByHost(kind));
        }
        self.change_pause(id, |producer| producer.paused_by_guest = paused);
        Ok(())
    }

    pub(crate) fn pause_consumer(
        &mut self,
        peer: PeerId,
        id: ConsumerId,
        paused: bool,
    ) -> Result<(), Refusal> {
        self.own_consumer(peer, id)?;
        if let Some(consumer) = self.consumers.get_mut(&id) {
            consumer.paused = paused;
        }
        Ok(())
    }

    pub(crate) fn close_consumer(&mut self, peer: PeerId, id: ConsumerId) -> Result<(), Refusal> {
        self.own_consumer(peer, id)?;
        self.consumers.remove(&id);
        self.push(Effect::CloseConsumer(id));
        Ok(())
    }

    /// The host silences one of a peer's tracks, or gives it back; later tracks of that kind too.
    pub(crate) fn mute(&mut self, id: PeerId, kind: MediaKind, muted: bool) {
        let Some(seat) = self.peers.get(&id).map(|peer| peer.seat) else { return };
        if self.is_muted(id, kind) == muted {
            return;
        }
        let before: Vec<(ProducerId, bool)> = self
            .producers_of(id)
            .filter(|(_, producer)| producer.kind == kind)
            .map(|(p, producer)| (p, self.is_paused(producer)))
            .collect();
        self.change_seat(seat, |seat| seat.muted.set(kind, muted));
        self.tell(id, Notice::MutedByHost { kind, muted });
        for (producer, was_paused) in before {
            self.on_pause_changed(producer, was_paused);
        }
        self.touch_roster();
    }

    /// Ends a track: whoever receives it, and the outputs, are told.
    pub(crate) fn end_producer(&mut self, id: ProducerId) {
        let Some(producer) = self.producers.remove(&id) else { return };
        self.tell_of_track(id, &producer, Happening::PublishStopped);
        let receivers: Vec<(ConsumerId, PeerId)> = self
            .consumers
            .iter()
            .filter(|(_, c)| c.producer == id)
            .map(|(c, consumer)| (*c, consumer.peer))
            .collect();
        for (consumer, peer) in receivers {
            self.consumers.remove(&consumer);
            self.push(Effect::CloseConsumer(consumer));
            let reason = "producer closed".to_owned();
            self.tell(peer, Notice::ConsumerClosed { consumer_id: consumer, producer_id: id, reason });
        }
        self.push(Effect::CloseProducer(id));
        if let Ok(peer) = self.live(producer.peer) {
            let room = peer.room.clone();
            self.tell_others(
                &room,
                producer.peer,
                Notice::ProducerClosed { producer_id: id, peer_id: producer.peer },
            );
        }
        self.touch_roster();
    }

    /// Ends a transport and everything on it.
    pub(crate) fn end_transport(&mut self, id: TransportId) {
        if self.transports.remove(&id).is_none() {
            return;
        }
        let producers: Vec<_> =
            self.producers.iter().filter(|(_, p)| p.transport == id).map(|(p, _)| *p).collect();
        for producer in producers {
            self.end_producer(producer);
        }
        let consumers: Vec<_> =
            self.consumers.iter().filter(|(_, c)| c.transport == id).map(|(c, _)| *c).collect();
        for consumer in consumers {
            self.consumers.remove(&consumer);
            self.push(Effect::CloseConsumer(consumer));
        }
        self.end_data_of(id);
        self.push(Effect::CloseTransport(id));
    }

    /// Ends what a peer sends, and tells them why.
    pub(crate) fn end_sending(&mut self, id: PeerId, reason: &str) {
        let sending = |t: &&Transport| t.peer == id && t.direction == Direction::Send;
        let ids: Vec<TransportId> =
            self.transports.iter().filter(|(_, t)| sending(t)).map(|(id, _)| *id).collect();
        for transport_id in ids {
            self.tell(id, Notice::TransportClosed { transport_id, reason: reason.to_owned() });
            self.end_transport(transport_id);
        }
    }

    /// The forwarding plane lost a transport by itself. `false`: nobody here knows it.
    pub fn on_transport_lost(&mut self, id: TransportId) -> bool {
        let known = self.transports.contains_key(&id);
        self.end_transport(id);
        known
    }

    /// The forwarding plane lost everything of a room. The peers stay where they are; each is told which of its
    /// transports went, and then whose tracks.
    pub fn on_media_lost(&mut self, room: &RoomId, reason: &str) {
        let in_room = |t: &Transport| self.peers.get(&t.peer).is_some_and(|peer| peer.room == *room);
        let mut lost: Vec<(Direction, TransportId, PeerId)> = self
            .transports
            .iter()
            .filter(|(_, t)| in_room(t))
            .map(|(id, t)| (t.direction, *id, t.peer))
            .collect();
        for (_, transport_id, peer) in &lost {
            let reason = reason.to_owned();
            self.tell(*peer, Notice::TransportClosed { transport_id: *transport_id, reason });
        }
        // Receiving ones first: a consumer is not mourned before the transport it went with.
        lost.sort_by_key(|(direction, ..)| *direction == Direction::Send);
        for (_, transport, _) in lost {
            self.end_transport(transport);
        }
    }

    fn change_pause(&mut self, id: ProducerId, change: impl FnOnce(&mut Producer)) {
        let Some(producer) = self.producers.get(&id) else { return };
        let was_paused = self.is_paused(producer);
        if let Some(producer) = self.producers.get_mut(&id) {
            change(producer);
        }
        self.on_pause_changed(id, was_paused);
    }

    fn on_pause_changed(&mut self, id: ProducerId, was_paused: bool) {
        let Some(producer) = self.producers.get(&id) else { return };
        let (peer_id, paused) = (producer.peer, self.is_paused(producer));
        if paused == was_paused {
            return;
        }
        self.push(if paused { Effect::PauseProducer(id) } else { Effect::ResumeProducer(id) });
        if let Ok(peer) = self.live(peer_id) {
            let room = peer.room.clone();
            let notice = match paused {
                true => Notice::ProducerPaused { producer_id: id, peer_id },
                false => Notice::ProducerResumed { producer_id: id, peer_id },
            };
            self.tell_others(&room, peer_id, notice);
        }
        let receivers: Vec<(ConsumerId, PeerId)> = self
            .consumers
            .iter()
            .filter(|(_, c)| c.producer == id)
            .map(|(c, consumer)| (*c, consumer.peer))
            .collect();
        for (consumer_id, peer) in receivers {
            let notice = match paused {
                true => Notice::ConsumerPaused { consumer_id },
                false => Notice::ConsumerResumed { consumer_id },
            };
            self.tell(peer, notice);
        }
        self.touch_roster();
    }
}

/// Looking things up, as their owner.
impl Rooms {
    pub(crate) fn live(&self, id: PeerId) -> Result<&Peer, Refusal> {
        let peer = self.peers.get(&id).ok_or(Refusal::NotJoined)?;
        match peer.standing {
            PeerState::Live => Ok(peer),
            PeerState::Waiting => Err(Refusal::Waiting),
        }
    }

    /// Another's thing and no thing look the same to a stranger.
    pub(crate) fn own_transport(&self, peer: PeerId, id: TransportId) -> Result<&Transport, Refusal> {
        self.transports.get(&id).filter(|t| t.peer == peer).ok_or(Refusal::NotFound("transport"))
    }

    pub(crate) fn own_producer(&self, peer: PeerId, id: ProducerId) -> Result<&Producer, Refusal> {
        self.producers.get(&id).filter(|p| p.peer == peer).ok_or(Refusal::NotFound("producer"))
    }

    pub(crate) fn own_consumer(&self, peer: PeerId, id: ConsumerId) -> Result<&Consumer, Refusal> {
        self.consumers.get(&id).filter(|c| c.peer == peer).ok_or(Refusal::NotFound("consumer"))
    }

    /// The one named, or the peer's first.
    pub(crate) fn receiving_transport(
        &self,
        peer: PeerId,
        named: Option<TransportId>,
    ) -> Result<TransportId, Refusal> {
        let is_its_own = |t: &Transport| t.peer == peer && t.direction == Direction::Recv;
        let first = || self.transports.iter().find(|(_, t)| is_its_own(t)).map(|(id, _)| *id);
        named.or_else(first).ok_or(Refusal::NotFound("receiving transport"))
    }

    fn check_produce(&self, id: PeerId, transport: TransportId) -> Result<(), Refusal> {
        let peer = self.peers.get(&id).ok_or(Refusal::NotJoined)?;
        self.permit(id, Action::Send)?;
        if self.own_transport(id, transport)?.direction != Direction::Send {
            return Err(Refusal::WrongDirection("sending"));
        }
        let own = self.producers_of(id).count();
        if own >= self.limits.producers_per_peer {
            return Err(Refusal::LimitReached { what: "tracks", limit: self.limits.producers_per_peer });
        }
        let of_room =
            |producer: &Producer| self.peers.get(&producer.peer).is_some_and(|p| p.room == peer.room);
        if self.producers.values().filter(|p| of_room(p)).count() >= self.limits.producers_per_room {
            return Err(Refusal::LimitReached {
                what: "tracks in this room",
                limit: self.limits.producers_per_room,
            });
        }
        Ok(())
    }

    fn check_consume(&self, id: PeerId, transport: TransportId, producer: ProducerId) -> Result<(), Refusal> {
        let peer = self.peers.get(&id).ok_or(Refusal::NotJoined)?;
        if self.own_transport(id, transport)?.direction != Direction::Recv {
            return Err(Refusal::WrongDirection("receiving"));
        }
        let sender = self.producers.get(&producer).map(|p| p.peer).ok_or(Refusal::NotFound("producer"))?;
        if sender == id {
            return Err(Refusal::OwnProducer);
        }
        let seen = self.live(sender).is_ok_and(|sender| sender.room == peer.room);
        if !seen {
            return Err(Refusal::NotFound("producer"));
        }
        let limit = self.limits.consumers_per_peer;
        let has = self.consumers.values().filter(|c| c.peer == id).count();
        if has < limit { Ok(()) } else { Err(Refusal::LimitReached { what: "received tracks", limit }) }
    }

    pub(crate) fn producers_of(&self, peer: PeerId) -> impl Iterator<Item = (ProducerId, &Producer)> + '_ {
        let mut own: Vec<_> =
            self.producers.iter().filter(|(_, p)| p.peer == peer).map(|(id, p)| (*id, p)).collect();
        own.sort_by_key(|(_, producer)| producer.born);
        own.into_iter()
    }

    pub(crate) fn is_muted(&self, peer: PeerId, kind: MediaKind) -> bool {
        let seat = self.peers.get(&peer).and_then(|peer| self.seats.get(&peer.seat));
        seat.is_some_and(|seat| seat.muted.of(kind))
    }

    pub(crate) fn is_paused(&self, producer: &Producer) -> bool {
        producer.paused_by_guest || self.is_muted(producer.peer, producer.kind)
    }
}
