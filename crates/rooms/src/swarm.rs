//! Who wants the same file: swarms, their members, and between whom something may be relayed.

use crate::refusal::Refusal;
use std::collections::HashMap;
use std::sync::Arc;
use wire::SwarmPeerId;
use wire::swarm::SwarmHash;

/// All swarms of one engine.
#[derive(Debug, Default)]
pub struct Swarms {
    limits: SwarmLimits,
    swarms: HashMap<Arc<SwarmHash>, Vec<SwarmPeerId>>,
    peers: HashMap<SwarmPeerId, Vec<Arc<SwarmHash>>>,
}

/// How much of each thing there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct SwarmLimits {
    pub swarms: usize,
    /// A list of all of them is sent to each newcomer.
    pub peers_per_swarm: usize,
    pub swarms_per_peer: usize,
}

impl Default for SwarmLimits {
    fn default() -> Self {
        Self { swarms: 10_000, peers_per_swarm: 200, swarms_per_peer: 16 }
    }
}

/// What an announcement found.
#[derive(Debug, PartialEq, Eq)]
pub struct Introduction {
    pub others: Vec<SwarmPeerId>,
    /// False: it was announced before, and the others know.
    pub is_new: bool,
}

impl Swarms {
    pub fn new(limits: SwarmLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    pub fn announce(&mut self, peer: SwarmPeerId, hash: &SwarmHash) -> Result<Introduction, Refusal> {
        if let Some(members) = self.swarms.get(hash) {
            let others = members.iter().copied().filter(|other| *other != peer).collect();
            if members.contains(&peer) {
                return Ok(Introduction { others, is_new: false });
            }
        }
        let Self { limits, swarms, peers } = self;
        limited("swarms of one peer", peers.get(&peer).map_or(0, Vec::len), limits.swarms_per_peer)?;
        match swarms.get(hash) {
            Some(members) => limited("peers in a swarm", members.len(), limits.peers_per_swarm)?,
            None => limited("swarms", swarms.len(), limits.swarms)?,
        }
        let key = swarms.get_key_value(hash).map_or_else(|| Arc::new(hash.clone()), |(key, _)| key.clone());
        let members = swarms.entry(key.clone()).or_default();
        let others = members.clone();
        members.push(peer);
        peers.entry(peer).or_default().push(key);
        Ok(Introduction { others, is_new: true })
    }

    /// Only those who share a hash may speak to each other.
    pub fn may_relay(&self, from: SwarmPeerId, to: SwarmPeerId) -> bool {
        let (Some(ours), Some(theirs)) = (self.peers.get(&from), self.peers.get(&to)) else { return false };
        from != to && ours.iter().any(|hash| theirs.iter().any(|other| Arc::ptr_eq(hash, other)))
    }

    /// Everybody a peer shares a hash with, each once.
    pub fn others(&self, peer: SwarmPeerId) -> Vec<SwarmPeerId> {
        let hashes = self.peers.get(&peer).map(Vec::as_slice).unwrap_or_default();
        let members = hashes.iter().filter_map(|hash| self.swarms.get(hash)).flatten();
        let mut others: Vec<_> = members.copied().filter(|other| *other != peer).collect();
        others.sort_unstable();
        others.dedup();
        others
    }

    pub fn is_announced(&self, peer: SwarmPeerId) -> bool {
        self.peers.contains_key(&peer)
    }

    /// The end of one interest, or of all; says whom to tell of which.
    pub fn leave(
        &mut self,
        peer: SwarmPeerId,
        hash: Option<&SwarmHash>,
    ) -> Vec<(SwarmHash, Vec<SwarmPeerId>)> {
        let Some(hashes) = self.peers.get_mut(&peer) else { return Vec::new() };
        let left: Vec<_> = hashes.extract_if(.., |known| hash.is_none_or(|hash| **known == *hash)).collect();
        if hashes.is_empty() {
            self.peers.remove(&peer);
        }
        let mut told = Vec::new();
        for hash in left {
            let Some(members) = self.swarms.get_mut(&hash) else { continue };
            members.retain(|other| *other != peer);
            if members.is_empty() {
                self.swarms.remove(&hash);
            } else {
                told.push(((*hash).clone(), members.clone()));
            }
        }
        told
    }

    /// Swarms and their peers, for monitoring.
    pub fn size(&self) -> (usize, usize) {
        (self.swarms.len(), self.peers.len())
    }
}

fn limited(what: &'static str, count: usize, limit: usize) -> Result<(), Refusal> {
    if count < limit { Ok(()) } else { Err(Refusal::LimitReached { what, limit }) }
}
