//! The reading end: what a host announces, checked, and copied out whole, or lent, or not at all.

use crate::layout::{
    AUDIO_HEADER, AudioHeader, MAX_RING, Matrix, PixelFormat, RingShape, Rotation, VIDEO_FIELDS,
    VIDEO_HEADER, VideoHeader, planes,
};
use crate::mapping::ReadMap;
use crate::message::{Look, MAJOR, MAX_TO_READER, MINOR, Older, Report, SlotState, ToHost, ToReader};
use crate::pixels::Pixels;
use crate::socket::{Received, connect, receive, send};
use crate::subject::Subject;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

/// `None`: the planes do not begin at words.
fn lent_planes<'a>(map: &'a ReadMap, info: &VideoInfo) -> Option<[(Pixels<'a>, u32); 3]> {
    let sizes = planes(info.format, info.width, info.height)?;
    let mut lent = [(Pixels::Own(&[]), 0); 3];
    for (((size, stride), place), lent) in sizes.iter().zip(info.strides).zip(info.places).zip(&mut lent) {
        *lent = (Pixels::Lent(map.lend(place, size.rows * stride as usize)?), stride);
    }
    Some(lent)
}

/// A connection to a host, for one subject. Ends with the first [`Disconnect`].
pub struct Reader {
    socket: OwnedFd,
    subject: Subject,
    /// The slot that notes are about; the host chooses it for what is followed.
    slot: Option<u8>,
    host_minor: Option<u8>,
    look: Look,
    ring: Option<(ReadMap, RingShape)>,
    epoch: u32,
    tally: Tally,
}

/// What a host said.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    State(SlotState),
    /// Pictures come from new memory from now on.
    RingReplaced,
    /// A picture can be copied.
    Video(VideoInfo),
    /// A chunk of sound can be copied.
    Audio(AudioInfo),
}

/// The picture that can be copied now, if it is not overwritten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoInfo {
    number: u64,
    /// The last picture of a slot at rest: its timestamp may be long past.
    pub still: bool,
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    pub full_range: bool,
    pub matrix: Matrix,
    pub rotation: Rotation,
    pub timestamp_ns: u64,
    pub arrival_ns: u64,
    pub written_ns: u64,
    strides: [u32; 3],
    /// Where the planes are in the ring; checked.
    places: [usize; 3],
    pixels: u32,
}

impl VideoInfo {
    /// Of the pictures the host wrote, whether or not each was announced to this reader.
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// The chunk of sound that can be copied now, if it is not overwritten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioInfo {
    number: u64,
    pub sample_rate: u32,
    pub frames: usize,
    pub channels: usize,
    pub timestamp_ns: u64,
    pub written_ns: u64,
}

/// A picture of one's own; keeps its memory from one picture to the next.
#[derive(Default)]
pub struct VideoBuffer {
    bytes: Vec<u8>,
    planes: [(usize, usize); 3],
    strides: [u32; 3],
}

impl VideoBuffer {
    /// Plane 0 to 2 and its bytes per row; NV12 has two planes, the third is empty.
    pub fn plane(&self, index: usize) -> (&[u8], u32) {
        let (start, end) = self.planes.get(index).copied().unwrap_or_default();
        (self.bytes.get(start..end).unwrap_or_default(), self.strides.get(index).copied().unwrap_or_default())
    }
}

/// Sound of one's own; keeps its memory from one chunk to the next.
#[derive(Default)]
pub struct AudioBuffer {
    bytes: Vec<u8>,
    samples: Vec<f32>,
    frames: usize,
}

impl AudioBuffer {
    /// The samples of one channel; empty if there is no such channel.
    pub fn channel(&self, index: usize) -> &[f32] {
        index
            .checked_mul(self.frames)
            .and_then(|start| self.samples.get(start..start + self.frames))
            .unwrap_or_default()
    }
}

/// Whether a copy is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Copied {
    Whole,
    /// It was overwritten meanwhile: the buffer's content means nothing.
    Torn,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Disconnect {
    #[error("the host closed the connection")]
    Closed,
    #[error("the host has too many readers")]
    Full,
    /// The two do not understand each other, or the older one not enough of the newer.
    #[error("{}", match .0 {
        Older::Host => "Greenroom is older than its plugin in OBS: update Greenroom",
        Older::Reader => "the plugin in OBS is older than Greenroom: update it there, then restart OBS",
    })]
    Version(Older),
    #[error("the host has no such slot")]
    NoSuchSlot,
    /// The host broke the protocol.
    #[error("the host cannot be trusted: {0}")]
    Violation(&'static str),
    #[error("the host's ring cannot be used: {0}")]
    Ring(#[source] io::Error),
}

impl Reader {
    /// Connects without waiting; what the host has to say comes from [`Reader::next`].
    pub fn connect(path: &Path, subject: Subject) -> io::Result<Self> {
        let socket = connect(path)?;
        let slot = subject.plain_slot();
        let reader = Self {
            socket,
            subject,
            slot,
            host_minor: None,
            look: Look::default(),
            ring: None,
            epoch: 0,
            tally: Tally::default(),
        };
        // A host that hung up already may have said why: its last words are read like any.
        reader.tell(&ToHost::Hello { major: MAJOR, minor: MINOR });
        if let Some(slot) = slot {
            reader.tell(&ToHost::Subscribe { slot });
        }
        Ok(reader)
    }

    /// The next event, if there is one; never waits. `now` is [`crate::now_ns`].
    pub fn next(&mut self, now: u64) -> Result<Option<Event>, Disconnect> {
        // Bounded, so that a host that floods us with nothing cannot keep us here.
        for _ in 0..MESSAGES_PER_CALL {
            let Some((slot, message)) = self.message()? else { return Ok(None) };
            if *self.slot.get_or_insert(slot) != slot {
                return Err(Disconnect::Violation("a note about another slot"));
            }
            let event = match message {
                Note::State(state) => {
                    self.epoch = state.epoch;
                    Some(Event::State(state))
                }
                Note::Ring { length, descriptor } => {
                    self.ring = Some(map_ring(length, descriptor)?);
                    Some(Event::RingReplaced)
                }
                Note::Video { number, still } => self.video(number, still, now)?.map(Event::Video),
                Note::Audio { number } => self.audio(number, now)?.map(Event::Audio),
            };
            if event.is_some() {
                return Ok(event);
            }
        }
        Ok(None)
    }

    /// Says where the picture is seen; pictures come only while it is.
    pub fn set_look(&mut self, look: Look) {
        if std::mem::replace(&mut self.look, look) != look {
            self.tell_look();
        }
    }

    /// Until the host has greeted, in the words of version 1.0.
    fn tell_look(&self) {
        match self.host_minor {
            None if self.slot.is_none() => {}
            None | Some(0) => self.tell(&ToHost::Shown(self.look.is_shown())),
            Some(_) => self.tell(&ToHost::Look(self.look)),
        }
    }

    fn on_welcome(&mut self, minor: u8) -> Result<(), Disconnect> {
        self.host_minor = Some(minor);
        match (self.subject.plain_slot(), minor) {
            (Some(_), _) => {}
            // It knows slots only.
            (None, 0) => return Err(Disconnect::Version(Older::Host)),
            (None, _) => self.tell(&ToHost::Follow(self.subject.clone())),
        }
        if self.look.is_shown() {
            self.tell_look();
        }
        Ok(())
    }

    /// If it does not fit, the host does not read: then it does not write either.
    fn tell(&self, message: &ToHost) {
        send(&self.socket, &message.encode(), None);
    }

    /// Tells the host how the last second went, from [`Reader::copy_video`] and [`Reader::handed_over`].
    pub fn send_report(&mut self) {
        let report = self.tally.take();
        // Before the greeting is answered, it would be out of order.
        if self.host_minor.is_some() {
            self.tell(&ToHost::Report(report));
        }
    }

    /// Copies the picture. What a host scribbles meanwhile can make it torn, not dangerous.
    pub fn copy_video(&mut self, info: &VideoInfo, buffer: &mut VideoBuffer) -> Copied {
        let Some((map, shape)) = &self.ring else { return Copied::Torn };
        let cell = shape.video_offset(info.number);
        buffer.bytes.resize(info.pixels as usize, 0);
        (buffer.planes, buffer.strides) = ([(0, 0); 3], info.strides);
        let mut whole = map.is_whole(cell, info.number);
        let mut start = 0;
        for (i, size) in planes(info.format, info.width, info.height).unwrap_or_default().iter().enumerate() {
            let end = start + size.rows * info.strides[i] as usize;
            whole = whole && buffer.bytes.get_mut(start..end).is_some_and(|to| map.load(info.places[i], to));
            buffer.planes[i] = (start, end);
            start = end;
        }
        if whole && map.is_still_whole(cell, info.number) {
            return Copied::Whole;
        }
        self.tally.torn += 1;
        Copied::Torn
    }

    /// Lends the picture's planes, with bytes per row, to `take`, which copies them, out of the ring itself: each byte is
    /// copied once instead of twice. `Torn`: it was overwritten meanwhile, and what `take` has means nothing. That cannot
    /// happen unless the host writes [`SPARE_CELLS`] pictures while `take` works: where it is nearer, and it overwrites the oldest
    /// first, `buffer` is lent, with a copy that is known to be whole, or `take` is not called.
    pub fn lend_video(
        &mut self,
        info: &VideoInfo,
        buffer: &mut VideoBuffer,
        take: impl FnOnce([(Pixels<'_>, u32); 3]),
    ) -> Copied {
        let Some((map, shape)) = &self.ring else { return Copied::Torn };
        let cell = shape.video_offset(info.number);
        let near = info.number.saturating_add(u64::from(shape.video_cells.saturating_sub(SPARE_CELLS)));
        if !map.is_whole(cell, info.number) {
            self.tally.torn += 1;
            return Copied::Torn;
        }
        let Some(planes) =
            lent_planes(map, info).filter(|_| !map.has_reached(shape.video_offset(near), near))
        else {
            if self.copy_video(info, buffer) == Copied::Torn {
                return Copied::Torn;
            }
            let own: [_; 3] = std::array::from_fn(|i| {
                let (bytes, stride) = buffer.plane(i);
                (Pixels::Own(bytes), stride)
            });
            take(own);
            return Copied::Whole;
        };
        take(planes);
        if map.is_still_whole(cell, info.number) {
            return Copied::Whole;
        }
        self.tally.torn += 1;
        Copied::Torn
    }

    /// Copies the sound. Samples that are no numbers become silence, and none is louder than [`LOUDEST`].
    pub fn copy_audio(&mut self, info: &AudioInfo, buffer: &mut AudioBuffer) -> Copied {
        let Some((map, shape)) = &self.ring else { return Copied::Torn };
        let cell = shape.audio_offset(info.number);
        let plane = (info.frames * 4).next_multiple_of(8);
        buffer.bytes.resize(plane * info.channels, 0);
        let whole = map.is_whole(cell, info.number)
            && map.load(cell + AUDIO_HEADER, &mut buffer.bytes)
            && map.is_still_whole(cell, info.number);
        if !whole {
            return Copied::Torn;
        }
        buffer.frames = info.frames;
        buffer.samples.clear();
        for channel in buffer.bytes.chunks_exact(plane) {
            let samples = channel.as_chunks::<4>().0.iter().take(info.frames).map(|bytes| {
                let sample = f32::from_le_bytes(*bytes);
                if sample.is_finite() { sample.clamp(-LOUDEST, LOUDEST) } else { 0.0 }
            });
            buffer.samples.extend(samples);
        }
        Copied::Whole
    }

    /// Counts a picture as delivered at `now`, for the report.
    pub fn handed_over(&mut self, info: &VideoInfo, read_at: u64, now: u64) {
        self.tally.delivered += 1;
        if !info.still {
            self.tally.push(read_at.saturating_sub(info.written_ns), now.saturating_sub(info.arrival_ns));
        }
    }

    /// Counts a picture that was overtaken by the next before it could be handed over.
    pub fn skipped(&mut self) {
        self.tally.skipped += 1;
    }

    fn video(&mut self, number: u64, still: bool, now: u64) -> Result<Option<VideoInfo>, Disconnect> {
        let (map, shape) = self.ring.as_ref().ok_or(Disconnect::Violation("a picture without a ring"))?;
        let cell = shape.video_offset(number);
        let mut header = [0; VIDEO_FIELDS];
        if !(map.is_whole(cell, number)
            && map.load(cell + 8, &mut header)
            && map.is_still_whole(cell, number))
        {
            self.tally.skipped += 1;
            return Ok(None);
        }
        let header = VideoHeader::decode(&header, shape.picture_room(), shape.length)
            .ok_or(Disconnect::Violation("a picture that cannot be"))?;
        if header.epoch != self.epoch {
            self.tally.skipped += 1;
            return Ok(None);
        }
        if !(is_near(header.timestamp_ns, now)
            || still && header.timestamp_ns <= now.saturating_add(MAX_AHEAD))
        {
            self.tally.refused += 1;
            return Ok(None);
        }
        Ok(Some(VideoInfo {
            number,
            still,
            format: header.format,
            width: header.width,
            height: header.height,
            full_range: header.full_range,
            matrix: header.matrix,
            rotation: header.rotation,
            timestamp_ns: header.timestamp_ns,
            arrival_ns: header.arrival_ns,
            written_ns: header.written_ns,
            strides: header.strides,
            places: header.places(cell + VIDEO_HEADER),
            pixels: header.pixels,
        }))
    }

    fn audio(&mut self, number: u64, now: u64) -> Result<Option<AudioInfo>, Disconnect> {
        let (map, shape) = self.ring.as_ref().ok_or(Disconnect::Violation("sound without a ring"))?;
        let cell = shape.audio_offset(number);
        let mut header = [0; 56];
        if !(map.is_whole(cell, number)
            && map.load(cell + 8, &mut header)
            && map.is_still_whole(cell, number))
        {
            return Ok(None);
        }
        let room = shape.audio_cell - AUDIO_HEADER;
        let header =
            AudioHeader::decode(&header, room).ok_or(Disconnect::Violation("sound that cannot be"))?;
        if header.epoch != self.epoch {
            return Ok(None);
        }
        if !is_near(header.timestamp_ns, now) {
            self.tally.refused += 1;
            return Ok(None);
        }
        Ok(Some(AudioInfo {
            number,
            sample_rate: header.sample_rate,
            frames: header.frames,
            channels: header.channels,
            timestamp_ns: header.timestamp_ns,
            written_ns: header.written_ns,
        }))
    }

    /// The next note about a slot; greetings are dealt with here.
    fn message(&mut self) -> Result<Option<(u8, Note)>, Disconnect> {
        for _ in 0..MESSAGES_PER_CALL {
            let mut bytes = [0; MAX_TO_READER];
            let (message, descriptor) = match receive(&self.socket, &mut bytes) {
                Received::Nothing => return Ok(None),
                Received::End => return Err(Disconnect::Closed),
                Received::Message(length, descriptor) => {
                    (bytes.get(..length).and_then(ToReader::decode), descriptor)
                }
            };
            let message = message.ok_or(Disconnect::Violation("a message that means nothing"))?;
            if self.host_minor.is_none()
                && !matches!(message, ToReader::Welcome { .. } | ToReader::Refused(_))
            {
                return Err(Disconnect::Violation("a note before the greeting"));
            }
            return Ok(Some(match message {
                ToReader::Welcome { major: MAJOR, minor, .. } => {
                    self.on_welcome(minor)?;
                    continue;
                }
                ToReader::Welcome { major, .. } => {
                    let older = if major < MAJOR { Older::Host } else { Older::Reader };
                    return Err(Disconnect::Version(older));
                }
                ToReader::Refused(why) => return Err(why.into()),
                ToReader::Unknown if self.host_minor > Some(MINOR) => continue,
                ToReader::Unknown => return Err(Disconnect::Violation("a message of no known kind")),
                ToReader::State { slot, state } => (slot, Note::State(state)),
                ToReader::Ring { slot, length, .. } => {
                    let descriptor =
                        descriptor.ok_or(Disconnect::Violation("a ring without a descriptor"))?;
                    (slot, Note::Ring { length, descriptor })
                }
                ToReader::Video { slot, still, number } => (slot, Note::Video { number, still }),
                ToReader::Audio { slot, number } => (slot, Note::Audio { number }),
            }));
        }
        Ok(None)
    }
}

impl AsFd for Reader {
    /// Readable when [`Reader::next`] has something.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

enum Note {
    State(SlotState),
    Ring { length: u64, descriptor: OwnedFd },
    Video { number: u64, still: bool },
    Audio { number: u64 },
}

impl From<crate::message::Refusal> for Disconnect {
    fn from(why: crate::message::Refusal) -> Self {
        use crate::message::Refusal::*;
        match why {
            Full => Self::Full,
            Version => Self::Version(Older::Host),
            NoSuchSlot => Self::NoSuchSlot,
        }
    }
}

fn map_ring(length: u64, descriptor: OwnedFd) -> Result<(ReadMap, RingShape), Disconnect> {
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_RING)
        .ok_or(Disconnect::Violation("a ring too large"))?;
    let map = ReadMap::open(&descriptor, length).map_err(Disconnect::Ring)?;
    let shape = RingShape::read(&map, length).map_err(Disconnect::Ring)?;
    Ok((map, shape))
}

/// libobs stretches its audio buffering for all sources to follow a timestamp that is far off, and never
/// shrinks it again; so none such gets there.
fn is_near(timestamp: u64, now: u64) -> bool {
    timestamp <= now.saturating_add(MAX_AHEAD) && timestamp.saturating_add(MAX_BEHIND) >= now
}

/// One slot of a host, for a list to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotInfo {
    pub slot: u8,
    pub state: SlotState,
}

impl SlotInfo {
    /// "Guest 1", or "Guest 1 — Ada".
    pub fn label(&self) -> String {
        let label = crate::slot_label(self.slot);
        match self.state.occupant.as_deref() {
            Some(name) if !name.is_empty() => format!("{label} — {name}"),
            _ => label,
        }
    }
}

/// Asks the host at `path` for its slots; waits up to `patience`.
pub fn list_slots(path: &Path, patience: Duration) -> io::Result<Vec<SlotInfo>> {
    let refuse = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
    let deadline = Instant::now() + patience;
    let socket = connect(path)?;
    for message in [ToHost::Hello { major: MAJOR, minor: MINOR }, ToHost::Subscribe { slot: 0 }] {
        send(&socket, &message.encode(), None);
    }
    let mut expected = None;
    let mut slots: Vec<SlotInfo> = Vec::new();
    while expected != Some(slots.len()) {
        let left = deadline.checked_duration_since(Instant::now()).ok_or(io::ErrorKind::TimedOut)?;
        let left = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
        poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&left))?;
        let mut bytes = [0; MAX_TO_READER];
        match receive(&socket, &mut bytes) {
            Received::Nothing => {}
            Received::End => return Err(io::ErrorKind::ConnectionReset.into()),
            Received::Message(length, _) => match bytes.get(..length).and_then(ToReader::decode) {
                Some(ToReader::Welcome { major: MAJOR, slots, .. }) => expected = Some(usize::from(slots)),
                Some(ToReader::State { slot, state }) if expected.is_some() => {
                    slots.retain(|known| known.slot != slot);
                    slots.push(SlotInfo { slot, state });
                }
                _ => return Err(refuse("the host does not speak our protocol")),
            },
        }
    }
    slots.sort_by_key(|info| info.slot);
    Ok(slots)
}

/// What goes into a report.
#[derive(Default)]
struct Tally {
    delivered: u32,
    skipped: u32,
    torn: u32,
    refused: u32,
    /// Nanoseconds; at most [`SAMPLES`] each, later ones of the same second are not measured.
    handovers: Vec<u64>,
    arrivals: Vec<u64>,
}

impl Tally {
    fn push(&mut self, handover: u64, arrival: u64) {
        if self.handovers.len() < SAMPLES {
            self.handovers.push(handover);
            self.arrivals.push(arrival);
        }
    }

    fn take(&mut self) -> Report {
        let Self { delivered, skipped, torn, refused, mut handovers, mut arrivals } = std::mem::take(self);
        handovers.sort_unstable();
        arrivals.sort_unstable();
        let at = |sorted: &[u64], percent: usize| {
            let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
            let ns = sorted.get(index).copied().unwrap_or_default();
            u32::try_from(ns / 1000).unwrap_or(u32::MAX)
        };
        Report {
            delivered,
            skipped,
            torn,
            refused,
            handover_p50_us: at(&handovers, 50),
            handover_max_us: at(&handovers, 100),
            arrival_p50_us: at(&arrivals, 50),
            arrival_p95_us: at(&arrivals, 95),
            arrival_p99_us: at(&arrivals, 99),
        }
    }
}

/// 18 dB above full scale: more than a mixer needs, little enough for every filter.
pub const LOUDEST: f32 = 8.0;
const MAX_AHEAD: u64 = 500_000_000;
const MAX_BEHIND: u64 = 1_500_000_000;
/// A picture that the host would reach after writing as many more is not lent.
const SPARE_CELLS: u32 = 2;
const MESSAGES_PER_CALL: usize = 256;
const SAMPLES: usize = 256;
