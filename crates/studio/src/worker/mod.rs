//! The forwarding thread: owns the media socket and an [`sfu::Worker`], and does nothing but move packets.
//!
//! Everybody else talks to it through a [`WorkerHandle`]. The thread never blocks but in `poll`: commands, events
//! and media records go through bounded queues that refuse, wait inside the state machine, or drop.

mod addresses;
mod balance;
mod coalescing;
mod media_pipe;
mod pool;
mod restart;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;

use coalescing::{Coalescing, Round};
use media_pipe::MediaPipe;
use mio::{Events, Interest, Poll, Token, Waker};
use sfu::Protocol;
use socket::MediaSocket;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc as std_mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tcp::TcpDoor;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

pub use addresses::{candidates, lan_addresses};
pub use balance::{Gauge, Load, least_loaded};
pub use pool::{MAX_WORKERS, WorkerPool};
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
    /// Whether packets may gather when it is busy.
    pub gather: bool,
}

/// What a worker tells those who own its transports.
#[derive(Debug)]
pub enum WorkerEvent {
    Sfu(sfu::Event),
    /// It failed and goes on without anything it held. The index is that of [`WorkerPool::at`].
    Restarted(usize),
}

/// Why a worker did not do what it was asked.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WorkerGone {
    /// The thread ended: by [`WorkerHandle::stop`], or because it could not go on. The engine reports itself unhealthy.
    #[error("the forwarding worker has stopped")]
    Stopped,
    /// It failed over this very request, or stopped before it came to it.
    #[error("the forwarding worker failed")]
    Failed,
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
    /// How often it failed and began anew.
    pub restarts: AtomicU64,
    /// The thread is no more.
    ended: AtomicBool,
    /// Processor time used, nanoseconds; up to [`CPU_SAMPLE`] behind.
    cpu_ns: AtomicU64,
}

impl WorkerCounters {
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    pub fn cpu_time(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }
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
    /// Starts the thread. `index` marks its ids.
    fn start(config: WorkerConfig, index: u8, events: mpsc::Sender<WorkerEvent>) -> Result<Self, StartError> {
        let mut socket = MediaSocket::bind(&config.ports)?;
        let media_address = socket.local_address();
        let poll = Poll::new()?;
        poll.registry().register(socket.source(), SOCKET, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let tcp = TcpDoor::open(media_address, poll.registry())
            .inspect_err(|error| {
                tracing::warn!(%error, port = media_address.port(), "media has no TCP port; guests whose networks block UDP cannot join");
            })
            .ok();
        let has_tcp = tcp.is_some();
        let gather = config.gather;
        let announced = candidates(&config.announced, media_address.port());
        let begin = move || {
            let config = sfu::Config {
                announced: announced.clone(),
                announced_tcp: if has_tcp { announced.clone() } else { Vec::new() },
                max_incoming_bitrate: config.max_incoming_bitrate,
                seed: rand::random(),
            };
            Ok(sfu::Worker::new(config, Instant::now())?.marked(index))
        };
        let sfu = begin()?;
        let (commands, inbox) = std_mpsc::sync_channel(COMMAND_CAPACITY);
        let counters = Arc::new(WorkerCounters::default());
        let driver = Driver {
            poll,
            socket,
            tcp,
            sfu,
            inbox,
            index: index.into(),
            events,
            news: false,
            pipe: MediaPipe::new(counters.clone()),
            counters: counters.clone(),
            cpu_sampled: Instant::now(),
            coalescing: Coalescing::new(gather),
            idle: true,
            received: Instant::now(),
            polled: Instant::now(),
        };
        thread::Builder::new().name(format!("forwarding-{index}")).spawn({
            let counters = counters.clone();
            move || {
                restart::run_through_panics(driver, begin);
                counters.ended.store(true, Ordering::Relaxed);
            }
        })?;
        Ok(Self { commands, waker, media_address, counters })
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
        answered.await.map_err(|_| WorkerGone::Failed)
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
    /// None when another program has the port.
    tcp: Option<TcpDoor>,
    sfu: sfu::Worker,
    inbox: std_mpsc::Receiver<Command>,
    index: usize,
    events: mpsc::Sender<WorkerEvent>,
    /// It began anew, and nobody was told yet.
    news: bool,
    pipe: MediaPipe,
    counters: Arc<WorkerCounters>,
    cpu_sampled: Instant,
    coalescing: Coalescing,
    /// The last round received nothing.
    idle: bool,
    /// When the last round that did was over.
    received: Instant,
    polled: Instant,
}

/// Whether the thread goes on.
enum Next {
    Continue,
    Stop,
}

impl Driver {
    fn run(&mut self) {
        let mut ready = Events::with_capacity(64);
        loop {
            if let Err(error) = self.wait(&mut ready) {
                tracing::error!(%error, "the forwarding worker cannot wait for packets");
                return;
            }
            if let Next::Stop = self.run_commands() {
                return;
            }
            if let Some(tcp) = &mut self.tcp {
                ready.iter().for_each(|event| tcp.note_ready(event));
            }
            let began = Instant::now();
            self.receive();
            let round = self.transmit(Instant::now());
            self.coalescing.note_round(began, round);
            // Packets first: what waits for time would only queue them all beforehand.
            let now = Instant::now();
            if self.sfu.poll_timeout().is_some_and(|at| at <= now) {
                self.sfu.handle_timeout(now);
                self.transmit(now);
            }
            self.sfu.set_gathering(self.coalescing.gathers());
            self.publish_events();
            self.sample_cpu(now);
        }
    }

    /// Until there is something to do; while packets gather, until they have, even if the first is here.
    fn wait(&mut self, ready: &mut Events) -> std::io::Result<()> {
        let pause = self.coalescing.pause(Instant::now());
        let patience = match pause.filter(|_| !self.idle) {
            // `poll` itself counts in milliseconds.
            Some(pause) => {
                thread::sleep(pause);
                if self.may_skip_poll() {
                    ready.clear();
                    return Ok(());
                }
                Some(Duration::ZERO)
            }
            None => self.patience(),
        };
        self.polled = Instant::now();
        match self.poll.poll(ready, patience) {
            Err(error) if error.kind() != std::io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let burst = self.coalescing.burst(self.received.elapsed()).filter(|_| self.idle || pause.is_none());
        if let Some(burst) = burst.filter(|_| ready.iter().any(|event| event.token() == SOCKET)) {
            thread::sleep(burst);
        }
        Ok(())
    }

    /// Whether this round does without `poll`: its packets and commands are looked for anyway, and nobody is connected over TCP.
    fn may_skip_poll(&self) -> bool {
        self.tcp.as_ref().is_none_or(TcpDoor::is_empty) && self.polled.elapsed() < POLL_INTERVAL
    }

    /// In place of a state machine that failed. Its events were about things that are gone.
    fn begin_anew(&mut self, sfu: sfu::Worker) {
        self.sfu = sfu;
        self.news = true;
    }

    /// How long to wait for a packet or a command.
    fn patience(&self) -> Option<Duration> {
        if self.tcp.as_ref().is_some_and(TcpDoor::has_more) {
            return Some(Duration::ZERO);
        }
        let sweep = self.tcp.as_ref().and_then(TcpDoor::poll_timeout);
        let timeout = self
            .sfu
            .poll_timeout()
            .into_iter()
            .chain(sweep)
            .min()
            .map(|at| at.saturating_duration_since(Instant::now()));
        // Datagrams left in the socket by a full batch raise no new edge: look again at once. After a new beginning
        // they may be there too.
        match (self.socket.has_more(), self.news) {
            (true, _) => Some(Duration::ZERO),
            (false, true) => Some(timeout.unwrap_or(NEWS_RETRY).min(NEWS_RETRY)),
            (false, false) => timeout,
        }
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
        let Self { socket, tcp, sfu, pipe, .. } = self;
        self.idle = true;
        for _ in 0..MAX_BATCHES {
            let count = socket.receive_batch(|now, datagrams| sfu.handle_datagrams(now, datagrams, pipe));
            self.idle &= count == 0;
            if !socket.has_more() {
                break;
            }
        }
        if let Some(tcp) = tcp {
            tcp.receive(Instant::now(), sfu, pipe);
        }
        pipe.flush();
        if !self.idle {
            self.received = Instant::now();
        }
    }

    fn transmit(&mut self, now: Instant) -> Round {
        let Self { socket, tcp, sfu, counters, .. } = self;
        let mut round = Round::default();
        let mut last = None;
        sfu.flush_timed(now, &mut |transmit| {
            let sfu::Transmit { protocol, destination, contents, segment_size } = transmit;
            round.datagrams += contents.len().div_ceil(segment_size.max(1)) as u32;
            if last.replace(destination) != Some(destination) {
                round.clients += 1;
            }
            let is_sent = match protocol {
                Protocol::Udp => socket.send(destination, contents, segment_size),
                Protocol::Tcp => {
                    tcp.as_mut().is_some_and(|tcp| tcp.send(destination, contents, segment_size))
                }
            };
            if !is_sent {
                counters.send_dropped.fetch_add(1, Ordering::Relaxed);
            }
            Instant::now()
        });
        round
    }

    /// Hands events on while there is room; the rest wait in the state machine.
    fn publish_events(&mut self) {
        while let Ok(place) = self.events.try_reserve() {
            if std::mem::take(&mut self.news) {
                place.send(WorkerEvent::Restarted(self.index));
                continue;
            }
            match self.sfu.poll_event() {
                Some(event) => place.send(WorkerEvent::Sfu(event)),
                None => break,
            }
        }
    }

    /// A thread that sleeps long had at most [`CPU_SAMPLE`] of work that nobody saw.
    fn sample_cpu(&mut self, now: Instant) {
        if now.saturating_duration_since(self.cpu_sampled) >= CPU_SAMPLE {
            self.cpu_sampled = now;
            let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            let ns = used.tv_sec as u64 * 1_000_000_000 + used.tv_nsec as u64;
            self.counters.cpu_ns.store(ns, Ordering::Relaxed);
        }
    }
}

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// Room for a burst of joins (a peer's start is about ten commands).
const COMMAND_CAPACITY: usize = 1024;
/// Of datagrams, before what they caused is sent: the socket's buffer holds no more of ours.
const MAX_BATCHES: usize = 8;
/// While there is no room for the news of a new beginning.
const NEWS_RETRY: Duration = Duration::from_millis(10);
/// Somebody who connects over TCP waits no longer than that.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// Often enough for a load that is read once a second.
const CPU_SAMPLE: Duration = Duration::from_millis(250);
