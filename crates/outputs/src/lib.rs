//! Each way out of the studio; today OBS, through the supervised media worker process.
//!
//! No codec lives here: a guest's bytes are only ever parsed in the worker, whose crash costs a restart.
#![deny(unsafe_code)]

pub mod obs;
pub mod record;
