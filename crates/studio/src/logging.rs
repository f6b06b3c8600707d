//! This process' log: to the error stream by a filter that can change while it runs, and its last lines in memory.
//!
//! A process has one subscriber, and so one of this.

use crate::clock::Clock;
use operations::LogTail;
use signaling::LOG_CEILING;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

/// Cloneable; all clones are the same log.
#[derive(Clone)]
pub struct Logging(Arc<Shared>);

struct Shared {
    filter: reload::Handle<EnvFilter, Registry>,
    /// What is logged unless somebody looks closer. A lock, because it is set once more after the settings were read.
    normal: Mutex<String>,
    tail: LogTail,
    /// Until when more is logged; RFC 3339.
    debug_until: watch::Sender<Option<String>>,
    /// Of the switch; an older one's end changes nothing.
    turn: AtomicU64,
}

/// Directives that cannot be read.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct BadFilter(String);

static LOGGING: OnceLock<Logging> = OnceLock::new();

/// Starts the log of this process; call once. A second subscriber (in tests) is refused; the first stays.
pub fn start(json: bool) {
    let normal = std::env::var(ENV).ok().filter(|text| parse(text).is_ok());
    let normal = normal.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let Ok((logging, filter)) = Logging::new(normal) else { return };
    let stream = fmt::layer().with_writer(std::io::stderr);
    let stream = if json { stream.json().boxed() } else { stream.boxed() };
    let kept = fmt::layer().with_ansi(false).with_writer({
        let tail = logging.0.tail.clone();
        move || tail.clone()
    });
    if tracing_subscriber::registry().with(filter).with(stream).with(kept).try_init().is_ok() {
        let _ = LOGGING.set(logging);
    }
}

/// Of this process; `None` where somebody else logs.
pub fn current() -> Option<&'static Logging> {
    LOGGING.get()
}

/// Checks what a file says.
pub fn check(filter: &str) -> Result<(), BadFilter> {
    parse(filter).map(drop)
}

impl Logging {
    fn new(normal: String) -> Result<(Self, reload::Layer<EnvFilter, Registry>), BadFilter> {
        let (layer, filter) = reload::Layer::new(parse(&normal)?);
        let shared = Shared {
            filter,
            normal: Mutex::new(normal),
            tail: LogTail::default(),
            debug_until: watch::Sender::new(None),
            turn: AtomicU64::new(0),
        };
        Ok((Self(Arc::new(shared)), layer))
    }

    /// What the settings say; the environment, which is closer at hand, has the last word.
    pub fn use_filter(&self, filter: &str) {
        if std::env::var_os(ENV).is_some() {
            return;
        }
        *self.0.normal.lock().unwrap_or_else(PoisonError::into_inner) = filter.to_owned();
        if self.0.debug_until.borrow().is_none() {
            self.apply(filter);
        }
    }

    /// The last lines, oldest first.
    pub fn tail(&self) -> String {
        self.0.tail.text()
    }

    pub fn debug_until(&self) -> watch::Receiver<Option<String>> {
        self.0.debug_until.subscribe()
    }

    /// Logs more, for half an hour: nobody remembers to turn it off. Must be called on a tokio runtime.
    pub fn debug(&self, on: bool) {
        let turn = self.0.turn.fetch_add(1, Ordering::SeqCst) + 1;
        if !on {
            return self.back_to_normal();
        }
        self.apply(DEBUG_FILTER);
        let until = Clock::start().now().unix_ms + DEBUG_FOR.as_millis() as u64;
        self.0.debug_until.send_replace(Some(rooms::rfc3339(until)));
        tracing::info!(minutes = DEBUG_FOR.as_secs() / 60, "more is logged for a while");
        let logging = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(DEBUG_FOR).await;
            if logging.0.turn.load(Ordering::SeqCst) == turn {
                logging.back_to_normal();
            }
        });
    }

    fn back_to_normal(&self) {
        let normal = self.0.normal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.apply(&normal);
        self.0.debug_until.send_replace(None);
    }

    fn apply(&self, filter: &str) {
        // Both were read before; and a subscriber that is gone logs nothing.
        if let Ok(filter) = parse(filter) {
            let _ = self.0.filter.reload(filter);
        }
    }
}

/// Below the ceiling, libraries log whole frames, tokens among them. To those who do not ask for so much it would be a floor.
fn parse(text: &str) -> Result<EnvFilter, BadFilter> {
    let asked = EnvFilter::try_new(text).map_err(|error| BadFilter(error.to_string()))?;
    match asked.max_level_hint() {
        Some(level) if level <= LevelFilter::DEBUG => Ok(asked),
        _ => Ok(LOG_CEILING.parse().into_iter().fold(asked, EnvFilter::add_directive)),
    }
}

const ENV: &str = "RUST_LOG";
/// The DTLS library warns of every extension of a browser's ClientHello that it does not know, the SCTP library of every
/// packet that a client makes up.
pub const DEFAULT_FILTER: &str = "info,rtc_dtls=error,sctp_proto=error";
/// Our own crates alone: what libraries say in between is for their authors.
const DEBUG_FILTER: &str = "info,greenroom=debug,rtc_dtls=warn,sctp_proto=error";
const DEBUG_FOR: Duration = Duration::from_secs(30 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn more_is_logged_for_half_an_hour_and_no_longer() {
        let (logging, filter) = Logging::new(DEFAULT_FILTER.into()).unwrap();
        let tail = logging.0.tail.clone();
        let kept = fmt::layer().with_ansi(false).with_writer(move || tail.clone());
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(filter).with(kept));
        let mut said = 0;
        let mut is_told = || {
            said += 1;
            tracing::debug!("word {said}.");
            logging.tail().contains(&format!("word {said}."))
        };
        assert!(!is_told());
        logging.debug(true);
        assert!(is_told() && logging.debug_until().borrow().is_some());
        tokio::time::sleep(DEBUG_FOR / 2).await;
        // Asked for again: from now on.
        logging.debug(true);
        tokio::time::sleep(DEBUG_FOR * 3 / 4).await;
        assert!(is_told());
        let mut until = logging.debug_until();
        until.wait_for(Option::is_none).await.unwrap();
        assert!(!is_told());
        logging.debug(true);
        logging.debug(false);
        assert!(!is_told() && logging.debug_until().borrow().is_none());
    }

    #[test]
    fn a_filter_is_checked() {
        assert!(check("info,greenroom_studio=trace").is_ok() && check("off").is_ok());
        assert!(check("greenroom_studio=loud").is_err());
    }
}
