//! The source's thread between a real host and a sink that writes down what OBS would get.

use super::*;
use crate::settings::Away;
use frame_ipc::{Host, Plane, Scene, SlotState, SlotWriter, Subject, VideoFrame, Who};
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
        let _ = self.0.send(Seen::Picture(picture.width, picture.planes[0].0.to_vec()[0]));
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

    fn load_image(&self, path: &str) -> Option<Image> {
        let rgba = [255, 255, 255, 255].repeat(16 * 16);
        (path == "white").then_some(Image { width: 16, height: 16, rgba })
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
        let (board, changes) = Board::new().unwrap();
        board.set(wishes(1, away));
        board.set_shown(true);
        let board = Arc::new(board);
        let (send, seen) = sync_channel(1024);
        let wanted = board.clone();
        let thread = std::thread::spawn(move || run(&wanted, changes, &Notebook(send), || Ok(path.clone())));
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

fn wishes(slot: u8, away: Away) -> Wishes {
    Wishes {
        subject: Subject::slot(slot),
        picture: true,
        audio: true,
        away,
        away_after_ns: 0,
        card: CardStyle::default(),
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
    writer.set_state(SlotState {
        occupant,
        video_live: true,
        audio_live: true,
        epoch: 1,
        ..SlotState::default()
    });
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
    play.board.set(Wishes { audio: false, ..wishes(1, Away::Hold) });
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
    play.board.set(wishes(2, Away::Transparent));
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

#[test]
fn a_source_that_follows_somebody_goes_from_one_to_the_next_without_a_card_between() {
    let play = Play::new("follow", Away::Slate);
    let subject = Subject { who: Who::Screen, stand_in: Some(1) };
    play.board.set(Wishes { subject: subject.clone(), ..wishes(1, Away::Slate) });
    let host = play.host();
    while host.followed().is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(host.followed()[0].subject, subject);
    let mut writer = host.slot(host.followed()[0].slot).unwrap();
    enter(&mut writer, "Ada");
    write(&mut writer, 1);
    play.next(|seen| *seen == Seen::Picture(64, 1));
    let occupant = Some("Bob".to_owned());
    writer.set_state(SlotState {
        occupant,
        video_live: true,
        audio_live: true,
        epoch: 2,
        ..SlotState::default()
    });
    std::thread::sleep(Duration::from_millis(50));
    write(&mut writer, 2);
    assert_eq!(play.next(|_| true), Seen::Picture(64, 2));
}

#[test]
fn the_engine_is_told_what_is_on_air_and_how_large() {
    let play = Play::new("look", Away::Hold);
    let host = play.host();
    let until = |scene, height| {
        while host.readers()[0].look != (Look { scene, height }) {
            std::thread::yield_now();
        }
    };
    until(Scene::Preview, 0);
    play.board.set_height(360);
    until(Scene::Preview, 360);
    play.board.set_active(true);
    until(Scene::Program, 360);
    play.board.set_shown(false);
    until(Scene::Hidden, 0);
    play.board.set(Wishes { picture: false, ..wishes(1, Away::Hold) });
    play.board.set_shown(true);
    play.board.set(wishes(1, Away::Hold));
    until(Scene::Program, 360);
}

#[test]
fn the_card_is_the_streamers_own_picture_if_it_can_be_read() {
    let play = Play::new("card", Away::Slate);
    let styled = |image: &str| {
        let card = CardStyle { ground: [0, 0, 0], image: image.into() };
        play.board.set(Wishes { card, ..wishes(1, Away::Slate) });
    };
    styled("white");
    assert_eq!(play.next(|seen| matches!(seen, Seen::Picture(16, _))), Seen::Picture(16, 235));
    styled("no such file");
    assert_eq!(play.next(|seen| matches!(seen, Seen::Picture(1280, _))), Seen::Picture(1280, 16));
}
