//! REST: reads the request, calls the engine once, shapes the answer.

use crate::answer::{Answer, Reading, Refused, json};
use crate::backend::{Backend, within};
use crate::connection::Connection;
use crate::openapi::{Document, Operation, Routes};
use crate::parse::{self, bounded_text, invalid};
use crate::server::App;
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::str::FromStr;
use wire::alarm::AlarmView;
use wire::dashboard::InviteSummary;
use wire::monitor::{Hearing, Monitoring};
use wire::obs::{AddToObs, AddedToObs, AllowObsControl};
use wire::rest::*;
use wire::{AlarmId, Code, Failure, InviteId, PeerId, RoomId};

/// Anyone may ask this, on both listeners.
pub(crate) fn public<B: Backend>(document: Document) -> Routes<B> {
    let said = Operation::anyone("How the engine is doing; 503 when it is not well.").answers::<Health>(200);
    Routes::new(document).on(Method::GET, "/health", health::<B>, said)
}

/// The owner's routes: on the control listener only.
pub(crate) fn owner<B: Backend>(document: Document) -> Routes<B> {
    use Operation as Op;
    const GET: Method = Method::GET;
    const POST: Method = Method::POST;
    const PUT: Method = Method::PUT;
    const DELETE: Method = Method::DELETE;
    let room = "/api/rooms/{room}";
    let invites = "/api/rooms/{room}/invites";
    let routes = Routes::new(document)
        .on(
            GET,
            "/rooms",
            active_rooms::<B>,
            Op::reader("Rooms with somebody in them; private ones for the owner alone.")
                .answers::<Vec<RoomSummary>>(200),
        )
        .on(
            GET,
            "/rooms/{room}",
            active_room::<B>,
            Op::reader("A room with its peers; a private one for the owner alone.")
                .answers::<RoomDetails>(200),
        )
        .on(
            POST,
            "/api/rooms",
            create_room::<B>,
            Op::owner("Make a room.").takes::<CreateRoom>().answers::<LiveRoom>(201),
        )
        .on(GET, "/api/rooms", list_rooms::<B>, Op::owner("Every room.").answers::<Vec<LiveRoom>>(200))
        .on(GET, room, read_room::<B>, Op::owner("One room.").answers::<LiveRoom>(200))
        .on(
            PUT,
            room,
            update_room::<B>,
            Op::owner("Change a room; its status only goes forward (409).")
                .takes::<UpdateRoom>()
                .answers::<LiveRoom>(200),
        )
        .on(DELETE, room, delete_room::<B>, Op::owner("Close a room and forget it."))
        .on(
            GET,
            "/api/rooms/{room}/publish-url",
            publish_urls::<B>,
            Op::owner("Where an encoder sends to.").answers::<PublishUrls>(200),
        )
        .on(
            GET,
            "/api/rooms/{room}/play-urls",
            play_urls::<B>,
            Op::owner("Where a player gets it.").answers::<PlayUrls>(200),
        )
        .on(
            GET,
            "/api/rooms/{room}/stream",
            stream_state::<B>,
            Op::owner("Whether anybody publishes.").answers::<StreamState>(200),
        )
        .on(
            POST,
            invites,
            create_invite::<B>,
            Op::owner("Make an invite; its token is shown this once.")
                .takes::<CreateInvite>()
                .answers::<InviteCreated>(201),
        )
        .on(
            GET,
            invites,
            list_invites::<B>,
            Op::owner("A room's invites.").answers::<Vec<InviteSummary>>(200),
        )
        .on(
            DELETE,
            "/api/rooms/{room}/invites/{invite}",
            revoke_invite::<B>,
            Op::owner("Withdraw an invite, and remove whom it let in if asked.").asks::<RevokeInvite>(),
        );
    let peer = "/api/rooms/{room}/peers/{peer}";
    routes
        .on(
            GET,
            "/metrics",
            metrics::<B>,
            Op::owner("Figures for Prometheus, in its text format.").answers_text(METRICS_TYPE),
        )
        .on(DELETE, peer, remove::<B>, Op::owner("Remove somebody for good."))
        .on(
            POST,
            "/api/rooms/{room}/peers/{peer}/admit",
            admit::<B>,
            Op::owner("Let a guest in, or a performer onto the stage.").takes::<AssignSlot>(),
        )
        .on(
            POST,
            "/api/rooms/{room}/peers/{peer}/slot",
            assign_slot::<B>,
            Op::owner("Move somebody to another slot, or out of the show.").takes::<AssignSlot>(),
        )
        .on(
            POST,
            "/api/rooms/{room}/peers/{peer}/mute",
            mute::<B>,
            Op::owner("Silence a microphone or camera, or give it back.").takes::<MutePeer>(),
        )
        .on(
            POST,
            "/api/rooms/{room}/peers/{peer}/steadiness",
            set_steadiness::<B>,
            Op::owner("Soonest, or without a break.").takes::<SetSteadiness>(),
        )
        .on(
            POST,
            "/api/rooms/{room}/peers/{peer}/hearing",
            set_hearing::<B>,
            Op::owner("How loud the host hears somebody in the headphones; nobody else notices.")
                .takes::<Hearing>(),
        )
        .on(POST, "/api/obs/plugin", install_plugin::<B>, Op::owner("Install or update the OBS plugin."))
        .on(DELETE, "/api/obs/plugin", remove_plugin::<B>, Op::owner("Remove the OBS plugin."))
        .on(
            PUT,
            "/api/obs/control",
            allow_obs_control::<B>,
            Op::owner("Consent to OBS being watched and added to.").takes::<AllowObsControl>(),
        )
        .on(
            POST,
            "/api/obs/sources",
            add_to_obs::<B>,
            Op::owner("Add guests to OBS.").takes::<AddToObs>().answers::<AddedToObs>(201),
        )
        .on(
            DELETE,
            "/api/obs/sources/last",
            undo_add_to_obs::<B>,
            Op::owner("Take back what was added last."),
        )
        .on(
            PUT,
            "/api/lan",
            set_lan::<B>,
            Op::owner("Open or close the listener for the local network.").takes::<LanAccess>(),
        )
        .on(
            PUT,
            "/api/monitoring",
            set_monitoring::<B>,
            Op::owner("Whether the host hears the guests, and on which device.").takes::<Monitoring>(),
        )
        .on(
            PUT,
            "/api/debug",
            set_debug::<B>,
            Op::owner("Log more for half an hour, or no longer.").takes::<SetDebug>(),
        )
        .on(
            GET,
            "/api/support-bundle",
            support_bundle::<B>,
            Op::owner(
                "What somebody needs who is asked for help: a zip without secrets, addresses and names.",
            )
            .answers_text("application/zip"),
        )
        .on(
            POST,
            "/api/support-bundle",
            save_support_bundle::<B>,
            Op::owner("The same, into this computer's folder for downloads.").answers::<SavedFile>(201),
        )
        .on(
            GET,
            "/api/alarms",
            list_alarms::<B>,
            Op::owner("Alarms that are raised and were not dismissed, worst first.")
                .answers::<Vec<AlarmView>>(200),
        )
        .on(
            DELETE,
            "/api/alarms/{alarm}",
            dismiss_alarm::<B>,
            Op::owner("Show an alarm no longer; it comes back when its reason does."),
        )
        .on(
            POST,
            "/api/rooms/{room}/peers/{peer}/try-again",
            try_again::<B>,
            Op::owner("Decode somebody's video again, after it crashed the decoder."),
        )
}

async fn health<B: Backend>(State(app): State<App<B>>) -> Answer {
    let health = within(app.limits.answer_time, async { Ok(app.backend.health().await) }).await?;
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, health)
}

async fn metrics<B: Backend>(State(app): State<App<B>>, _: Owner) -> Answer {
    let text = within(app.limits.answer_time, app.backend.metrics()).await?;
    Ok(([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response())
}

async fn active_rooms<B: Backend>(State(app): State<App<B>>, reader: Reader) -> Answer {
    let mut rooms = within(app.limits.answer_time, app.backend.rooms()).await?;
    rooms.retain(|room| reader.may_see(room.is_private));
    json(StatusCode::OK, rooms)
}

async fn active_room<B: Backend>(
    State(app): State<App<B>>,
    reader: Reader,
    Path(room): Path<String>,
) -> Answer {
    let room = room_id(&room)?;
    let details = within(app.limits.answer_time, app.backend.room(room)).await?;
    if !reader.may_see(details.is_private) {
        // As one that does not exist.
        let sentence = "There is no such room: check the link, or create the room first.";
        return Err(Failure::new(Code::RoomNotFound, sentence).into());
    }
    json(StatusCode::OK, details)
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

async fn publish_urls<B: Backend>(app: State<App<B>>, _: Owner, Path(room): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::PublishUrls(room_id(&room)?)).await?)
}

async fn play_urls<B: Backend>(app: State<App<B>>, _: Owner, Path(room): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::PlayUrls(room_id(&room)?)).await?)
}

async fn stream_state<B: Backend>(app: State<App<B>>, _: Owner, Path(room): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::StreamState(room_id(&room)?)).await?)
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

async fn set_hearing<B: Backend>(app: State<App<B>>, _: Owner, peer: PeerPath, body: Request) -> Answer {
    of_peer(&app, peer, body, OwnerRequest::SetHearing).await
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

/// `PUT /api/lan`.
#[derive(Deserialize, JsonSchema)]
struct LanAccess {
    on: bool,
}

async fn set_lan<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let asked: LanAccess = read(&app, body).await?;
    done(ask(&app, OwnerRequest::SetLanAccess(asked.on)).await?)
}

async fn set_monitoring<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let asked: Monitoring = read(&app, body).await?;
    done(ask(&app, OwnerRequest::SetMonitoring(asked)).await?)
}

async fn set_debug<B: Backend>(app: State<App<B>>, _: Owner, body: Request) -> Answer {
    let SetDebug { on } = read(&app, body).await?;
    done(ask(&app, OwnerRequest::SetDebug(on)).await?)
}

async fn support_bundle<B: Backend>(State(app): State<App<B>>, _: Owner) -> Answer {
    let zip = within(app.limits.answer_time, app.backend.support_bundle()).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/zip"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"greenroom-support.zip\""),
    ];
    Ok((headers, zip).into_response())
}

async fn save_support_bundle<B: Backend>(app: State<App<B>>, _: Owner) -> Answer {
    created(ask(&app, OwnerRequest::SaveSupportBundle).await?)
}

async fn list_alarms<B: Backend>(app: State<App<B>>, _: Owner) -> Answer {
    done(ask(&app, OwnerRequest::ListAlarms).await?)
}

async fn dismiss_alarm<B: Backend>(app: State<App<B>>, _: Owner, Path(alarm): Path<String>) -> Answer {
    done(ask(&app, OwnerRequest::DismissAlarm(id::<AlarmId>("alarm", &alarm)?)).await?)
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
struct Reader {
    is_owner: bool,
}

impl Reader {
    fn may_see(&self, is_private: bool) -> bool {
        self.is_owner || !is_private
    }
}

impl<B: Backend> FromRequestParts<App<B>> for Reader {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App<B>) -> Result<Self, Refused> {
        let owner = Owner::from_request_parts(parts, app).await;
        let connection = parts.extensions.get::<Connection>();
        let is_here = connection.is_some_and(|c| c.remote.ip().to_canonical().is_loopback());
        match owner {
            Ok(Owner) => Ok(Self { is_owner: true }),
            Err(_) if is_here => Ok(Self { is_owner: false }),
            Err(refused) => Err(refused),
        }
    }
}

/// What a path names; one that is not UTF-8 is refused in the documented shape.
struct Path<T>(T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(named)) => Ok(Self(named)),
            Err(_) => Err(invalid("The address is not UTF-8.").into()),
        }
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
/// Of Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
