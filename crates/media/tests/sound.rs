//! Sound from microphone to chunks, and in step with the picture, in virtual time.

mod common;

use common::engine::{Engine, Viewer, peer};
use common::microphone::{self, FREQUENCY, Microphone, PAYLOAD_TYPE, strength};
use greenroom_media::audio::{LEAD_NS, SAMPLE_RATE, TICK_NS, Track};
use greenroom_media::feed::{Feed, Input};
use greenroom_media::timing::GuestTiming;
use rtp::ext::AbsCaptureTime;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::link::FromWorker;
use wire::ortc::MediaKind;

/// One guest's sound, ten milliseconds at a time.
struct Stage {
    /// How often each packet is sent once more, within those after it (RFC 2198).
    repeats: usize,
    /// The last packets, oldest first.
    sent: Vec<Vec<u8>>,
    feed: Arc<Feed>,
    timing: Arc<GuestTiming>,
    track: Track,
    microphone: Microphone,
    now_ns: u64,
    /// Sound on its way: when it arrives.
    under_way: Vec<(u64, Input)>,
    /// (when it is to be heard, left channel); `None`: nothing was given to OBS.
    heard: Vec<(u64, Option<Vec<f32>>)>,
}

impl Stage {
    fn new() -> Self {
        let feed = microphone::feed(2, Some(RED_PAYLOAD_TYPE));
        let timing = Arc::<GuestTiming>::default();
        let track = Track::new(feed.clone(), timing.clone());
        let microphone = Microphone::new();
        Self {
            repeats: 0,
            sent: Vec::new(),
            feed,
            timing,
            track,
            microphone,
            now_ns: START,
            under_way: Vec::new(),
            heard: Vec::new(),
        }
    }

    /// Sends the next 20 ms of sound, to arrive `delay_ns` from now.
    fn send(&mut self, delay_ns: u64) {
        let bytes = self.next_packet();
        let arrival_ns = self.now_ns + delay_ns;
        self.under_way.push((arrival_ns, Input::Packet { arrival_ns, bytes }));
    }

    /// The next 20 ms; with repeats, the packets before them too.
    fn next_packet(&mut self) -> Vec<u8> {
        let packet = self.microphone.record();
        self.sent.push(packet.clone());
        let older = self.sent.len() - 1;
        let repeated = older.min(self.repeats);
        self.sent.drain(..older - repeated);
        if self.repeats == 0 {
            return packet;
        }
        let mut bytes = packet[..RTP_HEADER].to_vec();
        bytes[1] = RED_PAYLOAD_TYPE;
        for (age, old) in (1..=repeated as u32).rev().zip(&self.sent) {
            let word = (age * 960) << 10 | (old.len() - RTP_HEADER) as u32;
            bytes.push(0x80 | PAYLOAD_TYPE);
            bytes.extend(&word.to_be_bytes()[1..]);
        }
        bytes.push(PAYLOAD_TYPE);
        for packet in &self.sent {
            bytes.extend(&packet[RTP_HEADER..]);
        }
        bytes
    }

    /// Lives through 10 ms.
    fn tick(&mut self) {
        let (come, still) =
            std::mem::take(&mut self.under_way).into_iter().partition(|(at, _)| *at <= self.now_ns);
        self.under_way = still;
        let mut come: Vec<_> = come;
        come.sort_by_key(|(at, _)| *at);
        for (_, input) in come {
            self.feed.inbox.push(input);
        }
        let play_ns = self.now_ns + LEAD_NS;
        let chunk = self.track.chunk_at(play_ns);
        self.heard.push((play_ns, chunk.map(|chunk| chunk[0].to_vec())));
        self.now_ns += TICK_NS;
    }

    fn live(&mut self, milliseconds: u64, delay: &mut dyn FnMut() -> Option<u64>) {
        for _ in 0..milliseconds / 20 {
            match delay() {
                Some(delay_ns) => self.send(delay_ns),
                None => drop(self.next_packet()),
            }
            self.tick();
            self.tick();
        }
    }

    /// How strong the tone is in each of the last chunks.
    fn strengths(&self, chunks: usize) -> Vec<f32> {
        let last = &self.heard[self.heard.len() - chunks..];
        last.iter().map(|(_, chunk)| chunk.as_ref().map_or(0.0, |chunk| strength(chunk, FREQUENCY))).collect()
    }

    fn concealed(&self) -> u64 {
        self.feed.counters.concealed.load(Ordering::Relaxed)
    }
}

#[test]
fn a_tone_is_heard_as_it_was_made() {
    let mut stage = Stage::new();
    stage.live(3_000, &mut || Some(0));
    let strengths = stage.strengths(200);
    assert!(strengths.iter().all(|tone| (0.2..0.3).contains(tone)), "{strengths:?}");
    assert_eq!(stage.concealed(), 0);
}

#[test]
fn jitter_of_the_network_is_not_heard_once_it_is_known() {
    let mut stage = Stage::new();
    let mut noise = 1_u64;
    let mut jitter = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some((noise >> 33) % 40 * MS)
    };
    stage.live(10_000, &mut jitter);
    let before = stage.concealed();
    stage.live(20_000, &mut jitter);
    let rate = (stage.concealed() - before) as f64 / f64::from(SAMPLE_RATE) / 20.0;
    assert!(rate < 0.01, "{:.2} % was guessed", rate * 100.0);
}

#[test]
fn lost_packets_are_rebuilt_from_the_ones_after_them() {
    let listen = |lossy: bool| {
        let mut stage = Stage::new();
        stage.microphone.speaks = true;
        let mut number = 0;
        stage.live(6_000, &mut || {
            number += 1;
            (!lossy || number % 10 != 7).then_some(0)
        });
        let early = stage.concealed();
        stage.live(2_000, &mut || {
            number += 1;
            (!lossy || number % 10 != 7).then_some(0)
        });
        (stage.concealed() - early, stage.strengths(200).iter().sum::<f32>())
    };
    let (_, clean) = listen(false);
    let (guessed, rebuilt) = listen(true);
    // One packet in ten is lost; of the two seconds, hardly anything is guessed.
    assert!(guessed <= 2 * 960, "{guessed} samples");
    assert!((rebuilt / clean - 1.0).abs() < 0.1, "{rebuilt} for {clean}");
}

#[test]
fn lost_packets_are_taken_from_the_ones_after_them_where_those_repeat_them() {
    // A tone without a break, which in-band error correction leaves alone; two packets in a row are lost.
    let guessed = |repeats: usize| {
        let mut stage = Stage { repeats, ..Stage::new() };
        let mut number = 0;
        let mut lossy = || {
            number += 1;
            (number % 10 > 1).then_some(0)
        };
        stage.live(4_000, &mut lossy);
        let early = stage.concealed();
        stage.live(4_000, &mut lossy);
        let strengths = stage.strengths(400);
        assert!(repeats == 0 || strengths.iter().all(|tone| (0.2..0.3).contains(tone)), "{strengths:?}");
        stage.concealed() - early
    };
    let (without, with) = (guessed(0), guessed(2));
    assert!(without > 20 * 960, "{without} samples");
    assert!(with <= 2 * 960, "{with} samples");
}

#[test]
fn redundancy_that_makes_no_sense_is_left_aside() {
    let mut stage = Stage { repeats: 2, ..Stage::new() };
    stage.live(1_000, &mut || Some(0));
    for n in 0..40_u8 {
        let mut bytes = stage.next_packet();
        // Cut off; of another codec; a repetition of the future.
        match n % 4 {
            0 => bytes.truncate(RTP_HEADER + 9),
            1 => bytes[RTP_HEADER + 8] = 96,
            2 => bytes[RTP_HEADER + 1] = 0xff,
            _ => {}
        }
        let arrival_ns = stage.now_ns;
        stage.under_way.push((arrival_ns, Input::Packet { arrival_ns, bytes }));
        stage.tick();
        stage.tick();
    }
    stage.live(1_000, &mut || Some(0));
    assert!(stage.strengths(50).iter().all(|tone| (0.2..0.3).contains(tone)));
}

#[test]
fn a_burst_of_losses_is_guessed_then_silent_and_over_when_it_is_over() {
    let mut stage = Stage::new();
    let mut number = 0;
    stage.live(3_000, &mut || {
        number += 1;
        (!(100..125).contains(&number)).then_some(0)
    });
    let strengths = stage.strengths(100);
    assert!(strengths[20..45].iter().all(|tone| *tone < 0.1), "within: {strengths:?}");
    assert!(strengths[65..].iter().all(|tone| *tone > 0.2), "after: {strengths:?}");
    assert!(stage.heard[50..].iter().all(|(_, chunk)| chunk.is_some()));
}

#[test]
fn silence_that_is_not_sent_is_silence_of_that_length() {
    let mut stage = Stage::new();
    stage.live(1_000, &mut || Some(0));
    stage.microphone.pause(SAMPLE_RATE * 6 / 10);
    stage.microphone.amplitude = 0.25;
    (0..60).for_each(|_| stage.tick());
    stage.live(1_000, &mut || Some(0));
    let loud: Vec<bool> = stage.strengths(stage.heard.len()).iter().map(|tone| *tone > 0.1).collect();
    let first = loud.iter().position(|loud| *loud).unwrap();
    let last = loud.iter().rposition(|loud| *loud).unwrap();
    assert!(stage.heard[first..].iter().all(|(_, chunk)| chunk.is_some()), "OBS gets a stream without holes");
    let quiet = loud[first..=last].iter().filter(|loud| !**loud).count();
    // What the decoder guesses before it knows better is loud too.
    assert!((45..=62).contains(&quiet), "{quiet}");
    let length = last - first;
    assert!((235..=262).contains(&length), "{length}");
}

#[test]
fn a_microphone_that_stops_for_good_leaves_the_slot_at_rest() {
    let mut stage = Stage::new();
    stage.live(1_000, &mut || Some(0));
    (0..300).for_each(|_| stage.tick());
    assert!(stage.heard.last().unwrap().1.is_none());
    stage.microphone.pause(SAMPLE_RATE * 3);
    stage.live(1_000, &mut || Some(0));
    assert!(stage.strengths(50).iter().all(|tone| *tone > 0.2));
}

#[test]
fn a_sender_with_a_fast_clock_is_followed_for_long_without_a_hole() {
    let mut stage = Stage::new();
    let step_ns = 20 * MS - 20 * MS / 5_000; // 200 ppm
    let mut sent_ns = stage.now_ns;
    let (mut settled, mut tones) = (0, Vec::new());
    stage.microphone.loops = true;
    for second in 0..1_200 {
        for _ in 0..100 {
            while sent_ns <= stage.now_ns {
                stage.send(0);
                sent_ns += step_ns;
            }
            stage.tick();
        }
        if second == 60 {
            settled = stage.concealed();
        }
        if second >= 60 {
            tones.extend(stage.strengths(100));
        }
        stage.heard.clear();
    }
    assert_eq!(stage.concealed() - settled, 0);
    let weakest = tones.iter().copied().fold(1.0, f32::min);
    assert!(weakest > 0.1, "{weakest}");
}

/// Sound takes `sound_ms` from microphone to worker, pictures `picture_ms` from camera to decoded; where a flash and a
/// beep of one moment are seen and heard apart (picture minus sound, milliseconds): by timestamp, and as handed over.
/// `tells`: packets say when they were captured, once a second, and sender reports are off by 50 ms.
fn flash_and_beep(sound_ms: u64, picture_ms: u64, tells: bool) -> (f64, f64) {
    let mut stage = Stage::new();
    stage.microphone.amplitude = 0.0;
    let wall = |at_ns: u64| {
        (3_900_000_000_u64 << 32) + (((at_ns - START) as u128) << 32).div_euclid(1_000_000_000) as u64
    };
    // A picture is 20 ms too; its RTP timestamps begin anywhere.
    let picture_timestamp = |step: u64| 4_000_000_000_u32.wrapping_add((step * 20 * 90) as u32);
    let mut results = Vec::new();
    let mut flash = None;
    for step in 0..1_500_u64 {
        let captured_ns = stage.now_ns;
        let beep = step >= 1_000 && step % 100 == 0;
        stage.microphone.amplitude = if beep { 0.5 } else { 0.0 };
        let wrong_ns = if tells { 50 * MS } else { 0 };
        if step % 250 == 10 {
            stage.timing.handle_sender_report(
                MediaKind::Audio,
                wall(captured_ns + wrong_ns),
                stage.microphone.timestamp,
            );
        }
        if tells && step % 50 == 5 {
            // The first sample of this packet is 20 ms old when it is sent.
            let told = AbsCaptureTime { ntp: wall(captured_ns - 20 * MS), offset: None };
            stage.timing.handle_capture_time(MediaKind::Audio, told, stage.microphone.timestamp);
            // By another clock than the reports', with word on how they differ.
            let told = AbsCaptureTime { ntp: wall(captured_ns) + (7 << 32), offset: Some(7 << 32) };
            stage.timing.handle_capture_time(MediaKind::Video, told, picture_timestamp(step));
        }
        if step % 50 == 20 {
            stage.timing.handle_sender_report(MediaKind::Video, wall(captured_ns), picture_timestamp(step));
        }
        stage.send(sound_ms * MS);
        if let Some(sent) = step.checked_sub(picture_ms / 20) {
            // The picture that arrives in this step.
            let timestamp = picture_timestamp(sent);
            stage.timing.handle_packet(MediaKind::Video, stage.now_ns, timestamp);
            let captured = stage.timing.captured_ns(MediaKind::Video, timestamp).unwrap();
            let (shown_ns, due_ns) = stage.timing.handle_picture(captured, stage.now_ns);
            stage.timing.note_shown(captured, due_ns);
            // A packet is sent, and reported, when its last sample is there: its beep began a step earlier.
            if sent >= 999 && sent % 100 == 99 {
                flash = Some((shown_ns, due_ns));
            }
        }
        stage.tick();
        stage.tick();
        if step % 100 == 50
            && let Some((shown_ns, due_ns)) = flash.take()
        {
            let (at, chunk) = stage.heard[stage.heard.len() - 100..]
                .iter()
                .filter_map(|(at, chunk)| Some((*at, chunk.as_ref()?)))
                .find(|(_, chunk)| chunk.iter().any(|sample| sample.abs() > 0.1))
                .expect("a beep");
            let first = chunk.iter().position(|sample| sample.abs() > 0.1).unwrap();
            let beep_ns = at + first as u64 * 1_000_000 / 48;
            let apart = |picture_ns: u64| (picture_ns as f64 - beep_ns as f64) / 1e6;
            results.push((apart(shown_ns), apart(due_ns)));
        }
    }
    assert!(results.len() >= 4);
    let reported = stage.timing.av_offset_ms().expect("measured");
    let (by_time, handed_over) = results[results.len() - 1];
    assert!((reported - handed_over).abs() < 10.0, "reported {reported}, is {handed_over}");
    for (other, _) in &results[results.len() - 3..] {
        assert!((other - by_time).abs() < 5.0, "it stays: {results:?}");
    }
    (by_time, handed_over)
}

#[test]
fn a_flash_and_a_beep_of_one_moment_meet_again_however_they_travel() {
    for (sound_ms, picture_ms) in [(0, 0), (0, 40), (0, 100), (40, 0), (100, 20), (20, 200)] {
        for tells in [false, true] {
            let (by_time, handed_over) = flash_and_beep(sound_ms, picture_ms, tells);
            let story = format!("{sound_ms}/{picture_ms}, capture times {tells}");
            assert!(by_time.abs() < 12.0, "{story}: {by_time} ms by timestamp");
            assert!((-20.0..12.0).contains(&handed_over), "{story}: {handed_over} ms as handed over");
        }
    }
}

/// The one story in real time: through the worker's threads to a reader.
#[test]
fn sound_reaches_a_reader_in_time_with_its_level() {
    let mut engine = Engine::start();
    engine.add_audio(2);
    engine.bind(1, Some(("Ada", peer())));
    let mut viewer = Viewer::of(&engine.socket, 1);
    let mut microphone = Microphone::new();
    for _ in 0..50 {
        engine.send(2, &microphone.record());
        viewer.watch(Duration::from_millis(20));
    }
    assert!(viewer.state().audio_live);
    assert!(viewer.chunks.len() > 20);
    for chunk in &viewer.chunks {
        assert_eq!((chunk.info.frames, chunk.info.channels, chunk.info.sample_rate), (480, 2, 48_000));
        assert_eq!(chunk.info.timestamp_ns % TICK_NS, 0);
    }
    engine.wait_for(|event| match event {
        // A sine of 0.25 has −15.1 dBFS RMS and −12 dBFS peak.
        FromWorker::Levels { levels } => {
            levels[0].peer_id == peer()
                && (levels[0].peak_dbfs + 12.0).abs() < 2.0
                && levels[0].rms_dbfs > -20.0
        }
        _ => false,
    });
}

const RTP_HEADER: usize = 12;
const RED_PAYLOAD_TYPE: u8 = 63;
const MS: u64 = 1_000_000;
const START: u64 = 5_000_000_000_000;
