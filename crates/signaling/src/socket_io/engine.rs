//! Engine.IO packets, protocols 4 and 3 (engine.io-protocol, "Packet types", "Payload"): texts with a type in front.

use serde::Serialize;
use std::time::Duration;

/// The version that a client names as `EIO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Socket.IO 1 and 2: the client sends the heartbeat, and a payload says how long its packets are.
    V3,
    /// Socket.IO 3 and later: the server sends the heartbeat, and a separator stands between packets.
    V4,
}

/// A client's packet.
#[derive(Debug, PartialEq)]
pub(super) enum Packet<'a> {
    Close,
    /// What it carries comes back.
    Ping(&'a str),
    Pong,
    Message(&'a str),
    Upgrade,
    Noop,
}

impl<'a> Packet<'a> {
    pub(super) fn read(text: &'a str) -> Option<Self> {
        let rest = text.get(1..)?;
        Some(match text.as_bytes()[0] {
            b'1' => Packet::Close,
            b'2' => Packet::Ping(rest),
            b'3' => Packet::Pong,
            b'4' => Packet::Message(rest),
            b'5' => Packet::Upgrade,
            b'6' => Packet::Noop,
            _ => return None,
        })
    }
}

/// What a connection begins with.
pub(super) fn open_packet(
    version: Version,
    id: &str,
    may_upgrade: bool,
    heartbeat: [Duration; 2],
    most: usize,
) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Open<'a> {
        sid: &'a str,
        upgrades: &'a [&'a str],
        ping_interval: u128,
        ping_timeout: u128,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_payload: Option<usize>,
    }
    let [ping_interval, ping_timeout] = heartbeat.map(|time| time.as_millis());
    let max_payload = (version == Version::V4).then_some(most);
    let upgrades: &[&str] = if may_upgrade { &["websocket"] } else { &[] };
    let open = Open { sid: id, upgrades, ping_interval, ping_timeout, max_payload };
    // An object of texts and numbers is always written.
    format!("0{}", serde_json::to_string(&open).unwrap_or_default())
}

/// One packet of a polled payload.
#[derive(Debug, PartialEq)]
pub(super) enum Polled {
    Text(String),
    /// Nobody here reads it.
    Binary,
}

/// What a client posted. `None`: it is not a payload.
pub(super) fn read_payload(version: Version, body: &str) -> Option<Vec<Polled>> {
    let polled = |text: &str| match text.starts_with('b') {
        true => Polled::Binary,
        false => Polled::Text(text.to_owned()),
    };
    match version {
        Version::V4 => Some(body.split(SEPARATOR).map(polled).collect()),
        Version::V3 => {
            let (mut rest, mut packets) = (body, Vec::new());
            while !rest.is_empty() {
                let (length, after) = rest.split_once(':')?;
                let length = length.parse().ok()?;
                let end = utf16_offset(after, length)?;
                packets.push(polled(&after[..end]));
                rest = &after[end..];
            }
            Some(packets)
        }
    }
}

/// Appends a packet to what a poll is answered with.
pub(super) fn append(version: Version, packet: &[u8], payload: &mut Vec<u8>) {
    match version {
        Version::V4 if payload.is_empty() => {}
        Version::V4 => payload.push(SEPARATOR as u8),
        Version::V3 => {
            let length = String::from_utf8_lossy(packet).encode_utf16().count();
            payload.extend_from_slice(format!("{length}:").as_bytes());
        }
    }
    payload.extend_from_slice(packet);
}

/// Lengths of protocol 3 are what JavaScript calls a string's length. `None`: the text is shorter, or ends inside of a
/// character.
fn utf16_offset(text: &str, length: usize) -> Option<usize> {
    let mut units = 0;
    for (offset, character) in text.char_indices() {
        if units == length {
            return Some(offset);
        }
        units += character.len_utf16();
    }
    (units == length).then_some(text.len())
}

/// Between the packets of protocol 4: "record separator".
const SEPARATOR: char = '\u{1e}';

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(version: Version, body: &str) -> Option<Vec<String>> {
        let packets = read_payload(version, body)?;
        Some(packets.into_iter().map(|packet| format!("{packet:?}")).collect())
    }

    #[test]
    fn payloads_of_both_versions_come_back_as_they_were() {
        for version in [Version::V3, Version::V4] {
            let packets = ["40", "42[\"chat\",\"å\u{1F600}\"]", "3"];
            let mut payload = Vec::new();
            packets.iter().for_each(|packet| append(version, packet.as_bytes(), &mut payload));
            let read = read_payload(version, std::str::from_utf8(&payload).unwrap()).unwrap();
            let expected: Vec<_> = packets.iter().map(|packet| Polled::Text((*packet).into())).collect();
            assert_eq!(read, expected);
        }
        let mut old = Vec::new();
        append(Version::V3, "4\u{1F600}".as_bytes(), &mut old);
        assert_eq!(old, "3:4\u{1F600}".as_bytes(), "a length in UTF-16");
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        for bad in ["4", ":", "x:4", "5:4", "2:4\u{1F600}", "99999999999999999999:4", "-1:4", "1:4x"] {
            assert_eq!(texts(Version::V3, bad), None, "{bad}");
        }
        assert_eq!(texts(Version::V4, "bAAAA"), Some(vec!["Binary".into()]));
    }

    #[test]
    fn packets_are_told_by_their_first_letter() {
        assert_eq!(Packet::read("2probe"), Some(Packet::Ping("probe")));
        assert_eq!(Packet::read("40"), Some(Packet::Message("0")));
        for bad in ["", "0{}", "7", "é", "\u{1F600}"] {
            assert_eq!(Packet::read(bad), None, "{bad}");
        }
    }
}
