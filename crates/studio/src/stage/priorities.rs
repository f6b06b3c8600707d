//! Who is on air may send more, and they and whoever speaks come first where bandwidth is short.

use super::Stage;
use std::collections::BTreeMap;
use wire::ortc::MediaKind;
use wire::{ProducerId, TransportId};

/// What the forwarding plane was told, so that only changes are.
#[derive(Default)]
pub(super) struct Priorities {
    /// Whether its owner is on air.
    transports: BTreeMap<TransportId, bool>,
    /// Whether its owner is on air, or speaks.
    pictures: BTreeMap<ProducerId, bool>,
}

/// What one client may send, bit/s.
#[derive(Clone, Copy, Debug)]
pub struct SendLimits {
    pub usual: u64,
    pub on_air: u64,
}

impl Stage {
    /// Makes the forwarding plane's priorities equal to what they should be: called whenever something was settled.
    pub(super) async fn sync_priorities(&mut self) {
        let mut wanted = Priorities::default();
        for peer in self.rooms.peer_ids() {
            let on_air = self.rooms.slot_of(peer).is_some();
            let first = on_air || self.speakers.speaks(peer);
            wanted.transports.extend(self.rooms.transports_of(peer).into_iter().map(|id| (id, on_air)));
            let pictures = self.rooms.tracks_of(peer).into_iter().filter(|t| t.kind == MediaKind::Video);
            wanted.pictures.extend(pictures.map(|track| (track.id, first)));
        }
        let told = std::mem::replace(&mut self.priorities, wanted);
        for (id, on_air) in news(&self.priorities.transports, &told.transports) {
            let limits = self.send_limits;
            let bitrate = if on_air { limits.on_air } else { limits.usual };
            let job =
                self.workers.home(id.0).call(move |sfu, now| sfu.set_max_incoming_bitrate(now, id, bitrate));
            // Whoever went meanwhile needs no limit.
            let _ = job.await;
        }
        for (id, first) in news(&self.priorities.pictures, &told.pictures) {
            let _ = self.workers.home(id.0).call(move |sfu, _| sfu.set_important(id, first)).await;
        }
    }
}

/// What differs from what was told; everything begins as `false`.
fn news<K: Copy + Ord>(wanted: &BTreeMap<K, bool>, told: &BTreeMap<K, bool>) -> Vec<(K, bool)> {
    let is_new = |(id, now): &(&K, &bool)| told.get(id).copied().unwrap_or(false) != **now;
    wanted.iter().filter(is_new).map(|(id, now)| (*id, *now)).collect()
}
