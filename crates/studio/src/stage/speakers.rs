//! Who speaks in each room: the forwarding workers decide, of the people who are live; here it gets names.

use super::Stage;
use std::collections::{BTreeMap, BTreeSet};
use wire::ortc::MediaKind;
use wire::sfu::{Notice, Volume};
use wire::{PeerId, ProducerId, RoomId, RouterId};

#[derive(Default)]
pub(super) struct Speakers {
    /// Who has the floor, by room, and how loud they were when they got it.
    floor: BTreeMap<RoomId, (PeerId, i8)>,
    /// What the forwarding workers listen to.
    observed: BTreeSet<ProducerId>,
}

impl Speakers {
    pub fn speaks(&self, peer: PeerId) -> bool {
        self.floor.values().any(|(speaker, _)| *speaker == peer)
    }

    /// Who has the floor, at most one of each room.
    pub fn floors(&self) -> impl Iterator<Item = PeerId> {
        self.floor.values().map(|(peer, _)| *peer)
    }

    pub fn of(&self, room: &RoomId) -> Option<PeerId> {
        self.floor.get(room).map(|(peer, _)| *peer)
    }
}

impl Stage {
    /// Makes what is listened to equal to what should be: the sound of everybody who is live. Called after every change
    /// of rooms.
    pub(super) async fn sync_observed(&mut self) {
        let live = self.rooms.peer_ids().filter(|peer| self.rooms.live_in(*peer).is_some());
        let tracks = live.flat_map(|peer| self.rooms.tracks_of(peer));
        let wanted: BTreeSet<ProducerId> =
            tracks.filter(|track| track.kind == MediaKind::Audio).map(|track| track.id).collect();
        if wanted == self.speakers.observed {
            return;
        }
        for changed in wanted.symmetric_difference(&self.speakers.observed).copied() {
            let observed = wanted.contains(&changed);
            let worker = self.workers.home(changed.0);
            // What ended meanwhile is not listened to anyway.
            let _ = worker.call(move |sfu, now| sfu.observe_audio(now, changed, observed)).await;
        }
        self.speakers.observed = wanted;
        let rooms = &self.rooms;
        let gone = |room: &RoomId, peer: &PeerId| rooms.live_in(*peer) != Some(room);
        self.speakers.floor.retain(|room, (peer, _)| !gone(room, peer));
    }

    /// Tells somebody who has just come in who is speaking.
    pub(super) async fn tell_speaker(&mut self, newcomer: PeerId) {
        let room = self.rooms.live_in(newcomer);
        let Some((speaker, volume)) = room.and_then(|room| self.speakers.floor.get(room)).copied() else {
            return;
        };
        self.rooms.notify(newcomer, Notice::ActiveSpeaker { peer_id: Some(speaker), volume });
        let _ = self.settle().await;
    }

    pub(super) async fn on_active_speaker(
        &mut self,
        router: RouterId,
        producer: Option<ProducerId>,
        volume: i8,
    ) {
        let Some(room) = self.placement.room_of(router).cloned() else { return };
        let speaker = producer.and_then(|producer| Some(self.rooms.producer_owner(producer)?.0));
        match speaker {
            Some(peer) => self.speakers.floor.insert(room.clone(), (peer, volume)),
            None => self.speakers.floor.remove(&room),
        };
        self.rooms.notify_room(&room, &Notice::ActiveSpeaker { peer_id: speaker, volume });
        self.board.touch();
        let _ = self.settle().await;
    }

    pub(super) async fn on_volumes(&mut self, router: RouterId, heard: Vec<(ProducerId, i8)>) {
        let Some(room) = self.placement.room_of(router).cloned() else { return };
        let named = heard.into_iter().filter_map(|(producer, volume)| {
            let (peer_id, _) = self.rooms.producer_owner(producer)?;
            Some(Volume { peer_id, volume })
        });
        let notice = Notice::Volumes { volumes: named.collect() };
        self.rooms.notify_room(&room, &notice);
        self.deliver().await;
    }

    /// What the media worker hears, for senders whose packets do not tell their level (RFC 6464 is an offer).
    pub(super) async fn on_measured(&mut self, levels: Vec<(ProducerId, f32)>) {
        let mut by_worker: BTreeMap<usize, Vec<(ProducerId, i8)>> = BTreeMap::new();
        for (producer, dbfs) in levels {
            if self.speakers.observed.contains(&producer) {
                let level = dbfs.clamp(-127.0, 0.0) as i8;
                by_worker.entry(self.workers.home_index(producer.0)).or_default().push((producer, level));
            }
        }
        for (worker, levels) in by_worker {
            let told = self.workers.at(worker).call(move |sfu, now| {
                levels.into_iter().for_each(|(producer, level)| sfu.note_audio_level(now, producer, level));
            });
            // The next ones come in a tenth of a second.
            let _ = told.await;
        }
    }
}
