//! This process as the system sees it, from `/proc` (proc(5)).

use std::fs;

/// What Prometheus' own libraries tell of a process, by their names.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Process {
    pub cpu_seconds: f64,
    pub resident_bytes: u64,
    pub virtual_bytes: u64,
    pub threads: u64,
    pub open_fds: u64,
    pub max_fds: Option<u64>,
    /// Unix time.
    pub started_seconds: f64,
}

impl Process {
    /// `None` where there is no `/proc`.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let page = rustix::param::page_size() as u64;
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let open_fds = fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64);
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Some(Self { open_fds, max_fds: most, ..parse(&stat, &boot, ticks, page)? })
    }
}

/// The fields are counted from the name's closing parenthesis: a name may hold spaces.
fn parse(stat: &str, boot: &str, ticks: f64, page: u64) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - FIRST)?.parse::<u64>().ok();
    let booted: f64 = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Process {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        threads: number(20)?,
        started_seconds: booted + number(22)? as f64 / ticks,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * page,
        ..Process::default()
    })
}

/// The number, in proc(5), of the field after the name.
const FIRST: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_those_of_the_manual() {
        let stat = "42 (green ) room) S 1 42 42 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 12 0 5000 8192000 300 18446744073709551615";
        let process = parse(stat, "cpu 1 2\nbtime 1700000000\n", 100.0, 4096).unwrap();
        assert_eq!((process.cpu_seconds, process.threads), (2.0, 12));
        assert_eq!((process.virtual_bytes, process.resident_bytes), (8_192_000, 1_228_800));
        assert_eq!(process.started_seconds, 1_700_000_050.0);
        assert!(parse("42 (x) S 1", "btime 1", 100.0, 4096).is_none() && parse("", "", 1.0, 1).is_none());
    }

    #[test]
    fn this_process_is_there() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 100_000 && process.open_fds >= 3 && process.threads >= 1);
    }
}
