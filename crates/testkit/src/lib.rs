//! Development only: the load generator, the bad network, and tests of the workspace's shape.
//!
//! The load generator knows the server by its protocols alone. It shares nothing with it but the bytes of RTCP: ICE,
//! DTLS and SRTP are of other hands, so that a mistake in ours finds no twin, and nothing can be left out of the path
//! that is measured.
#![forbid(unsafe_code)]

pub mod camera;
pub mod churn;
pub mod connection;
pub mod crowd;
pub mod dtls_client;
pub mod floor;
pub mod greenroom;
pub mod ice_client;
pub mod janus;
pub mod link;
pub mod load;
pub mod packetise;
pub mod process;
pub mod publisher;
pub mod recorded_guest;
pub mod recording;
pub mod socket_io;
pub mod srtp;
pub mod subscriber;
