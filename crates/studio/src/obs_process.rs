//! OBS as a process of this user's: does it run, and which plugin has it loaded.

use crate::obs_install::LIBRARY;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What is to be seen of the user's OBS from outside; of several, what at least one of them is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ObsProcess {
    pub running: bool,
    /// It runs without the plugin's file as it is now: none is loaded, or one that was replaced since.
    pub is_stale: bool,
}

/// Looks through `/proc` (proc(5)).
pub fn obs_process() -> ObsProcess {
    let me = rustix::process::getuid().as_raw();
    let Ok(processes) = fs::read_dir("/proc") else { return ObsProcess::default() };
    let mut seen = ObsProcess::default();
    for entry in processes.flatten() {
        let is_process = entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit);
        if is_process && entry.metadata().is_ok_and(|meta| meta.uid() == me) && is_obs(&entry.path()) {
            seen.running = true;
            // Who forbids us to look gives no reason to complain.
            seen.is_stale |= fs::read(entry.path().join("maps")).is_ok_and(|maps| !has_current_plugin(&maps));
        }
    }
    seen
}

fn is_obs(process: &Path) -> bool {
    fs::read(process.join("comm")).is_ok_and(|name| name.trim_ascii() == b"obs")
}

/// A mapped file that was replaced by renaming is marked "(deleted)".
fn has_current_plugin(maps: &[u8]) -> bool {
    let library = format!("/greenroom/{LIBRARY}");
    maps.split(|byte| *byte == b'\n').any(|line| line.ends_with(library.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_plugin_is_not_the_current_one() {
        let line = |path: &str| format!("7f2c-7f2d r-xp 00001000 fe:00 42   {path}\n");
        let other = line("/usr/lib/x86_64-linux-gnu/libobs.so.0");
        let ours = line("/home/a b/.config/obs-studio/plugins/greenroom/bin/64bit/greenroom.so");
        let old = ours.replace(".so\n", ".so (deleted)\n");
        let check = |maps: &[&str]| has_current_plugin(maps.concat().as_bytes());
        assert!(!check(&[&other]));
        assert!(check(&[&other, &ours, &other]));
        assert!(!check(&[&other, &old]));
        assert!(check(&[&old, &ours]));
    }
}
