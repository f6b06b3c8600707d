//! Who sits in which live room of the plain WebSocket, who publishes there, and to whom a message goes.

use crate::command::SessionId;
use crate::grant::Grant;
use crate::refusal::Refusal;
use crate::time::Now;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use wire::live::{LiveEnd, LiveNotice, LivePart, LiveRoster, LiveUser, UserId};
use wire::{InviteId, RoomId};

/// The seats of all live rooms.
#[derive(Debug, Default)]
pub struct LiveRooms {
    limits: LiveLimits,
    rooms: BTreeMap<RoomId, BTreeMap<UserId, LiveSeat>>,
    sessions: HashMap<SessionId, (RoomId, UserId)>,
    is_full: bool,
}

/// How much of each thing there may be.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveLimits {
    pub seats: usize,
    pub seats_per_room: usize,
    /// How long a seat stays without a connection.
    pub grace: Duration,
}

impl Default for LiveLimits {
    fn default() -> Self {
        Self { seats: 1_000, seats_per_room: 100, grace: Duration::from_secs(30) }
    }
}

#[derive(Debug)]
struct LiveSeat {
    line: Line,
    publish: bool,
    invite: Option<InviteId>,
}

#[derive(Clone, Copy, Debug)]
enum Line {
    Here(SessionId),
    Away { until_mono_ms: u64 },
}

impl Line {
    fn session(self) -> Option<SessionId> {
        match self {
            Line::Here(session) => Some(session),
            Line::Away { .. } => None,
        }
    }
}

/// What is to be sent, and who is shown out.
#[derive(Debug, Default)]
pub struct LiveEffects {
    pub notices: Vec<(SessionId, LiveNotice)>,
    /// Another connection of the same user took the seat.
    pub replaced: Option<SessionId>,
}

impl LiveRooms {
    pub fn new(limits: LiveLimits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// As [`crate::Rooms::set_full`].
    pub fn set_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Takes a seat, or the one that is kept. The first notice is the newcomer's `joined`.
    pub fn join(
        &mut self,
        session: SessionId,
        grant: &Grant,
        room: RoomId,
        user: UserId,
        publish: bool,
    ) -> Result<LiveEffects, Refusal> {
        if self.sessions.contains_key(&session) {
            return Err(Refusal::AlreadyJoined);
        }
        if publish && !grant.may_publish {
            return Err(Refusal::ViewerSends);
        }
        let seats = self.rooms.get(&room);
        let kept = seats.and_then(|seats| seats.get(&user));
        // Only who holds what it was taken with may take a seat over.
        if kept.is_some_and(|seat| seat.invite != grant.invite) {
            return Err(Refusal::UserTaken);
        }
        let mut others = seats.into_iter().flatten().filter(|(other, _)| **other != user);
        if publish && others.any(|(_, seat)| seat.publish) {
            return Err(Refusal::DuplicatePublisher);
        }
        if kept.is_none() {
            self.check_capacity(&room, grant)?;
        }
        let mut effects = LiveEffects::default();
        let seat = LiveSeat { line: Line::Here(session), publish, invite: grant.invite };
        let before = self.rooms.entry(room.clone()).or_default().insert(user.clone(), seat);
        let resumed = before.is_some();
        let changed = before.as_ref().is_none_or(|before| before.publish != publish);
        if let Some(old) = before.and_then(|before| before.line.session()) {
            self.sessions.remove(&old);
            effects.replaced = Some(old);
        }
        self.sessions.insert(session, (room.clone(), user.clone()));
        let users = self
            .others(&room, &user)
            .map(|(id, seat)| LiveUser { user_id: id.clone(), publish: seat.publish });
        let payload = LiveRoster { users: users.collect(), publish, resumed };
        effects
            .notices
            .push((session, LiveNotice::Joined { room_id: room.clone(), user_id: user.clone(), payload }));
        if changed {
            let notice = LiveNotice::UserJoined {
                room_id: room.clone(),
                user_id: user.clone(),
                payload: LivePart { publish },
            };
            self.tell_others(&room, &user, &notice, &mut effects);
        }
        Ok(effects)
    }

    fn check_capacity(&self, room: &RoomId, grant: &Grant) -> Result<(), Refusal> {
        if self.is_full {
            return Err(Refusal::ServerFull);
        }
        let seats = || self.rooms.values().flat_map(BTreeMap::values);
        if seats().count() >= self.limits.seats {
            return Err(Refusal::LimitReached { what: "people in live rooms", limit: self.limits.seats });
        }
        if self.rooms.get(room).map_or(0, BTreeMap::len) >= self.limits.seats_per_room {
            return Err(Refusal::RoomFull(self.limits.seats_per_room));
        }
        let by_it = seats().filter(|seat| grant.invite.is_some() && seat.invite == grant.invite).count();
        if by_it >= grant.seats { Err(Refusal::InviteUsedUp) } else { Ok(()) }
    }

    /// Who is to get a message: the named user, or everybody else of the sender's own room.
    pub fn audience(
        &self,
        session: SessionId,
        to: Option<&UserId>,
    ) -> Result<(&RoomId, &UserId, Vec<SessionId>), Refusal> {
        let (room, user) = self.sessions.get(&session).ok_or(Refusal::NotJoined)?;
        let mut others = self.others(room, user);
        let audience = match to {
            Some(to) => {
                let (_, seat) = others.find(|(id, _)| *id == to).ok_or(Refusal::NotFound("user"))?;
                seat.line.session().into_iter().collect()
            }
            None => others.filter_map(|(_, seat)| seat.line.session()).collect(),
        };
        Ok((room, user, audience))
    }

    /// Whose seat a connection holds.
    pub fn seat(&self, session: SessionId) -> Option<&(RoomId, UserId)> {
        self.sessions.get(&session)
    }

    /// Gives the seat up.
    pub fn leave(&mut self, session: SessionId, reason: &str) -> LiveEffects {
        match self.sessions.remove(&session) {
            Some((room, user)) => self.end_seat(&room, &user, reason),
            None => LiveEffects::default(),
        }
    }

    /// The connection is gone; the seat's grace time begins.
    pub fn disconnected(&mut self, now: Now, session: SessionId) {
        let Some((room, user)) = self.sessions.remove(&session) else { return };
        let until_mono_ms = now.mono_after(self.limits.grace);
        if let Some(seat) = self.rooms.get_mut(&room).and_then(|seats| seats.get_mut(&user)) {
            seat.line = Line::Away { until_mono_ms };
        }
    }

    /// How long nothing happens by itself.
    pub fn poll_timeout(&self, now: Now) -> Option<Duration> {
        let ends = self.rooms.values().flat_map(BTreeMap::values).filter_map(|seat| match seat.line {
            Line::Away { until_mono_ms } => Some(until_mono_ms.saturating_sub(now.mono_ms)),
            Line::Here(_) => None,
        });
        ends.min().map(Duration::from_millis)
    }

    pub fn handle_timeout(&mut self, now: Now) -> LiveEffects {
        let is_over = |line| matches!(line, Line::Away { until_mono_ms } if until_mono_ms <= now.mono_ms);
        let seats = self.rooms.iter().flat_map(|(room, seats)| seats.iter().map(move |seat| (room, seat)));
        let over: Vec<_> = seats
            .filter(|(_, (_, seat))| is_over(seat.line))
            .map(|(room, (user, _))| (room.clone(), user.clone()))
            .collect();
        let mut effects = LiveEffects::default();
        for (room, user) in over {
            effects.notices.extend(self.end_seat(&room, &user, "connection lost").notices);
        }
        effects
    }

    fn end_seat(&mut self, room: &RoomId, user: &UserId, reason: &str) -> LiveEffects {
        let mut effects = LiveEffects::default();
        let Some(seats) = self.rooms.get_mut(room) else { return effects };
        seats.remove(user);
        if seats.is_empty() {
            self.rooms.remove(room);
            return effects;
        }
        let payload = LiveEnd { reason: reason.to_owned() };
        let notice = LiveNotice::UserLeft { room_id: room.clone(), user_id: user.clone(), payload };
        self.tell_others(room, user, &notice, &mut effects);
        effects
    }

    fn others<'a>(
        &'a self,
        room: &RoomId,
        user: &'a UserId,
    ) -> impl Iterator<Item = (&'a UserId, &'a LiveSeat)> + use<'a> {
        self.rooms.get(room).into_iter().flatten().filter(move |(other, _)| *other != user)
    }

    fn tell_others(&self, room: &RoomId, user: &UserId, notice: &LiveNotice, effects: &mut LiveEffects) {
        let sessions = self.others(room, user).filter_map(|(_, seat)| seat.line.session());
        effects.notices.extend(sessions.map(|session| (session, notice.clone())));
    }

    /// How many of each room only watch; those whose seat is kept for them are among them.
    pub fn viewers(&self) -> BTreeMap<RoomId, u32> {
        let watching =
            |seats: &BTreeMap<_, LiveSeat>| seats.values().filter(|seat| !seat.publish).count() as u32;
        self.rooms.iter().map(|(room, seats)| (room.clone(), watching(seats))).collect()
    }

    /// Seats in all, for monitoring.
    pub fn seats(&self) -> usize {
        self.rooms.values().map(BTreeMap::len).sum()
    }
}
