//! Whether a queue grows: the slope of the one-way delay, against a threshold that adapts to the path.
//!
//! A least-squares line through the smoothed delay of the last groups takes the place of the draft's Kalman filter
//! (draft-ietf-rmcat-gcc-02 §5.3), as in libwebrtc since 2016; the adaptive threshold is the draft's (§5.4). It takes
//! two thirds of a second of frames to see a line; [`Flood`] sees a path that became much narrower in a fifth.

use super::arrival::Spacing;

/// What the delay says of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    #[default]
    Normal,
    /// A queue grows.
    Over,
    /// A queue drains.
    Under,
}

#[derive(Debug)]
pub struct Trendline {
    points: [Point; WINDOW],
    count: usize,
    /// Of the receiver's clock, microseconds.
    first_at: Option<i64>,
    delay_ms: f64,
    smoothed_ms: f64,
    last_slope: f64,
    threshold: f64,
    threshold_at: Option<i64>,
    over_for_ms: f64,
    over_count: u32,
    flood: Flood,
    usage: Usage,
}

#[derive(Clone, Copy, Debug, Default)]
struct Point {
    at_ms: f64,
    delay_ms: f64,
}

impl Default for Trendline {
    fn default() -> Self {
        Self {
            points: [Point::default(); WINDOW],
            count: 0,
            first_at: None,
            delay_ms: 0.0,
            smoothed_ms: 0.0,
            last_slope: 0.0,
            threshold: FIRST_THRESHOLD,
            threshold_at: None,
            over_for_ms: 0.0,
            over_count: 0,
            flood: Flood::default(),
            usage: Usage::Normal,
        }
    }
}

impl Trendline {
    pub fn note(&mut self, spacing: &Spacing) {
        let first_at = *self.first_at.get_or_insert(spacing.at);
        let sent_ms = spacing.sent as f64 / 1e3;
        self.delay_ms += spacing.arrived as f64 / 1e3 - sent_ms;
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.delay_ms;
        let at_ms = spacing.at.saturating_sub(first_at) as f64 / 1e3;
        self.points[self.count % WINDOW] = Point { at_ms, delay_ms: self.smoothed_ms };
        self.count += 1;
        let slope = if self.count >= WINDOW {
            slope(&self.points).unwrap_or(self.last_slope)
        } else {
            self.last_slope
        };
        self.detect(slope, sent_ms, spacing.at);
        if self.flood.is_seen(self.delay_ms, sent_ms) {
            self.usage = Usage::Over;
        }
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    fn detect(&mut self, slope: f64, sent_ms: f64, at: i64) {
        let trend = self.count.min(MAX_WEIGHT) as f64 * slope * GAIN;
        if trend > self.threshold {
            // The first excess began somewhere within the spacing.
            self.over_for_ms += if self.over_count == 0 { sent_ms / 2.0 } else { sent_ms };
            self.over_count += 1;
            if self.over_for_ms > OVER_MS && self.over_count > 1 && slope >= self.last_slope {
                (self.over_for_ms, self.over_count) = (0.0, 0);
                self.usage = Usage::Over;
            }
        } else {
            (self.over_for_ms, self.over_count) = (0.0, 0);
            self.usage = if trend < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.last_slope = slope;
        self.adapt(trend, at);
    }

    /// The threshold follows the trend, quickly up to it and slowly down: so a flow of ours is neither starved by one
    /// that fills the queue (a download), nor blind for its own queue (§5.4).
    fn adapt(&mut self, trend: f64, at: i64) {
        let since = at.saturating_sub(self.threshold_at.replace(at).unwrap_or(at));
        if trend.abs() > self.threshold + MAX_EXCESS {
            // A sudden jump, of a route say.
            return;
        }
        let rate = if trend.abs() < self.threshold { DOWN } else { UP };
        let elapsed_ms = (since as f64 / 1e3).clamp(0.0, 100.0);
        self.threshold += rate * (trend.abs() - self.threshold) * elapsed_ms;
        self.threshold = self.threshold.clamp(MIN_THRESHOLD, MAX_THRESHOLD);
    }
}

/// A queue that is long already and was longer with each of the last groups.
#[derive(Debug)]
struct Flood {
    /// The least delay, creeping up by what clocks drift apart.
    base_ms: f64,
    last_ms: f64,
    /// Of the present run: when it began, in time sent, and from which delay.
    run_ms: f64,
    run_from_ms: f64,
    run_groups: u32,
}

impl Default for Flood {
    fn default() -> Self {
        Self { base_ms: f64::INFINITY, last_ms: 0.0, run_ms: 0.0, run_from_ms: 0.0, run_groups: 0 }
    }
}

impl Flood {
    fn is_seen(&mut self, delay_ms: f64, sent_ms: f64) -> bool {
        self.base_ms = (self.base_ms + sent_ms * DRIFT).min(delay_ms);
        if delay_ms > self.last_ms {
            self.run_ms += sent_ms;
            self.run_groups += 1;
        } else {
            (self.run_ms, self.run_groups, self.run_from_ms) = (0.0, 0, delay_ms);
        }
        self.last_ms = delay_ms;
        self.run_groups >= FLOOD_GROUPS
            && self.run_ms >= FLOOD_MS
            && delay_ms - self.base_ms >= FLOOD_QUEUE_MS
            && delay_ms - self.run_from_ms >= FLOOD_QUEUE_MS / 2.0
    }
}

/// Least squares.
fn slope(points: &[Point]) -> Option<f64> {
    let count = points.len() as f64;
    let mean_at = points.iter().map(|p| p.at_ms).sum::<f64>() / count;
    let mean_delay = points.iter().map(|p| p.delay_ms).sum::<f64>() / count;
    let (mut numerator, mut denominator) = (0.0, 0.0);
    for point in points {
        let at = point.at_ms - mean_at;
        numerator += at * (point.delay_ms - mean_delay);
        denominator += at * at;
    }
    (denominator > 0.0).then(|| numerator / denominator)
}

/// The values libwebrtc ships with; the draft's §5.4 and §5.7 name the same for the threshold.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const MAX_WEIGHT: usize = 60;
const FIRST_THRESHOLD: f64 = 12.5;
const MIN_THRESHOLD: f64 = 6.0;
const MAX_THRESHOLD: f64 = 600.0;
const MAX_EXCESS: f64 = 15.0;
const UP: f64 = 0.0087;
const DOWN: f64 = 0.039;
const OVER_MS: f64 = 10.0;
/// 500 parts per million.
const DRIFT: f64 = 5e-4;
const FLOOD_GROUPS: u32 = 4;
const FLOOD_MS: f64 = 80.0;
const FLOOD_QUEUE_MS: f64 = 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups 20 ms apart, each delayed by `growth(n)` microseconds more than the one before; the usages seen.
    fn run(trendline: &mut Trendline, count: i64, growth: impl Fn(i64) -> i64) -> Vec<Usage> {
        let mut at = trendline.first_at.unwrap_or(0) + trendline.count as i64 * 20_000;
        (0..count)
            .map(|n| {
                let arrived = 20_000 + growth(n);
                at += arrived;
                trendline.note(&Spacing { sent: 20_000, arrived, at });
                trendline.usage()
            })
            .collect()
    }

    #[test]
    fn a_growing_queue_is_found_within_half_a_second_and_its_draining_too() {
        let mut trendline = Trendline::default();
        assert!(run(&mut trendline, 100, |_| 0).iter().all(|u| *u == Usage::Normal));
        let seen = run(&mut trendline, 25, |_| 5_000);
        assert!(seen.contains(&Usage::Over), "{seen:?}");
        let seen = run(&mut trendline, 30, |_| -5_000);
        assert_eq!(seen.last(), Some(&Usage::Under));
    }

    #[test]
    fn a_path_that_became_much_narrower_is_noticed_after_a_few_groups() {
        let mut trendline = Trendline::default();
        run(&mut trendline, 100, |_| 0);
        let seen = run(&mut trendline, 8, |_| 20_000);
        assert!(seen.contains(&Usage::Over), "{seen:?}");
    }

    #[test]
    fn jitter_is_no_queue() {
        let mut trendline = Trendline::default();
        // Up to 8 ms to and fro, without a trend.
        let seen = run(&mut trendline, 1_000, |n| [0, 8_000, -5_000, 2_000, -8_000, 3_000][n as usize % 6]);
        assert!(!seen.contains(&Usage::Over));
    }

    #[test]
    fn clocks_that_drift_apart_are_no_queue() {
        let mut trendline = Trendline::default();
        // 200 parts per million.
        let seen = run(&mut trendline, 5_000, |_| 4);
        assert!(seen.iter().all(|u| *u == Usage::Normal));
    }
}
