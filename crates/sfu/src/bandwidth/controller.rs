//! What the path to one client carries: all evidence of it brought together.
//!
//! The best evidence is transport-wide feedback: it gives the delay's trend, what arrives, what is lost, and what probes
//! found. A client without it may tell its own estimate (REMB); of one that does neither, only the loss in its receiver
//! reports is known. The estimate is the least of what there is.

use super::Micros;
use super::acknowledged::AcknowledgedBitrate;
use super::arrival::ArrivalGroups;
use super::history::SentHistory;
use super::loss::{LossControl, Rates};
use super::probe::Prober;
use super::rate_control::RateControl;
use super::trendline::{Trendline, Usage};
use rtp::rtcp::TransportFeedback;

/// One transport's send side.
#[derive(Debug)]
pub struct Controller {
    history: SentHistory,
    clock: ArrivalClock,
    groups: ArrivalGroups,
    trendline: Trendline,
    acknowledged: AcknowledgedBitrate,
    rate: RateControl,
    loss: LossControl,
    prober: Prober,
    feedback: Feedback,
    /// Told by REMB, bit/s, and when.
    remb: Option<(f64, Micros)>,
    remb_fell: Option<Micros>,
    round_trip: Micros,
    /// What all receivers of this transport together would take, bit/s.
    wanted: f64,
    /// What is sent; the last resort knows nothing better to fall from.
    sent_rate: f64,
    next_decay: Micros,
    is_proven: bool,
    first_feedback: Option<Micros>,
    /// See [`Self::note_burst`]; bit/s, and when.
    burst: Option<(f64, Micros)>,
}

/// Where transport-wide feedback stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Feedback {
    /// No packet carries a number: nothing can come.
    None,
    /// Not a word yet; packets were sent since then, if any.
    Awaited {
        since: Option<Micros>,
    },
    /// The client does not give any.
    Missing,
    Flowing {
        last: Micros,
        last_sent: Micros,
    },
}

impl Controller {
    /// Fetches what a packet touches, but for the history.
    pub fn prefetch(&self) {
        prefetch::all(&self.history);
        prefetch::all(&self.feedback);
        self.prober.prefetch();
    }

    /// Fetches the history's part of that. It is behind a pointer that [`Self::prefetch`] fetches.
    pub fn prefetch_history(&self) {
        self.history.prefetch();
    }

    pub fn new(now: Micros) -> Self {
        Self {
            history: SentHistory::new(),
            clock: ArrivalClock::default(),
            groups: ArrivalGroups::default(),
            trendline: Trendline::default(),
            acknowledged: AcknowledgedBitrate::default(),
            rate: RateControl::new(START, now),
            loss: LossControl::default(),
            prober: Prober::new(),
            feedback: Feedback::None,
            remb: None,
            remb_fell: None,
            round_trip: FIRST_ROUND_TRIP,
            wanted: 0.0,
            sent_rate: 0.0,
            next_decay: now,
            is_proven: false,
            first_feedback: None,
            burst: None,
        }
    }

    /// Some receiver agreed to give transport-wide feedback.
    pub fn expect_feedback(&mut self) {
        if self.feedback == Feedback::None {
            self.feedback = Feedback::Awaited { since: None };
        }
    }

    /// The packets take another path from now on: nothing that was measured is true of it. Whether the client gives
    /// feedback is no property of the path.
    pub fn begin_anew(&mut self, now: Micros) {
        let feedback = match self.feedback {
            Feedback::Awaited { .. } | Feedback::Flowing { .. } => Feedback::Awaited { since: None },
            known => known,
        };
        *self = Self { feedback, wanted: self.wanted, ..Self::new(now) };
    }

    /// A packet with transport-wide number `sequence` is queued for the socket.
    pub fn note_sent(&mut self, sequence: u64, octets: usize) {
        self.history.note(sequence, octets, self.prober.cluster());
        self.prober.note_sent(octets);
    }

    /// What was queued leaves now.
    pub fn stamp(&mut self, now: Micros) {
        if !self.history.stamp(now) {
            return;
        }
        match &mut self.feedback {
            Feedback::Awaited { since } => *since = since.or(Some(now)),
            Feedback::Flowing { last_sent, .. } => *last_sent = now,
            Feedback::None | Feedback::Missing => {}
        }
    }

    pub fn handle_feedback(&mut self, now: Micros, feedback: &TransportFeedback<'_>) {
        self.clock.begin(feedback.reference_time);
        let (mut received, mut lost, mut late) = (0, 0, 0);
        let (mut newest_sent, mut probed) = (None, None);
        let mut burst = Burst::default();
        let is_limited = self.is_application_limited();
        for status in feedback.packets() {
            let told = self.history.tell(status.sequence, status.arrival_us.is_some(), now);
            let Some(told) = told else { continue };
            let Some(arrival_us) = status.arrival_us else {
                lost += 1;
                continue;
            };
            *(if told.was_lost { &mut late } else { &mut received }) += 1;
            newest_sent = newest_sent.max(Some(told.sent_at));
            let arrived_at = self.clock.unwrap(arrival_us);
            self.acknowledged.note(arrived_at, told.size, is_limited);
            burst.note(arrived_at, told.size);
            if let Some(spacing) = self.groups.note(told.sent_at, arrived_at) {
                self.trendline.note(&spacing);
            }
            let measured = self.prober.note_arrived(told.cluster, told.sent_at, arrived_at, told.size);
            probed = measured.or(probed);
        }
        self.loss.note(received, lost);
        self.loss.note_late(late);
        let Some(newest_sent) = newest_sent else { return };
        let last_sent = match self.feedback {
            Feedback::Flowing { last_sent, .. } => last_sent,
            _ => now,
        };
        let is_first = !matches!(self.feedback, Feedback::Flowing { .. });
        self.feedback = Feedback::Flowing { last: now, last_sent };
        self.first_feedback = self.first_feedback.or(Some(now));
        self.note_round_trip(now.saturating_sub(newest_sent));
        let burst = burst.rate().filter(|_| is_limited);
        self.conclude(now, newest_sent, probed, burst, is_first);
    }

    fn note_round_trip(&mut self, sample: Micros) {
        // With the client's waiting for its next feedback in it: that is the time an answer takes.
        self.round_trip = (self.round_trip * 7 + sample.min(MAX_ROUND_TRIP)) / 8;
    }

    /// `burst`: how fast packets arrived just now, where little was sent before.
    fn conclude(
        &mut self,
        now: Micros,
        sent_at: Micros,
        probed: Option<f64>,
        burst: Option<f64>,
        is_first: bool,
    ) {
        let usage = self.trendline.usage();
        if usage == Usage::Over {
            self.prober.hold(now);
        }
        self.is_proven |= usage == Usage::Over || probed.is_some();
        let has_queue = usage == Usage::Over || self.is_recovering(now);
        if let Some(rate) = probed {
            tracing::trace!(rate = rate as u64, ?usage, "a probe came through");
            if !has_queue {
                self.loss.note_probe(now, rate, self.round_trip);
            }
        }
        match probed {
            Some(rate) if usage != Usage::Over && (rate > self.rate.estimate() || is_first) => {
                self.rate.set(rate.min(MAX), now);
            }
            _ => {
                let acknowledged = match usage {
                    Usage::Over => {
                        let burst = self.note_burst(now, burst);
                        [self.acknowledged.under_load(), burst].into_iter().flatten().reduce(f64::max)
                    }
                    _ => self.acknowledged.bitrate(),
                };
                self.rate.update(now, sent_at, usage, acknowledged, self.round_trip, MAX);
            }
        }
        let aim = self.rate.estimate();
        let rates = Rates { aim, arrives: self.acknowledged.bitrate().unwrap_or(aim) };
        self.loss.update(now, rates, self.round_trip);
    }

    /// The fastest of the bursts that filled the path lately. The mean of seconds of little says nothing of a path that a
    /// keyframe has just filled.
    fn note_burst(&mut self, now: Micros, burst: Option<f64>) -> Option<f64> {
        self.burst = self.burst.filter(|(_, at)| now.saturating_sub(*at) < BURST_LASTS);
        if let Some(rate) = burst
            && self.burst.is_none_or(|(before, _)| rate > before)
        {
            self.burst = Some((rate, now));
        }
        self.burst.map(|(rate, _)| rate)
    }

    pub fn handle_remb(&mut self, now: Micros, bitrate: u64) {
        let bitrate = bitrate as f64;
        if self.remb_at(now).is_some_and(|before| bitrate < before) {
            self.remb_fell = Some(now);
        }
        self.remb = Some((bitrate, now));
    }

    /// How much padding to send beside media, bit/s. A client that tells its estimate never tells more than half more
    /// than what it gets: to learn whether it could have more it must be sent more.
    pub fn padding_rate(&self, now: Micros) -> Option<f64> {
        let remb = self.remb_at(now).filter(|_| self.counts_everything())?;
        let has_fallen = self.remb_fell.is_some_and(|at| now.saturating_sub(at) < REMB_SETTLES);
        let missing = self.estimate(now)? as f64 - self.sent_rate;
        (remb < self.wanted && missing > 0.0 && !has_fallen).then_some(missing)
    }

    /// Counts of a receiver report; they matter while there is no feedback.
    pub fn handle_report(&mut self, now: Micros, received: u32, lost: u32) {
        if !matches!(self.feedback, Feedback::Flowing { .. }) {
            self.loss.note(received, lost);
            let rate = self.remb_at(now).unwrap_or(self.sent_rate.max(MIN));
            self.loss.update(now, Rates { aim: rate, arrives: self.sent_rate }, self.round_trip);
        }
    }

    /// Lets time pass. `wanted`: what all receivers of this transport together would take; `sent_rate`: what is sent;
    /// both in bit/s.
    pub fn handle_timeout(&mut self, now: Micros, wanted: u64, sent_rate: u64) {
        self.wanted = wanted as f64;
        self.sent_rate = sent_rate as f64;
        match self.feedback {
            Feedback::Awaited { since: Some(since) } if now.saturating_sub(since) >= AWAITED => {
                self.feedback = Feedback::Missing;
                tracing::debug!("a client gives no transport-wide feedback");
            }
            Feedback::Flowing { last, last_sent }
                if last_sent > last && now.saturating_sub(last) >= SILENCE && now >= self.next_decay =>
            {
                // Either nothing gets through, or nothing comes back: both ask for less.
                self.next_decay = now + 1_000_000;
                let fallen = (self.rate.estimate() * DECAY).max(MIN);
                self.rate.set(fallen, now);
            }
            _ => {}
        }
        if let Feedback::Flowing { last, .. } = self.feedback
            && now.saturating_sub(last) >= FORGOTTEN
        {
            // Nothing flows: what the delay was says nothing of what it is.
            (self.trendline, self.groups) = (Trendline::default(), ArrivalGroups::default());
        }
        self.prober.poll_complete(now);
        let has_queue = self.trendline.usage() == Usage::Over || self.is_recovering(now);
        if !has_queue && matches!(self.feedback, Feedback::Awaited { .. } | Feedback::Flowing { .. }) {
            self.prober.consider(now, self.estimate(now).unwrap_or(START as u64) as f64, self.wanted);
        }
    }

    /// What may be sent, bit/s; `None` while nothing speaks for any limit.
    pub fn estimate(&self, now: Micros) -> Option<u64> {
        let delay = match self.feedback {
            Feedback::None | Feedback::Missing => None,
            Feedback::Awaited { .. } | Feedback::Flowing { .. } => Some(self.rate.estimate()),
        };
        let least = [delay, self.remb_at(now), self.loss.cap()].into_iter().flatten().reduce(f64::min)?;
        Some(least.clamp(MIN, MAX) as u64)
    }

    /// Whether the estimate rests on anything but hope.
    pub fn is_proven(&self, now: Micros) -> bool {
        let is_settled = self.first_feedback.is_some_and(|at| now.saturating_sub(at) >= SETTLED);
        self.is_proven || is_settled || self.counts_everything() || self.remb.is_some()
    }

    /// Whether the estimate counts packets without a number, too: sound has none (Firefox understands them for pictures
    /// only), so what feedback shows is what pictures can have beside it.
    pub fn counts_everything(&self) -> bool {
        matches!(self.feedback, Feedback::None | Feedback::Missing)
    }

    /// How fast packets may leave for the socket, bit/s.
    pub fn pacing_rate(&self, now: Micros) -> Option<f64> {
        let estimate = self.estimate(now)? as f64;
        let factor = match self.feedback {
            Feedback::Awaited { .. } => START_FACTOR,
            _ if self.is_recovering(now) || self.trendline.usage() == Usage::Over => 1.0,
            _ => FACTOR,
        };
        Some(factor * estimate)
    }

    /// A queue of ours may still be draining.
    fn is_recovering(&self, now: Micros) -> bool {
        self.rate.decreased_at().is_some_and(|at| now.saturating_sub(at) < RECOVERY + self.round_trip)
    }

    fn is_application_limited(&self) -> bool {
        self.acknowledged.bitrate().is_some_and(|rate| rate < LIMITED * self.rate.estimate())
    }

    fn remb_at(&self, now: Micros) -> Option<f64> {
        self.remb.filter(|(_, at)| now.saturating_sub(*at) < REMB_LASTS).map(|(rate, _)| rate)
    }

    /// What each kind of evidence says, for whoever wonders at the estimate.
    pub fn trace(&self, now: Micros) {
        tracing::trace!(
            estimate = self.estimate(now),
            delay = self.rate.estimate() as u64,
            cap = self.loss.cap().map(|cap| cap as u64),
            remb = self.remb_at(now).map(|remb| remb as u64),
            usage = ?self.trendline.usage(),
            arrives = self.acknowledged.bitrate().map(|rate| rate as u64),
            lost = self.loss.fraction(),
            inherent = self.loss.inherent(),
            round_trip = self.round_trip,
            wanted = self.wanted as u64,
            sent = self.sent_rate as u64,
            "what the path carries"
        );
    }

    pub fn prober(&mut self) -> &mut Prober {
        &mut self.prober
    }

    pub fn is_probing(&self) -> bool {
        self.prober.is_active()
    }

    /// Lost of what was sent lately, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.loss.fraction()
    }
}

/// What one feedback message tells to have arrived.
#[derive(Debug, Default)]
struct Burst {
    /// First and last arrival, receiver's clock.
    ends: Option<(i64, i64)>,
    packets: u32,
    /// Without the first packet's.
    octets: usize,
}

impl Burst {
    fn note(&mut self, arrived_at: i64, octets: usize) {
        match &mut self.ends {
            None => self.ends = Some((arrived_at, arrived_at)),
            Some((first, last)) => {
                (*first, *last) = ((*first).min(arrived_at), (*last).max(arrived_at));
                self.octets += octets;
            }
        }
        self.packets += 1;
    }

    /// Bit/s; a queue in front of the bottleneck makes them the path's own.
    fn rate(&self) -> Option<f64> {
        let (first, last) = self.ends.filter(|_| self.packets >= MIN_BURST)?;
        let span = last.saturating_sub(first);
        (span >= MIN_BURST_SPAN).then(|| self.octets as f64 * 8e6 / span as f64)
    }
}

/// The receiver's clock as feedback tells it: 24 bits of 64 ms that turn over every twelve days.
#[derive(Debug, Default)]
struct ArrivalClock {
    last_reference: Option<i32>,
    turns: i64,
}

impl ArrivalClock {
    fn begin(&mut self, reference: i32) {
        if let Some(last) = self.last_reference.replace(reference) {
            let step = i64::from(reference) - i64::from(last);
            self.turns += i64::from(step < -HALF_TURN) - i64::from(step > HALF_TURN);
        }
    }

    fn unwrap(&self, arrival_us: i64) -> i64 {
        arrival_us + self.turns * TURN_US
    }
}

const HALF_TURN: i64 = 1 << 23;
const TURN_US: i64 = (1 << 24) * 64_000;

/// Nobody watches less, and so much gets through anywhere.
const MIN: f64 = 50_000.0;
/// More than a home's line; keeps arithmetic sane.
const MAX: f64 = 500e6;
/// Before anything is known: a picture begins at once, and a slow line is not drowned in it.
const START: f64 = 600e3;
const START_FACTOR: f64 = 1.5;
/// The first probe has come back, if it was to.
const SETTLED: Micros = 1_000_000;
/// Bursts of keyframes may be faster than the average: half more costs a queue of half their length.
const FACTOR: f64 = 1.5;
const FIRST_ROUND_TRIP: Micros = 100_000;
const MAX_ROUND_TRIP: Micros = 2_000_000;
/// A client that gives feedback does so within a round trip and a quarter of a second.
const AWAITED: Micros = 2_000_000;
const SILENCE: Micros = 2_000_000;
const DECAY: f64 = 0.5;
const FORGOTTEN: Micros = 1_000_000;
const RECOVERY: Micros = 400_000;
const LIMITED: f64 = 0.65;
/// A queue that a burst has left takes so long to drain.
const BURST_LASTS: Micros = 1_000_000;
const MIN_BURST: u32 = 5;
const MIN_BURST_SPAN: i64 = 15_000;
/// Browsers repeat theirs every second.
const REMB_LASTS: Micros = 10_000_000;
const REMB_SETTLES: Micros = 3_000_000;
