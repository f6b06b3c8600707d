//! One RTP packet in somebody else's buffer: reading, rewriting in place, telling it from its neighbours.
//!
//! Fixed header, CSRC list and padding: RFC 3550 §5.1. Header extensions: RFC 8285. Sharing a port with RTCP,
//! STUN and DTLS: RFC 5761 §4 and RFC 7983 §7. Retransmission payload: RFC 4588 §4.

use crate::bytes::{be_u16, be_u32};
use std::ops::Range;
use thiserror::Error;

/// The fixed header, RFC 3550 §5.1.
pub const FIXED_HEADER: usize = 12;
/// RFC 8285 §4.2.
pub const PROFILE_ONE_BYTE: u16 = 0xBEDE;
/// RFC 8285 §4.3; the low four bits are the application's.
pub const PROFILE_TWO_BYTE: u16 = 0x1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PacketError {
    #[error("the packet is shorter than its header says")]
    Truncated,
    #[error("RTP version {0} is not 2")]
    Version(u8),
    #[error("the padding is longer than the payload, or empty")]
    Padding,
}

/// A parsed view of one RTP packet. Extension elements are read lazily; a malformed one ends the list.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    buf: &'a [u8],
    header_len: usize,
    payload_end: usize,
    extension: Option<ExtensionBlock>,
}

#[derive(Clone, Copy, Debug)]
struct ExtensionBlock {
    profile: u16,
    start: usize,
    end: usize,
}

impl<'a> Packet<'a> {
    /// Reads a whole packet in the clear.
    pub fn parse(buf: &'a [u8]) -> Result<Self, PacketError> {
        let mut packet = Self::parse_header(buf)?;
        if buf[0] & 0x20 != 0 {
            let padding = usize::from(buf[buf.len() - 1]);
            if padding == 0 || packet.header_len + padding > buf.len() {
                return Err(PacketError::Padding);
            }
            packet.payload_end = buf.len() - padding;
        }
        Ok(packet)
    }

    /// Reads only the header, as is right for a packet whose payload (and padding count) is still encrypted:
    /// [`Self::payload`] is then everything behind the header.
    pub fn parse_header(buf: &'a [u8]) -> Result<Self, PacketError> {
        if buf.len() < FIXED_HEADER {
            return Err(PacketError::Truncated);
        }
        let version = buf[0] >> 6;
        if version != 2 {
            return Err(PacketError::Version(version));
        }
        let mut header_len = FIXED_HEADER + 4 * usize::from(buf[0] & 0x0f);
        let mut extension = None;
        if buf[0] & 0x10 != 0 {
            let profile = be_u16(buf, header_len).ok_or(PacketError::Truncated)?;
            let words = be_u16(buf, header_len + 2).ok_or(PacketError::Truncated)?;
            let start = header_len + 4;
            let end = start + 4 * usize::from(words);
            extension = Some(ExtensionBlock { profile, start, end });
            header_len = end;
        }
        if header_len > buf.len() {
            return Err(PacketError::Truncated);
        }
        Ok(Self { buf, header_len, payload_end: buf.len(), extension })
    }

    pub fn marker(&self) -> bool {
        self.buf[1] & 0x80 != 0
    }

    pub fn payload_type(&self) -> u8 {
        self.buf[1] & 0x7f
    }

    pub fn sequence_number(&self) -> u16 {
        u16::from_be_bytes([self.buf[2], self.buf[3]])
    }

    pub fn timestamp(&self) -> u32 {
        u32::from_be_bytes([self.buf[4], self.buf[5], self.buf[6], self.buf[7]])
    }

    pub fn ssrc(&self) -> u32 {
        u32::from_be_bytes([self.buf[8], self.buf[9], self.buf[10], self.buf[11]])
    }

    /// Contributing sources, RFC 3550 §5.1.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let buf = self.buf;
        (0..usize::from(buf[0] & 0x0f)).filter_map(move |i| be_u32(buf, FIXED_HEADER + 4 * i))
    }

    /// The payload without padding. Empty for a packet that only pads.
    pub fn payload(&self) -> &'a [u8] {
        &self.buf[self.header_len..self.payload_end]
    }

    /// Where the payload begins: fixed header, CSRCs and extension block.
    pub fn header_len(&self) -> usize {
        self.header_len
    }

    /// Padding octets, the count octet included.
    pub fn padding_len(&self) -> usize {
        self.buf.len() - self.payload_end
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        self.buf
    }

    /// The profile word of the extension block, if there is one.
    pub fn extension_profile(&self) -> Option<u16> {
        self.extension.map(|block| block.profile)
    }

    /// The data of the first extension element with this id.
    pub fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|element| element.id == id).map(|element| element.data)
    }

    /// Where that element's data lies in the packet, for rewriting it in place.
    pub fn extension_range(&self, id: u8) -> Option<Range<usize>> {
        let mut elements = self.extensions();
        while let Some(element) = elements.next() {
            if element.id == id {
                return Some(elements.at - element.data.len()..elements.at);
            }
        }
        None
    }

    /// All extension elements in order, one-byte and two-byte form alike.
    pub fn extensions(&self) -> Extensions<'a> {
        let (form, at, end) = match self.extension {
            Some(block) if block.profile == PROFILE_ONE_BYTE => (Form::OneByte, block.start, block.end),
            Some(block) if block.profile & 0xfff0 == PROFILE_TWO_BYTE => {
                (Form::TwoByte, block.start, block.end)
            }
            _ => (Form::OneByte, 0, 0),
        };
        Extensions { buf: self.buf, form, at, end }
    }

    /// The original sequence number and payload, reading this packet's payload as RFC 4588 §4 retransmission.
    pub fn rtx(&self) -> Option<(u16, &'a [u8])> {
        let payload = self.payload();
        Some((be_u16(payload, 0)?, &payload[2..]))
    }
}

/// One header extension element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension<'a> {
    pub id: u8,
    pub data: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
enum Form {
    OneByte,
    TwoByte,
}

/// Iterates over extension elements.
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    buf: &'a [u8],
    form: Form,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        // A zero octet is padding in both forms (RFC 8285 §4.1.2).
        while self.at < self.end && self.buf[self.at] == 0 {
            self.at += 1;
        }
        let block = &self.buf[..self.end];
        let first = *block.get(self.at)?;
        let (id, len, start) = match self.form {
            // "15 … processing MUST stop" (RFC 8285 §4.2); id 0 with a length is skipped like any unknown id.
            Form::OneByte if first >> 4 == 15 => {
                self.at = self.end;
                return None;
            }
            Form::OneByte => (first >> 4, usize::from(first & 0x0f) + 1, self.at + 1),
            Form::TwoByte => match block.get(self.at + 1) {
                Some(len) => (first, usize::from(*len), self.at + 2),
                None => {
                    self.at = self.end;
                    return None;
                }
            },
        };
        let Some(data) = block.get(start..start + len) else {
            self.at = self.end;
            return None;
        };
        self.at = start + len;
        Some(Extension { id, data })
    }
}

/// Field setters for a packet that [`Packet::parse`] accepted; a buffer shorter than the fixed header is left alone.
pub fn set_payload_type(buf: &mut [u8], payload_type: u8) {
    if let Some(byte) = buf.get_mut(1) {
        *byte = *byte & 0x80 | payload_type & 0x7f;
    }
}

pub fn set_marker(buf: &mut [u8], marker: bool) {
    if let Some(byte) = buf.get_mut(1) {
        *byte = *byte & 0x7f | u8::from(marker) << 7;
    }
}

pub fn set_sequence_number(buf: &mut [u8], sequence_number: u16) {
    if let Some(field) = buf.get_mut(2..4) {
        field.copy_from_slice(&sequence_number.to_be_bytes());
    }
}

pub fn set_timestamp(buf: &mut [u8], timestamp: u32) {
    if let Some(field) = buf.get_mut(4..8) {
        field.copy_from_slice(&timestamp.to_be_bytes());
    }
}

pub fn set_ssrc(buf: &mut [u8], ssrc: u32) {
    if let Some(field) = buf.get_mut(8..12) {
        field.copy_from_slice(&ssrc.to_be_bytes());
    }
}

/// The fixed header of a packet to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FixedHeader {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

impl FixedHeader {
    /// The twelve octets; `has_extension` announces a block as [`crate::ext::ExtensionWriter`] writes it.
    pub fn to_bytes(self, has_extension: bool) -> [u8; FIXED_HEADER] {
        let mut out = [0; FIXED_HEADER];
        out[0] = 0x80 | u8::from(has_extension) << 4;
        set_payload_type(&mut out, self.payload_type);
        set_marker(&mut out, self.marker);
        set_sequence_number(&mut out, self.sequence_number);
        set_timestamp(&mut out, self.timestamp);
        set_ssrc(&mut out, self.ssrc);
        out
    }
}

/// What a datagram on a shared port is, by its first octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
    /// ZRTP, TURN channels and whatever else: not ours.
    Other,
}

/// RFC 7983 §7, with RTCP told from RTP by [`is_rtcp`].
pub fn classify(datagram: &[u8]) -> Class {
    match datagram.first() {
        Some(0..=3) => Class::Stun,
        Some(20..=63) => Class::Dtls,
        Some(128..=191) if is_rtcp(datagram) => Class::Rtcp,
        Some(128..=191) => Class::Rtp,
        _ => Class::Other,
    }
}

/// Whether a version 2 packet is RTCP: its second octet is one of the packet types 192–223, which RTP cannot use on
/// a shared port since payload types 64–95 are barred there (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [first, packet_type, ..] if first >> 6 == 2 && (192..=223).contains(packet_type))
}

#[cfg(test)]
mod tests;
