//! When a picture is seen on OBS's canvas, and by how much sound has to wait to be heard with it.

use std::collections::VecDeque;

/// The canvas's clock: it draws at whole frames from `tick_ns` on, `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// When the frame that was drawn last, or is being drawn, began.
    pub tick_ns: u64,
    pub frame_ns: u64,
}

impl Canvas {
    /// The frame in which a picture given at `now` is first seen. libobs takes what is there as a frame begins, and gives
    /// the frame that time in recordings and streams.
    pub fn shows_at(self, now: u64) -> u64 {
        let frames = now.saturating_sub(self.tick_ns) / self.frame_ns.max(1) + 1;
        self.tick_ns.saturating_add(frames.saturating_mul(self.frame_ns))
    }
}

/// How much later than at their times pictures are seen, of the last ones: between none and a frame, if they are handed over
/// in time, depending on how the canvas's frames fall between theirs.
///
/// The mean, because pictures that come close to a frame's beginning are seen now in this one, now in the next; without
/// the earliest and the latest fifth, because a few late ones should not move the sound.
#[derive(Debug, Default)]
pub struct PictureLag {
    /// At most [`MEMORY`]; when full, the oldest goes.
    recent: VecDeque<i64>,
    /// Of the picture that is seen next, unless another comes before: when, and how much later than at its time.
    next: Option<(u64, i64)>,
    mean: Option<i64>,
    scratch: Vec<i64>,
}

impl PictureLag {
    /// A picture of this time was handed over, to be seen at `shown_ns`.
    pub fn note(&mut self, timestamp_ns: u64, shown_ns: u64) {
        let lag = i64::try_from(i128::from(shown_ns) - i128::from(timestamp_ns)).unwrap_or(i64::MAX);
        if let Some((_, lag)) = self.next.replace((shown_ns, lag)).filter(|(before, _)| *before != shown_ns) {
            if self.recent.len() == MEMORY {
                self.recent.pop_front();
            }
            self.recent.push_back(lag.clamp(-MAX_WAIT, MAX_WAIT));
            self.mean = self.middle();
        }
    }

    /// By how much sound has to wait. Without pictures: half a frame, which is what they would need most likely.
    pub fn sound_waits_ns(&self, frame_ns: u64) -> i64 {
        self.mean.unwrap_or((frame_ns / 2) as i64).clamp(0, MAX_WAIT)
    }

    fn middle(&mut self) -> Option<i64> {
        if self.recent.len() < ENOUGH {
            return None;
        }
        self.scratch.clear();
        self.scratch.extend(&self.recent);
        self.scratch.sort_unstable();
        let outer = self.scratch.len() / 5;
        let middle = self.scratch.get(outer..self.scratch.len() - outer)?;
        Some(middle.iter().sum::<i64>() / i64::try_from(middle.len()).ok()?)
    }
}

/// Five seconds at 30 fps.
const MEMORY: usize = 150;
const ENOUGH: usize = 8;
/// A canvas that is slower than this is a slide show, and nobody sees its lips.
const MAX_WAIT: i64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_picture_is_seen_in_the_next_frame() {
        let canvas = Canvas { tick_ns: 1_000 * MS, frame_ns: 20 * MS };
        for (now, shown) in [(1_000, 1_020), (1_019, 1_020), (1_020, 1_040), (1_075, 1_080), (900, 1_020)] {
            assert_eq!(canvas.shows_at(now * MS), shown * MS, "{now}");
        }
        assert_eq!(Canvas { tick_ns: 5, frame_ns: 0 }.shows_at(7), 5);
    }

    #[test]
    fn sound_waits_as_long_as_pictures_do_whatever_the_rates() {
        // (canvas, pictures, phase between them) and what the first picture in each frame waits.
        for (frame, period, phase, expected) in [
            (33.3, 33.3, 5.0, 28.3),
            (33.3, 33.3, 30.0, 3.3),
            (16.7, 33.3, 5.0, 11.7),
            (33.3, 16.7, 5.0, 11.7),
        ] {
            let ms = |ms: f64| (ms * 1e6) as u64;
            let canvas = Canvas { tick_ns: ms(1_000.0), frame_ns: ms(frame) };
            let mut lag = PictureLag::default();
            assert_eq!(lag.sound_waits_ns(canvas.frame_ns), ms(frame / 2.0) as i64);
            for i in 0..20 {
                let at = ms(1_000.0 + phase + f64::from(i) * period);
                lag.note(at, canvas.shows_at(at));
            }
            let waits = lag.sound_waits_ns(canvas.frame_ns) as f64 / 1e6;
            assert!((waits - expected).abs() < 1.0, "{waits} for {expected}");
        }
    }

    #[test]
    fn a_few_late_pictures_do_not_move_the_sound() {
        let mut lag = PictureLag::default();
        for i in 0..100_u64 {
            let late = if i % 6 == 0 { 60 } else { 0 };
            lag.note(i * 33 * MS, (i * 33 + 10 + late) * MS);
        }
        assert_eq!(lag.sound_waits_ns(33 * MS), 10 * MS as i64);
    }

    #[test]
    fn between_two_frames_sound_is_in_the_middle() {
        let mut lag = PictureLag::default();
        for i in 0..300_u64 {
            // Just before a frame's beginning, or just after.
            let late = if i % 2 == 0 { 1 } else { 33 };
            lag.note(i * 33 * MS, i * 33 * MS + late * MS);
        }
        let waits = lag.sound_waits_ns(33 * MS) / MS as i64;
        assert!((14..=20).contains(&waits), "{waits}");
    }
}
