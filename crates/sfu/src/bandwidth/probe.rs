//! Trying out whether the path carries more: short bursts at a higher rate, and what came of them.
//!
//! A *cluster* lasts 15 ms or five packets, whichever is more; media that flows anyway is its first content, padding
//! fills the rest. The rate at which its packets arrived is the measurement. As in libwebrtc: two clusters at the
//! start, the next twice as fast while the path keeps up, and one every few seconds while somebody could use more.

use super::Micros;

/// When to probe and how fast.
#[derive(Debug)]
pub struct Prober {
    active: Option<Cluster>,
    pending: Option<f64>,
    results: [Arrivals; TRACKED],
    next_id: u8,
    /// A cluster must have come back before a further one is judged from it.
    further_if_above: Option<f64>,
    last_began: Option<Micros>,
    clusters: u32,
}

/// A burst being sent.
#[derive(Clone, Copy, Debug)]
struct Cluster {
    id: u8,
    rate: f64,
    began: Micros,
    packets: u32,
    octets: u64,
}

/// What has arrived of a burst.
#[derive(Clone, Copy, Debug, Default)]
struct Arrivals {
    id: u8,
    /// Sent in all; 0 until the cluster is complete.
    sent_packets: u32,
    packets: u32,
    octets: u64,
    first_sent: Option<(Micros, u32)>,
    last_sent: (Micros, u32),
    first_arrived: Option<(i64, u32)>,
    last_arrived: i64,
    last_arrived_octets: u32,
}

impl Prober {
    /// Fetches what a packet touches while nothing is tried out.
    pub fn prefetch(&self) {
        prefetch::all(&self.active);
    }

    pub fn new() -> Self {
        Self {
            active: None,
            pending: None,
            results: [Arrivals::default(); TRACKED],
            next_id: 1,
            further_if_above: None,
            last_began: None,
            clusters: 0,
        }
    }

    /// Decides about a new cluster. `estimate` is what is believed now, `wanted` what all receivers of this transport
    /// together would take; both in bit/s. Only asked while no queue grows.
    pub fn consider(&mut self, now: Micros, estimate: f64, wanted: f64) {
        if self.active.is_some() || wanted <= 0.0 {
            return;
        }
        let useful = HEADROOM * wanted;
        if let Some(rate) = self.pending.take() {
            // Otherwise nothing is left to learn.
            if rate.min(useful) > NEWS * estimate {
                self.begin(now, rate.min(useful));
            }
            return;
        }
        if self.clusters == 0 {
            self.begin(now, (FIRST * estimate).min(useful));
            self.pending = Some(SECOND * estimate);
            return;
        }
        let interval = if self.clusters < EARLY { EARLY_INTERVAL } else { INTERVAL };
        let is_due = self.last_began.is_none_or(|at| now.saturating_sub(at) >= interval);
        if estimate < wanted && is_due {
            self.begin(now, (FURTHER * estimate).min(useful));
        }
    }

    fn begin(&mut self, now: Micros, rate: f64) {
        let id = self.next_id;
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        self.clusters = self.clusters.saturating_add(1);
        self.active = Some(Cluster { id, rate, began: now, packets: 0, octets: 0 });
        self.last_began = Some(now);
        tracing::trace!(id, rate = rate as u64, "a probe begins");
        self.further_if_above = Some(KEEPS_UP * rate);
        self.results[usize::from(id) % TRACKED] = Arrivals { id, ..Arrivals::default() };
    }

    /// The cluster that packets sent now belong to; 0 if none.
    pub fn cluster(&self) -> u8 {
        self.active.map_or(0, |cluster| cluster.id)
    }

    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// A packet of the active cluster was queued.
    pub fn note_sent(&mut self, octets: usize) {
        if let Some(cluster) = &mut self.active {
            cluster.packets += 1;
            cluster.octets += octets as u64;
        }
    }

    /// How many octets the active cluster lacks at this moment; media was counted already.
    pub fn due(&mut self, now: Micros) -> usize {
        let Some(cluster) = &self.active else { return 0 };
        let elapsed = now.saturating_sub(cluster.began);
        // One step ahead, so that the first packets leave at once.
        let planned = cluster.rate * (elapsed + STEP) as f64 / 8e6;
        (planned as u64).saturating_sub(cluster.octets) as usize
    }

    /// Ends the cluster when it is long enough, or when it cannot be filled.
    pub fn poll_complete(&mut self, now: Micros) {
        let Some(cluster) = &self.active else { return };
        let elapsed = now.saturating_sub(cluster.began);
        let is_complete = elapsed >= DURATION && cluster.packets >= MIN_PACKETS;
        if is_complete || elapsed >= MAX_DURATION {
            let cluster = *cluster;
            let result = &mut self.results[usize::from(cluster.id) % TRACKED];
            result.sent_packets = cluster.packets.max(MIN_PACKETS);
            self.active = None;
        }
    }

    /// A packet of cluster `id` arrived. Answers the rate the path carried, once the cluster has come through.
    pub fn note_arrived(&mut self, id: u8, sent_at: Micros, arrived_at: i64, octets: usize) -> Option<f64> {
        let arrivals = &mut self.results[usize::from(id) % TRACKED];
        if arrivals.id != id || id == 0 {
            return None;
        }
        arrivals.note(sent_at, arrived_at, octets as u32);
        let measured = arrivals.measure()?;
        if self.further_if_above.is_some_and(|bar| measured > bar)
            && self.pending.is_none()
            && self.active.is_none()
        {
            self.pending = Some(FURTHER * measured);
            self.further_if_above = None;
        }
        Some(measured)
    }

    /// Forgets what was planned: a queue grows.
    pub fn hold(&mut self, now: Micros) {
        (self.pending, self.active, self.further_if_above) = (None, None, None);
        self.last_began = Some(now);
    }
}

impl Arrivals {
    fn note(&mut self, sent_at: Micros, arrived_at: i64, octets: u32) {
        self.packets += 1;
        self.octets += u64::from(octets);
        if self.first_sent.is_none_or(|(at, _)| sent_at < at) {
            self.first_sent = Some((sent_at, octets));
        }
        if sent_at >= self.last_sent.0 {
            self.last_sent = (sent_at, octets);
        }
        if self.first_arrived.is_none_or(|(at, _)| arrived_at < at) {
            self.first_arrived = Some((arrived_at, octets));
        }
        if self.packets == 1 || arrived_at >= self.last_arrived {
            (self.last_arrived, self.last_arrived_octets) = (arrived_at, octets);
        }
    }

    /// Bit/s, from the octets between the first and the last packet on either side.
    fn measure(&self) -> Option<f64> {
        let (first_sent, _) = self.first_sent?;
        let (first_arrived, first_octets) = self.first_arrived?;
        let enough = self.sent_packets > 0
            && f64::from(self.packets) >= MIN_ARRIVED * f64::from(self.sent_packets)
            && self.packets >= MIN_PACKETS - 1;
        let sent_for = self.last_sent.0.saturating_sub(first_sent) as f64;
        let arrived_for = self.last_arrived.saturating_sub(first_arrived) as f64;
        let is_plausible =
            (1.0..=MAX_SPREAD).contains(&sent_for) && (1.0..=MAX_SPREAD).contains(&arrived_for);
        if !enough || !is_plausible {
            return None;
        }
        let sent = (self.octets - u64::from(self.last_sent.1)) as f64 * 8e6 / sent_for;
        let arrived = (self.octets - u64::from(first_octets)) as f64 * 8e6 / arrived_for;
        if arrived > 2.0 * sent {
            // Held up on the way and released in one go: that says nothing.
            return None;
        }
        Some(if arrived < 0.9 * sent {
            // It did not keep up: this is the path's capacity, of which some is left free.
            0.95 * arrived
        } else {
            arrived.min(sent)
        })
    }
}

/// As libwebrtc's.
const FIRST: f64 = 3.0;
const SECOND: f64 = 6.0;
const FURTHER: f64 = 2.0;
const KEEPS_UP: f64 = 0.7;
/// More than everybody wants is worth knowing only so far.
const HEADROOM: f64 = 2.0;
const NEWS: f64 = 1.1;
const DURATION: Micros = 15_000;
const MIN_PACKETS: u32 = 5;
/// Without padding, media alone may take so long to make a cluster.
const MAX_DURATION: Micros = 200_000;
const MIN_ARRIVED: f64 = 0.8;
/// A second between the ends of a burst of 15 ms means nothing.
const MAX_SPREAD: f64 = 1e6;
/// While somebody could use more: a burst costs no more than a frame's worth of queue.
const INTERVAL: Micros = 3_000_000;
/// The first ones follow each other faster: somebody has just joined and waits for pictures.
const EARLY: u32 = 6;
const EARLY_INTERVAL: Micros = 500_000;
/// The distance of a cluster's bursts.
pub const STEP: Micros = 2_000;
const TRACKED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one cluster through a path of `capacity` bit/s; the measurement.
    fn run(prober: &mut Prober, now: &mut Micros, capacity: f64) -> Option<f64> {
        let (id, mut sent) = (prober.cluster(), Vec::new());
        while prober.is_active() {
            let mut due = prober.due(*now) as i64;
            while due > 0 {
                sent.push((*now, 500));
                prober.note_sent(500);
                due -= 500;
            }
            prober.poll_complete(*now);
            *now += STEP;
        }
        let mut free_at = 0.0;
        let mut measured = None;
        for (at, octets) in sent {
            free_at = f64::max(free_at, at as f64) + octets as f64 * 8e6 / capacity;
            measured = prober.note_arrived(id, at, free_at as i64 + 7_000_000_000, octets).or(measured);
        }
        measured
    }

    #[test]
    fn the_start_doubles_until_the_path_does_not_keep_up() {
        let (mut prober, mut now) = (Prober::new(), 1_000_000);
        let (mut estimate, mut rates) = (1e6, Vec::new());
        for _ in 0..20 {
            prober.consider(now, estimate, 50e6);
            if prober.is_active() {
                rates.push((prober.active.unwrap().rate / 1e6).round() as u64);
                let measured = run(&mut prober, &mut now, 20e6).unwrap();
                estimate = f64::max(estimate, measured);
            }
            now += 50_000;
        }
        assert_eq!(rates[..2], [3, 6]);
        assert!((16e6..20e6).contains(&estimate), "{estimate}");
    }

    #[test]
    fn it_asks_again_every_few_seconds_while_somebody_could_use_more() {
        let (mut prober, mut now) = (Prober::new(), 0);
        let mut clusters = 0;
        for _ in 0..1_200 {
            prober.consider(now, 1e6, 3e6);
            if prober.is_active() {
                clusters += 1;
                let measured = run(&mut prober, &mut now, 1e6).unwrap();
                assert!((0.85e6..1.05e6).contains(&measured), "{measured}");
            }
            now += 25_000;
        }
        assert!((12..=18).contains(&clusters), "{clusters}");
        for _ in 0..1_200 {
            prober.consider(now, 4e6, 3e6);
            assert!(!prober.is_active(), "nobody could");
            now += 25_000;
        }
    }

    #[test]
    fn a_burst_that_came_in_one_go_or_was_lost_says_nothing() {
        let mut prober = Prober::new();
        let mut now = 0;
        prober.consider(now, 1e6, 10e6);
        assert_eq!(run(&mut prober, &mut now, 1e9).map(|rate| rate < 4e6), Some(true));
        prober.consider(now, 1e6, 10e6);
        let id = prober.cluster();
        for n in 0..10u64 {
            prober.note_sent(500);
            let released_at_once = 1_000_000 + n as i64 * 10;
            assert_eq!(prober.note_arrived(id, now + n * 2_000, released_at_once, 500), None);
        }
        prober.poll_complete(now + MAX_DURATION);
        assert_eq!(prober.note_arrived(id, now + 20_000, 1_000_100, 500), None);
    }
}
