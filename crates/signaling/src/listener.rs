//! Accepting connections for one router, plain or over TLS, until told to stop.

use crate::config::Limits;
use crate::connection::{Addresses, Connection, Metered, Slot};
use crate::guard::sole_host;
use crate::tally::{Place, Tally};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// An open listener; ends with [`Listener::close`].
pub(crate) struct Listener {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    router: Router,
    tls: Option<watch::Sender<Arc<rustls::ServerConfig>>>,
    limits: Limits,
    tally: Tally,
    place: Place,
    addresses: Addresses,
    connections: TaskTracker,
    /// No new connections or requests.
    stop: CancellationToken,
    /// Open connections end at once.
    cut: CancellationToken,
}

impl Listener {
    pub(crate) async fn open(
        listen: SocketAddr,
        router: Router,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
        (tally, place): (Tally, Place),
    ) -> io::Result<Self> {
        let socket = TcpListener::bind(listen).await?;
        let address = socket.local_addr()?;
        let shared = Arc::new(Shared {
            router,
            tls: tls.map(watch::Sender::new),
            limits,
            tally,
            place,
            addresses: Addresses::default(),
            connections: TaskTracker::new(),
            stop: CancellationToken::new(),
            cut: CancellationToken::new(),
        });
        shared.connections.spawn(accept(socket, shared.clone()));
        Ok(Self { address, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections use this certificate; open ones keep theirs.
    pub(crate) fn replace_certificate(&self, config: Arc<rustls::ServerConfig>) {
        if let Some(tls) = &self.shared.tls {
            tls.send_replace(config);
        }
    }

    pub(crate) fn stop_accepting(&self) {
        self.shared.stop.cancel();
    }

    /// Lets open requests finish until the deadline, then cuts what is left.
    pub(crate) async fn close(&self, deadline: Instant) {
        self.shared.stop.cancel();
        self.shared.connections.close();
        if tokio::time::timeout_at(deadline, self.shared.connections.wait()).await.is_err() {
            self.shared.cut.cancel();
            // Woken tasks see the cut and return; nothing in them waits for anything else.
            let _ = tokio::time::timeout(CUT_TIME, self.shared.connections.wait()).await;
        }
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.limits.connections));
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = async { (places.clone().acquire_owned().await, socket.accept().await) } => accepted,
        };
        let (permit, stream, remote) = match accepted {
            (Ok(permit), Ok((stream, remote))) => (permit, stream, remote),
            (Err(_), _) => return,
            (_, Err(error)) => {
                // Out of descriptors, or a connection that was reset before we took it.
                tracing::debug!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let most = if remote.ip().is_loopback() { usize::MAX } else { shared.limits.connections_per_address };
        let Some(address) = shared.addresses.try_take(remote.ip(), most) else {
            tracing::debug!("too many connections from one address");
            continue;
        };
        let slot = Slot {
            _permit: permit,
            _inside: shared.tally.enter(shared.place),
            _address: address,
            _alive: shared.connections.token(),
        };
        shared.connections.spawn(serve(stream, remote, slot, shared.clone()));
    }
}

async fn serve(stream: TcpStream, remote: SocketAddr, slot: Slot, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let connection = Connection { remote, cut: shared.cut.child_token(), written: Arc::default() };
    let Some(tls) = &shared.tls else {
        let stream = Metered::new(stream, &connection, slot);
        return serve_http(stream, connection, shared.router.clone(), &shared).await;
    };
    let config = tls.borrow().clone();
    let mut first = [0];
    let handshake = async {
        if stream.peek(&mut first).await? == 1 && first != [TLS_HANDSHAKE] {
            return Ok(Err(stream));
        }
        TlsAcceptor::from(config).accept(Metered::new(stream, &connection, slot)).await.map(Ok)
    };
    match tokio::time::timeout(shared.limits.request_time, handshake).await {
        Ok(Ok(Ok(stream))) => serve_http(stream, connection, shared.router.clone(), &shared).await,
        // Somebody typed the address without "https".
        Ok(Ok(Err(stream))) => {
            serve_http(stream, connection, Router::new().fallback(to_https), &shared).await
        }
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
}

async fn serve_http<S>(stream: S, connection: Connection, router: Router, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(connection.clone());
        router.clone().oneshot(request.map(Body::new))
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.request_time)
        .max_buf_size(MAX_HEADER)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shared.stop.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended early");
    }
}

async fn to_https(request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match sole_host(request.headers()) {
        Some(host) => Redirect::temporary(&format!("https://{host}{path}")).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// RFC 8446 §5.1: the first byte of a ClientHello's record.
const TLS_HANDSHAKE: u8 = 22;
/// A request's line and fields; browsers and proxies stay below 16 kB.
const MAX_HEADER: usize = 32 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const CUT_TIME: Duration = Duration::from_secs(1);
