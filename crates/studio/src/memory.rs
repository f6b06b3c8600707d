//! Whether this computer's memory is short because of us: looked at once a second, so that newcomers can be refused
//! before the system ends some process of its choice.

use std::fs;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::interval;

/// Turns true while the engine and its children hold more than `percent` of the memory there is. Where that cannot be
/// found out, it never does. *State* kind.
pub fn watch(percent: u64) -> watch::Receiver<bool> {
    let (is_full, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let Some(total) = total() else { return };
        let mut ticks = interval(INTERVAL);
        loop {
            tokio::select! {
                () = is_full.closed() => return,
                _ = ticks.tick() => {}
            }
            let Some(used) = used() else { continue };
            is_full.send_if_modified(|is_full| {
                let was = *is_full;
                *is_full = is_over(was, used, total, percent);
                *is_full != was
            });
        }
    });
    receiver
}

/// Once over it, a tenth less is asked for before it counts as good again: one guest's leaving and coming back would
/// otherwise be news each time.
fn is_over(was: bool, used: u64, total: u64, percent: u64) -> bool {
    let allowed = total / 100 * percent;
    used > if was { allowed / 10 * 9 } else { allowed }
}

/// Octets: the machine's, or what a control group leaves us of it (a container, a service with `MemoryMax`).
fn total() -> Option<u64> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    let group = fs::read_to_string("/proc/self/cgroup").ok();
    let group = group.as_deref().and_then(|text| text.lines().find_map(|line| line.strip_prefix("0::")));
    let most = group.and_then(|path| fs::read_to_string(format!("/sys/fs/cgroup{path}/memory.max")).ok());
    // "max" is no number, and no limit.
    let most = most.and_then(|text| text.trim().parse().ok());
    Some(most.map_or(machine, |most: u64| most.min(machine)))
}

/// Octets of ours: the engine's, and those of the media worker and what it started. Memory that they share counts twice.
fn used() -> Option<u64> {
    let mut used = resident("self")?;
    let mut waiting = children("self");
    for _ in 0..MOST_CHILDREN {
        let Some(child) = waiting.pop() else { break };
        used += resident(&child).unwrap_or_default();
        waiting.append(&mut children(&child));
    }
    Some(used)
}

fn resident(pid: &str) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// Of all its threads: a child belongs to the one that started it.
fn children(pid: &str) -> Vec<String> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Octets, from a line like `VmRSS:   1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

const INTERVAL: Duration = Duration::from_secs(1);
/// The media worker, the monitor, and whatever a bug might start.
const MOST_CHILDREN: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_of_memory_is_who_takes_more_than_its_share_until_it_takes_clearly_less() {
        let story = [(400, false), (501, true), (470, true), (449, false), (480, false)];
        let mut is_full = false;
        for (used, expected) in story {
            is_full = is_over(is_full, used, 1_000, 50);
            assert_eq!(is_full, expected, "{used}");
        }
    }

    #[test]
    fn what_the_system_says_is_understood() {
        assert_eq!(
            field("MemFree: 7 kB\nMemTotal:       16303232 kB\n", "MemTotal:"),
            Some(16_303_232 * 1024)
        );
        assert_eq!(field("VmRSS:\t garbage", "VmRSS:"), None);
        let (used, total) = (used().unwrap(), total().unwrap());
        assert!(used > 1_000_000 && used < total, "{used} of {total}");
    }

    #[test]
    fn a_child_counts() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(children("self").contains(&child.id().to_string()));
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
