//! One plane of a picture for whoever takes it in: bytes of one's own, or the ring's, lent.

use std::sync::atomic::{AtomicU64, Ordering};

/// Rows of pixels, one after the other.
#[derive(Clone, Copy, Debug)]
pub enum Pixels<'a> {
    Own(&'a [u8]),
    Lent(LentPixels<'a>),
}

/// Bytes in a ring, which the host may overwrite at any moment: whoever reads them learns afterwards whether they held.
#[derive(Clone, Copy, Debug)]
pub struct LentPixels<'a> {
    words: &'a [AtomicU64],
    length: usize,
}

impl<'a> LentPixels<'a> {
    /// The first `length` bytes of `words`; `None`: there are fewer.
    pub(crate) fn new(words: &'a [AtomicU64], length: usize) -> Option<Self> {
        (length <= words.len() * 8).then_some(Self { words, length })
    }
}

impl Pixels<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Own(bytes) => bytes.len(),
            Self::Lent(lent) => lent.length,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For foreign code that copies them: [`Self::len`] bytes, valid as long as this borrows.
    pub fn as_ptr(&self) -> *const u8 {
        match self {
            Self::Own(bytes) => bytes.as_ptr(),
            Self::Lent(lent) => lent.words.as_ptr().cast(),
        }
    }

    /// A copy, as of now.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Own(bytes) => bytes.to_vec(),
            Self::Lent(LentPixels { words, length }) => {
                let bytes = words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes());
                bytes.take(*length).collect()
            }
        }
    }
}
