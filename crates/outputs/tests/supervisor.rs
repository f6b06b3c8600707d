//! The supervisor with real child processes: this program is both the tests and, when it finds a link in its
//! environment, the worker, whose conduct depends on what it is told.

use greenroom_outputs as outputs;
use outputs::obs::{Config, Feed, MediaEvents, MediaHandle, start};
use rustix::net::{RecvFlags, SendFlags};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;
use wire::dashboard::OutputStatus;
use wire::link::{
    Codec, EXIT_SOCKET, FeedId, FeedReport, FromWorker, LINK_ENV, MAX_MESSAGE, MAX_RECORD, MEDIA_ENV,
    Occupant, TAG_BLAME, TAG_EVENT, TAG_PREVIEW, ToWorker,
};
use wire::ortc::MediaKind;
use wire::{DisplayName, PeerId, SlotId};

fn main() {
    if std::env::var_os(LINK_ENV).is_some() {
        return worker();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        a_killed_worker_is_restarted_and_told_everything_again().await;
        println!("test a_killed_worker_is_restarted_and_told_everything_again ... ok");
        a_feed_that_kills_three_workers_is_given_up_and_the_others_live().await;
        println!("test a_feed_that_kills_three_workers_is_given_up_and_the_others_live ... ok");
        a_missing_program_and_a_taken_socket_are_told_in_words().await;
        println!("test a_missing_program_and_a_taken_socket_are_told_in_words ... ok");
        a_worker_that_will_not_leave_is_killed_at_the_deadline().await;
        println!("test a_worker_that_will_not_leave_is_killed_at_the_deadline ... ok");
    });
}

async fn a_killed_worker_is_restarted_and_told_everything_again() {
    let pipes = Arc::new(Mutex::new(Vec::new()));
    let (handle, mut events) = supervise("/tmp/unused.sock", &pipes);
    handle.add_feed(feed(1));
    handle.pause_feed(1, true);
    handle.bind_slot(
        SlotId::try_from(2).unwrap(),
        Some(Occupant { peer: peer(), name: name("Ada"), screen: false }),
    );
    let state = "feed 1 paused, slot 2 Ada";
    let pid = worker_that_knows(&mut events, state).await;
    assert_eq!(*handle.status().borrow(), OutputStatus::Running);

    // The pipe's writing end never blocks, and what is written arrives whole.
    {
        let pipes = pipes.lock().unwrap();
        let mut buffer = [0; MAX_RECORD];
        let length = outputs::record::encode_rtp_record(&mut buffer, 1, 5, &[7; 100]).unwrap();
        while rustix::io::write(&pipes[0], &buffer[..length]).is_ok() {}
    }

    kill(pid);
    let mut status = handle.status();
    timeout(
        WAIT,
        status.wait_for(
            |status| matches!(status, OutputStatus::Restarting { reason } if reason.contains("killed")),
        ),
    )
    .await
    .unwrap()
    .unwrap();
    let next = worker_that_knows(&mut events, state).await;
    assert_ne!(next, pid);
    assert_eq!(*events.restarts.borrow(), 1);
    assert_eq!(pipes.lock().unwrap().len(), 2);
    let (from, jpeg) = timeout(WAIT, events.previews.recv()).await.unwrap().unwrap();
    assert_eq!((from, &jpeg[..]), (peer().0, &b"jpeg"[..]));

    handle.shutdown(Duration::from_secs(5)).await;
    assert_eq!(*handle.status().borrow(), OutputStatus::Off);
}

async fn a_feed_that_kills_three_workers_is_given_up_and_the_others_live() {
    let (handle, mut events) = supervise("/tmp/unused.sock", &Arc::default());
    handle.add_feed(feed(1));
    handle.add_feed(feed(DEADLY));
    let failed = async {
        loop {
            if let Some(FromWorker::FeedFailed { feed: DEADLY, reason }) = events.events.recv().await {
                return reason;
            }
        }
    };
    let reason = timeout(WAIT, failed).await.unwrap();
    assert!(reason.starts_with("unsupported video"), "{reason}");
    worker_that_knows(&mut events, "feed 1, refuses the deadly one").await;
    // It ends, and that is the end of the refusal.
    handle.remove_feed(DEADLY);
    worker_that_knows(&mut events, "feed 1").await;
    handle.shutdown(Duration::from_secs(5)).await;
}

async fn a_missing_program_and_a_taken_socket_are_told_in_words() {
    let config = Config {
        program: "/nowhere/media".into(),
        socket_path: "/x".into(),
        slot_count: 1,
        hardware_decoding: false,
    };
    let (handle, _events) = start(config, Box::new(|_| ()));
    let mut status = handle.status();
    let told = |status: &OutputStatus| matches!(status, OutputStatus::Failed { reason } if reason.contains("Install"));
    timeout(WAIT, status.wait_for(told)).await.unwrap().unwrap();
    handle.shutdown(Duration::from_secs(5)).await;

    let (handle, _events) = supervise(TAKEN, &Arc::default());
    let mut status = handle.status();
    let told = |status: &OutputStatus| matches!(status, OutputStatus::Restarting { reason } if reason.contains(TAKEN));
    timeout(WAIT, status.wait_for(told)).await.unwrap().unwrap();
    handle.shutdown(Duration::from_secs(5)).await;
}

async fn a_worker_that_will_not_leave_is_killed_at_the_deadline() {
    let (handle, mut events) = supervise(STUBBORN, &Arc::default());
    let pid = worker_that_knows(&mut events, "").await;
    handle.shutdown(Duration::from_millis(50)).await;
    assert_eq!(*handle.status().borrow(), OutputStatus::Off);
    let gone = rustix::process::test_kill_process(rustix::process::Pid::from_raw(pid).unwrap());
    assert!(gone.is_err());
}

fn supervise(socket: &str, pipes: &Arc<Mutex<Vec<OwnedFd>>>) -> (MediaHandle, MediaEvents) {
    let program: PathBuf = std::env::current_exe().unwrap();
    let pipes = pipes.clone();
    let keep = Box::new(move |pipe| pipes.lock().unwrap().push(pipe));
    start(Config { program, socket_path: socket.into(), slot_count: 4, hardware_decoding: false }, keep)
}

/// Waits until a worker says that it has been told exactly this; returns its process id.
async fn worker_that_knows(events: &mut MediaEvents, expected: &str) -> i32 {
    let mut last = String::new();
    let told = async {
        loop {
            // The worker tells what it knows in the one event that has room for words, its id in another's number.
            match events.events.recv().await.unwrap() {
                FromWorker::FeedFailed { feed, reason } if reason == expected => return feed as i32,
                FromWorker::FeedFailed { reason, .. } => last = reason,
                _ => {}
            }
        }
    };
    let found = timeout(WAIT, told).await;
    found.unwrap_or_else(|_| panic!("the worker knows {last:?}, not {expected:?}"))
}

fn feed(feed: FeedId) -> Feed {
    Feed {
        feed,
        peer: peer(),
        kind: MediaKind::Video,
        screen: None,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        channels: 1,
        payload_type: 96,
        red_payload_type: None,
        orientation_id: None,
        capture_time_id: None,
        color_space_id: None,
    }
}

fn peer() -> PeerId {
    PeerId(uuid::Uuid::from_u128(7))
}

fn name(text: &str) -> DisplayName {
    DisplayName::parse(text).unwrap()
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// The worker's side: tells after each message what it knows, and dies of [`DEADLY`].
fn worker() {
    let link = inherited(LINK_ENV);
    let _media = inherited(MEDIA_ENV);
    let say = |event: &FromWorker| {
        let message = [vec![TAG_EVENT], serde_json::to_vec(event).unwrap()].concat();
        let _ = rustix::net::send(link, &message, SendFlags::NOSIGNAL);
    };
    let mut knows: Vec<String> = Vec::new();
    let mut stubborn = false;
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let Ok((_, length @ 1..)) = rustix::net::recv(link, &mut buffer[..], RecvFlags::empty()) else {
            if stubborn {
                std::thread::sleep(WAIT);
            }
            return;
        };
        match serde_json::from_slice(&buffer[..length]).unwrap() {
            ToWorker::Start { socket_path, slot_count, .. } => {
                assert_eq!(slot_count, 4);
                if socket_path == TAKEN {
                    std::process::exit(EXIT_SOCKET);
                }
                stubborn = socket_path == STUBBORN;
                say(&FromWorker::Ready);
                say(&FromWorker::Report { feeds: Vec::<FeedReport>::new(), readers: 0, mismatch: None });
                let preview = [&[TAG_PREVIEW][..], peer().0.as_bytes(), b"jpeg"].concat();
                let _ = rustix::net::send(link, &preview, SendFlags::NOSIGNAL);
            }
            ToWorker::AddFeed(Feed { feed: DEADLY, .. }) => {
                let blame = [&[TAG_BLAME][..], &DEADLY.to_le_bytes()].concat();
                let _ = rustix::net::send(link, &blame, SendFlags::NOSIGNAL);
                std::process::abort();
            }
            ToWorker::AddFeed(Feed { feed, .. }) => knows.push(format!("feed {feed}")),
            ToWorker::PauseFeed { paused, .. } => {
                assert!(paused);
                knows.last_mut().unwrap().push_str(" paused");
            }
            ToWorker::BindSlot { slot, occupant } => {
                knows.push(format!("slot {} {}", slot.number(), occupant.unwrap().name));
            }
            ToWorker::RefuseFeed { feed, .. } => {
                assert_eq!(feed, DEADLY);
                knows.push("refuses the deadly one".into());
            }
            ToWorker::RemoveFeed { feed: DEADLY } => drop(knows.pop()),
            ToWorker::RemoveFeed { .. }
            | ToWorker::SetSteadiness { .. }
            | ToWorker::BindSubject { .. }
            | ToWorker::Monitor(_)
            | ToWorker::SetHearing { .. }
            | ToWorker::Previews { .. } => {}
        }
        say(&FromWorker::FeedFailed { feed: std::process::id(), reason: knows.join(", ") });
    }
}

fn inherited(variable: &str) -> BorrowedFd<'static> {
    let fd: RawFd = std::env::var(variable).unwrap().parse().unwrap();
    // SAFETY: the supervisor opened it for this process, which never closes it.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

const WAIT: Duration = Duration::from_secs(20);
/// No process id.
const DEADLY: FeedId = u32::MAX;
const TAKEN: &str = "/tmp/taken.sock";
const STUBBORN: &str = "/tmp/stubborn.sock";
