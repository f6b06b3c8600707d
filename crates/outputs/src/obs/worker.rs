//! One running media worker process: started with its two descriptors, spoken to over its link.

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use tokio::io::unix::AsyncFd;
use tokio::process::{Child, Command};
use uuid::Uuid;
use wire::link::{FeedId, FromWorker, LINK_ENV, MEDIA_ENV, TAG_BLAME, TAG_EVENT, TAG_PREVIEW, ToWorker};

/// Ends when dropped: both descriptors close, which tells the process to leave, and it is killed.
pub(super) struct Worker {
    pub process: Child,
    pub link: Link,
}

/// What is said between the engine and a worker. `None`: closed.
pub(super) struct Link(Option<AsyncFd<OwnedFd>>);

/// One message of the worker.
#[derive(Debug)]
pub(super) enum Heard {
    Event(FromWorker),
    Preview(Uuid, Vec<u8>),
    /// It is about to die of a fault in this feed's decoder.
    Blame(FeedId),
    /// Not of this version of the link; ignored.
    Unknown,
    /// The worker closed its link: it has ended, or is about to.
    End,
}

impl Worker {
    /// Starts the program. Also returns the end of the media pipe to write to, which never blocks.
    ///
    /// Linux ties the parent-death signal the child asks for to the *thread* that calls this, so call it from a
    /// thread that lives as long as the child should.
    pub fn start(program: &Path) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )?;
        let (pipe_read, pipe_write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // The flag belongs to the open file, of which each end of a pipe has its own (pipe(2)).
        rustix::io::ioctl_fionbio(&pipe_write, true)?;
        // A smaller pipe than asked for (pipe-user-pages-soft) only means earlier drops.
        let _ = rustix::pipe::fcntl_setpipe_size(&pipe_write, PIPE_SIZE);
        rustix::io::ioctl_fionbio(&theirs, false)?;
        let mut command = Command::new(program);
        command
            .env(LINK_ENV, theirs.as_raw_fd().to_string())
            .env(MEDIA_ENV, pipe_read.as_raw_fd().to_string())
            .stdin(std::process::Stdio::null())
            // Ctrl-C in a terminal is for the engine, which then asks the worker to leave.
            .process_group(0)
            .kill_on_drop(true);
        let process = spawn_with(command, theirs, pipe_read)?;
        Ok((Self { process, link: Link::over(ours)? }, pipe_write))
    }
}

impl Link {
    #[allow(unsafe_code)]
    fn over(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: an `OwnedFd` is open, and stays the same file, until it is dropped.
        Ok(Self(Some(unsafe { AsyncFd::register(socket) }?)))
    }

    /// The next message, by way of an `inbox` of `MAX_MESSAGE` bytes; never, when closed. Cancel-safe.
    pub async fn hear(&self, inbox: &mut [u8]) -> Heard {
        let Some(link) = &self.0 else { return std::future::pending().await };
        let received = link
            .async_io(tokio::io::Interest::READABLE, |fd| {
                Ok(rustix::net::recv(fd, &mut *inbox, RecvFlags::DONTWAIT)?.1)
            })
            .await;
        let message = received.ok().and_then(|length| inbox.get(..length)).unwrap_or_default();
        match message.split_first() {
            None => Heard::End,
            Some((&TAG_EVENT, json)) => match serde_json::from_slice(json) {
                Ok(event) => Heard::Event(event),
                Err(error) => {
                    tracing::warn!(%error, "the media worker said something unknown");
                    Heard::Unknown
                }
            },
            Some((&TAG_PREVIEW, rest)) => match rest.split_first_chunk::<16>() {
                Some((of, jpeg)) => Heard::Preview(Uuid::from_bytes(*of), jpeg.to_vec()),
                None => Heard::Unknown,
            },
            Some((&TAG_BLAME, rest)) => match rest.first_chunk::<4>() {
                Some(feed) => Heard::Blame(FeedId::from_le_bytes(*feed)),
                None => Heard::Unknown,
            },
            Some(_) => Heard::Unknown,
        }
    }

    /// Tells the worker one thing when there is room for it. Cancel-safe: either told or not.
    pub async fn tell(&self, message: &ToWorker) -> io::Result<()> {
        let Some(link) = &self.0 else { return std::future::pending().await };
        let json = serde_json::to_vec(message)?;
        link.async_io(tokio::io::Interest::WRITABLE, |fd| {
            match rustix::net::send(fd, &json, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => Ok(()),
                Err(Errno::AGAIN) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Closes it, which asks the process to leave.
    pub fn close(&mut self) {
        self.0 = None;
    }
}

/// Spawns with exactly these two descriptors inherited, at the numbers they have here.
#[allow(unsafe_code)]
fn spawn_with(mut command: Command, link: OwnedFd, media: OwnedFd) -> io::Result<Child> {
    // SAFETY: between fork and exec only async-signal-safe calls may be made; `fcntl` is one (signal-safety(7)),
    // and the closure neither allocates nor locks. Clearing close-on-exec here and not before keeps the
    // descriptors from leaking into whatever else the engine starts meanwhile.
    unsafe {
        command.pre_exec(move || {
            fcntl_setfd(&link, FdFlags::empty())?;
            fcntl_setfd(&media, FdFlags::empty())?;
            Ok(())
        });
    }
    command.spawn()
    // `command` and with it our copies of the child's ends are dropped here: only the child keeps them open.
}

/// About half a second of six guests at 2.5 Mbit/s.
const PIPE_SIZE: usize = 1 << 20;
