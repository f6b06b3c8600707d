//! Introductions between peers that want the same file, over Socket.IO and as WebSocket messages.

use crate::ids::SwarmPeerId;
use serde::{Deserialize, Serialize};
use std::fmt;
use thiserror::Error;

/// What a swarm has in common, mostly a file's hash: 1 to 128 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SwarmHash(String);

/// Why a hash was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a hash is 1 to {MAX_HASH} characters without control characters")]
pub struct BadSwarmHash;

impl SwarmHash {
    pub fn parse(text: &str) -> Result<Self, BadSwarmHash> {
        let fits = !text.is_empty() && text.len() <= MAX_HASH;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadSwarmHash)
        }
    }
}

impl TryFrom<String> for SwarmHash {
    type Error = BadSwarmHash;
    fn try_from(text: String) -> Result<Self, BadSwarmHash> {
        Self::parse(&text)
    }
}

impl From<SwarmHash> for String {
    fn from(hash: SwarmHash) -> String {
        hash.0
    }
}

impl fmt::Display for SwarmHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Interest in a hash. A `peerId` that clients send along is not read: ids are the server's.
#[derive(Clone, Debug, Deserialize)]
pub struct Announce {
    pub hash: SwarmHash,
}

/// The end of interest: in one hash, or in all.
#[derive(Clone, Debug, Deserialize)]
pub struct LeaveSwarm {
    pub hash: Option<SwarmHash>,
}

/// The answer to `announce`: who else is there, and who the caller is to them.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerList {
    pub hash: SwarmHash,
    pub peer_id: SwarmPeerId,
    pub peers: Vec<SwarmPeerId>,
}

/// `new-peer` and `peer-left`, to the others.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwarmPeer {
    pub peer_id: SwarmPeerId,
    pub hash: SwarmHash,
}

const MAX_HASH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_short_and_visible() {
        for good in ["a", "__proto__", "9f86d081884c7d65", "файл", &"x".repeat(128)] {
            assert!(SwarmHash::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a\0", "line\n", &"x".repeat(129)] {
            assert!(SwarmHash::parse(bad).is_err(), "{bad}");
        }
    }
}
