//! What signaling counts of itself: connections, messages by event with their handling time, and refusals.
//!
//! Atomics, added to where it happens and read when somebody asks. How many there are does not depend on what clients send: an
//! event that is none of ours counts as [`OTHER`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use wire::Code;

/// Cloneable; all clones count the same.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    inside: [AtomicU64; Place::ALL.len()],
    events: [Timed; EVENTS.len() + 1],
    refusals: [AtomicU64; REFUSALS.len()],
    answers: [AtomicU64; ANSWERS.len()],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            inside: Default::default(),
            events: std::array::from_fn(|_| Timed::default()),
            refusals: Default::default(),
            answers: Default::default(),
        }
    }
}

/// What somebody is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP connections of the control listener.
    Control,
    /// TCP connections of the listener for the local network.
    Lan,
    SocketIo,
    Dashboard,
    Swarm,
    Live,
}

impl Place {
    const ALL: [Self; 6] =
        [Self::Control, Self::Lan, Self::SocketIo, Self::Dashboard, Self::Swarm, Self::Live];
}

/// One event's messages. `counts` are of those that took at most as long as [`BOUNDS`] say, and longer.
#[derive(Clone, Debug, PartialEq)]
pub struct Handled {
    pub event: &'static str,
    pub counts: [u64; BOUNDS.len() + 1],
    pub sum_seconds: f64,
}

#[derive(Debug, Default)]
struct Timed {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Tally {
    /// How many are there now.
    pub fn inside(&self, place: Place) -> u64 {
        self.0.inside[place as usize].load(Relaxed)
    }

    /// Every event that has come.
    pub fn handled(&self) -> Vec<Handled> {
        let names = EVENTS.iter().copied().chain([OTHER]);
        let all = names.zip(&self.0.events).map(|(event, timed)| Handled {
            event,
            counts: std::array::from_fn(|at| timed.counts[at].load(Relaxed)),
            sum_seconds: timed.sum_ns.load(Relaxed) as f64 / 1e9,
        });
        all.filter(|handled| handled.counts.iter().any(|count| *count > 0)).collect()
    }

    /// Messages refused before they were looked at, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        REFUSALS.iter().zip(&self.0.refusals).map(|((_, name), count)| (*name, count.load(Relaxed)))
    }

    /// HTTP answers by their status' first digit, upgrades to WebSocket (1xx) among them.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ANSWERS.iter().zip(&self.0.answers).map(|(name, count)| (*name, count.load(Relaxed)))
    }

    /// Somebody is there until this is dropped.
    pub(crate) fn enter(&self, place: Place) -> Inside {
        self.0.inside[place as usize].fetch_add(1, Relaxed);
        Inside { tally: self.clone(), place }
    }

    /// A message is being handled until this is dropped.
    pub(crate) fn handle(&self, packet: &str) -> Handling {
        Handling { tally: self.clone(), event: index_of(packet), began: Instant::now() }
    }

    pub(crate) fn refuse(&self, code: Code) {
        if let Some(at) = REFUSALS.iter().position(|(known, _)| *known == code) {
            self.0.refusals[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn answer(&self, status: u16) {
        if let Some(count) = self.0.answers.get(usize::from(status / 100).wrapping_sub(1)) {
            count.fetch_add(1, Relaxed);
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inside {
    tally: Tally,
    place: Place,
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.tally.0.inside[self.place as usize].fetch_sub(1, Relaxed);
    }
}

pub(crate) struct Handling {
    tally: Tally,
    event: usize,
    began: Instant,
}

impl Drop for Handling {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let timed = &self.tally.0.events[self.event];
        let at = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound).unwrap_or(BOUNDS.len());
        timed.counts[at].fetch_add(1, Relaxed);
        timed.sum_ns.fetch_add(took.as_nanos() as u64, Relaxed);
    }
}

/// Of a message's text, `["event", …]`: the place of its event among the known ones, or after them.
fn index_of(packet: &str) -> usize {
    let name =
        packet.trim_start().strip_prefix('[').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'));
    let name = name.and_then(|rest| rest.split('"').next());
    name.and_then(|name| EVENTS.binary_search(&name).ok()).unwrap_or(EVENTS.len())
}

/// Seconds. Most messages take microseconds; those that change the store wait for the disk, milliseconds.
pub const BOUNDS: [f64; 8] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0];
/// Every event without a name of ours.
pub const OTHER: &str = "other";
/// Sorted.
const EVENTS: [&str; 37] = [
    "add-ice-candidate",
    "admit",
    "announce",
    "answer",
    "assign-slot",
    "chat",
    "close-consumer",
    "close-data-consumer",
    "close-data-producer",
    "close-producer",
    "connect-transport",
    "consume",
    "consume-data",
    "create-webrtc-transport",
    "get-router-rtp-capabilities",
    "get-stats",
    "ice-candidate",
    "join-room",
    "leave",
    "leave-room",
    "mute-peer",
    "offer",
    "pause-consumer",
    "pause-data-consumer",
    "pause-producer",
    "produce",
    "produce-data",
    "raise-hand",
    "remove-peer",
    "request-key-frame",
    "restart-ice",
    "resume-consumer",
    "resume-data-consumer",
    "resume-producer",
    "set-display-name",
    "set-preferred-layers",
    "signal",
];
const REFUSALS: [(Code, &str); 3] =
    [(Code::RateLimited, "rate-limited"), (Code::TooLarge, "too-large"), (Code::Busy, "busy")];
const ANSWERS: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events;

    #[test]
    fn every_event_is_known_by_name_and_nothing_else_is() {
        assert!(EVENTS.is_sorted());
        for event in EVENTS {
            let packet = format!("[\"{event}\",{{}}]");
            let unknown =
                matches!(events::parse(&packet), Err(failure) if failure.code == Code::UnknownEvent);
            assert!(!unknown || events::SwarmEvent::read(&packet).is_some(), "{event}");
        }
        // The arms of the parser, as they are written.
        let source = include_str!("events.rs");
        let arms = source.lines().filter_map(|line| line.trim().strip_prefix('"')?.split_once("\" => "));
        let arms = arms.filter(|(name, _)| !["", "null"].contains(name));
        let arms: Vec<&str> = arms.map(|(name, _)| name).collect();
        assert!(arms.len() > 30, "the test reads what it should");
        assert!(arms.iter().all(|name| EVENTS.contains(name)), "{arms:?}");
    }

    #[test]
    fn what_clients_make_up_counts_as_one() {
        let tally = Tally::default();
        for packet in
            ["[\"chat\",{}]", " [ \"chat\" ]", "[\"made-up\"]", "", "[", "[\"", "[7]", "{\"chat\":1}"]
        {
            drop(tally.handle(packet));
        }
        let handled = tally.handled();
        let counted: Vec<_> =
            handled.iter().map(|handled| (handled.event, handled.counts.iter().sum::<u64>())).collect();
        assert_eq!(counted, [("chat", 2), (OTHER, 6)]);
    }

    #[test]
    fn who_leaves_is_not_there_any_more() {
        let tally = Tally::default();
        let two = [tally.enter(Place::Lan), tally.enter(Place::Lan)];
        assert_eq!((tally.inside(Place::Lan), tally.inside(Place::Control)), (2, 0));
        drop(two);
        assert_eq!(tally.inside(Place::Lan), 0);
    }
}
