//! mediasoup's ORTC rules: what a router can carry, how a producer's numbers map to the router's, what a consumer gets.
//!
//! Payload types and extension ids of a router are fixed here; every producer has its own (a browser chooses them per
//! m-section), every consumer has the router's.

pub mod codec;
pub mod consume;
pub mod produce;

use serde_json::{Map, Value, json};
use wire::ortc::{MediaKind, RtcpFeedback, RtpCapabilities, RtpCodecCapability, RtpHeaderExtension};

/// Header extensions that we understand or pass on, in a form small enough to look up per packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    Mid,
    Rid,
    RepairedRid,
    AbsSendTime,
    TransportCc,
    AudioLevel,
    DependencyDescriptor,
    VideoOrientation,
    TransmissionOffset,
    AbsCaptureTime,
    PlayoutDelay,
    ColorSpace,
}

impl Extension {
    pub const ALL: [Self; 12] = [
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::AbsSendTime,
        Self::TransportCc,
        Self::AudioLevel,
        Self::DependencyDescriptor,
        Self::VideoOrientation,
        Self::TransmissionOffset,
        Self::AbsCaptureTime,
        Self::PlayoutDelay,
        Self::ColorSpace,
    ];

    pub fn uri(self) -> &'static str {
        match self {
            Self::Mid => rtp::ext::MID,
            Self::Rid => rtp::ext::RTP_STREAM_ID,
            Self::RepairedRid => rtp::ext::REPAIRED_RTP_STREAM_ID,
            Self::AbsSendTime => rtp::ext::ABS_SEND_TIME,
            Self::TransportCc => rtp::ext::TRANSPORT_CC,
            Self::AudioLevel => rtp::ext::SSRC_AUDIO_LEVEL,
            Self::DependencyDescriptor => rtp::ext::DEPENDENCY_DESCRIPTOR,
            Self::VideoOrientation => rtp::ext::VIDEO_ORIENTATION,
            Self::TransmissionOffset => rtp::ext::TOFFSET,
            Self::AbsCaptureTime => rtp::ext::ABS_CAPTURE_TIME,
            Self::PlayoutDelay => rtp::ext::PLAYOUT_DELAY,
            Self::ColorSpace => rtp::ext::COLOR_SPACE,
        }
    }

    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|e| e.uri() == uri)
    }

    /// The router's id, the one mediasoup prefers; 12 is an extension of its own we do not carry, and the last is ours.
    pub fn router_id(self) -> u8 {
        match self {
            Self::Mid => 1,
            Self::Rid => 2,
            Self::RepairedRid => 3,
            Self::AbsSendTime => 4,
            Self::TransportCc => 5,
            Self::AudioLevel => 6,
            Self::DependencyDescriptor => 7,
            Self::VideoOrientation => 8,
            Self::TransmissionOffset => 9,
            Self::AbsCaptureTime => 10,
            Self::PlayoutDelay => 11,
            Self::ColorSpace => 13,
        }
    }

    fn kinds(self) -> &'static [MediaKind] {
        match self {
            Self::Mid | Self::AbsSendTime | Self::TransportCc | Self::AbsCaptureTime | Self::PlayoutDelay => {
                &[MediaKind::Audio, MediaKind::Video]
            }
            Self::AudioLevel => &[MediaKind::Audio],
            Self::Rid
            | Self::RepairedRid
            | Self::DependencyDescriptor
            | Self::VideoOrientation
            | Self::TransmissionOffset
            | Self::ColorSpace => &[MediaKind::Video],
        }
    }

    /// Whether consumers of `kind` get it, too; the others end at the router.
    fn is_forwarded(self, kind: MediaKind) -> bool {
        match self {
            Self::Rid | Self::RepairedRid => false,
            Self::TransportCc => kind == MediaKind::Video,
            _ => true,
        }
    }
}

/// Ids of one producer or consumer by extension; 0 where it has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds([u8; Extension::ALL.len()]);

impl ExtensionIds {
    pub fn get(&self, extension: Extension) -> Option<u8> {
        let id = self.0[extension as usize];
        (id != 0).then_some(id)
    }

    pub fn set(&mut self, extension: Extension, id: u8) {
        self.0[extension as usize] = id;
    }
}

/// What every router can carry.
pub fn router_capabilities() -> RtpCapabilities {
    let mut header_extensions = Vec::new();
    for extension in Extension::ALL {
        for &kind in extension.kinds() {
            let direction = if extension.is_forwarded(kind) { "sendrecv" } else { "recvonly" };
            header_extensions.push(RtpHeaderExtension {
                kind,
                uri: extension.uri().into(),
                preferred_id: extension.router_id(),
                preferred_encrypt: false,
                direction: Some(direction.into()),
            });
        }
    }
    let codecs = vec![
        RtpCodecCapability {
            kind: MediaKind::Audio,
            mime_type: "audio/opus".into(),
            preferred_payload_type: Some(100),
            clock_rate: 48_000,
            channels: Some(2),
            parameters: Map::new(),
            rtcp_feedback: vec![feedback("nack", ""), feedback("transport-cc", "")],
        },
        video("video/VP8", 101, json!({})),
        retransmission(102, 101),
        video("video/VP9", 103, json!({ "profile-id": 0 })),
        retransmission(104, 103),
        video(
            "video/H264",
            105,
            json!({ "level-asymmetry-allowed": 1, "packetization-mode": 1, "profile-level-id": "42e01f" }),
        ),
        retransmission(106, 105),
        video("video/AV1", 107, json!({})),
        retransmission(108, 107),
    ];
    RtpCapabilities { codecs, header_extensions }
}

fn video(mime_type: &str, payload_type: u8, parameters: Value) -> RtpCodecCapability {
    RtpCodecCapability {
        kind: MediaKind::Video,
        mime_type: mime_type.into(),
        preferred_payload_type: Some(payload_type),
        clock_rate: VIDEO_CLOCK,
        channels: None,
        parameters: object(parameters),
        rtcp_feedback: vec![
            feedback("nack", ""),
            feedback("nack", "pli"),
            feedback("ccm", "fir"),
            feedback("goog-remb", ""),
            feedback("transport-cc", ""),
        ],
    }
}

fn retransmission(payload_type: u8, of: u8) -> RtpCodecCapability {
    RtpCodecCapability {
        kind: MediaKind::Video,
        mime_type: "video/rtx".into(),
        preferred_payload_type: Some(payload_type),
        clock_rate: VIDEO_CLOCK,
        channels: None,
        parameters: object(json!({ "apt": of })),
        rtcp_feedback: Vec::new(),
    }
}

fn feedback(kind: &str, parameter: &str) -> RtcpFeedback {
    RtcpFeedback { kind: kind.into(), parameter: parameter.into() }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

const VIDEO_CLOCK: u32 = 90_000;

#[cfg(test)]
mod tests;
