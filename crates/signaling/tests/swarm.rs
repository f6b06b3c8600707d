//! Introductions and relays, over Socket.IO and plain WebSockets, and what strangers try with them.

mod support;

use greenroom_signaling::SwarmAccess;
use serde_json::json;
use support::*;

async fn announced(server: &greenroom_signaling::Server, hash: &str) -> (Client, String) {
    let mut client = Client::connect(server.control_addr()).await;
    let list = client.ask("announce", &json!({ "hash": hash, "peerId": "chosen-by-me" }).to_string()).await;
    assert_eq!(client.event("peer-list").await, list);
    let id = list["peerId"].as_str().unwrap().to_owned();
    assert_ne!(id, "chosen-by-me", "ids are the server's");
    (client, id)
}

#[tokio::test]
async fn peers_of_a_hash_are_introduced_and_speak_through_the_server() {
    let server = start(&Studio::new()).await;
    let (mut ada, ada_id) = announced(&server, "file").await;
    let (mut bob, bob_id) = announced(&server, "file").await;
    assert_eq!(ada.event("new-peer").await, json!({ "peerId": bob_id, "hash": "file" }));
    let offer =
        json!({ "targetPeer": ada_id, "offer": { "type": "offer", "sdp": "v=0" }, "fromPeer": "eve" });
    assert_eq!(bob.ask("offer", &offer.to_string()).await, json!({}));
    let heard = ada.event("offer").await;
    assert_eq!(
        heard,
        json!({ "targetPeer": ada_id, "offer": { "type": "offer", "sdp": "v=0" }, "fromPeer": bob_id })
    );
    for event in ["answer", "ice-candidate"] {
        ada.emit(event, &json!({ "targetPeer": bob_id, "x": [1] }).to_string()).await;
        assert_eq!(bob.event(event).await, json!({ "targetPeer": bob_id, "x": [1], "fromPeer": ada_id }));
    }
    drop(bob);
    assert_eq!(ada.event("peer-left").await, json!({ "peerId": bob_id, "hash": "file" }));
    assert_eq!(ada.refusal("offer", &json!({ "targetPeer": bob_id }).to_string()).await, "not-found");
}

#[tokio::test]
async fn a_swarm_relay_does_not_cross_into_another_swarm() {
    let server = start(&Studio::new()).await;
    let (mut ada, ada_id) = announced(&server, "one").await;
    let (mut eve, _) = announced(&server, "two").await;
    for payload in [
        json!({ "targetPeer": ada_id }),
        json!({ "targetPeer": ada_id, "hash": "one" }),
        json!({ "targetPeer": "00000000-0000-4000-8000-000000000000" }),
    ] {
        assert_eq!(eve.refusal("offer", &payload.to_string()).await, "not-found");
    }
    // Nor from who announced nothing, nor after leaving.
    let mut stranger = Client::connect(server.control_addr()).await;
    assert_eq!(stranger.refusal("offer", &json!({ "targetPeer": ada_id }).to_string()).await, "not-found");
    eve.ask("announce", r#"{"hash":"one"}"#).await;
    ada.event("new-peer").await;
    assert_eq!(eve.ask("offer", &json!({ "targetPeer": ada_id }).to_string()).await, json!({}));
    eve.ask("leave", r#"{"hash":"one"}"#).await;
    ada.event("peer-left").await;
    assert_eq!(eve.refusal("offer", &json!({ "targetPeer": ada_id }).to_string()).await, "not-found");
    ada.event("offer").await;
    assert!(ada.events.is_empty());
}

#[tokio::test]
async fn bad_introductions_are_refused_in_words() {
    let server = start(&Studio::new()).await;
    let (mut ada, _) = announced(&server, "__proto__").await;
    let deep = format!(r#"{{"targetPeer":null,"x":{}1{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (event, payload) in [
        ("announce", "{}"),
        ("announce", r#"{"hash":7}"#),
        ("announce", r#"{"hash":""}"#),
        ("announce", r#"{"hash":{"__proto__":1}}"#),
        ("offer", "{}"),
        ("offer", "7"),
        ("offer", r#"{"targetPeer":"constructor"}"#),
        ("offer", &deep),
        ("leave", r#"{"hash":1}"#),
    ] {
        assert_eq!(ada.refusal(event, payload).await, "invalid-request", "{event} {payload:.60}");
    }
    for number in 0..15 {
        ada.ask("announce", &json!({ "hash": number.to_string() }).to_string()).await;
    }
    assert_eq!(ada.refusal("announce", r#"{"hash":"one too many"}"#).await, "limit-reached");
}

#[tokio::test]
async fn a_plain_websocket_speaks_the_same() {
    let server = start(&Studio::new()).await;
    let address = server.control_addr();
    let mut ada = Plain::open(address, "/swarm", &[]).await.unwrap();
    ada.say(json!({ "type": "announce", "hash": "file" })).await;
    let list = ada.hear("peer-list").await;
    assert_eq!(list["peers"], json!([]));
    let ada_id = list["peerId"].clone();
    let mut bob = Plain::open(address, "/swarm", &[]).await.unwrap();
    bob.say(json!({ "type": "announce", "hash": "file" })).await;
    let list = bob.hear("peer-list").await;
    assert_eq!(list["peers"], json!([ada_id]));
    let bob_id = list["peerId"].clone();
    assert_eq!(ada.hear("new-peer").await["peerId"], bob_id);
    // Without a target it is for all the others, whatever they speak.
    let (mut cleo, cleo_id) = announced(&server, "file").await;
    ada.hear("new-peer").await;
    bob.say(json!({ "type": "offer", "sdp": "v=0", "fromPeer": "eve" })).await;
    assert_eq!(ada.hear("offer").await, json!({ "type": "offer", "sdp": "v=0", "fromPeer": bob_id }));
    assert_eq!(cleo.event("offer").await["fromPeer"], bob_id);
    cleo.emit("answer", &json!({ "targetPeer": bob_id, "x": 1 }).to_string()).await;
    bob.hear("new-peer").await;
    let heard = bob.hear("answer").await;
    assert_eq!(heard, json!({ "type": "answer", "targetPeer": bob_id, "x": 1, "fromPeer": cleo_id }));
    for (bad, code) in [
        (r#"{"type":"coffee"}"#, "unknown-event"),
        ("[]", "invalid-request"),
        ("{}", "invalid-request"),
        (r#"{"type":"announce"}"#, "invalid-request"),
    ] {
        ada.say_text(bad).await;
        assert_eq!(ada.hear("error").await["code"], code, "{bad}");
    }
    ada.say(json!({ "type": "ping" })).await;
    ada.hear("pong").await;
    bob.say(json!({ "type": "leave" })).await;
    assert_eq!(ada.hear("peer-left").await["peerId"], bob_id);
    drop(cleo);
    assert_eq!(ada.hear("peer-left").await["peerId"], json!(cleo_id));
}

#[tokio::test]
async fn introductions_can_be_turned_off() {
    let server = start_with(&Studio::new(), |config| config.swarm = SwarmAccess::Off).await;
    assert_eq!(Plain::open(server.control_addr(), "/swarm", &[]).await.err(), Some(403));
    let mut client = Client::connect(server.control_addr()).await;
    assert_eq!(client.refusal("announce", r#"{"hash":"x"}"#).await, "forbidden");
}

#[tokio::test]
async fn a_foreign_page_is_not_introduced() {
    let server = start(&Studio::new()).await;
    for path in ["/swarm", "/signaling"] {
        let refused = Plain::open(server.control_addr(), path, &[("origin", "https://evil.example")]).await;
        assert_eq!(refused.err(), Some(403), "{path}");
    }
}

#[tokio::test]
async fn who_reads_nothing_in_a_swarm_is_cut_off_and_costs_a_bounded_buffer() {
    let server = start_with(&Studio::new(), |config| {
        (config.limits.events_per_second, config.limits.event_burst) = (1_000_000, 1_000_000);
        (config.limits.bytes_per_second, config.limits.byte_burst) = (1_000_000_000, 1_000_000_000);
        config.limits.refusals = 1_000_000;
    })
    .await;
    let deaf = Plain::open(server.control_addr(), "/swarm", &[]).await.unwrap();
    let mut deaf_too = announced(&server, "file").await;
    let mut deaf = deaf;
    deaf.say(json!({ "type": "announce", "hash": "file" })).await;
    let deaf_id = deaf.hear("peer-list").await["peerId"].clone();
    deaf_too.0.event("new-peer").await;
    let (mut loud, _) = announced(&server, "file").await;
    for target in [deaf_id, json!(deaf_too.1)] {
        let payload = json!({ "targetPeer": target, "x": "x".repeat(30_000) }).to_string();
        let mut sent = 0;
        // What the system's own buffers hold comes first; then it ends.
        let code = loop {
            let answer = loud.ask("offer", &payload).await;
            sent += 1;
            assert!(sent < 2_000, "60 MB were taken for who does not read");
            if let Some(code) = answer["code"].as_str() {
                break code.to_owned();
            }
        };
        assert!(["busy", "not-found"].contains(&code.as_str()), "{code}");
        loud.event("peer-left").await;
    }
}
