//! OBS steered through obs-websocket, once the streamer allowed it: what it shows, and sources added at a click.
//!
//! One task owns the connection ([`session`]); everybody else has a handle and a view. Without obs-websocket nothing
//! is missing but the comfort: the view then says what to do by hand.

mod edit;
mod find;
mod link;
mod place;
mod session;

use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};
use wire::obs::{AddToObs, AddedToObs, ObsControl};
use wire::{Code, Failure};

/// What [`start`] needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// OBS's configuration folders (`…/obs-studio`) of this user, in the order in which they are tried.
    pub folders: Vec<PathBuf>,
    pub slot_count: u8,
    /// Whether this user runs OBS: nobody else is told what only OBS shall know.
    pub running: watch::Receiver<bool>,
}

/// Starts the task that follows OBS while it is allowed to. It ends with the last handle.
pub fn start(config: Config) -> (ObsHandle, watch::Receiver<ObsControl>) {
    let (allowed, allowed_seen) = watch::channel(false);
    let (commands, commands_in) = mpsc::channel(COMMANDS);
    let (view, view_seen) = watch::channel(ObsControl::Off);
    tokio::spawn(session::run(config, allowed_seen, commands_in, view));
    (ObsHandle { allowed: Arc::new(allowed), commands }, view_seen)
}

/// What may be asked of OBS.
#[derive(Clone, Debug)]
pub struct ObsHandle {
    allowed: Arc<watch::Sender<bool>>,
    /// *Request* kind: when full, `busy`.
    commands: mpsc::Sender<Command>,
}

enum Command {
    Add(AddToObs, oneshot::Sender<Result<AddedToObs, Failure>>),
    Undo(oneshot::Sender<Result<(), Failure>>),
}

impl ObsHandle {
    /// The streamer's consent. Without it nothing of OBS's settings is read, and no connection stands.
    pub fn allow(&self, on: bool) {
        self.allowed.send_if_modified(|allowed| std::mem::replace(allowed, on) != on);
    }

    pub async fn add(&self, what: AddToObs) -> Result<AddedToObs, Failure> {
        self.ask(|answer| Command::Add(what, answer)).await
    }

    /// Takes back what was added last.
    pub async fn undo(&self) -> Result<(), Failure> {
        self.ask(Command::Undo).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Command,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        self.commands
            .try_send(command(answer))
            .map_err(|_| Failure::new(Code::Busy, "OBS is busy: try again in a moment."))?;
        answered.await.map_err(|_| Failure::new(Code::ServerClosing, "Greenroom is closing."))?
    }
}

/// A person's clicks.
const COMMANDS: usize = 4;
