//! Data channels in mediasoup's sense: a producer is one the client sends on, a consumer one it receives on.

use crate::sctp::screen::Screen;
use crate::sctp::{Association, Delivery, Persistence, STREAMS, Sctp};
use std::collections::{HashMap, HashSet, VecDeque};
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
    pub messages: u64,
    pub octets: u64,
    /// Not sent: no room, paused, or not yet connected.
    pub dropped: u64,
}

impl DataConsumer {
    /// How much may wait. A reliable channel rides out a slow second and then is closed; what an unreliable one holds
    /// for longer is stale.
    pub fn allowance(&self) -> usize {
        match self.delivery.persistence {
            Persistence::Reliable => RELIABLE_BACKLOG,
            Persistence::Retransmits(_) | Persistence::LifetimeMs(_) => UNRELIABLE_BACKLOG,
        }
    }
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
    /// What waited on streams that were closed, until the association has nothing left to send.
    pub orphaned: usize,
    next_stream: u16,
    /// On the worker's list of transports whose association has something to send.
    pub is_dirty: bool,
    /// Packets the screen did not let through.
    pub refused: u64,
    /// Messages on streams nobody claims, or of a kind no data channel carries.
    pub unclaimed: u64,
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

    pub fn on_reusable(&mut self, stream: u16) {
        self.retired.remove(&stream);
    }
}

/// Two seconds of 8 Mbit/s, or eight of the largest messages.
const RELIABLE_BACKLOG: usize = 2 * 1024 * 1024;
const UNRELIABLE_BACKLOG: usize = 256 * 1024;
/// Of all consumers of one transport.
const TRANSPORT_BACKLOG: usize = 4 * 1024 * 1024;
/// Small messages cost more than their octets.
pub const MAX_BACKLOG_MESSAGES: usize = 2_048;

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
