//! Moves sound in time without a click: plays it a little faster or slower until it is where it belongs.

use std::sync::OnceLock;

/// One stream of samples, an equal number of them for each channel. At rest it passes samples on as they are.
#[derive(Debug)]
pub struct Glide {
    channels: Vec<Channel>,
    /// Place of the next sample given out, counted from the first sample held; whole while at rest.
    position: f64,
    step: f64,
}

#[derive(Debug, Default)]
struct Channel {
    held: Vec<f32>,
    given: Vec<f32>,
}

impl Glide {
    pub fn new(channels: usize) -> Self {
        let quiet = || Channel { held: vec![0.0; SIDE], given: Vec::new() };
        Self { channels: (0..channels).map(|_| quiet()).collect(), position: SIDE as f64, step: 1.0 }
    }

    /// How many samples were taken and not given out.
    pub fn held(&self) -> f64 {
        self.channels.first().map_or(0, |channel| channel.held.len()) as f64 - self.position
    }

    /// Takes samples of one channel; all channels have to get the same number of them before [`Self::give`].
    pub fn take(&mut self, channel: usize, samples: &[f32]) {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.held.extend_from_slice(samples);
        }
    }

    pub fn take_silence(&mut self, samples: usize) {
        for channel in &mut self.channels {
            channel.held.resize(channel.held.len() + samples, 0.0);
        }
    }

    /// Gives out what can be, at `speed` times the pace it was taken; says how many samples per channel. Each `given`
    /// is good until the next call.
    pub fn give(&mut self, speed: f64) -> usize {
        let held = self.channels.first().map_or(0, |channel| channel.held.len());
        let wanted = speed.clamp(1.0 - MAX_BEND, 1.0 + MAX_BEND);
        for channel in &mut self.channels {
            channel.given.clear();
        }
        let mut count = if wanted == 1.0 { self.give_at_rest(held) } else { 0 };
        while self.position + (SIDE as f64) < held as f64 {
            if wanted == 1.0 && self.step != 1.0 && self.settle() {
                continue;
            }
            let (whole, part) = (self.position as usize, self.position.fract());
            for channel in &mut self.channels {
                let sample = match part == 0.0 {
                    true => channel.held[whole],
                    false => between(&channel.held[whole + 1 - SIDE..=whole + SIDE], part),
                };
                channel.given.push(sample);
            }
            self.step = if wanted == 1.0 && part == 0.0 { 1.0 } else { self.pace(wanted) };
            self.position += self.step;
            count += 1;
        }
        let spent = (self.position as usize).saturating_sub(SIDE).min(held);
        for channel in &mut self.channels {
            channel.held.drain(..spent);
        }
        self.position -= spent as f64;
        count
    }

    /// As they are, all at once: nothing is to be moved.
    fn give_at_rest(&mut self, held: usize) -> usize {
        if self.step != 1.0 || self.position.fract() != 0.0 {
            return 0;
        }
        let (start, end) = (self.position as usize, held.saturating_sub(SIDE));
        for channel in &mut self.channels {
            channel.given.extend_from_slice(channel.held.get(start..end).unwrap_or_default());
        }
        let count = end.saturating_sub(start);
        self.position += count as f64;
        count
    }

    pub fn given(&self, channel: usize) -> &[f32] {
        self.channels.get(channel).map_or(&[], |channel| &channel.given)
    }

    /// To come to rest, the last fraction of a sample is gone on at the slowest pace.
    fn pace(&self, wanted: f64) -> f64 {
        match wanted == 1.0 {
            true if self.step < 1.0 => 1.0 - LEAST_BEND,
            true => 1.0 + LEAST_BEND,
            false => wanted,
        }
    }

    /// Close enough to a whole sample to rest there.
    fn settle(&mut self) -> bool {
        let near = (self.position - self.position.round()).abs() <= LEAST_BEND;
        if near {
            (self.position, self.step) = (self.position.round(), 1.0);
        }
        near
    }
}

/// The value `part` of the way between the two middle ones of 2 × [`SIDE`] samples.
fn between(samples: &[f32], part: f64) -> f32 {
    let table = TABLE.get_or_init(table);
    let place = part * PARTS as f64;
    let (row, rest) = (place as usize, place.fract() as f32);
    let (low, high) = (&table[row], &table[row + 1]);
    samples
        .iter()
        .zip(low.iter().zip(high))
        .map(|(sample, (low, high))| sample * (low + (high - low) * rest))
        .sum()
}

/// A sinc under a Hann window, at each of [`PARTS`] places between two samples; scaled so that a constant stays one.
fn table() -> Box<[[f32; 2 * SIDE]]> {
    let row = |part: usize| {
        let weights: [f64; 2 * SIDE] = std::array::from_fn(|i| {
            let x = i as f64 - (SIDE as f64 - 1.0) - part as f64 / PARTS as f64;
            let window = (std::f64::consts::FRAC_PI_2 * x / SIDE as f64).cos().powi(2);
            let angle = std::f64::consts::PI * x;
            window * if angle == 0.0 { 1.0 } else { angle.sin() / angle }
        });
        let sum: f64 = weights.iter().sum();
        weights.map(|weight| (weight / sum) as f32)
    };
    (0..=PARTS).map(row).collect()
}

static TABLE: OnceLock<Box<[[f32; 2 * SIDE]]>> = OnceLock::new();

/// Neighbours on each side that a sample between two is made of.
const SIDE: usize = 16;
const PARTS: usize = 128;
/// Half a percent: nobody hears it, and it moves sound by 5 ms a second.
const MAX_BEND: f64 = 0.005;
const LEAST_BEND: f64 = 0.000_5;

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64) -> impl FnMut(usize) -> Vec<f32> {
        let mut at = 0;
        move |count| {
            let sample = |i: usize| ((at + i) as f64 * hertz / 48_000.0 * std::f64::consts::TAU).sin() as f32;
            let samples = (0..count).map(sample).collect();
            at += count;
            samples
        }
    }

    #[test]
    fn at_rest_samples_pass_as_they_are() {
        let (mut glide, mut tone) = (Glide::new(1), tone(997.0));
        let (mut taken, mut given) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            let samples = tone(480);
            glide.take(0, &samples);
            taken.extend(samples);
            let count = glide.give(1.0);
            assert_eq!(glide.given(0).len(), count);
            given.extend_from_slice(glide.given(0));
        }
        // After the silence it began with.
        assert_eq!(given[..], taken[..given.len()]);
        assert!(taken.len() - given.len() <= SIDE);
    }

    #[test]
    fn a_tone_stays_a_tone_while_it_is_moved_and_comes_to_rest() {
        for hertz in [440.0, 3_000.0, 12_000.0] {
            for speed in [0.995, 0.999, 1.002, 9.0] {
                let (mut glide, mut tone) = (Glide::new(2), tone(hertz));
                let mut taken = 0;
                let mut given = Vec::new();
                for round in 0..200 {
                    let samples = tone(480);
                    taken += samples.len();
                    glide.take(0, &samples);
                    glide.take(1, &samples);
                    glide.give(if (50..100).contains(&round) { speed } else { 1.0 });
                    assert_eq!(glide.given(0), glide.given(1));
                    given.extend_from_slice(glide.given(0));
                }
                let used = 50.0 * 480.0;
                let expected = used / speed.clamp(0.995, 1.005) - used;
                let moved = given.len() as f64 - taken as f64;
                assert!((moved - expected).abs() < 40.0, "{speed}: {moved} for {expected}");
                assert_eq!(glide.position.fract(), 0.0, "at rest");
                let loud = given[480..].iter().fold(0.0_f32, |most, sample| most.max(sample.abs()));
                assert!((0.97..1.03).contains(&loud), "{hertz} at {speed}: {loud}");
                // A sine bends no faster than this; a click would.
                let bend = (hertz / 48_000.0 * std::f64::consts::TAU * 1.005).powi(2) as f32;
                let sharp =
                    given[480..].windows(3).map(|w| (w[2] - 2.0 * w[1] + w[0]).abs()).fold(0.0, f32::max);
                assert!(sharp < bend * 1.1 + 0.01, "{hertz} at {speed}: {sharp} for {bend}");
            }
        }
    }
}
