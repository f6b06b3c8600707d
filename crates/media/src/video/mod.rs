//! One guest's pictures: ordered, joined, gated, decoded, and handed over at their time.

pub mod decoder;
mod hardware;
mod memory;
pub mod preview;

use crate::crash::blaming;
use crate::feed::{Feed, Input};
use crate::link::Link;
use crate::slots::Slots;
use crate::timing::GuestTiming;
use decoder::{DecodeError, Decoder, Picture, Place, Showing};
use frame_ipc::{MAX_PIXELS, MAX_SIDE, Rotation, now_ns};
use preview::Previewer;
use rtp::codec::VideoCodec;
use rtp::ext::ColorSpace;
use rtp::frame::{Frame, FrameAssembler};
use rtp::jitter::{JitterBuffer, JitterConfig, Popped};
use rtp::packet::Packet;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;
use wire::link::{Codec, FromWorker};
use wire::ortc::MediaKind;

/// What the threads of all feeds share.
#[derive(Clone)]
pub struct Surroundings {
    pub link: Arc<Link>,
    pub slots: Arc<Slots>,
    /// Somebody looks at previews.
    pub previews: Arc<AtomicBool>,
    pub decode_at: Place,
}

/// Starts the feed's thread; it ends when the feed's inbox is closed.
pub fn start(feed: Arc<Feed>, timing: Arc<GuestTiming>, around: Surroundings) -> io::Result<()> {
    let name = format!("video-{}", feed.id);
    thread::Builder::new().name(name).spawn(move || {
        blaming(feed.id, || Track::new(feed, timing, around).run());
    })?;
    Ok(())
}

/// One video feed on its thread.
struct Track {
    feed: Arc<Feed>,
    codec: VideoCodec,
    timing: Arc<GuestTiming>,
    around: Surroundings,
    jitter: JitterBuffer<(u64, Vec<u8>)>,
    assembler: FrameAssembler,
    decoder: Option<Decoder>,
    place: Place,
    /// Decoded, waiting for their time. At most [`MAX_HELD`]; when full, the oldest is handed over early.
    held: VecDeque<Held>,
    previewer: Previewer,
    preview_due_ns: u64,
    round_trip_ns: Option<u64>,
    wanted: bool,
    want_keyframe: KeyFrameWish,
    /// Packets come: the slot's readers have been told so.
    flowing: bool,
    /// As the engine was told; `None`: nothing yet.
    works: Option<bool>,
    /// Keyframes that the decoder refused, in a row.
    refused: u32,
    colours: Colours,
}

/// What was said of the colours, with key frames or when it changes.
#[derive(Default)]
struct Colours {
    /// By the packets of the picture that is not yet whole.
    told: Option<ColorSpace>,
    valid: ColorSpace,
}

impl Colours {
    fn of(&mut self, keyframe: bool) -> ColorSpace {
        match self.told.take() {
            Some(told) => self.valid = told,
            // One that says nothing takes back what was said.
            None if keyframe => self.valid = ColorSpace::default(),
            None => {}
        }
        self.valid
    }
}

struct Held {
    picture: Picture,
    captured_ns: Option<u64>,
    due_ns: u64,
    showing: Showing,
}

/// When a keyframe was last asked for.
#[derive(Default)]
struct KeyFrameWish {
    asked_ns: Option<u64>,
    /// In vain, in a row.
    times: u32,
}

impl Track {
    fn new(feed: Arc<Feed>, timing: Arc<GuestTiming>, around: Surroundings) -> Self {
        let codec = match feed.codec {
            Codec::Vp9 => VideoCodec::Vp9,
            Codec::H264 => VideoCodec::H264,
            Codec::Av1 => VideoCodec::Av1,
            // No feed of sound gets here.
            Codec::Vp8 | Codec::Opus => VideoCodec::Vp8,
        };
        Self {
            codec,
            timing,
            place: around.decode_at,
            around,
            jitter: JitterBuffer::new(JitterConfig::video()),
            assembler: FrameAssembler::new(codec, feed.orientation_id),
            decoder: None,
            held: VecDeque::new(),
            previewer: Previewer::default(),
            preview_due_ns: 0,
            round_trip_ns: None,
            wanted: false,
            want_keyframe: KeyFrameWish::default(),
            flowing: false,
            works: None,
            refused: 0,
            colours: Colours::default(),
            feed,
        }
    }

    fn run(mut self) {
        let mut inputs = VecDeque::new();
        while self.feed.inbox.wait(self.patience(), &mut inputs) {
            self.look_around();
            for input in inputs.drain(..) {
                self.take(input);
            }
            self.proceed();
            self.hand_over_due();
            self.tell_flow();
            self.ask_for_keyframe();
        }
    }

    /// Until something has to happen by itself.
    fn patience(&self) -> Duration {
        let deadlines = [self.jitter.next_deadline_ns(), self.held.front().map(|held| held.due_ns)];
        let next = deadlines.into_iter().flatten().min();
        next.map_or(IDLE, |at| Duration::from_nanos(at.saturating_sub(now_ns())).min(IDLE))
    }

    /// Decoding for nobody would be waste; who is wanted anew has to begin with a keyframe.
    fn look_around(&mut self) {
        let previews = self.around.previews.load(Ordering::Acquire);
        let wanted = previews || self.around.slots.is_seen(self.feed.author());
        if wanted && !self.wanted {
            self.start_over();
            self.want_keyframe = KeyFrameWish::default();
        }
        self.wanted = wanted;
    }

    fn start_over(&mut self) {
        self.jitter = JitterBuffer::new(JitterConfig::video());
        self.set_round_trip();
        self.assembler = FrameAssembler::new(self.codec, self.feed.orientation_id);
        self.held.clear();
        if let Some(decoder) = &mut self.decoder {
            decoder.flush();
        }
    }

    fn set_round_trip(&mut self) {
        if let Some(round_trip_ns) = self.round_trip_ns {
            self.jitter.set_round_trip_ns(round_trip_ns);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::RoundTrip { ms } => {
                self.round_trip_ns = Some(u64::from(ms) * 1_000_000 + RESENDING_NS);
                self.set_round_trip();
            }
            Input::SenderReport { ntp, rtp_timestamp } => {
                self.timing.handle_sender_report(MediaKind::Video, ntp, rtp_timestamp);
            }
            Input::Packet { arrival_ns, bytes } => {
                self.feed.counters.arrived_ns.store(arrival_ns, Ordering::Relaxed);
                let Ok(packet) = Packet::parse(&bytes) else { return };
                if packet.payload_type() != self.feed.payload_type {
                    return;
                }
                self.timing.handle_packet(MediaKind::Video, arrival_ns, packet.timestamp());
                if let Some(captured) = self.feed.capture_time(&packet) {
                    self.timing.handle_capture_time(MediaKind::Video, captured, packet.timestamp());
                }
                if self.wanted {
                    let (number, timestamp) = (packet.sequence_number(), packet.timestamp());
                    self.jitter.insert(arrival_ns, number, timestamp, (arrival_ns, bytes));
                }
            }
        }
    }

    /// Joins and decodes what is in order by now.
    fn proceed(&mut self) {
        while let Some(popped) = self.jitter.pop(now_ns()) {
            // The assembler sees the hole in the numbers.
            let Popped::Packet { sequence, item: (arrival_ns, bytes) } = popped else { continue };
            let Ok(packet) = Packet::parse(&bytes) else { continue };
            self.colours.told = self.feed.colours(&packet).or(self.colours.told);
            let frames = self.assembler.push(sequence, arrival_ns, &packet);
            for frame in frames {
                self.handle_frame(frame);
            }
        }
        let withheld = self.assembler.stats();
        self.feed.counters.concealed.store(withheld.withheld + withheld.broken, Ordering::Relaxed);
    }

    fn handle_frame(&mut self, frame: Frame) {
        let colours = self.colours.of(frame.keyframe);
        if !frame.continuous {
            return;
        }
        if let Some((width, height)) = frame.size
            && !self.accept_size(width, height)
        {
            self.assembler.require_keyframe();
            return;
        }
        // Too far behind to catch up by decoding everything.
        if !frame.keyframe && now_ns().saturating_sub(frame.last_arrival_ns) > TOO_FAR_BEHIND_NS {
            tracing::debug!(feed = self.feed.id, "behind: on to the next keyframe");
            self.assembler.require_keyframe();
            return;
        }
        match self.decode(&frame, colours) {
            Ok(Some(picture)) => self.handle_picture(picture, &frame),
            Ok(None) => {}
            Err(error) => {
                tracing::debug!(feed = self.feed.id, %error, "not decoded");
                self.refused += u32::from(frame.keyframe);
                if matches!(error, DecodeError::Missing(_)) || self.refused >= HOPELESS {
                    self.fail(format!("unsupported video: {error}"));
                }
                if self.decoder.take().is_some_and(|decoder| decoder.on_card) {
                    tracing::warn!(feed = self.feed.id, %error, "the graphics card does not decode this: the processor does");
                    self.place = Place::Processor;
                }
                self.assembler.require_keyframe();
            }
        }
    }

    fn accept_size(&mut self, width: u32, height: u32) -> bool {
        let fits = width.max(height) <= MAX_SIDE && width.saturating_mul(height) <= MAX_PIXELS;
        if !fits {
            self.fail(format!(
                "unsupported video: the picture is too large ({width}×{height}); 4096×2304 is the most"
            ));
        }
        fits
    }

    /// Told once, until it works again.
    fn fail(&mut self, reason: String) {
        if self.works != Some(false)
            && self.around.link.tell(&FromWorker::FeedFailed { feed: self.feed.id, reason })
        {
            self.works = Some(false);
            self.around.slots.set_unsupported(self.feed.author(), true);
        }
    }

    fn work(&mut self) {
        self.refused = 0;
        if self.works != Some(true)
            && self.around.link.tell(&FromWorker::FeedWorks { feed: self.feed.id })
            && self.works.replace(true) == Some(false)
        {
            self.around.slots.set_unsupported(self.feed.author(), false);
        }
    }

    fn decode(&mut self, frame: &Frame, colours: ColorSpace) -> Result<Option<Picture>, DecodeError> {
        let feed = self.feed.clone();
        let since = &feed.counters.decoding_since_ns;
        let began = now_ns();
        since.store(began, Ordering::Relaxed);
        let lender = self.around.slots.lender(feed.author());
        let result = self.decoder().and_then(|decoder| {
            decoder.set_lender(lender);
            decoder.decode(&frame.data, frame.timestamp, colours)
        });
        since.store(0, Ordering::Relaxed);
        feed.counters.decoding_us.fetch_add(now_ns().saturating_sub(began) / 1_000, Ordering::Relaxed);
        result
    }

    fn decoder(&mut self) -> Result<&mut Decoder, DecodeError> {
        match &mut self.decoder {
            Some(decoder) => Ok(decoder),
            none => Ok(none.insert(Decoder::new(self.codec, self.place)?)),
        }
    }

    fn handle_picture(&mut self, picture: Picture, frame: &Frame) {
        self.want_keyframe.times = 0;
        self.work();
        let ready_ns = now_ns();
        let captured_ns = self.timing.captured_ns(MediaKind::Video, picture.timestamp as u32);
        let (shown_ns, due_ns) = match captured_ns {
            Some(captured) => self.timing.handle_picture(captured, ready_ns),
            None => (ready_ns, ready_ns),
        };
        let degrees = frame.orientation.rotation.degrees();
        let rotation = Rotation::from_degrees(degrees).unwrap_or_default();
        let showing = Showing { timestamp_ns: shown_ns, arrival_ns: frame.last_arrival_ns, rotation };
        self.held.push_back(Held {
            picture,
            captured_ns,
            due_ns: due_ns.min(ready_ns + MAX_HOLD_NS),
            showing,
        });
        self.hand_over_due();
        if self.held.len() > MAX_HELD {
            self.hand_over();
        }
    }

    fn hand_over_due(&mut self) {
        while self.held.front().is_some_and(|held| held.due_ns <= now_ns()) {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let Some(Held { picture, captured_ns, showing, .. }) = self.held.pop_front() else { return };
        let (slots, feed) = (&self.around.slots, &self.feed);
        picture.lend(&showing, |frame| slots.write_video(feed.author(), frame, &feed.active));
        let now = now_ns();
        let counters = &self.feed.counters;
        counters.delivered.fetch_add(1, Ordering::Relaxed);
        let (width, height) = picture.size();
        counters.width.store(width, Ordering::Relaxed);
        counters.height.store(height, Ordering::Relaxed);
        counters.buffer_us.store(now.saturating_sub(showing.arrival_ns) / 1000, Ordering::Relaxed);
        if let Some(captured) = captured_ns {
            self.timing.note_shown(captured, now);
        }
        self.preview(&picture, showing.rotation, now);
    }

    fn preview(&mut self, picture: &Picture, rotation: Rotation, now: u64) {
        if !self.around.previews.load(Ordering::Acquire) || now < self.preview_due_ns {
            return;
        }
        // The next one is due a period after this one was, not after it came, or 30 fps would give 7.5 for 8.
        self.preview_due_ns = (self.preview_due_ns + PREVIEW_PERIOD_NS).max(now);
        match self.previewer.jpeg(picture, rotation) {
            Ok(jpeg) => {
                let id = self.feed.screen.map_or(self.feed.peer.0, |producer| producer.0);
                self.around.link.preview(id, &jpeg);
            }
            Err(error) => tracing::debug!(feed = self.feed.id, %error, "no preview"),
        }
    }

    /// A slot to which nothing comes shows what the streamer chose for that, decoded or not. Called at least every
    /// [`IDLE`].
    fn tell_flow(&mut self) {
        let flowing = self.feed.is_flowing(now_ns()) && self.works != Some(false);
        if self.flowing || flowing {
            self.around.slots.set_live(self.feed.author(), MediaKind::Video, &self.feed.active, flowing);
        }
        self.flowing = flowing;
    }

    fn ask_for_keyframe(&mut self) {
        let now = now_ns();
        let active = self.feed.active.load(Ordering::Acquire);
        // A sender that has stopped sending need not be asked.
        let coming = active && (self.feed.is_flowing(now) || self.want_keyframe.times == 0);
        if !self.wanted || !coming || !self.assembler.needs_keyframe() || !self.want_keyframe.is_due(now) {
            return;
        }
        if self.around.link.tell(&FromWorker::KeyFrameNeeded { feed: self.feed.id }) {
            self.want_keyframe.asked_ns = Some(now);
            self.want_keyframe.times += 1;
        }
    }
}

impl KeyFrameWish {
    /// Less often when it does not help.
    fn is_due(&self, now: u64) -> bool {
        let pause = if self.times < PATIENT_WISHES { KEYFRAME_PAUSE_NS } else { KEYFRAME_LONG_PAUSE_NS };
        self.asked_ns.is_none_or(|asked| now.saturating_sub(asked) >= pause)
    }
}

/// What a retransmission takes beside the way: the forwarding worker asks every 10 ms, and browsers pace what they send.
const RESENDING_NS: u64 = 20_000_000;
/// A damaged keyframe is followed by a whole one; so many in a row are of a kind that is not decoded here.
const HOPELESS: u32 = 5;
const IDLE: Duration = Duration::from_millis(250);
/// A quarter of a second of 30 fps.
const MAX_HELD: usize = 8;
const MAX_HOLD_NS: u64 = 500_000_000;
const TOO_FAR_BEHIND_NS: u64 = 700_000_000;
const PREVIEW_PERIOD_NS: u64 = 125_000_000;
const KEYFRAME_PAUSE_NS: u64 = 300_000_000;
const KEYFRAME_LONG_PAUSE_NS: u64 = 1_000_000_000;
const PATIENT_WISHES: u32 = 10;
