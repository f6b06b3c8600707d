//! A TUN device in a network namespace: IP packets of that namespace as reads and writes of a file.

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::process::Command;
use std::thread;

/// Makes `tun0` with `address` (`10.0.0.1/24`) in a namespace known to `ip netns`; it goes when the file is closed.
pub fn open_in(namespace: &str, address: &str) -> Result<File> {
    let path = format!("/run/netns/{namespace}");
    let file = File::open(&path).with_context(|| format!("no network namespace {path}"))?;
    // A device belongs to the namespace of the thread that makes it.
    let made = thread::spawn(move || -> Result<File> {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        create()
    });
    let device = made.join().map_err(|_| anyhow::anyhow!("cannot make the device in {namespace}"))??;
    ip(namespace, &["address", "add", address, "dev", NAME])?;
    ip(namespace, &["link", "set", NAME, "up"])?;
    Ok(device)
}

fn create() -> Result<File> {
    let device = File::options().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name[..NAME.len()].copy_from_slice(NAME.as_bytes());
    // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one `struct ifreq`, which `Request` is as long as.
    let made = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, &raw mut request) };
    if made != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make a TUN device");
    }
    Ok(device)
}

fn ip(namespace: &str, arguments: &[&str]) -> Result<()> {
    if !Command::new("ip").args(["-n", namespace]).args(arguments).status()?.success() {
        bail!("ip {} failed in {namespace}", arguments.join(" "));
    }
    Ok(())
}

/// `struct ifreq` of linux/if.h, 40 octets.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

const NAME: &str = "tun0";
/// linux/if_tun.h.
const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
const IFF_TUN: u16 = 1;
/// Packets without a header of the device's own.
const IFF_NO_PI: u16 = 0x1000;
