//! What a server process costs: processor time and memory, by the kernel's accounts.

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use std::time::Duration;

/// User and system time of all threads of a process since it began.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid as i32)).context("the server is gone")?;
    Ok(clock_gettime(clock)?.into())
}

/// User and system time of the calling thread.
pub fn own_cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The process's share of memory (PSS) in octets: what it would give back.
pub fn memory(pid: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

/// Nanoseconds of CLOCK_REALTIME, the clock of the kernel's arrival times.
pub fn realtime_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).map(Duration::from).unwrap_or_default();
    now.as_nanos() as u64
}

/// As sender reports write it: seconds since 1900 in 32.32 fixed point (RFC 3550 §4).
pub fn ntp(realtime_ns: u64) -> u64 {
    ((u128::from(realtime_ns) << 32) / 1_000_000_000) as u64 + (2_208_988_800 << 32)
}
