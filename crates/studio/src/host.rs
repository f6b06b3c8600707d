//! The computer under the engine: how busy its processors are, and how much room its disk has.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// As last seen; `None` where it cannot be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Host {
    /// Of all processors together, 0 to 1, over the last [`LOOK_EVERY`].
    pub cpu_busy: Option<f64>,
    /// For this user, where the folder is.
    pub disk_free_bytes: Option<u64>,
}

/// Looks until the last receiver is dropped. *State*: overwritten.
pub(crate) fn watch_host(folder: PathBuf) -> watch::Receiver<Host> {
    let (seen, receiver) = watch::channel(Host::default());
    tokio::spawn(async move {
        let mut every = interval(LOOK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = None;
        while !seen.is_closed() {
            every.tick().await;
            let folder = folder.clone();
            // Off the runtime's threads: a disk may not answer.
            let look = move || (fs::read_to_string("/proc/stat").ok(), free_bytes(&folder));
            let Ok((stat, disk_free_bytes)) = tokio::task::spawn_blocking(look).await else { return };
            let times = stat.as_deref().and_then(processor_times);
            let cpu_busy = before.zip(times).and_then(|(before, now)| busy(before, now));
            before = times;
            seen.send_replace(Host { cpu_busy, disk_free_bytes });
        }
    });
    receiver
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Ticks since the start, of all processors: those that were idle, and all.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    idle: u64,
    all: u64,
}

/// The first line of `/proc/stat` (proc(5)): user, nice, system, idle, iowait, irq, softirq, steal. Guests' time, which follows,
/// is in user's.
fn processor_times(stat: &str) -> Option<Times> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Option<Vec<u64>> =
        line.split_ascii_whitespace().take(8).map(|field| field.parse().ok()).collect();
    let fields = fields.filter(|fields| fields.len() >= 5)?;
    Some(Times { idle: fields[3] + fields[4], all: fields.iter().sum() })
}

fn busy(before: Times, now: Times) -> Option<f64> {
    // Idle time may go back a little between two readings, says proc(5).
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    let idle = now.idle.saturating_sub(before.idle).min(all);
    Some(1.0 - idle as f64 / all as f64)
}

const LOOK_EVERY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_what_was_not_idle() {
        let at = |text: &str| processor_times(text).unwrap();
        let before = at("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3\n");
        assert_eq!(before, Times { idle: 800, all: 1000 });
        assert_eq!(busy(before, at("cpu  150 0 125 720 105 0 0 0 90 0\n")), Some(0.75));
        assert_eq!(busy(before, at("cpu  200 0 100 690 100 0 0 0 0 0\n")), Some(1.0));
        assert_eq!(busy(before, before), None);
        for bad in ["", "intr 1 2", "cpu  1 2", "cpu  a b c d e"] {
            assert_eq!(processor_times(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn this_computer_is_seen() {
        let mut seen = watch_host(std::env::temp_dir());
        let host = *seen.wait_for(|host| host.disk_free_bytes.is_some()).await.unwrap();
        assert!(host.disk_free_bytes > Some(0));
    }
}
