//! Whether each guest's sound and picture find their way here, as the forwarding plane says.

use super::Stage;
use crate::worker::WorkerEvent;
use sfu::Event;
use std::collections::BTreeMap;
use wire::TransportId;
use wire::dashboard::Severity;
use wire::sfu::Notice;

/// Transports that nothing comes through; the others are well or new.
#[derive(Default)]
pub(super) struct Paths(BTreeMap<TransportId, Trouble>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Silent,
    Failed,
}

impl Paths {
    pub fn forget(&mut self, transport: TransportId) {
        self.0.remove(&transport);
    }

    pub fn trouble(&self, transport: TransportId) -> Option<String> {
        let text = match self.0.get(&transport)? {
            Trouble::Silent => {
                "Nothing arrives from them right now: their network may be changing. It comes back by itself."
            }
            Trouble::Failed => {
                "Their sound and picture cannot reach this computer: ask them to reload the page, or to try another network."
            }
        };
        Some(text.to_owned())
    }
}

impl Stage {
    pub(super) async fn on_worker_event(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Sfu(event) => self.on_sfu_event(event).await,
            WorkerEvent::Restarted(worker) => self.on_worker_restarted(worker).await,
        }
    }

    async fn on_sfu_event(&mut self, event: Event) {
        match event {
            Event::TransportConnected { transport } => {
                if self.paths.0.remove(&transport).is_some() {
                    self.board.touch();
                }
            }
            Event::TransportDisconnected { transport } => self.on_path_trouble(transport, Trouble::Silent),
            Event::TransportFailed { transport, reason } => {
                tracing::debug!(%transport, reason, "a transport failed");
                self.on_path_trouble(transport, Trouble::Failed);
            }
            Event::TransportClosed { transport } => {
                if self.rooms.on_transport_lost(transport) {
                    let _ = self.settle().await;
                }
            }
            Event::DataProducerClosed { data_producer, reason } => {
                self.rooms.on_data_producer_lost(data_producer, &reason);
                let _ = self.settle().await;
            }
            Event::DataConsumerClosed { data_consumer, reason, .. } => {
                self.rooms.on_data_consumer_lost(data_consumer, &reason);
                let _ = self.settle().await;
            }
            Event::ConsumerLayersChanged { consumer, layers } => {
                if let Some(peer) = self.rooms.consumer_owner(consumer) {
                    let (spatial_layer, temporal_layer) = layers.map(|l| (l.spatial, l.temporal)).unzip();
                    let notice = Notice::ConsumerLayersChanged {
                        consumer_id: consumer,
                        spatial_layer,
                        temporal_layer,
                    };
                    self.rooms.notify(peer, notice);
                    self.deliver().await;
                }
            }
            Event::ProducerScore { producer, score } => {
                if let Some((peer, _)) = self.rooms.producer_owner(producer) {
                    self.rooms.notify(peer, Notice::ProducerScore { producer_id: producer, score });
                    self.deliver().await;
                }
            }
            Event::ConsumerScore { consumer, score } => {
                if let Some(peer) = self.rooms.consumer_owner(consumer) {
                    self.rooms.notify(peer, Notice::ConsumerScore { consumer_id: consumer, score });
                    self.deliver().await;
                }
            }
            Event::ActiveSpeaker { router, producer, volume } => {
                self.on_active_speaker(router, producer, volume).await
            }
            Event::Volumes { router, volumes } => self.on_volumes(router, volumes).await,
            // The stage closed them itself, or closes them with what they stood on.
            Event::ProducerClosed { .. } | Event::ConsumerClosed { .. } => {}
        }
    }

    fn on_path_trouble(&mut self, transport: TransportId, trouble: Trouble) {
        let Some(peer) = self.rooms.transport_owner(transport) else { return };
        let before = self.paths.0.insert(transport, trouble);
        if before != Some(trouble) {
            if let (Trouble::Failed, Some(name)) = (trouble, self.rooms.name_of(peer)) {
                let text =
                    format!("{name}'s sound and picture do not arrive any more; their page tries again");
                self.board.note(self.clock.note(Severity::Warning, text));
            }
            self.board.touch();
        }
    }
}
