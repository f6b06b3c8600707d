//! Socket.IO packets (socket.io-protocol 5; 4 differs in how a namespace is entered): an event or an answer in a namespace.

use serde::Serialize;
use wire::Failure;

/// Which of ours a client speaks to. Clients that take the address of the signaling server for a path say its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    Root,
    Signaling,
}

impl Namespace {
    fn read(name: &str) -> Option<Self> {
        match name {
            "/" => Some(Namespace::Root),
            "/signaling" => Some(Namespace::Signaling),
            _ => None,
        }
    }

    /// As it stands in a packet.
    fn prefix(self) -> &'static str {
        match self {
            Namespace::Root => "",
            Namespace::Signaling => "/signaling,",
        }
    }
}

/// A client's packet.
#[derive(Debug, PartialEq)]
pub(super) struct Packet<'a> {
    /// `None`: there is no such namespace.
    pub namespace: Option<Namespace>,
    /// As it was written; `/` where it was not.
    pub name: &'a str,
    pub kind: Kind<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// With what it says about itself, a JSON text or nothing.
    Connect {
        auth: &'a str,
        query: &'a str,
    },
    Disconnect,
    /// `["name", payload?]`.
    Event {
        ack: Option<u64>,
        json: &'a str,
    },
    /// An answer; we ask nothing.
    Ack,
    /// An event or an answer whose attachments follow.
    Binary {
        ack: Option<u64>,
        attachments: usize,
    },
}

impl<'a> Packet<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let kind = *text.as_bytes().first()?;
        let mut rest = text.get(1..)?;
        let attachments = match kind {
            b'5' | b'6' => {
                let (count, after) = rest.split_once('-')?;
                rest = after;
                number(count)? as usize
            }
            _ => 0,
        };
        let whole = match rest.starts_with('/') {
            true => {
                let (name, after) = rest.split_once(',').unwrap_or((rest, ""));
                rest = after;
                name
            }
            false => "/",
        };
        let (name, query) = whole.split_once('?').unwrap_or((whole, ""));
        let json = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let digits = &rest[..rest.len() - json.len()];
        let ack = if digits.is_empty() { None } else { Some(number(digits)?) };
        let kind = match kind {
            b'0' => Kind::Connect { auth: json, query },
            b'1' => Kind::Disconnect,
            b'2' => Kind::Event { ack, json },
            b'3' => Kind::Ack,
            b'5' | b'6' => Kind::Binary { ack, attachments },
            _ => return None,
        };
        Some(Self { namespace: Namespace::read(name), name, kind })
    }
}

/// Only digits: `parse` would take a sign.
fn number(digits: &str) -> Option<u64> {
    digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// `["event", payload]`; the event's name is one of ours.
pub(super) fn event(
    namespace: Namespace,
    name: &str,
    payload: &(impl Serialize + ?Sized),
) -> serde_json::Result<Vec<u8>> {
    let mut packet = Vec::with_capacity(128);
    packet.extend_from_slice(b"42");
    packet.extend_from_slice(namespace.prefix().as_bytes());
    packet.extend_from_slice(b"[\"");
    packet.extend_from_slice(name.as_bytes());
    packet.extend_from_slice(b"\",");
    serde_json::to_writer(&mut packet, payload)?;
    packet.push(b']');
    packet.shrink_to_fit();
    Ok(packet)
}

/// The same, of a payload that is JSON already.
pub(super) fn written_event(namespace: Namespace, name: &str, json: &str) -> Vec<u8> {
    ["42", namespace.prefix(), "[\"", name, "\",", json, "]"].concat().into_bytes()
}

pub(super) fn ack(
    namespace: Namespace,
    ack: u64,
    payload: &(impl Serialize + ?Sized),
) -> serde_json::Result<Vec<u8>> {
    let mut packet = format!("43{}{ack}[", namespace.prefix()).into_bytes();
    serde_json::to_writer(&mut packet, payload)?;
    packet.push(b']');
    packet.shrink_to_fit();
    Ok(packet)
}

/// That the namespace is open. Clients of protocol 4 know their id from Engine.IO.
pub(super) fn connected(namespace: Namespace, id: Option<&str>) -> Vec<u8> {
    let prefix = namespace.prefix();
    match id {
        Some(id) => format!("40{prefix}{{\"sid\":\"{id}\"}}").into_bytes(),
        None => format!("40{}", prefix.trim_end_matches(',')).into_bytes(),
    }
}

/// That it is not. Clients of protocol 4 expect a sentence, later ones an `Error` with `data`.
pub(super) fn refused(name: &str, failure: &Failure, with_data: bool) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refusal<'a> {
        message: &'a str,
        data: &'a Failure,
    }
    let name: String = name.chars().take(MAX_ECHO).collect();
    let prefix = if name == "/" { String::new() } else { format!("{name},") };
    let json = match with_data {
        true => serde_json::to_string(&Refusal { message: &failure.error, data: failure }),
        false => serde_json::to_string(&failure.error),
    };
    format!("44{prefix}{}", json.unwrap_or_default()).into_bytes()
}

pub(super) fn disconnect(namespace: Namespace) -> Vec<u8> {
    format!("41{}", namespace.prefix()).into_bytes()
}

const MAX_ECHO: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use wire::Code;

    fn kind(text: &str) -> Option<Kind<'_>> {
        Packet::read(text).map(|packet| packet.kind)
    }

    #[test]
    fn packets_are_read_as_clients_write_them() {
        assert_eq!(kind("0"), Some(Kind::Connect { auth: "", query: "" }));
        assert_eq!(kind(r#"0{"token":"x"}"#), Some(Kind::Connect { auth: r#"{"token":"x"}"#, query: "" }));
        assert_eq!(kind("1"), Some(Kind::Disconnect));
        assert_eq!(kind(r#"2["a"]"#), Some(Kind::Event { ack: None, json: r#"["a"]"# }));
        assert_eq!(kind(r#"212["a",1]"#), Some(Kind::Event { ack: Some(12), json: r#"["a",1]"# }));
        assert_eq!(kind("30[1]"), Some(Kind::Ack));
        assert_eq!(kind(r#"51-7["a",{}]"#), Some(Kind::Binary { ack: Some(7), attachments: 1 }));
        let named = Packet::read(r#"2/signaling,3["a"]"#).unwrap();
        assert_eq!(named.namespace, Some(Namespace::Signaling));
        assert_eq!(named.kind, Kind::Event { ack: Some(3), json: r#"["a"]"# });
        let old = Packet::read("0/signaling?token=x,").unwrap();
        assert_eq!(old.kind, Kind::Connect { auth: "", query: "token=x" });
        assert_eq!((old.namespace, old.name), (Some(Namespace::Signaling), "/signaling"));
        assert_eq!(Packet::read("0/other,{}").unwrap().namespace, None);
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        for bad in ["", "4{}", "9", "é", "5-[]", "5+1-[]", "5[]", "299999999999999999999999[\"a\"]"] {
            assert_eq!(Packet::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn packets_are_written_as_clients_read_them() {
        let text = |packet: Vec<u8>| String::from_utf8(packet).unwrap();
        let payload = json!({ "a": "\"" });
        assert_eq!(text(event(Namespace::Root, "chat", &payload).unwrap()), r#"42["chat",{"a":"\""}]"#);
        assert_eq!(text(ack(Namespace::Signaling, 3, &payload).unwrap()), r#"43/signaling,3[{"a":"\""}]"#);
        assert_eq!(text(written_event(Namespace::Signaling, "x", "{}")), r#"42/signaling,["x",{}]"#);
        assert_eq!(text(connected(Namespace::Root, Some("id"))), r#"40{"sid":"id"}"#);
        assert_eq!(text(connected(Namespace::Signaling, None)), "40/signaling");
        let failure = Failure::new(Code::Forbidden, "No.");
        assert_eq!(
            text(refused("/x", &failure, true)),
            r#"44/x,{"message":"No.","data":{"error":"No.","code":"forbidden"}}"#
        );
        assert_eq!(text(refused("/", &failure, false)), "44\"No.\"");
    }
}
