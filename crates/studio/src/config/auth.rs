//! An identity provider whose tokens open rooms, as configured: a file of its public keys.

use super::{ConfigError, value};
use crate::watched::Stamp;
use anyhow::Context;
use rooms::Provider;
use serde::Deserialize;
use std::path::PathBuf;

/// `[auth]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawAuth {
    pub jwks: Option<PathBuf>,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct AuthConfig {
    /// A JSON Web Key Set (RFC 7517 §5), read at each start and whenever it changes.
    pub jwks: PathBuf,
    pub issuer: Option<String>,
    pub audience: Option<String>,
}

impl AuthConfig {
    pub(super) fn from_raw(raw: RawAuth) -> Result<Option<Self>, ConfigError> {
        match raw {
            RawAuth { jwks: Some(jwks), issuer, audience } => Ok(Some(Self { jwks, issuer, audience })),
            RawAuth { jwks: None, issuer: None, audience: None } => Ok(None),
            _ => Err(value("auth.jwks", "", "a file, when `auth.issuer` or `auth.audience` is set")),
        }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp::of(&[&self.jwks])
    }

    pub(crate) fn read(&self) -> anyhow::Result<Provider> {
        let path = self.jwks.display();
        let keys = std::fs::read_to_string(&self.jwks)
            .with_context(|| format!("`auth.jwks`: cannot read {path}"))?;
        Provider::parse(&keys, self.issuer.clone(), self.audience.clone())
            .with_context(|| format!("`auth.jwks`: {path}"))
    }
}
