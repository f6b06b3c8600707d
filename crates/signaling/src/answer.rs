//! HTTP bodies: read whole within limits, answered as JSON; every refusal is `{ error, code }`.

use crate::parse::invalid;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
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
        match tokio::time::timeout(self.time, self.collect(body)).await {
            Ok(read) => read,
            Err(_) => Err(invalid("The request's body took too long.")),
        }
    }

    /// A body that is too long is read on for a while and thrown away: a client that is still writing when the
    /// connection closes never sees the answer.
    async fn collect(self, mut body: Body) -> Result<Bytes, Failure> {
        let (mut kept, mut seen) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| invalid("The request's body ended early."))?;
            let Some(data) = frame.data_ref() else { continue };
            seen += data.len();
            if seen <= self.most {
                kept.extend_from_slice(data);
            } else if seen > self.most + MOST_DISCARDED {
                break;
            }
        }
        if seen > self.most {
            let sentence = format!("A request's body has at most {} kB.", self.most / 1024);
            return Err(Failure::new(Code::TooLarge, sentence));
        }
        Ok(kept.into())
    }
}

/// Read and forgotten before a body that is too long is refused.
const MOST_DISCARDED: usize = 8 * 1024 * 1024;

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
        Forbidden | InviteInvalid | InviteOtherRoom | InviteNotYetValid | Waiting => StatusCode::FORBIDDEN,
        RoomNotFound | NotFound => StatusCode::NOT_FOUND,
        RoomExists | RoomFull | RoomClosed | SlotTaken | DuplicatePublisher | NotJoined | AlreadyJoined
        | CannotConsume | Conflict => StatusCode::CONFLICT,
        InviteExpired | InviteRevoked | InviteUsedUp => StatusCode::GONE,
        TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RateLimited | LimitReached => StatusCode::TOO_MANY_REQUESTS,
        Busy | ServerFull | ServerClosing => StatusCode::SERVICE_UNAVAILABLE,
        Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
