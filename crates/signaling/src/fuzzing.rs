//! Every parser of signaling's messages, fed with anything: the entry point of the fuzz target, and of the test that
//! replays what is kept in `fuzz/` and mutates it.

use crate::events::{self, SwarmEvent};
use crate::live_socket::Said;
use crate::relay::{Addressed, check_depth};
use crate::swarm_socket::Kind;
use crate::web_socket::frame;
use crate::{parse, rest, socket_io};
use std::hint::black_box;
use uuid::Uuid;
use wire::SwarmPeerId;
use wire::live::{LiveAddress, LiveJoin};
use wire::swarm::{Announce, LeaveSwarm};

/// A name, and what the input goes to.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 2] = [("messages", messages), ("packets", packets)];

/// One text: as a Socket.IO event, a message of a swarm, of a live room, and a request's body.
pub fn messages(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = black_box(events::parse(text));
    if let Some(SwarmEvent::Relay { payload, .. }) = SwarmEvent::read(text) {
        relayed(payload);
    }
    relayed(text);
    let _ = black_box(parse::object::<Kind>(text));
    let _ = black_box((parse::object::<Announce>(text), parse::object::<LeaveSwarm>(text)));
    let _ = black_box((parse::object::<LiveJoin>(text), parse::object::<LiveAddress>(text)));
    let _ = black_box(parse::object::<Said>(text));
    rest::read_anything(text);
}

/// Octets as a client's WebSocket frames, and a text as packets and payloads of Socket.IO.
pub fn packets(data: &[u8]) {
    let most = data.first().map_or(0, |first| usize::from(*first) * 8);
    let (mut octets, mut at) = (data.to_vec(), 0);
    while let Ok(Some(frame)) = frame::read(&mut octets[at..], most) {
        assert!(frame.from <= frame.to && frame.to - frame.from <= most && frame.to > 0);
        at += frame.to;
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    socket_io::read_anything(text);
}

/// Whatever is passed on is one JSON object, of bounded depth, with the sender's stamp and no other.
fn relayed(payload: &str) {
    let from = SwarmPeerId(Uuid::from_u128(7));
    let Ok(message) = Addressed::read(payload) else { return };
    for kind in [None, Some("offer")] {
        let Ok(stamped) = message.stamped(payload, from, kind) else { continue };
        assert!(check_depth(&stamped).is_ok());
        let read: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&stamped).expect("a relayed message is an object");
        assert_eq!(read["fromPeer"], from.to_string());
        assert!(kind.is_none_or(|kind| read["type"] == kind));
        assert_eq!(stamped.matches("\"fromPeer\":\"00000000-0000-0000-0000-000000000007\"").count(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn kept(name: &str) -> Vec<Vec<u8>> {
        let folder = |kind| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(kind).join(name);
        let files = ["corpus", "crashes"].map(folder).into_iter().filter_map(|folder| folder.read_dir().ok());
        let mut inputs: Vec<_> =
            files.flatten().map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        inputs.sort();
        inputs
    }

    #[test]
    fn what_is_kept_is_harmless_and_so_are_its_mutations() {
        for (name, target) in TARGETS {
            let inputs = kept(name);
            assert!(!inputs.is_empty(), "there is no corpus of {name}");
            let mut random = 0x2545_f491_4f6c_dd1d_u64;
            let mut next = |below: usize| {
                // xorshift64* (Vigna 2016).
                random ^= random >> 12;
                random ^= random << 25;
                random ^= random >> 27;
                (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
            };
            for input in &inputs {
                target(input);
                for _ in 0..500 {
                    let mut mutated = input.clone();
                    for _ in 0..=next(4) {
                        let at = next(mutated.len());
                        match next(5) {
                            0 if !mutated.is_empty() => mutated[at] = b"\"{}[]:,\\0eu-\0"[next(13)],
                            1 if !mutated.is_empty() => mutated[at] ^= 1 << next(8),
                            2 => mutated.truncate(at),
                            3 => {
                                let other = &inputs[next(inputs.len())];
                                let piece = &other[next(other.len())..];
                                mutated.splice(at..at, piece.iter().copied().take(64));
                            }
                            _ => {
                                let piece = mutated[at..].to_vec();
                                mutated.splice(at..at, piece.into_iter().take(32));
                            }
                        }
                    }
                    target(&mutated);
                }
            }
        }
    }
}
