//! The live rooms' connections: seats kept by `rooms`, messages carried within a room, and shown out whose grant ends.

use crate::line::TextLine;
use rooms::{Grant, LiveEffects, LiveLimits, LiveRooms, Now, SessionId};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use wire::live::{LiveKind, LiveNotice, UserId};
use wire::{Failure, RoomId};

/// All of them. A lock, held for look-ups and never while something is sent.
#[derive(Clone)]
pub(crate) struct LiveHub {
    hub: Arc<Mutex<Hub>>,
    /// How many only watch in each room. *State* kind.
    viewers: watch::Sender<BTreeMap<RoomId, u32>>,
    started: Instant,
}

struct Hub {
    rooms: LiveRooms,
    lines: HashMap<SessionId, Seated>,
}

/// One connection with a seat, and what it was let in by.
#[derive(Clone)]
pub(crate) struct Seated {
    line: TextLine,
    pub token: Option<String>,
}

/// What a client asks when it joins.
pub(crate) struct Asks {
    pub room: RoomId,
    pub user: UserId,
    pub publish: bool,
    pub token: Option<String>,
}

impl LiveHub {
    pub(crate) fn new(limits: LiveLimits) -> Self {
        let hub = Hub { rooms: LiveRooms::new(limits), lines: HashMap::new() };
        let (viewers, _) = watch::channel(BTreeMap::new());
        Self { hub: Arc::new(Mutex::new(hub)), viewers, started: Instant::now() }
    }

    pub(crate) fn viewers(&self) -> watch::Receiver<BTreeMap<RoomId, u32>> {
        self.viewers.subscribe()
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.lock().rooms.set_full(is_full);
    }

    fn count_viewers(&self, hub: &Hub) {
        let counted = hub.rooms.viewers();
        self.viewers.send_if_modified(|known| {
            let has_changed = *known != counted;
            *known = counted;
            has_changed
        });
    }

    pub(crate) fn join(
        &self,
        session: SessionId,
        line: &TextLine,
        grant: &Grant,
        asks: Asks,
    ) -> Result<(), Failure> {
        let mut hub = self.lock();
        let effects = hub.rooms.join(session, grant, asks.room, asks.user, asks.publish)?;
        hub.lines.insert(session, Seated { line: line.clone(), token: asks.token });
        let replaced = effects.replaced.and_then(|old| hub.lines.remove(&old));
        let told = hub.lines_for(effects);
        self.count_viewers(&hub);
        drop(hub);
        if let Some(old) = replaced {
            old.line.hang_up();
        }
        tell(told);
        Ok(())
    }

    /// To one user or to everybody else in the room; `afford` is asked for each copy but the first.
    pub(crate) fn relay(
        &self,
        session: SessionId,
        kind: LiveKind,
        to: Option<&UserId>,
        payload: &RawValue,
        afford: impl FnOnce(usize) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (message, lines) = {
            let hub = self.lock();
            let (room, user, audience) = hub.rooms.audience(session, to)?;
            let message = to_json(&Relayed { kind, room_id: room, user_id: user, payload });
            let lines: Vec<_> =
                audience.iter().filter_map(|to| hub.lines.get(to)).map(|to| to.line.clone()).collect();
            (message, lines)
        };
        afford(lines.len().saturating_sub(1))?;
        for line in lines {
            line.try_send(message.clone());
        }
        Ok(())
    }

    pub(crate) fn seat(&self, session: SessionId) -> Option<(RoomId, UserId)> {
        self.lock().rooms.seat(session).cloned()
    }

    pub(crate) fn leave(&self, session: SessionId, reason: &str) {
        let mut hub = self.lock();
        hub.lines.remove(&session);
        let effects = hub.rooms.leave(session, reason);
        let told = hub.lines_for(effects);
        self.count_viewers(&hub);
        drop(hub);
        tell(told);
    }

    /// The seat is kept for its grace time; [`LiveHub::expire`] ends it then.
    pub(crate) fn disconnected(&self, session: SessionId) {
        let mut hub = self.lock();
        hub.lines.remove(&session);
        hub.rooms.disconnected(self.now(), session);
    }

    pub(crate) fn expire(&self) {
        let mut hub = self.lock();
        let effects = hub.rooms.handle_timeout(self.now());
        let told = hub.lines_for(effects);
        self.count_viewers(&hub);
        drop(hub);
        tell(told);
    }

    /// Everybody who has a seat.
    pub(crate) fn seated(&self) -> Vec<(SessionId, RoomId, Seated)> {
        let hub = self.lock();
        let room = |session: &SessionId| hub.rooms.seat(*session).map(|(room, _)| room.clone());
        hub.lines.iter().filter_map(|(id, seated)| Some((*id, room(id)?, seated.clone()))).collect()
    }

    /// Shows somebody out, with the reason.
    pub(crate) fn show_out(&self, session: SessionId, seated: &Seated, failure: Failure) {
        let reason = failure.error.clone();
        seated.line.try_send(to_json(&LiveNotice::Error { payload: failure }));
        self.leave(session, &reason);
        seated.line.hang_up();
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono_ms: self.started.elapsed().as_millis() as u64, unix_ms: unix.as_millis() as u64 }
    }

    fn lock(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    fn lines_for(&self, effects: LiveEffects) -> Vec<(TextLine, LiveNotice)> {
        let line = |session| self.lines.get(&session).map(|seated| seated.line.clone());
        effects.notices.into_iter().filter_map(|(to, notice)| Some((line(to)?, notice))).collect()
    }
}

fn tell(told: Vec<(TextLine, LiveNotice)>) {
    for (line, notice) in told {
        line.try_send(to_json(&notice));
    }
}

/// A message as the others get it: the sender is who the server knows it to be.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relayed<'a> {
    #[serde(rename = "type")]
    kind: LiveKind,
    room_id: &'a RoomId,
    user_id: &'a UserId,
    payload: &'a RawValue,
}

pub(crate) fn to_json(message: &impl Serialize) -> String {
    serde_json::to_string(message).unwrap_or_else(|error| {
        tracing::error!(%error, "cannot encode a message");
        "{}".into()
    })
}
