//! The worker as a process, under its supervisor.

mod common;

use common::camera::{Camera, PAYLOAD_TYPE};
use common::engine::{Viewer, peer};
use frame_ipc::now_ns;
use outputs::obs::{Config, Feed, start};
use outputs::record::encode_rtp_record;
use rtp::codec::VideoCodec;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use wire::dashboard::OutputStatus;
use wire::link::{Codec, FromWorker, MAX_RECORD, Occupant};
use wire::ortc::MediaKind;
use wire::{DisplayName, SlotId};

#[tokio::test]
async fn a_killed_worker_is_back_with_its_guests_and_a_keyframe_brings_the_picture() {
    let directory = std::env::temp_dir().join(format!("greenroom-media-process-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let socket = directory.join("frames.sock");
    let pipe: Arc<Mutex<Option<OwnedFd>>> = Arc::default();
    let config = Config {
        program: env!("CARGO_BIN_EXE_greenroom-media").into(),
        socket_path: socket.clone(),
        slot_count: 2,
        hardware_decoding: true,
    };
    let attach = pipe.clone();
    let (handle, mut events) = start(config, Box::new(move |fd| *attach.lock().unwrap() = Some(fd)));
    handle.add_feed(Feed {
        feed: 1,
        peer: peer(),
        kind: MediaKind::Video,
        screen: None,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        payload_type: PAYLOAD_TYPE,
        red_payload_type: None,
        orientation_id: None,
        capture_time_id: None,
        color_space_id: None,
    });
    let name = DisplayName::parse("Ada").unwrap();
    handle.bind_slot(SlotId::try_from(1).unwrap(), Some(Occupant { peer: peer(), name, screen: false }));

    let mut camera = Camera::new(VideoCodec::Vp8, 320, 180);
    let mut status = handle.status();
    for life in 0..2 {
        timeout(PATIENCE, status.wait_for(|status| *status == OutputStatus::Running)).await.unwrap().unwrap();
        let mut viewer = Viewer::of(&socket, 1);
        let asked =
            async { while events.events.recv().await != Some(FromWorker::KeyFrameNeeded { feed: 1 }) {} };
        timeout(PATIENCE, asked).await.expect("a keyframe is asked for");
        for i in 0..5 {
            let (_, packets) = camera.shoot(33, i == 0);
            let mut buffer = [0; MAX_RECORD];
            for packet in packets {
                let length = encode_rtp_record(&mut buffer, 1, now_ns(), &packet).unwrap();
                rustix::io::write(pipe.lock().unwrap().as_ref().unwrap(), &buffer[..length]).unwrap();
            }
        }
        viewer.until("the last picture", |viewer| {
            viewer.pictures.iter().any(|seen| seen.number == Some(life * 5 + 5))
        });
        assert_eq!(viewer.state().occupant.as_deref(), Some("Ada"));
        drop(viewer);
        if life == 0 {
            let killed = Instant::now();
            kill_worker();
            timeout(PATIENCE, status.wait_for(|status| matches!(status, OutputStatus::Restarting { .. })))
                .await
                .unwrap()
                .unwrap();
            timeout(PATIENCE, status.wait_for(|status| *status == OutputStatus::Running))
                .await
                .unwrap()
                .unwrap();
            assert!(killed.elapsed() < Duration::from_secs(5));
        }
    }
    handle.shutdown(Duration::from_secs(5)).await;
    assert!(!socket.exists(), "a worker that leaves in order takes its socket along");
    std::fs::remove_dir_all(directory).unwrap();
}

/// Kills this process's only child.
fn kill_worker() {
    let me = std::process::id();
    let children = std::fs::read_dir(format!("/proc/{me}/task"))
        .unwrap()
        .flat_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")))
        .collect::<String>();
    let child: i32 = children.split_whitespace().next().expect("a worker").parse().unwrap();
    let pid = rustix::process::Pid::from_raw(child).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

const PATIENCE: Duration = Duration::from_secs(20);
