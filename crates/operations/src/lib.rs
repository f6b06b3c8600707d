//! Watching over a running Greenroom: the text that Prometheus reads, alarms, webhooks, and the support bundle.
#![forbid(unsafe_code)]

pub mod alarms;
pub mod bundle;
pub mod exposition;
pub mod logs;
pub mod redact;
pub mod rules;
pub mod webhooks;

pub use alarms::{AlarmEvent, Alarms};
pub use exposition::{Exposition, Histogram, Kind};
pub use logs::LogTail;
pub use rules::{AlarmRules, Guest, Measured, Watch};
pub use webhooks::{EndpointStatus, EventFilter, Patience, Secret, WebhookConfig, WebhookUrl, Webhooks};
