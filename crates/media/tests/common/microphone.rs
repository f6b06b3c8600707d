//! A microphone before a loudspeaker that plays 1 kHz, encoded with Opus and put into RTP packets of 20 ms.

use greenroom_media::feed::{Counters, Feed, Inbox};
use rtp::packet::FixedHeader;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use wire::link::Codec;
use wire::ortc::MediaKind;

/// A guest's sound as the worker's threads share it.
pub fn feed(id: u32, red_payload_type: Option<u8>) -> Arc<Feed> {
    Arc::new(Feed {
        id,
        peer: super::engine::peer(),
        kind: MediaKind::Audio,
        screen: None,
        codec: Codec::Opus,
        payload_type: PAYLOAD_TYPE,
        red_payload_type,
        orientation_id: None,
        capture_time_id: None,
        color_space_id: None,
        inbox: Inbox::default(),
        active: AtomicBool::new(true),
        counters: Counters::default(),
    })
}

pub struct Microphone {
    encoder: opus::Encoder,
    phase: f32,
    sequence: u16,
    pub timestamp: u32,
    pub amplitude: f32,
    /// Swells four times a second, as syllables do: the encoder corrects no errors in what it takes for a hum.
    pub speaks: bool,
    /// Plays what it recorded of a steady tone again, for long stories: encoding is what takes time.
    pub loops: bool,
    tape: Vec<Vec<u8>>,
}

pub const PAYLOAD_TYPE: u8 = 111;
pub const FREQUENCY: f32 = 1_000.0;

impl Microphone {
    pub fn new() -> Self {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(24_000)).unwrap();
        Self {
            encoder,
            phase: 0.0,
            sequence: 65_530,
            timestamp: 4_294_900_000,
            amplitude: 0.25,
            speaks: false,
            loops: false,
            tape: Vec::new(),
        }
    }

    /// The next 20 ms.
    pub fn record(&mut self) -> Vec<u8> {
        let payload = match self.tape.get(usize::from(self.sequence) % TAPE) {
            // The tone has whole periods in 20 ms, so every piece fits every other.
            Some(payload) if self.loops && self.tape.len() == TAPE => payload.clone(),
            _ => self.encode(),
        };
        self.sequence = self.sequence.wrapping_add(1);
        let header = FixedHeader {
            marker: false,
            payload_type: PAYLOAD_TYPE,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: 8,
        };
        self.timestamp = self.timestamp.wrapping_add(960);
        [&header.to_bytes(false)[..], &payload].concat()
    }

    fn encode(&mut self) -> Vec<u8> {
        let start = self.timestamp;
        let sound: Vec<f32> = (0..960)
            .map(|i| {
                self.phase = (self.phase + FREQUENCY / 48_000.0).fract();
                let swell = (start.wrapping_add(i) % 12_000) as f32 / 12_000.0;
                let loudness = if self.speaks { (swell * std::f32::consts::PI).sin() } else { 1.0 };
                (self.phase * std::f32::consts::TAU).sin() * self.amplitude * loudness
            })
            .collect();
        let payload = self.encoder.encode_vec_float(&sound, 1_000).unwrap();
        if self.tape.len() < TAPE {
            self.tape.push(payload.clone());
        }
        payload
    }

    /// Time passes in which nothing is sent.
    pub fn pause(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
    }
}

/// Two seconds.
const TAPE: usize = 100;

/// How strong a frequency is in these samples: the amplitude of that sine.
pub fn strength(samples: &[f32], frequency: f32) -> f32 {
    let (mut re, mut im) = (0.0_f64, 0.0_f64);
    for (i, sample) in samples.iter().enumerate() {
        let angle = f64::from(frequency) * i as f64 / 48_000.0 * std::f64::consts::TAU;
        re += f64::from(*sample) * angle.cos();
        im += f64::from(*sample) * angle.sin();
    }
    (2.0 * re.hypot(im) / samples.len().max(1) as f64) as f32
}
