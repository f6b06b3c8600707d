//! The server: two listeners over one backend. *Control* has everything, *LAN* only what guests need.

use crate::answer::Refused;
use crate::backend::Backend;
use crate::config::{Config, LanConfig, Limits, PageSource, SwarmAccess};
use crate::gate::Porter;
use crate::guard::{Hosts, OriginRule, Surface, check_host, check_origin};
use crate::listener::Listener;
use crate::live::LiveHub;
use crate::openapi::{Document, Operation};
use crate::socket_io::Polls;
use crate::swarm::SwarmHub;
use crate::tally::{Place, Tally};
use crate::{dashboard, live_socket, pages, rest, socket_io, swarm_socket};
use axum::extract::{Path, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use wire::{Code, Failure};

/// What every HTTP handler is given.
#[derive(Clone)]
pub(crate) struct App<B> {
    pub backend: B,
    pub limits: Arc<Limits>,
    pub porter: Porter,
    pub swarm_access: SwarmAccess,
    pub swarms: SwarmHub,
    pub live: LiveHub,
    pub polls: Polls,
    pub tally: Tally,
    pub tasks: TaskTracker,
    /// Long-lived connections end.
    pub stop: CancellationToken,
}

/// A running server; ends with [`Server::shutdown`].
pub struct Server {
    control: Listener,
    guests: Router,
    limits: Limits,
    tally: Tally,
    /// A lock held across `.await` on purpose: changes of the LAN listener happen one after the other.
    lan: Mutex<Option<Lan>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Lan {
    asked: SocketAddr,
    listener: Listener,
}

/// Why the server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {}", why(.error))]
    Listen { address: SocketAddr, error: io::Error },
}

/// Why guests on the local network cannot be served, in a sentence for the streamer.
#[derive(Debug, Error)]
pub enum LanError {
    #[error("The certificate for the local network cannot be used: {0}.")]
    Certificate(String),
    #[error("Guests on the local network cannot be served at {address}: {}.", why(.error))]
    Listen { address: SocketAddr, error: io::Error },
    #[error("Greenroom is closing.")]
    Closing,
}

impl Server {
    /// Opens the control listener. Must be called on a tokio runtime.
    pub async fn start<B: Backend>(config: Config, backend: B) -> Result<Self, StartError> {
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let app = App {
            backend,
            limits: Arc::new(config.limits.clone()),
            porter: Porter::new(&config.limits),
            swarm_access: config.swarm,
            swarms: SwarmHub::new(config.limits.swarm.clone()),
            live: live_socket::hub(&config.limits.live),
            polls: Polls::default(),
            tally: config.tally.clone(),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        tasks.spawn(live_socket::keep_grants(app.clone()));
        tasks.spawn(live_socket::tell_viewers(app.clone()));
        let origins = Arc::new(config.origins.clone());
        let rule = |surface| OriginRule { surface, allowed: origins.clone() };

        let for_guests = socket_io::routes::<B>()
            .route("/swarm", get(swarm_socket::upgrade::<B>))
            .route("/signaling", get(live_socket::upgrade::<B>))
            .with_state(app.clone())
            .layer(from_fn_with_state(rule(Surface::Guests), check_origin))
            .merge(guest_pages(&config.pages));
        let (health, document) = rest::public::<B>(Document::new()).finish();
        let (routes, mut document) = rest::owner::<B>(document).finish();
        document.add(
            &Method::GET,
            "/api/dashboard",
            Operation::owner("A WebSocket: whole snapshots, levels and pictures."),
        );
        document.add(&Method::GET, "/signaling", Operation::anyone("A WebSocket: live rooms, by a token."));
        document.add(
            &Method::GET,
            "/swarm",
            Operation::anyone("A WebSocket: introductions of those who want the same file."),
        );
        document.add(&Method::GET, OPENAPI, Operation::anyone("This document."));
        let document = document.finish();
        let guests = Router::new()
            .route("/", get(async || pages::guest_landing()))
            .merge(for_guests.clone())
            .merge(health.clone().with_state(app.clone()));
        let owner = routes
            .merge(health)
            .route(OPENAPI, get(async move || Json(document)))
            .route("/api/dashboard", get(dashboard::upgrade::<B>))
            .method_not_allowed_fallback(wrong_method)
            .route("/api/{*rest}", axum::routing::any(no_route))
            .layer(from_fn_with_state(rule(Surface::Owner), check_origin))
            .with_state(app);
        let control = Router::new()
            .route("/", get(async || Redirect::to("/dashboard")))
            .route("/dashboard", page_route(&config.pages, "dashboard.html"))
            .merge(for_guests)
            .merge(owner);

        let own = Hosts::Own { listen: config.control.ip(), extra: config.extra_hosts.clone() };
        let control = Listener::open(
            config.control,
            finish(control, own, &config.tally),
            None,
            config.limits.clone(),
            (config.tally.clone(), Place::Control),
        )
        .await
        .map_err(|error| StartError::Listen { address: config.control, error })?;
        tracing::info!(address = %control.address(), "control listener is open");
        Ok(Self {
            control,
            guests: finish(guests, Hosts::Any, &config.tally),
            limits: config.limits,
            tally: config.tally,
            lan: Mutex::new(None),
            tasks,
            stop,
        })
    }

    /// Where the control listener listens; its port is known even when 0 was asked for.
    pub fn control_addr(&self) -> SocketAddr {
        self.control.address()
    }

    /// Opens, changes or closes the listener for guests on the local network, and says where it listens.
    /// A new certificate for the same address leaves connected guests alone. On an error nothing changes,
    /// except that a listener whose successor cannot be opened stays closed.
    pub async fn set_lan(&self, lan: Option<LanConfig>) -> Result<Option<SocketAddr>, LanError> {
        let mut current = self.lan.lock().await;
        if self.stop.is_cancelled() {
            return Err(LanError::Closing);
        }
        let Some(asked) = lan else {
            if let Some(old) = current.take() {
                old.listener.close(Instant::now() + LAN_CLOSE).await;
                tracing::info!("LAN listener is closed");
            }
            return Ok(None);
        };
        let tls = Arc::new(tls_config(&asked)?);
        if let Some(open) = current.as_ref().filter(|open| open.asked == asked.listen) {
            open.listener.replace_certificate(tls);
            return Ok(Some(open.listener.address()));
        }
        // The old one first: both may want the same port.
        if let Some(old) = current.take() {
            old.listener.close(Instant::now() + LAN_CLOSE).await;
        }
        let counted = (self.tally.clone(), Place::Lan);
        let listener =
            Listener::open(asked.listen, self.guests.clone(), Some(tls), self.limits.clone(), counted)
                .await
                .map_err(|error| LanError::Listen { address: asked.listen, error })?;
        let address = listener.address();
        tracing::info!(%address, "LAN listener is open");
        *current = Some(Lan { asked: asked.listen, listener });
        Ok(Some(address))
    }

    /// Stops accepting, disconnects every socket, lets open requests finish until the deadline, and cuts what
    /// is left. Notices sent before (`server-closing`) are flushed.
    pub async fn shutdown(&self, deadline: Instant) {
        self.stop.cancel();
        self.control.stop_accepting();
        let lan = self.lan.lock().await.take();
        if let Some(lan) = &lan {
            lan.listener.stop_accepting();
        }
        // Sessions tell the engine and flush their last notices; only then may their connections go.
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        let close_lan = async {
            if let Some(lan) = &lan {
                lan.listener.close(deadline).await;
            }
        };
        tokio::join!(close_lan, self.control.close(deadline));
    }
}

/// What a guest's browser loads, on either listener.
fn guest_pages(source: &PageSource) -> Router {
    let assets = source.clone();
    let client = source.clone();
    Router::new()
        .route("/join/{room}", page_route(source, "join.html"))
        .route(
            "/assets/{*path}",
            get(async move |Path(path): Path<String>| pages::asset(&assets, &format!("assets/{path}")).await),
        )
        .route("/socket.io/socket.io.js", get(async move || pages::asset(&client, "socket.io.js").await))
        .route("/favicon.ico", get(async || StatusCode::NO_CONTENT))
}

fn page_route(source: &PageSource, name: &'static str) -> axum::routing::MethodRouter {
    let source = source.clone();
    get(async move || pages::page(&source, name).await)
}

/// The outer layers: what every answer of a listener goes through.
fn finish(router: Router, hosts: Hosts, tally: &Tally) -> Router {
    router
        .method_not_allowed_fallback(wrong_method)
        .fallback(not_found)
        .layer(from_fn_with_state(Arc::new(hosts), check_host))
        .layer(from_fn_with_state(tally.clone(), count))
}

async fn count(State(tally): State<Tally>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    tally.answer(response.status().as_u16());
    response
}

async fn no_route() -> Response {
    Refused(Failure::new(Code::NotFound, "There is no such route.")).into_response()
}

/// A page for people, JSON for programs.
async fn not_found(uri: Uri) -> Response {
    match uri.path() {
        path if path.starts_with("/rooms") || path.starts_with("/api") => no_route().await,
        _ => pages::missing(),
    }
}

async fn wrong_method(method: Method) -> Response {
    let failure = Failure::new(Code::InvalidRequest, format!("{method} is not possible here."));
    let mut response = Refused(failure).into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}

fn tls_config(lan: &LanConfig) -> Result<rustls::ServerConfig, LanError> {
    let certificate = |error: &dyn std::fmt::Display| LanError::Certificate(error.to_string());
    let chain = CertificateDer::pem_slice_iter(lan.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| certificate(&error))?;
    let key = PrivateKeyDer::from_pem_slice(lan.key_pem.as_bytes()).map_err(|error| certificate(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                certificate(&"the key is not this certificate's: give the two files that were made together")
            }
            error => certificate(&error),
        })?;
    // HTTP/1.1 only: browsers open WebSockets over it, and a page has few files.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another program uses this port. Close it, or choose another port".into(),
        io::ErrorKind::PermissionDenied => {
            "this port is reserved for the system. Choose one above 1023".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have this address".into(),
        _ => error.to_string(),
    }
}

const OPENAPI: &str = "/api/openapi.json";
/// Requests are short; sockets are cut so that their clients notice at once.
const LAN_CLOSE: Duration = Duration::from_millis(300);
