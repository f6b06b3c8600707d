//! Live rooms over a plain WebSocket: `{ type, roomId, userId, payload }` in both directions.

use crate::failure::Failure;
use crate::name::RoomId;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// Who somebody is in a live room, in the client's own words: 1 to 64 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

/// Why a user id was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a user id is 1 to {MAX_USER_ID} characters without control characters")]
pub struct BadUserId;

impl UserId {
    pub fn parse(text: &str) -> Result<Self, BadUserId> {
        let fits = text.len() <= MAX_USER_ID * 4 && (1..=MAX_USER_ID).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) { Ok(Self(text.to_owned())) } else { Err(BadUserId) }
    }
}

impl TryFrom<String> for UserId {
    type Error = BadUserId;
    fn try_from(text: String) -> Result<Self, BadUserId> {
        Self::parse(&text)
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> String {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a client may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LiveKind {
    Join,
    Leave,
    Offer,
    Answer,
    Candidate,
    Ping,
}

/// What of the payload of `join` the server reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LiveJoin {
    /// Sends into the room's stream; one does at a time.
    pub publish: bool,
    pub token: Option<String>,
}

/// What of the payload of `offer`, `answer` and `candidate` the server reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LiveAddress {
    /// One user; otherwise everybody else in the room.
    pub to: Option<UserId>,
}

/// Somebody in a live room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveUser {
    pub user_id: UserId,
    pub publish: bool,
}

/// What the server says by itself; a relayed message keeps its sender's type and payload.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum LiveNotice {
    Joined { room_id: RoomId, user_id: UserId, payload: LiveRoster },
    UserJoined { room_id: RoomId, user_id: UserId, payload: LivePart },
    UserLeft { room_id: RoomId, user_id: UserId, payload: LiveEnd },
    Pong { payload: Empty },
    Error { payload: Failure },
}

#[derive(Clone, Debug, Serialize)]
pub struct LiveRoster {
    /// The others.
    pub users: Vec<LiveUser>,
    pub publish: bool,
    /// The seat was kept: the others have not heard of the interruption.
    pub resumed: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct LivePart {
    pub publish: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct LiveEnd {
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Empty {}

const MAX_USER_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_have_the_documented_shape() {
        let room_id = RoomId::parse("show").unwrap();
        let user_id = UserId::parse("ada").unwrap();
        let notice = LiveNotice::UserJoined { room_id, user_id, payload: LivePart { publish: true } };
        assert_eq!(
            serde_json::to_string(&notice).unwrap(),
            r#"{"type":"user-joined","roomId":"show","userId":"ada","payload":{"publish":true}}"#
        );
        assert!(
            UserId::parse("").is_err()
                && UserId::parse(&"x".repeat(65)).is_err()
                && UserId::parse("a\n").is_err()
        );
    }
}
