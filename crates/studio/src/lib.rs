//! Composition: config, sockets, threads, tasks, shutdown; the library behind `greenroom` and `greenroomd`.

pub mod certificate;
pub mod cli;
mod clock;
pub mod config;
mod doors;
mod engine;
mod host;
pub mod logging;
mod memory;
mod metrics;
mod monitoring;
mod obs_control;
pub mod obs_install;
mod obs_process;
mod obs_watch;
mod places;
mod process;
mod provider_keys;
pub mod stage;
pub mod store;
mod studio;
mod stun_servers;
mod support;
mod watched;
pub mod worker;

#[cfg(debug_assertions)]
pub use studio::Fault;
pub use studio::{Access, Studio};
