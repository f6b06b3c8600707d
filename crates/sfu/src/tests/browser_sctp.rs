//! Chromium's SCTP (`dcsctp`) behind our trait: what our association talks to in tests.

use crate::sctp::{Association, Delivery, Event, Kind, Message, Persistence, Unsent};
use bytes::Bytes;
use dcsctp::api::{
    DcSctpSocket, Options, PpId, SendOptions, Socket, SocketEvent, SocketState, SocketTime, StreamId,
};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub struct Chromium {
    socket: Socket,
    start: Instant,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<Event>,
}

impl Chromium {
    pub fn connect(now: Instant) -> Self {
        let options = Options {
            announced_maximum_incoming_streams: 1_024,
            announced_maximum_outgoing_streams: 1_024,
            max_send_buffer_size: 16 * 1024 * 1024,
            per_stream_send_queue_limit: 16 * 1024 * 1024,
            max_message_size: 1024 * 1024,
            ..Default::default()
        };
        let mut socket = Socket::new("browser", &options);
        socket.connect();
        let mut chromium = Self { socket, start: now, outgoing: VecDeque::new(), events: VecDeque::new() };
        chromium.drain();
        chromium
    }

    fn advance(&mut self, now: Instant) {
        self.socket.advance_time(SocketTime::zero() + now.saturating_duration_since(self.start));
    }

    fn drain(&mut self) {
        while let Some(event) = self.socket.poll_event() {
            match event {
                SocketEvent::SendPacket(packet) => self.outgoing.push_back(packet.into()),
                SocketEvent::OnConnected() => self.events.push_back(Event::Connected),
                SocketEvent::OnIncomingStreamReset(streams) => {
                    self.events.extend(streams.iter().map(|s| Event::PeerReset { stream: s.0 }));
                }
                SocketEvent::OnAborted(_, reason) => self.events.push_back(Event::Lost { reason }),
                SocketEvent::OnClosed() => self.events.push_back(Event::Lost { reason: String::new() }),
                _ => {}
            }
        }
        while let Some(message) = self.socket.get_next_message() {
            let kind = match message.ppid.0 {
                50 => Kind::Dcep,
                51 => Kind::Text,
                53 => Kind::Binary,
                56 => Kind::EmptyText,
                57 => Kind::EmptyBinary,
                _ => Kind::Other,
            };
            let payload = message.payload.into();
            self.events.push_back(Event::Message {
                stream: message.stream_id.0,
                message: Message { kind, payload },
            });
        }
    }
}

impl Association for Chromium {
    fn handle_datagram(&mut self, now: Instant, packet: Bytes) {
        self.advance(now);
        self.socket.handle_input(&packet);
        self.drain();
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.drain();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let at = self.socket.poll_timeout();
        let since = at - SocketTime::zero();
        (at != SocketTime::infinite_future()).then(|| self.start + since.min(Duration::from_secs(1 << 20)))
    }

    fn poll_transmit(&mut self, _now: Instant) -> Option<Bytes> {
        self.drain();
        self.outgoing.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn send(&mut self, stream: u16, delivery: Delivery, message: Message) -> Result<(), Unsent> {
        if self.socket.state() != SocketState::Connected {
            return Err(Unsent::NotConnected);
        }
        let ppid = match message.kind {
            Kind::Dcep => 50,
            Kind::Text => 51,
            Kind::Binary => 53,
            Kind::EmptyText => 56,
            Kind::EmptyBinary => 57,
            Kind::Other => 52,
        };
        let mut options = SendOptions { unordered: !delivery.ordered, ..Default::default() };
        match delivery.persistence {
            Persistence::Reliable => {}
            Persistence::Retransmits(count) => options.max_retransmissions = Some(count),
            Persistence::LifetimeMs(ms) => options.lifetime = Some(Duration::from_millis(u64::from(ms))),
        }
        let message = dcsctp::api::Message::new(StreamId(stream), PpId(ppid), message.payload.to_vec());
        let sent = self.socket.send(message, &options);
        self.drain();
        sent.map_err(|_| Unsent::Closing)
    }

    fn open(&mut self, _stream: u16) {}

    /// Clients of tests read all they get, or are deaf.
    fn hold(&mut self, _stream: u16) {}

    fn release(&mut self, _stream: u16) {}

    fn abort(&mut self, _reason: &str) -> Option<Bytes> {
        self.socket.close();
        self.drain();
        self.outgoing.pop_back()
    }

    fn buffered(&mut self, stream: u16) -> usize {
        self.socket.buffered_amount(StreamId(stream))
    }

    fn reset(&mut self, stream: u16) {
        self.socket.reset_streams(&[StreamId(stream)]).unwrap();
        self.drain();
    }
}
