//! The lite side of ICE for one transport (RFC 8445 §2.5): answers checks, learns where the peer is, notices silence.

use crate::stun::{self, Kind, Message, Writer};
use aws_lc_rs::hmac;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A user name fragment and its password.
pub struct Credentials {
    pub username_fragment: String,
    pub password: String,
    key: hmac::Key,
}

impl Credentials {
    pub fn new(username_fragment: String, password: String) -> Self {
        let key = stun::integrity_key(&password);
        Self { username_fragment, password, key }
    }
}

/// Where a transport's connectivity stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No valid check yet.
    New,
    Connected,
    /// Nothing authentic for [`DISCONNECTED_AFTER`]; comes back with the next check.
    Disconnected,
    /// Nothing for [`FAILED_AFTER`]; only an ICE restart or a new check revives it.
    Failed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::Failed => "failed",
        }
    }
}

/// An address that has passed a check.
struct Validated {
    address: SocketAddr,
    last_check: Instant,
}

/// One transport's agent; it lives as long as the transport.
pub struct Agent {
    local: Credentials,
    /// Still accepted after a restart until the first check with the new ones.
    previous: Option<Credentials>,
    validated: Vec<Validated>,
    selected: Option<SocketAddr>,
    /// The highest renomination value seen.
    nomination: Option<u32>,
    state: State,
    last_alive: Option<Instant>,
}

/// What an authentic check did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Now belongs to this transport.
    pub validated: Option<SocketAddr>,
    /// No longer does: the least recently checked of too many.
    pub forgotten: Option<SocketAddr>,
    pub state_changed: bool,
    /// The old credentials are of no more use.
    pub retired: Option<String>,
}

impl Agent {
    pub fn new(local: Credentials) -> Self {
        Self {
            local,
            previous: None,
            validated: Vec::new(),
            selected: None,
            nomination: None,
            state: State::New,
            last_alive: None,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// Whether the peer wants to hear from us (RFC 7675 §5.1).
    pub fn has_consent(&self) -> bool {
        matches!(self.state, State::Connected | State::Disconnected)
    }

    /// Where to send.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected
    }

    /// When `address` last passed a check.
    pub fn last_check(&self, address: SocketAddr) -> Option<Instant> {
        self.validated.iter().find(|v| v.address == address).map(|v| v.last_check)
    }

    /// New credentials (RFC 8445 §9); media flows on over the old path meanwhile. Returns a fragment that has become
    /// useless, from a restart before this one.
    pub fn restart(&mut self, credentials: Credentials) -> Option<String> {
        let old = std::mem::replace(&mut self.local, credentials);
        self.nomination = None;
        self.previous.replace(old).map(|c| c.username_fragment)
    }

    /// The peer's address was taken over by another transport.
    pub fn forget(&mut self, address: SocketAddr) {
        self.validated.retain(|v| v.address != address);
        if self.selected == Some(address) {
            self.selected = None;
        }
    }

    /// Whether `request` knows the password that goes with its user name `ours:theirs`.
    pub fn is_authentic(&self, request: &Message<'_>) -> bool {
        self.credentials_of(request).is_some_and(|c| request.is_authentic(&c.key))
    }

    fn credentials_of(&self, request: &Message<'_>) -> Option<&Credentials> {
        let (ours, _theirs) = request.username?.split_once(':')?;
        std::iter::once(&self.local).chain(&self.previous).find(|c| c.username_fragment == ours)
    }

    /// Takes an authentic binding request and writes the answer into `reply`.
    pub fn handle_request<'b>(
        &mut self,
        now: Instant,
        from: SocketAddr,
        request: &Message<'_>,
        reply: &'b mut [u8; stun::CAPACITY],
    ) -> (&'b [u8], Effects) {
        let mut effects = Effects::default();
        let Some(credentials) = self.credentials_of(request) else { return (&[], effects) };
        if let Some(id) = request.unknown_attribute {
            let answer =
                Writer::new(reply, Kind::Failure, &request.transaction).error(420).unknown_attribute(id);
            return (answer.finish(&credentials.key), effects);
        }
        if request.controlled {
            // A lite agent is always controlled; 487 makes the peer take its role (RFC 8445 §7.3.1.1).
            let answer = Writer::new(reply, Kind::Failure, &request.transaction).error(487);
            return (answer.finish(&credentials.key), effects);
        }
        let answer = Writer::new(reply, Kind::Success, &request.transaction)
            .mapped_address(from)
            .finish(&credentials.key);
        let uses_new = credentials.username_fragment == self.local.username_fragment;
        if uses_new {
            effects.retired = self.previous.take().map(|c| c.username_fragment);
        }
        self.note_check(now, from, &mut effects);
        self.nominate(from, request);
        effects.state_changed = self.note_alive(now);
        (answer, effects)
    }

    fn note_check(&mut self, now: Instant, from: SocketAddr, effects: &mut Effects) {
        if let Some(known) = self.validated.iter_mut().find(|v| v.address == from) {
            known.last_check = now;
            return;
        }
        if self.validated.len() >= MAX_VALIDATED {
            let oldest = self
                .validated
                .iter()
                .enumerate()
                .filter(|(_, v)| Some(v.address) != self.selected)
                .min_by_key(|(_, v)| v.last_check)
                .map(|(i, _)| i);
            if let Some(oldest) = oldest {
                effects.forgotten = Some(self.validated.swap_remove(oldest).address);
            }
        }
        self.validated.push(Validated { address: from, last_check: now });
        effects.validated = Some(from);
    }

    /// The peer decides (RFC 8445 §8.2.1; renomination may go back to an earlier pair). Before it has decided, the
    /// first address that works carries media.
    fn nominate(&mut self, from: SocketAddr, request: &Message<'_>) {
        let nominated = match request.nomination {
            Some(value) if self.nomination.is_none_or(|seen| value > seen) => {
                self.nomination = Some(value);
                true
            }
            Some(_) => false,
            None => request.use_candidate,
        };
        if nominated || self.selected.is_none() {
            self.selected = Some(from);
        }
    }

    /// Something authentic arrived. Whether the state changed by it.
    pub fn note_alive(&mut self, now: Instant) -> bool {
        self.last_alive = Some(now);
        let was = std::mem::replace(&mut self.state, State::Connected);
        was != State::Connected
    }

    /// Notices silence; whether the state changed by it.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(last) = self.last_alive else { return false };
        let silence = now.saturating_duration_since(last);
        let next = match self.state {
            State::Connected if silence >= DISCONNECTED_AFTER => State::Disconnected,
            State::Disconnected if silence >= FAILED_AFTER => State::Failed,
            same => same,
        };
        let was = std::mem::replace(&mut self.state, next);
        was != next
    }
}

/// Chromium checks a working pair every 2.5 s, Firefox every 4 to 6 s (RFC 7675 §5.1); media counts as life too.
pub const DISCONNECTED_AFTER: Duration = Duration::from_secs(8);
/// Consent ends after 30 s (RFC 7675 §5.1).
pub const FAILED_AFTER: Duration = Duration::from_secs(30);
/// A laptop with Wi-Fi, cable, VPN and both IP versions shows fewer; more only serves an attacker.
const MAX_VALIDATED: usize = 12;
