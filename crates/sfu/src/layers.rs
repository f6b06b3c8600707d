//! Layers: which of them a receiver is to have, and what a producer offers at what price.

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

    /// The best rung not above `limit`; failing that the lowest there is.
    pub fn best_within(&self, limit: Layers) -> Option<Rung> {
        let within = self.rungs().iter().rev().find(|rung| rung.layers <= limit);
        within.or_else(|| self.rungs().first()).copied()
    }
}

/// Spatial and temporal layers of each producer that are told apart; higher ones go with the highest.
pub const MAX_SPATIAL: usize = 4;
pub const MAX_TEMPORAL: usize = 4;
const MAX_RUNGS: usize = MAX_SPATIAL * MAX_TEMPORAL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_and_a_limit_make_a_choice() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.best_within(Layers::ALL), None);
        for (spatial, temporal, bitrate) in [(0, 0, 50), (0, 1, 100), (2, 0, 600), (2, 1, 900)] {
            ladder.push(Rung { layers: Layers::new(spatial, temporal), bitrate });
        }
        let best = |limit: Layers| ladder.best_within(limit).map(|r| (r.layers.spatial, r.layers.temporal));
        assert_eq!(best(Layers::ALL), Some((2, 1)));
        assert_eq!(best(Layers::new(2, 0)), Some((2, 0)));
        assert_eq!(best(Layers::new(1, 0)), Some((0, 1)), "a lower resolution at its full rate");
        assert_eq!(best(Layers::new(1, 5).min(Layers::new(2, 0))), Some((0, 1)));
    }
}
