//! How the streamer hears each guest in their headphones, and what the media worker says of playing them.

use super::Stage;
use super::by_name::ByName;
use crate::store::Store;
use std::collections::HashMap;
use wire::monitor::{Hearing, MonitorReport, MonitoringView};
use wire::rest::OwnerReply;
use wire::{DisplayName, Failure, PeerId, RoomId};

pub(super) struct Hearings {
    chosen: ByName<Hearing>,
    /// What the media worker was told, of everybody who is here.
    told: HashMap<PeerId, Hearing>,
    report: MonitorReport,
}

impl Hearings {
    pub async fn read(store: &Store) -> Self {
        let chosen = ByName::read(store, SETTING).await;
        Self { chosen, told: HashMap::new(), report: MonitorReport::default() }
    }

    pub fn of(&self, name: &DisplayName) -> Hearing {
        self.chosen.of(name)
    }
}

impl Stage {
    /// The streamer would rather hear this guest, and whoever comes under this name, like that.
    pub(super) async fn set_hearing(
        &mut self,
        room: &RoomId,
        peer: PeerId,
        hearing: Hearing,
    ) -> Result<OwnerReply, Failure> {
        let name = self.name_in(room, peer)?;
        self.hearings.chosen.set(&name, hearing);
        self.sync_hearing();
        self.board.touch();
        self.hearings.chosen.save(&self.store).await?;
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
        for peer in self.rooms.peer_ids() {
            let chosen = self.rooms.name_of(peer).map(|name| self.hearings.of(name)).unwrap_or_default();
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

const SETTING: &str = "hearing";
