//! What a token opens, for those who come in by another protocol than `join-room`.

use crate::join::Door;
use crate::permission::{Action, Rule, rule};
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
            Door::Claimed(claimed) => {
                let uses = self.invites.get(&claimed.id).map_or(0, |invite| invite.uses);
                Ok(Grant {
                    invite: Some(claimed.id),
                    may_publish: claimed.publish && may_publish(claimed.role),
                    seats: claimed.max_uses.saturating_sub(uses) as usize,
                })
            }
            Door::Invite(invite) => Ok(Grant {
                invite: Some(invite.id),
                may_publish: may_publish(invite.role),
                seats: invite.max_uses.saturating_sub(invite.uses) as usize,
            }),
        }
    }
}

/// Nobody is admitted here, so that only who may send at once may publish.
fn may_publish(role: Role) -> bool {
    rule(Some(role), Action::Send) == Rule::Yes
}
