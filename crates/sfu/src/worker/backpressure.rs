//! Producers wait for their reliable consumers, for a while.
//!
//! A message that one of them has no room for is kept (one for each producer), and the producer's stream is left unread
//! behind it. So the window of the producer's client closes, and it waits: with all it sends on that transport, as SCTP
//! has one window for all streams. A consumer may hold its producer up as long as its client takes [`LEAST_OCTETS`] or
//! [`LEAST_MESSAGES`] in every [`PATIENCE`]; one that takes less is closed, and its client is not waited for again until
//! it has taken as much. Consumers with a limit on retransmissions or life time hold nobody up: they lose the newest
//! message.

use super::Worker;
use crate::data::{Behind, DataConsumer, DataPath, Taken};
use crate::sctp::{Association, Message, Persistence};
use std::time::{Duration, Instant};

/// What a consumer says to a message.
enum Answer {
    Welcome,
    /// Not yet.
    Wait,
    /// It has kept others waiting for too long.
    GiveUp,
}

impl Worker {
    /// Hands a message on to all consumers, or keeps it and what is behind it until they have room.
    pub(super) fn handle_produced(&mut self, now: Instant, producer: usize, message: Message) {
        if !self.must_wait(now, producer, &message) {
            return self.fan_out(producer, message);
        }
        let source = &mut self.data_producers[producer];
        source.waiting = Some(message);
        self.waiting_producers.push_back(producer);
        if let Some(path) = self.transports[source.transport].data.as_deref_mut() {
            path.hold(source.stream);
        }
    }

    /// Looks whether consumers have room by now; those that waited longest come first.
    pub(super) fn tick_waiting(&mut self, now: Instant) {
        for _ in 0..self.waiting_producers.len() {
            let Some(producer) = self.waiting_producers.pop_front() else { return };
            let Some(message) = self.data_producers[producer].waiting.take() else { continue };
            if self.must_wait(now, producer, &message) {
                self.data_producers[producer].waiting = Some(message);
                self.waiting_producers.push_back(producer);
                continue;
            }
            self.fan_out(producer, message);
            let source = &self.data_producers[producer];
            let (transport, stream) = (source.transport, source.stream);
            if let Some(path) = self.transports[transport].data.as_deref_mut() {
                path.release(stream);
            }
            self.drain_association(now, transport);
            self.mark_data_dirty(transport);
        }
    }

    /// Forgets what waits of a producer that ends.
    pub(super) fn stop_waiting(&mut self, producer: usize) {
        let source = &mut self.data_producers[producer];
        if source.waiting.take().is_none() {
            return;
        }
        self.waiting_producers.retain(|key| *key != producer);
        if let Some(path) = self.transports[source.transport].data.as_deref_mut() {
            path.release(source.stream);
            path.is_released = true;
        }
    }

    /// Whether somebody has no room for a message. Those who had no room for too long are sent away.
    fn must_wait(&mut self, now: Instant, producer: usize, message: &Message) -> bool {
        let mut must_wait = false;
        let mut hopeless = Vec::new();
        for index in 0..self.data_producers[producer].consumers.len() {
            let consumer = self.data_producers[producer].consumers[index];
            match self.ask(now, consumer, message) {
                Answer::Welcome => {}
                Answer::Wait => must_wait = true,
                Answer::GiveUp => hopeless.push(consumer),
            }
        }
        for consumer in hopeless {
            self.expel(consumer, TOO_SLOW);
        }
        must_wait
    }

    fn ask(&mut self, now: Instant, key: usize, message: &Message) -> Answer {
        let consumer = &mut self.data_consumers[key];
        let transport = consumer.transport;
        let Some(path) = self.transports[transport].data.as_deref_mut() else { return Answer::Welcome };
        if consumer.delivery.persistence != Persistence::Reliable || !consumer.listens(path) {
            return Answer::Welcome;
        }
        path.settle(consumer);
        if consumer.has_room_for(message) && self.transport_has_room(transport, message) {
            let consumer = &mut self.data_consumers[key];
            if consumer.has_caught_up() {
                consumer.behind = None;
            }
            return Answer::Welcome;
        }
        let Some(path) = self.transports[transport].data.as_deref_mut() else { return Answer::Welcome };
        if path.given_up.is_some_and(|then| !path.taken.is_enough_since(then)) {
            return Answer::GiveUp;
        }
        let behind = self.data_consumers[key].behind.get_or_insert(Behind { since: now, taken: path.taken });
        if now < behind.since + PATIENCE {
            return Answer::Wait;
        }
        if path.taken.is_enough_since(behind.taken) {
            *behind = Behind { since: now, taken: path.taken };
            return Answer::Wait;
        }
        path.given_up = Some(path.taken);
        Answer::GiveUp
    }

    /// Whether all consumers of a transport together leave room. What others of them hold is looked at only when it
    /// seems too much.
    pub(super) fn transport_has_room(&mut self, key: usize, message: &Message) -> bool {
        let Some(path) = self.transports[key].data.as_deref_mut() else { return false };
        if path.has_room_for(message.payload.len()) {
            return true;
        }
        let consumers: Vec<usize> = path.consumers.values().copied().collect();
        for consumer in consumers {
            path.settle(&mut self.data_consumers[consumer]);
        }
        path.has_room_for(message.payload.len())
    }
}

impl Taken {
    fn is_enough_since(self, then: Self) -> bool {
        self.octets - then.octets >= LEAST_OCTETS || self.messages - then.messages >= LEAST_MESSAGES
    }
}

impl DataPath {
    fn hold(&mut self, stream: u16) {
        self.held += 1;
        if let Some((screen, association)) = self.link.association() {
            screen.set_held(true);
            association.hold(stream);
        }
    }

    fn release(&mut self, stream: u16) {
        self.held -= 1;
        let is_held = self.held > 0;
        if let Some((screen, association)) = self.link.association() {
            screen.set_held(is_held);
            association.release(stream);
        }
    }

    /// Brings a consumer's backlog up to what the association holds.
    pub(super) fn settle(&mut self, consumer: &mut DataConsumer) {
        let Some(association) = self.link.connected() else { return };
        let (octets, messages) = (consumer.backlog.octets(), consumer.backlog.messages());
        consumer.backlog.settle(association.buffered(consumer.stream));
        let octets = octets - consumer.backlog.octets();
        self.backlog = self.backlog.saturating_sub(octets);
        self.taken.octets += octets as u64;
        self.taken.messages += (messages - consumer.backlog.messages()) as u64;
    }
}

pub(super) const TOO_SLOW: &str = "the receiver does not keep up";
/// Long enough for a client to find its network again, short enough for the others to bear.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// 0.8 Mbit/s: who takes less than that is no company for a sender of files.
const LEAST_OCTETS: u64 = 512 * 1024;
/// Of short ones; 100 a second.
const LEAST_MESSAGES: u64 = 500;
