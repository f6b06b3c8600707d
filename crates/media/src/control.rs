//! The main thread: follows the engine's orders, reports once a second, and sees to it that nobody hangs.

use crate::audio::{self, AudioThread};
use crate::crash;
use crate::feed::{Feed, Input, Routes};
use crate::link::{Link, Order};
use crate::record::{Content, Records};
use crate::slots::Slots;
use crate::timing::GuestTiming;
use crate::video::{self, Surroundings};
use frame_ipc::{Host, now_ns};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wire::link::{Codec, FeedId, FeedReport, FromWorker, Steadiness, ToWorker};
use wire::ortc::MediaKind;
use wire::{PeerId, SlotId};

/// Why the worker ends.
#[derive(Debug)]
pub enum Exit {
    EngineGone,
    /// The socket for OBS cannot be opened.
    Socket(io::Error),
    Link(io::Error),
}

/// Works until the engine is gone.
pub fn run(link: OwnedFd, media: OwnedFd) -> Exit {
    let link = Arc::new(Link::new(link));
    crash::install(link.raw_fd());
    // FFmpeg prints what it thinks of strangers' streams; they would fill the log.
    ffmpeg_the_third::log::set_level(ffmpeg_the_third::log::Level::Fatal);
    let mut inbox = Vec::new();
    let (host, slots) = loop {
        match link.next_order(REPORT_PERIOD, &mut inbox) {
            Ok(Order::Message(ToWorker::Start { socket_path, slot_count })) => {
                let count = slot_count.min(SlotId::MAX);
                match Host::bind(Path::new(&socket_path), count) {
                    Ok(host) => {
                        let slots = Slots::new(&host, count);
                        break (host, slots);
                    }
                    Err(error) => return Exit::Socket(error),
                }
            }
            Ok(Order::End) => return Exit::EngineGone,
            Err(error) => return Exit::Link(error),
            Ok(order) => tracing::debug!(?order, "ignored before the start"),
        }
    };
    let routes = Arc::new(Routes::default());
    let reader = thread::Builder::new().name("media-pipe".into()).spawn({
        let (routes, link) = (routes.clone(), link.clone());
        move || {
            read_records(media, &routes);
            link.close();
        }
    });
    if let Err(error) = reader {
        return Exit::Link(error);
    }
    let surroundings =
        Surroundings { link, slots: Arc::new(slots), previews: Arc::new(AtomicBool::new(false)) };
    let audio = match AudioThread::start(surroundings.clone()) {
        Ok(audio) => audio,
        Err(error) => return Exit::Link(error),
    };
    surroundings.link.tell(&FromWorker::Ready);
    Control {
        host,
        routes,
        audio,
        around: surroundings,
        guests: HashMap::new(),
        steadiness: HashMap::new(),
        feeds: HashMap::new(),
        shown: Vec::new(),
    }
    .follow(inbox)
}

/// Hands each record to its feed until the pipe ends.
fn read_records(media: OwnedFd, routes: &Routes) {
    let mut records = Records::new(File::from(media));
    loop {
        match records.next_record() {
            Ok(Some(record)) => {
                let arrival_ns = record.arrival_ns;
                let input = match record.content {
                    Content::Rtp(packet) => Input::Packet { arrival_ns, bytes: packet.to_vec() },
                    Content::SenderReport { ntp, rtp_timestamp } => {
                        Input::SenderReport { ntp, rtp_timestamp }
                    }
                    Content::RoundTrip(ms) => Input::RoundTrip { ms },
                    Content::Unknown => continue,
                };
                // Records of a feed that was just removed may still be in the pipe.
                if let Some(feed) = routes.find(record.feed) {
                    feed.inbox.push(input);
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "the media pipe broke");
                return;
            }
        }
    }
}

struct Control {
    host: Host,
    routes: Arc<Routes>,
    audio: AudioThread,
    around: Surroundings,
    guests: HashMap<PeerId, Guest>,
    /// Of peers, present or announced, who are not as usual; the engine takes it back when they leave.
    steadiness: HashMap<PeerId, Steadiness>,
    feeds: HashMap<FeedId, Arc<Feed>>,
    /// As the engine was told.
    shown: Vec<SlotId>,
}

/// A peer with at least one feed.
struct Guest {
    timing: Arc<GuestTiming>,
    video: Option<FeedId>,
    audio: Option<FeedId>,
}

impl Control {
    fn follow(mut self, mut inbox: Vec<u8>) -> Exit {
        let mut next_report = Instant::now() + REPORT_PERIOD;
        loop {
            let patience = next_report.saturating_duration_since(Instant::now()).min(LOOK_PERIOD);
            match self.around.link.next_order(patience, &mut inbox) {
                Ok(Order::Message(order)) => self.obey(order),
                Ok(Order::Nothing | Order::Unknown) => {}
                Ok(Order::End) => return Exit::EngineGone,
                Err(error) => return Exit::Link(error),
            }
            let shown = self.shown_slots();
            if shown != self.shown {
                self.shown = shown;
                self.tell_shown();
            }
            if Instant::now() >= next_report {
                next_report += REPORT_PERIOD;
                // After a long sleep one report is enough.
                next_report = next_report.max(Instant::now());
                self.report();
                self.watch_for_hanging();
            }
        }
    }

    fn obey(&mut self, order: ToWorker) {
        match order {
            ToWorker::Start { .. } => tracing::warn!("told to start twice"),
            ToWorker::AddFeed(track) => self.add_feed(Feed::new(track)),
            ToWorker::RemoveFeed { feed } => self.remove_feed(feed),
            ToWorker::PauseFeed { feed, paused } => {
                if let Some(feed) = self.feeds.get(&feed) {
                    feed.active.store(!paused, Ordering::Release);
                    if paused {
                        self.around.slots.rest(feed.peer, feed.kind);
                    }
                }
            }
            ToWorker::BindSlot { slot, occupant } => {
                self.around.slots.bind(slot, occupant);
                self.nudge_all();
            }
            ToWorker::SetSteadiness { peer, steadiness } => self.set_steadiness(peer, steadiness),
            ToWorker::Previews { on } => {
                self.around.previews.store(on, Ordering::Release);
                self.nudge_all();
            }
        }
    }

    fn set_steadiness(&mut self, peer: PeerId, steadiness: Steadiness) {
        match steadiness {
            Steadiness::Balanced => self.steadiness.remove(&peer),
            other => self.steadiness.insert(peer, other),
        };
        if let Some(guest) = self.guests.get(&peer) {
            guest.timing.set_steadiness(steadiness);
        }
    }

    fn add_feed(&mut self, feed: Feed) {
        let fits = match feed.codec {
            Codec::Opus => feed.kind == MediaKind::Audio,
            Codec::Vp8 | Codec::Vp9 | Codec::H264 | Codec::Av1 => feed.kind == MediaKind::Video,
        };
        if !fits {
            let reason = "this kind of track is not supported".into();
            self.around.link.tell(&FromWorker::FeedFailed { feed: feed.id, reason });
            return;
        }
        self.remove_feed(feed.id);
        let before = self.guests.get(&feed.peer).and_then(|guest| match feed.kind {
            MediaKind::Video => guest.video,
            MediaKind::Audio => guest.audio,
        });
        if let Some(before) = before {
            self.remove_feed(before);
        }
        let guest = self.guests.entry(feed.peer).or_insert_with(|| Guest {
            timing: Arc::default(),
            video: None,
            audio: None,
        });
        guest.timing.begin(feed.kind);
        guest.timing.set_steadiness(self.steadiness.get(&feed.peer).copied().unwrap_or_default());
        let feed = Arc::new(feed);
        match feed.kind {
            MediaKind::Video => {
                guest.video = Some(feed.id);
                if let Err(error) = video::start(feed.clone(), guest.timing.clone(), self.around.clone()) {
                    let reason = format!("this computer cannot start another picture ({error})");
                    self.around.link.tell(&FromWorker::FeedFailed { feed: feed.id, reason });
                }
            }
            MediaKind::Audio => {
                guest.audio = Some(feed.id);
                self.audio.add(audio::Track::new(feed.clone(), guest.timing.clone()));
            }
        }
        self.routes.insert(feed.clone());
        self.feeds.insert(feed.id, feed);
    }

    fn remove_feed(&mut self, id: FeedId) {
        let Some(feed) = self.feeds.remove(&id) else { return };
        self.routes.remove(id);
        feed.active.store(false, Ordering::Release);
        feed.inbox.close();
        self.around.slots.rest(feed.peer, feed.kind);
        if let Some(guest) = self.guests.get_mut(&feed.peer) {
            guest.video = guest.video.filter(|video| *video != id);
            guest.audio = guest.audio.filter(|audio| *audio != id);
            if guest.video.is_none() && guest.audio.is_none() {
                self.guests.remove(&feed.peer);
            }
        }
    }

    /// Somebody may be wanted now who was not before.
    fn nudge_all(&self) {
        for feed in self.feeds.values() {
            feed.inbox.nudge();
        }
    }

    fn report(&self) {
        let report = |feed: &Arc<Feed>| {
            let counters = &feed.counters;
            let timing = self.guests.get(&feed.peer).map(|guest| &guest.timing);
            let av_offset_ms = match feed.kind {
                MediaKind::Audio => timing.and_then(|timing| timing.av_offset_ms()),
                MediaKind::Video => None,
            };
            FeedReport {
                feed: feed.id,
                delivered: counters.delivered.swap(0, Ordering::Relaxed),
                width: counters.width.load(Ordering::Relaxed),
                height: counters.height.load(Ordering::Relaxed),
                concealed: counters.concealed.load(Ordering::Relaxed),
                buffer_ms: counters.buffer_us.load(Ordering::Relaxed) as f64 / 1000.0,
                av_offset_ms,
            }
        };
        let feeds = self.feeds.values().map(report).collect();
        let readers = self.host.readers().iter().map(|slot| slot.readers).sum();
        self.around.link.tell(&FromWorker::Report { feeds, readers });
        self.tell_shown();
    }

    fn tell_shown(&self) {
        self.around.link.tell(&FromWorker::Shown { slots: self.shown.clone() });
    }

    fn shown_slots(&self) -> Vec<SlotId> {
        let shown = self.host.readers().into_iter().filter(|slot| slot.shown > 0);
        shown.filter_map(|slot| SlotId::try_from(slot.slot).ok()).collect()
    }

    /// C code that does not come back cannot be interrupted: this process gives up, and says because of whom.
    fn watch_for_hanging(&self) {
        let now = now_ns();
        for feed in self.feeds.values() {
            let since = feed.counters.decoding_since_ns.load(Ordering::Relaxed);
            if since != 0 && now.saturating_sub(since) > HANGING_NS {
                tracing::error!(feed = feed.id, "a decoder hangs");
                crash::blame(feed.id);
                std::process::exit(1);
            }
        }
    }
}

const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// How soon a source that OBS shows is told of: its picture is coarse until the engine knows.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
const HANGING_NS: u64 = 10_000_000_000;
