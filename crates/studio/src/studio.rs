//! Keeps an engine running: one whose stage fails is ended in order and begun anew, at the same addresses.
//!
//! Guests find it again by themselves, as they do after a restart of the program: rooms, invites, seats and slots are
//! in the store. Only when that does not help is [`Studio::gave_up`] resolved, and the program should end.

use crate::config::Config;
use crate::engine::Engine;
use serde::Serialize;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A running studio; end it with [`Studio::shutdown`].
pub struct Studio {
    control: SocketAddr,
    owner_token: String,
    stop: oneshot::Sender<Duration>,
    state: watch::Receiver<State>,
    keeper: JoinHandle<()>,
    #[cfg(debug_assertions)]
    faults: mpsc::Sender<Fault>,
}

/// How to reach the engine as its owner. Never logged.
#[derive(Clone, Debug, Serialize)]
pub struct Access {
    pub control: String,
    pub token: String,
    pub dashboard: String,
}

/// What a tester can let happen to a debug build.
#[cfg_attr(not(debug_assertions), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This forwarding worker panics.
    Worker(usize),
    /// The stage does.
    Stage,
}

impl Studio {
    /// Starts everything; the invite links work when this returns. Must be called on a tokio runtime.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let engine = Engine::start(config.clone()).await?;
        let control = engine.control_addr();
        let owner_token = engine.owner().reveal().to_owned();
        // Pages that are open must find the next life where they found this one.
        let config = Config { control_listen: control, ..config };
        let (stop, stopped) = oneshot::channel();
        let (state, state_seen) = watch::channel(State::Running { life: 1 });
        let (_faults, faults) = mpsc::channel(1);
        let keeper = Keeper { config, faults, failures: Failures::default(), state };
        let keeper = tokio::spawn(keeper.run(engine, stopped));
        Ok(Self {
            control,
            owner_token,
            stop,
            state: state_seen,
            keeper,
            #[cfg(debug_assertions)]
            faults: _faults,
        })
    }

    pub fn control_addr(&self) -> SocketAddr {
        self.control
    }

    pub fn access(&self) -> Access {
        let control = format!("http://{}", self.control);
        let token = self.owner_token.clone();
        // In the fragment: it stays in the browser.
        Access { dashboard: format!("{control}/dashboard#token={token}"), control, token }
    }

    pub fn dashboard_url(&self) -> String {
        self.access().dashboard
    }

    /// Resolves when the engine failed for good; never, as long as it can be kept running.
    pub fn gave_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut state = self.state.clone();
        async move {
            // Without a sender the studio was shut down, which is no failure.
            if state.wait_for(|state| *state == State::GaveUp).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Ends everything in order, within the time given.
    pub async fn shutdown(self, within: Duration) {
        // Refused by a keeper that has ended already.
        let _ = self.stop.send(within);
        let _ = self.keeper.await;
    }

    #[cfg(debug_assertions)]
    pub async fn suffer(&self, fault: Fault) {
        let _ = self.faults.send(fault).await;
    }
}

/// Owns the engine of the moment.
struct Keeper {
    config: Config,
    /// Of a tester's; in a release build nobody can send any.
    faults: mpsc::Receiver<Fault>,
    failures: Failures,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running { life: u64 },
    GaveUp,
}

impl Keeper {
    async fn run(mut self, mut engine: Engine, mut stop: oneshot::Receiver<Duration>) {
        let mut life = 1;
        loop {
            tokio::select! {
                within = &mut stop => {
                    engine.shutdown(within.unwrap_or(CLEAR_AWAY)).await;
                    return;
                }
                Some(fault) = self.faults.recv() => suffer(&engine, fault).await,
                () = engine.failed() => {
                    tracing::error!("the engine failed; it is ended and started again");
                    engine.shutdown(CLEAR_AWAY).await;
                    if self.failures.are_too_many(Instant::now()) {
                        tracing::error!("the engine keeps failing: Greenroom ends");
                        return self.give_up();
                    }
                    engine = match self.begin_anew().await {
                        Some(engine) => engine,
                        None => return self.give_up(),
                    };
                    life += 1;
                    self.state.send_replace(State::Running { life });
                }
            }
        }
    }

    fn give_up(&self) {
        self.state.send_replace(State::GaveUp);
    }

    /// What the last life held is let go a moment after its end: its folder, its ports.
    async fn begin_anew(&self) -> Option<Engine> {
        let deadline = Instant::now() + START_WITHIN;
        loop {
            match Engine::start(self.config.clone()).await {
                Ok(engine) => return Some(engine),
                Err(error) if Instant::now() >= deadline => {
                    tracing::error!("the engine cannot be started again: {error:#}; Greenroom ends");
                    return None;
                }
                Err(error) => tracing::debug!("the engine cannot be started again yet: {error:#}"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

#[cfg(debug_assertions)]
async fn suffer(engine: &Engine, fault: Fault) {
    engine.suffer(fault).await;
}

#[cfg(not(debug_assertions))]
async fn suffer(_: &Engine, _: Fault) {}

/// The latest failures, oldest first.
#[derive(Default)]
struct Failures(VecDeque<Instant>);

impl Failures {
    /// Notes one more, and says whether starting again is in vain.
    fn are_too_many(&mut self, now: Instant) -> bool {
        self.0.push_back(now);
        self.0.retain(|at| now.saturating_duration_since(*at) < WINDOW);
        self.0.len() > MAX_FAILURES
    }
}

/// For what a failed life leaves behind: connections to be cut, a media worker to be ended.
const CLEAR_AWAY: Duration = Duration::from_secs(1);
const START_WITHIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(50);
/// A fault that comes back at once comes from what is in the store or from who is outside: another start meets it again.
const MAX_FAILURES: usize = 3;
const WINDOW: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_fails_at_once_again_and_again_is_given_up() {
        let mut failures = Failures::default();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        assert!([0, 1, 2].iter().all(|secs| !failures.are_too_many(at(*secs))));
        assert!(failures.are_too_many(at(3)));
        assert!(!failures.are_too_many(at(100)), "an hour later it is news again");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_stage_is_followed_by_another_at_the_same_address_that_knows_the_same() {
        let folder = std::env::temp_dir().join(format!("greenroom-studio-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut config = Config::defaults_in(folder.join("data"));
        (config.control_listen, config.media_ports) = (SocketAddr::from(([127, 0, 0, 1], 0)), vec![0]);
        config.obs.media_worker = Some(folder.join("no-such-program"));
        config.obs.socket = Some(folder.join("obs.sock"));
        let studio = Studio::start(config).await.unwrap();
        let Access { control, token, .. } = studio.access();
        let host = control.strip_prefix("http://").unwrap().to_owned();
        let create = request("POST", &host, "/api/rooms", &token, r#"{"roomId":"show"}"#);
        assert!(ask(&host, create).await.unwrap().starts_with("HTTP/1.1 201"), "the room is made");
        studio.suffer(Fault::Stage).await;
        let mut state = studio.state.clone();
        let back = state.wait_for(|state| *state == State::Running { life: 2 });
        tokio::time::timeout(Duration::from_secs(20), back).await.expect("it is back in time").unwrap();
        let read = ask(&host, request("GET", &host, "/api/rooms/show", &token, "")).await.unwrap();
        assert!(read.starts_with("HTTP/1.1 200"), "{read}");
        studio.shutdown(Duration::from_secs(2)).await;
    }

    fn request(method: &str, host: &str, path: &str, token: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }

    async fn ask(host: &str, request: String) -> Option<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(host).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }
}
