//! Tokens never reach a log, at the highest level a program should allow.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use support::*;
use tracing_subscriber::EnvFilter;

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn tokens_are_not_logged() {
    let written = Written::default();
    let log = written.clone();
    let filter = EnvFilter::new("trace").add_directive(greenroom_signaling::LOG_CEILING.parse().unwrap());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || log.clone()).init();
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let mut guest = Client::connect_as(address, r#"{"token":"secret-of-auth"}"#, &[]).await;
    guest
        .ask("join-room", r#"{"roomId":"show","token":"secret-of-join","resumeToken":"secret-of-resume"}"#)
        .await;
    guest.ask("join-room", r#"{"roomId":7,"token":"secret-of-a-bad-join"}"#).await;
    drop(guest);
    drop(Client::open(address, "EIO=3&transport=websocket&token=secret-of-query", &[]).await);
    http(address, "GET", "/join/show?token=secret-of-link", &[], "").await;
    http(address, "GET", "/api/rooms", &[("Authorization", "Bearer secret-of-owner")], "").await;
    server.shutdown(tokio::time::Instant::now() + std::time::Duration::from_secs(2)).await;
    let written = written.0.lock().unwrap();
    let written = String::from_utf8_lossy(&written);
    assert!(written.contains("control listener is open"), "logs are captured");
    let leaked: Vec<&str> = written.lines().filter(|line| line.contains("secret-of")).collect();
    assert!(leaked.is_empty(), "{leaked:#?}");
}
