//! What there is at this moment, gathered for those who watch over the engine.

use super::Stage;
use crate::host::Host;
use operations::EndpointStatus;
use sfu::Totals;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use wire::alarm::AlarmKind;
use wire::dashboard::{ObsView, OutputStatus};
use wire::ortc::MediaKind;
use wire::rest::RoomStatus;
use wire::sfu::{PeerState, Role};
use wire::stats::ProducerStats;
use wire::{PeerId, ProducerId, RoomId};

/// Taken when asked for; nothing is kept for it but what only grows.
pub(crate) struct Figures {
    pub uptime_seconds: f64,
    pub rooms: BTreeMap<&'static str, usize>,
    /// By role, and `live`, `waiting` or `away`.
    pub peers: BTreeMap<(&'static str, &'static str), usize>,
    pub streams: Vec<Stream>,
    /// `None`: the thread did not answer.
    pub workers: Vec<(Option<Totals>, WorkerFigures)>,
    pub media_status: OutputStatus,
    pub media_restarts: u64,
    pub media: MediaFigures,
    pub slots: u8,
    pub slots_taken: usize,
    pub obs: ObsView,
    pub alarms: BTreeMap<AlarmKind, usize>,
    pub host: Host,
    pub webhooks: Vec<EndpointStatus>,
}

/// One encoding of a track that a peer sends.
pub(crate) struct Stream {
    pub room: RoomId,
    pub peer: PeerId,
    pub producer: ProducerId,
    /// `audio`, `video`, `screen`.
    pub kind: &'static str,
    pub stats: ProducerStats,
}

/// What a forwarding thread says of itself.
pub(crate) struct WorkerFigures {
    pub alive: bool,
    pub restarts: u64,
    pub cpu_seconds: f64,
    pub send_dropped: u64,
    pub records_dropped: u64,
}

/// What media workers reported in this engine's life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MediaFigures {
    pub pictures: u64,
    pub decoding_us: u64,
}

impl Stage {
    pub(super) async fn figures(&self) -> Figures {
        let views = self.rooms.room_views(self.clock.now());
        let mut rooms = BTreeMap::from([("preparing", 0), ("live", 0), ("ended", 0)]);
        let mut peers = BTreeMap::new();
        let mut tracks = Vec::new();
        for room in &views {
            *rooms.entry(status_name(room.status)).or_default() += 1;
            for guest in &room.guests {
                let state = match (guest.connected, guest.state) {
                    (false, _) => "away",
                    (true, PeerState::Waiting) => "waiting",
                    (true, PeerState::Live) => "live",
                };
                *peers.entry((role_name(guest.role), state)).or_default() += 1;
                let own = self.rooms.tracks_of(guest.peer_id).into_iter();
                tracks.extend(own.map(|track| (room.id.clone(), track)));
            }
        }
        let taken = views.iter().flat_map(|room| &room.guests).filter(|guest| guest.slot.is_some());
        Figures {
            uptime_seconds: self.clock.uptime().as_secs_f64(),
            rooms,
            peers,
            slots: self.rooms.slot_count(),
            slots_taken: taken.count(),
            streams: self.streams(tracks).await,
            workers: self.worker_figures().await,
            media_status: self.media_status.borrow().clone(),
            media_restarts: *self.media_events.restarts.borrow(),
            media: self.feeds.figures,
            alarms: self.desk.counts(),
            host: self.desk.host(),
            webhooks: self.webhooks.statuses(),
            obs: ObsView {
                sources: self.feeds.readers,
                mismatch: self.feeds.mismatch,
                control: self.obs_control.borrow().clone(),
                ..self.obs.borrow().clone()
            },
        }
    }

    async fn streams(&self, tracks: Vec<(RoomId, rooms::ProducerView)>) -> Vec<Stream> {
        let mut by_worker: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for track in tracks {
            by_worker.entry(self.workers.home_index(track.1.id.0)).or_default().push(track);
        }
        let mut streams = Vec::new();
        for (worker, tracks) in by_worker {
            let measured = self.workers.at(worker).call(move |sfu, now| {
                let of = |(room, track): (RoomId, rooms::ProducerView)| {
                    let stats = sfu.producer_stats(now, track.id).into_iter();
                    stats.map(move |stats| Stream {
                        room: room.clone(),
                        peer: track.peer,
                        producer: track.id,
                        kind: kind_name(track.kind, track.screen),
                        stats,
                    })
                };
                tracks.into_iter().flat_map(of).collect::<Vec<_>>()
            });
            // One that fails just now has none.
            streams.extend(measured.await.unwrap_or_default());
        }
        streams
    }

    async fn worker_figures(&self) -> Vec<(Option<Totals>, WorkerFigures)> {
        let mut all = Vec::new();
        for worker in self.workers.iter() {
            let totals = worker.call(|sfu, _| sfu.totals()).await.ok();
            let counters = worker.counters();
            let figures = WorkerFigures {
                alive: !counters.has_ended(),
                restarts: counters.restarts.load(Ordering::Relaxed),
                cpu_seconds: counters.cpu_time().as_secs_f64(),
                send_dropped: counters.send_dropped.load(Ordering::Relaxed),
                records_dropped: counters.records_dropped.load(Ordering::Relaxed),
            };
            all.push((totals, figures));
        }
        all
    }
}

fn status_name(status: RoomStatus) -> &'static str {
    match status {
        RoomStatus::Preparing => "preparing",
        RoomStatus::Live => "live",
        RoomStatus::Ended => "ended",
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Host => "host",
        Role::CoHost => "co-host",
        Role::Guest => "guest",
        Role::Performer => "performer",
        Role::Viewer => "viewer",
    }
}

fn kind_name(kind: MediaKind, screen: bool) -> &'static str {
    match (kind, screen) {
        (MediaKind::Audio, _) => "audio",
        (MediaKind::Video, false) => "video",
        (MediaKind::Video, true) => "screen",
    }
}
