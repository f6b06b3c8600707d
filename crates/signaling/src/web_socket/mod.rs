//! The server's end of a WebSocket that waits for most of its life: it holds no buffer while nothing is under way, and
//! what waits for its client goes out in one write.

pub(crate) mod frame;
mod handshake;

pub(crate) use frame::Violation;
pub(crate) use handshake::{Handshake, Upgrade};

use crate::outbox::Outbox;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Close codes (RFC 6455 §7.4.1).
pub(crate) mod close {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const POLICY: u16 = 1008;
}

/// Over whatever a listener accepted.
pub(crate) type Stream = WebSocket<TokioIo<Upgraded>>;

/// One connection, after its handshake.
pub(crate) struct WebSocket<S> {
    stream: S,
    /// Octets that came, from the first one not yet read; empty, and without room, between two messages.
    received: Vec<u8>,
    read: usize,
    /// A message whose last part has not come.
    parts: Option<(Kind, Vec<u8>)>,
    sending: Vec<u8>,
    sent: usize,
    written: u64,
    is_flushed: bool,
    /// The last ping is the one that is answered (RFC 6455 §5.5.3).
    pong: Option<Vec<u8>>,
    is_ping_due: bool,
    was_heard: bool,
    /// Octets of one message.
    most: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Binary,
}

/// What a client said.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    Text(String),
    /// Nobody here reads one.
    Binary,
}

/// Why there is no more.
#[derive(Debug, PartialEq)]
pub(crate) enum Ended {
    /// The client closed, or broke off.
    Gone,
    /// Its outbox says so.
    Over,
    Violation(Violation),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Ended::Gone
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(crate) fn new(stream: S, most: usize) -> Self {
        Self {
            stream,
            received: Vec::new(),
            read: 0,
            parts: None,
            sending: Vec::new(),
            sent: 0,
            written: 0,
            is_flushed: true,
            pong: None,
            is_ping_due: false,
            // The handshake was.
            was_heard: true,
            most,
        }
    }

    /// The next message. Meanwhile sends what waits in `outbox`, as fast as the network takes it.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &Outbox,
    ) -> Poll<Result<Message, Ended>> {
        if outbox.is_over() {
            return Poll::Ready(Err(Ended::Over));
        }
        if let Poll::Ready(Err(error)) = self.poll_send(cx, outbox) {
            return Poll::Ready(Err(error.into()));
        }
        loop {
            if let Some(message) = self.take_message()? {
                return Poll::Ready(Ok(message));
            }
            if self.pong.is_some() {
                // The next poll sends it; this one would wait for the client first.
                if let Poll::Ready(Err(error)) = self.poll_send(cx, outbox) {
                    return Poll::Ready(Err(error.into()));
                }
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Ready when nothing waits any more.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.sending.len() {
                let unsent = &self.sending[self.sent..];
                match ready!(Pin::new(&mut self.stream).poll_write(cx, unsent))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => {
                        self.sent += written;
                        self.written += written as u64;
                    }
                }
                self.is_flushed = false;
            }
            self.fill(cx, outbox);
            if self.sending.is_empty() {
                break;
            }
        }
        if !self.is_flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Octets that the network has taken so far, if it has not taken all that it was given.
    pub(crate) fn stuck_at(&self) -> Option<u64> {
        (self.sent < self.sending.len() || !self.is_flushed).then_some(self.written)
    }

    /// Frames what waits, at most [`BATCH`] at once.
    fn fill(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        self.sending.clear();
        self.sent = 0;
        if let Some(payload) = self.pong.take() {
            frame::write(OpCode::Control(Control::Pong), &payload, &mut self.sending);
        }
        if std::mem::take(&mut self.is_ping_due) {
            frame::write(OpCode::Control(Control::Ping), b"", &mut self.sending);
        }
        let sending = &mut self.sending;
        outbox.take(cx, BATCH, |packet| frame::write(OpCode::Data(Data::Text), packet, sending));
        if self.sending.is_empty() {
            self.sending = Vec::new();
        }
    }

    fn take_message(&mut self) -> Result<Option<Message>, Ended> {
        while let Some((opcode, is_final, from, to)) = self.take_frame()? {
            let payload = &self.received[from..to];
            let kind = match opcode {
                OpCode::Data(Data::Text) => Kind::Text,
                OpCode::Data(Data::Binary) => Kind::Binary,
                OpCode::Data(_) => match &self.parts {
                    Some((kind, _)) => *kind,
                    None => return Err(Ended::Violation(Violation::Protocol)),
                },
                OpCode::Control(Control::Ping) => {
                    self.pong = Some(payload.to_vec());
                    continue;
                }
                OpCode::Control(Control::Close) => return Err(Ended::Gone),
                OpCode::Control(_) => continue,
            };
            let continues = matches!(opcode, OpCode::Data(Data::Continue));
            if !continues && self.parts.is_some() {
                return Err(Ended::Violation(Violation::Protocol));
            }
            if is_final && !continues {
                return message(kind, payload).map(Some);
            }
            let (_, parts) = self.parts.get_or_insert((kind, Vec::new()));
            if parts.len() + payload.len() > self.most {
                return Err(Ended::Violation(Violation::TooBig));
            }
            parts.extend_from_slice(payload);
            if is_final && let Some((kind, whole)) = self.parts.take() {
                return message(kind, &whole).map(Some);
            }
        }
        Ok(None)
    }

    /// The next whole frame; its payload stands in `received` until more is.
    fn take_frame(&mut self) -> Result<Option<(OpCode, bool, usize, usize)>, Ended> {
        let rest = self.received.get_mut(self.read..).unwrap_or_default();
        match frame::read(rest, self.most).map_err(Ended::Violation)? {
            Some(frame) => {
                let base = self.read;
                self.read += frame.to;
                Ok(Some((frame.opcode, frame.is_final, base + frame.from, base + frame.to)))
            }
            None => Ok(None),
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let outcome = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            if !buffer.filled().is_empty() {
                self.was_heard = true;
                self.received.drain(..self.read);
                self.received.extend_from_slice(buffer.filled());
                self.read = 0;
            } else if self.read == self.received.len() {
                (self.received, self.read) = (Vec::new(), 0);
            }
            match ready!(outcome) {
                Ok(()) if buffer.filled().is_empty() => Poll::Ready(Err(Ended::Gone)),
                Ok(()) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error.into())),
            }
        })
    }

    /// A ping goes out with the next poll.
    pub(crate) fn ping(&mut self) {
        self.is_ping_due = true;
    }

    /// Whether anything came since this was asked last.
    pub(crate) fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.was_heard)
    }

    /// Sends what waits, then a close frame, and hears the client out until it closes too (RFC 6455 §7.1.1).
    pub(crate) async fn close(&mut self, outbox: &Outbox, code: u16, reason: &str) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx, outbox)).await?;
        let reason = &reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON)];
        let payload = [&code.to_be_bytes(), reason].concat();
        frame::write(OpCode::Control(Control::Close), &payload, &mut self.sending);
        let nothing = Outbox::default();
        poll_fn(|cx| self.poll_send(cx, &nothing)).await?;
        while poll_fn(|cx| self.poll_next(cx, &nothing)).await.is_ok() {}
        Ok(())
    }
}

fn message(kind: Kind, payload: &[u8]) -> Result<Message, Ended> {
    match kind {
        Kind::Binary => Ok(Message::Binary),
        Kind::Text => match std::str::from_utf8(payload) {
            Ok(text) => Ok(Message::Text(text.to_owned())),
            Err(_) => Err(Ended::Violation(Violation::NotUtf8)),
        },
    }
}

thread_local! {
    /// Where octets land before it is known whose they are: one for each thread instead of one for each connection.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}
/// A close frame has room for 123 octets of reason (RFC 6455 §5.5).
const MAX_REASON: usize = 123;
/// Octets framed at once: a client that takes them slowly holds no more than these and its outbox.
const BATCH: usize = 64 * 1024;

#[cfg(test)]
mod tests;
