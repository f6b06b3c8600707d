//! The link to the engine: orders in, events and previews out.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;
use uuid::Uuid;
use wire::link::{FromWorker, MAX_MESSAGE, TAG_EVENT, TAG_PREVIEW, ToWorker};

/// Shared by all threads: each message is one `send`, so messages never mix.
#[derive(Debug)]
pub struct Link(OwnedFd);

/// What the engine said, if anything.
#[derive(Debug)]
pub enum Order {
    Message(ToWorker),
    /// Nothing within the time given.
    Nothing,
    /// Not of this version of the link; ignored.
    Unknown,
    /// The engine is gone.
    End,
}

impl Link {
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    pub fn raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits up to `patience` for the next order. `inbox` is scratch space.
    pub fn next_order(&self, patience: Duration, inbox: &mut Vec<u8>) -> io::Result<Order> {
        let timeout = rustix::event::Timespec {
            tv_sec: patience.as_secs() as i64,
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Order::Nothing),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        inbox.resize(MAX_MESSAGE, 0);
        match rustix::net::recv(&self.0, &mut inbox[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) | Err(Errno::CONNRESET) => Ok(Order::End),
            Ok((_, length)) => Ok(match serde_json::from_slice(inbox.get(..length).unwrap_or_default()) {
                Ok(message) => Order::Message(message),
                Err(error) => {
                    tracing::warn!(%error, "the engine said something unknown");
                    Order::Unknown
                }
            }),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Order::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the engine; false if there was no room. Never waits.
    pub fn tell(&self, event: &FromWorker) -> bool {
        let mut message = vec![TAG_EVENT];
        serde_json::to_writer(&mut message, event).is_ok() && self.send(&message)
    }

    /// Sends a JPEG, of a peer or a producer; dropped when there is no room.
    pub fn preview(&self, of: Uuid, jpeg: &[u8]) -> bool {
        let message = [&[TAG_PREVIEW][..], of.as_bytes(), jpeg].concat();
        message.len() <= MAX_MESSAGE && self.send(&message)
    }

    /// No more orders: what was said before is still heard, then the end.
    pub fn close(&self) {
        let _ = rustix::net::shutdown(&self.0, rustix::net::Shutdown::Read);
    }

    fn send(&self, message: &[u8]) -> bool {
        rustix::net::send(&self.0, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
    }
}
