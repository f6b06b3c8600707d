//! The swarms' connections: introductions made by `rooms`, and messages carried between peers that share a hash.

use crate::line::Line;
use crate::relay::Addressed;
use rooms::{SwarmLimits, Swarms};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;
use wire::swarm::{PeerList, SwarmHash, SwarmPeer};
use wire::{Code, Failure, SwarmPeerId};

/// All of them. A lock, because each message needs two look-ups and a queue of requests would cost it more; it is
/// held for those, never while something is sent.
#[derive(Clone)]
pub(crate) struct SwarmHub(Arc<Mutex<Hub>>);

struct Hub {
    swarms: Swarms,
    lines: HashMap<SwarmPeerId, Line>,
}

impl SwarmHub {
    pub(crate) fn new(limits: SwarmLimits) -> Self {
        Self(Arc::new(Mutex::new(Hub { swarms: Swarms::new(limits), lines: HashMap::new() })))
    }

    /// A place for one connection. Its id is drawn here: what a client says it is called is nobody's proof.
    pub(crate) fn member(&self) -> SwarmMember {
        SwarmMember { hub: self.clone(), id: SwarmPeerId(Uuid::new_v4()) }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in the swarms; [`SwarmMember::leave`] ends it.
#[derive(Clone)]
pub(crate) struct SwarmMember {
    hub: SwarmHub,
    id: SwarmPeerId,
}

impl SwarmMember {
    /// Tells the others, and says who they are.
    pub(crate) fn announce(&self, line: impl FnOnce() -> Line, hash: SwarmHash) -> Result<PeerList, Failure> {
        let (found, others) = {
            let mut hub = self.hub.lock();
            let found = hub.swarms.announce(self.id, &hash)?;
            hub.lines.entry(self.id).or_insert_with(line);
            let others = if found.is_new { hub.lines_of(&found.others) } else { Vec::new() };
            (found, others)
        };
        self.tell(others, "new-peer", &hash);
        Ok(PeerList { hash, peer_id: self.id, peers: found.others })
    }

    /// To the peer that the message names.
    pub(crate) fn relay(&self, kind: &str, payload: &str) -> Result<(), Failure> {
        let message = Addressed::read(payload)?;
        let target =
            message.target.ok_or_else(|| crate::parse::invalid("Say `targetPeer`: whom it is for."))?;
        let line = {
            let hub = self.hub.lock();
            hub.lines.get(&target).filter(|_| hub.swarms.may_relay(self.id, target)).cloned()
        };
        // Whether there is such a peer in another swarm is nobody's business.
        let line =
            line.ok_or_else(|| Failure::new(Code::NotFound, "There is no such peer in your swarms."))?;
        self.send(&line, kind, payload, &message)
    }

    /// To the peer that the message names, else to everybody else. `afford` is asked for each copy but the first.
    pub(crate) fn relay_or_broadcast(
        &self,
        kind: &str,
        payload: &str,
        afford: impl FnOnce(usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let message = Addressed::read(payload)?;
        if message.target.is_some() {
            return self.relay(kind, payload);
        }
        let others = {
            let hub = self.hub.lock();
            if !hub.swarms.is_announced(self.id) {
                return Err(Failure::new(Code::NotJoined, "Announce a hash first."));
            }
            hub.lines_of(&hub.swarms.others(self.id))
        };
        afford(others.len().saturating_sub(1))?;
        for line in others {
            // One that does not read is hung up on, and is no reason to keep it from the others.
            let _ = self.send(&line, kind, payload, &message);
        }
        Ok(())
    }

    /// Gives up one hash or all of them, and tells the others.
    pub(crate) fn leave(&self, hash: Option<&SwarmHash>) {
        let told: Vec<_> = {
            let mut hub = self.hub.lock();
            let left = hub.swarms.leave(self.id, hash);
            if !hub.swarms.is_announced(self.id) {
                hub.lines.remove(&self.id);
            }
            left.into_iter().map(|(hash, others)| (hash, hub.lines_of(&others))).collect()
        };
        for (hash, others) in told {
            self.tell(others, "peer-left", &hash);
        }
    }

    fn send(&self, line: &Line, kind: &str, payload: &str, message: &Addressed) -> Result<(), Failure> {
        let named = (!line.has_event_names()).then_some(kind);
        if line.try_send(kind, message.stamped(payload, self.id, named)?) {
            return Ok(());
        }
        Err(Failure::new(Code::Busy, "The other side does not read what it is sent."))
    }

    fn tell(&self, others: Vec<Line>, event: &str, hash: &SwarmHash) {
        if others.is_empty() {
            return;
        }
        let notice = SwarmPeer { peer_id: self.id, hash: hash.clone() };
        for line in others {
            line.try_send(event, typed(event, !line.has_event_names(), &notice));
        }
    }
}

impl Hub {
    fn lines_of(&self, peers: &[SwarmPeerId]) -> Vec<Line> {
        peers.iter().filter_map(|peer| self.lines.get(peer)).cloned().collect()
    }
}

/// An object as JSON, with its type as a field where there are no event names.
pub(crate) fn typed(event: &str, with_type: bool, object: &impl serde::Serialize) -> String {
    #[derive(serde::Serialize)]
    struct Typed<'a, T> {
        #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
        kind: Option<&'a str>,
        #[serde(flatten)]
        object: &'a T,
    }
    let kind = with_type.then_some(event);
    serde_json::to_string(&Typed { kind, object }).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot encode a notice");
        "{}".into()
    })
}
