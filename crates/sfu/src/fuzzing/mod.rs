//! Each parser of this crate that a stranger or a client reaches, fed with anything: entry points of the fuzz targets,
//! and of the test that replays what they found (`fuzz/`).

mod call;
mod channel;

use crate::candidate;
use crate::client_hello::FirstLook;
use crate::ice::Credentials;
use crate::ortc;
use crate::stun::Message;
use rtp::fuzzing::Target;
use std::hint::black_box;
use wire::ortc::{
    DtlsParameters, IceParameters, MediaKind, RtpCapabilities, RtpParameters, SctpStreamParameters,
};

pub const TARGETS: [Target; 6] = [
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

/// JSON of signaling, as far as this crate reads it.
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
            black_box(ortc::produce::produce(kind, parameters.clone()).is_ok());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What fuzzing kept, and what it once broke: `fuzz/corpus` and `fuzz/crashes`.
    #[test]
    fn what_fuzzing_found_is_harmless() {
        for (name, target) in TARGETS {
            let mut count = 0;
            for folder in ["corpus", "crashes"] {
                let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(folder).join(name);
                for file in std::fs::read_dir(folder).into_iter().flatten() {
                    target(&std::fs::read(file.unwrap().path()).unwrap());
                    count += 1;
                }
            }
            assert!(count > 0, "there is no corpus of {name}");
        }
    }
}
