//! A window of the packet indices already accepted (RFC 3711 §3.3.2).

/// Remembers the last `64 × WORDS` indices below the highest one.
#[derive(Clone, Debug)]
pub struct ReplayWindow<const WORDS: usize> {
    /// Bit `index % (64 × WORDS)`.
    bits: [u64; WORDS],
    highest: Option<u64>,
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        Self { bits: [0; WORDS], highest: None }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    const SIZE: u64 = 64 * WORDS as u64;

    /// Whether `index` is new: ahead, or within the window and not seen.
    pub fn is_new(&self, index: u64) -> bool {
        match self.highest {
            None => true,
            Some(highest) if index > highest => true,
            Some(highest) => highest - index < Self::SIZE && !self.is_set(index),
        }
    }

    /// Remembers `index`; call it once the packet is authentic. An index behind the window is ignored.
    pub fn accept(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {
                if highest - index >= Self::SIZE {
                    return;
                }
            }
            Some(highest) => {
                let skipped = index - highest;
                if skipped >= Self::SIZE {
                    self.bits = [0; WORDS];
                } else {
                    for passed in highest + 1..index {
                        self.clear(passed);
                    }
                }
                self.highest = Some(index);
            }
            None => self.highest = Some(index),
        }
        let (word, bit) = Self::place(index);
        self.bits[word] |= bit;
    }

    fn is_set(&self, index: u64) -> bool {
        let (word, bit) = Self::place(index);
        self.bits[word] & bit != 0
    }

    fn clear(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        self.bits[word] &= !bit;
    }

    fn place(index: u64) -> (usize, u64) {
        let at = index % Self::SIZE;
        ((at / 64) as usize, 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_is_accepted_once_in_any_order() {
        let mut window = ReplayWindow::<2>::default();
        for index in [1000, 1002, 1001, 1100, 1050, 1127] {
            assert!(window.is_new(index), "{index}");
            window.accept(index);
            assert!(!window.is_new(index), "{index}");
        }
        assert!(!window.is_new(1000), "seen, at the far edge");
        assert!(!window.is_new(999), "behind the window");
        assert!(window.is_new(1128));
        window.accept(1_000_000);
        assert!(window.is_new(999_999));
        assert!(!window.is_new(1127));
    }
}
