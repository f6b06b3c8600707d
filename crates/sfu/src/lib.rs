//! The media plane as a state machine: datagrams, commands and time in; datagrams, events and taps out.
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod dtls;
mod error;
mod ice;
mod ortc;
mod replay;
mod srtp;
mod stun;

pub use error::Error;
