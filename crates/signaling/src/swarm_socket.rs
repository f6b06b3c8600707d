//! `GET /swarm`: introductions and relays as JSON messages with a `type`, over a plain WebSocket.

use crate::answer::Refused;
use crate::backend::Backend;
use crate::backend::within;
use crate::channel::{Channel, End};
use crate::config::SwarmAccess;
use crate::connection::Connection;
use crate::gate::Gate;
use crate::line::{Line, TextLine};
use crate::parse::{self, invalid};
use crate::rest::bearer;
use crate::server::App;
use crate::swarm::{SwarmMember, typed};
use crate::tally::Place;
use axum::Extension;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::time::Instant;
use wire::swarm::{Announce, LeaveSwarm};
use wire::{Code, Failure};

pub(crate) async fn upgrade<B: Backend>(
    State(app): State<App<B>>,
    connection: Option<Extension<Connection>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else {
        return Refused(invalid("This address speaks WebSocket only.")).into_response();
    };
    let connection = connection.map(|Extension(connection)| connection);
    let token = bearer(&headers).map(str::to_owned).or_else(|| token_in_query(&uri));
    if let Err(failure) = may_enter(&app, connection.as_ref(), token).await {
        return Refused(failure).into_response();
    }
    let ceiling = app.limits.message_bytes * 4;
    upgrade.read_buffer_size(READ_BUFFER).max_message_size(ceiling).max_frame_size(ceiling).on_upgrade(
        async move |socket| {
            let _alive = (app.tasks.token(), app.tally.enter(Place::Swarm));
            let ended = app.stop.child_token();
            let (line, texts) = TextLine::new(ended.clone());
            let gate = Gate::new(&app.limits, Instant::now());
            let mut channel = Channel::new(socket, gate, texts, ended, connection);
            let member = app.swarms.member();
            let end = serve(&mut channel, &member, line).await;
            member.leave(None);
            channel.close(&end).await;
        },
    )
}

/// Whether a caller may be introduced to others: decided by where it comes from, or by what it brings.
pub(crate) async fn may_enter<B: Backend>(
    app: &App<B>,
    connection: Option<&Connection>,
    token: Option<String>,
) -> Result<(), Failure> {
    if app.swarm_access.is_free_for(connection)? {
        return Ok(());
    }
    knock(app, connection)?;
    within(app.limits.answer_time, app.backend.grant(token, None)).await.map(drop)
}

/// Counts an attempt to come in.
pub(crate) fn knock<B: Backend>(app: &App<B>, connection: Option<&Connection>) -> Result<(), Failure> {
    let Some(connection) = connection else { return Ok(()) };
    app.porter.check(Instant::now(), connection.remote.ip().to_canonical())
}

impl SwarmAccess {
    /// `false`: a token decides.
    pub(crate) fn is_free_for(self, connection: Option<&Connection>) -> Result<bool, Failure> {
        match self {
            SwarmAccess::Open => Ok(true),
            SwarmAccess::Local => Ok(connection.is_some_and(|c| c.remote.ip().to_canonical().is_loopback())),
            SwarmAccess::Off => Err(Failure::new(Code::Forbidden, "This Greenroom makes no introductions.")),
        }
    }
}

async fn serve(channel: &mut Channel, member: &SwarmMember, line: TextLine) -> End {
    loop {
        let answer = match channel.next().await {
            Ok(Ok(text)) => handle(channel, member, &line, &text),
            Ok(Err(failure)) => Err(failure),
            Err(end) => return end,
        };
        let reply = match answer {
            Ok(None) => continue,
            Ok(Some(reply)) => reply,
            Err(failure) => typed("error", true, &failure),
        };
        if let Err(end) = channel.send_text(reply).await {
            return end;
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Kind {
    #[serde(rename = "type")]
    kind: String,
}

/// One message; the reply, if there is one.
fn handle(
    channel: &mut Channel,
    member: &SwarmMember,
    line: &TextLine,
    text: &str,
) -> Result<Option<String>, Failure> {
    let Kind { kind } = parse::object(text)?;
    match kind.as_str() {
        "announce" => {
            let Announce { hash } = parse::object(text)?;
            let list = member.announce(|| Line::WebSocket(line.clone()), hash)?;
            Ok(Some(typed("peer-list", true, &list)))
        }
        "offer" | "answer" | "ice-candidate" => {
            let afford = |copies| channel.gate.afford(Instant::now(), copies, text.len());
            member.relay_or_broadcast(&kind, text, afford).map(|()| None)
        }
        "leave" => {
            let LeaveSwarm { hash } = parse::object(text)?;
            member.leave(hash.as_ref());
            Ok(None)
        }
        "ping" => Ok(Some(r#"{"type":"pong"}"#.into())),
        unknown => {
            let name: String = unknown.chars().filter(|c| !c.is_control()).take(64).collect();
            Err(Failure::new(Code::UnknownEvent, format!("There is no message `{name}`.")))
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
}

pub(crate) fn token_in_query(uri: &Uri) -> Option<String> {
    Query::<Asked>::try_from_uri(uri).ok().and_then(|Query(asked)| asked.token)
}

/// Most messages are shorter; a longer one makes it grow.
pub(crate) const READ_BUFFER: usize = 1024;
