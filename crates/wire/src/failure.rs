//! The one shape of every refusal: a sentence for people, a stable code for programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// `{ "error": "<sentence>", "code": "<stable-code>" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS, thiserror::Error, JsonSchema)]
#[ts(export)]
#[error("{error}")]
pub struct Failure {
    pub error: String,
    pub code: Code,
}

impl Failure {
    pub fn new(code: Code, error: impl Into<String>) -> Self {
        Self { error: error.into(), code }
    }
}

/// Stable names of refusals. Add; never rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Code {
    /// A field is missing or of the wrong type or out of its bounds.
    InvalidRequest,
    UnknownEvent,
    TooLarge,
    RateLimited,
    /// No token, or one that is not ours.
    Unauthorized,
    /// The token is good, but the role may not do this.
    Forbidden,
    InviteRequired,
    InviteInvalid,
    InviteExpired,
    InviteNotYetValid,
    InviteRevoked,
    InviteUsedUp,
    InviteOtherRoom,
    RoomNotFound,
    RoomExists,
    RoomFull,
    /// This computer has no memory left for newcomers.
    ServerFull,
    RoomClosed,
    SlotTaken,
    /// Somebody publishes in this room already.
    DuplicatePublisher,
    /// The thing has moved on and does not go back (HTTP 409).
    Conflict,
    NotJoined,
    AlreadyJoined,
    /// The peer is in the green room; this needs admission.
    Waiting,
    NotFound,
    UnsupportedCodec,
    CannotConsume,
    DtlsFailed,
    /// Too many of something that has a limit.
    LimitReached,
    /// The engine's queue is full: try again.
    Busy,
    ServerClosing,
    Internal,
}
