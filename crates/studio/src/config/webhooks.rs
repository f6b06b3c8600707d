//! Who is told what happens: what a file may say of it. Secrets and addresses never stand in an error.

use super::{ConfigError, value};
use operations::{EventFilter, Secret, WebhookConfig, WebhookUrl};
use serde::Deserialize;

/// One `[[webhooks]]`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWebhook {
    url: String,
    secret: String,
    events: Option<Vec<String>>,
}

impl std::fmt::Debug for RawWebhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawWebhook").field("events", &self.events).finish_non_exhaustive()
    }
}

pub(super) fn check(raw: Vec<RawWebhook>) -> Result<Vec<WebhookConfig>, ConfigError> {
    if raw.len() > MOST {
        return Err(value("webhooks", &raw.len().to_string(), "at most 16"));
    }
    raw.into_iter().map(RawWebhook::check).collect()
}

impl RawWebhook {
    fn check(self) -> Result<WebhookConfig, ConfigError> {
        let allowed = "an http: or https: address without a user, a password or a #fragment";
        let url = WebhookUrl::parse(&self.url).map_err(|_| value("webhooks.url", "…", allowed))?;
        let allowed = "`whsec_` and 24 to 64 random bytes in base64 (openssl rand -base64 32)";
        let secret = Secret::parse(&self.secret).map_err(|_| value("webhooks.secret", "…", allowed))?;
        let events = match self.events {
            None => EventFilter::default(),
            Some(names) => EventFilter::parse(names).map_err(|unknown| {
                value(
                    "webhooks.events",
                    &unknown.0,
                    "a list of names as in docs/monitoring.md, like \"room.live\" or \"peer.*\"",
                )
            })?,
        };
        Ok(WebhookConfig { url, secret, events })
    }
}

/// Each has a task and a queue.
const MOST: usize = 16;
