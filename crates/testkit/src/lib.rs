//! Development only: what tests of several crates share, and tests of the workspace's shape.
#![forbid(unsafe_code)]

pub mod link;
