//! Looks now and then whether OBS is there, runs, and has the plugin; installs it when asked.

use crate::obs_install::{InstallError, ObsInstall, is_obs_installed, is_obs_running};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::dashboard::ObsView;

/// What is seen of OBS. Ends when the last receiver is dropped.
#[derive(Clone)]
pub struct ObsWatch {
    install: Arc<ObsInstall>,
    seen: Arc<watch::Sender<ObsView>>,
}

impl ObsWatch {
    pub fn start(install: ObsInstall) -> (Self, watch::Receiver<ObsView>) {
        let (seen, receiver) = watch::channel(ObsView::default());
        let obs = Self { install: Arc::new(install), seen: Arc::new(seen) };
        let looking = obs.clone();
        tokio::spawn(async move {
            while !looking.seen.is_closed() {
                looking.look().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        (obs, receiver)
    }

    pub async fn install(&self) -> Result<(), InstallError> {
        let install = self.install.clone();
        let installed = tokio::task::spawn_blocking(move || install.install()).await;
        self.look().await;
        installed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map(|path| {
            tracing::info!(path = %path.display(), "OBS plugin installed");
        })
    }

    async fn look(&self) {
        let install = self.install.clone();
        let look = move || ObsView {
            installed: is_obs_installed(),
            running: is_obs_running(),
            plugin: install.plugin_state(),
            sources: 0,
        };
        if let Ok(found) = tokio::task::spawn_blocking(look).await {
            self.seen.send_if_modified(|known| std::mem::replace(known, found.clone()) != found);
        }
    }
}

/// A person who starts OBS sees it noticed; looking costs a fraction of a millisecond.
const LOOK_EVERY: Duration = Duration::from_secs(2);
