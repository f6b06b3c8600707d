//! The way to the stage, for signaling and everybody else.

use super::figures::Figures;
use crate::clock::Clock;
use crate::doors::Doors;
use crate::logging;
use crate::metrics::Scrape;
use crate::monitoring::MonitorSwitch;
use crate::obs_control::ObsSteering;
use crate::obs_install::InstallError;
use crate::obs_watch::ObsWatch;
use crate::process::Process;
use crate::support::{self, Settings};
use operations::redact::Known;
use rooms::{Grant, OwnerToken};
use signaling::{Backend, Caller, DashboardFeed, Outbox, Preview, SessionId, Tally};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use wire::dashboard::{Level, Snapshot};
use wire::rest::{Health, OwnerReply, OwnerRequest, RoomDetails, RoomSummary, SavedFile};
use wire::sfu::{JoinRoom, Joined, PeerReply, PeerRequest};
use wire::{Code, Failure, RoomId};

/// Cloneable; the stage ends with the last clone.
#[derive(Clone)]
pub struct StudioHandle {
    /// *Request* kind: when full, `busy`.
    requests: mpsc::Sender<Request>,
    owner: OwnerToken,
    revocations: watch::Sender<u64>,
    outside: Outside,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    levels: watch::Receiver<Arc<Vec<Level>>>,
}

/// What the streamer may change that has nothing to do with rooms.
#[derive(Clone)]
pub struct Outside {
    pub doors: Arc<Doors>,
    pub obs: ObsWatch,
    pub steering: ObsSteering,
    pub monitor: MonitorSwitch,
    pub tally: Tally,
    /// Of one listener.
    pub connection_limit: usize,
    /// Whether memory is short. *State* kind.
    pub is_full: watch::Receiver<bool>,
    pub(crate) settings: Settings,
}

/// The closed list of what may be asked of the stage.
pub(super) enum Request {
    Join {
        caller: Caller,
        join: Box<JoinRoom>,
        outbox: Outbox,
        answer: Answer<Joined>,
    },
    Peer {
        session: SessionId,
        request: Box<PeerRequest>,
        answer: Answer<PeerReply>,
    },
    Disconnected(SessionId),
    Owner {
        request: Box<OwnerRequest>,
        answer: Answer<OwnerReply>,
    },
    Grant {
        token: Option<String>,
        room: Option<RoomId>,
        answer: Answer<Grant>,
    },
    LiveViewers(BTreeMap<RoomId, u32>),
    Health(oneshot::Sender<Health>),
    Figures(oneshot::Sender<Box<Figures>>),
    Known(oneshot::Sender<Known>),
    Rooms(oneshot::Sender<Vec<RoomSummary>>),
    Room(RoomId, Answer<RoomDetails>),
    /// *Media* kind: when full, pictures are dropped.
    Previews(mpsc::Sender<Preview>),
    /// The stage panics.
    #[cfg(debug_assertions)]
    Fail,
    Closing {
        resume_in: Duration,
        answer: oneshot::Sender<()>,
    },
}

type Answer<T> = oneshot::Sender<Result<T, Failure>>;

impl StudioHandle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        owner: OwnerToken,
        outside: Outside,
        snapshot: watch::Receiver<Arc<Snapshot>>,
        levels: watch::Receiver<Arc<Vec<Level>>>,
    ) -> Self {
        Self { requests, owner, revocations: watch::Sender::default(), outside, snapshot, levels }
    }

    /// Tells everybody that the engine closes and when to come back; nobody joins from now on.
    pub async fn say_goodbye(&self, resume_in: Duration) {
        let (answer, answered) = oneshot::channel();
        if self.requests.send(Request::Closing { resume_in, answer }).await.is_ok() {
            let _ = answered.await;
        }
    }

    /// Resolves when there is no stage any more.
    pub async fn stage_ended(&self) {
        self.requests.closed().await;
    }

    #[cfg(debug_assertions)]
    pub async fn fail(&self) {
        let _ = self.requests.send(Request::Fail).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                Failure::new(Code::Busy, "Greenroom is busy: try again in a moment.")
            }
            mpsc::error::TrySendError::Closed(_) => closing(),
        })?;
        answered.await.map_err(|_| closing())
    }
}

impl StudioHandle {
    async fn save_support_bundle(&self) -> Result<OwnerReply, Failure> {
        let zip = self.support_bundle().await?;
        let settings = self.outside.settings.clone();
        let at = rooms::rfc3339(Clock::start().now().unix_ms);
        let saved = tokio::task::spawn_blocking(move || support::save(&settings, &zip, &at)).await;
        match saved.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(path) => Ok(OwnerReply::SavedFile(SavedFile { path: path.display().to_string() })),
            Err(error) => {
                Err(Failure::new(Code::Internal, format!("The support bundle could not be saved: {error}.")))
            }
        }
    }
}

fn closing() -> Failure {
    Failure::new(Code::ServerClosing, "Greenroom is closing.")
}

fn plugin_failure(error: InstallError) -> Failure {
    let code = match error {
        InstallError::Newer { .. } => Code::Conflict,
        InstallError::NotBuilt | InstallError::NoHome | InstallError::Write { .. } => Code::Internal,
    };
    Failure::new(code, format!("{error}."))
}

impl Backend for StudioHandle {
    async fn join(&self, caller: Caller, request: JoinRoom, outbox: Outbox) -> Result<Joined, Failure> {
        let join = Box::new(request);
        self.ask(|answer| Request::Join { caller, join, outbox, answer }).await?
    }

    async fn request(&self, session: SessionId, request: PeerRequest) -> Result<PeerReply, Failure> {
        let request = Box::new(request);
        self.ask(|answer| Request::Peer { session, request, answer }).await?
    }

    async fn disconnected(&self, session: SessionId) {
        // Waits for room: a goodbye must not get lost.
        let _ = self.requests.send(Request::Disconnected(session)).await;
    }

    async fn owner(&self, request: OwnerRequest) -> Result<OwnerReply, Failure> {
        match request {
            OwnerRequest::SetLanAccess(on) => self.outside.doors.set_lan(on).await?,
            OwnerRequest::SetMonitoring(wanted) => self.outside.monitor.set(wanted).await?,
            OwnerRequest::AllowObsControl(on) => self.outside.steering.allow(on).await?,
            OwnerRequest::AddToObs(what) => {
                return self.outside.steering.add(what).await.map(OwnerReply::AddedToObs);
            }
            OwnerRequest::UndoAddToObs => self.outside.steering.undo().await?,
            OwnerRequest::SetDebug(on) => match logging::current() {
                Some(logging) => logging.debug(on),
                None => return Err(Failure::new(Code::Internal, "This program logs by itself.")),
            },
            OwnerRequest::SaveSupportBundle => return self.save_support_bundle().await,
            OwnerRequest::InstallObsPlugin => self.outside.obs.install().await.map_err(plugin_failure)?,
            OwnerRequest::RemoveObsPlugin => self.outside.obs.remove().await.map_err(plugin_failure)?,
            request => {
                let ends_tokens = matches!(
                    request,
                    OwnerRequest::RevokeInvite(..)
                        | OwnerRequest::UpdateRoom(..)
                        | OwnerRequest::DeleteRoom(_)
                );
                let request = Box::new(request);
                let reply = self.ask(|answer| Request::Owner { request, answer }).await?;
                if ends_tokens {
                    self.revocations.send_modify(|count| *count += 1);
                }
                return reply;
            }
        }
        Ok(OwnerReply::Done {})
    }

    fn is_owner_token(&self, token: &str) -> bool {
        self.owner.matches(token)
    }

    async fn grant(&self, token: Option<String>, room: Option<RoomId>) -> Result<Grant, Failure> {
        self.ask(|answer| Request::Grant { token, room, answer }).await?
    }

    async fn live_viewers(&self, viewers: BTreeMap<RoomId, u32>) {
        // Waits for room: what changes meanwhile is said in one.
        let _ = self.requests.send(Request::LiveViewers(viewers)).await;
    }

    fn is_full(&self) -> bool {
        *self.outside.is_full.borrow()
    }

    fn revocations(&self) -> watch::Receiver<u64> {
        self.revocations.subscribe()
    }

    async fn health(&self) -> Health {
        match self.ask(Request::Health).await {
            Ok(health) => health,
            Err(failure) => Health {
                status: "unhealthy".into(),
                reasons: vec![failure.error],
                version: env!("CARGO_PKG_VERSION").into(),
                uptime_secs: 0,
                rooms: 0,
                peers: 0,
                workers: 0,
                recovered: None,
            },
        }
    }

    async fn metrics(&self) -> Result<String, Failure> {
        let figures = self.ask(Request::Figures).await?;
        let Outside { tally, connection_limit, .. } = &self.outside;
        let process = Process::read();
        Ok(Scrape { figures: &figures, tally, connection_limit: *connection_limit, process }.text())
    }

    async fn support_bundle(&self) -> Result<Vec<u8>, Failure> {
        let mut known = self.ask(Request::Known).await?;
        known.secrets.push(self.owner.reveal().to_owned());
        let metrics = self.metrics().await.unwrap_or_else(|failure| failure.error);
        let (settings, snapshot) = (self.outside.settings.clone(), self.snapshot.borrow().clone());
        let log = logging::current().map(|logging| logging.tail()).unwrap_or_default();
        // Off the runtime's threads: it takes a while.
        let packed =
            tokio::task::spawn_blocking(move || support::bundle(&settings, known, &snapshot, metrics, log));
        packed
            .await
            .unwrap_or_else(|_| Err(Failure::new(Code::Internal, "The support bundle could not be made.")))
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, Failure> {
        self.ask(Request::Rooms).await
    }

    async fn room(&self, room: RoomId) -> Result<RoomDetails, Failure> {
        self.ask(|answer| Request::Room(room, answer)).await?
    }

    async fn dashboard(&self) -> Result<DashboardFeed, Failure> {
        let (pictures, previews) = mpsc::channel(PREVIEWS);
        self.requests.try_send(Request::Previews(pictures)).map_err(|_| closing())?;
        Ok(DashboardFeed { snapshot: self.snapshot.clone(), levels: self.levels.clone(), previews })
    }
}

/// A picture of each slot.
const PREVIEWS: usize = 16;
