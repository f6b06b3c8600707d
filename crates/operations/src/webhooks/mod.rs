//! Webhooks: what happened, told to programs of the streamer's by signed HTTP requests.
//!
//! Each endpoint has a queue and a task of its own, so that one that is slow or dead holds up no other. What waits is in memory.

mod endpoint;
mod sign;

pub use endpoint::{EndpointStatus, Patience};
pub use sign::{BadSecret, Secret};

use endpoint::{Endpoint, client};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use url::Url;
use uuid::Uuid;
use wire::webhook::{Happening, WebhookMessage};

/// One endpoint, as the settings name it.
#[derive(Clone, Debug, PartialEq)]
pub struct WebhookConfig {
    pub url: WebhookUrl,
    pub secret: Secret,
    pub events: EventFilter,
}

/// An address that may be told; its path and query are secrets of whoever made it, so only [`WebhookUrl::host`] is shown.
#[derive(Clone, PartialEq)]
pub struct WebhookUrl(Url);

/// Why an address cannot be told anything.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("an http: or https: address without a user, a password or a #fragment")]
pub struct BadUrl;

impl WebhookUrl {
    pub fn parse(text: &str) -> Result<Self, BadUrl> {
        let url = Url::parse(text).map_err(|_| BadUrl)?;
        let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none();
        if plain && url.username().is_empty() && url.password().is_none() {
            Ok(Self(url))
        } else {
            Err(BadUrl)
        }
    }

    /// With the port, where it is not the usual one.
    pub fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        self.0.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl std::fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}/…", self.0.scheme(), self.host())
    }
}

/// Which types an endpoint is told: names like `peer.left`, or whole groups like `peer.*`.
#[derive(Clone, Debug, PartialEq)]
pub struct EventFilter(Vec<String>);

/// A name that no event has.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no event is called `{0}`")]
pub struct UnknownEvent(pub String);

impl Default for EventFilter {
    fn default() -> Self {
        Self(vec!["*".into()])
    }
}

impl EventFilter {
    pub fn parse(names: Vec<String>) -> Result<Self, UnknownEvent> {
        let matches_any = |name: &&String| !Happening::TYPES.iter().any(|known| matches(name, known));
        match names.iter().find(matches_any) {
            Some(unknown) => Err(UnknownEvent(unknown.clone())),
            None => Ok(Self(names)),
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some("") => true,
        Some(group) => group.ends_with('.') && name.starts_with(group),
        None => pattern == name,
    }
}

/// The way to every endpoint. Cloneable; what waits is given up with the last clone.
#[derive(Clone, Default)]
pub struct Webhooks(Arc<[Line]>);

struct Line {
    filter: EventFilter,
    /// *Request* kind: when full, the message is lost and counted.
    queue: mpsc::Sender<Arc<Message>>,
    status: watch::Sender<EndpointStatus>,
    task: JoinHandle<()>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A message with its body as it is signed and sent, to everybody the same.
#[derive(Debug)]
struct Message {
    id: String,
    body: Vec<u8>,
}

/// Why webhooks cannot be sent.
#[derive(Debug, Error)]
#[error("webhooks cannot be sent: {0}")]
pub struct StartError(String);

impl Webhooks {
    /// Must be called on a tokio runtime.
    pub fn start(configs: Vec<WebhookConfig>, patience: Patience) -> Result<Self, StartError> {
        if configs.is_empty() {
            return Ok(Self::default());
        }
        let client = client(&patience).map_err(|error| StartError(error.to_string()))?;
        let line = |config: WebhookConfig| {
            let (queue, messages) = mpsc::channel(QUEUE);
            let (status, _) = watch::channel(EndpointStatus::new(config.url.host()));
            let endpoint = Endpoint {
                url: config.url.0,
                secret: config.secret,
                client: client.clone(),
                patience: patience.clone(),
                messages,
                status: status.clone(),
            };
            Line { filter: config.events, queue, status, task: tokio::spawn(endpoint.run()) }
        };
        Ok(Self(configs.into_iter().map(line).collect()))
    }

    /// Tells those who want to know. Never waits. `at`: RFC 3339.
    pub fn send(&self, at: &str, happening: &Happening) {
        let name = happening.type_name();
        let mut listeners = self.0.iter().filter(|line| line.filter.wants(name)).peekable();
        if listeners.peek().is_none() {
            return;
        }
        let id = format!("msg_{}", Uuid::new_v4().simple());
        let message =
            WebhookMessage { id: id.clone(), created_at: at.to_owned(), happening: happening.clone() };
        let body = match serde_json::to_vec(&message) {
            Ok(body) => body,
            Err(error) => return tracing::error!(%error, "cannot write a webhook"),
        };
        let message = Arc::new(Message { id, body });
        for line in listeners {
            let is_lost = line.queue.try_send(message.clone()).is_err();
            line.status.send_modify(|status| {
                status.lost += u64::from(is_lost);
                status.waiting += u64::from(!is_lost);
            });
        }
    }

    /// How each endpoint is doing, in the order of the settings.
    pub fn statuses(&self) -> Vec<EndpointStatus> {
        self.0.iter().map(|line| line.status.borrow().clone()).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until nothing waits any more, but not longer than this; answers how many messages are left.
    pub async fn finish(&self, within: Duration) -> u64 {
        let all = async {
            for line in self.0.iter() {
                let mut status = line.status.subscribe();
                // The sender lives in the line.
                let _ = status.wait_for(|status| status.waiting == 0).await;
            }
        };
        let _ = tokio::time::timeout(within, all).await;
        self.statuses().iter().map(|status| status.waiting).sum()
    }
}

/// An hour of a lively show.
const QUEUE: usize = 256;

#[cfg(test)]
mod tests;
