//! H.264 payloads in packetization mode 0 and 1: single NAL units, STAP-A and FU-A (RFC 6184 §5.6–5.8).
//!
//! Deliberately unsupported: the interleaved mode's STAP-B, MTAP and FU-B, which no browser sends.

mod sps;

pub use sps::Sps;

use crate::bytes::{BitReader, be_u16};

/// NAL unit types, ITU-T H.264 table 7-1.
pub const SLICE: u8 = 1;
pub const IDR: u8 = 5;
pub const SPS: u8 = 7;
pub const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// What one RTP payload holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    Single(&'a [u8]),
    /// Sizes and NAL units; checked to be whole.
    Aggregate(&'a [u8]),
    Fragment(Fragment<'a>),
}

/// A piece of one NAL unit, RFC 6184 §5.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    pub start: bool,
    pub end: bool,
    /// The header octet of the NAL unit this is a piece of.
    pub nal_header: u8,
    pub data: &'a [u8],
}

impl<'a> Payload<'a> {
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let header = *payload.first()?;
        match header & 0x1f {
            1..=23 => Some(Self::Single(payload)),
            STAP_A => {
                let units = &payload[1..];
                let mut whole = Units { rest: units };
                let count = whole.by_ref().count();
                (count > 0 && whole.rest.is_empty()).then_some(Self::Aggregate(units))
            }
            FU_A => {
                let fu_header = *payload.get(1)?;
                let (start, end) = (fu_header & 0x80 != 0, fu_header & 0x40 != 0);
                let nal_header = header & 0xe0 | fu_header & 0x1f;
                let data = &payload[2..];
                // A unit in one fragment is forbidden but harmless; an empty fragment is neither.
                (!data.is_empty()).then_some(Self::Fragment(Fragment { start, end, nal_header, data }))
            }
            _ => None,
        }
    }

    /// The whole NAL units in this payload: none of a fragment.
    pub fn units(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (single, rest): (Option<&[u8]>, &[u8]) = match self {
            Self::Single(nal) => (Some(nal), &[]),
            Self::Aggregate(units) => (None, units),
            Self::Fragment(_) => (None, &[]),
        };
        single.into_iter().chain(Units { rest })
    }

    /// Whether a key picture begins here: parameter sets, or the first piece of an IDR slice.
    pub fn is_keyframe_start(&self) -> bool {
        match self {
            Self::Fragment(fragment) => fragment.start && fragment.nal_header & 0x1f == IDR,
            _ => self.units().any(|nal| matches!(nal_type(nal), IDR | SPS)),
        }
    }
}

/// The units of a STAP-A: 16-bit size, then the unit, RFC 6184 §5.7.1.
struct Units<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(be_u16(self.rest, 0)?);
        let unit = self.rest.get(2..2 + len).filter(|unit| !unit.is_empty())?;
        self.rest = &self.rest[2 + len..];
        Some(unit)
    }
}

/// Whether a slice (its header octet included) is the first of its picture: `first_mb_in_slice` is zero, which
/// Exp-Golomb writes as a single one bit (ITU-T H.264 §7.3.3). Baseline allows slices in arbitrary order; no browser
/// makes use of that.
pub fn first_slice_of_picture(slice: &[u8]) -> bool {
    matches!(nal_type(slice), SLICE | IDR) && slice.get(1).is_some_and(|octet| octet & 0x80 != 0)
}

/// A bit reader's view of an escaped NAL unit: emulation prevention octets taken out (ITU-T H.264 §7.4.1).
fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for octet in nal {
        if zeros >= 2 && *octet == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *octet == 0 { zeros + 1 } else { 0 };
        out.push(*octet);
    }
    out
}

/// `pic_parameter_set_id` and `seq_parameter_set_id` of a picture parameter set, ITU-T H.264 §7.3.2.2.
pub fn pps_ids(nal: &[u8]) -> Option<(u32, u32)> {
    let rbsp = unescape(nal.get(1..nal.len().min(16))?);
    let mut bits = BitReader::new(&rbsp);
    Some((bits.exp_golomb()?, bits.exp_golomb()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_packet_kinds() {
        let single = [0x65, 0x88, 1];
        assert_eq!(Payload::parse(&single), Some(Payload::Single(&single)));

        let stap = [0x78, 0, 2, 0x67, 9, 0, 1, 0x68];
        let payload = Payload::parse(&stap).unwrap();
        assert_eq!(payload.units().collect::<Vec<_>>(), [&[0x67, 9][..], &[0x68]]);
        assert!(payload.is_keyframe_start());

        let fragment = Payload::parse(&[0x7c, 0x85, 1, 2]).unwrap();
        assert!(fragment.is_keyframe_start());
        let Payload::Fragment(fragment) = fragment else { panic!() };
        assert_eq!((fragment.start, fragment.end, fragment.nal_header), (true, false, 0x65));
        assert!(!Payload::parse(&[0x7c, 0x45, 1]).unwrap().is_keyframe_start());
        assert!(!Payload::parse(&[0x41, 0x9a]).unwrap().is_keyframe_start());
    }

    #[test]
    fn lying_payloads_are_refused() {
        for bytes in [
            &[][..],
            &[0x60],
            &[0x78],
            &[0x78, 0],
            &[0x78, 0, 0],
            &[0x78, 0, 3, 1, 2],
            &[0x78, 0, 1, 0x67, 0],
            &[0x7c],
            &[0x7c, 0x85],
            &[0x79, 0, 0, 0, 1, 1],
            &[0x7d, 0x85, 0, 0, 1],
        ] {
            assert_eq!(Payload::parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_first_slice_is_known() {
        assert!(first_slice_of_picture(&[0x65, 0x88]));
        assert!(!first_slice_of_picture(&[0x65, 0x40]));
        assert!(!first_slice_of_picture(&[0x67, 0x88]));
        assert!(!first_slice_of_picture(&[0x65]));
    }

    #[test]
    fn parameter_set_ids_are_read() {
        assert_eq!(pps_ids(&[0x68, 0xce, 0x3c, 0x80]), Some((0, 0)));
        assert_eq!(pps_ids(&[0x68, 0b0100_1100]), Some((1, 2)));
        assert_eq!(pps_ids(&[0x68]), None);
        assert_eq!(pps_ids(&[]), None);
    }
}
