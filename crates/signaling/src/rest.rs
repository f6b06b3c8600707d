//! REST: reads the request, calls the engine once, shapes the answer.

use crate::answer::{Answer, Reading, Refused, json};
use crate::backend::Backend;
use crate::connection::Connection;
use crate::parse::{self, bounded_text, invalid};
use crate::server::App;
use crate::session::within;
use axum::Router;
use axum::extract::{FromRequestParts, Path, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{delete, get, post, put};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use wire::obs::{AddToObs, AllowObsControl};
use wire::rest::{CreateInvite, CreateRoom, OwnerReply, OwnerRequest, RevokeInvite, UpdateRoom};
use wire::{Code, Failure, InviteId, PeerId, RoomId};

/// Anyone may ask this, on both listeners.
pub(crate) fn public<B: Backend>() -> Router<App<B>> {
    Router::new().route("/health", get(health::<B>))
}

/// The owner's routes: on the control listener only.
pub(crate) fn owner<B: Backend>() -> Router<App<B>> {
    Router::new()
        .route("/rooms", get(active_rooms::<B>))
        .route("/rooms/{room}", get(active_room::<B>))
        .route("/api/rooms", post(create_room::<B>).get(list_rooms::<B>))
        .route("/api/rooms/{room}", get(read_room::<B>).put(update_room::<B>).delete(delete_room::<B>))
        .route("/api/rooms/{room}/invites", post(create_invite::<B>).get(list_invites::<B>))
        .route("/api/rooms/{room}/invites/{invite}", delete(revoke_invite::<B>))
        .route("/api/rooms/{room}/peers/{peer}", delete(remove::<B>))
        .route("/api/rooms/{room}/peers/{peer}/admit", post(admit::<B>))
        .route("/api/rooms/{room}/peers/{peer}/slot", post(assign_slot::<B>))
        .route("/api/rooms/{room}/peers/{peer}/mute", post(mute::<B>))
        .route("/api/rooms/{room}/peers/{peer}/steadiness", post(set_steadiness::<B>))
        .route("/api/rooms/{room}/peers/{peer}/try-again", post(try_again::<B>))
        .route("/api/obs/plugin", post(install_plugin::<B>).delete(remove_plugin::<B>))
        .route("/api/obs/control", put(allow_obs_control::<B>))
        .route("/api/obs/sources", post(add_to_obs::<B>))
        .route("/api/obs/sources/last", delete(undo_add_to_obs::<B>))
        .route("/api/lan", put(set_lan::<B>))
}

async fn health<B: Backend>(State(app): State<App<B>>) -> Answer {
    let health = within(app.limits.answer_time, async { Ok(app.backend.health().await) }).await?;
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, health)
}

async fn active_rooms<B: Backend>(State(app): State<App<B>>, _: Reader) -> Answer {
    json(StatusCode::OK, within(app.limits.answer_time, app.backend.rooms()).await?)
}

async fn active_room<B: Backend>(State(app): State<App<B>>, _: Reader, Path(room): Path<String>) -> Answer {
    let room = room_id(&room)?;
    json(StatusCode::OK, within(app.limits.answer_time, app.backend.room(room)).await?)
}

async fn create_room<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let asked: CreateRoom = read(&app, body).await?;
    title_fits(asked.title.as_deref())?;
    created(ask(&app, OwnerRequest::CreateRoom(asked)).await?)
}

async fn list_rooms<B: Backend>(app: State<App<B>>, _: Owner) -> Answer {
    done(ask(&app, OwnerRequest::ListRooms).await?)
}

async fn read_room<B: Backend>(app: State<App<B>>, _: Owner, Path(room): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::ReadRoom(room_id(&room)?)).await?)
}

async fn update_room<B: Backend>(
    app: State<App<B>>,
    _: Owner,
    Path(room): Path<String>,
    body: Request,
) -> Answer {
    let asked: UpdateRoom = read(&app, body).await?;
    title_fits(asked.title.as_deref())?;
    done(ask(&app, OwnerRequest::UpdateRoom(room_id(&room)?, asked)).await?)
}

async fn delete_room<B: Backend>(app: State<App<B>>, _: Owner, Path(room): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::DeleteRoom(room_id(&room)?)).await?)
}

async fn create_invite<B: Backend>(
    app: State<App<B>>,
    _: Owner,
    Path(room): Path<String>,
    body: Request,
) -> Answer {
    let asked: CreateInvite = read(&app, body).await?;
    if asked.expires_in.is_some_and(|seconds| !(1..=MAX_INVITE_SECONDS).contains(&seconds)) {
        return Err(invalid("`expiresIn` is 1 second to 30 days, in seconds.").into());
    }
    if asked.max_uses.is_some_and(|uses| !(1..=1_000).contains(&uses)) {
        return Err(invalid("`maxUses` is 1 to 1000.").into());
    }
    created(ask(&app, OwnerRequest::CreateInvite(room_id(&room)?, asked)).await?)
}

async fn list_invites<B: Backend>(app: State<App<B>>, _: Owner, Path(room): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::ListInvites(room_id(&room)?)).await?)
}

async fn revoke_invite<B: Backend>(
    app: State<App<B>>,
    _: Owner,
    Path((room, invite)): Path<(String, String)>,
    uri: axum::http::Uri,
) -> Answer {
    let Query(asked) =
        Query::<RevokeInvite>::try_from_uri(&uri).map_err(|_| invalid("`endPeers` is true or false."))?;
    done(
        ask(&app, OwnerRequest::RevokeInvite(room_id(&room)?, id::<InviteId>("invite", &invite)?, asked))
            .await?,
    )
}

async fn admit<B: Backend>(app: State<App<B>>, _: Owner, peer: PeerPath, body: Request) -> Answer {
    of_peer(&app, peer, body, OwnerRequest::Admit).await
}

async fn assign_slot<B: Backend>(app: State<App<B>>, _: Owner, peer: PeerPath, body: Request) -> Answer {
    of_peer(&app, peer, body, OwnerRequest::AssignSlot).await
}

async fn mute<B: Backend>(app: State<App<B>>, _: Owner, peer: PeerPath, body: Request) -> Answer {
    of_peer(&app, peer, body, OwnerRequest::Mute).await
}

async fn set_steadiness<B: Backend>(app: State<App<B>>, _: Owner, peer: PeerPath, body: Request) -> Answer {
    of_peer(&app, peer, body, OwnerRequest::SetSteadiness).await
}

async fn try_again<B: Backend>(
    app: State<App<B>>,
    _: Owner,
    Path((room, peer)): Path<(String, String)>,
) -> Answer {
    done(ask(&app, OwnerRequest::TryAgain(room_id(&room)?, id::<PeerId>("peer", &peer)?)).await?)
}

async fn remove<B: Backend>(
    app: State<App<B>>,
    _: Owner,
    Path((room, peer)): Path<(String, String)>,
) -> Answer {
    done(ask(&app, OwnerRequest::Remove(room_id(&room)?, id::<PeerId>("peer", &peer)?)).await?)
}

async fn install_plugin<B: Backend>(app: State<App<B>>, _: Owner) -> Answer {
    done(ask(&app, OwnerRequest::InstallObsPlugin).await?)
}

async fn allow_obs_control<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let asked: AllowObsControl = read(&app, body).await?;
    done(ask(&app, OwnerRequest::AllowObsControl(asked.on)).await?)
}

async fn add_to_obs<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let asked: AddToObs = read(&app, body).await?;
    let slots = asked.slots.as_deref().unwrap_or_default();
    if slots.iter().enumerate().any(|(i, slot)| slots[..i].contains(slot)) {
        return Err(invalid("`slots` names a slot twice.").into());
    }
    created(ask(&app, OwnerRequest::AddToObs(asked)).await?)
}

async fn undo_add_to_obs<B: Backend>(app: State<App<B>>, _: Owner) -> Answer {
    done(ask(&app, OwnerRequest::UndoAddToObs).await?)
}

async fn remove_plugin<B: Backend>(app: State<App<B>>, _: Owner) -> Answer {
    done(ask(&app, OwnerRequest::RemoveObsPlugin).await?)
}

#[derive(Deserialize)]
struct LanAccess {
    on: bool,
}

async fn set_lan<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let asked: LanAccess = read(&app, body).await?;
    done(ask(&app, OwnerRequest::SetLanAccess(asked.on)).await?)
}

type PeerPath = Path<(String, String)>;

/// What the body asks of one peer of one room.
async fn of_peer<B: Backend, T: DeserializeOwned>(
    app: &App<B>,
    Path((room, peer)): PeerPath,
    body: Request,
    request: impl FnOnce(RoomId, PeerId, T) -> OwnerRequest,
) -> Answer {
    let asked = read(app, body).await?;
    done(ask(app, request(room_id(&room)?, id("peer", &peer)?, asked)).await?)
}

async fn ask<B: Backend>(app: &App<B>, request: OwnerRequest) -> Result<OwnerReply, Failure> {
    within(app.limits.answer_time, app.backend.owner(request)).await
}

fn done(reply: OwnerReply) -> Answer {
    json(StatusCode::OK, reply)
}

fn created(reply: OwnerReply) -> Answer {
    json(StatusCode::CREATED, reply)
}

/// Proof of the owner's bearer token (RFC 6750 §2.1).
struct Owner;

impl<B: Backend> FromRequestParts<App<B>> for Owner {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App<B>) -> Result<Self, Refused> {
        match bearer(&parts.headers) {
            Some(token) if app.backend.is_owner_token(token) => Ok(Owner),
            Some(_) => Err(Failure::new(Code::Unauthorized, "This is not the owner's token.").into()),
            None => Err(Failure::new(Code::Unauthorized, "This needs the owner's token.").into()),
        }
    }
}

/// May look but not touch: anyone on this machine, or the owner from elsewhere.
struct Reader;

impl<B: Backend> FromRequestParts<App<B>> for Reader {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App<B>) -> Result<Self, Refused> {
        let connection = parts.extensions.get::<Connection>();
        if connection.is_some_and(|c| c.remote.ip().to_canonical().is_loopback()) {
            return Ok(Reader);
        }
        Owner::from_request_parts(parts, app).await.map(|_| Reader)
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = fields.next()?.to_str().ok()?.split_once(' ')?;
    let bearer = scheme.eq_ignore_ascii_case("bearer") && fields.next().is_none();
    bearer.then(|| token.trim())
}

/// The body as JSON; no body counts as `{}`.
async fn read<B: Backend, T: DeserializeOwned>(app: &App<B>, request: Request) -> Result<T, Failure> {
    let (parts, body) = request.into_parts();
    let reading = Reading { most: app.limits.message_bytes, time: app.limits.request_time };
    let bytes = reading.read(body).await?;
    if bytes.is_empty() {
        return parse::object("{}");
    }
    // A form of a foreign page cannot claim this type without a preflight.
    let kind =
        parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
        return Err(invalid("The body must be JSON: send Content-Type: application/json."));
    }
    parse::object(std::str::from_utf8(&bytes).map_err(|_| invalid("The body is not UTF-8."))?)
}

/// Each body, for fuzzing.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(text: &str) {
    let _ = (parse::object::<CreateRoom>(text), parse::object::<UpdateRoom>(text));
    let _ = (parse::object::<CreateInvite>(text), parse::object::<AddToObs>(text));
    let _ = (room_id(text), title_fits(Some(text)));
}

fn room_id(text: &str) -> Result<RoomId, Failure> {
    RoomId::parse(text).map_err(|error| invalid(format!("{error}.")))
}

fn id<T: FromStr>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::new(Code::NotFound, format!("There is no such {what}.")))
}

fn title_fits(title: Option<&str>) -> Result<(), Failure> {
    title.map_or(Ok(()), |title| bounded_text("title", title, 200))
}

const MAX_INVITE_SECONDS: u64 = 30 * 24 * 60 * 60;
