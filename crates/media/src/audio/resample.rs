//! Plays a sender's 48,000 samples a second at our 48,000 a second, which are never quite the same.
//!
//! Between samples lies the polynomial of degree seven through the eight nearest. Its weights come from a table, once for both
//! channels: this runs a hundred times a second for each guest.

use super::{CHUNK, Chunk};

/// Samples waiting to be played, and the adjustable speed they are played at.
pub struct Stretcher {
    /// Left and right, of equal length. Begins with what the next sample's polynomial needs from before it.
    waiting: [Vec<f32>; 2],
    /// Of the next sample to be played, in `waiting`; its whole part is at least [`BEFORE`].
    position: f64,
    speed: f64,
}

impl Default for Stretcher {
    fn default() -> Self {
        let quiet = || vec![0.0; BEFORE];
        Self { waiting: [quiet(), quiet()], position: BEFORE as f64, speed: 1.0 }
    }
}

impl Stretcher {
    /// How many more samples the next chunk needs, at any speed.
    pub fn missing(&self) -> usize {
        let last = self.position + (CHUNK - 1) as f64 * (1.0 + MAX_BEND);
        (last as usize + AFTER + 1).saturating_sub(self.waiting[0].len())
    }

    /// Samples pushed and not yet heard.
    pub fn held(&self) -> usize {
        (self.waiting[0].len() as f64 - self.position).round() as usize
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

    /// The next chunk, played `speed` times as fast as it was recorded. What is missing is silence.
    pub fn pull(&mut self, speed: f64, chunk: &mut Chunk) {
        self.push_silence(self.missing());
        // The pace changes along the chunk: no step to be heard.
        let change = (speed.clamp(1.0 - MAX_BEND, 1.0 + MAX_BEND) - self.speed) / CHUNK as f64;
        let [left, right] = &self.waiting;
        let [out_left, out_right] = chunk;
        for (left_out, right_out) in out_left.iter_mut().zip(out_right) {
            let whole = self.position as usize;
            let near = whole - BEFORE..whole + AFTER + 1;
            let weights = weights(self.position - whole as f64);
            *left_out = sum(&weights, left.get(near.clone()));
            *right_out = sum(&weights, right.get(near));
            self.speed += change;
            self.position += self.speed;
        }
        let spent = self.position as usize - BEFORE;
        for channel in &mut self.waiting {
            channel.drain(..spent.min(channel.len()));
        }
        self.position -= spent as f64;
    }
}

fn sum(weights: &[f32; TAPS], samples: Option<&[f32]>) -> f32 {
    let Some(samples) = samples.and_then(|samples| samples.first_chunk::<TAPS>()) else { return 0.0 };
    weights.iter().zip(samples).map(|(weight, sample)| weight * sample).sum()
}

/// Of the samples around, for the value `part` of the way from one to the next.
fn weights(part: f64) -> [f32; TAPS] {
    let place = part * PARTS as f64;
    let row = (place as usize).min(PARTS - 1);
    let rest = (place - row as f64) as f32;
    let (low, high) = (&TABLE[row], &TABLE[row + 1]);
    std::array::from_fn(|tap| low[tap] + (high[tap] - low[tap]) * rest)
}

/// Lagrange's: row by row for each of the [`PARTS`] of the way; between two rows they are straight to two millionths.
static TABLE: [[f32; TAPS]; PARTS + 1] = {
    let mut table = [[0.0; TAPS]; PARTS + 1];
    let mut row = 0;
    while row <= PARTS {
        let at = BEFORE as f64 + row as f64 / PARTS as f64;
        let mut tap = 0;
        while tap < TAPS {
            let (mut weight, mut other) = (1.0, 0);
            while other < TAPS {
                if other != tap {
                    weight *= (at - other as f64) / (tap as f64 - other as f64);
                }
                other += 1;
            }
            table[row][tap] = weight as f32;
            tap += 1;
        }
        row += 1;
    }
    table
};

const TAPS: usize = 8;
const BEFORE: usize = TAPS / 2 - 1;
const AFTER: usize = TAPS / 2;
const PARTS: usize = 512;
/// The fastest and the slowest, either way; what is asked for is less.
const MAX_BEND: f64 = 0.005;

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
