//! The forwarding thread: owns the media socket and an [`sfu::Worker`], and does nothing but move packets.
//!
//! Everybody else talks to it through a [`WorkerHandle`]. The thread never blocks but in `poll`: commands, events
//! and media records go through bounded queues that refuse, wait inside the state machine, or drop.

mod addresses;
mod media_pipe;
mod socket;

use media_pipe::MediaPipe;
use mio::{Events, Interest, Poll, Token, Waker};
use socket::MediaSocket;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use addresses::{candidates, lan_addresses};
pub use socket::BindError;

/// What the forwarding thread needs to start.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Ports to try for media, in this order; port 0 lets the system choose.
    pub ports: Vec<u16>,
    /// Addresses to offer to clients; empty means every address of this machine.
    pub announced: Vec<std::net::IpAddr>,
    /// What one client may send, bit/s.
    pub max_incoming_bitrate: u64,
}

/// The thread ended: by [`WorkerHandle::stop`], or by a bug. The engine reports itself unhealthy.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WorkerGone {
    #[error("the forwarding worker has stopped")]
    Stopped,
    /// Its command queue is full.
    #[error("the forwarding worker is busy")]
    Busy,
}

/// How to start can fail.
#[derive(Debug, Error)]
pub enum StartError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("cannot start the forwarding worker: {0}")]
    Io(#[from] std::io::Error),
    #[error("cannot start the forwarding worker: {0}")]
    Sfu(#[from] sfu::Error),
}

/// Counters the thread publishes; read by anybody, written by it alone.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Datagrams the socket would not take.
    pub send_dropped: AtomicU64,
    /// Media records the media worker's pipe would not take.
    pub records_dropped: AtomicU64,
}

/// A cloneable way to the thread. Dropping every clone stops it.
#[derive(Clone)]
pub struct WorkerHandle {
    commands: std_mpsc::SyncSender<Command>,
    waker: Arc<Waker>,
    media_address: SocketAddr,
    counters: Arc<WorkerCounters>,
}

type Job = Box<dyn FnOnce(&mut sfu::Worker, Instant) + Send>;

/// *Request* kind: when full, [`WorkerGone::Busy`].
enum Command {
    Run(Job),
    MediaPipe(OwnedFd),
    Stop,
}

impl WorkerHandle {
    /// Starts the thread; its events come from the receiver (*request* kind: when it is full they wait inside the
    /// state machine, which is bounded by what it holds).
    pub fn start(config: WorkerConfig) -> Result<(Self, mpsc::Receiver<sfu::Event>), StartError> {
        let mut socket = MediaSocket::bind(&config.ports)?;
        let media_address = socket.local_address();
        let poll = Poll::new()?;
        poll.registry().register(socket.source(), SOCKET, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let sfu = sfu::Worker::new(
            sfu::Config {
                announced: candidates(&config.announced, media_address.port()),
                max_incoming_bitrate: config.max_incoming_bitrate,
                seed: rand::random(),
            },
            Instant::now(),
        )?;
        let (commands, inbox) = std_mpsc::sync_channel(COMMAND_CAPACITY);
        let (events, event_receiver) = mpsc::channel(EVENT_CAPACITY);
        let counters = Arc::new(WorkerCounters::default());
        let driver = Driver {
            poll,
            socket,
            sfu,
            inbox,
            events,
            pipe: MediaPipe::new(counters.clone()),
            counters: counters.clone(),
        };
        thread::Builder::new().name("forwarding".into()).spawn(move || driver.run())?;
        Ok((Self { commands, waker, media_address, counters }, event_receiver))
    }

    /// Runs `job` on the thread between two batches of packets and returns what it answered. Keep jobs short: packets wait.
    pub async fn call<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut sfu::Worker, Instant) -> R + Send + 'static,
    ) -> Result<R, WorkerGone> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Run(Box::new(move |sfu, now| {
            // The caller may have gone away; its answer is then nobody's.
            let _ = answer.send(job(sfu, now));
        })))?;
        answered.await.map_err(|_| WorkerGone::Stopped)
    }

    /// Where media records go from now on: the write end of the media worker's pipe, already non-blocking.
    pub fn attach_media_pipe(&self, pipe: OwnedFd) -> Result<(), WorkerGone> {
        self.send(Command::MediaPipe(pipe))
    }

    /// Ends the thread after the batch in hand.
    pub fn stop(&self) {
        let _ = self.send(Command::Stop);
    }

    /// The media socket's own address; the offered ones are [`candidates`].
    pub fn media_address(&self) -> SocketAddr {
        self.media_address
    }

    pub fn counters(&self) -> &WorkerCounters {
        &self.counters
    }

    fn send(&self, command: Command) -> Result<(), WorkerGone> {
        self.commands.try_send(command).map_err(|e| match e {
            std_mpsc::TrySendError::Full(_) => WorkerGone::Busy,
            std_mpsc::TrySendError::Disconnected(_) => WorkerGone::Stopped,
        })?;
        self.waker.wake().map_err(|_| WorkerGone::Stopped)
    }
}

/// The thread's own state.
struct Driver {
    poll: Poll,
    socket: MediaSocket,
    sfu: sfu::Worker,
    inbox: std_mpsc::Receiver<Command>,
    events: mpsc::Sender<sfu::Event>,
    pipe: MediaPipe,
    counters: Arc<WorkerCounters>,
}

/// Whether the thread goes on.
enum Next {
    Continue,
    Stop,
}

impl Driver {
    fn run(mut self) {
        let mut ready = Events::with_capacity(8);
        loop {
            if let Err(error) = self.poll.poll(&mut ready, self.patience())
                && error.kind() != std::io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the forwarding worker cannot wait for packets");
                return;
            }
            if let Next::Stop = self.run_commands() {
                return;
            }
            self.receive();
            let now = Instant::now();
            if self.sfu.poll_timeout().is_some_and(|at| at <= now) {
                self.sfu.handle_timeout(now);
            }
            self.transmit(now);
            self.publish_events();
        }
    }

    /// How long to wait for a packet or a command.
    fn patience(&self) -> Option<Duration> {
        let timeout = self.sfu.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        // Datagrams left in the socket by a full batch raise no new edge: look again at once.
        if self.socket.has_more() { Some(Duration::ZERO) } else { timeout }
    }

    fn run_commands(&mut self) -> Next {
        for _ in 0..COMMAND_CAPACITY {
            match self.inbox.try_recv() {
                Ok(Command::Run(job)) => job(&mut self.sfu, Instant::now()),
                Ok(Command::MediaPipe(fd)) => self.pipe.attach(fd),
                Ok(Command::Stop) | Err(std_mpsc::TryRecvError::Disconnected) => return Next::Stop,
                Err(std_mpsc::TryRecvError::Empty) => break,
            }
        }
        Next::Continue
    }

    fn receive(&mut self) {
        let Self { socket, sfu, pipe, .. } = self;
        socket.receive_batch(|now, from, datagram| sfu.handle_datagram(now, from, datagram, pipe));
    }

    fn transmit(&mut self, now: Instant) {
        let Self { socket, sfu, counters, .. } = self;
        sfu.flush(now, &mut |transmit| {
            if !socket.send(transmit.destination, transmit.contents, transmit.segment_size) {
                counters.send_dropped.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Hands events on while there is room; the rest wait in the state machine.
    fn publish_events(&mut self) {
        while let Ok(place) = self.events.try_reserve() {
            match self.sfu.poll_event() {
                Some(event) => place.send(event),
                None => break,
            }
        }
    }
}

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// Room for a burst of joins (a peer's start is about ten commands).
const COMMAND_CAPACITY: usize = 1024;
/// Room for every peer of a few rooms changing state at once.
const EVENT_CAPACITY: usize = 1024;
