//! REST, pages and the two listeners.

mod support;

use greenroom_signaling::{AllowedOrigins, LanConfig, PageSource};
use std::net::SocketAddr;
use std::sync::Arc;
use support::*;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

const PEER: &str = "00000000-0000-4000-8000-000000000001";

#[tokio::test]
async fn every_owner_route_reaches_the_engine_and_needs_the_token() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let peer = |action: &str| format!("/api/rooms/show/peers/{PEER}{action}");
    let routes = [
        ("POST", "/api/rooms".to_owned(), r#"{"roomId":"show","title":"My show"}"#, 201, "owner CreateRoom"),
        ("GET", "/api/rooms".into(), "", 200, "owner ListRooms"),
        ("GET", "/api/rooms/show".into(), "", 404, "owner ReadRoom"),
        ("PUT", "/api/rooms/show".into(), r#"{"status":"live"}"#, 200, "owner UpdateRoom"),
        ("DELETE", "/api/rooms/show".into(), "", 200, "owner DeleteRoom"),
        ("GET", "/api/rooms/show/publish-url".into(), "", 200, "owner PublishUrls"),
        ("GET", "/api/rooms/show/play-urls".into(), "", 200, "owner PlayUrls"),
        ("GET", "/api/rooms/show/stream".into(), "", 200, "owner StreamState"),
        (
            "POST",
            "/api/rooms/show/invites".into(),
            r#"{"expiresIn":60,"maxUses":2}"#,
            201,
            "owner CreateInvite",
        ),
        ("POST", "/api/rooms/show/invites".into(), "", 201, "owner CreateInvite"),
        ("GET", "/api/rooms/show/invites".into(), "", 200, "owner ListInvites"),
        ("DELETE", format!("/api/rooms/show/invites/{PEER}?endPeers=true"), "", 200, "owner RevokeInvite"),
        ("POST", peer("/admit"), "{}", 200, "owner Admit"),
        ("POST", peer("/admit"), r#"{"slot":2}"#, 200, "owner Admit"),
        ("POST", peer("/slot"), r#"{"slot":null}"#, 200, "owner AssignSlot"),
        ("POST", peer("/mute"), r#"{"kind":"audio","muted":true}"#, 200, "owner Mute"),
        ("DELETE", peer(""), "", 200, "owner Remove"),
        ("POST", "/api/obs/plugin".into(), "", 200, "owner InstallObsPlugin"),
        ("DELETE", "/api/obs/plugin".into(), "", 200, "owner RemoveObsPlugin"),
        ("PUT", "/api/obs/control".into(), r#"{"on":true}"#, 200, "owner AllowObsControl(true)"),
        (
            "POST",
            "/api/obs/sources".into(),
            r#"{"layout":"side-by-side","slots":[2,1]}"#,
            201,
            "owner AddToObs(AddToObs { layout: SideBySide",
        ),
        ("DELETE", "/api/obs/sources/last".into(), "", 200, "owner UndoAddToObs"),
        ("PUT", "/api/lan".into(), r#"{"on":true}"#, 200, "owner SetLanAccess(true)"),
    ];
    for (method, path, body, status, asked) in &routes {
        let answer = http(address, method, path, &[BEARER, JSON], body).await;
        assert_eq!(answer.status, *status, "{method} {path}: {}", answer.body);
        assert!(
            studio.log().last().unwrap().starts_with(asked),
            "{method} {path}: {:?}",
            studio.log().last()
        );
        let before = studio.log().len();
        for token in [None, Some("Bearer forged"), Some("Basic owner-token-of-the-tests"), Some("Bearer ")] {
            let headers: Vec<_> = token.iter().map(|token| ("Authorization", *token)).chain([JSON]).collect();
            let answer = http(address, method, path, &headers, body).await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (401, Some("unauthorized")),
                "{method} {path}"
            );
        }
        assert_eq!(studio.log().len(), before);
    }
    assert!(studio.log().iter().any(|line| line.contains("end_peers: true")));
}

#[tokio::test]
async fn bad_rest_requests_are_answered_in_the_documented_shape() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let big = format!(r#"{{"roomId":"show","title":"{}"}}"#, "x".repeat(70_000));
    let deep = format!(r#"{{"roomId":{}"#, "[".repeat(20_000));
    let mute = format!("/api/rooms/show/peers/{PEER}/mute");
    for (method, path, body, status, code) in [
        ("POST", "/api/rooms", "{", 400, "invalid-request"),
        ("POST", "/api/rooms", "[]", 400, "invalid-request"),
        ("POST", "/api/rooms", r#"{"roomId":"a b"}"#, 400, "invalid-request"),
        ("POST", "/api/rooms", r#"{"roomId":"a","title":""}"#, 400, "invalid-request"),
        ("POST", "/api/rooms", &big, 413, "too-large"),
        ("POST", "/api/rooms", &deep, 400, "invalid-request"),
        ("PUT", "/api/rooms/show", r#"{"status":"paused"}"#, 400, "invalid-request"),
        ("POST", "/api/rooms/show/invites", r#"{"expiresIn":-1}"#, 400, "invalid-request"),
        ("POST", "/api/rooms/show/invites", r#"{"expiresIn":2592001}"#, 400, "invalid-request"),
        ("POST", "/api/rooms/show/invites", r#"{"maxUses":0}"#, 400, "invalid-request"),
        ("DELETE", "/api/rooms/show/invites/17", "", 404, "not-found"),
        (
            "DELETE",
            "/api/rooms/show/invites/00000000-0000-4000-8000-000000000001?endPeers=maybe",
            "",
            400,
            "invalid-request",
        ),
        ("POST", mute.as_str(), r#"{"kind":"smell","muted":true}"#, 400, "invalid-request"),
        ("POST", "/api/obs/sources", r#"{"layout":"pile"}"#, 400, "invalid-request"),
        ("POST", "/api/obs/sources", r#"{"layout":"grid","slots":[1,2,1]}"#, 400, "invalid-request"),
        ("POST", "/api/obs/sources", r#"{"layout":"solo","slots":[17]}"#, 400, "invalid-request"),
        ("PUT", "/api/obs/control", "{}", 400, "invalid-request"),
        ("POST", "/api/rooms/show/peers/17/admit", "{}", 404, "not-found"),
        (
            "POST",
            "/api/rooms/show/peers/00000000-0000-4000-8000-000000000001/admit",
            r#"{"slot":99}"#,
            400,
            "invalid-request",
        ),
        ("GET", "/api/rooms/%2e%2e", "", 400, "invalid-request"),
        ("GET", "/api/nothing", "", 404, "not-found"),
        ("GET", "/api", "", 404, "not-found"),
        ("PATCH", "/api/rooms", "", 405, "invalid-request"),
        ("DELETE", "/health", "", 405, "invalid-request"),
        ("GET", "/api/dashboard", "", 400, "invalid-request"),
        ("GET", "/rooms/missing", "", 404, "room-not-found"),
        ("GET", "/rooms/a%20b", "", 400, "invalid-request"),
    ] {
        let answer = http(address, method, path, &[BEARER, JSON], body).await;
        assert_eq!(
            (answer.status, answer.json()["code"].as_str()),
            (status, Some(code)),
            "{method} {path} {}",
            answer.body
        );
        assert!(
            answer.json()["error"].as_str().is_some_and(|sentence| sentence.ends_with('.')),
            "{}",
            answer.body
        );
    }
    let form = ("Content-Type", "text/plain");
    let answer = http(address, "POST", "/api/rooms", &[BEARER, form], r#"{"roomId":"show"}"#).await;
    assert_eq!(answer.status, 400);
    assert!(studio.log().is_empty(), "{:?}", studio.log());
}

#[tokio::test]
async fn health_and_rooms_need_no_token_on_this_machine() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let mut guest = Client::connect(address).await;
    guest.ask("join-room", r#"{"roomId":"show"}"#).await;
    let answer = http(address, "GET", "/health", &[], "").await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    let answer = http(address, "GET", "/rooms", &[], "").await;
    assert_eq!(answer.json(), serde_json::json!([{ "id": "show", "peers": 1, "isPrivate": false }]));
    assert_eq!(http(address, "GET", "/rooms/show", &[], "").await.json()["title"], "t");
    studio.become_unhealthy();
    let answer = http(address, "GET", "/health", &[], "").await;
    assert_eq!(
        (answer.status, answer.json()["reasons"][0].as_str()),
        (503, Some("the media worker is away"))
    );
}

#[tokio::test]
async fn allowed_origins_get_cors_and_only_what_they_may() {
    let studio = Studio::new();
    let server = start_with(&studio, |config| {
        config.origins = AllowedOrigins::parse(["http://localhost:5173", "*"]).unwrap();
    })
    .await;
    let address = server.control_addr();
    let dev = ("Origin", "http://localhost:5173");
    let preflight =
        [dev, ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "authorization")];
    let answer = http(address, "OPTIONS", "/api/rooms/show", &preflight, "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(dev.1)));
    let answer = http(address, "GET", "/api/rooms", &[dev, BEARER], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(dev.1)));
    let other = ("Origin", "https://other.example");
    let answer = http(address, "GET", "/socket.io/?EIO=4&transport=polling", &[other], "").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(other.1)));
    assert_eq!(http(address, "GET", "/api/rooms", &[other, BEARER], "").await.status, 403);
}

#[tokio::test]
async fn pages_come_from_the_build_and_are_bound() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("assets")).unwrap();
    for (name, text) in [
        ("dashboard.html", "the dashboard"),
        ("join.html", "the guest page"),
        ("socket.io.js", "io"),
        ("assets/a-1.js", "code"),
        (".secret", "no"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let studio = Studio::new();
    let server = start_with(&studio, |config| config.pages = PageSource::Folder(folder.path().into())).await;
    let address = server.control_addr();
    for (path, status, kind, body) in [
        ("/dashboard", 200, "text/html; charset=utf-8", "the dashboard"),
        ("/join/show?token=t", 200, "text/html; charset=utf-8", "the guest page"),
        ("/socket.io/socket.io.js", 200, "text/javascript; charset=utf-8", "io"),
        ("/assets/a-1.js", 200, "text/javascript; charset=utf-8", "code"),
        ("/assets/missing.js", 404, "text/html; charset=utf-8", ""),
        ("/assets/../.secret", 404, "text/html; charset=utf-8", ""),
        ("/assets/%2e%2e/.secret", 404, "text/html; charset=utf-8", ""),
        ("/nothing", 404, "text/html; charset=utf-8", ""),
    ] {
        let answer = http(address, "GET", path, &[], "").await;
        assert_eq!((answer.status, answer.header("content-type")), (status, Some(kind)), "{path}");
        assert!(body.is_empty() || answer.body == body, "{path}: {}", answer.body);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("script-src 'self';") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        assert!(policy.contains(&format!("ws://{address}")), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    }
    let landing = http(address, "GET", "/", &[], "").await;
    assert_eq!((landing.status, landing.header("location")), (303, Some("/dashboard")));

    let server = start_with(&studio, |config| config.pages = PageSource::Folder("/nonexistent".into())).await;
    let answer = http(server.control_addr(), "GET", "/join/show", &[], "").await;
    assert!(answer.status == 503 && answer.body.contains("not built"), "{answer:?}");
}

fn certificate() -> (LanConfig, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots
        .add(
            tokio_rustls::rustls::pki_types::CertificateDer::from_pem_slice(made.cert.pem().as_bytes())
                .unwrap(),
        )
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let lan = LanConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        cert_pem: made.cert.pem(),
        key_pem: made.signing_key.serialize_pem(),
    };
    (lan, Arc::new(client))
}

async fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(config.clone()).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn guests_on_the_lan_get_https_and_never_the_owners_routes() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let (lan, client) = certificate();
    let address = server.set_lan(Some(lan.clone())).await.unwrap().expect("an address");

    let stream = tls(address, &client).await.unwrap();
    let mut guest = Client::open_over(stream, "localhost", "EIO=4&transport=websocket", &[]).await.unwrap();
    guest.send("40").await;
    assert!(guest.packet().await.unwrap().starts_with("40"));
    assert_eq!(guest.ask("join-room", r#"{"roomId":"show"}"#).await["roomId"], "show");

    for (path, status) in [
        ("/health", 200),
        ("/", 200),
        ("/rooms", 404),
        ("/rooms/show", 404),
        ("/api/rooms", 404),
        ("/dashboard", 404),
        ("/api/dashboard", 404),
    ] {
        let answer =
            http_over(tls(address, &client).await.unwrap(), "localhost", "GET", path, &[BEARER], "").await;
        assert_eq!(answer.status, status, "{path}");
    }
    // Somebody typed http://.
    let answer = http(address, "GET", "/join/show?token=t", &[("Host", "mira.local:3443")], "").await;
    assert_eq!(answer.header("location"), Some("https://mira.local:3443/join/show?token=t"));

    // The same address with another certificate: the guest stays.
    let (mut renewed, renewed_client) = certificate();
    renewed.listen = lan.listen;
    assert_eq!(server.set_lan(Some(renewed)).await.unwrap(), Some(address));
    assert_eq!(guest.ask("raise-hand", r#"{"raised":true}"#).await, serde_json::json!({}));
    assert!(tls(address, &client).await.is_err());
    assert!(tls(address, &renewed_client).await.is_ok());

    assert_eq!(server.set_lan(None).await.unwrap(), None);
    guest.end().await;
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(http(server.control_addr(), "GET", "/health", &[], "").await.status, 200);
}

#[tokio::test]
async fn lan_problems_are_plain_sentences() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let (lan, _) = certificate();
    let taken = LanConfig { listen: server.control_addr(), ..lan.clone() };
    let problem = server.set_lan(Some(taken)).await.unwrap_err().to_string();
    assert!(problem.contains("another program uses this port"), "{problem}");
    let problem =
        server.set_lan(Some(LanConfig { key_pem: "nonsense".into(), ..lan })).await.unwrap_err().to_string();
    assert!(problem.contains("certificate"), "{problem}");
}
