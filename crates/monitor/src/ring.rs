//! Stereo frames from one thread to another without a lock: the sound service's thread must never wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// *Media* kind: when full, frames are refused.
struct Ring {
    /// Each frame's two samples in one word.
    frames: Box<[AtomicU64]>,
    /// How many were ever written, and read; they wrap.
    written: AtomicUsize,
    read: AtomicUsize,
}

/// The one end that writes.
pub struct Writer(Arc<Ring>);

/// The one end that reads.
pub struct Reader(Arc<Ring>);

/// A ring of `capacity` frames, a power of two.
pub fn ring(capacity: usize) -> (Writer, Reader) {
    assert!(capacity.is_power_of_two(), "so that the counts may wrap");
    let frames = (0..capacity).map(|_| AtomicU64::new(0)).collect();
    let ring = Arc::new(Ring { frames, written: AtomicUsize::new(0), read: AtomicUsize::new(0) });
    (Writer(ring.clone()), Reader(ring))
}

impl Ring {
    fn place(&self, count: usize) -> &AtomicU64 {
        &self.frames[count & (self.frames.len() - 1)]
    }

    fn len(&self) -> usize {
        self.written.load(Ordering::Acquire).wrapping_sub(self.read.load(Ordering::Acquire))
    }
}

impl Writer {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// False: it is full.
    pub fn push(&mut self, [left, right]: [f32; 2]) -> bool {
        let ring = &*self.0;
        if ring.len() == ring.frames.len() {
            return false;
        }
        let written = ring.written.load(Ordering::Relaxed);
        let word = u64::from(left.to_bits()) << 32 | u64::from(right.to_bits());
        ring.place(written).store(word, Ordering::Relaxed);
        // What was stored is seen by whoever sees this.
        ring.written.store(written.wrapping_add(1), Ordering::Release);
        true
    }
}

impl Reader {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Passes over `count` frames, which have been written.
    pub fn skip(&mut self, count: usize) {
        let ring = &*self.0;
        let read = ring.read.load(Ordering::Relaxed);
        ring.read.store(read.wrapping_add(count.min(ring.len())), Ordering::Release);
    }

    pub fn pop(&mut self) -> Option<[f32; 2]> {
        let ring = &*self.0;
        if ring.len() == 0 {
            return None;
        }
        let read = ring.read.load(Ordering::Relaxed);
        let word = ring.place(read).load(Ordering::Relaxed);
        // The place may be written again only after it was read.
        ring.read.store(read.wrapping_add(1), Ordering::Release);
        Some([f32::from_bits((word >> 32) as u32), f32::from_bits(word as u32)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_once_in_order_and_a_full_ring_refuses() {
        let (mut writer, mut reader) = ring(4);
        for round in 0..5_u8 {
            let frame = |i: u8| [f32::from(round * 4 + i), -f32::from(i)];
            assert!((0..4).all(|i| writer.push(frame(i))));
            assert!(!writer.push([9.0, 9.0]));
            assert!((0..4).all(|i| reader.pop() == Some(frame(i))));
            assert_eq!(reader.pop(), None);
        }
        assert!((0..3).all(|_| writer.push([0.0; 2])) && writer.push([1.0; 2]));
        reader.skip(3);
        assert_eq!(reader.pop(), Some([1.0; 2]));
        reader.skip(3);
        assert_eq!(reader.len(), 0);
    }

    #[test]
    fn two_threads_lose_nothing() {
        let (mut writer, mut reader) = ring(64);
        let sender = std::thread::spawn(move || {
            for i in 0..50_000_u32 {
                while !writer.push([i as f32, -(i as f32)]) {
                    std::thread::yield_now();
                }
            }
        });
        for i in 0..50_000_u32 {
            let frame = loop {
                match reader.pop() {
                    Some(frame) => break frame,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(frame, [i as f32, -(i as f32)]);
        }
        sender.join().unwrap();
    }
}
