//! Hours of one guest in virtual time: a microphone and a camera with clocks of their own, a network that jitters, loses and
//! stalls, the real sound track with its decoder and resampler, and what a flash and a beep of one moment come out as.

use super::microphone::{FREQUENCY, PAYLOAD_TYPE};
use greenroom_media::audio::{Chunk, LEAD_NS, TICK_NS, Track};
use greenroom_media::feed::{Feed, Input};
use greenroom_media::timing::GuestTiming;
use rtp::packet::FixedHeader;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use wire::link::Steadiness;
use wire::ortc::MediaKind;

/// What a run is like.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    pub seconds: u64,
    /// How fast the guest's computer's clock runs, which its camera uses, in parts per million.
    pub wall_ppm: i64,
    /// And its sound card's.
    pub card_ppm: i64,
    /// What queues add at most, to sound and to pictures.
    pub sound_jitter_ms: u64,
    pub picture_jitter_ms: u64,
    pub loss_percent: u64,
    /// The network stands still for two seconds this often; 0: never.
    pub stall_every_s: u64,
    /// At these times the guest's computer sets its clock by so much.
    pub clock_set: &'static [(u64, i64)],
    /// From then on every packet takes so much longer.
    pub longer_path: Option<(u64, u64)>,
    pub steadiness: Steadiness,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            seconds: 60,
            wall_ppm: 0,
            card_ppm: 0,
            sound_jitter_ms: 0,
            picture_jitter_ms: 0,
            loss_percent: 0,
            stall_every_s: 0,
            clock_set: &[],
            longer_path: None,
            steadiness: Steadiness::Balanced,
        }
    }
}

/// One second of it, as far as its beep was heard.
#[derive(Clone, Copy, Debug)]
pub struct Second {
    pub second: u64,
    /// Picture minus sound: by the times OBS is given.
    pub apart_ms: f64,
    /// And as the dashboard shows it.
    pub reported_ms: f64,
    /// From the beep at the microphone to its time in OBS.
    pub heard_after_ms: f64,
}

/// Lives through it; `on_second` sees every second.
pub fn live(conditions: Conditions, mut on_second: impl FnMut(Second)) {
    let mut show = Show::new(conditions);
    for tick in 0..conditions.seconds * 100 {
        show.tick(START + tick * TICK_NS);
        if tick % 100 == 50
            && let Some(second) = show.conclude(tick / 100)
        {
            on_second(second);
        }
    }
}

struct Show {
    conditions: Conditions,
    feed: Arc<Feed>,
    timing: Arc<GuestTiming>,
    track: Track,
    tape: Vec<Vec<u8>>,
    random: u64,
    /// On their way, by arrival; the number keeps equal ones apart.
    under_way: BTreeMap<(u64, u64), Travelling>,
    numbered: u64,

    packet: u64,
    picture: u64,
    sequence: u16,
    report_at_ns: u64,
    reports: u64,
    /// When the last beeps began.
    beeps: VecDeque<u64>,
    /// From capture to being shown of the last pictures, by capture.
    shown: VecDeque<(u64, i64)>,
    heard: VecDeque<u64>,
    quiet: u32,
}

enum Travelling {
    Sound(Input),
    Picture { timestamp: u32, captured_ns: u64 },
    PictureReport { ntp: u64, timestamp: u32 },
}

impl Show {
    fn new(conditions: Conditions) -> Self {
        let feed = super::microphone::feed(1, None);
        let timing = Arc::<GuestTiming>::default();
        timing.set_steadiness(conditions.steadiness);
        let track = Track::new(feed.clone(), timing.clone());
        Self {
            conditions,
            feed,
            timing,
            track,
            tape: tape(),
            random: 88_172_645_463_325_252,
            under_way: BTreeMap::new(),
            numbered: 0,

            packet: 0,
            picture: 0,
            sequence: 65_000,
            report_at_ns: START + 300 * MS,
            reports: 0,
            beeps: VecDeque::new(),
            shown: VecDeque::new(),
            heard: VecDeque::new(),
            quiet: 0,
        }
    }

    fn tick(&mut self, now_ns: u64) {
        self.record(now_ns);
        self.shoot(now_ns);
        self.report(now_ns);
        while let Some(entry) = self.under_way.first_entry().filter(|entry| entry.key().0 <= now_ns) {
            let ((arrival_ns, _), travelling) = entry.remove_entry();
            match travelling {
                Travelling::Sound(input) => self.feed.inbox.push(input),
                Travelling::Picture { timestamp, captured_ns } => {
                    self.take_picture(arrival_ns, timestamp, captured_ns);
                }
                Travelling::PictureReport { ntp, timestamp } => {
                    self.timing.handle_sender_report(MediaKind::Video, ntp, timestamp);
                }
            }
        }
        let play_ns = now_ns + LEAD_NS;
        let chunk = self.track.chunk_at(play_ns);
        self.listen(play_ns, chunk.as_ref());
    }

    /// Sound, 20 ms at a time by the sound card's clock; each leaves when its last sample is there.
    fn record(&mut self, now_ns: u64) {
        loop {
            let began_ns = on_clock(self.packet * 20 * MS, -self.conditions.card_ppm);
            let sent_ns = on_clock((self.packet + 1) * 20 * MS, -self.conditions.card_ppm);
            if sent_ns > now_ns {
                return;
            }
            let payload = &self.tape[(self.packet % 50) as usize];
            if self.packet.is_multiple_of(50) {
                self.beeps.push_back(began_ns);
            }
            self.sequence = self.sequence.wrapping_add(1);
            let header = FixedHeader {
                marker: false,
                payload_type: PAYLOAD_TYPE,
                sequence_number: self.sequence,
                timestamp: self.sound_timestamp(self.packet),
                ssrc: 8,
            };
            let bytes = [&header.to_bytes(false)[..], payload].concat();
            self.packet += 1;
            // Lost, but no beep: what is not sent is not measured.
            if self.chance(self.conditions.loss_percent) && !(self.packet - 1).is_multiple_of(50) {
                continue;
            }
            let jitter_ms = self.conditions.sound_jitter_ms;
            let arrival_ns = self.arrival(sent_ns, jitter_ms);
            self.travel(arrival_ns, Travelling::Sound(Input::Packet { arrival_ns, bytes }));
        }
    }

    /// Pictures, 30 a second by the computer's clock; encoding takes 15 ms.
    fn shoot(&mut self, now_ns: u64) {
        loop {
            let captured_ns = on_clock(self.picture * 1_000 * MS / 30, -self.conditions.wall_ppm);
            let sent_ns = captured_ns + 15 * MS;
            if sent_ns > now_ns {
                return;
            }
            let timestamp = (self.picture * 3_000 + u64::from(u32::MAX) - 900_000) as u32;
            self.picture += 1;
            if self.chance(self.conditions.loss_percent) {
                continue;
            }
            let jitter_ms = self.conditions.picture_jitter_ms;
            let arrival_ns = self.arrival(sent_ns, jitter_ms);
            self.travel(arrival_ns, Travelling::Picture { timestamp, captured_ns });
        }
    }

    /// As browsers do: what was sent last, and the time of that, some milliseconds off.
    fn report(&mut self, now_ns: u64) {
        if now_ns < self.report_at_ns || self.packet == 0 || self.picture == 0 {
            return;
        }
        self.report_at_ns += 1_000 * MS;
        self.reports += 1;
        let off_ns = self.below(4 * MS);
        let captured_ns = on_clock((self.picture - 1) * 1_000 * MS / 30, -self.conditions.wall_ppm);
        let timestamp = ((self.picture - 1) * 3_000 + u64::from(u32::MAX) - 900_000) as u32;
        let ntp = self.ntp(captured_ns + off_ns);
        let arrival_ns = self.arrival(now_ns, 0);
        self.travel(arrival_ns, Travelling::PictureReport { ntp, timestamp });
        if self.reports % 5 == 2 {
            let sent_ns = on_clock(self.packet * 20 * MS, -self.conditions.card_ppm);
            let off_ns = self.below(4 * MS);
            let ntp = self.ntp(sent_ns + off_ns);
            let rtp_timestamp = self.sound_timestamp(self.packet - 1);
            self.travel(arrival_ns, Travelling::Sound(Input::SenderReport { ntp, rtp_timestamp }));
        }
    }

    fn take_picture(&mut self, arrival_ns: u64, timestamp: u32, captured_ns: u64) {
        self.timing.handle_packet(MediaKind::Video, arrival_ns, timestamp);
        let Some(captured) = self.timing.captured_ns(MediaKind::Video, timestamp) else { return };
        let (shown_ns, due_ns) = self.timing.handle_picture(captured, arrival_ns + 3 * MS);
        self.timing.note_shown(captured, due_ns);
        self.shown.push_back((captured_ns, shown_ns as i64 - captured_ns as i64));
        if self.shown.len() > 120 {
            self.shown.pop_front();
        }
    }

    fn listen(&mut self, play_ns: u64, chunk: Option<&Chunk>) {
        let Some(chunk) = chunk else { return };
        for (i, sample) in chunk[0].iter().enumerate() {
            if sample.abs() < 0.1 {
                self.quiet += 1;
            } else {
                if self.quiet > 9_600 {
                    self.heard.push_back(play_ns + i as u64 * 1_000_000 / 48);
                }
                self.quiet = 0;
            }
        }
    }

    /// The last beep, if it was heard, and the picture that was taken when it began.
    fn conclude(&mut self, second: u64) -> Option<Second> {
        while self.beeps.len() > 3 {
            self.beeps.pop_front();
        }
        while self.heard.len() > 3 {
            self.heard.pop_front();
        }
        // The beep that began in this second is perhaps still to be heard: the one before is not.
        let beep_ns = *self.beeps.iter().rev().nth(1)?;
        let beep_ns = beep_ns + ONSET_NS;
        let heard_ns = *self.heard.iter().find(|at| **at >= beep_ns && **at < beep_ns + 900 * MS)?;
        let heard_after_ns = heard_ns as i64 - beep_ns as i64;
        // The middle one of those taken around it.
        let mut around: Vec<i64> = self
            .shown
            .iter()
            .filter(|(at, _)| at.abs_diff(beep_ns) < 150 * MS)
            .map(|(_, after_ns)| *after_ns)
            .collect();
        around.sort_unstable();
        let shown_after_ns = *around.get(around.len() / 2)?;
        Some(Second {
            second,
            apart_ms: (shown_after_ns - heard_after_ns) as f64 / 1e6,
            reported_ms: self.timing.av_offset_ms()?,
            heard_after_ms: heard_after_ns as f64 / 1e6,
        })
    }

    fn sound_timestamp(&self, packet: u64) -> u32 {
        (packet * 960 + u64::from(u32::MAX) - 4_800_000) as u32
    }

    /// The guest's computer's clock at this moment.
    fn ntp(&self, at_ns: u64) -> u64 {
        let elapsed_ns = (at_ns - START) as i128;
        let drifted_ns = elapsed_ns + elapsed_ns * i128::from(self.conditions.wall_ppm) / 1_000_000;
        let set_s: i64 = self
            .conditions
            .clock_set
            .iter()
            .filter(|(second, _)| at_ns >= START + second * 1_000 * MS)
            .map(|(_, by)| by)
            .sum();
        let wall_ns = (3_976_000_000 + i128::from(set_s)) * 1_000_000_000 + drifted_ns;
        (((wall_ns / 1_000_000_000) << 32) + (((wall_ns % 1_000_000_000) << 32) / 1_000_000_000)) as u64
    }

    fn arrival(&mut self, sent_ns: u64, jitter_ms: u64) -> u64 {
        // Mostly little, seldom much.
        let queue_ns = self.below(1_000) * self.below(1_000) * jitter_ms * MS / 1_000_000;
        let second = (sent_ns - START) / 1_000_000_000;
        let longer_ms =
            self.conditions.longer_path.filter(|(from, _)| second >= *from).map_or(0, |(_, ms)| ms);
        let mut arrival_ns = sent_ns + (25 + longer_ms) * MS + queue_ns;
        if let Some(into) = second.checked_rem(self.conditions.stall_every_s)
            && second > 60
            && into < 2
        {
            // All of it arrives at the end of the stall.
            arrival_ns = START + (second - into + 2) * 1_000 * MS + self.below(20 * MS);
        }
        arrival_ns
    }

    fn travel(&mut self, arrival_ns: u64, what: Travelling) {
        self.numbered += 1;

        self.under_way.insert((arrival_ns, self.numbered), what);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % bound.max(1)
    }
}

/// When, by our clock, a clock that is `ppm` slow has counted so much since the start.
fn on_clock(elapsed_ns: u64, ppm: i64) -> u64 {
    let ours = i128::from(elapsed_ns) + i128::from(elapsed_ns) * i128::from(ppm) / 1_000_000;
    START + ours as u64
}

/// A second of packets: a beep of 20 ms, then silence; as the encoder makes them when that goes on and on.
fn tape() -> Vec<Vec<u8>> {
    let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_bitrate(opus::Bitrate::Bits(32_000)).unwrap();
    let mut packets = Vec::new();
    for packet in 0..150 {
        let sample = |i: u32| match packet % 50 {
            0 => (i as f32 * FREQUENCY / 48_000.0 * std::f32::consts::TAU).sin() * 0.6,
            _ => 0.0,
        };
        let sound: Vec<f32> = (0..960).map(sample).collect();
        packets.push(encoder.encode_vec_float(&sound, 1_000).unwrap());
    }
    packets.split_off(100)
}

const MS: u64 = 1_000_000;
const START: u64 = 5_000_000_000_000;
/// A sine of this loudness has grown to where [`Show::listen`] takes notice of it.
const ONSET_NS: u64 = 50_000;
