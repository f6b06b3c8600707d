//! The way in for clients whose network lets no UDP through: ICE-TCP, passive (RFC 6544), on the media port's number.
//!
//! Everything is bounded: connections in all and of strangers from one host, what a stranger may say and for how long,
//! what waits in either direction. A stranger is whoever has not passed a check; the state machine knows who has.

mod framing;

use framing::{FrameReader, FrameWriter, Heard, SCRATCH};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use sfu::{Path, TapSink};
use slab::Slab;
use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// The listener and its connections.
pub struct TcpDoor {
    listener: TcpListener,
    registry: Registry,
    connections: Slab<Connection>,
    by_peer: HashMap<SocketAddr, usize>,
    may_accept: bool,
    /// Connections that may have something to read.
    ready: Vec<usize>,
    scratch: Box<[u8; SCRATCH]>,
    next_sweep: Option<Instant>,
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    reader: FrameReader,
    writer: FrameWriter,
    /// Since when nobody knows it; `None` once somebody does.
    stranger_since: Option<Instant>,
    /// Octets heard from a stranger.
    heard: usize,
    is_ready: bool,
    is_writable: bool,
    /// Since when it has not read what waits for it.
    stalled_since: Option<Instant>,
    is_broken: bool,
}

impl TcpDoor {
    /// Listens where the media socket does.
    pub fn open(address: SocketAddr, registry: &Registry) -> io::Result<Self> {
        let mut listener = TcpListener::bind(address)?;
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            registry: registry.try_clone()?,
            connections: Slab::new(),
            by_peer: HashMap::new(),
            may_accept: true,
            ready: Vec::new(),
            scratch: Box::new([0; SCRATCH]),
            next_sweep: None,
        })
    }

    /// What the poll said; events of others are none of ours.
    pub fn note_ready(&mut self, event: &Event) {
        if event.token() == LISTENER {
            self.may_accept = true;
            return;
        }
        let Some(key) = event.token().0.checked_sub(FIRST_CONNECTION.0) else { return };
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.is_writable |= event.is_writable();
        if event.is_readable() && !connection.is_ready {
            connection.is_ready = true;
            self.ready.push(key);
        }
        if event.is_writable() {
            connection.flush(Instant::now());
        }
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Whether there is more to read at once.
    pub fn has_more(&self) -> bool {
        self.may_accept || !self.ready.is_empty()
    }

    /// When [`Self::receive`] is wanted even if nothing arrives.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Takes new connections, reads once from each that has something to say, and shows out who stayed too long.
    pub fn receive(&mut self, now: Instant, sfu: &mut sfu::Worker, taps: &mut dyn TapSink) {
        self.accept(now);
        for key in std::mem::take(&mut self.ready) {
            self.read(now, key, sfu, taps);
        }
        if self.next_sweep.is_some_and(|at| at <= now) {
            self.sweep(now, sfu);
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if !self.may_accept {
                return;
            }
            match self.listener.accept() {
                // Closed at once: the client's other candidates may do better.
                Ok((stream, peer)) => drop(self.admit(now, stream, peer)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.may_accept = false,
                // The client has gone already.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a TCP connection for media");
                    self.may_accept = false;
                }
            }
        }
    }

    fn admit(&mut self, now: Instant, mut stream: TcpStream, peer: SocketAddr) -> Option<()> {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let host = host_of(peer.ip());
        let strangers = self
            .connections
            .iter()
            .filter(|(_, c)| c.stranger_since.is_some() && host_of(c.peer.ip()) == host)
            .count();
        let is_full = self.connections.len() >= MAX_CONNECTIONS || strangers >= MAX_STRANGERS;
        if is_full || self.by_peer.contains_key(&peer) {
            return None;
        }
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let token = Token(FIRST_CONNECTION.0 + key);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).ok()?;
        // Refusals are fine: the system's defaults are slower, not wrong.
        let _ = stream.set_nodelay(true);
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER);
        entry.insert(Connection {
            stream,
            peer,
            reader: FrameReader::default(),
            writer: FrameWriter::default(),
            stranger_since: Some(now),
            heard: 0,
            is_ready: true,
            is_writable: true,
            stalled_since: None,
            is_broken: false,
        });
        self.by_peer.insert(peer, key);
        self.ready.push(key);
        self.next_sweep.get_or_insert(now + SWEEP);
        Some(())
    }

    fn read(&mut self, now: Instant, key: usize, sfu: &mut sfu::Worker, taps: &mut dyn TapSink) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Connection { stream, reader, peer, .. } = connection;
        let path = Path::tcp(*peer);
        let heard =
            reader.read(stream, &mut self.scratch, |datagram| sfu.handle_datagram(now, path, datagram, taps));
        match heard {
            Ok(Heard::All) => connection.is_ready = false,
            Ok(Heard::Some(octets)) => {
                self.ready.push(key);
                if connection.stranger_since.is_some() {
                    connection.heard += octets;
                    if sfu.knows(path) {
                        connection.stranger_since = None;
                    } else if connection.heard > MAX_STRANGERS_WORDS {
                        self.close(key, sfu);
                    }
                }
            }
            Err(error) => {
                tracing::trace!(%error, "a TCP connection for media ended");
                self.close(key, sfu);
            }
        }
    }

    /// Sends datagrams of `segment_size` octets (the last may be shorter); false when one of them found no room.
    pub fn send(&mut self, destination: SocketAddr, contents: &[u8], segment_size: usize) -> bool {
        let connection = self.by_peer.get(&destination).and_then(|key| self.connections.get_mut(*key));
        let Some(connection) = connection else { return false };
        let mut has_room = true;
        for datagram in contents.chunks(segment_size.max(1)) {
            has_room &= connection.writer.push(datagram);
        }
        if connection.is_writable {
            connection.flush(Instant::now());
        }
        has_room
    }

    fn sweep(&mut self, now: Instant, sfu: &mut sfu::Worker) {
        let mut leaving = Vec::new();
        for (key, connection) in &mut self.connections {
            let since = match sfu.knows(Path::tcp(connection.peer)) {
                true => None,
                false => Some(connection.stranger_since.unwrap_or(now)),
            };
            connection.stranger_since = since;
            let has_passed = |since: Option<Instant>, limit| {
                since.is_some_and(|at| now.saturating_duration_since(at) >= limit)
            };
            if connection.is_broken
                || has_passed(since, MAX_STRANGERS_STAY)
                || has_passed(connection.stalled_since, MAX_STALL)
            {
                leaving.push(key);
            }
        }
        leaving.into_iter().for_each(|key| self.close(key, sfu));
        self.next_sweep = (!self.connections.is_empty()).then(|| now + SWEEP);
    }

    fn close(&mut self, key: usize, sfu: &mut sfu::Worker) {
        let mut connection = self.connections.remove(key);
        self.by_peer.remove(&connection.peer);
        self.ready.retain(|k| *k != key);
        // Closing it takes it from the poll, too.
        let _ = self.registry.deregister(&mut connection.stream);
        sfu.handle_disconnect(Path::tcp(connection.peer));
    }
}

impl Connection {
    /// A stream that fails is closed by the next sweep: its last words may still be read.
    fn flush(&mut self, now: Instant) {
        if self.is_broken {
            return;
        }
        let before = self.writer.waiting();
        match self.writer.write(&mut self.stream) {
            Ok(is_writable) => self.is_writable = is_writable,
            Err(_) => self.is_broken = true,
        }
        let waiting = self.writer.waiting();
        if waiting == 0 {
            self.stalled_since = None;
        } else if waiting < before || self.stalled_since.is_none() {
            self.stalled_since = Some(now);
        }
    }
}

/// Who shares these octets of an address is one host: a household has a whole /64 of IPv6 (RFC 6177 §2).
fn host_of(ip: IpAddr) -> [u8; 8] {
    let mut host = [0; 8];
    match ip {
        IpAddr::V4(v4) => host[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => host.copy_from_slice(&v6.octets()[..8]),
    }
    host
}

/// After those of the forwarding thread itself.
const LISTENER: Token = Token(16);
const FIRST_CONNECTION: Token = Token(17);
/// A guest has two transports, and a browser tries each candidate from each of its addresses.
const MAX_CONNECTIONS: usize = 256;
const MAX_STRANGERS: usize = 48;
/// A check has 100 octets; browsers repeat it for as long as nobody answers.
const MAX_STRANGERS_WORDS: usize = 16 * 1024;
const MAX_STRANGERS_STAY: Duration = Duration::from_secs(10);
/// A client that reads nothing for so long is gone, or ought to be.
const MAX_STALL: Duration = Duration::from_secs(15);
const SWEEP: Duration = Duration::from_secs(1);
const ACCEPT_BATCH: usize = 32;
/// The kernel doubles it: a quarter of a second at 8 Mbit/s. What lies there cannot be dropped any more.
const SEND_BUFFER: usize = 128 * 1024;

#[cfg(test)]
mod tests;
