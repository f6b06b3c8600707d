//! Guests on their way to OBS: which tracks are fed, what the media worker says of them, previews and levels.

use super::Stage;
use super::attention::Detail;
use super::figures::MediaFigures;
use ::outputs::obs::Feed;
use signaling::Preview;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;
use wire::dashboard::{Level, OutputStatus, PictureSize, Severity};
use wire::link::{Codec, FeedId, FeedReport, FromWorker};
use wire::obs::Mismatch;
use wire::ortc::{MediaKind, RtpCodecParameters};
use wire::rest::OwnerReply;
use wire::{Failure, PeerId, ProducerId, RoomId, TapId};

/// The tracks that are tapped for the media worker: of each peer the oldest of each kind, and the oldest screen.
pub(super) struct Feeds {
    /// Never reused within the engine's life, so not within a media worker's either.
    next: FeedId,
    pub running: BTreeMap<FeedId, Running>,
    levels: watch::Sender<Arc<Vec<Level>>>,
    av_offsets: HashMap<PeerId, f64>,
    /// OBS sources that show a slot.
    pub readers: u32,
    pub figures: MediaFigures,
    /// A source in OBS speaks another version.
    pub mismatch: Option<Mismatch>,
}

pub(super) struct Running {
    producer: ProducerId,
    pub peer: PeerId,
    pub kind: MediaKind,
    pub screen: bool,
    /// Of a picture: packets come.
    flowing: bool,
    /// `None`: the media worker cannot decode it, or the track ended while it was being tapped.
    pub tap: Option<TapId>,
    paused: bool,
    /// Of a picture: how much the tap takes.
    pub detail: Detail,
    picture: Option<PictureSize>,
    /// Why it cannot be shown in OBS.
    trouble: Option<String>,
}

impl Running {
    fn what(&self) -> &'static str {
        match (self.kind, self.screen) {
            (MediaKind::Audio, _) => "sound",
            (MediaKind::Video, false) => "picture",
            (MediaKind::Video, true) => "screen",
        }
    }
}

impl Feeds {
    pub fn new(levels: watch::Sender<Arc<Vec<Level>>>) -> Self {
        Self {
            next: 1,
            running: BTreeMap::new(),
            levels,
            av_offsets: HashMap::new(),
            readers: 0,
            figures: MediaFigures::default(),
            mismatch: None,
        }
    }

    fn note_work(&mut self, report: &FeedReport) {
        let is_picture = |running: &Running| running.kind == MediaKind::Video;
        if self.running.get(&report.feed).is_some_and(is_picture) {
            self.figures.pictures += u64::from(report.delivered);
            self.figures.decoding_us += report.decoding_us;
        }
    }

    /// Why something of this peer's cannot be shown in OBS.
    pub fn trouble(&self, peer: PeerId) -> Option<String> {
        let mut own = self.running.values().filter(|running| running.peer == peer);
        own.find_map(|running| {
            let reason = running.trouble.as_ref()?;
            Some(format!("Their {} cannot be shown in OBS: {reason}.", running.what()))
        })
    }

    pub fn av_offset_ms(&self, peer: PeerId) -> Option<f64> {
        self.av_offsets.get(&peer).copied()
    }

    /// Width and height of the peer's picture as it was last handed to OBS.
    pub fn picture(&self, peer: PeerId) -> Option<PictureSize> {
        let mut own = self.running.values().filter(|running| running.peer == peer && !running.screen);
        own.find_map(|running| running.picture)
    }

    /// Whether pictures of this come, as far as is known.
    pub fn is_flowing(&self, producer: ProducerId) -> bool {
        let running = self.of(producer).and_then(|feed| self.running.get(&feed));
        running.is_some_and(|running| running.flowing && running.trouble.is_none())
    }

    /// Larger for those that began later.
    pub fn age(&self, producer: ProducerId) -> Option<FeedId> {
        self.of(producer)
    }

    /// The peer's track of sound that the media worker hears.
    fn sound_of(&self, peer: PeerId) -> Option<ProducerId> {
        let mut sounds = self.running.values().filter(|running| running.kind == MediaKind::Audio);
        sounds.find(|running| running.peer == peer).map(|running| running.producer)
    }

    fn of(&self, producer: ProducerId) -> Option<FeedId> {
        self.running.iter().find(|(_, running)| running.producer == producer).map(|(id, _)| *id)
    }
}

/// Who looks at previews.
#[derive(Default)]
pub(super) struct PreviewHub {
    viewers: Vec<mpsc::Sender<Preview>>,
}

impl PreviewHub {
    pub fn is_watched(&self) -> bool {
        !self.viewers.is_empty()
    }
}

impl Stage {
    /// Makes what is fed equal to what should be: called after every change of rooms.
    pub(super) async fn sync_feeds(&mut self) {
        let mut wanted: Vec<rooms::ProducerView> = Vec::new();
        for peer in self.rooms.peer_ids() {
            for track in self.rooms.tracks_of(peer) {
                if !wanted.iter().any(|first| same_place(first, &track)) {
                    wanted.push(track);
                }
            }
        }
        self.sync_hearing();
        self.sync_delays();
        let is_wanted = |running: &Running| wanted.iter().any(|track| track.id == running.producer);
        let ended: Vec<FeedId> =
            self.feeds.running.iter().filter(|(_, running)| !is_wanted(running)).map(|(id, _)| *id).collect();
        for feed in ended {
            self.end_feed(feed).await;
        }
        for track in wanted {
            match self.feeds.of(track.id) {
                Some(feed) => self.pause_feed(feed, track.paused),
                None => self.begin_feed(track).await,
            }
        }
    }

    /// What of this guest's could not be shown is fed anew, as if it had just begun.
    pub(super) async fn try_again(&mut self, room: &RoomId, peer: PeerId) -> Result<OwnerReply, Failure> {
        self.name_in(room, peer)?;
        let own = self.feeds.running.iter().filter(|(_, running)| running.peer == peer);
        let failed: Vec<FeedId> =
            own.filter(|(_, running)| running.trouble.is_some()).map(|(feed, _)| *feed).collect();
        for feed in failed {
            self.end_feed(feed).await;
        }
        self.sync_feeds().await;
        let _ = self.settle().await;
        self.board.touch();
        Ok(OwnerReply::Done {})
    }

    async fn begin_feed(&mut self, track: rooms::ProducerView) {
        let feed = self.feeds.next;
        self.feeds.next += 1;
        let producer = track.id;
        let tapped = self.workers.home(producer.0).call(move |sfu, now| {
            let format = sfu.tap_format(producer)?;
            let codec = decodable(&format.codec)?;
            Some((sfu.tap(now, producer, feed).ok()?, codec, format))
        });
        let tapped = tapped.await.ok().flatten();
        if let Some((_, codec, format)) = &tapped {
            self.media.add_feed(Feed {
                feed,
                peer: track.peer,
                kind: track.kind,
                screen: track.screen.then_some(producer),
                codec: *codec,
                clock_rate: format.codec.clock_rate,
                channels: format.codec.channels.unwrap_or(1),
                payload_type: format.codec.payload_type,
                red_payload_type: format.red_payload_type,
                orientation_id: format.orientation_id,
                capture_time_id: format.capture_time_id,
                color_space_id: format.color_space_id,
            });
            if track.paused {
                self.media.pause_feed(feed, true);
            }
        }
        let tap = tapped.map(|(tap, ..)| tap);
        let running = Running {
            producer,
            peer: track.peer,
            kind: track.kind,
            screen: track.screen,
            flowing: true,
            tap,
            paused: track.paused,
            detail: Detail::Full,
            picture: None,
            trouble: None,
        };
        self.feeds.running.insert(feed, running);
    }

    fn pause_feed(&mut self, feed: FeedId, paused: bool) {
        if let Some(running) = self.feeds.running.get_mut(&feed)
            && running.paused != paused
        {
            running.paused = paused;
            self.media.pause_feed(feed, paused);
        }
    }

    async fn end_feed(&mut self, feed: FeedId) {
        let Some(running) = self.feeds.running.remove(&feed) else { return };
        self.media.remove_feed(feed);
        if running.kind == MediaKind::Audio {
            self.feeds.av_offsets.remove(&running.peer);
        }
        if let Some(tap) = running.tap {
            // It may have gone with its producer already.
            let _ = self.workers.home(tap.0).call(move |sfu, _| sfu.untap(tap)).await;
        }
    }

    pub(super) async fn on_media_event(&mut self, event: FromWorker) {
        match event {
            FromWorker::Ready => self.on_media_ready().await,
            FromWorker::KeyFrameNeeded { feed } => {
                if let Some(tap) = self.feeds.running.get(&feed).and_then(|running| running.tap) {
                    self.tap_key_frame(tap).await;
                }
            }
            FromWorker::Levels { levels } => self.on_levels(levels).await,
            FromWorker::Used { places } => {
                let now = Instant::now();
                self.attention.on_used(now, &places);
                self.subjects.on_used(now, &places);
                self.tallies.on_used(places);
                let _ = self.settle().await;
            }
            FromWorker::Flow { feed, flowing } => {
                if let Some(running) = self.feeds.running.get_mut(&feed) {
                    running.flowing = flowing;
                }
                let _ = self.settle().await;
            }
            FromWorker::Report { feeds, readers, mismatch } => {
                if std::mem::replace(&mut self.feeds.mismatch, mismatch) != mismatch {
                    self.board.touch();
                }
                self.on_report(feeds, readers);
            }
            FromWorker::Monitor(report) => self.on_monitor_report(report),
            FromWorker::FeedFailed { feed, reason } => self.on_feed_failed(feed, reason).await,
            FromWorker::FeedWorks { feed } => self.on_feed_works(feed).await,
        }
    }

    async fn on_levels(&mut self, levels: Vec<Level>) {
        let measured =
            levels.iter().filter_map(|level| Some((self.feeds.sound_of(level.peer_id)?, level.rms_dbfs)));
        let measured = measured.collect();
        self.feeds.levels.send_replace(Arc::new(levels));
        self.on_measured(measured).await;
    }

    /// A new worker has no picture yet: ask before it has to.
    async fn on_media_ready(&mut self) {
        self.feeds.running.values_mut().for_each(|running| running.flowing = true);
        let video =
            self.feeds.running.values().filter(|running| running.kind == MediaKind::Video && !running.paused);
        let taps: Vec<TapId> = video.filter_map(|running| running.tap).collect();
        for tap in taps {
            self.tap_key_frame(tap).await;
        }
        self.board.touch();
    }

    async fn tap_key_frame(&self, tap: TapId) {
        // The media worker asks again.
        let _ = self.workers.home(tap.0).call(move |sfu, now| sfu.tap_key_frame(now, tap)).await;
    }

    fn on_report(&mut self, reports: Vec<FeedReport>, readers: u32) {
        if std::mem::replace(&mut self.feeds.readers, readers) != readers {
            self.board.touch();
        }
        for report in reports {
            self.feeds.note_work(&report);
            if let Some(running) = self.feeds.running.get_mut(&report.feed).filter(|_| report.width > 0) {
                let size = Some(PictureSize { width: report.width, height: report.height });
                if std::mem::replace(&mut running.picture, size) != size {
                    self.board.touch();
                }
            }
            let (Some(running), Some(offset)) = (self.feeds.running.get(&report.feed), report.av_offset_ms)
            else {
                continue;
            };
            // Tenths of a millisecond come and go with every report; whole ones are news.
            let before = self.feeds.av_offsets.insert(running.peer, offset);
            if before.is_none_or(|before| (before - offset).abs() >= 1.0) {
                self.board.touch();
            }
        }
    }

    async fn on_feed_failed(&mut self, feed: FeedId, reason: String) {
        let Some(running) = self.feeds.running.get_mut(&feed) else { return };
        if let Some(name) = self.rooms.name_of(running.peer) {
            let text = format!("{name}'s {} cannot be shown in OBS: {reason}.", running.what());
            self.board.note(self.clock.note(Severity::Error, text));
        }
        running.trouble = Some(reason);
        self.board.touch();
        let _ = self.settle().await;
    }

    async fn on_feed_works(&mut self, feed: FeedId) {
        let Some(running) = self.feeds.running.get_mut(&feed) else { return };
        if running.trouble.take().is_some() {
            self.board.touch();
            let _ = self.settle().await;
        }
    }

    pub(super) fn on_media_status(&mut self) {
        let status = self.media_status.borrow_and_update().clone();
        match &status {
            OutputStatus::Failed { reason } => {
                self.board.note(self.clock.note(Severity::Error, reason.clone()))
            }
            OutputStatus::Restarting { .. } => {
                let text = "The media worker stopped and is being started again; guests are back in OBS in a moment.";
                self.board.note(self.clock.note(Severity::Warning, text));
            }
            OutputStatus::Off | OutputStatus::Starting | OutputStatus::Running => {}
        }
        self.board.touch();
    }

    pub(super) fn on_viewer(&mut self, viewer: mpsc::Sender<Preview>) {
        self.previews.viewers.push(viewer);
        self.media.previews(true);
    }

    pub(super) fn on_preview(&mut self, of: Uuid, jpeg: Arc<[u8]>) {
        let preview = Preview { of, jpeg };
        self.keep_viewers(|viewer| !matches!(viewer.try_send(preview.clone()), Err(TrySendError::Closed(_))));
    }

    pub(super) fn forget_viewers(&mut self) {
        self.keep_viewers(|viewer| !viewer.is_closed());
    }

    /// Pictures nobody looks at are not made.
    fn keep_viewers(&mut self, looks: impl FnMut(&mpsc::Sender<Preview>) -> bool) {
        let was_watched = self.previews.is_watched();
        self.previews.viewers.retain(looks);
        if was_watched && !self.previews.is_watched() {
            self.media.previews(false);
        }
    }
}

/// Of two such, the older one is fed.
fn same_place(one: &rooms::ProducerView, other: &rooms::ProducerView) -> bool {
    (one.peer, one.kind, one.screen) == (other.peer, other.kind, other.screen)
}

/// The codec, if the media worker has a decoder for it (RFC 4855: names are compared without case).
fn decodable(parameters: &RtpCodecParameters) -> Option<Codec> {
    match parameters.mime_type.to_ascii_lowercase().as_str() {
        "audio/opus" => Some(Codec::Opus),
        "video/vp8" => Some(Codec::Vp8),
        "video/vp9" => Some(Codec::Vp9),
        "video/h264" => Some(Codec::H264),
        "video/av1" => Some(Codec::Av1),
        _ => None,
    }
}
