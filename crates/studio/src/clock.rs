//! The engine's one place to read clocks, for those that are told the time.

use rooms::Now;
use std::time::{Duration, Instant, SystemTime};
use wire::dashboard::{Note, Severity};

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { epoch: Instant::now() }
    }

    pub fn now(&self) -> Now {
        // A clock before 1970 is a broken one; everything but expiry still works with it.
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { unix_ms: unix.as_millis() as u64, mono_ms: self.epoch.elapsed().as_millis() as u64 }
    }

    pub fn uptime(&self) -> Duration {
        self.epoch.elapsed()
    }

    pub fn note(&self, severity: Severity, text: impl Into<String>) -> Note {
        Note { at: rooms::rfc3339(self.now().unix_ms), text: text.into(), severity }
    }
}
