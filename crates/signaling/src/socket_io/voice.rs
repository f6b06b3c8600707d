//! What one client is told in its namespace. Nothing here waits: its outbox holds it until the network takes it.

use super::packet::{self, Namespace};
use crate::outbox::Outbox;
use serde::Serialize;
use std::sync::Arc;
use wire::Failure;
use wire::sfu::Notice;

#[derive(Clone)]
pub(crate) struct Voice {
    outbox: Arc<Outbox>,
    namespace: Namespace,
}

impl Voice {
    pub(super) fn new(outbox: Arc<Outbox>, namespace: Namespace) -> Self {
        Self { outbox, namespace }
    }

    pub(super) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// What somebody else has for this client, a JSON object made by us.
    pub(crate) fn try_relay(&self, event: &str, json: &str) -> bool {
        self.outbox.try_push(packet::written_event(self.namespace, event, json))
    }

    /// By the client's callback; without one, a failure is emitted as `error`.
    pub(super) fn answer(&self, ack: Option<u64>, answer: &Result<impl Serialize, Failure>) {
        match (answer, ack) {
            (Ok(payload), Some(ack)) => self.push(packet::ack(self.namespace, ack, payload)),
            (Ok(_), None) => {}
            (Err(failure), Some(ack)) => self.push(packet::ack(self.namespace, ack, failure)),
            (Err(failure), None) => self.emit("error", failure),
        }
    }

    pub(super) fn notify(&self, notice: Notice) {
        let (event, payload) = notice.into_event();
        self.emit(&event, &payload);
    }

    pub(super) fn emit(&self, event: &str, payload: &impl Serialize) {
        self.push(packet::event(self.namespace, event, payload));
    }

    pub(super) fn disconnect(&self) {
        self.outbox.push(packet::disconnect(self.namespace));
    }

    fn push(&self, packet: serde_json::Result<Vec<u8>>) {
        match packet {
            Ok(packet) => self.outbox.push(packet),
            Err(error) => tracing::error!(%error, "cannot encode an answer"),
        }
    }
}
