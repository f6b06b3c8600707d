//! The streamer's consent to OBS being steered, kept in the store, and the way to what steers it.

use crate::obs_install::config_folders;
use crate::store::Store;
use outputs::obs_websocket::{Config, ObsHandle, start};
use tokio::sync::watch;
use wire::obs::{AddToObs, AddedToObs, ObsControl};
use wire::{Code, Failure};

/// Cloneable; OBS is let go with the last clone.
#[derive(Clone)]
pub struct ObsSteering {
    store: Store,
    handle: ObsHandle,
}

impl ObsSteering {
    /// Steers OBS from the beginning if the streamer allowed it once.
    pub async fn start(
        store: Store,
        slot_count: u8,
        running: watch::Receiver<bool>,
    ) -> (Self, watch::Receiver<ObsControl>) {
        let (handle, view) = start(Config { folders: config_folders(), slot_count, running });
        match store.read_setting(CONSENT).await {
            Ok(value) => handle.allow(value.is_some_and(|value| value == YES)),
            Err(error) => tracing::warn!(%error, "cannot read whether OBS may be steered"),
        }
        (Self { store, handle }, view)
    }

    /// What the streamer wants, from now on.
    pub async fn allow(&self, on: bool) -> Result<(), Failure> {
        self.handle.allow(on);
        let value = if on { YES } else { NO };
        self.store.write_setting(CONSENT, value.to_owned()).await.map_err(|error| {
            tracing::error!(%error, "cannot keep whether OBS may be steered");
            let text = format!("It works now, but will be forgotten at the next start: {error}.");
            Failure::new(Code::Internal, text)
        })
    }

    pub async fn add(&self, what: AddToObs) -> Result<AddedToObs, Failure> {
        self.handle.add(what).await
    }

    pub async fn undo(&self) -> Result<(), Failure> {
        self.handle.undo().await
    }
}

const CONSENT: &str = "obs-control";
const YES: &str = "yes";
const NO: &str = "no";
