//! Who is speaking in each room, from the levels that the media worker measures.

use std::collections::BTreeMap;
use wire::dashboard::Level;
use wire::{PeerId, RoomId};

/// The speaker of each room. Told of levels about ten times a second, it answers with what changed.
#[derive(Default)]
pub(super) struct Speakers(BTreeMap<RoomId, Floor>);

#[derive(Default)]
struct Floor {
    speaker: Option<PeerId>,
    /// Who is louder, and for how many rounds in a row; `None` stands for silence.
    challenger: Option<PeerId>,
    rounds: u32,
}

/// A room's speaker changed.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub room: RoomId,
    pub speaker: Option<PeerId>,
    /// dBov as RFC 6464 counts it: 0 is the loudest, −127 silence.
    pub volume: i8,
}

impl Speakers {
    /// `room_of`: where a peer is live; whoever is in no room does not speak.
    pub fn on_levels(&mut self, levels: &[Level], room_of: impl Fn(PeerId) -> Option<RoomId>) -> Vec<Change> {
        let mut loudest: BTreeMap<RoomId, (PeerId, f32)> = BTreeMap::new();
        for level in levels.iter().filter(|level| level.rms_dbfs >= SPEECH_DBFS) {
            let Some(room) = room_of(level.peer_id) else { continue };
            let first = loudest.entry(room).or_insert((level.peer_id, level.rms_dbfs));
            if level.rms_dbfs > first.1 {
                *first = (level.peer_id, level.rms_dbfs);
            }
        }
        for room in loudest.keys() {
            self.0.entry(room.clone()).or_default();
        }
        let changed = self.0.iter_mut().filter_map(|(room, floor)| {
            let loudest = loudest.get(room);
            let speaker = floor.hear(loudest.map(|(peer, _)| *peer))?;
            let volume = loudest.map_or(SILENCE, |(_, dbfs)| dbfs.clamp(f32::from(SILENCE), 0.0) as i8);
            Some(Change { room: room.clone(), speaker, volume })
        });
        let changed = changed.collect();
        self.0.retain(|_, floor| floor.speaker.is_some() || floor.challenger.is_some());
        changed
    }
}

impl Floor {
    /// `Some`: the floor goes to another, or to nobody.
    fn hear(&mut self, loudest: Option<PeerId>) -> Option<Option<PeerId>> {
        if loudest == self.speaker {
            self.rounds = 0;
            return None;
        }
        if loudest != self.challenger {
            (self.challenger, self.rounds) = (loudest, 0);
        }
        self.rounds += 1;
        let enough = if loudest.is_some() { ROUNDS_TO_TAKE } else { ROUNDS_TO_LOSE };
        if self.rounds < enough {
            return None;
        }
        (self.speaker, self.challenger, self.rounds) = (loudest, None, 0);
        Some(loudest)
    }
}

/// Speech into a laptop's microphone is at −40 to −20 dBFS, a quiet room below −60.
const SPEECH_DBFS: f32 = -50.0;
/// A cough is shorter than 0.3 s.
const ROUNDS_TO_TAKE: u32 = 3;
/// A pause between sentences is shorter than 2 s.
const ROUNDS_TO_LOSE: u32 = 20;
const SILENCE: i8 = -127;

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn peer(n: u128) -> PeerId {
        PeerId(Uuid::from_u128(n))
    }

    fn hear(speakers: &mut Speakers, rounds: usize, said: &[(u128, f32)]) -> Vec<Option<PeerId>> {
        let room = RoomId::parse("show").unwrap();
        let levels: Vec<Level> = said
            .iter()
            .map(|(n, rms_dbfs)| Level { peer_id: peer(*n), rms_dbfs: *rms_dbfs, peak_dbfs: 0.0 })
            .collect();
        // Peer 9 is still in the green room.
        let room_of = |id| (id != peer(9)).then(|| room.clone());
        (0..rounds).flat_map(|_| speakers.on_levels(&levels, room_of)).map(|change| change.speaker).collect()
    }

    #[test]
    fn the_floor_goes_to_who_keeps_speaking() {
        let mut speakers = Speakers::default();
        assert_eq!(hear(&mut speakers, 3, &[(1, -30.0), (2, -55.0)]), [Some(peer(1))]);
        assert_eq!(hear(&mut speakers, 2, &[(1, -30.0), (2, -10.0)]), [], "a cough");
        assert_eq!(hear(&mut speakers, 5, &[(1, -30.0), (2, -40.0)]), []);
        assert_eq!(hear(&mut speakers, 3, &[(1, -30.0), (2, -10.0)]), [Some(peer(2))]);
        assert_eq!(hear(&mut speakers, 19, &[(2, -127.0)]), [], "a breath");
        assert_eq!(hear(&mut speakers, 1, &[]), [None]);
        assert_eq!(hear(&mut speakers, 50, &[(9, -5.0)]), [], "the green room has no floor");
    }
}
