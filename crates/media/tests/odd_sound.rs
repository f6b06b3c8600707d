//! Sound as no browser sends it: packets of any length Opus allows, stereo, clocks that count wrongly, reports that lie.

mod common;

use common::microphone::{self, FREQUENCY, PAYLOAD_TYPE, strength};
use greenroom_media::audio::{LEAD_NS, TICK_NS, Track};
use greenroom_media::feed::Input;
use greenroom_media::timing::GuestTiming;
use rtp::packet::FixedHeader;
use std::sync::Arc;

/// A sender of a steady tone.
struct Sender {
    /// Samples of a packet.
    length: u32,
    channels: opus::Channels,
    /// How far the timestamp goes on with each packet; `None`: as it should.
    counts: Option<u32>,
    /// The wall clock of the sender reports at a time, if there are any.
    wall_ns: Option<fn(u64) -> u64>,
}

impl Sender {
    fn of(length: u32) -> Self {
        Self { length, channels: opus::Channels::Mono, counts: None, wall_ns: None }
    }

    /// How strong the tone is in each chunk, for so many seconds; 0 where nothing was given to OBS.
    fn heard_for(&self, seconds: u64) -> Vec<f32> {
        let feed = microphone::feed(3, None);
        let mut track = Track::new(feed.clone(), Arc::<GuestTiming>::default());
        let mut encoder = opus::Encoder::new(48_000, self.channels, opus::Application::Audio).unwrap();
        let (mut sequence, mut timestamp, mut sent) = (65_000_u16, 4_294_000_000_u32, 0_u64);
        let (mut reported, mut strengths) = (0, Vec::new());
        for tick in 0..seconds * 100 {
            let now_ns = START + tick * TICK_NS;
            // A packet leaves when its last sample is there.
            while START + (sent + u64::from(self.length)) * 1_000_000 / 48 <= now_ns {
                let bytes = [
                    &FixedHeader {
                        marker: false,
                        payload_type: PAYLOAD_TYPE,
                        sequence_number: sequence,
                        timestamp,
                        ssrc: 8,
                    }
                    .to_bytes(false)[..],
                    &self.encode(&mut encoder, sent),
                ]
                .concat();
                feed.inbox.push(Input::Packet { arrival_ns: now_ns, bytes });
                sequence = sequence.wrapping_add(1);
                timestamp = timestamp.wrapping_add(self.counts.unwrap_or(self.length));
                sent += u64::from(self.length);
            }
            if let Some(wall_ns) = self.wall_ns.filter(|_| tick / 500 > reported) {
                reported = tick / 500;
                let wall = u128::from(wall_ns(now_ns));
                let ntp = (((wall / 1_000_000_000) << 32) + (((wall % 1_000_000_000) << 32) / 1_000_000_000))
                    as u64;
                feed.inbox.push(Input::SenderReport { ntp, rtp_timestamp: timestamp });
            }
            let chunk = track.chunk_at(now_ns + LEAD_NS);
            strengths.push(
                chunk.map_or(0.0, |chunk| strength(&chunk[0], FREQUENCY).min(strength(&chunk[1], FREQUENCY))),
            );
        }
        strengths
    }

    fn encode(&self, encoder: &mut opus::Encoder, from: u64) -> Vec<u8> {
        let sample = |i: u64| ((from + i) as f32 * FREQUENCY / 48_000.0).fract() * std::f32::consts::TAU;
        let channels = self.channels as usize;
        let sound: Vec<f32> = (0..u64::from(self.length))
            .flat_map(|i| std::iter::repeat_n(sample(i).sin() * 0.25, channels))
            .collect();
        encoder.encode_vec_float(&sound, 4_000).unwrap()
    }
}

/// Chunks in a hundred with the tone as it was made, after the first five seconds.
fn good(strengths: &[f32]) -> usize {
    let later = &strengths[500..];
    later.iter().filter(|tone| (0.2..0.3).contains(*tone)).count() * 100 / later.len()
}

#[test]
fn packets_of_every_length_are_heard() {
    for length in [120, 240, 480, 960, 1_920, 2_880, 5_760] {
        for channels in [opus::Channels::Mono, opus::Channels::Stereo] {
            let strengths = Sender { channels, ..Sender::of(length) }.heard_for(10);
            assert!(good(&strengths) >= 99, "{length} samples, {channels:?}: {} %", good(&strengths));
        }
    }
}

#[test]
fn a_clock_that_counts_wrongly_costs_only_its_owner_sound() {
    // As if Opus counted at 8, 16, 44.1 or 90 kHz; not at all; backwards; in jumps of hours.
    for counts in [160, 320, 882, 1_800, 0, 960_u32.wrapping_neg(), 0x4000_0000] {
        let strengths = Sender { counts: Some(counts), ..Sender::of(960) }.heard_for(20);
        assert!(strengths.iter().all(|tone| tone.is_finite() && *tone < 0.6), "{counts}");
    }
}

#[test]
fn reports_that_lie_or_jump_leave_the_sound_whole() {
    let lies: [fn(u64) -> u64; 5] = [
        |_| 0,
        |now_ns| now_ns + 3_976_000_000 * SECOND,
        // Half a second on, each time; a day back, every other time; nonsense.
        |now_ns| now_ns + 3_976_000_000 * SECOND + now_ns / 5 % (3 * SECOND),
        |now_ns| now_ns + (3_976_000_000 - now_ns / SECOND / 5 % 2 * 86_400) * SECOND,
        |now_ns| now_ns.wrapping_mul(6_364_136_223_846_793_005) >> 1,
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let strengths = Sender { wall_ns: Some(lie), ..Sender::of(960) }.heard_for(60);
        assert!(good(&strengths) >= 90, "lie {number}: {} %", good(&strengths));
    }
}

const SECOND: u64 = 1_000_000_000;
const START: u64 = 5_000 * SECOND;
