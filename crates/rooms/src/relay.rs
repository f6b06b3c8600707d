//! Words from one peer to another that the server does not read: `signal`, for connections between the peers themselves.

use crate::command::Effect;
use crate::refusal::Refusal;
use crate::roster::Rooms;
use serde_json::Value;
use wire::PeerId;
use wire::sfu::{Notice, PeerState};

impl Rooms {
    /// To somebody live in the same room and connected. For anybody else the refusal is the same, so that ids of
    /// other rooms cannot be found out.
    pub(crate) fn relay_signal(&mut self, from: PeerId, to: PeerId, signal: Value) -> Result<(), Refusal> {
        let sender = self.peers.get(&from).ok_or(Refusal::NotJoined)?;
        if sender.standing == PeerState::Waiting {
            return Err(Refusal::Waiting);
        }
        let reachable = |target: &&crate::roster::Peer| {
            target.room == sender.room && target.standing == PeerState::Live && to != from
        };
        let session = self.peers.get(&to).filter(reachable).and_then(|target| target.presence.session());
        let session = session.ok_or(Refusal::NotFound("guest"))?;
        self.push(Effect::Notify { session, notice: Notice::Signal { from, signal } });
        Ok(())
    }
}
