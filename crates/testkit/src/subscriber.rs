//! Guests who receive: they count by sequence number, decrypt samples, and answer as browsers do.

use crate::connection::Connection;
use crate::publisher::STAMP;
use crate::srtp::TAG;
use anyhow::Result;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, MultiHeaders, recvmmsg};
use rtp::rtcp::{
    Arrival, ReportBlock, TransportFeedbackHeader, write_receiver_report, write_transport_feedback,
};
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// One guest's screen: any number of streams over one connection.
pub struct Subscriber {
    pub connection: Connection,
    pub payload_type: u8,
    pub transport_cc_id: Option<u8>,
    streams: Vec<Stream>,
    arrivals: Vec<Arrival>,
    transport_sequence: u64,
    feedback_count: u8,
    pub tally: Tally,
}

/// What came since it was last emptied.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub received: u64,
    pub sampled: u64,
    /// Samples that did not decrypt.
    pub undecryptable: u64,
    /// Nanoseconds from a publisher's sending to the kernel's receiving.
    pub delays: Vec<u32>,
    /// Repairs and probes.
    pub other: u64,
}

struct Stream {
    ssrc: u32,
    highest: u64,
    /// At the beginning of the measurement.
    base: u64,
    received: u64,
}

impl Subscriber {
    pub fn new(connection: Connection, payload_type: u8, transport_cc_id: Option<u8>) -> Self {
        Self {
            connection,
            payload_type,
            transport_cc_id,
            streams: Vec::new(),
            arrivals: Vec::with_capacity(1024),
            transport_sequence: 1 << 16,
            feedback_count: 0,
            tally: Tally::default(),
        }
    }

    /// Starts counting afresh.
    pub fn begin(&mut self) {
        self.tally = Tally::default();
        for stream in &mut self.streams {
            (stream.base, stream.received) = (stream.highest, 0);
        }
    }

    /// Streams that began, and packets missing between the first and the last of each.
    pub fn count(&self) -> (usize, u64) {
        let missing = |s: &Stream| (s.highest - s.base).saturating_sub(s.received);
        (self.streams.len(), self.streams.iter().map(missing).sum())
    }

    fn handle(&mut self, packet: &mut [u8], arrival_ns: u64) {
        let Some(header_len) = header_len(packet) else { return };
        let is_rtcp = (64..96).contains(&(packet[1] & 0x7F));
        if is_rtcp || packet[0] >> 6 != 2 {
            return;
        }
        self.note_arrival(&packet[..header_len], arrival_ns);
        if packet[1] & 0x7F != self.payload_type {
            self.tally.other += 1;
            return;
        }
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
        let index = match self.streams.iter_mut().find(|stream| stream.ssrc == ssrc) {
            Some(stream) => {
                let ahead = sequence.wrapping_sub(stream.highest as u16) as i16;
                let index = stream.highest.wrapping_add_signed(i64::from(ahead));
                stream.highest = stream.highest.max(index);
                stream.received += 1;
                index
            }
            None => {
                let index = u64::from(sequence);
                self.streams.push(Stream { ssrc, highest: index, base: index - 1.min(index), received: 1 });
                index
            }
        };
        self.tally.received += 1;
        if self.tally.received.is_multiple_of(SAMPLE) {
            self.sample(packet, header_len, index, arrival_ns);
        }
    }

    fn sample(&mut self, packet: &mut [u8], header_len: usize, index: u64, arrival_ns: u64) {
        self.tally.sampled += 1;
        let stamp = self.connection.keys.open(packet, header_len, index).and_then(|len| {
            let payload = &packet[header_len..header_len + len];
            // Padding says its own length (RFC 3550 §5.1).
            let padding = if packet[0] & 0x20 != 0 { usize::from(*payload.last()?) } else { 0 };
            let end = len.checked_sub(padding)?;
            payload.get(end.checked_sub(STAMP)?..end)?.try_into().ok()
        });
        match stamp {
            Some(stamp) => {
                let delay = arrival_ns.saturating_sub(u64::from_be_bytes(stamp));
                self.tally.delays.push(delay.min(u64::from(u32::MAX)) as u32);
            }
            None => self.tally.undecryptable += 1,
        }
    }

    fn note_arrival(&mut self, header: &[u8], arrival_ns: u64) {
        let Some(number) = self.transport_cc_id.and_then(|id| one_byte_extension(header, id)) else { return };
        let &[high, low] = number else { return };
        let ahead = u16::from_be_bytes([high, low]).wrapping_sub(self.transport_sequence as u16) as i16;
        let sequence = self.transport_sequence.wrapping_add_signed(i64::from(ahead));
        self.transport_sequence = self.transport_sequence.max(sequence);
        if self.arrivals.len() < MAX_ARRIVALS {
            self.arrivals.push(Arrival { sequence, arrival_ns });
        }
    }

    /// Transport-wide feedback of what came since the last one, as browsers send it.
    pub fn send_feedback(&mut self) -> Result<()> {
        self.arrivals.sort_unstable_by_key(|arrival| arrival.sequence);
        self.arrivals.dedup_by_key(|arrival| arrival.sequence);
        let mut from = 0;
        while from < self.arrivals.len() {
            let media_ssrc = self.streams.first().map_or(0, |stream| stream.ssrc);
            let header = TransportFeedbackHeader {
                sender_ssrc: OWN_SSRC,
                media_ssrc,
                feedback_count: self.feedback_count,
            };
            let mut compound = Vec::with_capacity(1200);
            let written = write_transport_feedback(&mut compound, &header, &self.arrivals[from..], 1100);
            if written == 0 {
                break;
            }
            from += written;
            self.feedback_count = self.feedback_count.wrapping_add(1);
            let sealed = self.connection.keys.seal_rtcp(compound)?;
            let _ = self.connection.socket.send(&sealed);
        }
        self.arrivals.clear();
        Ok(())
    }

    /// A check and a receiver report.
    pub fn look_after(&mut self) -> Result<()> {
        let check = self.connection.ice.check();
        let _ = self.connection.socket.send(&check);
        let blocks: Vec<ReportBlock> = self
            .streams
            .iter()
            .map(|s| ReportBlock { ssrc: s.ssrc, highest_sequence: s.highest as u32, ..Default::default() })
            .collect();
        // A report holds 31 blocks at most (RFC 3550 §6.4.1).
        for blocks in blocks.chunks(31) {
            let mut report = Vec::new();
            write_receiver_report(&mut report, OWN_SSRC, blocks);
            let sealed = self.connection.keys.seal_rtcp(report)?;
            let _ = self.connection.socket.send(&sealed);
        }
        Ok(())
    }
}

/// Reads sockets in batches, with the kernel's arrival times.
pub struct Reader {
    headers: MultiHeaders<()>,
    buffers: Vec<[u8; 2048]>,
}

impl Default for Reader {
    fn default() -> Self {
        let control = nix::cmsg_space!(nix::sys::time::TimeSpec);
        Self { headers: MultiHeaders::preallocate(BATCH, Some(control)), buffers: vec![[0; 2048]; BATCH] }
    }
}

impl Reader {
    /// Everything that waits for a subscriber.
    pub fn drain(&mut self, subscriber: &mut Subscriber) {
        loop {
            let batch = self.read(&subscriber.connection.socket);
            for (slot, len, arrival_ns) in &batch {
                if let Some(packet) = self.buffers[*slot].get_mut(..*len) {
                    subscriber.handle(packet, *arrival_ns);
                }
            }
            if batch.len() < BATCH {
                return;
            }
        }
    }

    /// Reads everything away; how many datagrams that was.
    pub fn discard(&mut self, socket: &UdpSocket) -> u64 {
        let mut count = 0;
        loop {
            let batch = self.read(socket).len();
            count += batch as u64;
            if batch < BATCH {
                return count;
            }
        }
    }

    /// One batch: buffer, length, time of arrival.
    fn read(&mut self, socket: &UdpSocket) -> Vec<(usize, usize, u64)> {
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let Ok(messages) = recvmmsg(socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None) else {
            return Vec::new();
        };
        let arrival = |message: &nix::sys::socket::RecvMsg<'_, '_, ()>| {
            message.cmsgs().ok()?.find_map(|control| match control {
                ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at).as_nanos() as u64),
                _ => None,
            })
        };
        messages
            .enumerate()
            .map(|(slot, message)| (slot, message.bytes, arrival(&message).unwrap_or_default()))
            .collect()
    }
}

/// Length of header, CSRCs and extensions (RFC 3550 §5.1).
fn header_len(packet: &[u8]) -> Option<usize> {
    let fixed = 12 + 4 * usize::from(packet.first()? & 0x0F);
    let len = match packet[0] & 0x10 {
        0 => fixed,
        _ => {
            let words = packet.get(fixed + 2..fixed + 4)?;
            fixed + 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]))
        }
    };
    (packet.len() >= len + TAG).then_some(len)
}

fn one_byte_extension(header: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = header.get(12..)?.strip_prefix(&[0xBE, 0xDE])?.get(2..)?;
    while let [head, tail @ ..] = rest {
        if *head == 0 {
            rest = tail;
            continue;
        }
        let len = usize::from(head & 0x0F) + 1;
        if head >> 4 == wanted {
            return tail.get(..len);
        }
        rest = tail.get(len..)?;
    }
    None
}

const BATCH: usize = 64;
/// Every so many packets of a subscriber are decrypted.
const SAMPLE: u64 = 16;
/// More than arrive between two feedback messages.
const MAX_ARRIVALS: usize = 8192;
const OWN_SSRC: u32 = 0x0BE2_1C40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_are_found_behind_padding() {
        let mut packet = vec![0x90, 96];
        packet.resize(12, 0);
        packet.extend([0xBE, 0xDE, 0, 2, 0x10, b'0', 0, 0x51, 1, 2, 0, 0]);
        assert_eq!(one_byte_extension(&packet, 5), Some(&[1u8, 2][..]));
        assert_eq!(one_byte_extension(&packet, 6), None);
        packet.resize(24 + TAG, 0);
        assert_eq!(header_len(&packet), Some(24));
        assert_eq!(header_len(&packet[..30]), None);
    }
}
