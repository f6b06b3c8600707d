//! Which timestamp libobs is given, and what it must never be given.

/// One frame of OBS's canvas in nanoseconds; 30 fps if OBS does not say.
pub fn frame_ns(fps_num: u32, fps_den: u32) -> u64 {
    match (fps_num, fps_den) {
        (0, _) | (_, 0) => 1_000_000_000 / 30,
        (num, den) => (u64::from(den) * 1_000_000_000 / u64::from(num)).min(MAX_FRAME),
    }
}

/// When libobs is to play sound of time `timestamp`, or `None` if it is too late for that at `now`.
///
/// An unbuffered picture appears with the canvas's next frame, sound exactly at its time: so sound is sent one
/// canvas frame into the future. That also spares it the fate of late sound, for which libobs delays the sound of
/// all sources, for good.
pub fn play_at(timestamp: u64, frame_ns: u64, now: u64) -> Option<u64> {
    let at = timestamp.saturating_add(frame_ns);
    (at.saturating_add(TOO_LATE) >= now).then_some(at)
}

/// Where a source's sound ends in libobs's own reckoning.
///
/// libobs plays a chunk that begins within 70 ms of the end of the one before right after that end, whatever its time says
/// (`TS_SMOOTHING_THRESHOLD`). Sound that keeps leaving small gaps would so fall behind its own times, and libobs would
/// delay the sound of all sources for it, a tick at a time, up to its limit. So a chunk is played only if it
/// continues the line, or is so far after it that libobs places it anew.
#[derive(Debug, Default)]
pub struct SoundLine {
    end_ns: Option<u64>,
}

impl SoundLine {
    /// Whether a chunk of this length may be played at that time; if so, the line goes on with it.
    pub fn admit(&mut self, play_at_ns: u64, length_ns: u64) -> bool {
        let end_ns = match self.end_ns {
            Some(end) if play_at_ns.abs_diff(end) <= CONTINUES => end,
            Some(end) if play_at_ns < end.saturating_add(PLACED_ANEW) => return false,
            _ => play_at_ns,
        };
        self.end_ns = Some(end_ns.saturating_add(length_ns));
        true
    }
}

/// Less than half of what libobs smooths over: rounding and drift of honest sound, and no more.
const CONTINUES: u64 = 30_000_000;
/// A little more than what libobs smooths over.
const PLACED_ANEW: u64 = 75_000_000;
/// Six of libobs's audio ticks. Less would make holes in the sound of a busy machine, more would let one stall
/// delay a whole show.
const TOO_LATE: u64 = 120_000_000;
/// 10 fps: a slower canvas is a slide show, and nobody sees its lips.
const MAX_FRAME: u64 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_waits_for_the_picture_of_its_canvas() {
        assert_eq!(frame_ns(30, 1), 33_333_333);
        assert_eq!(frame_ns(60_000, 1001), 16_683_333);
        assert_eq!(frame_ns(0, 1), 33_333_333);
        assert_eq!(frame_ns(1, 0), 33_333_333);
        assert_eq!(frame_ns(1, 60), MAX_FRAME);
        assert_eq!(play_at(1_000_000_000, 33_000_000, 1_010_000_000), Some(1_033_000_000));
    }

    #[test]
    fn sound_continues_or_is_placed_anew_and_never_lags_behind_its_times() {
        const MS: u64 = 1_000_000;
        let mut line = SoundLine::default();
        assert!(line.admit(1_000 * MS, 10 * MS));
        assert!(line.admit(1_012 * MS, 10 * MS), "rounding");
        assert!(!line.admit(1_070 * MS, 10 * MS), "a gap that libobs would close");
        assert!(line.admit(1_100 * MS, 10 * MS), "a gap that libobs keeps");
        assert!(!line.admit(1_050 * MS, 10 * MS), "backwards");
        // Chunks of 1 ms that claim to be 20 ms apart: what is let through never lags by more than the tolerance.
        let mut line = SoundLine::default();
        let mut end: Option<u64> = None;
        for at in (0..1_000).map(|i| i * 20 * MS) {
            if line.admit(at, MS) {
                let begins = end.filter(|end| at < end + 70 * MS).unwrap_or(at);
                assert!(at.abs_diff(begins) <= CONTINUES, "{at}");
                end = Some(begins + MS);
            }
        }
    }

    #[test]
    fn late_sound_is_not_handed_to_obs() {
        let now = 10_000_000_000;
        let frame = 33_000_000;
        assert!(play_at(now - frame - TOO_LATE, frame, now).is_some());
        assert!(play_at(now - frame - TOO_LATE - 1, frame, now).is_none());
        assert!(play_at(u64::MAX, frame, now).is_some());
    }
}
