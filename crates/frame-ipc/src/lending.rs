//! Memory of a ring that decoders write their pictures into, so that nobody copies them there.
//!
//! A piece belongs to whoever it is lent to until it is given back. One whose picture was announced is lent again only when
//! the cell that says so has been taken for a later picture: a reader that still copies finds its cell changed afterwards,
//! as with any that was overwritten.
#![allow(unsafe_code)]

use crate::layout::LentShape;
use crate::mapping::WriteMap;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lends one slot's memory, as long as it is of any use. Pictures decoded elsewhere are copied.
#[derive(Clone)]
pub struct Lender(Arc<Lent>);

struct Lent {
    map: Arc<WriteMap>,
    shape: LentShape,
    cells: u64,
    /// How many pictures have taken their cells.
    begun: AtomicU64,
    /// A lock, because a decoder borrows and gives back on its own thread. Held for a look.
    pieces: Mutex<Vec<Piece>>,
}

#[derive(Clone, Copy, Default)]
struct Piece {
    is_lent: bool,
    /// Readers are done with it when so many pictures have begun.
    free_from: u64,
}

/// Bytes of a ring, nobody else's until they are given back, when this is dropped.
pub struct LentPiece {
    lent: Arc<Lent>,
    index: usize,
    start: NonNull<u8>,
}

// SAFETY: the memory is this value's alone until it is dropped, wherever that is, and stays mapped by what it holds.
unsafe impl Send for LentPiece {}
// SAFETY: as above; without `mut` it is only read.
unsafe impl Sync for LentPiece {}

impl Lender {
    pub(crate) fn new(map: Arc<WriteMap>, shape: LentShape, cells: u32) -> Self {
        Self(Arc::new(Lent {
            map,
            shape,
            cells: cells.into(),
            begun: AtomicU64::new(0),
            pieces: Mutex::new(vec![Piece::default(); shape.count]),
        }))
    }

    /// The next ring's pictures go on counting.
    pub(crate) fn starting_at(self, number: u64) -> Self {
        self.0.begun.store(number, Ordering::Relaxed);
        self
    }

    /// At least `length` bytes, aligned to a page, with anything in them. `None`: there are none for now.
    pub fn lend(&self, length: usize) -> Option<LentPiece> {
        let lent = &self.0;
        if length > lent.shape.size {
            return None;
        }
        // What was written before the cells were taken is seen before what will be written here.
        let begun = lent.begun.load(Ordering::Acquire);
        let mut pieces = lent.pieces();
        // The lowest: the fewer different ones, the more of them are in the processor's caches.
        let index = pieces.iter().position(|piece| !piece.is_lent && piece.free_from <= begun)?;
        let start = lent.map.piece(lent.shape.start + index * lent.shape.size, lent.shape.size)?;
        pieces[index].is_lent = true;
        Some(LentPiece { lent: lent.clone(), index, start })
    }

    /// In which piece `bytes` are, and where in the ring. `None`: elsewhere.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let LentShape { start, size, count } = self.0.shape;
        let offset = self.0.map.offset_of(bytes)?;
        let index = offset.checked_sub(start)? / size;
        (index < count).then_some((index, offset))
    }

    /// Where piece `index` ends, from the ring's beginning.
    pub(crate) fn end_of(&self, index: usize) -> usize {
        self.0.shape.start + (index + 1) * self.0.shape.size
    }

    /// Picture `number` has taken its cell.
    pub(crate) fn note_begun(&self, number: u64) {
        self.0.begun.store(number + 1, Ordering::Release);
    }

    /// Picture `number` is the one in piece `index`.
    pub(crate) fn note_announced(&self, index: usize, number: u64) {
        if let Some(piece) = self.0.pieces().get_mut(index) {
            piece.free_from = number + self.0.cells + 1;
        }
    }
}

impl Lent {
    fn pieces(&self) -> MutexGuard<'_, Vec<Piece>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deref for LentPiece {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `lend` took so many bytes of the mapping, which `lent` keeps; marked as lent, they are no other piece's,
        // no cell is there, and other processes can only read them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.lent.shape.size) }
    }
}

impl DerefMut for LentPiece {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.lent.shape.size) }
    }
}

impl Drop for LentPiece {
    fn drop(&mut self) {
        if let Some(piece) = self.lent.pieces().get_mut(self.index) {
            piece.is_lent = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_is_lent_again_when_no_reader_can_believe_in_it() {
        let (map, _descriptor) = WriteMap::create(64 << 10).unwrap();
        let shape = LentShape { start: 4096, size: 8192, count: 2 };
        let lender = Lender::new(Arc::new(map), shape, 6);
        assert!(lender.lend(8193).is_none());
        let first = lender.lend(8192).unwrap();
        let second = lender.lend(1).unwrap();
        assert_eq!(second.as_ptr() as usize - first.as_ptr() as usize, 8192);
        assert!(lender.lend(1).is_none(), "all are lent");

        drop(second);
        assert!(lender.lend(1).is_some_and(|piece| piece.index == 1), "nobody was told of it");

        lender.note_begun(10);
        lender.note_announced(0, 10);
        drop(first);
        for number in 11..16 {
            lender.note_begun(number);
            assert!(
                lender.lend(1).is_some_and(|piece| piece.index == 1),
                "picture {number} has a cell of its own"
            );
        }
        lender.note_begun(16);
        assert!(lender.lend(1).is_some_and(|piece| piece.index == 0));
    }
}
