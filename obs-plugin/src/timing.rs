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
    fn late_sound_is_not_handed_to_obs() {
        let now = 10_000_000_000;
        let frame = 33_000_000;
        assert!(play_at(now - frame - TOO_LATE, frame, now).is_some());
        assert!(play_at(now - frame - TOO_LATE - 1, frame, now).is_none());
        assert!(play_at(u64::MAX, frame, now).is_some());
    }
}
