//! What programs of the streamer's are told by HTTP: messages as the Standard Webhooks specification has them.
//!
//! <https://www.standardwebhooks.com>. Signature and retries are in docs/monitoring.md.

use crate::alarm::AlarmView;
use crate::ids::{PeerId, ProducerId};
use crate::name::{DisplayName, RoomId};
use crate::sfu::{PeerState, Role};
use schemars::JsonSchema;
use serde::Serialize;

/// The body of one message: `{ id, type, createdAt, data }`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebhookMessage {
    /// The same for every attempt and every endpoint: who was told twice can know.
    pub id: String,
    /// When it happened; RFC 3339 in UTC.
    pub created_at: String,
    #[serde(flatten)]
    pub happening: Happening,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum Happening {
    #[serde(rename = "room.live")]
    RoomLive(RoomFact),
    /// Or closed and forgotten.
    #[serde(rename = "room.ended")]
    RoomEnded(RoomFact),
    /// Into the green room (`state` is `waiting`) or at once.
    #[serde(rename = "peer.joined")]
    PeerJoined(PeerFact),
    /// Out of the green room, or onto the stage.
    #[serde(rename = "peer.admitted")]
    PeerAdmitted(PeerFact),
    #[serde(rename = "peer.left")]
    PeerLeft(PeerGone),
    #[serde(rename = "publish.started")]
    PublishStarted(PublishFact),
    #[serde(rename = "publish.stopped")]
    PublishStopped(PublishFact),
    #[serde(rename = "alarm.raised")]
    AlarmRaised(AlarmView),
    #[serde(rename = "alarm.cleared")]
    AlarmCleared(AlarmView),
}

impl Happening {
    /// Every type there is a name for. `record.…` is named already, and sent once there is recording.
    pub const TYPES: [&str; 11] = [
        "room.live",
        "room.ended",
        "peer.joined",
        "peer.admitted",
        "peer.left",
        "publish.started",
        "publish.stopped",
        "record.started",
        "record.stopped",
        "alarm.raised",
        "alarm.cleared",
    ];

    /// As it stands in `type`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::RoomLive(_) => "room.live",
            Self::RoomEnded(_) => "room.ended",
            Self::PeerJoined(_) => "peer.joined",
            Self::PeerAdmitted(_) => "peer.admitted",
            Self::PeerLeft(_) => "peer.left",
            Self::PublishStarted(_) => "publish.started",
            Self::PublishStopped(_) => "publish.stopped",
            Self::AlarmRaised(_) => "alarm.raised",
            Self::AlarmCleared(_) => "alarm.cleared",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomFact {
    pub room_id: RoomId,
    pub title: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PeerFact {
    pub room_id: RoomId,
    pub peer_id: PeerId,
    pub display_name: DisplayName,
    pub role: Role,
    pub state: PeerState,
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PeerGone {
    #[serde(flatten)]
    pub peer: PeerFact,
    /// `left`, `connection lost`, `removed by the host`, `room closed`.
    pub reason: String,
}

/// One track.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishFact {
    pub room_id: RoomId,
    pub peer_id: PeerId,
    pub display_name: DisplayName,
    pub producer_id: ProducerId,
    /// `audio`, `video`, `screen`.
    pub kind: String,
}
