//! The opening handshake (RFC 6455 §4.2): what a client must ask for, and the answer that makes it a WebSocket.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use tungstenite::handshake::derive_accept_key;

/// Whether a request asks for a WebSocket at all.
fn is_asked_for(headers: &HeaderMap) -> bool {
    has_token(headers, header::CONNECTION, "upgrade") && has_token(headers, header::UPGRADE, "websocket")
}

/// The answer, and the connection that follows it; `None` when the request is not as the standard wants it.
pub(crate) fn answer(request: &mut Request<Body>) -> Option<(Response<Body>, OnUpgrade)> {
    let headers = request.headers();
    let is_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY)?;
    if !(is_asked_for(headers) && is_13 && request.method() == axum::http::Method::GET) {
        return None;
    }
    let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
    let upgrade = request.extensions_mut().remove::<OnUpgrade>()?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Some((response, upgrade))
}

/// A field may stand several times, and hold several tokens (RFC 9110 §5.6.1).
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tokens.any(|said| said.trim().eq_ignore_ascii_case(token))
}

/// 16 octets in base64.
const KEY: usize = 24;
