//! What a [`crate::Server`] is told at its start: addresses, who may call, limits.

use crate::tally::Tally;
use rooms::{LiveLimits, SwarmLimits};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Complete and validated; made by `studio` from its own configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Plain HTTP for the dashboard, REST, and guests on this machine. Meant for a loopback address.
    pub control: SocketAddr,
    /// Foreign origins whose pages may call: other dashboards, a development server.
    pub origins: AllowedOrigins,
    /// Names besides loopback under which the control listener may be addressed, without port.
    pub extra_hosts: Vec<String>,
    pub pages: PageSource,
    pub swarm: SwarmAccess,
    pub limits: Limits,
    /// Where signaling counts what it does.
    pub tally: Tally,
}

impl Config {
    pub fn new(control: SocketAddr) -> Self {
        Self {
            control,
            origins: AllowedOrigins::default(),
            extra_hosts: Vec::new(),
            pages: PageSource::Embedded,
            swarm: SwarmAccess::default(),
            limits: Limits::default(),
            tally: Tally::default(),
        }
    }
}

/// The listener for guests on the local network: HTTPS, because browsers give cameras to nobody else.
#[derive(Clone)]
pub struct LanConfig {
    pub listen: SocketAddr,
    /// The certificate chain, leaf first.
    pub cert_pem: String,
    pub key_pem: String,
}

/// Where the pages' files come from.
#[derive(Clone, Debug)]
pub enum PageSource {
    /// `ui/dist` as it was when this program was built (a debug build reads it from disk).
    Embedded,
    Folder(PathBuf),
}

/// Who may be introduced to others that want the same file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwarmAccess {
    Off,
    /// Programs on this machine; from elsewhere, whoever has a token that counts.
    #[default]
    Local,
    /// Anybody who reaches a listener.
    Open,
}

/// Origins other than our own that a browser may call from.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins {
    /// Lower case, `scheme://host[:port]`.
    listed: Vec<String>,
    any_for_guests: bool,
}

/// Why an allowed origin was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("'{0}' is not an origin: write scheme://host or scheme://host:port, or * for any guest page")]
pub struct BadOrigin(String);

impl AllowedOrigins {
    /// `*` opens the guests' Socket.IO to any page; it never opens the owner's routes.
    pub fn parse<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self, BadOrigin> {
        let mut parsed = Self::default();
        for origin in origins {
            let origin = origin.as_ref().trim();
            if origin == "*" {
                parsed.any_for_guests = true;
            } else {
                parsed.listed.push(parse_origin(origin).ok_or_else(|| BadOrigin(origin.to_owned()))?);
            }
        }
        Ok(parsed)
    }

    pub(crate) fn lists(&self, origin: &str) -> bool {
        self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    pub(crate) fn any_for_guests(&self) -> bool {
        self.any_for_guests
    }
}

fn parse_origin(text: &str) -> Option<String> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme_fits =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b);
    let authority_fits = !authority.is_empty() && authority.bytes().all(plain);
    (scheme_fits && authority_fits).then(|| text.to_ascii_lowercase())
}

/// Bounds on what one caller may cost. The defaults suit a show of some ten guests on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Events a second one socket may send over time…
    pub events_per_second: u32,
    /// …and at once: joining a room of 16 is about 60 events, back to back.
    pub event_burst: u32,
    pub bytes_per_second: u32,
    pub byte_burst: u32,
    /// One Socket.IO message, or one REST body. The largest honest one (`produce` with three layers) is 4 kB.
    pub message_bytes: usize,
    /// So many refusals (too large, too fast, unknown) end a socket.
    pub refusals: u32,
    /// Requests of one socket that wait for their turn; the next is refused as `busy`.
    pub queued_requests: usize,
    /// Open TCP connections of one listener; further ones wait to be accepted.
    pub connections: usize,
    /// Open TCP connections from one address; further ones are closed at once.
    pub connections_per_address: usize,
    /// Attempts to come in, by whatever door, that one address may make a minute over time…
    pub joins_per_minute: u32,
    /// …and at once: a household behind one router, after its line was down.
    pub join_burst: u32,
    /// A TLS handshake, a request's header, or its body must be complete within this time.
    pub request_time: Duration,
    /// The engine must answer one request within this time.
    pub answer_time: Duration,
    /// A dashboard must have said its token within this time.
    pub hello_time: Duration,
    /// How often a plain WebSocket is asked for a sign of life; the second time that none has come since it was asked, it
    /// is closed. Less than the minute after which NATs and proxies forget a silent connection.
    pub heartbeat: Duration,
    pub swarm: SwarmLimits,
    pub live: LiveLimits,
}

impl Limits {
    /// A message somewhat too large is answered; one larger than this ends the connection before it is read.
    pub(crate) fn transport_bytes(&self) -> usize {
        self.message_bytes * 4
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            events_per_second: 50,
            event_burst: 200,
            bytes_per_second: 256 * 1024,
            byte_burst: 1024 * 1024,
            message_bytes: 64 * 1024,
            refusals: 200,
            queued_requests: 256,
            connections: 1024,
            connections_per_address: 128,
            joins_per_minute: 60,
            join_burst: 60,
            request_time: Duration::from_secs(10),
            answer_time: Duration::from_secs(15),
            hello_time: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
            swarm: SwarmLimits::default(),
            live: LiveLimits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_parsed_once() {
        let origins = AllowedOrigins::parse(["http://localhost:5173", "tauri://localhost", "*"]).unwrap();
        assert!(origins.lists("HTTP://LOCALHOST:5173"));
        assert!(!origins.lists("http://localhost"));
        assert!(origins.any_for_guests());
        for bad in ["localhost", "http://", "http://a/path", "http://a b", "://a"] {
            assert!(AllowedOrigins::parse([bad]).is_err(), "{bad}");
        }
    }
}
