//! Last words: when a decoder crashes, the engine is told whose stream it was decoding.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};
use wire::link::{FeedId, TAG_BLAME};

/// Marks what this thread does as done for `feed`, until it returns.
pub fn blaming<T>(feed: FeedId, work: impl FnOnce() -> T) -> T {
    CURRENT.with(|current| current.set(u64::from(feed)));
    let result = work();
    CURRENT.with(|current| current.set(NOBODY));
    result
}

/// Makes a panic on any thread the end of the process: half a worker would go unnoticed, a dead one is replaced.
pub fn abort_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

/// Tells the engine which feed brought this process down; for faults that are noticed from outside.
pub fn blame(feed: FeedId) {
    let mut message = [TAG_BLAME; 5];
    message[1..].copy_from_slice(&feed.to_le_bytes());
    let link = LINK.load(Ordering::Relaxed);
    // SAFETY: the pointer and length are those of `message`; a bad descriptor is refused by the kernel. `send` is
    // async-signal-safe (signal-safety(7)).
    unsafe {
        libc::send(link, message.as_ptr().cast(), message.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    };
}

/// Installs the handler for the signals C code dies of. `link` stays open as long as the process lives.
pub fn install(link: RawFd) {
    LINK.store(link, Ordering::Relaxed);
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT] {
        // SAFETY: a zeroed sigaction is a valid one (default action, empty mask). The handler only reads a
        // thread-local without a destructor, sends, and returns: SA_RESETHAND has restored the default action, so
        // that the fault, happening again, ends the process as if there were no handler. SA_ONSTACK: Rust threads
        // have an alternate stack, which a stack overflow needs.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_RESETHAND | libc::SA_ONSTACK;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

extern "C" fn on_fault(_signal: libc::c_int) {
    let current = CURRENT.with(Cell::get);
    if let Ok(feed) = FeedId::try_from(current) {
        blame(feed);
    }
}

thread_local! {
    /// Const-initialised and without a destructor: safe to read in a signal handler.
    static CURRENT: Cell<u64> = const { Cell::new(NOBODY) };
}

static LINK: AtomicI32 = AtomicI32::new(-1);
const NOBODY: u64 = u64::MAX;
