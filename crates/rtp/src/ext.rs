//! RTP header extensions: their URIs, the values inside, and a writer for a whole block.
//!
//! Form of the block: RFC 8285 §4. Audio level: RFC 6464. MID: RFC 9143 §15. RID: RFC 8852 §3. Video orientation:
//! 3GPP TS 26.114 §7.4.5. Transmission offset: RFC 5450. The others are described by WebRTC's own documents.

use crate::bytes::{be_u16, be_u24, be_u64};
use crate::packet::{PROFILE_ONE_BYTE, PROFILE_TWO_BYTE};
use thiserror::Error;

pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
pub const RTP_STREAM_ID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
pub const REPAIRED_RTP_STREAM_ID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
pub const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
pub const SSRC_AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
pub const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
pub const TOFFSET: &str = "urn:ietf:params:rtp-hdrext:toffset";
pub const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
pub const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
pub const COLOR_SPACE: &str = "http://www.webrtc.org/experiments/rtp-hdrext/color-space";
pub const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Loudness of one packet of sound, RFC 6464 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    /// The sender's voice activity flag.
    pub voice: bool,
    /// 0 is full scale, −127 silence.
    pub dbov: i8,
}

impl AudioLevel {
    pub fn parse(data: &[u8]) -> Option<Self> {
        let octet = *data.first()?;
        Some(Self { voice: octet & 0x80 != 0, dbov: -((octet & 0x7f) as i8) })
    }

    pub fn to_byte(self) -> u8 {
        u8::from(self.voice) << 7 | self.dbov.min(0).unsigned_abs().min(127)
    }
}

/// How a picture must be turned to stand upright, 3GPP TS 26.114 §7.4.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoOrientation {
    /// The camera faces away from the user. For information only.
    pub back_camera: bool,
    /// Mirrored left to right before it was sent.
    pub flip: bool,
    pub rotation: Rotation,
}

/// Clockwise turn that sets the picture upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    #[default]
    Upright,
    Clockwise90,
    Clockwise180,
    Clockwise270,
}

impl Rotation {
    pub fn degrees(self) -> u16 {
        match self {
            Self::Upright => 0,
            Self::Clockwise90 => 90,
            Self::Clockwise180 => 180,
            Self::Clockwise270 => 270,
        }
    }
}

impl VideoOrientation {
    /// Browsers write the turn the *receiver* must make, clockwise, into the two low bits.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let octet = *data.first()?;
        let rotation = match octet & 3 {
            0 => Rotation::Upright,
            1 => Rotation::Clockwise90,
            2 => Rotation::Clockwise180,
            _ => Rotation::Clockwise270,
        };
        Some(Self { back_camera: octet & 8 != 0, flip: octet & 4 != 0, rotation })
    }

    pub fn to_byte(self) -> u8 {
        u8::from(self.back_camera) << 3 | u8::from(self.flip) << 2 | (self.rotation.degrees() / 90) as u8
    }
}

/// Which coefficients made the picture, as far as anybody names them (ITU-T H.273 §8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatrixCoefficients {
    Bt601,
    Bt709,
}

/// What a picture's numbers mean, where its codec has no words for it. Browsers say it with key frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColorSpace {
    /// `None`: not said, or none of ours.
    pub matrix: Option<MatrixCoefficients>,
    pub full_range: Option<bool>,
}

impl ColorSpace {
    /// Primaries, transfer function and matrix as in H.273, then two bits of range and four of where chroma is.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let [_primaries, _transfer, matrix, range] = *data.first_chunk::<4>()?;
        let matrix = match matrix {
            1 => Some(MatrixCoefficients::Bt709),
            4..=6 => Some(MatrixCoefficients::Bt601),
            _ => None,
        };
        let full_range = match range >> 4 & 3 {
            1 => Some(false),
            2 => Some(true),
            _ => None,
        };
        Some(Self { matrix, full_range })
    }
}

/// When the packet left, as 6.18 fixed point seconds that wrap every 64 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsSendTime(pub u32);

impl AbsSendTime {
    pub fn parse(data: &[u8]) -> Option<Self> {
        be_u24(data, 0).map(Self)
    }

    pub fn from_ns(ns: u64) -> Self {
        let wrapped = u128::from(ns % 64_000_000_000);
        Self(((wrapped << 18) / 1_000_000_000) as u32 & 0x00ff_ffff)
    }

    /// Nanoseconds from `earlier` to this one, in either direction: up to half the period.
    pub fn since_ns(self, earlier: Self) -> i64 {
        let ticks = (self.0.wrapping_sub(earlier.0) << 8) as i32 >> 8;
        (i64::from(ticks) * 1_000_000_000) >> 18
    }

    /// Nanoseconds within the 64 second period.
    pub fn to_ns(self) -> u64 {
        (u64::from(self.0 & 0x00ff_ffff) * 1_000_000_000) >> 18
    }

    pub fn to_bytes(self) -> [u8; 3] {
        let bytes = self.0.to_be_bytes();
        [bytes[1], bytes[2], bytes[3]]
    }
}

/// The transport-wide sequence number.
pub fn transport_sequence(data: &[u8]) -> Option<u16> {
    be_u16(data, 0)
}

/// MID, RID or repaired RID: at most 255 octets of text; anything but printable ASCII is refused.
pub fn stream_name(data: &[u8]) -> Option<&str> {
    let printable = !data.is_empty() && data.iter().all(u8::is_ascii_graphic);
    if printable { std::str::from_utf8(data).ok() } else { None }
}

/// Transmission time offset in RTP timestamp units, RFC 5450 §2.
pub fn transmission_offset(data: &[u8]) -> Option<i32> {
    be_u24(data, 0).map(|value| (value << 8) as i32 >> 8)
}

/// The bounds the sender wishes for the receiver's playout delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    pub min_ms: u16,
    pub max_ms: u16,
}

impl PlayoutDelay {
    /// Two 12-bit values in steps of 10 ms.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let value = be_u24(data, 0)?;
        Some(Self { min_ms: (value >> 12) as u16 * 10, max_ms: (value & 0xfff) as u16 * 10 })
    }
}

/// When the first octet of the frame was captured, by the capturer's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsCaptureTime {
    /// NTP timestamp, 32.32 fixed point.
    pub ntp: u64,
    /// How far that clock is ahead of the sender's, where they are not the same; 32.32 fixed point.
    pub offset: Option<i64>,
}

impl AbsCaptureTime {
    pub fn parse(data: &[u8]) -> Option<Self> {
        Some(Self { ntp: be_u64(data, 0)?, offset: be_u64(data, 8).map(|offset| offset as i64) })
    }

    /// The same moment by the clock of the sender's RTCP reports.
    pub fn sender_ntp(&self) -> u64 {
        self.ntp.wrapping_sub(self.offset.unwrap_or(0) as u64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExtensionError {
    #[error("the extension block does not fit its buffer")]
    Full,
    #[error("extension id 0 means padding")]
    Id,
    #[error("an extension element holds at most 255 octets")]
    TooLong,
}

/// Writes a header extension block (profile word, length, elements, padding) into a fixed buffer.
///
/// The one-byte form is used when every element allows it, the two-byte form otherwise. While writing, each element
/// takes two octets more than its data, so the buffer may need one octet per element more than the result.
#[derive(Debug)]
pub struct ExtensionWriter<'b> {
    buf: &'b mut [u8],
    len: usize,
    needs_two_byte: bool,
}

/// The profile word and the length.
const BLOCK_HEADER: usize = 4;

impl<'b> ExtensionWriter<'b> {
    pub fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: BLOCK_HEADER, needs_two_byte: false }
    }

    pub fn push(&mut self, id: u8, data: &[u8]) -> Result<(), ExtensionError> {
        if id == 0 {
            return Err(ExtensionError::Id);
        }
        let len = u8::try_from(data.len()).map_err(|_| ExtensionError::TooLong)?;
        let end = self.len + 2 + data.len();
        let room = self.buf.get_mut(self.len..end).ok_or(ExtensionError::Full)?;
        room[0] = id;
        room[1] = len;
        room[2..].copy_from_slice(data);
        self.len = end;
        self.needs_two_byte |= id > 14 || data.is_empty() || data.len() > 16;
        Ok(())
    }

    /// The length of the finished block, a multiple of four; 0 when nothing was pushed (then set no X bit).
    pub fn finish(self) -> Result<usize, ExtensionError> {
        let Self { buf, mut len, needs_two_byte } = self;
        if len == BLOCK_HEADER {
            return Ok(0);
        }
        if !needs_two_byte {
            len = squeeze(buf, len);
        }
        let padded = len.next_multiple_of(4);
        buf.get_mut(len..padded).ok_or(ExtensionError::Full)?.fill(0);
        let profile = if needs_two_byte { PROFILE_TWO_BYTE } else { PROFILE_ONE_BYTE };
        let words = u16::try_from((padded - BLOCK_HEADER) / 4).map_err(|_| ExtensionError::Full)?;
        buf[..2].copy_from_slice(&profile.to_be_bytes());
        buf[2..4].copy_from_slice(&words.to_be_bytes());
        Ok(padded)
    }
}

/// Turns two-byte elements into one-byte elements in place, front to back: the result never overtakes the source.
fn squeeze(buf: &mut [u8], end: usize) -> usize {
    let (mut from, mut to) = (BLOCK_HEADER, BLOCK_HEADER);
    while from < end {
        let (id, len) = (buf[from], usize::from(buf[from + 1]));
        buf[to] = id << 4 | (len as u8 - 1);
        buf.copy_within(from + 2..from + 2 + len, to + 1);
        from += 2 + len;
        to += 1 + len;
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{FixedHeader, Packet};
    use crate::prng::Prng;

    fn round_trip(elements: &[(u8, Vec<u8>)]) -> u16 {
        let mut block = [0; 2048];
        let mut writer = ExtensionWriter::new(&mut block);
        for (id, data) in elements {
            writer.push(*id, data).unwrap();
        }
        let len = writer.finish().unwrap();
        let mut bytes = FixedHeader::default().to_bytes(true).to_vec();
        bytes.extend_from_slice(&block[..len]);
        bytes.extend_from_slice(b"payload");
        let packet = Packet::parse(&bytes).unwrap();
        let seen: Vec<(u8, Vec<u8>)> = packet.extensions().map(|e| (e.id, e.data.to_vec())).collect();
        assert_eq!(seen, elements);
        assert_eq!(packet.payload(), b"payload");
        packet.extension_profile().unwrap()
    }

    #[test]
    fn the_short_form_is_used_where_it_can_be() {
        assert_eq!(round_trip(&[(1, vec![1]), (14, vec![2; 16])]), PROFILE_ONE_BYTE);
        assert_eq!(round_trip(&[(1, vec![1]), (15, vec![2])]), PROFILE_TWO_BYTE);
        assert_eq!(round_trip(&[(1, vec![0; 17])]), PROFILE_TWO_BYTE);
        assert_eq!(round_trip(&[(3, vec![]), (4, vec![1, 2, 3])]), PROFILE_TWO_BYTE);
    }

    #[test]
    fn random_blocks_survive_the_round_trip() {
        let mut random = Prng(3);
        for _ in 0..5_000 {
            let (ids, lens) = if random.chance(50) { (14, 16) } else { (255, 40) };
            let elements: Vec<(u8, Vec<u8>)> = (0..1 + random.below(6))
                .map(|_| {
                    let len = 1 + random.below(lens);
                    (1 + random.below(ids) as u8, (0..len).map(|_| random.next() as u8).collect())
                })
                .collect();
            round_trip(&elements);
        }
    }

    #[test]
    fn a_full_buffer_and_bad_elements_are_refused() {
        let mut block = [0; 8];
        let mut writer = ExtensionWriter::new(&mut block);
        assert_eq!(writer.push(0, &[1]), Err(ExtensionError::Id));
        assert_eq!(writer.push(1, &[0; 256]), Err(ExtensionError::TooLong));
        assert_eq!(writer.push(1, &[1, 2, 3]), Err(ExtensionError::Full));
        writer.push(1, &[1, 2]).unwrap();
        assert_eq!(writer.finish(), Ok(8));
        assert_eq!(ExtensionWriter::new(&mut [0; 2]).finish(), Ok(0));
        assert_eq!(ExtensionWriter::new(&mut [0; 2]).push(1, &[1]), Err(ExtensionError::Full));
    }

    #[test]
    fn values_are_read() {
        assert_eq!(AudioLevel::parse(&[0x80 | 30]), Some(AudioLevel { voice: true, dbov: -30 }));
        assert_eq!(AudioLevel { voice: true, dbov: -30 }.to_byte(), 0x80 | 30);
        assert_eq!(AudioLevel::parse(&[]), None);
        let full = ColorSpace { matrix: Some(MatrixCoefficients::Bt709), full_range: Some(true) };
        assert_eq!(ColorSpace::parse(&[1, 13, 1, 0x25]), Some(full));
        let limited = ColorSpace { matrix: Some(MatrixCoefficients::Bt601), full_range: Some(false) };
        assert_eq!(ColorSpace::parse(&[6, 6, 6, 0x10]), Some(limited));
        assert_eq!(ColorSpace::parse(&[2, 2, 2, 0]), Some(ColorSpace::default()));
        assert_eq!(ColorSpace::parse(&[1, 1, 1]), None);
        let turned = VideoOrientation { back_camera: true, flip: false, rotation: Rotation::Clockwise270 };
        assert_eq!(VideoOrientation::parse(&[0x0b]), Some(turned));
        assert_eq!(turned.to_byte(), 0x0b);
        assert_eq!(transport_sequence(&[1, 2]), Some(0x0102));
        assert_eq!(transmission_offset(&[0xff, 0xff, 0xfe]), Some(-2));
        assert_eq!(PlayoutDelay::parse(&[0, 0xa0, 0x14]), Some(PlayoutDelay { min_ms: 100, max_ms: 200 }));
        assert_eq!(stream_name(b"h0"), Some("h0"));
        assert_eq!(stream_name(b"h 0"), None);
        assert_eq!(stream_name(b""), None);
        assert_eq!(stream_name(&[0xc3, 0xa9]), None);
        let capture =
            AbsCaptureTime::parse(&[0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(capture, Some(AbsCaptureTime { ntp: 1 << 32 | 2, offset: Some(-1) }));
        assert_eq!(capture.map(|c| c.sender_ntp()), Some(1 << 32 | 3));
        assert_eq!(AbsCaptureTime::parse(&[0; 8]), Some(AbsCaptureTime { ntp: 0, offset: None }));
    }

    #[test]
    fn send_time_wraps_each_64_seconds() {
        let time = AbsSendTime::from_ns(64_000_000_000 * 3 + 1_500_000_000);
        assert_eq!(time.to_ns(), 1_500_000_000);
        assert_eq!(AbsSendTime::parse(&time.to_bytes()), Some(time));
        assert_eq!(AbsSendTime::from_ns(63_999_999_999).0, 0x00ff_ffff);
    }
}
