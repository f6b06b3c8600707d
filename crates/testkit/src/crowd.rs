//! Thousands of Socket.IO clients in one thread: WebSocket frames by hand over epoll, so that the server is what is measured.

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Connected clients, by number.
pub struct Crowd {
    server: SocketAddr,
    epoll: Epoll,
    clients: Vec<Client>,
    /// Clients whose socket did not take everything.
    behind: Vec<usize>,
}

struct Client {
    stream: TcpStream,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Stage {
    Upgrading,
    /// Engine.IO's `open` is due, then the namespace's.
    Opening,
    Ready,
    Gone,
}

impl Crowd {
    pub fn new(server: SocketAddr) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::empty())?;
        Ok(Self { server, epoll, clients: Vec::new(), behind: Vec::new() })
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub fn ready(&self) -> usize {
        self.clients.iter().filter(|client| client.stage == Stage::Ready).count()
    }

    /// Opens so many more, and says how long it took until the last had its namespace.
    pub fn open(&mut self, more: usize) -> Result<Duration> {
        let start = Instant::now();
        let (before, all) = (self.ready(), self.clients.len() + more);
        while self.ready() - before < more {
            let opening =
                self.clients.len() - self.clients.iter().filter(|c| c.stage >= Stage::Ready).count();
            for _ in opening..IN_FLIGHT.min(all - self.clients.len() + opening) {
                self.connect()?;
            }
            self.turn(Duration::from_millis(100), |_, _| {})?;
            if self.clients.iter().any(|client| client.stage == Stage::Gone) || start.elapsed() > PATIENCE {
                bail!("of {more} connections, {} came to be", self.ready() - before);
            }
        }
        Ok(start.elapsed())
    }

    fn connect(&mut self) -> Result<()> {
        let mut stream = TcpStream::connect(self.server).context("the server does not accept")?;
        stream.set_nodelay(true)?;
        write!(
            stream,
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.server
        )?;
        stream.set_nonblocking(true)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, self.clients.len() as u64);
        self.epoll.add(&stream, event)?;
        let (inbox, outbox) = (Vec::new(), Vec::new());
        self.clients.push(Client { stream, inbox, outbox, stage: Stage::Upgrading });
        Ok(())
    }

    /// Waits for whatever comes, at most so long, and hands over each Socket.IO event: whose, and its text.
    pub fn turn(&mut self, wait: Duration, mut on_event: impl FnMut(usize, &str)) -> Result<()> {
        for client in std::mem::take(&mut self.behind) {
            self.flush(client);
        }
        let mut events = [EpollEvent::empty(); 256];
        let wait = EpollTimeout::try_from(wait).unwrap_or(EpollTimeout::ZERO);
        let count = self.epoll.wait(&mut events, wait)?;
        for event in &events[..count] {
            self.read(event.data() as usize, &mut on_event);
        }
        Ok(())
    }

    fn read(&mut self, number: usize, on_event: &mut impl FnMut(usize, &str)) {
        let client = &mut self.clients[number];
        let mut buffer = [0; 64 * 1024];
        match client.stream.read(&mut buffer) {
            Ok(0) => return self.lose(number),
            Ok(read) => client.inbox.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(_) => return self.lose(number),
        }
        let mut inbox = std::mem::take(&mut client.inbox);
        let mut used = 0;
        if client.stage == Stage::Upgrading {
            let Some(end) = inbox.windows(4).position(|four| four == b"\r\n\r\n") else {
                client.inbox = inbox;
                return;
            };
            if !inbox.starts_with(b"HTTP/1.1 101") {
                return self.lose(number);
            }
            used = end + 4;
            client.stage = Stage::Opening;
        }
        while let Some((payload, next)) = frame(&inbox, used) {
            let Ok(text) = std::str::from_utf8(&inbox[payload]) else { return self.lose(number) };
            match text.as_bytes() {
                [b'0', ..] => self.send(number, "40"),
                [b'2'] => self.send(number, "3"),
                [b'4', b'0', ..] => self.clients[number].stage = Stage::Ready,
                [b'4', b'2', ..] => on_event(number, text),
                _ => {}
            }
            used = next;
        }
        inbox.drain(..used);
        // What a burst needed is not kept: memory is the server's to show.
        if inbox.is_empty() {
            inbox = Vec::new();
        }
        self.clients[number].inbox = inbox;
        if !self.clients[number].outbox.is_empty() {
            self.flush(number);
        }
    }

    /// One text frame. The mask is zero, as RFC 6455 §5.3 lets a client choose it.
    pub fn send(&mut self, number: usize, text: &str) {
        let outbox = &mut self.clients[number].outbox;
        outbox.push(0x81);
        match text.len() {
            length @ 0..=125 => outbox.push(0x80 | length as u8),
            length => {
                outbox.push(0x80 | 126);
                outbox.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        outbox.extend_from_slice(&[0; 4]);
        outbox.extend_from_slice(text.as_bytes());
    }

    /// Writes what was said to one client.
    pub fn flush(&mut self, number: usize) {
        let client = &mut self.clients[number];
        match client.stream.write(&client.outbox) {
            Ok(written) => drop(client.outbox.drain(..written)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return self.lose(number),
        }
        if self.clients[number].outbox.is_empty() {
            self.clients[number].outbox = Vec::new();
        } else {
            self.behind.push(number);
        }
    }

    fn lose(&mut self, number: usize) {
        let client = &mut self.clients[number];
        let _ = self.epoll.delete(&client.stream);
        client.stage = Stage::Gone;
        client.outbox = Vec::new();
    }
}

/// Where the payload of the frame at `at` is, and where the next frame begins; servers do not mask.
fn frame(bytes: &[u8], at: usize) -> Option<(std::ops::Range<usize>, usize)> {
    let (length, start) = match *bytes.get(at + 1)? {
        126 => (u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?) as usize, at + 4),
        127 => (u64::from_be_bytes(bytes.get(at + 2..at + 10)?.try_into().ok()?) as usize, at + 10),
        length => (length as usize, at + 2),
    };
    (bytes.len() >= start + length).then_some((start..start + length, start + length))
}

/// Handshakes at once.
const IN_FLIGHT: usize = 64;
const PATIENCE: Duration = Duration::from_secs(120);
