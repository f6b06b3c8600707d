//! Messages that are passed on unread: whom they name, and the sender's stamp that they leave with.

use crate::parse::{self, invalid};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use wire::{Code, Failure, SwarmPeerId};

/// What the server reads of a message between peers of a swarm.
#[derive(Debug, Deserialize)]
pub(crate) struct Addressed {
    #[serde(rename = "targetPeer", default)]
    pub target: Option<SwarmPeerId>,
    #[serde(rename = "fromPeer", default, deserialize_with = "present")]
    has_sender: bool,
    #[serde(rename = "type", default, deserialize_with = "present")]
    has_type: bool,
}

fn present<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl Addressed {
    pub(crate) fn read(payload: &str) -> Result<Self, Failure> {
        check_depth(payload)?;
        // What says which field is wrong takes its time; nearly always none is.
        match serde_json::from_str(payload) {
            Ok(message) if payload.trim_start().starts_with('{') => Ok(message),
            _ => parse::object(payload),
        }
    }

    /// The message as the target gets it: with the sender's real id, and, on a socket without event names, its type.
    pub(crate) fn stamped(
        &self,
        payload: &str,
        from: SwarmPeerId,
        kind: Option<&str>,
    ) -> Result<String, Failure> {
        if self.has_sender || (self.has_type && kind.is_some()) {
            return rebuilt(payload, from, kind);
        }
        let body = payload.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let body = body.ok_or_else(|| invalid("The payload must be a JSON object."))?.trim();
        let comma = if body.is_empty() { "" } else { "," };
        Ok(match kind {
            Some(kind) => format!(r#"{{"type":"{kind}",{body}{comma}"fromPeer":"{from}"}}"#),
            None => format!(r#"{{{body}{comma}"fromPeer":"{from}"}}"#),
        })
    }
}

/// A forged `fromPeer`, however it is escaped, goes; what else was said stays as it is.
fn rebuilt(payload: &str, from: SwarmPeerId, kind: Option<&str>) -> Result<String, Failure> {
    let raw =
        |text: String| RawValue::from_string(text).map_err(|_| invalid("The message is not valid JSON."));
    let mut fields: BTreeMap<String, Box<RawValue>> = parse::object(payload)?;
    fields.insert("fromPeer".into(), raw(format!("\"{from}\""))?);
    if let Some(kind) = kind {
        fields.insert("type".into(), raw(format!("\"{kind}\""))?);
    }
    serde_json::to_string(&fields).map_err(|_| invalid("The message is not valid JSON."))
}

/// Receivers parse what we pass on, and not every parser survives depth.
pub(crate) fn check_depth(json: &str) -> Result<(), Failure> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    let sentence = format!("A message is nested at most {MAX_DEPTH} deep.");
                    return Err(Failure::new(Code::InvalidRequest, sentence));
                }
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// A session description or a candidate has three levels.
const MAX_DEPTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn relay(payload: &str, kind: Option<&str>) -> Value {
        let from = SwarmPeerId(Uuid::from_u128(7));
        let stamped = Addressed::read(payload).unwrap().stamped(payload, from, kind).unwrap();
        serde_json::from_str(&stamped).unwrap()
    }

    #[test]
    fn a_message_leaves_with_its_senders_stamp() {
        let from = "00000000-0000-0000-0000-000000000007";
        assert_eq!(relay("{}", None), json!({ "fromPeer": from }));
        assert_eq!(relay(" { } ", Some("offer")), json!({ "fromPeer": from, "type": "offer" }));
        let offer = r#"{"targetPeer":null,"offer":{"type":"offer","sdp":"a\"}"}}"#;
        assert_eq!(
            relay(offer, Some("offer")),
            json!({ "type": "offer", "targetPeer": null, "offer": { "type": "offer", "sdp": "a\"}" }, "fromPeer": from })
        );
        // A forged stamp goes, in whatever spelling, and so does another type than the message's own.
        for forged in [r#"{"fromPeer":"eve","x":1}"#, r#"{"x":1,"fromP\u0065er":null}"#] {
            assert_eq!(relay(forged, None), json!({ "x": 1, "fromPeer": from }));
        }
        assert_eq!(relay(r#"{"type":"joined"}"#, Some("offer"))["type"], "offer");
        assert_eq!(relay(r#"{"type":"mine"}"#, None)["type"], "mine");
        let strange = r#"{"__proto__":{"admin":true},"constructor":1}"#;
        assert_eq!(relay(strange, None)["__proto__"], json!({ "admin": true }));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bad in ["", "7", "[]", "{", "{}}", r#"{"targetPeer":7}"#, r#"{"targetPeer":"x"}"#] {
            assert_eq!(Addressed::read(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
        let twice = r#"{"targetPeer":null,"targetPeer":"00000000-0000-0000-0000-000000000007"}"#;
        assert!(Addressed::read(twice).is_err());
        let deep = format!(r#"{{"x":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        assert!(Addressed::read(&deep).unwrap_err().error.contains("deep"));
        let brackets_in_text = format!(r#"{{"x":"{}\""}}"#, "[".repeat(10_000));
        assert!(Addressed::read(&brackets_in_text).is_ok());
    }
}
