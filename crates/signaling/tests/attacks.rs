//! Attacks by name: a flood, frames that claim to be compressed, keys that look like prototypes, crowds of half requests.

mod support;

use serde_json::json;
use std::time::{Duration, Instant};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A WebSocket whose frames are written by hand.
async fn upgraded(address: std::net::SocketAddr, path: &str, extra: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{extra}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap().to_lowercase())
}

/// A client's frame; the mask is zero. `first` is the octet of flags and opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// How long somebody else's request takes, again and again: the slowest but one in a hundred.
async fn p99(client: &mut Client, requests: usize) -> Duration {
    let mut times = Vec::new();
    for _ in 0..requests {
        let start = Instant::now();
        client.ask("get-stats", "{}").await;
        times.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    times.sort_unstable();
    times[requests * 99 / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_events_a_second_from_one_socket_delay_nobody() {
    let server = start_with(&Studio::new(), |config| {
        // It is not ended, so that it goes on; and the one who measures may ask as often as it needs.
        config.limits.refusals = u32::MAX;
        config.limits.event_burst = 2_000;
    })
    .await;
    let mut calm = Client::connect(server.control_addr()).await;
    calm.ask("join-room", r#"{"roomId":"show"}"#).await;
    let before = p99(&mut calm, 200).await;

    let (mut flood, _) = upgraded(server.control_addr(), "/socket.io/?EIO=4&transport=websocket", "").await;
    flood.write_all(&frame(0x81, b"40")).await.unwrap();
    let mut opened = Vec::new();
    while !opened.windows(3).any(|three| three == b"40{") {
        opened.push(flood.read_u8().await.unwrap());
    }
    let (mut reading, mut writing) = flood.into_split();
    let event = frame(0x81, br#"42["raise-hand",{"raised":true}]"#);
    let flood = tokio::spawn(async move {
        let many = event.repeat(1_000);
        let mut sent = 0_u64;
        while writing.write_all(&many).await.is_ok() {
            sent += 1_000;
        }
        sent
    });
    let drain = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while reading.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    });
    let meanwhile = p99(&mut calm, 500).await;
    assert!(!flood.is_finished(), "the flood went on all the time");
    flood.abort();
    drain.abort();
    // On a machine that is busy with something else, as slow as it was before.
    let bar = Duration::from_millis(20).max(before * 3);
    assert!(meanwhile < bar, "p99 {meanwhile:?}, without the flood {before:?}");
    eprintln!("p99 {meanwhile:?} beside a flood, {before:?} without");
}

#[tokio::test]
async fn frames_that_claim_to_be_compressed_are_not_inflated() {
    let server = start(&Studio::new()).await;
    let mut calm = Client::connect(server.control_addr()).await;
    // Deflate (RFC 1951): 30 kB that would become 30 MB.
    let bomb = frame(0xc1, &[0xed; 30_000]);
    for path in ["/socket.io/?EIO=4&transport=websocket", "/swarm", "/signaling"] {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        let (mut stream, head) = upgraded(server.control_addr(), path, offer).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(!head.contains("sec-websocket-extensions"), "no compression is agreed to: {head}");
        let _ = stream.write_all(&bomb).await;
        // RFC 6455 §5.2: a reserved bit without a meaning fails the connection.
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest))
            .await
            .expect("it ends")
            .ok();
    }
    assert_eq!(calm.ask("get-stats", "{}").await["code"], "not-joined");
}

#[tokio::test]
async fn a_compressed_body_is_not_inflated() {
    let server = start(&Studio::new()).await;
    let headers = [BEARER, JSON, ("Content-Encoding", "gzip")];
    let answer = http(server.control_addr(), "POST", "/api/rooms", &headers, "\u{1f}\u{8b}not json").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (400, Some("invalid-request")));
}

#[tokio::test]
async fn keys_that_look_like_prototypes_are_only_keys() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut ada = Client::connect(server.control_addr()).await;
    let strange =
        r#"{"roomId":"show","__proto__":{"role":"host"},"constructor":{"prototype":{"isOwner":true}}}"#;
    assert_eq!(ada.ask("join-room", strange).await["role"], "guest");
    assert_eq!(ada.refusal("__proto__", "{}").await, "unknown-event");
    assert_eq!(ada.refusal("constructor", "{}").await, "unknown-event");
    assert_eq!(ada.ask("join-room", r#"{"roomId":"__proto__"}"#).await["code"], "already-joined");
    let list = ada.ask("announce", r#"{"hash":"__proto__","toString":1}"#).await;
    assert_eq!(list["hash"], "__proto__");
    let answer = http(server.control_addr(), "GET", "/rooms/constructor", &[], "").await;
    assert_eq!(answer.json()["id"], json!("constructor"));
}

#[tokio::test]
async fn a_crowd_of_half_requests_keeps_nobody_out() {
    let server =
        start_with(&Studio::new(), |config| config.limits.request_time = Duration::from_millis(500)).await;
    let address = server.control_addr();
    let mut crowd = Vec::new();
    for number in 0..300 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let half = match number % 3 {
            0 => "GET /socket.io/?EIO=4&tran",
            1 => "GET / HTTP/1.1\r\nHost: localhost\r\nX-",
            _ => {
                "POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n4"
            }
        };
        stream.write_all(half.as_bytes()).await.unwrap();
        crowd.push(stream);
    }
    let mut guest = Client::connect(address).await;
    assert_eq!(guest.ask("join-room", r#"{"roomId":"show"}"#).await["roomId"], "show");
    for mut stream in crowd {
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "each is shown out");
    }
    assert_eq!(guest.ask("get-stats", "{}").await, json!({}));
}
