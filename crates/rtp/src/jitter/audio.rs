//! Decides, each time the player runs dry, what to play next: a packet, its repair, a guess, or silence.
//!
//! The delay before playing follows the 97th percentile of how late packets come, measured against the fastest of the
//! last seconds. It grows when packets come late, shrinks slowly, and is approached by playing a little faster or
//! slower, so it can neither jump for good nor creep. Sender silence (DTX) is told from loss by sequence numbers: loss
//! leaves a hole in them, silence only in the timestamps (RFC 7587 §3.1.3). Forward error correction: RFC 6716 §2.1.7.

use super::MS;
use crate::sequence::{Placed, SequenceTracker, TimestampExtender};
use std::collections::VecDeque;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioJitterConfig {
    /// Of the RTP timestamps; Opus always counts at 48 kHz.
    pub clock_rate: u32,
    /// Bounds of the target delay.
    pub min_target_ns: u64,
    pub max_target_ns: u64,
}

impl AudioJitterConfig {
    pub fn opus() -> Self {
        Self { clock_rate: crate::codec::opus::CLOCK_RATE, min_target_ns: 10 * MS, max_target_ns: 200 * MS }
    }
}

/// One packet of sound as it arrived.
#[derive(Clone, Debug)]
pub struct AudioPacket<T> {
    pub sequence_number: u16,
    pub timestamp: u32,
    /// How much sound is in it, on the RTP clock.
    pub samples: u32,
    /// It can rebuild the packet before it.
    pub has_fec: bool,
    /// The sender has fallen silent.
    pub dtx: bool,
    pub item: T,
}

/// What to play next. Samples are on the RTP clock.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a, T> {
    /// Decode this. `timestamp` is extended.
    Play { item: T, timestamp: u64, samples: u32 },
    /// Decode the redundancy in `next`, which stays for the following step.
    Recover { next: &'a T, timestamp: u64, samples: u32 },
    /// Let the decoder guess; a multiple of 2.5 ms.
    Conceal { timestamp: u64, samples: u32 },
    /// Play nothing. Without a timestamp where none is known.
    Silence { why: Silence, timestamp: Option<u64>, samples: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing has come yet, or the delay before the first packet is being built up.
    Waiting,
    /// The sender transmits none.
    Dtx,
    /// Too long a loss to be guessed away.
    Outage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioJitterStats {
    pub received: u64,
    pub duplicates: u64,
    /// Came after their turn.
    pub late: u64,
    /// Thrown away to catch up.
    pub skipped: u64,
    pub played: u64,
    pub recovered: u64,
    pub concealed_samples: u64,
    pub outage_samples: u64,
    pub restarts: u64,
}

/// Jitter buffer for one stream of sound. Holds at most [`MAX_PACKETS`]; when full, the oldest is skipped. Ends with its
/// stream.
#[derive(Debug)]
pub struct AudioJitter<T> {
    config: AudioJitterConfig,
    tracker: SequenceTracker,
    timestamps: TimestampExtender,
    /// In order of sequence number.
    packets: VecDeque<Held<T>>,
    playing: Option<Playing>,
    delays: Delays,
    target_ns: u64,
    /// What somebody who knows more than lateness wants the target to be.
    held_ns: Option<u64>,
    target_changed_ns: u64,
    /// The delay of what is being played, smoothed.
    delay_ns: f64,
    /// Samples guessed or left silent in a row.
    concealed: u64,
    /// Until when the next packet is worth waiting for, and how long that takes.
    fec_until_ns: u64,
    fec_ns: u64,
    /// Packets skipped in a row without one being played.
    skipped_in_a_row: u32,
    stats: AudioJitterStats,
}

#[derive(Debug)]
struct Held<T> {
    sequence: u64,
    timestamp: u64,
    packet: AudioPacket<T>,
}

#[derive(Clone, Copy, Debug)]
struct Playing {
    /// The next sample to be played.
    cursor: u64,
    /// Nothing up to here can be played any more.
    last_sequence: u64,
    last_samples: u32,
    dtx: bool,
    /// Steps since the buffer last held anything.
    empty_samples: u64,
}

/// Ten seconds of the shortest packets anybody sends.
pub const MAX_PACKETS: usize = 1_000;
/// Senders repeat two or three packets; nobody needs more.
const MAX_REPEATED: u16 = 32;
/// Playing this much behind the target is caught up by skipping, not by speed.
const MAX_EXCESS_NS: u64 = 40 * MS;
const MAX_HELD_EXCESS_NS: u64 = 20 * MS;
/// Beyond this a decoder's guess is mud.
const MAX_CONCEAL_NS: u64 = 120 * MS;
/// An empty buffer for this long means the stream has stopped; what comes then is a new beginning.
const STOPPED_NS: u64 = 2_000 * MS;
/// Packets skipped for being late until the measure of lateness itself is doubted: half a second of usual packets.
const MAX_SKIPPED_IN_A_ROW: u32 = 25;
/// A delay that jumps by this much is another clock, or the end of an outage.
const JUMP_NS: u64 = 2_000 * MS;
/// A packet is asked for up to a tick before it sounds.
const EARLY_NS: u64 = 10 * MS;
/// Senders switch redundancy on and off by the loss they hear of.
const FEC_MEMORY_NS: u64 = 5_000 * MS;
/// The target falls no faster: 10 ms a second.
const TARGET_FALL_PER_SECOND_NS: u64 = 10 * MS;
/// Pictures later than this are not waited for.
const MAX_HOLD_NS: u64 = 1_000 * MS;
/// An error is worked off over this time, at most one percent fast or slow: a sixth of a semitone.
const CORRECTION_TIME_NS: f64 = 10_000.0 * MS as f64;
const MAX_CORRECTION: f64 = 0.01;

impl<T> AudioJitter<T> {
    pub fn new(config: AudioJitterConfig) -> Self {
        Self {
            tracker: SequenceTracker::new(500),
            timestamps: TimestampExtender::new(),
            packets: VecDeque::new(),
            playing: None,
            delays: Delays::default(),
            target_ns: (config.min_target_ns + 30 * MS).min(config.max_target_ns),
            held_ns: None,
            target_changed_ns: 0,
            delay_ns: 0.0,
            concealed: 0,
            fec_until_ns: 0,
            fec_ns: 0,
            skipped_in_a_row: 0,
            stats: AudioJitterStats::default(),
            config,
        }
    }

    pub fn insert(&mut self, now_ns: u64, packet: AudioPacket<T>) {
        self.stats.received += 1;
        if packet.samples == 0 {
            return;
        }
        let sequence = match self.tracker.place(packet.sequence_number) {
            Placed::At(sequence) => sequence,
            Placed::Doubtful => return,
            Placed::Restarted(sequence) => {
                self.restart();
                sequence
            }
        };
        let timestamp = self.timestamps.extend(packet.timestamp);
        let transit_ns = signed(now_ns).saturating_sub(signed(self.ns(timestamp)));
        if self.delays.jumped(transit_ns) {
            self.restart();
        }
        self.delays.note(now_ns, transit_ns);
        if packet.has_fec {
            self.fec_until_ns = now_ns.saturating_add(FEC_MEMORY_NS);
            self.fec_ns = self.ns(u64::from(packet.samples));
        }
        self.move_target(now_ns);
        if self.playing.is_some_and(|playing| sequence <= playing.last_sequence) {
            self.stats.late += 1;
            return;
        }
        match self.packets.binary_search_by_key(&sequence, |held| held.sequence) {
            Ok(_) => self.stats.duplicates += 1,
            Err(place) => self.packets.insert(place, Held { sequence, timestamp, packet }),
        }
        if self.packets.len() > MAX_PACKETS {
            self.skip_front();
        }
    }

    /// A repetition of a packet before those inserted (RFC 2198): fills its hole, if it is not too late. It tells nothing
    /// of delays.
    pub fn fill(&mut self, packet: AudioPacket<T>) -> bool {
        let Some(highest) = self.tracker.highest() else { return false };
        let back = (highest as u16).wrapping_sub(packet.sequence_number);
        if packet.samples == 0 || !(1..=MAX_REPEATED).contains(&back) {
            return false;
        }
        let sequence = highest.saturating_sub(u64::from(back));
        let timestamp = self.timestamps.peek(packet.timestamp);
        let is_over = |playing: Playing| sequence <= playing.last_sequence || timestamp < playing.cursor;
        if self.playing.is_some_and(is_over) || self.packets.len() >= MAX_PACKETS {
            return false;
        }
        let Err(place) = self.packets.binary_search_by_key(&sequence, |held| held.sequence) else {
            return false;
        };
        // Its number is ours, by its place in the payload; its time must agree.
        let (before, after) =
            (place.checked_sub(1).and_then(|n| self.packets.get(n)), self.packets.get(place));
        let end = |held: &Held<T>| held.timestamp + u64::from(held.packet.samples);
        if before.is_some_and(|held| end(held) > timestamp)
            || after.is_some_and(|held| timestamp + u64::from(packet.samples) > held.timestamp)
        {
            return false;
        }
        self.stats.recovered += 1;
        self.packets.insert(place, Held { sequence, timestamp, packet });
        true
    }

    /// What to play when less than a tick of sound is left. `queued_ns`: sound decoded but not played yet.
    pub fn next(&mut self, now_ns: u64, queued_ns: u64) -> Step<'_, T> {
        // When the sample after the queue will sound.
        let play_ns = now_ns.saturating_add(queued_ns);
        self.catch_up(play_ns);
        if self.playing.is_none() {
            self.try_begin(play_ns);
        }
        let Some(playing) = self.playing else {
            return Step::Silence { why: Silence::Waiting, timestamp: None, samples: self.tick() };
        };
        self.note_delay(play_ns, playing.cursor);
        let Some(head) = self.packets.front() else { return self.play_nothing(playing) };
        let gap = head.timestamp.saturating_sub(playing.cursor);
        if gap < u64::from(self.quantum()) {
            return self.play_head(playing);
        }
        if gap > u64::from(self.config.clock_rate) {
            // Nothing sensible can be played across a second's hole: begin again at its far side.
            self.playing = None;
            return Step::Silence { why: Silence::Outage, timestamp: None, samples: self.tick() };
        }
        if head.sequence == playing.last_sequence + 1 {
            return self.play_pause(playing, play_ns, gap);
        }
        self.play_repair(playing, gap)
    }

    /// What bears this timestamp is to sound at `play_ns`: with its picture, say. From then on the buffer's own measure of
    /// lateness counts no more, until told otherwise.
    pub fn play_at(&mut self, timestamp: u32, play_ns: u64) {
        let delay_ns = self.delay_at(play_ns, self.timestamps.peek(timestamp));
        let held_ns = u64::try_from(delay_ns).unwrap_or(0).min(MAX_HOLD_NS);
        self.held_ns = Some(held_ns);
        self.target_ns = held_ns;
    }

    /// How much sound is waiting, holes included.
    pub fn buffered_ms(&self) -> f64 {
        let end = self.packets.back().map(|held| held.timestamp + u64::from(held.packet.samples));
        let start =
            self.playing.map(|playing| playing.cursor).or(self.packets.front().map(|held| held.timestamp));
        let samples = end.zip(start).map_or(0, |(end, start)| end.saturating_sub(start));
        self.ns(samples) as f64 / MS as f64
    }

    /// How late sound is to be played, counted from the fastest packets.
    pub fn target_ms(&self) -> f64 {
        self.target_ns as f64 / MS as f64
    }

    /// How late it is being played, smoothed.
    pub fn delay_ms(&self) -> f64 {
        self.delay_ns / MS as f64
    }

    /// How fast to play: above one to shrink the delay towards its target.
    pub fn rate(&self) -> f64 {
        if self.playing.is_none() {
            return 1.0;
        }
        let error_ns = self.delay_ns - self.target_ns as f64;
        1.0 + (error_ns / CORRECTION_TIME_NS).clamp(-MAX_CORRECTION, MAX_CORRECTION)
    }

    pub fn stats(&self) -> AudioJitterStats {
        self.stats
    }

    fn play_head(&mut self, playing: Playing) -> Step<'_, T> {
        let Some(Held { sequence, timestamp, packet }) = self.packets.pop_front() else {
            return self.play_nothing(playing);
        };
        self.stats.played += 1;
        self.concealed = 0;
        self.skipped_in_a_row = 0;
        self.playing = Some(Playing {
            cursor: timestamp + u64::from(packet.samples),
            last_sequence: sequence,
            last_samples: packet.samples,
            dtx: packet.dtx,
            empty_samples: 0,
        });
        Step::Play { item: packet.item, timestamp, samples: packet.samples }
    }

    /// The sender left a hole in time but none in its numbering. Silence is where the delay can be corrected unheard.
    fn play_pause(&mut self, mut playing: Playing, play_ns: u64, gap: u64) -> Step<'_, T> {
        let timestamp = playing.cursor;
        let samples = u64::from(self.tick()).min(gap) as u32;
        let excess_ns = self.delay_at(play_ns, timestamp).saturating_sub(signed(self.target_ns));
        let correction = excess_ns.saturating_mul(i64::from(self.config.clock_rate)) / 1_000_000_000;
        let advance = i64::from(samples).saturating_add(correction).clamp(0, signed(gap)) as u64;
        playing.cursor += advance;
        playing.empty_samples = 0;
        self.concealed = 0;
        self.playing = Some(playing);
        Step::Silence { why: Silence::Dtx, timestamp: Some(timestamp), samples }
    }

    /// Packets before the head are lost, or too late to matter.
    fn play_repair(&mut self, mut playing: Playing, gap: u64) -> Step<'_, T> {
        let timestamp = playing.cursor;
        let rebuilds = self.packets.front().is_some_and(|head| {
            head.packet.has_fec
                && gap <= u64::from(head.packet.samples)
                && gap.is_multiple_of(u64::from(self.quantum()))
        });
        if !rebuilds {
            let samples = u64::from(playing.last_samples).min(gap) as u32;
            return self.conceal(playing, samples);
        }
        playing.cursor += gap;
        playing.empty_samples = 0;
        self.concealed = 0;
        self.stats.recovered += 1;
        let before_head = self.packets.front().map_or(0, |head| head.sequence.saturating_sub(1));
        playing.last_sequence = playing.last_sequence.max(before_head);
        self.playing = Some(playing);
        match self.packets.front() {
            Some(head) => Step::Recover { next: &head.packet.item, timestamp, samples: gap as u32 },
            None => Step::Conceal { timestamp, samples: gap as u32 },
        }
    }

    /// The buffer is empty: time goes on, and a packet that comes yet may pull it back.
    fn play_nothing(&mut self, mut playing: Playing) -> Step<'_, T> {
        let tick = self.tick();
        playing.empty_samples += u64::from(tick);
        if self.ns(playing.empty_samples) > STOPPED_NS {
            self.playing = None;
            return Step::Silence { why: Silence::Waiting, timestamp: None, samples: tick };
        }
        if playing.dtx {
            let timestamp = playing.cursor;
            playing.cursor += u64::from(tick);
            self.playing = Some(playing);
            return Step::Silence { why: Silence::Dtx, timestamp: Some(timestamp), samples: tick };
        }
        self.conceal(playing, tick)
    }

    fn conceal(&mut self, mut playing: Playing, samples: u32) -> Step<'_, T> {
        let timestamp = playing.cursor;
        // Decoders guess in steps of 2.5 ms.
        let samples = (samples / self.quantum()).max(1) * self.quantum();
        playing.cursor += u64::from(samples);
        self.playing = Some(playing);
        self.concealed += u64::from(samples);
        if self.ns(self.concealed) > MAX_CONCEAL_NS {
            self.stats.outage_samples += u64::from(samples);
            return Step::Silence { why: Silence::Outage, timestamp: Some(timestamp), samples };
        }
        self.stats.concealed_samples += u64::from(samples);
        Step::Conceal { timestamp, samples }
    }

    /// Once sound is too far behind its target for speed to make up for it, skips packets until it is there.
    fn catch_up(&mut self, play_ns: u64) {
        let late_ns = |held: &Held<T>| self.delay_at(play_ns, held.timestamp) - signed(self.target_ns);
        // Where the target is a picture's, sound is not left behind it for long.
        let most_ns = if self.held_ns.is_some() { MAX_HELD_EXCESS_NS } else { MAX_EXCESS_NS };
        if self.packets.front().is_none_or(|head| late_ns(head) <= signed(most_ns)) {
            return;
        }
        let is_over = |held: &&Held<T>| late_ns(held) >= signed(self.ns(u64::from(held.packet.samples)));
        let over = self.packets.iter().take_while(is_over).count();
        let nothing_left = over == self.packets.len();
        for _ in 0..over {
            self.skip_front();
        }
        // Everything is late, again and again: then it is not the packets.
        if nothing_left && self.skipped_in_a_row >= MAX_SKIPPED_IN_A_ROW {
            self.restart();
        }
    }

    fn skip_front(&mut self) {
        let Some(head) = self.packets.pop_front() else { return };
        self.stats.skipped += 1;
        self.skipped_in_a_row += 1;
        if let Some(playing) = &mut self.playing {
            playing.last_sequence = playing.last_sequence.max(head.sequence);
            let end = head.timestamp + u64::from(head.packet.samples);
            playing.cursor = playing.cursor.max(end);
            playing.dtx = head.packet.dtx;
        }
    }

    /// The first packet is held back by the target delay.
    fn try_begin(&mut self, play_ns: u64) {
        let Some(head) = self.packets.front() else { return };
        if self.delay_at(play_ns, head.timestamp) < self.target_ns as i64 {
            return;
        }
        self.playing = Some(Playing {
            cursor: head.timestamp,
            last_sequence: head.sequence.saturating_sub(1),
            last_samples: head.packet.samples,
            dtx: false,
            empty_samples: 0,
        });
        self.delay_ns = self.target_ns as f64;
    }

    /// The sender or its clock began anew: what was learnt of it is void.
    fn restart(&mut self) {
        self.stats.restarts += 1;
        self.packets.clear();
        self.playing = None;
        self.delays = Delays::default();
        self.skipped_in_a_row = 0;
    }

    /// How much later than on the fastest path `timestamp` would sound at `play_ns`.
    fn delay_at(&self, play_ns: u64, timestamp: u64) -> i64 {
        signed(play_ns).saturating_sub(signed(self.ns(timestamp))).saturating_sub(self.delays.fastest_ns)
    }

    fn note_delay(&mut self, play_ns: u64, cursor: u64) {
        let delay_ns = self.delay_at(play_ns, cursor) as f64;
        // About half a second at a step each 10 or 20 ms.
        self.delay_ns += (delay_ns - self.delay_ns) / 32.0;
    }

    fn move_target(&mut self, now_ns: u64) {
        if let Some(held_ns) = self.held_ns {
            self.target_ns = held_ns;
            return;
        }
        let bounds = (self.config.min_target_ns, self.config.max_target_ns.max(self.config.min_target_ns));
        let elapsed_ns = now_ns.saturating_sub(self.target_changed_ns).min(1_000 * MS);
        self.target_changed_ns = now_ns;
        let fall_ns = elapsed_ns * TARGET_FALL_PER_SECOND_NS / (1_000 * MS);
        // What the fastest path gains is no longer lateness.
        let floor_ns = self.target_ns.saturating_sub(fall_ns).saturating_sub(self.delays.rise_ns);
        // A sender spends bits on redundancy because it was told of losses; to be of use, the packet after must be here.
        let fec_ns = if now_ns < self.fec_until_ns { self.fec_ns } else { 0 };
        let wanted_ns = self.delays.late_ns.max(fec_ns) + EARLY_NS;
        self.target_ns = wanted_ns.max(floor_ns).clamp(bounds.0, bounds.1);
    }

    fn ns(&self, samples: u64) -> u64 {
        let ns = u128::from(samples) * 1_000_000_000 / u128::from(self.config.clock_rate.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// 10 ms.
    fn tick(&self) -> u32 {
        (self.config.clock_rate / 100).max(1)
    }

    /// 2.5 ms.
    fn quantum(&self) -> u32 {
        (self.config.clock_rate / 400).max(1)
    }
}

/// A hostile sender can race its timestamps beyond what a signed nanosecond holds; then it is simply "very late".
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// How late packets come, over the last [`Self::WINDOW_NS`].
#[derive(Debug, Default)]
struct Delays {
    /// Arrival and transit: arrival by our clock minus timestamp by the sender's.
    recent: VecDeque<(u64, i64)>,
    scratch: Vec<i64>,
    /// Packets noted since the last count.
    uncounted: u32,
    fastest_ns: i64,
    /// By how much the fastest transit has just become slower.
    rise_ns: u64,
    /// The 97th percentile of lateness against the fastest.
    late_ns: u64,
}

impl Delays {
    /// Long enough to hold a few of Wi-Fi's hiccups, short enough for 200 ppm to stay within 3 ms.
    const WINDOW_NS: u64 = 15_000 * MS;
    const MAX: usize = 750;
    const LATE_PERCENT: usize = 97;
    /// Counting over costs some microseconds; lateness does not change faster than this.
    const COUNT_EVERY: u32 = 5;

    fn jumped(&self, transit_ns: i64) -> bool {
        self.recent.back().is_some_and(|(_, last)| last.abs_diff(transit_ns) > JUMP_NS)
    }

    fn note(&mut self, now_ns: u64, transit_ns: i64) {
        let old = |(arrival_ns, _): &(u64, i64)| now_ns.saturating_sub(*arrival_ns) > Self::WINDOW_NS;
        while self.recent.len() >= Self::MAX || self.recent.front().is_some_and(old) {
            self.recent.pop_front();
        }
        let first = self.recent.is_empty();
        self.recent.push_back((now_ns, transit_ns));
        self.rise_ns = 0;
        if first {
            self.fastest_ns = transit_ns;
        } else if transit_ns < self.fastest_ns {
            // All others have thereby become later.
            self.late_ns += transit_ns.abs_diff(self.fastest_ns);
            self.fastest_ns = transit_ns;
        }
        self.uncounted += 1;
        if self.uncounted >= Self::COUNT_EVERY {
            self.count();
        }
    }

    fn count(&mut self) {
        self.uncounted = 0;
        self.scratch.clear();
        self.scratch.extend(self.recent.iter().map(|(_, transit_ns)| *transit_ns));
        let Some(last) = self.scratch.len().checked_sub(1) else { return };
        let (faster, late, _) = self.scratch.select_nth_unstable(last * Self::LATE_PERCENT / 100);
        let late = *late;
        let fastest = faster.iter().copied().min().unwrap_or(late);
        self.rise_ns = if fastest > self.fastest_ns { fastest.abs_diff(self.fastest_ns) } else { 0 };
        self.fastest_ns = fastest;
        self.late_ns = late.abs_diff(fastest);
    }
}

#[cfg(test)]
#[path = "audio_tests.rs"]
mod tests;
