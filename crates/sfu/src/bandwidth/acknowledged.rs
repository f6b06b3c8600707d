//! How much arrives at the other end: the acknowledged bitrate.
//!
//! Octets are counted in windows of the receiver's clock; each window is a sample, weighed against the estimate by how
//! far it is off (a Bayesian update with the deviation as uncertainty, as libwebrtc's send side does it). A single odd
//! window moves it little, a change that stays moves it within half a second.

/// Bits per second over what was received.
#[derive(Debug, Default)]
pub struct AcknowledgedBitrate {
    /// Receiver's clock, microseconds.
    last: Option<i64>,
    window: i64,
    octets: u64,
    estimate: Option<f64>,
    variance: f64,
    last_sample: f64,
}

impl AcknowledgedBitrate {
    /// A packet of `octets` arrived at `at` of the receiver's clock. `is_application_limited`: little was sent because
    /// little was to be sent; such samples say little of the path.
    pub fn note(&mut self, at: i64, octets: usize, is_application_limited: bool) {
        if let Some(sample) = self.advance(at) {
            self.update(sample, is_application_limited);
        }
        self.octets += octets as u64;
    }

    pub fn bitrate(&self) -> Option<f64> {
        self.estimate
    }

    /// What the path carried while a queue grew: after little was sent for long, the last window knows it better.
    pub fn under_load(&self) -> Option<f64> {
        self.estimate.map(|estimate| estimate.max(self.last_sample))
    }

    /// Moves the window to `at`; answers the sample of a window that ended, in bit/s.
    fn advance(&mut self, at: i64) -> Option<f64> {
        let length = if self.estimate.is_some() { WINDOW } else { FIRST_WINDOW };
        let since = match self.last {
            // A clock that runs backwards, or a long silence: begin anew.
            Some(last) if at >= last && at - last <= length => at - last,
            Some(last) if at < last && last - at < REORDERED => return None,
            _ => {
                (self.window, self.octets, self.last) = (0, 0, Some(at));
                return None;
            }
        };
        self.last = Some(at);
        self.window += since;
        if self.window < length {
            return None;
        }
        let sample = self.octets as f64 * 8e6 / length as f64;
        self.window -= length;
        self.octets = 0;
        Some(sample)
    }

    fn update(&mut self, sample: f64, is_application_limited: bool) {
        self.last_sample = sample;
        let Some(estimate) = self.estimate else {
            self.estimate = Some(sample);
            self.variance = FIRST_VARIANCE;
            return;
        };
        let scale =
            if is_application_limited && sample < estimate { LIMITED_UNCERTAINTY } else { UNCERTAINTY };
        let uncertainty = scale * (estimate - sample).abs() / estimate.max(1.0);
        let sample_variance = uncertainty * uncertainty;
        let variance = self.variance + VARIANCE_STEP;
        let updated = (sample_variance * estimate + variance * sample) / (sample_variance + variance);
        self.estimate = Some(updated);
        self.variance = sample_variance * variance / (sample_variance + variance);
    }
}

const FIRST_WINDOW: i64 = 500_000;
const WINDOW: i64 = 150_000;
const REORDERED: i64 = 1_000_000;
const UNCERTAINTY: f64 = 10.0;
const LIMITED_UNCERTAINTY: f64 = 20.0;
const FIRST_VARIANCE: f64 = 50.0;
const VARIANCE_STEP: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn run(meter: &mut AcknowledgedBitrate, at: &mut i64, ms: i64, octets_per_ms: usize) {
        for _ in 0..ms / 5 {
            *at += 5_000;
            meter.note(*at, octets_per_ms * 5, false);
        }
    }

    #[test]
    fn a_steady_rate_is_known_after_half_a_second_and_a_change_follows() {
        let (mut meter, mut at) = (AcknowledgedBitrate::default(), 0);
        run(&mut meter, &mut at, 400, 125);
        assert_eq!(meter.bitrate(), None);
        run(&mut meter, &mut at, 1_000, 125);
        let rate = meter.bitrate().unwrap();
        assert!((rate - 1e6).abs() < 3e4, "{rate}");
        run(&mut meter, &mut at, 1_000, 250);
        let rate = meter.bitrate().unwrap();
        assert!((rate - 2e6).abs() < 2e5, "{rate}");
    }

    #[test]
    fn times_that_make_no_sense_do_not_disturb_it() {
        let (mut meter, mut at) = (AcknowledgedBitrate::default(), 0);
        run(&mut meter, &mut at, 2_000, 125);
        for odd in [i64::MIN / 2, i64::MAX / 2, 0, -5, i64::MAX / 2] {
            meter.note(odd, 1_000_000, false);
        }
        run(&mut meter, &mut at, 2_000, 125);
        let rate = meter.bitrate().unwrap();
        assert!((rate - 1e6).abs() < 1e5, "{rate}");
    }
}
