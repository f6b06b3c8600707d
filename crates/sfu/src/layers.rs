//! Layers: which of them a receiver is to have, and what a producer offers at what price.

use crate::clock::Millis;
use crate::rate::RateMeter;

/// How much of a layered stream: everything up to this spatial and this temporal layer, counted from 0.
///
/// The order is the order of quality: first resolution, then frame rate. So the smaller of two wishes is their `min`,
/// and a temporal wish counts only on its own spatial layer, as in mediasoup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layers {
    /// The encoding of a simulcast producer, or the spatial layer of an SVC stream.
    pub spatial: u8,
    pub temporal: u8,
}

impl Layers {
    /// All there are.
    pub const ALL: Self = Self { spatial: u8::MAX, temporal: u8::MAX };

    pub const fn new(spatial: u8, temporal: u8) -> Self {
        Self { spatial, temporal }
    }
}

/// One choice for a receiver, and what it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rung {
    pub layers: Layers,
    /// Bits per second of everything a receiver of these layers is sent.
    pub bitrate: u64,
    /// What that comes to over some seconds, with the higher temporal layers that only happen to be missing. An encoder that
    /// halts for a moment makes a layer look cheap; who is raised to it then gets the flood that follows.
    pub usual: u64,
}

/// What a producer offers at this moment, worst first; only layers that flow. Empty while nothing does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ladder {
    rungs: [Rung; MAX_RUNGS],
    len: usize,
}

impl Ladder {
    /// Adds a better rung. A ladder is made worst first; what does not fit is left out at the top.
    pub fn push(&mut self, rung: Rung) {
        if let Some(place) = self.rungs.get_mut(self.len) {
            *place = rung;
            self.len += 1;
        }
    }

    pub fn rungs(&self) -> &[Rung] {
        &self.rungs[..self.len]
    }

    /// `layers` with no temporal layer above those there are.
    pub fn within(&self, layers: Layers) -> Layers {
        let same = self.rungs().iter().filter(|rung| rung.layers.spatial == layers.spatial);
        let top = same.map(|rung| rung.layers.temporal).max().unwrap_or(0);
        Layers { temporal: layers.temporal.min(top), ..layers }
    }

    /// `layers` without a limit in time, where they are the highest temporal layer there is: another may come with the
    /// next picture, and waiting for it would cost the rest of its pattern.
    pub fn open_ended(&self, layers: Layers) -> Layers {
        let is_top = self.within(Layers { temporal: u8::MAX, ..layers }).temporal <= layers.temporal;
        if is_top { Layers { temporal: u8::MAX, ..layers } } else { layers }
    }

    /// The best rung not above `limit`; failing that the lowest there is.
    pub fn best_within(&self, limit: Layers) -> Option<Rung> {
        let within = self.rungs().iter().rev().find(|rung| rung.layers <= limit);
        within.or_else(|| self.rungs().first()).copied()
    }
}

/// What arrives of each layer of one producer. Made once, about 2 kB.
#[derive(Debug, Default)]
pub struct LayerMeter {
    cells: [[Cell; MAX_TEMPORAL]; MAX_SPATIAL],
    /// Of how many spatial layers anything ever came. The rest are not looked at.
    seen: usize,
    /// Of all encodings together.
    pictures: u64,
    /// Of the newest packet of each encoding.
    timestamps: [Option<u32>; MAX_SPATIAL],
    /// Higher spatial layers do without the lower ones: simulcast, or SVC between key pictures.
    is_independent: bool,
    averaged_at: Millis,
}

#[derive(Debug, Default)]
struct Cell {
    rate: RateMeter,
    /// Bit/s, averaged over seconds.
    usual: u64,
    last: Option<Millis>,
    /// How many pictures had begun then.
    at_picture: u64,
}

impl LayerMeter {
    /// Fetches what a packet of encoding `stream` touches.
    pub fn prefetch(&self, stream: u8) {
        if let Some([first, ..]) = self.cells.get(usize::from(stream)) {
            prefetch::all(first);
        }
        prefetch::all(&self.pictures);
        prefetch::all(&self.timestamps);
    }

    /// Counts a packet of encoding `stream`, of these `layers` of the producer.
    pub fn note(&mut self, stream: u8, layers: Layers, timestamp: u32, len: usize, ms: Millis) {
        let before = self.timestamps[usize::from(stream).min(MAX_SPATIAL - 1)].replace(timestamp);
        if before != Some(timestamp) {
            self.pictures += 1;
        }
        let spatial = usize::from(layers.spatial).min(MAX_SPATIAL - 1);
        self.seen = self.seen.max(spatial + 1);
        let cell = &mut self.cells[spatial][usize::from(layers.temporal).min(MAX_TEMPORAL - 1)];
        cell.rate.record(ms, len);
        cell.last = Some(ms);
        cell.at_picture = self.pictures;
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, ms: Millis) {
        if ms < self.averaged_at + AVERAGING_STEP {
            return;
        }
        self.averaged_at = ms;
        let seen = self.cells.iter_mut().take(self.seen);
        for cell in seen.flatten().filter(|cell| cell.last.is_some()) {
            cell.usual = (cell.usual * (AVERAGED_STEPS - 1) + cell.rate.bitrate(ms)) / AVERAGED_STEPS;
        }
    }

    pub fn set_independent(&mut self, is_independent: bool) {
        self.is_independent = is_independent;
    }

    /// What flows, and what each choice costs.
    pub fn ladder(&self, ms: Millis) -> Ladder {
        let mut ladder = Ladder::default();
        let mut below = (0, 0);
        for (spatial, cells) in (0u8..).zip(self.cells.iter().take(self.seen)) {
            let (mut bitrate, mut usual) = if self.is_independent { (0, 0) } else { below };
            let top = cells.iter().rposition(|cell| self.is_flowing(cell, ms));
            for (temporal, cell) in (0u8..).zip(cells).filter(|(_, cell)| self.is_flowing(cell, ms)) {
                let rate = cell.rate.bitrate(ms);
                bitrate += rate;
                usual += cell.usual.max(rate);
                let is_top = top == Some(usize::from(temporal));
                let missing = cells[usize::from(temporal) + 1..].iter().map(|cell| cell.usual).sum::<u64>();
                usual += if is_top { missing } else { 0 };
                ladder.push(Rung { layers: Layers { spatial, temporal }, bitrate, usual });
            }
            below = (bitrate, usual);
        }
        ladder
    }

    /// A layer has gone when nothing came of it for long; sooner when the others go on without it.
    fn is_flowing(&self, cell: &Cell, ms: Millis) -> bool {
        let Some(silence) = cell.last.map(|last| ms.saturating_sub(last)) else { return false };
        let without_it = self.pictures - cell.at_picture;
        silence < SILENT && (silence < MISSED || without_it < MISSED_PICTURES)
    }
}

/// Spatial and temporal layers of each producer that are told apart; higher ones go with the highest.
pub const MAX_SPATIAL: usize = 8;
pub const MAX_TEMPORAL: usize = 4;
const MAX_RUNGS: usize = MAX_SPATIAL * MAX_TEMPORAL;
const AVERAGING_STEP: Millis = 200;
/// Four seconds: longer than an encoder halts, and than a keyframe counts.
const AVERAGED_STEPS: u64 = 20;
/// Longer than the pauses of a screen that hardly changes.
const SILENT: Millis = 1_500;
/// A picture of five in a second may be late by half its time.
const MISSED: Millis = 300;
/// Three rounds of the longest temporal pattern in use.
const MISSED_PICTURES: u64 = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_that_stops_while_others_go_on_is_missed_soon() {
        let mut meter = LayerMeter::default();
        meter.set_independent(true);
        let spatial = |meter: &LayerMeter, ms| meter.ladder(ms).rungs().last().map(|r| r.layers.spatial);
        for n in 0..60u64 {
            for stream in 0..if n < 30 { 3 } else { 2 } {
                meter.note(stream, Layers::new(stream, 0), n as u32 * 3_000, 1_000, n * 33);
            }
            if n == 36 {
                assert_eq!(spatial(&meter, n * 33), Some(2), "not missed yet");
            }
        }
        assert_eq!(spatial(&meter, 60 * 33), Some(1));
        assert_eq!(spatial(&meter, 60 * 33 + 1_000), Some(1), "all of them pause");
        assert_eq!(spatial(&meter, 60 * 33 + 2_000), None);
    }

    #[test]
    fn a_rung_costs_what_it_takes_from_below() {
        let mut meter = LayerMeter::default();
        for n in 0..100u64 {
            for spatial in 0..2 {
                let layers = Layers::new(spatial, (n % 2) as u8);
                meter.note(0, layers, n as u32 * 900, 100 * (1 + usize::from(spatial)), n * 10);
            }
        }
        let costs = |meter: &LayerMeter| -> Vec<u64> {
            meter.ladder(990).rungs().iter().map(|r| r.bitrate / 1_000).collect()
        };
        assert_eq!(costs(&meter), [40, 80, 160, 240]);
        meter.set_independent(true);
        assert_eq!(costs(&meter), [40, 80, 80, 160]);
    }

    #[test]
    fn an_encoder_that_halts_makes_nothing_cheap() {
        let mut meter = LayerMeter::default();
        let mut ms = 0;
        let mut run = |meter: &mut LayerMeter, pictures: u32, top: u64| {
            for n in 0..pictures {
                ms += 33;
                let temporal = (u64::from(n) % 2).min(top) as u8;
                meter.note(0, Layers::new(0, temporal), ms as u32 * 90, 2_000, ms);
                meter.handle_timeout(ms);
            }
            meter.ladder(ms).rungs().last().copied().unwrap_or_default()
        };
        let steady = run(&mut meter, 400, 1);
        assert_eq!(steady.layers, Layers::new(0, 1));
        assert!(steady.usual.abs_diff(steady.bitrate) < steady.bitrate / 10, "{steady:?}");
        let mut halted = meter;
        let rung = run(&mut halted, 30, 0);
        assert_eq!(rung.layers, Layers::new(0, 0), "the upper layer is missing");
        assert!(rung.usual > steady.usual, "{rung:?}: it may come back any moment");
        let rung = run(&mut halted, 600, 0);
        assert!(rung.usual < rung.bitrate * 11 / 10, "{rung:?}: it does not");
    }

    #[test]
    fn a_wish_and_a_limit_make_a_choice() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.best_within(Layers::ALL), None);
        for (spatial, temporal, bitrate) in [(0, 0, 50), (0, 1, 100), (2, 0, 600), (2, 1, 900)] {
            ladder.push(Rung { layers: Layers::new(spatial, temporal), bitrate, usual: bitrate });
        }
        let best = |limit: Layers| ladder.best_within(limit).map(|r| (r.layers.spatial, r.layers.temporal));
        assert_eq!(best(Layers::ALL), Some((2, 1)));
        assert_eq!(best(Layers::new(2, 0)), Some((2, 0)));
        assert_eq!(best(Layers::new(1, 0)), Some((0, 1)), "a lower resolution at its full rate");
        assert_eq!(best(Layers::new(1, 5).min(Layers::new(2, 0))), Some((0, 1)));
    }
}
