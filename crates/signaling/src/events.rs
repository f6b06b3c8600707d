//! The Socket.IO events a client may send, as values that cannot be wrong.

use crate::parse::{bounded_text, invalid, object};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use wire::sfu::{Chat, CreateTransport, GetStats, JoinRoom, PeerRequest, Produce, ProduceData};
use wire::swarm::{Announce, LeaveSwarm};
use wire::{Code, Failure};

/// One request of a client.
#[derive(Debug)]
pub(crate) enum Request {
    Join(JoinRoom),
    Announce(Announce),
    Peer(PeerRequest),
}

/// An event of the swarms, told by its first letters and read in place.
pub(crate) enum SwarmEvent<'a> {
    Announce(Result<Announce, Failure>),
    Relay { kind: &'static str, payload: &'a str },
    Leave(Result<LeaveSwarm, Failure>),
}

impl<'a> SwarmEvent<'a> {
    /// `None`: another event, or one that is not written as clients write it.
    pub(crate) fn read(packet: &'a str) -> Option<Self> {
        let (name, rest) = packet.strip_prefix("[\"")?.split_once('"')?;
        let kind = match name {
            "offer" => "offer",
            "answer" => "answer",
            "ice-candidate" => "ice-candidate",
            "announce" => "announce",
            "leave" => "leave",
            _ => return None,
        };
        let payload = match rest.strip_suffix(']')?.trim_start() {
            "" => "{}",
            rest => match rest.strip_prefix(',')?.trim() {
                "null" => "{}",
                payload => payload,
            },
        };
        Some(match kind {
            "announce" => Self::Announce(object(payload)),
            "leave" => Self::Leave(object(payload)),
            kind => Self::Relay { kind, payload },
        })
    }
}

/// Reads `["event", payload?]`.
pub(crate) fn parse(packet: &str) -> Result<Request, Failure> {
    let parts: Vec<&RawValue> =
        serde_json::from_str(packet).map_err(|_| invalid("The message is not valid JSON."))?;
    let (name, payload) = match parts.as_slice() {
        [name] => (name, None),
        [name, payload] => (name, Some(payload.get())),
        _ => return Err(invalid("An event has one payload: a JSON object.")),
    };
    let name: String = serde_json::from_str(name.get()).map_err(|_| invalid("An event's name is a text."))?;
    request(&name, payload.filter(|payload| *payload != "null").unwrap_or("{}"))
}

fn request(event: &str, payload: &str) -> Result<Request, Failure> {
    use PeerRequest::*;
    Ok(Request::Peer(match event {
        "join-room" => return Ok(Request::Join(object(payload)?)),
        "announce" => return Ok(Request::Announce(object(payload)?)),
        "get-router-rtp-capabilities" => nothing(payload, GetRouterRtpCapabilities)?,
        "create-webrtc-transport" => CreateWebrtcTransport(create_transport(payload)?),
        "connect-transport" => ConnectTransport(object(payload)?),
        "add-ice-candidate" => AddIceCandidate(object(payload)?),
        "restart-ice" => RestartIce(object(payload)?),
        "produce" => Produce(produce(payload)?),
        "consume" => Consume(object(payload)?),
        "resume-consumer" => ResumeConsumer(object(payload)?),
        "pause-consumer" => PauseConsumer(object(payload)?),
        "close-consumer" => CloseConsumer(object(payload)?),
        "pause-producer" => PauseProducer(object(payload)?),
        "resume-producer" => ResumeProducer(object(payload)?),
        "close-producer" => CloseProducer(object(payload)?),
        "set-preferred-layers" => SetPreferredLayers(object(payload)?),
        "request-key-frame" => RequestKeyFrame(object(payload)?),
        "produce-data" => ProduceData(produce_data(payload)?),
        "consume-data" => ConsumeData(object(payload)?),
        "pause-data-consumer" => PauseDataConsumer(object(payload)?),
        "resume-data-consumer" => ResumeDataConsumer(object(payload)?),
        "close-data-consumer" => CloseDataConsumer(object(payload)?),
        "close-data-producer" => CloseDataProducer(object(payload)?),
        "get-stats" => GetStats(stats(payload)?),
        "admit" => Admit(object(payload)?),
        "assign-slot" => AssignSlot(object(payload)?),
        "mute-peer" => MutePeer(object(payload)?),
        "remove-peer" => RemovePeer(object(payload)?),
        "chat" => Chat(chat(payload)?),
        "raise-hand" => RaiseHand(object(payload)?),
        "set-display-name" => SetDisplayName(object(payload)?),
        "signal" => Signal(object(payload)?),
        "leave-room" => nothing(payload, LeaveRoom)?,
        unknown => {
            let name: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(Failure::new(Code::UnknownEvent, format!("There is no event `{name}`.")));
        }
    }))
}

/// Events without payload accept an empty object, nothing, or fields nobody reads.
fn nothing(payload: &str, request: PeerRequest) -> Result<PeerRequest, Failure> {
    checked::<std::collections::BTreeMap<String, IgnoredAny>>(payload, |_| Ok(()))?;
    Ok(request)
}

fn create_transport(payload: &str) -> Result<CreateTransport, Failure> {
    checked(payload, |asked: &CreateTransport| {
        asked.direction().map(|_| ()).ok_or_else(|| invalid("Say `direction`: \"send\" or \"recv\"."))
    })
}

fn produce(payload: &str) -> Result<Produce, Failure> {
    checked(payload, |asked: &Produce| bounded_app_data(&asked.app_data))
}

fn produce_data(payload: &str) -> Result<ProduceData, Failure> {
    checked(payload, |asked: &ProduceData| {
        for (field, text) in [("label", &asked.label), ("protocol", &asked.protocol)] {
            if text.len() > MAX_CHANNEL_NAME {
                return Err(Failure::new(
                    Code::TooLarge,
                    format!("`{field}` has at most {MAX_CHANNEL_NAME} bytes."),
                ));
            }
        }
        bounded_app_data(&asked.app_data)
    })
}

/// It is repeated to every peer of the room.
fn bounded_app_data(app_data: &Map<String, Value>) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(app_data).map_or(usize::MAX, |json| json.len());
    if bytes <= MAX_APP_DATA {
        return Ok(());
    }
    Err(Failure::new(Code::TooLarge, format!("`appData` has at most {} kB.", MAX_APP_DATA / 1024)))
}

fn stats(payload: &str) -> Result<GetStats, Failure> {
    checked(payload, |asked: &GetStats| {
        if asked.named() <= 1 {
            return Ok(());
        }
        Err(invalid(
            "Ask for one of `transportId`, `producerId`, `consumerId`, `dataProducerId`, `dataConsumerId`, or for none of them.",
        ))
    })
}

fn chat(payload: &str) -> Result<Chat, Failure> {
    checked(payload, |said: &Chat| bounded_text("text", &said.text, MAX_CHAT))
}

fn checked<T: DeserializeOwned>(
    payload: &str,
    check: impl Fn(&T) -> Result<(), Failure>,
) -> Result<T, Failure> {
    let value = object(payload)?;
    check(&value)?;
    Ok(value)
}

const MAX_CHAT: usize = 2_000;
const MAX_APP_DATA: usize = 4 * 1024;
const MAX_CHANNEL_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_event_is_understood() {
        let id = "00000000-0000-4000-8000-000000000000";
        for (event, payload) in [
            ("join-room", r#"{"roomId":"show"}"#.to_owned()),
            ("get-router-rtp-capabilities", "null".into()),
            ("create-webrtc-transport", r#"{"producing":true}"#.into()),
            (
                "connect-transport",
                format!(r#"{{"transportId":"{id}","dtlsParameters":{{"fingerprints":[]}}}}"#),
            ),
            ("restart-ice", format!(r#"{{"transportId":"{id}"}}"#)),
            (
                "produce",
                format!(r#"{{"transportId":"{id}","kind":"audio","rtpParameters":{{"codecs":[]}}}}"#),
            ),
            ("consume", format!(r#"{{"producerId":"{id}","rtpCapabilities":{{}}}}"#)),
            ("resume-consumer", format!(r#"{{"consumerId":"{id}"}}"#)),
            ("pause-consumer", format!(r#"{{"consumerId":"{id}"}}"#)),
            ("close-consumer", format!(r#"{{"consumerId":"{id}"}}"#)),
            ("pause-producer", format!(r#"{{"producerId":"{id}"}}"#)),
            ("resume-producer", format!(r#"{{"producerId":"{id}"}}"#)),
            ("close-producer", format!(r#"{{"producerId":"{id}"}}"#)),
            ("set-preferred-layers", format!(r#"{{"consumerId":"{id}","spatialLayer":1}}"#)),
            ("request-key-frame", format!(r#"{{"consumerId":"{id}"}}"#)),
            (
                "produce-data",
                format!(
                    r#"{{"transportId":"{id}","sctpStreamParameters":{{"streamId":0,"ordered":true}},"label":"chat"}}"#
                ),
            ),
            ("consume-data", format!(r#"{{"dataProducerId":"{id}"}}"#)),
            ("pause-data-consumer", format!(r#"{{"dataConsumerId":"{id}"}}"#)),
            ("resume-data-consumer", format!(r#"{{"dataConsumerId":"{id}"}}"#)),
            ("close-data-consumer", format!(r#"{{"dataConsumerId":"{id}"}}"#)),
            ("close-data-producer", format!(r#"{{"dataProducerId":"{id}"}}"#)),
            ("get-stats", "{}".into()),
            ("admit", format!(r#"{{"peerId":"{id}"}}"#)),
            ("assign-slot", format!(r#"{{"peerId":"{id}","slot":2}}"#)),
            ("mute-peer", format!(r#"{{"peerId":"{id}","kind":"audio","muted":true}}"#)),
            ("remove-peer", format!(r#"{{"peerId":"{id}"}}"#)),
            ("chat", r#"{"text":"hello\nyou"}"#.into()),
            ("raise-hand", r#"{"raised":true}"#.into()),
            ("set-display-name", r#"{"displayName":"Ada"}"#.into()),
            ("signal", format!(r#"{{"to":"{id}","signal":{{"type":"offer","sdp":"v=0"}}}}"#)),
            ("leave-room", r#"{"why":"not read"}"#.into()),
        ] {
            let parsed = parse(&format!("[{event:?},{payload}]"));
            assert!(parsed.is_ok(), "{event}: {parsed:?}");
        }
        assert!(matches!(parse(r#"["leave-room"]"#), Ok(Request::Peer(PeerRequest::LeaveRoom))));
        assert!(matches!(parse(r#"["get-stats"]"#), Ok(Request::Peer(PeerRequest::GetStats(_)))));
    }

    #[test]
    fn everything_else_is_refused_in_words() {
        let check = |packet: &str, code: Code, words: &str| {
            let failure = parse(packet).expect_err(packet);
            assert_eq!(failure.code, code, "{packet}");
            assert!(failure.error.contains(words), "{packet}: {}", failure.error);
        };
        check(r#"["no-such-event",{}]"#, Code::UnknownEvent, "no-such-event");
        check(&format!("[\"{}\"]", "e".repeat(9_000)), Code::UnknownEvent, "There is no event");
        check(r#"["create-webrtc-transport"]"#, Code::InvalidRequest, "direction");
        check(r#"["create-webrtc-transport",{"direction":"sideways"}]"#, Code::InvalidRequest, "direction");
        check(r#"["leave-room","now"]"#, Code::InvalidRequest, "object");
        check(r#"["leave-room",{},{}]"#, Code::InvalidRequest, "one payload");
        check(r#"["join-room"]"#, Code::InvalidRequest, "roomId");
        check(r#"["chat",{"text":" "}]"#, Code::InvalidRequest, "text");
        check(r#"["chat",{"text":"a\u0007b"}]"#, Code::InvalidRequest, "control");
        check(&format!(r#"["chat",{{"text":"{}"}}]"#, "x".repeat(2_001)), Code::InvalidRequest, "2000");
        check(r#"["raise-hand",{"raised":"yes"}]"#, Code::InvalidRequest, "raised");
        check(r#"["join-room",{"#, Code::InvalidRequest, "JSON");
        let id = "00000000-0000-4000-8000-000000000000";
        check(
            &format!(r#"["get-stats",{{"producerId":"{id}","consumerId":"{id}"}}]"#),
            Code::InvalidRequest,
            "one of",
        );
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        check(&format!(r#"["chat",{deep}]"#), Code::InvalidRequest, "object");
        check(
            &format!(
                r#"["produce",{{"transportId":"{id}","kind":"audio","rtpParameters":{{"codecs":[]}},"appData":{{"a":"{}"}}}}]"#,
                "x".repeat(5_000)
            ),
            Code::TooLarge,
            "appData",
        );
        let produce_data = |fields: &str| {
            format!(
                r#"["produce-data",{{"transportId":"{id}","sctpStreamParameters":{{"streamId":0}},{fields}}}]"#
            )
        };
        check(&produce_data(&format!(r#""label":"{}""#, "x".repeat(256))), Code::TooLarge, "label");
        let app_data = format!(r#""appData":{{"a":"{}"}}"#, "x".repeat(5_000));
        check(&produce_data(&app_data), Code::TooLarge, "appData");
        check(&produce_data(r#""label":7"#), Code::InvalidRequest, "label");
        check(
            &format!(
                r#"["produce-data",{{"transportId":"{id}","sctpStreamParameters":{{"streamId":65536}}}}]"#
            ),
            Code::InvalidRequest,
            "streamId",
        );
        check(r#"["consume-data",{}]"#, Code::InvalidRequest, "dataProducerId");
    }
}
