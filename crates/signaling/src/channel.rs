//! One plain WebSocket: its texts within limits, its heartbeat, what others have for it, and its end with a reason.

use crate::connection::Connection;
use crate::gate::{Gate, Verdict};
use crate::outbox::Outbox;
use crate::web_socket::{Ended, Message, Stream, Violation, close};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use wire::{Code, Failure};

/// A connection that is being served.
pub(crate) struct Channel {
    socket: Box<Stream>,
    pub gate: Gate,
    outbox: Arc<Outbox>,
    heartbeat: Interval,
    /// How many beats went by in silence.
    misses: u32,
    /// The server ends.
    stop: CancellationToken,
    connection: Option<Connection>,
}

/// Why a channel ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client hung up or broke off.
    Gone,
    /// Its own doing: the failure says what.
    Refused(Failure),
    Violation(Violation),
    Silent,
    TooSlow,
    /// The server's or another connection's wish.
    HungUp,
}

impl Channel {
    pub(crate) fn new(
        socket: Box<Stream>,
        gate: Gate,
        beat: Duration,
        outbox: Arc<Outbox>,
        stop: CancellationToken,
        connection: Option<Connection>,
    ) -> Self {
        let mut heartbeat = interval(beat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self { socket, gate, outbox, heartbeat, misses: 0, stop, connection }
    }

    /// The next text that fits, or a refusal to answer. Meanwhile sends what others have for this client.
    pub(crate) async fn next(&mut self) -> Result<Result<String, Failure>, End> {
        loop {
            let Self { socket, outbox, .. } = self;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(End::HungUp),
                said = poll_fn(|cx| socket.poll_next(cx, outbox)) => return match said {
                    Ok(Message::Text(text)) => self.admit(text),
                    Ok(Message::Binary) => {
                        Err(End::Refused(crate::parse::invalid("This address takes text only.")))
                    }
                    Err(Ended::Gone) => Err(End::Gone),
                    Err(Ended::Violation(violation)) => Err(End::Violation(violation)),
                    Err(Ended::Over) if self.outbox.is_overflowing() => Err(End::TooSlow),
                    Err(Ended::Over) => Err(End::HungUp),
                },
                _ = self.heartbeat.tick() => self.beat()?,
            }
        }
    }

    fn admit(&mut self, text: String) -> Result<Result<String, Failure>, End> {
        match self.gate.handle_message(Instant::now(), text.len()) {
            Verdict::Pass => Ok(Ok(text)),
            Verdict::Refuse(failure) => Ok(Err(failure)),
            Verdict::End(failure) => Err(End::Refused(failure)),
        }
    }

    fn beat(&mut self) -> Result<(), End> {
        self.misses = if self.socket.take_heard() { 0 } else { self.misses + 1 };
        if self.misses >= MAX_MISSES {
            return Err(End::Silent);
        }
        self.socket.ping();
        Ok(())
    }

    /// Waits while the client does not read what it asked for.
    pub(crate) async fn send_text(&mut self, text: String) -> Result<(), End> {
        self.outbox.push(text.into_bytes());
        if self.outbox.has_room() {
            return Ok(());
        }
        let Self { socket, outbox, .. } = self;
        let sending = poll_fn(|cx| match socket.poll_send(cx, outbox) {
            Poll::Pending if outbox.has_room() => Poll::Ready(Ok(())),
            sent => sent,
        });
        tokio::select! {
            biased;
            sent = timeout(SEND_TIME, sending) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Gone),
                Err(_) => Err(End::TooSlow),
            },
            () = self.stop.cancelled() => Err(End::HungUp),
        }
    }

    /// Says goodbye, as far as the client still listens, and cuts the connection.
    pub(crate) async fn close(mut self, end: &End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Refused(failure) if failure.code == Code::Unauthorized => {
                (UNAUTHORIZED, failure.error.as_str())
            }
            End::Refused(failure) => (close::POLICY, failure.error.as_str()),
            End::Violation(violation) => (violation.close_code(), ""),
            End::Silent => (close::POLICY, "silent for too long"),
            End::TooSlow => (close::POLICY, "does not read what it is sent"),
            End::HungUp => (close::GOING_AWAY, ""),
        };
        let _ = timeout(GOODBYE_TIME, self.socket.close(&self.outbox, code, reason)).await;
        if let Some(connection) = &self.connection {
            connection.cut.cancel();
        }
    }
}

const MAX_MISSES: u32 = 2;
const SEND_TIME: Duration = Duration::from_secs(10);
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// A close code of our own (4000–4999, RFC 6455 §7.4.2) for a wrong token.
const UNAUTHORIZED: u16 = 4401;
