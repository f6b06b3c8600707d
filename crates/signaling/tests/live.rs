//! Live rooms over a plain WebSocket: tokens, seats, relays, one publisher, revocation.

mod support;

use serde_json::{Value, json};
use support::*;

const GUEST: &str = "/signaling?token=guest-of-show";

fn say(kind: &str, user: &str, payload: Value) -> Value {
    json!({ "type": kind, "roomId": "show", "userId": user, "payload": payload })
}

async fn seated(server: &greenroom_signaling::Server, user: &str, payload: Value) -> Plain {
    let mut plain = Plain::open(server.control_addr(), GUEST, &[]).await.unwrap();
    plain.say(say("join", user, payload)).await;
    assert_eq!(plain.hear("joined").await["userId"], user);
    plain
}

#[tokio::test]
async fn users_of_a_room_hear_of_each_other_and_speak() {
    let server = start(&Studio::new()).await;
    let mut ada = seated(&server, "ada", json!({ "publish": true })).await;
    let mut bob = Plain::open(server.control_addr(), "/signaling", &[BEARER]).await.unwrap();
    bob.say(say("join", "bob", Value::Null)).await;
    let joined = bob.hear("joined").await;
    assert_eq!(
        joined,
        json!({ "type": "joined", "roomId": "show", "userId": "bob", "payload": {
            "users": [{ "userId": "ada", "publish": true }], "publish": false, "resumed": false } })
    );
    assert_eq!(ada.hear("user-joined").await, say("user-joined", "bob", json!({ "publish": false })));
    bob.say(say("offer", "bob", json!({ "to": "ada", "sdp": "v=0" }))).await;
    assert_eq!(ada.hear("offer").await, say("offer", "bob", json!({ "to": "ada", "sdp": "v=0" })));
    ada.say(json!({ "type": "candidate", "payload": "a text is passed on, too" })).await;
    assert_eq!(bob.hear("candidate").await, say("candidate", "ada", json!("a text is passed on, too")));
    ada.say(json!({ "type": "ping" })).await;
    assert_eq!(ada.hear("pong").await, json!({ "type": "pong", "payload": {} }));
    ada.say(json!({ "type": "leave" })).await;
    assert_eq!(bob.hear("user-left").await, say("user-left", "ada", json!({ "reason": "left" })));
}

#[tokio::test]
async fn a_token_decides_the_room() {
    let server = start(&Studio::new()).await;
    let address = server.control_addr();
    assert_eq!(Plain::open(address, "/signaling?token=forged", &[]).await.err(), Some(403));
    let mut late = Plain::open(address, "/signaling", &[]).await.unwrap();
    late.say(say("join", "eve", json!({}))).await;
    assert_eq!(late.hear("error").await["payload"]["code"], "invite-required");
    assert_eq!(late.end().await, Some(4401));
    let mut late = Plain::open(address, "/signaling", &[]).await.unwrap();
    late.say(json!({ "type": "join", "roomId": "show", "userId": "ada", "token": "guest-of-show" })).await;
    late.hear("joined").await;
    let mut other = Plain::open(address, GUEST, &[]).await.unwrap();
    other.say(json!({ "type": "join", "roomId": "other", "userId": "bob" })).await;
    assert_eq!(other.hear("error").await["payload"]["code"], "invite-other-room");
}

#[tokio::test]
async fn messages_stay_in_their_room_and_carry_their_senders_name() {
    let server = start(&Studio::new()).await;
    let mut ada = seated(&server, "ada", json!({})).await;
    let mut mira = Plain::open(server.control_addr(), "/signaling", &[BEARER]).await.unwrap();
    mira.say(json!({ "type": "join", "roomId": "other", "userId": "mira" })).await;
    mira.hear("joined").await;
    for (message, code) in [
        (say("offer", "ada", json!({ "to": "mira" })), "not-found"),
        (say("offer", "mira", json!({})), "forbidden"),
        (json!({ "type": "offer", "roomId": "other", "payload": {} }), "forbidden"),
        (json!({ "type": "offer" }), "invalid-request"),
        (json!({ "type": "offer", "payload": { "to": 7 } }), "invalid-request"),
        (json!({ "type": "joined" }), "invalid-request"),
        (json!({ "type": "join", "roomId": "../etc", "userId": "x" }), "invalid-request"),
        (json!({ "type": "join", "roomId": "show", "userId": "__proto__" }), "already-joined"),
        (json!(7), "invalid-request"),
    ] {
        ada.say(message.clone()).await;
        assert_eq!(ada.hear("error").await["payload"]["code"], code, "{message}");
    }
    mira.say(json!({ "type": "ping" })).await;
    mira.hear("pong").await;
    assert!(mira.heard.is_empty(), "{:?}", mira.heard);
    let mut outside = Plain::open(server.control_addr(), GUEST, &[]).await.unwrap();
    outside.say(say("offer", "ada", json!({}))).await;
    assert_eq!(outside.hear("error").await["payload"]["code"], "not-joined");
}

#[tokio::test]
async fn a_second_publisher_is_refused_and_a_lost_one_keeps_the_seat() {
    let server = start(&Studio::new()).await;
    let ada = seated(&server, "ada", json!({ "publish": true })).await;
    let mut bob = Plain::open(server.control_addr(), GUEST, &[]).await.unwrap();
    bob.say(say("join", "bob", json!({ "publish": true }))).await;
    assert_eq!(bob.hear("error").await["payload"]["code"], "duplicate-publisher");
    bob.say(say("join", "bob", json!({}))).await;
    bob.hear("joined").await;
    drop(ada);
    let mut again = Plain::open(server.control_addr(), GUEST, &[]).await.unwrap();
    // Whether the old connection's end was seen already does not matter.
    again.say(say("join", "ada", json!({ "publish": true }))).await;
    assert_eq!(again.hear("joined").await["payload"]["resumed"], true);
    again.say(json!({ "type": "offer", "payload": {} })).await;
    bob.hear("offer").await;
    assert!(bob.heard.is_empty(), "nobody heard of the interruption: {:?}", bob.heard);
}

#[tokio::test]
async fn a_seat_ends_with_its_grace_time() {
    let server =
        start_with(&Studio::new(), |config| config.limits.live.grace = std::time::Duration::from_millis(50))
            .await;
    let ada = seated(&server, "ada", json!({})).await;
    let mut bob = seated(&server, "bob", json!({})).await;
    drop(ada);
    assert_eq!(bob.hear("user-left").await["payload"]["reason"], "connection lost");
}

#[tokio::test]
async fn who_is_revoked_is_shown_out_at_once() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut host = Plain::open(server.control_addr(), "/signaling", &[BEARER]).await.unwrap();
    host.say(say("join", "host", json!({}))).await;
    host.hear("joined").await;
    let mut ada = seated(&server, "ada", json!({})).await;
    host.hear("user-joined").await;
    studio.revoke();
    assert_eq!(ada.hear("error").await["payload"]["code"], "invite-revoked");
    assert_eq!(ada.end().await, Some(1001));
    assert_eq!(host.hear("user-left").await["userId"], "ada");
}

#[tokio::test]
async fn who_says_nothing_is_shown_out() {
    let server =
        start_with(&Studio::new(), |config| config.limits.hello_time = std::time::Duration::from_millis(50))
            .await;
    let mut mute = Plain::open(server.control_addr(), GUEST, &[]).await.unwrap();
    assert_eq!(mute.end().await, Some(4401));
}

#[tokio::test]
async fn whoever_does_not_publish_is_a_viewer() {
    let studio = Studio::new();
    let server = start_with(&studio, |config| {
        config.limits.live.grace = std::time::Duration::from_millis(50);
    })
    .await;
    let mut viewers = studio.viewers();
    let mut told = async |expected: Option<u32>| {
        let show = wire::RoomId::parse("show").unwrap();
        let seen = viewers.wait_for(|viewers| viewers.get(&show).copied() == expected);
        tokio::time::timeout(std::time::Duration::from_secs(10), seen).await.expect("it is told").unwrap();
    };
    let ada = seated(&server, "ada", json!({ "publish": true })).await;
    told(Some(0)).await;
    let mut bob = seated(&server, "bob", json!({})).await;
    let eve = seated(&server, "eve", json!({})).await;
    told(Some(2)).await;
    bob.say(json!({ "type": "leave" })).await;
    told(Some(1)).await;
    drop((ada, eve));
    told(None).await;
}

#[tokio::test]
async fn without_memory_nobody_new_sits_down_and_who_sits_stays() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let ada = seated(&server, "ada", json!({})).await;
    studio.fill_memory();
    let mut bob = Plain::open(server.control_addr(), GUEST, &[]).await.unwrap();
    bob.say(say("join", "bob", json!({}))).await;
    assert_eq!(bob.hear("error").await["payload"]["code"], "server-full");
    drop(ada);
    bob.say(say("join", "ada", json!({}))).await;
    assert_eq!(bob.hear("joined").await["payload"]["resumed"], true);
}

#[tokio::test]
async fn who_answers_the_servers_pings_stays() {
    let server =
        start_with(&Studio::new(), |config| config.limits.heartbeat = std::time::Duration::from_millis(400))
            .await;
    let mut ada = seated(&server, "ada", json!({})).await;
    ada.answer_pings(4).await;
    ada.say(json!({ "type": "ping" })).await;
    ada.hear("pong").await;
}

#[tokio::test]
async fn who_answers_no_ping_is_closed_with_the_second_one_missed() {
    let server =
        start_with(&Studio::new(), |config| config.limits.heartbeat = std::time::Duration::from_millis(100))
            .await;
    for path in [GUEST, "/swarm"] {
        let heard = mute_after(server.control_addr(), path, &say("join", "ada", json!({}))).await;
        // Unmasked frames of the server's (RFC 6455 §5.2): two pings, then a close with 1008.
        let pings = heard.windows(2).filter(|frame| *frame == [0x89, 0x00]).count();
        assert_eq!(pings, 2, "{path}");
        let end = heard.windows(2).position(|frame| frame == 1008u16.to_be_bytes()).expect("1008");
        assert!(heard[end + 2..].starts_with(b"silent for too long"), "{path}");
    }
}

#[tokio::test]
async fn floods_and_ten_megabytes_end_the_socket_that_sent_them() {
    let server = start_with(&Studio::new(), |config| config.limits.events_per_second = 1).await;
    let mut bob = seated(&server, "bob", json!({})).await;
    for path in ["/swarm", GUEST] {
        let mut flood = Plain::open(server.control_addr(), path, &[]).await.unwrap();
        for _ in 0..600 {
            if !flood.try_say(r#"{"type":"ping"}"#).await {
                break;
            }
        }
        assert_eq!(flood.end().await, Some(1008), "{path}");
        assert!(flood.heard.iter().any(|said| said.to_string().contains("rate-limited")), "{path}");
        let mut big = Plain::open(server.control_addr(), path, &[]).await.unwrap();
        big.try_say(&format!(r#"{{"type":"offer","x":"{}"}}"#, "x".repeat(70_000))).await;
        assert!(big.hear("error").await.to_string().contains("too-large"), "{path}");
        big.try_say(&"x".repeat(10_000_000)).await;
        big.end().await;
    }
    bob.say(json!({ "type": "ping" })).await;
    bob.hear("pong").await;
}
