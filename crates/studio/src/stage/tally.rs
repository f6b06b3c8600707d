//! Who is on air: each guest who is in the show, or shown in OBS, is told whether the audience sees them.

use super::Stage;
use std::collections::BTreeMap;
use wire::PeerId;
use wire::link::{Scene, Use};
use wire::sfu::{Notice, Tally};

#[derive(Default)]
pub(super) struct Tallies {
    /// What the media worker said last.
    uses: Vec<Use>,
    /// What each peer was told. Those who were told nothing are not in the show.
    told: BTreeMap<PeerId, Tally>,
}

impl Tallies {
    pub fn on_used(&mut self, uses: Vec<Use>) {
        self.uses = uses;
    }

    /// They begin anew and know nothing.
    pub fn forget(&mut self, peer: PeerId) {
        self.told.remove(&peer);
    }

    pub fn of(&self, peer: PeerId) -> Option<Tally> {
        self.told.get(&peer).copied()
    }
}

impl Stage {
    /// Makes what guests are told equal to what is: called before anything is settled. While OBS has no source of ours,
    /// nobody is told that they are off air.
    pub(super) fn sync_tally(&mut self) {
        let mut wanted: BTreeMap<PeerId, Tally> = BTreeMap::new();
        let sources = self.feeds.readers > 0 || !self.tallies.uses.is_empty();
        for peer in self.rooms.peer_ids() {
            if sources && self.rooms.slot_of(peer).is_some() || self.tallies.of(peer).is_some() {
                wanted.insert(peer, Tally::Off);
            }
        }
        for used in &self.tallies.uses {
            let tally = match used.scene {
                Scene::Hidden => continue,
                Scene::Preview => Tally::Preview,
                Scene::Program => Tally::Program,
            };
            let Some(shot) = self.shot_in(&used.place) else { continue };
            let best = wanted.entry(shot.peer).or_insert(tally);
            if *best != Tally::Program {
                *best = tally;
            }
        }
        let told = std::mem::replace(&mut self.tallies.told, wanted);
        for (peer, state) in self.tallies.told.clone() {
            if told.get(&peer) != Some(&state) {
                self.rooms.notify(peer, Notice::Tally { state });
                self.board.touch();
            }
        }
    }
}
