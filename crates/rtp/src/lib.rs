//! RTP and RTCP as plain values: bytes in, decisions out, with time handed in as nanoseconds.
//!
//! Nothing here reads a clock, opens a socket, spawns or waits; a test lives through hours in milliseconds.
//! Every parser takes hostile bytes: it answers with a small error or stops early, and never panics.
//!
//! * [`packet`], [`ext`], [`rtcp`], [`sequence`]: bytes on the wire; allocation-free to read.
//! * [`codec`]: what a forwarder and a depacketiser need to know of VP8, VP9, H.264, AV1 and Opus payloads.
//! * [`dependency`]: which frames a receiver of some layers needs, as AV1's header extension tells it.
//! * [`jitter`]: order out of the network's disorder, for pictures and for sound.
//! * [`frame`]: whole pictures, each marked with whether everything it refers to was delivered.
//! * [`clock`]: one timeline for all the streams of one guest.
//!
//! Times named `_ns` are nanoseconds of the host's monotonic clock, in any epoch the caller likes.

#![forbid(unsafe_code)]

mod bytes;
pub mod clock;
pub mod codec;
pub mod dependency;
pub mod ext;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod jitter;
pub mod packet;
pub mod rtcp;
pub mod sequence;

#[cfg(test)]
mod prng;
