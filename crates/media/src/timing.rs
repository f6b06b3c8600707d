//! When a guest's pictures and sound are to be seen and heard: one timeline and one delay for both.
//!
//! The clock says when something was captured; the *delay* is what is added to that. It covers the slower of the two:
//! sound has to be there a little before its time, or there is a hole in it, and pictures take time to send and to
//! decode. Pictures are never held to the last millisecond of it: sound may trail the picture by [`LEEWAY_NS`], which
//! nobody notices, and the picture is that much fresher.

use crate::locked;
use std::collections::VecDeque;
use std::sync::Mutex;

/// How long after its capture something is seen or heard.
#[derive(Debug)]
pub struct Delay {
    sound: Recent,
    pictures: Recent,
    current_ns: i64,
    adapted_at_ns: u64,
}

impl Default for Delay {
    fn default() -> Self {
        Self {
            sound: Recent::new(SOUND_MEMORY),
            pictures: Recent::new(PICTURE_MEMORY),
            current_ns: FIRST_NS,
            adapted_at_ns: 0,
        }
    }
}

impl Delay {
    /// Sound captured at the one time came at the other.
    pub fn note_sound(&mut self, captured_ns: u64, arrival_ns: u64) {
        self.sound.push(difference(arrival_ns, captured_ns));
    }

    /// A picture captured at the one time was ready to be shown at the other.
    pub fn note_picture(&mut self, captured_ns: u64, ready_ns: u64) {
        self.pictures.push(difference(ready_ns, captured_ns));
    }

    /// What was captured earlier was measured with another clock.
    pub fn forget(&mut self) {
        self.sound.values.clear();
        self.pictures.values.clear();
    }

    /// Moves towards what recent pictures and sound need: fast up, because too little is heard; slowly down.
    pub fn adapt(&mut self, now_ns: u64) -> i64 {
        let elapsed = now_ns.saturating_sub(self.adapted_at_ns);
        if elapsed < ADAPT_EVERY_NS {
            return self.current_ns;
        }
        self.adapted_at_ns = now_ns;
        let sound = self.sound.percentile(SOUND_PERCENTILE).map(|late| late + SOUND_MARGIN_NS);
        let pictures = self.pictures.percentile(PICTURE_PERCENTILE);
        let Some(needed) = sound.max(pictures) else { return self.current_ns };
        let needed = needed.clamp(MIN_NS, MAX_NS);
        if needed > self.current_ns {
            self.current_ns = needed;
        } else {
            let most = (elapsed.min(1_000_000_000) as i64) * DOWN_PER_MILLE / 1000;
            self.current_ns -= (self.current_ns - needed).min(most);
        }
        self.current_ns
    }

    pub fn current_ns(&self) -> i64 {
        self.current_ns
    }
}

/// The last few of some figure. Bounded; when full, the oldest is forgotten.
#[derive(Debug)]
struct Recent {
    values: VecDeque<i64>,
    memory: usize,
}

impl Recent {
    fn new(memory: usize) -> Self {
        Self { values: VecDeque::with_capacity(memory), memory }
    }

    fn push(&mut self, value: i64) {
        if self.values.len() == self.memory {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    fn percentile(&self, percent: usize) -> Option<i64> {
        let mut sorted: Vec<i64> = self.values.iter().copied().collect();
        let index = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
        Some(*sorted.select_nth_unstable(index).1)
    }
}

fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or_default().clamp(-MAX_NS, MAX_NS)
}

/// Five seconds of packets of 20 ms.
const SOUND_MEMORY: usize = 250;
/// Five seconds at 30 fps.
const PICTURE_MEMORY: usize = 150;
/// One packet in fifty may come too late; its sound is concealed.
const SOUND_PERCENTILE: usize = 98;
/// Three pictures in four are at their time; the others are late by what the network makes them.
const PICTURE_PERCENTILE: usize = 75;
/// Sound is written this long before its time, and a chunk of 10 ms may begin up to that long before the packet in it.
const SOUND_MARGIN_NS: i64 = 20_000_000;
/// Lips ahead of sound by less than about 45 ms go unnoticed (ITU-R BT.1359-1 §4); half of it is for the canvas.
pub const LEEWAY_NS: i64 = 22_000_000;
/// Before anything was measured.
const FIRST_NS: i64 = 60_000_000;
const MIN_NS: i64 = 10_000_000;
/// More than this is no conversation any more, and more than OBS's plugin waits for.
const MAX_NS: i64 = 450_000_000;
const ADAPT_EVERY_NS: u64 = 200_000_000;
/// Two milliseconds a second: nobody hears a tempo change of 0.2 %.
const DOWN_PER_MILLE: i64 = 2;
