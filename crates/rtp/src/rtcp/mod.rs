//! RTCP: reading compound packets without allocation, and writing each kind.
//!
//! Reports, SDES, BYE: RFC 3550 §6. Feedback: RFC 4585 §6 (NACK, PLI), RFC 5104 §4.3.1 (FIR), REMB and transport-wide
//! feedback after their WebRTC drafts. A datagram may hold any packet first: reduced size, RFC 5506.

mod feedback;
mod report;
mod transport_cc;

pub use feedback::{
    Fir, FirEntries, FirEntry, LostSequences, Nack, Pli, Remb, write_fir, write_nack, write_pli, write_remb,
};
pub use report::{
    Bye, ReceiverReport, ReportBlock, ReportBlocks, Sdes, SdesChunk, SdesChunks, SenderInfo, SenderReport,
    write_bye, write_receiver_report, write_sdes_cname, write_sender_report,
};
pub use transport_cc::{
    Arrival, PacketStatus, PacketStatuses, TransportFeedback, TransportFeedbackHeader,
    write_transport_feedback,
};

use crate::bytes::be_u16;
use thiserror::Error;

/// Packet types.
pub const SENDER_REPORT: u8 = 200;
pub const RECEIVER_REPORT: u8 = 201;
pub const SDES: u8 = 202;
pub const BYE: u8 = 203;
pub const TRANSPORT_FEEDBACK: u8 = 205;
pub const PAYLOAD_FEEDBACK: u8 = 206;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RtcpError {
    #[error("an RTCP packet is shorter than it says")]
    Truncated,
    #[error("RTCP version {0} is not 2")]
    Version(u8),
    #[error("RTCP padding is longer than its packet, or empty")]
    Padding,
    #[error("an RTCP packet of type {0} contradicts itself")]
    Malformed(u8),
}

/// One RTCP packet out of a compound.
#[derive(Clone, Debug)]
pub enum Rtcp<'a> {
    SenderReport(SenderReport<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Sdes(Sdes<'a>),
    Bye(Bye<'a>),
    Nack(Nack<'a>),
    Pli(Pli),
    Fir(Fir<'a>),
    Remb(Remb<'a>),
    TransportFeedback(TransportFeedback<'a>),
    /// A type or feedback format not read here. `count` is the five-bit field, `body` what follows the length.
    Unknown {
        packet_type: u8,
        count: u8,
        body: &'a [u8],
    },
}

/// Walks through the packets of a datagram. The first error is also the last item: what follows a lying length cannot
/// be found.
pub fn parse(datagram: &[u8]) -> Compound<'_> {
    Compound { rest: datagram }
}

#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Rtcp<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let item = split_first(self.rest).and_then(|(raw, rest)| {
            self.rest = rest;
            read(raw)
        });
        if item.is_err() {
            self.rest = &[];
        }
        Some(item)
    }
}

struct Raw<'a> {
    packet_type: u8,
    count: u8,
    body: &'a [u8],
}

/// Header and length, RFC 3550 §6.4.1: the length counts 32-bit words, less one.
fn split_first(datagram: &[u8]) -> Result<(Raw<'_>, &[u8]), RtcpError> {
    let (Some(first), Some(packet_type), Some(words)) =
        (datagram.first(), datagram.get(1), be_u16(datagram, 2))
    else {
        return Err(RtcpError::Truncated);
    };
    if first >> 6 != 2 {
        return Err(RtcpError::Version(first >> 6));
    }
    let len = 4 * (usize::from(words) + 1);
    let mut body = datagram.get(4..len).ok_or(RtcpError::Truncated)?;
    if first & 0x20 != 0 {
        let padding = body.last().map_or(0, |count| usize::from(*count));
        if padding == 0 || padding > body.len() {
            return Err(RtcpError::Padding);
        }
        body = &body[..body.len() - padding];
    }
    Ok((Raw { packet_type: *packet_type, count: first & 0x1f, body }, &datagram[len..]))
}

fn read(raw: Raw<'_>) -> Result<Rtcp<'_>, RtcpError> {
    let Raw { packet_type, count, body } = raw;
    let packet = match (packet_type, count) {
        (SENDER_REPORT, _) => SenderReport::read(count, body).map(Rtcp::SenderReport),
        (RECEIVER_REPORT, _) => ReceiverReport::read(count, body).map(Rtcp::ReceiverReport),
        (SDES, _) => Sdes::read(count, body).map(Rtcp::Sdes),
        (BYE, _) => Bye::read(count, body).map(Rtcp::Bye),
        (TRANSPORT_FEEDBACK, feedback::FMT_NACK) => Nack::read(body).map(Rtcp::Nack),
        (TRANSPORT_FEEDBACK, transport_cc::FMT) => TransportFeedback::read(body).map(Rtcp::TransportFeedback),
        (PAYLOAD_FEEDBACK, feedback::FMT_PLI) => Pli::read(body).map(Rtcp::Pli),
        (PAYLOAD_FEEDBACK, feedback::FMT_FIR) => Fir::read(body).map(Rtcp::Fir),
        (PAYLOAD_FEEDBACK, feedback::FMT_APPLICATION) if Remb::is(body) => Remb::read(body).map(Rtcp::Remb),
        _ => Some(Rtcp::Unknown { packet_type, count, body }),
    };
    packet.ok_or(RtcpError::Malformed(packet_type))
}

/// Appends header and body, padding the body to whole words and filling in the length.
fn write_packet(out: &mut Vec<u8>, packet_type: u8, count: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0x80 | count & 0x1f, packet_type, 0, 0]);
    body(out);
    while !(out.len() - start).is_multiple_of(4) {
        out.push(0);
    }
    let words = ((out.len() - start) / 4 - 1).min(usize::from(u16::MAX)) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests;
