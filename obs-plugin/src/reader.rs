//! One source's own thread: takes from the engine what is checked and whole, gives it to libobs, fills the gaps.

use crate::away::{Draw, Stage};
use crate::settings::{Board, CardStyle, Wishes};
use crate::slate::{self, Image};
use crate::sound::{Chunk, SoundLine};
use crate::timing::{Canvas, PictureLag};
use frame_ipc::{
    AudioBuffer, AudioInfo, Copied, Disconnect, Event, Look, MAX_CHANNELS, Matrix, PixelFormat, Pixels,
    Reader, Rotation, VideoBuffer, VideoInfo, now_ns,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

/// Where pictures and sound go: libobs, or a test.
pub trait Sink {
    fn picture(&self, picture: &Picture<'_>);
    fn blank(&self);
    fn sound(&self, sound: &Sound<'_>);
    fn canvas(&self) -> Canvas;
    /// A picture from a file of the streamer's; may take a while.
    fn load_image(&self, path: &str) -> Option<Image>;
    fn log(&self, text: &str);
}

/// A picture, ready to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Bytes and bytes per row; the third is empty for NV12.
    pub planes: [(Pixels<'a>, u32); 3],
    pub full_range: bool,
    pub matrix: Matrix,
    pub rotation: Rotation,
    pub timestamp_ns: u64,
}

/// A chunk of sound, ready to be played.
#[derive(Clone, Copy)]
pub struct Sound<'a> {
    /// Holds the samples.
    pub line: &'a SoundLine,
    pub channels: usize,
    pub frames: usize,
    pub sample_rate: u32,
    pub play_at_ns: u64,
}

/// Runs until `board` says stop. Never waits for anything but the engine's next note and the board. The first wishes
/// are on the board already.
pub fn run(
    board: &Board,
    changes: Receiver<Wishes>,
    sink: &impl Sink,
    path: impl Fn() -> io::Result<PathBuf>,
) {
    let Ok(wishes) = changes.recv() else { return };
    let mut thread = Thread {
        sink,
        path,
        changes,
        stage: Stage::new(wishes.subject.clone(), wishes.away, wishes.away_after_ns),
        look: Look::HIDDEN,
        link: Link::Down { retry_at: 0, pause: FIRST_PAUSE },
        picture: VideoBuffer::default(),
        sound: AudioBuffer::default(),
        card: slate::Card::default(),
        size: None,
        lag: PictureLag::default(),
        line: SoundLine::default(),
        report_at: 0,
        late: 0,
        complaint: None,
        trace: Trace::from_env(),
        wishes,
    };
    thread.dress(&CardStyle::default());
    while !board.is_stopped() {
        thread.turn(board);
    }
}

struct Thread<'a, S, P> {
    sink: &'a S,
    path: P,
    changes: Receiver<Wishes>,
    stage: Stage,
    wishes: Wishes,
    look: Look,
    link: Link,
    picture: VideoBuffer,
    sound: AudioBuffer,
    card: slate::Card,
    /// Of the last picture as it stood, so that the card takes its place exactly.
    size: Option<(u32, u32)>,
    lag: PictureLag,
    line: SoundLine,
    report_at: u64,
    /// Chunks of sound that came too late, since the last second.
    late: u32,
    /// What the log was last told, and when.
    complaint: Option<(String, u64)>,
    trace: Option<Trace>,
}

enum Link {
    Up { reader: Reader, since: u64, pause: u64 },
    Down { retry_at: u64, pause: u64 },
}

impl<S: Sink, P: Fn() -> io::Result<PathBuf>> Thread<'_, S, P> {
    fn turn(&mut self, board: &Board) {
        board.clear_wake();
        while let Ok(wishes) = self.changes.try_recv() {
            self.follow(wishes);
        }
        self.see(board.look());
        self.connect();
        self.take();
        let now = now_ns();
        if now >= self.report_at {
            self.report(now);
        }
        if let Some(draw) = self.stage.poll_draw(now) {
            self.draw(&draw, now);
        }
        self.wait(board);
    }

    fn follow(&mut self, wishes: Wishes) {
        let before = std::mem::replace(&mut self.wishes, wishes);
        if self.wishes.subject != before.subject {
            self.link = Link::Down { retry_at: now_ns(), pause: FIRST_PAUSE };
            self.stage.set_subject(self.wishes.subject.clone());
        }
        self.stage.set_away(self.wishes.away, self.wishes.away_after_ns);
        self.dress(&before.card);
    }

    fn dress(&mut self, before: &CardStyle) {
        let CardStyle { ground, image } = &self.wishes.card;
        if self.wishes.card != *before {
            let loaded = Some(image).filter(|path| !path.is_empty()).and_then(|path| {
                let loaded = self.sink.load_image(path);
                if loaded.is_none() {
                    self.sink.log(&format!(
                        "the picture {path} cannot be read; the guest's name is shown instead"
                    ));
                }
                loaded
            });
            self.card.set_style(*ground, loaded);
            self.stage.handle_new_card();
        }
    }

    fn see(&mut self, look: Look) {
        // Sound has no picture to be seen.
        let look = if self.wishes.picture { look } else { Look::HIDDEN };
        self.stage.handle_shown(look.is_shown(), now_ns());
        if let (Link::Up { reader, .. }, true) = (&mut self.link, look != self.look) {
            reader.set_look(look);
        }
        self.look = look;
    }

    fn connect(&mut self) {
        let now = now_ns();
        let Link::Down { retry_at, pause } = self.link else { return };
        if now < retry_at {
            return;
        }
        match (self.path)().and_then(|path| Reader::connect(&path, self.wishes.subject.clone())) {
            Ok(mut reader) => {
                reader.set_look(self.look);
                self.link = Link::Up { reader, since: now, pause };
            }
            Err(error) => {
                self.stage.handle_lost(now);
                self.retry(pause, &format!("Greenroom is not there ({error})"));
            }
        }
    }

    fn lost(&mut self, pause: u64, end: &Disconnect) {
        match end {
            Disconnect::Version(older) => self.stage.handle_mismatch(*older, now_ns()),
            _ => self.stage.handle_lost(now_ns()),
        }
        self.retry(pause, &end.to_string());
    }

    fn retry(&mut self, pause: u64, reason: &str) {
        let now = now_ns();
        self.link = Link::Down { retry_at: now + pause, pause: (pause * 2).min(LAST_PAUSE) };
        let told = self.complaint.as_ref().is_some_and(|(text, at)| text == reason && now < at + SILENCE);
        if !told {
            self.sink.log(&format!("{}: {reason}", self.wishes.subject.label()));
            self.complaint = Some((reason.to_owned(), now));
        }
    }

    /// Takes what the engine has announced: all the sound, and of the pictures the last.
    fn take(&mut self) {
        let mut newest = None;
        for _ in 0..EVENTS_PER_TURN {
            let Link::Up { reader, since, pause } = &mut self.link else { return };
            match reader.next(now_ns()) {
                Ok(None) => break,
                Ok(Some(Event::RingReplaced)) => newest = None,
                Ok(Some(Event::State(state))) => {
                    if newest.take().is_some() {
                        reader.skipped();
                    }
                    self.stage.handle_state(state, now_ns());
                }
                Ok(Some(Event::Video(info))) => {
                    if newest.replace(info).is_some() {
                        reader.skipped();
                    }
                }
                Ok(Some(Event::Audio(info))) => self.play(&info),
                Err(end) => {
                    // A connection that lasted starts the pauses anew.
                    let pause = if now_ns() > *since + STEADY { FIRST_PAUSE } else { *pause };
                    self.lost(pause, &end);
                    return;
                }
            }
        }
        if let Some(info) = newest {
            self.show(&info);
        }
    }

    fn show(&mut self, info: &VideoInfo) {
        let Link::Up { reader, .. } = &mut self.link else { return };
        let read_at = now_ns();
        if !self.look.is_shown() {
            return;
        }
        let sink = self.sink;
        let copied = reader.lend_video(info, &mut self.picture, |planes| {
            sink.picture(&Picture {
                format: info.format,
                width: info.width,
                height: info.height,
                planes,
                full_range: info.full_range,
                matrix: info.matrix,
                rotation: info.rotation,
                timestamp_ns: if info.still { read_at } else { info.timestamp_ns },
            });
        });
        if copied == Copied::Torn {
            if let Some(trace) = &mut self.trace {
                trace.torn(self.wishes.subject.plain_slot().unwrap_or_default());
            }
            return;
        }
        let now = now_ns();
        reader.handed_over(info, read_at, now);
        let shown_ns = self.sink.canvas().shows_at(now);
        if !info.still {
            self.lag.note(info.timestamp_ns, shown_ns);
        }
        if let Some(trace) = &mut self.trace {
            trace.picture(self.wishes.subject.plain_slot().unwrap_or_default(), info, read_at, now, shown_ns);
        }
        self.size = Some(match info.rotation {
            Rotation::None | Rotation::Half => (info.width, info.height),
            Rotation::Quarter | Rotation::ThreeQuarters => (info.height, info.width),
        });
        self.stage.handle_picture(now);
    }

    fn play(&mut self, info: &AudioInfo) {
        let Link::Up { reader, .. } = &mut self.link else { return };
        if !self.wishes.audio {
            return;
        }
        if reader.copy_audio(info, &mut self.sound) == Copied::Torn {
            return;
        }
        let AudioInfo { channels, frames, sample_rate, timestamp_ns, .. } = *info;
        let samples: [&[f32]; MAX_CHANNELS] = std::array::from_fn(|i| self.sound.channel(i));
        let samples = samples.get(..channels).unwrap_or_default();
        let wait_ns = self.lag.sound_waits_ns(self.sink.canvas().frame_ns);
        let chunk = Chunk { timestamp_ns, sample_rate, frames, channels: samples };
        match self.line.place(&chunk, wait_ns, now_ns()) {
            Some(placed) => self.sink.sound(&Sound {
                line: &self.line,
                channels,
                frames: placed.frames,
                sample_rate,
                play_at_ns: placed.play_at_ns,
            }),
            None => self.late += 1,
        }
    }

    fn draw(&mut self, draw: &Draw, now: u64) {
        match draw {
            _ if !self.wishes.picture => {}
            Draw::Blank => self.sink.blank(),
            Draw::Slate(words) => {
                let (width, height) = self.size.unwrap_or_else(|| self.card.own_size());
                self.sink.picture(&Picture { timestamp_ns: now, ..self.card.draw(words, width, height) });
            }
        }
    }

    /// Once a second.
    fn report(&mut self, now: u64) {
        self.report_at = now + SECOND;
        if let Link::Up { reader, .. } = &mut self.link {
            reader.send_report();
        }
        if self.late > 0 {
            let count = std::mem::take(&mut self.late);
            let subject = self.wishes.subject.label();
            self.sink.log(&format!("{subject}: {count} chunks of sound came too late"));
        }
        if let Some(trace) = &mut self.trace {
            trace.flush();
        }
    }

    fn wait(&self, board: &Board) {
        let now = now_ns();
        let mut deadline = self.stage.deadline(now).unwrap_or(u64::MAX).min(self.report_at);
        let wake = board.wake();
        let mut polled = vec![PollFd::new(&wake, PollFlags::IN)];
        match &self.link {
            Link::Up { reader, .. } => polled.push(PollFd::new(reader, PollFlags::IN)),
            Link::Down { retry_at, .. } => deadline = deadline.min(*retry_at),
        }
        let left = deadline.saturating_sub(now);
        let left = Timespec { tv_sec: (left / SECOND) as i64, tv_nsec: (left % SECOND) as i64 };
        // An error here is a signal or want of memory: the next turn does no harm.
        let _ = poll(&mut polled, Some(&left));
    }
}

/// One line per picture for measurements, to the file named by `GREENROOM_OBS_TRACE`:
/// slot, presentation time, arrival, written, read, handed to libobs, first seen, all in monotonic nanoseconds;
/// and its number. Of one that was overwritten while it was read: slot, `torn`.
struct Trace(BufWriter<File>);

impl Trace {
    fn from_env() -> Option<Self> {
        let path = std::env::var_os("GREENROOM_OBS_TRACE")?;
        let file = OpenOptions::new().create(true).append(true).open(path).ok()?;
        Some(Self(BufWriter::with_capacity(64 * 1024, file)))
    }

    fn picture(&mut self, slot: u8, info: &VideoInfo, read_at: u64, handed: u64, shown: u64) {
        let VideoInfo { timestamp_ns, arrival_ns, written_ns, .. } = info;
        let number = info.number();
        let _ = writeln!(
            self.0,
            "{slot} {timestamp_ns} {arrival_ns} {written_ns} {read_at} {handed} {shown} {number}"
        );
    }

    fn torn(&mut self, slot: u8) {
        let _ = writeln!(self.0, "{slot} torn");
    }

    fn flush(&mut self) {
        let _ = self.0.flush();
    }
}

const SECOND: u64 = 1_000_000_000;
const FIRST_PAUSE: u64 = 100_000_000;
const LAST_PAUSE: u64 = SECOND;
/// A connection that lasted this long was a good one.
const STEADY: u64 = 2 * SECOND;
/// The same complaint again only after this.
const SILENCE: u64 = 60 * SECOND;
/// More than a host's socket holds.
const EVENTS_PER_TURN: usize = 1024;

#[cfg(test)]
mod tests;
