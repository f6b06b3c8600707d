//! Pictures from encoder to viewer, through the worker as the engine runs it.

mod common;

use common::camera::{BLUE, Camera, Colours, Pixel, RED, color};
use common::engine::{Engine, Viewer, peer};
use frame_ipc::{Matrix, Rotation};
use rtp::codec::VideoCodec;
use std::time::{Duration, Instant};
use wire::link::{Codec, FromWorker, Occupant, Place, Subject, ToWorker, Who};
use wire::{DisplayName, PeerId, SlotId};

const CODECS: [(VideoCodec, Codec); 4] = [
    (VideoCodec::Vp8, Codec::Vp8),
    (VideoCodec::Vp9, Codec::Vp9),
    (VideoCodec::H264, Codec::H264),
    (VideoCodec::Av1, Codec::Av1),
];

/// A stage with one guest in slot 1, and the camera rolling.
fn stage(codec: (VideoCodec, Codec), width: u32, height: u32) -> (Engine, Viewer, Camera) {
    let engine = Engine::start();
    engine.add_video(1, codec.1);
    engine.bind(1, Some(("Ada", peer())));
    let viewer = Viewer::of(&engine.socket, 1);
    (engine, viewer, Camera::new(codec.0, width, height))
}

#[test]
fn every_picture_of_a_clean_stream_is_seen_once_and_in_its_colours() {
    for codec in CODECS {
        let (mut engine, mut viewer, mut camera) = stage(codec, 640, 360);
        for i in 0..20 {
            for packet in camera.shoot(33, i == 0).1 {
                engine.send(1, &packet);
            }
            viewer.watch(Duration::from_millis(33));
        }
        viewer.until("twenty pictures", |viewer| viewer.pictures.len() >= 20);
        assert_eq!(viewer.numbers(), (1..=20).collect::<Vec<_>>(), "{codec:?}");
        for seen in &viewer.pictures {
            assert_eq!((seen.info.width, seen.info.height), (640, 360));
            assert!(seen.chroma.0.abs_diff(BLUE) < 6 && seen.chroma.1.abs_diff(RED) < 6, "{:?}", seen.chroma);
            assert!(seen.info.arrival_ns <= seen.info.written_ns);
        }
        assert!(viewer.state().video_live && viewer.state().occupant.as_deref() == Some("Ada"));
        let report = engine.wait_for(|event| {
            matches!(event, FromWorker::Report { feeds, .. } if feeds.iter().any(|feed| feed.width == 640))
        });
        let FromWorker::Report { readers, .. } = report else { unreachable!() };
        assert_eq!(readers, 1);
    }
}

#[test]
fn a_picture_whose_reference_is_lost_is_never_seen_and_a_keyframe_is_asked_for() {
    for codec in CODECS {
        let (mut engine, mut viewer, mut camera) = stage(codec, 320, 180);
        for i in 0..12 {
            let (_, packets) = camera.shoot(33, i == 0);
            // Of the fifth picture, one packet is lost for good.
            let lost = if i == 4 { packets.len() - 1 } else { usize::MAX };
            for (j, packet) in packets.iter().enumerate() {
                if j != lost {
                    engine.send(1, packet);
                }
            }
        }
        let asked = engine.keyframes_asked();
        viewer.watch(Duration::from_millis(700));
        assert_eq!(viewer.numbers(), [1, 2, 3, 4], "{codec:?}");
        assert!(engine.keyframes_asked() > asked, "{codec:?}");
        for i in 0..3 {
            for packet in camera.shoot(33, i == 0).1 {
                engine.send(1, &packet);
            }
        }
        viewer.until("the picture heals", |viewer| viewer.pictures.len() >= 7);
        assert_eq!(viewer.numbers(), [1, 2, 3, 4, 13, 14, 15], "{codec:?}");
    }
}

#[test]
fn a_guest_far_away_is_given_the_time_a_retransmission_takes() {
    for round_trip_ms in [5, 300] {
        let (engine, mut viewer, mut camera) = stage(CODECS[0], 320, 180);
        for packet in camera.shoot(33, true).1 {
            engine.send(1, &packet);
        }
        viewer.until("the first picture", |viewer| viewer.pictures.len() == 1);
        engine.send_round_trip(1, round_trip_ms);
        let mut packets: Vec<_> = (0..3).flat_map(|_| camera.shoot(33, false).1).collect();
        let late = packets.remove(0);
        for packet in &packets {
            engine.send(1, packet);
        }
        // Longer than it takes from nearby (60 ms), shorter than the longest wait (500 ms).
        viewer.watch(Duration::from_millis(250));
        assert_eq!(viewer.pictures.len(), 1, "{round_trip_ms} ms: what refers to a lost picture is not seen");
        engine.send(1, &late);
        if round_trip_ms > 100 {
            viewer.until("all pictures", |viewer| viewer.pictures.len() == 4);
        } else {
            viewer.watch(Duration::from_millis(100));
            assert_eq!(viewer.pictures.len(), 1, "it was given up long before");
        }
    }
}

#[test]
fn the_engine_is_told_which_slots_are_on_a_screen() {
    let mut engine = Engine::start();
    let mut viewer = Viewer::of(&engine.socket, 2);
    let shows = |event: &FromWorker, expected: &[u8]| match event {
        FromWorker::Used { places } => {
            let expected = expected.iter().map(|n| Place::Slot(SlotId::try_from(*n).unwrap()));
            places.iter().map(|used| used.place.clone()).eq(expected)
        }
        _ => false,
    };
    engine.wait_for(|event| shows(event, &[2]));
    viewer.show(false);
    engine.wait_for(|event| shows(event, &[]));
    viewer.show(true);
    engine.events.clear();
    engine.wait_for(|event| shows(event, &[2]));
}

/// What a source that follows a screen sees; the engine has been told so.
fn follower(engine: &mut Engine) -> Viewer {
    let subject = frame_ipc::Subject { who: frame_ipc::Who::Screen, stand_in: Some(1) };
    let viewer = Viewer::of_subject(&engine.socket, subject);
    let place = Place::Subject(screen());
    engine.wait_for(
        |event| matches!(event, FromWorker::Used { places } if places.iter().any(|used| used.place == place)),
    );
    viewer
}

fn screen() -> Subject {
    Subject { who: Who::Screen, stand_in: Some(SlotId::try_from(1).unwrap()) }
}

fn show(engine: &Engine, name: &str, peer: PeerId) {
    let name = DisplayName::parse(name).unwrap();
    let occupant = Some(Occupant { peer, name, screen: false });
    engine.tell(&ToWorker::BindSubject { subject: screen(), occupant });
}

#[test]
fn a_follower_keeps_one_guest_until_the_first_picture_of_the_next() {
    let (ada, bob) = (peer(), PeerId(uuid::Uuid::from_u128(77)));
    let mut engine = Engine::start();
    engine.add_video_of(ada, 1, Codec::Vp8);
    engine.add_video_of(bob, 2, Codec::Vp8);
    let mut viewer = follower(&mut engine);
    let (mut first, mut second) =
        (Camera::new(VideoCodec::Vp8, 320, 180), Camera::new(VideoCodec::Vp8, 640, 360));
    let send = |camera: &mut Camera, feed, keyframe| {
        camera.shoot(33, keyframe).1.iter().for_each(|packet| engine.send(feed, packet));
    };
    show(&engine, "Ada", ada);
    viewer.until("Ada", |viewer| viewer.state().occupant.as_deref() == Some("Ada"));
    send(&mut first, 1, true);
    viewer.until("her picture", |viewer| viewer.pictures.len() == 1);

    show(&engine, "Bob", bob);
    viewer.watch(Duration::from_millis(100));
    send(&mut first, 1, false);
    viewer.until("another of hers", |viewer| viewer.pictures.len() == 2);
    assert_eq!(viewer.state().occupant.as_deref(), Some("Ada"));
    send(&mut second, 2, true);
    viewer.until("his first", |viewer| viewer.pictures.len() == 3);
    assert_eq!(viewer.pictures[2].info.width, 640);
    assert_eq!((viewer.state().occupant.as_deref(), viewer.state().video_live), (Some("Bob"), true));

    // Somebody of whom nothing comes is waited for a moment only.
    show(&engine, "Cleo", PeerId(uuid::Uuid::from_u128(78)));
    viewer.watch(Duration::from_millis(500));
    assert_eq!(viewer.state().occupant.as_deref(), Some("Bob"));
    viewer.until("Cleo's name", |viewer| viewer.state().occupant.as_deref() == Some("Cleo"));
    assert!(!viewer.state().video_live);
}

#[test]
fn what_nobody_follows_any_more_is_told_and_forgotten() {
    let mut engine = Engine::start();
    let viewer = follower(&mut engine);
    show(&engine, "Ada", peer());
    drop(viewer);
    engine.events.clear();
    engine.wait_for(|event| matches!(event, FromWorker::Used { places } if places.is_empty()));
    // Whoever comes next finds whom the engine named.
    let mut viewer = follower(&mut engine);
    viewer.until("Ada", |viewer| viewer.state().occupant.as_deref() == Some("Ada"));
    engine.tell(&ToWorker::BindSubject { subject: screen(), occupant: None });
    viewer.until("nobody", |viewer| viewer.state().occupant.is_none());
}

#[test]
fn packets_out_of_order_and_twice_make_the_same_pictures() {
    let (engine, mut viewer, mut camera) = stage(CODECS[0], 640, 360);
    for packet in camera.shoot(33, true).1 {
        engine.send(1, &packet);
    }
    viewer.until("the first picture", |viewer| viewer.pictures.len() == 1);
    let mut packets: Vec<Vec<u8>> = (0..6).flat_map(|_| camera.shoot(33, false).1).collect();
    for pair in packets.chunks_mut(2) {
        pair.reverse();
    }
    for packet in &packets {
        engine.send(1, packet);
        engine.send(1, packet);
    }
    viewer.until("all pictures", |viewer| viewer.pictures.len() >= 7);
    assert_eq!(viewer.numbers(), (1..=7).collect::<Vec<_>>());
}

#[test]
fn a_stream_changes_its_size_without_a_gap() {
    for codec in CODECS {
        let (engine, mut viewer, mut camera) = stage(codec, 640, 360);
        let sizes = [(640, 360), (320, 180), (1920, 1088), (2048, 1152)];
        for (count, (width, height)) in sizes.into_iter().enumerate() {
            camera.resize(width, height);
            for i in 0..2 {
                for packet in camera.shoot(33, i == 0).1 {
                    engine.send(1, &packet);
                }
                viewer.until("the next picture", |viewer| viewer.pictures.len() > 2 * count + i);
            }
        }
        let seen: Vec<_> = viewer.pictures.iter().map(|seen| (seen.info.width, seen.info.height)).collect();
        assert_eq!(seen, sizes.iter().flat_map(|size| [*size; 2]).collect::<Vec<_>>(), "{codec:?}");
        assert_eq!(viewer.numbers(), (1..=8).collect::<Vec<_>>());
    }
}

#[test]
fn odd_sizes_and_full_chroma_arrive_as_what_obs_takes() {
    let full_chroma = Camera::with_format(VideoCodec::Vp9, Pixel::YUV444P, 322, 182);
    let cameras = [
        (Codec::Vp8, Camera::new(VideoCodec::Vp8, 321, 181)),
        (Codec::H264, Camera::new(VideoCodec::H264, 322, 182)),
        (Codec::Vp9, full_chroma),
    ];
    for (codec, mut camera) in cameras {
        let engine = Engine::start();
        engine.add_video(1, codec);
        engine.bind(1, Some(("Ada", peer())));
        let mut viewer = Viewer::of(&engine.socket, 1);
        for packet in camera.shoot(33, true).1 {
            engine.send(1, &packet);
        }
        viewer.until("a picture", |viewer| !viewer.pictures.is_empty());
        let seen = &viewer.pictures[0];
        assert_eq!(seen.number, Some(1), "{codec:?}");
        assert!(
            seen.chroma.0.abs_diff(BLUE) < 6 && seen.chroma.1.abs_diff(RED) < 6,
            "{codec:?} {:?}",
            seen.chroma
        );
        assert_eq!(seen.info.width / 2, if codec == Codec::Vp8 { 160 } else { 161 });
    }
}

#[test]
fn colours_are_what_the_stream_says_they_are() {
    use color::{Range, Space};
    let streams = [
        (Space::SMPTE170M, Range::MPEG, Matrix::Bt601, false),
        (Space::BT709, Range::MPEG, Matrix::Bt709, false),
        (Space::BT709, Range::JPEG, Matrix::Bt709, true),
        (Space::SMPTE170M, Range::JPEG, Matrix::Bt601, true),
        // What senders leave unsaid.
        (Space::Unspecified, Range::Unspecified, Matrix::Bt601, false),
    ];
    for codec in CODECS {
        // VP8 has no words for any of this (RFC 6386 §9.2): BT.601, limited.
        let streams = if codec.1 == Codec::Vp8 { &streams[4..] } else { &streams[..] };
        for (space, range, matrix, full_range) in streams.iter().copied() {
            let (engine, mut viewer, _) = stage(codec, 320, 180);
            let mut camera = Camera::with_colours(codec.0, Colours { space, range });
            for packet in camera.shoot(33, true).1 {
                engine.send(1, &packet);
            }
            viewer.until("a picture", |viewer| !viewer.pictures.is_empty());
            let seen = &viewer.pictures[0];
            let told = (seen.info.matrix, seen.info.full_range);
            assert_eq!(told, (matrix, full_range), "{codec:?} {space:?} {range:?}");
            let (blue, red) = seen.chroma;
            assert!(blue.abs_diff(BLUE) <= 2 && red.abs_diff(RED) <= 2, "{codec:?} {:?}", seen.chroma);
        }
    }
}

#[test]
fn packets_say_what_colours_mean_where_the_codec_cannot() {
    let (engine, mut viewer, mut camera) = stage(CODECS[0], 320, 180);
    let (full, limited) = (Some([1, 13, 1, 0x20]), Some([6, 6, 6, 0x10]));
    let (unsaid, as_told) = ((Matrix::Bt601, false), (Matrix::Bt709, true));
    let story = [
        (true, None, unsaid),
        (true, full, as_told),
        (false, None, as_told),
        (false, limited, unsaid),
        (true, full, as_told),
        // A key frame that says nothing takes it back.
        (true, None, unsaid),
    ];
    for (i, (keyframe, told, expected)) in story.into_iter().enumerate() {
        camera.told_colours = told;
        for packet in camera.shoot(33, keyframe).1 {
            engine.send(1, &packet);
        }
        viewer.until("the next picture", |viewer| viewer.pictures.len() == i + 1);
        let info = viewer.pictures[i].info;
        assert_eq!((info.matrix, info.full_range), expected, "{i}");
    }
}

#[test]
fn sixty_full_hd_pictures_a_second_are_all_seen_and_so_is_another_rate() {
    let (engine, mut viewer, mut camera) = stage(CODECS[2], 1920, 1080);
    // Encoded before, so that only the decoder has to keep up.
    let fast: Vec<_> = (0..60).map(|i| camera.shoot(16, i == 0).1).collect();
    let slow: Vec<_> = (0..5).map(|_| camera.shoot(100, false).1).collect();
    for (pictures, every_ms) in [(fast, 16), (slow, 100)] {
        for packets in pictures {
            packets.iter().for_each(|packet| engine.send(1, packet));
            viewer.watch(Duration::from_millis(every_ms));
        }
    }
    viewer.until("the last picture", |viewer| viewer.numbers().last() == Some(&65));
    assert_eq!(viewer.numbers(), (1..=65).collect::<Vec<_>>());
}

#[test]
fn a_picture_that_is_too_large_is_refused_in_words_and_the_next_one_is_seen() {
    let (mut engine, mut viewer, mut camera) = stage(CODECS[0], 4608, 2592);
    for packet in camera.shoot(33, true).1 {
        engine.send(1, &packet);
    }
    let failed = engine.wait_for(|event| matches!(event, FromWorker::FeedFailed { .. }));
    let FromWorker::FeedFailed { feed: 1, reason } = failed else { panic!("{failed:?}") };
    assert!(reason.contains("4608×2592"), "{reason}");
    camera.resize(320, 180);
    for packet in camera.shoot(33, true).1 {
        engine.send(1, &packet);
    }
    viewer.until("the small picture", |viewer| viewer.pictures.len() == 1);
}

#[test]
fn the_way_a_phone_is_held_is_passed_on() {
    let (engine, mut viewer, mut camera) = stage(CODECS[0], 320, 180);
    for (orientation, rotation) in [(0, Rotation::None), (1, Rotation::Quarter), (3, Rotation::ThreeQuarters)]
    {
        camera.orientation = Some(orientation);
        for packet in camera.shoot(33, true).1 {
            engine.send(1, &packet);
        }
        viewer.until("a picture", |viewer| {
            viewer.pictures.last().is_some_and(|seen| seen.info.rotation == rotation)
        });
    }
}

#[test]
fn nobody_looks_nothing_is_decoded_and_a_bound_slot_begins_with_a_keyframe() {
    let mut engine = Engine::start();
    engine.add_video(1, Codec::Vp8);
    let mut camera = Camera::new(VideoCodec::Vp8, 320, 180);
    for i in 0..5 {
        for packet in camera.shoot(33, i == 0).1 {
            engine.send(1, &packet);
        }
    }
    engine.wait_for(|event| matches!(event, FromWorker::Report { feeds, .. } if feeds[0].delivered == 0));
    assert_eq!(engine.keyframes_asked(), 0);

    let mut viewer = Viewer::of(&engine.socket, 1);
    assert_eq!(viewer.state().occupant, None);
    engine.bind(1, Some(("Ada", peer())));
    engine.wait_for(|event| *event == FromWorker::KeyFrameNeeded { feed: 1 });
    // One built on what was never decoded, then the keyframe.
    for keyframe in [false, true] {
        for packet in camera.shoot(33, keyframe).1 {
            engine.send(1, &packet);
        }
    }
    viewer.until("a picture", |viewer| !viewer.pictures.is_empty());
    assert_eq!(viewer.numbers(), [7]);
}

#[test]
fn a_paused_or_removed_track_is_told_to_the_slot_and_the_next_occupant_begins_anew() {
    let (engine, mut viewer, mut camera) = stage(CODECS[0], 320, 180);
    let mut shoot =
        |engine: &Engine| camera.shoot(33, true).1.iter().for_each(|packet| engine.send(1, packet));
    shoot(&engine);
    viewer.until("live", |viewer| viewer.state().video_live && viewer.pictures.len() == 1);
    let epoch = viewer.state().epoch;
    engine.tell(&ToWorker::PauseFeed { feed: 1, paused: true });
    viewer.until("away", |viewer| !viewer.state().video_live);
    // A picture that was still on its way is not shown.
    shoot(&engine);
    viewer.watch(Duration::from_millis(100));
    assert!(!viewer.state().video_live && viewer.pictures.len() == 1);
    engine.tell(&ToWorker::PauseFeed { feed: 1, paused: false });
    shoot(&engine);
    viewer.until("back", |viewer| viewer.state().video_live);
    engine.tell(&ToWorker::RemoveFeed { feed: 1 });
    viewer.until("gone", |viewer| !viewer.state().video_live);
    assert_eq!(viewer.state().epoch, epoch);
    engine.bind(1, None);
    viewer.until("empty", |viewer| viewer.state().occupant.is_none());
    assert_ne!(viewer.state().epoch, epoch);
}

#[test]
fn a_camera_that_falls_silent_leaves_the_slot_at_rest_until_it_is_back() {
    let (engine, mut viewer, mut camera) = stage(CODECS[0], 320, 180);
    let mut shoot = |keyframe| camera.shoot(33, keyframe).1.iter().for_each(|packet| engine.send(1, packet));
    shoot(true);
    viewer.until("live", |viewer| viewer.state().video_live);
    viewer.until("at rest", |viewer| !viewer.state().video_live);
    shoot(false);
    viewer.until("back", |viewer| viewer.pictures.len() == 2);
    assert!(viewer.state().video_live);
    assert_eq!(viewer.numbers(), [1, 2]);
}

#[test]
fn previews_are_small_upright_and_few() {
    let mut engine = Engine::start();
    engine.add_video(1, Codec::Vp8);
    engine.tell(&ToWorker::Previews { on: true });
    let mut camera = Camera::new(VideoCodec::Vp8, 640, 360);
    camera.orientation = Some(1);
    let started = Instant::now();
    for i in 0..30 {
        for packet in camera.shoot(33, i == 0).1 {
            engine.send(1, &packet);
        }
        engine.hear(Duration::from_millis(33));
    }
    // Eight a second, and a busy machine takes its time.
    let most = 2 + (started.elapsed().as_secs_f64() * 8.0).ceil() as usize;
    let count = engine.previews.len();
    assert!((4..=most).contains(&count), "{count} previews, {most} at most");
    let (from, jpeg) = &engine.previews[0];
    assert_eq!(*from, peer());
    assert_eq!(jpeg[..2], [0xff, 0xd8]);
    assert!(jpeg.len() < 40_000);
    // SOF0: height and width.
    let at = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    assert_eq!(jpeg[at + 5..at + 9], [1, 64, 0, 180]);
}
