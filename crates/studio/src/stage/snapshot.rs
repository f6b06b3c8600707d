//! What the dashboard and REST are shown, whole, a few times a second at most; and each peer's quality, once a second.

use super::peers::Wanted;
use super::{Stage, worker_failure};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use wire::dashboard::{GuestView, Note, ObsView, OutputStatus, Severity, Snapshot};
use wire::rest::{Health, Recovered, RoomDetails, StreamState};
use wire::sfu::Notice;
use wire::stats::Quality;
use wire::{Failure, PeerId, ProducerId, RoomId, TransportId};

/// The last snapshot, when the next may be, and the latest sentences.
pub(super) struct Board {
    snapshot: watch::Sender<Arc<Snapshot>>,
    notes: VecDeque<Note>,
    touched: bool,
    published: Option<Instant>,
}

impl Board {
    pub fn new(snapshot: watch::Sender<Arc<Snapshot>>) -> Self {
        Self { snapshot, notes: VecDeque::new(), touched: true, published: None }
    }

    /// Something on it changed.
    pub fn touch(&mut self) {
        self.touched = true;
    }

    pub fn is_touched(&self) -> bool {
        self.touched
    }

    pub fn due(&self) -> Instant {
        self.published.map_or_else(Instant::now, |at| at + PUBLISH_EVERY)
    }

    /// *State* kind: the oldest sentence goes when there are too many.
    pub fn note(&mut self, note: Note) {
        tracing::info!(text = note.text, "note");
        if self.notes.len() == MAX_NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
        self.touched = true;
    }
}

impl Stage {
    pub(super) fn publish(&mut self) {
        self.board.touched = false;
        self.board.published = Some(Instant::now());
        let snapshot = Arc::new(self.snapshot());
        self.board.snapshot.send_if_modified(|shown| std::mem::replace(shown, snapshot.clone()) != snapshot);
    }

    fn snapshot(&self) -> Snapshot {
        let mut rooms = self.rooms.room_views(self.clock.now());
        for room in &mut rooms {
            room.speaker = self.speakers.of(&room.id);
        }
        for guest in rooms.iter_mut().flat_map(|room| &mut room.guests) {
            guest.quality = self.quality.get(&guest.peer_id).cloned().unwrap_or_default();
            guest.tally = self.tallies.of(guest.peer_id);
            guest.picture = self.feeds.picture(guest.peer_id);
            guest.av_offset_ms = self.feeds.av_offset_ms(guest.peer_id);
            guest.steadiness = self.delays.of(&guest.display_name);
            guest.failed = self.feeds.trouble(guest.peer_id).is_some();
            guest.hearing = self.hearings.of(&guest.display_name);
            guest.trouble = self.trouble(guest);
        }
        Snapshot {
            version: VERSION.to_owned(),
            slot_count: self.rooms.slot_count(),
            rooms,
            obs: ObsView {
                sources: self.feeds.readers,
                mismatch: self.feeds.mismatch,
                control: self.obs_control.borrow().clone(),
                ..self.obs.borrow().clone()
            },
            media_worker: self.media_status.borrow().clone(),
            lan: self.addresses.borrow().lan.clone(),
            monitoring: self.monitoring_view(),
            debug_until: self.debug_until.borrow().clone(),
            alarms: self.desk.shown(),
            notes: self.board.notes.iter().cloned().collect(),
        }
    }

    /// The one thing the streamer should know first.
    fn trouble(&self, guest: &GuestView) -> Option<String> {
        if !guest.connected {
            return Some("Their connection was lost: their place is kept for a while, and they come back by themselves.".into());
        }
        if let Some(reason) = self.feeds.trouble(guest.peer_id) {
            return Some(reason);
        }
        let path = self.rooms.transports_of(guest.peer_id).into_iter().find_map(|id| self.paths.trouble(id));
        if let Some(reason) = path {
            return Some(reason);
        }
        let loss = guest.quality.packet_loss_pct;
        (loss >= BAD_LOSS_PCT).then(|| {
            format!("{loss:.0} % of their packets get lost: ask them to move closer to their Wi-Fi, or to use a cable.")
        })
    }

    /// Measures every peer's connection and tells them; forgets those who left.
    pub(super) async fn on_second(&mut self) {
        self.forget_viewers();
        self.sync_detail().await;
        self.placement.sample(&self.workers);
        self.sync_alarms();
        self.rooms.tidy(self.clock.now());
        let measured = self.measure().await;
        if measured.is_empty() && self.quality.is_empty() {
            let _ = self.settle().await;
            return;
        }
        for (peer, quality) in &measured {
            self.rooms.notify(*peer, Notice::Quality(quality.clone()));
        }
        if self.quality != measured {
            self.quality = measured;
            self.board.touch();
        }
        let _ = self.settle().await;
    }

    /// Each peer's connection, asked of each worker at once.
    async fn measure(&self) -> HashMap<PeerId, Quality> {
        let mut by_worker: BTreeMap<usize, Vec<(PeerId, Vec<TransportId>)>> = BTreeMap::new();
        for peer in self.rooms.peer_ids() {
            let transports = self.rooms.transports_of(peer);
            if let Some(first) = transports.first() {
                let worker = self.workers.home_index(first.0);
                by_worker.entry(worker).or_default().push((peer, transports));
            }
        }
        let mut measured = HashMap::new();
        for (worker, peers) in by_worker {
            let qualities = self.workers.at(worker).call(move |sfu, now| {
                let quality =
                    |(peer, transports): (PeerId, Vec<TransportId>)| (peer, sfu.quality(now, &transports));
                peers.into_iter().map(quality).collect::<Vec<_>>()
            });
            // One that fails just now is measured the next time.
            measured.extend(qualities.await.unwrap_or_default());
        }
        measured
    }

    pub(super) async fn room_details(&mut self, room: &RoomId) -> Result<RoomDetails, Failure> {
        let mut details = self.rooms.room_details(room)?;
        for peer in &mut details.peers {
            let wanted = Wanted {
                quality_of: self.rooms.transports_of(peer.peer_id),
                consumers: self.rooms.consumers_of(peer.peer_id),
                ..Wanted::default()
            };
            let report = self.read_stats(wanted).await?;
            (peer.quality, peer.consumers) = (report.quality, report.consumers);
        }
        Ok(details)
    }

    /// Says once, at the start, that the last run was cut off and what is there all the same.
    pub(super) fn note_recovery(&mut self) {
        let Some(Recovered { rooms, invites, guests }) = self.recovered else { return };
        tracing::warn!(rooms, invites, guests, "the last run did not end in order; what it had kept is here");
        let text = format!(
            "Greenroom was cut off last time. Here again: {rooms} rooms, {invites} open invites, {guests} guests' places"
        );
        self.board.note(self.clock.note(Severity::Warning, text));
    }

    /// What live peers of a room send.
    pub(super) async fn stream_state(&self, room: &RoomId) -> Result<StreamState, Failure> {
        let streams = self.rooms.streams(room)?;
        let Some((first, since_ms)) = streams.first().copied() else { return Ok(StreamState::default()) };
        // A room lives on one worker.
        let ids: Vec<ProducerId> = streams.into_iter().map(|(id, _)| id).collect();
        let figures = self.workers.home(first.0).call(move |sfu, now| {
            ids.into_iter()
                .flat_map(|id| sfu.producer_stats(now, id))
                .map(|s| (s.mime_type, s.bitrate))
                .collect::<Vec<_>>()
        });
        let figures = figures.await.map_err(worker_failure)?;
        let mut codecs: Vec<String> = figures.iter().map(|(codec, _)| codec.to_string()).collect();
        codecs.sort();
        codecs.dedup();
        Ok(StreamState {
            publishing: true,
            since: Some(rooms::rfc3339(since_ms)),
            codecs,
            bitrate: figures.iter().map(|(_, bitrate)| *bitrate).sum(),
        })
    }

    pub(super) fn health(&self) -> Health {
        let mut reasons = Vec::new();
        let workers = self.workers.iter().filter(|worker| !worker.counters().has_ended()).count();
        if workers < self.workers.iter().len() {
            reasons.push("A part of the media engine has stopped: restart Greenroom.".to_owned());
        }
        reasons.extend(self.store_problem.clone());
        if let OutputStatus::Failed { reason } = &*self.media_status.borrow() {
            reasons.push(reason.clone());
        }
        let (rooms, peers) = self.rooms.counts();
        Health {
            status: if reasons.is_empty() { "ok" } else { "unhealthy" }.to_owned(),
            workers,
            reasons,
            version: VERSION.to_owned(),
            uptime_secs: self.clock.uptime().as_secs(),
            rooms,
            peers,
            recovered: self.recovered,
        }
    }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PUBLISH_EVERY: Duration = Duration::from_millis(200);
const MAX_NOTES: usize = 50;
/// Above this, sound breaks up audibly despite forward error correction.
const BAD_LOSS_PCT: f64 = 5.0;
