//! openapi.json says what is served, all of it, and nothing else.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use support::*;

#[tokio::test]
async fn every_route_in_the_document_is_served_and_refuses_those_it_says() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let address = server.control_addr();
    let document = http(address, "GET", "/api/openapi.json", &[], "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_ascii_uppercase();
            let id = "00000000-0000-4000-8000-000000000001";
            let path = path
                .replace("{room}", "show")
                .replace("{invite}", id)
                .replace("{peer}", id)
                .replace("{alarm}", id);
            let answer = http(address, &method, &path, &[BEARER, JSON], "").await;
            assert!(
                answer.status != 405 && !answer.body.contains("no such route"),
                "{method} {path}: {} {}",
                answer.status,
                answer.body
            );
            let for_owner = operation["security"][0].get("owner").is_some();
            if for_owner && path != "/api/dashboard" {
                assert_eq!(http(address, &method, &path, &[JSON], "").await.status, 401, "{method} {path}");
            }
        }
    }
}

#[tokio::test]
async fn every_route_served_is_in_the_document() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let document = http(server.control_addr(), "GET", "/api/openapi.json", &[], "").await.json();
    let described: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    // Files and pages are for browsers; the last one catches what is not served.
    let pages = [
        "/",
        "/dashboard",
        "/join/{room}",
        "/assets/{*path}",
        "/socket.io/socket.io.js",
        "/favicon.ico",
        "/api/{*rest}",
    ];
    let sources = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    let mut seen = 0;
    for file in sources {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        for call in text.split(".route(").skip(1) {
            // Those with a name instead of a text are `Routes` itself, and this document.
            let Some(path) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next())
            else {
                continue;
            };
            seen += 1;
            assert!(described.contains(path) || pages.contains(&path), "{path} is not in openapi.json");
        }
    }
    assert!(seen >= pages.len(), "the test reads what it should");
}

#[tokio::test]
async fn every_reference_leads_somewhere_and_types_are_as_on_the_wire() {
    let studio = Studio::new();
    let server = start(&studio).await;
    let document = http(server.control_addr(), "GET", "/api/openapi.json", &[], "").await.json();
    let mut open = vec![&document];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                    let pointer = reference.strip_prefix('#').expect("within the document");
                    assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
                }
                open.extend(fields.values());
            }
            Value::Array(values) => open.extend(values),
            _ => {}
        }
    }
    let schemas = &document["components"]["schemas"];
    assert!(schemas["LiveRoom"]["properties"].get("streamKey").is_some());
    assert_eq!(schemas["RoomStatus"]["enum"], serde_json::json!(["preparing", "live", "ended"]));
    assert!(schemas["Code"].to_string().contains("invite-used-up"));
    let body =
        &document["paths"]["/api/rooms"]["post"]["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/CreateRoom");
}
