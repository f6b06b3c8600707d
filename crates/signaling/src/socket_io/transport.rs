//! How packets travel: by polling, by WebSocket, and from the one to the other.

use super::engine::{self, Polled, Version};
use crate::outbox::Outbox;
use crate::web_socket::{Ended, Message, Stream, Violation};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use tokio::sync::{mpsc, oneshot};

pub(super) enum Transport {
    Polling(Polling),
    WebSocket(Box<Stream>),
}

/// What a client did.
pub(super) enum Said {
    Text(String),
    Binary,
    /// From now on it comes this way.
    Upgraded(Box<Stream>),
}

impl Transport {
    /// What the client says next. Meanwhile sends what waits in `outbox`.
    pub(super) async fn next(&mut self, outbox: &Outbox) -> Result<Said, Ended> {
        poll_fn(|cx| match self {
            Transport::Polling(polling) => polling.poll_next(cx, outbox),
            Transport::WebSocket(socket) => {
                let message = ready!(socket.poll_next(cx, outbox));
                Poll::Ready(message.map(|message| match message {
                    Message::Text(text) => Said::Text(text),
                    Message::Binary => Said::Binary,
                }))
            }
        })
        .await
    }

    /// Octets given to the network, if some of them have not been taken.
    pub(super) fn stuck_at(&self) -> Option<u64> {
        match self {
            Transport::Polling(_) => None,
            Transport::WebSocket(socket) => socket.stuck_at(),
        }
    }

    /// Sends what waits and hangs up; the client may take its time to hang up too.
    pub(super) async fn close(&mut self, outbox: &Outbox, code: u16) {
        match self {
            Transport::Polling(polling) => {
                outbox.push(b"1".to_vec());
                while !outbox.is_empty() && poll_fn(|cx| polling.poll_next(cx, outbox)).await.is_ok() {}
            }
            Transport::WebSocket(socket) => drop(socket.close(outbox, code, "").await),
        }
    }
}

/// What a request of a polling client wants of its session.
pub(super) enum Poke {
    Get(oneshot::Sender<Vec<u8>>),
    Post(Vec<Polled>, oneshot::Sender<()>),
    /// A WebSocket is being tried: polls are answered at once, so that the client can stop polling.
    Probing(bool),
    Upgrade(Box<Stream>),
}

/// One session between requests.
pub(super) struct Polling {
    version: Version,
    pokes: mpsc::Receiver<Poke>,
    waiting: Option<oneshot::Sender<Vec<u8>>>,
    said: VecDeque<Polled>,
    is_probing: bool,
}

impl Polling {
    pub(super) fn new(version: Version, pokes: mpsc::Receiver<Poke>) -> Self {
        Self { version, pokes, waiting: None, said: VecDeque::new(), is_probing: false }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, outbox: &Outbox) -> Poll<Result<Said, Ended>> {
        if outbox.is_over() {
            return Poll::Ready(Err(Ended::Over));
        }
        loop {
            if let Some(said) = self.said.pop_front() {
                return Poll::Ready(Ok(match said {
                    Polled::Text(text) => Said::Text(text),
                    Polled::Binary => Said::Binary,
                }));
            }
            self.answer(cx, outbox);
            match ready!(self.pokes.poll_recv(cx)) {
                Some(Poke::Get(reply)) => {
                    // Two polls at once would take each other's packets ("must not" by the protocol).
                    if self.waiting.take().is_some_and(|waiting| !waiting.is_closed()) {
                        return Poll::Ready(Err(Ended::Violation(Violation::Protocol)));
                    }
                    self.waiting = Some(reply);
                }
                Some(Poke::Post(packets, taken)) => {
                    self.said = packets.into();
                    let _ = taken.send(());
                }
                Some(Poke::Probing(is_probing)) => self.is_probing = is_probing,
                Some(Poke::Upgrade(socket)) => return Poll::Ready(Ok(Said::Upgraded(socket))),
                None => return Poll::Ready(Err(Ended::Gone)),
            }
        }
    }

    fn answer(&mut self, cx: &mut Context<'_>, outbox: &Outbox) {
        let mut payload = Vec::new();
        // Who waits no more gets nothing: it would be lost.
        let is_waited_for = self.waiting.as_ref().is_some_and(|waiting| !waiting.is_closed());
        let enough = if is_waited_for { BATCH } else { 0 };
        outbox.take(cx, enough, |packet| engine::append(self.version, packet, &mut payload));
        if payload.is_empty() && is_waited_for && self.is_probing {
            engine::append(self.version, b"6", &mut payload);
        }
        if !payload.is_empty()
            && let Some(waiting) = self.waiting.take()
        {
            let _ = waiting.send(payload);
        }
    }
}

/// Octets with which one poll is answered.
const BATCH: usize = 64 * 1024;
