//! ICE for one transport (RFC 8445): answers checks, learns where the client is, notices silence.
//!
//! We offer ourselves as a lite agent (§2.5), since an unmodified mediasoup-client tells nothing of its side; towards
//! clients that do tell we also check ourselves ([`checks`]).

mod checks;
mod credentials;
mod reflexive;

use crate::path::Path;
use crate::stun::{self, Kind, Message, Role, Writer};
use checks::{Answer, Checks};
use rand::rngs::StdRng;
use std::mem::offset_of;
use std::time::{Duration, Instant};

pub use credentials::Credentials;
pub use reflexive::Reflexive;

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

/// A path that has passed a check.
struct Validated {
    path: Path,
    last_check: Instant,
}

/// One transport's agent; it lives as long as the transport. What packets touch stands first, as in [`crate::transport::Transport`].
#[repr(C)]
pub struct Agent {
    state: State,
    selected: Option<Path>,
    /// The path of the packet in hand, when it is not the selected one.
    elsewhere: Option<Path>,
    /// When something authentic last came over the selected path.
    selected_heard: Option<Instant>,
    last_alive: Option<Instant>,
    validated: Vec<Validated>,
    /// The highest renomination value seen.
    nomination: Option<u32>,
    local: Credentials,
    /// Still accepted after a restart until the first check with the new ones.
    /// Boxed, like the client's: a key is more than a kilobyte, and most transports need only their own.
    previous: Option<Box<Credentials>>,
    checks: Checks,
}

/// What an authentic check did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Now belongs to this transport.
    pub validated: Option<Path>,
    /// No longer does: the least recently checked of too many.
    pub forgotten: Option<Path>,
    pub state_changed: bool,
    /// The old credentials are of no more use.
    pub retired: Option<String>,
}

impl Agent {
    /// How many of its octets a packet of media touches: the first.
    pub const TOUCHED: usize = offset_of!(Self, validated);

    pub fn new(local: Credentials, tie_breaker: u64) -> Self {
        Self {
            local,
            previous: None,
            checks: Checks::new(tie_breaker),
            validated: Vec::new(),
            selected: None,
            selected_heard: None,
            elsewhere: None,
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
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// When `path` last passed a check.
    pub fn last_check(&self, path: Path) -> Option<Instant> {
        self.validated.iter().find(|v| v.path == path).map(|v| v.last_check)
    }

    /// New credentials (RFC 8445 §9); media flows on over the old path meanwhile. Returns a fragment that has become
    /// useless, from a restart before this one.
    pub fn restart(&mut self, credentials: Credentials) -> Option<String> {
        let old = std::mem::replace(&mut self.local, credentials);
        self.nomination = None;
        self.checks.restart();
        self.previous.replace(Box::new(old)).map(|c| c.username_fragment)
    }

    /// What the client tells of itself: from now on we check, too.
    pub fn set_remote(&mut self, now: Instant, remote: Credentials) {
        self.checks.set_remote(remote);
        for validated in &self.validated {
            self.checks.on_request(now, validated.path, 0, self.selected);
        }
    }

    pub fn add_candidate(&mut self, path: Path, priority: u32, fragment: Option<&str>) {
        self.checks.add_candidate(path, priority, fragment);
    }

    /// The path is closed, or was taken over by another transport. Another that works takes its place.
    pub fn forget(&mut self, path: Path) {
        self.validated.retain(|v| v.path != path);
        self.checks.forget(path);
        if self.selected == Some(path) {
            self.selected = self.validated.iter().max_by_key(|v| v.last_check).map(|v| v.path);
            self.selected_heard = None;
        }
    }

    /// Whether `request` knows the password that goes with its user name `ours:theirs`.
    pub fn is_authentic(&self, request: &Message<'_>) -> bool {
        self.credentials_of(request).is_some_and(|c| request.is_authentic(&c.key))
    }

    fn credentials_of(&self, request: &Message<'_>) -> Option<&Credentials> {
        let (ours, _theirs) = request.username?.split_once(':')?;
        std::iter::once(&self.local).chain(self.previous.as_deref()).find(|c| c.username_fragment == ours)
    }

    /// Takes an authentic binding request and writes the answer into `reply`.
    pub fn handle_request<'b>(
        &mut self,
        now: Instant,
        from: Path,
        request: &Message<'_>,
        reply: &'b mut [u8; stun::CAPACITY],
    ) -> (&'b [u8], Effects) {
        let mut effects = Effects::default();
        let agrees = request.unknown_attribute.is_some() || self.checks.settle_roles(request.role);
        let Some(credentials) = self.credentials_of(request) else { return (&[], effects) };
        if let Some(id) = request.unknown_attribute {
            let answer =
                Writer::new(reply, Kind::Failure, &request.transaction).error(420).unknown_attribute(id);
            return (answer.finish(&credentials.key), effects);
        }
        if !agrees {
            let answer = Writer::new(reply, Kind::Failure, &request.transaction).error(487);
            return (answer.finish(&credentials.key), effects);
        }
        let answer = Writer::new(reply, Kind::Success, &request.transaction)
            .mapped_address(from.address)
            .finish(&credentials.key);
        let uses_new = credentials.username_fragment == self.local.username_fragment;
        if uses_new {
            effects.retired = self.previous.take().map(|c| c.username_fragment);
        }
        self.note_validated(now, from, &mut effects);
        self.follow(now, from, request);
        self.checks.on_request(now, from, request.priority.unwrap_or(0), self.selected);
        if self.selected == Some(from) {
            self.selected_heard = Some(now);
        }
        effects.state_changed = self.revive(now);
        (answer, effects)
    }

    /// Takes the answer to a check of ours.
    pub fn handle_answer(&mut self, now: Instant, from: Path, answer: &Message<'_>) -> Option<Effects> {
        let mut effects = Effects::default();
        let answer = self.checks.handle_answer(now, from, answer, self.selected)?;
        let (path, is_nominated) = match answer {
            Answer::Works(path) => (path, false),
            Answer::Nominated(path) => (path, true),
            Answer::Noted => return Some(effects),
        };
        self.note_validated(now, path, &mut effects);
        if is_nominated || self.selected.is_none() || self.state == State::Failed {
            self.select(now, path);
        }
        if self.selected == Some(path) {
            self.selected_heard = Some(now);
        }
        effects.state_changed = self.revive(now);
        Some(effects)
    }

    /// The next check of ours that is due; see [`Checks::poll`].
    pub fn poll_check<'b>(
        &mut self,
        now: Instant,
        tag: u32,
        random: &mut StdRng,
        buffer: &'b mut [u8; stun::CAPACITY],
    ) -> Option<(Path, &'b [u8])> {
        // Whoever can reach us need not be punched for.
        if self.selected.is_some() && !self.checks.are_full() {
            return None;
        }
        self.checks.poll(now, &self.local.username_fragment, self.selected, tag, random, buffer)
    }

    fn note_validated(&mut self, now: Instant, from: Path, effects: &mut Effects) {
        if let Some(known) = self.validated.iter_mut().find(|v| v.path == from) {
            known.last_check = now;
            return;
        }
        if self.validated.len() >= MAX_VALIDATED {
            let oldest = self
                .validated
                .iter()
                .enumerate()
                .filter(|(_, v)| Some(v.path) != self.selected)
                .min_by_key(|(_, v)| v.last_check)
                .map(|(i, _)| i);
            if let Some(oldest) = oldest {
                effects.forgotten = Some(self.validated.swap_remove(oldest).path);
            }
        }
        self.validated.push(Validated { path: from, last_check: now });
        effects.validated = Some(from);
    }

    /// The client decides (RFC 8445 §8.1.1; renomination may go back to an earlier pair). Before it has decided, the
    /// first path that works carries media; and when its NAT has moved it to another address, which it cannot know,
    /// we follow once the old one is silent.
    fn follow(&mut self, now: Instant, from: Path, request: &Message<'_>) {
        let nominated = match request.nomination {
            Some(value) if self.nomination.is_none_or(|seen| value > seen) => {
                self.nomination = Some(value);
                true
            }
            Some(_) => false,
            None => request.use_candidate && request.role.is_none_or(|(role, _)| role == Role::Controlling),
        };
        if nominated || self.selected.is_none_or(|path| path == from) || self.is_silent(now, MOVED_BY_CHECK) {
            self.select(now, from);
        }
    }

    fn select(&mut self, now: Instant, path: Path) {
        self.selected = Some(path);
        self.selected_heard = Some(now);
    }

    fn is_silent(&self, now: Instant, duration: Duration) -> bool {
        self.selected_heard.is_none_or(|at| now.saturating_duration_since(at) >= duration)
    }

    /// Says over which path the packet came that [`Self::note_alive`] may be called for.
    pub fn note_source(&mut self, from: Path) {
        self.elsewhere = (self.selected != Some(from)).then_some(from);
    }

    /// Something authentic arrived. Whether the state changed by it.
    pub fn note_alive(&mut self, now: Instant) -> bool {
        match self.elsewhere {
            // Media leaves from where the client is: the old path needs less silence to be given up.
            Some(path) if self.is_silent(now, MOVED_BY_MEDIA) => self.select(now, path),
            Some(_) => {}
            None => self.selected_heard = Some(now),
        }
        self.revive(now)
    }

    fn revive(&mut self, now: Instant) -> bool {
        self.last_alive = Some(now);
        if self.state == State::Connected || self.checks.is_consent_lost(now) {
            return false;
        }
        self.state = State::Connected;
        true
    }

    /// Notices silence; whether the state changed by it.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        let Some(last) = self.last_alive else { return false };
        let silence = now.saturating_duration_since(last);
        let next = match self.state {
            State::Connected | State::Disconnected if self.checks.is_consent_lost(now) => State::Failed,
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
/// Longer than browsers' slowest pace of checks on a path they use.
const MOVED_BY_CHECK: Duration = Duration::from_secs(3);
/// Several packets of sound.
const MOVED_BY_MEDIA: Duration = Duration::from_millis(300);
