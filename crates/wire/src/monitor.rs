//! Monitoring: the streamer hears guests on a device of their choice, usually headphones, beside the show.
//!
//! A process of its own, `greenroom-monitor`, owns the device. The media worker starts it while it is wanted, with the
//! device's id as its one argument, or none for the system's own choice, and
//!
//! * writes the mix to its standard input: 10 ms at a time, [`CHUNK_FRAMES`] frames of left and right, 32-bit floats,
//!   little-endian, 48,000 frames a second by `CLOCK_MONOTONIC`. A chunk is one `write` of less than `PIPE_BUF`, never
//!   blocking: when the pipe is full the chunk is dropped. End of file: the process ends.
//! * reads [`MonitorReport`]s from its standard output, one JSON object a line, at most [`MAX_REPORT`] bytes. It says
//!   something at least every two seconds, or ends with [`EXIT_NO_ANSWER`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;
use ts_rs::TS;

pub const CHUNK_FRAMES: usize = 480;
pub const CHUNK_BYTES: usize = CHUNK_FRAMES * 2 * size_of::<f32>();
pub const MAX_REPORT: usize = 32 * 1024;
pub const MAX_DEVICES: usize = 32;
/// Exit code of a monitor process whom the sound service keeps waiting.
pub const EXIT_NO_ANSWER: i32 = 3;

/// What the streamer wants. Kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Monitoring {
    pub on: bool,
    /// `None`: the one that the system plays everything on.
    pub device: Option<DeviceId>,
}

/// A device by the name its sound service knows it by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS, JsonSchema)]
#[schemars(with = "String")]
#[serde(try_from = "String", into = "String")]
#[ts(export, type = "string")]
pub struct DeviceId(String);

/// Why a device's id was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a device's id has 1 to {MAX_DEVICE_ID} bytes, without control characters")]
pub struct BadDeviceId;

impl DeviceId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for DeviceId {
    type Error = BadDeviceId;
    fn try_from(id: String) -> Result<Self, BadDeviceId> {
        let fits = (1..=MAX_DEVICE_ID).contains(&id.len()) && !id.chars().any(char::is_control);
        if fits { Ok(Self(id)) } else { Err(BadDeviceId) }
    }
}

impl From<DeviceId> for String {
    fn from(id: DeviceId) -> String {
        id.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the streamer hears one guest. OBS and the other guests hear them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Hearing {
    pub volume: VolumePercent,
    pub muted: bool,
}

impl Hearing {
    /// What each sample is multiplied by.
    pub fn gain(self) -> f32 {
        if self.muted { 0.0 } else { self.volume.gain() }
    }
}

/// A volume in percent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS, JsonSchema)]
#[schemars(with = "u8")]
#[serde(try_from = "u8", into = "u8")]
#[ts(export, type = "number")]
pub struct VolumePercent(u8);

/// Why a volume was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a volume is a number from 0 to 100")]
pub struct BadVolume;

impl VolumePercent {
    pub fn percent(self) -> u8 {
        self.0
    }

    /// The square: half way is then 12 dB down, which sounds like half as loud or a little less.
    pub fn gain(self) -> f32 {
        (f32::from(self.0) / 100.0).powi(2)
    }
}

impl Default for VolumePercent {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u8> for VolumePercent {
    type Error = BadVolume;
    fn try_from(percent: u8) -> Result<Self, BadVolume> {
        if percent <= 100 { Ok(Self(percent)) } else { Err(BadVolume) }
    }
}

impl From<VolumePercent> for u8 {
    fn from(volume: VolumePercent) -> u8 {
        volume.0
    }
}

/// A device that sound can be played on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct OutputDevice {
    pub id: DeviceId,
    /// For the streamer.
    pub name: String,
}

/// Whether anything is heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[ts(export)]
pub enum MonitorState {
    #[default]
    Off,
    Starting,
    Playing {
        /// The device's name, for the streamer.
        device: String,
    },
    /// Not now; it goes on by itself when that is over.
    Waiting {
        /// Why, and what to do: for the streamer.
        reason: String,
    },
}

/// What the monitor process says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorReport {
    pub state: MonitorState,
    /// At most [`MAX_DEVICES`].
    pub devices: Vec<OutputDevice>,
}

/// What the dashboard is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct MonitoringView {
    pub wanted: Monitoring,
    pub state: MonitorState,
    /// As last seen; empty until monitoring was on.
    pub devices: Vec<OutputDevice>,
}

const MAX_DEVICE_ID: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_volume_or_an_id_is_refused() {
        assert!(serde_json::from_str::<Hearing>(r#"{"volume":101,"muted":false}"#).is_err());
        assert!(serde_json::from_str::<Hearing>(r#"{"volume":-1,"muted":false}"#).is_err());
        assert!(serde_json::from_str::<DeviceId>(r#""""#).is_err());
        assert!(serde_json::from_str::<DeviceId>(r#""a\nb""#).is_err());
        assert!(DeviceId::try_from("x".repeat(257)).is_err());
        let fits: Monitoring = serde_json::from_str(r#"{"on":true,"device":"alsa_output.usb"}"#).unwrap();
        assert_eq!(fits.device.unwrap().as_str(), "alsa_output.usb");
    }

    #[test]
    fn a_chunk_is_written_whole_or_not_at_all() {
        // PIPE_BUF on Linux.
        const { assert!(CHUNK_BYTES <= 4096) };
    }

    #[test]
    fn half_the_volume_is_a_quarter_of_the_amplitude_and_muted_is_nothing() {
        let hearing = |volume: u8, muted| Hearing { volume: VolumePercent::try_from(volume).unwrap(), muted };
        assert_eq!(hearing(100, false).gain(), 1.0);
        assert_eq!(hearing(50, false).gain(), 0.25);
        assert_eq!(hearing(100, true).gain(), 0.0);
    }
}
