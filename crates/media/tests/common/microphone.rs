//! A microphone before a loudspeaker that plays 1 kHz, encoded with Opus and put into RTP packets of 20 ms.

use rtp::packet::FixedHeader;

pub struct Microphone {
    encoder: opus::Encoder,
    phase: f32,
    sequence: u16,
    pub timestamp: u32,
    pub amplitude: f32,
}

pub const PAYLOAD_TYPE: u8 = 111;
pub const FREQUENCY: f32 = 1_000.0;

impl Microphone {
    pub fn new() -> Self {
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Voip).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        encoder.set_bitrate(opus::Bitrate::Bits(24_000)).unwrap();
        Self { encoder, phase: 0.0, sequence: 65_530, timestamp: 4_294_900_000, amplitude: 0.25 }
    }

    /// The next 20 ms.
    pub fn record(&mut self) -> Vec<u8> {
        let sound: Vec<f32> = (0..960)
            .map(|_| {
                self.phase = (self.phase + FREQUENCY / 48_000.0).fract();
                (self.phase * std::f32::consts::TAU).sin() * self.amplitude
            })
            .collect();
        let payload = self.encoder.encode_vec_float(&sound, 1_000).unwrap();
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

    /// Time passes in which nothing is sent.
    pub fn pause(&mut self, samples: u32) {
        self.timestamp = self.timestamp.wrapping_add(samples);
    }
}

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
