//! From 10 ms of mix by the computer's clock to whatever a device asks for by its own: buffered as little as will do,
//! bent by what the two clocks differ.
//!
//! What is steered is the *margin*: what is left in the buffer just after the device has taken its share. That is what
//! a late chunk may be late by, however much the device takes at once. How much of it is needed shows in how far it dips.

use crate::conceal::Concealer;
use crate::ring::{Reader, Writer, ring};
use rubato::audioadapter_buffers::direct::SequentialSliceOfSlices;
use rubato::{Adjustable, Async, FixedAsync, PolynomialDegree, Resampler};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use wire::monitor::CHUNK_FRAMES;

/// Left and right.
pub type Chunk = [[f32; CHUNK_FRAMES]; 2];

/// Both ends for a device of `rate` frames a second.
pub fn playout(rate: u32) -> (Feeder, Drain) {
    let (writer, reader) = ring(CAPACITY);
    let shared = Arc::new(Shared {
        margin: AtomicU32::new(frames(FIRST_MARGIN_MS, rate)),
        ran_dry: AtomicU32::new(0),
        surplus: AtomicU32::new(0),
    });
    let ratio = f64::from(rate) / f64::from(MIX_RATE);
    let resampler = Async::new_poly(
        ratio,
        1.0 + 2.0 * MAX_BEND,
        PolynomialDegree::Septic,
        CHUNK_FRAMES,
        2,
        FixedAsync::Input,
    )
    // Rates of devices are positive and finite, and so is the bend.
    .expect("arguments within rubato's bounds");
    let room = resampler.output_frames_max();
    let feeder = Feeder {
        writer,
        shared: shared.clone(),
        resampler,
        output: [vec![0.0; room], vec![0.0; room]],
        rate,
        ratio,
        least: usize::MAX,
        level: None,
        dips: VecDeque::with_capacity(REMEMBERED),
        chunks: 0,
        dry_before: 0,
    };
    (feeder, Drain { reader, shared, concealer: Concealer::new(rate), rate, playing: false })
}

struct Shared {
    /// In frames: what shall be left after the device took its share.
    margin: AtomicU32,
    /// How often the device asked for more than there was.
    ran_dry: AtomicU32,
    /// In frames: to be passed over, because it would take too long to work off.
    surplus: AtomicU32,
}

/// The end that the mix comes in at.
pub struct Feeder {
    writer: Writer,
    shared: Arc<Shared>,
    resampler: Async<f32>,
    output: [Vec<f32>; 2],
    rate: u32,
    ratio: f64,
    /// The least that was in the buffer since the speed was last set.
    least: usize,
    /// Smoothed: what `least` usually is.
    level: Option<f64>,
    /// How far below its usual the buffer was: the deepest of each interval, the last [`REMEMBERED`].
    dips: VecDeque<u32>,
    chunks: u32,
    dry_before: u32,
}

impl Feeder {
    /// Takes the next 10 ms. When far too much waits they are dropped: a device that has stopped is not caught up with.
    pub fn push(&mut self, chunk: &Chunk) {
        let waiting = self.writer.len();
        self.least = self.least.min(waiting);
        self.chunks += 1;
        if self.chunks == STEER_EVERY {
            self.steer();
        }
        let margin = self.shared.margin.load(Ordering::Relaxed) as usize;
        if waiting > margin + frames(MAX_WAITING_MS, self.rate) as usize {
            return;
        }
        let [left, right] = chunk;
        let input = [&left[..], &right[..]];
        let [out_left, out_right] = &mut self.output;
        let room = out_left.len();
        let mut output = [&mut out_left[..], &mut out_right[..]];
        let adapters = (
            SequentialSliceOfSlices::new(&input, 2, CHUNK_FRAMES),
            SequentialSliceOfSlices::new_mut(&mut output, 2, room),
        );
        let (Ok(input), Ok(mut output)) = adapters else { return };
        let Ok((_, given)) = self.resampler.process_into_buffer(&input, &mut output, None) else { return };
        for (left, right) in self.output[0].iter().zip(&self.output[1]).take(given) {
            // Never full: see above.
            self.writer.push([*left, *right]);
        }
    }

    fn steer(&mut self) {
        let least = self.least as f64;
        let dry = self.shared.ran_dry.load(Ordering::Relaxed);
        let usual = *self.level.get_or_insert(least);
        let level = usual + (least - usual) * SMOOTHING;
        self.note_dip(match dry == self.dry_before {
            true => (usual - least).max(0.0) as u32,
            // All that there was did not do. More was provided for at once.
            false => self.shared.margin.load(Ordering::Relaxed).saturating_sub(frames(SPARE_MS, self.rate)),
        });
        let margin = self.margin_for_dips();
        self.shared.margin.store(margin, Ordering::Relaxed);
        let too_much = level - f64::from(margin);
        if too_much > f64::from(frames(FAR_MS, self.rate)) {
            self.shared.surplus.store(too_much as u32, Ordering::Relaxed);
            self.level = None;
            (self.least, self.chunks, self.dry_before) = (usize::MAX, 0, dry);
            return;
        }
        let too_much_s = too_much / f64::from(self.rate);
        let speed = 1.0 + (too_much_s / CORRECTION_TIME_S).clamp(-MAX_BEND, MAX_BEND);
        // Only out-of-bounds ratios are refused, and this one is clamped.
        let _ = self.resampler.set_resample_ratio(self.ratio / speed, true);
        let worked_off = (speed - 1.0) * f64::from(STEER_EVERY) * (CHUNK_FRAMES as f64) * self.ratio;
        // After running dry it begins at another level.
        self.level = Some(level - worked_off).filter(|_| dry == self.dry_before);
        (self.least, self.chunks, self.dry_before) = (usize::MAX, 0, dry);
    }

    fn note_dip(&mut self, dip: u32) {
        if self.dips.len() == REMEMBERED {
            self.dips.pop_front();
        }
        self.dips.push_back(dip);
    }

    /// Grows at once, falls slowly.
    fn margin_for_dips(&self) -> u32 {
        let deepest = self.dips.iter().copied().max().unwrap_or(0);
        let needed = deepest.saturating_add(frames(SPARE_MS, self.rate));
        let fallen = self.shared.margin.load(Ordering::Relaxed).saturating_sub(frames(1, self.rate) / 4);
        needed.max(fallen).clamp(frames(MIN_MARGIN_MS, self.rate), frames(MAX_MARGIN_MS, self.rate))
    }
}

/// The end that the device takes from. Never waits, never allocates.
pub struct Drain {
    reader: Reader,
    shared: Arc<Shared>,
    concealer: Concealer,
    rate: u32,
    /// False at first and after running dry: then what was heard last fades, until enough has gathered to go on without
    /// another break.
    playing: bool,
}

impl Drain {
    /// The device now asks for `count` frames: call [`Drain::next_frame`] as often.
    pub fn begin(&mut self, count: usize) {
        let enough = count + self.shared.margin.load(Ordering::Relaxed) as usize;
        let waiting = self.reader.len();
        if !self.playing && waiting >= enough {
            // What was missing came all at once: it is over, and would only be heard late from here on.
            self.reader.skip(waiting - enough);
            self.playing = true;
        }
        let surplus = self.shared.surplus.swap(0, Ordering::Relaxed) as usize;
        if surplus > 0 && self.playing {
            self.reader.skip(surplus.min(waiting.saturating_sub(enough)));
            // The joint is crossed over as after a gap.
            self.concealer.conceal();
        }
    }

    pub fn next_frame(&mut self) -> [f32; 2] {
        if self.playing {
            if let Some(frame) = self.reader.pop() {
                return self.concealer.play(frame);
            }
            self.playing = false;
            self.shared.ran_dry.fetch_add(1, Ordering::Relaxed);
            let margin = self.shared.margin.load(Ordering::Relaxed) + frames(MORE_MARGIN_MS, self.rate);
            self.shared.margin.store(margin.min(frames(MAX_MARGIN_MS, self.rate)), Ordering::Relaxed);
        }
        self.concealer.conceal()
    }
}

fn frames(ms: u32, rate: u32) -> u32 {
    (u64::from(rate) * u64::from(ms) / 1000) as u32
}

/// Of the mix: frames a second.
const MIX_RATE: u32 = 48_000;
/// 0.34 s at 192 kHz, more than is ever let wait there.
const CAPACITY: usize = 1 << 16;
/// Until it is known how late chunks come.
const FIRST_MARGIN_MS: u32 = 40;
const MIN_MARGIN_MS: u32 = 15;
const MAX_MARGIN_MS: u32 = 100;
const MORE_MARGIN_MS: u32 = 10;
/// Above the deepest dip.
const SPARE_MS: u32 = 8;
/// Devices that take a fifth of a second at once exist.
const MAX_WAITING_MS: u32 = 220;
/// In chunks: half a second, in which every usual device asks several times.
const STEER_EVERY: u32 = 50;
/// Intervals of half a second: half a minute.
const REMEMBERED: usize = 60;
/// Of each interval in the usual level.
const SMOOTHING: f64 = 0.25;
/// Too much by this is not worked off: it would take minutes.
const FAR_MS: u32 = 60;
const CORRECTION_TIME_S: f64 = 8.0;
/// ±0.2 %: nobody hears it, also on top of what guests' sound is bent by; no two clocks differ by a quarter of it.
const MAX_BEND: f64 = 0.002;

#[cfg(test)]
mod tests {
    use super::*;

    struct Heard {
        frames: Vec<f32>,
        ran_dry: u32,
        margin: u32,
        /// What waited after the device took its share, in the last tenth: the least and the most.
        left: (usize, usize),
    }

    /// A minute of a 1 kHz tone to a device that takes `share` frames at once and whose clock runs `ppm` too fast.
    fn play(rate: u32, share: usize, ppm: f64, seconds: u32) -> Heard {
        let (mut feeder, mut drain) = playout(rate);
        let mut heard = Heard { frames: Vec::new(), ran_dry: 0, margin: 0, left: (usize::MAX, 0) };
        let mut phase = 0.0_f64;
        let mut asked = 0.0_f64;
        for tick in 0..seconds * 100 {
            let mut chunk = [[0.0; CHUNK_FRAMES]; 2];
            for sample in &mut chunk[0] {
                phase += 1000.0 * std::f64::consts::TAU / f64::from(MIX_RATE);
                *sample = phase.sin() as f32 * 0.5;
            }
            chunk[1] = chunk[0];
            feeder.push(&chunk);
            asked += f64::from(rate) / 100.0 * (1.0 + ppm * 1e-6);
            while asked >= share as f64 {
                asked -= share as f64;
                drain.begin(share);
                heard.frames.extend((0..share).map(|_| drain.next_frame()[0]));
                if tick > seconds * 90 {
                    let left = drain.reader.len();
                    heard.left = (heard.left.0.min(left), heard.left.1.max(left));
                }
            }
        }
        heard.ran_dry = drain.shared.ran_dry.load(Ordering::Relaxed);
        heard.margin = drain.shared.margin.load(Ordering::Relaxed);
        heard
    }

    #[test]
    fn a_device_with_a_clock_of_its_own_is_followed_without_a_break_or_a_click() {
        for (rate, share, ppm) in [
            (48_000, 480, 0.0),
            (48_000, 480, 200.0),
            (48_000, 480, -200.0),
            (48_000, 960, 300.0),
            (48_000, 2048, -300.0),
            (44_100, 441, 150.0),
            (96_000, 1024, -150.0),
            (192_000, 4096, 100.0),
        ] {
            let name = format!("{rate} Hz, {share} at once, {ppm} ppm");
            let heard = play(rate, share, ppm, 120);
            assert_eq!(heard.ran_dry, 0, "{name}");
            let most = heard.margin as usize + share + rate as usize / 50;
            assert!(heard.left.0 > 0 && heard.left.1 < most, "{name}: {:?}, not below {most}", heard.left);
            let settled = &heard.frames[rate as usize..];
            let step = settled.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            // A 1 kHz sine of half scale never moves faster than this; a click would.
            let most = (1000.0 * std::f32::consts::TAU / rate as f32) * 0.5 * 1.03;
            assert!(step < most, "{name}: {step}, not below {most}");
        }
    }

    #[test]
    fn chunks_that_come_late_and_all_at_once_soon_leave_no_gap() {
        let (mut feeder, mut drain) = playout(48_000);
        let mut owed = 0;
        let mut dry_at = Vec::new();
        for tick in 0..6_000 {
            owed += 1;
            // Twice a second the mixing thread sleeps 60 ms too long, and then makes up for it.
            if tick % 50 >= 6 {
                (0..owed).for_each(|_| feeder.push(&[[0.5; CHUNK_FRAMES]; 2]));
                owed = 0;
            }
            if tick % 2 == 1 {
                let before = drain.shared.ran_dry.load(Ordering::Relaxed);
                drain.begin(960);
                (0..960).for_each(|_| _ = drain.next_frame());
                if drain.shared.ran_dry.load(Ordering::Relaxed) != before {
                    dry_at.push(tick);
                }
            }
        }
        assert!(dry_at.len() <= 3 && dry_at.iter().all(|tick| *tick < 500), "{dry_at:?}");
    }

    #[test]
    fn once_they_are_punctual_less_is_kept_waiting() {
        let (mut feeder, mut drain) = playout(48_000);
        for tick in 0..12_000 {
            feeder.push(&[[0.5; CHUNK_FRAMES]; 2]);
            if tick % 2 == 1 {
                drain.begin(960);
                (0..960).for_each(|_| _ = drain.next_frame());
            }
        }
        assert_eq!(drain.shared.ran_dry.load(Ordering::Relaxed), 0);
        assert!(drain.reader.len() < 48 * 30, "{}", drain.reader.len());
    }

    #[test]
    fn a_pause_of_the_mix_fades_and_then_goes_on_with_more_margin() {
        let (mut feeder, mut drain) = playout(48_000);
        let mut tick = |comes: bool| {
            if comes {
                feeder.push(&[[0.5; CHUNK_FRAMES]; 2]);
            }
            drain.begin(480);
            (0..480).map(|_| drain.next_frame()[0]).fold(0.0_f32, |a, b| a.max(b.abs()))
        };
        assert!((0..20).map(|_| tick(true)).skip(10).all(|peak| peak > 0.4));
        assert!((0..40).map(|_| tick(false)).skip(20).all(|peak| peak == 0.0));
        let peaks: Vec<f32> = (0..200).map(|_| tick(true)).collect();
        assert!(peaks[10..].iter().all(|peak| *peak > 0.4), "it plays again, and is not broken off again");
        assert!(drain.shared.margin.load(Ordering::Relaxed) > 48 * FIRST_MARGIN_MS);
    }

    #[test]
    fn a_device_that_stops_is_not_queued_up_for() {
        let (mut feeder, mut drain) = playout(48_000);
        for _ in 0..1000 {
            feeder.push(&[[0.5; CHUNK_FRAMES]; 2]);
        }
        assert!(
            drain.reader.len() <= 48 * (FIRST_MARGIN_MS + MAX_WAITING_MS + 10) as usize,
            "{}",
            drain.reader.len()
        );
        // Back again, what waits too long is worked off at an inaudible pace.
        for _ in 0..100 * 60 {
            feeder.push(&[[0.5; CHUNK_FRAMES]; 2]);
            drain.begin(480);
            (0..480).for_each(|_| {
                drain.next_frame();
            });
        }
        assert!(drain.reader.len() < 48 * 40, "{}", drain.reader.len());
    }
}
