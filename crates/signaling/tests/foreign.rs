//! Published Socket.IO clients of other languages against this server; by hand, as they need Node and packages:
//! `cargo test -p greenroom-signaling --test foreign -- --ignored`.

mod support;

use support::*;
use tokio::process::Command;

#[tokio::test]
#[ignore = "needs Node and ui/node_modules"]
async fn the_published_javascript_client_is_understood() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/socket-io-client.mjs");
    let url = format!("http://{}", server.control_addr());
    let mut node = Command::new("node");
    node.arg(script).arg(url);
    // Another version of the package, e.g. 2.5 for engine.io 3.
    node.args(std::env::var("SOCKET_IO_FOLDER").ok());
    let status = node.status().await.expect("node is installed");
    assert!(status.success());
}

#[tokio::test]
#[ignore = "needs Python with python-socketio[client]; PYTHON names it"]
async fn python_socketio_is_understood() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/foreign/python_socketio.py");
    let python = std::env::var("PYTHON").unwrap_or("python3".into());
    let url = format!("http://{}", server.control_addr());
    let status = Command::new(python).args([script, &url]).status().await.expect("python is installed");
    assert!(status.success());
}
