//! Where the pages are served, to whom, and with which certificate.

use super::{Config, ConfigError, value};
use crate::certificate::CertificateFiles;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `[listen]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawListen {
    pub control: Option<String>,
    pub lan: Option<String>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub name: Option<String>,
    pub allowed_origins: Option<Vec<String>>,
}

impl RawListen {
    pub(super) fn check_into(self, config: &mut Config) -> Result<(), ConfigError> {
        if let Some(text) = self.control {
            config.control_listen = control_address(&text)?;
        }
        if let Some(text) = self.lan {
            config.lan_listen = address("listen.lan", &text)?;
        }
        for origin in self.allowed_origins.unwrap_or_default() {
            config.allowed_origins.push(parse_origin(origin)?);
        }
        config.certificate = certificate(self.certificate, self.key, self.name)?;
        Ok(())
    }
}

fn certificate(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    name: Option<String>,
) -> Result<Option<CertificateFiles>, ConfigError> {
    match (certificate, key, name) {
        (None, None, None) => Ok(None),
        (None, ..) => {
            Err(value("listen.certificate", "", "a file, when `listen.key` or `listen.name` is set"))
        }
        (Some(_), None, _) => Err(value("listen.key", "", "a file, when `listen.certificate` is set")),
        (Some(certificate), Some(key), name) => {
            let name = name.map(host_name).transpose()?;
            Ok(Some(CertificateFiles { certificate, key, name }))
        }
    }
}

fn host_name(text: String) -> Result<String, ConfigError> {
    let is_plain =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if text.len() <= 253 && text.split('.').all(is_plain) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(value("listen.name", &text, "a host name like \"studio.example.com\""))
}

fn address(key: &'static str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| value(key, text, "an address and a port, e.g. \"127.0.0.1:3002\""))
}

/// The control listener speaks plain HTTP and may do everything, so it never leaves the machine.
pub(crate) fn control_address(text: &str) -> Result<SocketAddr, ConfigError> {
    let at = address("listen.control", text)?;
    if at.ip().is_loopback() {
        return Ok(at);
    }
    Err(value(
        "listen.control",
        text,
        "a loopback address (127.0.0.1 or [::1]): guests elsewhere use `listen.lan`",
    ))
}

/// An origin is a scheme, a host and perhaps a port (RFC 6454 §6.2); `*` stands for any.
fn parse_origin(text: String) -> Result<String, ConfigError> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good =
        text == "*" || host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', ' ']));
    if good {
        Ok(text)
    } else {
        Err(value(
            "listen.allowed_origins",
            &text,
            "a list of origins like \"https://dashboard.example.com\", or \"*\"",
        ))
    }
}
