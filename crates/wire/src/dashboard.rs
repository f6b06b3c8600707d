//! What the dashboard is shown: whole snapshots over `GET /api/dashboard` (a WebSocket), and preview pictures.
//!
//! The first message from the page is `{ "token": "<owner token>" }`. The server then sends [`DashboardMessage`]s
//! as JSON text, and binary messages: one preview each, `[id: 16 bytes][JPEG]`; the id is
//! the peer's, or that of the producer of a shared screen.

use crate::alarm::AlarmView;
use crate::ids::*;
use crate::link::Steadiness;
use crate::monitor::{Hearing, MonitoringView};
use crate::name::{DisplayName, RoomId, SlotId};
use crate::obs::{Mismatch, ObsControl};
use crate::rest::RoomStatus;
use crate::sfu::{PeerState, Role, Tally};
use crate::stats::Quality;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

#[derive(Clone, Debug, Serialize, TS)]
#[serde(tag = "type", rename_all = "lowercase")]
#[ts(export)]
pub enum DashboardMessage {
    Snapshot(Box<Snapshot>),
    /// Audio levels, about ten a second.
    Levels {
        levels: Vec<Level>,
    },
}

#[derive(Clone, Debug, Deserialize, TS)]
#[ts(export)]
pub struct DashboardHello {
    pub token: String,
}

/// Everything the dashboard draws. Whole, never a delta.
#[derive(Clone, Debug, Default, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Snapshot {
    pub version: String,
    pub slot_count: u8,
    pub rooms: Vec<RoomView>,
    pub obs: ObsView,
    pub media_worker: OutputStatus,
    pub lan: LanView,
    pub monitoring: MonitoringView,
    /// More is logged until then: RFC 3339 in UTC.
    pub debug_until: Option<String>,
    /// What needs the streamer now, worst first.
    pub alarms: Vec<AlarmView>,
    /// Plain sentences for the streamer, newest last.
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct RoomView {
    pub id: RoomId,
    pub title: String,
    pub status: RoomStatus,
    pub guests: Vec<GuestView>,
    /// Who has the floor.
    pub speaker: Option<PeerId>,
    pub invites: Vec<InviteSummary>,
}

#[derive(Clone, Debug, PartialEq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct GuestView {
    pub peer_id: PeerId,
    pub display_name: DisplayName,
    pub role: Role,
    pub state: PeerState,
    pub slot: Option<SlotId>,
    /// False while the socket is away within its grace time.
    pub connected: bool,
    pub hand_raised: bool,
    pub camera: TrackView,
    pub microphone: TrackView,
    /// The screen they share: its previews come under this id.
    pub screen: Option<ProducerId>,
    /// Whether OBS shows them; absent while no source can.
    pub tally: Option<Tally>,
    pub quality: Quality,
    /// Of their picture as handed to OBS, or to the dashboard alone; absent until one is.
    pub picture: Option<PictureSize>,
    /// Picture minus sound, in milliseconds, as handed to OBS; absent until measured.
    pub av_offset_ms: Option<f64>,
    pub steadiness: Steadiness,
    /// Their picture or their sound cannot be shown in OBS; `trouble` says why. It can be tried again.
    pub failed: bool,
    /// How the streamer hears them, where monitoring is on.
    pub hearing: Hearing,
    /// Set when something about this guest needs the streamer: plain words and what to do.
    pub trouble: Option<String>,
}

/// In pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PictureSize {
    pub width: u32,
    pub height: u32,
}

/// One of a guest's tracks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum TrackView {
    #[default]
    Off,
    On,
    MutedByGuest,
    MutedByHost,
}

#[derive(Clone, Debug, PartialEq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct InviteSummary {
    pub id: InviteId,
    pub role: Role,
    pub display_name: Option<DisplayName>,
    /// RFC 3339 in UTC.
    pub created_at: String,
    pub expires_at: String,
    pub max_uses: u32,
    pub uses: u32,
    pub state: InviteState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum InviteState {
    Open,
    UsedUp,
    Expired,
    Revoked,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ObsView {
    pub installed: bool,
    pub running: bool,
    pub plugin: PluginState,
    /// OBS runs without the plugin as it is installed now: it loads plugins only when it starts.
    pub restart: bool,
    /// A source in OBS asked in another version of the protocol, a moment ago.
    pub mismatch: Option<Mismatch>,
    /// How many OBS sources show a slot right now.
    pub sources: u32,
    pub control: ObsControl,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum PluginState {
    #[default]
    Missing,
    Installed,
    /// An older version than this app's, or another build of it; installing again mends it.
    Outdated,
    /// A newer version than this app's, which is not overwritten: the app is to be updated.
    Newer,
}

/// How an output, or the media worker behind them, is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[ts(export)]
pub enum OutputStatus {
    #[default]
    Off,
    Starting,
    Running,
    /// It stopped and is being started again.
    Restarting {
        reason: String,
    },
    Failed {
        reason: String,
    },
}

/// Whether guests on the local network can reach the pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct LanView {
    pub on: bool,
    /// Where guests reach this machine, e.g. `https://192.0.2.7:3443`.
    pub addresses: Vec<String>,
    /// What their browsers are shown, while it is on.
    pub certificate: Option<CertificateView>,
    pub problem: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct CertificateView {
    /// No authority vouches for it: browsers warn on first use.
    pub self_signed: bool,
    /// RFC 3339 in UTC.
    pub expires_at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Note {
    /// RFC 3339 in UTC.
    pub at: String,
    pub text: String,
    pub severity: Severity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[ts(export)]
pub enum Severity {
    Info,
    Warning,
    Error,
}

/// A guest's sound, in dBFS (0 is full scale, −127 silence).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Level {
    pub peer_id: PeerId,
    pub rms_dbfs: f32,
    pub peak_dbfs: f32,
}
