//! Socket.IO, REST and the pages: turns wire messages into calls on a [`Backend`] and back. No state of its own
//! beyond sockets and limits.
#![forbid(unsafe_code)]

mod answer;
mod arrival;
pub mod backend;
mod channel;
pub mod config;
mod connection;
mod dashboard;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gate;
mod guard;
mod line;
mod listener;
mod live;
mod live_socket;
mod openapi;
mod outbox;
mod pages;
mod parse;
mod relay;
mod rest;
pub mod server;
mod socket_io;
mod swarm;
mod swarm_socket;
pub mod tally;
mod web_socket;

pub use backend::{Backend, Caller, DashboardFeed, Outbox, Preview, SessionId};
pub use config::{AllowedOrigins, Config, LanConfig, Limits, PageSource, SwarmAccess};
pub use server::{LanError, Server, StartError};
pub use tally::Tally;

/// A directive for the program's log filter: below this level the WebSocket library writes whole frames, tokens
/// included. Add it after the user's own directives.
pub const LOG_CEILING: &str = "tungstenite=debug";
