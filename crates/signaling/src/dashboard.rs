//! `GET /api/dashboard`: whole snapshots, levels and previews over a WebSocket. A slow page misses previews and
//! levels; nothing queues for it.

use crate::backend::{Backend, DashboardFeed, Preview, within};
use crate::parse;
use crate::server::App;
use crate::tally::Place;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;
use wire::dashboard::{DashboardHello, DashboardMessage};
use wire::{Code, Failure};

pub(crate) async fn upgrade<B: Backend>(
    State(app): State<App<B>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Ok(upgrade) => upgrade
            .max_message_size(MAX_HELLO)
            .max_frame_size(MAX_HELLO)
            .on_upgrade(move |socket| serve(socket, app)),
        Err(_) => {
            crate::answer::Refused(parse::invalid("This address speaks WebSocket only.")).into_response()
        }
    }
}

async fn serve<B: Backend>(mut socket: WebSocket, app: App<B>) {
    let _alive = (app.tasks.token(), app.tally.enter(Place::Dashboard));
    let feed = match hello(&mut socket, &app).await {
        Ok(feed) => feed,
        Err(failure) => return refuse(&mut socket, failure).await,
    };
    let mut page = Page { socket, feed, seen: Instant::now() };
    tokio::select! {
        () = page.run() => {}
        () = app.stop.cancelled() => {}
    }
    let bye = CloseFrame { code: GOING_AWAY, reason: "".into() };
    let _ = timeout(SEND_TIME, page.socket.send(Message::Close(Some(bye)))).await;
}

async fn hello<B: Backend>(socket: &mut WebSocket, app: &App<B>) -> Result<DashboardFeed, Failure> {
    let said = match timeout(app.limits.hello_time, socket.recv()).await {
        Ok(Some(Ok(Message::Text(text)))) => parse::object::<DashboardHello>(&text)?,
        Ok(_) => return Err(parse::invalid("The first message is {\"token\": …}.")),
        Err(_) => return Err(Failure::new(Code::Unauthorized, "No token came. Load the page again.")),
    };
    if !app.backend.is_owner_token(&said.token) {
        return Err(Failure::new(Code::Unauthorized, "This is not the owner's token."));
    }
    within(app.limits.answer_time, app.backend.dashboard()).await
}

async fn refuse(socket: &mut WebSocket, failure: Failure) {
    let code = if failure.code == Code::Unauthorized { UNAUTHORIZED } else { POLICY };
    let text = serde_json::to_string(&failure).unwrap_or_default();
    let _ = timeout(SEND_TIME, async {
        socket.send(Message::Text(text.into())).await?;
        socket
            .send(Message::Close(Some(CloseFrame {
                code,
                reason: failure.error.chars().take(60).collect::<String>().into(),
            })))
            .await
    })
    .await;
}

/// One open dashboard.
struct Page {
    socket: WebSocket,
    feed: DashboardFeed,
    /// When the page last said anything; its browser answers pings by itself.
    seen: Instant,
}

/// The page is gone, or too slow to be worth its connection.
struct Gone;

impl Page {
    async fn run(&mut self) {
        self.feed.snapshot.mark_changed();
        let mut levels = interval(LEVELS_EVERY);
        levels.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pings = interval(PING_EVERY);
        let mut previews_open = true;
        loop {
            let step = tokio::select! {
                changed = self.feed.snapshot.changed() => match changed {
                    Ok(()) => self.send_snapshot().await,
                    Err(_) => Err(Gone),
                },
                _ = levels.tick() => self.send_levels().await,
                preview = self.feed.previews.recv(), if previews_open => match preview {
                    Some(preview) => self.send_previews(preview).await,
                    None => { previews_open = false; Ok(()) }
                },
                _ = pings.tick() => self.ping().await,
                said = self.socket.recv() => self.handle_said(said),
            };
            if step.is_err() {
                return;
            }
        }
    }

    async fn send_snapshot(&mut self) -> Result<(), Gone> {
        let snapshot = self.feed.snapshot.borrow_and_update().clone();
        self.send_json(&DashboardMessage::Snapshot(Box::new(snapshot.as_ref().clone()))).await
    }

    async fn send_levels(&mut self) -> Result<(), Gone> {
        if !self.feed.levels.has_changed().unwrap_or(false) {
            return Ok(());
        }
        let levels = self.feed.levels.borrow_and_update().to_vec();
        self.send_json(&DashboardMessage::Levels { levels }).await
    }

    /// Of what waited while the page was slow, only the newest picture of each guest is worth sending.
    async fn send_previews(&mut self, first: Preview) -> Result<(), Gone> {
        let mut newest = HashMap::from([(first.of, first)]);
        while let Ok(preview) = self.feed.previews.try_recv() {
            newest.insert(preview.of, preview);
        }
        for preview in newest.into_values() {
            self.send(Message::Binary(picture(preview.of, &preview.jpeg))).await?;
        }
        Ok(())
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        if self.seen.elapsed() > SILENT_TIME {
            return Err(Gone);
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    fn handle_said(&mut self, said: Option<Result<Message, axum::Error>>) -> Result<(), Gone> {
        match said {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                self.seen = Instant::now();
                Ok(())
            }
            // Nothing else is documented after the hello.
            _ => Err(Gone),
        }
    }

    async fn send_json(&mut self, message: &DashboardMessage) -> Result<(), Gone> {
        match serde_json::to_string(message) {
            Ok(text) => self.send(Message::Text(text.into())).await,
            Err(error) => {
                tracing::error!(%error, "cannot encode the dashboard's message");
                Ok(())
            }
        }
    }

    /// Waits until the page has taken it: meanwhile states are overwritten and previews dropped.
    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(SEND_TIME, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// `[id: 16 bytes][JPEG]`.
fn picture(of: Uuid, jpeg: &[u8]) -> Bytes {
    let mut message = Vec::with_capacity(16 + jpeg.len());
    message.extend_from_slice(of.as_bytes());
    message.extend_from_slice(jpeg);
    message.into()
}

const MAX_HELLO: usize = 4 * 1024;
const LEVELS_EVERY: Duration = Duration::from_millis(100);
const PING_EVERY: Duration = Duration::from_secs(20);
const SILENT_TIME: Duration = Duration::from_secs(60);
const SEND_TIME: Duration = Duration::from_secs(10);
/// RFC 6455 §7.4.1, and one of our own (4000–4999) for a wrong token.
const GOING_AWAY: u16 = 1001;
const POLICY: u16 = 1008;
const UNAUTHORIZED: u16 = 4401;
