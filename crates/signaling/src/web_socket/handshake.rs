//! The opening handshake (RFC 6455 §4.2): what a client must ask for, and the answer that makes it a WebSocket.

use super::{Stream, WebSocket};
use crate::config::Limits;
use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;

/// A request that asks for a WebSocket as the standard wants it.
pub(crate) struct Handshake {
    accept: HeaderValue,
    upgrade: OnUpgrade,
}

impl Handshake {
    pub(crate) fn read(parts: &mut Parts) -> Option<Self> {
        let headers = &parts.headers;
        let is_13 = headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
        let asks = has_token(headers, header::CONNECTION, "upgrade")
            && has_token(headers, header::UPGRADE, "websocket");
        if !(asks && is_13 && parts.method == Method::GET) {
            return None;
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY)?;
        let accept = HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()?;
        let upgrade = parts.extensions.remove::<OnUpgrade>()?;
        Some(Self { accept, upgrade })
    }

    /// The answer, and the connection that follows it once the client has got it.
    pub(crate) fn answer(self) -> (Response<Body>, Upgrade) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        (response, Upgrade(self.upgrade))
    }
}

/// A connection that is becoming a WebSocket.
pub(crate) struct Upgrade(OnUpgrade);

impl Upgrade {
    /// `None`: the client has gone.
    pub(crate) async fn finish(self, limits: &Limits) -> Option<Box<Stream>> {
        let upgraded = timeout(limits.request_time, self.0).await.ok()?.ok()?;
        Some(Box::new(WebSocket::new(TokioIo::new(upgraded), limits.transport_bytes())))
    }
}

/// A field may stand several times, and hold several tokens (RFC 9110 §5.6.1).
fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    let values = headers.get_all(name);
    let mut tokens = values.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    tokens.any(|said| said.trim().eq_ignore_ascii_case(token))
}

/// 16 octets in base64.
const KEY: usize = 24;
