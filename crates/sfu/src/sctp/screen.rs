//! What an SCTP packet of a peer may ask of the supplier: looked at before it sees it.
//!
//! The peer is who its certificate says, and may still be hostile. The supplier keeps what has gaps in lists it walks,
//! and bounds them by octets alone. So the screen bounds the number of pieces, how far ahead they are, on which
//! streams, and how many come in a second.

use super::packet::{Chunk, DATA, ERROR, INIT, INIT_ACK, SACK, SACK_HEADER, chunks, u16_at, u32_at};
use super::{RECEIVE_WINDOW, STREAMS};
use std::time::{Duration, Instant};

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// As if the network had lost it: a peer that means well sends it again.
    Drop,
    /// No peer that means well sends this.
    Abort(&'static str),
}

/// The screen before one association.
#[derive(Debug, Default)]
pub struct Screen {
    is_connected: bool,
    /// The last TSN before the first gap, as the peer was told.
    acknowledged: Option<u32>,
    /// Small pieces since nothing waited for reassembly, without those whose messages were read.
    small: usize,
    /// Messages are left unread for the sake of somebody else.
    is_held: bool,
    budget: Budget,
}

impl Screen {
    pub fn on_connected(&mut self) {
        self.is_connected = true;
    }

    pub fn inspect(&mut self, now: Instant, packet: &[u8]) -> Verdict {
        let (mut count, mut small) = (0, 0);
        for chunk in chunks(packet) {
            let Some(chunk) = chunk else { return Verdict::Drop };
            count += 1;
            match self.inspect_chunk(&chunk, count == 1) {
                Verdict::Pass => small += usize::from(self.is_new_and_small(&chunk)),
                verdict => return verdict,
            }
        }
        if count == 0 || !self.budget.take(now, count) {
            return Verdict::Drop;
        }
        if self.small + small > MAX_SMALL {
            // Octets are bounded by the window. Of short messages that are held up there may be more than that.
            return match self.is_held {
                true => Verdict::Drop,
                false => Verdict::Abort("too many small pieces wait for others"),
            };
        }
        self.small += small;
        Verdict::Pass
    }

    fn inspect_chunk(&mut self, chunk: &Chunk<'_>, is_first: bool) -> Verdict {
        match chunk.kind {
            DATA => self.inspect_data(chunk.value),
            INIT => {
                // Repeated or late, it would end an association that stands (RFC 9260 §5.2.2 wants it kept).
                let (Some(first), false) = (u32_at(chunk.value, 12), self.is_connected) else {
                    return Verdict::Drop;
                };
                self.acknowledged = Some(first.wrapping_sub(1));
                Verdict::Pass
            }
            // We never ask, so there is nothing to answer.
            INIT_ACK => Verdict::Drop,
            SACK if !is_sane_sack(chunk.value) => Verdict::Drop,
            // The supplier takes any report of an error for the end.
            ERROR if is_first => Verdict::Drop,
            _ => Verdict::Pass,
        }
    }

    fn inspect_data(&mut self, value: &[u8]) -> Verdict {
        let (Some(tsn), Some(stream), Some(acknowledged)) =
            (u32_at(value, 0), u16_at(value, 4), self.acknowledged)
        else {
            return Verdict::Drop;
        };
        if value.len() <= DATA_HEADER {
            return Verdict::Abort("a piece of data without data");
        }
        if stream >= STREAMS {
            return Verdict::Abort("data on a stream that was not offered");
        }
        let ahead = tsn.wrapping_sub(acknowledged) as i32;
        if ahead > MAX_AHEAD {
            return Verdict::Drop;
        }
        Verdict::Pass
    }

    /// Whether the supplier will keep a small piece for this chunk.
    fn is_new_and_small(&self, chunk: &Chunk<'_>) -> bool {
        let acknowledged = self.acknowledged.unwrap_or_default();
        chunk.kind == DATA
            && chunk.value.len() < DATA_HEADER + SMALL
            && u32_at(chunk.value, 0).is_some_and(|tsn| (tsn.wrapping_sub(acknowledged) as i32) > 0)
    }

    pub fn set_held(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// A message of so many octets left the supplier, and if it was short, at least one small piece.
    pub fn note_read(&mut self, octets: usize) {
        if octets < SMALL {
            self.small = self.small.saturating_sub(1);
        }
    }

    /// What we tell the peer says what the supplier holds.
    pub fn note_sent(&mut self, packet: &[u8]) {
        for chunk in chunks(packet).flatten().filter(|chunk| chunk.kind == SACK) {
            self.acknowledged = u32_at(chunk.value, 0).or(self.acknowledged);
            if u32_at(chunk.value, 4) == Some(RECEIVE_WINDOW) {
                self.small = 0;
            }
        }
    }
}

/// Chunks a peer may send, refilled as time passes; when it is empty, packets are dropped.
#[derive(Debug)]
struct Budget {
    left: u32,
    refilled: Option<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: BUDGET, refilled: None }
    }
}

impl Budget {
    fn take(&mut self, now: Instant, count: u32) -> bool {
        let since = self.refilled.get_or_insert(now);
        let earned = now.saturating_duration_since(*since).as_nanos() / CHUNK_PRICE.as_nanos();
        let earned = earned.min(u128::from(BUDGET)) as u32;
        // What is less than a chunk's worth stays for the next time.
        *since = if earned == BUDGET { now } else { *since + CHUNK_PRICE * earned };
        self.left = (self.left + earned).min(BUDGET);
        let enough = self.left >= count;
        self.left = self.left.saturating_sub(count);
        enough
    }
}

/// Whether the gap blocks are in order and apart, as a receiver makes them (RFC 9260 §3.3.4): the supplier walks each.
fn is_sane_sack(value: &[u8]) -> bool {
    let (Some(gaps), Some(duplicates)) = (u16_at(value, 8), u16_at(value, 10)) else { return false };
    let (gaps, duplicates) = (usize::from(gaps), usize::from(duplicates));
    if value.len() != SACK_HEADER + 4 * (gaps + duplicates) {
        return false;
    }
    let mut last = 0;
    value[SACK_HEADER..][..4 * gaps].chunks_exact(4).all(|block| {
        let (start, end) =
            (u16::from_be_bytes([block[0], block[1]]), u16::from_be_bytes([block[2], block[3]]));
        let is_apart = start > last && start <= end;
        last = end;
        is_apart
    })
}

const DATA_HEADER: usize = 12;

/// Pieces beyond the first gap. Full ones are four windows; small ones, 20 round trips of a second at 100 in each.
const MAX_AHEAD: i32 = 2_048;
/// Fragments of long messages are longer, but for the last ones.
const SMALL: usize = 128;
/// Thousands of small messages in a second, behind a gap that is not filled for seconds.
const MAX_SMALL: usize = 4_096;
/// About 70 Mbit/s of full pieces: a guest's share of a forwarding thread.
const CHUNKS_PER_SECOND: u32 = 8_000;
/// At once, after a pause.
const BUDGET: u32 = CHUNKS_PER_SECOND / 4;
const CHUNK_PRICE: Duration = Duration::from_nanos(1_000_000_000 / CHUNKS_PER_SECOND as u64);

#[cfg(test)]
mod tests {
    use super::super::packet::{CHUNK_HEADER, COMMON_HEADER};
    use super::*;

    fn packet(chunks: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![0; COMMON_HEADER];
        for (kind, value) in chunks {
            bytes.extend([*kind, 3]);
            bytes.extend(((CHUNK_HEADER + value.len()) as u16).to_be_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    fn init(first_tsn: u32) -> (u8, Vec<u8>) {
        let mut value = vec![0; 12];
        value.extend(first_tsn.to_be_bytes());
        (INIT, value)
    }

    fn data(tsn: u32, stream: u16, len: usize) -> (u8, Vec<u8>) {
        let mut value = tsn.to_be_bytes().to_vec();
        value.extend(stream.to_be_bytes());
        value.extend([0; 6]);
        value.extend(std::iter::repeat_n(7, len));
        (DATA, value)
    }

    fn sack(acknowledged: u32, window: u32, gaps: &[(u16, u16)]) -> (u8, Vec<u8>) {
        let mut value = acknowledged.to_be_bytes().to_vec();
        value.extend(window.to_be_bytes());
        value.extend((gaps.len() as u16).to_be_bytes());
        value.extend(0u16.to_be_bytes());
        for (start, end) in gaps {
            value.extend(start.to_be_bytes());
            value.extend(end.to_be_bytes());
        }
        (SACK, value)
    }

    /// A screen before an association whose peer's first TSN is 100.
    fn screen(now: Instant) -> Screen {
        let mut screen = Screen::default();
        assert_eq!(screen.inspect(now, &packet(&[init(100)])), Verdict::Pass);
        screen.on_connected();
        screen
    }

    #[test]
    fn what_a_browser_sends_passes_and_nonsense_does_not() {
        let now = crate::tests::epoch();
        let mut screen = screen(now);
        let mut check = |chunks: &[(u8, Vec<u8>)], expected: Verdict| {
            assert_eq!(screen.inspect(now, &packet(chunks)), expected, "{chunks:?}");
        };
        check(&[data(100, 0, 1_160)], Verdict::Pass);
        check(&[sack(5, 1_000, &[(2, 3), (5, 5)]), data(101, 1_023, 3)], Verdict::Pass);
        check(&[data(102, STREAMS, 3)], Verdict::Abort("data on a stream that was not offered"));
        check(&[data(102, 0, 0)], Verdict::Abort("a piece of data without data"));
        check(&[data(99 + MAX_AHEAD as u32, 0, 900)], Verdict::Pass);
        check(&[data(100 + MAX_AHEAD as u32, 0, 900)], Verdict::Drop);
        check(&[data(0, 0, 900)], Verdict::Pass);
        check(&[sack(5, 1_000, &[(1, 60_000), (1, 60_000)])], Verdict::Drop);
        check(&[sack(5, 1_000, &[(0, 1)])], Verdict::Drop);
        check(&[init(100)], Verdict::Drop);
        check(&[(INIT_ACK, vec![0; 16])], Verdict::Drop);
        check(&[(ERROR, vec![0; 4])], Verdict::Drop);
        check(&[], Verdict::Drop);
        check(&[(DATA, vec![0; 3])], Verdict::Drop);
        assert_eq!(screen.inspect(now, &[0; 5]), Verdict::Drop);
        let mut cut = packet(&[data(101, 0, 100)]);
        cut.truncate(50);
        assert_eq!(screen.inspect(now, &cut), Verdict::Drop);
        let mut endless = packet(&[data(101, 0, 4)]);
        endless[COMMON_HEADER + 2..COMMON_HEADER + 4].fill(0);
        assert_eq!(screen.inspect(now, &endless), Verdict::Drop);
    }

    #[test]
    fn acknowledging_moves_the_window_and_an_empty_queue_forgives_small_pieces() {
        let mut now = crate::tests::epoch();
        let mut screen = screen(now);
        for n in 0..3 * MAX_SMALL as u32 {
            now += Duration::from_millis(1);
            assert_eq!(screen.inspect(now, &packet(&[data(100 + n, 0, 1)])), Verdict::Pass);
            if n % 1_000 == 999 {
                screen.note_sent(&packet(&[sack(100 + n, RECEIVE_WINDOW, &[])]));
            }
        }
        let mut verdicts = (0..=MAX_SMALL as u32).map(|n| {
            now += Duration::from_millis(1);
            screen.note_sent(&packet(&[sack(100_000 + n, RECEIVE_WINDOW - 1, &[])]));
            screen.inspect(now, &packet(&[data(100_001 + n, 0, 1)]))
        });
        assert!(verdicts.any(|v| v == Verdict::Abort("too many small pieces wait for others")));
    }

    #[test]
    fn a_flood_is_thinned() {
        let now = crate::tests::epoch();
        let mut screen = screen(now);
        let passed = |screen: &mut Screen, now| {
            (0..5_000).filter(|_| screen.inspect(now, &packet(&[sack(5, 9, &[])])) == Verdict::Pass).count()
        };
        assert_eq!(passed(&mut screen, now), BUDGET as usize - 1);
        assert_eq!(passed(&mut screen, now + Duration::from_millis(125)), CHUNKS_PER_SECOND as usize / 8);
        assert_eq!(passed(&mut screen, now + Duration::from_secs(60)), BUDGET as usize);
    }
}
