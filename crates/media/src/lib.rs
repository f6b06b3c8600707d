//! The media worker: guests' packets in, pictures and sound for OBS out. A process of its own, because codecs are C.
//!
//! One thread reads media records from the pipe and hands each to its guest's queue. Every guest with a picture has a
//! thread that orders, joins, decodes and hands over pictures; one thread decodes and paces everybody's sound; the
//! main thread follows the engine's orders and reports. Nothing here is asynchronous, and nothing outlives the
//! engine: the end of either descriptor ends the process.
#![deny(unsafe_code)]

pub mod audio;
pub mod av;
pub mod control;
pub mod crash;
pub mod delay;
pub mod feed;
mod followers;
pub mod link;
pub mod monitor;
mod priority;
pub mod record;
pub mod slots;
pub mod timing;
pub mod video;

/// Recovers a lock whose holder panicked: what our locks guard is replaced whole, so it is never half-written.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A descriptor that was handed to this process, named by its number in an environment variable.
#[allow(unsafe_code)]
pub fn inherited(variable: &str) -> Option<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    let number: std::os::fd::RawFd = std::env::var(variable).ok()?.parse().ok()?;
    // SAFETY: F_GETFD only looks; it fails unless the descriptor is open.
    let open = number > 2 && unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
    // SAFETY: the engine opened it for this process, and nothing else here owns it: each variable is read once.
    let fd = open.then(|| unsafe { std::os::fd::OwnedFd::from_raw_fd(number) })?;
    // A process that this one starts must not keep it open after this one's end.
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(fd)
}
