//! How a plain WebSocket of ours begins: who comes, with which token, and a socket that keeps our bounds.

use crate::answer::Refused;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::connection::Connection;
use crate::gate::Gate;
use crate::line::TextLine;
use crate::outbox::Outbox;
use crate::parse::invalid;
use crate::rest::bearer;
use crate::server::App;
use crate::tally::Place;
use crate::web_socket::Handshake;
use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// A request to speak WebSocket. It ends with [`Arrival::meet`], or with a refusal as HTTP.
pub(crate) struct Arrival {
    pub connection: Option<Connection>,
    /// Of the `Authorization` field, or else of the query.
    pub token: Option<String>,
    handshake: Handshake,
}

impl<B: Backend> FromRequestParts<App<B>> for Arrival {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _app: &App<B>) -> Result<Self, Refused> {
        let handshake =
            Handshake::read(parts).ok_or_else(|| Refused(invalid("This address speaks WebSocket only.")))?;
        let token =
            bearer(&parts.headers).map(str::to_owned).or_else(|| parts.uri.query().and_then(token_in_query));
        Ok(Self { connection: parts.extensions.get().cloned(), token, handshake })
    }
}

impl Arrival {
    /// Upgrades, and hands the connection over. The server's end waits for what `serve` becomes.
    pub(crate) fn meet<B, F, S>(self, app: App<B>, place: Place, serve: F) -> Response
    where
        B: Backend,
        F: FnOnce(App<B>, Channel, TextLine) -> S + Send + 'static,
        S: Future<Output = ()> + Send,
    {
        let (response, upgrade) = self.handshake.answer();
        app.tasks.clone().spawn(async move {
            let Some(socket) = upgrade.finish(&app.limits).await else { return };
            let _inside = app.tally.enter(place);
            let outbox = Arc::new(Outbox::default());
            let line = TextLine::new(outbox.clone());
            let gate = Gate::new(&app.limits, Instant::now());
            let (heartbeat, stop) = (app.limits.heartbeat, app.stop.clone());
            let channel = Channel::new(socket, gate, heartbeat, outbox, stop, self.connection);
            serve(app, channel, line).await;
        });
        response
    }
}

#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
}

/// The `token` of a query, which is what stands behind the `?` of an address.
pub(crate) fn token_in_query(query: &str) -> Option<String> {
    let uri = Uri::builder().path_and_query(format!("/?{query}")).build().ok()?;
    Query::<Asked>::try_from_uri(&uri).ok()?.0.token
}
