//! Keeps the monitor process while it is wanted: starts it, hears how it goes, gives up on one that is silent.

use super::Monitor;
use crate::link::Link;
use crate::locked;
use crate::priority;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::link::{LINK_ENV, MEDIA_ENV};
use wire::monitor::{EXIT_NO_ANSWER, MAX_DEVICES, MAX_REPORT, MonitorReport, MonitorState, Monitoring};

/// The thread that has the process for a child. Lives as long as the media worker; the process ends with either, as
/// its standard input does.
pub(super) struct Keeper {
    pub program: PathBuf,
    pub monitor: Monitor,
    pub link: Arc<Link>,
}

impl Keeper {
    pub fn run(self) {
        let mut backoff = FIRST_BACKOFF;
        let mut begun = None;
        loop {
            let (wanted, generation) = self.monitor.wanted();
            if !wanted.on {
                self.report(MonitorState::Off, None);
                self.monitor.wait_for_change(generation, Duration::MAX);
                continue;
            }
            // Of one that is tried again, why it failed stays said.
            if begun.replace(generation) != Some(generation) {
                self.report(MonitorState::Starting, None);
            }
            let born = Instant::now();
            let Some(reason) = self.play(&wanted, generation) else {
                backoff = FIRST_BACKOFF;
                continue;
            };
            tracing::warn!(reason, "guests are not played to the streamer");
            self.report(MonitorState::Waiting { reason }, None);
            if born.elapsed() > HEALTHY {
                backoff = FIRST_BACKOFF;
            }
            self.monitor.wait_for_change(generation, backoff);
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// One process from its start to its end. Why it ended, unless something else is wanted now.
    fn play(&self, wanted: &Monitoring, generation: u64) -> Option<String> {
        let (mut child, input, output) = match start(&self.program, wanted) {
            Ok(started) => started,
            Err(error) => {
                let program = self.program.display();
                return Some(format!("{program} cannot be started ({error}). Install Greenroom again."));
            }
        };
        *locked(&self.monitor.0.pipe) = Some(input);
        let ending = self.listen(output, generation);
        *locked(&self.monitor.0.pipe) = None;
        // It may hang, or have ended.
        let _ = child.kill();
        let status = child.wait();
        match ending {
            Ending::Unwanted => None,
            Ending::Silent => Some(SILENT.into()),
            Ending::Gone => Some(in_words(status.ok())),
        }
    }

    fn listen(&self, output: ChildStdout, generation: u64) -> Ending {
        let mut heard = Vec::new();
        let mut last = Instant::now();
        loop {
            if self.monitor.wanted().1 != generation {
                return Ending::Unwanted;
            }
            if last.elapsed() > PATIENCE {
                return Ending::Silent;
            }
            let mut fds = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
            match poll(&mut fds, Some(&LOOK_EVERY)) {
                Ok(0) | Err(Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => return Ending::Gone,
            }
            let mut bytes = [0; 4096];
            match rustix::io::read(&output, &mut bytes) {
                Ok(0) => return Ending::Gone,
                Ok(length) => heard.extend_from_slice(&bytes[..length]),
                Err(Errno::INTR) => continue,
                Err(_) => return Ending::Gone,
            }
            while let Some(end) = heard.iter().position(|byte| *byte == b'\n') {
                if let Ok(MonitorReport { state, mut devices }) = serde_json::from_slice(&heard[..end]) {
                    last = Instant::now();
                    devices.truncate(MAX_DEVICES);
                    self.report(state, Some(devices));
                }
                heard.drain(..=end);
            }
            if heard.len() > MAX_REPORT {
                return Ending::Gone;
            }
        }
    }

    /// `devices`: `None` leaves those that were seen last.
    fn report(&self, state: MonitorState, devices: Option<Vec<wire::monitor::OutputDevice>>) {
        let news = {
            let mut report = locked(&self.monitor.0.report);
            let devices = devices.unwrap_or_else(|| report.devices.clone());
            let next = MonitorReport { state, devices };
            std::mem::replace(&mut *report, next.clone()) != next
        };
        if news {
            self.monitor.tell(&self.link);
        }
    }
}

enum Ending {
    /// Something else is wanted.
    Unwanted,
    /// It lives and says nothing: the sound service keeps it waiting.
    Silent,
    Gone,
}

fn start(program: &PathBuf, wanted: &Monitoring) -> std::io::Result<(Child, ChildStdin, ChildStdout)> {
    let mut child = Command::new(program)
        .args(wanted.device.as_ref().map(|device| device.as_str()))
        .env_remove(LINK_ENV)
        .env_remove(MEDIA_ENV)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // ALSA prints what it does not find, every time it is asked.
        .stderr(Stdio::null())
        .spawn()?;
    priority::make_real_time(&child);
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (Some(input), Some(output)) = (input, output) else {
        return Err(std::io::ErrorKind::BrokenPipe.into());
    };
    rustix::io::ioctl_fionbio(&input, true)?;
    // A larger pipe than asked for only means later drops.
    let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE_SIZE);
    Ok((child, input, output))
}

fn in_words(status: Option<ExitStatus>) -> String {
    match status.and_then(|status| status.code()) {
        // What the loader says when a library is missing, as it says to a shell.
        Some(127) => "The program that plays guests needs ALSA's library: install libasound2.".into(),
        Some(EXIT_NO_ANSWER) => SILENT.into(),
        _ => "The program that plays guests stopped and is being started again.".into(),
    }
}

/// Sixteen chunks (each takes a page): more than 160 ms behind, they are dropped.
const PIPE_SIZE: usize = 64 * 1024;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A process that lived this long had not been started in vain.
const HEALTHY: Duration = Duration::from_secs(10);
/// It speaks once a second.
const PATIENCE: Duration = Duration::from_secs(6);
/// How soon another wish is followed.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const SILENT: &str = "This computer's sound service does not answer. Restart PipeWire or PulseAudio; it goes on by itself then.";
