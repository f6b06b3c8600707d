//! Each way out of the studio; today OBS: guests' media through the supervised media worker process, and its scenes
//! through obs-websocket.
//!
//! No codec lives here: a guest's bytes are only ever parsed in the worker, whose crash costs a restart.
#![deny(unsafe_code)]

pub mod obs;
pub mod obs_websocket;
pub mod record;
