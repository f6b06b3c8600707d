//! Requests for lost packets, for a new picture and for a lower bitrate.
//!
//! Generic NACK and PLI: RFC 4585 §6.2.1, §6.3.1. FIR: RFC 5104 §4.3.1. REMB: draft-alvestrand-rmcat-remb-03.

use super::{PAYLOAD_FEEDBACK, TRANSPORT_FEEDBACK, put_u32, write_packet};
use crate::bytes::{be_u16, be_u32};

pub(super) const FMT_NACK: u8 = 1;
pub(super) const FMT_PLI: u8 = 1;
pub(super) const FMT_FIR: u8 = 4;
pub(super) const FMT_APPLICATION: u8 = 15;

/// Packets asked for again.
#[derive(Clone, Debug)]
pub struct Nack<'a> {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let entries = body.get(8..)?;
        let whole = entries.len() % 4 == 0;
        whole.then_some(Self { sender_ssrc: be_u32(body, 0)?, media_ssrc: be_u32(body, 4)?, entries })
    }

    /// Every sequence number asked for, in the order written.
    pub fn lost(&self) -> LostSequences<'a> {
        LostSequences { entries: self.entries, pending: 0, base: 0 }
    }
}

/// Unfolds the pairs of packet id and bitmask (RFC 4585 §6.2.1).
#[derive(Clone, Debug)]
pub struct LostSequences<'a> {
    entries: &'a [u8],
    /// Bit n stands for `base + n`.
    pending: u32,
    base: u16,
}

impl Iterator for LostSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.pending == 0 {
            self.base = be_u16(self.entries, 0)?;
            self.pending = u32::from(be_u16(self.entries, 2)?) << 1 | 1;
            self.entries = &self.entries[4..];
        }
        let offset = self.pending.trailing_zeros() as u16;
        self.pending &= self.pending - 1;
        Some(self.base.wrapping_add(offset))
    }
}

/// Picture loss indication: send something that can be decoded from scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
}

impl Pli {
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        Some(Self { sender_ssrc: be_u32(body, 0)?, media_ssrc: be_u32(body, 4)? })
    }
}

/// Full intra request, for one or more media sources.
#[derive(Clone, Debug)]
pub struct Fir<'a> {
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    pub ssrc: u32,
    /// Repeated while a request is repeated, counted up for a new one.
    pub sequence: u8,
}

impl<'a> Fir<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let entries = body.get(8..)?;
        let whole = entries.len() % 8 == 0;
        whole.then_some(Self { sender_ssrc: be_u32(body, 0)?, entries })
    }

    pub fn entries(&self) -> FirEntries<'a> {
        FirEntries { rest: self.entries }
    }
}

#[derive(Clone, Debug)]
pub struct FirEntries<'a> {
    rest: &'a [u8],
}

impl Iterator for FirEntries<'_> {
    type Item = FirEntry;

    fn next(&mut self) -> Option<FirEntry> {
        let entry = FirEntry { ssrc: be_u32(self.rest, 0)?, sequence: *self.rest.get(4)? };
        self.rest = self.rest.get(8..)?;
        Some(entry)
    }
}

/// Receiver estimated maximum bitrate.
#[derive(Clone, Debug)]
pub struct Remb<'a> {
    pub sender_ssrc: u32,
    pub bitrate_bps: u64,
    ssrcs: &'a [u8],
}

const REMB: &[u8] = b"REMB";

impl<'a> Remb<'a> {
    pub(super) fn is(body: &[u8]) -> bool {
        body.get(8..12) == Some(REMB)
    }

    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let word = be_u32(body, 12)?;
        let ssrcs = body.get(16..16 + 4 * (word >> 24) as usize)?;
        let (exponent, mantissa) = (word >> 18 & 0x3f, u64::from(word & 0x3_ffff));
        // 2^18 shifted by up to 63: what does not fit is "as much as you like".
        let bitrate_bps = mantissa.checked_shl(exponent).filter(|rate| rate >> exponent == mantissa);
        Some(Self { sender_ssrc: be_u32(body, 0)?, bitrate_bps: bitrate_bps.unwrap_or(u64::MAX), ssrcs })
    }

    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let ssrcs = self.ssrcs;
        (0..ssrcs.len() / 4).filter_map(move |i| be_u32(ssrcs, 4 * i))
    }
}

/// Asks for `lost` again. Numbers in ascending (wrapping) order pack best; any order is right. Writes nothing for an
/// empty list.
pub fn write_nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, lost: &[u16]) {
    if lost.is_empty() {
        return;
    }
    write_packet(out, TRANSPORT_FEEDBACK, FMT_NACK, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
        let mut lost = lost.iter().copied().peekable();
        while let Some(base) = lost.next() {
            let mut mask = 0u16;
            while let Some(ahead) = lost.peek().map(|next| next.wrapping_sub(base)) {
                if ahead > 16 {
                    break;
                }
                if ahead > 0 {
                    mask |= 1 << (ahead - 1);
                }
                lost.next();
            }
            put_u32(out, u32::from(base) << 16 | u32::from(mask));
        }
    });
}

pub fn write_pli(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    write_packet(out, PAYLOAD_FEEDBACK, FMT_PLI, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
    });
}

/// The media SSRC field of the header stays zero, RFC 5104 §4.3.1.2.
pub fn write_fir(out: &mut Vec<u8>, sender_ssrc: u32, entries: &[FirEntry]) {
    write_packet(out, PAYLOAD_FEEDBACK, FMT_FIR, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, 0);
        for entry in entries {
            put_u32(out, entry.ssrc);
            put_u32(out, u32::from(entry.sequence) << 24);
        }
    });
}

/// At most 255 sources. The rate is rounded down to the 18 bits of the mantissa.
pub fn write_remb(out: &mut Vec<u8>, sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(255)];
    write_packet(out, PAYLOAD_FEEDBACK, FMT_APPLICATION, |out| {
        put_u32(out, sender_ssrc);
        put_u32(out, 0);
        out.extend_from_slice(REMB);
        let exponent = (64 - bitrate_bps.leading_zeros()).saturating_sub(18);
        let mantissa = (bitrate_bps >> exponent) as u32;
        put_u32(out, (ssrcs.len() as u32) << 24 | exponent << 18 | mantissa);
        ssrcs.iter().for_each(|ssrc| put_u32(out, *ssrc));
    });
}
