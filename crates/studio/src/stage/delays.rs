//! How each guest's delay is weighed: what the streamer chose for their name.

use super::Stage;
use super::by_name::ByName;
use crate::store::Store;
use std::collections::HashMap;
use wire::link::Steadiness;
use wire::rest::OwnerReply;
use wire::{Code, DisplayName, Failure, PeerId, RoomId};

#[derive(Debug)]
pub(super) struct Delays {
    chosen: ByName<Steadiness>,
    /// What the media worker was told of those who are here.
    told: HashMap<PeerId, Steadiness>,
}

impl Delays {
    pub async fn read(store: &Store) -> Self {
        Self { chosen: ByName::read(store, SETTING).await, told: HashMap::new() }
    }

    pub fn of(&self, name: &DisplayName) -> Steadiness {
        self.chosen.of(name)
    }

    /// What the media worker is to be told now, of those who are `here` and of those who were.
    fn news(&mut self, here: &[(PeerId, &DisplayName)]) -> Vec<(PeerId, Steadiness)> {
        let wanted: HashMap<PeerId, Steadiness> = here
            .iter()
            .map(|(peer, name)| (*peer, self.of(name)))
            .filter(|(_, steadiness)| *steadiness != Steadiness::default())
            .collect();
        let gone = self.told.keys().filter(|peer| !wanted.contains_key(peer));
        let mut news: Vec<_> = gone.map(|peer| (*peer, Steadiness::default())).collect();
        let changed = wanted.iter().filter(|(peer, steadiness)| self.told.get(peer) != Some(steadiness));
        news.extend(changed.map(|(peer, steadiness)| (*peer, *steadiness)));
        self.told = wanted;
        news
    }
}

impl Stage {
    /// The streamer would rather have this guest, and whoever comes under this name, sooner, or without a break.
    pub(super) async fn set_steadiness(
        &mut self,
        room: &RoomId,
        peer: PeerId,
        steadiness: Steadiness,
    ) -> Result<OwnerReply, Failure> {
        let name = self.name_in(room, peer)?;
        self.delays.chosen.set(&name, steadiness);
        self.sync_delays();
        self.board.touch();
        self.delays.chosen.save(&self.store).await?;
        Ok(OwnerReply::Done {})
    }

    /// Makes what the media worker knows equal to what was chosen: called after every change of rooms.
    pub(super) fn sync_delays(&mut self) {
        let here: Vec<_> =
            self.rooms.peer_ids().filter_map(|peer| Some((peer, self.rooms.name_of(peer)?))).collect();
        for (peer, steadiness) in self.delays.news(&here) {
            self.media.set_steadiness(peer, steadiness);
        }
    }

    /// The name of somebody who is in that room.
    pub(super) fn name_in(&mut self, room: &RoomId, peer: PeerId) -> Result<DisplayName, Failure> {
        let details = self.rooms.room_details(room)?;
        let found = details.peers.into_iter().find(|details| details.peer_id == peer);
        found
            .map(|details| details.display_name)
            .ok_or_else(|| Failure::new(Code::NotFound, "There is no such person in this room."))
    }
}

const SETTING: &str = "delays";

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn name(text: &str) -> DisplayName {
        DisplayName::parse(text).unwrap()
    }

    #[test]
    fn a_name_keeps_its_delay_and_its_bearer_is_told_once() {
        let mut delays = Delays { chosen: ByName::empty(SETTING), told: HashMap::new() };
        let (first, second) = (PeerId(Uuid::from_u128(1)), PeerId(Uuid::from_u128(2)));
        let (ada, same_ada) = (name("Ada"), name("ADA"));
        delays.chosen.set(&ada, Steadiness::Steady);
        assert_eq!(delays.news(&[(first, &ada)]), [(first, Steadiness::Steady)]);
        assert_eq!(delays.news(&[(first, &ada)]), []);
        assert_eq!(delays.news(&[]), [(first, Steadiness::Balanced)]);
        assert_eq!(delays.news(&[(second, &same_ada)]), [(second, Steadiness::Steady)]);
        delays.chosen.set(&same_ada, Steadiness::Balanced);
        assert_eq!(delays.news(&[(second, &same_ada)]), [(second, Steadiness::Balanced)]);
    }
}
