//! Composition: config, sockets, threads, tasks, shutdown; the library behind `greenroom` and `greenroomd`.

pub mod certificate;
pub mod cli;
pub mod config;
pub mod obs_install;
pub mod store;
pub mod worker;
