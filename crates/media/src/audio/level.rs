//! How loud a guest is: RMS and peak over a tenth of a second, in dBFS.

use super::Chunk;

/// Collects chunks between two readings.
#[derive(Debug, Default)]
pub struct Meter {
    squares: f64,
    samples: usize,
    peak: f32,
}

impl Meter {
    pub fn push(&mut self, chunk: &Chunk) {
        for sample in chunk.iter().flatten() {
            self.squares += f64::from(sample * sample);
            self.peak = self.peak.max(sample.abs());
        }
        self.samples += chunk.iter().map(|channel| channel.len()).sum::<usize>();
    }

    /// (RMS, peak) since the last reading; −127 is silence, as in RFC 6464.
    pub fn take(&mut self) -> (f32, f32) {
        let meter = std::mem::take(self);
        let mean = meter.squares / meter.samples.max(1) as f64;
        (dbfs(mean.sqrt() as f32), dbfs(meter.peak))
    }
}

fn dbfs(amplitude: f32) -> f32 {
    if amplitude.is_finite() { (20.0 * amplitude.log10()).clamp(SILENCE, 0.0) } else { SILENCE }
}

const SILENCE: f32 = -127.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::CHUNK;

    #[test]
    fn a_full_scale_square_wave_is_zero_and_nothing_is_silence() {
        let mut meter = Meter::default();
        assert_eq!(meter.take(), (-127.0, -127.0));
        meter.push(&[[1.0; CHUNK], [-1.0; CHUNK]]);
        assert_eq!(meter.take(), (0.0, 0.0));
        meter.push(&[[0.5; CHUNK]; 2]);
        let (rms, peak) = meter.take();
        assert!((rms + 6.02).abs() < 0.01 && (peak + 6.02).abs() < 0.01, "{rms} {peak}");
        meter.push(&[[f32::NAN; CHUNK]; 2]);
        assert_eq!(meter.take().0, -127.0);
    }
}
