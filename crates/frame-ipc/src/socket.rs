//! The socket under the notes: where it is, who may be at the other end, one message in or out.

use crate::message::MAX_TO_HOST;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, recvmsg, sendmsg,
    shutdown, socket_with,
};
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Environment variable that names the socket, for both ends.
pub const SOCKET_ENV: &str = "GREENROOM_OBS_SOCKET";

/// Where host and readers meet: `$GREENROOM_OBS_SOCKET`, else `$XDG_RUNTIME_DIR/greenroom/obs.sock`, else
/// `/tmp/greenroom-<uid>/obs.sock` (refused if somebody else owns that directory).
pub fn default_socket_path() -> io::Result<PathBuf> {
    let path = socket_path(|name| std::env::var_os(name), rustix::process::geteuid().as_raw());
    if let Some(directory) = path.parent().filter(|directory| directory.starts_with("/tmp")) {
        check_owner(directory)?;
    }
    Ok(path)
}

fn socket_path(env: impl Fn(&str) -> Option<OsString>, uid: u32) -> PathBuf {
    let absolute = |name| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
    match (absolute(SOCKET_ENV), absolute("XDG_RUNTIME_DIR")) {
        (Some(path), _) => path,
        (None, Some(directory)) => directory.join("greenroom/obs.sock"),
        (None, None) => format!("/tmp/greenroom-{uid}/obs.sock").into(),
    }
}

/// In a directory anybody may write to, the name alone proves nothing.
fn check_owner(directory: &Path) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(found) => {
            let trusted = found.is_dir() && [0, rustix::process::geteuid().as_raw()].contains(&found.uid());
            // Sticky (as /tmp is): others may add names, but not replace ours.
            let closed = found.mode() & 0o022 == 0 || found.mode() & 0o1000 != 0;
            if trusted && closed {
                Ok(())
            } else {
                Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("{} can be written to by other users", directory.display()),
                ))
            }
        }
    }
}

/// Listens at `path`, for this user only. A socket left behind by a dead host is replaced; a living host's
/// is an `AddrInUse`.
pub(crate) fn listen(path: &Path) -> io::Result<OwnedFd> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    check_owner(directory)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a file that is no socket is in the way",
            ));
        }
        Ok(_) if connect(path).is_ok() => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    // Bound under another name and then renamed: readers find the old socket or the new one, never none.
    let mut draft = path.as_os_str().to_owned();
    draft.push("~");
    let draft = PathBuf::from(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = seqpacket()?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&draft)?)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o600))?;
    rustix::net::listen(&socket, 64)?;
    fs::rename(&draft, path)?;
    Ok(socket)
}

/// Connects without waiting. The host may be hung: that shows only in its silence.
pub(crate) fn connect(path: &Path) -> io::Result<OwnedFd> {
    let socket = seqpacket()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    check_peer(&socket)?;
    Ok(socket)
}

/// The process at the other end must be this user's.
pub(crate) fn check_peer(socket: &OwnedFd) -> io::Result<()> {
    let peer = rustix::net::sockopt::socket_peercred(socket)?;
    if peer.uid == rustix::process::geteuid() {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user is at the other end"))
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// The other end has not read enough of the earlier ones.
    Full,
    /// The other end is gone.
    Gone,
}

/// Sends one message, with a descriptor or without. Never waits.
pub(crate) fn send(socket: &OwnedFd, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> Sent {
    let descriptors = descriptor.as_slice();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Sent::Gone;
    }
    match sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(_) => Sent::Yes,
        // ETOOMANYREFS: too many descriptors are under way to ends that do not read.
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS | Errno::NOMEM | Errno::TOOMANYREFS) => Sent::Full,
        Err(_) => Sent::Gone,
    }
}

/// To be called before the last owner drops a socket: what was sent to the other end can then be read there.
///
/// A socket closed with unread messages makes the other end's next receive fail, ahead of what waits for it.
pub(crate) fn hang_up(socket: &OwnedFd) {
    // From here on the other end cannot send, so that what is read below is the rest.
    let _ = shutdown(socket, Shutdown::Read);
    let mut bytes = [0; MAX_TO_HOST];
    for _ in 0..MAX_QUEUED {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::DONTWAIT,
        ) {
            Ok(message) if message.bytes > 0 => {}
            _ => return,
        }
    }
}

/// More messages than fit a sender's buffer (208 KiB unless told otherwise, and each is charged over 256 bytes).
const MAX_QUEUED: usize = 4096;

/// What a socket had to say.
pub(crate) enum Received {
    /// This many bytes, and a descriptor if one came along.
    Message(usize, Option<OwnedFd>),
    Nothing,
    /// Closed, broken, or a message longer than the buffer.
    End,
}

/// Takes one message. Never waits.
pub(crate) fn receive(socket: &OwnedFd, bytes: &mut [u8]) -> Received {
    let room = bytes.len();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC | RecvFlags::TRUNC;
    match recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags) {
        // An empty message and the end look alike; nobody here sends empty messages.
        Ok(message) if message.bytes == 0 || message.bytes > room => Received::End,
        Ok(message) => {
            let descriptor = control.drain().find_map(|part| match part {
                RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                _ => None,
            });
            Received::Message(message.bytes, descriptor)
        }
        Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
        Err(_) => Received::End,
    }
}

/// Whether the socket at `path` is still the one that was bound as inode `inode`.
pub(crate) fn is_at(path: &Path, inode: u64) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.ino() == inode)
}

pub(crate) fn inode(path: &Path) -> io::Result<u64> {
    Ok(fs::symlink_metadata(path)?.ino())
}

/// An eventfd: written from any thread, polled by one.
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn ring(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_comes_from_the_environment_or_the_user_id() {
        let check = |env: &[(&str, &str)], expected: &str| {
            let look_up =
                |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            assert_eq!(socket_path(look_up, 1000), Path::new(expected));
        };
        check(&[], "/tmp/greenroom-1000/obs.sock");
        check(&[("XDG_RUNTIME_DIR", "/run/user/1000")], "/run/user/1000/greenroom/obs.sock");
        check(&[("XDG_RUNTIME_DIR", "")], "/tmp/greenroom-1000/obs.sock");
        check(&[(SOCKET_ENV, "/a/b.sock"), ("XDG_RUNTIME_DIR", "/run/user/1000")], "/a/b.sock");
        check(&[(SOCKET_ENV, "relative")], "/tmp/greenroom-1000/obs.sock");
    }
}
