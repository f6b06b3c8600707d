//! A crash in C code leaves the name of the feed it happened for.

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use wire::link::TAG_BLAME;

const CHILD_LINK: &str = "GREENROOM_TEST_CHILD_LINK";

#[test]
fn a_crash_is_blamed_on_whose_stream_was_being_decoded() {
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None)
            .unwrap();
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_crashes", "--include-ignored"])
        .env(CHILD_LINK, theirs.as_raw_fd().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGABRT), "{status:?}");
    let mut message = [0; 16];
    let (_, length) = rustix::net::recv(&ours, &mut message[..], RecvFlags::DONTWAIT).unwrap();
    assert_eq!(message[..length], [TAG_BLAME, 5, 0, 0, 0]);
}

#[test]
#[ignore = "the other half of the test above"]
fn the_child_crashes() {
    let Ok(link) = std::env::var(CHILD_LINK) else { return };
    greenroom_media::crash::install(link.parse().unwrap());
    greenroom_media::crash::blaming(4, || ());
    greenroom_media::crash::blaming(5, || std::process::abort());
}
