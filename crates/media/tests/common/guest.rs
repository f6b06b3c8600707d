//! One guest with a camera, and somebody who looks at it.

use super::camera::Camera;
use super::engine::{Engine, Viewer, peer};
use rtp::codec::VideoCodec;
use wire::link::Codec;

pub const CODECS: [(VideoCodec, Codec); 4] = [
    (VideoCodec::Vp8, Codec::Vp8),
    (VideoCodec::Vp9, Codec::Vp9),
    (VideoCodec::H264, Codec::H264),
    (VideoCodec::Av1, Codec::Av1),
];

/// A slot, who looks at it, and the feed 1 of its guest.
pub fn stage(codec: Codec) -> (Engine, Viewer) {
    let engine = Engine::start();
    engine.add_video(1, codec);
    engine.bind(1, Some(("Mallory", peer())));
    let viewer = Viewer::of(&engine.socket, 1);
    (engine, viewer)
}

pub fn send(engine: &Engine, packets: &[Vec<u8>]) {
    packets.iter().for_each(|packet| engine.send(1, packet));
}

/// A whole picture that stands alone is seen.
pub fn is_seen(engine: &Engine, viewer: &mut Viewer, camera: &mut Camera, what: &str) {
    let (number, packets) = camera.shoot(33, true);
    send(engine, &packets);
    viewer.until(what, |viewer| viewer.pictures.iter().any(|seen| seen.number == Some(number)));
}
