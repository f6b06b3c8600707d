//! What fuzz targets need of a worker's inside.

use super::Worker;
use crate::dtls::{Certificate, Dtls};
use crate::srtp::{Keys, Profile};
use crate::transport::Security;
use std::time::Instant;
use wire::{RouterId, TransportId};

impl Worker {
    pub(crate) fn routers(&self) -> impl Iterator<Item = RouterId> {
        self.routers.keys().copied()
    }

    pub(crate) fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// The association is connected and has agreed on `keys`.
    pub(crate) fn adopt_keys(&mut self, now: Instant, transport: TransportId, dtls: Dtls, keys: Keys) {
        let key = self.transport_keys[&transport];
        self.transports[key].security = Security::Connected {
            dtls: Box::new(dtls),
            keys: Box::new(keys),
            profile: Profile::AeadAes128Gcm,
        };
        self.on_ice_alive(now, key);
    }
}
