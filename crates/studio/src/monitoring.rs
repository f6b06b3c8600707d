//! Whether guests are played to the streamer, and on which device: kept in the store, told to the media worker.

use crate::store::Store;
use outputs::obs::MediaHandle;
use std::sync::Arc;
use tokio::sync::watch;
use wire::monitor::Monitoring;
use wire::{Code, Failure};

/// Cloneable; what was last said stays in force.
#[derive(Clone)]
pub struct MonitorSwitch {
    store: Store,
    media: MediaHandle,
    wanted: Arc<watch::Sender<Monitoring>>,
}

impl MonitorSwitch {
    /// As it was left the last time; off at first.
    pub async fn start(store: Store, media: MediaHandle) -> (Self, watch::Receiver<Monitoring>) {
        let wanted = match store.read_setting(MONITORING).await {
            Ok(Some(kept)) => serde_json::from_str(&kept).unwrap_or_else(|error| {
                tracing::warn!(%error, "what is kept of monitoring cannot be read: it is off");
                Monitoring::default()
            }),
            Ok(None) => Monitoring::default(),
            Err(error) => {
                tracing::warn!(%error, "cannot read whether guests are to be played");
                Monitoring::default()
            }
        };
        media.monitor(wanted.clone());
        let (wanted, seen) = watch::channel(wanted);
        (Self { store, media, wanted: Arc::new(wanted) }, seen)
    }

    pub async fn set(&self, monitoring: Monitoring) -> Result<(), Failure> {
        let kept = serde_json::to_string(&monitoring).unwrap_or_default();
        self.media.monitor(monitoring.clone());
        self.wanted.send_replace(monitoring);
        self.store.write_setting(MONITORING, kept).await.map_err(|error| {
            tracing::error!(%error, "cannot keep whether guests are to be played");
            let text = format!("It works now, but will be forgotten at the next start: {error}.");
            Failure::new(Code::Internal, text)
        })
    }
}

const MONITORING: &str = "monitoring";
