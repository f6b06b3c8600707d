//! Pictures out of encoded frames: FFmpeg's decoders, always giving I420 or NV12.

use super::hardware;
use super::memory::Memory;
use crate::av;
use ffmpeg::codec::{self, decoder, threading};
use ffmpeg::format::Pixel;
use ffmpeg::software::scaling;
use ffmpeg::{Dictionary, color, frame};
use ffmpeg_the_third as ffmpeg;
use frame_ipc::{Lender, MAX_PIXELS, Matrix, PixelFormat, Plane, Rotation, VideoFrame};
use rtp::codec::VideoCodec;
use rtp::ext::{ColorSpace, MatrixCoefficients};

/// One stream's decoder. Ends with the stream; a change of codec needs a new one.
pub struct Decoder {
    inner: decoder::Video,
    converter: Option<scaling::Context>,
    /// It may use the graphics card.
    pub on_card: bool,
    /// After `inner`, which asks it: dropped later. Boxed, because that knows its address.
    memory: Box<Memory>,
}

/// Where to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the graphics card if there is one that knows the codec.
    Anywhere,
    Processor,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("this computer's FFmpeg cannot decode {0:?}")]
    Missing(VideoCodec),
    #[error("the stream is damaged or uses features that are not supported ({0})")]
    Stream(#[from] ffmpeg::Error),
    #[error("the decoder noticed damage")]
    Damaged,
    #[error("the picture has an unknown layout")]
    Layout,
}

/// A decoded picture: I420 or NV12, 8 bit.
pub struct Picture {
    frame: frame::Video,
    full_range: bool,
    matrix: Matrix,
    /// RTP timestamp, extended, as given to [`Decoder::decode`] with the frame this is the picture of.
    pub timestamp: u64,
}

impl Decoder {
    /// One thread: FFmpeg's frame threads cost a frame of delay each, and guests run in parallel anyway.
    pub fn new(codec: VideoCodec, place: Place) -> Result<Self, DecodeError> {
        // For the card these are FFmpeg's own, also where another is better at doing it alone.
        let own = match codec {
            VideoCodec::Vp8 => "vp8",
            VideoCodec::Vp9 => "vp9",
            VideoCodec::H264 => "h264",
            VideoCodec::Av1 => "av1",
        };
        let for_card = (place == Place::Anywhere).then(|| decoder::find_by_name(own)).flatten();
        let for_card = for_card.filter(hardware::knows);
        let on_card = for_card.is_some();
        let found = for_card.or_else(|| match codec {
            VideoCodec::Vp8 => decoder::find(codec::Id::VP8),
            VideoCodec::Vp9 => decoder::find(codec::Id::VP9),
            VideoCodec::H264 => decoder::find(codec::Id::H264),
            // By name: FFmpeg's own, which is found first in some builds, needs a graphics card.
            VideoCodec::Av1 => AV1_DECODERS.iter().find_map(|name| decoder::find_by_name(name)),
        });
        let found = found.ok_or(DecodeError::Missing(codec))?;
        let mut context = codec::Context::new_with_codec(found);
        context.set_flags(codec::Flags::LOW_DELAY);
        context.set_threading(threading::Config::count(1));
        if on_card {
            hardware::lend(&mut context);
        }
        let memory = Box::<Memory>::default();
        memory.serve(&mut context);
        // Concealment stays on, because FFmpeg finds damage by it; what it painted over is marked and not shown.
        let opening = context.decoder();
        // Sizes are checked before decoding; this holds the line if a parameter set slips through.
        let mut limits = Dictionary::new();
        limits.set("max_pixels", MAX_PIXELS.to_string());
        let inner = opening.open_as_with(found, limits)?.video()?;
        Ok(Self { inner, converter: None, on_card, memory })
    }

    /// Where the next pictures are to be, if this decoder can put them there.
    pub fn set_lender(&mut self, lender: Option<Lender>) {
        self.memory.set_lender(lender);
    }

    /// Decodes one whole frame. `None`: the frame has nothing to show. `told`: what its packets say of the colours, which
    /// goes before what the stream says.
    pub fn decode(
        &mut self,
        data: &[u8],
        timestamp: u64,
        told: ColorSpace,
    ) -> Result<Option<Picture>, DecodeError> {
        // A copy, because decoders read up to 64 bytes past the end and want those to be zero.
        let mut packet = ffmpeg::Packet::copy(data);
        packet.set_pts(i64::try_from(timestamp).ok());
        self.inner.send_packet(&packet)?;
        let mut latest = None;
        loop {
            let mut decoded = frame::Video::empty();
            match self.inner.receive_frame(&mut decoded) {
                // Spatial layers of VP9 come out one by one; the last is the one that is meant.
                Ok(()) => latest = Some(decoded),
                Err(ffmpeg::Error::Other { errno: libc::EAGAIN }) | Err(ffmpeg::Error::Eof) => break,
                Err(error) => return Err(error.into()),
            }
        }
        let Some(decoded) = latest.map(hardware::fetch).transpose()? else { return Ok(None) };
        if av::is_damaged(&decoded) {
            return Err(DecodeError::Damaged);
        }
        let timestamp = decoded.pts().and_then(|pts| u64::try_from(pts).ok()).unwrap_or(timestamp);
        let matrix = match (told.matrix, decoded.color_space()) {
            (Some(MatrixCoefficients::Bt709), _) | (None, color::Space::BT709) => Matrix::Bt709,
            // What senders leave unsaid is BT.601, as browsers take it.
            (Some(MatrixCoefficients::Bt601), _) | (None, _) => Matrix::Bt601,
        };
        let full = told.full_range.unwrap_or(decoded.color_range() == color::Range::JPEG);
        let (frame, full_range) = match decoded.format() {
            Pixel::YUV420P | Pixel::NV12 => (decoded, full),
            Pixel::YUVJ420P => (decoded, true),
            _ => (self.convert(&decoded)?, full),
        };
        Ok(Some(Picture { frame, full_range, matrix, timestamp }))
    }

    /// Forgets every reference.
    pub fn flush(&mut self) {
        self.inner.flush();
    }

    /// To 8 bit 4:2:0 at the same range.
    fn convert(&mut self, from: &frame::Video) -> Result<frame::Video, DecodeError> {
        let (width, height) = (from.width(), from.height());
        let known = |c: &scaling::Context| {
            (c.input().format, c.input().width, c.input().height) == (from.format(), width, height)
        };
        if !self.converter.as_ref().is_some_and(known) {
            let flags = scaling::Flags::FAST_BILINEAR;
            self.converter = Some(scaling::Context::get(
                from.format(),
                width,
                height,
                Pixel::YUV420P,
                width,
                height,
                flags,
            )?);
        }
        let mut to = frame::Video::empty();
        self.converter.as_mut().ok_or(DecodeError::Layout)?.run(from, &mut to)?;
        Ok(to)
    }
}

impl Picture {
    pub fn size(&self) -> (u32, u32) {
        (self.frame.width(), self.frame.height())
    }

    pub fn frame(&self) -> &frame::Video {
        &self.frame
    }

    /// Lends the picture as the ring takes it. `None`: it has no pixels.
    pub fn lend<T>(&self, shown: &Showing, with: impl FnOnce(&VideoFrame<'_>) -> T) -> Option<T> {
        let (width, height) = self.size();
        let (w, h) = (width as usize, height as usize);
        let (half_w, half_h) = (w.div_ceil(2), h.div_ceil(2));
        let (format, chroma): (_, &[usize]) = match self.frame.format() {
            Pixel::NV12 => (PixelFormat::Nv12, &[half_w * 2]),
            _ => (PixelFormat::I420, &[half_w, half_w]),
        };
        let (y, y_stride) = av::plane(&self.frame, 0, w, h)?;
        let mut planes = vec![Plane { data: y, stride: y_stride }];
        for (index, row) in (1..).zip(chroma) {
            let (data, stride) = av::plane(&self.frame, index, *row, half_h)?;
            planes.push(Plane { data, stride });
        }
        Some(with(&VideoFrame {
            format,
            width,
            height,
            planes: &planes,
            timestamp_ns: shown.timestamp_ns,
            arrival_ns: shown.arrival_ns,
            full_range: self.full_range,
            matrix: self.matrix,
            rotation: shown.rotation,
        }))
    }
}

/// Best first.
const AV1_DECODERS: [&str; 2] = ["libdav1d", "libaom-av1"];

/// When and how a picture is to be seen.
#[derive(Clone, Copy, Debug)]
pub struct Showing {
    pub timestamp_ns: u64,
    pub arrival_ns: u64,
    pub rotation: Rotation,
}
