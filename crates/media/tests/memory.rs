//! Pictures decoded where OBS reads them.

mod common;

use common::camera::Camera;
use ffmpeg_the_third as ffmpeg;
use frame_ipc::{Host, Look, Plane, Reader, Rotation, Subject, Written, now_ns};
use greenroom_media::video::decoder::{Decoder, Picture, Place, Showing};
use rtp::codec::VideoCodec;
use rtp::ext::ColorSpace;
use rtp::frame::FrameAssembler;
use rtp::packet::Packet;

/// The pictures of one stream, decoded as they come.
struct Show {
    camera: Camera,
    assembler: FrameAssembler,
    decoder: Decoder,
    sequence: u64,
}

impl Show {
    fn new(codec: VideoCodec, (width, height): (u32, u32)) -> Self {
        Self {
            camera: Camera::new(codec, width, height),
            assembler: FrameAssembler::new(codec, None),
            decoder: Decoder::new(codec, Place::Processor).unwrap(),
            sequence: 0,
        }
    }

    fn next(&mut self, keyframe: bool) -> Picture {
        let mut picture = None;
        for bytes in self.camera.shoot(33, keyframe).1 {
            self.sequence += 1;
            let packet = Packet::parse(&bytes).unwrap();
            for frame in self.assembler.push(self.sequence, now_ns(), &packet) {
                picture = self.decoder.decode(&frame.data, frame.timestamp, ColorSpace::default()).unwrap();
            }
        }
        picture.unwrap()
    }
}

/// Of each plane how far its rows are apart, and its pixels.
fn planes(picture: &Picture) -> Vec<(usize, Vec<u8>)> {
    let width = picture.size().0 as usize;
    let pixels = |(index, plane): (usize, &Plane<'_>)| {
        let row = if index == 0 { width } else { width.div_ceil(2) };
        (plane.stride, plane.data.chunks(plane.stride).flat_map(|bytes| &bytes[..row]).copied().collect())
    };
    picture.lend(&showing(), |frame| frame.planes.iter().enumerate().map(pixels).collect()).unwrap()
}

fn showing() -> Showing {
    Showing { timestamp_ns: now_ns(), arrival_ns: now_ns(), rotation: Rotation::None }
}

#[test]
fn a_picture_is_the_same_wherever_it_is_decoded_and_is_not_copied_where_obs_reads() {
    let place = std::env::temp_dir().join(format!("greenroom-memory-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let host = Host::bind(&place.join("obs.sock"), 1).unwrap();
    let mut writer = host.slot(1).unwrap();
    let mut reader = Reader::connect(&place.join("obs.sock"), Subject::slot(1)).unwrap();
    reader.set_look(Look::PROGRAM);
    let codecs = [
        (VideoCodec::Vp8, true),
        (VideoCodec::Vp9, true),
        (VideoCodec::H264, true),
        (VideoCodec::Av1, false),
    ];
    for (codec, in_place) in codecs {
        for size in [(640, 360), (960, 540), (322, 182)] {
            let mut here = Show::new(codec, size);
            let mut there = Show::new(codec, size);
            for number in 0..30 {
                // Half-way the memory is gone, and back again: the rows of what is referred to stay as far apart.
                let lender = (!(10..20).contains(&number)).then(|| writer.lender());
                let is_lent = lender.is_some();
                here.decoder.set_lender(lender);
                let (ours, theirs) = (here.next(number == 0), there.next(number == 0));
                assert!(planes(&ours) == planes(&theirs), "{codec:?} {size:?}: picture {number}");
                let written = ours.lend(&showing(), |frame| writer.write_video(frame).unwrap()).unwrap();
                let expected = if in_place && is_lent { Written::InPlace } else { Written::Copied };
                assert_eq!(written, expected, "{codec:?} {size:?}: picture {number}");
                while reader.next(now_ns()).unwrap().is_some() {}
            }
        }
    }
    let _ = std::fs::remove_dir_all(&place);
}

#[test]
fn pictures_outlive_their_decoder_and_their_slot() {
    ffmpeg::log::set_level(ffmpeg::log::Level::Fatal);
    let place = std::env::temp_dir().join(format!("greenroom-outlive-{}", std::process::id()));
    std::fs::create_dir_all(&place).unwrap();
    let host = Host::bind(&place.join("obs.sock"), 1).unwrap();
    let writer = host.slot(1).unwrap();
    let mut show = Show::new(VideoCodec::Vp8, (640, 360));
    show.decoder.set_lender(Some(writer.lender()));
    // More than the slot can lend.
    let pictures: Vec<Picture> = (0..20).map(|number| show.next(number == 0)).collect();
    let before: Vec<_> = pictures.iter().map(planes).collect();
    drop((show, writer, host));
    let after: Vec<_> = pictures.iter().map(planes).collect();
    assert!(before == after);
    let _ = std::fs::remove_dir_all(&place);
}
