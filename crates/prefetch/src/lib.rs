//! Asks the processor for memory before it is needed.
//!
//! A hint, in a crate of its own because the only way to give it on stable Rust is `unsafe`. Nothing is read and nothing can
//! fault: it changes only how long a later access takes.

/// Begins to bring the first `octets` of `value` into the processor's caches, and does not wait for them. Does nothing on
/// processors other than x86-64.
#[inline(always)]
pub fn start<T: ?Sized>(value: &T, octets: usize) {
    let first = std::ptr::from_ref(value).cast::<u8>();
    for at in (0..octets.min(size_of_val(value))).step_by(LINE) {
        fetch_line(first.wrapping_add(at));
    }
}

/// The same for all of `value`.
#[inline(always)]
pub fn all<T: ?Sized>(value: &T) {
    start(value, usize::MAX);
}

#[inline(always)]
fn fetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: PREFETCHT0 is a hint without any effect on memory or flow; it ignores addresses that are not mapped (AMD64
    // Architecture Programmer's Manual, volume 3). Every x86-64 has it.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Of a cache: 64 octets on every x86-64.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    #[test]
    fn a_hint_takes_values_of_any_size_and_changes_none() {
        let numbers: Vec<u64> = (0..1_000).collect();
        super::all(&numbers[..]);
        super::all(&numbers[..0]);
        super::all(&());
        super::start(&numbers[999], 4_096);
        super::start(&numbers, 0);
        assert!(numbers.iter().copied().eq(0..1_000));
    }
}
