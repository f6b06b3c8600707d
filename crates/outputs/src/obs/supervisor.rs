//! Keeps a media worker running, tells it what it shall know, and passes on what it says.

use super::blame::Blame;
use super::desired::WorkerState;
use super::worker::{Heard, Link, Worker};
use super::{Config, Wanted};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;
use wire::dashboard::OutputStatus;
use wire::link::{EXIT_SOCKET, FeedId, FromWorker, MAX_MESSAGE, ToWorker};
use wire::ortc::MediaKind;

/// Ends when told to stop, or when every [`super::MediaHandle`] is gone.
pub(super) struct Supervisor {
    pub config: Config,
    pub on_media_pipe: Box<dyn Fn(OwnedFd) + Send + Sync>,
    pub wanted: watch::Receiver<Wanted>,
    pub events: EventSink,
    pub previews: mpsc::Sender<(Uuid, Arc<[u8]>)>,
    pub status: watch::Sender<OutputStatus>,
    pub restarts: watch::Sender<u64>,
    /// Feeds that killed the worker too often.
    pub banned: BTreeSet<FeedId>,
}

/// Where events go, and those that must not get lost wait.
pub(super) struct EventSink {
    queue: mpsc::Sender<FromWorker>,
    /// Failures for which there was no room; at most one per feed.
    waiting: VecDeque<FromWorker>,
    dropped: u64,
}

impl EventSink {
    pub fn new(queue: mpsc::Sender<FromWorker>) -> Self {
        Self { queue, waiting: VecDeque::new(), dropped: 0 }
    }

    fn send(&mut self, event: FromWorker) {
        self.waiting.push_back(event);
        while let Some(event) = self.waiting.pop_front() {
            match self.queue.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    break;
                }
                Err(TrySendError::Closed(_)) => {}
            }
        }
        let before = self.waiting.len();
        self.waiting.retain(|event| matches!(event, FromWorker::FeedFailed { .. }));
        self.waiting.truncate(MAX_WAITING);
        let lost = before - self.waiting.len();
        if lost > 0 && self.dropped == 0 {
            tracing::warn!("events of the media worker are dropped: nobody reads them");
        }
        self.dropped += lost as u64;
    }
}

/// How a worker's life ended.
enum Ending {
    Stopped,
    Died { reason: String, blamed: Option<FeedId> },
}

impl Supervisor {
    /// Runs on a thread of its own: the worker's parent-death signal is tied to the thread that started it
    /// (prctl(2), PR_SET_PDEATHSIG), and a thread of a shared runtime may end earlier than the engine.
    pub fn spawn(self) {
        let run = move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.run()),
            Err(error) => self.fail(&error),
        };
        if let Err(error) = std::thread::Builder::new().name("media-supervisor".into()).spawn(run) {
            tracing::error!(%error, "cannot start the media supervisor");
        }
    }

    fn fail(&self, error: &std::io::Error) {
        self.status
            .send_replace(OutputStatus::Failed { reason: format!("Guests cannot reach OBS: {error}.") });
    }

    async fn run(mut self) {
        let mut blame = Blame::default();
        let mut backoff = FIRST_BACKOFF;
        let mut lives = 0;
        loop {
            let born = Instant::now();
            let ending = match Worker::start(&self.config.program) {
                Ok((worker, pipe)) => {
                    (self.on_media_pipe)(pipe);
                    self.live(worker, &mut lives).await
                }
                Err(error) => {
                    let program = self.config.program.display();
                    tracing::error!(%program, %error, "cannot start the media worker");
                    let reason = format!(
                        "The program {program} cannot be started ({error}). Install Greenroom again."
                    );
                    self.status.send_replace(OutputStatus::Failed { reason });
                    if self.pause(MAX_BACKOFF).await { break } else { continue }
                }
            };
            let Ending::Died { reason, blamed } = ending else { break };
            tracing::warn!(reason, ?blamed, "the media worker ended");
            self.status.send_replace(OutputStatus::Restarting { reason });
            if let Some(feed) = blamed.filter(|feed| blame.on_death(Instant::now().into_std(), *feed)) {
                self.ban(feed);
            }
            if born.elapsed() > HEALTHY {
                backoff = FIRST_BACKOFF;
            }
            if self.pause(backoff).await {
                break;
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
        self.status.send_replace(OutputStatus::Off);
    }

    /// This feed has had its chances; another of the same guest has its own.
    fn ban(&mut self, feed: FeedId) {
        let wanted = self.wanted.borrow();
        // Those that have ended since are nobody's any more.
        self.banned.retain(|banned| wanted.state.feeds.contains_key(banned));
        let Some(state) = wanted.state.feeds.get(&feed) else { return };
        let what = match state.feed.kind {
            MediaKind::Video => "unsupported video",
            MediaKind::Audio => "unsupported sound",
        };
        drop(wanted);
        let reason = format!("{what} (decoding it crashed three times)");
        self.events.send(FromWorker::FeedFailed { feed, reason });
        self.banned.insert(feed);
    }

    /// One worker from its start to its end.
    async fn live(&mut self, mut worker: Worker, lives: &mut u64) -> Ending {
        let start = ToWorker::Start {
            socket_path: self.config.socket_path.to_string_lossy().into_owned(),
            slot_count: self.config.slot_count,
            hardware_decoding: self.config.hardware_decoding,
        };
        let Worker { process, link } = &mut worker;
        if let Err(error) = link.tell(&start).await {
            return Ending::Died { reason: format!("It could not be spoken to ({error})."), blamed: None };
        }
        let mut told = WorkerState::default();
        let mut inbox = vec![0; MAX_MESSAGE];
        let mut blamed = None;
        let mut patience = Instant::now() + PATIENCE;
        loop {
            let (message, stop) = {
                let wanted = self.wanted.borrow_and_update();
                (wanted.state.next_difference(&told, &self.banned), wanted.stop)
            };
            if let Some(deadline) = stop {
                return dismiss(worker, deadline).await;
            }
            tokio::select! {
                heard = link.hear(&mut inbox) => {
                    patience = Instant::now() + PATIENCE;
                    match heard {
                        Heard::Event(event) => self.on_event(event, lives),
                        Heard::Preview(of, jpeg) => { let _ = self.previews.try_send((of, jpeg.into())); }
                        Heard::Blame(feed) => blamed = Some(feed),
                        Heard::Unknown => {}
                        Heard::End => {
                            link.close();
                            patience = Instant::now() + LAST_MOMENTS;
                        }
                    }
                }
                told_now = tell(link, message.as_ref()), if message.is_some() => match (told_now, message) {
                    (Ok(()), Some(message)) => told.learn(&message),
                    // The end of the process, which follows, says why.
                    _ => {
                        link.close();
                        patience = Instant::now() + LAST_MOMENTS;
                    }
                },
                changed = self.wanted.changed() => if changed.is_err() {
                    return dismiss(worker, LAST_MOMENTS).await;
                },
                ended = process.wait() => {
                    // What it said with its last breath is still in the socket.
                    while let Ok(heard) = timeout(LAST_WORDS, link.hear(&mut inbox)).await {
                        match heard {
                            Heard::Blame(feed) => blamed = Some(feed),
                            Heard::Event(event) => self.on_event(event, lives),
                            Heard::End => break,
                            Heard::Preview(..) | Heard::Unknown => {}
                        }
                    }
                    let reason = match ended {
                        Ok(status) => self.in_words(status),
                        Err(error) => format!("It was lost sight of ({error})."),
                    };
                    return Ending::Died { reason, blamed };
                }
                () = sleep_until(patience) => {
                    let _ = process.kill().await;
                    return Ending::Died { reason: "The media worker stopped answering.".into(), blamed };
                }
            }
        }
    }

    fn on_event(&mut self, event: FromWorker, lives: &mut u64) {
        if event == FromWorker::Ready {
            if *lives > 0 {
                self.restarts.send_modify(|count| *count += 1);
            }
            *lives += 1;
            self.status.send_replace(OutputStatus::Running);
        }
        self.events.send(event);
    }

    /// Waits, and says whether it was told to stop meanwhile.
    async fn pause(&mut self, how_long: Duration) -> bool {
        let stopped = self.wanted.wait_for(|wanted| wanted.stop.is_some());
        // An error means that every handle is gone.
        timeout(how_long, stopped).await.is_ok()
    }

    fn in_words(&self, status: ExitStatus) -> String {
        match (status.code(), status.signal()) {
            (Some(EXIT_SOCKET), _) => {
                format!("The socket for OBS at {} cannot be opened.", self.config.socket_path.display())
            }
            (_, Some(SIGKILL)) => "The media worker was killed, perhaps for want of memory.".into(),
            (_, Some(signal)) => format!("The media worker crashed (signal {signal})."),
            _ => format!("The media worker ended ({status})."),
        }
    }
}

async fn tell(link: &Link, message: Option<&ToWorker>) -> std::io::Result<()> {
    match message {
        Some(message) => link.tell(message).await,
        None => std::future::pending().await,
    }
}

/// Asks the worker to leave and waits for it; at the deadline it is killed.
async fn dismiss(mut worker: Worker, deadline: Duration) -> Ending {
    worker.link.close();
    if timeout(deadline, worker.process.wait()).await.is_err() {
        tracing::warn!("the media worker did not leave when asked");
        let _ = worker.process.kill().await;
    }
    Ending::Stopped
}

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// A worker that lived this long had not been started in vain.
const HEALTHY: Duration = Duration::from_secs(10);
/// It reports once a second; a machine can be very busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between the end of the link and that of the process.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
/// Between the end of the process and that of the link, which a signal handler's last message precedes.
const LAST_WORDS: Duration = Duration::from_millis(200);
const MAX_WAITING: usize = 64;
const SIGKILL: i32 = 9;
