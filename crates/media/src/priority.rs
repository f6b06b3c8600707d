//! Who goes before others when the processor is short: sound, where this computer allows it.
//!
//! Allowed is it to root, to members of a group that PipeWire's package makes, and to whom an administrator allows it.
//! For the others everything works as before, as punctually as the machine is idle.
#![allow(unsafe_code)]

use rustix::process::{Pid, Resource, Rlimit, prlimit, setpriority_process};
use std::process::Child;

/// This thread before others, as PipeWire asks for its own. Not ahead of all: it decodes what guests send.
pub fn raise_this_thread() {
    // `None` means this thread alone (Linux's `setpriority(2)`).
    let _ = setpriority_process(None, NICE);
}

/// A process that has just been started, and its threads to be, ahead of all that is not real-time itself. Should it run
/// without a pause, it ends.
pub fn make_real_time(child: &Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let limit = Rlimit { current: Some(RUNAWAY_US), maximum: Some(RUNAWAY_US) };
    if Pid::from_raw(pid).is_none_or(|pid| prlimit(Some(pid), Resource::Rttime, limit).is_err()) {
        return;
    }
    // SAFETY: a structure of integers, for which zeros are valid; further fields exist with some C libraries.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = REAL_TIME;
    // SAFETY: it reads the structure, which lives until it returns. The process is our child and not yet waited for, so
    // that the number is nobody else's.
    let _ = unsafe { libc::sched_setscheduler(pid, libc::SCHED_RR, &parameters) };
}

const NICE: i32 = -11;
/// Of 1 to 99: below the sound service's own, which is 88 with PipeWire.
const REAL_TIME: i32 = 10;
/// As PipeWire bounds its own threads.
const RUNAWAY_US: u64 = 200_000;
