//! When a guest's pictures and sound are to be seen and heard: one timeline and one delay for both.
//!
//! The clock says when something was captured; the *delay* is what is added to that. It covers the slower of the two:
//! sound has to be there a little before its time, or there is a hole in it, and pictures take time to send and to
//! decode. A streamer can choose a guest to be *instant*: then pictures wait for nothing, and sound is that much behind.

use crate::delay::{Delay, MAX_NS};
use crate::locked;
use rtp::clock::{GuestClock, SenderClock};
use rtp::ext::AbsCaptureTime;
use std::sync::Mutex;
use wire::link::Steadiness;
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
        let with_sound_ns =
            captured_ns.saturating_add_signed(delay_ns).clamp(ready_ns.saturating_sub(STALE_NS), latest);
        let shown_ns = match inner.delay.steadiness() {
            Steadiness::Instant => with_sound_ns.saturating_sub(INSTANT_LEAD_NS).max(ready_ns),
            Steadiness::Balanced | Steadiness::Steady => with_sound_ns,
        };
        (shown_ns, shown_ns.max(ready_ns))
    }

    pub fn set_steadiness(&self, steadiness: Steadiness) {
        locked(&self.0).delay.set_steadiness(steadiness);
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

fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or_default().clamp(-MAX_NS, MAX_NS)
}

/// Opus looks 6.5 ms ahead (RFC 6716 §2, the encoder's default): what comes out of a packet is older than its timestamp says.
const LOOKAHEAD_NS: u64 = 6_500_000;
/// And browsers' sender reports pair the first sample of a packet of 20 ms with the time at which it was sent, when its
/// last one is there. Seen with Chromium 156: a flash and a beep made together came 30 ms apart by sender reports.
const SOUND_IS_OLDER_NS: u64 = LOOKAHEAD_NS + 20_000_000;
const STALE_NS: u64 = 250_000_000;
/// A picture that waits for nothing is still shown no longer before its sound: beyond about 125 ms people notice
/// (ITU-R BT.1359-1 §4).
const INSTANT_LEAD_NS: u64 = 80_000_000;
