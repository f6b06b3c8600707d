//! The engine's side of the link, with the worker on a thread of this process.

use frame_ipc::{
    AudioBuffer, AudioInfo, Copied, Event, Look, Reader, SlotState, Subject, VideoBuffer, VideoInfo, now_ns,
};
use greenroom_media::control::{Exit, run};
use outputs::record::{encode_round_trip_record, encode_rtp_record, encode_sender_report_record};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use wire::link::{
    Codec, Feed, FeedId, FromWorker, MAX_MESSAGE, MAX_RECORD, Occupant, TAG_EVENT, TAG_PREVIEW, ToWorker,
};
use wire::ortc::MediaKind;
use wire::{DisplayName, PeerId, SlotId};

pub struct Engine {
    link: Option<OwnedFd>,
    pipe: Option<OwnedFd>,
    worker: Option<JoinHandle<Exit>>,
    pub socket: PathBuf,
    /// Everything the worker said so far.
    pub events: Vec<FromWorker>,
    pub previews: Vec<(PeerId, Vec<u8>)>,
}

impl Engine {
    pub fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("greenroom-media-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("frames.sock");
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let (pipe_read, pipe_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let worker = std::thread::spawn(move || run(theirs, pipe_read));
        let mut engine = Self {
            link: Some(ours),
            pipe: Some(pipe_write),
            worker: Some(worker),
            socket: socket.clone(),
            events: Vec::new(),
            previews: Vec::new(),
        };
        let socket_path = socket.to_string_lossy().into_owned();
        engine.tell(&ToWorker::Start { socket_path, slot_count: 2, hardware_decoding: true });
        engine.wait_for(|event| *event == FromWorker::Ready);
        engine
    }

    pub fn tell(&self, message: &ToWorker) {
        let json = serde_json::to_vec(message).unwrap();
        rustix::net::send(self.link.as_ref().unwrap(), &json, SendFlags::empty()).unwrap();
    }

    pub fn add_video(&self, feed: FeedId, codec: Codec) {
        self.add_video_of(peer(), feed, codec);
    }

    pub fn add_video_of(&self, peer: PeerId, feed: FeedId, codec: Codec) {
        self.tell(&ToWorker::AddFeed(Feed {
            feed,
            peer,
            kind: MediaKind::Video,
            screen: None,
            codec,
            clock_rate: 90_000,
            channels: 1,
            payload_type: super::camera::PAYLOAD_TYPE,
            red_payload_type: None,
            orientation_id: Some(super::camera::ORIENTATION_ID),
            capture_time_id: None,
            color_space_id: Some(super::camera::COLOUR_ID),
        }));
    }

    pub fn add_audio(&self, feed: FeedId) {
        self.tell(&ToWorker::AddFeed(Feed {
            feed,
            peer: peer(),
            kind: MediaKind::Audio,
            screen: None,
            codec: Codec::Opus,
            clock_rate: 48_000,
            channels: 2,
            payload_type: super::microphone::PAYLOAD_TYPE,
            red_payload_type: None,
            orientation_id: None,
            capture_time_id: None,
            color_space_id: None,
        }));
    }

    pub fn bind(&self, slot: u8, occupant: Option<(&str, PeerId)>) {
        let occupant = occupant.map(|(name, peer)| Occupant {
            peer,
            name: DisplayName::parse(name).unwrap(),
            screen: false,
        });
        self.tell(&ToWorker::BindSlot { slot: SlotId::try_from(slot).unwrap(), occupant });
    }

    pub fn send(&self, feed: FeedId, packet: &[u8]) {
        let mut buffer = [0; MAX_RECORD];
        let length = encode_rtp_record(&mut buffer, feed, now_ns(), packet).unwrap();
        rustix::io::write(self.pipe.as_ref().unwrap(), &buffer[..length]).unwrap();
    }

    pub fn send_report(&self, feed: FeedId, ntp: u64, rtp_timestamp: u32) {
        let mut buffer = [0; MAX_RECORD];
        let length = encode_sender_report_record(&mut buffer, feed, now_ns(), ntp, rtp_timestamp);
        rustix::io::write(self.pipe.as_ref().unwrap(), &buffer[..length]).unwrap();
    }

    pub fn send_round_trip(&self, feed: FeedId, ms: u32) {
        let mut buffer = [0; MAX_RECORD];
        let length = encode_round_trip_record(&mut buffer, feed, now_ns(), ms);
        rustix::io::write(self.pipe.as_ref().unwrap(), &buffer[..length]).unwrap();
    }

    pub fn write_raw(&self, bytes: &[u8]) {
        rustix::io::write(self.pipe.as_ref().unwrap(), bytes).unwrap();
    }

    /// Hears everything said until something is found; panics after a long while.
    pub fn wait_for(&mut self, found: impl Fn(&FromWorker) -> bool) -> FromWorker {
        let deadline = Instant::now() + PATIENCE;
        let mut looked_at = 0;
        loop {
            self.hear(Duration::from_millis(20));
            if let Some(event) = self.events[looked_at..].iter().find(|event| found(event)) {
                return event.clone();
            }
            looked_at = self.events.len();
            assert!(Instant::now() < deadline, "the worker said only {:?}", self.events);
        }
    }

    /// Takes in what the worker says within this time.
    pub fn hear(&mut self, how_long: Duration) {
        let deadline = Instant::now() + how_long;
        let mut buffer = vec![0; MAX_MESSAGE];
        loop {
            match rustix::net::recv(self.link.as_ref().unwrap(), &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return,
                Ok((_, length)) => match buffer[0] {
                    TAG_EVENT => self.events.push(serde_json::from_slice(&buffer[1..length]).unwrap()),
                    TAG_PREVIEW => {
                        let from = PeerId(uuid::Uuid::from_slice(&buffer[1..17]).unwrap());
                        self.previews.push((from, buffer[17..length].to_vec()));
                    }
                    tag => panic!("unknown message {tag}"),
                },
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => return,
            }
        }
    }

    pub fn keyframes_asked(&mut self) -> usize {
        self.hear(Duration::ZERO);
        self.events.iter().filter(|event| matches!(event, FromWorker::KeyFrameNeeded { .. })).count()
    }

    /// Closes the link as a dying engine does, and returns why the worker ended.
    pub fn die(mut self) -> Exit {
        self.link = None;
        self.worker.take().unwrap().join().unwrap()
    }

    /// Closes the pipe only.
    pub fn die_by_the_pipe(mut self) -> Exit {
        self.pipe = None;
        self.worker.take().unwrap().join().unwrap()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        (self.link, self.pipe) = (None, None);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        let _ = std::fs::remove_dir_all(self.socket.parent().unwrap());
    }
}

/// What an OBS source of a slot has seen and heard.
pub struct Viewer {
    reader: Reader,
    video: VideoBuffer,
    audio: AudioBuffer,
    pub states: Vec<SlotState>,
    pub pictures: Vec<Seen>,
    pub chunks: Vec<Heard>,
}

#[derive(Clone, Debug)]
pub struct Seen {
    pub info: VideoInfo,
    pub number: Option<u16>,
    pub chroma: (u8, u8),
    pub at_ns: u64,
}

#[derive(Clone, Debug)]
pub struct Heard {
    pub info: AudioInfo,
    pub left: Vec<f32>,
    pub at_ns: u64,
}

impl Viewer {
    pub fn of(socket: &Path, slot: u8) -> Self {
        Self::of_subject(socket, Subject::slot(slot))
    }

    pub fn of_subject(socket: &Path, subject: Subject) -> Self {
        let mut reader = Reader::connect(socket, subject).unwrap();
        reader.set_look(Look::PROGRAM);
        let mut viewer = Self {
            reader,
            video: VideoBuffer::default(),
            audio: AudioBuffer::default(),
            states: Vec::new(),
            pictures: Vec::new(),
            chunks: Vec::new(),
        };
        viewer.until("the first state", |viewer| !viewer.states.is_empty());
        // And the worker knows that it is looked at.
        viewer.watch(Duration::from_millis(60));
        viewer
    }

    /// As OBS does when the source comes into, or goes out of, sight.
    pub fn show(&mut self, shown: bool) {
        self.reader.set_look(if shown { Look::PROGRAM } else { Look::HIDDEN });
    }

    pub fn state(&self) -> &SlotState {
        self.states.last().unwrap()
    }

    pub fn numbers(&self) -> Vec<u16> {
        self.pictures.iter().map(|seen| seen.number.expect("every picture is whole")).collect()
    }

    /// Watches for this long.
    pub fn watch(&mut self, how_long: Duration) {
        let deadline = Instant::now() + how_long;
        loop {
            self.drain();
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Watches until something has happened; panics after a long while.
    pub fn until(&mut self, what: &str, happened: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !happened(self) {
            self.drain();
            assert!(
                Instant::now() < deadline,
                "never: {what}; {} pictures, {:?}",
                self.pictures.len(),
                self.states
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.reader.next(now_ns()).unwrap() {
            match event {
                Event::State(state) => self.states.push(state),
                Event::RingReplaced => {}
                Event::Video(info) => {
                    if self.reader.copy_video(&info, &mut self.video) == Copied::Whole {
                        let (luma, stride) = self.video.plane(0);
                        let number =
                            super::camera::read_number(luma, stride as usize, info.width, info.height);
                        let middle = |plane: usize| {
                            let (chroma, stride) = self.video.plane(plane);
                            chroma[stride as usize * (info.height as usize / 4) + info.width as usize / 4]
                        };
                        let chroma = (middle(1), middle(2));
                        self.pictures.push(Seen { info, number, chroma, at_ns: now_ns() });
                    }
                }
                Event::Audio(info) => {
                    if self.reader.copy_audio(&info, &mut self.audio) == Copied::Whole {
                        let left = self.audio.channel(0).to_vec();
                        self.chunks.push(Heard { info, left, at_ns: now_ns() });
                    }
                }
            }
        }
    }
}

pub fn peer() -> PeerId {
    PeerId(uuid::Uuid::from_u128(1))
}

const PATIENCE: Duration = Duration::from_secs(20);
