//! Places a guest's sound on libobs's timeline, sample by sample: with the picture, without holes, and never late.
//!
//! What libobs does with sound decides what may be given to it (`source_output_audio_data`, `audio_callback`, OBS 29):
//!
//! * A chunk that begins within 70 ms of the end of the one before is played right after that end, whatever its time says.
//!   So a hole of 20 ms would put all that follows 20 ms off, for good. Holes are filled here; longer ones are left for
//!   libobs to see, and it places what follows anew.
//! * Every 21.3 ms it mixes what has come. A source that has run dry by then is moved to the next mix, and stays that much
//!   late: seen as a constant 56 ms on a busy machine. So after running dry the line is broken off, with a hole that libobs
//!   sees.
//! * Sound that begins before the mix that is due makes libobs delay the sound of all sources, for good. So nothing is given
//!   whose time has passed.

use crate::glide::Glide;

/// A chunk as the engine made it; every channel has `frames` samples.
#[derive(Clone, Copy)]
pub struct Chunk<'a> {
    pub timestamp_ns: u64,
    pub sample_rate: u32,
    pub frames: usize,
    pub channels: &'a [&'a [f32]],
}

/// What libobs is given. Samples: [`SoundLine::samples`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    pub play_at_ns: u64,
    pub frames: usize,
}

/// A source's sound. Ends with the source; begins anew after a hole.
#[derive(Debug, Default)]
pub struct SoundLine {
    line: Option<Line>,
    /// Where the last line ended, or rather will have ended: the next one keeps away from it.
    broken_ns: Option<u64>,
    /// Added to what sound waits for the picture, after it came late; until when that is remembered.
    margin_ns: i64,
    margin_until_ns: u64,
}

#[derive(Debug)]
struct Line {
    glide: Glide,
    channels: usize,
    sample_rate: u32,
    /// The engine's time after the last sample taken.
    taken_ns: u64,
    /// libobs's time after the last sample given.
    end_ns: u64,
    moving: bool,
}

impl SoundLine {
    /// A chunk that has come by `now`, whose samples are to sound `wait_ns` after their times. `None`: nothing of it can be
    /// given to libobs now.
    pub fn place(&mut self, chunk: &Chunk<'_>, wait_ns: i64, now: u64) -> Option<Placed> {
        if chunk.frames == 0 || chunk.sample_rate == 0 {
            return None;
        }
        if now > self.margin_until_ns {
            self.margin_ns = 0;
        }
        let wait_ns = wait_ns + self.margin_ns;
        let due_ns = chunk.timestamp_ns.saturating_add_signed(wait_ns);
        if let Some(line) = &self.line {
            let alike = line.channels == chunk.channels.len() && line.sample_rate == chunk.sample_rate;
            let hole_ns = signed_difference(chunk.timestamp_ns, line.taken_ns);
            let dry = now >= line.end_ns;
            let goes_on = (-MAX_OVERLAP_NS..=MAX_HOLE_NS).contains(&hole_ns);
            if dry && now >= due_ns {
                self.margin_ns = (self.margin_ns + MARGIN_STEP_NS).min(MAX_MARGIN_NS);
                self.margin_until_ns = now.saturating_add(MARGIN_MEMORY_NS);
            }
            if dry || !alike || !goes_on {
                self.break_off();
            }
        }
        if self.line.is_none() {
            let due = now..=now.saturating_add(MAX_AHEAD_NS);
            let apart = self.broken_ns.is_none_or(|end| due_ns >= end.saturating_add(PLACED_ANEW_NS));
            if !due.contains(&due_ns) || !apart {
                return None;
            }
            self.line = Some(Line::new(chunk, due_ns));
        }
        self.line.as_mut().and_then(|line| line.play(chunk, wait_ns))
    }

    /// Of one channel of what was placed last.
    pub fn samples(&self, channel: usize) -> &[f32] {
        self.line.as_ref().map_or(&[], |line| line.glide.given(channel))
    }

    fn break_off(&mut self) {
        if let Some(line) = self.line.take() {
            self.broken_ns = Some(line.end_ns);
        }
    }
}

impl Line {
    fn new(chunk: &Chunk<'_>, due_ns: u64) -> Self {
        let glide = Glide::new(chunk.channels.len());
        // What the glide holds back at first is silence, before the chunk.
        let end_ns = due_ns.saturating_sub(nanoseconds(glide.held(), chunk.sample_rate));
        Self {
            glide,
            channels: chunk.channels.len(),
            sample_rate: chunk.sample_rate,
            taken_ns: chunk.timestamp_ns,
            end_ns,
            moving: false,
        }
    }

    fn play(&mut self, chunk: &Chunk<'_>, wait_ns: i64) -> Option<Placed> {
        let skipped = self.take(chunk);
        self.taken_ns = chunk
            .timestamp_ns
            .saturating_add(nanoseconds(chunk.frames.max(skipped) as f64, self.sample_rate));
        // Where the next sample belongs, and where it would go.
        let held_ns = nanoseconds(self.glide.held(), self.sample_rate);
        let due_ns = self.taken_ns.saturating_sub(held_ns).saturating_add_signed(wait_ns);
        let error_ns = signed_difference(due_ns, self.end_ns);
        self.moving = error_ns.abs() > if self.moving { ARRIVED_NS } else { TOLERANCE_NS };
        let bend = (error_ns as f64 / CORRECTION_TIME_NS).clamp(-MAX_BEND, MAX_BEND);
        let frames = self.glide.give(if self.moving { 1.0 - bend } else { 1.0 });
        let play_at_ns = self.end_ns;
        self.end_ns = self.end_ns.saturating_add(nanoseconds(frames as f64, self.sample_rate));
        (frames > 0).then_some(Placed { play_at_ns, frames })
    }

    /// Takes what is new in the chunk, after silence for what is missing; says how many samples were not new.
    fn take(&mut self, chunk: &Chunk<'_>) -> usize {
        let off_ns = signed_difference(chunk.timestamp_ns, self.taken_ns);
        let off = (off_ns.unsigned_abs() as f64 * f64::from(self.sample_rate) / 1e9).round() as usize;
        let skipped = if off_ns < 0 { off.min(chunk.frames) } else { 0 };
        if off_ns > 0 {
            self.glide.take_silence(off);
        }
        for (index, samples) in chunk.channels.iter().enumerate() {
            self.glide.take(index, samples.get(skipped..).unwrap_or_default());
        }
        skipped
    }
}

fn nanoseconds(samples: f64, rate: u32) -> u64 {
    (samples * 1e9 / f64::from(rate)) as u64
}

fn signed_difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(i64::MAX)
}

/// The engine's sound is never this far ahead.
const MAX_AHEAD_NS: u64 = 1_000_000_000;
/// Longer holes libobs sees as such, and places anew what follows.
const MAX_HOLE_NS: i64 = 75_000_000;
/// What repeats more than this is another stream.
const MAX_OVERLAP_NS: i64 = 30_000_000;
/// A little more than the 70 ms within which libobs believes its own reckoning (`TS_SMOOTHING_THRESHOLD`).
const PLACED_ANEW_NS: u64 = 75_000_000;
/// Off by this much sound is moved, until it is as near as the second.
const TOLERANCE_NS: i64 = 2_000_000;
const ARRIVED_NS: i64 = 200_000;
const CORRECTION_TIME_NS: f64 = 500_000_000.0;
const MAX_BEND: f64 = 0.005;
/// After running dry sound is placed this much later, at most twice; a busy machine is left some of a frame's sync for it.
const MARGIN_STEP_NS: i64 = 5_000_000;
const MAX_MARGIN_NS: i64 = 10_000_000;
const MARGIN_MEMORY_NS: u64 = 20_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// What libobs makes of what it is given: where each sample really sounds.
    #[derive(Default)]
    struct Listener {
        end_ns: Option<u64>,
        /// (when it sounds, value), of the first channel.
        heard: Vec<(u64, f32)>,
    }

    impl Listener {
        fn hear(&mut self, line: &SoundLine, placed: Placed, now: u64) {
            assert!(placed.play_at_ns + 1 >= now, "late by {} µs", (now - placed.play_at_ns) / 1000);
            let begins = match self.end_ns {
                Some(end) if placed.play_at_ns.abs_diff(end) < 70 * MS => end,
                _ => placed.play_at_ns,
            };
            for (i, sample) in line.samples(0).iter().enumerate() {
                self.heard.push((begins + i as u64 * 1_000_000_000 / 48_000, *sample));
            }
            self.end_ns = Some(begins + placed.frames as u64 * 1_000_000_000 / 48_000);
        }
    }

    /// A ramp of one unit per second: its value tells its time.
    fn play(line: &mut SoundLine, listener: &mut Listener, at: u64, wait_ns: i64, now: u64) -> bool {
        let samples: Vec<f32> = (0..480).map(|i| ((at + i * 20_833) as f64 / 1e9) as f32).collect();
        let channels = [&samples[..]; 2];
        let chunk = Chunk { timestamp_ns: at, sample_rate: 48_000, frames: 480, channels: &channels };
        let placed = line.place(&chunk, wait_ns, now);
        if let Some(placed) = placed {
            assert_eq!((line.samples(0).len(), line.samples(1).len()), (placed.frames, placed.frames));
            listener.hear(line, placed, now);
        }
        placed.is_some()
    }

    /// How much later than at their times the last hundred samples sounded, in milliseconds.
    fn waits(listener: &Listener) -> f64 {
        let last = &listener.heard[listener.heard.len() - 100..];
        last.iter().map(|(at, value)| *at as f64 / 1e6 - f64::from(*value) * 1e3).sum::<f64>() / 100.0
    }

    #[test]
    fn sound_goes_with_the_picture_and_follows_when_that_moves() {
        let (mut line, mut listener) = (SoundLine::default(), Listener::default());
        for (wait_ms, chunks) in [(12, 100), (28, 600), (3, 900), (4, 100)] {
            let start = line.line.as_ref().map_or(1_000 * MS, |line| line.taken_ns);
            for i in 0..chunks {
                let at = start + i * 10 * MS;
                assert!(play(&mut line, &mut listener, at, (wait_ms * MS) as i64, at - 10 * MS));
            }
            let tolerance = if wait_ms == 4 { 2.1 } else { 0.6 };
            assert!(
                (waits(&listener) - wait_ms as f64).abs() < tolerance,
                "{} for {wait_ms}",
                waits(&listener)
            );
        }
        let pace = listener.heard.windows(2).map(|w| w[1].1 - w[0].1).fold(0.0_f32, f32::max);
        assert!(pace < 4e-5, "no sample is skipped: {pace}");
    }

    #[test]
    fn holes_are_filled_or_seen_and_what_follows_is_in_its_place() {
        for hole_ms in [1, 10, 20, 40, 60, 80, 200, 5_000] {
            let (mut line, mut listener) = (SoundLine::default(), Listener::default());
            let mut at = 1_000 * MS;
            for i in 0..400_u64 {
                play(&mut line, &mut listener, at, 15 * MS as i64, at - 10 * MS);
                at += 10 * MS + if i == 200 { hole_ms * MS } else { 0 };
            }
            assert!((waits(&listener) - 15.0).abs() < 0.6, "{hole_ms}: {}", waits(&listener));
        }
    }

    #[test]
    fn after_running_dry_sound_comes_back_where_it_belongs() {
        let (mut line, mut listener) = (SoundLine::default(), Listener::default());
        for i in 0..1_000_u64 {
            let at = (1_000 + i * 10) * MS;
            // A thread that sleeps for 150 ms, and then has a lot to say.
            let now = if (300..315).contains(&i) { (1_000 + 3_150 - 10) * MS } else { at - 10 * MS };
            play(&mut line, &mut listener, at, 15 * MS as i64, now);
        }
        let margin = line.margin_ns as f64 / 1e6;
        assert!((waits(&listener) - 15.0 - margin).abs() < 2.1 && margin <= 10.0, "{}", waits(&listener));
    }

    #[test]
    fn hostile_times_give_nothing_that_is_late() {
        let mut seed = 7_u64;
        let (mut line, mut listener) = (SoundLine::default(), Listener::default());
        for i in 0..20_000_u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let now = 10_000 * MS + i * 10 * MS;
            let at = match seed >> 62 {
                0 => seed,
                1 => now + (seed >> 30) % (200 * MS),
                _ => now,
            };
            play(&mut line, &mut listener, at, ((seed >> 20) % 60 * MS) as i64, now);
        }
    }
}
