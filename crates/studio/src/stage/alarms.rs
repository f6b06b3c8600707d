//! Alarms: once a second the rules read what the stage knows; what they raise is noted, shown and sent.

use super::Stage;
use crate::host::Host;
use operations::{AlarmEvent, AlarmRules, Alarms, Guest, Measured, Watch};
use signaling::tally::{Place, Tally};
use std::time::Instant;
use tokio::sync::watch;
use wire::alarm::AlarmView;
use wire::dashboard::Severity;
use wire::rest::OwnerReply;
use wire::sfu::PeerState;
use wire::webhook::Happening;
use wire::{AlarmId, Code, Failure};

/// What the rules need that the stage has not.
pub struct AlarmParts {
    pub rules: AlarmRules,
    pub tally: Tally,
    /// Of one listener.
    pub connection_limit: usize,
    pub(crate) host: watch::Receiver<Host>,
}

/// The rules and what they raised.
pub(super) struct AlarmDesk {
    watch: Watch,
    alarms: Alarms,
    parts: AlarmParts,
}

impl AlarmDesk {
    pub fn new(parts: AlarmParts) -> Self {
        Self { watch: Watch::new(parts.rules.clone()), alarms: Alarms::default(), parts }
    }

    pub fn shown(&self) -> Vec<AlarmView> {
        self.alarms.shown()
    }

    pub fn counts(&self) -> std::collections::BTreeMap<wire::alarm::AlarmKind, usize> {
        self.alarms.counts()
    }

    pub fn host(&self) -> Host {
        *self.parts.host.borrow()
    }
}

impl Stage {
    pub(super) fn sync_alarms(&mut self) {
        let measured = self.measured();
        let now = Instant::now();
        let readings = self.desk.watch.read(now, &measured);
        let at = rooms::rfc3339(self.clock.now().unix_ms);
        for event in self.desk.alarms.handle(now, &at, readings) {
            self.tell_outside(&match event.clone() {
                AlarmEvent::Raised(alarm) => Happening::AlarmRaised(alarm),
                AlarmEvent::Cleared(alarm) => Happening::AlarmCleared(alarm),
            });
            let note = match &event {
                AlarmEvent::Raised(alarm) => {
                    self.clock.note(alarm.severity, format!("{} {}", alarm.what, alarm.todo))
                }
                AlarmEvent::Cleared(alarm) => {
                    self.clock.note(Severity::Info, format!("This is over: {}", alarm.what))
                }
            };
            self.board.note(note);
        }
    }

    fn measured(&self) -> Measured {
        let AlarmParts { tally, connection_limit, .. } = &self.desk.parts;
        let Host { cpu_busy, disk_free_bytes } = self.desk.host();
        Measured {
            connections: vec![("control", tally.inside(Place::Control)), ("lan", tally.inside(Place::Lan))],
            connection_limit: *connection_limit as u64,
            guests: self.senders(),
            media_worker: self.media_status.borrow().clone(),
            media_restarts: *self.media_events.restarts.borrow(),
            obs: self.obs_control.borrow().clone(),
            disk_free_bytes,
            cpu_busy,
            webhooks: (1..)
                .zip(self.webhooks.statuses())
                .map(|(at, status)| (at, status.host, status.trouble))
                .collect(),
        }
    }

    /// Those in the show whose picture or sound somebody would miss.
    fn senders(&self) -> Vec<Guest> {
        let sends = |peer: &wire::PeerId| self.rooms.tracks_of(*peer).iter().any(|track| !track.paused);
        let senders = self.rooms.peer_ids().filter(sends).filter_map(|peer| {
            let (room, state, connected) = self.rooms.whereabouts(peer)?;
            let known = connected.then(|| self.quality.get(&peer).map(|quality| quality.score));
            (state == PeerState::Live).then(|| Guest {
                room: room.clone(),
                peer,
                name: self.rooms.name_of(peer).map(|name| name.to_string()).unwrap_or_default(),
                score: known.flatten(),
            })
        });
        senders.collect()
    }

    pub(super) fn dismiss_alarm(&mut self, id: AlarmId) -> Result<OwnerReply, Failure> {
        if !self.desk.alarms.dismiss(id) {
            return Err(Failure::new(Code::NotFound, "There is no such alarm: it may be over."));
        }
        self.board.touch();
        Ok(OwnerReply::Done {})
    }
}
