//! Pictures larger than what is carried: refused in words, before anything is allocated for them.

mod common;

use common::camera::Camera;
use common::guest::{CODECS, is_seen, send, stage};
use rtp::codec::VideoCodec;
use wire::link::{Codec, FromWorker};

#[test]
fn sizes_beyond_the_cap_are_refused_in_words_and_cost_no_memory() {
    for (real, codec) in CODECS {
        let (mut engine, mut viewer) = stage(codec);
        let mut camera = Camera::new(real, 320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "the first picture");
        camera.resize(8192, 64);
        let wide: Vec<_> = (0..3).map(|_| camera.shoot(33, true).1).collect();
        let before = resident_kb();
        for packets in wide {
            send(&engine, &packets);
        }
        let failed = engine.wait_for(|event| matches!(event, FromWorker::FeedFailed { .. }));
        let FromWorker::FeedFailed { feed: 1, reason } = failed else { panic!("{failed:?}") };
        assert!(reason.contains("unsupported video") && reason.contains("8192×64"), "{codec:?}: {reason}");
        viewer.until("the slot says so", |viewer| viewer.state().video_unsupported);
        assert!(resident_kb() < before + 50_000, "{} kB and then {}", before, resident_kb());
        camera.resize(320, 180);
        is_seen(&engine, &mut viewer, &mut camera, "the first size again");
        engine.wait_for(|event| *event == FromWorker::FeedWorks { feed: 1 });
        viewer.until("the slot is well", |viewer| !viewer.state().video_unsupported);
    }
}

#[test]
fn a_header_that_claims_the_largest_picture_there_is_gets_nothing_allocated() {
    let (mut engine, mut viewer) = stage(Codec::Vp8);
    let mut camera = Camera::new(VideoCodec::Vp8, 320, 180);
    is_seen(&engine, &mut viewer, &mut camera, "the first picture");
    let before = resident_kb();
    for side in [8192_u16, 16_383] {
        let mut packets = camera.shoot(33, true).1;
        // RFC 6386 §9.1: after the frame tag and the start code. Before it, RTP's header and RFC 7741's descriptor.
        let at = 12 + 4 + 6;
        packets[0][at..at + 2].copy_from_slice(&side.to_le_bytes());
        packets[0][at + 2..at + 4].copy_from_slice(&side.to_le_bytes());
        send(&engine, &packets);
    }
    let failed = engine.wait_for(|event| matches!(event, FromWorker::FeedFailed { .. }));
    assert!(
        matches!(&failed, FromWorker::FeedFailed { reason, .. } if reason.contains("8192×8192")),
        "{failed:?}"
    );
    assert!(resident_kb() < before + 50_000, "{} kB and then {}", before, resident_kb());
    is_seen(&engine, &mut viewer, &mut camera, "an honest one");
}

/// Of this process, the worker's thread included: what is in memory.
fn resident_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
