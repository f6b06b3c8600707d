//! A run of numbers with some left out, renumbered without gaps.

/// Numbers that come in (of packets, of pictures) and the ones they go out with. What is left out is remembered for the
/// last `64 * WORDS` numbers; whatever comes later than that has no place any more.
///
/// A number that was skipped by what came in (lost, or late) keeps its place, since nobody knows yet whether it will be
/// wanted.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Numbers<const WORDS: usize> {
    /// What this number would go out as…
    in_start: u64,
    /// …and it does if nothing is left out before it.
    out_start: u64,
    /// The highest number that came in, and none before the first.
    head: Option<u64>,
    /// Left out so far, up to the head.
    left_out: u64,
    /// By number modulo the window: set if left out.
    bits: [u64; WORDS],
}

/// What became of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It goes out with that number.
    Out(u64),
    /// It is not wanted, but those behind it have gone out already with its place kept free: something empty must fill it.
    Hole(u64),
    /// Left out.
    None,
}

impl<const WORDS: usize> Numbers<WORDS> {
    const WINDOW: u64 = 64 * WORDS as u64;

    /// `in_start` goes out as `out_start`; lower numbers have no place.
    pub fn new(in_start: u64, out_start: u64) -> Self {
        Self { in_start, out_start, head: None, left_out: 0, bits: [0; WORDS] }
    }

    pub fn out_start(&self) -> u64 {
        self.out_start
    }

    /// Whether `number` is ahead of all that came in.
    pub fn is_new(&self, number: u64) -> bool {
        self.head.is_none_or(|head| number > head)
    }

    /// Takes the next number that came in.
    pub fn place(&mut self, number: u64, wanted: bool) -> Place {
        if number < self.in_start {
            return Place::None;
        }
        if !self.is_new(number) {
            return match self.find(number) {
                Some(out) if wanted => Place::Out(out),
                Some(out) => Place::Hole(out),
                None => Place::None,
            };
        }
        self.advance(number);
        if wanted {
            return Place::Out(self.shifted(number) - self.left_out);
        }
        self.left_out += 1;
        self.bits[self.word(number)] |= bit(number);
        Place::None
    }

    /// What a number that came in went out as, or would have.
    pub fn find(&self, number: u64) -> Option<u64> {
        let head = self.head.filter(|head| (self.in_start..=*head).contains(&number))?;
        if self.left_out == 0 {
            return Some(self.shifted(number));
        }
        if head - number >= Self::WINDOW || self.is_left_out(number) {
            return None;
        }
        let after = (number + 1..=head).filter(|n| self.is_left_out(*n)).count() as u64;
        Some(self.shifted(number) - (self.left_out - after))
    }

    /// Which number went out as `out`.
    pub fn find_sent(&self, out: u64) -> Option<u64> {
        let head = self.head?;
        if self.left_out == 0 {
            let number = self.in_start + out.checked_sub(self.out_start)?;
            return (number <= head).then_some(number);
        }
        let oldest = self.in_start.max(head.saturating_sub(Self::WINDOW - 1));
        let mut left_out = self.left_out;
        for number in (oldest..=head).rev() {
            if self.is_left_out(number) {
                left_out -= 1;
            } else if self.shifted(number) - left_out <= out {
                return (self.shifted(number) - left_out == out).then_some(number);
            }
        }
        None
    }

    /// The window moves up to `number`; what is new in it is not left out.
    fn advance(&mut self, number: u64) {
        match self.head {
            // Nothing is set as long as nothing was left out.
            _ if self.left_out == 0 => {}
            Some(head) if number - head < Self::WINDOW => {
                for n in head + 1..=number {
                    self.bits[self.word(n)] &= !bit(n);
                }
            }
            _ => self.bits = [0; WORDS],
        }
        self.head = Some(number);
    }

    fn is_left_out(&self, number: u64) -> bool {
        self.bits[self.word(number)] & bit(number) != 0
    }

    fn shifted(&self, number: u64) -> u64 {
        number - self.in_start + self.out_start
    }

    fn word(&self, number: u64) -> usize {
        (number / 64) as usize % WORDS
    }
}

fn bit(number: u64) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    use std::collections::BTreeMap;

    #[test]
    fn what_is_left_out_leaves_no_gap() {
        let mut numbers = Numbers::<1>::new(100, 7);
        let out: Vec<_> = [true, false, true, false, false, true]
            .iter()
            .zip(100..)
            .map(|(w, n)| numbers.place(n, *w))
            .collect();
        assert_eq!(out, [Place::Out(7), Place::None, Place::Out(8), Place::None, Place::None, Place::Out(9)]);
        assert_eq!([7, 8, 9, 10].map(|n| numbers.find_sent(n)), [Some(100), Some(102), Some(105), None]);
        assert_eq!(numbers.place(99, true), Place::None, "from before the start");
        assert_eq!(numbers.place(101, true), Place::None, "left out, and sent again");
    }

    #[test]
    fn a_late_number_finds_its_place_free_and_an_unwanted_one_has_to_fill_it() {
        let mut numbers = Numbers::<1>::new(10, 10);
        numbers.place(10, true);
        numbers.place(11, false);
        assert_eq!(numbers.place(15, true), Place::Out(14));
        assert_eq!(numbers.place(13, true), Place::Out(12));
        assert_eq!(numbers.place(14, false), Place::Hole(13));
        assert_eq!(numbers.find_sent(11), Some(12), "not here yet");
    }

    #[test]
    fn random_runs_keep_order_and_can_be_looked_up_both_ways() {
        let mut dice = StdRng::seed_from_u64(5);
        for run in 0..200 {
            let (share, mut n) = (run % 100, 1_000u64);
            let mut numbers = Numbers::<2>::new(n, 50);
            let mut sent = BTreeMap::new();
            for _ in 0..1_000 {
                n += if dice.random_range(0..40) == 0 { dice.random_range(1..200) } else { 1 };
                let wanted = dice.random_range(0..100) >= share;
                if let Place::Out(out) = numbers.place(n, wanted) {
                    assert!(sent.last_key_value().is_none_or(|(last, _)| out > *last));
                    sent.insert(out, n);
                }
                let back = n - dice.random_range(0..128);
                let found = numbers.find(back);
                if let Some(out) = found {
                    assert!(sent.get(&out).is_none_or(|known| *known == back));
                    assert_eq!(numbers.find_sent(out), Some(back));
                }
                for (out, number) in sent.iter().rev().take(20).filter(|(_, number)| n - **number < 128) {
                    assert_eq!(numbers.find_sent(*out), Some(*number));
                    assert_eq!(numbers.find(*number), Some(*out));
                }
            }
        }
    }
}
