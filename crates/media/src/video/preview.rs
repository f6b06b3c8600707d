//! Small JPEG pictures for the dashboard.

use super::decoder::Picture;
use ffmpeg::codec::{self, encoder};
use ffmpeg::format::Pixel;
use ffmpeg::software::scaling;
use ffmpeg::{Rational, frame};
use ffmpeg_the_third as ffmpeg;
use frame_ipc::Rotation;

/// Scales, turns and encodes one stream's pictures; keeps its tools from one picture to the next.
#[derive(Default)]
pub struct Previewer {
    scaler: Option<scaling::Context>,
    encoder: Option<(u32, u32, encoder::Video)>,
}

impl Previewer {
    pub fn jpeg(&mut self, picture: &Picture, rotation: Rotation) -> Result<Vec<u8>, ffmpeg::Error> {
        let small = self.scale(picture)?;
        let upright = turn(small, rotation);
        self.encode(&upright)
    }

    fn scale(&mut self, picture: &Picture) -> Result<frame::Video, ffmpeg::Error> {
        let from = picture.frame();
        let (width, height) = fit(from.width(), from.height());
        let input = scaling::context::Definition {
            format: from.format(),
            width: from.width(),
            height: from.height(),
        };
        let output = scaling::context::Definition { format: Pixel::YUVJ420P, width, height };
        if !self.scaler.as_ref().is_some_and(|s| *s.input() == input && *s.output() == output) {
            let flags = scaling::Flags::FAST_BILINEAR;
            self.scaler = Some(scaling::Context::get(
                input.format,
                input.width,
                input.height,
                output.format,
                width,
                height,
                flags,
            )?);
        }
        let mut small = frame::Video::empty();
        self.scaler.as_mut().ok_or(ffmpeg::Error::Bug)?.run(from, &mut small)?;
        Ok(small)
    }

    fn encode(&mut self, picture: &frame::Video) -> Result<Vec<u8>, ffmpeg::Error> {
        let size = (picture.width(), picture.height());
        if !matches!(&self.encoder, Some((width, height, _)) if (*width, *height) == size) {
            self.encoder = Some((size.0, size.1, open(size.0, size.1)?));
        }
        let (_, _, encoder) = self.encoder.as_mut().ok_or(ffmpeg::Error::Bug)?;
        encoder.send_frame(picture)?;
        let mut packet = ffmpeg::Packet::empty();
        encoder.receive_packet(&mut packet)?;
        Ok(packet.data().unwrap_or_default().to_vec())
    }
}

fn open(width: u32, height: u32) -> Result<encoder::Video, ffmpeg::Error> {
    let codec = encoder::find(codec::Id::MJPEG).ok_or(ffmpeg::Error::EncoderNotFound)?;
    let mut context = codec::Context::new_with_codec(codec);
    context.set_flags(codec::Flags::QSCALE);
    let mut video = context.encoder().video()?;
    video.set_width(width);
    video.set_height(height);
    video.set_format(Pixel::YUVJ420P);
    video.set_time_base(Rational(1, 8));
    video.set_global_quality(QUALITY * QUALITY_UNIT);
    video.open_as(codec)
}

/// At most [`LONG_SIDE`] either way, even, not enlarged.
fn fit(width: u32, height: u32) -> (u32, u32) {
    let long = width.max(height).max(1);
    let side = |n: u32| {
        let scaled = if long > LONG_SIDE { n * LONG_SIDE / long } else { n };
        (scaled & !1).max(2)
    };
    (side(width), side(height))
}

fn turn(from: frame::Video, rotation: Rotation) -> frame::Video {
    if rotation == Rotation::None {
        return from;
    }
    let (width, height) = match rotation {
        Rotation::Quarter | Rotation::ThreeQuarters => (from.height(), from.width()),
        Rotation::None | Rotation::Half => (from.width(), from.height()),
    };
    let mut to = frame::Video::new(from.format(), width, height);
    for plane in 0..3 {
        let (w, h) = (from.plane_width(plane) as usize, from.plane_height(plane) as usize);
        let (from_stride, to_stride) = (from.stride(plane), to.stride(plane));
        let (source, target) = (from.data(plane), to.data_mut(plane));
        for y in 0..h {
            for x in 0..w {
                // Clockwise.
                let (to_x, to_y) = match rotation {
                    Rotation::None => (x, y),
                    Rotation::Quarter => (h - 1 - y, x),
                    Rotation::Half => (w - 1 - x, h - 1 - y),
                    Rotation::ThreeQuarters => (y, w - 1 - x),
                };
                target[to_y * to_stride + to_x] = source[y * from_stride + x];
            }
        }
    }
    to
}

const LONG_SIDE: u32 = 320;
/// 2 (best) to 31: about 10 kB a picture.
const QUALITY: i32 = 5;
/// `FF_QP2LAMBDA`.
const QUALITY_UNIT: i32 = 118;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_keep_their_shape_within_the_long_side() {
        for (size, expected) in [
            ((1280, 720), (320, 180)),
            ((720, 1280), (180, 320)),
            ((640, 480), (320, 240)),
            ((160, 90), (160, 90)),
            ((4096, 2), (320, 2)),
            ((1, 1), (2, 2)),
        ] {
            assert_eq!(fit(size.0, size.1), expected, "{size:?}");
        }
    }

    #[test]
    fn a_turned_picture_has_its_corners_in_place() {
        let mut picture = frame::Video::new(Pixel::YUVJ420P, 4, 2);
        for plane in 0..3 {
            picture.data_mut(plane).fill(128);
        }
        picture.data_mut(0)[0] = 1;
        for (rotation, size, at) in [
            (Rotation::None, (4, 2), (0, 0)),
            (Rotation::Quarter, (2, 4), (1, 0)),
            (Rotation::Half, (4, 2), (3, 1)),
            (Rotation::ThreeQuarters, (2, 4), (0, 3)),
        ] {
            let turned = turn(picture.clone(), rotation);
            assert_eq!((turned.width(), turned.height()), size);
            assert_eq!(turned.data(0)[at.1 * turned.stride(0) + at.0], 1, "{rotation:?}");
        }
    }
}
