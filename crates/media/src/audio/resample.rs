//! Plays a sender's 48,000 samples a second at our 48,000 a second, which are never quite the same.

use super::{CHUNK, Chunk};
use rubato::audioadapter_buffers::direct::SequentialSliceOfSlices;
use rubato::{Adjustable, Async, FixedAsync, PolynomialDegree, Resampler};

/// Samples waiting to be played, and the adjustable speed they are played at.
pub struct Stretcher {
    resampler: Async<f32>,
    waiting: [Vec<f32>; 2],
}

impl Default for Stretcher {
    /// # Panics
    /// Never: the arguments given here are within rubato's bounds.
    fn default() -> Self {
        let resampler = Async::new_poly(
            1.0,
            1.0 + MAX_ADJUSTMENT,
            PolynomialDegree::Septic,
            CHUNK,
            2,
            FixedAsync::Output,
        )
        .expect("constant arguments within bounds");
        Self { resampler, waiting: [Vec::new(), Vec::new()] }
    }
}

impl Stretcher {
    /// How many more samples the next chunk needs.
    pub fn missing(&self) -> usize {
        self.resampler.input_frames_next().saturating_sub(self.waiting[0].len())
    }

    /// Samples pushed and not yet heard: what waits here and what is inside the interpolation.
    pub fn held(&self) -> usize {
        self.waiting[0].len() + self.resampler.output_delay()
    }

    /// Interleaved stereo.
    pub fn push(&mut self, samples: &[f32]) {
        for [left, right] in samples.as_chunks::<2>().0 {
            self.waiting[0].push(*left);
            self.waiting[1].push(*right);
        }
    }

    pub fn push_silence(&mut self, samples: usize) {
        for channel in &mut self.waiting {
            channel.resize(channel.len() + samples, 0.0);
        }
    }

    /// Drops up to `samples` of those waiting; returns how many.
    pub fn skip(&mut self, samples: usize) -> usize {
        let n = samples.min(self.waiting[0].len());
        for channel in &mut self.waiting {
            channel.drain(..n);
        }
        n
    }

    /// The next chunk, played `speed` times as fast as it was recorded. What is missing is silence.
    pub fn pull(&mut self, speed: f64, chunk: &mut Chunk) {
        let ratio = 1.0 / speed.clamp(1.0 - MAX_ADJUSTMENT / 2.0, 1.0 + MAX_ADJUSTMENT / 2.0);
        // Only out-of-bounds ratios are refused, and this one is clamped.
        let _ = self.resampler.set_resample_ratio(ratio, true);
        let missing = self.missing();
        self.push_silence(missing);
        let needed = self.resampler.input_frames_next();
        let [left, right] = &self.waiting;
        let input = [&left[..needed], &right[..needed]];
        let [out_left, out_right] = chunk;
        let mut output = [&mut out_left[..], &mut out_right[..]];
        let adapters = (
            SequentialSliceOfSlices::new(&input, 2, needed),
            SequentialSliceOfSlices::new_mut(&mut output, 2, CHUNK),
        );
        if let (Ok(input), Ok(mut output)) = adapters {
            let done = self.resampler.process_into_buffer(&input, &mut output, None);
            debug_assert!(done.is_ok_and(|(taken, given)| taken == needed && given == CHUNK));
        }
        self.skip(needed);
    }
}

/// Twice what is ever used: ±0.5 %, which nobody hears and which catches up 5 ms a second.
const MAX_ADJUSTMENT: f64 = 0.01;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_faster_speed_uses_more_samples_and_keeps_the_tone() {
        for (speed, expected) in [(1.0, 480.0), (1.004, 481.92), (0.996, 478.08), (9.0, 482.4)] {
            let mut stretcher = Stretcher::default();
            let mut phase = 0.0_f32;
            let mut used = 0;
            let mut heard = Vec::new();
            for _ in 0..200 {
                let missing = stretcher.missing();
                used += missing;
                let tone: Vec<f32> = (0..missing)
                    .flat_map(|_| {
                        phase += 1000.0 * std::f32::consts::TAU / 48_000.0;
                        [phase.sin(); 2]
                    })
                    .collect();
                stretcher.push(&tone);
                let mut chunk = [[0.0; CHUNK]; 2];
                stretcher.pull(speed, &mut chunk);
                heard.extend_from_slice(&chunk[0]);
            }
            let average = used as f64 / 200.0;
            assert!((average - expected).abs() < 0.2, "speed {speed}: {average} samples a chunk");
            let loudest = heard[4800..].iter().fold(0.0_f32, |a, b| a.max(b.abs()));
            let step = heard[4800..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            assert!((0.99..1.01).contains(&loudest), "{loudest}");
            // A 1 kHz sine never moves faster than this; a click would.
            assert!(step < 0.135, "{step}");
        }
    }
}
