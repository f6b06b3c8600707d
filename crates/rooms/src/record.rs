//! What outlives the process: rooms, invites, and the seats that invites gave.

use crate::jwt::Claimed;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;
use wire::ortc::MediaKind;
use wire::rest::RoomStatus;
use wire::sfu::Role;
use wire::{DisplayName, InviteId, RoomId, SlotId};

/// A room as it is kept. Times are Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRecord {
    pub id: RoomId,
    pub title: String,
    pub is_private: bool,
    pub status: RoomStatus,
    pub stream_key: String,
    pub created_ms: u64,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub max_viewers: u32,
    /// When somebody last came in or it was changed, to the hour.
    pub used_ms: u64,
}

/// A link that lets people in, or an outside token that did. A link's token is made from this and the install's key;
/// neither is ever kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    pub id: InviteId,
    pub room: RoomId,
    pub role: Role,
    pub display_name: Option<DisplayName>,
    pub created_ms: u64,
    pub expires_ms: u64,
    pub max_uses: u32,
    pub uses: u32,
    pub revoked: bool,
}

impl Invite {
    pub(crate) fn claims(&self) -> Claimed {
        Claimed {
            id: self.id,
            room: self.room.clone(),
            role: self.role,
            publish: self.role != Role::Viewer,
            display_name: self.display_name.clone(),
            expires_ms: self.expires_ms,
            max_uses: self.max_uses,
            outside: false,
        }
    }
}

/// One use of an invite: what a resume token stands for. It outlives the peer, so that a guest whose connection was
/// lost, or whose engine was restarted, comes back without using the invite up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub id: SeatId,
    pub room: RoomId,
    /// `None`: the owner's own; never kept on disk.
    pub invite: Option<InviteId>,
    pub role: Role,
    pub name: DisplayName,
    /// The host let them in (a guest) or onto the stage (a performer); the others need no such word.
    pub admitted: bool,
    /// The slot to come back to, if it is free then.
    pub slot: Option<SlotId>,
    pub muted: Muted,
    /// A peer is in the room for it, or was when the engine stopped.
    pub present: bool,
    /// The host removed this guest: the seat is dead.
    pub removed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub Uuid);

impl fmt::Debug for SeatId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SeatId({})", self.0)
    }
}

/// Which of a guest's tracks the host silenced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Muted {
    pub audio: bool,
    pub video: bool,
}

impl Muted {
    pub fn of(self, kind: MediaKind) -> bool {
        match kind {
            MediaKind::Audio => self.audio,
            MediaKind::Video => self.video,
        }
    }

    pub(crate) fn set(&mut self, kind: MediaKind, muted: bool) {
        match kind {
            MediaKind::Audio => self.audio = muted,
            MediaKind::Video => self.video = muted,
        }
    }
}

/// One thing to keep. The changes of one command belong in one transaction, finished before it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New or changed.
    Room(RoomRecord),
    /// With its invites and seats.
    RoomDeleted(RoomId),
    /// New or changed.
    Invite(Invite),
    /// With its seats.
    InviteDeleted(wire::InviteId),
    /// New or changed.
    Seat(Seat),
}

/// Everything kept, as read at start.
#[derive(Clone, Debug, Default)]
pub struct Saved {
    pub rooms: Vec<RoomRecord>,
    pub invites: Vec<Invite>,
    pub seats: Vec<Seat>,
}
