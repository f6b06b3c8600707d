//! `GET /signaling`: live rooms over a plain WebSocket, `{ type, roomId, userId, payload }` in both directions.

use crate::answer::Refused;
use crate::arrival::Arrival;
use crate::backend::{Backend, within};
use crate::channel::{Channel, End};
use crate::line::TextLine;
use crate::live::{Asks, LiveHub, to_json};
use crate::parse::{self, invalid};
use crate::relay::check_depth;
use crate::server::App;
use crate::swarm_socket::knock;
use crate::tally::Place;
use axum::extract::State;
use axum::response::Response;
use rooms::SessionId;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::{Duration, Instant};
use uuid::Uuid;
use wire::live::{Empty, LiveAddress, LiveJoin, LiveKind, LiveNotice, UserId};
use wire::{Code, Failure, RoomId};

pub(crate) async fn upgrade<B: Backend>(
    State(app): State<App<B>>,
    arrival: Arrival,
) -> Result<Response, Refused> {
    knock(&app, arrival.connection.as_ref())?;
    let token = arrival.token.clone();
    if token.is_some() {
        within(app.limits.answer_time, app.backend.grant(token.clone(), None)).await?;
    }
    Ok(arrival.meet(app, Place::Live, async |app, channel, line| {
        let mut caller = Connected { app, channel, line, session: SessionId(Uuid::new_v4()), token };
        let end = caller.serve().await;
        caller.end(end).await;
    }))
}

/// One connection.
struct Connected<B> {
    app: App<B>,
    channel: Channel,
    line: TextLine,
    session: SessionId,
    /// What it brought when it connected; the first message may bring its own.
    token: Option<String>,
}

/// A client's message. What else it holds is its own business.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Said {
    #[serde(rename = "type")]
    kind: LiveKind,
    room_id: Option<RoomId>,
    user_id: Option<UserId>,
    payload: Option<Box<RawValue>>,
    token: Option<String>,
}

impl<B: Backend> Connected<B> {
    async fn serve(&mut self) -> End {
        let mut first = match tokio::time::timeout(self.app.limits.hello_time, self.channel.next()).await {
            Ok(said) => Some(said),
            Err(_) => {
                return End::Refused(Failure::new(Code::Unauthorized, "Nothing came. Say `join` first."));
            }
        };
        loop {
            let said = match first.take() {
                Some(said) => said,
                None => self.channel.next().await,
            };
            let answer = match said {
                Ok(Ok(text)) => self.handle(&text).await,
                Ok(Err(failure)) => Err(failure),
                Err(end) => return end,
            };
            let Err(failure) = answer else { continue };
            // Who may not come in is not kept waiting at the door.
            let is_out = self.app.live.seat(self.session).is_none();
            let ends = is_out
                && matches!(failure.code, Code::Unauthorized | Code::InviteRequired | Code::InviteInvalid);
            if let Err(end) =
                self.channel.send_text(to_json(&LiveNotice::Error { payload: failure.clone() })).await
            {
                return end;
            }
            if ends {
                return End::Refused(Failure::new(Code::Unauthorized, failure.error));
            }
        }
    }

    async fn handle(&mut self, text: &str) -> Result<(), Failure> {
        check_depth(text)?;
        let said: Said = parse::object(text)?;
        match said.kind {
            LiveKind::Join => self.join(said).await,
            LiveKind::Ping => {
                self.line.try_send(to_json(&LiveNotice::Pong { payload: Empty {} }));
                Ok(())
            }
            LiveKind::Leave => {
                self.check_seat(&said)?;
                self.app.live.leave(self.session, "left");
                Ok(())
            }
            kind @ (LiveKind::Offer | LiveKind::Answer | LiveKind::Candidate) => {
                self.check_seat(&said)?;
                let payload =
                    said.payload.ok_or_else(|| invalid("Say `payload`: what is to be passed on."))?;
                let LiveAddress { to } = match payload.get().trim_start().starts_with('{') {
                    true => parse::object(payload.get())?,
                    false => LiveAddress::default(),
                };
                let afford = |copies| self.channel.gate.afford(Instant::now(), copies, text.len());
                self.app.live.relay(self.session, kind, to.as_ref(), &payload, afford)
            }
        }
    }

    async fn join(&mut self, said: Said) -> Result<(), Failure> {
        if self.app.live.seat(self.session).is_some() {
            return Err(rooms::Refusal::AlreadyJoined.into());
        }
        let room = said.room_id.ok_or_else(|| invalid("Say `roomId`: which room it is about."))?;
        let user = said.user_id.ok_or_else(|| invalid("Say `userId`: who you are in the room."))?;
        let asked: LiveJoin = match &said.payload {
            Some(payload) if payload.get() != "null" => parse::object(payload.get())?,
            _ => LiveJoin::default(),
        };
        let token = said.token.or(asked.token).or_else(|| self.token.clone());
        let ask = self.app.backend.grant(token.clone(), Some(room.clone()));
        let grant = within(self.app.limits.answer_time, ask).await?;
        let asks = Asks { room, user, publish: asked.publish, token };
        self.app.live.set_full(self.app.backend.is_full());
        self.app.live.join(self.session, &self.line, &grant, asks)
    }

    /// A client that names a room or a user names its own.
    fn check_seat(&self, said: &Said) -> Result<(), Failure> {
        let (room, user) = self
            .app
            .live
            .seat(self.session)
            .ok_or_else(|| Failure::new(Code::NotJoined, "Join a room first."))?;
        if said.room_id.as_ref().is_some_and(|said| *said != room) {
            return Err(Failure::new(Code::Forbidden, "`roomId` is not the room you are in."));
        }
        if said.user_id.as_ref().is_some_and(|said| *said != user) {
            return Err(Failure::new(Code::Forbidden, "`userId` is not yours."));
        }
        Ok(())
    }

    async fn end(self, end: End) {
        let live = self.app.live.clone();
        if live.seat(self.session).is_some() {
            live.disconnected(self.session);
            let stop = self.app.stop.clone();
            let grace = self.app.limits.live.grace + Duration::from_millis(1);
            self.app.tasks.spawn(async move {
                tokio::select! {
                    () = tokio::time::sleep(grace) => live.expire(),
                    () = stop.cancelled() => {}
                }
            });
        }
        self.channel.close(&end).await;
    }
}

/// Whoever sits by a token that counts no more is shown out at once.
pub(crate) async fn keep_grants<B: Backend>(app: App<B>) {
    let mut revocations = app.backend.revocations();
    loop {
        tokio::select! {
            changed = revocations.changed() => if changed.is_err() { return },
            () = app.stop.cancelled() => return,
        }
        for (session, room, seated) in app.live.seated() {
            match app.backend.grant(seated.token.clone(), Some(room)).await {
                // Used up by those who sit.
                Ok(_) => {}
                Err(failure) if matches!(failure.code, Code::InviteUsedUp | Code::Busy) => {}
                Err(failure) => app.live.show_out(session, &seated, failure),
            }
        }
    }
}

/// The engine counts whoever only watches here among its rooms' viewers.
pub(crate) async fn tell_viewers<B: Backend>(app: App<B>) {
    let mut viewers = app.live.viewers();
    loop {
        tokio::select! {
            changed = viewers.changed() => if changed.is_err() { return },
            () = app.stop.cancelled() => return,
        }
        let counted = viewers.borrow_and_update().clone();
        app.backend.live_viewers(counted).await;
    }
}

/// The seats, as the engine's limits have them.
pub(crate) fn hub(limits: &rooms::LiveLimits) -> LiveHub {
    LiveHub::new(limits.clone())
}
