//! Socket.IO, REST and the pages: turns wire messages into calls on a [`Backend`] and back. No state of its own
//! beyond sockets and limits.
#![forbid(unsafe_code)]

pub mod backend;

pub use backend::{Backend, Caller, DashboardFeed, Outbox, Preview, SessionId};
