//! An SCTP association by `sctp-proto`, and the only file that knows it.
//!
//! It is fenced as DTLS is: packets are screened before, and a panic inside it ends this association only.

use super::{
    Association, Delivery, Event, Kind, MAX_MESSAGE, Message, Persistence, RECEIVE_WINDOW, STREAMS, Unsent,
};
use bytes::Bytes;
use sctp_proto::{
    AssociationError, AssociationHandle, DatagramEvent, Endpoint, EndpointConfig, Event as SupplierEvent,
    Payload, PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, TransportConfig,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The side that waits for the client's INIT: clients always send one.
pub struct Sctp {
    state: State,
    outgoing: VecDeque<Bytes>,
    events: VecDeque<Event>,
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
        Self { state: State::Handshaking(Vec::new()), outgoing: VecDeque::new(), events: VecDeque::new() }
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

    fn lose(&mut self, reason: String) {
        if !matches!(self.state, State::Lost) {
            self.state = State::Lost;
            self.events.push_back(Event::Lost { reason });
        }
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

    /// Takes over what the supplier has to tell.
    fn drain(&mut self, now: Instant) {
        let mut events = std::mem::take(&mut self.events);
        let mut connected = None;
        let mut lost = None;
        for (index, running) in self.running().iter_mut().enumerate() {
            while let Some(event) = running.association.poll() {
                match event {
                    SupplierEvent::Connected => connected = Some(index),
                    SupplierEvent::HandshakeFailed { reason } | SupplierEvent::AssociationLost { reason } => {
                        lost = Some(in_words(&reason));
                    }
                    SupplierEvent::Stream(event) => running.handle_stream_event(event, &mut events),
                    _ => {}
                }
            }
            // We learn of streams by what arrives on them.
            while running.association.accept_stream().is_some() {}
        }
        self.events = events;
        self.collect(now);
        if let (State::Handshaking(candidates), Some(index)) = (&mut self.state, connected) {
            let chosen = candidates.swap_remove(index);
            self.state = State::Connected(Box::new(chosen));
            self.events.push_front(Event::Connected);
        }
        if let (State::Connected(_), Some(reason)) = (&self.state, lost) {
            self.lose(reason);
        }
    }

    fn collect(&mut self, now: Instant) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        for running in self.running() {
            while let Some(transmit) = running.association.poll_transmit(now) {
                if let Payload::RawEncode(packets) = transmit.payload {
                    outgoing.extend(packets);
                }
            }
        }
        self.outgoing = outgoing;
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

    fn handle_stream_event(&mut self, event: StreamEvent, events: &mut VecDeque<Event>) {
        match event {
            StreamEvent::Readable { id } => {
                let Ok(mut stream) = self.association.stream(id) else { return };
                while let Ok(Some(chunks)) = stream.read_sctp() {
                    let mut payload = vec![0; chunks.len()];
                    if chunks.read(&mut payload).is_ok() {
                        let message = Message { kind: chunks.ppi.into(), payload: payload.into() };
                        events.push_back(Event::Message { stream: id, message });
                    }
                }
            }
            StreamEvent::Finished { id } => events.push_back(Event::PeerReset { stream: id }),
            StreamEvent::ResetComplete { id } => events.push_back(Event::Reusable { stream: id }),
            _ => {}
        }
    }
}

impl Association for Sctp {
    fn handle_datagram(&mut self, now: Instant, packet: Bytes) {
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
/// The supplier bundles up to 47 octets more than this into a packet. With DTLS, UDP and IPv6 around it that is 1,280.
const MAX_PAYLOAD: u32 = 1_144;
/// More INITs than a client sends before it has one of our answers.
const MAX_CANDIDATES: usize = 4;
const FIRST_CHUNK: usize = 12;
const INIT: u8 = 1;
/// The supplier wants addresses; over DTLS they mean nothing.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);
