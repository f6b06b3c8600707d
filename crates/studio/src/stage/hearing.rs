//! How the streamer hears each guest in their headphones, and what the media worker says of playing them.

use super::Stage;
use std::collections::HashMap;
use wire::monitor::{Hearing, MonitorReport, MonitoringView};
use wire::rest::OwnerReply;
use wire::{Code, Failure, PeerId, RoomId};

#[derive(Default)]
pub(super) struct Hearings {
    /// Of guests who are not heard as they are; forgotten when they leave.
    chosen: HashMap<PeerId, Hearing>,
    /// What the media worker was told, of everybody who is here.
    told: HashMap<PeerId, Hearing>,
    report: MonitorReport,
}

impl Hearings {
    pub fn of(&self, peer: PeerId) -> Hearing {
        self.chosen.get(&peer).copied().unwrap_or_default()
    }
}

impl Stage {
    pub(super) fn set_hearing(
        &mut self,
        room: &RoomId,
        peer: PeerId,
        hearing: Hearing,
    ) -> Result<OwnerReply, Failure> {
        let details = self.rooms.room_details(room)?;
        if !details.peers.iter().any(|details| details.peer_id == peer) {
            return Err(Failure::new(Code::NotFound, "There is no such person in this room."));
        }
        self.hearings.chosen.insert(peer, hearing);
        self.sync_hearing();
        self.board.touch();
        Ok(OwnerReply::Done {})
    }

    /// Called after every change of rooms, before somebody's sound is fed: whoever waits in the green room is not heard
    /// until they are let in, whatever was chosen for them.
    pub(super) fn sync_hearing(&mut self) {
        let rooms = &self.rooms;
        let gone = |peer: &PeerId| rooms.name_of(*peer).is_none();
        for peer in self.hearings.told.extract_if(|peer, _| gone(peer)).map(|(peer, _)| peer) {
            self.media.set_hearing(peer, Hearing::default());
        }
        self.hearings.chosen.retain(|peer, _| !gone(peer));
        for peer in self.rooms.peer_ids() {
            let chosen = self.hearings.of(peer);
            let waits = self.rooms.live_in(peer).is_none();
            let hearing = Hearing { muted: chosen.muted || waits, ..chosen };
            if self.hearings.told.insert(peer, hearing) != Some(hearing) {
                self.media.set_hearing(peer, hearing);
            }
        }
    }

    pub(super) fn on_monitor_report(&mut self, report: MonitorReport) {
        if self.hearings.report != report {
            self.hearings.report = report;
            self.board.touch();
        }
    }

    pub(super) fn monitoring_view(&self) -> MonitoringView {
        let MonitorReport { state, devices } = self.hearings.report.clone();
        MonitoringView { wanted: self.monitoring.borrow().clone(), state, devices }
    }
}
