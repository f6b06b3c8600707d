//! Whom a source that follows somebody shows: decided by who is where, who speaks and who shares a screen, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use wire::link::{Sensitivity, Subject, Who};
use wire::{PeerId, SlotId};

/// The people as a decision needs them.
#[derive(Default)]
pub(super) struct Cast {
    pub slots: BTreeMap<SlotId, PeerId>,
    /// Who has the floor, at most one of each room.
    pub floor: Vec<PeerId>,
    /// Those of the slots who share their screen, the newest last.
    pub screens: Vec<PeerId>,
    /// Everybody who is live by name, the oldest first.
    pub names: Vec<(String, PeerId)>,
    /// Those without a picture, or out of reach.
    pub away: BTreeSet<PeerId>,
}

/// Somebody's camera, or their screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shot {
    pub peer: PeerId,
    pub screen: bool,
}

/// One subject, from the first source that follows it to a moment after the last.
#[derive(Clone, Default)]
pub(super) struct Follower {
    pub shown: Option<Shot>,
    speaker: Floor,
    /// Since when the subject is back, while its stand-in is shown.
    back: Option<Instant>,
    /// When a decision is due that nothing else will bring about.
    pub due: Option<Instant>,
}

/// Who counts as the active speaker.
#[derive(Clone, Default)]
struct Floor {
    /// Who, and since when; those who were only the first choice can be replaced at once.
    holder: Option<(PeerId, Option<Instant>)>,
    contender: Option<(PeerId, Instant)>,
}

impl Follower {
    /// One that follows another active speaker's choice until it makes its own.
    pub fn like(other: &Follower) -> Self {
        Self { shown: None, ..other.clone() }
    }

    pub fn has_speaker(&self) -> bool {
        self.speaker.holder.is_some()
    }

    pub fn decide(&mut self, now: Instant, subject: &Subject, cast: &Cast) {
        self.due = None;
        let first = match &subject.who {
            Who::Slot(slot) => cast.slots.get(slot).copied().map(camera),
            Who::Speaker { sensitivity, hold_ms } => {
                let hold = Duration::from_millis((*hold_ms).into());
                let (speaker, due) = self.speaker.decide(now, lead(*sensitivity), hold, cast);
                self.due = due;
                speaker.map(camera)
            }
            Who::Screen => cast.screens.last().map(|peer| Shot { peer: *peer, screen: true }),
            Who::Person(name) => cast.person(name).map(camera),
        };
        let other = subject.stand_in.and_then(|slot| cast.slots.get(&slot)).copied().map(camera);
        self.shown = self.with_stand_in(now, first, other, cast);
    }

    fn with_stand_in(
        &mut self,
        now: Instant,
        first: Option<Shot>,
        other: Option<Shot>,
        cast: &Cast,
    ) -> Option<Shot> {
        let there = |shot: &Shot| shot.screen || !cast.away.contains(&shot.peer);
        let stands_in = self.shown.is_some() && self.shown == other && self.shown != first;
        match (first.filter(there), other.filter(there)) {
            (Some(_), Some(other)) if stands_in => {
                // Whoever comes and goes with a bad network would make the picture flap.
                let since = *self.back.get_or_insert(now);
                if now.saturating_duration_since(since) >= STEADY {
                    self.back = None;
                    return first;
                }
                self.due = Some(self.due.map_or(since + STEADY, |due| due.min(since + STEADY)));
                Some(other)
            }
            (Some(first), _) => {
                self.back = None;
                Some(first)
            }
            (None, other) => {
                self.back = None;
                other.or(first)
            }
        }
    }
}

impl Floor {
    /// Who it is, and when that may change without anything happening.
    fn decide(
        &mut self,
        now: Instant,
        lead: Duration,
        hold: Duration,
        cast: &Cast,
    ) -> (Option<PeerId>, Option<Instant>) {
        let on_air = |peer: &PeerId| cast.slots.values().any(|other| other == peer);
        self.holder = self.holder.filter(|(peer, _)| on_air(peer));
        let talker = match self.holder {
            Some((holder, _)) if cast.floor.contains(&holder) => None,
            _ => cast.floor.iter().copied().find(on_air),
        };
        self.contender = talker.map(|talker| match self.contender {
            Some((peer, since)) if peer == talker => (peer, since),
            _ => (talker, now),
        });
        match (self.holder, self.contender) {
            (None, Some((talker, _))) => self.holder = Some((talker, Some(now))),
            (None, None) => {
                let first = cast.slots.values().find(|peer| !cast.away.contains(peer));
                self.holder = first.or(cast.slots.values().next()).map(|peer| (*peer, None));
            }
            (Some((holder, since)), Some((talker, speaks_since))) => {
                let earliest = match since {
                    Some(since) if !cast.away.contains(&holder) => (speaks_since + lead).max(since + hold),
                    _ => speaks_since,
                };
                if now < earliest {
                    return (Some(holder), Some(earliest));
                }
                self.holder = Some((talker, Some(now)));
            }
            (Some(_), None) => {}
        }
        self.contender = None;
        (self.holder.map(|(peer, _)| peer), None)
    }
}

impl Cast {
    fn person(&self, name: &str) -> Option<PeerId> {
        let wanted = name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let mut named =
            self.names.iter().filter(|(name, _)| name.to_lowercase() == wanted).map(|(_, peer)| *peer);
        let first = named.clone().next();
        named.find(|peer| !self.away.contains(peer)).or(first)
    }
}

fn camera(peer: PeerId) -> Shot {
    Shot { peer, screen: false }
}

/// How long somebody must have the floor. The floor itself is given with care: no cough gets it.
fn lead(sensitivity: Sensitivity) -> Duration {
    Duration::from_millis(match sensitivity {
        Sensitivity::Low => 2_000,
        Sensitivity::Normal => 700,
        Sensitivity::High => 0,
    })
}

const STEADY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn slot(number: u8) -> SlotId {
        SlotId::try_from(number).unwrap()
    }

    const fn peer(number: u128) -> PeerId {
        PeerId(Uuid::from_u128(number))
    }

    const ADA: PeerId = peer(1);
    const BOB: PeerId = peer(2);
    const CLEO: PeerId = peer(3);

    fn cast() -> Cast {
        Cast { slots: BTreeMap::from([(slot(1), ADA), (slot(2), BOB)]), ..Cast::default() }
    }

    /// A follower and its time.
    struct Story {
        follower: Follower,
        subject: Subject,
        start: Instant,
    }

    impl Story {
        fn of(who: Who, stand_in: Option<u8>) -> Self {
            let subject = Subject { who, stand_in: stand_in.map(slot) };
            Self { follower: Follower::default(), subject, start: Instant::now() }
        }

        fn shows(&mut self, ms: u64, cast: &Cast, expected: Option<PeerId>) {
            self.follower.decide(self.start + Duration::from_millis(ms), &self.subject, cast);
            assert_eq!(self.follower.shown.map(|shot| shot.peer), expected, "at {ms} ms");
        }

        fn due(&self) -> Option<u64> {
            self.follower.due.map(|due| (due - self.start).as_millis() as u64)
        }
    }

    fn speaker(sensitivity: Sensitivity, hold_ms: u16) -> Story {
        Story::of(Who::Speaker { sensitivity, hold_ms }, None)
    }

    #[test]
    fn the_speaker_is_shown_after_a_moment_and_stays_for_the_hold_time() {
        let mut story = speaker(Sensitivity::Normal, 3_000);
        let mut cast = cast();
        story.shows(0, &cast, Some(ADA));
        cast.floor = vec![BOB];
        story.shows(1_000, &cast, Some(BOB));
        cast.floor = vec![ADA];
        story.shows(1_200, &cast, Some(BOB));
        assert_eq!(story.due(), Some(4_000), "the hold time is longer than the moment");
        story.shows(4_000, &cast, Some(ADA));
        assert_eq!(story.due(), None);
        // Nobody speaks: the picture stays.
        cast.floor.clear();
        story.shows(60_000, &cast, Some(ADA));
        cast.floor = vec![BOB];
        story.shows(61_000, &cast, Some(ADA));
        assert_eq!(story.due(), Some(61_700));
    }

    #[test]
    fn a_word_from_another_changes_nothing() {
        let mut story = speaker(Sensitivity::Low, 0);
        let mut cast = cast();
        cast.floor = vec![ADA];
        story.shows(0, &cast, Some(ADA));
        for at in [10_000, 20_000] {
            cast.floor = vec![BOB];
            story.shows(at, &cast, Some(ADA));
            story.shows(at + 1_900, &cast, Some(ADA));
            cast.floor = vec![ADA];
            story.shows(at + 1_950, &cast, Some(ADA));
        }
    }

    #[test]
    fn whoever_is_not_in_the_show_is_not_shown_and_whoever_leaves_is_replaced_at_once() {
        let mut story = speaker(Sensitivity::High, 10_000);
        let mut cast = cast();
        cast.floor = vec![CLEO];
        story.shows(0, &cast, Some(ADA));
        cast.floor = vec![ADA];
        story.shows(10, &cast, Some(ADA));
        cast.slots.remove(&slot(1));
        story.shows(20, &cast, Some(BOB));
        cast.slots.clear();
        story.shows(30, &cast, None);
    }

    #[test]
    fn a_speaker_who_went_away_is_not_held() {
        let mut story = speaker(Sensitivity::Normal, 10_000);
        let mut cast = cast();
        cast.floor = vec![ADA];
        story.shows(0, &cast, Some(ADA));
        cast.away.insert(ADA);
        cast.floor.clear();
        story.shows(100, &cast, Some(ADA));
        cast.floor = vec![BOB];
        story.shows(200, &cast, Some(BOB));
    }

    #[test]
    fn the_stand_in_is_there_while_the_first_is_away_and_does_not_flap() {
        let mut story = Story::of(Who::Slot(slot(1)), Some(2));
        let mut cast = cast();
        story.shows(0, &cast, Some(ADA));
        cast.away.insert(ADA);
        story.shows(1_000, &cast, Some(BOB));
        cast.away.remove(&ADA);
        story.shows(2_000, &cast, Some(BOB));
        assert_eq!(story.due(), Some(3_000));
        cast.away.insert(ADA);
        story.shows(2_500, &cast, Some(BOB));
        cast.away.remove(&ADA);
        story.shows(2_600, &cast, Some(BOB));
        story.shows(3_600, &cast, Some(ADA));
        // Both away: the first, whose name stands on the card.
        cast.away.extend([ADA, BOB]);
        story.shows(5_000, &cast, Some(ADA));
        cast.slots.remove(&slot(1));
        cast.away.clear();
        story.shows(6_000, &cast, Some(BOB));
    }

    #[test]
    fn the_newest_screen_is_shown_and_a_slot_where_there_is_none() {
        let mut story = Story::of(Who::Screen, Some(1));
        let mut cast = cast();
        story.shows(0, &cast, Some(ADA));
        assert!(!story.follower.shown.unwrap().screen);
        cast.screens = vec![BOB];
        story.shows(1_000, &cast, Some(ADA));
        story.shows(2_000, &cast, Some(BOB));
        assert!(story.follower.shown.unwrap().screen);
        cast.screens = vec![BOB, ADA];
        story.shows(3_000, &cast, Some(ADA));
        assert!(story.follower.shown.unwrap().screen);
        cast.screens.clear();
        story.shows(4_000, &cast, Some(ADA));
    }

    #[test]
    fn a_person_is_found_by_name_wherever_they_are() {
        let mut story = Story::of(Who::Person(" cleo  Smith".into()), None);
        let mut cast = cast();
        story.shows(0, &cast, None);
        cast.names = vec![("Ada".into(), ADA), ("Cleo Smith".into(), CLEO), ("CLEO SMITH".into(), BOB)];
        story.shows(1, &cast, Some(CLEO));
        // Of two with one name, the one who is there.
        cast.away.insert(CLEO);
        story.shows(2, &cast, Some(BOB));
    }
}
