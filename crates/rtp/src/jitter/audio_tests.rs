//! Senders, networks and players in virtual time: the same minutes and hours a show lives through.

use super::*;
use crate::prng::Prng;

/// A stretch of a show: what the network does to each packet, given its index.
struct Show<'a> {
    seconds: u64,
    /// Parts per million the sender's clock is fast.
    skew_ppm: i64,
    /// Delay on the way, or `None` for a loss.
    network: &'a mut dyn FnMut(u64) -> Option<u64>,
    /// What the sender does with its packet of that index.
    voice: &'a dyn Fn(u64) -> Voice,
    fec: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Voice {
    Speaks,
    /// A DTX update packet.
    Breathes,
    Silent,
}

fn speaks(_: u64) -> Voice {
    Voice::Speaks
}

#[derive(Default)]
struct Heard {
    /// Index of each packet played, with the time it sounded.
    played: Vec<(u64, u64)>,
    recovered: u64,
    concealed_samples: u64,
    dtx_samples: u64,
    outage_samples: u64,
    /// Delay and target, each second.
    delays: Vec<(f64, f64)>,
    stats: AudioJitterStats,
}

const TICK_NS: u64 = 10 * MS;

fn run(show: Show<'_>) -> Heard {
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    let mut heard = Heard::default();
    let mut in_flight: VecDeque<(u64, AudioPacket<u64>)> = VecDeque::new();
    let (mut index, mut sequence) = (0u64, 65_000u64);
    let mut queued = 0.0f64;
    for now_ns in (0..show.seconds * 1_000 * MS).step_by(TICK_NS as usize) {
        // The sender's clock counts 20 ms of its own time for each packet.
        loop {
            let sent_ns = (i128::from(index) * 20 * i128::from(MS) * (1_000_000 - i128::from(show.skew_ppm))
                / 1_000_000) as u64;
            if sent_ns > now_ns {
                break;
            }
            let voice = (show.voice)(index);
            if voice != Voice::Silent {
                if let Some(delay_ns) = (show.network)(index) {
                    let packet = AudioPacket {
                        sequence_number: sequence as u16,
                        timestamp: (index * 960 + u64::from(u32::MAX) - 90_000) as u32,
                        samples: 960,
                        has_fec: show.fec,
                        dtx: voice == Voice::Breathes,
                        item: index,
                    };
                    in_flight.push_back((sent_ns + delay_ns, packet));
                }
                sequence += 1;
            }
            index += 1;
        }
        in_flight.make_contiguous().sort_by_key(|(due, _)| *due);
        while in_flight.front().is_some_and(|(due, _)| *due <= now_ns) {
            let (due, packet) = in_flight.pop_front().unwrap();
            jitter.insert(due, packet);
        }
        queued -= 480.0 * jitter.rate();
        while queued < 0.0 {
            let queued_ns = ((queued + 480.0) / 48_000.0 * 1e9) as u64;
            queued += match jitter.next(now_ns, queued_ns) {
                Step::Play { item, samples, .. } => {
                    heard.played.push((item, now_ns + queued_ns));
                    f64::from(samples)
                }
                Step::Recover { samples, .. } => {
                    heard.recovered += 1;
                    f64::from(samples)
                }
                Step::Conceal { samples, .. } => {
                    assert!(samples % 120 == 0 && samples > 0);
                    heard.concealed_samples += u64::from(samples);
                    f64::from(samples)
                }
                Step::Silence { why, samples, .. } => {
                    assert!(samples > 0);
                    match why {
                        Silence::Waiting => {}
                        Silence::Dtx => heard.dtx_samples += u64::from(samples),
                        Silence::Outage => heard.outage_samples += u64::from(samples),
                    }
                    f64::from(samples)
                }
            };
        }
        if now_ns % (1_000 * MS) == 0 {
            heard.delays.push((jitter.delay_ms(), jitter.target_ms()));
        }
    }
    heard.stats = jitter.stats();
    assert!(heard.played.windows(2).all(|pair| pair[0].0 < pair[1].0), "played in order, once");
    heard
}

#[test]
fn a_quiet_line_plays_everything_with_little_delay() {
    let heard =
        run(Show { seconds: 60, skew_ppm: 0, network: &mut |_| Some(20 * MS), voice: &speaks, fec: false });
    assert!(heard.played.len() >= 2_990);
    assert_eq!(heard.concealed_samples + heard.outage_samples + heard.stats.skipped, 0);
    let (delay, target) = heard.delays[59];
    assert!(target == 10.0 && (delay - target).abs() < 5.0, "{delay} {target}");
}

#[test]
fn jitter_raises_the_delay_and_calm_lowers_it() {
    let mut random = Prng(30);
    let mut network = |index| Some(if index < 3_000 { 20 * MS + random.below(60) * MS } else { 20 * MS });
    let heard = run(Show { seconds: 120, skew_ppm: 0, network: &mut network, voice: &speaks, fec: false });
    let (_, stormy) = heard.delays[50];
    let (delay, calm) = heard.delays[119];
    assert!((60.0..=75.0).contains(&stormy), "{stormy}");
    assert!(calm == 10.0 && delay < 20.0, "{calm} {delay}");
    // Three in a hundred may be late, not more.
    assert!(heard.concealed_samples < 3_000 * 960 * 4 / 100, "{}", heard.concealed_samples);
    assert!(heard.played.len() > 5_800);
}

#[test]
fn clocks_that_disagree_stay_together_for_hours() {
    for skew_ppm in [-200, 200] {
        let mut random = Prng(31);
        let mut network = |_| Some(30 * MS + random.below(20) * MS);
        let heard = run(Show { seconds: 7_200, skew_ppm, network: &mut network, voice: &speaks, fec: false });
        assert!(heard.stats.skipped <= 5 && heard.stats.restarts == 0, "{:?}", heard.stats);
        assert!(heard.concealed_samples < 360_000 * 960 * 3 / 100, "{}", heard.concealed_samples);
        for (delay, target) in &heard.delays[120..] {
            assert!(
                (20.0..=45.0).contains(target) && (delay - target).abs() < 15.0,
                "{skew_ppm}: {delay} {target}"
            );
        }
    }
}

#[test]
fn losses_are_rebuilt_from_the_packet_after() {
    let mut random = Prng(32);
    let mut network = |_| (!random.chance(5)).then_some(20 * MS);
    let heard = run(Show { seconds: 120, skew_ppm: 0, network: &mut network, voice: &speaks, fec: true });
    let lost = 6_000 - heard.stats.received;
    assert!(heard.recovered * 100 > lost * 85, "{} of {lost}", heard.recovered);
    // What is left is the front part of losses in a row.
    assert!(heard.concealed_samples < lost * 960 / 8, "{}", heard.concealed_samples);
    assert!(heard.delays[119].1 <= 35.0);
}

#[test]
fn losses_without_redundancy_are_concealed_for_as_long_as_they_last() {
    let mut network = |index| (index % 50 != 49).then_some(20 * MS);
    let heard = run(Show { seconds: 60, skew_ppm: 0, network: &mut network, voice: &speaks, fec: false });
    let lost = 3_000 - heard.stats.received;
    let difference = heard.concealed_samples.abs_diff(lost * 960);
    assert!(difference <= 2 * 960, "{} for {lost} packets", heard.concealed_samples);
    assert_eq!(heard.stats.skipped + heard.stats.late, 0);
}

#[test]
fn silence_is_not_taken_for_loss() {
    // Four seconds of speech, four of silence with an update each 400 ms.
    let voice = |index: u64| match index % 400 {
        0..200 => Voice::Speaks,
        place if place % 20 == 0 => Voice::Breathes,
        _ => Voice::Silent,
    };
    let mut random = Prng(33);
    let mut network = |_| Some(20 * MS + random.below(15) * MS);
    let heard = run(Show { seconds: 300, skew_ppm: 100, network: &mut network, voice: &voice, fec: false });
    assert!(heard.dtx_samples > 48_000 * 130, "{}", heard.dtx_samples);
    assert!(heard.concealed_samples < 48_000 * 3, "{}", heard.concealed_samples);
    assert_eq!(heard.outage_samples, 0);
    let spoken = heard.played.len();
    assert!(spoken > 7_500 + 350, "{spoken}");
}

#[test]
fn after_a_stall_the_show_is_live_again_at_once() {
    // At ten seconds the network holds everything for one second, then delivers it in one go.
    let mut network = |index: u64| match index {
        500..550 => Some((550 - index) * 20 * MS + 20 * MS),
        _ => Some(20 * MS),
    };
    let heard = run(Show { seconds: 60, skew_ppm: 0, network: &mut network, voice: &speaks, fec: false });
    let after = heard.played.iter().find(|(index, _)| *index >= 551).unwrap();
    let behind_ms = (after.1 - after.0 * 20 * MS) / MS;
    assert!(behind_ms <= 20 + 200 + 60 + 10, "{behind_ms}");
    assert!(heard.outage_samples > 0 && heard.concealed_samples <= 48_000 / 4);
    let (delay, target) = heard.delays[59];
    assert!(target <= 20.0 && delay < 40.0, "{delay} {target}: it did not stay there");
}

#[test]
fn a_longer_path_is_accepted() {
    for (shift_ms, bound) in [(100, 40), (600, 120)] {
        let mut network = |index: u64| Some(if index < 1_000 { 20 * MS } else { (20 + shift_ms) * MS });
        let heard = run(Show { seconds: 90, skew_ppm: 0, network: &mut network, voice: &speaks, fec: false });
        assert!(4_500 - heard.played.len() <= bound, "{shift_ms}: {} played", heard.played.len());
        let (delay, target) = heard.delays[89];
        assert!(target <= 60.0 && delay < 70.0, "{shift_ms}: {delay} {target}");
    }
}

#[test]
fn a_shorter_path_is_used() {
    let mut network = |index: u64| Some(if index < 1_000 { 220 * MS } else { 20 * MS });
    let heard = run(Show { seconds: 60, skew_ppm: 0, network: &mut network, voice: &speaks, fec: false });
    let (delay, target) = heard.delays[59];
    // The packets of the old path count as late for the window, then the target falls by 10 ms a second.
    assert!(target < 60.0 && delay < 70.0, "{delay} {target}");
    assert!(heard.played.len() > 2_950, "{}", heard.played.len());
}

fn packet(sequence_number: u16, timestamp: u32) -> AudioPacket<u16> {
    AudioPacket {
        sequence_number,
        timestamp,
        samples: 960,
        has_fec: false,
        dtx: false,
        item: sequence_number,
    }
}

#[test]
fn a_new_sender_under_the_same_name_is_heard() {
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    let mut played = Vec::new();
    for step in 0..200u64 {
        let (sequence, timestamp) =
            if step < 100 { (step, step * 960) } else { (30_000 + step, 0x7000_0000 + step * 960) };
        jitter.insert(step * 20 * MS, packet(sequence as u16, timestamp as u32));
        let mut queued = 0;
        while queued < 960 {
            queued += match jitter.next(step * 20 * MS, queued * 1_000_000 / 48) {
                Step::Play { item, samples, .. } => {
                    played.push(item);
                    u64::from(samples)
                }
                Step::Silence { samples, .. } | Step::Conceal { samples, .. } => u64::from(samples),
                Step::Recover { .. } => panic!(),
            };
        }
    }
    assert!(played.iter().filter(|item| **item >= 30_100).count() > 90, "{}", played.len());
    assert!(jitter.stats().restarts >= 1);
}

#[test]
fn reordered_and_repeated_packets_play_once() {
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    for sequence in [0u16, 2, 1, 1, 3, 0] {
        jitter.insert(0, packet(sequence, u32::from(sequence) * 960));
    }
    let mut played = Vec::new();
    for tick in 0..20 {
        if let Step::Play { item, .. } = jitter.next(tick * 20 * MS, 0) {
            played.push(item);
        }
    }
    assert_eq!(played, [0, 1, 2, 3]);
    assert_eq!(jitter.stats().duplicates, 2);
}

#[test]
fn a_repetition_fills_the_hole_it_belongs_into_and_no_other() {
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    assert!(!jitter.fill(packet(9, 9 * 960)), "of nothing known");
    for n in [10u16, 11, 15] {
        jitter.insert(0, packet(n, u32::from(n) * 960));
    }
    assert!(!jitter.fill(packet(11, 11 * 960)), "it is there");
    assert!(!jitter.fill(packet(12, 11 * 960)), "the time of another");
    assert!(!jitter.fill(packet(14, 14 * 960 + 480)), "it overlaps the next");
    assert!(!jitter.fill(packet(16, 16 * 960)), "newer than all");
    assert!(jitter.fill(packet(14, 14 * 960)));
    assert!(jitter.fill(packet(12, 12 * 960)));
    assert!(!jitter.fill(packet(12, 12 * 960)), "twice");
    let mut sounded = Vec::new();
    let mut now_ns = 50 * MS;
    while sounded.len() < 6 {
        match jitter.next(now_ns, 0) {
            Step::Play { timestamp, samples, .. } => {
                sounded.push((timestamp - (1 << 32)) / 960);
                now_ns += u64::from(samples) * 1_000_000 / 48;
            }
            Step::Conceal { timestamp, samples, .. } => {
                sounded.push(100 + (timestamp - (1 << 32)) / 960);
                now_ns += u64::from(samples) * 1_000_000 / 48;
            }
            other => panic!("{other:?}"),
        }
        if sounded.len() == 4 {
            assert!(!jitter.fill(packet(13, 13 * 960)), "concealed already");
        }
    }
    assert_eq!(sounded, [10, 11, 12, 113, 14, 15]);
    assert_eq!((jitter.stats().recovered, jitter.stats().late), (2, 0));
}

#[test]
fn a_player_that_never_asks_costs_a_bounded_amount() {
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    for index in 0..10_000u64 {
        jitter.insert(index * 20 * MS, packet(index as u16, (index * 960) as u32));
    }
    assert!(jitter.buffered_ms() <= 20_000.0);
}

#[test]
fn noise_never_panics() {
    let mut random = Prng(34);
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    let mut now_ns = 0;
    for _ in 0..300_000 {
        now_ns += random.below(30 * MS);
        let near = (now_ns / (20 * MS)) as u16;
        let mut noise = packet(near, (now_ns / 1_000 * 48 / 1_000) as u32);
        if random.chance(20) {
            noise.sequence_number = random.next() as u16;
        }
        if random.chance(20) {
            noise.timestamp = random.next() as u32;
        }
        if random.chance(20) {
            noise.samples = random.next() as u32;
        }
        noise.has_fec = random.chance(30);
        noise.dtx = random.chance(30);
        match random.chance(20) {
            true => drop(jitter.fill(noise)),
            false => jitter.insert(now_ns, noise),
        }
        let asked = random.below(3);
        for _ in 0..asked {
            let _ = jitter.next(now_ns, random.below(20 * MS));
        }
        assert!((0.98..=1.02).contains(&jitter.rate()));
        assert!((10.0..=200.0).contains(&jitter.target_ms()));
    }
}

#[test]
fn timestamps_that_race_ahead_are_only_nonsense() {
    let mut jitter = AudioJitter::new(AudioJitterConfig::opus());
    for index in 0..60_000u64 {
        let jump = if index % 3 == 0 { 0x7fff_ffff } else { 90_000 };
        jitter.insert(index * 20 * MS, packet(index as u16, (index * jump) as u32));
        let _ = jitter.next(index * 20 * MS, 0);
    }
    let mut jitter = AudioJitter::new(AudioJitterConfig { clock_rate: 1, ..AudioJitterConfig::opus() });
    for index in 0..10_000u64 {
        jitter.insert(u64::MAX - 10_000 + index, packet(index as u16, (index * 0x7fff_ffff) as u32));
        let _ = jitter.next(u64::MAX, u64::MAX);
    }
}
