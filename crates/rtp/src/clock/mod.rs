//! One timeline for all the streams of one guest: RTP timestamp → sender's clock → host's clock.
//!
//! RTCP sender reports tie each stream's timestamps to the sender's wall clock (RFC 3550 §6.4.1), which all streams of
//! one sender share; the fastest packets of any of them tie that wall clock to ours. So sound and picture taken at the
//! same instant get the same time, however differently they travelled, and stay so while the clocks drift apart.
//!
//! Reports are testimony, not truth: one that contradicts the stream must be repeated to be believed, and a timeline
//! that strays more than a second from plain arrival times is not used at all.

mod offset;
mod tie;

use crate::sequence::TimestampExtender;
use offset::OffsetFilter;
use tie::Tie;

/// The sender's wall clock seen from the host. One per guest, shared by that guest's [`SenderClock`]s.
#[derive(Debug, Default)]
pub struct GuestClock {
    offset: OffsetFilter,
    /// Counts how often the sender's wall clock was found to have been set anew.
    epoch: u64,
}

impl GuestClock {
    pub fn new() -> Self {
        Self::default()
    }

    /// How much faster than ours the sender's clock runs, in parts per million.
    pub fn drift_ppm(&self) -> f64 {
        // A fast sender's time grows more than ours, so the offset shrinks.
        -self.offset.drift() * 1e6
    }

    fn set_anew(&mut self) {
        self.offset = OffsetFilter::default();
        self.epoch += 1;
    }
}

/// What became of a sender report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    Accepted,
    /// It contradicts what came before. The next one decides.
    Doubted,
    /// It carries no time.
    Empty,
    /// Capture times say it better.
    Superseded,
}

/// One stream's clock. Ends with the stream (SSRC).
#[derive(Debug)]
pub struct SenderClock {
    clock_rate: u32,
    timestamps: TimestampExtender,
    /// Timestamps against arrivals, for lack of reports or of trust in them.
    arrivals: OffsetFilter,
    tie: Option<Tie>,
    doubted_ns: Option<i64>,
    /// RTP time of the last capture time that was believed.
    captured_ns: Option<i64>,
    /// The shared timeline has been found near the arrivals.
    trusted: bool,
}

const MS: i64 = 1_000_000;
/// Browsers compute a report's timestamp from the last frame's, which leaves some milliseconds of noise: audio comes in
/// blocks of 10 or 20 ms. Beyond this it is no noise.
const REPORT_TOLERANCE_NS: i64 = 60 * MS;
/// A first report is believed at once if it speaks of a time this close to the packets'.
const REPORT_REACH_NS: i64 = 60_000 * MS;
/// Senders repeat capture times at least every five seconds (libwebrtc), or they have stopped.
const CAPTURE_MEMORY_NS: u64 = 12_000 * MS as u64;
/// How far the shared timeline may lie from arrival times to become, and to stay, trusted.
const TRUST_NS: u64 = 1_000 * MS as u64;
const DISTRUST_NS: u64 = 1_500 * MS as u64;

impl SenderClock {
    pub fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate: clock_rate.max(1),
            timestamps: TimestampExtender::new(),
            arrivals: OffsetFilter::default(),
            tie: None,
            doubted_ns: None,
            captured_ns: None,
            trusted: false,
        }
    }

    /// Every packet as it arrives, in whatever order. Retransmissions are better left out, but do no harm.
    pub fn on_packet(&mut self, guest: &mut GuestClock, rtp_timestamp: u32, arrival_ns: u64) {
        let rtp_ns = self.rtp_ns(self.timestamps.peek(rtp_timestamp));
        self.timestamps.extend(rtp_timestamp);
        self.arrivals.observe(rtp_ns, arrival_ns);
        let Some(tie) = self.tie.as_ref().filter(|tie| tie.epoch == guest.epoch) else {
            self.trusted = false;
            return;
        };
        let sender_ns = rtp_ns.saturating_add(tie.offset_at(rtp_ns));
        if self.trusted || !guest.offset.is_anchored() {
            guest.offset.observe(sender_ns, arrival_ns);
        }
        let limit_ns = if self.trusted { DISTRUST_NS } else { TRUST_NS };
        let distance = guest.offset.host_ns(sender_ns).zip(self.arrivals.host_ns(rtp_ns));
        self.trusted = distance.is_some_and(|(shared, own)| shared.abs_diff(own) <= limit_ns);
    }

    /// A sender report of this stream: `ntp` is 32.32 fixed point seconds since 1900.
    pub fn on_report(&mut self, guest: &mut GuestClock, ntp: u64, rtp_timestamp: u32) -> Report {
        if ntp == 0 {
            // "May be zero if the sender has no wall clock", RFC 3550 §6.4.1.
            return Report::Empty;
        }
        let rtp_ns = self.rtp_ns(self.timestamps.peek(rtp_timestamp));
        self.captured_ns = self.captured_ns.filter(|at| at.abs_diff(rtp_ns) < CAPTURE_MEMORY_NS);
        if self.captured_ns.is_some() {
            return Report::Superseded;
        }
        self.tie_to(guest, ntp_to_ns(ntp), rtp_ns)
    }

    /// A packet says when what it carries was captured, by the wall clock of the reports (abs-capture-time): closer to
    /// the truth than they are.
    pub fn on_capture_time(&mut self, guest: &mut GuestClock, ntp: u64, rtp_timestamp: u32) -> Report {
        if ntp == 0 {
            return Report::Empty;
        }
        let (rtp_ns, wall_ns) = (self.rtp_ns(self.timestamps.peek(rtp_timestamp)), ntp_to_ns(ntp));
        let report = self.tie_to(guest, wall_ns, rtp_ns);
        if report == Report::Accepted && self.captured_ns.replace(rtp_ns).is_none() {
            // The reports before it erred in a way of their own: nothing to average with.
            self.tie = Some(Tie::new(rtp_ns, wall_ns - rtp_ns, guest.epoch));
        }
        report
    }

    /// Whether [`Self::capture_time_ns`] rests on capture times, and not on reports.
    pub fn has_capture_times(&self) -> bool {
        self.captured_ns.is_some()
    }

    fn tie_to(&mut self, guest: &mut GuestClock, wall_ns: i64, rtp_ns: i64) -> Report {
        let offset_ns = wall_ns - rtp_ns;
        let near = |other: i64| offset_ns.abs_diff(other) <= REPORT_TOLERANCE_NS as u64;
        let confirmed = self.doubted_ns.take().is_some_and(near);
        let of_now = self.speaks_of_now(rtp_ns);
        match &mut self.tie {
            Some(tie) if tie.epoch == guest.epoch && near(tie.offset_at(rtp_ns)) => {
                tie.add(rtp_ns, offset_ns);
            }
            // Another stream of this sender has found the wall clock changed: so it will be for this one.
            Some(tie) if tie.epoch != guest.epoch => *tie = Tie::new(rtp_ns, offset_ns, guest.epoch),
            Some(tie) if confirmed => {
                guest.set_anew();
                *tie = Tie::new(rtp_ns, offset_ns, guest.epoch);
            }
            None if confirmed || of_now => {
                self.tie = Some(Tie::new(rtp_ns, offset_ns, guest.epoch));
            }
            _ => {
                self.doubted_ns = Some(offset_ns);
                return Report::Doubted;
            }
        }
        Report::Accepted
    }

    /// When, on the host's clock, what bears this timestamp was captured, plus the path's shortest delay. `None` before
    /// the first packet.
    ///
    /// Before the first report, and while reports cannot be trusted, this stream's own arrivals stand in; the change
    /// from one to the other is a step of as much as the streams' delays differ. Apart from that, from clocks set anew
    /// and from pauses, time advances with the timestamps, at most half a percent faster or slower.
    pub fn capture_time_ns(&self, guest: &GuestClock, rtp_timestamp: u32) -> Option<u64> {
        let rtp_ns = self.rtp_ns(self.timestamps.peek(rtp_timestamp));
        let shared = self
            .tie
            .as_ref()
            .filter(|_| self.is_synchronised(guest))
            .and_then(|tie| guest.offset.host_ns(rtp_ns.saturating_add(tie.offset_at(rtp_ns))));
        shared.or_else(|| self.arrivals.host_ns(rtp_ns))
    }

    /// Whether [`Self::capture_time_ns`] speaks of the timeline shared with the guest's other streams.
    pub fn is_synchronised(&self, guest: &GuestClock) -> bool {
        self.trusted && self.tie.as_ref().is_some_and(|tie| tie.epoch == guest.epoch)
    }

    /// The sender's wall clock at this timestamp, nanoseconds since 1900, as its reports have it.
    pub fn sender_time_ns(&self, rtp_timestamp: u32) -> Option<u64> {
        let rtp_ns = self.rtp_ns(self.timestamps.peek(rtp_timestamp));
        u64::try_from(rtp_ns.checked_add(self.tie.as_ref()?.offset_at(rtp_ns))?).ok()
    }

    fn speaks_of_now(&self, rtp_ns: i64) -> bool {
        match self.timestamps.highest() {
            None => false,
            Some(highest) => self.rtp_ns(highest).abs_diff(rtp_ns) <= REPORT_REACH_NS as u64,
        }
    }

    /// Far below overflow for centuries of packets; a wild timestamp saturates.
    fn rtp_ns(&self, timestamp: u64) -> i64 {
        let ns = u128::from(timestamp) * 1_000_000_000 / u128::from(self.clock_rate);
        i64::try_from(ns).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
    }
}

/// 32.32 fixed point seconds to nanoseconds; the largest is half of what an `i64` holds.
fn ntp_to_ns(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) as i64;
    let fraction = (u128::from(ntp as u32) * 1_000_000_000) >> 32;
    seconds * 1_000_000_000 + fraction as i64
}

#[cfg(test)]
mod tests;
