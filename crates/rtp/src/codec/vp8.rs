//! VP8 payloads: the descriptor in front of every packet (RFC 7741 §4.2) and the frame header behind the first
//! (§4.3; RFC 6386 §9.1).

/// The payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: this packet begins a partition.
    pub start_of_partition: bool,
    pub partition: u8,
    pub picture_id: Option<PictureId>,
    /// Counts the frames of temporal layer 0; for a higher layer, the one it builds on.
    pub tl0_pic_idx: Option<u8>,
    /// Temporal layer.
    pub tid: Option<u8>,
    /// Y: refers to temporal layer 0 only.
    pub layer_sync: bool,
    pub key_idx: Option<u8>,
    /// Octets before the VP8 data.
    pub len: usize,
    tl0_at: usize,
}

/// A picture id as wide as the sender writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureId {
    Bits7(u8),
    Bits15(u16),
}

impl PictureId {
    pub fn value(self) -> u16 {
        match self {
            Self::Bits7(id) => u16::from(id),
            Self::Bits15(id) => id,
        }
    }

    pub fn mask(self) -> u16 {
        match self {
            Self::Bits7(_) => 0x7f,
            Self::Bits15(_) => 0x7fff,
        }
    }

    /// How far `next` is ahead of this id, wrapping at the width of `next`.
    pub fn distance_to(self, next: PictureId) -> u16 {
        next.value().wrapping_sub(self.value()) & next.mask()
    }

    /// M bit and 7 or 15 bits, as VP8 and VP9 both write it. The second value is how many octets were read.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let first = *bytes.first()?;
        if first & 0x80 == 0 {
            return Some((Self::Bits7(first), 1));
        }
        let second = *bytes.get(1)?;
        Some((Self::Bits15(u16::from(first & 0x7f) << 8 | u16::from(second)), 2))
    }

    /// Puts `id` where an id of this width was read.
    pub(super) fn write(self, bytes: &mut [u8], id: u16) {
        match (self, bytes) {
            (Self::Bits7(_), [octet, ..]) => *octet = id as u8 & 0x7f,
            (Self::Bits15(_), [high, low, ..]) => {
                *high = 0x80 | (id >> 8) as u8;
                *low = id as u8;
            }
            _ => {}
        }
    }
}

/// Where the picture id is, when there is one: behind the first octet and the X octet.
const PICTURE_ID_AT: usize = 2;

impl Descriptor {
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut descriptor = Self {
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id: None,
            tl0_pic_idx: None,
            tid: None,
            layer_sync: false,
            key_idx: None,
            len: 1,
            tl0_at: 0,
        };
        if first & 0x80 == 0 {
            return Some(descriptor);
        }
        let present = *payload.get(1)?;
        let mut at = PICTURE_ID_AT;
        if present & 0x80 != 0 {
            let (id, len) = PictureId::read(payload.get(at..)?)?;
            descriptor.picture_id = Some(id);
            at += len;
        }
        if present & 0x40 != 0 {
            descriptor.tl0_pic_idx = Some(*payload.get(at)?);
            descriptor.tl0_at = at;
            at += 1;
        }
        if present & 0x30 != 0 {
            let octet = *payload.get(at)?;
            if present & 0x20 != 0 {
                descriptor.tid = Some(octet >> 6);
                descriptor.layer_sync = octet & 0x20 != 0;
            }
            if present & 0x10 != 0 {
                descriptor.key_idx = Some(octet & 0x1f);
            }
            at += 1;
        }
        descriptor.len = at;
        Some(descriptor)
    }

    /// S bit on the first partition.
    pub fn is_start_of_frame(&self) -> bool {
        self.start_of_partition && self.partition == 0
    }

    pub fn is_keyframe_start(&self, payload: &[u8]) -> bool {
        // The inverse key frame flag is the lowest bit of the frame header's first octet (RFC 7741 §4.3).
        self.is_start_of_frame() && payload.get(self.len).is_some_and(|octet| octet & 1 == 0)
    }

    /// Rewrites the picture id of the payload this was parsed from, in the width it has. Without one, does nothing.
    pub fn set_picture_id(&self, payload: &mut [u8], id: u16) {
        if let (Some(width), Some(at)) = (self.picture_id, payload.get_mut(PICTURE_ID_AT..)) {
            width.write(at, id);
        }
    }

    /// Rewrites TL0PICIDX of the payload this was parsed from. Without one, does nothing.
    pub fn set_tl0_pic_idx(&self, payload: &mut [u8], index: u8) {
        if let (Some(_), Some(octet)) = (self.tl0_pic_idx, payload.get_mut(self.tl0_at)) {
            *octet = index;
        }
    }
}

/// The uncompressed start of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub keyframe: bool,
    /// Width and height, told by key frames only.
    pub size: Option<(u16, u16)>,
}

impl FrameHeader {
    /// Reads the first octets of a frame, RFC 6386 §9.1. A key frame without its start code is refused.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let tag = frame.get(..3)?;
        if tag[0] & 1 == 1 {
            return Some(Self { keyframe: false, size: None });
        }
        let start = frame.get(3..10)?;
        if start[..3] != [0x9d, 0x01, 0x2a] {
            return None;
        }
        // Two bits of upscaling sit above each dimension.
        let width = u16::from_le_bytes([start[3], start[4]]) & 0x3fff;
        let height = u16::from_le_bytes([start[5], start[6]]) & 0x3fff;
        Some(Self { keyframe: true, size: Some((width, height)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_of_every_shape() {
        let check = |bytes: &[u8],
                     len: usize,
                     pid: Option<PictureId>,
                     tl0: Option<u8>,
                     tid: Option<u8>,
                     key: Option<u8>| {
            let d = Descriptor::parse(bytes).unwrap();
            assert_eq!(
                (d.len, d.picture_id, d.tl0_pic_idx, d.tid, d.key_idx),
                (len, pid, tl0, tid, key),
                "{bytes:?}"
            );
        };
        check(&[0x10], 1, None, None, None, None);
        check(&[0x90, 0x00], 2, None, None, None, None);
        check(&[0x90, 0x80, 0x11], 3, Some(PictureId::Bits7(17)), None, None, None);
        check(&[0x90, 0x80, 0x92, 0x34], 4, Some(PictureId::Bits15(0x1234)), None, None, None);
        check(&[0x90, 0x40, 9], 3, None, Some(9), None, None);
        check(&[0x90, 0x20, 0xa3], 3, None, None, Some(2), None);
        check(&[0x90, 0x10, 0xa3], 3, None, None, None, Some(3));
        check(
            &[0x90, 0xf0, 0x81, 0x02, 9, 0x65],
            6,
            Some(PictureId::Bits15(0x102)),
            Some(9),
            Some(1),
            Some(5),
        );
        assert!(Descriptor::parse(&[0x90, 0x20, 0x60]).unwrap().layer_sync);
        assert!(Descriptor::parse(&[0x20]).unwrap().non_reference);
    }

    #[test]
    fn cut_descriptors_are_refused() {
        let whole = [0x90, 0xf0, 0x81, 0x02, 9, 0x65];
        for len in 0..whole.len() {
            assert_eq!(Descriptor::parse(&whole[..len]), None);
        }
    }

    #[test]
    fn key_frames_are_known_by_their_first_packet() {
        let check = |bytes: &[u8], expected: bool| {
            assert_eq!(Descriptor::parse(bytes).unwrap().is_keyframe_start(bytes), expected, "{bytes:?}");
        };
        check(&[0x10, 0x50, 1, 0], true);
        check(&[0x10, 0x51, 1, 0], false);
        check(&[0x00, 0x50, 1, 0], false);
        check(&[0x11, 0x50, 1, 0], false);
        check(&[0x10], false);
    }

    #[test]
    fn rewriting_keeps_the_width() {
        let mut wide = [0x90, 0xe0, 0x81, 0x02, 9, 0x60, 0xaa];
        let descriptor = Descriptor::parse(&wide).unwrap();
        descriptor.set_picture_id(&mut wide, 0xffff);
        descriptor.set_tl0_pic_idx(&mut wide, 77);
        assert_eq!(wide, [0x90, 0xe0, 0xff, 0xff, 77, 0x60, 0xaa]);
        let mut narrow = [0x90, 0x80, 0x11, 0xaa];
        Descriptor::parse(&narrow).unwrap().set_picture_id(&mut narrow, 0x1234);
        assert_eq!(narrow, [0x90, 0x80, 0x34, 0xaa]);
        let mut bare = [0x10, 0xaa];
        let descriptor = Descriptor::parse(&bare).unwrap();
        descriptor.set_picture_id(&mut bare, 5);
        descriptor.set_tl0_pic_idx(&mut bare, 5);
        assert_eq!(bare, [0x10, 0xaa]);
    }

    #[test]
    fn picture_ids_wrap_at_their_width() {
        assert_eq!(PictureId::Bits7(127).distance_to(PictureId::Bits7(0)), 1);
        assert_eq!(PictureId::Bits15(0x7fff).distance_to(PictureId::Bits15(1)), 2);
        assert_eq!(PictureId::Bits15(5).distance_to(PictureId::Bits15(4)), 0x7fff);
    }

    #[test]
    fn the_frame_header_tells_the_size() {
        let frame = [0x50, 1, 0, 0x9d, 0x01, 0x2a, 0x00, 0x45, 0xd0, 0x82];
        assert_eq!(FrameHeader::parse(&frame), Some(FrameHeader { keyframe: true, size: Some((1280, 720)) }));
        assert_eq!(FrameHeader::parse(&frame[..9]), None);
        assert_eq!(FrameHeader::parse(&[0x50, 1, 0, 1, 2, 3, 4, 5, 6, 7]), None);
        assert_eq!(FrameHeader::parse(&[0x51, 1, 0]), Some(FrameHeader { keyframe: false, size: None }));
    }
}
