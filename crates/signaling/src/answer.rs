//! HTTP answers: every refusal is `{ error, code }` with the status this table gives its code.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
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

pub(crate) type Answer = Result<Response, Refused>;

pub(crate) fn json(status: StatusCode, value: impl Serialize) -> Answer {
    Ok((status, Json(value)).into_response())
}

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
