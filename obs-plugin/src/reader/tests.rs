//! The source's thread between a real host and a sink that writes down what OBS would get.

use super::*;
use crate::settings::Away;
use frame_ipc::{Host, Plane, SlotState, SlotWriter, VideoFrame};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug, PartialEq)]
enum Seen {
    /// Width, first byte of luma.
    Picture(u32, u8),
    Blank,
    /// Milliseconds between the chunk's time and when it is to be played.
    Sound(u64),
    Log(String),
}

/// When full, the source's thread waits: no test writes that much.
struct Notebook(SyncSender<Seen>);

impl Sink for Notebook {
    fn picture(&self, picture: &Picture<'_>) {
        let _ = self.0.send(Seen::Picture(picture.width, picture.planes[0].0[0]));
    }

    fn blank(&self) {
        let _ = self.0.send(Seen::Blank);
    }

    fn sound(&self, sound: &Sound<'_>) {
        assert_eq!(sound.line.samples(0).len(), sound.frames);
        let _ = self.0.send(Seen::Sound(sound.play_at_ns.saturating_sub(now_ns()) / 1_000_000));
    }

    fn canvas(&self) -> Canvas {
        Canvas { tick_ns: 0, frame_ns: 400_000_000 }
    }

    fn log(&self, text: &str) {
        let _ = self.0.send(Seen::Log(text.to_owned()));
    }
}

struct Play {
    folder: PathBuf,
    board: Arc<Board>,
    seen: Receiver<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Play {
    fn new(name: &str, away: Away) -> Self {
        let folder = std::env::temp_dir().join(format!("greenroom-reader-{}-{name}", std::process::id()));
        let path = folder.join("obs.sock");
        let board = Arc::new(Board::new(Wishes { slot: 1, away, audio: true, shown: true }).unwrap());
        let (send, seen) = sync_channel(1024);
        let wanted = board.clone();
        let thread = std::thread::spawn(move || run(&wanted, &Notebook(send), || Ok(path.clone())));
        Self { folder, board, seen, thread: Some(thread) }
    }

    fn host(&self) -> Host {
        Host::bind(&self.folder.join("obs.sock"), 2).unwrap()
    }

    /// The next thing seen that is no log line and passes `wanted`.
    fn next(&self, wanted: impl Fn(&Seen) -> bool) -> Seen {
        loop {
            let seen = self.seen.recv_timeout(Duration::from_secs(10)).expect("the source does something");
            if !matches!(seen, Seen::Log(_)) && wanted(&seen) {
                return seen;
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.seen.try_iter().all(|seen| matches!(seen, Seen::Log(_)))
    }
}

impl Drop for Play {
    fn drop(&mut self) {
        self.board.stop();
        self.thread.take().map(JoinHandle::join).transpose().unwrap();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn enter(writer: &mut SlotWriter, name: &str) {
    let occupant = Some(name.to_owned());
    writer.set_state(SlotState { occupant, video_live: true, audio_live: true, epoch: 1 });
}

fn write(writer: &mut SlotWriter, value: u8) {
    let bytes = [value; 64 * 64];
    let planes = [64, 32, 32].map(|stride| Plane { data: &bytes, stride });
    let now = now_ns();
    writer
        .write_video(&VideoFrame {
            format: PixelFormat::I420,
            width: 64,
            height: 64,
            planes: &planes,
            timestamp_ns: now,
            arrival_ns: now,
            full_range: false,
            matrix: Matrix::Bt601,
            rotation: Rotation::None,
        })
        .unwrap();
}

#[test]
fn a_source_without_an_engine_shows_its_card_and_then_the_guest() {
    let play = Play::new("first", Away::Slate);
    assert_eq!(play.next(|_| true), Seen::Picture(1280, 30));
    let host = play.host();
    let mut writer = host.slot(1).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 77);
    assert_eq!(play.next(|seen| *seen != Seen::Picture(1280, 30)), Seen::Picture(64, 77));
    // She leaves: the card takes the size of her picture.
    writer.set_state(SlotState { epoch: 2, ..SlotState::default() });
    assert_eq!(play.next(|seen| *seen != Seen::Picture(64, 77)), Seen::Picture(64, 30));
}

#[test]
fn a_source_survives_its_engine() {
    let play = Play::new("restart", Away::Transparent);
    let host = play.host();
    let mut writer = host.slot(1).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 1);
    play.next(|seen| *seen == Seen::Picture(64, 1));
    drop((writer, host));
    assert_eq!(play.next(|_| true), Seen::Blank);
    let host = play.host();
    let mut writer = host.slot(1).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 2);
    assert_eq!(play.next(|_| true), Seen::Picture(64, 2));
}

#[test]
fn sound_is_sent_ahead_and_only_while_it_is_wanted() {
    let play = Play::new("sound", Away::Hold);
    let host = play.host();
    let mut writer = host.slot(1).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 1);
    play.next(|seen| *seen == Seen::Picture(64, 1));
    writer.write_audio(&[&[0.5; 480]], 480, 48_000, now_ns()).unwrap();
    let Seen::Sound(ahead) = play.next(|_| true) else { panic!() };
    assert!((1..=400).contains(&ahead), "{ahead}");

    // Far too late, even with the canvas frame added.
    writer.write_audio(&[&[0.5; 480]], 480, 48_000, now_ns().saturating_sub(900_000_000)).unwrap();
    play.board.set(1, Away::Hold, false);
    // The first of these may come in the turn in which the wish is made, the second cannot.
    for value in [2, 3] {
        write(&mut writer, value);
        assert_eq!(play.next(|_| true), Seen::Picture(64, value));
    }
    writer.write_audio(&[&[0.5; 480]], 480, 48_000, now_ns()).unwrap();
    write(&mut writer, 4);
    assert_eq!(play.next(|_| true), Seen::Picture(64, 4));
}

#[test]
fn a_source_bound_to_another_slot_forgets_the_first() {
    let play = Play::new("rebind", Away::Transparent);
    let host = play.host();
    let (mut first, mut second) = (host.slot(1).unwrap(), host.slot(2).unwrap());
    enter(&mut first, "Ada");
    enter(&mut second, "Bob");
    write(&mut first, 1);
    play.next(|seen| *seen == Seen::Picture(64, 1));
    play.board.set(2, Away::Transparent, true);
    assert_eq!(play.next(|_| true), Seen::Blank);
    write(&mut first, 1);
    write(&mut second, 2);
    assert_eq!(play.next(|_| true), Seen::Picture(64, 2));
}

#[test]
fn a_hidden_source_is_given_no_pictures_and_the_newest_when_it_is_shown() {
    let play = Play::new("hidden", Away::Hold);
    let host = play.host();
    let mut writer = host.slot(1).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 1);
    play.next(|seen| *seen == Seen::Picture(64, 1));
    play.board.set_shown(false);
    while host.is_shown(1) {
        std::thread::yield_now();
    }
    for value in 2..9 {
        write(&mut writer, value);
    }
    writer.write_audio(&[&[0.5; 480]], 480, 48_000, now_ns()).unwrap();
    assert!(matches!(play.next(|_| true), Seen::Sound(_)));
    assert!(play.is_quiet());
    play.board.set_shown(true);
    assert_eq!(play.next(|_| true), Seen::Picture(64, 8));
}

#[test]
fn the_log_is_not_flooded_while_the_engine_is_away() {
    let play = Play::new("log", Away::Hold);
    let host = play.host();
    let mut writer = host.slot(1).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 1);
    let mut lines = 0;
    // From the start until the first picture there were several attempts to connect, perhaps.
    loop {
        match play.seen.recv_timeout(Duration::from_secs(10)).expect("a picture comes") {
            Seen::Log(_) => lines += 1,
            Seen::Picture(64, 1) => break,
            _ => {}
        }
    }
    assert!(lines <= 1, "{lines}");
}
