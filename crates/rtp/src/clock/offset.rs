//! Ties one clock to another by the packets that travelled fastest.
//!
//! Queues only ever add delay, so the least delayed packets of a while lie on the line we look for: its slope is the
//! clocks' drift, found as an edge of the lower convex hull of the observations. The line in use approaches the line
//! found without steps.

use std::collections::VecDeque;

/// Maps times of a foreign clock to ours. Holds at most [`MAX_BINS`] observations; when full, the oldest goes.
#[derive(Debug, Default)]
pub(super) struct OffsetFilter {
    /// The least offset in each stretch of [`BIN_NS`].
    bins: VecDeque<Observation>,
    open: Option<OpenBin>,
    line: Option<Line>,
    /// Change of offset per foreign nanosecond.
    drift: f64,
    anchored_ns: u64,
    last_arrival_ns: u64,
    /// Observations in a row that have nothing to do with the line.
    strays: u32,
}

#[derive(Clone, Copy, Debug)]
struct Observation {
    foreign_ns: i64,
    /// Arrival minus foreign time: the clocks' offset plus the delay of the path.
    offset_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct OpenBin {
    since_ns: u64,
    least: Observation,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    from: Observation,
    slope: f64,
}

impl Line {
    fn offset_at(&self, foreign_ns: i64) -> i64 {
        let elapsed = foreign_ns.saturating_sub(self.from.foreign_ns) as f64;
        self.from.offset_ns.saturating_add((self.slope * elapsed) as i64)
    }
}

const SECOND: u64 = 1_000_000_000;
const BIN_NS: u64 = 2 * SECOND;
/// Two minutes: half a millisecond of noise then hides no more than a few ppm.
const MAX_BINS: usize = 64;
/// A slope from less is noise.
const MIN_DRIFT_SPAN_NS: i64 = 30 * SECOND as i64;
/// Crystals are within 100 ppm of true, two bad ones within 200 of one another; the rest is allowance.
const MAX_DRIFT: f64 = 400e-6;
/// How much of a newly found drift is believed at once.
const DRIFT_GAIN: f64 = 0.125;
/// An error is worked off over ten seconds, at most 2 ms in each: unseen and unheard.
const SLEW_NS: f64 = 10.0 * SECOND as f64;
const MAX_SLEW: f64 = 2_000e-6;
/// What cannot be slewed away in two minutes is stepped over.
const STEP_NS: u64 = SECOND / 4;
/// While the first packets show ever shorter delays they are followed at once.
const SETTLING_NS: u64 = 5 * SECOND;
/// After so long without a packet the line is a guess; the next packets say better.
const PAUSE_NS: u64 = 20 * SECOND;
/// An offset this far from the line is another clock, or a stall; only when nothing else comes is it believed.
const STRAY_NS: u64 = 2 * SECOND;
const MAX_STRAYS: u32 = 8;

impl OffsetFilter {
    pub fn observe(&mut self, foreign_ns: i64, arrival_ns: u64) {
        let arrival = i64::try_from(arrival_ns).unwrap_or(i64::MAX);
        let seen = Observation { foreign_ns, offset_ns: arrival.saturating_sub(foreign_ns) };
        let paused = arrival_ns.saturating_sub(self.last_arrival_ns) > PAUSE_NS;
        self.last_arrival_ns = arrival_ns.max(self.last_arrival_ns);
        let Some(line) = self.line.as_mut().filter(|_| !paused) else {
            return self.anchor(seen, arrival_ns, self.drift);
        };
        let expected_ns = line.offset_at(foreign_ns);
        if expected_ns.abs_diff(seen.offset_ns) > STRAY_NS {
            self.strays += 1;
            if self.strays >= MAX_STRAYS {
                self.anchor(seen, arrival_ns, 0.0);
            }
            return;
        }
        self.strays = 0;
        if seen.offset_ns < expected_ns && arrival_ns.saturating_sub(self.anchored_ns) < SETTLING_NS {
            line.from = seen;
        }
        match &mut self.open {
            Some(bin) if arrival_ns.saturating_sub(bin.since_ns) < BIN_NS => {
                if seen.offset_ns < bin.least.offset_ns {
                    bin.least = seen;
                }
            }
            open => {
                let full = open.replace(OpenBin { since_ns: arrival_ns, least: seen });
                if let Some(bin) = full {
                    self.close(bin.least, foreign_ns);
                }
            }
        }
    }

    pub fn is_anchored(&self) -> bool {
        self.line.is_some()
    }

    pub fn drift(&self) -> f64 {
        self.drift
    }

    /// Our time for a foreign one.
    pub fn host_ns(&self, foreign_ns: i64) -> Option<u64> {
        let line = self.line.as_ref()?;
        let host_ns = foreign_ns.saturating_add(line.offset_at(foreign_ns));
        Some(u64::try_from(host_ns).unwrap_or(0))
    }

    /// Begins anew at one observation.
    fn anchor(&mut self, seen: Observation, arrival_ns: u64, drift: f64) {
        *self = Self {
            line: Some(Line { from: seen, slope: drift }),
            open: Some(OpenBin { since_ns: arrival_ns, least: seen }),
            drift,
            anchored_ns: arrival_ns,
            last_arrival_ns: arrival_ns,
            ..Self::default()
        };
    }

    /// Takes a finished bin into account and bends the line towards what all bins say, from `now_ns` (foreign) on.
    fn close(&mut self, least: Observation, now_ns: i64) {
        // Reordering can let a bin's least lie before the last bin's: the hull wants them ascending.
        if self.bins.back().is_none_or(|last| last.foreign_ns < least.foreign_ns) {
            self.bins.push_back(least);
        }
        let oldest_ns = now_ns.saturating_sub((MAX_BINS as u64 * BIN_NS) as i64);
        while self.bins.len() > MAX_BINS || self.bins.front().is_some_and(|bin| bin.foreign_ns < oldest_ns) {
            self.bins.pop_front();
        }
        if let Some(drift) = self.hull_slope() {
            self.drift += (drift.clamp(-MAX_DRIFT, MAX_DRIFT) - self.drift) * DRIFT_GAIN;
        }
        let (Some(line), Some(found_ns)) = (self.line, self.found_offset(now_ns)) else { return };
        let current_ns = line.offset_at(now_ns);
        let error_ns = found_ns.saturating_sub(current_ns);
        self.line = Some(if error_ns.unsigned_abs() > STEP_NS {
            Line { from: Observation { foreign_ns: now_ns, offset_ns: found_ns }, slope: self.drift }
        } else {
            let slew = (error_ns as f64 / SLEW_NS).clamp(-MAX_SLEW, MAX_SLEW);
            Line { from: Observation { foreign_ns: now_ns, offset_ns: current_ns }, slope: self.drift + slew }
        });
    }

    /// The offset at `now_ns` of the line with our drift that touches the observations from below.
    fn found_offset(&self, now_ns: i64) -> Option<i64> {
        let carried = |bin: &Observation| {
            let elapsed = now_ns.saturating_sub(bin.foreign_ns) as f64;
            bin.offset_ns.saturating_add((self.drift * elapsed) as i64)
        };
        self.bins.iter().map(carried).min()
    }

    /// The slope of the lower convex hull where it passes the middle of the observations.
    fn hull_slope(&self) -> Option<f64> {
        let (first, last) = (self.bins.front()?, self.bins.back()?);
        let span_ns = last.foreign_ns.saturating_sub(first.foreign_ns);
        if span_ns < MIN_DRIFT_SPAN_NS {
            return None;
        }
        let point = |bin: &Observation| {
            let x = bin.foreign_ns.saturating_sub(first.foreign_ns);
            (x as f64, bin.offset_ns.saturating_sub(first.offset_ns) as f64)
        };
        let mut hull = [(0.0, 0.0); MAX_BINS];
        let mut len = 0;
        for (x, y) in self.bins.iter().take(MAX_BINS).map(point) {
            while len >= 2 {
                let ((x0, y0), (x1, y1)) = (hull[len - 2], hull[len - 1]);
                // The middle point stays only if it lies below the line from its neighbour to the new one.
                if (y1 - y0) * (x - x0) < (y - y0) * (x1 - x0) {
                    break;
                }
                len -= 1;
            }
            hull[len] = (x, y);
            len += 1;
        }
        let middle = span_ns as f64 / 2.0;
        let edge = hull[..len].windows(2).find(|edge| edge[1].0 >= middle)?;
        let ((x0, y0), (x1, y1)) = (edge[0], edge[1]);
        Some((y1 - y0) / (x1 - x0))
    }
}
