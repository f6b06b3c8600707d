//! The start of an AV1 sequence header: how large pictures can be (AV1 bitstream specification §5.5).

use crate::bytes::BitReader;

/// What a receiver wants to know of a sequence before it decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceHeader {
    /// Of the largest picture: with spatial layers, of the highest.
    pub width: u32,
    pub height: u32,
}

impl SequenceHeader {
    /// Reads the OBU's data, its header left out.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let mut bits = BitReader::new(data);
        let _profile = bits.bits(3)?;
        let _still_picture = bits.bit()?;
        let reduced = bits.bit()?;
        if reduced {
            let _level = bits.bits(5)?;
        } else {
            skip_operating_points(&mut bits)?;
        }
        let width_bits = bits.bits(4)? + 1;
        let height_bits = bits.bits(4)? + 1;
        Some(Self { width: bits.bits(width_bits)? + 1, height: bits.bits(height_bits)? + 1 })
    }
}

/// Timing and decoder model, then each operating point's layers, level and delays.
fn skip_operating_points(bits: &mut BitReader<'_>) -> Option<()> {
    let mut delay_len = None;
    let timing_info = bits.bit()?;
    if timing_info {
        bits.bits(32)?;
        bits.bits(32)?;
        let equal_picture_interval = bits.bit()?;
        if equal_picture_interval {
            skip_uvlc(bits)?;
        }
        let decoder_model_info = bits.bit()?;
        if decoder_model_info {
            delay_len = Some(bits.bits(5)? + 1);
            bits.bits(32)?;
            bits.bits(10)?;
        }
    }
    let initial_display_delay = bits.bit()?;
    for _ in 0..=bits.bits(5)? {
        let _layers = bits.bits(12)?;
        let level = bits.bits(5)?;
        if level > 7 {
            let _tier = bits.bit()?;
        }
        if let Some(len) = delay_len
            && bits.bit()?
        {
            bits.bits(len)?;
            bits.bits(len)?;
            bits.bit()?;
        }
        if initial_display_delay && bits.bit()? {
            bits.bits(4)?;
        }
    }
    Some(())
}

/// §4.10.3: as many bits after the first one as zeros before it.
fn skip_uvlc(bits: &mut BitReader<'_>) -> Option<()> {
    let mut zeros = 0;
    while !bits.bit()? {
        zeros += 1;
        if zeros >= 32 {
            return Some(());
        }
    }
    bits.bits(zeros).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bits: &str) -> Vec<u8> {
        let digits: Vec<u8> = bits.bytes().filter(|c| *c != b' ').map(|c| c - b'0').collect();
        digits
            .chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |out, (i, bit)| out | bit << (7 - i)))
            .collect()
    }

    #[test]
    fn the_size_is_found_behind_whatever_precedes_it() {
        let size = format!("1010 1001 {:011b} {:010b}", 1279, 719);
        let check = |front: &str| {
            let bytes = pack(&format!("{front} {size}"));
            let expected = SequenceHeader { width: 1280, height: 720 };
            assert_eq!(SequenceHeader::parse(&bytes), Some(expected), "{front}");
            for len in 0..bytes.len() - 1 {
                assert_eq!(SequenceHeader::parse(&bytes[..len]), None);
            }
        };
        // Still picture, reduced header.
        check("000 1 1 00101");
        // One operating point, nothing else.
        check("000 0 0 0 0 00000 000000000000 00101");
        // Three of them, one of a high level with a tier.
        check("000 0 0 0 0 00010 001100000111 00101 000100000011 01001 1 000100000001 00100");
        // Timing, decoder model and display delays.
        let timing = format!("1 {:032b} {:032b} 1 00101 1 00011 {:032b} {:010b}", 1, 30, 9, 3);
        check(&format!("000 0 0 {timing} 1 00000 000000000000 00101 1 1111 0000 1 1 0101"));
    }
}
