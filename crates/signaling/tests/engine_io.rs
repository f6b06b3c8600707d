//! Engine.IO as its protocol has it: handshakes and their refusals, polling, the way to a WebSocket, heartbeats.

mod support;

use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use support::*;
use tokio_tungstenite::tungstenite::Message;

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A session that polls: its path.
async fn opened(address: SocketAddr, path: &str) -> (String, Value) {
    let answer = http(address, "GET", path, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let open = answer.body.find('{').map(|at| &answer.body[at..]).unwrap();
    // Protocol 3 goes on with the namespace's packet.
    let open: Value = serde_json::Deserializer::from_str(open).into_iter().next().unwrap().unwrap();
    (format!("{path}&sid={}", open["sid"].as_str().unwrap()), open)
}

#[tokio::test]
async fn a_handshake_says_what_the_client_needs() {
    let server = start(&Studio::new()).await;
    let address = server.control_addr();
    let (_, open) = opened(address, POLLING).await;
    assert_eq!(open["upgrades"], serde_json::json!(["websocket"]));
    assert_eq!((open["pingInterval"].as_u64(), open["pingTimeout"].as_u64()), (Some(10_000), Some(15_000)));
    assert_eq!(open["maxPayload"], 256 * 1024);
    let answer = http(address, "GET", POLLING, &[], "").await;
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=UTF-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));

    for (method, path, code) in [
        ("GET", "/socket.io/?EIO=4", 0),
        ("GET", "/socket.io/?EIO=4&transport=abc", 0),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=nobody", 1),
        ("POST", "/socket.io/?EIO=4&transport=polling&sid=nobody", 1),
        ("POST", POLLING, 2),
        ("PUT", POLLING, 2),
        ("GET", "/socket.io/?EIO=4&transport=websocket", 3),
        ("GET", "/socket.io/?transport=polling", 5),
        ("GET", "/socket.io/?EIO=abc&transport=polling", 5),
        ("GET", "/socket.io/?EIO=2&transport=websocket", 5),
        ("GET", "/socket.io/?EIO=4&EIO=3&transport=polling", 3),
    ] {
        let answer = http(address, method, path, &[], "").await;
        assert_eq!((answer.status, answer.json()["code"].as_u64()), (400, Some(code)), "{method} {path}");
    }
}

#[tokio::test]
async fn protocol_3_polls_too() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let (path, open) = opened(address, "/socket.io/?EIO=3&transport=polling&token=abc").await;
    assert_eq!(open["maxPayload"], Value::Null);
    let body = "2:2\u{e4}39:420[\"join-room\",{\"roomId\":\"show\"}]";
    let body = body.replace("39:", &format!("{}:", body.split_once("39:").unwrap().1.len()));
    assert_eq!(http(address, "POST", &path, &[], &body).await.body, "ok");
    let mut heard = String::new();
    while !heard.contains("room-joined") {
        heard += &http(address, "GET", &path, &[], "").await.body;
    }
    assert!(heard.contains("2:3\u{e4}"), "its ping comes back: {heard}");
    assert!(heard.contains(":430["), "{heard}");
    assert!(studio.log()[0].contains("token abc"), "{:?}", studio.log());
    assert_eq!(http(address, "POST", &path, &[], "99:4").await.status, 400);
}

#[tokio::test]
async fn two_polls_at_once_end_a_session() {
    let server = start(&Studio::new()).await;
    let address = server.control_addr();
    let (path, _) = opened(address, POLLING).await;
    let both = tokio::join!(http(address, "GET", &path, &[], ""), http(address, "GET", &path, &[], ""));
    // Each may have come first; neither is left waiting.
    assert!(both.0.status == 400 || both.1.status == 400, "{both:?}");
    let mut after = http(address, "GET", &path, &[], "").await;
    while after.status == 200 {
        after = http(address, "GET", &path, &[], "").await;
    }
    assert_eq!(after.status, 400);
}

#[tokio::test]
async fn who_polls_goes_over_to_a_web_socket_and_misses_nothing() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let (path, _) = opened(address, POLLING).await;
    assert_eq!(http(address, "POST", &path, &[], "40").await.status, 200);
    assert!(http(address, "GET", &path, &[], "").await.body.starts_with("40"));
    let waiting = {
        let path = path.clone();
        tokio::spawn(async move { http(address, "GET", &path, &[], "").await.body })
    };

    let query = path.split_once('?').unwrap().1.replace("polling", "websocket");
    let mut socket = Client::try_upgrade(address, &query).await.unwrap();
    socket.send("2probe").await;
    assert_eq!(socket.packet().await.as_deref(), Some("3probe"));
    assert_eq!(waiting.await.unwrap(), "6", "the poll under way is let go");
    // Until the client says so, it polls.
    http(address, "POST", &path, &[], "420[\"join-room\",{\"roomId\":\"show\"}]").await;
    socket.send("5").await;
    let joined = socket.answer(0).await;
    assert_eq!(socket.event("room-joined").await, joined);
    assert_eq!(socket.ask_with(1, "chat", r#"{"text":"hello"}"#).await, serde_json::json!({}));
    // Its id opens nothing else.
    assert!(
        Client::try_upgrade(address, &query).await.is_err_and(|error| error.to_string().contains("400")) || {
            let answer = http(address, "POST", &path, &[], "3").await;
            answer.status == 400
        }
    );
}

#[tokio::test]
async fn a_web_socket_that_fails_the_probe_changes_nothing() {
    let server = start(&Studio::new()).await;
    let address = server.control_addr();
    let (path, _) = opened(address, POLLING).await;
    let query = path.split_once('?').unwrap().1.replace("polling", "websocket");
    for first in ["2", "40", "5", "nonsense"] {
        let mut socket = Client::try_upgrade(address, &query).await.unwrap();
        socket.try_send(Message::text(first)).await;
        assert_eq!(socket.packet().await, None, "{first}");
    }
    let mut left = Client::try_upgrade(address, &query).await.unwrap();
    left.send("2probe").await;
    assert_eq!(left.packet().await.as_deref(), Some("3probe"));
    drop(left);
    assert_eq!(http(address, "POST", &path, &[], "40").await.status, 200);
    let mut heard = String::new();
    while !heard.contains("40{") {
        heard = http(address, "GET", &path, &[], "").await.body;
    }
}

#[tokio::test]
async fn only_our_namespaces_open_and_each_connection_has_one() {
    let server = start(&Studio::new()).await;
    let mut client = Client::open(server.control_addr(), "EIO=4&transport=websocket", &[]).await.unwrap();
    client.send("40/other,{}").await;
    let refused = client.packet().await.unwrap();
    assert!(refused.starts_with(r#"44/other,{"message":"Invalid namespace""#), "{refused}");
    client.send(r#"40{"token":7}"#).await;
    assert!(client.packet().await.unwrap().starts_with(r#"44{"message":"`auth`"#));
    client.send("40/signaling,").await;
    assert!(client.packet().await.unwrap().starts_with(r#"40/signaling,{"sid":""#));
    client.send(r#"42/signaling,7["get-stats",{}]"#).await;
    assert!(client.packet().await.unwrap().starts_with(r#"43/signaling,7[{"error""#));
    client.send("40").await;
    assert!(client.packet().await.unwrap().starts_with("44{"));
    client.send(r#"452-/signaling,8["chat",{"_placeholder":true,"num":0}]"#).await;
    client.try_send(Message::binary(vec![1, 2, 3])).await;
    client.try_send(Message::binary(vec![])).await;
    let refused = client.packet().await.unwrap();
    assert!(refused.starts_with("43/signaling,8[") && refused.contains("attachments"), "{refused}");
    client.send(r#"42/signaling,9["get-stats",{}]"#).await;
    assert!(client.packet().await.unwrap().starts_with("43/signaling,9["));
}

#[tokio::test]
async fn who_never_says_what_it_wants_is_shown_out() {
    let server =
        start_with(&Studio::new(), |config| config.limits.request_time = Duration::from_millis(200)).await;
    let mut silent = Client::open(server.control_addr(), "EIO=4&transport=websocket", &[]).await.unwrap();
    silent.end().await;
    let (path, _) = opened(server.control_addr(), POLLING).await;
    // The poll that waits is let go.
    let answer = http(server.control_addr(), "GET", &path, &[], "").await;
    assert!(answer.status == 400 || answer.body == "1", "{answer:?}");
}

#[tokio::test]
async fn a_client_without_a_pulse_is_gone_within_25_seconds() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut client = Client::connect(server.control_addr()).await;
    client.ask("join-room", r#"{"roomId":"show"}"#).await;
    client.event("room-joined").await;
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    // Whoever answers stays.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(10_100)).await;
        assert_eq!(client.raw().await.as_deref(), Some("2"));
        client.send("3").await;
    }
    let answered = start.elapsed();
    while studio.log().last().map(String::as_str) != Some("disconnected") {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let silent = start.elapsed() - answered;
    assert!(silent <= Duration::from_secs(26), "{silent:?}");
}
