//! The dashboard's WebSocket.

mod support;

use futures_util::{SinkExt, StreamExt};
use greenroom_signaling::Preview;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use support::*;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};
use uuid::Uuid;
use wire::PeerId;
use wire::dashboard::Level;

async fn open(address: SocketAddr, origin: Option<&str>) -> Option<WebSocketStream<TcpStream>> {
    let mut request = format!("ws://{address}/api/dashboard").into_client_request().unwrap();
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    let stream = TcpStream::connect(address).await.unwrap();
    client_async(request, stream).await.ok().map(|(socket, _)| socket)
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Message> {
    loop {
        match tokio::time::timeout(Duration::from_secs(10), socket.next()).await.expect("in time") {
            Some(Ok(Message::Ping(_))) => {}
            Some(Ok(message)) => return Some(message),
            _ => return None,
        }
    }
}

async fn json(socket: &mut WebSocketStream<TcpStream>) -> Value {
    match next(socket).await {
        Some(Message::Text(text)) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn hello() -> Message {
    Message::text(format!(r#"{{"token":"{OWNER}"}}"#))
}

#[tokio::test]
async fn the_page_gets_snapshots_levels_and_pictures() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let own = format!("http://{}", server.control_addr());
    let mut page = open(server.control_addr(), Some(&own)).await.unwrap();
    page.send(hello()).await.unwrap();
    assert_eq!(json(&mut page).await["type"], "snapshot");

    studio.change_snapshot(|snapshot| snapshot.slot_count = 4);
    assert_eq!(json(&mut page).await["slotCount"], 4);

    let peer = PeerId(Uuid::new_v4());
    studio.say_levels(vec![Level { peer_id: peer, rms_dbfs: -20.0, peak_dbfs: -10.0 }]);
    let levels = json(&mut page).await;
    assert_eq!(
        (levels["type"].as_str(), levels["levels"][0]["rmsDbfs"].as_f64()),
        (Some("levels"), Some(-20.0))
    );

    assert!(studio.show_preview(Preview { of: peer.0, jpeg: vec![1, 2, 3].into() }));
    let Some(Message::Binary(picture)) = next(&mut page).await else { panic!("a picture") };
    assert_eq!((&picture[..16], &picture[16..]), (peer.0.as_bytes().as_slice(), [1, 2, 3].as_slice()));

    assert!(studio.previews_wanted());
    page.close(None).await.unwrap();
    while next(&mut page).await.is_some() {}
    server.shutdown(tokio::time::Instant::now() + Duration::from_secs(2)).await;
    assert!(!studio.previews_wanted());
}

#[tokio::test]
async fn only_the_owner_looks() {
    let studio = Studio::new();
    let server = start_with(&studio, |config| config.limits.hello_time = Duration::from_millis(100)).await;
    let address = server.control_addr();
    assert!(open(address, Some("https://evil.example")).await.is_none());
    for (said, code, close) in [
        (Some(Message::text(r#"{"token":"forged"}"#)), "unauthorized", 4401),
        (Some(Message::text("token")), "invalid-request", 1008),
        (Some(Message::text(r#"{"token":5}"#)), "invalid-request", 1008),
        (Some(Message::binary(vec![0; 8])), "invalid-request", 1008),
        (None, "unauthorized", 4401),
    ] {
        let mut page = open(address, None).await.unwrap();
        if let Some(said) = said {
            page.send(said).await.unwrap();
        }
        assert_eq!(json(&mut page).await["code"], code);
        let Some(Message::Close(Some(frame))) = next(&mut page).await else { panic!("a close frame") };
        assert_eq!(u16::from(frame.code), close);
    }
    let mut page = open(address, None).await.unwrap();
    let _ = page.send(Message::text("x".repeat(1_000_000))).await;
    while next(&mut page).await.is_some() {}
    assert!(!studio.previews_wanted());
}

#[tokio::test]
async fn a_page_that_reads_nothing_loses_pictures_and_gets_the_newest_state() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let mut page = open(server.control_addr(), None).await.unwrap();
    page.send(hello()).await.unwrap();
    json(&mut page).await;
    let peer = PeerId(Uuid::new_v4());
    let jpeg: std::sync::Arc<[u8]> = vec![7; 200_000].into();
    let mut dropped = 0;
    while dropped < 20 {
        if !studio.show_preview(Preview { of: peer.0, jpeg: jpeg.clone() }) {
            dropped += 1;
            tokio::task::yield_now().await;
        }
    }
    for count in 1..=16 {
        studio.change_snapshot(|snapshot| snapshot.slot_count = count);
    }
    loop {
        match next(&mut page).await.expect("the page is still connected") {
            Message::Text(text) if text.contains("\"slotCount\":16") => break,
            _ => {}
        }
    }
}
