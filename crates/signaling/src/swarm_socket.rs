//! `GET /swarm`: introductions and relays as JSON messages with a `type`, over a plain WebSocket.

use crate::answer::Refused;
use crate::arrival::Arrival;
use crate::backend::{Backend, within};
use crate::channel::{Channel, End};
use crate::config::SwarmAccess;
use crate::connection::Connection;
use crate::line::{Line, TextLine};
use crate::parse;
use crate::server::App;
use crate::swarm::{SwarmMember, typed};
use crate::tally::Place;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use std::time::Instant;
use wire::swarm::{Announce, LeaveSwarm};
use wire::{Code, Failure};

pub(crate) async fn upgrade<B: Backend>(
    State(app): State<App<B>>,
    arrival: Arrival,
) -> Result<Response, Refused> {
    may_enter(&app, arrival.connection.as_ref(), arrival.token.clone()).await?;
    Ok(arrival.meet(app, Place::Swarm, async |app, mut channel, line| {
        let member = app.swarms.member();
        let end = serve(&mut channel, &member, line).await;
        member.leave(None);
        channel.close(&end).await;
    }))
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
