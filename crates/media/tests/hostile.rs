//! What nobody sane sends: the worker lives, says so where it should, and goes on with those who are.

mod common;

use common::camera::{Camera, PAYLOAD_TYPE};
use common::engine::{Engine, Viewer, peer};
use greenroom_media::control::Exit;
use rtp::codec::VideoCodec;
use rtp::packet::FixedHeader;
use std::time::Duration;
use wire::link::{Codec, FromWorker, ToWorker};

/// xorshift: the same noise each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.next() % most;
        (0..length).map(|_| self.next() as u8).collect()
    }
}

#[test]
fn garbage_in_every_codec_hurts_nobody() {
    let mut engine = Engine::start();
    let mut noise = Noise(7);
    engine.bind(1, Some(("Mallory", peer())));
    for (feed, codec, real) in [
        (1, Codec::Vp8, VideoCodec::Vp8),
        (3, Codec::Vp9, VideoCodec::Vp9),
        (4, Codec::H264, VideoCodec::H264),
        (5, Codec::Av1, VideoCodec::Av1),
    ] {
        // A peer has one picture at a time: the next feed replaces the one before.
        engine.add_video(feed, codec);
        let mut camera = Camera::new(real, 320, 180);
        for i in 0..60_u32 {
            let mut packets = camera.shoot(33, i % 5 == 0).1;
            for packet in &mut packets {
                // Damaged content, sound headers: it gets as far as the decoder.
                for _ in 0..noise.next() % 4 {
                    let at = 12 + noise.next() as usize % (packet.len() - 12);
                    packet[at] ^= 1 << (noise.next() % 8);
                }
                if noise.next().is_multiple_of(20) {
                    packet.truncate(noise.next() as usize % packet.len());
                }
                engine.send(feed, packet);
            }
            let header = FixedHeader {
                payload_type: PAYLOAD_TYPE,
                sequence_number: noise.next() as u16,
                timestamp: noise.next() as u32,
                marker: noise.next().is_multiple_of(2),
                ssrc: 7,
            };
            engine.send(feed, &[&header.to_bytes(false)[..], &noise.bytes(900)].concat());
            engine.send(feed, &noise.bytes(1_200));
            engine.send_report(feed, noise.next(), noise.next() as u32);
            engine.send(noise.next() as u32, &noise.bytes(100));
        }
    }
    engine.add_audio(2);
    for i in 0..300_u16 {
        let header = FixedHeader {
            payload_type: common::microphone::PAYLOAD_TYPE,
            sequence_number: i,
            timestamp: if i % 7 == 0 { noise.next() as u32 } else { u32::from(i) * 960 },
            ..FixedHeader::default()
        };
        engine.send(2, &[&header.to_bytes(false)[..], &noise.bytes(400)].concat());
    }
    engine.tell(&ToWorker::Previews { on: true });
    engine.hear(Duration::from_millis(500));

    // And then somebody decent comes.
    engine.add_video(9, Codec::Vp8);
    let mut viewer = Viewer::of(&engine.socket, 1);
    let mut camera = Camera::new(VideoCodec::Vp8, 320, 180);
    for packet in camera.shoot(33, true).1 {
        engine.send(9, &packet);
    }
    viewer.until("a decent picture", |viewer| viewer.pictures.iter().any(|seen| seen.number == Some(1)));
}

#[test]
fn a_track_of_the_wrong_kind_is_refused_in_words() {
    let mut engine = Engine::start();
    engine.add_video(1, Codec::Opus);
    let failed = engine.wait_for(|event| matches!(event, FromWorker::FeedFailed { feed: 1, .. }));
    let FromWorker::FeedFailed { reason, .. } = failed else { unreachable!() };
    assert_eq!(reason, "this kind of track is not supported");
}

#[test]
fn the_end_of_either_descriptor_is_the_end() {
    let engine = Engine::start();
    let socket = engine.socket.clone();
    assert!(matches!(engine.die(), Exit::EngineGone));
    assert!(!socket.exists());
    assert!(matches!(Engine::start().die_by_the_pipe(), Exit::EngineGone));
    // So is a pipe that makes no sense any more.
    let mut engine = Engine::start();
    engine.write_raw(&[0; 64]);
    engine.hear(Duration::from_millis(50));
    assert!(matches!(engine.die(), Exit::EngineGone));
}
