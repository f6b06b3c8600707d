//! A cookie for PulseAudio's protocol, where the user has none.
//!
//! Its servers know a client on this computer by its user id, and still refuse one that shows no cookie. libpulse makes
//! one at its first use; the client that cpal brings does not, so on a machine where nothing has used libpulse yet
//! nothing would be played.

use rustix::fs::{MemfdFlags, memfd_create};
use std::env;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Returns when there is a cookie, or none can be had. Where there is none, this program begins anew with one that is
/// made up: the environment of a running program is not to be changed.
pub fn ensure() {
    if env::var_os(COOKIE).is_some() || usual_places().iter().any(|place| place.is_file()) {
        return;
    }
    let (Ok(here), Some(cookie)) = (env::current_exe(), made_up()) else { return };
    let path = format!("/proc/self/fd/{}", cookie.as_raw_fd());
    // Returns only if that failed.
    let _error = Command::new(here).args(env::args_os().skip(1)).env(COOKIE, path).exec();
}

/// Where cpal's client looks.
fn usual_places() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    [".config/pulse/cookie", ".pulse-cookie"].map(|place| home.join(place)).into()
}

/// Open across the new beginning.
fn made_up() -> Option<OwnedFd> {
    let mut file = File::from(memfd_create("cookie", MemfdFlags::empty()).ok()?);
    file.write_all(&[0; LENGTH]).ok()?;
    Some(file.into())
}

const COOKIE: &str = "PULSE_COOKIE";
/// NATIVE_COOKIE_LENGTH of the protocol.
const LENGTH: usize = 256;
