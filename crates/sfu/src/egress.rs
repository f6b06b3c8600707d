//! Datagrams waiting for one destination, side by side in one buffer as UDP segmentation offload wants them.

use crate::path::{Path, Protocol};
use crate::srtp::{NotAuthentic, Outbound, RTCP_OVERHEAD};
use std::net::SocketAddr;

/// What the socket is to send: `contents` cut into datagrams of `segment_size` octets, the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    pub protocol: Protocol,
    pub destination: SocketAddr,
    pub contents: &'a [u8],
    pub segment_size: usize,
}

/// Datagrams side by side.
#[derive(Debug, Default)]
pub struct Queue {
    buffer: Vec<u8>,
    sizes: Vec<u16>,
}

impl Queue {
    fn append(&mut self, other: &Self) {
        self.buffer.extend_from_slice(&other.buffer);
        self.sizes.extend_from_slice(&other.sizes);
    }

    fn clear(&mut self) {
        self.buffer.clear();
        self.sizes.clear();
    }
}

/// One transport's queue (*media* kind: emptied after every batch; when full, packets are dropped and counted).
#[derive(Debug, Default)]
pub struct Egress {
    queue: Queue,
    /// The most octets there were at once, slowly forgotten.
    peak: usize,
    /// Whether large packets are padded to [`GRAIN`]: see [`crate::Worker::set_gathering`].
    pub evens_out: bool,
    pub dropped: u64,
}

impl Egress {
    pub fn new(evens_out: bool) -> Self {
        Self { evens_out, ..Self::default() }
    }

    /// Appends one RTP packet made of header and payload, protected. `edit` may rewrite the payload first.
    pub fn push_rtp(
        &mut self,
        keys: &Outbound,
        index: u64,
        header: &[u8],
        payload: [&[u8]; 2],
        edit: impl FnOnce(&mut [u8]),
    ) -> Option<usize> {
        let header_len = header.len();
        let plain_len = header_len + payload[0].len() + payload[1].len();
        let padding = if self.evens_out { padding(plain_len) } else { 0 };
        let len = plain_len + padding + keys.rtp_overhead();
        let start = self.open(len)?;
        for part in [header, payload[0], payload[1]] {
            self.queue.buffer.extend_from_slice(part);
        }
        edit(&mut self.queue.buffer[start + header_len..]);
        self.queue.buffer.resize(start + len, 0);
        if padding > 0 {
            self.queue.buffer[start] |= PADDING_BIT;
            self.queue.buffer[start + plain_len + padding - 1] = padding as u8;
        }
        let sealed = keys.protect_rtp(&mut self.queue.buffer[start..], header_len, index);
        self.close(start, sealed)
    }

    /// Appends one compound RTCP packet, protected.
    pub fn push_rtcp(&mut self, keys: &mut Outbound, compound: &[u8]) -> Option<usize> {
        let start = self.open(compound.len() + RTCP_OVERHEAD)?;
        self.queue.buffer.extend_from_slice(compound);
        let sealed = keys.protect_rtcp(&mut self.queue.buffer, start);
        self.close(start, sealed)
    }

    /// Appends a datagram that is sealed already (DTLS).
    pub fn push_sealed(&mut self, datagram: &[u8]) -> Option<usize> {
        let start = self.open(datagram.len())?;
        self.queue.buffer.extend_from_slice(datagram);
        self.close(start, Ok(()))
    }

    fn open(&mut self, len: usize) -> Option<usize> {
        if self.queue.buffer.len() + len > MAX_QUEUED || len > MAX_DATAGRAM {
            self.dropped += 1;
            return None;
        }
        Some(self.queue.buffer.len())
    }

    fn close(&mut self, start: usize, sealed: Result<(), NotAuthentic>) -> Option<usize> {
        let len = self.queue.buffer.len() - start;
        if sealed.is_err() {
            self.queue.buffer.truncate(start);
            self.dropped += 1;
            return None;
        }
        self.queue.sizes.push(len as u16);
        Some(len)
    }

    /// Hands everything on in as few pieces as the rule of equal segments allows, in order.
    pub fn flush(&mut self, path: Path, send: &mut dyn FnMut(Transmit<'_>)) {
        let (mut at, mut next) = (0, 0);
        while let Some(&first) = self.queue.sizes.get(next) {
            let segment_size = usize::from(first);
            let start = at;
            let mut segments = 0;
            while let Some(&size) = self.queue.sizes.get(next) {
                let size = usize::from(size);
                if size > segment_size || segments == MAX_SEGMENTS || at + size - start > MAX_DATAGRAM_BATCH {
                    break;
                }
                at += size;
                next += 1;
                segments += 1;
                if size < segment_size {
                    break;
                }
            }
            let contents = &self.queue.buffer[start..at];
            send(Transmit { protocol: path.protocol, destination: path.address, contents, segment_size });
        }
        self.queue.clear();
    }

    /// Goes on in an empty queue that is `lent` until [`Self::give_back`]: who sends to many writes all their packets into the
    /// same few kilobytes, which stay in the processor's first cache.
    pub fn borrow(&mut self, lent: &mut Queue) {
        lent.append(&self.queue);
        self.clear();
        std::mem::swap(&mut self.queue, lent);
    }

    /// Ends [`Self::borrow`]; everything was flushed.
    pub fn give_back(&mut self, lent: &mut Queue) {
        self.queue.clear();
        std::mem::swap(&mut self.queue, lent);
    }

    /// Forgets what is queued. A burst's memory is given back, but not in the middle of it: when many packets come, this
    /// is the worst moment to ask for memory again and again.
    fn clear(&mut self) {
        self.peak = (self.peak - self.peak / FORGETTING).max(self.queue.buffer.len());
        self.queue.clear();
        if self.queue.buffer.capacity() > KEPT_CAPACITY.max(4 * self.peak) {
            self.queue.buffer.shrink_to(KEPT_CAPACITY.max(2 * self.peak));
            self.queue.sizes.shrink_to(KEPT_SIZES);
        }
    }
}

/// How much to add to a packet of `len` octets so that it has the size of its neighbours. Browsers cut a picture into
/// packets that differ by one octet, and a different size ends a run of segments. RTP allows padding in any packet
/// (RFC 3550 §5.1), and the receiver takes it off.
fn padding(len: usize) -> usize {
    if len < WORTH_PADDING { 0 } else { len.next_multiple_of(GRAIN) - len }
}

/// Two neighbours rarely fall on different sides of a multiple; the mean cost is 0.7 % of a full packet.
const GRAIN: usize = 16;
/// Smaller ones are sound, or the only packet of their picture.
const WORTH_PADDING: usize = 400;
const PADDING_BIT: u8 = 0x20;
/// More than a batch of datagrams makes for one peer of a large room.
const MAX_QUEUED: usize = 512 * 1024;
/// A few packets: who receives one camera needs no more.
const KEPT_CAPACITY: usize = 4 * 1024;
const KEPT_SIZES: usize = 64;
/// A peak is half forgotten after so many times seven tenths: some seconds of one camera.
const FORGETTING: usize = 256;
/// Ethernet's payload; a larger packet would be fragmented.
const MAX_DATAGRAM: usize = 1600;
/// Linux's UDP_MAX_SEGMENTS, and what one IPv4 datagram can announce.
const MAX_SEGMENTS: usize = 64;
const MAX_DATAGRAM_BATCH: usize = 65_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_equal_sizes_go_together_and_a_shorter_one_ends_a_run() {
        let mut egress = Egress::default();
        for size in [10u16, 10, 7, 10, 10, 12, 12] {
            egress.queue.buffer.extend(std::iter::repeat_n(size as u8, usize::from(size)));
            egress.queue.sizes.push(size);
        }
        let mut sent = Vec::new();
        let path = Path::from("192.0.2.1:5".parse::<SocketAddr>().unwrap());
        egress.flush(path, &mut |t| sent.push((t.segment_size, t.contents.len())));
        assert_eq!(sent, [(10, 27), (10, 20), (12, 24)]);
        assert!(egress.queue.sizes.is_empty());
        for _ in 0..100 {
            egress.queue.buffer.extend_from_slice(&[0; 1200]);
            egress.queue.sizes.push(1200);
        }
        sent.clear();
        egress.flush(path, &mut |t| sent.push((t.segment_size, t.contents.len())));
        assert_eq!(sent, [(1200, 54 * 1200), (1200, 46 * 1200)]);
    }
    #[test]
    fn a_burst_keeps_its_memory_while_it_lasts_and_gives_it_back_later() {
        let path = Path::from("192.0.2.1:5".parse::<SocketAddr>().unwrap());
        let (mut egress, mut lent) = (Egress::default(), Queue::default());
        let mut round = |packets: usize| {
            for _ in 0..packets {
                egress.queue.buffer.extend_from_slice(&[0; 1_000]);
                egress.queue.sizes.push(1_000);
            }
            egress.borrow(&mut lent);
            egress.flush(path, &mut |_| {});
            egress.give_back(&mut lent);
            egress.queue.buffer.capacity()
        };
        let burst: Vec<usize> = (0..100).map(|n| round(if n % 3 == 0 { 100 } else { 1 })).collect();
        assert!(burst.iter().all(|kept| *kept == burst[0] && *kept >= 100_000), "{burst:?}");
        let quiet: Vec<usize> = (0..2_000).map(|_| round(2)).collect();
        assert!(quiet[1_999] <= 8_192, "{}", quiet[1_999]);
        assert!(quiet.windows(2).filter(|pair| pair[0] != pair[1]).count() <= 6, "given back in few steps");
    }
}
