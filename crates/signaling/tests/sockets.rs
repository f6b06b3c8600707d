//! Socket.IO as its clients see it.

mod support;

use std::sync::Arc;
use support::*;

const ID: &str = "00000000-0000-4000-8000-000000000000";

#[tokio::test]
async fn a_guest_joins_chats_and_leaves() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut ada = Client::connect(server.control_addr()).await;
    let mut mira = Client::connect_as(server.control_addr(), r#"{"token":"from-auth"}"#, &[]).await;

    let joined = ada.ask("join-room", r#"{"roomId":"show","displayName":"Ada","token":"in-payload"}"#).await;
    assert_eq!(joined["roomId"], "show");
    assert_eq!(joined["state"], "live");
    assert_eq!(joined["resumeToken"], "resume");
    assert_eq!(ada.event("room-joined").await, joined);

    let joined = mira.ask("join-room", r#"{"roomId":"show","displayName":"Mira"}"#).await;
    assert_eq!(ada.event("peer-joined").await["peerId"], joined["peerId"]);
    assert_eq!(mira.ask("chat", r#"{"text":"hello"}"#).await, serde_json::json!({}));
    let said = ada.event("chat").await;
    assert_eq!((said["text"].as_str(), said["displayName"].as_str()), (Some("hello"), Some("Mira")));

    assert_eq!(mira.ask("leave-room", "{}").await, serde_json::json!({}));
    assert_eq!(ada.event("peer-left").await["peerId"], joined["peerId"]);
    // Who left by their own wish stays connected and may join again.
    let again = mira.ask("join-room", r#"{"roomId":"show","displayName":"Mira"}"#).await;
    assert_ne!(again["peerId"], joined["peerId"]);

    let log = studio.log();
    assert_eq!(log[0], "join show as Ada token in-payload from 127.0.0.1");
    assert_eq!(log[1], "join show as Mira token from-auth from 127.0.0.1");
    assert_eq!(
        ada.events.iter().filter(|(name, _)| name == "room-joined").count(),
        0,
        "room-joined comes once"
    );
}

#[tokio::test]
async fn requests_sent_back_to_back_keep_their_order() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut client = Client::connect(server.control_addr()).await;
    let transport = format!(r#"{{"transportId":"{ID}","dtlsParameters":{{"fingerprints":[]}}}}"#);
    let track = format!(r#"{{"transportId":"{ID}","kind":"audio","rtpParameters":{{"codecs":[]}}}}"#);
    let mut last = 0;
    for (event, payload) in [
        ("join-room", r#"{"roomId":"show"}"#),
        ("get-router-rtp-capabilities", "null"),
        ("create-webrtc-transport", r#"{"direction":"send"}"#),
        ("connect-transport", &transport),
        ("produce", &track),
        ("leave-room", "null"),
    ] {
        last = client.start(event, payload).await;
    }
    assert_eq!(client.answer(last).await, serde_json::json!({}));
    let log = studio.log();
    let rest: Vec<&str> = log[1..].iter().map(String::as_str).collect();
    assert_eq!(
        rest,
        ["GetRouterRtpCapabilities", "CreateWebrtcTransport", "ConnectTransport", "Produce", "LeaveRoom"]
    );
}

#[tokio::test]
async fn without_a_callback_failures_come_as_error_events() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut client = Client::connect(server.control_addr()).await;
    client.emit("join-room", r#"{"roomId":"missing"}"#).await;
    assert_eq!(client.event("error").await["code"], "room-not-found");
    client.emit("raise-hand", r#"{"raised":true}"#).await;
    assert_eq!(client.event("error").await["code"], "not-joined");
    client.emit("join-room", r#"{"roomId":"show"}"#).await;
    assert_eq!(client.event("room-joined").await["roomId"], "show");
}

#[tokio::test]
async fn what_was_said_before_hanging_up_still_counts() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut stays = Client::connect(server.control_addr()).await;
    stays.ask("join-room", r#"{"roomId":"show"}"#).await;
    let mut goes = Client::connect(server.control_addr()).await;
    goes.ask("join-room", r#"{"roomId":"show"}"#).await;
    goes.emit("leave-room", "null").await;
    goes.send("41").await;
    drop(goes);
    assert_eq!(stays.event("peer-left").await["reason"], "left");
}

#[tokio::test]
async fn a_dropped_connection_is_told_to_the_engine() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut stays = Client::connect(server.control_addr()).await;
    stays.ask("join-room", r#"{"roomId":"show"}"#).await;
    let mut goes = Client::connect(server.control_addr()).await;
    goes.ask("join-room", r#"{"roomId":"show"}"#).await;
    drop(goes);
    assert_eq!(stays.event("peer-left").await["reason"], "gone");
}

#[tokio::test]
async fn a_removed_peer_hears_why_and_is_disconnected() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut client = Client::connect(server.control_addr()).await;
    client.ask("join-room", r#"{"roomId":"show"}"#).await;
    studio.kick_everybody("The host removed you.");
    assert_eq!(client.event("kicked").await["reason"], "The host removed you.");
    client.end().await;
}

#[tokio::test]
async fn the_token_may_come_in_the_query_and_engine_io_3_is_spoken() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut old =
        Client::open(server.control_addr(), "EIO=3&transport=websocket&token=a%20b", &[]).await.unwrap();
    // Socket.IO 2 connects to the root namespace by itself.
    assert_eq!(old.packet().await.as_deref(), Some("40"));
    assert_eq!(old.ask("join-room", r#"{"roomId":"show"}"#).await["roomId"], "show");
    assert!(studio.log()[0].contains("token a b"), "{:?}", studio.log());
}

#[tokio::test]
async fn long_polling_works_too() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let open = http(address, "GET", "/socket.io/?EIO=4&transport=polling", &[], "").await;
    assert_eq!(open.status, 200);
    let sid = serde_json::from_str::<serde_json::Value>(&open.body[1..]).unwrap()["sid"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    assert_eq!(http(address, "POST", &path, &[], "40").await.status, 200);
    assert!(http(address, "GET", &path, &[], "").await.body.starts_with("40"));
    http(address, "POST", &path, &[], "420[\"join-room\",{\"roomId\":\"show\"}]").await;
    let mut heard = String::new();
    while !(heard.contains("430[") && heard.contains("room-joined")) {
        heard += &http(address, "GET", &path, &[], "").await.body;
    }
}

#[tokio::test]
async fn a_full_queue_refuses_instead_of_growing() {
    let studio = Studio::new();
    let server = start_with(&studio, |config| config.limits.queued_requests = 4).await;
    let brake = studio.hold_requests();
    let mut client = Client::connect(server.control_addr()).await;
    let mut acks = Vec::new();
    for _ in 0..8 {
        acks.push(client.start("get-stats", "{}").await);
    }
    // One is being answered, four wait; which of the last is refused first depends on when the first was taken.
    assert_eq!(client.answer(acks[7]).await["code"], "busy");
    brake.add_permits(100);
    assert_eq!(client.answer(acks[0]).await["code"], "not-joined");
}

#[tokio::test]
async fn shutdown_ends_every_socket_and_tells_the_engine() {
    let studio = Studio::new();
    let server = Arc::new(start(&studio).await);
    let mut client = Client::connect(server.control_addr()).await;
    client.ask("join-room", r#"{"roomId":"show"}"#).await;
    let address = server.control_addr();
    let ending = {
        let server = server.clone();
        tokio::spawn(async move {
            server.shutdown(tokio::time::Instant::now() + std::time::Duration::from_secs(3)).await;
        })
    };
    client.end().await;
    drop(client);
    ending.await.unwrap();
    assert_eq!(studio.log().last().map(String::as_str), Some("disconnected"));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
