//! The way to one connection, from whoever has something for it: never waits, holds a bounded number of octets, and
//! hangs up on who does not read.

use crate::socket_io::Voice;
use axum::extract::ws::Utf8Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One end of a relay.
#[derive(Clone)]
pub(crate) enum Line {
    SocketIo(Voice),
    WebSocket(TextLine),
}

impl Line {
    /// Whether its messages carry their kind in a field of their own.
    pub(crate) fn has_event_names(&self) -> bool {
        matches!(self, Line::SocketIo(_))
    }

    /// `message` is a JSON object, made by us. False: it was not sent, and the connection is being ended.
    pub(crate) fn try_send(&self, event: &str, message: String) -> bool {
        match self {
            Line::SocketIo(voice) => voice.try_relay(event, &message),
            Line::WebSocket(line) => line.try_send(message),
        }
    }
}

/// To a plain WebSocket: texts that wait for its task.
#[derive(Clone)]
pub(crate) struct TextLine(Arc<Waiting>);

struct Waiting {
    texts: mpsc::Sender<Utf8Bytes>,
    octets: AtomicUsize,
    too_slow: AtomicBool,
    ended: CancellationToken,
}

/// The receiving end of a [`TextLine`].
pub(crate) struct Texts {
    texts: mpsc::Receiver<Utf8Bytes>,
    waiting: Arc<Waiting>,
}

impl TextLine {
    /// `ended`, cancelled, ends the connection's task.
    pub(crate) fn new(ended: CancellationToken) -> (Self, Texts) {
        let (sender, texts) = mpsc::channel(MAX_TEXTS);
        let waiting = Arc::new(Waiting {
            texts: sender,
            octets: AtomicUsize::new(0),
            too_slow: AtomicBool::new(false),
            ended,
        });
        (Self(waiting.clone()), Texts { texts, waiting })
    }

    pub(crate) fn try_send(&self, text: String) -> bool {
        let length = text.len();
        let fits = self.0.octets.fetch_add(length, Ordering::Relaxed) + length <= MAX_WAITING
            && self.0.texts.try_send(text.into()).is_ok();
        if !fits {
            self.0.too_slow.store(true, Ordering::Relaxed);
            self.0.ended.cancel();
        }
        fits
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&self) {
        self.0.ended.cancel();
    }
}

impl Texts {
    pub(crate) async fn next(&mut self) -> Option<Utf8Bytes> {
        let text = self.texts.recv().await?;
        self.waiting.octets.fetch_sub(text.len(), Ordering::Relaxed);
        Some(text)
    }

    /// What waits already.
    pub(crate) fn try_next(&mut self) -> Option<Utf8Bytes> {
        self.texts.try_recv().ok()
    }

    /// Why it ended, if it was because its client does not read.
    pub(crate) fn were_too_many(&self) -> bool {
        self.waiting.too_slow.load(Ordering::Relaxed)
    }
}

/// Octets that wait for one client: some fifty session descriptions.
const MAX_WAITING: usize = 256 * 1024;
const MAX_TEXTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_does_not_read_is_hung_up_on() {
        let ended = CancellationToken::new();
        let (line, mut texts) = TextLine::new(ended.clone());
        let big = "x".repeat(100_000);
        assert!(line.try_send(big.clone()) && line.try_send(big.clone()));
        assert_eq!(texts.next().await.map(|text| text.len()), Some(100_000));
        assert!(line.try_send(big.clone()), "what was read makes room");
        assert!(!ended.is_cancelled());
        assert!(!line.try_send(big));
        assert!(ended.is_cancelled() && texts.were_too_many());
    }
}
