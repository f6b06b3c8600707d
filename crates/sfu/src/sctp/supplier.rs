//! An SCTP association by `sctp-proto`, and the only file that knows it.
//!
//! It is fenced as DTLS is: packets are screened before, and a panic inside it ends this association only.

use super::packet::{self, ABORT, Route, SACK, SHUTDOWN, SHUTDOWN_ACK, SHUTDOWN_COMPLETE, chunks, u32_at};
use super::{
    Association, Delivery, Event, Kind, MAX_MESSAGE, Message, Persistence, RECEIVE_WINDOW, STREAMS, Unsent,
};
use bytes::Bytes;
use sctp_proto::{
    AssociationError, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event as SupplierEvent,
    Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};
use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The side that waits for the client's INIT: clients always send one.
pub struct Sctp {
    state: State,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<Event>,
    /// Streams with messages to read; none is there twice.
    readable: VecDeque<u16>,
    /// Streams to leave unread.
    held: HashSet<u16>,
    window: Window,
    /// Of the packets that went to the peer, once one did.
    route: Option<Route>,
    /// The peer said that it ends the association.
    is_ended_by_peer: bool,
    farewell: Option<Bytes>,
}

/// The window the peer was told of, and what has been read since: the supplier says nothing when a closed window opens.
#[derive(Default)]
struct Window {
    /// The last packet with an acknowledgement.
    acknowledgement: Option<Bytes>,
    told: u32,
    read: u32,
}

impl Window {
    fn note_sent(&mut self, packet: &Bytes) {
        if let Some(sack) = chunks(packet).flatten().find(|chunk| chunk.kind == SACK) {
            *self = Self {
                told: u32_at(sack.value, 4).unwrap_or(0),
                read: 0,
                acknowledgement: Some(packet.clone()),
            };
        }
    }

    /// The last acknowledgement again, where the window it told was small and has grown by much. What arrived since
    /// the peer reckons with, as it has not heard otherwise (RFC 9260 §6.2.1 D).
    fn poll_update(&mut self) -> Option<Bytes> {
        if self.told >= RECEIVE_WINDOW / 2 || self.read < RECEIVE_WINDOW / 4 {
            return None;
        }
        let window = RECEIVE_WINDOW.min(self.told + self.read);
        packet::with_window(self.acknowledgement.as_ref()?, window)
    }
}

enum State {
    /// One for each INIT, as the client may answer any of ours: the supplier makes a new association of a repetition.
    Handshaking(Vec<Running>),
    Connected(Box<Running>),
    Lost,
}

struct Running {
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: sctp_proto::Association,
}

impl Sctp {
    pub fn accept() -> Self {
        Self {
            state: State::Handshaking(Vec::new()),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            readable: VecDeque::new(),
            held: HashSet::new(),
            window: Window::default(),
            route: None,
            is_ended_by_peer: false,
            farewell: None,
        }
    }

    /// Runs the supplier's code; its panic is this association's end.
    fn fenced<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| run(self))) {
            Ok(value) => Some(value),
            Err(_) => {
                self.lose("the SCTP library panicked".into());
                None
            }
        }
    }

    /// The supplier tells the peer nothing when it gives up, but for want of room.
    fn lose(&mut self, reason: String) {
        if matches!(self.state, State::Lost) {
            return;
        }
        self.state = State::Lost;
        self.farewell = match (self.route, self.is_ended_by_peer) {
            (Some(route), false) => Some(packet::abort(route, &reason)),
            _ => self.outgoing.pop_back(),
        };
        self.events.push_back(Event::Lost { reason });
    }

    fn running(&mut self) -> &mut [Running] {
        match &mut self.state {
            State::Handshaking(candidates) => candidates,
            State::Connected(running) => std::slice::from_mut(running),
            State::Lost => &mut [],
        }
    }

    fn established(&mut self) -> Option<&mut sctp_proto::Association> {
        match &mut self.state {
            State::Connected(running) => Some(&mut running.association),
            _ => None,
        }
    }

    /// Takes over what the supplier has to tell and to send.
    fn drain(&mut self, now: Instant) {
        let lost = self.pull();
        self.collect(now);
        if let Some(reason) = lost {
            self.lose(reason);
        }
    }

    /// Takes over what the supplier has to tell. Answers why the association was lost, if it was.
    fn pull(&mut self) -> Option<String> {
        let mut connected = None;
        let mut lost = None;
        let mut events = Vec::new();
        for (index, running) in self.running().iter_mut().enumerate() {
            while let Some(event) = running.association.poll() {
                match event {
                    SupplierEvent::Connected => connected = Some(index),
                    SupplierEvent::HandshakeFailed { reason } | SupplierEvent::AssociationLost { reason } => {
                        lost = Some(in_words(&reason));
                    }
                    SupplierEvent::Stream(event) => events.push(event),
                    _ => {}
                }
            }
            // We learn of streams by what arrives on them.
            while running.association.accept_stream().is_some() {}
        }
        if let (State::Handshaking(candidates), Some(index)) = (&mut self.state, connected) {
            let chosen = candidates.swap_remove(index);
            self.state = State::Connected(Box::new(chosen));
            self.events.push_back(Event::Connected);
        }
        events.into_iter().for_each(|event| self.handle_stream_event(event));
        lost.filter(|_| matches!(self.state, State::Connected(_)))
    }

    fn handle_stream_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Readable { id } => self.note_readable(id),
            StreamEvent::Finished { id } => self.events.push_back(Event::PeerReset { stream: id }),
            StreamEvent::ResetComplete { id } => self.events.push_back(Event::Reusable { stream: id }),
            _ => {}
        }
    }

    fn note_readable(&mut self, stream: u16) {
        if !self.readable.contains(&stream) {
            self.readable.push_back(stream);
        }
    }

    /// Reads one message, each stream in its turn, and hears what the supplier kept behind it.
    fn read(&mut self) {
        while self.events.is_empty()
            && let Some(at) = self.readable.iter().position(|stream| !self.held.contains(stream))
            && let Some(id) = self.readable.remove(at)
        {
            let stream = self.established().and_then(|association| association.stream(id).ok());
            let Some(Ok(Some(chunks))) = stream.map(|mut stream| stream.read_sctp()) else { continue };
            let mut payload = vec![0; chunks.len()];
            if chunks.read(&mut payload).is_ok() {
                let message = Message { kind: chunks.ppi.into(), payload: payload.into() };
                self.events.push_back(Event::Message { stream: id, message });
            }
            self.window.read = self.window.read.saturating_add(chunks.len() as u32);
            self.note_readable(id);
            if let Some(reason) = self.pull() {
                self.lose(reason);
            }
        }
    }

    fn collect(&mut self, now: Instant) {
        let mut packets = Vec::new();
        for running in self.running() {
            while let Some(transmit) = running.association.poll_transmit(now) {
                if let Payload::RawEncode(some) = transmit.payload {
                    packets.extend(some);
                }
            }
        }
        for packet in packets {
            self.route = packet::route(&packet).or(self.route);
            packet::split(packet, |packet| {
                self.window.note_sent(&packet);
                self.outgoing.push_back(packet);
            });
        }
        if let Some(packet) = self.window.poll_update() {
            self.window.note_sent(&packet);
            self.outgoing.push_back(packet);
        }
    }
}

impl Running {
    /// Makes an association of a client's INIT.
    fn accept(now: Instant, init: &Bytes) -> Option<Self> {
        let mut server = ServerConfig::new();
        server.transport = Arc::new(transport_config());
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_PAYLOAD);
        let mut endpoint = Endpoint::new(Arc::new(config), Some(Arc::new(server)));
        match endpoint.handle(now, PEER, None, None, init.clone())? {
            (handle, DatagramEvent::NewAssociation(association)) => {
                Some(Self { endpoint, handle, association })
            }
            _ => None,
        }
    }

    fn handle_datagram(&mut self, now: Instant, packet: &Bytes) {
        if let Some((handle, DatagramEvent::AssociationEvent(event))) =
            self.endpoint.handle(now, PEER, None, None, packet.clone())
            && handle == self.handle
        {
            self.association.handle_event(event);
        }
    }
}

impl Association for Sctp {
    fn handle_datagram(&mut self, now: Instant, packet: Bytes) {
        self.is_ended_by_peer = chunks(&packet)
            .flatten()
            .any(|chunk| matches!(chunk.kind, ABORT | SHUTDOWN | SHUTDOWN_ACK | SHUTDOWN_COMPLETE));
        self.fenced(|sctp| {
            if let State::Handshaking(candidates) = &mut sctp.state
                && packet.get(FIRST_CHUNK) == Some(&INIT)
            {
                if candidates.len() == MAX_CANDIDATES {
                    candidates.remove(0);
                }
                candidates.extend(Running::accept(now, &packet));
            } else {
                sctp.running().iter_mut().for_each(|running| running.handle_datagram(now, &packet));
            }
            sctp.drain(now);
        });
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.fenced(|sctp| {
            sctp.running().iter_mut().for_each(|running| running.association.handle_timeout(now));
            sctp.drain(now);
        });
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Handshaking(candidates) => {
                candidates.iter().filter_map(|running| running.association.poll_timeout()).min()
            }
            State::Connected(running) => running.association.poll_timeout(),
            State::Lost => None,
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if self.outgoing.is_empty() {
            self.fenced(|sctp| sctp.collect(now));
        }
        self.outgoing.pop_front()
    }

    fn poll_event(&mut self) -> Option<Event> {
        if self.events.is_empty() {
            self.fenced(Self::read);
        }
        self.events.pop_front()
    }

    fn send(&mut self, stream: u16, delivery: Delivery, message: Message) -> Result<(), Unsent> {
        let sent = self.fenced(|sctp| {
            let association = sctp.established().ok_or(Unsent::NotConnected)?;
            if association.stream(stream).is_err() {
                association.open_stream(stream, message.kind.into()).map_err(|_| Unsent::Closing)?;
            }
            let mut stream = association.stream(stream).map_err(|_| Unsent::Closing)?;
            let (reliability, limit) = match delivery.persistence {
                Persistence::Reliable => (ReliabilityType::Reliable, 0),
                Persistence::Retransmits(count) => (ReliabilityType::Rexmit, u32::from(count)),
                Persistence::LifetimeMs(ms) => (ReliabilityType::Timed, u32::from(ms)),
            };
            stream
                .set_reliability_params(!delivery.ordered, reliability, limit)
                .and_then(|()| stream.set_default_payload_type(message.kind.into()))
                // The one way of writing that takes the payload without copying it.
                .and_then(|()| stream.write_chunks(&mut [message.payload]))
                .map_err(|_| Unsent::Closing)?;
            Ok(())
        });
        sent.unwrap_or(Err(Unsent::NotConnected))
    }

    fn open(&mut self, stream: u16) {
        self.fenced(|sctp| {
            if let Some(association) = sctp.established() {
                // It may be known already, or not yet be let go of.
                let _ = association.open_stream(stream, PayloadProtocolIdentifier::Binary);
            }
        });
    }

    fn hold(&mut self, stream: u16) {
        self.held.insert(stream);
    }

    fn release(&mut self, stream: u16) {
        if self.held.remove(&stream) {
            self.note_readable(stream);
        }
    }

    fn abort(&mut self, reason: &str) -> Option<Bytes> {
        self.lose(reason.to_owned());
        self.farewell.take()
    }

    fn buffered(&mut self, stream: u16) -> usize {
        let stream = self.established().and_then(|association| association.stream(stream).ok());
        stream.and_then(|stream| stream.buffered_amount().ok()).unwrap_or(0)
    }

    fn reset(&mut self, stream: u16) {
        self.fenced(|sctp| {
            let Some(association) = sctp.established() else { return };
            if let Ok(mut stream) = association.stream(stream) {
                let _ = stream.close();
            }
        });
    }
}

impl From<PayloadProtocolIdentifier> for Kind {
    fn from(identifier: PayloadProtocolIdentifier) -> Self {
        match identifier {
            PayloadProtocolIdentifier::Dcep => Self::Dcep,
            PayloadProtocolIdentifier::String => Self::Text,
            PayloadProtocolIdentifier::Binary => Self::Binary,
            PayloadProtocolIdentifier::StringEmpty => Self::EmptyText,
            PayloadProtocolIdentifier::BinaryEmpty => Self::EmptyBinary,
            PayloadProtocolIdentifier::Unknown => Self::Other,
        }
    }
}

impl From<Kind> for PayloadProtocolIdentifier {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Dcep => Self::Dcep,
            Kind::Text => Self::String,
            Kind::Binary => Self::Binary,
            Kind::EmptyText => Self::StringEmpty,
            Kind::EmptyBinary => Self::BinaryEmpty,
            Kind::Other => Self::Unknown,
        }
    }
}

/// The supplier says the same of a peer who leaves and of one who breaks the rules.
fn in_words(reason: &AssociationError) -> String {
    match reason {
        AssociationError::AssociationClosed => format!(
            "the client ended its data channels, or sent what they do not carry (a message over {MAX_MESSAGE} octets?)"
        ),
        AssociationError::ReceiveBufferExhausted => "the client left too many messages unfinished".into(),
        other => format!("the data channels failed: {other}"),
    }
}

fn transport_config() -> TransportConfig {
    TransportConfig::default()
        .with_max_receive_buffer_size(RECEIVE_WINDOW)
        .with_max_receive_message_size(MAX_MESSAGE as u32)
        .with_max_send_message_size(MAX_MESSAGE as u32)
        .with_max_num_inbound_streams(STREAMS)
        .with_max_num_outbound_streams(STREAMS)
        .with_rto_initial_ms(RTO_INITIAL_MS)
        .with_rto_min_ms(RTO_MIN_MS)
        .with_rto_max_ms(RTO_MAX_MS)
}

/// Above the 200 ms that a peer may hold its acknowledgement back, as Chromium's stack has it; RFC 9260's second would
/// be felt in a game.
const RTO_INITIAL_MS: u64 = 500;
const RTO_MIN_MS: u64 = 400;
/// So that a guest who comes back is not left waiting; whether they do is ICE's business.
const RTO_MAX_MS: u64 = 5_000;
/// A full piece with its headers is well below [`packet::MAX_PACKET`], so that few bundles have to be split: the
/// supplier makes them of up to 47 octets more than this, or still more of short messages.
const MAX_PAYLOAD: u32 = 1_144;
/// More INITs than a client sends before it has one of our answers.
const MAX_CANDIDATES: usize = 4;
const FIRST_CHUNK: usize = 12;
const INIT: u8 = 1;
/// The supplier wants addresses; over DTLS they mean nothing.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
