//! Socket.IO over Engine.IO, for clients since Socket.IO 1.0: the handshake, polling, the WebSocket, and the way from the
//! one to the other. One task serves one client; an idle one holds no buffer.

mod conversation;
mod desk;
mod engine;
mod packet;
mod polls;
mod transport;
mod voice;

pub(crate) use polls::Polls;
pub(crate) use voice::Voice;

use crate::answer::Reading;
use crate::backend::Backend;
use crate::connection::Connection;
use crate::outbox::Outbox;
use crate::server::App;
use crate::web_socket::{Handshake, Message, Stream, Upgrade};
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use conversation::{Arrival, Conversation};
use engine::{Version, open_packet};
use polls::Entry;
use serde::Deserialize;
use serde_json::json;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use transport::{Poke, Polling, Transport};
use uuid::Uuid;

pub(crate) fn routes<B: Backend>() -> Router<App<B>> {
    Router::new().route("/socket.io", any(handle::<B>)).route("/socket.io/", any(handle::<B>))
}

/// What a client asks for in its address.
#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "EIO")]
    version: Option<String>,
    transport: Option<String>,
    sid: Option<String>,
    token: Option<String>,
}

async fn handle<B: Backend>(State(app): State<App<B>>, request: Request<Body>) -> Response {
    serve(app, request).await.unwrap_or_else(Refusal::into_response)
}

async fn serve<B: Backend>(app: App<B>, request: Request<Body>) -> Result<Response, Refusal> {
    let Query(asked) = Query::<Asked>::try_from_uri(request.uri()).map_err(|_| Refusal::BadRequest)?;
    let version = match asked.version.as_deref() {
        Some("4") => Version::V4,
        Some("3") => Version::V3,
        _ => return Err(Refusal::UnsupportedVersion),
    };
    let is_polling = match asked.transport.as_deref() {
        Some("polling") => true,
        Some("websocket") => false,
        _ => return Err(Refusal::UnknownTransport),
    };
    if let Some(id) = asked.sid {
        let session = app.polls.find(&id).ok_or(Refusal::UnknownSession)?;
        return match (is_polling, request.method()) {
            (true, &Method::GET) => poll(session).await,
            (true, &Method::POST) => post(app, session, request).await,
            (false, &Method::GET) => upgrade(app, session, request),
            _ => Err(Refusal::BadRequest),
        };
    }
    if request.method() != Method::GET {
        return Err(Refusal::BadMethod);
    }
    let connection = request.extensions().get::<Connection>().cloned();
    let arrival = Arrival { version, connection, token: asked.token };
    if is_polling { open_polling(app, arrival).await } else { open_web_socket(app, arrival, request) }
}

fn open_web_socket<B: Backend>(
    app: App<B>,
    arrival: Arrival,
    request: Request<Body>,
) -> Result<Response, Refusal> {
    let (response, upgrade) = hands_shaken(request)?;
    let app = Arc::new(app);
    app.tasks.clone().spawn(async move {
        let Some(socket) = upgrade.finish(&app.limits).await else { return };
        let outbox = Arc::new(Outbox::default());
        let id = Uuid::new_v4().simple().to_string();
        outbox.push(
            open_packet(arrival.version, &id, false, HEARTBEAT, app.limits.transport_bytes()).into_bytes(),
        );
        let conversation = Conversation::new(app, arrival, Transport::WebSocket(socket), outbox);
        // Boxed: what opening it took is given back.
        Box::pin(conversation.run()).await;
    });
    Ok(response)
}

fn hands_shaken(request: Request<Body>) -> Result<(Response, Upgrade), Refusal> {
    let handshake = Handshake::read(&mut request.into_parts().0).ok_or(Refusal::BadRequest)?;
    Ok(handshake.answer())
}

async fn open_polling<B: Backend>(app: App<B>, arrival: Arrival) -> Result<Response, Refusal> {
    let version = arrival.version;
    let (pokes, poked) = mpsc::channel(POKES);
    let seat =
        app.polls.enter(&app.limits, arrival.connection.as_ref(), Entry { version, pokes: pokes.clone() });
    let seat = seat.ok_or(Refusal::TooMany)?;
    let outbox = Arc::new(Outbox::default());
    outbox.push(open_packet(version, seat.id(), true, HEARTBEAT, app.limits.transport_bytes()).into_bytes());
    let transport = Transport::Polling(Polling::new(version, poked));
    let app = Arc::new(app);
    app.tasks.clone().spawn(async move {
        let _seat = seat;
        Box::pin(Conversation::new(app, arrival, transport, outbox).run()).await;
    });
    poll(Entry { version, pokes }).await
}

async fn poll(session: Entry) -> Result<Response, Refusal> {
    let (reply, answer) = oneshot::channel();
    session.pokes.send(Poke::Get(reply)).await.map_err(|_| Refusal::UnknownSession)?;
    let payload = answer.await.map_err(|_| Refusal::BadRequest)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], payload).into_response())
}

async fn post<B: Backend>(app: App<B>, session: Entry, request: Request<Body>) -> Result<Response, Refusal> {
    let reading = Reading { most: app.limits.transport_bytes(), time: app.limits.request_time };
    let body = match reading.read(request.into_body()).await {
        Ok(body) => body,
        Err(failure) => return Ok(crate::answer::Refused(failure).into_response()),
    };
    let body = std::str::from_utf8(&body).map_err(|_| Refusal::BadRequest)?;
    let packets = engine::read_payload(session.version, body).ok_or(Refusal::BadRequest)?;
    let (taken, done) = oneshot::channel();
    session.pokes.send(Poke::Post(packets, taken)).await.map_err(|_| Refusal::UnknownSession)?;
    done.await.map_err(|_| Refusal::BadRequest)?;
    Ok(([(header::CONTENT_TYPE, "text/html")], "ok").into_response())
}

/// Tries a WebSocket for a client that polls ("Upgrade" of the protocol). It goes on polling until that has worked.
fn upgrade<B: Backend>(app: App<B>, session: Entry, request: Request<Body>) -> Result<Response, Refusal> {
    let (response, upgrade) = hands_shaken(request)?;
    app.tasks.clone().spawn(async move {
        let probed = async {
            let mut socket = upgrade.finish(&app.limits).await?;
            // What is sent while it is tried; the session keeps its own.
            let outbox = Outbox::default();
            expect(&mut socket, &outbox, "2probe").await?;
            outbox.push(b"3probe".to_vec());
            session.pokes.send(Poke::Probing(true)).await.ok()?;
            expect(&mut socket, &outbox, "5").await?;
            Some(socket)
        };
        let next = match timeout(app.limits.request_time, probed).await {
            Ok(Some(socket)) => Poke::Upgrade(socket),
            Ok(None) | Err(_) => Poke::Probing(false),
        };
        let _ = session.pokes.send(next).await;
    });
    Ok(response)
}

async fn expect(socket: &mut Stream, outbox: &Outbox, packet: &str) -> Option<()> {
    match poll_fn(|cx| socket.poll_next(cx, outbox)).await {
        Ok(Message::Text(text)) if text == packet => Some(()),
        _ => None,
    }
}

/// Why a request is refused, as clients know it (engine.io's error codes).
enum Refusal {
    UnknownTransport,
    UnknownSession,
    BadMethod,
    BadRequest,
    UnsupportedVersion,
    TooMany,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Refusal::UnknownTransport => (StatusCode::BAD_REQUEST, 0, "Transport unknown"),
            Refusal::UnknownSession => (StatusCode::BAD_REQUEST, 1, "Session ID unknown"),
            Refusal::BadMethod => (StatusCode::BAD_REQUEST, 2, "Bad handshake method"),
            Refusal::BadRequest => (StatusCode::BAD_REQUEST, 3, "Bad request"),
            Refusal::UnsupportedVersion => (StatusCode::BAD_REQUEST, 5, "Unsupported protocol version"),
            Refusal::TooMany => (StatusCode::SERVICE_UNAVAILABLE, 4, "Too many connections. Try again."),
        };
        (status, Json(json!({ "code": code, "message": message }))).into_response()
    }
}

/// For fuzzing: a packet or a payload, in either version.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(text: &str) {
    use std::hint::black_box;
    if let Some(engine::Packet::Message(message)) = engine::Packet::read(text) {
        let _ = black_box(packet::Packet::read(message));
    }
    let _ = black_box(packet::Packet::read(text));
    for version in [Version::V3, Version::V4] {
        let Some(packets) = engine::read_payload(version, text) else { continue };
        let texts = packets.iter().filter_map(|packet| match packet {
            engine::Polled::Text(text) if !text.is_empty() => Some(text.as_str()),
            _ => None,
        });
        let (mut again, mut count) = (Vec::new(), 0);
        for text in texts {
            engine::append(version, text.as_bytes(), &mut again);
            count += 1;
        }
        // What was read is written so that it is read the same.
        let again = std::str::from_utf8(&again).expect("texts make a text");
        let read = engine::read_payload(version, again).map_or(0, |packets| packets.len());
        assert!(read == count || again.is_empty(), "{read} of {count}");
    }
}

/// Requests of one polling client that wait for its session.
const POKES: usize = 4;
/// A guest whose network is gone is noticed, and its page begins to reconnect, within 25 seconds (the default is
/// 45); a phone that changes cells is silent for less than the second.
const PING_EVERY: Duration = Duration::from_secs(10);
const PONG_WITHIN: Duration = Duration::from_secs(15);
const HEARTBEAT: [Duration; 2] = [PING_EVERY, PONG_WITHIN];
