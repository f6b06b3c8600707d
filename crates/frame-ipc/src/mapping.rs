//! Memory that another process may change at any moment: the one place with `unsafe`, but for what is lent out ([`crate::lending`]).
//!
//! Nobody outside gets a reference into a mapping but to atomic words. Every access of ours is an atomic load or store of
//! eight bytes, so a process writing at the same time is a wrong picture at worst, never a data race.
#![allow(unsafe_code)]

use crate::pixels::LentPixels;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Memory this process wrote the rules for; ends when dropped.
pub(crate) struct WriteMap(Words);

/// Somebody else's memory; read-only, its length fixed by seals; ends when dropped.
pub(crate) struct ReadMap(Words);

impl WriteMap {
    /// A new sealed memfd of `length` bytes (a multiple of 8), all zero, and its mapping.
    pub(crate) fn create(length: usize) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("greenroom-ring", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, length as u64)?;
        let words = Words::map(&fd, length, ProtFlags::READ | ProtFlags::WRITE)?;
        // Readers cannot then map it writable. Linux 5.1 knows this seal; it is a courtesy among readers,
        // because nothing is ever read back from the ring here.
        let _ = fcntl_add_seals(&fd, SealFlags::FUTURE_WRITE);
        fcntl_add_seals(&fd, REQUIRED_SEALS)?;
        Ok((Self(words), fd))
    }

    /// Bytes to `offset`, a multiple of 8. The last word is padded with zeros. False: outside the mapping.
    #[must_use]
    pub(crate) fn store(&self, offset: usize, bytes: &[u8]) -> bool {
        let Some(words) = self.0.range(offset, bytes.len()) else { return false };
        let (whole, rest) = bytes.as_chunks::<8>();
        for (word, chunk) in words.iter().zip(whole) {
            word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
        }
        if let (Some(word), false) = (words.get(whole.len()), rest.is_empty()) {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_ne_bytes(last), Ordering::Relaxed);
        }
        true
    }

    /// The cell at `offset` is not to be read from here on.
    pub(crate) fn begin(&self, offset: usize, number: u64) {
        if let Some([word]) = self.0.range(offset, 8) {
            word.store(writing(number).to_le(), Ordering::Relaxed);
        }
        fence(Ordering::Release);
    }

    /// The cell at `offset` is whole.
    pub(crate) fn end(&self, offset: usize, number: u64) {
        if let Some([word]) = self.0.range(offset, 8) {
            word.store(whole(number).to_le(), Ordering::Release);
        }
    }
}

impl WriteMap {
    /// Where `length` bytes from `offset`, a multiple of 8, begin. `None`: outside the mapping.
    pub(crate) fn piece(&self, offset: usize, length: usize) -> Option<NonNull<u8>> {
        NonNull::new(self.0.range(offset, length)?.as_ptr().cast_mut().cast())
    }

    /// Where in the mapping `bytes` are. `None`: elsewhere.
    pub(crate) fn offset_of(&self, bytes: &[u8]) -> Option<usize> {
        let offset = (bytes.as_ptr() as usize).checked_sub(self.0.base.as_ptr() as usize)?;
        (offset.checked_add(bytes.len())? <= self.0.count * 8).then_some(offset)
    }
}

impl ReadMap {
    /// Maps a descriptor received from a host, if its length is `length` and can never change.
    pub(crate) fn open(fd: &OwnedFd, length: usize) -> io::Result<Self> {
        let refuse = |reason| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        let Ok(seals) = fcntl_get_seals(fd) else { return refuse("the ring is not a memfd") };
        if !seals.contains(REQUIRED_SEALS) {
            return refuse("the ring is not sealed");
        }
        // After the seals, so that what is seen is what stays.
        if u64::try_from(fstat(fd)?.st_size) != Ok(length as u64) {
            return refuse("the ring is not as long as announced");
        }
        Words::map(fd, length, ProtFlags::READ).map(Self)
    }

    /// Bytes from `offset`, a multiple of 8. False: outside the mapping.
    #[must_use]
    pub(crate) fn load(&self, offset: usize, out: &mut [u8]) -> bool {
        let Some(words) = self.0.range(offset, out.len()) else { return false };
        let (chunks, rest) = out.as_chunks_mut::<8>();
        let count = chunks.len();
        for (chunk, word) in chunks.iter_mut().zip(words) {
            *chunk = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        if let (Some(word), false) = (words.get(count), rest.is_empty()) {
            rest.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()[..rest.len()]);
        }
        true
    }

    /// `length` bytes from `offset`, a multiple of 8, as they are and while they change. `None`: outside the mapping.
    pub(crate) fn lend(&self, offset: usize, length: usize) -> Option<LentPixels<'_>> {
        LentPixels::new(self.0.range(offset, length)?, length)
    }

    /// Whether the cell at `offset` holds number `number` or a later one, or will in a moment.
    pub(crate) fn has_reached(&self, offset: usize, number: u64) -> bool {
        match self.0.range(offset, 8) {
            Some([word]) => u64::from_le(word.load(Ordering::Acquire)) >= writing(number),
            _ => false,
        }
    }

    /// Whether the cell at `offset` holds number `number`, whole. Asked before reading it …
    pub(crate) fn is_whole(&self, offset: usize, number: u64) -> bool {
        match self.0.range(offset, 8) {
            Some([word]) => u64::from_le(word.load(Ordering::Acquire)) == whole(number),
            _ => false,
        }
    }

    /// … and after.
    pub(crate) fn is_still_whole(&self, offset: usize, number: u64) -> bool {
        fence(Ordering::Acquire);
        match self.0.range(offset, 8) {
            Some([word]) => u64::from_le(word.load(Ordering::Relaxed)) == whole(number),
            _ => false,
        }
    }
}

fn writing(number: u64) -> u64 {
    number.wrapping_mul(2).wrapping_add(1)
}

fn whole(number: u64) -> u64 {
    number.wrapping_mul(2).wrapping_add(2)
}

struct Words {
    base: NonNull<AtomicU64>,
    count: usize,
}

// SAFETY: the pointer is to a mapping that this value alone owns and unmaps; every access through it is atomic.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    fn map(fd: impl AsFd, length: usize, access: ProtFlags) -> io::Result<Self> {
        if length == 0 || !length.is_multiple_of(8) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice overlaps nothing. The file is at least
        // `length` long and sealed against shrinking (`open`) or private to `create` until it is, so no page of
        // it can vanish.
        let base = unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, fd, 0)? };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { base, count: length / 8 })
    }

    fn range(&self, offset: usize, length: usize) -> Option<&[AtomicU64]> {
        // SAFETY: `base` is page-aligned and valid for `count` words until drop; atomics may change under a
        // shared reference. For read-only mappings only loads are reachable (`ReadMap`), and relaxed and acquire
        // loads of a word are fine on read-only memory.
        let words = unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.count) };
        if !offset.is_multiple_of(8) {
            return None;
        }
        let first = offset / 8;
        words.get(first..first.checked_add(length.div_ceil(8))?)
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: exactly what `map` mapped; no reference outlives `&self`.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.count * 8) };
    }
}

const REQUIRED_SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_written_are_read_and_nothing_reaches_outside() {
        let (writer, fd) = WriteMap::create(4096).unwrap();
        let reader = ReadMap::open(&fd, 4096).unwrap();
        assert!(writer.store(8, b"thirteen byte"));
        let mut back = [0; 13];
        assert!(reader.load(8, &mut back));
        assert_eq!(&back, b"thirteen byte");

        for (offset, length) in [(4096, 1), (4088, 9), (4, 8), (usize::MAX - 7, 8), (0, 4097)] {
            assert!(!writer.store(offset, &vec![1; length]), "{offset} {length}");
            assert!(!reader.load(offset, &mut vec![0; length]), "{offset} {length}");
        }
    }

    #[test]
    fn a_cell_is_whole_only_between_end_and_the_next_begin() {
        let (writer, fd) = WriteMap::create(4096).unwrap();
        let reader = ReadMap::open(&fd, 4096).unwrap();
        assert!(!reader.is_whole(64, 0));
        writer.begin(64, 7);
        assert!(!reader.is_whole(64, 7));
        writer.end(64, 7);
        assert!(reader.is_whole(64, 7) && reader.is_still_whole(64, 7));
        assert!(!reader.is_whole(64, 6));
        writer.begin(64, 13);
        assert!(!reader.is_still_whole(64, 7));
    }

    #[test]
    fn only_sealed_memory_of_the_announced_length_is_mapped() {
        let (_writer, fd) = WriteMap::create(4096).unwrap();
        assert!(ReadMap::open(&fd, 8192).is_err());

        let unsealed = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&unsealed, 4096).unwrap();
        assert!(ReadMap::open(&unsealed, 4096).is_err());
        fcntl_add_seals(&unsealed, SealFlags::GROW | SealFlags::SEAL).unwrap();
        assert!(ReadMap::open(&unsealed, 4096).is_err());

        let pipe = rustix::pipe::pipe().unwrap().0;
        assert!(ReadMap::open(&pipe, 4096).is_err());
    }

    #[test]
    fn a_reader_cannot_write_into_the_ring() {
        let (_writer, fd) = WriteMap::create(4096).unwrap();
        assert!(Words::map(&fd, 4096, ProtFlags::READ | ProtFlags::WRITE).is_err());
    }
}
