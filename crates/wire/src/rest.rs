//! REST requests and answers.

use crate::alarm::AlarmView;
use crate::dashboard::InviteSummary;
use crate::ids::*;
use crate::link::Steadiness;
use crate::monitor::{Hearing, Monitoring};
use crate::name::{DisplayName, RoomId, SlotId};
use crate::obs::{AddToObs, AddedToObs};
use crate::ortc::MediaKind;
use crate::sfu::{PeerState, ProducerInfo, Role};
use crate::stats::{ConsumerStats, Quality};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// `GET /health`.
#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Health {
    /// `ok`, or `unhealthy` with `reasons` (then the status is 503).
    pub status: String,
    pub reasons: Vec<String>,
    pub version: String,
    #[ts(type = "number")]
    pub uptime_secs: u64,
    pub rooms: usize,
    pub peers: usize,
    pub workers: usize,
    /// What was taken up again, when the last run did not end in order.
    pub recovered: Option<Recovered>,
}

/// What a start found after a crash or a power cut: everything that was ever acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Recovered {
    pub rooms: usize,
    /// That still open.
    pub invites: usize,
    /// Whose places wait for them.
    pub guests: usize,
}

/// One line of `GET /rooms`.
#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RoomSummary {
    pub id: RoomId,
    pub peers: usize,
    /// Shown to the owner alone.
    pub is_private: bool,
}

/// `GET /rooms/:roomId`.
#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RoomDetails {
    pub id: RoomId,
    pub title: String,
    pub status: RoomStatus,
    pub is_private: bool,
    pub peers: Vec<PeerDetails>,
}

#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PeerDetails {
    pub peer_id: PeerId,
    pub display_name: DisplayName,
    pub role: Role,
    pub state: PeerState,
    pub producers: Vec<ProducerInfo>,
    pub consumers: Vec<ConsumerStats>,
    pub quality: Quality,
}

/// A live room's life; it only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[ts(export)]
pub enum RoomStatus {
    Preparing,
    Live,
    Ended,
}

/// `POST /api/rooms`.
#[derive(Clone, Debug, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct CreateRoom {
    pub room_id: RoomId,
    /// 1 to 200 characters; default: the room id.
    pub title: Option<String>,
    pub is_private: Option<bool>,
}

/// `PUT /api/rooms/:roomId`.
#[derive(Clone, Debug, Default, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[ts(export, optional_fields)]
pub struct UpdateRoom {
    pub status: Option<RoomStatus>,
    pub title: Option<String>,
    pub is_private: Option<bool>,
}

/// A live room as the REST API shows it. Times are RFC 3339 in UTC.
#[derive(Clone, Debug, PartialEq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct LiveRoom {
    pub id: RoomId,
    pub user_id: String,
    pub title: String,
    pub status: RoomStatus,
    pub is_private: bool,
    /// Only for the owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_key: Option<String>,
    pub start_time: Option<String>,
    pub end_time: Option<String>,
    pub viewers: u32,
    pub max_viewers: u32,
}

/// `POST /api/rooms/:roomId/invites`.
#[derive(Clone, Debug, Default, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[ts(export, optional_fields)]
pub struct CreateInvite {
    /// Default: guest.
    pub role: Option<Role>,
    /// Seconds from now; default 24 hours, at most 30 days.
    #[ts(type = "number")]
    pub expires_in: Option<u64>,
    /// Default 1 (a guest who comes back with the same link within its session does not use it up again), at most 1,000.
    pub max_uses: Option<u32>,
    pub display_name: Option<DisplayName>,
}

/// Its answer. The token is shown here once and never again.
#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct InviteCreated {
    pub id: InviteId,
    pub url: String,
    pub token: String,
    /// The same invite as an HS256 JWT, for programs that read tokens.
    pub jwt: String,
    /// RFC 3339 in UTC.
    pub expires_at: String,
}

/// `DELETE /api/rooms/:roomId/invites/:inviteId?endPeers=true`.
#[derive(Clone, Copy, Debug, Default, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[ts(export)]
pub struct RevokeInvite {
    /// Also remove the peers it let in.
    pub end_peers: bool,
}

/// `POST /api/rooms/:roomId/peers/:peerId/admit` and `…/slot`.
#[derive(Clone, Copy, Debug, Default, Deserialize, TS, JsonSchema)]
#[serde(default)]
#[ts(export, optional_fields)]
pub struct AssignSlot {
    /// Admit: default the first free slot. Slot: `null` takes the guest out of the show but leaves them in the room.
    pub slot: Option<SlotId>,
}

/// `POST /api/rooms/:roomId/peers/:peerId/mute`.
#[derive(Clone, Copy, Debug, Deserialize, TS, JsonSchema)]
#[ts(export)]
pub struct MutePeer {
    pub kind: MediaKind,
    pub muted: bool,
}

/// `POST /api/rooms/:roomId/peers/:peerId/steadiness`.
#[derive(Clone, Copy, Debug, Deserialize, TS, JsonSchema)]
#[ts(export)]
pub struct SetSteadiness {
    pub steadiness: Steadiness,
}

/// `GET /api/rooms/:roomId/publish-url`: where an encoder sends to, with the stream key in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PublishUrls {
    pub rtmp: Option<String>,
    pub whip: Option<String>,
    /// Why there is none, and what to do.
    pub reason: Option<String>,
}

/// `GET /api/rooms/:roomId/play-urls`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PlayUrls {
    pub rtmp: Option<String>,
    pub flv: Option<String>,
    pub hls: Option<String>,
    pub webrtc: Option<String>,
    /// Why there is none, and what to do.
    pub reason: Option<String>,
}

/// `GET /api/rooms/:roomId/stream`: what live peers send, paused tracks left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct StreamState {
    pub publishing: bool,
    /// The longest track's beginning, RFC 3339 in UTC.
    pub since: Option<String>,
    /// Each once, e.g. `audio/opus`.
    pub codecs: Vec<String>,
    /// Of all tracks together, bit/s.
    #[ts(type = "number")]
    pub bitrate: u64,
}

/// What the owner may ask for, by REST or from the dashboard.
#[derive(Clone, Debug)]
pub enum OwnerRequest {
    CreateRoom(CreateRoom),
    ListRooms,
    ReadRoom(RoomId),
    UpdateRoom(RoomId, UpdateRoom),
    DeleteRoom(RoomId),
    CreateInvite(RoomId, CreateInvite),
    PublishUrls(RoomId),
    PlayUrls(RoomId),
    StreamState(RoomId),
    ListInvites(RoomId),
    RevokeInvite(RoomId, InviteId, RevokeInvite),
    Admit(RoomId, PeerId, AssignSlot),
    AssignSlot(RoomId, PeerId, AssignSlot),
    Mute(RoomId, PeerId, MutePeer),
    SetSteadiness(RoomId, PeerId, SetSteadiness),
    /// What could not be shown in OBS.
    TryAgain(RoomId, PeerId),
    SetHearing(RoomId, PeerId, Hearing),
    Remove(RoomId, PeerId),
    InstallObsPlugin,
    RemoveObsPlugin,
    AllowObsControl(bool),
    AddToObs(AddToObs),
    UndoAddToObs,
    SetLanAccess(bool),
    SetMonitoring(Monitoring),
    ListAlarms,
    DismissAlarm(AlarmId),
    /// Log more for a while, or no longer.
    SetDebug(bool),
    SaveSupportBundle,
}

/// `PUT /api/debug`.
#[derive(Clone, Copy, Debug, Deserialize, TS, JsonSchema)]
#[ts(export)]
pub struct SetDebug {
    pub on: bool,
}

/// Where something was put on this computer.
#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[ts(export)]
pub struct SavedFile {
    pub path: String,
}

/// The answer to an [`OwnerRequest`], serialised bare.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum OwnerReply {
    Room(Box<LiveRoom>),
    Rooms(Vec<LiveRoom>),
    InviteCreated(Box<InviteCreated>),
    Invites(Vec<InviteSummary>),
    PublishUrls(PublishUrls),
    PlayUrls(PlayUrls),
    StreamState(StreamState),
    AddedToObs(AddedToObs),
    Alarms(Vec<AlarmView>),
    SavedFile(SavedFile),
    Done {},
}
