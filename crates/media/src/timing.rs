//! When a guest's pictures and sound are to be seen and heard: one timeline and one delay for both.
//!
//! The clock says when something was captured; the *delay* is what is added to that. It covers the slower of the two:
//! sound has to be there a little before its time, or there is a hole in it, and pictures take time to send and to
//! decode. Pictures are never held to the last millisecond of it: sound may trail the picture by [`LEEWAY_NS`], which
//! nobody notices, and the picture is that much fresher.

use crate::locked;
use rtp::clock::{GuestClock, SenderClock};
use rtp::ext::AbsCaptureTime;
use std::collections::VecDeque;
use std::sync::Mutex;
use wire::ortc::MediaKind;

/// One guest's clock and delay, shared by the threads of pictures and sound.
///
/// A lock, because both threads measure and both need the result. Held for some arithmetic.
#[derive(Debug, Default)]
pub struct GuestTiming(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    guest: GuestClock,
    video: Stream,
    audio: Stream,
    delay: Delay,
    /// Smoothed: from capture to being shown, and to being heard.
    shown_after_ns: Option<f64>,
    heard_after_ns: Option<f64>,
}

#[derive(Debug)]
struct Stream {
    clock: SenderClock,
    synchronised: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            guest: GuestClock::new(),
            video: Stream::new(MediaKind::Video),
            audio: Stream::new(MediaKind::Audio),
            delay: Delay::default(),
            shown_after_ns: None,
            heard_after_ns: None,
        }
    }
}

impl Stream {
    fn new(kind: MediaKind) -> Self {
        let clock_rate = match kind {
            MediaKind::Video => 90_000,
            MediaKind::Audio => 48_000,
        };
        Self { clock: SenderClock::new(clock_rate), synchronised: false }
    }
}

impl Inner {
    fn stream(&mut self, kind: MediaKind) -> (&mut GuestClock, &mut Stream) {
        match kind {
            MediaKind::Video => (&mut self.guest, &mut self.video),
            MediaKind::Audio => (&mut self.guest, &mut self.audio),
        }
    }

    fn forget(&mut self) {
        self.delay.forget();
        (self.shown_after_ns, self.heard_after_ns) = (None, None);
    }
}

impl GuestTiming {
    /// A new track of this kind begins; its timestamps have nothing to do with those of the one before.
    pub fn begin(&self, kind: MediaKind) {
        let mut inner = locked(&self.0);
        *inner.stream(kind).1 = Stream::new(kind);
        inner.forget();
    }

    pub fn handle_sender_report(&self, kind: MediaKind, ntp: u64, rtp_timestamp: u32) {
        let mut inner = locked(&self.0);
        let (guest, stream) = inner.stream(kind);
        stream.clock.on_report(guest, ntp, rtp_timestamp);
    }

    /// A packet, already handled, says when what it carries was captured.
    pub fn handle_capture_time(&self, kind: MediaKind, captured: AbsCaptureTime, rtp_timestamp: u32) {
        let mut inner = locked(&self.0);
        let (guest, stream) = inner.stream(kind);
        let had_it = stream.clock.has_capture_times();
        stream.clock.on_capture_time(guest, captured.sender_ntp(), rtp_timestamp);
        if stream.clock.has_capture_times() != had_it {
            inner.forget();
        }
    }

    /// A packet came, in whatever order.
    pub fn handle_packet(&self, kind: MediaKind, arrival_ns: u64, rtp_timestamp: u32) {
        let mut inner = locked(&self.0);
        let (guest, stream) = inner.stream(kind);
        stream.clock.on_packet(guest, rtp_timestamp, arrival_ns);
        let synchronised = stream.clock.is_synchronised(guest);
        if std::mem::replace(&mut stream.synchronised, synchronised) != synchronised {
            // From here on, capture times come from another clock.
            inner.forget();
        }
    }

    /// Sound is lost that the next packet, of this length, could have rebuilt.
    pub fn handle_loss(&self, now_ns: u64, packet_ns: i64) {
        locked(&self.0).delay.note_loss(now_ns, packet_ns);
    }

    /// When what has this RTP timestamp was captured, by our clock, plus the path's shortest delay.
    pub fn captured_ns(&self, kind: MediaKind, rtp_timestamp: u32) -> Option<u64> {
        let mut inner = locked(&self.0);
        let (guest, stream) = inner.stream(kind);
        let captured_ns = stream.clock.capture_time_ns(guest, rtp_timestamp)?;
        match kind {
            MediaKind::Video => Some(captured_ns),
            MediaKind::Audio if stream.clock.has_capture_times() => {
                Some(captured_ns.saturating_sub(LOOKAHEAD_NS))
            }
            MediaKind::Audio => Some(captured_ns.saturating_sub(SOUND_IS_OLDER_NS)),
        }
    }

    /// Sound of this capture time came.
    pub fn handle_sound(&self, captured_ns: u64, arrival_ns: u64) {
        locked(&self.0).delay.note_sound(captured_ns, arrival_ns);
    }

    /// A picture is decoded: when it is to be seen by the guest's timeline, and when to hand it over.
    pub fn handle_picture(&self, captured_ns: u64, ready_ns: u64) -> (u64, u64) {
        let mut inner = locked(&self.0);
        inner.delay.note_picture(captured_ns, ready_ns);
        let delay_ns = inner.delay.adapt(ready_ns);
        // What is hopelessly late by a sender's odd clock is still the latest picture there is.
        let latest = ready_ns.saturating_add(MAX_NS as u64);
        let shown_ns =
            captured_ns.saturating_add_signed(delay_ns).clamp(ready_ns.saturating_sub(STALE_NS), latest);
        (shown_ns, shown_ns.saturating_sub(LEEWAY_NS as u64).max(ready_ns))
    }

    /// The common delay by now.
    pub fn adapt(&self, now_ns: u64) -> i64 {
        locked(&self.0).delay.adapt(now_ns)
    }

    pub fn note_shown(&self, captured_ns: u64, shown_ns: u64) {
        smooth(&mut locked(&self.0).shown_after_ns, difference(shown_ns, captured_ns));
    }

    pub fn note_heard(&self, captured_ns: u64, heard_ns: u64) {
        smooth(&mut locked(&self.0).heard_after_ns, difference(heard_ns, captured_ns));
    }

    /// Picture minus sound, in milliseconds; positive: the picture is late. `None` until both were handed over.
    pub fn av_offset_ms(&self) -> Option<f64> {
        let inner = locked(&self.0);
        Some((inner.shown_after_ns? - inner.heard_after_ns?) / 1e6)
    }
}

fn smooth(value: &mut Option<f64>, sample: i64) {
    let sample = sample as f64;
    *value = Some(value.map_or(sample, |value| value + (sample - value) / 32.0));
}

/// How long after its capture something is seen or heard.
#[derive(Debug)]
pub struct Delay {
    sound: Recent,
    pictures: Recent,
    /// Sound was lost at this time, and packets of this length carry what rebuilds the ones before them.
    loss: Option<(u64, i64)>,
    current_ns: i64,
    adapted_at_ns: u64,
}

impl Default for Delay {
    fn default() -> Self {
        Self {
            sound: Recent::new(SOUND_MEMORY),
            pictures: Recent::new(PICTURE_MEMORY),
            loss: None,
            current_ns: FIRST_NS,
            adapted_at_ns: 0,
        }
    }
}

impl Delay {
    /// Sound captured at the one time came at the other.
    pub fn note_sound(&mut self, captured_ns: u64, arrival_ns: u64) {
        self.sound.push(difference(arrival_ns, captured_ns));
    }

    /// A packet of sound is lost. The next one can rebuild it if it is there when the lost one is due: wait for it.
    pub fn note_loss(&mut self, now_ns: u64, packet_ns: i64) {
        self.loss = Some((now_ns, packet_ns.clamp(0, MAX_PACKET_NS)));
    }

    /// A picture captured at the one time was ready to be shown at the other.
    pub fn note_picture(&mut self, captured_ns: u64, ready_ns: u64) {
        self.pictures.push(difference(ready_ns, captured_ns));
    }

    /// What was captured earlier was measured with another clock.
    pub fn forget(&mut self) {
        self.sound.values.clear();
        self.pictures.values.clear();
    }

    /// Moves towards what recent pictures and sound need: fast up, because too little is heard; slowly down.
    pub fn adapt(&mut self, now_ns: u64) -> i64 {
        let elapsed = now_ns.saturating_sub(self.adapted_at_ns);
        if elapsed < ADAPT_EVERY_NS {
            return self.current_ns;
        }
        self.adapted_at_ns = now_ns;
        let recent = self.loss.filter(|(at, _)| now_ns.saturating_sub(*at) < LOSS_MEMORY_NS);
        let margin = SOUND_MARGIN_NS + recent.map_or(0, |(_, packet_ns)| packet_ns);
        let sound = self.sound.percentile(SOUND_PERCENTILE).map(|late| late + margin);
        let pictures = self.pictures.percentile(PICTURE_PERCENTILE);
        let Some(needed) = sound.max(pictures) else { return self.current_ns };
        let needed = needed.clamp(MIN_NS, MAX_NS);
        if needed > self.current_ns {
            self.current_ns = needed;
        } else {
            let most = (elapsed.min(1_000_000_000) as i64) * DOWN_PER_MILLE / 1000;
            self.current_ns -= (self.current_ns - needed).min(most);
        }
        self.current_ns
    }

    pub fn current_ns(&self) -> i64 {
        self.current_ns
    }
}

/// The last few of some figure. Bounded; when full, the oldest is forgotten.
#[derive(Debug)]
struct Recent {
    values: VecDeque<i64>,
    memory: usize,
}

impl Recent {
    fn new(memory: usize) -> Self {
        Self { values: VecDeque::with_capacity(memory), memory }
    }

    fn push(&mut self, value: i64) {
        if self.values.len() == self.memory {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    fn percentile(&self, percent: usize) -> Option<i64> {
        let mut sorted: Vec<i64> = self.values.iter().copied().collect();
        let index = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
        Some(*sorted.select_nth_unstable(index).1)
    }
}

fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or_default().clamp(-MAX_NS, MAX_NS)
}

/// Opus looks 6.5 ms ahead (RFC 6716 §2, the encoder's default): what comes out of a packet is older than its timestamp says.
const LOOKAHEAD_NS: u64 = 6_500_000;
/// And browsers' sender reports pair the first sample of a packet of 20 ms with the time at which it was sent, when its
/// last one is there. Seen with Chromium 156: a flash and a beep made together came 30 ms apart by sender reports.
const SOUND_IS_OLDER_NS: u64 = LOOKAHEAD_NS + 20_000_000;
/// Five seconds of packets of 20 ms.
const SOUND_MEMORY: usize = 250;
/// Five seconds at 30 fps.
const PICTURE_MEMORY: usize = 150;
/// One packet in fifty may come too late; its sound is concealed.
const SOUND_PERCENTILE: usize = 98;
/// Three pictures in four are at their time; the others are late by what the network makes them.
const PICTURE_PERCENTILE: usize = 75;
/// Sound is written this long before its time, and a chunk of 10 ms may begin up to that long before the packet in it.
const SOUND_MARGIN_NS: i64 = 25_000_000;
/// Losses come in company.
const LOSS_MEMORY_NS: u64 = 20_000_000_000;
const MAX_PACKET_NS: i64 = 60_000_000;
/// Lips ahead of sound by less than about 45 ms go unnoticed (ITU-R BT.1359-1 §4); most of that is left to the canvas, which
/// shows a picture up to a frame later than it was given.
pub const LEEWAY_NS: i64 = 4_000_000;
/// Before anything was measured.
const FIRST_NS: i64 = 60_000_000;
const MIN_NS: i64 = 10_000_000;
/// More than this is no conversation any more, and more than OBS's plugin waits for.
const MAX_NS: i64 = 450_000_000;
const STALE_NS: u64 = 250_000_000;
const ADAPT_EVERY_NS: u64 = 200_000_000;
/// Two milliseconds a second: nobody hears a tempo change of 0.2 %.
const DOWN_PER_MILLE: i64 = 2;
