//! Two streams of one guest over simulated hours: drifting clocks, jittering paths, reports that err, lie or stop.

use super::*;
use crate::prng::Prng;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// 2026, in seconds since 1900.
const NTP_EPOCH: u64 = 3_976_000_000;

/// A guest whose microphone and camera share a wall clock, as seen by the simulation.
struct Guest {
    /// Parts per million the wall clock is fast.
    skew_ppm: i64,
    /// And the sound card, on top.
    audio_skew_ppm: i64,
    /// The wall clock's error, for a clock set anew.
    wall_shift_ns: i64,
}

impl Guest {
    fn wall_ns(&self, true_ns: u64) -> i64 {
        let drift = (i128::from(true_ns) * i128::from(self.skew_ppm) / 1_000_000) as i64;
        (NTP_EPOCH * SECOND) as i64 + true_ns as i64 + drift + self.wall_shift_ns
    }

    fn ntp(&self, true_ns: u64) -> u64 {
        let wall = self.wall_ns(true_ns) as u128;
        (((wall / 1_000_000_000) << 32) + (((wall % 1_000_000_000) << 32) / 1_000_000_000)) as u64
    }

    fn audio_timestamp(&self, true_ns: u64) -> u32 {
        let ppm = self.skew_ppm + self.audio_skew_ppm;
        let own_ns = i128::from(true_ns) + i128::from(true_ns) * i128::from(ppm) / 1_000_000;
        // Begins a minute before the wrap.
        (own_ns * 48_000 / 1_000_000_000 + i128::from(u32::MAX) - 60 * 48_000) as u32
    }

    fn video_timestamp(&self, true_ns: u64) -> u32 {
        let own_ns = i128::from(true_ns) + i128::from(true_ns) * i128::from(self.skew_ppm) / 1_000_000;
        (own_ns * 90_000 / 1_000_000_000 + i128::from(u32::MAX) - 30 * 90_000) as u32
    }
}

/// What both streams share in a run.
struct Run {
    guest: Guest,
    clock: GuestClock,
    audio: SenderClock,
    video: SenderClock,
    random: Prng,
    /// The path without queues, and what queues add at most, for sound and for picture (which is encoded, too).
    path_ns: u64,
    audio_jitter_ms: u64,
    video_jitter_ms: u64,
    video_extra_ms: u64,
    reports: bool,
}

impl Run {
    fn new(skew_ppm: i64, seed: u64) -> Self {
        Self {
            guest: Guest { skew_ppm, audio_skew_ppm: 0, wall_shift_ns: 0 },
            clock: GuestClock::new(),
            audio: SenderClock::new(48_000),
            video: SenderClock::new(90_000),
            random: Prng(seed),
            path_ns: 25 * MS,
            audio_jitter_ms: 20,
            video_jitter_ms: 40,
            video_extra_ms: 35,
            reports: true,
        }
    }

    /// Lives from one second to another; `check` sees the times both streams give for the end of each second.
    fn live(&mut self, seconds: std::ops::Range<u64>, mut check: impl FnMut(u64, u64, u64)) {
        for now_ns in (seconds.start * SECOND..seconds.end * SECOND).step_by((20 * MS) as usize) {
            if !self.random.chance(2) {
                let arrival = now_ns + self.path_ns + self.random.below(self.audio_jitter_ms * MS);
                self.audio.on_packet(&mut self.clock, self.guest.audio_timestamp(now_ns), arrival);
            }
            if now_ns % (40 * MS) == 0 && !self.random.chance(2) {
                let queue = self.random.below(self.video_jitter_ms * MS);
                let arrival = now_ns + self.path_ns + self.video_extra_ms * MS + queue;
                self.video.on_packet(&mut self.clock, self.guest.video_timestamp(now_ns), arrival);
            }
            if self.reports && now_ns % SECOND == 500 * MS {
                // The timestamp in a report is off by some milliseconds.
                let off_ns = self.random.below(6 * MS);
                self.video.on_report(
                    &mut self.clock,
                    self.guest.ntp(now_ns),
                    self.guest.video_timestamp(now_ns + off_ns),
                );
                if now_ns / SECOND % 5 == 2 {
                    let off_ns = self.random.below(10 * MS);
                    let timestamp = self.guest.audio_timestamp(now_ns + off_ns);
                    self.audio.on_report(&mut self.clock, self.guest.ntp(now_ns), timestamp);
                }
            }
            if now_ns % SECOND == 980 * MS {
                let audio = self.audio.capture_time_ns(&self.clock, self.guest.audio_timestamp(now_ns));
                let video = self.video.capture_time_ns(&self.clock, self.guest.video_timestamp(now_ns));
                if let (Some(audio), Some(video)) = (audio, video) {
                    check(now_ns, audio, video);
                }
            }
        }
    }

    /// Both streams agree, and lie where an undelayed packet would.
    fn live_well(&mut self, seconds: std::ops::Range<u64>, together_ms: u64, true_ms: u64) {
        let path_ns = self.path_ns;
        self.live(seconds, |now_ns, audio, video| {
            let second = now_ns / SECOND;
            assert!(
                audio.abs_diff(video) <= together_ms * MS,
                "{second}: {} µs apart",
                audio.abs_diff(video) / 1_000
            );
            let off = audio.abs_diff(now_ns + path_ns);
            assert!(off <= true_ms * MS, "{second}: {} µs off", off / 1_000);
        });
    }
}

#[test]
fn sound_and_picture_share_a_timeline_for_hours() {
    for (skew_ppm, seed) in [(0, 40), (200, 41), (-200, 42), (50, 43)] {
        let mut run = Run::new(skew_ppm, seed);
        run.live(0..60, |_, _, _| {});
        run.live_well(60..4 * 3_600, 10, 12);
        assert!(
            (run.clock.drift_ppm() - skew_ppm as f64).abs() < 15.0,
            "{} for {skew_ppm}",
            run.clock.drift_ppm()
        );
    }
}

#[test]
fn a_sound_card_with_a_clock_of_its_own_stays_in_step() {
    for (skew_ppm, audio_skew_ppm) in [(-80, 150), (200, -400)] {
        let mut run = Run::new(skew_ppm, 44);
        run.guest.audio_skew_ppm = audio_skew_ppm;
        run.live(0..60, |_, _, _| {});
        run.live_well(60..2 * 3_600, 15, 15);
    }
}

#[test]
fn a_day_of_timestamps_wraps_unnoticed() {
    // 48 kHz wraps after 24.8 h, 90 kHz after 13.3 h; both begin just before a wrap, so both wrap twice.
    let mut run = Run::new(30, 45);
    for hour in 0..25 {
        let start = hour * 3_600;
        run.live(start..start + 90, |_, _, _| {});
        run.live_well(start + 90..start + 150, 12, 15);
    }
}

#[test]
fn before_the_first_report_arrivals_stand_in() {
    let mut run = Run::new(0, 46);
    run.reports = false;
    assert_eq!(run.audio.capture_time_ns(&run.clock, 0), None);
    run.live(0..10, |_, _, _| {});
    run.live(10..600, |now_ns, audio, video| {
        assert!(audio.abs_diff(now_ns + 25 * MS) <= 5 * MS);
        assert!(video.abs_diff(now_ns + 60 * MS) <= 8 * MS, "{}", video.abs_diff(now_ns + 60 * MS));
    });
    assert!(!run.audio.is_synchronised(&run.clock));
    run.reports = true;
    run.live(600..620, |_, _, _| {});
    assert!(run.audio.is_synchronised(&run.clock) && run.video.is_synchronised(&run.clock));
    run.live_well(620..700, 12, 15);
}

#[test]
fn time_never_runs_backwards_and_hardly_changes_pace() {
    let mut run = Run::new(150, 47);
    run.live(0..30, |_, _, _| {});
    let mut last: Option<(u64, u64)> = None;
    run.live(30..1_800, |_, audio, video| {
        if let Some((last_audio, last_video)) = last {
            for elapsed in [audio - last_audio, video - last_video] {
                assert!(elapsed.abs_diff(SECOND) <= 6 * MS, "{elapsed}");
            }
        }
        last = Some((audio, video));
    });
}

#[test]
fn one_report_that_lies_changes_nothing() {
    let mut run = Run::new(0, 48);
    run.live(0..60, |_, _, _| {});
    let timestamp = run.guest.video_timestamp(60 * SECOND);
    for shift_s in [-3_600i64, -1, 1, 3_600, 1 << 31] {
        let lie = run.guest.ntp(60 * SECOND).wrapping_add((shift_s << 32) as u64);
        assert_eq!(run.video.on_report(&mut run.clock, lie, timestamp), Report::Doubted);
        let truth = run.guest.ntp(60 * SECOND);
        assert_eq!(run.video.on_report(&mut run.clock, truth, timestamp), Report::Accepted);
    }
    assert_eq!(run.video.on_report(&mut run.clock, 0, timestamp), Report::Empty);
    run.live_well(60..120, 12, 15);
}

#[test]
fn a_wall_clock_set_anew_is_followed() {
    for shift_s in [-7_200i64, -2, 2, 7_200] {
        let mut run = Run::new(20, 49);
        run.live(0..120, |_, _, _| {});
        run.guest.wall_shift_ns = shift_s * SECOND as i64;
        // While the streams' reports disagree each goes by what it can trust; never far off.
        run.live(120..150, |now_ns, audio, video| {
            for time in [audio, video] {
                assert!(
                    time.abs_diff(now_ns + 25 * MS) < 2_000 * MS,
                    "{shift_s}: {}",
                    time as i64 - now_ns as i64
                );
            }
        });
        run.live_well(150..300, 12, 15);
    }
}

#[test]
fn reports_of_nonsense_leave_arrival_time() {
    let mut random = Prng(50);
    let mut run = Run::new(0, 51);
    run.reports = false;
    run.live(0..10, |_, _, _| {});
    for second in 10..300 {
        for _ in 0..3 {
            let (audio, video) = (random.next(), random.next());
            run.audio.on_report(&mut run.clock, audio, random.next() as u32);
            run.video.on_report(&mut run.clock, video, random.next() as u32);
            // Twice the same lie, to be believed.
            run.video.on_report(&mut run.clock, video, run.guest.video_timestamp(second * SECOND));
            run.video.on_report(&mut run.clock, video, run.guest.video_timestamp(second * SECOND));
        }
        run.live(second..second + 1, |now_ns, audio, video| {
            for time in [audio, video] {
                assert!(
                    time.abs_diff(now_ns + 25 * MS) <= 1_600 * MS,
                    "{second}: {}",
                    time as i64 - now_ns as i64
                );
            }
        });
    }
}

#[test]
fn capture_times_say_it_better_than_reports() {
    let mut run = Run::new(100, 57);
    // Reports of sound are 26 ms off, as browsers' are; from the second minute on packets say it themselves.
    let mut wrong_ns = 26 * MS;
    let mut apart = Vec::new();
    run.reports = false;
    for second in 0..300u64 {
        run.live(second..second + 1, |_, audio, video| apart.push(audio as i64 - video as i64));
        let now_ns = (second + 1) * SECOND;
        let (ntp, sound, picture) =
            (run.guest.ntp(now_ns), run.guest.audio_timestamp(now_ns), run.guest.video_timestamp(now_ns));
        run.video.on_report(&mut run.clock, ntp, picture);
        let reported = run.audio.on_report(&mut run.clock, run.guest.ntp(now_ns + wrong_ns), sound);
        // Contradicting ones do not disturb either.
        wrong_ns = if second < 60 { 26 * MS } else { 40 * MS + second % 7 * MS };
        let is_superseded = (61..237).contains(&second);
        assert_eq!(reported == Report::Superseded, is_superseded, "{second}: {reported:?}");
        if (60..230).contains(&second) && second % 5 == 0 {
            assert_eq!(run.audio.on_capture_time(&mut run.clock, ntp, sound), Report::Accepted);
        }
    }
    assert!(apart[30..59].iter().all(|ns| ns.abs_diff(26 * MS as i64) < 3 * MS), "{:?}", &apart[30..59]);
    assert!(apart[75..236].iter().all(|ns| ns.unsigned_abs() < 2 * MS), "{:?}", &apart[75..236]);
    assert!(apart[290..].iter().all(|ns| *ns > 30 * MS as i64), "reports again: {:?}", &apart[290..]);
}

#[test]
fn a_longer_path_moves_both_alike() {
    let mut run = Run::new(100, 52);
    run.live(0..300, |_, _, _| {});
    run.path_ns = 125 * MS;
    run.live(300..900, |now_ns, audio, video| {
        assert!(audio.abs_diff(video) <= 15 * MS);
        assert!((now_ns + 5 * MS..now_ns + 150 * MS).contains(&audio), "{}", audio as i64 - now_ns as i64);
    });
    run.live_well(900..1_000, 12, 15);
    run.path_ns = 25 * MS;
    run.live(1_000..1_120, |_, audio, video| assert!(audio.abs_diff(video) <= 15 * MS));
    run.live_well(1_120..1_300, 12, 15);
}

#[test]
fn a_stream_that_pauses_and_restarts_its_timestamps_recovers() {
    let mut run = Run::new(0, 53);
    run.live(0..60, |_, _, _| {});
    // Half an hour of nothing, then the same clocks.
    run.live_well(60 + 1_800..60 + 1_900, 20, 20);
    // The encoder was replaced: another random timestamp on the same stream.
    let mut shifted = SenderClock::new(90_000);
    std::mem::swap(&mut shifted, &mut run.video);
    let base = 2_000 * SECOND;
    for step in 0..3_000u64 {
        let now_ns = base + step * 40 * MS;
        let timestamp = run.guest.video_timestamp(now_ns).wrapping_add(0x5000_0000);
        shifted.on_packet(&mut run.clock, timestamp, now_ns + 60 * MS);
        if step % 25 == 12 {
            shifted.on_report(&mut run.clock, run.guest.ntp(now_ns), timestamp);
        }
        if step > 100 {
            let time = shifted.capture_time_ns(&run.clock, timestamp).unwrap();
            assert!(time.abs_diff(now_ns + 60 * MS) < 100 * MS, "{step}: {}", time as i64 - now_ns as i64);
        }
    }
}

#[test]
fn noise_never_panics() {
    let mut random = Prng(54);
    for _ in 0..50 {
        let mut clock = GuestClock::new();
        let mut stream = SenderClock::new(random.below(100_000) as u32);
        for _ in 0..2_000 {
            let wild = random.chance(50);
            let arrival = if wild { random.next() } else { random.below(1_000 * SECOND) };
            stream.on_packet(&mut clock, random.next() as u32, arrival);
            stream.on_report(&mut clock, random.next(), random.next() as u32);
            if random.chance(20) {
                stream.on_capture_time(&mut clock, random.next(), random.next() as u32);
            }
            let _ = stream.capture_time_ns(&clock, random.next() as u32);
            let _ = stream.sender_time_ns(random.next() as u32);
        }
    }
}
