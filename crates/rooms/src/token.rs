//! Secrets that people carry: the owner's token, invite links, resume tokens.
//!
//! Invite and resume tokens are `base64url(payload ‖ first 16 bytes of HMAC-SHA256(key, payload))`. The first byte
//! names what the payload is, so one kind never passes for another:
//!
//! ```text
//! invite, version 1:  0x01  invite id (16)  role (1)  expiry, Unix seconds (8, big-endian)  room id (1 to 64)
//! resume, version 1:  0x81  seat id (16)
//! ```
//!
//! An invite's token fits a QR code; who wants a JWT of the same invite gets one ([`crate::jwt`]).

use crate::Refusal;
use crate::jwt::{self, Claimed, OwnKey, Provider};
use crate::record::SeatId;
use crate::time::Now;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;
use wire::sfu::Role;
use wire::{InviteId, RoomId};

/// The install's own key for everything it signs.
#[derive(Clone)]
pub struct SigningKey {
    secret: [u8; 32],
    jwt: OwnKey,
}

impl SigningKey {
    pub fn new(bytes: [u8; 32]) -> Self {
        // A secret of its own, so that no token of one kind passes for one of another.
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&bytes).expect("HMAC takes keys of any length (RFC 2104 §2)");
        mac.update(jwt::PURPOSE);
        let jwt = OwnKey::new(&mac.finalize().into_bytes());
        Self { secret: bytes, jwt }
    }

    pub fn sign_invite(&self, invite: &InviteToken) -> String {
        let mut payload = vec![INVITE];
        payload.extend_from_slice(invite.id.0.as_bytes());
        payload.push(role_byte(invite.role));
        payload.extend_from_slice(&invite.expires_secs.to_be_bytes());
        payload.extend_from_slice(invite.room.as_str().as_bytes());
        self.seal(payload)
    }

    /// What a token says, if it is ours. Whether it still counts is for the invite's record to say.
    pub fn read_invite(&self, token: &str) -> Result<InviteToken, Refusal> {
        let payload = self.open(token).ok_or(Refusal::InviteForged)?;
        parse_invite(&payload).ok_or(Refusal::InviteForged)
    }

    /// The same invite as a JWT.
    pub(crate) fn sign_jwt(&self, claimed: &Claimed, now: Now) -> String {
        self.jwt.sign(claimed, now)
    }

    /// What a JWT of ours or of the provider's grants, if it is good now.
    pub(crate) fn read_jwt(
        &self,
        token: &str,
        provider: Option<&Provider>,
        now: Now,
    ) -> Result<Claimed, Refusal> {
        jwt::read(token, &self.jwt, provider, now)
    }

    pub(crate) fn sign_resume(&self, seat: SeatId) -> String {
        let mut payload = vec![RESUME];
        payload.extend_from_slice(seat.0.as_bytes());
        self.seal(payload)
    }

    pub(crate) fn read_resume(&self, token: &str) -> Option<SeatId> {
        let payload = self.open(token)?;
        let (&RESUME, id) = payload.split_first()? else { return None };
        Uuid::from_slice(id).ok().map(SeatId)
    }

    fn seal(&self, mut payload: Vec<u8>) -> String {
        let tag = self.mac(&payload).finalize().into_bytes();
        payload.extend_from_slice(&tag[..TAG]);
        URL_SAFE_NO_PAD.encode(payload)
    }

    fn open(&self, token: &str) -> Option<Vec<u8>> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let tag = bytes.split_off(bytes.len().checked_sub(TAG)?);
        self.mac(&bytes).verify_truncated_left(&tag).ok()?;
        Some(bytes)
    }

    fn mac(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret)
            .expect("HMAC takes keys of any length (RFC 2104 §2)");
        mac.update(payload);
        mac
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// The owner's bearer token. Prints as `…`.
#[derive(Clone)]
pub struct OwnerToken(Arc<str>);

impl OwnerToken {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Takes as long for a near miss as for a far one: both sides are compared under a MAC.
    pub fn matches(&self, candidate: &str) -> bool {
        let tag = |text: &str| {
            let mut mac =
                Hmac::<Sha256>::new_from_slice(b"greenroom owner token").expect("any length (RFC 2104 §2)");
            mac.update(text.as_bytes());
            mac
        };
        tag(candidate).verify(&tag(&self.0).finalize().into_bytes()).is_ok()
    }

    /// For printing access on request; never for logs.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for OwnerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnerToken(…)")
    }
}

/// What an invite's token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteToken {
    pub id: InviteId,
    pub room: RoomId,
    pub role: Role,
    pub expires_secs: u64,
}

fn parse_invite(payload: &[u8]) -> Option<InviteToken> {
    let (&INVITE, rest) = payload.split_first()? else { return None };
    let (id, rest) = rest.split_at_checked(16)?;
    let (&role, rest) = rest.split_first()?;
    let (expires, room) = rest.split_first_chunk::<8>()?;
    Some(InviteToken {
        id: InviteId(Uuid::from_slice(id).ok()?),
        room: RoomId::parse(std::str::from_utf8(room).ok()?).ok()?,
        role: match role {
            0 => Role::Host,
            1 => Role::Guest,
            2 => Role::Viewer,
            3 => Role::CoHost,
            4 => Role::Performer,
            _ => return None,
        },
        expires_secs: u64::from_be_bytes(*expires),
    })
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Host => 0,
        Role::Guest => 1,
        Role::Viewer => 2,
        Role::CoHost => 3,
        Role::Performer => 4,
    }
}

const INVITE: u8 = 0x01;
const RESUME: u8 = 0x81;
/// 128 bits: a guess succeeds once in 2^128 tries.
const TAG: usize = 16;
/// The longest real token is 142 characters.
const MAX_TOKEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> InviteToken {
        InviteToken {
            id: InviteId(Uuid::from_u128(7)),
            room: RoomId::parse("friday-show").unwrap(),
            role: Role::Guest,
            expires_secs: 1_800_000_000,
        }
    }

    #[test]
    fn an_invite_token_says_what_was_signed() {
        let key = SigningKey::new([1; 32]);
        let text = key.sign_invite(&token());
        assert!(text.len() < 80, "fits a QR code: {}", text.len());
        assert_eq!(key.read_invite(&text), Ok(token()));
    }

    #[test]
    fn every_changed_bit_makes_a_token_forged() {
        let key = SigningKey::new([1; 32]);
        let bytes = URL_SAFE_NO_PAD.decode(key.sign_invite(&token())).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.read_invite(&URL_SAFE_NO_PAD.encode(changed)), Err(Refusal::InviteForged));
        }
    }

    #[test]
    fn other_peoples_strings_are_forged_tokens() {
        let key = SigningKey::new([1; 32]);
        let other = SigningKey::new([2; 32]).sign_invite(&token());
        let resume = key.sign_resume(SeatId(Uuid::from_u128(9)));
        for text in ["", "x", "ä", "====", &other, &resume, &"A".repeat(100_000)] {
            assert_eq!(key.read_invite(text), Err(Refusal::InviteForged), "{text:.40}");
        }
        assert_eq!(key.read_resume(&key.sign_invite(&token())), None);
        assert_eq!(key.read_resume(&resume), Some(SeatId(Uuid::from_u128(9))));
    }

    #[test]
    fn the_owners_token_is_compared_whole() {
        let token = OwnerToken::new("correct horse");
        assert!(token.matches("correct horse"));
        assert!(!token.matches("correct hors"));
        assert!(!token.matches("correct horse "));
        assert!(!token.matches(""));
        assert!(!format!("{token:?}").contains("horse"));
    }
}
