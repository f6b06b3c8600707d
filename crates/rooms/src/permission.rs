//! Who may do what: the one place that decides. The table in docs/security.md is this one.

use crate::command::{OwnerCommand, PeerCommand};
use crate::refusal::Refusal;
use wire::ortc::Direction;
use wire::sfu::{PeerState, Role};

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make, change, end and delete rooms; see their stream keys.
    ManageRooms,
    /// Make, list and revoke invites.
    Invite,
    /// Let somebody in or onto the stage, move them between slots, take them out.
    Place,
    /// Silence somebody's microphone or camera, or give it back.
    Mute,
    /// Send somebody out for good.
    Remove,
    /// Make a sending transport; send picture, sound and data.
    Send,
    /// Receive what others send.
    Receive,
    /// Chat, raise a hand, and relay signals to another peer.
    Talk,
    /// Make a receiving transport; pause, resume and close what is one's own; take another name; leave.
    Attend,
}

impl Action {
    pub const ALL: [Action; 9] = [
        Action::ManageRooms,
        Action::Invite,
        Action::Place,
        Action::Mute,
        Action::Remove,
        Action::Send,
        Action::Receive,
        Action::Talk,
        Action::Attend,
    ];
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Whoever holds this install's own token.
    Owner,
    Peer(Standing),
}

/// What a peer is at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub role: Role,
    pub state: PeerState,
    /// The host let them in (a guest) or onto the stage (a performer).
    pub admitted: bool,
}

/// A cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Yes,
    /// Once the host let them in.
    Live,
    /// Once the host let them onto the stage.
    OnStage,
    /// To those of a lower role.
    Below,
    No,
}

/// The table. `None` is the owner.
pub fn rule(role: Option<Role>, action: Action) -> Rule {
    use Action::*;
    use Role::*;
    let Some(role) = role else { return Rule::Yes };
    match (action, role) {
        (ManageRooms | Invite, _) => Rule::No,
        (Place | Mute | Remove, Host | CoHost) => Rule::Below,
        (Place | Mute | Remove, Guest | Performer | Viewer) => Rule::No,
        // A waiting guest sends too: the host sees a preview.
        (Send, Host | CoHost | Guest) => Rule::Yes,
        (Send, Performer) => Rule::OnStage,
        (Send, Viewer) => Rule::No,
        // Of those who wait, no role may look around.
        (Receive | Talk, _) => Rule::Live,
        (Attend, _) => Rule::Yes,
    }
}

/// Whether an action is open to this actor at all.
pub fn permits(actor: Actor, action: Action) -> Result<(), Refusal> {
    let Actor::Peer(standing) = actor else { return Ok(()) };
    match rule(Some(standing.role), action) {
        Rule::Yes | Rule::Below => Ok(()),
        Rule::Live if standing.state == PeerState::Live => Ok(()),
        Rule::Live => Err(Refusal::Waiting),
        Rule::OnStage if standing.admitted => Ok(()),
        Rule::OnStage => Err(Refusal::NotOnStage),
        Rule::No if action == Action::Send => Err(Refusal::ViewerSends),
        Rule::No => Err(Refusal::ForTheHost),
    }
}

/// Whether it is open to them against a peer of that role.
pub fn permits_to(actor: Actor, action: Action, other: Role) -> Result<(), Refusal> {
    permits(actor, action)?;
    match actor {
        Actor::Peer(standing) if rule(Some(standing.role), action) == Rule::Below => {
            if rank(standing.role) > rank(other) { Ok(()) } else { Err(Refusal::ForTheHost) }
        }
        _ => Ok(()),
    }
}

/// The lesser of what is granted and what is asked for.
pub(crate) fn lower(granted: Role, asked: Option<Role>) -> Role {
    asked.filter(|asked| rank(*asked) < rank(granted)).unwrap_or(granted)
}

/// Whether somebody who comes in by this grant waits for the host.
pub(crate) fn asks_first(granted: Role) -> bool {
    matches!(granted, Role::Guest | Role::Performer)
}

/// Where somebody who came in by this grant stands: only guests wait in the green room.
pub(crate) fn state(granted: Role, admitted: bool) -> PeerState {
    if admitted || granted != Role::Guest { PeerState::Live } else { PeerState::Waiting }
}

fn rank(role: Role) -> u8 {
    match role {
        Role::Host => 4,
        Role::CoHost => 3,
        Role::Guest => 2,
        Role::Performer => 1,
        Role::Viewer => 0,
    }
}

impl PeerCommand {
    pub fn action(&self) -> Action {
        match self {
            Self::AddTransport { direction: Direction::Send, .. }
            | Self::AddProducer { .. }
            | Self::AddDataProducer { .. } => Action::Send,
            Self::AddConsumer { .. } | Self::AddDataConsumer { .. } => Action::Receive,
            Self::Chat(_) | Self::RaiseHand(_) | Self::Signal { .. } => Action::Talk,
            Self::Admit { .. } | Self::AssignSlot { .. } => Action::Place,
            Self::Mute { .. } => Action::Mute,
            Self::Remove(_) => Action::Remove,
            Self::AddTransport { direction: Direction::Recv, .. }
            | Self::PauseProducer(_)
            | Self::ResumeProducer(_)
            | Self::CloseProducer(_)
            | Self::PauseConsumer(_)
            | Self::ResumeConsumer(_)
            | Self::CloseConsumer(_)
            | Self::CloseDataProducer(_)
            | Self::CloseDataConsumer(_)
            | Self::SetDisplayName(_)
            | Self::Leave => Action::Attend,
        }
    }
}

impl OwnerCommand {
    pub fn action(&self) -> Action {
        match self {
            Self::CreateRoom { .. } | Self::UpdateRoom { .. } | Self::DeleteRoom(_) => Action::ManageRooms,
            Self::CreateInvite { .. } | Self::RevokeInvite { .. } => Action::Invite,
            Self::Admit { .. } | Self::AssignSlot { .. } => Action::Place,
            Self::Mute { .. } => Action::Mute,
            Self::Remove { .. } => Action::Remove,
        }
    }
}
