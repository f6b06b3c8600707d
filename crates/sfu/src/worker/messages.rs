//! Messages of data channels: in through DTLS and SCTP, and out to every consumer.

use super::Worker;
use super::backpressure::TOO_SLOW;
use crate::data::{DataPath, Link};
use crate::sctp::dcep::{self, Dcep};
use crate::sctp::screen::{Screen, Verdict};
use crate::sctp::{Association, Delivery, Event, Kind, Message, Persistence, STREAMS, Sctp};
use crate::transport::Security;
use bytes::Bytes;
use std::time::Instant;
use wire::ortc::Direction;

/// A reliable consumer's message found no room.
struct Overflow;

impl Worker {
    /// Takes what DTLS opened: SCTP packets, if the transport was made for them.
    pub(super) fn handle_application_data(&mut self, now: Instant, key: usize) {
        loop {
            let transport = &mut self.transports[key];
            let Security::Connected { dtls, .. } = &mut transport.security else { return };
            let Some(packet) = dtls.poll_application_data() else { return };
            if transport.ice.note_alive(now) {
                self.on_ice_alive(now, key);
            }
            self.handle_sctp(now, key, packet.freeze());
        }
    }

    fn handle_sctp(&mut self, now: Instant, key: usize, packet: Bytes) {
        let transport = &mut self.transports[key];
        let Some(path) = transport.data.as_deref_mut() else {
            transport.traffic.discarded += 1;
            return;
        };
        if matches!(path.link, Link::New) {
            path.link = Link::Connecting(Box::new((Screen::default(), Sctp::accept())));
        }
        let Some((screen, association)) = path.link.association() else { return };
        match screen.inspect(now, &packet) {
            Verdict::Pass => association.handle_datagram(now, packet),
            Verdict::Drop => {
                path.refused += 1;
                return;
            }
            Verdict::Abort(reason) => return self.on_association_lost(key, reason),
        }
        self.drain_association(now, key);
        self.mark_data_dirty(key);
    }

    /// Acts upon what the association has to tell.
    pub(super) fn drain_association(&mut self, now: Instant, key: usize) {
        while let Some(path) = self.transports[key].data.as_deref_mut()
            && let Some((screen, association)) = path.link.association()
            && let Some(event) = association.poll_event()
        {
            match event {
                Event::Connected => path.on_connected(),
                Event::Message { stream, message } => {
                    screen.note_read(message.payload.len());
                    self.handle_message(now, key, stream, message);
                }
                Event::PeerReset { stream } => {
                    // A producer stays until signaling closes it; the client may open its channel again.
                    if let Some(consumer) = path.consumers.get(&stream) {
                        self.data_consumers[*consumer].is_shut = true;
                    }
                }
                Event::Reusable { stream } => path.on_reusable(stream),
                Event::Lost { reason } => self.on_association_lost(key, &reason),
            }
        }
    }

    fn handle_message(&mut self, now: Instant, key: usize, stream: u16, message: Message) {
        let transport = &mut self.transports[key];
        let Some(path) = transport.data.as_deref_mut() else { return };
        match message.kind {
            Kind::Dcep => path.handle_dcep(transport.direction, stream, &message.payload),
            Kind::Other => path.unclaimed += 1,
            _ => match path.producers.get(&stream) {
                Some(&producer) => self.handle_produced(now, producer, message),
                None => path.unclaimed += 1,
            },
        }
    }

    /// One message to all consumers; its payload is one piece of memory for all of them.
    pub(super) fn fan_out(&mut self, producer: usize, message: Message) {
        let source = &mut self.data_producers[producer];
        source.messages += 1;
        source.octets += message.len() as u64;
        let mut overflowed = Vec::new();
        for index in 0..source.consumers.len() {
            let consumer = self.data_producers[producer].consumers[index];
            if let Err(Overflow) = self.deliver(consumer, &message) {
                overflowed.push(consumer);
            }
        }
        for consumer in overflowed {
            self.expel(consumer, TOO_SLOW);
        }
    }

    fn deliver(&mut self, key: usize, message: &Message) -> Result<(), Overflow> {
        let consumer = &mut self.data_consumers[key];
        let transport = consumer.transport;
        let Some(path) = self.transports[transport].data.as_deref_mut() else { return Ok(()) };
        if !consumer.listens(path) {
            consumer.dropped += 1;
            return Ok(());
        }
        path.settle(consumer);
        if !consumer.has_room_for(message) || !self.transport_has_room(transport, message) {
            let consumer = &mut self.data_consumers[key];
            consumer.dropped += 1;
            return match consumer.delivery.persistence {
                Persistence::Reliable => Err(Overflow),
                Persistence::Retransmits(_) | Persistence::LifetimeMs(_) => Ok(()),
            };
        }
        let consumer = &mut self.data_consumers[key];
        let Some(path) = self.transports[transport].data.as_deref_mut() else { return Ok(()) };
        let Some(association) = path.link.connected() else { return Ok(()) };
        if association.send(consumer.stream, consumer.delivery, message.clone()).is_err() {
            consumer.dropped += 1;
            return Ok(());
        }
        consumer.backlog.push(message.payload.len());
        path.backlog += message.payload.len();
        consumer.messages += 1;
        consumer.octets += message.len() as u64;
        self.mark_data_dirty(transport);
        Ok(())
    }

    pub(super) fn mark_data_dirty(&mut self, key: usize) {
        if let Some(path) = &mut self.transports[key].data
            && !path.is_dirty
        {
            path.is_dirty = true;
            self.data_dirty.push(key);
        }
    }

    pub(super) fn tick_data(&mut self, now: Instant, key: usize) {
        let Some(path) = self.transports[key].data.as_deref_mut() else { return };
        let is_released = std::mem::take(&mut path.is_released);
        let Some((_, association)) = path.link.association() else { return };
        let is_due = association.poll_timeout().is_some_and(|at| at <= now);
        if is_due {
            association.handle_timeout(now);
        }
        if is_due || is_released {
            self.drain_association(now, key);
            self.mark_data_dirty(key);
        }
    }

    /// When packets that wait for their time may leave.
    pub(super) fn next_data_burst(&self) -> Option<Instant> {
        let paths = self.data_dirty.iter().filter_map(|key| self.transports.get(*key)?.data.as_ref());
        paths.filter_map(|path| path.pace.next_burst()).min()
    }

    /// Moves what associations have to send into their transports' egress.
    pub(super) fn flush_data(&mut self, now: Instant) {
        let mut waiting = std::mem::take(&mut self.data_dirty);
        waiting.retain(|key| self.flush_association(now, *key));
        // Nothing above marks a transport whose list this is.
        self.data_dirty = waiting;
    }

    /// Whether something is left for the next time.
    fn flush_association(&mut self, now: Instant, key: usize) -> bool {
        let ms = self.clock.ms(now);
        let transport = &mut self.transports[key];
        let may_send = transport.may_send();
        let Some(path) = transport.data.as_deref_mut() else { return false };
        // Whatever follows, it is off the list for now.
        path.is_dirty = false;
        let Security::Connected { dtls, .. } = &mut transport.security else { return false };
        if let Some(packet) = path.farewell.take()
            && may_send
            && dtls.send_application_data(now, &packet).is_ok()
        {
            while let Some(datagram) = dtls.poll_transmit() {
                transport.egress.push_sealed(&datagram);
            }
            self.mark_dirty(key);
            return false;
        }
        let Some((screen, association)) = path.link.association() else { return false };
        for _ in 0..path.pace.allowance(now) {
            let Some(packet) = association.poll_transmit(now) else {
                self.mark_dirty(key);
                return false;
            };
            path.pace.note_sent();
            screen.note_sent(&packet);
            if !may_send {
                // Lost, as far as SCTP can tell: it comes again when the peer does.
                continue;
            }
            if dtls.send_application_data(now, &packet).is_err() {
                return false;
            }
            while let Some(datagram) = dtls.poll_transmit() {
                if let Some(len) = transport.egress.push_sealed(&datagram) {
                    transport.traffic.note_control_sent(ms, len);
                }
            }
        }
        path.is_dirty = true;
        self.mark_dirty(key);
        true
    }
}

impl DataPath {
    fn on_connected(&mut self) {
        if let Link::Connecting(mut link) = std::mem::take(&mut self.link) {
            link.0.on_connected();
            let streams = self.producers.keys().chain(self.consumers.keys());
            streams.for_each(|stream| link.1.open(*stream));
            self.link = Link::Connected(link);
        }
    }

    /// Clients that open channels in band as well are told what they wait to hear, where they may send.
    fn handle_dcep(&mut self, direction: Direction, stream: u16, payload: &[u8]) {
        let Some(association) = self.link.connected() else { return };
        match Dcep::parse(payload) {
            Some(Dcep::Open) if direction == Direction::Send && stream < STREAMS => {
                let message = Message { kind: Kind::Dcep, payload: Bytes::from_static(dcep::ACK) };
                let _ = association.send(stream, Delivery::RELIABLE, message);
            }
            Some(Dcep::Ack) => {}
            Some(Dcep::Open) | None => association.reset(stream),
        }
    }
}
