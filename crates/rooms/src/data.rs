//! Who owns which data channel, and who may receive it: as with tracks, in the same rooms.

use crate::command::{Effect, SessionId};
use crate::permission::Action;
use crate::refusal::Refusal;
use crate::roster::{DataConsumer, DataProducer, Peer, Rooms};
use serde_json::{Map, Value};
use wire::ortc::Direction;
use wire::sfu::{DataProducerInfo, Notice, PeerState};
use wire::{DataConsumerId, DataProducerId, PeerId, TransportId};

/// Questions, asked before the forwarding plane makes anything.
impl Rooms {
    pub fn may_produce_data(&self, session: SessionId, transport: TransportId) -> Result<(), Refusal> {
        self.check_produce_data(self.peer_of(session)?, transport)
    }

    /// The transport to consume on: the one named, or the peer's only way in.
    pub fn may_consume_data(
        &self,
        session: SessionId,
        transport: Option<TransportId>,
        producer: DataProducerId,
    ) -> Result<TransportId, Refusal> {
        let id = self.peer_of(session)?;
        self.permit(id, Action::Receive)?;
        let transport = self.receiving_transport(id, transport)?;
        self.check_consume_data(id, transport, producer)?;
        Ok(transport)
    }

    pub fn may_use_data_producer(&self, session: SessionId, id: DataProducerId) -> Result<(), Refusal> {
        self.own_data_producer(self.peer_of(session)?, id).map(|_| ())
    }

    pub fn may_use_data_consumer(&self, session: SessionId, id: DataConsumerId) -> Result<(), Refusal> {
        self.own_data_consumer(self.peer_of(session)?, id).map(|_| ())
    }

    /// Whose data producer it is, with what they said of it.
    pub fn data_producer_owner(&self, id: DataProducerId) -> Option<(PeerId, &Map<String, Value>)> {
        self.data_producers.get(&id).map(|p| (p.peer, &p.app_data))
    }

    pub fn data_producers_of(&self, peer: PeerId) -> Vec<DataProducerId> {
        self.data_producers.iter().filter(|(_, p)| p.peer == peer).map(|(id, _)| *id).collect()
    }

    pub fn data_consumers_of(&self, peer: PeerId) -> Vec<DataConsumerId> {
        self.data_consumers.iter().filter(|(_, c)| c.peer == peer).map(|(id, _)| *id).collect()
    }
}

/// The answers written down.
impl Rooms {
    pub(crate) fn add_data_producer(
        &mut self,
        peer: PeerId,
        id: DataProducerId,
        record: DataProducer,
    ) -> Result<(), Refusal> {
        self.check_produce_data(peer, record.transport)?;
        let notice = new_data_producer(info(id, &record));
        self.data_producers.insert(id, record);
        if let Ok(sender) = self.live(peer) {
            let room = sender.room.clone();
            self.tell_others(&room, peer, notice);
        }
        Ok(())
    }

    pub(crate) fn add_data_consumer(
        &mut self,
        peer: PeerId,
        transport: TransportId,
        id: DataConsumerId,
        producer: DataProducerId,
    ) -> Result<(), Refusal> {
        self.check_consume_data(peer, transport, producer)?;
        self.data_consumers.insert(id, DataConsumer { peer, transport, producer });
        Ok(())
    }

    pub(crate) fn close_data_producer(&mut self, peer: PeerId, id: DataProducerId) -> Result<(), Refusal> {
        self.own_data_producer(peer, id)?;
        self.end_data_producer(id, CLOSED);
        Ok(())
    }

    pub(crate) fn close_data_consumer(&mut self, peer: PeerId, id: DataConsumerId) -> Result<(), Refusal> {
        self.own_data_consumer(peer, id)?;
        self.data_consumers.remove(&id);
        self.push(Effect::CloseDataConsumer(id));
        Ok(())
    }

    /// Ends everything of a transport that ends.
    pub(crate) fn end_data_of(&mut self, transport: TransportId) {
        let producers: Vec<_> =
            self.data_producers.iter().filter(|(_, p)| p.transport == transport).map(|(id, _)| *id).collect();
        for producer in producers {
            self.end_data_producer(producer, CLOSED);
        }
        let consumers: Vec<_> =
            self.data_consumers.iter().filter(|(_, c)| c.transport == transport).map(|(id, _)| *id).collect();
        for consumer in consumers {
            self.data_consumers.remove(&consumer);
            self.push(Effect::CloseDataConsumer(consumer));
        }
    }

    /// The forwarding plane ended a data producer by itself: its owner is told, too.
    pub fn on_data_producer_lost(&mut self, id: DataProducerId, reason: &str) {
        let Some(peer) = self.data_producers.get(&id).map(|p| p.peer) else { return };
        let reason_told = reason.to_owned();
        self.tell(
            peer,
            Notice::DataProducerClosed { data_producer_id: id, peer_id: peer, reason: reason_told },
        );
        self.end_data_producer(id, reason);
    }

    /// The forwarding plane ended a data consumer by itself.
    pub fn on_data_consumer_lost(&mut self, id: DataConsumerId, reason: &str) {
        let Some(consumer) = self.data_consumers.remove(&id) else { return };
        let (data_producer_id, reason) = (consumer.producer, reason.to_owned());
        self.tell(
            consumer.peer,
            Notice::DataConsumerClosed { data_consumer_id: id, data_producer_id, reason },
        );
    }

    fn end_data_producer(&mut self, id: DataProducerId, reason: &str) {
        let Some(producer) = self.data_producers.remove(&id) else { return };
        let receivers: Vec<DataConsumerId> =
            self.data_consumers.iter().filter(|(_, c)| c.producer == id).map(|(c, _)| *c).collect();
        for consumer in receivers {
            self.on_data_consumer_lost(consumer, reason);
            self.push(Effect::CloseDataConsumer(consumer));
        }
        self.push(Effect::CloseDataProducer(id));
        if let Ok(sender) = self.live(producer.peer) {
            let room = sender.room.clone();
            let (peer_id, reason) = (producer.peer, reason.to_owned());
            let notice = Notice::DataProducerClosed { data_producer_id: id, peer_id, reason };
            self.tell_others(&room, peer_id, notice);
        }
    }
}

/// Looking things up.
impl Rooms {
    fn own_data_producer(&self, peer: PeerId, id: DataProducerId) -> Result<&DataProducer, Refusal> {
        self.data_producers.get(&id).filter(|p| p.peer == peer).ok_or(Refusal::NotFound("data producer"))
    }

    fn own_data_consumer(&self, peer: PeerId, id: DataConsumerId) -> Result<&DataConsumer, Refusal> {
        self.data_consumers.get(&id).filter(|c| c.peer == peer).ok_or(Refusal::NotFound("data consumer"))
    }

    fn check_produce_data(&self, id: PeerId, transport: TransportId) -> Result<(), Refusal> {
        self.permit(id, Action::Send)?;
        if self.own_transport(id, transport)?.direction != Direction::Send {
            return Err(Refusal::WrongDirection("sending"));
        }
        let limit = self.limits.data_producers_per_peer;
        let own = self.data_producers.values().filter(|p| p.peer == id).count();
        if own < limit { Ok(()) } else { Err(Refusal::LimitReached { what: "data channels", limit }) }
    }

    fn check_consume_data(
        &self,
        id: PeerId,
        transport: TransportId,
        producer: DataProducerId,
    ) -> Result<(), Refusal> {
        let peer = self.peers.get(&id).ok_or(Refusal::NotJoined)?;
        if self.own_transport(id, transport)?.direction != Direction::Recv {
            return Err(Refusal::WrongDirection("receiving"));
        }
        let not_found = Refusal::NotFound("data producer");
        let sender = self.data_producers.get(&producer).map(|p| p.peer).ok_or(not_found.clone())?;
        if sender == id {
            return Err(Refusal::OwnProducer);
        }
        if !self.live(sender).is_ok_and(|sender| sender.room == peer.room) {
            return Err(not_found);
        }
        let limit = self.limits.data_consumers_per_peer;
        let has = self.data_consumers.values().filter(|c| c.peer == id).count();
        if has < limit {
            Ok(())
        } else {
            Err(Refusal::LimitReached { what: "received data channels", limit })
        }
    }

    pub(crate) fn data_producer_infos(&self, peer: PeerId) -> Vec<DataProducerInfo> {
        let mut own: Vec<_> = self.data_producers.iter().filter(|(_, p)| p.peer == peer).collect();
        own.sort_by_key(|(_, producer)| producer.born);
        own.into_iter().map(|(id, producer)| info(*id, producer)).collect()
    }

    /// What the other live peers send; nothing for those in the green room.
    pub(crate) fn data_seen_by(&self, id: PeerId, peer: &Peer) -> Vec<DataProducerInfo> {
        if peer.standing == PeerState::Waiting {
            return Vec::new();
        }
        let others = self.peers_in(&peer.room).filter(|(p, o)| *p != id && o.standing == PeerState::Live);
        others.flat_map(|(other, _)| self.data_producer_infos(other)).collect()
    }
}

fn info(id: DataProducerId, producer: &DataProducer) -> DataProducerInfo {
    DataProducerInfo {
        data_producer_id: id,
        peer_id: producer.peer,
        label: producer.label.clone(),
        protocol: producer.protocol.clone(),
        app_data: producer.app_data.clone(),
    }
}

pub(crate) fn new_data_producer(info: DataProducerInfo) -> Notice {
    Notice::NewDataProducer {
        data_producer_id: info.data_producer_id,
        peer_id: info.peer_id,
        label: info.label,
        protocol: info.protocol,
        app_data: info.app_data,
    }
}

const CLOSED: &str = "data producer closed";
