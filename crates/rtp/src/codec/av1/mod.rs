//! AV1 payloads: the aggregation header in front of every packet and the open bitstream units (OBUs) behind it
//! (RTP Payload Format for AV1 §4.3–4.5; AV1 bitstream specification §5.3).

mod sequence_header;

pub use sequence_header::SequenceHeader;

/// OBU types, AV1 bitstream specification §6.2.2.
pub const SEQUENCE_HEADER: u8 = 1;
pub const TEMPORAL_DELIMITER: u8 = 2;
pub const FRAME_HEADER: u8 = 3;
pub const FRAME: u8 = 6;
pub const TILE_LIST: u8 = 8;
pub const PADDING: u8 = 15;

/// frame_type, AV1 bitstream specification §6.8.2.
pub const KEY_FRAME: u8 = 0;

/// What one RTP payload holds: pieces of OBUs, checked to be whole as pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Z: the first element goes on with the OBU that the packet before left open.
    pub continues: bool,
    /// Y: the last element goes on in the next packet.
    pub is_continued: bool,
    /// N: the first packet of a coded video sequence.
    pub new_sequence: bool,
    /// W: how many elements there are; 0: each has its length in front.
    count: u8,
    body: &'a [u8],
}

impl<'a> Payload<'a> {
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (&header, body) = payload.split_first()?;
        let parsed = Self {
            continues: header & 0x80 != 0,
            is_continued: header & 0x40 != 0,
            count: header >> 4 & 3,
            new_sequence: header & 0x08 != 0,
            body,
        };
        // "If N is equal to 1 then Z must be equal to 0."
        if body.is_empty() || (parsed.continues && parsed.new_sequence) {
            return None;
        }
        let mut elements = parsed.elements();
        let found = elements.by_ref().count();
        let promised = usize::from(parsed.count);
        (!elements.is_broken && found > 0 && (promised == 0 || promised == found)).then_some(parsed)
    }

    /// OBUs and pieces of OBUs, in order.
    pub fn elements(&self) -> Elements<'a> {
        Elements { rest: self.body, left: (self.count > 0).then_some(self.count), is_broken: false }
    }

    /// Whether a picture that stands alone begins here: a new sequence is announced, or its header is here.
    pub fn is_keyframe_start(&self) -> bool {
        let mut whole = self.elements().skip(usize::from(self.continues));
        self.new_sequence || whole.any(|obu| obu_type(obu) == Some(SEQUENCE_HEADER))
    }
}

/// Iterates over a payload's elements.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    /// Elements to come, where the header tells; the last of them has no length of its own.
    left: Option<u8>,
    is_broken: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == Some(0) || (self.left.is_none() && self.rest.is_empty()) {
            return None;
        }
        let element = match self.left {
            Some(1) => std::mem::take(&mut self.rest),
            _ => match read_leb128(self.rest).and_then(|(len, at)| {
                let tail = self.rest.get(at..)?;
                tail.split_at_checked(usize::try_from(len).ok()?)
            }) {
                Some((element, rest)) => {
                    self.rest = rest;
                    element
                }
                None => {
                    (self.is_broken, self.rest, self.left) = (true, &[], Some(0));
                    return None;
                }
            },
        };
        self.left = self.left.map(|left| left - 1);
        Some(element)
    }
}

/// The type of the OBU that begins with these octets.
pub fn obu_type(obu: &[u8]) -> Option<u8> {
    obu.first().map(|header| header >> 3 & 0x0f)
}

/// One whole OBU, as RTP carries it: usually without a size of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    header: u8,
    /// Temporal and spatial layer, three and two bits from the top.
    extension: Option<u8>,
    pub data: &'a [u8],
}

impl<'a> Obu<'a> {
    pub fn parse(obu: &'a [u8]) -> Option<Self> {
        let (&header, mut data) = obu.split_first()?;
        if header & 0x80 != 0 {
            return None;
        }
        let mut extension = None;
        if header & 0x04 != 0 {
            let (&octet, rest) = data.split_first()?;
            (extension, data) = (Some(octet), rest);
        }
        if header & 0x02 != 0 {
            let (len, at) = read_leb128(data)?;
            data = data.get(at..)?.get(..usize::try_from(len).ok()?)?;
        }
        Some(Self { header, extension, data })
    }

    pub fn obu_type(&self) -> u8 {
        self.header >> 3 & 0x0f
    }

    /// Whether it belongs into what a decoder is given. Delimiters are for files, tile lists for still scenes
    /// (RTP Payload Format §5).
    pub fn is_for_decoder(&self) -> bool {
        !matches!(self.obu_type(), TEMPORAL_DELIMITER | TILE_LIST | PADDING)
    }

    /// Appends it with its size inside, as the low-overhead format wants it (AV1 bitstream specification §5.2).
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(self.header | 0x02);
        out.extend(self.extension);
        write_leb128(out, self.data.len());
        out.extend_from_slice(self.data);
    }
}

/// AV1 bitstream specification §4.10.5: at most eight octets, and no more than 32 bits of value.
fn read_leb128(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut value = 0u64;
    for (at, octet) in bytes.iter().enumerate().take(8) {
        value |= u64::from(octet & 0x7f) << (7 * at);
        if octet & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, at + 1));
        }
    }
    None
}

fn write_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(payload: &[u8]) -> Option<Vec<&[u8]>> {
        Payload::parse(payload).map(|p| p.elements().collect())
    }

    #[test]
    fn elements_with_and_without_a_count() {
        assert_eq!(elements(&[0x10, 7, 8, 9]), Some(vec![&[7, 8, 9][..]]));
        assert_eq!(elements(&[0x20, 2, 7, 8, 9]), Some(vec![&[7, 8][..], &[9]]));
        assert_eq!(elements(&[0x30, 1, 7, 1, 8, 9, 10]), Some(vec![&[7][..], &[8], &[9, 10]]));
        assert_eq!(elements(&[0x00, 1, 7, 2, 8, 9]), Some(vec![&[7][..], &[8, 9]]));
        let payload = Payload::parse(&[0xd0, 1]).unwrap();
        assert!(payload.continues && payload.is_continued && !payload.new_sequence);
    }

    #[test]
    fn lying_payloads_are_refused() {
        for bytes in [
            &[][..],
            &[0x10],
            &[0x20, 3, 7],
            &[0x20, 0x80],
            &[0x00, 2, 7],
            &[0x00, 1, 7, 5],
            &[0x88, 1],
            &[0x30, 1, 7],
            &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        ] {
            assert_eq!(Payload::parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_sequence_header_begins_a_key_picture() {
        let check = |bytes: &[u8], expected: bool| {
            assert_eq!(Payload::parse(bytes).unwrap().is_keyframe_start(), expected, "{bytes:?}");
        };
        check(&[0x18, 0x30, 1], true);
        check(&[0x10, 0x30, 1], false);
        check(&[0x20, 2, SEQUENCE_HEADER << 3, 1, 0x30], true);
        check(&[0x10, TEMPORAL_DELIMITER << 3], false);
        check(&[0x90, SEQUENCE_HEADER << 3], false);
    }

    #[test]
    fn an_obu_gets_its_size() {
        let mut out = Vec::new();
        Obu::parse(&[0x30, 1, 2, 3]).unwrap().write(&mut out);
        // With a layer octet, and with a size that it had already.
        Obu::parse(&[0x36, 0x48, 2, 8, 9, 0xff]).unwrap().write(&mut out);
        assert_eq!(out, [0x32, 3, 1, 2, 3, 0x36, 0x48, 2, 8, 9]);
        let long = [&[0x30][..], &[5; 300]].concat();
        out.clear();
        Obu::parse(&long).unwrap().write(&mut out);
        assert_eq!(out[..3], [0x32, 0xac, 0x02]);
        for bad in [&[][..], &[0x80], &[0x34], &[0x32], &[0x32, 2, 1]] {
            assert_eq!(Obu::parse(bad), None, "{bad:?}");
        }
        assert!(!Obu::parse(&[TEMPORAL_DELIMITER << 3]).unwrap().is_for_decoder());
    }
}
