//! Which forwarding worker each room is on, and what becomes of the rooms of one that failed.

use super::{Stage, worker_failure};
use crate::worker::{Gauge, Load, WorkerPool, least_loaded};
use std::collections::BTreeMap;
use std::time::Instant;
use wire::dashboard::Severity;
use wire::{Failure, RoomId, RouterId};

/// The router of each room, and how busy each worker is.
pub(super) struct Placement {
    /// Made with a room's first transport, kept until the room closes. The id tells the worker.
    routers: BTreeMap<RoomId, RouterId>,
    gauges: Vec<Gauge>,
}

impl Placement {
    pub fn new(workers: usize) -> Self {
        Self { routers: BTreeMap::new(), gauges: vec![Gauge::default(); workers] }
    }

    pub fn room_of(&self, router: RouterId) -> Option<&RoomId> {
        self.routers.iter().find(|(_, known)| **known == router).map(|(room, _)| room)
    }

    pub fn remove(&mut self, room: &RoomId) -> Option<RouterId> {
        self.routers.remove(room)
    }

    /// Once a second.
    pub fn sample(&mut self, workers: &WorkerPool) {
        let now = Instant::now();
        for (gauge, worker) in self.gauges.iter_mut().zip(workers.iter()) {
            gauge.sample(now, worker.counters().cpu_time());
        }
    }

    /// For a room that has no transport: its own router does not count.
    fn choose(&self, workers: &WorkerPool, room: &RoomId) -> usize {
        let rooms_on = |index| {
            let others = self.routers.iter().filter(|(other, _)| *other != room);
            others.filter(|(_, router)| workers.home_index(router.0) == index).count()
        };
        let load = |(index, gauge): (usize, &Gauge)| Load {
            busy_percent: gauge.busy_percent(),
            rooms: rooms_on(index),
        };
        least_loaded(self.gauges.iter().enumerate().map(load))
    }
}

impl Stage {
    /// The room's router. A room in which nobody has a transport is placed anew, where there is most to spare.
    pub(super) async fn router_of(&mut self, room: &RoomId) -> Result<RouterId, Failure> {
        let known = self.placement.routers.get(room).copied();
        if let Some(router) = known.filter(|_| self.rooms.has_transports(room)) {
            return Ok(router);
        }
        let index = self.placement.choose(&self.workers, room);
        if let Some(router) = known {
            if self.workers.home_index(router.0) == index {
                return Ok(router);
            }
            let _ = self.workers.home(router.0).call(move |sfu, _| sfu.close_router(router)).await;
        }
        let made = self.workers.at(index).call(|sfu, _| sfu.create_router()).await;
        let router = made.map_err(worker_failure)?;
        self.placement.routers.insert(room.clone(), router);
        Ok(router)
    }

    /// Everything in its rooms is gone; the people are not. They are told, and make their transports anew.
    pub(super) async fn on_worker_restarted(&mut self, index: usize) {
        let on_it = self.placement.routers.iter().filter(|(_, r)| self.workers.home_index(r.0) == index);
        let suspects: Vec<(RoomId, RouterId)> = on_it.map(|(room, router)| (room.clone(), *router)).collect();
        // A room may have been placed there after the new beginning. Without an answer none counts as such.
        let asked = suspects.clone();
        let lost = self.workers.at(index).call(move |sfu, _| {
            asked.into_iter().filter(|(_, router)| !sfu.has_router(*router)).collect::<Vec<_>>()
        });
        let lost = lost.await.unwrap_or(suspects);
        for (room, router) in &lost {
            self.placement.routers.remove(room);
            self.rooms.on_media_lost(room, "the media engine failed and was started again");
            let router = *router;
            let _ = self.workers.at(index).call(move |sfu, _| sfu.close_router(router)).await;
        }
        let text = match lost.len() {
            0 => "A part of the media engine failed and was started again; nobody was using it.".to_owned(),
            _ => "The media engine failed and was started again; guests are back in a moment.".to_owned(),
        };
        self.board.note(self.clock.note(Severity::Warning, text));
        let _ = self.settle().await;
    }
}
