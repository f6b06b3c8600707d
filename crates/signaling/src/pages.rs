//! The pages and their assets, out of the program itself or a folder.

use crate::config::PageSource;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use std::borrow::Cow;
use std::path::Path;

#[derive(rust_embed::Embed)]
#[folder = "../../ui/dist"]
#[allow_missing = true]
struct Built;

/// One of the UI's pages.
pub(crate) async fn page(source: &PageSource, name: &str) -> Response {
    match file(source, name).await {
        Some(bytes) => with_type(name, bytes, "no-cache"),
        None => plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "The pages are not built yet",
            "Run <code>cargo xtask run</code>, or <code>npm ci &amp;&amp; npm run build</code> in the folder <code>ui</code>, then load this page again.",
        ),
    }
}

/// A file below `assets/`, or the Socket.IO client.
pub(crate) async fn asset(source: &PageSource, path: &str) -> Response {
    // Vite puts a hash of the content into each asset's name.
    let caching =
        if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    match file(source, path).await {
        Some(bytes) => with_type(path, bytes, caching),
        None => missing(),
    }
}

pub(crate) fn missing() -> Response {
    plain(StatusCode::NOT_FOUND, "There is no such page", "Check the link, or ask for a new one.")
}

pub(crate) fn guest_landing() -> Response {
    plain(StatusCode::OK, "Greenroom", "To join a show, open the link that the host sent you.")
}

/// `text` is our own HTML, never a caller's.
fn plain(status: StatusCode, title: &'static str, text: &'static str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>body{{font:1.1rem/1.5 system-ui;margin:20vh auto;max-width:34rem;padding:0 1rem}}</style>\
         <h1>{title}</h1><p>{text}</p></html>"
    );
    (status, Html(page)).into_response()
}

fn with_type(path: &str, bytes: Cow<'static, [u8]>, caching: &'static str) -> Response {
    let kind = media_type(path);
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, HeaderValue::from_static(caching))];
    (headers, bytes).into_response()
}

async fn file(source: &PageSource, path: &str) -> Option<Cow<'static, [u8]>> {
    if !is_plain(path) {
        return None;
    }
    match source {
        PageSource::Embedded => Built::get(path).map(|file| file.data),
        PageSource::Folder(folder) => {
            tokio::fs::read(folder.join(Path::new(path))).await.ok().map(Cow::Owned)
        }
    }
}

/// Relative, downward, and without hidden files: what a build tool writes and nothing else.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    })
}

fn media_type(path: &str) -> HeaderValue {
    HeaderValue::from_static(match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("webp") => "image/webp",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("json" | "map" | "webmanifest") => "application/json",
        Some("wasm") => "application/wasm",
        Some("mp3") => "audio/mpeg",
        Some("wav") => "audio/wav",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_never_leave_the_folder() {
        for good in ["join.html", "assets/join-B2x_9.js", "assets/fonts/a.woff2"] {
            assert!(is_plain(good), "{good}");
        }
        for bad in
            ["", "/etc/passwd", "../x", "assets/../x", "assets//x", ".env", "a\\b", "a%2e", "C:x", "assets/"]
        {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
