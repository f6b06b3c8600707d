//! VP9 payloads: the descriptor in front of every packet (RFC 9628 §4.2) and the uncompressed frame header behind
//! the first of a layer frame (VP9 bitstream specification §6.2).

use super::vp8::PictureId;
use crate::bytes::{BitReader, be_u16};

/// The payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub picture_id: Option<PictureId>,
    /// P: refers to earlier pictures.
    pub inter_picture: bool,
    /// F: references are listed in [`Self::references`] rather than following the announced structure.
    pub flexible: bool,
    /// B: begins a layer frame.
    pub start_of_layer_frame: bool,
    /// E: ends a layer frame.
    pub end_of_layer_frame: bool,
    /// Z: no higher spatial layer of any picture refers to this one.
    pub not_for_upper_layers: bool,
    pub layers: Option<Layers>,
    /// Distances in picture ids to the pictures this one refers to; flexible mode only. Zeros are unused places.
    pub references: [u8; 3],
    /// Width and height of the highest spatial layer in the scalability structure, if one is here.
    pub structure_size: Option<(u16, u16)>,
    /// Octets before the VP9 data.
    pub len: usize,
    tl0_at: usize,
}

/// Where the picture id is, when there is one.
const PICTURE_ID_AT: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// Temporal layer.
    pub tid: u8,
    /// U: later pictures of higher temporal layers refer to none of those layers from before this picture.
    pub switching_up: bool,
    /// Spatial layer.
    pub sid: u8,
    /// D: refers to the spatial layer below, within the picture.
    pub inter_layer: bool,
    /// Counts the pictures of temporal layer 0; for a higher layer, the one it builds on. Non-flexible mode only.
    pub tl0_pic_idx: Option<u8>,
}

impl Descriptor {
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let set = |bit: u8| first & bit != 0;
        let mut descriptor = Self {
            picture_id: None,
            inter_picture: set(0x40),
            flexible: set(0x10),
            start_of_layer_frame: set(0x08),
            end_of_layer_frame: set(0x04),
            not_for_upper_layers: set(0x01),
            layers: None,
            references: [0; 3],
            structure_size: None,
            len: 1,
            tl0_at: 0,
        };
        if set(0x80) {
            let (id, len) = PictureId::read(payload.get(descriptor.len..)?)?;
            descriptor.picture_id = Some(id);
            descriptor.len += len;
        }
        if set(0x20) {
            descriptor.read_layers(payload)?;
        }
        if descriptor.flexible && descriptor.inter_picture {
            descriptor.read_references(payload)?;
        }
        if set(0x02) {
            descriptor.read_structure(payload)?;
        }
        Some(descriptor)
    }

    fn take(&mut self, payload: &[u8]) -> Option<u8> {
        let octet = *payload.get(self.len)?;
        self.len += 1;
        Some(octet)
    }

    fn read_layers(&mut self, payload: &[u8]) -> Option<()> {
        let octet = self.take(payload)?;
        self.tl0_at = self.len;
        let tl0_pic_idx = if self.flexible { None } else { Some(self.take(payload)?) };
        self.layers = Some(Layers {
            tid: octet >> 5,
            switching_up: octet & 0x10 != 0,
            sid: octet >> 1 & 7,
            inter_layer: octet & 1 != 0,
            tl0_pic_idx,
        });
        Some(())
    }

    /// Up to three P_DIFF octets, the low bit saying that another follows. A fourth is against the specification.
    fn read_references(&mut self, payload: &[u8]) -> Option<()> {
        for place in 0..3 {
            let octet = self.take(payload)?;
            self.references[place] = octet >> 1;
            if octet & 1 == 0 {
                return Some(());
            }
        }
        None
    }

    /// RFC 9628 §4.2.1.
    fn read_structure(&mut self, payload: &[u8]) -> Option<()> {
        let octet = self.take(payload)?;
        if octet & 0x10 != 0 {
            for _ in 0..=octet >> 5 {
                self.structure_size = Some((be_u16(payload, self.len)?, be_u16(payload, self.len + 2)?));
                self.len += 4;
            }
        }
        if octet & 0x08 != 0 {
            for _ in 0..self.take(payload)? {
                let picture = self.take(payload)?;
                for _ in 0..picture >> 2 & 3 {
                    self.take(payload)?;
                }
            }
        }
        Some(())
    }

    /// Rewrites the picture id of the payload this was parsed from, in the width it has. Without one, does nothing.
    pub fn set_picture_id(&self, payload: &mut [u8], id: u16) {
        if let (Some(width), Some(at)) = (self.picture_id, payload.get_mut(PICTURE_ID_AT..)) {
            width.write(at, id);
        }
    }

    /// Rewrites TL0PICIDX of the payload this was parsed from. Without one, does nothing.
    pub fn set_tl0_pic_idx(&self, payload: &mut [u8], index: u8) {
        let has_index = self.layers.is_some_and(|layers| layers.tl0_pic_idx.is_some());
        if let (true, Some(octet)) = (has_index, payload.get_mut(self.tl0_at)) {
            *octet = index;
        }
    }

    pub fn tid(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.tid)
    }

    pub fn sid(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.sid)
    }

    /// Begins the lowest spatial layer of a picture.
    pub fn is_start_of_picture(&self) -> bool {
        self.start_of_layer_frame && self.sid() == 0
    }

    pub fn is_keyframe_start(&self) -> bool {
        self.is_start_of_picture() && !self.inter_picture
    }
}

/// The uncompressed header of a layer frame, as far as anybody outside the decoder cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub keyframe: bool,
    /// Width and height, read from key frames.
    pub size: Option<(u32, u32)>,
}

impl FrameHeader {
    /// `None` if this is no VP9 frame.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        const SYNC_CODE: u32 = 0x49_8342;
        const RGB: u32 = 7;
        let mut bits = BitReader::new(frame);
        if bits.bits(2)? != 2 {
            return None;
        }
        let profile = u8::from(bits.bit()?) | u8::from(bits.bit()?) << 1;
        if profile == 3 && bits.bit()? {
            return None;
        }
        let show_existing_frame = bits.bit()?;
        if show_existing_frame || bits.bit()? {
            return Some(Self { keyframe: false, size: None });
        }
        let _show_frame_and_error_resilient = bits.bits(2)?;
        if bits.bits(24)? != SYNC_CODE {
            return None;
        }
        if profile >= 2 {
            let _twelve_bit = bits.bit()?;
        }
        let subsampling_told = profile == 1 || profile == 3;
        if bits.bits(3)? == RGB {
            bits.bits(u32::from(subsampling_told))?;
        } else {
            bits.bits(if subsampling_told { 4 } else { 1 })?;
        }
        let size = (bits.bits(16)? + 1, bits.bits(16)? + 1);
        Some(Self { keyframe: true, size: Some(size) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I: u8 = 0x80;
    const P: u8 = 0x40;
    const L: u8 = 0x20;
    const F: u8 = 0x10;
    const B: u8 = 0x08;
    const E: u8 = 0x04;
    const V: u8 = 0x02;

    #[test]
    fn descriptors_of_every_shape() {
        let parse = |bytes: &[u8]| Descriptor::parse(bytes).unwrap();
        let plain = parse(&[B | E]);
        assert_eq!((plain.len, plain.picture_id, plain.tid(), plain.sid()), (1, None, 0, 0));
        assert!(plain.is_keyframe_start());
        assert!(!parse(&[P | B]).is_keyframe_start());
        assert!(!parse(&[E]).is_keyframe_start());

        let wide = parse(&[I | P, 0x92, 0x34]);
        assert_eq!((wide.len, wide.picture_id), (3, Some(PictureId::Bits15(0x1234))));

        let layered = parse(&[I | L | B, 5, 0b0101_0111, 200]);
        let layers = Layers { tid: 2, switching_up: true, sid: 3, inter_layer: true, tl0_pic_idx: Some(200) };
        assert_eq!((layered.len, layered.layers), (4, Some(layers)));
        assert!(!layered.is_keyframe_start(), "an upper layer begins no picture");

        let flexible = parse(&[I | P | L | F | B, 5, 0, 1 << 1 | 1, 3 << 1]);
        assert_eq!((flexible.len, flexible.references), (5, [1, 3, 0]));
        assert_eq!(flexible.layers.unwrap().tl0_pic_idx, None);
    }

    #[test]
    fn the_scalability_structure_is_stepped_over() {
        // Two spatial layers with sizes, a group of two pictures with one and two references.
        let bytes = [V | B, 0x38, 2, 128, 1, 104, 5, 0, 2, 208, 2, 0x04, 1, 0x28, 1, 2, 0xaa];
        let descriptor = Descriptor::parse(&bytes).unwrap();
        assert_eq!(descriptor.structure_size, Some((1280, 720)));
        assert_eq!(bytes[descriptor.len], 0xaa);
        for len in 0..bytes.len() - 1 {
            assert_eq!(Descriptor::parse(&bytes[..len]), None);
        }
    }

    #[test]
    fn rewriting_keeps_the_width() {
        let mut layered = [I | L | B, 0x81, 0x05, 0b0101_0111, 200, 7];
        let descriptor = Descriptor::parse(&layered).unwrap();
        descriptor.set_picture_id(&mut layered, 0x7ffe);
        descriptor.set_tl0_pic_idx(&mut layered, 9);
        assert_eq!(layered, [I | L | B, 0xff, 0xfe, 0b0101_0111, 9, 7]);
        let mut narrow = [I | L | F | B, 5, 0b0101_0111, 7];
        let descriptor = Descriptor::parse(&narrow).unwrap();
        descriptor.set_picture_id(&mut narrow, 0x1234);
        descriptor.set_tl0_pic_idx(&mut narrow, 9);
        assert_eq!(narrow, [I | L | F | B, 0x34, 0b0101_0111, 7]);
    }

    #[test]
    fn a_fourth_reference_is_refused() {
        assert_eq!(Descriptor::parse(&[P | F | B, 3, 5, 7, 8]), None);
    }

    #[test]
    fn the_frame_header_tells_the_size() {
        // Profile 0, key frame, shown; sync code; BT.601; studio range; 1280×720.
        let mut bits = String::from("10 00 0 0 1 0");
        bits += &format!("{:024b} 010 0 {:016b} {:016b}", 0x49_8342, 1279, 719);
        let frame = pack(&bits);
        assert_eq!(FrameHeader::parse(&frame), Some(FrameHeader { keyframe: true, size: Some((1280, 720)) }));
        assert_eq!(FrameHeader::parse(&frame[..8]), None);
        assert_eq!(FrameHeader::parse(&pack("10 00 0 1 1 0")).map(|header| header.keyframe), Some(false));
        assert_eq!(FrameHeader::parse(&pack("10 00 1 010")).map(|header| header.keyframe), Some(false));
        assert_eq!(FrameHeader::parse(&pack("01 00 0 0 1 0")), None);
    }

    fn pack(bits: &str) -> Vec<u8> {
        let digits: Vec<u8> = bits.bytes().filter(|c| *c != b' ').map(|c| c - b'0').collect();
        digits
            .chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |out, (i, bit)| out | bit << (7 - i)))
            .collect()
    }
}
