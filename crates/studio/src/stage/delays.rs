//! How each guest's delay is weighed: what the streamer chose for a name, kept whoever comes and goes.

use super::Stage;
use crate::store::Store;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use wire::link::Steadiness;
use wire::rest::OwnerReply;
use wire::{Code, DisplayName, Failure, PeerId, RoomId};

/// By name, because a guest comes back with another link, to another room, in another slot.
#[derive(Debug, Default)]
pub(super) struct Delays {
    /// Of those who are not as usual; what was chosen last stands last. At most [`MOST`]: the oldest is forgotten.
    kept: Vec<Kept>,
    /// What the media worker was told of those who are here.
    told: HashMap<PeerId, Steadiness>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    name: String,
    steadiness: Steadiness,
}

impl Delays {
    pub async fn read(store: &Store) -> Self {
        let kept = match store.read_setting(SETTING).await {
            Ok(text) => parse(text.as_deref().unwrap_or_default()),
            Err(error) => {
                tracing::warn!(%error, "the delays of guests cannot be read");
                Vec::new()
            }
        };
        Self { kept, told: HashMap::new() }
    }

    pub fn of(&self, name: &DisplayName) -> Steadiness {
        let key = key(name);
        self.kept.iter().find(|kept| kept.name == key).map(|kept| kept.steadiness).unwrap_or_default()
    }

    fn set(&mut self, name: &DisplayName, steadiness: Steadiness) {
        let name = key(name);
        self.kept.retain(|kept| kept.name != name);
        if steadiness != Steadiness::default() {
            self.kept.push(Kept { name, steadiness });
        }
        let surplus = self.kept.len().saturating_sub(MOST);
        self.kept.drain(..surplus);
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

/// As names are compared everywhere: case does not matter.
fn key(name: &DisplayName) -> String {
    name.as_str().to_lowercase()
}

fn parse(text: &str) -> Vec<Kept> {
    let mut kept: Vec<Kept> = serde_json::from_str(text).unwrap_or_default();
    kept.truncate(MOST);
    kept
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
        self.delays.set(&name, steadiness);
        self.sync_delays();
        self.board.touch();
        let text = serde_json::to_string(&self.delays.kept).unwrap_or_default();
        self.store.write_setting(SETTING, text).await.map_err(|error| {
            let text = format!(
                "The delay is set, but could not be saved ({error}): check that the disk is not full."
            );
            Failure::new(Code::Internal, text)
        })?;
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
const MOST: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn name(text: &str) -> DisplayName {
        DisplayName::parse(text).unwrap()
    }

    #[test]
    fn a_name_keeps_its_delay_and_its_bearer_is_told_once() {
        let mut delays = Delays::default();
        let (first, second) = (PeerId(Uuid::from_u128(1)), PeerId(Uuid::from_u128(2)));
        let (ada, same_ada) = (name("Ada"), name("ADA"));
        delays.set(&ada, Steadiness::Steady);
        assert_eq!(delays.news(&[(first, &ada)]), [(first, Steadiness::Steady)]);
        assert_eq!(delays.news(&[(first, &ada)]), []);
        assert_eq!(delays.news(&[]), [(first, Steadiness::Balanced)]);
        assert_eq!(delays.news(&[(second, &same_ada)]), [(second, Steadiness::Steady)]);
        delays.set(&same_ada, Steadiness::Balanced);
        assert_eq!(delays.news(&[(second, &same_ada)]), [(second, Steadiness::Balanced)]);
        assert!(delays.kept.is_empty());
    }

    #[test]
    fn what_is_kept_survives_writing_and_is_bounded() {
        let mut delays = Delays::default();
        for number in 0..=MOST {
            delays.set(&name(&format!("Guest {number}")), Steadiness::Instant);
        }
        assert_eq!(delays.kept.len(), MOST);
        assert_eq!(delays.of(&name("guest 0")), Steadiness::Balanced, "the oldest is forgotten");
        assert_eq!(parse(&serde_json::to_string(&delays.kept).unwrap()), delays.kept);
        for nonsense in ["", "{}", "[{\"name\": 1}]", "null"] {
            assert_eq!(parse(nonsense), []);
        }
    }
}
