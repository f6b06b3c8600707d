//! One connection in the obs-websocket 5 protocol (RPC version 1, OBS 28 and later): requests one after the other.
//!
//! <https://github.com/obsproject/obs-websocket/blob/master/docs/generated/protocol.md>

use super::find::Access;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Identified and ready. Of events it keeps only what they mean: see [`News`].
pub(super) struct Link {
    socket: WebSocketStream<TcpStream>,
    next_id: u64,
    /// Since it was last taken.
    news: News,
    /// OBS exchanges its scenes just now: whoever asks it something can crash it.
    is_exchanging: bool,
}

/// Whether what was known of OBS may be outdated. *State* kind: any number of events are one piece of news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum News {
    #[default]
    None,
    Changed,
    /// Other scenes: ids of items mean nothing any more.
    OtherScenes,
}

#[derive(Debug, Error)]
pub(super) enum OpenError {
    #[error("nobody listens")]
    Unreachable,
    #[error("the password is refused")]
    Password,
    #[error("this is not obs-websocket 5")]
    Foreign,
    #[error("it does not answer")]
    Silent,
}

#[derive(Debug, Error)]
pub(super) enum AskError {
    /// By OBS, in its words.
    #[error("{comment}")]
    Refused { code: u64, comment: String },
    #[error("OBS is exchanging its scenes")]
    Exchanging,
    #[error("the connection to OBS ended")]
    Gone,
}

/// The connection ended.
#[derive(Debug)]
pub(super) struct Gone;

impl Link {
    pub async fn open(access: &Access) -> Result<Self, OpenError> {
        timeout(PATIENCE, Self::greet(access)).await.map_err(|_| OpenError::Silent)?
    }

    async fn greet(access: &Access) -> Result<Self, OpenError> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, access.port))
            .await
            .map_err(|_| OpenError::Unreachable)?;
        let mut request = format!("ws://127.0.0.1:{}", access.port)
            .into_client_request()
            .map_err(|_| OpenError::Foreign)?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let limits =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let (socket, _) =
            client_async_with_config(request, stream, Some(limits)).await.map_err(|_| OpenError::Foreign)?;
        let mut link = Self { socket, next_id: 1, news: News::None, is_exchanging: false };
        let hello = link.greeting(HELLO).await?;
        let mut identify = json!({ "rpcVersion": RPC_VERSION, "eventSubscriptions": EVENTS });
        if let Some(challenge) = hello.get("authentication") {
            let text = |key: &str| challenge[key].as_str().ok_or(OpenError::Foreign);
            let password = access.password.as_deref().unwrap_or_default();
            identify["authentication"] = proof(password, text("salt")?, text("challenge")?).into();
        }
        link.send(IDENTIFY, identify).await.map_err(|_| OpenError::Foreign)?;
        link.greeting(IDENTIFIED).await?;
        Ok(link)
    }

    async fn greeting(&mut self, expected: u64) -> Result<Value, OpenError> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let mut message: Value = serde_json::from_str(&text).map_err(|_| OpenError::Foreign)?;
                    if message["op"].as_u64() != Some(expected) {
                        return Err(OpenError::Foreign);
                    }
                    return Ok(message["d"].take());
                }
                Some(Ok(Message::Close(Some(close)))) if u16::from(close.code) == NOT_AUTHENTICATED => {
                    return Err(OpenError::Password);
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return Err(OpenError::Foreign),
            }
        }
    }

    /// One request; the answer's data. Events that come meanwhile are kept as [`News`].
    pub async fn ask(&mut self, request: &str, data: Value) -> Result<Value, AskError> {
        if self.is_exchanging {
            return Err(AskError::Exchanging);
        }
        let id = self.next_id.to_string();
        self.next_id += 1;
        let mut asked = json!({ "requestType": request, "requestId": id });
        if !data.is_null() {
            asked["requestData"] = data;
        }
        let answer = timeout(PATIENCE, async {
            self.send(REQUEST, asked).await?;
            loop {
                if let Some(answer) = self.receive().await?
                    && answer.get("requestId").and_then(Value::as_str) == Some(&id)
                {
                    return Ok(answer);
                }
            }
        });
        let mut answer = answer.await.map_err(|_| AskError::Gone)?.map_err(|Gone| AskError::Gone)?;
        let status = &answer["requestStatus"];
        if status["result"].as_bool() == Some(true) {
            return Ok(answer.get_mut("responseData").map(Value::take).unwrap_or_default());
        }
        let code = status["code"].as_u64().unwrap_or_default();
        let comment = status["comment"].as_str().unwrap_or("OBS gave no reason").chars().take(200).collect();
        Err(AskError::Refused { code, comment })
    }

    /// Waits for the next message; may be dropped while it waits.
    pub async fn listen(&mut self) -> Result<(), Gone> {
        self.receive().await.map(|_| ())
    }

    pub fn take_news(&mut self) -> News {
        std::mem::take(&mut self.news)
    }

    pub fn is_exchanging(&self) -> bool {
        self.is_exchanging
    }

    pub async fn close(mut self) {
        let _ = timeout(GOODBYE, self.socket.close(None)).await;
    }

    /// One message; its data if it is an answer.
    async fn receive(&mut self) -> Result<Option<Map<String, Value>>, Gone> {
        match self.socket.next().await {
            Some(Ok(Message::Text(text))) => {
                let Ok(mut message) = serde_json::from_str::<Value>(&text) else { return Err(Gone) };
                match (message["op"].as_u64(), message["d"].take()) {
                    (Some(RESPONSE), Value::Object(answer)) => return Ok(Some(answer)),
                    (Some(EVENT), event) => self.note(event["eventType"].as_str().unwrap_or_default()),
                    _ => {}
                }
                Ok(None)
            }
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Gone),
            Some(Ok(_)) => Ok(None),
        }
    }

    fn note(&mut self, event: &str) {
        match event {
            "CurrentSceneCollectionChanging" => self.is_exchanging = true,
            "CurrentSceneCollectionChanged" => {
                self.is_exchanging = false;
                self.news = News::OtherScenes;
            }
            _ if self.news == News::None => self.news = News::Changed,
            _ => {}
        }
    }

    async fn send(&mut self, op: u64, data: Value) -> Result<(), Gone> {
        let text = json!({ "op": op, "d": data }).to_string();
        self.socket.send(Message::text(text)).await.map_err(|_| Gone)
    }
}

/// That we know the password, without saying it.
fn proof(password: &str, salt: &str, challenge: &str) -> String {
    let digest = |parts: [&str; 2]| {
        let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
        BASE64_STANDARD.encode(hash.finalize())
    };
    digest([&digest([password, salt]), challenge])
}

const SUBPROTOCOL: &str = "obswebsocket.json";
const RPC_VERSION: u64 = 1;
// Opcodes.
const HELLO: u64 = 0;
const IDENTIFY: u64 = 1;
const IDENTIFIED: u64 = 2;
const EVENT: u64 = 5;
const REQUEST: u64 = 6;
const RESPONSE: u64 = 7;
/// Subscriptions: General, Config, Scenes, Outputs, Ui.
const EVENTS: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 6 | 1 << 10;
/// The close code `AuthenticationFailed`.
const NOT_AUTHENTICATED: u16 = 4009;
/// A scene with a thousand items is listed in half of it.
const MAX_MESSAGE: usize = 1024 * 1024;
/// OBS answers in milliseconds, unless it is starting, or stuck.
const PATIENCE: Duration = Duration::from_secs(5);
const GOODBYE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_is_that_of_the_protocol() {
        // Made with `openssl dgst -sha256 -binary | base64` along the protocol's recipe.
        let expected = "1Ct943GAT+6YQUUX47Ia/ncufilbe6+oD6lY+5kaCu4=";
        let salt = "lM1GncleQOaCu9lT1yeUZhFYnqhsLLP1G5lAGo3ixaI=";
        let challenge = "+IxH4CnCiqpX1rM9scsNynZzbOe4KhDeYcTNS3PDaeY=";
        assert_eq!(proof("supersecretpassword", salt, challenge), expected);
    }
}
