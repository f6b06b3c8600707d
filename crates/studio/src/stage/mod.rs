//! The stage: owns [`Rooms`], and lets what people do there happen in the forwarding plane, the outputs and the store.
//!
//! One task, one mailbox. Everybody else holds a [`StudioHandle`].

mod alarms;
mod attention;
mod by_name;
mod data;
mod delays;
mod effects;
pub(crate) mod figures;
mod follow;
mod handle;
mod hearing;
mod names;
mod outputs;
mod owner;
mod paths;
mod peers;
mod placement;
mod priorities;
mod snapshot;
mod speakers;
mod subjects;
mod tally;
#[cfg(test)]
mod tests;

pub use alarms::AlarmParts;
pub use handle::{Outside, StudioHandle};
pub use priorities::SendLimits;

use crate::clock::Clock;
use crate::config::SrsConfig;
use crate::doors::Addresses;
use crate::provider_keys::ProviderKeys;
use crate::store::Store;
use crate::worker::{WorkerEvent, WorkerGone, WorkerPool};
use ::outputs::obs::{MediaEvents, MediaHandle};
use alarms::AlarmDesk;
use attention::Attention;
use delays::Delays;
use effects::Outboxes;
use handle::Request;
use hearing::Hearings;
use names::Names;
use operations::Webhooks;
use outputs::{Feeds, PreviewHub};
use paths::Paths;
use placement::Placement;
use priorities::Priorities;
use rooms::Rooms;
use snapshot::Board;
use speakers::Speakers;
use std::collections::HashMap;
use std::time::Duration;
use subjects::Subjects;
use tally::Tallies;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use wire::dashboard::{ObsView, OutputStatus, Severity};
use wire::monitor::Monitoring;
use wire::obs::ObsControl;
use wire::ortc::{IceServer, RtpCapabilities};
use wire::rest::Recovered;
use wire::stats::Quality;
use wire::{Code, Failure, PeerId};

/// What a stage is made of.
pub struct Parts {
    pub rooms: Rooms,
    pub clock: Clock,
    pub store: Store,
    pub workers: WorkerPool,
    pub worker_events: mpsc::Receiver<WorkerEvent>,
    pub media: MediaHandle,
    pub media_events: MediaEvents,
    pub addresses: watch::Receiver<Addresses>,
    pub obs: watch::Receiver<ObsView>,
    pub obs_control: watch::Receiver<ObsControl>,
    pub monitoring: watch::Receiver<Monitoring>,
    pub is_full: watch::Receiver<bool>,
    /// `None`: only this install's own invites count.
    pub provider: Option<watch::Receiver<ProviderKeys>>,
    pub ice_servers: Vec<IceServer>,
    pub srs: SrsConfig,
    pub recovered: Option<Recovered>,
    pub send_limits: SendLimits,
    pub alarms: AlarmParts,
    pub webhooks: Webhooks,
    pub debug_until: watch::Receiver<Option<String>>,
}

pub struct Stage {
    rooms: Rooms,
    clock: Clock,
    store: Store,
    workers: WorkerPool,
    worker_events: mpsc::Receiver<WorkerEvent>,
    media: MediaHandle,
    media_events: MediaEvents,
    media_status: watch::Receiver<OutputStatus>,
    addresses: watch::Receiver<Addresses>,
    obs: watch::Receiver<ObsView>,
    obs_control: watch::Receiver<ObsControl>,
    monitoring: watch::Receiver<Monitoring>,
    is_full: watch::Receiver<bool>,
    provider: Option<watch::Receiver<ProviderKeys>>,
    ice_servers: Vec<IceServer>,
    srs: SrsConfig,
    recovered: Option<Recovered>,
    requests: mpsc::Receiver<Request>,
    capabilities: RtpCapabilities,
    placement: Placement,
    outboxes: Outboxes,
    feeds: Feeds,
    delays: Delays,
    hearings: Hearings,
    attention: Attention,
    subjects: Subjects,
    tallies: Tallies,
    previews: PreviewHub,
    quality: HashMap<PeerId, Quality>,
    paths: Paths,
    speakers: Speakers,
    send_limits: SendLimits,
    priorities: Priorities,
    board: Board,
    desk: AlarmDesk,
    webhooks: Webhooks,
    debug_until: watch::Receiver<Option<String>>,
    names: Names,
    closing: bool,
    /// Why the engine is not healthy, if it is not.
    store_problem: Option<String>,
}

impl Stage {
    /// The stage, not yet running, and the way to it.
    pub async fn new(
        parts: Parts,
        owner: rooms::OwnerToken,
        outside: Outside,
    ) -> Result<(Self, StudioHandle), WorkerGone> {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let capabilities = parts.workers.at(0).call(|sfu, _| sfu.router_rtp_capabilities()).await?;
        let (snapshot, snapshot_seen) = watch::channel(Default::default());
        let (levels, levels_seen) = watch::channel(Default::default());
        let delays = Delays::read(&parts.store).await;
        let hearings = Hearings::read(&parts.store).await;
        let media_status = parts.media.status();
        let placement = Placement::new(parts.workers.iter().len());
        let handle = StudioHandle::new(sender, owner, outside, snapshot_seen, levels_seen);
        let stage = Self {
            rooms: parts.rooms,
            clock: parts.clock,
            store: parts.store,
            workers: parts.workers,
            worker_events: parts.worker_events,
            media: parts.media,
            media_events: parts.media_events,
            media_status,
            addresses: parts.addresses,
            obs: parts.obs,
            obs_control: parts.obs_control,
            monitoring: parts.monitoring,
            is_full: parts.is_full,
            provider: parts.provider,
            ice_servers: parts.ice_servers,
            srs: parts.srs,
            recovered: parts.recovered,
            requests,
            capabilities,
            placement,
            outboxes: Outboxes::default(),
            feeds: Feeds::new(levels),
            delays,
            hearings,
            attention: Attention::default(),
            subjects: Subjects::default(),
            tallies: Tallies::default(),
            previews: PreviewHub::default(),
            quality: HashMap::new(),
            paths: Paths::default(),
            speakers: Speakers::default(),
            send_limits: parts.send_limits,
            priorities: Priorities::default(),
            board: Board::new(snapshot),
            desk: AlarmDesk::new(parts.alarms),
            webhooks: parts.webhooks,
            debug_until: parts.debug_until,
            names: Names::default(),
            closing: false,
            store_problem: None,
        };
        Ok((stage, handle))
    }

    /// Ends when every handle is gone.
    pub async fn run(mut self) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.note_recovery();
        // What was restored has slots to bind and seats to keep.
        let _ = self.settle().await;
        loop {
            let now = self.clock.now();
            let subject_due = self.subjects.due();
            let due = self.rooms.poll_timeout(now).map(|wait| Instant::now() + wait);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.on_request(request).await,
                    None => return,
                },
                Some(event) = self.worker_events.recv() => self.on_worker_event(event).await,
                Some(event) = self.media_events.events.recv() => self.on_media_event(event).await,
                Some((of, jpeg)) = self.media_events.previews.recv() => self.on_preview(of, jpeg),
                Ok(()) = self.media_status.changed() => self.on_media_status(),
                Ok(()) = self.addresses.changed() => self.board.touch(),
                Ok(()) = self.obs.changed() => self.board.touch(),
                Ok(()) = self.obs_control.changed() => self.board.touch(),
                Ok(()) = self.debug_until.changed() => self.board.touch(),
                Ok(()) = self.monitoring.changed() => self.board.touch(),
                Ok(()) = self.is_full.changed() => self.on_memory(),
                Some(keys) = next_keys(self.provider.as_mut()) => self.on_provider_keys(keys),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.on_rooms_timeout().await,
                () = sleep_until(subject_due.unwrap_or_else(Instant::now)), if subject_due.is_some() => {
                    let _ = self.settle().await;
                }
                _ = seconds.tick() => self.on_second().await,
                () = sleep_until(self.board.due()), if self.board.is_touched() => self.publish(),
            }
        }
    }

    async fn on_request(&mut self, request: Request) {
        match request {
            Request::Join { caller, join, outbox, answer } => {
                let session = rooms::SessionId(caller.session.0);
                let joined = self.join(caller, *join, outbox).await;
                let is_in = joined.is_ok();
                if answer.send(joined).is_err() && is_in {
                    // The caller gave up waiting and will never say goodbye.
                    self.on_disconnected(session).await;
                }
            }
            Request::Peer { session, request, answer } => {
                let reply = self.peer_request(rooms::SessionId(session.0), *request).await;
                let _ = answer.send(reply);
            }
            Request::Disconnected(session) => self.on_disconnected(rooms::SessionId(session.0)).await,
            Request::Owner { request, answer } => {
                let reply = self.owner_request(*request).await;
                let _ = answer.send(reply);
            }
            Request::Grant { token, room, answer } => {
                let grant = self.rooms.grant(self.clock.now(), token.as_deref(), room.as_ref());
                let _ = answer.send(grant.map_err(Failure::from));
            }
            Request::LiveViewers(viewers) => {
                self.rooms.set_live_viewers(viewers);
                let _ = self.settle().await;
            }
            Request::Health(answer) => drop(answer.send(self.health())),
            Request::Figures(answer) => drop(answer.send(Box::new(self.figures().await))),
            Request::Known(answer) => drop(answer.send(self.known())),
            Request::Rooms(answer) => drop(answer.send(self.rooms.active_rooms())),
            Request::Room(room, answer) => {
                let details = self.room_details(&room).await;
                let _ = answer.send(details);
            }
            #[cfg(debug_assertions)]
            Request::Fail => panic!("a fault was asked for"),
            Request::Previews(viewer) => self.on_viewer(viewer),
            Request::Closing { resume_in, answer } => {
                self.say_goodbye(resume_in).await;
                let _ = answer.send(());
            }
        }
    }

    async fn on_rooms_timeout(&mut self) {
        self.rooms.handle_timeout(self.clock.now());
        let _ = self.settle().await;
    }

    fn on_memory(&mut self) {
        let is_full = *self.is_full.borrow_and_update();
        self.rooms.set_full(is_full);
        let (severity, text) =
            if is_full { (Severity::Error, MEMORY_SHORT) } else { (Severity::Info, MEMORY_BACK) };
        self.board.note(self.clock.note(severity, text));
    }

    fn on_provider_keys(&mut self, ProviderKeys { provider, problem }: ProviderKeys) {
        match problem {
            None => {
                self.rooms.set_provider(provider);
                tracing::info!("the identity provider's keys were read again");
            }
            Some(problem) => {
                let text = format!("The identity provider's keys cannot be read: {problem}");
                self.board.note(self.clock.note(Severity::Warning, text));
            }
        }
    }

    /// Guests are told to come back by themselves; nobody new is let in.
    async fn say_goodbye(&mut self, resume_in: Duration) {
        self.closing = true;
        let notice = wire::sfu::Notice::ServerClosing { resume_in_ms: resume_in.as_millis() as u64 };
        self.rooms.notify_everyone(&notice);
        let _ = self.settle().await;
    }
}

async fn next_keys(keys: Option<&mut watch::Receiver<ProviderKeys>>) -> Option<ProviderKeys> {
    let keys = keys?;
    keys.changed().await.ok()?;
    Some(keys.borrow_and_update().clone())
}

/// A forwarding thread's absence, as a caller is told.
fn worker_failure(gone: WorkerGone) -> Failure {
    match gone {
        WorkerGone::Busy | WorkerGone::Failed => {
            Failure::new(Code::Busy, "Greenroom is busy: try again in a moment.")
        }
        WorkerGone::Stopped => {
            Failure::new(Code::Internal, "The media engine has stopped: restart Greenroom.")
        }
    }
}

/// The forwarding plane's refusal, as a client is told.
fn sfu_failure(error: sfu::Error) -> Failure {
    let (code, text) = match &error {
        sfu::Error::NotFound(what) => {
            (Code::NotFound, format!("There is no such {what}: it may have been closed already."))
        }
        sfu::Error::Invalid(reason) => (Code::InvalidRequest, format!("This does not fit: {reason}.")),
        sfu::Error::UnsupportedCodec(codec) => (
            Code::UnsupportedCodec,
            format!("This room does not have the codec {codec}: send one of its own."),
        ),
        sfu::Error::CannotConsume => {
            (Code::CannotConsume, "This device cannot play that track: it has none of its codecs.".to_owned())
        }
        sfu::Error::Limit(what) => (Code::LimitReached, format!("Too many {what}: close one first.")),
        sfu::Error::AlreadyConnected => (Code::Conflict, "This transport is connected already.".to_owned()),
        sfu::Error::Crypto(_) => {
            tracing::error!(%error, "the media engine failed");
            (Code::DtlsFailed, "The secure connection could not be set up: try again.".to_owned())
        }
    };
    Failure::new(code, text)
}

const MEMORY_SHORT: &str = "Greenroom takes more of this computer's memory than it may (`limits.memory_percent`): nobody new is let in. Remove guests, or restart Greenroom.";
const MEMORY_BACK: &str = "Memory is free again: guests can join.";
/// A burst of joins of a full room: about ten requests each.
const REQUESTS: usize = 256;
