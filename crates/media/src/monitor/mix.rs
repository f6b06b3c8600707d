//! The sum of what guests are heard at, 10 ms at a time, on its way to the process that plays it.

use super::Shared;
use crate::audio::{CHUNK, Chunk};
use crate::locked;
use rustix::io::Errno;
use std::sync::Arc;
use wire::PeerId;
use wire::monitor::{CHUNK_BYTES, CHUNK_FRAMES};

const _: () = assert!(CHUNK == CHUNK_FRAMES, "the mix goes out as it comes in");

/// The audio thread's. Between [`Mixer::begin`] and [`Mixer::finish`] every guest adds their chunk.
///
/// *Media* kind: when the pipe is full the chunk is dropped.
pub struct Mixer {
    shared: Arc<Shared>,
    /// Somebody plays the mix.
    open: bool,
    sum: Chunk,
    bytes: [u8; CHUNK_BYTES],
}

/// What one guest was last heard at: a new volume is reached within a chunk, not at once, which would click.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard(Option<f32>);

impl Mixer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, open: false, sum: [[0.0; CHUNK]; 2], bytes: [0; CHUNK_BYTES] }
    }

    pub fn begin(&mut self) {
        self.open = locked(&self.shared.pipe).is_some();
        self.sum = [[0.0; CHUNK]; 2];
    }

    pub fn add(&mut self, peer: PeerId, chunk: &Chunk, heard: &mut Heard) {
        if !self.open {
            *heard = Heard::default();
            return;
        }
        let gain = locked(&self.shared.gains).get(&peer).copied().unwrap_or(1.0);
        let from = heard.0.replace(gain).unwrap_or(gain);
        add_at(&mut self.sum, chunk, from, gain);
    }

    /// Hands the sum on, if anybody plays it. Never waits.
    pub fn finish(&mut self) {
        if !self.open {
            return;
        }
        for (index, frame) in self.bytes.as_chunks_mut::<4>().0.as_chunks_mut::<2>().0.iter_mut().enumerate()
        {
            for (channel, sample) in frame.iter_mut().enumerate() {
                *sample = limited(self.sum[channel][index]).to_le_bytes();
            }
        }
        let mut pipe = locked(&self.shared.pipe);
        let Some(open) = pipe.as_ref() else { return };
        match rustix::io::write(open, &self.bytes) {
            // A write of at most PIPE_BUF is whole or not at all (POSIX `write`, pipes).
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            // The process has ended: its keeper sees it too.
            Err(_) => *pipe = None,
        }
    }
}

/// Adds `chunk`, its gain going from one to the other.
fn add_at(sum: &mut Chunk, chunk: &Chunk, from: f32, to: f32) {
    for (sum, samples) in sum.iter_mut().zip(chunk) {
        for (i, (sum, sample)) in sum.iter_mut().zip(samples).enumerate() {
            let gain = from + (to - from) * i as f32 / CHUNK as f32;
            *sum += sample * gain;
        }
    }
}

/// As it is up to half scale, which one guest rarely passes; above that bent towards full scale, which many guests at
/// once never pass.
fn limited(sample: f32) -> f32 {
    let over = sample.abs() - KNEE;
    if sample.is_nan() {
        0.0
    } else if over <= 0.0 {
        sample
    } else {
        (KNEE + (1.0 - KNEE) * (over / (1.0 - KNEE)).tanh()).copysign(sample)
    }
}

const KNEE: f32 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_any_guests_stays_within_full_scale_and_one_is_unchanged() {
        for sample in [0.0, 0.1, -0.3, 0.5, -0.5] {
            assert_eq!(limited(sample), sample);
        }
        let mut before = 0.5;
        for step in 1..400 {
            let now = limited(0.5 + step as f32 / 100.0);
            assert!(now >= before && now <= 1.0, "{now} after {before}");
            before = now;
        }
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -40.0] {
            assert!((-1.0..=1.0).contains(&limited(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_new_volume_is_reached_without_a_step() {
        let loud = [[0.5; CHUNK]; 2];
        let mut sum = [[0.0; CHUNK]; 2];
        add_at(&mut sum, &loud, 1.0, 0.0);
        let steps = sum[0].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
        assert!(sum[0][0] == 0.5 && sum[1][CHUNK - 1] < 0.002 && steps < 0.002, "{steps}");
    }
}
