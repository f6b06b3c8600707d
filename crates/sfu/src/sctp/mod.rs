//! SCTP for data channels: what the rest of the crate asks of an association, whoever supplies it.
//!
//! The supplier (`sctp-proto`) is behind [`Association`], and nothing reaches it that [`screen`] has not looked at.
//! Tests speak to it with Chromium's stack (`dcsctp`) behind the same trait.

pub mod dcep;
mod packet;
pub mod screen;
mod supplier;

#[cfg(any(test, feature = "fuzzing"))]
pub use packet::seal;
pub use supplier::Sctp;

use crate::error::Error;
use bytes::Bytes;
use std::time::Instant;
use thiserror::Error as ThisError;
use wire::ortc::{SctpParameters, SctpStreamParameters};

/// One association over one DTLS connection. After [`Event::Lost`] it is to be dropped.
pub trait Association {
    /// Takes one SCTP packet.
    fn handle_datagram(&mut self, now: Instant, packet: Bytes);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    /// The next SCTP packet for the peer.
    fn poll_transmit(&mut self, now: Instant) -> Option<Bytes>;
    fn poll_event(&mut self) -> Option<Event>;
    /// Queues one message. Its memory is shared with the caller's; how much may wait is the caller's business.
    fn send(&mut self, stream: u16, delivery: Delivery, message: Message) -> Result<(), Unsent>;
    /// Makes a stream known that neither side has used: the peer's closing it is answered, and so can it be closed
    /// towards the peer. Streams are known from their first message at the latest.
    fn open(&mut self, stream: u16);
    /// Leaves a stream's messages unread: they fill the window the peer is told of, and at last it waits (RFC 9260
    /// §6.2). Takes effect before the next [`Event`].
    fn hold(&mut self, stream: u16);
    /// Undoes [`Self::hold`]. Events and packets may follow.
    fn release(&mut self, stream: u16);
    /// Ends it. Returns the packet that tells the peer, unless it knows or never heard of us.
    fn abort(&mut self, reason: &str) -> Option<Bytes>;
    /// Octets of a stream's messages that the peer has not acknowledged.
    fn buffered(&mut self, stream: u16) -> usize;
    /// Ends the outgoing half of a stream once its messages have arrived (RFC 8831 §6.7).
    fn reset(&mut self, stream: u16);
}

/// What an association tells its transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Connected,
    Message {
        stream: u16,
        message: Message,
    },
    /// The peer closed its channel on this stream.
    PeerReset {
        stream: u16,
    },
    /// A stream that was closed by either side can be used anew.
    Reusable {
        stream: u16,
    },
    Lost {
        reason: String,
    },
}

/// Why a message was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Unsent {
    #[error("the association is not up")]
    NotConnected,
    #[error("the stream is being closed")]
    Closing,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: Kind,
    pub payload: Bytes,
}

/// Not what people wrote to each other, and not a quarter of a megabyte.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {} octets", self.kind, self.payload.len())
    }
}

impl Message {
    /// Octets the application wrote: an empty message travels as one octet (RFC 8831 §6.6).
    pub fn len(&self) -> usize {
        match self.kind {
            Kind::EmptyText | Kind::EmptyBinary => 0,
            _ => self.payload.len(),
        }
    }
}

/// What a payload is (RFC 8831 §8, the protocol identifiers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the Data Channel Establishment Protocol (RFC 8832).
    Dcep,
    Text,
    Binary,
    EmptyText,
    EmptyBinary,
    /// Deprecated fragments (52, 54) and what no data channel carries.
    Other,
}

/// How hard a message is to be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub ordered: bool,
    pub persistence: Persistence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    Reliable,
    Retransmits(u16),
    LifetimeMs(u16),
}

impl Delivery {
    pub const RELIABLE: Self = Self { ordered: true, persistence: Persistence::Reliable };

    /// As mediasoup reads them: a limit without `ordered` means unordered. Ordered with a limit is allowed, as in
    /// `RTCDataChannelInit`.
    pub fn parse(parameters: &SctpStreamParameters) -> Result<Self, Error> {
        let persistence = match (parameters.max_packet_life_time, parameters.max_retransmits) {
            (None, None) => Persistence::Reliable,
            (Some(ms), None) => Persistence::LifetimeMs(ms),
            (None, Some(count)) => Persistence::Retransmits(count),
            (Some(_), Some(_)) => {
                return Err(Error::invalid(
                    "a channel has `maxPacketLifeTime` or `maxRetransmits`, not both",
                ));
            }
        };
        let ordered = parameters.ordered.unwrap_or(persistence == Persistence::Reliable);
        Ok(Self { ordered, persistence })
    }

    pub fn parameters(self, stream: u16) -> SctpStreamParameters {
        let (max_packet_life_time, max_retransmits) = match self.persistence {
            Persistence::Reliable => (None, None),
            Persistence::LifetimeMs(ms) => (Some(ms), None),
            Persistence::Retransmits(count) => (None, Some(count)),
        };
        SctpStreamParameters {
            stream_id: stream,
            ordered: Some(self.ordered),
            max_packet_life_time,
            max_retransmits,
        }
    }
}

/// What a transport offers.
pub fn parameters() -> SctpParameters {
    SctpParameters {
        port: PORT,
        os: STREAMS,
        mis: STREAMS,
        max_message_size: MAX_MESSAGE as u32,
        max_send_message_size: MAX_MESSAGE as u32,
        max_receive_message_size: MAX_MESSAGE as u32,
    }
}

/// The number browsers use; over DTLS it means nothing (RFC 8841 §5.1).
const PORT: u16 = 5_000;
/// Streams each way, as mediasoup announces.
pub const STREAMS: u16 = 1_024;
/// As Chromium, Firefox and mediasoup announce.
pub const MAX_MESSAGE: usize = 262_144;
/// Room for one message of the largest size, and another behind a gap.
pub const RECEIVE_WINDOW: u32 = 512 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_parameters_are_read_as_mediasoup_reads_them() {
        let parse = |ordered, max_packet_life_time, max_retransmits| {
            Delivery::parse(&SctpStreamParameters {
                stream_id: 0,
                ordered,
                max_packet_life_time,
                max_retransmits,
            })
        };
        assert_eq!(parse(None, None, None), Ok(Delivery::RELIABLE));
        let unordered = |persistence| Ok(Delivery { ordered: false, persistence });
        assert_eq!(parse(Some(false), None, None), unordered(Persistence::Reliable));
        assert_eq!(parse(None, Some(500), None), unordered(Persistence::LifetimeMs(500)));
        assert_eq!(parse(None, None, Some(0)), unordered(Persistence::Retransmits(0)));
        let ordered = Delivery { ordered: true, persistence: Persistence::Retransmits(3) };
        assert_eq!(parse(Some(true), None, Some(3)), Ok(ordered));
        assert_eq!(Delivery::parse(&ordered.parameters(7)), Ok(ordered));
        assert!(parse(None, Some(1), Some(1)).is_err());
    }
}
