use super::*;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::collections::VecDeque;
use std::sync::Mutex;
use wire::webhook::RoomFact;

/// A real HTTP server: answers what it is told to, then 200; `None` is never answered. Keeps what came.
struct Listener {
    url: String,
    came: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
}

impl Listener {
    #[expect(clippy::disallowed_methods, reason = "what a test sends is bounded by the test")]
    async fn start(answers: impl IntoIterator<Item = Option<StatusCode>>) -> Self {
        let answers = Arc::new(Mutex::new(VecDeque::from_iter(answers)));
        let (arrived, came) = mpsc::unbounded_channel();
        let hook = post(async move |headers: HeaderMap, body: Bytes| -> Response {
            let _ = arrived.send((headers, body));
            let answer = answers.lock().unwrap().pop_front();
            match answer.unwrap_or(Some(StatusCode::OK)) {
                Some(status) => (status, [(header::LOCATION, "/elsewhere")]).into_response(),
                None => std::future::pending().await,
            }
        });
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key=hidden", socket.local_addr().unwrap());
        let router = Router::new().route("/hook", hook.clone()).route("/elsewhere", hook);
        tokio::spawn(async move { axum::serve(socket, router).await });
        Self { url, came }
    }

    fn config(&self) -> WebhookConfig {
        WebhookConfig {
            url: WebhookUrl::parse(&self.url).unwrap(),
            secret: Secret::parse(SECRET).unwrap(),
            events: EventFilter::default(),
        }
    }

    async fn next(&mut self) -> (HeaderMap, serde_json::Value) {
        let (headers, body) = self.came.recv().await.unwrap();
        (headers, serde_json::from_slice(&body).unwrap())
    }
}

fn live(room: &str) -> Happening {
    Happening::RoomLive(RoomFact { room_id: wire::RoomId::parse(room).unwrap(), title: "The show".into() })
}

/// As long as a test's.
fn hasty() -> Patience {
    Patience {
        attempt: Duration::from_millis(300),
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(20),
        attempts: 3,
    }
}

async fn settled(webhooks: &Webhooks) -> Vec<EndpointStatus> {
    assert_eq!(webhooks.finish(Duration::from_secs(20)).await, 0, "{:?}", webhooks.statuses());
    webhooks.statuses()
}

#[tokio::test]
async fn a_message_is_tried_again_until_it_is_taken_and_is_the_same_each_time() {
    let failing = [Some(StatusCode::INTERNAL_SERVER_ERROR); 2];
    let mut listener = Listener::start(failing).await;
    let webhooks = Webhooks::start(vec![listener.config()], hasty()).unwrap();
    webhooks.send("2026-01-02T03:04:05Z", &live("show"));
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (headers, body) = listener.next().await;
        let field = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!(body["id"], field("webhook-id"));
        assert_eq!(
            (body["type"].as_str(), body["createdAt"].as_str()),
            (Some("room.live"), Some("2026-01-02T03:04:05Z"))
        );
        assert_eq!(body["data"], serde_json::json!({ "roomId": "show", "title": "The show" }));
        assert!(
            field("webhook-signature").starts_with("v1,")
                && field("webhook-timestamp").parse::<u64>().is_ok()
        );
        assert_eq!(field("content-type"), "application/json");
        ids.push(field("webhook-id"));
    }
    assert!(ids.iter().all(|id| *id == ids[0]));
    let [status] = &settled(&webhooks).await[..] else { panic!("one endpoint") };
    assert_eq!((status.delivered, status.failed_attempts, status.given_up), (1, 2, 0));
    assert_eq!(status.trouble, None);
    assert!(!format!("{:?} {status:?}", listener.config()).contains("hidden"));
}

#[tokio::test]
async fn one_that_never_answers_holds_up_no_other_and_is_given_up() {
    let silent = Listener::start([None; 10]).await;
    let mut other = Listener::start([]).await;
    let webhooks = Webhooks::start(vec![silent.config(), other.config()], hasty()).unwrap();
    for room in ["one", "two", "three"] {
        webhooks.send("now", &live(room));
    }
    for room in ["one", "two", "three"] {
        assert_eq!(other.next().await.1["data"]["roomId"], room, "in order");
    }
    assert!(webhooks.statuses()[0].given_up == 0, "the first is still being waited for");
    let [silent, other] = &settled(&webhooks).await[..] else { panic!("two endpoints") };
    assert_eq!((silent.delivered, silent.failed_attempts, silent.given_up), (0, 9, 3));
    assert_eq!(silent.trouble.as_deref(), Some("It does not answer in time."));
    assert_eq!((other.delivered, other.failed_attempts), (3, 0));
}

#[tokio::test]
async fn what_waits_for_a_dead_endpoint_is_bounded_and_counted() {
    // Nobody listens there any more.
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", socket.local_addr().unwrap());
    drop(socket);
    let config = WebhookConfig {
        url: WebhookUrl::parse(&url).unwrap(),
        secret: Secret::parse(SECRET).unwrap(),
        events: EventFilter::default(),
    };
    let forever = Patience {
        attempts: u32::MAX,
        longest_pause: Duration::from_secs(3600),
        first_pause: Duration::from_secs(3600),
        ..hasty()
    };
    let webhooks = Webhooks::start(vec![config], forever).unwrap();
    for _ in 0..QUEUE + 10 {
        webhooks.send("now", &live("show"));
    }
    let status = &webhooks.statuses()[0];
    assert!(status.lost >= 9 && status.waiting <= QUEUE as u64 + 1, "{status:?}");
    assert_eq!(status.lost + status.waiting, QUEUE as u64 + 10);
    assert_eq!(webhooks.finish(Duration::from_millis(10)).await, status.waiting);
}

#[tokio::test]
async fn redirects_lead_nowhere_and_gone_is_gone() {
    let mut listener = Listener::start([Some(StatusCode::TEMPORARY_REDIRECT), Some(StatusCode::GONE)]).await;
    let webhooks = Webhooks::start(vec![listener.config()], hasty()).unwrap();
    webhooks.send("now", &live("one"));
    for _ in 0..2 {
        assert_eq!(listener.next().await.1["data"]["roomId"], "one");
    }
    settled(&webhooks).await;
    webhooks.send("now", &live("two"));
    let [status] = &settled(&webhooks).await[..] else { panic!("one endpoint") };
    assert!(status.is_off && listener.came.try_recv().is_err());
    assert_eq!((status.delivered, status.failed_attempts, status.given_up), (0, 2, 2));
}

#[tokio::test]
async fn each_is_told_what_it_wants_to_know() {
    let mut listener = Listener::start([]).await;
    let events = EventFilter::parse(vec!["room.ended".into(), "peer.*".into()]).unwrap();
    let webhooks = Webhooks::start(vec![WebhookConfig { events, ..listener.config() }], hasty()).unwrap();
    webhooks.send("now", &live("unwanted"));
    let Happening::RoomLive(fact) = live("wanted") else { unreachable!() };
    webhooks.send("now", &Happening::RoomEnded(fact));
    assert_eq!(listener.next().await.1["type"], "room.ended");
    assert_eq!(settled(&webhooks).await[0].delivered, 1);
}

#[test]
fn filters_and_addresses_are_checked_at_the_door() {
    let parse = |name: &str| EventFilter::parse(vec![name.into()]);
    for name in Happening::TYPES.iter().chain(&["*", "room.*", "record.*"]) {
        assert!(parse(name).is_ok(), "{name}");
    }
    for name in ["", "room", "room*", "rooms.*", "room.live.*", "**", "peer.gone"] {
        assert_eq!(parse(name), Err(UnknownEvent(name.into())));
    }
    for good in ["https://example.com/a?b=c", "http://127.0.0.1:9/x", "https://[2001:db8::1]/"] {
        assert!(WebhookUrl::parse(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "example.com",
        "ftp://example.com",
        "https://",
        "https://a:b@example.com/",
        "https://a@example.com/",
        "https://example.com/#x",
        "file:///etc/passwd",
    ] {
        assert_eq!(WebhookUrl::parse(bad), Err(BadUrl), "{bad}");
    }
    assert_eq!(WebhookUrl::parse("https://example.com:8443/secret").unwrap().host(), "example.com:8443");
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
