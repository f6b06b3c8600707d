//! Rooms that nobody uses any more go by themselves.

use crate::command::Effect;
use crate::record::Change;
use crate::roster::Rooms;
use crate::time::Now;
use wire::RoomId;
use wire::dashboard::Severity;

impl Rooms {
    /// Somebody came in, or the room was changed.
    pub(crate) fn note_use(&mut self, now: Now, room: &RoomId) {
        let Some(record) = self.rooms.get_mut(room) else { return };
        if record.used_ms.saturating_add(HOUR_MS) <= now.unix_ms {
            record.used_ms = now.unix_ms;
            let record = record.clone();
            self.push(Effect::Keep(Change::Room(record)));
        }
    }

    /// To be called now and then: once an hour there may be something to do, which is no reason to wake for it.
    pub fn tidy(&mut self, now: Now) {
        if self.next_cleaning_ms <= now.unix_ms {
            self.clean_idle_rooms(now);
        }
    }

    /// A room is idle when nobody is in it, no link of it can still let anybody in, and nobody used it for long.
    fn clean_idle_rooms(&mut self, now: Now) {
        self.next_cleaning_ms = now.unix_ms.saturating_add(HOUR_MS);
        let Some(idle) = self.limits.idle else { return };
        let used_up = |used_ms: u64| used_ms.saturating_add(idle.as_millis() as u64) <= now.unix_ms;
        let awaited = |room: &RoomId| {
            // One that is used up still brings back whom it let in.
            self.invites.values().any(|i| i.room == *room && !i.revoked && i.expires_ms > now.unix_ms)
        };
        let idle: Vec<(RoomId, String)> = self
            .rooms
            .values()
            .filter(|room| {
                used_up(room.used_ms) && !awaited(&room.id) && self.peers_in(&room.id).next().is_none()
            })
            .map(|room| (room.id.clone(), room.title.clone()))
            .collect();
        for (id, title) in idle {
            self.forget_room(id, "Nobody used this room any more.");
            self.note(
                Severity::Info,
                format!("The room \u{201c}{title}\u{201d} was removed: nobody used it for long"),
            );
        }
    }
}

pub(crate) const HOUR_MS: u64 = 3_600_000;
