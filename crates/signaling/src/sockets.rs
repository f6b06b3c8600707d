//! Socket.IO on the root namespace: admits sockets and hands their messages, in order, to a session.

use crate::answer::{Reading, Refused};
use crate::backend::{Backend, Caller, SessionId};
use crate::connection::Connection;
use crate::events::SwarmEvent;
use crate::gate::{Gate, Verdict};
use crate::line::{Line, SocketIoLine};
use crate::server::App;
use crate::session::{Incoming, Outgoing, Session};
use crate::swarm::SwarmMember;
use crate::tally::{Inside, Place};
use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::{ConnectHandler, MessageHandler, Value};
use socketioxide::socket::Socket;
use socketioxide::{ParserConfig, SocketIo};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;
use uuid::Uuid;
use wire::live::Empty;
use wire::swarm::{Announce, LeaveSwarm};
use wire::{Code, Failure};

/// Opens the namespace. The router answers `/socket.io/`; the handle closes every socket.
pub(crate) fn open<B: Backend>(app: App<B>) -> (Router<App<B>>, SocketIo) {
    let limits = app.limits.clone();
    let ceiling = limits.message_bytes * TRANSPORT_SLACK;
    let reading = Reading { most: ceiling, time: limits.request_time };
    let parser = ParserConfig::common()
        .max_incoming_binaries(MAX_ATTACHMENTS)
        .max_incoming_binary_buf_size(limits.message_bytes)
        .packet_completion_timeout(limits.request_time);
    let (service, io) = SocketIo::builder()
        .req_path("/socket.io")
        .max_payload(ceiling as u64)
        .ws_read_buffer_size(READ_BUFFER)
        .ws_max_message_size(ceiling)
        .ws_max_frame_size(ceiling)
        .max_buffer_size(SEND_BUFFER)
        .ping_interval(PING_EVERY)
        .ping_timeout(PONG_WITHIN)
        .connect_timeout(limits.request_time)
        .with_parser(parser)
        .build_svc();

    let admit = move |socket: SocketRef, auth: TryData<Handshake>| {
        let admitted = admit(&app, &socket, auth);
        async move { admitted }
    };
    // Handlers are set before the client learns that it is connected: its first event must find them.
    io.ns("/", connected.with(admit.clone()));
    // Clients that take the address of the signaling server for a path say its namespace instead.
    io.ns("/signaling", connected.with(admit));

    let router = Router::new()
        .route_service("/socket.io", service.clone())
        .route_service("/socket.io/", service)
        .layer(from_fn(mark_handshake))
        .layer(from_fn_with_state(reading, whole_body));
    (router, io)
}

/// What a client may say while connecting; unknown fields are its own business.
#[derive(Debug, Default, Deserialize)]
struct Handshake {
    token: Option<String>,
}

/// One engine.io handshake opens the namespace once. A socket that was disconnected for flooding would
/// otherwise come back on the same connection with its allowance refilled.
#[derive(Clone, Debug)]
struct Once(Arc<AtomicBool>);

async fn mark_handshake(mut request: Request, next: Next) -> Response {
    forget_head(&mut request);
    request.extensions_mut().insert(Once(Arc::new(AtomicBool::new(false))));
    next.run(request).await
}

/// The socket keeps its first request as long as it lives. What it reads of it is copied: the rest of the head, and the
/// buffer in which it came, may go.
fn forget_head(request: &mut Request) {
    let headers = std::mem::take(request.headers_mut());
    for name in READ_FIELDS {
        let copy = headers.get(&name).and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok());
        request.headers_mut().extend(copy.map(|copy| (name, copy)));
    }
    if let Ok(copy) = request.uri().to_string().parse() {
        *request.uri_mut() = copy;
    }
}

/// Engine.io would wait for a polled body for ever; here it is whole or refused before that.
async fn whole_body(State(reading): State<Reading>, request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    match reading.read(body).await {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(failure) => Refused(failure).into_response(),
    }
}

fn admit<B: Backend>(app: &App<B>, socket: &SocketRef, auth: TryData<Handshake>) -> Result<(), Failure> {
    let App { limits, stop, .. } = app;
    if stop.is_cancelled() {
        return Err(Failure::new(Code::ServerClosing, "Greenroom is closing."));
    }
    let parts = socket.req_parts();
    let fresh = parts.extensions.get::<Once>().is_some_and(|once| !once.0.swap(true, Ordering::SeqCst));
    if !fresh {
        return Err(Failure::new(Code::RateLimited, "This connection was closed. Open a new one."));
    }
    let auth = auth.0.map_err(|_| {
        Failure::new(Code::InvalidRequest, "`auth` must be an object, and its `token` a text.")
    })?;
    let connection = parts.extensions.get::<Connection>();
    let caller = Caller {
        session: SessionId(Uuid::new_v4()),
        address: connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.remote.ip().to_canonical()),
        token: auth.token.or_else(|| token_in_query(&parts.uri)),
    };
    let ended = stop.child_token();
    let (inbox, requests) = mpsc::channel(limits.queued_requests);
    let member = app.swarms.member();
    let swarm_is_free = app.swarm_access.is_free_for(connection).unwrap_or(false);
    let door = Arc::new(Door {
        member: member.clone(),
        swarm_is_free,
        connection: connection.cloned(),
        gate: Arc::new(Mutex::new(Gate::new(limits, Instant::now()))),
        inbox,
        requests: Mutex::new(Some(requests)),
        connected: Arc::new(Notify::new()),
        ended: ended.clone(),
        caller,
        _inside: app.tally.enter(Place::SocketIo),
        app: app.clone(),
    });
    socket.extensions.insert(Connected(door.connected.clone()));
    socket.on_disconnect(move || {
        ended.cancel();
        member.leave(None);
        async {}
    });
    socket.on_fallback(Listening(door));
    Ok(())
}

#[derive(Clone)]
struct Connected(Arc<Notify>);

async fn connected(socket: SocketRef) {
    if let Some(connected) = socket.extensions.get::<Connected>() {
        connected.0.notify_one();
    }
}

/// The reading side of one socket. Everything here runs in the task that reads the connection, so the order
/// of messages is the client's; nothing here waits.
struct Door<B> {
    /// A lock, because the session counts refusals as well; held for one computation.
    gate: Arc<Mutex<Gate>>,
    /// *Request* kind: when full, the request is refused as `busy`.
    inbox: mpsc::Sender<Box<Incoming>>,
    /// Until the first message: then the session takes it.
    requests: Mutex<Option<mpsc::Receiver<Box<Incoming>>>>,
    connected: Arc<Notify>,
    ended: CancellationToken,
    connection: Option<Connection>,
    caller: Caller,
    member: SwarmMember,
    /// Introductions need no token here.
    swarm_is_free: bool,
    _inside: Inside,
    app: App<B>,
}

struct Listening<B>(Arc<Door<B>>);

/// Tells [`Listening`] from the handlers that are functions.
struct ByDoor;

impl<B: Backend> MessageHandler<LocalAdapter, ByDoor> for Listening<B> {
    fn call(&self, socket: Arc<Socket>, packet: Value, ack: Option<i64>) {
        self.0.handle_message(socket, packet, ack);
    }
}

impl<B: Backend> Door<B> {
    fn handle_message(&self, socket: Arc<Socket>, packet: Value, ack: Option<i64>) {
        if self.ended.is_cancelled() {
            return;
        }
        let cut = self.connection.as_ref().map(|connection| connection.cut.clone());
        let outgoing = Outgoing::new(socket, self.ended.clone(), cut);
        let verdict = self
            .gate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .handle_message(Instant::now(), bytes(&packet));
        if let Verdict::Refuse(failure) | Verdict::End(failure) = &verdict {
            self.app.tally.refuse(failure.code);
        }
        match verdict {
            Verdict::Pass => self.on_packet(packet, ack, outgoing),
            Verdict::Refuse(failure) => outgoing.try_refuse(ack, &failure),
            Verdict::End(failure) => {
                outgoing.try_refuse(None, &failure);
                self.ended.cancel();
                self.app.tasks.spawn(async move { outgoing.close().await });
            }
        }
    }

    /// What goes to other members of a swarm goes at once; everything else waits for its turn with the session.
    fn on_packet(&self, packet: Value, ack: Option<i64>, outgoing: Outgoing) {
        let Value::Str(text, None) = &packet else {
            let failure = Failure::new(Code::InvalidRequest, "No event has binary attachments.");
            return self.queue(Err(failure), ack, outgoing);
        };
        match SwarmEvent::read(text.as_str()) {
            Some(SwarmEvent::Relay { kind, payload }) => {
                let _handling = self.app.tally.handle(text.as_str());
                let answer = self.member.relay(kind, payload);
                outgoing.try_answer(ack, answer.map(|()| Empty {}));
            }
            Some(SwarmEvent::Announce(asked)) if self.swarm_is_free => {
                let _handling = self.app.tally.handle(text.as_str());
                let list =
                    asked.and_then(|Announce { hash }| self.member.announce(|| self.line(&outgoing), hash));
                if let Ok(list) = &list {
                    outgoing.try_emit("peer-list", list);
                }
                outgoing.try_answer(ack, list);
            }
            Some(SwarmEvent::Leave(asked)) => {
                let _handling = self.app.tally.handle(text.as_str());
                let left = asked.map(|LeaveSwarm { hash }| self.member.leave(hash.as_ref()));
                outgoing.try_answer(ack, left.map(|()| Empty {}));
            }
            _ => self.queue(Ok(text.as_str().to_owned()), ack, outgoing),
        }
    }

    fn line(&self, outgoing: &Outgoing) -> Line {
        Line::SocketIo(Arc::new(SocketIoLine::new(outgoing.socket().clone(), self.connection.clone())))
    }

    fn queue(&self, text: Result<String, Failure>, ack: Option<i64>, outgoing: Outgoing) {
        self.start_session(&outgoing);
        if self.inbox.try_send(Box::new(Incoming { text, ack })).is_err() {
            self.app.tally.refuse(Code::Busy);
            outgoing.try_refuse(ack, &Failure::new(Code::Busy, "Too many requests are waiting. Try again."));
        }
    }

    /// The session holds the socket, which holds this door: it begins with the first message, when
    /// `on_disconnect` is sure to be called.
    fn start_session(&self, outgoing: &Outgoing) {
        let Some(requests) = self.requests.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let session = Session::new(
            self.app.clone(),
            self.caller.clone(),
            outgoing.clone(),
            self.gate.clone(),
            (self.member.clone(), self.line(outgoing)),
        );
        let span = tracing::debug_span!("socket", session = %self.caller.session.0);
        self.app.tasks.spawn(session.run(requests, self.connected.clone()).instrument(span));
    }
}

fn bytes(packet: &Value) -> usize {
    match packet {
        Value::Str(text, attached) => {
            text.len() + attached.iter().flatten().map(|bytes| bytes.len()).sum::<usize>()
        }
        Value::Bytes(bytes) => bytes.len(),
    }
}

fn token_in_query(uri: &Uri) -> Option<String> {
    let Query(handshake) = Query::<Handshake>::try_from_uri(uri).ok()?;
    handshake.token
}

/// A message somewhat too large is answered; one larger than this many times the limit ends the connection
/// before it is read.
const TRANSPORT_SLACK: usize = 4;
/// No event has attachments; a few are read so that they can be refused in words.
const MAX_ATTACHMENTS: usize = 4;
/// The header fields that engine.io reads.
const READ_FIELDS: [HeaderName; 2] = [header::SEC_WEBSOCKET_KEY, header::CONTENT_TYPE];
/// Most messages are shorter; a longer one makes it grow.
const READ_BUFFER: usize = 1024;
/// Packets that wait for a slow client's network; when full, its notices wait in its outbox, which is bounded.
const SEND_BUFFER: usize = 512;
/// A guest whose network is gone is noticed, and its page begins to reconnect, within 25 seconds (the default is
/// 45); a phone that changes cells is silent for less than the second.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(15);
