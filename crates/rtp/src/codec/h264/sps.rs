//! The sequence parameter set, read as far as the size of the picture: ITU-T H.264 §7.3.2.1.1.

use super::unescape;
use crate::bytes::BitReader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sps {
    pub profile_idc: u8,
    pub level_idc: u8,
    pub id: u32,
    /// After cropping.
    pub width: u32,
    pub height: u32,
}

/// Longer parameter sets are not of this world; unescaping stops here.
const MAX_SPS: usize = 1024;
/// Level 6.2 allows 16,888 luma samples a side.
const MAX_SIDE: u32 = 16_888;

impl Sps {
    /// Reads a whole NAL unit, header octet included.
    pub fn parse(nal: &[u8]) -> Option<Self> {
        let rbsp = unescape(nal.get(1..nal.len().min(MAX_SPS))?);
        let mut bits = BitReader::new(&rbsp);
        let profile_idc = bits.bits(8)? as u8;
        let _constraint_flags = bits.bits(8)?;
        let level_idc = bits.bits(8)? as u8;
        let id = bits.exp_golomb()?;
        let chroma =
            if has_chroma_format(profile_idc) { read_chroma(&mut bits)? } else { Chroma::FOUR_TWO_ZERO };
        let _log2_max_frame_num = bits.exp_golomb()?;
        skip_picture_order_count(&mut bits)?;
        let _max_num_ref_frames = bits.exp_golomb()?;
        let _gaps_allowed = bits.bit()?;
        let width_mbs = bits.exp_golomb()?.checked_add(1)?;
        let height_units = bits.exp_golomb()?.checked_add(1)?;
        let frame_mbs_only = bits.bit()?;
        if !frame_mbs_only {
            let _mb_adaptive = bits.bit()?;
        }
        let _direct_8x8 = bits.bit()?;
        let field_factor = if frame_mbs_only { 1 } else { 2 };
        let (mut width, mut height) =
            (width_mbs.checked_mul(16)?, height_units.checked_mul(16 * field_factor)?);
        if bits.bit()? {
            let mut crop = || bits.exp_golomb();
            let (left, right, top, bottom) = (crop()?, crop()?, crop()?, crop()?);
            width = width.checked_sub(left.checked_add(right)?.checked_mul(chroma.crop_x)?)?;
            let vertical = top.checked_add(bottom)?.checked_mul(chroma.crop_y * field_factor)?;
            height = height.checked_sub(vertical)?;
        }
        let sane = 1..=MAX_SIDE;
        (sane.contains(&width) && sane.contains(&height)).then_some(Self {
            profile_idc,
            level_idc,
            id,
            width,
            height,
        })
    }
}

/// Cropping is counted in chroma samples, equation 7-19 and following.
struct Chroma {
    crop_x: u32,
    crop_y: u32,
}

impl Chroma {
    const FOUR_TWO_ZERO: Self = Self { crop_x: 2, crop_y: 2 };
}

fn has_chroma_format(profile_idc: u8) -> bool {
    matches!(profile_idc, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135)
}

fn read_chroma(bits: &mut BitReader) -> Option<Chroma> {
    let format = bits.exp_golomb()?;
    if format == 3 {
        let _separate_planes = bits.bit()?;
    }
    let _luma_depth = bits.exp_golomb()?;
    let _chroma_depth = bits.exp_golomb()?;
    let _lossless = bits.bit()?;
    if bits.bit()? {
        for list in 0..if format == 3 { 12 } else { 8 } {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(match format {
        1 => Chroma::FOUR_TWO_ZERO,
        2 => Chroma { crop_x: 2, crop_y: 1 },
        _ => Chroma { crop_x: 1, crop_y: 1 },
    })
}

/// §7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut BitReader, size: usize) -> Option<()> {
    let (mut last, mut next) = (8i32, 8i32);
    for _ in 0..size {
        if next != 0 {
            next = last.wrapping_add(bits.signed_exp_golomb()?).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn skip_picture_order_count(bits: &mut BitReader) -> Option<()> {
    match bits.exp_golomb()? {
        0 => {
            bits.exp_golomb()?;
        }
        1 => {
            bits.bit()?;
            bits.signed_exp_golomb()?;
            bits.signed_exp_golomb()?;
            // At most 255 entries (§7.4.2.1.1); each costs at least a bit, so the data ends any lie.
            for _ in 0..bits.exp_golomb()?.min(255) {
                bits.signed_exp_golomb()?;
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(nal: &[u8], expected: (u8, u32, u32)) {
        let sps = Sps::parse(nal).unwrap();
        assert_eq!((sps.profile_idc, sps.width, sps.height), expected);
        for len in 0..5 {
            assert_eq!(Sps::parse(&nal[..len.min(nal.len())]), None);
        }
    }

    #[test]
    fn sizes_of_parameter_sets_from_the_wild() {
        // Constrained baseline 640×480 and 1280×720; high profile 1920×1080 (cropped from 1088, with escapes in the
        // timing information).
        check(&[0x67, 0x42, 0xc0, 0x1f, 0xda, 0x02, 0x80, 0xf6, 0x84], (66, 640, 480));
        check(&[0x67, 0x42, 0xc0, 0x1f, 0xda, 0x01, 0x40, 0x16, 0xc4], (66, 1280, 720));
        check(
            &[
                0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0x9a, 0x80, 0x80, 0x80,
                0xa0, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x07, 0x81, 0xe3, 0x06, 0x32, 0xc0,
            ],
            (100, 1920, 1080),
        );
    }

    #[test]
    fn a_size_of_four_billion_is_refused() {
        assert_eq!(Sps::parse(&[0x67, 66, 0, 31, 0xda, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
