//! One guest's sound: packets in, 10 ms chunks on the timeline of the guest's pictures out.

use super::level::Meter;
use super::resample::Stretcher;
use super::{CHUNK, Chunk, Punctuality, SAMPLE_RATE};
use crate::crash::blaming;
use crate::feed::{Feed, Input};
use crate::monitor::{Heard, Mixer};
use crate::slots::Slots;
use crate::timing::GuestTiming;
use rtp::codec::opus::{self as opus_packet, MAX_SAMPLES};
use rtp::codec::red;
use rtp::jitter::{AudioJitter, AudioJitterConfig, AudioPacket, Silence, Step};
use rtp::packet::Packet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use wire::dashboard::Level;
use wire::ortc::MediaKind;

/// One audio feed, from its announcement to the closing of its inbox.
pub struct Track {
    feed: Arc<Feed>,
    timing: Arc<GuestTiming>,
    inputs: VecDeque<Input>,
    jitter: AudioJitter<Vec<u8>>,
    decoder: Option<opus::Decoder>,
    decoded: Vec<f32>,
    stretcher: Stretcher,
    /// RTP timestamp after the last sample given to the stretcher. `None`: it holds nothing that was recorded.
    end: Option<u64>,
    /// RTP timestamp of the packet that came last.
    latest: Option<u32>,
    meter: Meter,
    /// How long after a packet another still comes that repeats it, or can rebuild it.
    rebuilding_ns: Option<i64>,
    /// Sound that was guessed or left out since the last that was played.
    hole_ns: i64,
    /// Something was played since the last reading of the meter.
    heard: bool,
    monitored: Heard,
}

impl Track {
    pub fn new(feed: Arc<Feed>, timing: Arc<GuestTiming>) -> Self {
        Self {
            feed,
            timing,
            inputs: VecDeque::new(),
            jitter: AudioJitter::new(AudioJitterConfig::opus()),
            decoder: None,
            decoded: vec![0.0; MAX_SAMPLES as usize * 2],
            stretcher: Stretcher::default(),
            end: None,
            latest: None,
            rebuilding_ns: None,
            hole_ns: 0,
            meter: Meter::default(),
            heard: false,
            monitored: Heard::default(),
        }
    }

    /// Plays the chunk that is to be heard at `play_ns`. False: the feed is over.
    pub fn play(&mut self, play_ns: u64, punctuality: Punctuality, slots: &Slots, mixer: &mut Mixer) -> bool {
        if self.feed.inbox.is_closed() {
            return false;
        }
        match blaming(self.feed.id, || self.chunk_at(play_ns)) {
            Some(chunk) if self.feed.active.load(Ordering::Acquire) => {
                if punctuality == Punctuality::InTime {
                    slots.write_audio(self.feed.peer, &chunk, play_ns, &self.feed.active);
                }
                mixer.add(self.feed.peer, &chunk, &mut self.monitored);
                self.meter.push(&chunk);
                self.heard = true;
                self.feed.counters.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {}
            None => slots.set_live(self.feed.author(), MediaKind::Audio, &self.feed.active, false),
        }
        true
    }

    /// What is to be heard in the 10 ms from `play_ns` on, from what has come by now. `None`: nothing has come yet, or
    /// nothing comes any more.
    pub fn chunk_at(&mut self, play_ns: u64) -> Option<Chunk> {
        let mut inputs = std::mem::take(&mut self.inputs);
        self.feed.inbox.wait(Duration::ZERO, &mut inputs);
        for input in inputs.drain(..) {
            self.take(input);
        }
        self.inputs = inputs;
        self.next_chunk(play_ns)
    }

    /// The level since the last call, if anything was played.
    pub fn level(&mut self) -> Option<Level> {
        let (rms_dbfs, peak_dbfs) = self.meter.take();
        std::mem::take(&mut self.heard).then_some(Level { peer_id: self.feed.peer, rms_dbfs, peak_dbfs })
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::SenderReport { ntp, rtp_timestamp } => {
                self.timing.handle_sender_report(MediaKind::Audio, ntp, rtp_timestamp);
            }
            // Sound is not asked for again.
            Input::RoundTrip { .. } => {}
            Input::Packet { arrival_ns, bytes } => {
                let Ok(packet) = Packet::parse(&bytes) else { return };
                if packet.payload_type() == self.feed.payload_type {
                    self.take_sound(arrival_ns, &packet, packet.payload());
                } else if Some(packet.payload_type()) == self.feed.red_payload_type {
                    self.take_redundant(arrival_ns, &packet);
                }
            }
        }
    }

    /// `payload`: the sound that is new in the packet.
    fn take_sound(&mut self, arrival_ns: u64, packet: &Packet<'_>, payload: &[u8]) {
        let Some(sound) = audio_packet(packet.sequence_number(), packet.timestamp(), payload) else { return };
        self.timing.handle_packet(MediaKind::Audio, arrival_ns, packet.timestamp());
        if let Some(captured) = self.feed.capture_time(packet) {
            self.timing.handle_capture_time(MediaKind::Audio, captured, packet.timestamp());
        }
        self.latest = Some(packet.timestamp());
        if let Some(captured) = self.timing.captured_ns(MediaKind::Audio, packet.timestamp()) {
            self.timing.handle_sound(captured, arrival_ns);
        }
        if sound.has_fec {
            self.rebuilding_ns = Some(duration_ns(sound.samples));
        }
        self.jitter.insert(arrival_ns, sound);
    }

    /// The newest block is the packet; the others are the ones before it once more, in case they were lost (RFC 2198).
    fn take_redundant(&mut self, arrival_ns: u64, packet: &Packet<'_>) {
        let Some(blocks) = red::blocks(packet.payload()) else { return };
        let mut blocks: Vec<_> = blocks.filter(|b| b.payload_type == self.feed.payload_type).collect();
        let Some(newest) = blocks.pop().filter(|block| block.timestamp_offset == 0) else { return };
        self.take_sound(arrival_ns, packet, newest.data);
        if let Some(oldest) = blocks.first() {
            self.rebuilding_ns = Some(duration_ns(oldest.timestamp_offset));
        }
        for (distance, block) in (1..).zip(blocks.iter().rev()) {
            let number = packet.sequence_number().wrapping_sub(distance);
            let timestamp = packet.timestamp().wrapping_sub(block.timestamp_offset);
            if let Some(sound) = audio_packet(number, timestamp, block.data) {
                self.jitter.fill(sound);
            }
        }
    }

    fn next_chunk(&mut self, play_ns: u64) -> Option<Chunk> {
        let delay_ns = self.timing.adapt(play_ns);
        self.follow_delay(delay_ns);
        let mut chunk = [[0.0; CHUNK]; 2];
        let error_ns = self.error_ns(play_ns, delay_ns);
        // So early that slowing down would take long, while lips are off: wait.
        if error_ns.is_some_and(|error| error < -EARLY_NS) {
            return Some(chunk);
        }
        let mut waiting = false;
        while self.stretcher.missing() > 0 {
            waiting = !self.fill(play_ns);
        }
        // Behind: faster. The error is gone in about two seconds, at most 5 ms in each.
        let speed =
            1.0 + error_ns.map_or(0.0, |error| error as f64 / CORRECTION_TIME_NS).clamp(-MAX_BEND, MAX_BEND);
        self.stretcher.pull(speed, &mut chunk);
        if let (Some(captured), false) = (self.captured_ns(), waiting) {
            self.timing.note_heard(captured, play_ns + super::TICK_NS);
        }
        let stats = self.jitter.stats();
        let counters = &self.feed.counters;
        counters.concealed.store(stats.concealed_samples + stats.outage_samples, Ordering::Relaxed);
        counters.buffer_us.store((self.jitter.delay_ms() * 1000.0) as u64, Ordering::Relaxed);
        (!waiting).then_some(chunk)
    }

    /// The buffer plays sound when the guest's common delay says, not sooner and not later.
    fn follow_delay(&mut self, delay_ns: i64) {
        let Some(latest) = self.latest else { return };
        if let Some(captured) = self.timing.captured_ns(MediaKind::Audio, latest) {
            self.jitter.play_at(latest, captured.saturating_add_signed(delay_ns));
        }
    }

    /// How much too late the next sample would be heard at `play_ns`.
    fn error_ns(&self, play_ns: u64, delay_ns: i64) -> Option<i64> {
        let due = self.captured_ns()?.saturating_add_signed(delay_ns);
        i64::try_from(i128::from(play_ns) - i128::from(due)).ok()
    }

    /// When the next sample to come out of the stretcher was recorded.
    fn captured_ns(&self) -> Option<u64> {
        let held_ns = self.stretcher.held() as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE);
        Some(self.timing.captured_ns(MediaKind::Audio, self.end? as u32)?.saturating_sub(held_ns))
    }

    /// Gives the stretcher something. False: there is no stream to play.
    fn fill(&mut self, play_ns: u64) -> bool {
        let queued_ns = self.stretcher.held() as u64 * 1_000_000_000 / u64::from(SAMPLE_RATE);
        let output = &mut self.decoded[..];
        let (mut ends_hole, mut rebuilt) = (false, false);
        let (decoded, end) = match self.jitter.next(play_ns, queued_ns) {
            Step::Play { item, timestamp, samples } => {
                ends_hole = true;
                let decoded = decode(&mut self.decoder, &item, false, samples, output);
                (decoded, Some(timestamp + u64::from(samples)))
            }
            Step::Recover { next, timestamp, samples } => {
                (ends_hole, rebuilt) = (true, true);
                let decoded = decode(&mut self.decoder, next, true, samples, output);
                (decoded, Some(timestamp + u64::from(samples)))
            }
            Step::Conceal { timestamp, samples } => {
                self.hole_ns += duration_ns(samples);
                let decoded = decode(&mut self.decoder, &[], false, samples, output);
                (decoded, Some(timestamp + u64::from(samples)))
            }
            Step::Silence { why, timestamp, samples } => {
                if why != Silence::Dtx {
                    self.hole_ns += duration_ns(samples);
                }
                self.stretcher.push_silence(samples.max(1) as usize);
                self.end = timestamp.map(|timestamp| timestamp + u64::from(samples));
                return why != Silence::Waiting;
            }
        };
        if ends_hole {
            self.note_hole(play_ns, rebuilt);
        }
        self.end = end;
        let samples = self.decoded.get(..decoded * 2).unwrap_or_default();
        self.stretcher.push(samples);
        true
    }

    /// Sound goes on. What was missing, or was rebuilt just now, says that waiting for one packet more is worth it; not after
    /// an outage, from which no packet would have rebuilt more than its last moment.
    fn note_hole(&mut self, play_ns: u64, rebuilt: bool) {
        let hole_ns = std::mem::take(&mut self.hole_ns);
        let Some(packet_ns) = self.rebuilding_ns else { return };
        if (rebuilt || hole_ns > 0) && hole_ns <= MOST_REBUILT * packet_ns {
            self.timing.handle_loss(play_ns, packet_ns);
        }
    }
}

fn audio_packet(sequence_number: u16, timestamp: u32, payload: &[u8]) -> Option<AudioPacket<Vec<u8>>> {
    let sound = opus_packet::Packet::parse(payload)?;
    Some(AudioPacket {
        sequence_number,
        timestamp,
        samples: sound.samples,
        has_fec: sound.has_fec,
        dtx: sound.dtx,
        item: payload.to_vec(),
    })
}

fn duration_ns(samples: u32) -> i64 {
    i64::from(samples) * 1_000_000_000 / i64::from(SAMPLE_RATE)
}

/// Decodes into `output` and says how many samples per channel are there. What cannot be decoded is silence.
fn decode(
    decoder: &mut Option<opus::Decoder>,
    packet: &[u8],
    fec: bool,
    samples: u32,
    output: &mut [f32],
) -> usize {
    let expected = samples.clamp(1, MAX_SAMPLES) as usize;
    if decoder.is_none() {
        *decoder = opus::Decoder::new(SAMPLE_RATE, opus::Channels::Stereo).ok();
    }
    // Without a packet the decoder makes as much as there is room for.
    let room = if packet.is_empty() || fec { expected * 2 } else { output.len() };
    let result = match (decoder.as_mut(), output.get_mut(..room)) {
        (Some(decoder), Some(room)) => decoder.decode_float(packet, room, fec).ok(),
        _ => None,
    };
    result.unwrap_or_else(|| {
        output[..expected * 2].fill(0.0);
        expected
    })
}

/// Losses of so many packets in a row still come from a path that loses some, and not from one that is interrupted.
const MOST_REBUILT: i64 = 3;
/// Earlier than this is not a matter of speed. (Later than the buffer allows, packets are skipped.)
const EARLY_NS: i64 = 20_000_000;
const CORRECTION_TIME_NS: f64 = 2_000_000_000.0;
const MAX_BEND: f64 = 0.005;
