//! The engine's link to the media worker process.
//!
//! Two descriptors are handed to the child at start, named in its environment:
//!
//! * `GREENROOM_LINK`: a `SOCK_SEQPACKET` socket pair. Engine to worker: one JSON [`ToWorker`] per message.
//!   Worker to engine: first byte [`TAG_EVENT`] then one JSON [`FromWorker`], or [`TAG_PREVIEW`] then
//!   `[id: 16 bytes][JPEG]` (of a camera the peer's, of a shared screen the producer's), or [`TAG_BLAME`] then a feed, u32 little-endian: the last words of a worker
//!   that crashes in this feed's decoder. At most [`MAX_MESSAGE`] bytes.
//! * `GREENROOM_MEDIA`: the read end of a pipe of media records, written by the forwarding thread without
//!   ever blocking: when it is full the record is dropped and counted. A record is written by one `write`
//!   of at most `PIPE_BUF` (4,096) bytes, so records never mix (POSIX `write`, pipes):
//!
//! ```text
//!   0  u16  length of the whole record, little-endian
//!   2  u8   kind: RECORD_RTP, RECORD_SENDER_REPORT, RECORD_ROUND_TRIP
//!   3  u8   0
//!   4  u32  feed, little-endian
//!   8  u64  arrival, CLOCK_MONOTONIC nanoseconds, little-endian
//!  16  …    RTP packet; or NTP time u64 LE (32.32 fixed point) and RTP timestamp u32 LE; or milliseconds u32 LE
//! ```
//!
//! End of file on either is the end of the engine: the worker exits.

use crate::ids::{PeerId, ProducerId};
use crate::monitor::{Hearing, MonitorReport, Monitoring};
use crate::name::{DisplayName, SlotId};
use crate::obs::Mismatch;
use crate::ortc::MediaKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

pub const LINK_ENV: &str = "GREENROOM_LINK";
pub const MEDIA_ENV: &str = "GREENROOM_MEDIA";
pub const TAG_EVENT: u8 = 0;
pub const TAG_PREVIEW: u8 = 1;
pub const TAG_BLAME: u8 = 2;
/// Exit code of a worker that cannot open the socket OBS plugins connect to.
pub const EXIT_SOCKET: i32 = 3;
pub const RECORD_RTP: u8 = 0;
pub const RECORD_SENDER_REPORT: u8 = 1;
pub const RECORD_ROUND_TRIP: u8 = 2;
pub const RECORD_HEADER: usize = 16;
pub const MAX_RECORD: usize = 4096;
pub const MAX_MESSAGE: usize = 128 * 1024;

/// One producer's stream as the worker sees it. Chosen by the engine, never reused within a worker's life.
pub type FeedId = u32;

/// Codecs the worker decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    Opus,
    Vp8,
    Vp9,
    H264,
    Av1,
}

/// A guest's track.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub feed: FeedId,
    pub peer: PeerId,
    pub kind: MediaKind,
    /// Of a shared screen: its producer.
    pub screen: Option<ProducerId>,
    pub codec: Codec,
    pub clock_rate: u32,
    pub channels: u8,
    pub payload_type: u8,
    /// Of redundant audio around `codec` (RFC 2198).
    pub red_payload_type: Option<u8>,
    /// Header extension id of `urn:3gpp:video-orientation`, if negotiated.
    pub orientation_id: Option<u8>,
    /// Header extension id of abs-capture-time, if negotiated.
    pub capture_time_id: Option<u8>,
    /// Header extension id of color-space, if negotiated.
    pub color_space_id: Option<u8>,
}

/// What the engine asks of the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum ToWorker {
    /// First message. Where OBS plugins connect, and how many slots there are.
    Start {
        socket_path: String,
        slot_count: u8,
        /// Whether pictures may be decoded by the graphics card.
        hardware_decoding: bool,
    },
    /// A guest's track begins. A peer has at most one feed of a kind, and one of a screen, at a time; a second replaces
    /// the first.
    AddFeed(Feed),
    RemoveFeed {
        feed: FeedId,
    },
    /// A guest's track whose decoding killed workers: it is not decoded, and readers are told so. Ends with `RemoveFeed`.
    RefuseFeed {
        feed: FeedId,
        peer: PeerId,
        kind: MediaKind,
        screen: bool,
    },
    /// Paused tracks send nothing: the slot shows its away picture (video) or silence (audio).
    PauseFeed {
        feed: FeedId,
        paused: bool,
    },
    /// Who is in the slot. `None`: nobody.
    BindSlot {
        slot: SlotId,
        occupant: Option<Occupant>,
    },
    /// How a guest's delay is weighed. Balanced until said otherwise, as long as the peer has a feed.
    SetSteadiness {
        peer: PeerId,
        steadiness: Steadiness,
    },
    /// Who an OBS source that follows this subject is shown. `None`: nobody. What is on screen stays until the
    /// newcomer's first picture, or for about a second.
    BindSubject {
        subject: Subject,
        occupant: Option<Occupant>,
    },
    /// Whether anybody looks at previews.
    Previews {
        on: bool,
    },
    /// Whether guests are played to the streamer, and where. Off until said otherwise.
    Monitor(Monitoring),
    /// How the streamer hears a guest. As they are until said otherwise.
    SetHearing {
        peer: PeerId,
        hearing: Hearing,
    },
}

/// What a streamer prefers of a guest: to be there soon, or without a break.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, TS, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
#[ts(export)]
pub enum Steadiness {
    /// As soon as it comes: pictures do not wait for their sound, and one packet of sound in ten may come too late.
    Instant,
    /// In sync, and as soon as the network's usual unrest allows.
    #[default]
    Balanced,
    /// A fifth of a second later at least, so that a network's hiccups are neither seen nor heard.
    Steady,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Occupant {
    pub peer: PeerId,
    pub name: DisplayName,
    /// Their screen, without sound, instead of themselves.
    pub screen: bool,
}

/// What an OBS source follows instead of one slot: as `frame_ipc::Subject`, which says what each means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    pub who: Who,
    /// Shown while `who` is away.
    pub stand_in: Option<SlotId>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    Slot(SlotId),
    Speaker {
        sensitivity: Sensitivity,
        hold_ms: u16,
    },
    Screen,
    /// As a stranger wrote it.
    Person(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sensitivity {
    Low,
    Normal,
    High,
}

/// Where OBS sources get their picture from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    Slot(SlotId),
    Subject(Subject),
}

/// A place that OBS sources are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    pub place: Place,
    pub scene: Scene,
    /// How high the largest of them is drawn, in pixels of the canvas; 0: not known.
    pub height: u16,
}

/// The best of the scenes that show a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scene {
    Hidden,
    Preview,
    Program,
}

/// What the worker tells the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum FromWorker {
    /// The socket is open and slots are being served.
    Ready,
    /// Decoding of this feed waits for a picture that stands alone.
    KeyFrameNeeded { feed: FeedId },
    /// About ten a second for every peer with sound.
    Levels { levels: Vec<crate::dashboard::Level> },
    /// The slots whose picture somebody sees, and every subject that is followed. When that changes, and with every
    /// report.
    Used { places: Vec<Use> },
    /// Packets of this picture have stopped coming, or come again. While nothing was said, they come.
    Flow { feed: FeedId, flowing: bool },
    /// Once a second.
    Report {
        feeds: Vec<FeedReport>,
        readers: u32,
        /// A source in OBS came that cannot be served.
        mismatch: Option<Mismatch>,
    },
    /// How playing guests to the streamer goes. When that changes, and with every [`FromWorker::Report`].
    Monitor(MonitorReport),
    /// The feed cannot be decoded here; the reason is for the streamer.
    FeedFailed { feed: FeedId, reason: String },
    /// Pictures of the feed are decoded: its first one, or the first after it had failed.
    FeedWorks { feed: FeedId },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeedReport {
    pub feed: FeedId,
    /// Pictures or 10 ms of sound handed on in the last second.
    pub delivered: u32,
    pub width: u32,
    pub height: u32,
    /// Pictures held back because a reference was missing; samples concealed.
    pub concealed: u64,
    /// Of pictures: time in the decoder in the last second, microseconds.
    pub decoding_us: u64,
    pub buffer_ms: f64,
    /// Audio feeds: picture minus sound at hand-over, milliseconds.
    pub av_offset_ms: Option<f64>,
}
