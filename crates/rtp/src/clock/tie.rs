//! Ties a stream's timestamps to its sender's wall clock, by what the sender reported of both.
//!
//! A sound card's clock is not the computer's: the two part by tens, at worst by hundreds of microseconds a second. So the
//! last reports are not averaged but a line is laid through them.

use std::collections::VecDeque;

/// Sender's wall clock minus RTP time, both in nanoseconds, as a line over RTP time.
#[derive(Debug)]
pub(super) struct Tie {
    /// At most [`BINS`]; when full, the oldest goes.
    bins: VecDeque<Bin>,
    line: Line,
    pub epoch: u64,
}

/// The mean of the reports of [`BIN_NS`].
#[derive(Clone, Copy, Debug)]
struct Bin {
    since_ns: i64,
    rtp_ns: i64,
    offset_ns: i64,
    reports: i64,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    rtp_ns: i64,
    offset_ns: i64,
    /// Change of offset per nanosecond.
    slope: f64,
}

impl Tie {
    pub fn new(rtp_ns: i64, offset_ns: i64, epoch: u64) -> Self {
        let bins = VecDeque::from([Bin::new(rtp_ns, offset_ns)]);
        Self { bins, line: Line { rtp_ns, offset_ns, slope: 0.0 }, epoch }
    }

    pub fn offset_at(&self, rtp_ns: i64) -> i64 {
        let elapsed = rtp_ns.saturating_sub(self.line.rtp_ns).clamp(-REACH_NS, REACH_NS) as f64;
        self.line.offset_ns.saturating_add((self.line.slope * elapsed) as i64)
    }

    /// Another report, close to what was expected.
    pub fn add(&mut self, rtp_ns: i64, offset_ns: i64) {
        // What the sender said of a time long past says nothing of this one.
        self.bins.retain(|bin| bin.rtp_ns.abs_diff(rtp_ns) < REACH_NS as u64);
        match self.bins.back_mut() {
            Some(bin) if bin.since_ns.abs_diff(rtp_ns) < BIN_NS => bin.add(rtp_ns, offset_ns),
            _ => {
                if self.bins.len() == BINS {
                    self.bins.pop_front();
                }
                self.bins.push_back(Bin::new(rtp_ns, offset_ns));
            }
        }
        self.line = self.fit(rtp_ns);
    }

    /// Least squares, told as seen from `rtp_ns`.
    fn fit(&self, rtp_ns: i64) -> Line {
        let count = self.bins.len() as f64;
        let base_ns = self.bins.front().map_or(0, |bin| bin.offset_ns);
        let points = || {
            self.bins.iter().map(|bin| {
                (bin.rtp_ns.saturating_sub(rtp_ns) as f64, bin.offset_ns.saturating_sub(base_ns) as f64)
            })
        };
        let (sum_x, sum_y) = points().fold((0.0, 0.0), |(x, y), (dx, dy)| (x + dx, y + dy));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let slope = if self.bins.len() >= LEAST_BINS {
            let spread: f64 = points().map(|(x, _)| (x - mean_x).powi(2)).sum();
            let common: f64 = points().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
            let slope = common / spread.max(1.0);
            let rest = points().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum::<f64>();
            let error = (rest / (count - 2.0) / spread.max(1.0)).sqrt();
            if slope.abs() > SURE * error { slope.clamp(-MAX_SLOPE, MAX_SLOPE) } else { 0.0 }
        } else {
            0.0
        };
        let offset_ns = base_ns.saturating_add((mean_y - slope * mean_x) as i64);
        Line { rtp_ns, offset_ns, slope }
    }
}

impl Bin {
    fn new(rtp_ns: i64, offset_ns: i64) -> Self {
        Self { since_ns: rtp_ns, rtp_ns, offset_ns, reports: 1 }
    }

    fn add(&mut self, rtp_ns: i64, offset_ns: i64) {
        self.reports = (self.reports + 1).min(MAX_WEIGHT);
        self.rtp_ns += rtp_ns.saturating_sub(self.rtp_ns) / self.reports;
        self.offset_ns += offset_ns.saturating_sub(self.offset_ns) / self.reports;
    }
}

/// A browser's reports of sound are five seconds apart, those of pictures one.
const BIN_NS: u64 = 4_500_000_000;
/// Five minutes: some milliseconds of noise in each report then leave less than one, and a slope good to 5 ppm.
const BINS: usize = 60;
/// From fewer, the slope is noise.
const LEAST_BINS: usize = 7;
/// A slope smaller than so many of its standard errors may be none.
const SURE: f64 = 3.0;
const MAX_WEIGHT: i64 = 1_000;
/// Two clocks each 200 ppm off, and some allowance.
const MAX_SLOPE: f64 = 600e-6;
/// A little more than that.
const REACH_NS: i64 = 400_000_000_000;
