//! Looks now and then whether OBS is there, runs, and has the plugin; installs and removes it when asked.

use crate::obs_install::{InstallError, ObsInstall, is_obs_installed};
use crate::obs_process::obs_process;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wire::dashboard::{ObsView, PluginState};
use wire::obs::ObsControl;

/// What is seen of OBS. Ends when the last receiver is dropped.
#[derive(Clone)]
pub struct ObsWatch {
    install: Arc<ObsInstall>,
    seen: Arc<watch::Sender<ObsView>>,
    running: Arc<watch::Sender<bool>>,
}

impl ObsWatch {
    pub fn start(install: ObsInstall) -> (Self, watch::Receiver<ObsView>) {
        let (seen, receiver) = watch::channel(ObsView::default());
        let obs = Self { install: Arc::new(install), seen: Arc::new(seen), running: Arc::default() };
        let looking = obs.clone();
        tokio::spawn(async move {
            while !looking.seen.is_closed() {
                looking.look().await;
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        (obs, receiver)
    }

    /// Whether this user runs OBS.
    pub fn running(&self) -> watch::Receiver<bool> {
        self.running.subscribe()
    }

    pub async fn install(&self) -> Result<(), InstallError> {
        let paths = self.change(ObsInstall::install).await?;
        tracing::info!(?paths, "OBS plugin installed");
        Ok(())
    }

    pub async fn remove(&self) -> Result<(), InstallError> {
        self.change(ObsInstall::remove).await?;
        tracing::info!("OBS plugin removed");
        Ok(())
    }

    /// Off the runtime's threads: files are slow. Then looks what came of it.
    async fn change<T: Send + 'static>(
        &self,
        how: impl FnOnce(&ObsInstall) -> Result<T, InstallError> + Send + 'static,
    ) -> Result<T, InstallError> {
        let install = self.install.clone();
        let done = tokio::task::spawn_blocking(move || how(&install)).await;
        self.look().await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn look(&self) {
        let install = self.install.clone();
        let look = move || {
            let process = obs_process();
            let plugin = install.plugin_state();
            ObsView {
                installed: is_obs_installed(),
                running: process.running,
                plugin,
                restart: process.is_stale && plugin != PluginState::Missing,
                // The stage knows these.
                sources: 0,
                mismatch: None,
                control: ObsControl::Off,
            }
        };
        if let Ok(found) = tokio::task::spawn_blocking(look).await {
            self.running
                .send_if_modified(|running| std::mem::replace(running, found.running) != found.running);
            self.seen.send_if_modified(|known| std::mem::replace(known, found.clone()) != found);
        }
    }
}

/// A person who starts OBS sees it noticed; looking costs a fraction of a millisecond.
const LOOK_EVERY: Duration = Duration::from_secs(2);
