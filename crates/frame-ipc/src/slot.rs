//! The writing end of one slot: a thread that has a picture puts it into the ring and tells whoever listens.

use crate::host::SlotReaders;
use crate::layout::{
    AUDIO_HEADER, AudioHeader, DEFAULT_PIXELS, MAX_RING, Matrix, PixelFormat, PlaneSize, RingShape, Rotation,
    VIDEO_HEADER, VideoHeader, is_stride, planes,
};
use crate::lending::Lender;
use crate::mapping::WriteMap;
use crate::message::{Look, Report, SlotState, ToReader, bounded, for_minor};
use crate::now_ns;
use crate::socket::{Sent, Wake, send};
use rustix::fd::{AsFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One plane of a picture: rows of `stride` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Plane<'a> {
    pub data: &'a [u8],
    pub stride: usize,
}

/// A picture as a decoder gives it.
#[derive(Clone, Copy, Debug)]
pub struct VideoFrame<'a> {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Three for I420, two for NV12.
    pub planes: &'a [Plane<'a>],
    /// When it is to be seen, `CLOCK_MONOTONIC`.
    pub timestamp_ns: u64,
    /// When its last packet came, `CLOCK_MONOTONIC`.
    pub arrival_ns: u64,
    pub full_range: bool,
    pub matrix: Matrix,
    pub rotation: Rotation,
}

/// How a picture came into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was there: made in memory of [`SlotWriter::lender`].
    InPlace,
    Copied,
}

/// Why a picture or a chunk of sound was not written. Nothing was announced.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("a picture of {width}×{height} is not carried")]
    Size { width: u32, height: u32 },
    #[error("a plane is shorter than its rows")]
    ShortPlane,
    #[error("{channels} channels of {frames} samples at {sample_rate} Hz are not carried")]
    Audio { channels: usize, frames: usize, sample_rate: u32 },
    #[error("the ring cannot grow: {0}")]
    Grow(#[from] io::Error),
}

/// The only writer of one slot. It never waits for a reader: a note that does not fit a reader's socket is
/// dropped. Dropping the writer leaves the slot as it is.
pub struct SlotWriter {
    slot: Arc<Slot>,
    map: Arc<WriteMap>,
    shape: RingShape,
    lender: Lender,
    next_video: u64,
    next_audio: u64,
    epoch: u32,
}

impl SlotWriter {
    pub(crate) fn new(number: u8, wake: Arc<Wake>) -> io::Result<Self> {
        let NewRing { map, descriptor, shape, lender } = new_ring(DEFAULT_PIXELS)?;
        let board = Board {
            state: SlotState::default(),
            ring: Ring { descriptor, generation: 1, length: shape.length as u64 },
            latest: None,
            subscribers: Vec::new(),
        };
        let slot = Arc::new(Slot { number, board: Mutex::new(board), shown: AtomicUsize::new(0), wake });
        Ok(Self { slot, map, shape, lender, next_video: 0, next_audio: 0, epoch: 0 })
    }

    pub(crate) fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }

    /// 1 for "Guest 1".
    pub fn number(&self) -> u8 {
        self.slot.number
    }

    /// Whether any OBS source shows this slot's picture.
    pub fn is_shown(&self) -> bool {
        self.slot.shown.load(Ordering::Relaxed) > 0
    }

    /// For whoever makes this slot's pictures: one that is made in memory lent by this needs no copy. To be asked for anew
    /// with each picture.
    pub fn lender(&self) -> Lender {
        self.lender.clone()
    }

    /// Writes a picture and announces it to the readers that show it.
    pub fn write_video(&mut self, frame: &VideoFrame<'_>) -> Result<Written, WriteError> {
        let (width, height) = (frame.width, frame.height);
        let sizes = planes(frame.format, width, height)
            .filter(|sizes| sizes.len() == frame.planes.len())
            .ok_or(WriteError::Size { width, height })?;
        let mut strides = [0_u32; 3];
        let mut pixels = 0;
        for ((size, plane), stride) in sizes.iter().zip(frame.planes).zip(&mut strides) {
            let needed = (size.rows - 1).checked_mul(plane.stride).and_then(|n| n.checked_add(size.row));
            if plane.stride < size.row || needed.is_none_or(|needed| plane.data.len() < needed) {
                return Err(WriteError::ShortPlane);
            }
            let aligned = size.row.next_multiple_of(ROW_ALIGNMENT);
            *stride = aligned as u32;
            pixels += aligned * size.rows;
        }
        let lent = self.lent_planes(frame, &sizes).filter(|_| self.slot.know_lent());
        if let Some((_, _, own)) = &lent {
            strides = *own;
            pixels = sizes.iter().zip(own).map(|(size, stride)| size.rows * *stride as usize).sum();
        } else if pixels > self.shape.picture_room() {
            self.grow(pixels)?;
        }

        let number = self.next_video;
        self.next_video += 1;
        let cell = self.shape.video_offset(number);
        let header = VideoHeader {
            format: frame.format,
            width,
            height,
            strides,
            full_range: frame.full_range,
            matrix: frame.matrix,
            rotation: frame.rotation,
            timestamp_ns: frame.timestamp_ns,
            arrival_ns: frame.arrival_ns,
            written_ns: now_ns(),
            epoch: self.epoch,
            pixels: pixels as u32,
            lent: lent.map(|(_, places, _)| places),
        };
        self.map.begin(cell, number);
        self.lender.note_begun(number);
        let mut stored = self.map.store(cell + 8, &header.encode());
        if let Some((piece, ..)) = lent {
            self.lender.note_announced(piece, number);
            self.map.end(cell, number);
            self.slot.announce_video(Latest { number, is_lent: true });
            return Ok(Written::InPlace);
        }
        let mut to = cell + VIDEO_HEADER;
        for ((size, plane), stride) in sizes.iter().zip(frame.planes).zip(strides) {
            if plane.stride == stride as usize && plane.data.len() >= plane.stride * size.rows {
                stored &= self.map.store(to, &plane.data[..plane.stride * size.rows]);
            } else {
                for (i, row) in plane.data.chunks(plane.stride).take(size.rows).enumerate() {
                    stored &= self.map.store(to + i * stride as usize, row.get(..size.row).unwrap_or(row));
                }
            }
            to += stride as usize * size.rows;
        }
        debug_assert!(stored, "a checked picture fits its cell");
        self.map.end(cell, number);
        self.slot.announce_video(Latest { number, is_lent: false });
        Ok(Written::Copied)
    }

    /// The piece of the ring where the picture is already, and of each plane its place and its stride.
    fn lent_planes(
        &self,
        frame: &VideoFrame<'_>,
        sizes: &[PlaneSize],
    ) -> Option<(usize, [u32; 3], [u32; 3])> {
        let (mut places, mut strides) = ([0; 3], [0; 3]);
        let mut piece = None;
        for (i, (plane, size)) in frame.planes.iter().zip(sizes).enumerate() {
            let (index, offset) = self.lender.find(plane.data)?;
            let end = offset + plane.stride * size.rows;
            if *piece.get_or_insert(index) != index
                || !offset.is_multiple_of(8)
                || !is_stride(plane.stride, size)
                || end > self.lender.end_of(index)
            {
                return None;
            }
            (places[i], strides[i]) = (u32::try_from(offset).ok()?, plane.stride as u32);
        }
        Some((piece?, places, strides))
    }

    /// Writes a chunk of sound, one slice per channel with `frames` samples each, and announces it.
    pub fn write_audio(
        &mut self,
        channels: &[&[f32]],
        frames: usize,
        sample_rate: u32,
        timestamp_ns: u64,
    ) -> Result<(), WriteError> {
        let header = AudioHeader {
            sample_rate,
            frames,
            channels: channels.len(),
            timestamp_ns,
            written_ns: now_ns(),
            epoch: self.epoch,
        };
        if !header.is_allowed() || channels.iter().any(|samples| samples.len() < frames) {
            return Err(WriteError::Audio { channels: channels.len(), frames, sample_rate });
        }
        let number = self.next_audio;
        self.next_audio += 1;
        let cell = self.shape.audio_offset(number);
        self.map.begin(cell, number);
        let mut stored = self.map.store(cell + 8, &header.encode());
        let mut bytes = [0; MAX_PLANE];
        for (i, samples) in channels.iter().enumerate() {
            for (sample, out) in samples[..frames].iter().zip(bytes.as_chunks_mut::<4>().0) {
                *out = sample.to_le_bytes();
            }
            stored &= self.map.store(cell + AUDIO_HEADER + i * header.plane_bytes(), &bytes[..frames * 4]);
        }
        debug_assert!(stored, "a checked chunk fits its cell");
        self.map.end(cell, number);
        self.slot.announce_audio(number);
        Ok(())
    }

    /// Tells every reader who is in the slot and what to expect. Pictures written before a change of epoch are
    /// not shown any more.
    pub fn set_state(&mut self, state: SlotState) {
        self.epoch = state.epoch;
        self.slot.set_state(state);
    }

    fn grow(&mut self, pixels: usize) -> io::Result<()> {
        let NewRing { map, descriptor, shape, lender } = new_ring(pixels)?;
        debug_assert!(shape.length <= MAX_RING);
        self.slot.replace_ring(descriptor, shape.length as u64);
        (self.map, self.shape, self.lender) = (map, shape, lender.starting_at(self.next_video));
        Ok(())
    }
}

struct NewRing {
    map: Arc<WriteMap>,
    descriptor: OwnedFd,
    shape: RingShape,
    lender: Lender,
}

/// For pictures of up to `pixels` bytes.
fn new_ring(pixels: usize) -> io::Result<NewRing> {
    let (shape, lent) = RingShape::for_pictures(pixels);
    let (map, descriptor) = WriteMap::create(shape.length)?;
    if !shape.write(&map) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let map = Arc::new(map);
    let lender = Lender::new(map.clone(), lent, shape.video_cells);
    Ok(NewRing { map, descriptor, shape, lender })
}

/// What the writer and the host's own thread share about one slot.
pub(crate) struct Slot {
    pub(crate) number: u8,
    /// A lock, because two threads add to what is owed to a reader, in an order that matters. Held for a few
    /// non-blocking sends at most.
    board: Mutex<Board>,
    shown: AtomicUsize,
    wake: Arc<Wake>,
}

struct Board {
    state: SlotState,
    ring: Ring,
    /// The last picture of this epoch.
    latest: Option<Latest>,
    /// At most `MAX_READERS`.
    subscribers: Vec<Subscriber>,
}

#[derive(Clone, Copy)]
struct Latest {
    number: u64,
    is_lent: bool,
}

struct Ring {
    descriptor: OwnedFd,
    generation: u32,
    length: u64,
}

pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) socket: Arc<OwnedFd>,
    /// False: wants to know the state only.
    pub(crate) media: bool,
    /// The minor version it speaks.
    minor: u8,
    look: Look,
    owed: Owed,
    report: Report,
}

/// Messages that must arrive, before any note that could refer to them.
#[derive(Clone, Copy, Default)]
struct Owed {
    ring: bool,
    state: bool,
    still: bool,
}

impl Slot {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announce_video(&self, picture: Latest) {
        let mut board = self.board();
        board.latest = Some(picture);
        let note = ToReader::Video { slot: self.number, still: false, number: picture.number }.encode();
        board.announce(self.number, &note, |subscriber| subscriber.sees(picture));
    }

    /// Whether every reader finds pictures that are not in their cells.
    fn know_lent(&self) -> bool {
        self.board().subscribers.iter().all(|s| !s.media || s.knows_lent())
    }

    fn announce_audio(&self, number: u64) {
        let note = ToReader::Audio { slot: self.number, number }.encode();
        self.board().announce(self.number, &note, |_| true);
    }

    fn set_state(&self, mut state: SlotState) {
        state.occupant = state.occupant.map(|name| bounded(&name));
        let mut board = self.board();
        if board.state == state {
            return;
        }
        if board.state.epoch != state.epoch {
            board.latest = None;
        }
        board.state = state;
        self.owe_all(&mut board, |owed| owed.state = true);
    }

    fn replace_ring(&self, descriptor: OwnedFd, length: u64) {
        let mut board = self.board();
        let generation = board.ring.generation.wrapping_add(1);
        board.ring = Ring { descriptor, generation, length };
        board.latest = None;
        self.owe_all(&mut board, |owed| owed.ring = true);
    }

    fn owe_all(&self, board: &mut Board, add: impl Fn(&mut Owed)) {
        for subscriber in &mut board.subscribers {
            add(&mut subscriber.owed);
        }
        if !board.settle_all(self.number) {
            // The host's thread sends the rest when there is room.
            self.wake.ring();
        }
    }

    pub(crate) fn subscribe(&self, id: u64, socket: Arc<OwnedFd>, media: bool, minor: u8) {
        let owed = Owed { ring: media, state: true, still: false };
        let mut board = self.board();
        board.subscribers.push(Subscriber {
            id,
            socket,
            media,
            minor,
            look: Look::default(),
            owed,
            report: Report::default(),
        });
        board.settle_all(self.number);
    }

    pub(crate) fn unsubscribe(&self, id: u64) {
        let mut board = self.board();
        board.subscribers.retain(|subscriber| subscriber.id != id);
        self.count_shown(&board);
    }

    pub(crate) fn set_look(&self, id: u64, look: Look) {
        let mut board = self.board();
        let at_rest = board.latest.is_some();
        if let Some(subscriber) = board.subscribers.iter_mut().find(|s| s.id == id) {
            // Somebody who saw it before has it already.
            let newly = look.is_shown() && !subscriber.look.is_shown();
            subscriber.owed.still = look.is_shown() && subscriber.owed.still || newly && at_rest;
            subscriber.look = look;
        }
        board.settle_all(self.number);
        self.count_shown(&board);
    }

    pub(crate) fn set_report(&self, id: u64, report: Report) {
        if let Some(subscriber) = self.board().subscribers.iter_mut().find(|s| s.id == id) {
            subscriber.report = report;
        }
    }

    /// Sends what is owed; true if `id` is still owed something.
    pub(crate) fn settle(&self, id: u64) -> bool {
        let mut board = self.board();
        board.settle_all(self.number);
        board.subscribers.iter().any(|s| s.id == id && s.owed.any())
    }

    pub(crate) fn readers(&self) -> SlotReaders {
        let board = self.board();
        let media = || board.subscribers.iter().filter(|s| s.media);
        let looks = || media().map(|s| s.look).filter(|look| look.is_shown());
        SlotReaders {
            slot: self.number,
            readers: media().count() as u32,
            shown: looks().count() as u32,
            look: Look {
                scene: looks().map(|look| look.scene).max().unwrap_or_default(),
                // One whose size is not known may be the largest.
                height: looks()
                    .map(|look| look.height.wrapping_sub(1))
                    .max()
                    .unwrap_or(u16::MAX)
                    .wrapping_add(1),
            },
            reports: media().map(|s| s.report).collect(),
        }
    }

    /// Nobody reads it, and nobody is in it.
    pub(crate) fn is_vacant(&self) -> bool {
        let board = self.board();
        board.state.occupant.is_none() && !board.subscribers.iter().any(|s| s.media)
    }

    pub(crate) fn has_readers(&self) -> bool {
        self.board().subscribers.iter().any(|s| s.media)
    }

    fn count_shown(&self, board: &Board) {
        let shown = board.subscribers.iter().filter(|s| s.look.is_shown()).count();
        self.shown.store(shown, Ordering::Relaxed);
    }
}

impl Board {
    fn announce(&mut self, slot: u8, note: &[u8], wanted: impl Fn(&Subscriber) -> bool) {
        let Self { state, ring, latest, subscribers } = self;
        for subscriber in subscribers.iter_mut().filter(|s| s.media && wanted(s)) {
            // Whoever is about to be told of a new picture needs no old one.
            subscriber.owed.still = false;
            if subscriber.settle(slot, state, ring, *latest) {
                send(&subscriber.socket, note, None);
            }
        }
    }

    fn settle_all(&mut self, slot: u8) -> bool {
        let Self { state, ring, latest, subscribers } = self;
        // Not `all`: each is to be sent what it is owed.
        subscribers.iter_mut().filter_map(|s| (!s.settle(slot, state, ring, *latest)).then_some(())).count()
            == 0
    }
}

impl Subscriber {
    fn knows_lent(&self) -> bool {
        self.minor >= LENT_SINCE
    }

    fn sees(&self, picture: Latest) -> bool {
        self.look.is_shown() && (self.knows_lent() || !picture.is_lent)
    }

    /// Sends what is owed, in order; false if some of it did not fit.
    fn settle(&mut self, slot: u8, state: &SlotState, ring: &Ring, latest: Option<Latest>) -> bool {
        if !self.media {
            self.owed.ring = false;
        }
        if self.owed.ring {
            let note = ToReader::Ring { slot, generation: ring.generation, length: ring.length };
            self.owed.ring = send(&self.socket, &note.encode(), Some(ring.descriptor.as_fd())) == Sent::Full;
        }
        if self.owed.state && !self.owed.ring {
            let note = ToReader::State { slot, state: for_minor(state, self.minor) };
            self.owed.state = send(&self.socket, &note.encode(), None) == Sent::Full;
        }
        if self.owed.still && !self.owed.ring && !self.owed.state {
            self.owed.still = latest.is_some_and(|picture| {
                let note = ToReader::Video { slot, still: true, number: picture.number };
                self.sees(picture) && send(&self.socket, &note.encode(), None) == Sent::Full
            });
        }
        !self.owed.any()
    }
}

impl Owed {
    fn any(self) -> bool {
        self.ring || self.state || self.still
    }
}

/// The minor version of the protocol in which pictures say where they are.
const LENT_SINCE: u8 = 3;
/// Rows begin where vector instructions like them to.
const ROW_ALIGNMENT: usize = 64;
const MAX_PLANE: usize = crate::layout::MAX_AUDIO_FRAMES * 4;
