//! HTTP bodies: read whole within limits, answered as JSON; every refusal is `{ error, code }`.

use crate::parse::invalid;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use std::time::Duration;
use wire::{Code, Failure};

/// A refusal as an HTTP response.
#[derive(Debug)]
pub(crate) struct Refused(pub Failure);

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = status(self.0.code);
        let mut response = (status, Json(self.0)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1: a 401 names what would be accepted.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The bounds of a request's body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub most: usize,
    pub time: Duration,
}

impl Reading {
    pub(crate) async fn read(self, body: Body) -> Result<Bytes, Failure> {
        match tokio::time::timeout(self.time, Limited::new(body, self.most).collect()).await {
            Ok(Ok(collected)) => Ok(collected.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Failure::new(
                Code::TooLarge,
                format!("A request's body has at most {} kB.", self.most / 1024),
            )),
            Ok(Err(_)) => Err(invalid("The request's body ended early.")),
            Err(_) => Err(invalid("The request's body took too long.")),
        }
    }
}

pub(crate) type Answer = Result<Response, Refused>;

pub(crate) fn json(status: StatusCode, value: impl Serialize) -> Answer {
    Ok((status, Json(value)).into_response())
}

/// The one place where a code becomes a status.
fn status(code: Code) -> StatusCode {
    use Code::*;
    match code {
        InvalidRequest | UnknownEvent | UnsupportedCodec | DtlsFailed => StatusCode::BAD_REQUEST,
        Unauthorized | InviteRequired => StatusCode::UNAUTHORIZED,
        Forbidden | InviteInvalid | InviteOtherRoom | Waiting => StatusCode::FORBIDDEN,
        RoomNotFound | NotFound => StatusCode::NOT_FOUND,
        RoomExists | RoomFull | RoomClosed | SlotTaken | NotJoined | AlreadyJoined | CannotConsume
        | Conflict => StatusCode::CONFLICT,
        InviteExpired | InviteRevoked | InviteUsedUp => StatusCode::GONE,
        TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RateLimited | LimitReached => StatusCode::TOO_MANY_REQUESTS,
        Busy | ServerClosing => StatusCode::SERVICE_UNAVAILABLE,
        Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
