//! Shares the estimate out among the pictures a client receives.
//!
//! Everybody gets the lowest layers first, in order of importance; who does not fit even so is paused, least important
//! first. Then who matters gets the best that fits, then the others rise one step at a time, round and round. What
//! somebody has is kept a little beyond what fits and raised only when clearly more fits, so that a rate that wavers
//! does not make layers flap. Where it is tight they rise one at a time: each begins with a keyframe.

use super::{Class, Micros};
use crate::layers::{Ladder, Layers, Rung};

/// One picture, and what comes of it.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub consumer: usize,
    pub class: Class,
    pub ladder: Ladder,
    /// The best it would take.
    pub wish: Layers,
    /// What it was granted before, all if it is new; `None` while it is paused.
    pub has: Option<Layers>,
    /// Index of the rung granted now.
    granted: Option<usize>,
    /// It is more than it has.
    is_raised: bool,
}

impl Claim {
    pub fn new(consumer: usize, class: Class, ladder: Ladder, wish: Layers, has: Option<Layers>) -> Self {
        Self { consumer, class, ladder, wish, has, granted: None, is_raised: false }
    }

    /// The rung it is granted; `None`: paused.
    pub fn grant(&self) -> Option<Rung> {
        self.granted.and_then(|at| self.ladder.rungs().get(at)).copied()
    }

    /// Index of the best rung it would take.
    fn best(&self) -> Option<usize> {
        let rungs = self.ladder.rungs();
        rungs.iter().rposition(|rung| rung.layers <= self.wish).or(if rungs.is_empty() {
            None
        } else {
            Some(0)
        })
    }

    /// What it would take if there were enough, bit/s.
    pub fn wanted(&self) -> u64 {
        self.best().map_or(0, |at| self.ladder.rungs()[at].usual)
    }

    /// What a rung is reckoned at.
    fn cost(&self, at: usize) -> f64 {
        let Some(rung) = self.ladder.rungs().get(at) else { return 0.0 };
        if self.is_raise(at) { rung.usual as f64 * RAISE } else { rung.bitrate as f64 * KEEP }
    }

    fn is_raise(&self, at: usize) -> bool {
        self.ladder.rungs().get(at).is_some_and(|rung| self.has.is_none_or(|has| rung.layers > has))
    }

    fn is_lowered(&self) -> bool {
        let before = self.has.and_then(|has| {
            let best = self.best()?;
            self.ladder.rungs()[..=best].iter().rposition(|rung| rung.layers <= has)
        });
        before.is_some() && self.granted < before
    }
}

/// One transport's: when layers may rise again.
#[derive(Debug, Default)]
pub struct Allocation {
    raised_at: Option<Micros>,
    raise_after: Micros,
    hold: Micros,
}

impl Allocation {
    /// Grants each of `claims` its share of `available` (bit/s; without one, everything). The most important come first
    /// in their class.
    pub fn share(&mut self, now: Micros, available: Option<u64>, claims: &mut [Claim]) {
        let Some(available) = available else {
            claims.iter_mut().for_each(|claim| claim.granted = claim.best());
            return;
        };
        let wanted: u64 = claims.iter().map(Claim::wanted).sum();
        let mut rest = Rest {
            bitrate: available as f64,
            raises: match now >= self.raise_after {
                true if wanted as f64 * PLENTY < available as f64 => usize::MAX,
                may_raise => usize::from(may_raise),
            },
        };
        for class in [Class::Important, Class::Ordinary] {
            for claim in claims.iter_mut().filter(|c| c.class == class) {
                (claim.granted, claim.is_raised) = (None, false);
                rest.try_rise(claim);
            }
        }
        for claim in claims.iter_mut().filter(|c| c.class == Class::Important) {
            while rest.try_rise(claim) {}
        }
        // Who begins gets no more than that while others have nothing.
        let somebody_waits = claims.iter().any(|claim| claim.granted.is_none());
        let mut has_risen = true;
        while has_risen {
            has_risen = false;
            for claim in claims.iter_mut().filter(|c| c.class == Class::Ordinary && c.granted.is_some()) {
                if claim.is_raised && somebody_waits {
                    continue;
                }
                has_risen |= rest.try_rise(claim);
            }
        }
        self.note(now, claims);
    }

    fn note(&mut self, now: Micros, claims: &[Claim]) {
        if claims.iter().any(Claim::is_lowered) {
            // What was raised and does not last was raised too early: wait longer the next time.
            let was_hasty = self.raised_at.is_some_and(|at| now.saturating_sub(at) < HASTY);
            self.hold = if was_hasty { (self.hold * 2).clamp(MIN_HOLD, MAX_HOLD) } else { MIN_HOLD };
            self.raise_after = now + self.hold;
        }
        if claims.iter().any(|claim| claim.is_raised) {
            self.raised_at = Some(now);
            self.raise_after = self.raise_after.max(now + SETTLE);
        }
    }
}

/// What is left to share out.
struct Rest {
    bitrate: f64,
    /// How many claims may get more than they have.
    raises: usize,
}

impl Rest {
    /// Grants the next rung, if it fits.
    fn try_rise(&mut self, claim: &mut Claim) -> bool {
        let Some(best) = claim.best() else { return false };
        let spent = claim.granted.map_or(0.0, |at| claim.cost(at));
        let next = claim.granted.map_or(0, |at| at + 1);
        let is_first_raise = claim.is_raise(next) && !claim.is_raised;
        let cost = claim.cost(next) - spent;
        if next > best || cost > self.bitrate || (is_first_raise && self.raises == 0) {
            return false;
        }
        self.raises -= usize::from(is_first_raise);
        claim.is_raised |= is_first_raise;
        self.bitrate -= cost;
        claim.granted = Some(next);
        true
    }
}

const KEEP: f64 = 0.95;
/// Who is to be raised must fit with so much to spare.
pub const RAISE: f64 = 1.2;
/// So much more than what everybody wants: nobody need be careful.
const PLENTY: f64 = 1.3;
/// A keyframe's way.
const SETTLE: Micros = 400_000;
const MIN_HOLD: Micros = 1_000_000;
/// A path that got better is used within ten seconds, whatever was tried before.
const MAX_HOLD: Micros = 4_000_000;
const HASTY: Micros = 8_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(consumer: usize, class: Class, has: Option<u8>) -> Claim {
        let mut ladder = Ladder::default();
        for (spatial, bitrate) in [(0, 150_000), (1, 500_000), (2, 1_500_000)] {
            ladder.push(Rung { layers: Layers::new(spatial, 0), bitrate, usual: bitrate });
        }
        let has = has.map(|spatial| Layers::new(spatial, 0));
        Claim::new(consumer, class, ladder, Layers::ALL, has)
    }

    fn granted(claims: &[Claim]) -> Vec<Option<u8>> {
        claims.iter().map(|c| c.grant().map(|rung| rung.layers.spatial)).collect()
    }

    /// Shares until nothing changes any more.
    fn settle(available: u64, claims: &mut [Claim]) -> Vec<Option<u8>> {
        let mut allocation = Allocation::default();
        for n in 0..20 {
            allocation.share(n * 1_000_000, Some(available), claims);
            claims.iter_mut().for_each(|claim| claim.has = claim.grant().map(|rung| rung.layers));
        }
        granted(claims)
    }

    fn check(available: u64, classes: &[Class], expected: &[Option<u8>]) {
        let mut claims: Vec<_> = (0..).zip(classes).map(|(n, class)| claim(n, *class, None)).collect();
        assert_eq!(settle(available, &mut claims), expected, "{available}");
    }

    #[test]
    fn who_matters_comes_first_and_the_rest_is_shared_fairly() {
        use Class::{Important, Ordinary};
        let classes = [Ordinary, Important, Ordinary, Ordinary];
        check(10_000_000, &classes, &[Some(2); 4]);
        check(2_300_000, &classes, &[Some(0), Some(2), Some(0), Some(0)]);
        check(2_900_000, &classes, &[Some(1), Some(2), Some(1), Some(0)]);
        check(800_000, &classes, &[Some(0), Some(0), Some(0), Some(0)]);
        check(400_000, &classes, &[Some(0), Some(0), None, None]);
        check(100_000, &classes, &[None; 4]);
    }

    #[test]
    fn where_it_is_tight_they_rise_one_at_a_time() {
        let mut claims = [0, 1, 2].map(|n| claim(n, Class::Ordinary, Some(0)));
        let mut allocation = Allocation::default();
        allocation.share(0, Some(2_000_000), &mut claims);
        assert_eq!(granted(&claims), [Some(1), Some(0), Some(0)]);
        Allocation::default().share(0, Some(20_000_000), &mut claims);
        assert_eq!(granted(&claims), [Some(2); 3]);
    }

    #[test]
    fn a_wish_is_a_limit_and_what_nobody_counts_is_free() {
        let mut claims = [claim(1, Class::Ordinary, None)];
        claims[0].wish = Layers::new(1, 9);
        assert_eq!(claims[0].wanted(), 500_000);
        assert_eq!(settle(10_000_000, &mut claims), [Some(1)]);
        Allocation::default().share(0, None, &mut claims);
        assert_eq!(granted(&claims), [Some(1)]);
    }

    #[test]
    fn a_rate_that_wavers_changes_nothing() {
        let mut allocation = Allocation::default();
        let mut has = Some(2);
        for n in 0..1_000u64 {
            let available = 1_500_000 + (n * 37 % 13) * 12_000 - 70_000;
            let mut claims = [claim(1, Class::Ordinary, has)];
            allocation.share(n * 200_000, Some(available), &mut claims);
            has = granted(&claims)[0];
            assert_eq!(has, Some(2), "{available}");
        }
    }

    #[test]
    fn nobody_is_raised_to_what_is_cheap_for_a_moment() {
        let mut ladder = Ladder::default();
        for (spatial, bitrate, usual) in
            [(0, 150_000, 150_000), (1, 500_000, 500_000), (2, 700_000, 1_500_000)]
        {
            ladder.push(Rung { layers: Layers::new(spatial, 0), bitrate, usual });
        }
        let at = |spatial| Some(Layers::new(spatial, 0));
        let mut claims = [Claim::new(1, Class::Ordinary, ladder, Layers::ALL, at(1))];
        Allocation::default().share(0, Some(1_000_000), &mut claims);
        assert_eq!(granted(&claims), [Some(1)]);
        let mut claims = [Claim::new(1, Class::Ordinary, ladder, Layers::ALL, at(2))];
        Allocation::default().share(0, Some(1_000_000), &mut claims);
        assert_eq!(granted(&claims), [Some(2)], "who has it keeps it");
    }

    #[test]
    fn who_was_lowered_waits_and_longer_when_the_rise_did_not_last() {
        let mut allocation = Allocation::default();
        let mut has = Some(2);
        let mut changes = 0;
        // A path that seems wide whenever little is sent.
        for n in 0..600u64 {
            let available = if has == Some(2) { 900_000 } else { 2_000_000 };
            let mut claims = [claim(1, Class::Ordinary, has)];
            allocation.share(n * 100_000, Some(available), &mut claims);
            changes += u32::from(granted(&claims)[0] != has);
            has = granted(&claims)[0];
        }
        assert!(changes < 35, "{changes} in a minute");
    }
}
