//! Each parser of this crate that a stranger or a client reaches, fed with anything: entry points of the fuzz targets,
//! and of the test that replays what they found (`fuzz/`).

mod call;
mod channel;
mod strangers;

use crate::candidate;
use crate::client_hello::FirstLook;
use crate::ice::Credentials;
use crate::stun::Message;
use rtp::fuzzing::Target;
use std::hint::black_box;
use wire::ortc::{
    DtlsParameters, IceParameters, MediaKind, RtpCapabilities, RtpParameters, SctpStreamParameters,
};
use wire::sfu::{
    AddIceCandidate, ConnectTransport, Consume, ConsumeData, CreateTransport, JoinRoom, Produce, ProduceData,
    SetPreferredLayers,
};

pub const TARGETS: [Target; 7] = [
    ("datagrams", strangers::datagrams),
    ("stun", stun),
    ("client_hello", client_hello),
    ("dtls", call::handshake),
    ("call", call::media),
    ("sctp", channel::association),
    ("ortc", parameters),
];

fn stun(data: &[u8]) {
    let Some(message) = Message::parse(data) else {
        // A fuzzer cannot guess the checksum; with the right one there is more to see.
        let mut sealed = data.to_vec();
        crate::stun::seal(&mut sealed);
        black_box(Message::parse(&sealed).map(|m| m.kind));
        return;
    };
    black_box((message.kind, message.role));
}

fn client_hello(data: &[u8]) {
    let mut look = FirstLook::default();
    for (_, datagram) in rtp::fuzzing::records(data) {
        black_box(look.look(datagram, 7));
    }
    black_box(FirstLook::default().look(data, 7));
}

/// What a client's messages are read as before anybody acts on them.
fn messages(text: &str) {
    if let Ok(produce) = serde_json::from_str::<Produce>(text) {
        call::produce_and_consume(produce.kind, &produce.rtp_parameters);
    }
    if let Ok(consume) = serde_json::from_str::<Consume>(text) {
        call::consume_with(&consume.rtp_capabilities);
    }
    if let Ok(connect) = serde_json::from_str::<ConnectTransport>(text) {
        black_box(crate::dtls::Peer::parse(&connect.dtls_parameters).is_ok());
    }
    if let Ok(add) = serde_json::from_str::<AddIceCandidate>(text) {
        black_box(candidate::parse(&add.candidate.candidate).is_ok());
    }
    black_box((
        serde_json::from_str::<JoinRoom>(text).is_ok(),
        serde_json::from_str::<CreateTransport>(text).is_ok(),
        serde_json::from_str::<ProduceData>(text).is_ok(),
        serde_json::from_str::<ConsumeData>(text).is_ok(),
        serde_json::from_str::<SetPreferredLayers>(text).is_ok(),
    ));
}

/// JSON of signaling.
fn parameters(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    black_box(candidate::parse(text).is_ok());
    if let Ok(parameters) = serde_json::from_str::<DtlsParameters>(text) {
        black_box(crate::dtls::Peer::parse(&parameters).is_ok());
    }
    if let Ok(parameters) = serde_json::from_str::<IceParameters>(text) {
        black_box(Credentials::parse(&parameters).is_ok());
    }
    if let Ok(parameters) = serde_json::from_str::<SctpStreamParameters>(text) {
        black_box(crate::sctp::Delivery::parse(&parameters).is_ok());
    }
    if let Ok(capabilities) = serde_json::from_str::<RtpCapabilities>(text) {
        call::consume_with(&capabilities);
    }
    if let Ok(parameters) = serde_json::from_str::<RtpParameters>(text) {
        for kind in [MediaKind::Audio, MediaKind::Video] {
            call::produce_and_consume(kind, &parameters);
        }
    }
    messages(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::fuzzing::replay;
    use std::path::Path;

    #[test]
    fn what_fuzzing_found_is_harmless() {
        for target in TARGETS {
            assert!(replay(target) > 0, "there is no corpus of {}", target.0);
        }
    }

    /// A seed that no parser takes would only say that refusals work.
    #[test]
    fn seeds_of_signaling_are_understood() {
        fn read<T: serde::de::DeserializeOwned>(name: &str) -> T {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/ortc");
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
        }
        let produce: Produce = read("message-produce");
        assert!(crate::ortc::produce::produce(produce.kind, produce.rtp_parameters).is_ok());
        let video: RtpParameters = read("produce");
        assert!(crate::ortc::produce::produce(MediaKind::Video, video).is_ok());
        let connect: ConnectTransport = read("message-connect");
        assert!(crate::dtls::Peer::parse(&connect.dtls_parameters).is_ok());
        let add: AddIceCandidate = read("message-candidate");
        assert!(candidate::parse(&add.candidate.candidate).unwrap().is_some());
        read::<Consume>("message-consume");
        read::<ProduceData>("message-produce-data");
    }
}
