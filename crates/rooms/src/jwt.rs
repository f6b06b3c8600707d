//! JSON Web Tokens (RFC 7519): our own over invites, signed with the install's key, and those of an identity provider
//! whose public keys the streamer configured.
//!
//! Which key verifies is decided by the algorithm that is named, never the other way round: HS256 is only ever checked
//! with this install's secret, RS256 and ES256 only with a key of that very kind from the provider's key set (RFC 8725
//! §3.1). Anything else, `none` above all, is refused before a key is looked at.

use crate::Refusal;
use crate::time::Now;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use thiserror::Error;
use wire::sfu::Role;
use wire::{DisplayName, InviteId, RoomId};

/// What a token says, once its signature is good and it is neither too early nor too late for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Of the invite's record: our own, or one that stands for an outside token.
    pub id: InviteId,
    pub room: RoomId,
    pub role: Role,
    /// `false`: whatever the role says, they only watch.
    pub publish: bool,
    pub display_name: Option<DisplayName>,
    pub expires_ms: u64,
    pub max_uses: u32,
    /// Signed by the provider: the first use makes the record.
    pub outside: bool,
}

/// The secret of this install's own tokens.
#[derive(Clone)]
pub(crate) struct OwnKey {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl OwnKey {
    pub fn new(secret: &[u8]) -> Self {
        Self { signing: EncodingKey::from_secret(secret), verifying: DecodingKey::from_secret(secret) }
    }

    /// An invite as a token that other programs can read.
    pub fn sign(&self, claimed: &Claimed, now: Now) -> String {
        let claims = OwnClaims {
            iss: ISSUER,
            jti: claimed.id,
            room: &claimed.room,
            role: claimed.role,
            publish: claimed.publish,
            name: claimed.display_name.as_ref(),
            iat: now.unix_ms / 1000,
            exp: claimed.expires_ms / 1000,
            uses: claimed.max_uses,
        };
        let claims = serde_json::to_vec(&claims).expect("plain data is JSON");
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(HEADER), URL_SAFE_NO_PAD.encode(claims));
        let signature = crypto::sign(message.as_bytes(), &self.signing, Algorithm::HS256);
        format!("{message}.{}", signature.expect("an HMAC takes any key and any message"))
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey(…)")
    }
}

/// An identity provider whose tokens open rooms: its public keys, and what its tokens must say of themselves.
#[derive(Clone, Debug)]
pub struct Provider {
    keys: Vec<Key>,
    issuer: Option<String>,
    audience: Option<String>,
}

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Why a key set was refused.
#[derive(Debug, Error)]
pub enum BadKeys {
    #[error("it is not a JSON Web Key Set (RFC 7517 §5): {0}")]
    Syntax(serde_json::Error),
    #[error("it has no key for RS256 or ES256 signatures")]
    NoKey,
}

impl Provider {
    /// Of the set's keys, those for RS256 (RSA) and ES256 (P-256) signatures count; secrets among them never do.
    pub fn parse(jwks: &str, issuer: Option<String>, audience: Option<String>) -> Result<Self, BadKeys> {
        let set: JwkSet = serde_json::from_str(jwks).map_err(BadKeys::Syntax)?;
        let keys: Vec<Key> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() { Err(BadKeys::NoKey) } else { Ok(Self { keys, issuer, audience }) }
    }

    /// The keys a token may be signed with: the one it names, or each that fits when it names none.
    fn candidates<'a>(
        &'a self,
        algorithm: Algorithm,
        id: Option<&'a str>,
    ) -> impl Iterator<Item = &'a DecodingKey> {
        let fits =
            move |key: &&Key| key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id));
        self.keys.iter().filter(fits).map(|key| &key.key)
    }
}

fn usable(jwk: &Jwk) -> Option<Key> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return None,
    };
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let named = jwk.common.key_algorithm.is_none_or(|named| named.to_string() == format!("{algorithm:?}"));
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (for_signatures && named).then(|| Key { id: jwk.common.key_id.clone(), algorithm, key })
}

/// Whether a text has a JWT's shape (RFC 7519 §3); our short tokens have no dots.
pub(crate) fn looks_like_one(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// What a token grants, if it is good now.
pub(crate) fn read(
    token: &str,
    own: &OwnKey,
    provider: Option<&Provider>,
    now: Now,
) -> Result<Claimed, Refusal> {
    if token.len() > MAX_TOKEN {
        return Err(Refusal::InviteForged);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(Refusal::InviteForged)?;
    let (header, claims) = message.split_once('.').ok_or(Refusal::InviteForged)?;
    let header: Header = part(header)?;
    // An extension that must be understood is not (RFC 7515 §4.1.11).
    if header.crit.is_some() {
        return Err(Refusal::TokenAlgorithm);
    }
    let good = |key: &DecodingKey, algorithm| {
        crypto::verify(signature, message.as_bytes(), key, algorithm).unwrap_or(false)
    };
    let (outside, leeway_ms) = match header.alg.as_str() {
        "HS256" if good(&own.verifying, Algorithm::HS256) => (None, 0),
        "RS256" | "ES256" => {
            let algorithm = if header.alg == "RS256" { Algorithm::RS256 } else { Algorithm::ES256 };
            let provider = provider.ok_or(Refusal::TokenAlgorithm)?;
            let mut keys = provider.candidates(algorithm, header.kid.as_deref()).peekable();
            keys.peek().ok_or(Refusal::InviteForged)?;
            if !keys.any(|key| good(key, algorithm)) {
                return Err(Refusal::InviteForged);
            }
            (Some(provider), LEEWAY_MS)
        }
        "HS256" => return Err(Refusal::InviteForged),
        none if none.eq_ignore_ascii_case("none") => return Err(Refusal::TokenUnsigned),
        _ => return Err(Refusal::TokenAlgorithm),
    };
    let claims: Claims = part(claims)?;
    let expires_ms = claims.exp.0.saturating_mul(1000).saturating_add(leeway_ms);
    if claims.nbf.is_some_and(|nbf| nbf.0.saturating_mul(1000) > now.unix_ms.saturating_add(leeway_ms)) {
        return Err(Refusal::TokenTooEarly);
    }
    if expires_ms <= now.unix_ms {
        return Err(Refusal::InviteExpired);
    }
    let id = match outside {
        None => {
            if claims.iss.as_deref() != Some(ISSUER) {
                return Err(Refusal::InviteForged);
            }
            let id = claims.jti.as_deref().and_then(|id| id.parse().ok());
            id.ok_or(Refusal::InviteForged)?
        }
        Some(provider) => {
            let issued_by =
                provider.issuer.as_deref().is_none_or(|issuer| claims.iss.as_deref() == Some(issuer));
            let meant_for_us = provider.audience.as_deref().is_none_or(|us| claims.aud.names(us));
            if !issued_by || !meant_for_us {
                return Err(Refusal::TokenElsewhere);
            }
            outside_id(&claims, message)
        }
    };
    Ok(Claimed {
        id,
        room: claims.room,
        role: claims.role.unwrap_or(Role::Guest),
        publish: claims.publish.unwrap_or(true),
        display_name: claims.name.and_then(|name| DisplayName::parse(&name).ok()),
        expires_ms,
        max_uses: claims.uses.unwrap_or(MAX_USES).clamp(1, MAX_USES),
        outside: outside.is_some(),
    })
}

fn part<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::InviteForged)?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::InviteForged)
}

/// The same for every use of one token: by its issuer and `jti`, which are unique together (RFC 7519 §4.1.7), or by all it
/// says. The signature is left out: of ES256 there are many good ones for one message.
fn outside_id(claims: &Claims, message: &str) -> InviteId {
    let mut hash = Sha256::new();
    match &claims.jti {
        Some(jti) => {
            let issuer = claims.iss.as_deref().unwrap_or_default();
            hash.update(b"jti\0");
            hash.update((issuer.len() as u64).to_be_bytes());
            hash.update(issuer);
            hash.update(jti);
        }
        None => {
            hash.update(b"whole\0");
            hash.update(message);
        }
    }
    let digest = hash.finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    InviteId(uuid::Builder::from_custom_bytes(id).into_uuid())
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    room: RoomId,
    role: Option<Role>,
    publish: Option<bool>,
    name: Option<String>,
    uses: Option<u32>,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    jti: Option<String>,
    iss: Option<String>,
    #[serde(default)]
    aud: Audience,
}

#[derive(Serialize)]
struct OwnClaims<'a> {
    iss: &'static str,
    jti: InviteId,
    room: &'a RoomId,
    role: Role,
    publish: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a DisplayName>,
    iat: u64,
    exp: u64,
    uses: u32,
}

/// Seconds since 1970; some issuers write fractions (RFC 7519 §2).
#[derive(Clone, Copy)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if (0.0..9e15).contains(&seconds) {
            Ok(Self(seconds as u64))
        } else {
            Err(serde::de::Error::custom("not a date"))
        }
    }
}

/// One audience or several (RFC 7519 §4.1.3).
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
    #[default]
    None,
}

impl Audience {
    fn names(&self, us: &str) -> bool {
        match self {
            Self::One(one) => one == us,
            Self::Several(several) => several.iter().any(|one| one == us),
            Self::None => false,
        }
    }
}

/// The bits of a token's secret: one that may sign is not one that is sent (it is derived from the install's key).
pub(crate) const PURPOSE: &[u8] = b"greenroom JWT HS256";
const ISSUER: &str = "greenroom";
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Between our clock and the provider's.
const LEEWAY_MS: u64 = 60_000;
/// As of an invite of our own.
pub(crate) const MAX_USES: u32 = 1000;
/// An RS256 signature of the largest key takes 1,366 characters.
const MAX_TOKEN: usize = 4096;
