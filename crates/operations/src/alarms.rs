//! Alarms: what stays bad for a while raises one, what stays good for a while clears it, and in between nothing changes.
//!
//! Knows no clock: the caller tells what it read and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use uuid::Uuid;
use wire::alarm::{AlarmKind, AlarmView};
use wire::dashboard::Severity;
use wire::{AlarmId, PeerId, RoomId};

/// What there was to read of one thing at one moment. What is read no more has gone, and its alarm with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    pub source: Source,
    pub state: State,
    /// How long it has to be bad before anybody is told…
    pub raise_after: Duration,
    /// …and good before they are told that it is over.
    pub clear_after: Duration,
    pub severity: Severity,
    pub what: String,
    pub todo: String,
}

/// What is watched; at most one alarm is raised of each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub kind: AlarmKind,
    /// Which one, of several of a kind.
    pub name: String,
    pub guest: Option<(RoomId, PeerId)>,
}

impl Source {
    pub fn of(kind: AlarmKind) -> Self {
        Self::named(kind, "")
    }

    pub fn named(kind: AlarmKind, name: impl Into<String>) -> Self {
        Self { kind, name: name.into(), guest: None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Good,
    /// Better than what raises an alarm, worse than what clears one: a reading that swings around one bound says nothing new.
    Between,
    Bad,
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum AlarmEvent {
    Raised(AlarmView),
    Cleared(AlarmView),
}

/// Every alarm there is. *State* kind: one for each thing that is watched, which the caller bounds.
#[derive(Debug, Default)]
pub struct Alarms {
    standing: BTreeMap<Source, Standing>,
}

#[derive(Debug)]
enum Standing {
    /// Bad, but not for long enough.
    Suspect {
        since: Instant,
    },
    Raised {
        view: AlarmView,
        good_since: Option<Instant>,
        dismissed: bool,
    },
}

impl Alarms {
    /// Takes what was read, all of it; answers what changed. `at` is the time of day, RFC 3339.
    pub fn handle(&mut self, now: Instant, at: &str, readings: Vec<Reading>) -> Vec<AlarmEvent> {
        let read: BTreeSet<Source> = readings.iter().map(|reading| reading.source.clone()).collect();
        let gone: Vec<Source> =
            self.standing.keys().filter(|source| !read.contains(*source)).cloned().collect();
        let mut events: Vec<AlarmEvent> = gone.into_iter().filter_map(|source| self.clear(&source)).collect();
        for reading in readings {
            events.extend(self.note(now, at, reading));
        }
        events
    }

    fn note(&mut self, now: Instant, at: &str, reading: Reading) -> Option<AlarmEvent> {
        let Some(standing) = self.standing.get_mut(&reading.source) else {
            if reading.state != State::Bad {
                return None;
            }
            self.standing.insert(reading.source.clone(), Standing::Suspect { since: now });
            return if reading.raise_after.is_zero() { self.note(now, at, reading) } else { None };
        };
        match standing {
            Standing::Suspect { .. } if reading.state != State::Bad => {
                self.standing.remove(&reading.source);
                None
            }
            Standing::Suspect { since } if now.duration_since(*since) >= reading.raise_after => {
                let Reading { source, severity, what, todo, .. } = reading;
                let (room_id, peer_id) = source.guest.clone().unzip();
                let view = AlarmView {
                    id: AlarmId(Uuid::new_v4()),
                    kind: source.kind,
                    severity,
                    raised_at: at.to_owned(),
                    what,
                    todo,
                    room_id,
                    peer_id,
                };
                *standing = Standing::Raised { view: view.clone(), good_since: None, dismissed: false };
                Some(AlarmEvent::Raised(view))
            }
            Standing::Suspect { .. } => None,
            Standing::Raised { good_since, .. } if reading.state != State::Good => {
                *good_since = None;
                None
            }
            Standing::Raised { good_since, .. } => {
                let since = *good_since.get_or_insert(now);
                if now.duration_since(since) < reading.clear_after {
                    return None;
                }
                self.clear(&reading.source)
            }
        }
    }

    fn clear(&mut self, source: &Source) -> Option<AlarmEvent> {
        match self.standing.remove(source)? {
            Standing::Raised { view, .. } => Some(AlarmEvent::Cleared(view)),
            Standing::Suspect { .. } => None,
        }
    }

    /// The streamer has seen it: it is not shown any more, and comes back only when it has been over. `false`: there is
    /// none of that id.
    pub fn dismiss(&mut self, id: AlarmId) -> bool {
        let mut raised = self.standing.values_mut().filter_map(|standing| match standing {
            Standing::Raised { view, dismissed, .. } if view.id == id => Some(dismissed),
            _ => None,
        });
        raised.next().map(|dismissed| *dismissed = true).is_some()
    }

    /// Those that are raised and were not dismissed, worst first, then oldest first.
    pub fn shown(&self) -> Vec<AlarmView> {
        let mut shown: Vec<AlarmView> =
            self.raised().filter(|(_, dismissed)| !dismissed).map(|(view, _)| view.clone()).collect();
        let rank = |view: &AlarmView| match view.severity {
            Severity::Error => 0,
            Severity::Warning => 1,
            Severity::Info => 2,
        };
        shown.sort_by_key(|view| (rank(view), view.raised_at.clone()));
        shown
    }

    /// How many are raised, seen or not, of each kind.
    pub fn counts(&self) -> BTreeMap<AlarmKind, usize> {
        let mut counts = BTreeMap::new();
        for (view, _) in self.raised() {
            *counts.entry(view.kind).or_default() += 1;
        }
        counts
    }

    fn raised(&self) -> impl Iterator<Item = (&AlarmView, bool)> {
        self.standing.values().filter_map(|standing| match standing {
            Standing::Raised { view, dismissed, .. } => Some((view, *dismissed)),
            Standing::Suspect { .. } => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings of one thing, one a second: `b`ad, `-` between, `g`ood, a space for none. Answers, for each second, `R`aised,
    /// `C`leared or `.`.
    fn play(readings: &str) -> String {
        let mut alarms = Alarms::default();
        let start = Instant::now();
        let seconds = readings.chars().zip(0..).map(|(letter, second)| {
            let state = match letter {
                'b' => Some(State::Bad),
                '-' => Some(State::Between),
                'g' => Some(State::Good),
                _ => None,
            };
            let reading = state.map(|state| reading(AlarmKind::Cpu, state));
            let events =
                alarms.handle(start + Duration::from_secs(second), "now", reading.into_iter().collect());
            match &events[..] {
                [] => '.',
                [AlarmEvent::Raised(_)] => 'R',
                [AlarmEvent::Cleared(_)] => 'C',
                more => panic!("{more:?}"),
            }
        });
        seconds.collect()
    }

    fn reading(kind: AlarmKind, state: State) -> Reading {
        Reading {
            source: Source::of(kind),
            state,
            raise_after: Duration::from_secs(3),
            clear_after: Duration::from_secs(2),
            severity: Severity::Warning,
            what: "What.".into(),
            todo: "Do.".into(),
        }
    }

    #[test]
    fn what_lasts_raises_and_what_is_over_clears() {
        for (readings, expected) in [
            ("ggggg", "....."),
            ("bbbbbb", "...R.."),
            // Too short, twice.
            ("bbgbbg", "......"),
            ("bb-bb-", "......"),
            // Good has to last, too.
            ("bbbbgbggg", "...R....C"),
            // In between holds what is.
            ("bbbb---ggg", "...R.....C"),
            ("bbbbg-g-ggg", "...R......C"),
            // Ten hours of swinging around the bound are one alarm.
            ("bbbb-b-b-b-b", "...R........"),
            // What has gone has no alarm.
            ("bbbb ", "...RC"),
            ("bb bbbb", "......R"),
            // And it may come again.
            ("bbbbgggbbbb", "...R..C...R"),
        ] {
            assert_eq!(play(readings), expected, "{readings}");
        }
    }

    #[test]
    fn a_dismissed_alarm_is_not_shown_until_it_comes_again() {
        let mut alarms = Alarms::default();
        let start = Instant::now();
        let mut second = 0;
        let mut pass = |alarms: &mut Alarms, state, seconds| {
            for _ in 0..seconds {
                second += 1;
                alarms.handle(
                    start + Duration::from_secs(second),
                    "now",
                    vec![reading(AlarmKind::Disk, state)],
                );
            }
        };
        pass(&mut alarms, State::Bad, 5);
        let [shown] = &alarms.shown()[..] else { panic!("one is raised") };
        assert!(alarms.dismiss(shown.id) && !alarms.dismiss(AlarmId(Uuid::nil())));
        pass(&mut alarms, State::Bad, 100);
        assert!(alarms.shown().is_empty());
        assert_eq!(alarms.counts(), [(AlarmKind::Disk, 1)].into());
        pass(&mut alarms, State::Good, 5);
        assert!(alarms.counts().is_empty() && !alarms.dismiss(shown.id));
        pass(&mut alarms, State::Bad, 5);
        assert_eq!(alarms.shown().len(), 1);
    }

    #[test]
    fn the_worst_comes_first_and_each_source_has_its_own() {
        let mut alarms = Alarms::default();
        let now = Instant::now();
        let at_once =
            |kind, severity| Reading { raise_after: Duration::ZERO, severity, ..reading(kind, State::Bad) };
        let readings = vec![
            at_once(AlarmKind::Connections, Severity::Warning),
            at_once(AlarmKind::ObsLost, Severity::Error),
            Reading {
                source: Source::named(AlarmKind::Connections, "lan"),
                ..at_once(AlarmKind::Connections, Severity::Info)
            },
        ];
        assert_eq!(alarms.handle(now, "now", readings).len(), 3);
        let kinds: Vec<_> = alarms.shown().iter().map(|view| view.severity).collect();
        assert_eq!(kinds, [Severity::Error, Severity::Warning, Severity::Info]);
        assert_eq!(alarms.counts()[&AlarmKind::Connections], 2);
    }
}
