//! Order out of the network's disorder, in virtual time: for pictures and for sound.

mod audio;
mod buffer;

pub use audio::{AudioJitter, AudioJitterConfig, AudioJitterStats, AudioPacket, Silence, Step};
pub use buffer::{Inserted, JitterBuffer, JitterConfig, JitterStats, Popped};

pub(crate) const MS: u64 = 1_000_000;
