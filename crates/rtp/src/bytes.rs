//! Big-endian reads that answer `None` past the end.

pub(crate) fn be_u16(buf: &[u8], at: usize) -> Option<u16> {
    let bytes = buf.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

pub(crate) fn be_u24(buf: &[u8], at: usize) -> Option<u32> {
    let bytes = buf.get(at..at.checked_add(3)?)?;
    Some(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]))
}

pub(crate) fn be_u32(buf: &[u8], at: usize) -> Option<u32> {
    let bytes = buf.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

pub(crate) fn be_u64(buf: &[u8], at: usize) -> Option<u64> {
    Some((u64::from(be_u32(buf, at)?) << 32) | u64::from(be_u32(buf, at.checked_add(4)?)?))
}

/// Reads `len` bits, most significant first; the codecs' bitstream headers need no more than this.
#[derive(Clone)]
pub(crate) struct BitReader<'a> {
    buf: &'a [u8],
    bit: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(buf: &'a [u8]) -> Self {
        Self { buf, bit: 0 }
    }

    pub fn bit(&mut self) -> Option<bool> {
        let byte = *self.buf.get(self.bit / 8)?;
        let set = byte >> (7 - self.bit % 8) & 1 == 1;
        self.bit += 1;
        Some(set)
    }

    /// How many bits were read.
    pub fn position(&self) -> usize {
        self.bit
    }

    /// A value below `count` in as few bits as that takes: `ns(n)` of the AV1 bitstream specification §4.10.7.
    pub fn below(&mut self, count: u32) -> Option<u32> {
        let width = u32::BITS - count.leading_zeros();
        let short = (1u64 << width) - u64::from(count);
        let value = u64::from(self.bits(width.checked_sub(1)?)?);
        if value < short {
            return u32::try_from(value).ok();
        }
        u32::try_from((value << 1 | u64::from(self.bit()?)) - short).ok()
    }

    /// At most 32 bits.
    pub fn bits(&mut self, len: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..len {
            value = value << 1 | u32::from(self.bit()?);
        }
        Some(value)
    }

    /// Unsigned Exp-Golomb code, ITU-T H.264 §9.1; codes longer than 32 bits are refused.
    pub fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        let rest = self.bits(zeros)?;
        ((1u32 << zeros) - 1).checked_add(rest)
    }

    /// Signed Exp-Golomb code, ITU-T H.264 §9.1.1.
    pub fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 0 { -magnitude } else { magnitude }).ok()
    }
}
