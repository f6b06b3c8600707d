//! Who may call from a browser: the Host check against DNS rebinding, the Origin check, CORS, and the headers
//! that bind our own pages.

use crate::answer::Refused;
use crate::config::AllowedOrigins;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use wire::{Code, Failure};

/// The names under which a listener may be addressed.
#[derive(Clone, Debug)]
pub(crate) enum Hosts {
    /// Any: nothing behind this listener trusts its caller's network position.
    Any,
    /// Loopback, the address it listens on, and what the streamer added.
    Own { listen: IpAddr, extra: Vec<String> },
}

impl Hosts {
    fn accept(&self, host: &str) -> bool {
        let Hosts::Own { listen, extra } = self else { return true };
        let name = without_port(host);
        match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            // A rebinding attack needs a name to rebind: an address in the Host field is what was dialled.
            Ok(address) => address.is_loopback() || address == *listen || listen.is_unspecified(),
            Err(_) => {
                name.eq_ignore_ascii_case("localhost")
                    || extra.iter().any(|own| own.eq_ignore_ascii_case(name))
            }
        }
    }
}

/// What stands behind a route, and so who may reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Guests' Socket.IO: the token says who they are, and other people's dashboards may speak it.
    Guests,
    /// REST and the dashboard's socket.
    Owner,
}

/// The Origin rule of one group of routes.
#[derive(Clone, Debug)]
pub(crate) struct OriginRule {
    pub surface: Surface,
    pub allowed: Arc<AllowedOrigins>,
}

/// Refuses requests addressed to a name that is not ours; binds every answer with [`bind_page`].
pub(crate) async fn check_host(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    let host = match sole_host(request.headers()) {
        Some(host) => host.to_owned(),
        None => {
            return Refused(Failure::new(Code::InvalidRequest, "The request has no valid Host field."))
                .into_response();
        }
    };
    let mut response = if hosts.accept(&host) {
        next.run(request).await
    } else {
        Refused(Failure::new(
            Code::Forbidden,
            "This name is not one of this Greenroom's own. Use its address.",
        ))
        .into_response()
    };
    bind_page(response.headers_mut(), &host);
    response
}

/// Refuses foreign pages; answers the preflight of allowed ones (Fetch standard, CORS protocol).
pub(crate) async fn check_origin(State(rule): State<OriginRule>, request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    match rule.judge(request.headers()) {
        Ok(None) => next.run(request).await,
        Ok(Some(origin)) => {
            let mut response = if preflight { answer_preflight() } else { next.run(request).await };
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            response
        }
        Err(failure) => Refused(failure).into_response(),
    }
}

impl OriginRule {
    /// `Some(origin)` when it is a foreign page that is allowed.
    fn judge(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
        let foreign = || {
            Failure::new(
                Code::Forbidden,
                "This page may not use this Greenroom. Add its origin to the allowed origins.",
            )
        };
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            // Browsers leave Origin out of some requests, and then say here where they come from.
            let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
            let ours = matches!(site, None | Some(b"same-origin" | b"none"));
            return if ours || self.surface == Surface::Guests { Ok(None) } else { Err(foreign()) };
        };
        let text = origin.to_str().map_err(|_| foreign())?;
        if origins.next().is_some() {
            return Err(foreign());
        }
        let own = match text.split_once("://") {
            Some(("http" | "https", authority)) => {
                sole_host(headers).is_some_and(|host| host.eq_ignore_ascii_case(authority))
            }
            _ => false,
        };
        let allowed =
            self.allowed.lists(text) || (self.surface == Surface::Guests && self.allowed.any_for_guests());
        match (own, allowed) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(origin.clone())),
            (false, false) => Err(foreign()),
        }
    }
}

fn answer_preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, DELETE"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Our pages run our scripts only, speak to this server only, and stand in nobody's frame.
fn bind_page(headers: &mut HeaderMap, host: &str) {
    // WebKitGTK and Safari before 15.4 do not count a WebSocket of the same origin as 'self'; svelte's
    // transitions make style elements.
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' blob: data:; \
         media-src 'self' blob: mediastream:; font-src 'self'; connect-src 'self' ws://{host} wss://{host}; \
         worker-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        // Invite links carry their token in the address.
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=(self), microphone=(self), display-capture=(self), geolocation=()"),
        ("cross-origin-opener-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

/// The Host field, when there is exactly one and it is a plain `name[:port]` (RFC 9112 §3.2).
pub(crate) fn sole_host(headers: &HeaderMap) -> Option<&str> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?.to_str().ok()?;
    let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b));
    (hosts.next().is_none() && plain && !host.is_empty()).then_some(host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_pass_the_host_check() {
        let hosts = Hosts::Own { listen: "192.0.2.7".parse().unwrap(), extra: vec!["studio.example".into()] };
        for good in [
            "localhost",
            "localhost:3002",
            "LocalHost:9",
            "127.0.0.1:3002",
            "[::1]:3002",
            "192.0.2.7:3002",
            "studio.example",
        ] {
            assert!(hosts.accept(good), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:3002",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "192.0.2.8",
            "",
            ":80",
        ] {
            assert!(!hosts.accept(bad), "{bad}");
        }
    }

    fn judge(surface: Surface, allowed: &[&str], headers: &[(&'static str, &str)]) -> Result<bool, Code> {
        let allowed = Arc::new(AllowedOrigins::parse(allowed).unwrap());
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        OriginRule { surface, allowed }
            .judge(&headers)
            .map(|cors| cors.is_some())
            .map_err(|failure| failure.code)
    }

    #[test]
    fn foreign_pages_are_refused() {
        use Surface::*;
        let host = ("host", "127.0.0.1:3002");
        assert_eq!(judge(Owner, &[], &[host]), Ok(false));
        assert_eq!(judge(Owner, &[], &[host, ("origin", "http://127.0.0.1:3002")]), Ok(false));
        assert_eq!(judge(Owner, &[], &[host, ("origin", "http://127.0.0.1:3003")]), Err(Code::Forbidden));
        assert_eq!(judge(Owner, &[], &[host, ("origin", "null")]), Err(Code::Forbidden));
        assert_eq!(judge(Owner, &[], &[host, ("origin", "file://127.0.0.1:3002")]), Err(Code::Forbidden));
        assert_eq!(
            judge(Owner, &[], &[host, ("origin", "http://127.0.0.1:3002"), ("origin", "http://evil")]),
            Err(Code::Forbidden)
        );
        assert_eq!(judge(Owner, &["*"], &[host, ("origin", "http://evil")]), Err(Code::Forbidden));
        assert_eq!(judge(Guests, &["*"], &[host, ("origin", "http://other")]), Ok(true));
        assert_eq!(judge(Guests, &[], &[host, ("origin", "http://other")]), Err(Code::Forbidden));
        assert_eq!(
            judge(Owner, &["http://localhost:5173"], &[host, ("origin", "http://localhost:5173")]),
            Ok(true)
        );
        assert_eq!(judge(Owner, &[], &[host, ("sec-fetch-site", "cross-site")]), Err(Code::Forbidden));
        assert_eq!(judge(Owner, &[], &[host, ("sec-fetch-site", "same-site")]), Err(Code::Forbidden));
        assert_eq!(judge(Owner, &[], &[host, ("sec-fetch-site", "none")]), Ok(false));
    }
}
