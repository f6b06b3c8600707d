//! Our own checks towards a client: ordinary and triggered ones (RFC 8445 §6.1.4, §7.2), and for consent (RFC 7675).
//!
//! A client that told us its credentials gets checks. One that reported candidates alone gets indications, which open
//! a way through our NAT and ask for nothing. One that told nothing is not written to: then we are the lite side.
//!
//! All pairs share our one socket, so a pair is known by the client's path, has the client's priority, and nothing is
//! frozen (RFC 8445 §6.1.2.6). Somebody who reports other people's addresses gains little: addresses are vetted by
//! [`crate::candidate`], there are at most [`MAX_PAIRS`], and packets are paced ([`PACE`]) and rationed ([`Ration`]).

use super::credentials::Credentials;
use crate::path::{Path, Protocol};
use crate::stun::{self, Kind, Message, Role, TransactionId, Writer};
use rand::Rng;
use rand::rngs::StdRng;
use std::time::{Duration, Instant};

/// The checks of one transport; empty while nothing is known of the client.
pub struct Checks {
    /// The client's.
    remote: Option<Box<Credentials>>,
    role: Role,
    tie_breaker: u64,
    pairs: Vec<Pair>,
    next_at: Option<Instant>,
    ration: Ration,
    /// The selected path's last answer.
    consented: Option<Instant>,
    /// As the controlling side we have decided.
    has_nominated: bool,
}

struct Pair {
    path: Path,
    priority: u32,
    state: PairState,
    /// Wanted before ordinary checks (RFC 8445 §6.1.4.1).
    is_triggered: bool,
    /// The next check nominates.
    nominates: bool,
    consent: Consent,
}

/// RFC 8445 §6.1.2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PairState {
    Waiting,
    InProgress { transaction: TransactionId, sent: u32, next: Instant },
    Succeeded,
    Failed,
}

/// A working pair is asked again and again (RFC 7675 §5.1); these are not retransmitted.
#[derive(Clone, Copy, Default)]
struct Consent {
    transaction: Option<TransactionId>,
    next: Option<Instant>,
}

/// What an authentic answer means.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The path works in both directions.
    Works(Path),
    /// And it is the one that we, the controlling side, have chosen.
    Nominated(Path),
    /// Nothing to act on.
    Noted,
}

impl Checks {
    pub fn new(tie_breaker: u64) -> Self {
        Self {
            remote: None,
            // The client told of a lite agent takes control (RFC 8445 §6.1.1).
            role: Role::Controlled,
            tie_breaker,
            pairs: Vec::new(),
            next_at: None,
            ration: Ration::default(),
            consented: None,
            has_nominated: false,
        }
    }

    /// Whether the client told its credentials.
    pub fn are_full(&self) -> bool {
        self.remote.is_some()
    }

    /// The client's side from now on; unless they are the same, everything is checked again.
    pub fn set_remote(&mut self, remote: Credentials) {
        if self.remote.as_ref().is_some_and(|known| known.are_same(&remote)) {
            return;
        }
        self.remote = Some(Box::new(remote));
        self.begin_again();
    }

    /// After an ICE restart the client's credentials are unknown until it tells the new ones.
    pub fn restart(&mut self) {
        self.remote = None;
        self.role = Role::Controlled;
        self.pairs.clear();
        self.begin_again();
    }

    fn begin_again(&mut self) {
        for pair in &mut self.pairs {
            pair.state = PairState::Waiting;
            pair.consent = Consent::default();
            pair.nominates = false;
        }
        self.consented = None;
        self.has_nominated = false;
    }

    /// A candidate the client reported, of the generation `fragment` if it said so.
    pub fn add_candidate(&mut self, path: Path, priority: u32, fragment: Option<&str>) {
        let is_stale = self.remote.as_ref().zip(fragment).is_some_and(|(r, f)| r.username_fragment != f);
        let has_room = self.pairs.len() < MAX_PAIRS || self.pairs.iter().any(|p| p.yields_to(priority));
        if !is_stale && has_room {
            self.add(path, priority, None);
        }
    }

    /// A request came over `path`: a triggered check answers it (RFC 8445 §7.3.1.4). An address nobody reported is
    /// learnt as peer-reflexive (§7.3.1.3).
    pub fn on_request(&mut self, now: Instant, path: Path, priority: u32, selected: Option<Path>) {
        if self.remote.is_none() {
            return;
        }
        let has_consent = !self.is_consent_lost(now);
        let Some(pair) = self.add(path, priority, selected) else { return };
        match &mut pair.state {
            PairState::Succeeded if has_consent => {}
            PairState::InProgress { next, .. } => *next = now,
            PairState::Waiting | PairState::Failed | PairState::Succeeded => {
                pair.state = PairState::Waiting;
                pair.is_triggered = true;
            }
        }
    }

    /// When all places are taken, a failed pair makes room, else the least preferred that was never answered; else
    /// the new one has none.
    fn add(&mut self, path: Path, priority: u32, selected: Option<Path>) -> Option<&mut Pair> {
        if let Some(index) = self.pairs.iter().position(|p| p.path == path) {
            return self.pairs.get_mut(index);
        }
        if self.pairs.len() >= MAX_PAIRS {
            let expendable = |p: &&Pair| p.state != PairState::Succeeded && Some(p.path) != selected;
            let worst = self.pairs.iter().filter(expendable).min_by_key(|p| {
                let has_failed = p.state == PairState::Failed;
                (!has_failed, p.priority)
            })?;
            let worst = worst.path;
            self.pairs.retain(|p| p.path != worst);
        }
        self.pairs.push(Pair {
            path,
            priority,
            state: PairState::Waiting,
            is_triggered: false,
            nominates: false,
            consent: Consent::default(),
        });
        self.pairs.last_mut()
    }

    /// The path is gone.
    pub fn forget(&mut self, path: Path) {
        self.pairs.retain(|p| p.path != path);
    }

    /// Whether the client once answered and has stopped to (RFC 7675 §5.1). A client that never answered is judged by
    /// its own checks.
    pub fn is_consent_lost(&self, now: Instant) -> bool {
        self.consented.is_some_and(|at| now.saturating_duration_since(at) >= super::FAILED_AFTER)
    }

    /// Decides a conflict of roles (RFC 8445 §7.3.1.1). False: the client is to change its own.
    pub fn settle_roles(&mut self, theirs: Option<(Role, u64)>) -> bool {
        let Some((role, tie_breaker)) = theirs.filter(|(role, _)| *role == self.role) else { return true };
        // Somebody who takes us for a lite agent cannot be controlled.
        let keeps_controlled = self.remote.is_none() || self.tie_breaker < tie_breaker;
        let changes = match role {
            Role::Controlled => !keeps_controlled,
            Role::Controlling => self.tie_breaker < tie_breaker,
        };
        if changes {
            self.switch_role();
        }
        changes
    }

    fn switch_role(&mut self) {
        self.role = match self.role {
            Role::Controlled => Role::Controlling,
            Role::Controlling => Role::Controlled,
        };
        self.has_nominated = false;
        self.pairs.iter_mut().for_each(|p| p.nominates = false);
    }

    /// The next packet that is due, written into `buffer`. `tag` begins its transaction id, so that the answer finds
    /// this transport; what is random of it suffices because answers are authenticated.
    pub fn poll<'b>(
        &mut self,
        now: Instant,
        ours: &str,
        selected: Option<Path>,
        tag: u32,
        random: &mut StdRng,
        buffer: &'b mut [u8; stun::CAPACITY],
    ) -> Option<(Path, &'b [u8])> {
        if self.pairs.is_empty() || self.next_at.is_some_and(|at| now < at) {
            return None;
        }
        let index = self.next_due(now, selected)?;
        if !self.ration.take(now) {
            return None;
        }
        self.next_at = Some(now + PACE);
        let mut fresh = [0; 12];
        fresh[..4].copy_from_slice(&tag.to_be_bytes());
        random.fill(&mut fresh[4..]);
        let pair = self.pairs.get_mut(index)?;
        let transaction = pair.advance(now, fresh, random);
        let Some(remote) = &self.remote else {
            let indication = Writer::new(buffer, Kind::Indication, &transaction).finish_open();
            return Some((pair.path, indication));
        };
        let name = format!("{}:{ours}", remote.username_fragment);
        let mut writer = Writer::new(buffer, Kind::Request, &transaction)
            .username(&name)
            .priority(reflexive_priority(pair.path.protocol))
            .role(self.role, self.tie_breaker);
        if self.role == Role::Controlling && pair.nominates {
            writer = writer.use_candidate();
        }
        Some((pair.path, writer.finish(&remote.key)))
    }

    /// Triggered checks go first, then what is unanswered, then what waits by its priority, then consent.
    fn next_due(&mut self, now: Instant, selected: Option<Path>) -> Option<usize> {
        for pair in &mut self.pairs {
            if let PairState::InProgress { sent, next, .. } = pair.state
                && sent >= MAX_SENT
                && next <= now
            {
                pair.state = PairState::Failed;
            }
        }
        let pairs = || self.pairs.iter().enumerate();
        let triggered = || pairs().find(|(_, p)| p.is_triggered);
        let unanswered =
            || pairs().find(|(_, p)| matches!(p.state, PairState::InProgress { next, .. } if next <= now));
        let waiting = || {
            let waits = pairs().filter(|(_, p)| p.state == PairState::Waiting);
            waits.max_by_key(|(_, p)| p.priority)
        };
        let consent = || {
            pairs().find(|(_, p)| {
                let is_due = p.consent.next.is_none_or(|at| at <= now);
                Some(p.path) == selected && p.state == PairState::Succeeded && is_due
            })
        };
        triggered().or_else(unanswered).or_else(waiting).or_else(consent).map(|(index, _)| index)
    }

    /// Takes the answer to one of our checks; `None` when it is to none, or not authentic.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        from: Path,
        answer: &Message<'_>,
        selected: Option<Path>,
    ) -> Option<Answer> {
        let key = &self.remote.as_ref()?.key;
        let pair = self.pairs.iter_mut().find(|p| p.awaits(&answer.transaction))?;
        // An answer from elsewhere than asked is none (RFC 8445 §7.2.5.2.1).
        if pair.path != from || !answer.is_authentic(key) {
            return None;
        }
        let was_consent = pair.consent.transaction.take() == Some(answer.transaction);
        if answer.kind != Kind::Success {
            if answer.error_code == Some(487) {
                pair.state = PairState::Waiting;
                pair.is_triggered = true;
                self.switch_role();
            } else if !was_consent {
                pair.state = PairState::Failed;
            }
            return Some(Answer::Noted);
        }
        pair.state = PairState::Succeeded;
        pair.consent.next.get_or_insert(now + CONSENT_INTERVAL);
        if selected.is_none_or(|path| path == from) || self.is_consent_lost(now) {
            self.consented = Some(now);
        }
        Some(self.nominate(from))
    }

    /// The controlling side asks once more for the first path that works, and that is it (RFC 8445 §8.1.1).
    fn nominate(&mut self, works: Path) -> Answer {
        if self.role == Role::Controlled || self.has_nominated {
            return Answer::Works(works);
        }
        let Some(pair) = self.pairs.iter_mut().find(|p| p.path == works) else { return Answer::Noted };
        if pair.nominates {
            self.has_nominated = true;
            return Answer::Nominated(works);
        }
        pair.nominates = true;
        pair.state = PairState::Waiting;
        pair.is_triggered = true;
        Answer::Works(works)
    }
}

impl Pair {
    fn yields_to(&self, priority: u32) -> bool {
        match self.state {
            PairState::Failed => true,
            PairState::Waiting | PairState::InProgress { .. } => self.priority < priority,
            PairState::Succeeded => false,
        }
    }

    fn awaits(&self, id: &TransactionId) -> bool {
        matches!(&self.state, PairState::InProgress { transaction, .. } if transaction == id)
            || self.consent.transaction.as_ref() == Some(id)
    }

    /// Notes that a packet goes out, and says with which transaction.
    fn advance(&mut self, now: Instant, fresh: TransactionId, random: &mut StdRng) -> TransactionId {
        self.is_triggered = false;
        match &mut self.state {
            PairState::InProgress { transaction, sent, next } => {
                *next = now + (FIRST_TIMEOUT * (1 << (*sent).min(8))).min(LAST_TIMEOUT);
                *sent += 1;
                *transaction
            }
            PairState::Succeeded => {
                // RFC 7675 §5.1 wants 80 to 120 % of the interval.
                let next = now + CONSENT_INTERVAL.mul_f64(random.random_range(0.8..1.2));
                self.consent = Consent { transaction: Some(fresh), next: Some(next) };
                fresh
            }
            state => {
                *state = PairState::InProgress { transaction: fresh, sent: 1, next: now + FIRST_TIMEOUT };
                fresh
            }
        }
    }
}

/// How many packets may go where nobody has asked for them: a burst, then a trickle, over all restarts.
struct Ration {
    left: u32,
    counted: Option<Instant>,
}

impl Default for Ration {
    fn default() -> Self {
        Self { left: BURST, counted: None }
    }
}

impl Ration {
    fn take(&mut self, now: Instant) -> bool {
        let since = *self.counted.get_or_insert(now);
        let earned = now.saturating_duration_since(since).as_millis() / REFILL.as_millis();
        if earned > 0 {
            self.left = self.left.saturating_add(earned.min(u128::from(BURST)) as u32).min(BURST);
            self.counted = Some(now);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }
}

/// What the client should give our address when it learns it from this check (RFC 8445 §7.1.1, §5.1.2.1).
fn reflexive_priority(protocol: Protocol) -> u32 {
    let type_preference = match protocol {
        Protocol::Udp => 110,
        Protocol::Tcp => 80,
    };
    type_preference << 24 | 0xFFFF << 8 | 255
}

/// A laptop with Wi-Fi, cable, VPN and both IP versions reports fewer.
const MAX_PAIRS: usize = 16;
/// Ta (RFC 8445 §14.2).
const PACE: Duration = Duration::from_millis(50);
/// RTO begins with this (RFC 8445 §14.3). It is doubled as RFC 8489 §6.2.1 says, but no further than libwebrtc does:
/// somebody waits for us to punch.
const FIRST_TIMEOUT: Duration = Duration::from_millis(500);
const LAST_TIMEOUT: Duration = Duration::from_millis(1_600);
/// Rc (RFC 8489 §6.2.1).
const MAX_SENT: u32 = 7;
/// RFC 7675 §5.1.
const CONSENT_INTERVAL: Duration = Duration::from_secs(5);
/// Every pair may be checked to its end.
const BURST: u32 = MAX_PAIRS as u32 * MAX_SENT;
const REFILL: Duration = Duration::from_millis(500);
