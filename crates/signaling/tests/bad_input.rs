//! Whatever a stranger sends is answered in words or ends that stranger; nobody else notices.

mod support;

use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

/// A conversation between two guests, before and after the attack.
struct Bystanders {
    ada: Client,
    mira: Client,
}

impl Bystanders {
    async fn talk_first(server: &greenroom_signaling::Server) -> Self {
        let mut ada = Client::connect(server.control_addr()).await;
        ada.ask("join-room", r#"{"roomId":"show","displayName":"Ada"}"#).await;
        let mut mira = Client::connect(server.control_addr()).await;
        mira.ask("join-room", r#"{"roomId":"show","displayName":"Mira"}"#).await;
        ada.event("peer-joined").await;
        ada.event("room-joined").await;
        mira.event("room-joined").await;
        let mut bystanders = Self { ada, mira };
        bystanders.still_talk().await;
        bystanders
    }

    async fn still_talk(&mut self) {
        assert_eq!(self.mira.ask("chat", r#"{"text":"are you there?"}"#).await, serde_json::json!({}));
        assert_eq!(self.ada.event("chat").await["text"], "are you there?");
        assert!(self.ada.events.is_empty() && self.mira.events.is_empty());
    }
}

#[tokio::test]
async fn bad_requests_are_answered_and_noticed_by_nobody() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut bystanders = Bystanders::talk_first(&server).await;
    let big = format!(r#"{{"text":"{}"}}"#, "x".repeat(70_000));
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_object =
        format!(r#"{{"roomId":"show","x":{}1{}}}"#, r#"{"a":"#.repeat(6_000), "}".repeat(6_000));
    let long_name = format!(r#"{{"roomId":"show","displayName":"{}"}}"#, "n".repeat(10_240));
    for (event, payload, code) in [
        ("no-such-event", "{}", "unknown-event"),
        ("disconnecting", "{}", "unknown-event"),
        ("join-room", "null", "invalid-request"),
        ("join-room", "{}", "invalid-request"),
        ("join-room", "\"show\"", "invalid-request"),
        ("join-room", "[\"show\"]", "invalid-request"),
        ("join-room", r#"{"roomId":7}"#, "invalid-request"),
        ("join-room", r#"{"roomId":"../../etc/passwd"}"#, "invalid-request"),
        ("join-room", r#"{"roomId":"show","displayName":"a\u0000b"}"#, "invalid-request"),
        ("join-room", r#"{"roomId":"show","token":{}}"#, "invalid-request"),
        ("join-room", r#"{"roomId":"show"},{"again":true}"#, "invalid-request"),
        ("join-room", r#"{"roomId":"missing"}"#, "room-not-found"),
        ("join-room", &long_name, "invalid-request"),
        // Before joining: out of order.
        ("produce", r#"{"transportId":"nonsense"}"#, "invalid-request"),
        ("get-stats", "{}", "not-joined"),
        ("leave-room", "null", "not-joined"),
        ("chat", r#"{"text":"hi"}"#, "not-joined"),
        ("chat", &big, "too-large"),
        ("chat", &deep, "invalid-request"),
        ("join-room", &deep_object, "too-large-or-joined"),
        (
            "set-preferred-layers",
            r#"{"consumerId":"00000000-0000-4000-8000-000000000000","spatialLayer":-1}"#,
            "invalid-request",
        ),
    ] {
        let mut stranger = Client::connect(server.control_addr()).await;
        let answer = stranger.ask(event, payload).await;
        let got = answer["code"].as_str().unwrap_or("joined");
        let shown: String = payload.chars().take(80).collect();
        match code {
            // An unknown field that is deep but ignored either passes or is refused; both are fine, a crash is not.
            "too-large-or-joined" => {
                assert!(["joined", "invalid-request"].contains(&got), "{event} {shown}: {got}")
            }
            code => assert_eq!(got, code, "{event} {shown}: {answer}"),
        }
        assert!(answer.to_string().len() < 4_000, "an answer does not echo what was sent");
        if got == "joined" {
            stranger.ask("leave-room", "null").await;
            bystanders.ada.event("peer-joined").await;
            bystanders.ada.event("peer-left").await;
            bystanders.mira.event("peer-joined").await;
            bystanders.mira.event("peer-left").await;
        }
    }
    bystanders.still_talk().await;
}

#[tokio::test]
async fn broken_packets_end_the_connection_that_sent_them() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut bystanders = Bystanders::talk_first(&server).await;
    let ten_megabytes = format!(r#"42["chat",{{"text":"{}"}}]"#, "x".repeat(10_000_000));
    for frame in [
        "4",
        "49",
        "42",
        "42{",
        "42[]",
        "42[7]",
        "42[\"chat\",{\"text\":]",
        "4299999999999999999999999[\"chat\"]",
        "42/other,[\"chat\"]",
        "44{}",
        "45-[\"x\"]",
        "4510-[\"x\"]",
        "451-[\"x\",{\"_placeholder\":true,\"num\":0}]",
        "9",
        "\u{0}",
        "é",
        "0{}",
        "6",
        "5",
        "2probe",
        "42\u{1F600}",
        &ten_megabytes,
    ] {
        let mut stranger = Client::connect(server.control_addr()).await;
        stranger.try_send(Message::text(frame)).await;
        // Whatever became of it, the server must answer others, and this one in words if at all.
        stranger.try_send(Message::text("421[\"get-stats\",{}]")).await;
        while let Some(packet) = stranger.packet().await {
            if packet.starts_with("431[") || packet == "41" {
                break;
            }
        }
    }
    for bytes in [vec![], vec![0; 10], vec![255; 200_000]] {
        let mut stranger = Client::connect(server.control_addr()).await;
        stranger.try_send(Message::binary(bytes)).await;
        stranger.end().await;
    }
    bystanders.still_talk().await;
}

#[tokio::test]
async fn a_flood_is_refused_then_ended_with_a_reason() {
    let studio = Studio::new();
    // So that a slow machine does not earn itself allowance while it floods.
    let server = start_with(&studio, |config| config.limits.events_per_second = 1).await;
    let mut bystanders = Bystanders::talk_first(&server).await;
    let mut flood = Client::connect(server.control_addr()).await;
    flood.ask("join-room", r#"{"roomId":"elsewhere"}"#).await;
    for _ in 0..600 {
        if !flood.try_send(Message::text("42[\"raise-hand\",{\"raised\":true}]")).await {
            break;
        }
    }
    flood.end().await;
    let refusals: Vec<_> = flood.events.iter().filter(|(name, _)| name == "error").collect();
    assert!(refusals.len() > 100, "{}", refusals.len());
    assert_eq!(refusals.last().unwrap().1["code"], "rate-limited");
    // The same connection does not come back with a fresh allowance.
    flood.try_send(Message::text("40")).await;
    if let Some(packet) = flood.packet().await {
        assert!(packet.starts_with("44"), "{packet}");
    }
    bystanders.still_talk().await;
    let asked = studio.log().iter().filter(|line| line.starts_with("RaiseHand")).count();
    assert!(asked <= 260, "the engine saw {asked}");
}

#[tokio::test]
async fn unknown_events_that_go_on_end_the_socket() {
    let studio = Studio::new();
    let server = start_with(&studio, |config| config.limits.refusals = 5).await;
    let mut stranger = Client::connect(server.control_addr()).await;
    for _ in 0..5 {
        stranger.emit("nonsense", "{}").await;
    }
    stranger.end().await;
    assert!(
        stranger.events.iter().all(|(name, payload)| name == "error" && payload["code"] == "unknown-event")
    );
    assert_eq!(stranger.events.len(), 5);
}

#[tokio::test]
async fn foreign_pages_and_rebound_names_are_refused() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let mut bystanders = Bystanders::talk_first(&server).await;
    for headers in [[("origin", "https://evil.example")], [("origin", "null")], [("host", "evil.example")]] {
        let refused = Client::open(address, "EIO=4&transport=websocket", &headers).await;
        assert!(refused.is_err(), "{headers:?}");
        for path in
            ["/socket.io/?EIO=4&transport=polling", "/rooms", "/api/rooms", "/api/dashboard", "/health"]
        {
            let answer = http(address, "GET", path, &[headers[0], BEARER], "").await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (403, Some("forbidden")),
                "{path} {headers:?}"
            );
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
    }
    let answer = http(address, "GET", "/dashboard", &[("Host", "rebound.example:3002")], "").await;
    assert_eq!(answer.status, 403);
    let answer = http(address, "GET", "/rooms", &[("Host", "a"), ("Host", "localhost")], "").await;
    assert_eq!(answer.status, 400);
    let own = format!("http://{address}");
    let mut same = Client::connect_as(address, "", &[("origin", &own)]).await;
    assert_eq!(same.ask("get-stats", "{}").await["code"], "not-joined");
    bystanders.still_talk().await;
}

#[tokio::test]
async fn http_that_is_not_http_ends_quietly() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut bystanders = Bystanders::talk_first(&server).await;
    let long_path = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "a".repeat(100_000));
    let many_fields = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    for text in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "\u{16}\u{3}\u{1}",
        "GET / HTTP/9.9\r\n\r\n",
        &long_path,
        &many_fields,
    ] {
        let mut stream = TcpStream::connect(server.control_addr()).await.unwrap();
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    bystanders.still_talk().await;
}

#[tokio::test]
async fn who_dribbles_a_header_is_cut_off() {
    let studio = Studio::new();
    let server =
        start_with(&studio, |config| config.limits.request_time = std::time::Duration::from_millis(200))
            .await;
    let mut stream = TcpStream::connect(server.control_addr()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // And who promises a body and does not send it.
    let mut stream = TcpStream::connect(server.control_addr()).await.unwrap();
    let head = format!(
        "POST /api/rooms HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n{}: {}\r\n\r\n{{",
        BEARER.0, BEARER.1
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
    // Or by Socket.IO's long polling.
    let open = http(server.control_addr(), "GET", "/socket.io/?EIO=4&transport=polling", &[], "").await;
    let sid = serde_json::from_str::<serde_json::Value>(&open.body[1..]).unwrap()["sid"].to_string();
    let mut stream = TcpStream::connect(server.control_addr()).await.unwrap();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={}", sid.trim_matches('"'));
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n4");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 400");
}

#[tokio::test]
async fn who_reads_nothing_is_cut_off_and_costs_a_bounded_buffer() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut bystanders = Bystanders::talk_first(&server).await;
    let mut deaf = Client::connect(server.control_addr()).await;
    deaf.ask("join-room", r#"{"roomId":"elsewhere"}"#).await;
    // The engine gives up on a full outbox by dropping it; signaling then gives up on the socket.
    tokio::time::pause();
    studio.shout_until_full("elsewhere").await;
    while studio.log().iter().filter(|line| *line == "disconnected").count() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    tokio::time::resume();
    bystanders.still_talk().await;
}
