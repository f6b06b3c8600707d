//! The way to one connection, from whoever has something for it: never waits, and hangs up on who does not read.

use crate::outbox::Outbox;
use crate::socket_io::Voice;
use std::sync::Arc;

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

/// To a plain WebSocket.
#[derive(Clone)]
pub(crate) struct TextLine(Arc<Outbox>);

impl TextLine {
    pub(crate) fn new(outbox: Arc<Outbox>) -> Self {
        Self(outbox)
    }

    pub(crate) fn try_send(&self, text: String) -> bool {
        self.0.try_push(text.into_bytes())
    }

    /// Ends the connection.
    pub(crate) fn hang_up(&self) {
        self.0.hang_up();
    }
}
