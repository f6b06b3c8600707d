//! One client from its first packet to its last, in one task: reads, answers, and passes on what others have for it.

use super::desk::{Asked, Desk, Turn};
use super::engine::{self, Version};
use super::packet::{self, Kind, Namespace};
use super::transport::{Said, Transport};
use super::voice::Voice;
use super::{PING_EVERY, PONG_WITHIN};
use crate::arrival::token_in_query;
use crate::backend::{Backend, Caller, SessionId};
use crate::connection::Connection;
use crate::events::SwarmEvent;
use crate::gate::{Gate, Verdict};
use crate::outbox::Outbox;
use crate::parse::invalid;
use crate::server::App;
use crate::tally::{Inside, Place};
use crate::web_socket::{Ended, Violation, close};
use serde::Deserialize;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;
use wire::live::Empty;
use wire::swarm::{Announce, LeaveSwarm};
use wire::{Code, Failure};

/// How a client came.
pub(super) struct Arrival {
    pub version: Version,
    pub connection: Option<Connection>,
    /// The token in the query.
    pub token: Option<String>,
}

pub(super) struct Conversation<B> {
    app: Arc<App<B>>,
    arrival: Arrival,
    transport: Transport,
    outbox: Arc<Outbox>,
    /// Once it is in its namespace.
    desk: Option<Box<Member<B>>>,
    gate: Gate,
    /// Of a packet that has been refused.
    attachments_due: usize,
    opened: Instant,
    beat: Beat,
}

/// A client in its namespace.
struct Member<B> {
    voice: Voice,
    desk: Desk<B>,
    /// Introductions need no token here.
    swarm_is_free: bool,
    has_asked: bool,
    _inside: Inside,
}

/// The heartbeat. Whatever comes is a sign of life.
struct Beat {
    /// When to look again.
    next: Instant,
    /// By when something must have been heard.
    due: Option<Instant>,
    was_heard: bool,
    stuck_at: Option<u64>,
}

/// Why it ended.
#[derive(Debug)]
enum End {
    /// The client hung up or broke off.
    Gone,
    /// It left its namespace.
    Left,
    /// It has been told why, or the engine has.
    Dismissed,
    Violation(Violation),
    Silent,
    TooSlow,
    Closing,
}

impl<B: Backend> Conversation<B> {
    pub(super) fn new(app: Arc<App<B>>, arrival: Arrival, transport: Transport, outbox: Arc<Outbox>) -> Self {
        let opened = Instant::now();
        let gate = Gate::new(&app.limits, opened.into_std());
        let beat = Beat { next: opened + PING_EVERY, due: None, was_heard: false, stuck_at: None };
        Self { app, arrival, transport, outbox, desk: None, gate, attachments_due: 0, opened, beat }
    }

    pub(super) async fn run(mut self) {
        if self.arrival.version == Version::V3 {
            // Clients of protocol 4 are in the root namespace without asking.
            self.enter(Namespace::Root, "/", "", "");
        }
        let end = self.converse().await;
        Box::pin(self.end(end)).await;
    }

    async fn converse(&mut self) -> End {
        let stop = self.app.stop.clone();
        let mut stopped = std::pin::pin!(stop.cancelled());
        let mut timer = std::pin::pin!(sleep_until(self.next_tick()));
        loop {
            let Self { transport, desk, outbox, .. } = self;
            let turn = poll_fn(|cx| match desk {
                Some(member) => member.desk.poll(cx),
                None => Poll::Pending,
            });
            // What is sent makes room, so it comes before the answers that wait for it.
            let outcome = tokio::select! {
                biased;
                () = &mut stopped => Err(End::Closing),
                said = transport.next(outbox) => self.handle(said),
                turn = turn => self.take_turn(turn),
                () = &mut timer => self.tick(Instant::now()),
            };
            if let Err(end) = outcome {
                return end;
            }
            if timer.deadline() != self.next_tick() {
                timer.as_mut().reset(self.next_tick());
            }
        }
    }

    fn handle(&mut self, said: Result<Said, Ended>) -> Result<(), End> {
        self.beat.was_heard = true;
        match said {
            Ok(Said::Text(text)) => self.handle_text(&text),
            Ok(Said::Binary) if self.attachments_due > 0 => {
                self.attachments_due -= 1;
                Ok(())
            }
            Ok(Said::Binary) => Err(End::Violation(Violation::Protocol)),
            Ok(Said::Upgraded(socket)) => {
                self.transport = Transport::WebSocket(socket);
                Ok(())
            }
            Err(Ended::Gone) => Err(End::Gone),
            Err(Ended::Over) => Err(End::TooSlow),
            Err(Ended::Violation(violation)) => Err(End::Violation(violation)),
        }
    }

    fn handle_text(&mut self, text: &str) -> Result<(), End> {
        match engine::Packet::read(text) {
            Some(engine::Packet::Message(message)) => self.handle_message(message),
            Some(engine::Packet::Ping(data)) => {
                if self.passes(data.len(), None)? {
                    self.outbox.push(format!("3{data}").into_bytes());
                }
                Ok(())
            }
            Some(engine::Packet::Pong) if self.beat.due.is_some() => {
                self.beat.due = None;
                self.beat.next = Instant::now() + PING_EVERY;
                Ok(())
            }
            Some(engine::Packet::Pong | engine::Packet::Upgrade | engine::Packet::Noop) => {
                self.passes(1, None).map(drop)
            }
            Some(engine::Packet::Close) => Err(End::Gone),
            None => Err(End::Violation(Violation::Protocol)),
        }
    }

    fn handle_message(&mut self, text: &str) -> Result<(), End> {
        let packet = packet::Packet::read(text).ok_or(End::Violation(Violation::Protocol))?;
        let ack = match packet.kind {
            Kind::Event { ack, .. } | Kind::Binary { ack, .. } => ack,
            _ => None,
        };
        if let Kind::Binary { attachments, .. } = packet.kind {
            // A few are read past, so that the event can be refused in words.
            self.attachments_due += attachments;
            if self.attachments_due > MAX_ATTACHMENTS {
                return Err(End::Violation(Violation::TooBig));
            }
        }
        if !self.passes(text.len(), ack)? {
            return Ok(());
        }
        match packet.kind {
            Kind::Connect { auth, query } => {
                match packet.namespace {
                    Some(namespace) => self.enter(namespace, packet.name, auth, query),
                    None => {
                        let failure = Failure::new(Code::NotFound, "Invalid namespace");
                        self.refuse_entry(packet.name, &failure);
                    }
                }
                Ok(())
            }
            Kind::Disconnect => Err(End::Left),
            Kind::Event { json, .. } => {
                self.handle_event(json, ack);
                Ok(())
            }
            Kind::Binary { .. } => {
                if let Some(member) = &mut self.desk {
                    member.queue(Err(invalid("No event has binary attachments.")), ack);
                }
                Ok(())
            }
            Kind::Ack => Ok(()),
        }
    }

    /// Whether a message is within the limits; whoever goes on is ended.
    fn passes(&mut self, bytes: usize, ack: Option<u64>) -> Result<bool, End> {
        let verdict = self.gate.handle_message(std::time::Instant::now(), bytes);
        self.judge(verdict, ack)
    }

    fn judge(&mut self, verdict: Verdict, ack: Option<u64>) -> Result<bool, End> {
        let (failure, ack, outcome) = match verdict {
            Verdict::Pass => return Ok(true),
            Verdict::Refuse(failure) => (failure, ack, Ok(false)),
            Verdict::End(failure) => (failure, None, Err(End::Dismissed)),
        };
        self.app.tally.refuse(failure.code);
        // Who floods and does not read goes without an answer.
        if let Some(member) = self.desk.as_ref().filter(|member| member.voice.has_room()) {
            member.voice.answer(ack, &Err::<(), _>(failure));
        }
        outcome
    }

    /// What goes to other members of a swarm goes at once; everything else waits for its turn.
    fn handle_event(&mut self, json: &str, ack: Option<u64>) {
        let Some(member) = &mut self.desk else { return };
        member.has_asked = true;
        let swarm = &member.desk.member;
        match SwarmEvent::read(json) {
            Some(SwarmEvent::Relay { kind, payload }) => {
                let _handling = self.app.tally.handle(json);
                member.answer_at_once(ack, swarm.relay(kind, payload).map(|()| Empty {}));
            }
            Some(SwarmEvent::Announce(asked)) if member.swarm_is_free => {
                let _handling = self.app.tally.handle(json);
                let list = asked.and_then(|Announce { hash }| swarm.announce(|| member.desk.line(), hash));
                if let Ok(list) = &list {
                    member.voice.emit("peer-list", list);
                }
                member.answer_at_once(ack, list);
            }
            Some(SwarmEvent::Leave(asked)) => {
                let _handling = self.app.tally.handle(json);
                let left = asked.map(|LeaveSwarm { hash }| swarm.leave(hash.as_ref()));
                member.answer_at_once(ack, left.map(|()| Empty {}));
            }
            _ => member.queue(Ok(json.to_owned()), ack),
        }
    }

    fn take_turn(&mut self, turn: Turn) -> Result<(), End> {
        match turn {
            Turn::Done => Ok(()),
            Turn::Refused(ack, failure) => {
                let verdict = match failure.code {
                    Code::UnknownEvent => self.gate.refuse(std::time::Instant::now(), failure),
                    _ => Verdict::Refuse(failure),
                };
                self.judge(verdict, ack).map(drop)
            }
            Turn::Dismissed => Err(End::Dismissed),
        }
    }

    fn enter(&mut self, namespace: Namespace, name: &str, auth: &str, query: &str) {
        match self.admit(namespace, auth, query) {
            Ok(member) => {
                let id = Uuid::new_v4().simple().to_string();
                let id = (self.arrival.version == Version::V4).then_some(id.as_str());
                self.outbox.push(packet::connected(namespace, id));
                self.desk = Some(Box::new(member));
            }
            Err(failure) => self.refuse_entry(name, &failure),
        }
    }

    fn refuse_entry(&self, name: &str, failure: &Failure) {
        self.outbox.push(packet::refused(name, failure, self.arrival.version == Version::V4));
    }

    fn admit(&self, namespace: Namespace, auth: &str, query: &str) -> Result<Member<B>, Failure> {
        // Clients of protocol 4 are in the root namespace already when they ask for another.
        let may_move = self.arrival.version == Version::V3 && namespace != Namespace::Root;
        if self.desk.as_ref().is_some_and(|member| member.has_asked || !may_move) {
            return Err(Failure::new(
                Code::AlreadyJoined,
                "One connection has one namespace. Open another connection.",
            ));
        }
        let auth: Auth = match auth {
            "" => Auth::default(),
            auth => serde_json::from_str(auth)
                .map_err(|_| invalid("`auth` must be an object, and its `token` a text."))?,
        };
        let App { swarms, swarm_access, .. } = &*self.app;
        let connection = self.arrival.connection.as_ref();
        let caller = Caller {
            session: SessionId(Uuid::new_v4()),
            address: connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| {
                connection.remote.ip().to_canonical()
            }),
            token: auth.token.or_else(|| token_in_query(query)).or_else(|| self.arrival.token.clone()),
        };
        let voice = Voice::new(self.outbox.clone(), namespace);
        let desk = Desk::new(self.app.clone(), caller, voice.clone(), swarms.member());
        let swarm_is_free = swarm_access.is_free_for(connection).unwrap_or(false);
        let inside = self.app.tally.enter(Place::SocketIo);
        Ok(Member { voice, desk, swarm_is_free, has_asked: false, _inside: inside })
    }

    fn next_tick(&self) -> Instant {
        match self.desk {
            Some(_) => self.beat.next,
            None => self.beat.next.min(self.opened + self.app.limits.request_time),
        }
    }

    fn tick(&mut self, now: Instant) -> Result<(), End> {
        if self.desk.is_none() && now >= self.opened + self.app.limits.request_time {
            return Err(End::Silent);
        }
        if now < self.beat.next {
            return Ok(());
        }
        let stuck_at = self.transport.stuck_at();
        if stuck_at.is_some() && stuck_at == std::mem::replace(&mut self.beat.stuck_at, stuck_at) {
            return Err(End::TooSlow);
        }
        if self.beat.due.is_some_and(|due| now >= due) {
            if !self.beat.was_heard {
                return Err(End::Silent);
            }
            self.beat.due = None;
        }
        let (version, beat) = (self.arrival.version, &mut self.beat);
        let due = *beat.due.get_or_insert_with(|| {
            beat.was_heard = false;
            match version {
                Version::V4 => {
                    self.outbox.push(b"2".to_vec());
                    now + PONG_WITHIN
                }
                Version::V3 => now + PING_EVERY + PONG_WITHIN,
            }
        });
        // Whatever was sent before a ping comes before it: a slow network is not silent.
        beat.next = if stuck_at.is_some() { due.min(now + STALL_TIME) } else { due };
        Ok(())
    }

    async fn end(mut self, end: End) {
        tracing::trace!(?end, "a socket ended");
        if let Some(member) = &mut self.desk {
            member.desk.finish().await;
            if let End::Dismissed = end {
                member.voice.disconnect();
            }
        }
        let goodbye = match end {
            End::Gone | End::Silent | End::TooSlow => None,
            End::Left => Some((close::NORMAL, HANG_UP_TIME)),
            End::Dismissed => Some((close::POLICY, HANG_UP_TIME)),
            End::Violation(violation) => Some((violation.close_code(), GOODBYE_TIME)),
            End::Closing => Some((close::GOING_AWAY, GOODBYE_TIME)),
        };
        if let Some((code, time)) = goodbye {
            let _ = timeout(time, self.transport.close(&self.outbox, code)).await;
        }
        if let (Some(connection), Transport::WebSocket(_)) = (&self.arrival.connection, &self.transport) {
            connection.cut.cancel();
        }
    }
}

impl<B: Backend> Member<B> {
    fn queue(&mut self, text: Result<String, Failure>, ack: Option<u64>) {
        self.desk.queue(Asked { text, ack });
    }

    /// An answer that does not wait for its turn; who asks and does not read goes without.
    fn answer_at_once(&self, ack: Option<u64>, answer: Result<impl serde::Serialize, Failure>) {
        if self.voice.has_room() {
            self.voice.answer(ack, &answer);
        }
    }
}

/// What a client may say while connecting; unknown fields are its own business.
#[derive(Debug, Default, Deserialize)]
struct Auth {
    token: Option<String>,
}

/// A client that takes nothing for so long after it was found to be slow is cut off.
const STALL_TIME: Duration = Duration::from_secs(5);
/// No event has attachments.
const MAX_ATTACHMENTS: usize = 4;
/// So long a client that was told to go may take to hang up itself…
const HANG_UP_TIME: Duration = Duration::from_secs(2);
/// …and any other.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
