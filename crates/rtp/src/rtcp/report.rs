//! Sender and receiver reports, source descriptions and goodbyes: RFC 3550 §6.4–6.6.

use super::{BYE, RECEIVER_REPORT, SDES, SENDER_REPORT, put_u32, write_packet};
use crate::bytes::{be_u24, be_u32, be_u64};

/// What a sender says of itself, RFC 3550 §6.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP timestamp, 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    /// The same instant on the stream's RTP clock.
    pub rtp_timestamp: u32,
    pub packet_count: u32,
    pub octet_count: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP timestamp, as receivers echo them in `last_sr`.
    pub fn compact_ntp(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

#[derive(Clone, Debug)]
pub struct SenderReport<'a> {
    pub ssrc: u32,
    pub info: SenderInfo,
    pub reports: ReportBlocks<'a>,
}

#[derive(Clone, Debug)]
pub struct ReceiverReport<'a> {
    pub ssrc: u32,
    pub reports: ReportBlocks<'a>,
}

/// How one source is being received, RFC 3550 §6.4.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Lost since the previous report, in 256ths.
    pub fraction_lost: u8,
    /// 24 bits with sign: duplicates can make it negative.
    pub cumulative_lost: i32,
    pub highest_sequence: u32,
    /// In RTP timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's NTP timestamp; 0 if none arrived.
    pub last_sr: u32,
    /// Since that report, in 65,536ths of a second.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    pub const LEN: usize = 24;

    fn read(block: &[u8]) -> Option<Self> {
        Some(Self {
            ssrc: be_u32(block, 0)?,
            fraction_lost: *block.get(4)?,
            cumulative_lost: (be_u24(block, 5)? << 8) as i32 >> 8,
            highest_sequence: be_u32(block, 8)?,
            jitter: be_u32(block, 12)?,
            last_sr: be_u32(block, 16)?,
            delay_since_last_sr: be_u32(block, 20)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_u32(out, self.ssrc);
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0x00ff_ffff;
        put_u32(out, u32::from(self.fraction_lost) << 24 | lost);
        for field in [self.highest_sequence, self.jitter, self.last_sr, self.delay_since_last_sr] {
            put_u32(out, field);
        }
    }

    /// Round trip in nanoseconds, for whoever sent that sender report and has received this block at
    /// `compact_ntp_now` (RFC 3550 §6.4.1, figure 2). `None` without a report, or if the arithmetic says "negative".
    pub fn round_trip_ns(&self, compact_ntp_now: u32) -> Option<u64> {
        if self.last_sr == 0 {
            return None;
        }
        let elapsed = compact_ntp_now.wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr);
        // Half the range is nine hours: anything above is a clock that ran backwards.
        if elapsed > u32::MAX / 2 {
            return None;
        }
        Some((u64::from(elapsed) * 1_000_000_000) >> 16)
    }
}

/// The report blocks of one report.
#[derive(Clone, Debug)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> ReportBlocks<'a> {
    fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self { rest: body.get(..ReportBlock::LEN * usize::from(count))? })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let block = ReportBlock::read(self.rest)?;
        self.rest = self.rest.get(ReportBlock::LEN..).unwrap_or_default();
        Some(block)
    }
}

impl<'a> SenderReport<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        let info = SenderInfo {
            ntp: be_u64(body, 4)?,
            rtp_timestamp: be_u32(body, 12)?,
            packet_count: be_u32(body, 16)?,
            octet_count: be_u32(body, 20)?,
        };
        Some(Self { ssrc: be_u32(body, 0)?, info, reports: ReportBlocks::read(count, body.get(24..)?)? })
    }
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self { ssrc: be_u32(body, 0)?, reports: ReportBlocks::read(count, body.get(4..)?)? })
    }
}

/// Source descriptions, RFC 3550 §6.5.
#[derive(Clone, Debug)]
pub struct Sdes<'a> {
    body: &'a [u8],
    count: u8,
}

/// One source's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdesChunk<'a> {
    pub ssrc: u32,
    /// The canonical name, if this chunk has one. Not necessarily text.
    pub cname: Option<&'a [u8]>,
}

impl<'a> Sdes<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        let sdes = Self { body, count };
        let complete = sdes.chunks().count() == usize::from(count);
        complete.then_some(sdes)
    }

    pub fn chunks(&self) -> SdesChunks<'a> {
        SdesChunks { rest: self.body, left: self.count }
    }
}

#[derive(Clone, Debug)]
pub struct SdesChunks<'a> {
    rest: &'a [u8],
    left: u8,
}

const SDES_CNAME: u8 = 1;

impl<'a> Iterator for SdesChunks<'a> {
    type Item = SdesChunk<'a>;

    /// A chunk ends with a null item, then padding to the next word.
    fn next(&mut self) -> Option<SdesChunk<'a>> {
        self.left = self.left.checked_sub(1)?;
        let ssrc = be_u32(self.rest, 0)?;
        let mut cname = None;
        let mut at = 4;
        loop {
            let kind = *self.rest.get(at)?;
            if kind == 0 {
                break;
            }
            let len = usize::from(*self.rest.get(at + 1)?);
            let value = self.rest.get(at + 2..at + 2 + len)?;
            if kind == SDES_CNAME {
                cname = cname.or(Some(value));
            }
            at += 2 + len;
        }
        self.rest = self.rest.get((at + 1).next_multiple_of(4)..)?;
        Some(SdesChunk { ssrc, cname })
    }
}

/// Sources that leave, RFC 3550 §6.6.
#[derive(Clone, Debug)]
pub struct Bye<'a> {
    sources: &'a [u8],
    reason: Option<&'a [u8]>,
}

impl<'a> Bye<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        let (sources, rest) = body.split_at_checked(4 * usize::from(count))?;
        let reason = match rest.first() {
            None => None,
            Some(len) => Some(rest.get(1..1 + usize::from(*len))?),
        };
        Some(Self { sources, reason })
    }

    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        let sources = self.sources;
        (0..sources.len() / 4).filter_map(move |i| be_u32(sources, 4 * i))
    }

    pub fn reason(&self) -> Option<&'a [u8]> {
        self.reason
    }
}

/// At most 31 blocks fit the count field; further ones are left out.
pub fn write_sender_report(out: &mut Vec<u8>, ssrc: u32, info: &SenderInfo, reports: &[ReportBlock]) {
    let reports = &reports[..reports.len().min(31)];
    write_packet(out, SENDER_REPORT, reports.len() as u8, |out| {
        put_u32(out, ssrc);
        out.extend_from_slice(&info.ntp.to_be_bytes());
        for field in [info.rtp_timestamp, info.packet_count, info.octet_count] {
            put_u32(out, field);
        }
        reports.iter().for_each(|block| block.write(out));
    });
}

/// At most 31 blocks fit the count field; further ones are left out.
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, reports: &[ReportBlock]) {
    let reports = &reports[..reports.len().min(31)];
    write_packet(out, RECEIVER_REPORT, reports.len() as u8, |out| {
        put_u32(out, ssrc);
        reports.iter().for_each(|block| block.write(out));
    });
}

/// One chunk holding the CNAME, cut at 255 octets.
pub fn write_sdes_cname(out: &mut Vec<u8>, ssrc: u32, cname: &[u8]) {
    let cname = &cname[..cname.len().min(255)];
    write_packet(out, SDES, 1, |out| {
        put_u32(out, ssrc);
        out.extend_from_slice(&[SDES_CNAME, cname.len() as u8]);
        out.extend_from_slice(cname);
        // The null item that ends the chunk; the caller pads the rest of the word.
        out.push(0);
    });
}

/// At most 31 sources; a reason is cut at 255 octets, an empty one left out.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32], reason: &[u8]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(31)];
    let reason = &reason[..reason.len().min(255)];
    write_packet(out, BYE, ssrcs.len() as u8, |out| {
        ssrcs.iter().for_each(|ssrc| put_u32(out, *ssrc));
        if !reason.is_empty() {
            out.push(reason.len() as u8);
            out.extend_from_slice(reason);
        }
    });
}
