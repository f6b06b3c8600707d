//! One plain WebSocket: its texts within limits, its heartbeat, what others have for it, and its end with a reason.

use crate::connection::Connection;
use crate::gate::{Gate, Verdict};
use crate::line::Texts;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use wire::{Code, Failure};

/// A connection that is being served.
pub(crate) struct Channel {
    socket: WebSocket,
    pub gate: Gate,
    texts: Texts,
    heartbeat: Interval,
    /// Whether anything was heard since the last beat, and how many beats went by in silence.
    heard: bool,
    misses: u32,
    /// The server ends, or whoever hangs up on this one.
    ended: CancellationToken,
    connection: Option<Connection>,
}

/// Why a channel ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client hung up or broke off.
    Gone,
    /// Its own doing: the failure says what.
    Refused(Failure),
    Silent,
    TooSlow,
    /// The server's or another connection's wish.
    HungUp,
}

impl Channel {
    pub(crate) fn new(
        socket: WebSocket,
        gate: Gate,
        beat: Duration,
        texts: Texts,
        ended: CancellationToken,
        connection: Option<Connection>,
    ) -> Self {
        let mut heartbeat = interval(beat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        Self { socket, gate, texts, heartbeat, heard: true, misses: 0, ended, connection }
    }

    /// The next text that fits, or a refusal to answer. Meanwhile sends what others have for this client.
    pub(crate) async fn next(&mut self) -> Result<Result<Utf8Bytes, Failure>, End> {
        loop {
            tokio::select! {
                biased;
                () = self.ended.cancelled() => {
                    return Err(if self.texts.were_too_many() { End::TooSlow } else { End::HungUp });
                }
                Some(text) = self.texts.next() => self.send(Message::Text(text)).await?,
                said = self.socket.recv() => {
                    self.heard = true;
                    match said {
                        Some(Ok(Message::Text(text))) => return self.admit(text),
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Binary(_))) => {
                            return Err(End::Refused(crate::parse::invalid("This address takes text only.")));
                        }
                        Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
                    }
                }
                _ = self.heartbeat.tick() => self.beat().await?,
            }
        }
    }

    fn admit(&mut self, text: Utf8Bytes) -> Result<Result<Utf8Bytes, Failure>, End> {
        match self.gate.handle_message(Instant::now(), text.len()) {
            Verdict::Pass => Ok(Ok(text)),
            Verdict::Refuse(failure) => Ok(Err(failure)),
            Verdict::End(failure) => Err(End::Refused(failure)),
        }
    }

    async fn beat(&mut self) -> Result<(), End> {
        self.misses = if std::mem::take(&mut self.heard) { 0 } else { self.misses + 1 };
        if self.misses >= MAX_MISSES {
            return Err(End::Silent);
        }
        self.send(Message::Ping(Default::default())).await
    }

    pub(crate) async fn send_text(&mut self, text: String) -> Result<(), End> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        tokio::select! {
            biased;
            sent = timeout(SEND_TIME, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(End::Gone),
                Err(_) => Err(End::TooSlow),
            },
            () = self.ended.cancelled() => {
                Err(if self.texts.were_too_many() { End::TooSlow } else { End::HungUp })
            }
        }
    }

    /// Says goodbye, as far as the client still listens, and cuts the connection.
    pub(crate) async fn close(mut self, end: &End) {
        let (code, reason) = match end {
            End::Gone => return,
            End::Refused(failure) if failure.code == Code::Unauthorized => {
                (UNAUTHORIZED, failure.error.as_str())
            }
            End::Refused(failure) => (POLICY, failure.error.as_str()),
            End::Silent => (POLICY, "silent for too long"),
            End::TooSlow => (POLICY, "does not read what it is sent"),
            End::HungUp => (GOING_AWAY, ""),
        };
        // A close frame has room for 123 octets of reason (RFC 6455 §5.5).
        let reason: String = reason.chars().take(MAX_REASON / 4).collect();
        let goodbye = async {
            while let Some(text) = self.texts.try_next() {
                self.socket.send(Message::Text(text)).await?;
            }
            self.socket.send(Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await?;
            // RFC 6455 §7.1.1: the client's close frame, then the end of TCP.
            while let Some(Ok(said)) = self.socket.recv().await {
                if matches!(said, Message::Close(_)) {
                    break;
                }
            }
            Ok::<_, axum::Error>(())
        };
        let _ = timeout(GOODBYE_TIME, goodbye).await;
        if let Some(connection) = &self.connection {
            connection.cut.cancel();
        }
    }
}

const MAX_MISSES: u32 = 2;
const SEND_TIME: Duration = Duration::from_secs(10);
const GOODBYE_TIME: Duration = Duration::from_secs(1);
const MAX_REASON: usize = 123;
/// RFC 6455 §7.4.1, and one of our own (4000–4999) for a wrong token.
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const UNAUTHORIZED: u16 = 4401;
