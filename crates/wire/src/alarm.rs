//! What the streamer should know of before it is noticed on air.

use crate::dashboard::Severity;
use crate::ids::{AlarmId, PeerId};
use crate::name::RoomId;
use schemars::JsonSchema;
use serde::Serialize;
use ts_rs::TS;

/// One alarm that is raised; it goes when its reason has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct AlarmView {
    pub id: AlarmId,
    pub kind: AlarmKind,
    pub severity: Severity,
    /// RFC 3339 in UTC.
    pub raised_at: String,
    /// What happened, as a sentence.
    pub what: String,
    /// What to do next, as another.
    pub todo: String,
    /// Whom it is about, if it is about one guest.
    pub room_id: Option<RoomId>,
    pub peer_id: Option<PeerId>,
}

/// Which rule raised it. docs/monitoring.md says when each does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, TS, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum AlarmKind {
    /// A listener has nearly as many connections as it may.
    Connections,
    /// A guest's connection has been bad for a while.
    GuestQuality,
    /// Guests do not reach OBS.
    MediaWorker,
    /// OBS has gone while it was streaming or recording.
    ObsLost,
    /// The disk with Greenroom's data is nearly full.
    Disk,
    /// The computer's processor is nearly used up.
    Cpu,
    /// A webhook's endpoint does not take what it is told.
    Webhook,
}
