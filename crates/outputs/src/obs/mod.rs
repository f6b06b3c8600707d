//! Guests into OBS: the media worker's handle, the state it shall know, its events.
//!
//! The worker is a process of its own and is restarted when it ends, with everything it has to know told anew.

mod blame;
mod desired;
mod supervisor;
mod worker;

pub use wire::link::Feed;

use desired::{FeedState, WorkerState};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use wire::dashboard::OutputStatus;
use wire::link::{FeedId, FromWorker, Occupant, Steadiness, Subject};
use wire::monitor::{Hearing, Monitoring};
use wire::{PeerId, SlotId};

/// What [`start`] needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The media worker's executable.
    pub program: PathBuf,
    /// Where OBS plugins connect.
    pub socket_path: PathBuf,
    pub slot_count: u8,
    /// Whether pictures may be decoded by the graphics card.
    pub hardware_decoding: bool,
}

/// Starts supervising the worker. `on_media_pipe` gets the writing end of each new worker's media pipe: a full
/// pipe refuses (`EAGAIN`), a dead worker's breaks (`EPIPE`).
pub fn start(
    config: Config,
    on_media_pipe: Box<dyn Fn(OwnedFd) + Send + Sync>,
) -> (MediaHandle, MediaEvents) {
    let (wanted, wanted_seen) = watch::channel(Wanted::default());
    let (status, status_seen) = watch::channel(OutputStatus::Starting);
    let (events_in, events) = mpsc::channel(EVENTS);
    let (previews_in, previews) = mpsc::channel(PREVIEWS);
    let (restarts_in, restarts) = watch::channel(0);
    let supervisor = supervisor::Supervisor {
        config,
        on_media_pipe,
        wanted: wanted_seen,
        events: supervisor::EventSink::new(events_in),
        previews: previews_in,
        status,
        restarts: restarts_in,
        banned: Default::default(),
    };
    supervisor.spawn();
    let handle = MediaHandle { wanted: Arc::new(wanted), status: status_seen };
    (handle, MediaEvents { events, previews, restarts })
}

/// Says what the worker shall do; what is said survives its restarts. Ends with [`MediaHandle::shutdown`], or when
/// the last clone is dropped.
///
/// *State* kind: what was not yet told when it changes again is overwritten.
#[derive(Clone, Debug)]
pub struct MediaHandle {
    wanted: Arc<watch::Sender<Wanted>>,
    status: watch::Receiver<OutputStatus>,
}

/// What the worker says.
#[derive(Debug)]
pub struct MediaEvents {
    /// *Media* kind: when full, events are dropped and counted, except [`FromWorker::FeedFailed`], which waits.
    /// Levels and reports are followed by newer ones and wants of a keyframe are repeated. [`FromWorker::Ready`]
    /// comes anew after each restart.
    pub events: mpsc::Receiver<FromWorker>,
    /// JPEG pictures, of a peer's camera, or of the screen that a producer carries. *Media* kind: when full, pictures are
    /// dropped.
    pub previews: mpsc::Receiver<(Uuid, Arc<[u8]>)>,
    /// *State*: how often a worker became ready after another one had ended. The new one knows no picture yet and
    /// asks for keyframes itself.
    pub restarts: watch::Receiver<u64>,
}

#[derive(Clone, Debug, Default)]
struct Wanted {
    state: WorkerState,
    stop: Option<Duration>,
}

impl MediaHandle {
    pub fn add_feed(&self, feed: Feed) {
        self.change(|state| {
            state.feeds.insert(feed.feed, FeedState { feed, paused: false });
        });
    }

    pub fn remove_feed(&self, feed: FeedId) {
        self.change(|state| {
            state.feeds.remove(&feed);
        });
    }

    pub fn pause_feed(&self, feed: FeedId, paused: bool) {
        self.change(|state| {
            if let Some(feed) = state.feeds.get_mut(&feed) {
                feed.paused = paused;
            }
        });
    }

    pub fn bind_slot(&self, slot: SlotId, occupant: Option<Occupant>) {
        self.change(|state| {
            match occupant {
                Some(occupant) => state.slots.insert(slot, occupant),
                None => state.slots.remove(&slot),
            };
        });
    }

    /// How a guest's delay is weighed.
    pub fn set_steadiness(&self, peer: PeerId, steadiness: Steadiness) {
        self.change(|state| {
            match steadiness {
                Steadiness::Balanced => state.steadiness.remove(&peer),
                other => state.steadiness.insert(peer, other),
            };
        });
    }

    /// How the streamer hears a guest.
    pub fn set_hearing(&self, peer: PeerId, hearing: Hearing) {
        self.change(|state| {
            if hearing == Hearing::default() {
                state.hearing.remove(&peer);
            } else {
                state.hearing.insert(peer, hearing);
            }
        });
    }

    /// Whether guests are played to the streamer, and where.
    pub fn monitor(&self, monitoring: Monitoring) {
        self.change(|state| state.monitoring = monitoring);
    }

    pub fn bind_subject(&self, subject: Subject, occupant: Option<Occupant>) {
        self.change(|state| {
            match occupant {
                Some(occupant) => state.subjects.insert(subject, occupant),
                None => state.subjects.remove(&subject),
            };
        });
    }

    pub fn previews(&self, on: bool) {
        self.change(|state| state.previews = on);
    }

    pub fn status(&self) -> watch::Receiver<OutputStatus> {
        self.status.clone()
    }

    /// Asks the worker to leave, kills it after `deadline`, and returns when it is gone.
    pub async fn shutdown(&self, deadline: Duration) {
        self.wanted.send_modify(|wanted| wanted.stop = Some(deadline));
        let mut status = self.status.clone();
        // An error means the supervisor has already ended.
        let _ = status.wait_for(|status| *status == OutputStatus::Off).await;
    }

    fn change(&self, how: impl FnOnce(&mut WorkerState)) {
        self.wanted.send_modify(|wanted| how(&mut wanted.state));
    }
}

/// A few seconds of levels, reports and wants of a keyframe.
const EVENTS: usize = 256;
/// Two pictures of each slot.
const PREVIEWS: usize = 32;
