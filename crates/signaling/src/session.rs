//! One socket's session: its requests in order, its notices, its end.

use crate::backend::{Backend, Caller, OUTBOX_CAPACITY};
use crate::config::SwarmAccess;
use crate::events::{self, Request};
use crate::gate::{Gate, Verdict};
use crate::line::Line;
use crate::server::App;
use crate::swarm::SwarmMember;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::extract::{AckSender, SocketRef};
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide::{SendError, SocketError};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use wire::sfu::{JoinRoom, Notice, PeerRequest};
use wire::swarm::Announce;
use wire::{Code, Failure};

/// A message as it was read, and where its answer goes.
pub(crate) struct Incoming {
    pub text: Result<String, Failure>,
    pub ack: Option<i64>,
}

/// Works through one socket's requests. Ends when the socket has ended, and tells the engine.
pub(crate) struct Session<B> {
    app: App<B>,
    caller: Caller,
    outgoing: Outgoing,
    gate: Arc<Mutex<Gate>>,
    /// Its place in the swarms, and the way to it.
    swarm: (SwarmMember, Line),
    membership: Membership,
}

/// Whether the engine knows this session.
enum Membership {
    Stranger,
    /// `leaving`: the end of the outbox is the client's own wish and no reason to disconnect it.
    Joined {
        leaving: Arc<AtomicBool>,
    },
}

impl<B: Backend> Session<B> {
    pub(crate) fn new(
        app: App<B>,
        caller: Caller,
        outgoing: Outgoing,
        gate: Arc<Mutex<Gate>>,
        swarm: (SwarmMember, Line),
    ) -> Self {
        Self { app, caller, outgoing, gate, swarm, membership: Membership::Stranger }
    }

    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Box<Incoming>>, connected: Arc<Notify>) {
        let ended = self.outgoing.ended.clone();
        tokio::select! {
            () = connected.notified() => {}
            () = ended.cancelled() => {}
        }
        loop {
            tokio::select! {
                biased;
                () = ended.cancelled() => break,
                incoming = requests.recv() => match incoming {
                    // Boxed: a session waits for nearly all of its life, and is to be small while it does.
                    Some(incoming) => Box::pin(self.handle(*incoming)).await,
                    None => break,
                },
            }
        }
        // What was sent before the end still counts: a page says `leave-room` and is gone.
        requests.close();
        while let Ok(incoming) = requests.try_recv() {
            Box::pin(self.handle(*incoming)).await;
        }
        if matches!(self.membership, Membership::Joined { .. }) {
            self.app.backend.disconnected(self.caller.session).await;
        }
    }

    async fn handle(&mut self, incoming: Incoming) {
        let ack = incoming.ack;
        let _handling = self.app.tally.handle(incoming.text.as_deref().unwrap_or_default());
        match incoming.text.and_then(|text| events::parse(&text)) {
            Ok(Request::Join(request)) => self.join(request, ack).await,
            Ok(Request::Announce(asked)) => self.announce(asked, ack).await,
            Ok(Request::Peer(request)) => self.request(request, ack).await,
            Err(failure) => self.refuse(failure, ack).await,
        }
    }

    async fn join(&mut self, request: JoinRoom, ack: Option<i64>) {
        if self.outgoing.ended.is_cancelled() {
            return;
        }
        if let Err(failure) = self.app.porter.check(Instant::now(), self.caller.address) {
            return self.outgoing.fail(ack, &failure).await;
        }
        let (outbox, notices) = mpsc::channel(OUTBOX_CAPACITY);
        let answer =
            within(self.app.limits.answer_time, self.app.backend.join(self.caller.clone(), request, outbox))
                .await;
        let joined = match answer {
            Ok(joined) => joined,
            Err(failure) => return self.outgoing.fail(ack, &failure).await,
        };
        self.outgoing.answer(ack, &spaced(&joined)).await;
        // The socket's writer sends the answer before it takes the next message. Its buffer is as large as what it ever
        // took at once, and this is the largest there is: everybody in the room, twice.
        tokio::task::yield_now().await;
        self.outgoing.emit("room-joined", &joined).await;
        let leaving = Arc::new(AtomicBool::new(false));
        self.app.tasks.spawn(forward(notices, self.outgoing.clone(), leaving.clone()));
        self.membership = Membership::Joined { leaving };
    }

    /// From where introductions need a token.
    async fn announce(&mut self, asked: Announce, ack: Option<i64>) {
        let allowed = match self.app.swarm_access {
            SwarmAccess::Off => self.app.swarm_access.is_free_for(None).map(drop),
            SwarmAccess::Local | SwarmAccess::Open => {
                if let Err(failure) = self.app.porter.check(Instant::now(), self.caller.address) {
                    return self.outgoing.fail(ack, &failure).await;
                }
                let grant = self.app.backend.grant(self.caller.token.clone(), None);
                within(self.app.limits.answer_time, grant).await.map(drop)
            }
        };
        let (member, line) = &self.swarm;
        let list = allowed.and_then(|()| member.announce(|| line.clone(), asked.hash));
        if self.outgoing.ended.is_cancelled() {
            return member.leave(None);
        }
        if let Ok(list) = &list {
            self.outgoing.emit("peer-list", list).await;
        }
        self.outgoing.answer(ack, &list).await;
    }

    async fn request(&mut self, request: PeerRequest, ack: Option<i64>) {
        let leaving = match (&request, &self.membership) {
            (PeerRequest::LeaveRoom, Membership::Joined { leaving }) => Some(leaving.clone()),
            _ => None,
        };
        if let Some(leaving) = &leaving {
            leaving.store(true, Ordering::SeqCst);
        }
        let reply =
            within(self.app.limits.answer_time, self.app.backend.request(self.caller.session, request)).await;
        if let (Some(leaving), Err(_)) = (&leaving, &reply) {
            leaving.store(false, Ordering::SeqCst);
        }
        self.outgoing.answer(ack, &reply).await;
    }

    async fn refuse(&mut self, failure: Failure, ack: Option<i64>) {
        let verdict = match failure.code {
            Code::UnknownEvent => {
                self.gate.lock().unwrap_or_else(PoisonError::into_inner).refuse(Instant::now(), failure)
            }
            _ => Verdict::Refuse(failure),
        };
        match verdict {
            Verdict::End(failure) => {
                self.outgoing.fail(None, &failure).await;
                self.outgoing.close().await;
            }
            Verdict::Refuse(failure) => self.outgoing.fail(ack, &failure).await,
            Verdict::Pass => {}
        }
    }
}

/// Sends a peer's notices until the engine or the client ends it.
async fn forward(mut notices: mpsc::Receiver<Box<Notice>>, outgoing: Outgoing, leaving: Arc<AtomicBool>) {
    loop {
        tokio::select! {
            biased;
            () = outgoing.ended.cancelled() => {
                // When it is the server that ends, the last notices say so.
                while let Ok(notice) = notices.try_recv() {
                    outgoing.notify(*notice).await;
                }
                return;
            }
            notice = notices.recv() => match notice {
                Some(notice) => outgoing.notify(*notice).await,
                None => break,
            },
        }
    }
    if !leaving.load(Ordering::SeqCst) {
        outgoing.close().await;
    }
}

/// The sending side of one socket.
#[derive(Clone)]
pub(crate) struct Outgoing {
    socket: Arc<Socket>,
    ended: CancellationToken,
    /// Cuts the TCP connection by which the client first came.
    cut: Option<CancellationToken>,
}

impl Outgoing {
    pub(crate) fn new(socket: Arc<Socket>, ended: CancellationToken, cut: Option<CancellationToken>) -> Self {
        Self { socket, ended, cut }
    }

    /// Answers by the client's callback; without one, a failure is emitted as `error`.
    async fn answer(&self, ack: Option<i64>, answer: &Result<impl Serialize, Failure>) {
        match answer {
            Ok(payload) if ack.is_some() => self.push(|| self.try_ack(ack, payload)).await,
            Ok(_) => {}
            Err(failure) => self.fail(ack, failure).await,
        }
    }

    async fn fail(&self, ack: Option<i64>, failure: &Failure) {
        match ack {
            Some(_) => self.push(|| self.try_ack(ack, failure)).await,
            None => self.push(|| self.socket.emit("error", failure)).await,
        }
    }

    async fn notify(&self, notice: Notice) {
        let (event, payload) = notice.into_event();
        self.emit(&event, &payload).await;
    }

    async fn emit(&self, event: &str, payload: &impl Serialize) {
        self.push(|| self.socket.emit(event, payload)).await;
    }

    pub(crate) fn socket(&self) -> &Arc<Socket> {
        &self.socket
    }

    /// Emits without waiting, for what is answered where messages are read.
    pub(crate) fn try_emit(&self, event: &str, payload: &impl Serialize) {
        let _ = self.socket.emit(event, payload);
    }

    pub(crate) fn try_answer(&self, ack: Option<i64>, answer: Result<impl Serialize, Failure>) {
        match answer {
            Ok(payload) if ack.is_some() => drop(self.try_ack(ack, &payload)),
            Ok(_) => {}
            Err(failure) => self.try_refuse(ack, &failure),
        }
    }

    /// Refuses without waiting: who floods and does not read goes without an answer.
    pub(crate) fn try_refuse(&self, ack: Option<i64>, failure: &Failure) {
        let _ = match ack {
            Some(_) => self.try_ack(ack, failure),
            None => self.socket.emit("error", failure),
        };
    }

    /// Disconnects after what was sent before; a client that does not hang up itself is cut off.
    pub(crate) async fn close(&self) {
        self.push(|| match self.socket.connected() {
            true => SocketRef::from(self.socket.clone()).disconnect().map_err(SendError::Socket),
            false => Ok(()),
        })
        .await;
        self.ended.cancel();
        if let Some(cut) = &self.cut {
            tokio::time::sleep(HANG_UP_TIME).await;
            cut.cancel();
        }
    }

    fn try_ack(&self, ack: Option<i64>, payload: &(impl Serialize + ?Sized)) -> Result<(), SendError> {
        let Ok(sender) = AckSender::from_message_parts(
            &self.socket,
            &mut socketioxide::handler::Value::Str(Default::default(), None),
            &ack,
        );
        sender.send(payload)
    }

    /// Waits while the client's buffer is full; who reads nothing for [`STALL_TIME`] is cut off.
    async fn push(&self, attempt: impl Fn() -> Result<(), SendError>) {
        let mut waited = Duration::ZERO;
        loop {
            match attempt() {
                Err(SendError::Socket(SocketError::InternalChannelFull)) if !self.ended.is_cancelled() => {}
                Err(SendError::Serialize(error)) => return tracing::error!(%error, "cannot encode an answer"),
                _ => return,
            }
            if waited >= STALL_TIME {
                tracing::debug!("a client reads nothing: cutting it off");
                self.ended.cancel();
                if let Some(cut) = &self.cut {
                    cut.cancel();
                }
                return;
            }
            tokio::time::sleep(RETRY).await;
            waited += RETRY;
        }
    }
}

/// The engine's answer, or a refusal when it takes too long.
pub(crate) async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(time, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::new(Code::Busy, "The engine did not answer in time. Try again.")),
    }
}

/// The same JSON with some spaces more: as many as an event is longer than an answer. The socket's buffer keeps the size of
/// the first, and would double for a second that is a few octets longer.
fn spaced(payload: &impl Serialize) -> Result<Box<RawValue>, Failure> {
    let spaced = serde_json::to_string(payload).map(|json| json.replacen('{', SPACED, 1));
    spaced.and_then(RawValue::from_string).map_err(|error| {
        tracing::error!(%error, "cannot encode an answer");
        Failure::new(Code::Internal, "The answer could not be written.")
    })
}

/// `42["room-joined",` instead of `430[`.
const SPACED: &str = "{               ";
/// A phone that changes networks is silent for a few seconds and comes back; the heartbeat takes 45.
const STALL_TIME: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(20);
const HANG_UP_TIME: Duration = Duration::from_secs(2);
