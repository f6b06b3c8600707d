//! The media plane as a state machine: datagrams, commands and time in; datagrams, events and tapped packets out.
//!
//! It knows transports, producers and consumers in mediasoup's sense, and no people. It reads no clock, opens no
//! socket, spawns nothing; in the steady state it allocates nothing per forwarded packet. The caller loops:
//!
//! 1. [`Worker::handle_datagram`] for each datagram, or [`Worker::handle_datagrams`] for a batch, [`Worker::handle_timeout`] when [`Worker::poll_timeout`] is due,
//!    commands as they come;
//! 2. then once [`Worker::flush`], and [`Worker::poll_event`] until there is none.
//!
//! From outside in: [`stun`] and [`ice`] find the client's [`path`]s, [`dtls`] and [`srtp`] secure the path, [`ortc`] agrees on
//! numbers, [`sctp`] and [`data`] carry data channels, [`receive`] keeps a producer's streams, [`forward`] and [`consumer`]
//! place packets in a consumer's,
//! [`egress`] holds what goes out, [`worker`] owns it all. Packets go to their receivers with the flush, not before.
#![forbid(unsafe_code)]

mod bandwidth;
mod candidate;
mod client_hello;
mod clock;
mod consumer;
mod data;
mod dtls;
mod egress;
mod error;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod header;
mod ice;
mod layering;
mod layers;
mod nack;
mod ortc;
mod path;
mod producer;
mod rate;
mod receive;
mod replay;
mod ring;
mod score;
mod sctp;
mod speakers;
mod srtp;
mod stats;
mod stun;
mod totals;
mod transport;
mod transport_feedback;
mod worker;
mod xr;

#[cfg(test)]
mod tests;

pub use egress::Transmit;
pub use error::Error;
pub use layers::Layers;
pub use path::{Path, Protocol};
pub use totals::{Census, Drops, Totals};
pub use worker::{Config, Datagram, Event, TapFormat, TapSink, Worker, mark_of};
