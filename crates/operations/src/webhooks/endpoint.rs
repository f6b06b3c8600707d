//! One endpoint: its messages one after the other, each again until it is taken or given up.

use super::{Message, Secret};
use rand::Rng;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, StatusCode, redirect};
use rustls_platform_verifier::BuilderVerifierExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use url::Url;

/// How long an endpoint is waited for, and how often it is tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Patience {
    /// For one attempt, from the look-up of its name to the last octet of its answer.
    pub attempt: Duration,
    /// Before the second attempt; four times as long before each further one…
    pub first_pause: Duration,
    /// …but no longer than this.
    pub longest_pause: Duration,
    /// Then a message is given up.
    pub attempts: u32,
}

impl Default for Patience {
    /// Pauses of 1, 4, 16, 64, 256 and 600 seconds: a service that is restarted misses nothing, and a message a quarter of an hour
    /// old is of no use to a show.
    fn default() -> Self {
        Self {
            attempt: Duration::from_secs(10),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(600),
            attempts: 7,
        }
    }
}

impl Patience {
    /// Before the attempt after `failed` others; `dice` is 0 to 1. Spread by a fifth, so that endpoints behind one server do not
    /// come back all at once.
    fn pause(&self, failed: u32, dice: f64) -> Duration {
        let plain = self.first_pause.saturating_mul(4u32.saturating_pow(failed.saturating_sub(1)));
        plain.min(self.longest_pause).mul_f64(0.8 + 0.4 * dice)
    }
}

/// How an endpoint is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointStatus {
    pub host: String,
    pub delivered: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Messages given up after the last attempt.
    pub given_up: u64,
    /// Messages for which there was no room.
    pub lost: u64,
    /// In the queue, or being tried.
    pub waiting: u64,
    /// Why the last attempt failed; `None` once one succeeds.
    pub trouble: Option<String>,
    /// It said that it is gone for good (410): nothing is sent there any more.
    pub is_off: bool,
}

impl EndpointStatus {
    pub(super) fn new(host: String) -> Self {
        Self { host, ..Self::default() }
    }
}

/// Ends when its queue is closed, or when it is aborted.
pub(super) struct Endpoint {
    pub url: Url,
    pub secret: Secret,
    pub client: Client,
    pub patience: Patience,
    pub messages: mpsc::Receiver<Arc<Message>>,
    pub status: watch::Sender<EndpointStatus>,
}

/// How an attempt failed.
enum Failed {
    /// Perhaps it works later; not before this, if it says so.
    Later { why: String, not_before: Option<Duration> },
    /// The endpoint is gone for good.
    Gone,
}

impl Endpoint {
    pub async fn run(mut self) {
        while let Some(message) = self.messages.recv().await {
            self.deliver(&message).await;
            self.status.send_modify(|status| status.waiting -= 1);
        }
    }

    async fn deliver(&self, message: &Message) {
        if self.status.borrow().is_off {
            return self.status.send_modify(|status| status.given_up += 1);
        }
        for failed in 1..=self.patience.attempts {
            let (why, not_before) = match self.attempt(message).await {
                Ok(()) => {
                    return self.status.send_modify(|status| {
                        status.delivered += 1;
                        status.trouble = None;
                    });
                }
                Err(Failed::Gone) => {
                    tracing::warn!(host = self.url.host_str(), "a webhook's endpoint is gone for good");
                    return self.status.send_modify(|status| {
                        status.failed_attempts += 1;
                        status.given_up += 1;
                        status.trouble = Some("It says that it is gone for good (410).".into());
                        status.is_off = true;
                    });
                }
                Err(Failed::Later { why, not_before }) => (why, not_before),
            };
            tracing::debug!(host = self.url.host_str(), failed, why, "a webhook was not taken");
            self.status.send_modify(|status| {
                status.failed_attempts += 1;
                status.trouble = Some(why);
            });
            if failed < self.patience.attempts {
                let pause = self.patience.pause(failed, rand::rng().random());
                sleep(pause.max(not_before.unwrap_or_default()).min(self.patience.longest_pause)).await;
            }
        }
        tracing::warn!(host = self.url.host_str(), "a webhook was given up");
        self.status.send_modify(|status| status.given_up += 1);
    }

    async fn attempt(&self, message: &Message) -> Result<(), Failed> {
        let later = |why: &str| Failed::Later { why: why.to_owned(), not_before: None };
        // Signed anew each time: receivers refuse old timestamps.
        let timestamp =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let sent = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.sign(&message.id, timestamp, &message.body))
            .body(message.body.clone())
            .send()
            .await;
        // What it says beside its status is nobody's concern, and is not read. An error's own words may hold the address.
        let answer = sent.map_err(|error| {
            later(match () {
                () if error.is_timeout() => "It does not answer in time.",
                () if error.is_connect() => "It cannot be reached.",
                () => "It breaks the connection off.",
            })
        })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::GONE => Err(Failed::Gone),
            status => Err(Failed::Later {
                why: format!("It answers {}.", status.as_u16()),
                not_before: retry_after(answer.headers()),
            }),
        }
    }
}

/// RFC 9110 §10.2.3, as seconds; a date is not worth reading.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Follows no redirect: an answer must not choose whom we tell. Asks no proxy. Certificates are checked by the system's own roots.
pub(super) fn client(patience: &Patience) -> Result<Client, Box<dyn std::error::Error>> {
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    let client = Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .timeout(patience.attempt)
        .user_agent(concat!("Greenroom/", env!("CARGO_PKG_VERSION")))
        .pool_max_idle_per_host(1)
        .build()?;
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_fourfold_up_to_a_bound_and_are_spread() {
        let patience = Patience::default();
        let seconds =
            |dice| (1..7).map(|failed| patience.pause(failed, dice).as_secs_f64()).collect::<Vec<_>>();
        assert_eq!(seconds(0.5), [1.0, 4.0, 16.0, 64.0, 256.0, 600.0]);
        assert_eq!(seconds(0.0), [0.8, 3.2, 12.8, 51.2, 204.8, 480.0]);
        assert_eq!(patience.pause(u32::MAX, 1.0), Duration::from_secs(720));
    }
}
