//! Transport-wide congestion control feedback: which packets arrived, and when.
//!
//! Layout: draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1. Times are counted in ticks of 250 µs from a
//! reference in steps of 64 ms.

use super::{TRANSPORT_FEEDBACK, put_u32, write_packet};
use crate::bytes::{be_u16, be_u24, be_u32};

pub(super) const FMT: u8 = 15;

const TICK_US: i64 = 250;
const TICK_NS: u64 = 250_000;
/// 64 ms in ticks.
const REFERENCE_TICKS: i64 = 256;
const MAX_RUN: u16 = 0x1fff;

/// A received feedback message, checked as a whole: every status has its delta.
#[derive(Clone, Debug)]
pub struct TransportFeedback<'a> {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    pub base_sequence: u16,
    pub status_count: u16,
    /// Signed, in steps of 64 ms of the receiver's own clock, wrapping at 24 bits.
    pub reference_time: i32,
    /// Counts feedback messages.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// One packet the feedback speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketStatus {
    pub sequence: u16,
    /// Microseconds on the receiver's clock, counted from reference time zero. `None`: not received.
    pub arrival_us: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Symbol {
    NotReceived,
    SmallDelta,
    LargeDelta,
    Reserved,
}

impl Symbol {
    fn from_bits(bits: u16) -> Self {
        match bits & 3 {
            0 => Self::NotReceived,
            1 => Self::SmallDelta,
            2 => Self::LargeDelta,
            _ => Self::Reserved,
        }
    }

    fn delta_len(self) -> usize {
        match self {
            Self::SmallDelta => 1,
            Self::LargeDelta => 2,
            Self::NotReceived | Self::Reserved => 0,
        }
    }
}

impl<'a> TransportFeedback<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let reference = be_u24(body, 12)?;
        let mut feedback = Self {
            sender_ssrc: be_u32(body, 0)?,
            media_ssrc: be_u32(body, 4)?,
            base_sequence: be_u16(body, 8)?,
            status_count: be_u16(body, 10)?,
            reference_time: (reference << 8) as i32 >> 8,
            feedback_count: *body.get(15)?,
            chunks: body.get(16..)?,
            deltas: &[],
        };
        let mut symbols = Symbols::new(feedback.chunks, feedback.status_count);
        let mut delta_len = 0;
        for _ in 0..feedback.status_count {
            delta_len += symbols.next()?.delta_len();
        }
        let (chunks, deltas) = feedback.chunks.split_at_checked(symbols.at)?;
        feedback.chunks = chunks;
        feedback.deltas = deltas.get(..delta_len)?;
        Some(feedback)
    }

    /// One status per sequence number, from `base_sequence` on.
    pub fn packets(&self) -> PacketStatuses<'a> {
        PacketStatuses {
            symbols: Symbols::new(self.chunks, self.status_count),
            deltas: self.deltas,
            sequence: self.base_sequence,
            ticks: i64::from(self.reference_time) * REFERENCE_TICKS,
        }
    }
}

#[derive(Clone)]
pub struct PacketStatuses<'a> {
    symbols: Symbols<'a>,
    deltas: &'a [u8],
    sequence: u16,
    ticks: i64,
}

impl Iterator for PacketStatuses<'_> {
    type Item = PacketStatus;

    fn next(&mut self) -> Option<PacketStatus> {
        let symbol = self.symbols.next()?;
        let delta = match symbol {
            Symbol::SmallDelta => i64::from(*self.deltas.first()?),
            Symbol::LargeDelta => i64::from(be_u16(self.deltas, 0)? as i16),
            Symbol::NotReceived | Symbol::Reserved => 0,
        };
        self.deltas = &self.deltas[symbol.delta_len()..];
        self.ticks += delta;
        let received = symbol.delta_len() > 0;
        let status =
            PacketStatus { sequence: self.sequence, arrival_us: received.then_some(self.ticks * TICK_US) };
        self.sequence = self.sequence.wrapping_add(1);
        Some(status)
    }
}

/// Unfolds run length and status vector chunks (§3.1.1–3.1.4 of the draft), at most `left` symbols.
#[derive(Clone)]
struct Symbols<'a> {
    chunks: &'a [u8],
    at: usize,
    left: u16,
    chunk: Chunk,
}

#[derive(Clone, Copy)]
enum Chunk {
    Empty,
    Run {
        symbol: Symbol,
        left: u16,
    },
    /// Symbols of `width` bits, the next one topmost in the low 14 bits.
    Vector {
        bits: u16,
        width: u16,
        left: u16,
    },
}

impl<'a> Symbols<'a> {
    fn new(chunks: &'a [u8], left: u16) -> Self {
        Self { chunks, at: 0, left, chunk: Chunk::Empty }
    }

    fn next_chunk(&mut self) -> Option<Chunk> {
        let word = be_u16(self.chunks, self.at)?;
        self.at += 2;
        Some(match word >> 14 {
            0 | 1 => Chunk::Run { symbol: Symbol::from_bits(word >> 13), left: word & MAX_RUN },
            2 => Chunk::Vector { bits: word & 0x3fff, width: 1, left: 14 },
            _ => Chunk::Vector { bits: word & 0x3fff, width: 2, left: 7 },
        })
    }

    fn next(&mut self) -> Option<Symbol> {
        self.left = self.left.checked_sub(1)?;
        loop {
            match &mut self.chunk {
                Chunk::Run { symbol, left } if *left > 0 => {
                    *left -= 1;
                    return Some(*symbol);
                }
                Chunk::Vector { bits, width, left } if *left > 0 => {
                    *left -= 1;
                    let symbol = *bits >> (14 - *width) & ((1 << *width) - 1);
                    *bits = *bits << *width & 0x3fff;
                    return Some(Symbol::from_bits(symbol));
                }
                _ => self.chunk = self.next_chunk()?,
            }
        }
    }
}

impl std::fmt::Debug for PacketStatuses<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PacketStatuses")
            .field("sequence", &self.sequence)
            .field("left", &self.symbols.left)
            .finish()
    }
}

/// What a receiver noted of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Extended transport-wide sequence number.
    pub sequence: u64,
    pub arrival_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportFeedbackHeader {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    /// Counts feedback messages; the caller counts it up.
    pub feedback_count: u8,
}

/// Reports as many of `arrivals` (strictly ascending by sequence number; gaps are the losses) as one message can hold
/// within `max_len` octets, and answers how many that were. 0 means none could be: the list is empty, or `max_len`
/// cannot hold even one packet.
///
/// Call again with the rest: a message ends early where two arrivals are more than 8 s apart, where the list is out
/// of order, or where it grows full.
pub fn write_transport_feedback(
    out: &mut Vec<u8>,
    header: &TransportFeedbackHeader,
    arrivals: &[Arrival],
    max_len: usize,
) -> usize {
    let Some(plan) = Plan::new(arrivals, max_len) else { return 0 };
    let included = &arrivals[..plan.included];
    write_packet(out, TRANSPORT_FEEDBACK, FMT, |out| {
        put_u32(out, header.sender_ssrc);
        put_u32(out, header.media_ssrc);
        put_u32(out, u32::from(plan.base as u16) << 16 | u32::from(plan.statuses));
        let reference = (plan.reference_ticks / REFERENCE_TICKS) as u32;
        put_u32(out, reference << 8 | u32::from(header.feedback_count));
        let mut chunks = ChunkWriter::default();
        plan.walk(included, |lost, delta| {
            chunks.push_run(out, Symbol::NotReceived, lost);
            let small = u8::try_from(delta).is_ok();
            chunks.push(out, if small { Symbol::SmallDelta } else { Symbol::LargeDelta });
        });
        chunks.finish(out);
        plan.walk(included, |_, delta| match u8::try_from(delta) {
            Ok(small) => out.push(small),
            Err(_) => out.extend_from_slice(&delta.to_be_bytes()),
        });
    });
    plan.included
}

/// Which arrivals go into a message, decided before anything is written.
struct Plan {
    base: u64,
    reference_ticks: i64,
    included: usize,
    statuses: u16,
}

impl Plan {
    /// RTCP header, two SSRCs, base, count, reference and feedback count.
    const FIXED: usize = 20;

    fn new(arrivals: &[Arrival], max_len: usize) -> Option<Self> {
        let first = arrivals.first()?;
        let first_ticks = (first.arrival_ns / TICK_NS) as i64;
        let reference_ticks = first_ticks - first_ticks % REFERENCE_TICKS;
        let mut plan = Self { base: first.sequence, reference_ticks, included: 0, statuses: 0 };
        let mut last_ticks = reference_ticks;
        let mut delta_len = 0;
        for (index, arrival) in arrivals.iter().enumerate() {
            let ticks = (arrival.arrival_ns / TICK_NS) as i64;
            let Ok(delta) = i16::try_from(ticks - last_ticks) else { break };
            let expected = plan.base + u64::from(plan.statuses);
            let Some(statuses) = arrival.sequence.checked_sub(plan.base).map(|offset| offset + 1) else {
                break;
            };
            let Ok(statuses) = u16::try_from(statuses) else { break };
            if arrival.sequence < expected {
                break;
            }
            delta_len += if u8::try_from(delta).is_ok() { 1 } else { 2 };
            // Two-bit vectors are the worst case: two octets for seven statuses. A long gap is runs instead.
            let runs = usize::from(statuses) / usize::from(MAX_RUN) + 2 * index + 1;
            let chunk_len = 2 * usize::from(statuses).div_ceil(7).min(runs);
            if (Self::FIXED + chunk_len + delta_len).next_multiple_of(4) > max_len {
                break;
            }
            plan.included = index + 1;
            plan.statuses = statuses;
            last_ticks = ticks;
        }
        (plan.included > 0).then_some(plan)
    }

    /// Calls `visit(packets lost before this one, delta in ticks)` for each arrival.
    fn walk(&self, included: &[Arrival], mut visit: impl FnMut(u16, i16)) {
        let mut expected = self.base;
        let mut last_ticks = self.reference_ticks;
        for arrival in included {
            let ticks = (arrival.arrival_ns / TICK_NS) as i64;
            // `new` has checked both ranges.
            visit((arrival.sequence - expected) as u16, (ticks - last_ticks) as i16);
            expected = arrival.sequence + 1;
            last_ticks = ticks;
        }
    }
}

/// Folds symbols into chunks: a run for as long as all are alike, otherwise a vector of what has gathered.
#[derive(Default)]
struct ChunkWriter {
    /// Symbols not yet written, at most seven where they differ.
    pending: [u16; 7],
    pending_len: usize,
    /// Set while everything pending is one symbol, however often.
    run: u16,
}

impl ChunkWriter {
    fn push_run(&mut self, out: &mut Vec<u8>, symbol: Symbol, count: u16) {
        for _ in 0..count {
            self.push(out, symbol);
        }
    }

    fn push(&mut self, out: &mut Vec<u8>, symbol: Symbol) {
        let bits = symbol as u16;
        if self.run > 0 {
            if self.pending[0] == bits && self.run < MAX_RUN {
                self.run += 1;
                return;
            }
            if self.run >= 7 || self.pending[0] == bits {
                self.write_run(out);
            } else {
                // Too short for a run: becomes the head of a vector.
                self.pending_len = usize::from(self.run);
                self.pending = [self.pending[0]; 7];
                self.run = 0;
            }
        }
        if self.pending_len == 0 {
            self.pending[0] = bits;
            self.run = 1;
            return;
        }
        self.pending[self.pending_len] = bits;
        self.pending_len += 1;
        if self.pending_len == 7 {
            self.write_vector(out);
        }
    }

    fn write_run(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.pending[0] << 13 | self.run).to_be_bytes());
        self.run = 0;
    }

    fn write_vector(&mut self, out: &mut Vec<u8>) {
        let symbols = &self.pending[..self.pending_len];
        let bits = symbols.iter().enumerate().fold(0, |bits, (i, symbol)| bits | symbol << (12 - 2 * i));
        out.extend_from_slice(&(0xc000u16 | bits).to_be_bytes());
        self.pending_len = 0;
    }

    fn finish(mut self, out: &mut Vec<u8>) {
        if self.run > 0 {
            self.write_run(out);
        }
        if self.pending_len > 0 {
            self.write_vector(out);
        }
    }
}
