//! Attacks on tokens, by name, and what a good one opens.

use super::world::*;
use crate::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;
use wire::Code;
use wire::sfu::{PeerState, Role};

/// An identity provider with one key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { rsa, ec }
    }

    fn rsa_modulus(&self) -> &[u8] {
        self.rsa.public_key().modulus().big_endian_without_leading_zero()
    }

    fn jwks(&self) -> String {
        let exponent = self.rsa.public_key().exponent().big_endian_without_leading_zero();
        let point = self.ec.public_key().as_ref();
        json!({ "keys": [
            { "kty": "RSA", "kid": "r", "use": "sig", "n": B64.encode(self.rsa_modulus()), "e": B64.encode(exponent) },
            { "kty": "EC", "kid": "e", "alg": "ES256", "crv": "P-256",
              "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..65]) },
            { "kty": "oct", "kid": "o", "k": B64.encode(SHARED) },
        ] })
        .to_string()
    }

    fn provider(&self) -> Provider {
        Provider::parse(&self.jwks(), Some("https://id.example".into()), Some("greenroom".into())).unwrap()
    }

    fn rs256(&self, claims: &Value) -> String {
        let message = unsigned(&json!({ "alg": "RS256", "kid": "r" }), claims);
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", B64.encode(signature))
    }

    fn es256(&self, claims: &Value) -> String {
        let message = unsigned(&json!({ "alg": "ES256", "kid": "e", "typ": "JWT" }), claims);
        let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
        format!("{message}.{}", B64.encode(signature))
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", B64.encode(header.to_string()), B64.encode(claims.to_string()))
}

fn hs256(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = unsigned(header, claims);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", B64.encode(mac.finalize().into_bytes()))
}

fn claims(world: &World, changes: Value) -> Value {
    let now = world.now.unix_ms / 1000;
    let mut claims = json!({
        "iss": "https://id.example", "aud": ["other", "greenroom"], "jti": "t-1", "sub": "u-7",
        "room": "show", "role": "guest", "name": "Ada", "exp": now + 600,
    });
    let Value::Object(changes) = changes else { unreachable!("an object of changes") };
    for (name, value) in changes {
        claims[name] = value;
    }
    claims
}

fn knock(world: &mut World, token: &str) -> Result<Joined, Refusal> {
    let mut join = world.asking("", token);
    join.display_name = None;
    world.try_join(join)
}

fn world_of(issuer: &Issuer) -> World {
    let mut world = World::new();
    world.rooms.provider = Some(issuer.provider());
    world
}

#[test]
fn an_invite_may_be_shown_as_a_jwt_and_is_used_up_with_it() {
    let mut world = World::new();
    let invite = world.invite(Role::Guest, 1);
    let claims: Value =
        serde_json::from_slice(&B64.decode(invite.jwt.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!(
        (&claims["room"], &claims["role"], &claims["publish"]),
        (&json!("show"), &json!("guest"), &json!(true))
    );
    assert_eq!(claims["exp"], json!(invite.expires_ms / 1000));
    assert!(knock(&mut world, &invite.jwt).unwrap().is_waiting());
    assert_eq!(knock(&mut world, &invite.token).unwrap_err(), Refusal::InviteUsedUp);
    assert_eq!(knock(&mut world, &invite.jwt).unwrap_err(), Refusal::InviteUsedUp);
}

#[test]
fn a_withdrawn_invite_is_withdrawn_in_every_form() {
    let mut world = World::new();
    let invite = world.invite(Role::Guest, 5);
    let ada = knock(&mut world, &invite.jwt).unwrap();
    world.own(OwnerCommand::RevokeInvite { room: room(), invite: invite.id, end_peers: true }).unwrap();
    assert_eq!(world.told(&ada), ["kicked"]);
    assert_eq!(knock(&mut world, &invite.jwt).unwrap_err(), Refusal::InviteRevoked);
    assert_eq!(world.resume(&ada).unwrap_err(), Refusal::Removed);
}

#[test]
fn a_providers_tokens_open_the_room_they_name() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let token = issuer.rs256(&claims(&world, json!({})));
    let ada = knock(&mut world, &token).unwrap();
    assert_eq!((ada.reply.role, ada.reply.state), (Role::Guest, PeerState::Waiting));
    assert_eq!(ada.reply.display_name.as_str(), "Ada");
    let viewer = claims(&world, json!({ "jti": "t-2", "role": "co-host", "publish": false }));
    let viewer = knock(&mut world, &issuer.es256(&viewer)).unwrap();
    assert_eq!((viewer.reply.role, viewer.reply.may_send), (Role::Viewer, false));
    let waits = claims(&world, json!({ "jti": "t-3", "publish": false }));
    let waits = knock(&mut world, &issuer.es256(&waits)).unwrap();
    assert_eq!((waits.reply.role, waits.is_waiting()), (Role::Viewer, true), "no way past the green room");
}

#[test]
fn an_outside_token_is_counted_listed_withdrawn_and_remembered() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let token = issuer.es256(&claims(&world, json!({ "uses": 2 })));
    // Another signature over the same words is the same token.
    let again = issuer.es256(&claims(&world, json!({ "uses": 2 })));
    knock(&mut world, &token).unwrap();
    let mut world = World::restored(Limits::default(), world.saved());
    world.rooms.provider = Some(issuer.provider());
    knock(&mut world, &again).unwrap();
    assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::InviteUsedUp);
    let listed = world.rooms.invites(world.now, &room()).unwrap();
    assert_eq!((listed.len(), listed[0].uses), (1, 2));

    let token = issuer.es256(&claims(&world, json!({ "jti": "t-9" })));
    knock(&mut world, &token).unwrap();
    let listed = world.rooms.invites(world.now, &room()).unwrap();
    let invite = listed.iter().find(|invite| invite.uses == 1).unwrap().id;
    world.own(OwnerCommand::RevokeInvite { room: room(), invite, end_peers: true }).unwrap();
    assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::InviteRevoked);
}

#[test]
fn forged_jwt() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let good = issuer.rs256(&claims(&world, json!({})));
    let stranger = Issuer::new();
    for forged in [
        stranger.rs256(&claims(&world, json!({}))),
        stranger.es256(&claims(&world, json!({}))),
        good[..good.len() - 2].to_owned(),
        format!("{good}A"),
        good.replacen('.', "..", 1),
        "..".to_owned(),
        "a.b.c".to_owned(),
        format!("{good}{}", "A".repeat(100_000)),
    ] {
        assert_eq!(knock(&mut world, &forged).unwrap_err(), Refusal::InviteForged, "{forged:.60}");
    }
    // The claims of one under the signature of another.
    let other = claims(&world, json!({ "role": "host" }));
    let (_, signature) = good.rsplit_once('.').unwrap();
    let mixed = format!("{}.{signature}", unsigned(&json!({ "alg": "RS256", "kid": "r" }), &other));
    assert_eq!(knock(&mut world, &mixed).unwrap_err(), Refusal::InviteForged);
    assert_eq!(Refusal::InviteForged.code(), Code::InviteInvalid);
}

#[test]
fn every_changed_bit_makes_our_jwt_forged() {
    let mut world = World::new();
    let jwt = world.invite(Role::Guest, 1).jwt;
    for position in 0..jwt.len() {
        for with in [b'A', b'x', b'.'] {
            let mut changed = jwt.clone().into_bytes();
            if changed[position] == with {
                continue;
            }
            changed[position] = with;
            let changed = String::from_utf8(changed).unwrap();
            let refusal = knock(&mut world, &changed).map(|joined| joined.reply).unwrap_err();
            assert_eq!(refusal.code(), Code::InviteInvalid, "{position}");
        }
    }
}

#[test]
fn none_alg_jwt() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    for alg in ["none", "None", "NONE", "nOnE"] {
        let message = unsigned(&json!({ "alg": alg }), &claims(&world, json!({})));
        for signature in ["", "AAAA"] {
            let refusal = knock(&mut world, &format!("{message}.{signature}")).unwrap_err();
            assert_eq!((&refusal, refusal.code()), (&Refusal::TokenUnsigned, Code::InviteInvalid));
        }
    }
}

#[test]
fn wrong_algorithm_jwt() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let invite = world.invite(Role::Host, 9);
    let own = claims(&world, json!({ "iss": "greenroom", "jti": invite.id }));
    // The provider's public key, or any shared secret of its key set, as an HMAC secret.
    let jwks = issuer.jwks();
    for secret in
        [issuer.rsa_modulus(), issuer.ec.public_key().as_ref(), jwks.as_bytes(), SHARED, b"", &[7; 32]]
    {
        for kid in ["r", "e", "o"] {
            for said in [&own, &claims(&world, json!({}))] {
                let token = hs256(&json!({ "alg": "HS256", "kid": kid }), said, secret);
                assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::InviteForged);
            }
        }
    }
    for alg in ["HS384", "HS512", "RS512", "PS256", "ES384", "EdDSA", "", "hs256"] {
        let token = hs256(&json!({ "alg": alg }), &own, SHARED);
        assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::TokenAlgorithm, "{alg}");
    }
    let critical = json!({ "alg": "HS256", "crit": ["b64"], "b64": false });
    let token = hs256(&critical, &own, SHARED);
    assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::TokenAlgorithm);
    // A key of one kind under the name of the other, and a key named in the header itself.
    let message = unsigned(&json!({ "alg": "RS256", "kid": "e" }), &claims(&world, json!({})));
    assert_eq!(knock(&mut world, &format!("{message}.AAAA")).unwrap_err(), Refusal::InviteForged);
    let mut no_provider = World::new();
    let token = issuer.rs256(&claims(&no_provider, json!({})));
    assert_eq!(knock(&mut no_provider, &token).unwrap_err(), Refusal::TokenAlgorithm);
}

#[test]
fn expired_early_and_endless_jwts() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let now = world.now.unix_ms / 1000;
    let check = |world: &mut World, changes: Value, expected: Result<(), Refusal>| {
        let token = issuer.es256(&claims(world, changes.clone()));
        assert_eq!(knock(world, &token).map(drop), expected, "{changes}");
    };
    check(&mut world, json!({ "exp": now - 61 }), Err(Refusal::InviteExpired));
    check(&mut world, json!({ "exp": 0 }), Err(Refusal::InviteExpired));
    check(&mut world, json!({ "exp": now - 59, "jti": "late" }), Ok(()));
    check(&mut world, json!({ "nbf": now + 61 }), Err(Refusal::TokenTooEarly));
    check(&mut world, json!({ "nbf": now + 59, "jti": "early" }), Ok(()));
    check(&mut world, json!({ "exp": now as f64 + 0.5, "jti": "fraction" }), Ok(()));
    for endless in [json!(null), json!("tomorrow"), json!(-1), json!(1e300), json!([])] {
        check(&mut world, json!({ "exp": endless }), Err(Refusal::InviteForged));
    }
    assert_eq!(Refusal::TokenTooEarly.code(), Code::InviteNotYetValid);

    let own = world.invite(Role::Guest, 1).jwt;
    world.pass(Duration::from_secs(3600));
    assert_eq!(knock(&mut world, &own).unwrap_err(), Refusal::InviteExpired);
}

#[test]
fn other_room_jwt() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let other = wire::RoomId::parse("other").unwrap();
    world.own(OwnerCommand::CreateRoom { id: other.clone(), title: None, is_private: false }).unwrap();
    let token = issuer.es256(&claims(&world, json!({ "room": "other" })));
    assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::InviteOtherRoom);
    let mut join = world.asking(
        "Eve",
        &world.rooms.key.clone().sign_invite(&InviteToken {
            id: wire::InviteId(uuid::Uuid::from_u128(4)),
            room: room(),
            role: Role::Host,
            expires_secs: u64::MAX,
        }),
    );
    assert_eq!(world.try_join(join.clone()).unwrap_err(), Refusal::InviteForged, "signed, but of no invite");
    join.token = Some(world.invite(Role::Guest, 1).jwt);
    join.room = other.clone();
    assert_eq!(world.try_join(join).unwrap_err(), Refusal::InviteOtherRoom);
    // One `jti` is one grant, whatever rooms it is issued for.
    let token = issuer.es256(&claims(&world, json!({})));
    knock(&mut world, &token).unwrap();
    let token = issuer.es256(&claims(&world, json!({ "room": "other" })));
    let mut join = world.asking("Eve", &token);
    join.room = other;
    assert_eq!(world.try_join(join).unwrap_err(), Refusal::InviteOtherRoom);
    for room in ["../show", "show/../other", "", "sh ow", "%2e%2e"] {
        let token = issuer.es256(&claims(&world, json!({ "room": room })));
        assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::InviteForged, "{room}");
    }
}

#[test]
fn somebody_elses_jwt() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    for changes in [
        json!({ "iss": "https://evil.example" }),
        json!({ "iss": null }),
        json!({ "iss": "greenroom" }),
        json!({ "aud": "other" }),
        json!({ "aud": [] }),
        json!({ "aud": null }),
    ] {
        let token = issuer.rs256(&claims(&world, changes.clone()));
        assert_eq!(knock(&mut world, &token).unwrap_err(), Refusal::TokenElsewhere, "{changes}");
    }
}

#[test]
fn prototype_looking_claims_mean_nothing() {
    let issuer = Issuer::new();
    let mut world = world_of(&issuer);
    let token = issuer.es256(&claims(
        &world,
        json!({ "__proto__": { "role": "host" }, "constructor": { "prototype": { "role": "host" } }, "jti": "__proto__" }),
    ));
    assert_eq!(knock(&mut world, &token).unwrap().reply.role, Role::Guest);
}

#[test]
fn keys_that_cannot_be_used_are_refused_at_the_start() {
    let refused = |jwks: &str| Provider::parse(jwks, None, None).unwrap_err().to_string();
    assert!(refused("{").contains("JSON Web Key Set"));
    assert!(refused(r#"{"keys":[]}"#).contains("no key"));
    let secret = json!({ "keys": [{ "kty": "oct", "k": B64.encode(SHARED) }] }).to_string();
    assert!(refused(&secret).contains("no key"));
    let encryption =
        json!({ "keys": [{ "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" }] }).to_string();
    assert!(refused(&encryption).contains("no key"));
}

const SHARED: &[u8] = b"a secret that everybody knows";
