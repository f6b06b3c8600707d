//! Everything one receive transport knows of its path, in one place.

use super::{Allocation, Class, Controller, Micros, Pacer};
use crate::consumer::Consumer;
use crate::forward::Placed;
use crate::path::Path;

/// Made with the first consumer.
#[derive(Debug)]
pub struct Outgoing {
    pub controller: Controller,
    pub pacer: Pacer<Held>,
    pub allocation: Allocation,
    /// Already on the worker's list of transports whose packets wait for time.
    pub is_timed: bool,
    /// When the last burst of a probe left.
    pub probed_at: Micros,
    /// How many packets of padding the present probe has taken.
    pub padding: u16,
    /// The path that the controller knows.
    path: Option<Path>,
}

/// A packet that waits for its time, as a reference: it is encrypted when it leaves.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    /// In its producer's ring.
    Media { layer: u8, sequence: u64, placed: Placed },
    /// To be sent again, by the number the receiver knows it by.
    Resend(u16),
}

impl Held {
    fn take_back(&self, consumer: &mut Consumer) {
        if let Self::Media { placed, .. } = self {
            consumer.forwarder.take_back(placed.sequence.max(consumer.next_unsent));
            consumer.dropped += 1;
        }
    }
}

impl Outgoing {
    /// Fetches what a packet touches, but for the controller's history.
    pub fn prefetch(&self) {
        prefetch::all(&self.is_timed);
        prefetch::all(&self.pacer);
        self.controller.prefetch();
    }

    pub fn new(now: Micros) -> Self {
        Self {
            controller: Controller::new(now),
            pacer: Pacer::new(),
            allocation: Allocation::default(),
            is_timed: false,
            probed_at: now,
            padding: 0,
            path: None,
        }
    }

    /// Says where packets go now. At another address, or over another protocol, the controller begins anew, as RFC 9000
    /// §9.4 asks of a connection that migrates (RTP's own documents leave it open; RFC 8445 knows no congestion); a new
    /// port of the same address is a NAT's doing, on the path that was. Whether it began anew.
    pub fn note_path(&mut self, now: Micros, path: Option<Path>) -> bool {
        let Some(path) = path else { return false };
        let before = self.path.replace(path);
        let is_same =
            |before: Path| (before.protocol, before.address.ip()) == (path.protocol, path.address.ip());
        let has_moved = before.is_some_and(|before| !is_same(before));
        if has_moved {
            self.controller.begin_anew(now);
        }
        has_moved
    }

    /// Whether a picture's packet may leave at once.
    pub fn admits(&mut self, now: Micros, class: Class) -> bool {
        // A probe wants all the media there is: it is spread by the probe's own rate.
        self.controller.is_probing() && self.pacer.is_empty() || self.pacer.admits(now, class)
    }

    /// Lets a picture's packet wait. When there is no room, everything of the consumer's that waits is dropped, and false
    /// answered: a keyframe is needed.
    #[must_use]
    pub fn hold(
        &mut self,
        now: Micros,
        class: Class,
        key: usize,
        held: Held,
        consumer: &mut Consumer,
    ) -> bool {
        let fits = self.pacer.hold(now, class, key, held);
        if !fits {
            held.take_back(consumer);
            self.drop_waiting(key, consumer);
        }
        fits
    }

    /// Forgets what waits for a consumer; its numbers are given again, so its receiver sees no gap. The next packet to
    /// go out is a keyframe's.
    pub fn drop_waiting(&mut self, key: usize, consumer: &mut Consumer) {
        self.pacer.drop_consumer(key, |held| held.take_back(consumer));
    }

    /// When it is to be looked at.
    pub fn next_timeout(&self) -> Option<Micros> {
        let probe = self.controller.is_probing().then_some(self.probed_at + super::PROBE_STEP);
        [probe, self.pacer.next_release()].into_iter().flatten().min()
    }
}
