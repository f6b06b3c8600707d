//! Commands upon data producers and data consumers.

use super::{Event, Worker};
use crate::data::{Backlog, DataConsumer, DataPath, DataProducer, Link};
use crate::error::Error;
use crate::sctp::{self, Association, Delivery, STREAMS};
use wire::ortc::{DataConsumerOptions, Direction, SctpParameters, SctpStreamParameters};
use wire::{DataConsumerId, DataProducerId, TransportId};

impl Worker {
    /// Lets data channels run over a transport. What it answers belongs into the transport's options.
    pub fn enable_sctp(&mut self, transport: TransportId) -> Result<SctpParameters, Error> {
        let key = self.transport_key(transport)?;
        self.transports[key].data.get_or_insert_default();
        Ok(sctp::parameters())
    }

    pub fn produce_data(
        &mut self,
        transport: TransportId,
        parameters: &SctpStreamParameters,
        label: String,
        protocol: String,
    ) -> Result<DataProducerId, Error> {
        let key = self.transport_key(transport)?;
        let delivery = Delivery::parse(parameters)?;
        let id = DataProducerId(self.uuid());
        if self.transports[key].direction != Direction::Send {
            return Err(Error::invalid("data is produced on a send transport"));
        }
        if label.len() > MAX_NAME || protocol.len() > MAX_NAME {
            return Err(Error::invalid("`label` and `protocol` have at most 255 octets"));
        }
        let router = self.transports[key].router;
        let path = self.data_path(key)?;
        let stream = parameters.stream_id;
        if stream >= STREAMS {
            return Err(Error::Invalid(format!("`streamId` is below {STREAMS}")));
        }
        if path.producers.contains_key(&stream) {
            return Err(Error::invalid("the stream is already in use on this transport"));
        }
        if path.producers.len() >= MAX_PER_TRANSPORT {
            return Err(Error::Limit("data producers"));
        }
        let producer = self.data_producers.insert(DataProducer {
            id,
            router,
            transport: key,
            stream,
            delivery,
            label,
            protocol,
            consumers: Vec::new(),
            waiting: None,
            messages: 0,
            octets: 0,
        });
        let path = self.data_path(key)?;
        path.producers.insert(stream, producer);
        path.open_stream(stream);
        self.data_producer_keys.insert(id, producer);
        Ok(id)
    }

    pub fn consume_data(
        &mut self,
        transport: TransportId,
        producer: DataProducerId,
        paused: bool,
    ) -> Result<DataConsumerOptions, Error> {
        let key = self.transport_key(transport)?;
        let producer_key = self.data_producer_key(producer)?;
        let id = DataConsumerId(self.uuid());
        if self.transports[key].direction != Direction::Recv {
            return Err(Error::invalid("data is consumed on a receive transport"));
        }
        if self.transports[key].router != self.data_producers[producer_key].router {
            return Err(Error::NotFound("data producer"));
        }
        let path = self.data_path(key)?;
        if path.consumers.len() >= MAX_PER_TRANSPORT {
            return Err(Error::Limit("data consumers"));
        }
        let stream = path.claim_stream().ok_or(Error::Limit("streams"))?;
        let source = &mut self.data_producers[producer_key];
        let options = DataConsumerOptions {
            id,
            data_producer_id: producer,
            sctp_stream_parameters: source.delivery.parameters(stream),
            label: source.label.clone(),
            protocol: source.protocol.clone(),
        };
        let consumer = self.data_consumers.insert(DataConsumer {
            id,
            producer: producer_key,
            transport: key,
            stream,
            delivery: source.delivery,
            paused,
            is_shut: false,
            backlog: Backlog::default(),
            behind: None,
            messages: 0,
            octets: 0,
            dropped: 0,
        });
        source.consumers.push(consumer);
        let path = self.data_path(key)?;
        path.consumers.insert(stream, consumer);
        path.open_stream(stream);
        self.data_consumer_keys.insert(id, consumer);
        Ok(options)
    }

    /// Messages that come while it is paused are not kept for it.
    pub fn pause_data_consumer(&mut self, consumer: DataConsumerId, paused: bool) -> Result<(), Error> {
        let key = self.data_consumer_key(consumer)?;
        self.data_consumers[key].paused = paused;
        Ok(())
    }

    pub fn close_data_producer(&mut self, producer: DataProducerId) -> Result<(), Error> {
        let key = self.data_producer_key(producer)?;
        self.remove_data_producer(key, "data producer closed");
        Ok(())
    }

    pub fn close_data_consumer(&mut self, consumer: DataConsumerId) -> Result<(), Error> {
        let key = self.data_consumer_key(consumer)?;
        self.remove_data_consumer(key);
        Ok(())
    }

    /// Everything of a transport that closes.
    pub(super) fn close_data_of(&mut self, key: usize) {
        let Some(path) = &self.transports[key].data else { return };
        let producers: Vec<usize> = path.producers.values().copied().collect();
        let consumers: Vec<usize> = path.consumers.values().copied().collect();
        self.close_producers(producers, "transport closed");
        consumers.into_iter().for_each(|consumer| self.remove_data_consumer(consumer));
    }

    /// The association ended by itself, and with it every channel of the transport.
    pub(super) fn on_association_lost(&mut self, key: usize, reason: &str) {
        let Some(path) = &mut self.transports[key].data else { return };
        if matches!(path.link, Link::Lost) {
            return;
        }
        if let Link::Connecting(mut link) | Link::Connected(mut link) =
            std::mem::replace(&mut path.link, Link::Lost)
        {
            path.farewell = link.1.abort(reason);
        }
        let producers: Vec<usize> = path.producers.values().copied().collect();
        let consumers: Vec<usize> = path.consumers.values().copied().collect();
        tracing::debug!(transport = %self.transports[key].id, reason, "SCTP association lost");
        self.close_producers(producers, reason);
        for consumer in consumers {
            self.expel(consumer, reason);
        }
        self.mark_data_dirty(key);
    }

    fn close_producers(&mut self, producers: Vec<usize>, reason: &str) {
        for producer in producers {
            let data_producer = self.data_producers[producer].id;
            self.remove_data_producer(producer, reason);
            self.emit(Event::DataProducerClosed { data_producer, reason: reason.to_owned() });
        }
    }

    /// Closes a consumer whose owner has to be told.
    pub(super) fn expel(&mut self, consumer: usize, reason: &str) {
        let data_consumer = self.data_consumers[consumer].id;
        let data_producer = self.data_producers[self.data_consumers[consumer].producer].id;
        self.remove_data_consumer(consumer);
        let reason = reason.to_owned();
        self.emit(Event::DataConsumerClosed { data_consumer, data_producer, reason });
    }

    fn remove_data_producer(&mut self, key: usize, reason: &str) {
        for consumer in self.data_producers[key].consumers.clone() {
            self.expel(consumer, reason);
        }
        self.stop_waiting(key);
        let producer = self.data_producers.remove(key);
        self.data_producer_keys.remove(&producer.id);
        if let Some(path) = &mut self.transports[producer.transport].data {
            // The client closes the channel when all it had to say has left it, and hears us close our half.
            path.producers.remove(&producer.stream);
        }
    }

    fn remove_data_consumer(&mut self, key: usize) {
        let consumer = self.data_consumers.remove(key);
        self.past.add_data_consumer(&consumer);
        self.data_consumer_keys.remove(&consumer.id);
        self.data_producers[consumer.producer].consumers.retain(|c| *c != key);
        if let Some(path) = &mut self.transports[consumer.transport].data {
            path.retire_stream(consumer.stream, &consumer.backlog);
            self.mark_data_dirty(consumer.transport);
        }
    }

    fn data_path(&mut self, key: usize) -> Result<&mut DataPath, Error> {
        let path = self.transports[key].data.as_deref_mut();
        let path = path.ok_or(Error::invalid("the transport was made without SCTP"))?;
        match path.link {
            Link::Lost => {
                Err(Error::invalid("the transport's data channels have ended: make another transport"))
            }
            _ => Ok(path),
        }
    }

    fn data_producer_key(&self, id: DataProducerId) -> Result<usize, Error> {
        self.data_producer_keys.get(&id).copied().ok_or(Error::NotFound("data producer"))
    }

    fn data_consumer_key(&self, id: DataConsumerId) -> Result<usize, Error> {
        self.data_consumer_keys.get(&id).copied().ok_or(Error::NotFound("data consumer"))
    }

    pub(crate) fn data_producer(&self, id: DataProducerId) -> Option<&DataProducer> {
        self.data_producers.get(*self.data_producer_keys.get(&id)?)
    }

    pub(crate) fn data_consumer(&self, id: DataConsumerId) -> Option<&DataConsumer> {
        self.data_consumers.get(*self.data_consumer_keys.get(&id)?)
    }

    pub(crate) fn data_producer_at(&self, key: usize) -> &DataProducer {
        &self.data_producers[key]
    }
}

const MAX_PER_TRANSPORT: usize = 256;
/// Of a label in its OPEN message it is 65,535 (RFC 8832 §5.1); it is repeated to every peer of the room.
const MAX_NAME: usize = 255;
