//! What the worker shall know, what it has been told, and the next thing to tell it.

use std::collections::{BTreeMap, BTreeSet};
use wire::link::{Feed, FeedId, Occupant, Steadiness, Subject, ToWorker};
use wire::monitor::{Hearing, Monitoring};
use wire::{PeerId, SlotId};

/// The whole state a worker needs to do its work. Kept through its restarts and told anew to each successor.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkerState {
    pub feeds: BTreeMap<FeedId, FeedState>,
    /// Of what a worker was told: those that it shall not decode.
    pub refused: BTreeSet<FeedId>,
    pub slots: BTreeMap<SlotId, Occupant>,
    /// Of guests who are not as usual.
    pub steadiness: BTreeMap<PeerId, Steadiness>,
    /// Of guests whom the streamer does not hear as they are.
    pub hearing: BTreeMap<PeerId, Hearing>,
    pub subjects: BTreeMap<Subject, Occupant>,
    pub monitoring: Monitoring,
    pub previews: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct FeedState {
    pub feed: Feed,
    pub paused: bool,
}

impl WorkerState {
    /// The first of the differences between this and what the worker was `told`. `None`: it knows everything.
    /// Removals come first: a peer has at most one feed of a kind; then how a guest is heard, so that nobody is heard
    /// before it is said that they are not to be. A banned feed is refused instead of added.
    pub fn next_difference(&self, told: &WorkerState, banned: &BTreeSet<FeedId>) -> Option<ToWorker> {
        let wanted = |id: &FeedId| self.feeds.get(id).filter(|_| !banned.contains(id));
        for (id, old) in &told.feeds {
            if wanted(id).is_none_or(|state| state.feed != old.feed) {
                return Some(ToWorker::RemoveFeed { feed: *id });
            }
        }
        if let Some(id) = told.refused.iter().find(|id| !self.feeds.contains_key(id)) {
            return Some(ToWorker::RemoveFeed { feed: *id });
        }
        for peer in told.hearing.keys().chain(self.hearing.keys()) {
            if told.hearing.get(peer) != self.hearing.get(peer) {
                let hearing = self.hearing.get(peer).copied().unwrap_or_default();
                return Some(ToWorker::SetHearing { peer: *peer, hearing });
            }
        }
        for (id, state) in &self.feeds {
            match told.feeds.get(id) {
                _ if banned.contains(id) && told.refused.contains(id) => {}
                _ if banned.contains(id) => {
                    let Feed { peer, kind, screen, .. } = state.feed;
                    return Some(ToWorker::RefuseFeed { feed: *id, peer, kind, screen: screen.is_some() });
                }
                None => return Some(ToWorker::AddFeed(state.feed.clone())),
                Some(old) if old.paused != state.paused => {
                    return Some(ToWorker::PauseFeed { feed: *id, paused: state.paused });
                }
                Some(_) => {}
            }
        }
        for slot in told.slots.keys().chain(self.slots.keys()) {
            if told.slots.get(slot) != self.slots.get(slot) {
                return Some(ToWorker::BindSlot { slot: *slot, occupant: self.slots.get(slot).cloned() });
            }
        }
        for peer in told.steadiness.keys().chain(self.steadiness.keys()) {
            if told.steadiness.get(peer) != self.steadiness.get(peer) {
                let steadiness = self.steadiness.get(peer).copied().unwrap_or_default();
                return Some(ToWorker::SetSteadiness { peer: *peer, steadiness });
            }
        }
        for subject in told.subjects.keys().chain(self.subjects.keys()) {
            if told.subjects.get(subject) != self.subjects.get(subject) {
                let occupant = self.subjects.get(subject).cloned();
                return Some(ToWorker::BindSubject { subject: subject.clone(), occupant });
            }
        }
        if self.monitoring != told.monitoring {
            return Some(ToWorker::Monitor(self.monitoring.clone()));
        }
        (self.previews != told.previews).then_some(ToWorker::Previews { on: self.previews })
    }

    /// What the worker knows after it was told `message`.
    pub fn learn(&mut self, message: &ToWorker) {
        match message.clone() {
            ToWorker::AddFeed(feed) => {
                self.feeds.insert(feed.feed, FeedState { feed, paused: false });
            }
            ToWorker::RemoveFeed { feed } => {
                self.feeds.remove(&feed);
                self.refused.remove(&feed);
            }
            ToWorker::RefuseFeed { feed, .. } => {
                self.refused.insert(feed);
            }
            ToWorker::PauseFeed { feed, paused } => {
                if let Some(state) = self.feeds.get_mut(&feed) {
                    state.paused = paused;
                }
            }
            ToWorker::BindSlot { slot, occupant: Some(occupant) } => {
                self.slots.insert(slot, occupant);
            }
            ToWorker::BindSlot { slot, occupant: None } => {
                self.slots.remove(&slot);
            }
            ToWorker::SetSteadiness { peer, steadiness: Steadiness::Balanced } => {
                self.steadiness.remove(&peer);
            }
            ToWorker::SetSteadiness { peer, steadiness } => {
                self.steadiness.insert(peer, steadiness);
            }
            ToWorker::BindSubject { subject, occupant: Some(occupant) } => {
                self.subjects.insert(subject, occupant);
            }
            ToWorker::BindSubject { subject, occupant: None } => {
                self.subjects.remove(&subject);
            }
            ToWorker::SetHearing { peer, hearing } if hearing == Hearing::default() => {
                self.hearing.remove(&peer);
            }
            ToWorker::SetHearing { peer, hearing } => {
                self.hearing.insert(peer, hearing);
            }
            ToWorker::Monitor(monitoring) => self.monitoring = monitoring,
            ToWorker::Previews { on } => self.previews = on,
            ToWorker::Start { .. } => *self = WorkerState::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::link::Codec;
    use wire::ortc::MediaKind;

    #[test]
    fn telling_every_difference_makes_a_worker_know_everything() {
        let mut wanted = WorkerState::default();
        let mut told = WorkerState::default();
        let mut said = Vec::new();
        let mut catch_up = |wanted: &WorkerState, told: &mut WorkerState| {
            said.clear();
            while let Some(message) = wanted.next_difference(told, &BTreeSet::new()) {
                told.learn(&message);
                said.push(message);
                assert!(said.len() < 20, "the differences never end: {said:?}");
            }
            said.len()
        };
        wanted.feeds.insert(1, state(1, true));
        wanted.feeds.insert(2, state(2, false));
        wanted.slots.insert(slot(1), occupant("Ada"));
        wanted.steadiness.insert(PeerId(Default::default()), Steadiness::Instant);
        wanted.subjects.insert(screen(), occupant("Bob"));
        wanted.hearing.insert(PeerId(Default::default()), Hearing { muted: true, ..Hearing::default() });
        wanted.monitoring = Monitoring { on: true, device: None };
        wanted.previews = true;
        assert_eq!(catch_up(&wanted, &mut told), 9);
        assert_eq!(told, wanted);

        wanted.slots.insert(slot(1), occupant("Mira"));
        wanted.feeds.remove(&1);
        assert_eq!(catch_up(&wanted, &mut told), 2);
        assert_eq!(told, wanted);

        wanted.slots.clear();
        wanted.steadiness.clear();
        wanted.subjects.clear();
        wanted.hearing.clear();
        assert_eq!(catch_up(&wanted, &mut told), 4);
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_banned_feed_is_withdrawn_and_refused_until_it_ends() {
        let mut wanted = WorkerState::default();
        wanted.feeds.insert(1, state(1, false));
        let mut told = wanted.clone();
        let banned = BTreeSet::from([1]);
        assert_eq!(wanted.next_difference(&told, &banned), Some(ToWorker::RemoveFeed { feed: 1 }));
        told.learn(&ToWorker::RemoveFeed { feed: 1 });
        let refusal = wanted.next_difference(&told, &banned).unwrap();
        assert!(matches!(refusal, ToWorker::RefuseFeed { feed: 1, screen: false, .. }), "{refusal:?}");
        told.learn(&refusal);
        assert_eq!(wanted.next_difference(&told, &banned), None);
        wanted.feeds.clear();
        assert_eq!(wanted.next_difference(&told, &banned), Some(ToWorker::RemoveFeed { feed: 1 }));
        told.learn(&ToWorker::RemoveFeed { feed: 1 });
        assert_eq!(wanted.next_difference(&told, &banned), None);
    }

    fn state(feed: FeedId, paused: bool) -> FeedState {
        let feed = Feed {
            feed,
            peer: PeerId(Default::default()),
            kind: MediaKind::Video,
            screen: None,
            codec: Codec::Vp8,
            clock_rate: 90_000,
            channels: 1,
            payload_type: 96,
            red_payload_type: None,
            orientation_id: None,
            capture_time_id: None,
            color_space_id: None,
        };
        FeedState { feed, paused }
    }

    fn slot(number: u8) -> SlotId {
        SlotId::try_from(number).unwrap()
    }

    fn screen() -> Subject {
        Subject { who: wire::link::Who::Screen, stand_in: None }
    }

    fn occupant(name: &str) -> Occupant {
        let name = wire::DisplayName::parse(name).unwrap();
        Occupant { peer: PeerId(Default::default()), name, screen: false }
    }
}
