//! Either end in another major version of the protocol: `other_version host SOCKET MAJOR`, `other_version reader SOCKET MAJOR`.
//!
//! The host says its version to whoever comes, and closes, as every host does that cannot serve a reader; the reader
//! comes again every second, as every source does.

use rustix::fd::OwnedFd;
use rustix::net::*;
use std::path::Path;
use std::time::Duration;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, path, major] = arguments.as_slice() else {
        panic!("usage: other_version host|reader SOCKET MAJOR")
    };
    let major: u8 = major.parse().expect("a version is a number");
    let address = SocketAddrUnix::new(path.as_str()).expect("no path for a socket");
    match role.as_str() {
        "host" => serve(Path::new(path), &address, major),
        "reader" => read(&address, major),
        _ => panic!("either host or reader"),
    }
}

fn serve(path: &Path, address: &SocketAddrUnix, major: u8) {
    let _ = std::fs::remove_file(path);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).expect("cannot make the socket's folder");
    }
    let listener = seqpacket();
    bind(&listener, address).expect("cannot bind");
    listen(&listener, 64).expect("cannot listen");
    println!("ready");
    loop {
        let Ok(socket) = accept(&listener) else { continue };
        let mut hello = [0_u8; 64];
        let _ = recv(&socket, &mut hello[..], RecvFlags::empty());
        let _ = send(&socket, &[1, major, 0, 0], SendFlags::NOSIGNAL);
        // What it says meanwhile is read, or closing would lose the answer.
        let _ = shutdown(&socket, Shutdown::Read);
        while matches!(recv(&socket, &mut hello[..], RecvFlags::DONTWAIT), Ok((_, 1..))) {}
    }
}

fn read(address: &SocketAddrUnix, major: u8) {
    println!("ready");
    loop {
        let socket = seqpacket();
        if connect(&socket, address).is_ok() {
            let hello = [&[1, major, 0, 0][..], b"GRIP"].concat();
            let _ = send(&socket, &hello, SendFlags::NOSIGNAL);
            let mut answer = [0_u8; 64];
            if let Ok((_, length)) = recv(&socket, &mut answer[..], RecvFlags::empty()) {
                println!("answered {:?}", &answer[..length]);
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn seqpacket() -> OwnedFd {
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).expect("no socket")
}
