//! The main thread: follows the engine's orders, reports once a second, and sees to it that nobody hangs.

use crate::audio::{self, AudioThread};
use crate::crash;
use crate::feed::{Feed, Input, Routes};
use crate::followers::Followers;
use crate::link::{Link, Order};
use crate::monitor::Monitor;
use crate::record::{Content, Records};
use crate::slots::{Author, Slots};
use crate::timing::GuestTiming;
use crate::video::decoder::Place;
use crate::video::{self, Surroundings};
use frame_ipc::{Host, Older, now_ns};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use wire::link::{Codec, FeedId, FeedReport, FromWorker, Steadiness, ToWorker, Use};
use wire::obs::Mismatch;
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
    let (host, slots, slot_count, decode_at) = loop {
        match link.next_order(REPORT_PERIOD, &mut inbox) {
            Ok(Order::Message(ToWorker::Start { socket_path, slot_count, hardware_decoding })) => {
                let count = slot_count.min(SlotId::MAX);
                match Host::bind(Path::new(&socket_path), count) {
                    Ok(host) => {
                        let slots = Slots::new(&host, count);
                        let place = if hardware_decoding { Place::Anywhere } else { Place::Processor };
                        break (host, slots, count, place);
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
        Surroundings { link, slots: Arc::new(slots), previews: Arc::new(AtomicBool::new(false)), decode_at };
    let monitor = match Monitor::start(monitor_program(), surroundings.link.clone()) {
        Ok(monitor) => monitor,
        Err(error) => return Exit::Link(error),
    };
    let audio = match AudioThread::start(surroundings.clone(), &monitor) {
        Ok(audio) => audio,
        Err(error) => return Exit::Link(error),
    };
    surroundings.link.tell(&FromWorker::Ready);
    Control {
        host,
        routes,
        audio,
        monitor,
        around: surroundings,
        guests: HashMap::new(),
        steadiness: HashMap::new(),
        feeds: HashMap::new(),
        refused: HashMap::new(),
        used: Vec::new(),
        told_silent: HashSet::new(),
        followers: Followers::default(),
        slot_count,
    }
    .follow(inbox)
}

/// Beside this program.
fn monitor_program() -> PathBuf {
    let here = std::env::current_exe().ok();
    here.and_then(|here| Some(here.parent()?.join(MONITOR))).unwrap_or_else(|| MONITOR.into())
}

/// Hands each record to its feed until the pipe ends.
fn read_records(media: OwnedFd, routes: &Routes) {
    let mut records = Records::new(File::from(media));
    // Feeds to which something came that their readers do not know of yet. At most all of them.
    let mut news: Vec<Arc<Feed>> = Vec::new();
    loop {
        if records.is_empty() {
            news.drain(..).for_each(|feed| feed.inbox.announce());
        }
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
                    // Sound is taken at the next tick, without being told.
                    let is_known = news.iter().any(|known| known.id == feed.id);
                    if feed.kind == MediaKind::Video && !is_known {
                        news.push(feed);
                    }
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
    monitor: Monitor,
    around: Surroundings,
    guests: HashMap<PeerId, Guest>,
    /// Of peers, present or announced, who are not as usual; the engine takes it back when they leave.
    steadiness: HashMap<PeerId, Steadiness>,
    feeds: HashMap<FeedId, Arc<Feed>>,
    /// Whose pictures are left out.
    refused: HashMap<FeedId, Author>,
    /// As the engine was told.
    used: Vec<Use>,
    /// Pictures of which the engine was told that nothing comes.
    told_silent: HashSet<FeedId>,
    followers: Followers,
    slot_count: u8,
}

/// A peer with at least one feed.
#[derive(Default)]
struct Guest {
    timing: Arc<GuestTiming>,
    video: Option<FeedId>,
    audio: Option<FeedId>,
    /// A screen keeps a clock of its own: it has no sound, and shall not wait for that of the microphone.
    screen_timing: Arc<GuestTiming>,
    screen: Option<FeedId>,
}

impl Guest {
    fn place_of(&mut self, feed: &Feed) -> (&mut Option<FeedId>, &Arc<GuestTiming>) {
        match (feed.kind, feed.screen) {
            (MediaKind::Audio, _) => (&mut self.audio, &self.timing),
            (MediaKind::Video, None) => (&mut self.video, &self.timing),
            (MediaKind::Video, Some(_)) => (&mut self.screen, &self.screen_timing),
        }
    }
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
            self.look_around();
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
            ToWorker::RefuseFeed { feed, peer, kind, screen } => self.refuse_feed(feed, peer, kind, screen),
            ToWorker::PauseFeed { feed, paused } => {
                if let Some(feed) = self.feeds.get(&feed) {
                    feed.active.store(!paused, Ordering::Release);
                    if paused {
                        self.around.slots.set_live(feed.author(), feed.kind, &feed.active, false);
                    }
                }
            }
            ToWorker::BindSlot { slot, occupant } => {
                self.around.slots.bind(slot.number(), occupant);
                self.nudge_all();
            }
            ToWorker::BindSubject { subject, occupant } => {
                self.followers.bind(&self.host, &self.around.slots, subject, occupant);
                self.nudge_all();
            }
            ToWorker::SetSteadiness { peer, steadiness } => self.set_steadiness(peer, steadiness),
            ToWorker::Monitor(monitoring) => self.monitor.set(monitoring),
            ToWorker::SetHearing { peer, hearing } => self.monitor.set_hearing(peer, hearing),
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
        let feed = Arc::new(feed);
        let (place, timing) = self.guests.entry(feed.peer).or_default().place_of(&feed);
        let (before, timing) = (place.replace(feed.id), timing.clone());
        if let Some(before) = before {
            self.remove_feed(before);
        }
        timing.begin(feed.kind);
        timing.set_steadiness(self.steadiness.get(&feed.peer).copied().unwrap_or_default());
        match feed.kind {
            MediaKind::Video => {
                if let Err(error) = video::start(feed.clone(), timing, self.around.clone()) {
                    let reason = format!("this computer cannot start another picture ({error})");
                    self.around.link.tell(&FromWorker::FeedFailed { feed: feed.id, reason });
                }
            }
            MediaKind::Audio => self.audio.add(audio::Track::new(feed.clone(), timing)),
        }
        self.routes.insert(feed.clone());
        self.feeds.insert(feed.id, feed);
    }

    fn refuse_feed(&mut self, id: FeedId, peer: PeerId, kind: MediaKind, screen: bool) {
        self.remove_feed(id);
        if kind == MediaKind::Video {
            let author = Author { peer, screen };
            self.refused.insert(id, author);
            self.around.slots.set_unsupported(author, true);
        }
    }

    fn remove_feed(&mut self, id: FeedId) {
        if let Some(author) = self.refused.remove(&id) {
            self.around.slots.set_unsupported(author, false);
        }
        let Some(feed) = self.feeds.remove(&id) else { return };
        self.routes.remove(id);
        feed.active.store(false, Ordering::Release);
        feed.inbox.close();
        self.around.slots.set_live(feed.author(), feed.kind, &feed.active, false);
        if feed.kind == MediaKind::Video {
            self.around.slots.set_unsupported(feed.author(), false);
        }
        self.told_silent.remove(&id);
        if let Some(guest) = self.guests.get_mut(&feed.peer) {
            let (place, _) = guest.place_of(&feed);
            *place = place.filter(|other| *other != id);
            if [guest.video, guest.audio, guest.screen].iter().all(Option::is_none) {
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
                decoding_us: counters.decoding_us.swap(0, Ordering::Relaxed),
                buffer_ms: counters.buffer_us.load(Ordering::Relaxed) as f64 / 1000.0,
                av_offset_ms,
            }
        };
        let feeds = self.feeds.values().map(report).collect();
        let readers = self.host.readers().iter().map(|slot| slot.readers).sum();
        let mismatch = self.host.mismatch().map(|older| match older {
            Older::Reader => Mismatch::OlderPlugin,
            Older::Host => Mismatch::NewerPlugin,
        });
        self.around.link.tell(&FromWorker::Report { feeds, readers, mismatch });
        self.tell_used();
        self.monitor.tell(&self.around.link);
    }

    /// Follows what readers and packets do: called every [`LOOK_PERIOD`].
    fn look_around(&mut self) {
        let readers = self.host.readers();
        self.followers.follow(&self.host, &self.around.slots);
        self.around.slots.seat_late();
        let used = self.followers.uses(self.slot_count, &readers);
        if used != self.used {
            self.used = used;
            self.tell_used();
            self.nudge_all();
        }
        let now = now_ns();
        for feed in self.feeds.values().filter(|feed| feed.kind == MediaKind::Video) {
            let silent = !feed.is_flowing(now);
            if silent != self.told_silent.contains(&feed.id)
                && self.around.link.tell(&FromWorker::Flow { feed: feed.id, flowing: !silent })
            {
                if silent {
                    self.told_silent.insert(feed.id)
                } else {
                    self.told_silent.remove(&feed.id)
                };
            }
        }
    }

    fn tell_used(&self) {
        self.around.link.tell(&FromWorker::Used { places: self.used.clone() });
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

const MONITOR: &str = "greenroom-monitor";
const REPORT_PERIOD: Duration = Duration::from_secs(1);
/// How soon a source that OBS shows is told of: its picture is coarse until the engine knows.
const LOOK_PERIOD: Duration = Duration::from_millis(50);
const HANGING_NS: u64 = 10_000_000_000;
