//! One client's path to a server: its own UDP socket, ICE, DTLS, and then keys.

use crate::dtls_client::{DtlsClient, Identity, Step};
use crate::ice_client::{Credentials, IceClient, is_stun};
use crate::srtp::Keys;
use anyhow::{Context, Result, bail};
use nix::sys::socket::{setsockopt, sockopt};
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// What signaling told of the server's side.
#[derive(Clone, Debug)]
pub struct Remote {
    pub address: SocketAddr,
    pub credentials: Credentials,
    /// SHA-256.
    pub fingerprint: String,
}

/// A path that media can go over.
pub struct Connection {
    pub socket: UdpSocket,
    pub ice: IceClient,
    pub keys: Box<Keys>,
}

impl Connection {
    /// Checks over `socket`, then shakes hands; returns once there are keys.
    pub fn establish(
        socket: UdpSocket,
        identity: &Identity,
        mut ice: IceClient,
        remote: &Remote,
    ) -> Result<Self> {
        socket.connect(remote.address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let deadline = Instant::now() + GIVE_UP;
        let mut buffer = [0; 2048];
        let mut checked = false;
        let mut dtls: Option<DtlsClient> = None;
        let mut next_check = Instant::now();
        loop {
            let now = Instant::now();
            if now >= deadline {
                bail!("no {} within {GIVE_UP:?}", if checked { "DTLS" } else { "answer to checks" });
            }
            match receive(&socket, &mut buffer)? {
                Some(len) if is_stun(&buffer[..len]) => {
                    checked |= ice.is_success(&buffer[..len]);
                    if let Some(answer) = ice.answer(&buffer[..len], remote.address) {
                        socket.send(&answer)?;
                    }
                }
                Some(len) => {
                    if let Some(dtls) = &mut dtls {
                        dtls.handle_datagram(now, &buffer[..len])?;
                    }
                }
                None => {}
            }
            // Also after an answer: a server may take a path only with a second check.
            if now >= next_check {
                next_check = now + PATIENCE;
                socket.send(&ice.check())?;
            }
            if checked && dtls.is_none() {
                dtls = Some(DtlsClient::new(identity, &remote.fingerprint, now)?);
            }
            let Some(dtls) = &mut dtls else { continue };
            dtls.handle_timeout(now)?;
            loop {
                match dtls.poll()? {
                    Step::Send(datagram) => drop(socket.send(&datagram)?),
                    Step::Connected(keys) => {
                        socket.set_nonblocking(true)?;
                        return Ok(Self { socket, ice, keys });
                    }
                    Step::Wait => break,
                }
            }
        }
    }
}

/// A socket such as a guest's browser has: no segments in one piece (UDP_GRO), so that the sender pays for cutting
/// them as it would towards a network card; with the kernel's time of arrival.
pub fn media_socket(own: IpAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((own, 0)).with_context(|| format!("cannot bind {own}"))?;
    setsockopt(&socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    Ok(socket)
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Result<Option<usize>> {
    match socket.recv(buffer) {
        Ok(len) => Ok(Some(len)),
        // A port that is not open yet answers by ICMP.
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

const PATIENCE: Duration = Duration::from_millis(50);
const GIVE_UP: Duration = Duration::from_secs(15);
/// 100 ms of 20 streams, by the kernel's own count of a packet's cost.
const RECEIVE_BUFFER: usize = 2 << 20;
