//! OBS as the streamer sees and steers it from the dashboard, through obs-websocket.

use crate::name::SlotId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// How far Greenroom may steer OBS, and what it sees of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[ts(export)]
pub enum ObsControl {
    /// The streamer has not allowed it: nothing of OBS's settings is read.
    #[default]
    Off,
    /// Allowed, but not connected.
    Waiting {
        /// Why, and what to do: for the streamer.
        hint: String,
    },
    Connected(ObsShow),
}

/// A source in OBS and this app speak versions of their protocol that do not fit: no guest is seen in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Mismatch {
    /// The plugin that OBS has loaded is to be updated, and OBS restarted.
    OlderPlugin,
    /// The app is to be updated.
    NewerPlugin,
}

/// What OBS is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ObsShow {
    pub version: String,
    pub streaming: bool,
    pub recording: Recording,
    /// The scene that viewers see.
    pub program: String,
    /// In studio mode, the scene that is being prepared.
    pub preview: Option<String>,
    /// False: this OBS runs without the plugin, so nothing can be added.
    pub has_plugin: bool,
    /// What was added last and can be taken back.
    pub undo: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Recording {
    #[default]
    Off,
    On,
    Paused,
}

/// `PUT /api/obs/control`: the streamer's consent, kept until it is withdrawn.
#[derive(Clone, Copy, Debug, Deserialize, TS, JsonSchema)]
#[ts(export)]
pub struct AllowObsControl {
    pub on: bool,
}

/// `POST /api/obs/sources`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, TS, JsonSchema)]
#[ts(export, optional_fields)]
pub struct AddToObs {
    pub layout: ObsLayout,
    /// Whom to show, in reading order. Default: from the first slot on, as many as the layout holds.
    pub slots: Option<Vec<SlotId>>,
}

/// What to add to OBS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum ObsLayout {
    /// One guest, to the scene that is being prepared, or else the current one.
    Source,
    /// A new scene with one guest.
    Solo,
    /// A new scene with two.
    SideBySide,
    /// A new scene with any number.
    Grid,
}

/// Its answer: the scene, and the sources in it that are Greenroom's doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[ts(export)]
pub struct AddedToObs {
    pub scene: String,
    pub sources: Vec<String>,
}
