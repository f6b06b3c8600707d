//! Watching over a running Greenroom: the text that Prometheus reads.
#![forbid(unsafe_code)]

pub mod exposition;

pub use exposition::{Exposition, Histogram, Kind};
