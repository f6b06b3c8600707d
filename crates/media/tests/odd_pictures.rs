//! Pictures as no browser sends them: cut short, of another codec, size or profile than before. What is decent afterwards is seen.

mod common;

use common::camera::{Camera, Pixel};
use common::guest::{CODECS, is_seen, send, stage};
use rtp::codec::VideoCodec;
use std::time::Duration;
use wire::link::Codec;

#[test]
fn streams_cut_short_anywhere_end_with_the_next_keyframe() {
    for (real, codec) in CODECS {
        let (engine, mut viewer) = stage(codec);
        let mut camera = Camera::new(real, 320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "the first picture");
        for i in 0..40_usize {
            let keyframe = i % 4 == 0;
            camera.cut = Some(if i % 8 < 4 { i } else { i * i * 3 });
            send(&engine, &camera.shoot(33, keyframe).1);
        }
        camera.cut = None;
        is_seen(&engine, &mut viewer, &mut camera, &format!("a whole one of {codec:?}"));
    }
}

#[test]
fn a_codec_under_anothers_name_hurts_nobody() {
    for (real, codec) in CODECS {
        let (engine, mut viewer) = stage(codec);
        let mut camera = Camera::new(real, 320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "the first picture");
        for (other, _) in CODECS {
            camera.become_codec(other);
            for i in 0..6 {
                send(&engine, &camera.shoot(33, i % 3 == 0).1);
            }
            viewer.watch(Duration::from_millis(20));
        }
        camera.become_codec(real);
        is_seen(&engine, &mut viewer, &mut camera, &format!("{codec:?} again"));
    }
}

#[test]
fn the_smallest_and_odd_sizes_are_carried_in_mid_stream() {
    for (real, codec) in CODECS {
        let (engine, mut viewer) = stage(codec);
        let mut camera = Camera::new(real, 320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "the first picture");
        let sizes: &[(u32, u32)] = match real {
            // Its pictures are even where chroma is halved.
            VideoCodec::H264 => &[(2, 2), (16, 2), (322, 182), (2, 4096)],
            VideoCodec::Av1 => &[(16, 16), (17, 33), (321, 181)],
            _ => &[(1, 1), (3, 5), (321, 181), (1, 4096), (4096, 3)],
        };
        for &(width, height) in sizes {
            camera.resize(width, height);
            for i in 0..2 {
                send(&engine, &camera.shoot(33, i == 0).1);
            }
            // The ring carries nothing narrower than two pixels: that is no picture, and nothing else.
            if width.min(height) > 1 {
                viewer.until(&format!("{codec:?} of {width}×{height}"), |viewer| {
                    viewer
                        .pictures
                        .last()
                        .is_some_and(|seen| (seen.info.width, seen.info.height) == (width, height))
                });
            }
        }
        camera.resize(320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "the first size again");
    }
}

#[test]
fn another_profile_in_mid_stream_is_decoded_as_what_it_is() {
    for real in [VideoCodec::Vp9, VideoCodec::H264] {
        let codec = if real == VideoCodec::Vp9 { Codec::Vp9 } else { Codec::H264 };
        let (engine, mut viewer) = stage(codec);
        let mut camera = Camera::new(real, 320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "4:2:0");
        for format in [Pixel::YUV444P, Pixel::YUV420P, Pixel::YUV422P] {
            camera.reformat(format);
            is_seen(&engine, &mut viewer, &mut camera, &format!("{codec:?} in {format:?}"));
        }
    }
}
