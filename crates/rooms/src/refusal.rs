//! Every way the people plane says no, in words that say what to do next.

use thiserror::Error;
use wire::ortc::MediaKind;
use wire::{Code, Failure, SlotId};

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("This room needs an invite: ask the host for a link.")]
    InviteRequired,
    #[error("This invite link is not valid: check that you copied all of it, or ask the host for a new one.")]
    InviteForged,
    #[error("This invite link has expired: ask the host for a new one.")]
    InviteExpired,
    #[error("The host took this invite link back: ask for a new one.")]
    InviteRevoked,
    #[error("This invite link was used already: ask the host for one of your own.")]
    InviteUsedUp,
    #[error("This invite link is for another room: open the link the host sent you.")]
    InviteOtherRoom,
    #[error("This token is not signed: ask the host for a link.")]
    TokenUnsigned,
    #[error("This token is signed in a way that is not accepted here: ask whoever made it.")]
    TokenAlgorithm,
    #[error("This token is made by or for somebody else: ask whoever made it.")]
    TokenElsewhere,
    #[error("This token is not valid yet: try again later.")]
    TokenTooEarly,
    #[error("The host removed you from this room: ask them for a new link.")]
    Removed,
    #[error("There is no such room: check the link, or create the room first.")]
    RoomNotFound,
    #[error("A room with this name exists already: choose another name.")]
    RoomExists,
    #[error("This room is full ({0} people): ask the host to make room, then try again.")]
    RoomFull(usize),
    #[error("This computer has no memory left for more people: close what you do not need, then try again.")]
    ServerFull,
    #[error("This show has ended.")]
    RoomEnded,
    #[error("A room goes from preparing to live to ended and never back: create a new room instead.")]
    StatusOnlyForward,
    #[error("{0} is taken: take that guest out first, or choose another slot.")]
    SlotTaken(SlotId),
    #[error("There is no {slot}: this show has {count} slots.")]
    NoSuchSlot { slot: SlotId, count: u8 },
    #[error("Every slot is taken: take a guest out first.")]
    NoFreeSlot,
    #[error("A viewer only watches and cannot be put into a slot: invite them as a guest.")]
    ViewerInSlot,
    #[error("Let this guest in before giving them a slot.")]
    NotAdmitted,
    #[error("Somebody publishes in this room already: they stop first.")]
    DuplicatePublisher,
    #[error("Another user of this room has this id: choose another.")]
    UserTaken,
    #[error("Join a room first.")]
    NotJoined,
    #[error("You are in a room already: leave it first.")]
    AlreadyJoined,
    #[error("You are waiting to be let in: this works once the host admits you.")]
    Waiting,
    #[error("A viewer only watches: ask the host for a guest link to send picture or sound.")]
    ViewerSends,
    #[error(
        "You are in the audience: raise your hand, and send picture and sound once the host lets you onto the stage."
    )]
    NotOnStage,
    #[error("Only the host may do this.")]
    ForTheHost,
    #[error("There is no such {0}: it may have been closed already.")]
    NotFound(&'static str),
    #[error("This transport goes the other way: use your {0} transport.")]
    WrongDirection(&'static str),
    #[error("This is your own track: nobody receives themselves.")]
    OwnProducer,
    #[error("The host muted your {}: ask them to unmute it.", match .0 { MediaKind::Audio => "microphone", MediaKind::Video => "camera" })]
    MutedByHost(MediaKind),
    #[error("Too many {what} (at most {limit}): close one first.")]
    LimitReached { what: &'static str, limit: usize },
    #[error("A message is 1 to 2,000 characters without control characters.")]
    BadChat,
    #[error("A title is 1 to 200 characters without control characters.")]
    BadTitle,
    #[error("{0}")]
    OutOfBounds(&'static str),
}

impl Refusal {
    pub fn code(&self) -> Code {
        use Refusal::*;
        match self {
            InviteRequired => Code::InviteRequired,
            InviteForged | TokenUnsigned | TokenAlgorithm | TokenElsewhere => Code::InviteInvalid,
            TokenTooEarly => Code::InviteNotYetValid,
            InviteExpired => Code::InviteExpired,
            InviteRevoked => Code::InviteRevoked,
            InviteUsedUp => Code::InviteUsedUp,
            InviteOtherRoom => Code::InviteOtherRoom,
            Removed | MutedByHost(_) | ViewerSends | ForTheHost => Code::Forbidden,
            RoomNotFound => Code::RoomNotFound,
            RoomExists => Code::RoomExists,
            RoomFull(_) => Code::RoomFull,
            ServerFull => Code::ServerFull,
            RoomEnded => Code::RoomClosed,
            StatusOnlyForward => Code::Conflict,
            SlotTaken(_) | NoFreeSlot => Code::SlotTaken,
            DuplicatePublisher => Code::DuplicatePublisher,
            UserTaken => Code::Conflict,
            NotJoined => Code::NotJoined,
            AlreadyJoined => Code::AlreadyJoined,
            Waiting | NotOnStage => Code::Waiting,
            NotFound(_) => Code::NotFound,
            OwnProducer => Code::CannotConsume,
            LimitReached { .. } => Code::LimitReached,
            NoSuchSlot { .. }
            | ViewerInSlot
            | NotAdmitted
            | WrongDirection(_)
            | BadChat
            | BadTitle
            | OutOfBounds(_) => Code::InvalidRequest,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::new(refusal.code(), refusal.to_string())
    }
}
