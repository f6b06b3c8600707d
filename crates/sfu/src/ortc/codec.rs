//! When two descriptions of a codec mean the same codec.

use serde_json::{Map, Value};

/// The codecs a router carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl Codec {
    pub fn from_mime(mime_type: &str) -> Option<Self> {
        let is = |name: &str| mime_type.eq_ignore_ascii_case(name);
        match () {
            () if is("audio/opus") => Some(Self::Opus),
            () if is("video/VP8") => Some(Self::Vp8),
            () if is("video/VP9") => Some(Self::Vp9),
            () if is("video/H264") => Some(Self::H264),
            () if is("video/AV1") => Some(Self::Av1),
            () => None,
        }
    }
}

/// The parts of a codec's description that decide whether two mean the same.
#[derive(Clone, Copy)]
pub struct Description<'a> {
    pub mime_type: &'a str,
    pub clock_rate: u32,
    pub channels: Option<u8>,
    pub parameters: &'a Map<String, Value>,
}

impl Description<'_> {
    /// mediasoup's strict match: H.264 by packetization mode and profile (not level), VP9 by profile. And AV1 by
    /// profile, which mediasoup leaves open: one that cannot be decoded helps nobody.
    pub fn matches(&self, other: &Description<'_>) -> bool {
        if !self.mime_type.eq_ignore_ascii_case(other.mime_type)
            || self.clock_rate != other.clock_rate
            || self.channels.unwrap_or(1) != other.channels.unwrap_or(1)
        {
            return false;
        }
        match Codec::from_mime(self.mime_type) {
            Some(Codec::H264) => {
                number(self.parameters, "packetization-mode")
                    == number(other.parameters, "packetization-mode")
                    && h264_profile(self.parameters)
                        .is_some_and(|p| Some(p) == h264_profile(other.parameters))
            }
            Some(Codec::Vp9) => {
                number(self.parameters, "profile-id") == number(other.parameters, "profile-id")
            }
            // RTP Payload Format for AV1 §7.2.1.
            Some(Codec::Av1) => number(self.parameters, "profile") == number(other.parameters, "profile"),
            _ => true,
        }
    }
}

pub fn is_rtx(mime_type: &str) -> bool {
    let subtype = mime_type.rsplit('/').next().unwrap_or_default();
    subtype.eq_ignore_ascii_case("rtx")
}

/// Redundant audio (RFC 2198): a wrapping of the codec beside it, not a codec of its own.
pub fn is_red(mime_type: &str) -> bool {
    mime_type.eq_ignore_ascii_case("audio/red")
}

pub fn apt(parameters: &Map<String, Value>) -> Option<u8> {
    parameters.get("apt").and_then(as_number).and_then(|n| u8::try_from(n).ok())
}

/// A numeric format parameter, 0 where it is absent, as its RFC says for all we read (RFC 6184 §8.1, RFC 9628 §6).
fn number(parameters: &Map<String, Value>, name: &str) -> Option<u64> {
    parameters.get(name).map_or(Some(0), as_number)
}

/// Some clients write numbers as strings.
fn as_number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    PredictiveHigh444,
}

/// The profile in `profile-level-id`: `profile_idc`, constraint flags, level (RFC 6184 §8.1). Several flag patterns mean
/// the same profile; `x` below is a flag that does not matter.
fn h264_profile(parameters: &Map<String, Value>) -> Option<H264Profile> {
    let text = match parameters.get("profile-level-id") {
        // RFC 6184 §8.1 says Baseline 1.0; browsers and mediasoup mean Constrained Baseline 3.1.
        None => return Some(H264Profile::ConstrainedBaseline),
        Some(value) => value.as_str()?,
    };
    if text.len() != 6 || !text.is_ascii() {
        return None;
    }
    let idc = u8::from_str_radix(&text[..2], 16).ok()?;
    let flags = u8::from_str_radix(&text[2..4], 16).ok()?;
    u8::from_str_radix(&text[4..], 16).ok()?;
    let like = |mask: u8, value: u8| flags & mask == value;
    match idc {
        // x1xx0000
        0x42 if like(0b0100_1111, 0b0100_0000) => Some(H264Profile::ConstrainedBaseline),
        // 1xxx0000
        0x4D if like(0b1000_1111, 0b1000_0000) => Some(H264Profile::ConstrainedBaseline),
        // 11xx0000
        0x58 if like(0b1100_1111, 0b1100_0000) => Some(H264Profile::ConstrainedBaseline),
        // x0xx0000
        0x42 if like(0b0100_1111, 0) => Some(H264Profile::Baseline),
        // 10xx0000
        0x58 if like(0b1100_1111, 0b1000_0000) => Some(H264Profile::Baseline),
        // 0x0x0000
        0x4D if like(0b1010_1111, 0) => Some(H264Profile::Main),
        0x64 if flags == 0 => Some(H264Profile::High),
        0x64 if flags == 0b0000_1100 => Some(H264Profile::ConstrainedHigh),
        0xF4 if flags == 0 => Some(H264Profile::PredictiveHigh444),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(a: Value, b: Value, mime_type: &str) -> bool {
        let (Value::Object(a), Value::Object(b)) = (a, b) else { panic!() };
        let describe = |parameters| Description { mime_type, clock_rate: 90_000, channels: None, parameters };
        describe(&a).matches(&describe(&b))
    }

    #[test]
    fn h264_matches_by_packetization_mode_and_profile() {
        let router = || json!({ "packetization-mode": 1, "profile-level-id": "42e01f" });
        let check = |theirs, expected| assert_eq!(matches(router(), theirs, "video/H264"), expected);
        check(json!({ "packetization-mode": 1, "profile-level-id": "42e034" }), true);
        check(json!({ "packetization-mode": "1", "profile-level-id": "4d801f" }), true);
        check(json!({ "packetization-mode": 0, "profile-level-id": "42e01f" }), false);
        check(json!({ "profile-level-id": "42e01f" }), false);
        check(json!({ "packetization-mode": 1, "profile-level-id": "42001f" }), false);
        check(json!({ "packetization-mode": 1, "profile-level-id": "640c1f" }), false);
        check(json!({ "packetization-mode": 1, "profile-level-id": "zz" }), false);
        check(json!({ "packetization-mode": 1, "profile-level-id": 7 }), false);
    }

    #[test]
    fn vp9_and_av1_match_by_profile() {
        assert!(matches(json!({ "profile-id": 0 }), json!({}), "video/vp9"));
        assert!(!matches(json!({ "profile-id": 0 }), json!({ "profile-id": 2 }), "video/VP9"));
        assert!(matches(json!({}), json!({ "profile": 0, "tier": 0, "level-idx": 5 }), "video/AV1"));
        assert!(!matches(json!({}), json!({ "profile": 1 }), "video/AV1"));
    }
}
