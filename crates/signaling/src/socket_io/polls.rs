//! Sessions of clients that poll, by the id that each of their requests names; bounded, since they hold no connection.

use super::engine::Version;
use super::transport::Poke;
use crate::config::Limits;
use crate::connection::{AddressSlot, Addresses, Connection};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc;
use uuid::Uuid;

#[derive(Clone)]
pub(super) struct Entry {
    pub version: Version,
    pub pokes: mpsc::Sender<Poke>,
}

/// A lock, because any request may be any session's; held for one look-up.
#[derive(Clone, Default)]
pub(crate) struct Polls {
    sessions: Arc<Mutex<HashMap<String, Entry>>>,
    addresses: Addresses,
}

/// A session's place; dropping it gives it up.
pub(super) struct Seat {
    polls: Polls,
    id: String,
    _address: AddressSlot,
}

impl Polls {
    /// `None`: there are as many as there may be, in all or from that address.
    pub(super) fn enter(
        &self,
        limits: &Limits,
        connection: Option<&Connection>,
        entry: Entry,
    ) -> Option<Seat> {
        let address =
            connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.remote.ip());
        let most = if address.is_loopback() { usize::MAX } else { limits.connections_per_address };
        let address = self.addresses.try_take(address, most)?;
        let id = Uuid::new_v4().simple().to_string();
        let mut sessions = self.lock();
        if sessions.len() >= limits.connections {
            return None;
        }
        sessions.insert(id.clone(), entry);
        drop(sessions);
        Some(Seat { polls: self.clone(), id, _address: address })
    }

    pub(super) fn find(&self, id: &str) -> Option<Entry> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.polls.lock().remove(&self.id);
    }
}
