//! What a token opens, for those who come in by another protocol than `join-room`.

use crate::join::Door;
use crate::refusal::Refusal;
use crate::roster::Rooms;
use crate::time::Now;
use wire::sfu::Role;
use wire::{InviteId, RoomId};

/// A token that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The invite it comes from; `None`: the owner.
    pub invite: Option<InviteId>,
    pub may_publish: bool,
    /// How many may sit in a room by it at once.
    pub seats: usize,
}

impl Rooms {
    /// Whether a token opens a room; without a room, whether it opens any. Uses nothing up.
    pub fn grant(&self, now: Now, token: Option<&str>, room: Option<&RoomId>) -> Result<Grant, Refusal> {
        let token = token.ok_or(Refusal::InviteRequired)?;
        match self.door(now, token, room)? {
            Door::Owner => Ok(Grant { invite: None, may_publish: true, seats: usize::MAX }),
            Door::Invite(invite) => Ok(Grant {
                invite: Some(invite.id),
                may_publish: invite.role != Role::Viewer,
                seats: invite.max_uses.saturating_sub(invite.uses) as usize,
            }),
        }
    }
}
