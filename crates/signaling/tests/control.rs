//! Attacks on the control API, by name.

mod support;

use serde_json::Value;
use support::*;

/// Every control route, as the document has them.
async fn owner_routes(address: std::net::SocketAddr) -> Vec<(String, String)> {
    let document = http(address, "GET", "/api/openapi.json", &[], "").await.json();
    let mut routes = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if operation["security"][0].get("owner").is_some() {
                routes.push((method.to_ascii_uppercase(), path.clone()));
            }
        }
    }
    assert!(routes.len() > 20);
    routes
}

#[tokio::test]
async fn csrf_from_a_foreign_origin_to_the_control_api() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let id = "00000000-0000-4000-8000-000000000001";
    for (method, path) in owner_routes(address).await {
        let path = path
            .replace("{room}", "show")
            .replace("{invite}", id)
            .replace("{peer}", id)
            .replace("{alarm}", id);
        // Even with the owner's token: a page that got hold of it is still a foreign page.
        for origin in
            [("Origin", "https://evil.example"), ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")]
        {
            let answer = http(address, &method, &path, &[BEARER, JSON, origin], "{}").await;
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (403, Some("forbidden")),
                "{method} {path}"
            );
            assert_eq!(answer.header("access-control-allow-origin"), None);
            let ask = ("Access-Control-Request-Method", method.as_str());
            let preflight = http(address, "OPTIONS", &path, &[origin, ask], "").await;
            assert_eq!(preflight.header("access-control-allow-origin"), None, "{method} {path}");
        }
        // A form needs no preflight: it cannot carry the token, and its type is refused.
        if method == "POST" {
            let form = ("Content-Type", "application/x-www-form-urlencoded");
            let answer = http(address, "POST", &path, &[form], "a=b").await;
            assert_eq!(answer.status, 401, "{path}");
        }
    }
    assert!(studio.log().is_empty(), "{:?}", studio.log());
}

#[tokio::test]
async fn room_id_path_tricks() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    for room in [
        "..",
        ".",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "%2E%2E%5C",
        "show%00",
        "show%0d%0aX-Evil:1",
        "sh%20ow",
        "%C3%A9",
        "%ff",
        "a%2fb",
        "show;x=1",
        &"x".repeat(65),
        "%252e%252e",
        "__proto__%2f",
        "show%3f",
        "show%23",
    ] {
        for tail in ["", "/invites", "/publish-url", "/stream"] {
            let answer = http(address, "GET", &format!("/api/rooms/{room}{tail}"), &[BEARER], "").await;
            assert!(matches!(answer.status, 400 | 404), "{room}{tail}: {}", answer.status);
            assert!(answer.json()["code"].is_string() && answer.header("x-evil").is_none());
        }
        let body = serde_json::json!({ "roomId": room }).to_string();
        let made = http(address, "POST", "/api/rooms", &[BEARER, JSON], &body).await;
        assert_eq!(made.status, 400, "{room}");
    }
    assert!(studio.log().is_empty(), "{:?}", studio.log());
}

#[tokio::test]
async fn prototype_looking_keys() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let evil = r#"{"roomId":"show","__proto__":{"isPrivate":true,"role":"host"},"constructor":{"prototype":{}},"toString":1}"#;
    assert_eq!(http(address, "POST", "/api/rooms", &[BEARER, JSON], evil).await.status, 201);
    assert!(studio.log().last().unwrap().contains("is_private: None"), "{:?}", studio.log());
    // A name like any other: what these words mean elsewhere they do not mean here.
    for room in ["__proto__", "constructor", "hasOwnProperty"] {
        let mut client = Client::connect(address).await;
        let joined = client
            .ask(
                "join-room",
                &serde_json::json!({ "roomId": room, "__proto__": { "role": "host" } }).to_string(),
            )
            .await;
        assert_eq!(joined["roomId"], Value::from(room));
        assert_eq!(joined["role"], "guest");
    }
}

#[tokio::test]
async fn a_private_room_does_not_exist_for_those_who_only_look() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let mut clients = Vec::new();
    for room in ["private-show", "open"] {
        let mut client = Client::connect(address).await;
        client.ask("join-room", &format!(r#"{{"roomId":"{room}"}}"#)).await;
        clients.push(client);
    }
    let ids = |rooms: Value| -> Vec<String> {
        let mut ids: Vec<_> =
            rooms.as_array().unwrap().iter().map(|room| room["id"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(http(address, "GET", "/rooms", &[], "").await.json()), ["open"]);
    assert_eq!(ids(http(address, "GET", "/rooms", &[BEARER], "").await.json()), ["open", "private-show"]);
    assert_eq!(http(address, "GET", "/rooms/private-show", &[], "").await.json()["code"], "room-not-found");
    assert_eq!(http(address, "GET", "/rooms/private-show", &[BEARER], "").await.status, 200);
}
