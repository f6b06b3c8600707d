//! What all threads share of one guest's track: its queue, whether it may be heard, its counters.

use crate::locked;
use crate::slots::Author;
use rtp::ext::{AbsCaptureTime, ColorSpace};
use rtp::packet::Packet;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use wire::link::{self, Codec, FeedId};
use wire::ortc::MediaKind;
use wire::{PeerId, ProducerId};

/// One track, from its announcement to its removal.
#[derive(Debug)]
pub struct Feed {
    pub id: FeedId,
    pub peer: PeerId,
    pub kind: MediaKind,
    /// Of a shared screen: its producer.
    pub screen: Option<ProducerId>,
    pub codec: Codec,
    pub payload_type: u8,
    pub red_payload_type: Option<u8>,
    pub orientation_id: Option<u8>,
    pub capture_time_id: Option<u8>,
    pub color_space_id: Option<u8>,
    pub inbox: Inbox,
    /// False while paused and after removal: nothing of it reaches a slot then.
    pub active: AtomicBool,
    pub counters: Counters,
}

impl Feed {
    pub fn new(track: link::Feed) -> Self {
        let link::Feed { feed: id, peer, kind, screen, codec, payload_type, .. } = track;
        Self {
            id,
            peer,
            kind,
            screen,
            codec,
            payload_type,
            red_payload_type: track.red_payload_type,
            orientation_id: track.orientation_id,
            capture_time_id: track.capture_time_id,
            color_space_id: track.color_space_id,
            inbox: Inbox::default(),
            active: AtomicBool::new(true),
            counters: Counters::default(),
        }
    }

    /// Whose track it is, and of what.
    pub fn author(&self) -> Author {
        Author { peer: self.peer, screen: self.screen.is_some() }
    }

    /// Packets have come lately.
    pub fn is_flowing(&self, now: u64) -> bool {
        let arrived = self.counters.arrived_ns.load(Ordering::Relaxed);
        arrived > 0 && now.saturating_sub(arrived) < SILENT_NS
    }

    /// What the colours of the picture mean that `packet` ends, if it says.
    pub fn colours(&self, packet: &Packet<'_>) -> Option<ColorSpace> {
        ColorSpace::parse(packet.extension(self.color_space_id?)?)
    }

    /// When what `packet` carries was captured, if it says.
    pub fn capture_time(&self, packet: &Packet<'_>) -> Option<AbsCaptureTime> {
        AbsCaptureTime::parse(packet.extension(self.capture_time_id?)?)
    }
}

/// Added to by the feed's thread, read once a second.
#[derive(Debug, Default)]
pub struct Counters {
    /// Since the last report.
    pub delivered: AtomicU32,
    pub concealed: AtomicU64,
    pub width: AtomicU32,
    pub height: AtomicU32,
    pub buffer_us: AtomicU64,
    /// Since the last report: time in decoders.
    pub decoding_us: AtomicU64,
    /// When the last packet came, `CLOCK_MONOTONIC`; 0: none did.
    pub arrived_ns: AtomicU64,
    /// When the C code that is running now was entered, `CLOCK_MONOTONIC`; 0: none is.
    pub decoding_since_ns: AtomicU64,
}

/// What came of a track.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    Packet { arrival_ns: u64, bytes: Vec<u8> },
    SenderReport { ntp: u64, rtp_timestamp: u32 },
    RoundTrip { ms: u32 },
}

/// From the reading thread to the one that works on this track.
///
/// *Media* kind: when full, packets are dropped and counted; the gap breaks continuity, so a keyframe is asked for.
#[derive(Debug, Default)]
pub struct Inbox {
    queue: Mutex<Queue>,
    news: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    inputs: VecDeque<Input>,
    /// Something came on which the reader can act: not just one more packet of a picture that is not yet whole.
    urgent: bool,
    /// RTP sequence number.
    latest: Option<u16>,
    /// Somebody wants the reader to look around, even without input.
    nudged: bool,
    closed: bool,
}

impl Queue {
    /// The last packet of a picture is, and what comes out of order: it shows a gap or fills one.
    fn is_reason_to_wake(&mut self, packet: &[u8]) -> bool {
        let Some(&[_, marker, high, low]) = packet.first_chunk() else { return false };
        let number = u16::from_be_bytes([high, low]);
        let follows = self.latest.replace(number).is_some_and(|latest| latest.wrapping_add(1) == number);
        marker & 0x80 != 0 || !follows
    }
}

impl Inbox {
    pub fn push(&self, input: Input) {
        let mut queue = locked(&self.queue);
        if queue.inputs.len() >= CAPACITY {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.urgent |= match &input {
            Input::Packet { bytes, .. } => queue.is_reason_to_wake(bytes),
            Input::SenderReport { .. } | Input::RoundTrip { .. } => false,
        };
        queue.inputs.push_back(input);
    }

    /// Wakes the reader if there is reason to. Apart from [`Self::push`], so that it wakes once for several packets.
    pub fn announce(&self) {
        if locked(&self.queue).urgent {
            self.news.notify_one();
        }
    }

    /// Moves what is there into `taken`, after waiting up to `patience` for something urgent. False: closed.
    pub fn wait(&self, patience: Duration, taken: &mut VecDeque<Input>) -> bool {
        let idle = |queue: &mut Queue| !queue.urgent && !queue.nudged && !queue.closed;
        let (mut queue, _) = self
            .news
            .wait_timeout_while(locked(&self.queue), patience, idle)
            .unwrap_or_else(PoisonError::into_inner);
        (queue.urgent, queue.nudged) = (false, false);
        taken.append(&mut queue.inputs);
        !queue.closed
    }

    pub fn nudge(&self) {
        locked(&self.queue).nudged = true;
        self.news.notify_one();
    }

    pub fn close(&self) {
        locked(&self.queue).closed = true;
        self.news.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        locked(&self.queue).closed
    }

    /// Packets for which there was no room, ever.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Where the reading thread finds the queue of a feed.
///
/// A lock, because tracks come and go on another thread. Held for one look-up.
#[derive(Debug, Default)]
pub struct Routes(Mutex<HashMap<FeedId, Arc<Feed>>>);

impl Routes {
    pub fn insert(&self, feed: Arc<Feed>) {
        locked(&self.0).insert(feed.id, feed);
    }

    pub fn remove(&self, feed: FeedId) {
        locked(&self.0).remove(&feed);
    }

    pub fn find(&self, feed: FeedId) -> Option<Arc<Feed>> {
        locked(&self.0).get(&feed).cloned()
    }
}

/// Longer than the pauses of a screen that hardly changes, shorter than anybody's patience.
const SILENT_NS: u64 = 2_000_000_000;
/// Two seconds of a busy video track.
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_wakes_for_whole_pictures_and_for_gaps() {
        let inbox = Inbox::default();
        let mut taken = VecDeque::new();
        // Sequence number, marked, and whether the reader is to be woken.
        for (number, marked, wakes) in [
            (65_534, false, true), // The first: whether it is in order nobody knows.
            (65_535, false, false),
            (0, true, true),
            (1, false, false),
            (3, false, true),
            (2, false, true),
            (4, true, true),
        ] {
            let [high, low] = u16::to_be_bytes(number);
            let bytes = vec![0x80, u8::from(marked) << 7 | 96, high, low];
            inbox.push(Input::Packet { arrival_ns: 0, bytes });
            assert_eq!(std::mem::take(&mut locked(&inbox.queue).urgent), wakes, "{number}");
        }
        inbox.wait(Duration::ZERO, &mut taken);
        assert_eq!(taken.len(), 7);
    }

    #[test]
    fn a_full_inbox_drops_and_counts_and_a_closed_one_says_so() {
        let inbox = Inbox::default();
        for i in 0..CAPACITY as u64 + 5 {
            inbox.push(Input::Packet { arrival_ns: i, bytes: Vec::new() });
        }
        assert_eq!(inbox.dropped(), 5);
        let mut taken = VecDeque::new();
        assert!(inbox.wait(Duration::ZERO, &mut taken));
        assert_eq!(taken.len(), CAPACITY);
        inbox.nudge();
        assert!(inbox.wait(Duration::from_secs(60), &mut taken));
        inbox.close();
        assert!(!inbox.wait(Duration::from_secs(60), &mut taken));
    }
}
