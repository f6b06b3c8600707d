//! What OBS sources follow: kept as long as they do, decided anew whenever people move, and told to the media worker.

use super::Stage;
use super::follow::{Cast, Follower, Shot};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;
use wire::link::{Occupant, Place, Subject, Use, Who};
use wire::ortc::MediaKind;
use wire::{PeerId, SlotId};

/// Every subject that is followed, or was a moment ago. At most [`MOST`]: more are not shown anything.
#[derive(Default)]
pub(super) struct Subjects(BTreeMap<Subject, Followed>);

struct Followed {
    follower: Follower,
    /// What the media worker was told.
    told: Option<Occupant>,
    used: Instant,
}

impl Subjects {
    /// The media worker says which there are; it repeats that once a second.
    pub fn on_used(&mut self, now: Instant, places: &[Use]) {
        for place in places {
            let Place::Subject(subject) = &place.place else { continue };
            if let Some(followed) = self.0.get_mut(subject) {
                followed.used = now;
            } else if self.0.len() < MOST {
                let follower = self.first_choice(subject);
                self.0.insert(subject.clone(), Followed { follower, told: None, used: now });
            }
        }
    }

    /// A streamer who tries other settings keeps who is on screen.
    fn first_choice(&self, subject: &Subject) -> Follower {
        let is_speaker = |subject: &Subject| matches!(subject.who, Who::Speaker { .. });
        let others = self.0.iter().filter(|(other, _)| is_speaker(other) && is_speaker(subject));
        let mut latest =
            others.map(|(_, followed)| followed).filter(|followed| followed.follower.has_speaker());
        latest.next().map(|followed| Follower::like(&followed.follower)).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn due(&self) -> Option<Instant> {
        self.0.values().filter_map(|followed| followed.follower.due).min()
    }

    pub fn shot(&self, subject: &Subject) -> Option<Shot> {
        self.0.get(subject).and_then(|followed| followed.follower.shown)
    }
}

impl Stage {
    /// Makes who is shown equal to who should be: called when something was settled, somebody else speaks, a picture
    /// stops or comes again, and when it is due.
    pub(super) fn sync_subjects(&mut self) {
        if self.subjects.is_empty() {
            return;
        }
        let (now, cast) = (Instant::now(), self.cast());
        let (rooms, media) = (&self.rooms, &self.media);
        self.subjects.0.retain(|subject, followed| {
            let wanted = now.saturating_duration_since(followed.used) < KEPT;
            let shown = match wanted {
                true => {
                    followed.follower.decide(now, subject, &cast);
                    followed.follower.shown
                }
                false => None,
            };
            let occupant = shown.and_then(|Shot { peer, screen }| {
                Some(Occupant { peer, name: rooms.name_of(peer)?.clone(), screen })
            });
            if occupant != followed.told {
                followed.told = occupant.clone();
                media.bind_subject(subject.clone(), occupant);
            }
            wanted
        });
    }

    fn cast(&self) -> Cast {
        let mut cast = Cast::default();
        let mut screens = Vec::new();
        for peer in self.rooms.peer_ids() {
            let slot = self.rooms.slot_of(peer);
            cast.slots.extend(slot.map(|slot| (slot, peer)));
            if self.rooms.live_in(peer).is_some()
                && let Some(name) = self.rooms.name_of(peer)
            {
                cast.names.push((name.as_str().to_owned(), peer));
            }
            let tracks = self.rooms.tracks_of(peer);
            let mut pictures = tracks.iter().filter(|track| track.kind == MediaKind::Video && !track.paused);
            let camera = pictures.clone().find(|track| !track.screen);
            if !self.rooms.is_here(peer) || camera.is_none_or(|camera| !self.feeds.is_flowing(camera.id)) {
                cast.away.insert(peer);
            }
            if let Some(screen) = pictures.find(|track| track.screen).filter(|_| slot.is_some()) {
                screens.push((self.feeds.age(screen.id), peer));
            }
        }
        screens.sort();
        cast.screens = screens.into_iter().map(|(_, peer)| peer).collect();
        cast.floor = self.speakers.floors().collect();
        cast
    }

    /// Who is seen in a place.
    pub(super) fn shot_in(&self, place: &Place) -> Option<Shot> {
        match place {
            Place::Slot(slot) => self.peer_in(*slot).map(|peer| Shot { peer, screen: false }),
            Place::Subject(subject) => self.subjects.shot(subject),
        }
    }

    fn peer_in(&self, slot: SlotId) -> Option<PeerId> {
        self.rooms.peer_ids().find(|peer| self.rooms.slot_of(*peer) == Some(slot))
    }
}

const MOST: usize = 64;
/// A media worker that starts anew, or a source whose settings change, finds the same people.
const KEPT: Duration = Duration::from_secs(10);
