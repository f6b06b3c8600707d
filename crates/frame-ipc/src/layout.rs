//! Where things are in a ring, and which values are allowed there. The tables are in the crate's documentation.

use crate::mapping::{ReadMap, WriteMap};
use std::io;

/// How the pixels of a picture are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three planes: Y, U, V; chroma halved both ways.
    I420,
    /// Two planes: Y, and U and V in turn; chroma halved both ways.
    Nv12,
}

/// Which YUV-to-RGB coefficients the picture was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    Bt601,
    Bt709,
}

/// How far the picture must be turned clockwise to stand upright.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rotation {
    #[default]
    None,
    Quarter,
    Half,
    ThreeQuarters,
}

impl Rotation {
    pub fn degrees(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Quarter => 90,
            Self::Half => 180,
            Self::ThreeQuarters => 270,
        }
    }

    pub fn from_degrees(degrees: u16) -> Option<Self> {
        match degrees {
            0 => Some(Self::None),
            90 => Some(Self::Quarter),
            180 => Some(Self::Half),
            270 => Some(Self::ThreeQuarters),
            _ => None,
        }
    }
}

/// A plane's size in bytes per row and rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlaneSize {
    pub row: usize,
    pub rows: usize,
}

/// The planes of a picture; empty if this crate carries no picture of that size.
pub(crate) fn planes(format: PixelFormat, width: u32, height: u32) -> Option<Vec<PlaneSize>> {
    let sides = 2..=MAX_SIDE;
    if !sides.contains(&width) || !sides.contains(&height) || width * height > MAX_PIXELS {
        return None;
    }
    let (width, height) = (width as usize, height as usize);
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let luma = PlaneSize { row: width, rows: height };
    let chroma = PlaneSize { row: half_width, rows: half_height };
    Some(match format {
        PixelFormat::I420 => vec![luma, chroma, chroma],
        PixelFormat::Nv12 => vec![luma, PlaneSize { row: half_width * 2, rows: half_height }],
    })
}

/// The shape of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RingShape {
    pub video_cells: u32,
    pub video_cell: usize,
    pub audio_cells: u32,
    pub audio_cell: usize,
    pub video_start: usize,
    pub audio_start: usize,
    pub length: usize,
}

impl RingShape {
    /// A ring whose pictures have up to `pixels` bytes, and what of it is there to be lent.
    pub(crate) fn for_pictures(pixels: usize) -> (Self, LentShape) {
        let video_cell = (VIDEO_HEADER + pixels).next_multiple_of(PAGE);
        let audio_cell = AUDIO_HEADER + MAX_AUDIO_FRAMES * 4 * MAX_CHANNELS;
        let video_start = RING_HEADER;
        let audio_start = video_start + video_cell * VIDEO_CELLS as usize;
        let start = (audio_start + audio_cell * AUDIO_CELLS as usize).next_multiple_of(PAGE);
        // Decoders want room around their pictures.
        let size = (pixels + pixels / 8 + LENT_MARGIN).next_multiple_of(PAGE);
        let count = (MAX_RING.saturating_sub(start) / size).min(LENT_PIECES);
        let shape = Self {
            video_cells: VIDEO_CELLS,
            video_cell,
            audio_cells: AUDIO_CELLS,
            audio_cell,
            video_start,
            audio_start,
            length: start + size * count,
        };
        (shape, LentShape { start, size, count })
    }

    /// Room for pixels in a video cell.
    pub(crate) fn picture_room(&self) -> usize {
        self.video_cell - VIDEO_HEADER
    }

    pub(crate) fn video_offset(&self, number: u64) -> usize {
        self.video_start + (number % u64::from(self.video_cells)) as usize * self.video_cell
    }

    pub(crate) fn audio_offset(&self, number: u64) -> usize {
        self.audio_start + (number % u64::from(self.audio_cells)) as usize * self.audio_cell
    }

    pub(crate) fn write(&self, map: &WriteMap) -> bool {
        let mut header = [0; 56];
        put_u32(&mut header, 0, RING_MAGIC);
        put_u16(&mut header, 4, crate::message::MAJOR.into());
        put_u16(&mut header, 6, crate::message::MINOR.into());
        put_u32(&mut header, 8, RING_HEADER as u32);
        put_u32(&mut header, 12, self.video_cells);
        put_u64(&mut header, 16, self.video_cell as u64);
        put_u32(&mut header, 24, self.audio_cells);
        put_u32(&mut header, 28, self.audio_cell as u32);
        put_u64(&mut header, 32, self.video_start as u64);
        put_u64(&mut header, 40, self.audio_start as u64);
        put_u64(&mut header, 48, self.length as u64);
        map.store(0, &header)
    }

    /// Reads the header once and checks that every cell it speaks of lies within `length` bytes.
    pub(crate) fn read(map: &ReadMap, length: usize) -> io::Result<Self> {
        let refuse = |reason| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        let mut header = [0; 56];
        if !map.load(0, &mut header) {
            return refuse("the ring is shorter than its header");
        }
        if u32_at(&header, 0) != RING_MAGIC || u16_at(&header, 4) != u16::from(crate::message::MAJOR) {
            return refuse("this is not a ring of our version");
        }
        let (Ok(video_cell), Ok(video_start), Ok(audio_start)) = (
            usize::try_from(u64_at(&header, 16)),
            usize::try_from(u64_at(&header, 32)),
            usize::try_from(u64_at(&header, 40)),
        ) else {
            return refuse("the ring's header is out of bounds");
        };
        let shape = Self {
            video_cells: u32_at(&header, 12),
            video_cell,
            audio_cells: u32_at(&header, 24),
            audio_cell: u32_at(&header, 28) as usize,
            video_start,
            audio_start,
            length,
        };
        let end = |start: usize, cell: usize, cells: u32| {
            cell.checked_mul(cells as usize).and_then(|size| size.checked_add(start))
        };
        let fits = |end: Option<usize>| end.is_some_and(|end| end <= length);
        let sane = u64_at(&header, 48) == length as u64
            && (1..=MAX_CELLS).contains(&shape.video_cells)
            && (1..=MAX_CELLS).contains(&shape.audio_cells)
            && shape.video_cell > VIDEO_HEADER
            && shape.audio_cell > AUDIO_HEADER
            && [video_cell, shape.audio_cell, video_start, audio_start].iter().all(|n| n.is_multiple_of(8))
            && video_start >= 56
            && audio_start >= 56
            && fits(end(video_start, video_cell, shape.video_cells))
            && fits(end(audio_start, shape.audio_cell, shape.audio_cells));
        if sane { Ok(shape) } else { refuse("the ring's header is out of bounds") }
    }
}

/// The end of a ring: pieces that decoders write into. Readers need not know it: a picture there says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LentShape {
    pub start: usize,
    /// Bytes per piece.
    pub size: usize,
    pub count: usize,
}

/// What stands in front of a picture's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VideoHeader {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    pub strides: [u32; 3],
    pub full_range: bool,
    pub matrix: Matrix,
    pub rotation: Rotation,
    pub timestamp_ns: u64,
    pub arrival_ns: u64,
    pub written_ns: u64,
    pub epoch: u32,
    pub pixels: u32,
    /// Where each plane is, from the ring's beginning. `None`: in the cell, one after the other.
    pub lent: Option<[u32; 3]>,
}

impl VideoHeader {
    /// All but the first eight bytes of the cell.
    pub(crate) fn encode(&self) -> [u8; VIDEO_FIELDS] {
        let mut bytes = [0; VIDEO_FIELDS];
        put_u32(&mut bytes, 0, if self.format == PixelFormat::I420 { 1 } else { 2 });
        put_u16(&mut bytes, 4, self.width as u16);
        put_u16(&mut bytes, 6, self.height as u16);
        for (i, stride) in self.strides.iter().enumerate() {
            put_u32(&mut bytes, 8 + 4 * i, *stride);
        }
        bytes[20] = self.full_range.into();
        bytes[21] = if self.matrix == Matrix::Bt601 { 1 } else { 2 };
        put_u16(&mut bytes, 22, self.rotation.degrees());
        put_u64(&mut bytes, 24, self.timestamp_ns);
        put_u64(&mut bytes, 32, self.arrival_ns);
        put_u64(&mut bytes, 40, self.written_ns);
        put_u32(&mut bytes, 48, self.epoch);
        put_u32(&mut bytes, 52, self.pixels);
        for (i, place) in self.lent.iter().flatten().enumerate() {
            put_u32(&mut bytes, 56 + 4 * i, *place);
        }
        bytes
    }

    /// `None` unless every field is allowed and the planes lie within the ring: `room` bytes of it are the cell's own.
    pub(crate) fn decode(bytes: &[u8; VIDEO_FIELDS], room: usize, ring: usize) -> Option<Self> {
        let places = [u32_at(bytes, 56), u32_at(bytes, 60), u32_at(bytes, 64)];
        let header = Self {
            format: match u32_at(bytes, 0) {
                1 => PixelFormat::I420,
                2 => PixelFormat::Nv12,
                _ => return None,
            },
            width: u16_at(bytes, 4).into(),
            height: u16_at(bytes, 6).into(),
            strides: [u32_at(bytes, 8), u32_at(bytes, 12), u32_at(bytes, 16)],
            full_range: match bytes[20] {
                0 => false,
                1 => true,
                _ => return None,
            },
            matrix: match bytes[21] {
                1 => Matrix::Bt601,
                2 => Matrix::Bt709,
                _ => return None,
            },
            rotation: Rotation::from_degrees(u16_at(bytes, 22))?,
            timestamp_ns: u64_at(bytes, 24),
            arrival_ns: u64_at(bytes, 32),
            written_ns: u64_at(bytes, 40),
            epoch: u32_at(bytes, 48),
            pixels: u32_at(bytes, 52),
            lent: (places != [0; 3]).then_some(places),
        };
        let mut end = 0_usize;
        let sizes = planes(header.format, header.width, header.height)?;
        for ((plane, stride), place) in sizes.iter().zip(header.strides).zip(places) {
            let stride = stride as usize;
            if !is_stride(stride, plane) {
                return None;
            }
            let place = place as usize;
            let is_outside = !place.is_multiple_of(8) || place + stride * plane.rows > ring;
            if header.lent.is_some() && is_outside {
                return None;
            }
            end += stride * plane.rows;
        }
        let fits = header.lent.is_some() || end <= room;
        (end == header.pixels as usize && fits).then_some(header)
    }

    /// Where each plane is, from the ring's beginning; `own`: where the cell's own pixels begin.
    pub(crate) fn places(&self, own: usize) -> [usize; 3] {
        if let Some(places) = self.lent {
            return places.map(|place| place as usize);
        }
        let mut places = [own; 3];
        let sizes = planes(self.format, self.width, self.height).unwrap_or_default();
        let mut next = own;
        for ((place, size), stride) in places.iter_mut().zip(&sizes).zip(self.strides) {
            *place = next;
            next += stride as usize * size.rows;
        }
        places
    }
}

/// What stands in front of a chunk's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AudioHeader {
    pub sample_rate: u32,
    pub frames: usize,
    pub channels: usize,
    pub timestamp_ns: u64,
    pub written_ns: u64,
    pub epoch: u32,
}

impl AudioHeader {
    /// All but the first eight bytes of the cell.
    pub(crate) fn encode(&self) -> [u8; 56] {
        let mut bytes = [0; 56];
        put_u32(&mut bytes, 0, self.sample_rate);
        put_u16(&mut bytes, 4, self.frames as u16);
        put_u16(&mut bytes, 6, self.channels as u16);
        put_u64(&mut bytes, 8, self.timestamp_ns);
        put_u64(&mut bytes, 16, self.written_ns);
        put_u32(&mut bytes, 24, self.epoch);
        bytes
    }

    /// `None` unless every field is allowed and the samples lie within `room` bytes.
    pub(crate) fn decode(bytes: &[u8; 56], room: usize) -> Option<Self> {
        let header = Self {
            sample_rate: u32_at(bytes, 0),
            frames: u16_at(bytes, 4).into(),
            channels: u16_at(bytes, 6).into(),
            timestamp_ns: u64_at(bytes, 8),
            written_ns: u64_at(bytes, 16),
            epoch: u32_at(bytes, 24),
        };
        (header.is_allowed() && header.plane_bytes() * header.channels <= room).then_some(header)
    }

    pub(crate) fn is_allowed(&self) -> bool {
        SAMPLE_RATES.contains(&self.sample_rate)
            && (1..=MAX_AUDIO_FRAMES).contains(&self.frames)
            && (1..=MAX_CHANNELS).contains(&self.channels)
    }

    /// From one channel to the next.
    pub(crate) fn plane_bytes(&self) -> usize {
        (self.frames * 4).next_multiple_of(8)
    }
}

/// Whether rows of `plane` may be `stride` bytes apart.
pub(crate) fn is_stride(stride: usize, plane: &PlaneSize) -> bool {
    (plane.row..=MAX_STRIDE).contains(&stride) && stride.is_multiple_of(8)
}

// The offsets below are constants within arrays of constant length: they cannot be out of range.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Longest side of a picture. Phones stand upright, so the longer side may be either.
pub const MAX_SIDE: u32 = 4096;
/// Most pixels of a picture: 4096 × 2304.
pub const MAX_PIXELS: u32 = 4096 * 2304;
/// Most samples per channel in one chunk: 40 ms at 48 kHz and a little.
pub const MAX_AUDIO_FRAMES: usize = 2048;
/// As libobs: `MAX_AUDIO_CHANNELS`.
pub const MAX_CHANNELS: usize = 8;

/// What a new ring is made for; untouched pages of it cost nothing.
pub(crate) const DEFAULT_PIXELS: usize = 1920 * 1088 * 3 / 2;
/// 200 ms of pictures at 30 fps: a reader that late has lost its chance anyway.
const VIDEO_CELLS: u32 = 6;
/// 640 ms of sound in chunks of 10 ms.
const AUDIO_CELLS: u32 = 64;
const MAX_CELLS: u32 = 1024;
/// The six that were announced last, those that wait for their time, and what a decoder refers to.
const LENT_PIECES: usize = 16;
/// Beside an eighth of the picture.
const LENT_MARGIN: usize = 64 << 10;
const MAX_STRIDE: usize = MAX_SIDE as usize * 2;
/// A ring of the largest pictures is 90 MB, and has little to lend.
pub(crate) const MAX_RING: usize = 128 << 20;
const SAMPLE_RATES: std::ops::RangeInclusive<u32> = 8_000..=192_000;
const RING_MAGIC: u32 = u32::from_le_bytes(*b"GRFR");
const RING_HEADER: usize = PAGE;
pub(crate) const VIDEO_HEADER: usize = 128;
/// Of the fields in it, without the first.
pub(crate) const VIDEO_FIELDS: usize = 72;
pub(crate) const AUDIO_HEADER: usize = 64;
const PAGE: usize = 4096;
