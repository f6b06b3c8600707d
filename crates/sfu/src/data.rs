//! Data channels in mediasoup's sense: a producer is one the client sends on, a consumer one it receives on.

use crate::sctp::screen::Screen;
use crate::sctp::{Association, Delivery, Message, Persistence, STREAMS, Sctp};
use bytes::Bytes;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};
use wire::{DataConsumerId, DataProducerId, RouterId};

/// One channel a client sends on; ends when it, its transport or its transport's association is closed.
pub struct DataProducer {
    pub id: DataProducerId,
    pub router: RouterId,
    pub transport: usize,
    pub stream: u16,
    pub delivery: Delivery,
    pub label: String,
    pub protocol: String,
    pub consumers: Vec<usize>,
    /// Its last message, while a consumer has no room for it; the stream is left unread behind it.
    pub waiting: Option<Message>,
    pub messages: u64,
    pub octets: u64,
}

/// One channel a client receives on; ends with its producer, too.
pub struct DataConsumer {
    pub id: DataConsumerId,
    pub producer: usize,
    pub transport: usize,
    pub stream: u16,
    pub delivery: Delivery,
    pub paused: bool,
    /// The client closed its end; signaling will say so.
    pub is_shut: bool,
    pub backlog: Backlog,
    /// Since its producer had to wait for it; until it has caught up.
    pub behind: Option<Behind>,
    pub messages: u64,
    pub octets: u64,
    /// Not sent: no room, paused, or not yet connected.
    pub dropped: u64,
}

impl DataConsumer {
    /// Whether messages are for it now.
    pub fn listens(&self, path: &DataPath) -> bool {
        !self.paused && !self.is_shut && matches!(path.link, Link::Connected(_))
    }

    /// One message always may wait, whatever its size.
    pub fn has_room_for(&self, message: &Message) -> bool {
        self.backlog.messages() == 0
            || self.backlog.messages() < MAX_BACKLOG_MESSAGES
                && self.backlog.octets() + message.payload.len() <= self.allowance()
    }

    pub fn has_caught_up(&self) -> bool {
        self.backlog.messages() <= MAX_BACKLOG_MESSAGES / 2 && self.backlog.octets() <= self.allowance() / 2
    }

    /// How much may wait. For a reliable channel more makes the producer wait; what an unreliable one holds for longer
    /// is stale.
    fn allowance(&self) -> usize {
        match self.delivery.persistence {
            Persistence::Reliable => RELIABLE_BACKLOG,
            Persistence::Retransmits(_) | Persistence::LifetimeMs(_) => UNRELIABLE_BACKLOG,
        }
    }
}

/// How far a client had come when a producer first had to wait for one of its consumers.
#[derive(Clone, Copy, Debug)]
pub struct Behind {
    pub since: Instant,
    pub taken: Taken,
}

/// What a client acknowledged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub octets: u64,
    pub messages: u64,
}

/// Messages handed to the association and not yet acknowledged.
#[derive(Debug, Default)]
pub struct Backlog {
    /// In the order of sending; none is there twice.
    sizes: VecDeque<u32>,
    octets: usize,
}

impl Backlog {
    pub fn push(&mut self, octets: usize) {
        self.sizes.push_back(octets as u32);
        self.octets += octets;
    }

    /// `buffered`: octets the association still holds of this stream.
    pub fn settle(&mut self, buffered: usize) {
        while let Some(first) = self.sizes.front().map(|size| *size as usize)
            && self.octets - first >= buffered
        {
            self.octets -= first;
            self.sizes.pop_front();
        }
    }

    pub fn octets(&self) -> usize {
        self.octets
    }

    pub fn messages(&self) -> usize {
        self.sizes.len()
    }
}

/// The data channels of one transport.
#[derive(Default)]
pub struct DataPath {
    pub link: Link,
    /// By stream; at most [`STREAMS`].
    pub producers: HashMap<u16, usize>,
    pub consumers: HashMap<u16, usize>,
    /// Streams of former consumers that the peer has not let go of.
    retired: HashSet<u16>,
    /// What waits for acknowledgement over all consumers, as last settled.
    pub backlog: usize,
    pub taken: Taken,
    /// What the client had taken when it was last found to keep others waiting for too long.
    pub given_up: Option<Taken>,
    /// Streams of producers that are left unread.
    pub held: usize,
    /// Such a stream's producer ended, and nobody read on yet.
    pub is_released: bool,
    /// What tells the peer that we ended the association.
    pub farewell: Option<Bytes>,
    /// What waited on streams that were closed, until the association has nothing left to send.
    pub orphaned: usize,
    next_stream: u16,
    /// On the worker's list of transports whose association has something to send.
    pub is_dirty: bool,
    pub pace: Pace,
    /// Packets the screen did not let through.
    pub refused: u64,
    /// Messages on streams nobody claims, or of a kind no data channel carries.
    pub unclaimed: u64,
}

/// Packets of an association leave a few at a time, and what was missed is not made up for: a window in one burst
/// overruns the client's socket, and the supplier repairs one loss per round trip.
#[derive(Debug, Default)]
pub struct Pace {
    next_burst: Option<Instant>,
    left: u32,
}

impl Pace {
    /// How many packets may leave now.
    pub fn allowance(&mut self, now: Instant) -> u32 {
        if self.next_burst.is_none_or(|at| at <= now) {
            self.next_burst = Some(now + BURST_INTERVAL);
            self.left = BURST;
        }
        self.left
    }

    pub fn note_sent(&mut self) {
        self.left -= 1;
    }

    /// When more may leave, if something waits.
    pub fn next_burst(&self) -> Option<Instant> {
        self.next_burst
    }
}

/// Where the association stands.
#[derive(Default)]
pub enum Link {
    /// The client has not spoken SCTP.
    #[default]
    New,
    Connecting(Box<(Screen, Sctp)>),
    Connected(Box<(Screen, Sctp)>),
    /// For good: the client needs a new transport.
    Lost,
}

impl Link {
    pub fn name(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Connecting(_) => "connecting",
            Self::Connected(_) => "connected",
            Self::Lost => "closed",
        }
    }

    pub fn association(&mut self) -> Option<&mut (Screen, Sctp)> {
        match self {
            Self::Connecting(link) | Self::Connected(link) => Some(link),
            Self::New | Self::Lost => None,
        }
    }

    pub fn connected(&mut self) -> Option<&mut Sctp> {
        match self {
            Self::Connected(link) => Some(&mut link.1),
            _ => None,
        }
    }
}

impl DataPath {
    /// A stream for a new consumer.
    pub fn claim_stream(&mut self) -> Option<u16> {
        let is_free = |stream: &u16| !self.consumers.contains_key(stream) && !self.retired.contains(stream);
        let stream = (0..STREAMS).map(|n| (self.next_stream + n) % STREAMS).find(is_free)?;
        self.next_stream = (stream + 1) % STREAMS;
        Some(stream)
    }

    /// Takes a consumer off. What it left unacknowledged goes on counting: closing channels is no way to memory.
    pub fn retire_stream(&mut self, stream: u16, backlog: &Backlog) {
        self.consumers.remove(&stream);
        self.backlog = self.backlog.saturating_sub(backlog.octets());
        if let Link::Connected(link) = &mut self.link {
            self.retired.insert(stream);
            self.orphaned += backlog.octets();
            link.1.reset(stream);
        }
    }

    pub fn has_room_for(&mut self, octets: usize) -> bool {
        if self.orphaned > 0 && self.link.connected().is_some_and(|sctp| sctp.poll_timeout().is_none()) {
            self.orphaned = 0;
        }
        self.backlog + self.orphaned + octets <= TRANSPORT_BACKLOG
    }

    /// Makes a channel's stream known to the association, if it is up.
    pub fn open_stream(&mut self, stream: u16) {
        if let Some(association) = self.link.connected() {
            association.open(stream);
        }
    }

    pub fn on_reusable(&mut self, stream: u16) {
        self.retired.remove(&stream);
        if self.producers.contains_key(&stream) || self.consumers.contains_key(&stream) {
            self.open_stream(stream);
        }
    }
}

/// 110 Mbit/s of full packets, half as much again as any one client may send. A browser's socket holds about ninety of
/// them (Linux, 208 kB).
const BURST: u32 = 12;
const BURST_INTERVAL: Duration = Duration::from_millis(1);
/// Two seconds of 8 Mbit/s, or eight of the largest messages.
const RELIABLE_BACKLOG: usize = 2 * 1024 * 1024;
const UNRELIABLE_BACKLOG: usize = 256 * 1024;
/// Of all consumers of one transport.
const TRANSPORT_BACKLOG: usize = 4 * 1024 * 1024;
/// Small messages cost more than their octets.
const MAX_BACKLOG_MESSAGES: usize = 2_048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_counts_what_is_not_acknowledged() {
        let mut backlog = Backlog::default();
        for size in [10, 1, 5] {
            backlog.push(size);
        }
        backlog.settle(16);
        assert_eq!((backlog.octets(), backlog.messages()), (16, 3));
        backlog.settle(7);
        assert_eq!((backlog.octets(), backlog.messages()), (16, 3));
        backlog.settle(6);
        assert_eq!((backlog.octets(), backlog.messages()), (6, 2));
        backlog.settle(0);
        assert_eq!((backlog.octets(), backlog.messages()), (0, 0));
    }

    #[test]
    fn streams_go_round_and_wait_for_the_peer_to_let_go() {
        let mut path = DataPath::default();
        for expected in 0..STREAMS {
            let stream = path.claim_stream().unwrap();
            assert_eq!(stream, expected);
            path.consumers.insert(stream, 0);
        }
        assert_eq!(path.claim_stream(), None);
        path.link = Link::Connected(Box::new((Screen::default(), Sctp::accept())));
        path.retire_stream(5, &Backlog::default());
        assert_eq!(path.claim_stream(), None);
        path.on_reusable(5);
        assert_eq!(path.claim_stream(), Some(5));
    }
}
