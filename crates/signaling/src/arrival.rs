//! How a plain WebSocket of ours begins: who comes, with which token, and a socket that keeps our bounds.

use crate::answer::Refused;
use crate::backend::Backend;
use crate::channel::Channel;
use crate::connection::Connection;
use crate::gate::Gate;
use crate::line::TextLine;
use crate::parse::invalid;
use crate::rest::bearer;
use crate::server::App;
use crate::tally::Place;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use std::future::Future;
use std::time::Instant;

/// A request to speak WebSocket. It ends with [`Arrival::meet`], or with a refusal as HTTP.
pub(crate) struct Arrival {
    pub connection: Option<Connection>,
    /// Of the `Authorization` field, or else of the query.
    pub token: Option<String>,
    upgrade: WebSocketUpgrade,
}

impl<B: Backend> FromRequestParts<App<B>> for Arrival {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, app: &App<B>) -> Result<Self, Refused> {
        let upgrade = WebSocketUpgrade::from_request_parts(parts, app)
            .await
            .map_err(|_| Refused(invalid("This address speaks WebSocket only.")))?;
        let token = bearer(&parts.headers).map(str::to_owned).or_else(|| token_in_query(&parts.uri));
        Ok(Self { connection: parts.extensions.get().cloned(), token, upgrade })
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
        let ceiling = app.limits.message_bytes * 4;
        let upgrade = self.upgrade.read_buffer_size(READ_BUFFER);
        upgrade.max_message_size(ceiling).max_frame_size(ceiling).on_upgrade(async move |socket| {
            let _alive = (app.tasks.token(), app.tally.enter(place));
            let ended = app.stop.child_token();
            let (line, texts) = TextLine::new(ended.clone());
            let gate = Gate::new(&app.limits, Instant::now());
            let channel = Channel::new(socket, gate, app.limits.heartbeat, texts, ended, self.connection);
            serve(app, channel, line).await;
        })
    }
}

#[derive(Deserialize)]
struct Asked {
    token: Option<String>,
}

fn token_in_query(uri: &Uri) -> Option<String> {
    Query::<Asked>::try_from_uri(uri).ok().and_then(|Query(asked)| asked.token)
}

/// Most messages are shorter; a longer one makes it grow.
const READ_BUFFER: usize = 1024;
