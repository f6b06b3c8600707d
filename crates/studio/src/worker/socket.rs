//! The one UDP socket for media: batches in (GRO), batches out (GSO), through `quinn-udp`.

use arrayvec::ArrayVec;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use sfu::Datagram;
use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Instant;
use thiserror::Error;

#[derive(Debug, Error)]
#[error(
    "cannot open a UDP port for media (tried {tried}): {last}; close the program that uses it or set `media.port`"
)]
pub struct BindError {
    tried: String,
    last: io::Error,
}

/// A dual-stack socket where the machine has IPv6, else IPv4. IPv4 peers are plain IPv4 addresses to everybody else.
pub struct MediaSocket {
    io: mio::net::UdpSocket,
    state: UdpSocketState,
    dual_stack: bool,
    buffers: Vec<Vec<u8>>,
    more: bool,
    own: OwnAddresses,
}

impl MediaSocket {
    pub fn bind(ports: &[u16]) -> Result<Self, BindError> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no port given");
        for &port in ports {
            match open(port).and_then(Self::configure) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        let tried = match ports {
            [] => "none".to_owned(),
            [only] => only.to_string(),
            [first, .., end] => format!("{first} to {end}"),
        };
        Err(BindError { tried, last })
    }

    fn configure(socket: UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // Refusals are fine: the system's defaults are smaller, not wrong.
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
        let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
        let dual_stack = socket.local_addr()?.is_ipv6();
        let buffers = (0..BATCH_SIZE).map(|_| vec![0; RECEIVE_BUFFER]).collect();
        Ok(Self {
            io: mio::net::UdpSocket::from_std(socket),
            state,
            dual_stack,
            buffers,
            more: false,
            own: OwnAddresses::default(),
        })
    }

    pub fn source(&mut self) -> &mut mio::net::UdpSocket {
        &mut self.io
    }

    pub fn local_address(&self) -> SocketAddr {
        self.io.local_addr().unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Whether the last batch was full, so that more may wait.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Reads one batch and hands its datagrams on, at most [`BATCH_SIZE`] at once, with the time they were read; how many pieces
    /// that were.
    pub fn receive_batch(&mut self, mut handle: impl FnMut(Instant, &mut [Datagram<'_>])) -> usize {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let received = {
            let mut slices: Vec<IoSliceMut<'_>> =
                self.buffers.iter_mut().map(|b| IoSliceMut::new(b)).collect();
            self.state.recv((&self.io).into(), &mut slices, &mut meta)
        };
        // Errors other than "nothing there" are a peer's ICMP answers: theirs, not ours.
        let count = received.unwrap_or(0);
        // A batch that is not full has emptied the socket: what comes after it raises a new edge.
        self.more = count == BATCH_SIZE;
        let now = Instant::now();
        let mut datagrams = ArrayVec::<Datagram<'_>, BATCH_SIZE>::new();
        for (meta, buffer) in meta.iter().zip(&mut self.buffers).take(count) {
            let from = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
            self.own.note(from, meta.dst_ip);
            let stride = meta.stride.max(1);
            let Some(filled) = buffer.get_mut(..meta.len) else { continue };
            for datagram in filled.chunks_mut(stride) {
                if datagrams.is_full() {
                    handle(now, &mut datagrams);
                    datagrams.clear();
                }
                datagrams.push((from.into(), datagram));
            }
        }
        handle(now, &mut datagrams);
        count
    }

    /// Sends segments of `segment_size` bytes (the last may be shorter) to one destination; false when the socket
    /// would not take them all.
    pub fn send(&self, destination: SocketAddr, contents: &[u8], segment_size: usize) -> bool {
        let src_ip = self.own.towards(destination);
        let destination = self.as_sent(destination);
        let per_call = segment_size.max(1) * self.state.max_gso_segments().max(1);
        contents.chunks(per_call).all(|chunk| {
            let transmit = Transmit {
                destination,
                ecn: None,
                contents: chunk,
                segment_size: (chunk.len() > segment_size).then_some(segment_size),
                src_ip,
            };
            self.state.try_send((&self.io).into(), &transmit).is_ok()
        })
    }

    fn as_sent(&self, destination: SocketAddr) -> SocketAddr {
        match (self.dual_stack, destination.ip()) {
            (true, IpAddr::V4(v4)) => SocketAddr::new(v4.to_ipv6_mapped().into(), destination.port()),
            _ => destination,
        }
    }
}

/// Which of this machine's addresses each client sends to. Answers leave from there: a machine with several addresses
/// would otherwise choose one that the client never checked (RFC 8445 §7.2.5.2.1). Bounded: when full, all is forgotten,
/// and learnt again from the next packets.
#[derive(Default)]
struct OwnAddresses(HashMap<SocketAddr, IpAddr>);

impl OwnAddresses {
    fn note(&mut self, client: SocketAddr, own: Option<IpAddr>) {
        let Some(own) = own else { return };
        if self.0.get(&client) == Some(&own) {
            return;
        }
        if self.0.len() >= MAX_CLIENTS {
            self.0.clear();
        }
        self.0.insert(client, own);
    }

    fn towards(&self, client: SocketAddr) -> Option<IpAddr> {
        self.0.get(&client).copied()
    }
}

/// Dual-stack first (Linux binds `[::]` for both unless told otherwise), IPv4 alone where there is no IPv6.
fn open(port: u16) -> io::Result<UdpSocket> {
    match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
        }
        other => other,
    }
}

/// 4 MiB each way: 100 ms of 2,000 streams. The system may grant less.
const SOCKET_BUFFER: usize = 4 << 20;
/// Twice the transports a worker holds.
const MAX_CLIENTS: usize = 8192;
/// A GRO batch is at most one IP datagram's worth.
const RECEIVE_BUFFER: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_arrive_as_single_datagrams_over_either_family() {
        let mut socket = MediaSocket::bind(&[0]).unwrap();
        let port = socket.local_address().port();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        assert!(socket.send(peer.local_addr().unwrap(), b"aaaabbbbcc", 4));
        let mut buffer = [0; 16];
        for expected in [&b"aaaa"[..], b"bbbb", b"cc"] {
            let n = peer.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..n], expected);
        }
        peer.send_to(b"hello", ("127.0.0.1", port)).unwrap();
        let mut seen = Vec::new();
        while seen.is_empty() {
            socket.receive_batch(|_, datagrams| {
                seen.extend(datagrams.iter().map(|(from, datagram)| (from.address, datagram.to_vec())));
            });
        }
        assert_eq!(seen, [(peer.local_addr().unwrap(), b"hello".to_vec())]);
    }

    #[test]
    fn answers_leave_from_the_address_that_was_asked() {
        let mut socket = MediaSocket::bind(&[0]).unwrap();
        let asked = SocketAddr::from(([127, 0, 0, 2], socket.local_address().port()));
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        peer.send_to(b"question", asked).unwrap();
        let mut heard = None;
        while heard.is_none() {
            socket.receive_batch(|_, datagrams| heard = datagrams.first().map(|(from, _)| from.address));
        }
        assert!(socket.send(heard.unwrap(), b"answer", 6));
        assert_eq!(peer.recv_from(&mut [0; 16]).unwrap(), (6, asked));
    }

    #[test]
    fn a_taken_port_falls_back_to_the_next() {
        let first = MediaSocket::bind(&[0]).unwrap();
        let taken = first.local_address().port();
        assert!(MediaSocket::bind(&[taken]).is_err());
        assert_ne!(MediaSocket::bind(&[taken, 0]).unwrap().local_address().port(), taken);
    }
}
