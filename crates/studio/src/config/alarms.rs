//! When alarms are raised: what a file may say of it.

use super::{ConfigError, within};
use operations::AlarmRules;
use serde::Deserialize;
use std::time::Duration;

/// `[alarms]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawAlarms {
    connections_percent: Option<u8>,
    guest_score: Option<u8>,
    guest_secs: Option<u64>,
    media_worker_secs: Option<u64>,
    disk_free_mb: Option<u64>,
    cpu_percent: Option<u8>,
    cpu_secs: Option<u64>,
}

impl RawAlarms {
    pub(super) fn check(&self) -> Result<AlarmRules, ConfigError> {
        let mut rules = AlarmRules::default();
        percent("alarms.connections_percent", &mut rules.connections_percent, self.connections_percent)?;
        if let Some(score) = self.guest_score {
            rules.guest_score = within("alarms.guest_score", score, 0..=8, "0 to 8")?;
        }
        seconds("alarms.guest_secs", &mut rules.guest, self.guest_secs)?;
        seconds("alarms.media_worker_secs", &mut rules.media_worker, self.media_worker_secs)?;
        if let Some(megabytes) = self.disk_free_mb {
            let allowed = "0 (never) to 10000000 (megabytes)";
            let megabytes = within("alarms.disk_free_mb", megabytes, 0..=10_000_000, allowed)?;
            rules.disk_free_bytes = megabytes * 1_000_000;
        }
        percent("alarms.cpu_percent", &mut rules.cpu_percent, self.cpu_percent)?;
        seconds("alarms.cpu_secs", &mut rules.cpu, self.cpu_secs)?;
        Ok(rules)
    }
}

fn percent(key: &'static str, to: &mut u8, said: Option<u8>) -> Result<(), ConfigError> {
    if let Some(percent) = said {
        *to = within(key, percent, 20..=101, "20 to 100, or 101 for never")?;
    }
    Ok(())
}

fn seconds(key: &'static str, to: &mut Duration, said: Option<u64>) -> Result<(), ConfigError> {
    if let Some(seconds) = said {
        *to = Duration::from_secs(within(key, seconds, 0..=3600, "0 to 3600 (seconds)")?);
    }
    Ok(())
}
