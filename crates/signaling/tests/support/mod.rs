//! A small engine in memory, and clients made of frames and bytes, so that nothing here can be kinder than the wire.
#![allow(dead_code)]

use futures_util::{SinkExt, StreamExt};
use greenroom_signaling::{
    Backend, Caller, Config, DashboardFeed, Limits, Outbox, Preview, Server, SessionId,
};
use rooms::Grant;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;
use tokio_tungstenite::{WebSocketStream, client_async};
use uuid::Uuid;
use wire::dashboard::{Level, Snapshot};
use wire::ortc::RtpCapabilities;
use wire::rest::{Health, OwnerReply, OwnerRequest, RoomDetails, RoomStatus, RoomSummary};
use wire::sfu::{JoinRoom, Joined, Notice, PeerInfo, PeerReply, PeerRequest, PeerState, Role};
use wire::{Code, Failure, PeerId, RoomId};

pub const OWNER: &str = "owner-token-of-the-tests";
const PATIENCE: Duration = Duration::from_secs(10);

/// Records what it was asked; rooms exist as soon as somebody joins, except "missing".
#[derive(Clone)]
pub struct Studio(Arc<Mutex<State>>);

struct State {
    log: Vec<String>,
    peers: HashMap<Uuid, Peer>,
    healthy: bool,
    snapshot: watch::Sender<Arc<Snapshot>>,
    levels: watch::Sender<Arc<Vec<Level>>>,
    previews: Option<mpsc::Sender<Preview>>,
    revocations: watch::Sender<u64>,
    viewers: watch::Sender<BTreeMap<RoomId, u32>>,
    is_full: bool,
    /// Each request waits for one permit when set.
    brake: Option<Arc<tokio::sync::Semaphore>>,
}

struct Peer {
    id: PeerId,
    name: String,
    room: RoomId,
    outbox: Outbox,
}

impl Studio {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            log: Vec::new(),
            peers: HashMap::new(),
            healthy: true,
            snapshot: watch::Sender::default(),
            levels: watch::Sender::default(),
            previews: None,
            revocations: watch::Sender::default(),
            viewers: watch::Sender::default(),
            is_full: false,
            brake: None,
        })))
    }

    pub fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    fn note(&self, line: impl Into<String>) {
        self.0.lock().unwrap().log.push(line.into());
    }

    pub fn revoke(&self) {
        self.0.lock().unwrap().revocations.send_modify(|count| *count += 1);
    }

    /// What was told of those who watch live rooms.
    pub fn viewers(&self) -> watch::Receiver<BTreeMap<RoomId, u32>> {
        self.0.lock().unwrap().viewers.subscribe()
    }

    pub fn fill_memory(&self) {
        self.0.lock().unwrap().is_full = true;
    }

    pub fn become_unhealthy(&self) {
        self.0.lock().unwrap().healthy = false;
    }

    pub fn hold_requests(&self) -> Arc<tokio::sync::Semaphore> {
        let brake = Arc::new(tokio::sync::Semaphore::new(0));
        self.0.lock().unwrap().brake = Some(brake.clone());
        brake
    }

    pub fn change_snapshot(&self, change: impl FnOnce(&mut Snapshot)) {
        self.0.lock().unwrap().snapshot.send_modify(|snapshot| change(Arc::make_mut(snapshot)));
    }

    pub fn say_levels(&self, levels: Vec<Level>) {
        self.0.lock().unwrap().levels.send_replace(Arc::new(levels));
    }

    /// Counts what had to be dropped.
    pub fn show_preview(&self, preview: Preview) -> bool {
        let state = self.0.lock().unwrap();
        state.previews.as_ref().is_some_and(|previews| previews.try_send(preview).is_ok())
    }

    pub fn previews_wanted(&self) -> bool {
        self.0.lock().unwrap().previews.as_ref().is_some_and(|previews| !previews.is_closed())
    }

    pub fn kick_everybody(&self, reason: &str) {
        for (_, peer) in self.0.lock().unwrap().peers.drain() {
            let _ = peer.outbox.try_send(Box::new(Notice::Kicked { reason: reason.into() }));
        }
    }

    /// Fills the outbox of the peer of that room as the engine would, and drops it when it is full.
    pub async fn shout_until_full(&self, room: &str) {
        loop {
            {
                let mut state = self.0.lock().unwrap();
                let loud = Notice::Kicked { reason: "x".repeat(20_000) };
                let full = |peer: &Peer| {
                    peer.room.as_str() == room && peer.outbox.try_send(Box::new(loud.clone())).is_err()
                };
                let gone: Vec<Uuid> =
                    state.peers.iter().filter(|(_, peer)| full(peer)).map(|(id, _)| *id).collect();
                for id in &gone {
                    state.peers.remove(id);
                }
                if !gone.is_empty() {
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }

    fn tell_others(&self, session: Uuid, notice: impl Fn() -> Notice) {
        let state = self.0.lock().unwrap();
        let Some(room) = state.peers.get(&session).map(|peer| peer.room.clone()) else { return };
        for (_, peer) in state.peers.iter().filter(|(id, peer)| **id != session && peer.room == room) {
            let _ = peer.outbox.try_send(Box::new(notice()));
        }
    }
}

impl Backend for Studio {
    async fn join(&self, caller: Caller, request: JoinRoom, outbox: Outbox) -> Result<Joined, Failure> {
        let session = caller.session.0;
        let token = request.token.or(caller.token).unwrap_or_default();
        let name = request.display_name.map_or("Guest".to_owned(), |name| name.to_string());
        self.note(format!("join {} as {name} token {token} from {}", request.room_id, caller.address));
        if request.room_id.as_str() == "missing" {
            return Err(Failure::new(Code::RoomNotFound, "There is no such room."));
        }
        let id = PeerId(Uuid::new_v4());
        {
            let mut state = self.0.lock().unwrap();
            if state.peers.contains_key(&session) {
                return Err(Failure::new(Code::AlreadyJoined, "You are in a room."));
            }
            let peer = Peer { id, name: name.clone(), room: request.room_id.clone(), outbox };
            state.peers.insert(session, peer);
        }
        let display_name = wire::DisplayName::parse(&name).unwrap();
        let info = PeerInfo {
            peer_id: id,
            display_name: display_name.clone(),
            role: Role::Guest,
            hand_raised: false,
        };
        self.tell_others(session, || Notice::PeerJoined(info.clone()));
        Ok(Joined {
            peer_id: id,
            room_id: request.room_id,
            role: Role::Guest,
            state: PeerState::Live,
            display_name,
            title: "The show".into(),
            router_rtp_capabilities: RtpCapabilities::default(),
            peers: vec![],
            producers: vec![],
            data_producers: vec![],
            waiting: vec![],
            may_send: true,
            ice_servers: vec![],
            resume_token: "resume".into(),
            resumed: false,
        })
    }

    async fn request(&self, session: SessionId, request: PeerRequest) -> Result<PeerReply, Failure> {
        let brake = self.0.lock().unwrap().brake.clone();
        if let Some(brake) = brake {
            brake.acquire().await.unwrap().forget();
        }
        let name = format!("{request:?}");
        self.note(name.split(['(', ' ']).next().unwrap_or_default());
        let (id, display_name) = {
            let state = self.0.lock().unwrap();
            let peer =
                state.peers.get(&session.0).ok_or(Failure::new(Code::NotJoined, "Join a room first."))?;
            (peer.id, wire::DisplayName::parse(&peer.name).unwrap())
        };
        match request {
            PeerRequest::Chat(said) => self.tell_others(session.0, || Notice::Chat {
                peer_id: id,
                display_name: display_name.clone(),
                text: said.text.clone(),
                at: 0,
            }),
            PeerRequest::LeaveRoom => {
                self.tell_others(session.0, || Notice::PeerLeft { peer_id: id, reason: "left".into() });
                self.0.lock().unwrap().peers.remove(&session.0);
            }
            PeerRequest::GetRouterRtpCapabilities => {
                return Ok(PeerReply::Capabilities(RtpCapabilities::default()));
            }
            PeerRequest::ConnectTransport(_) => return Ok(PeerReply::Connected { connected: true }),
            _ => {}
        }
        Ok(PeerReply::Done {})
    }

    async fn disconnected(&self, session: SessionId) {
        self.note("disconnected");
        let id = self.0.lock().unwrap().peers.get(&session.0).map(|peer| peer.id);
        if let Some(id) = id {
            self.tell_others(session.0, || Notice::PeerLeft { peer_id: id, reason: "gone".into() });
            self.0.lock().unwrap().peers.remove(&session.0);
        }
    }

    async fn owner(&self, request: OwnerRequest) -> Result<OwnerReply, Failure> {
        self.note(format!("owner {request:?}"));
        match request {
            OwnerRequest::ReadRoom(_) => Err(Failure::new(Code::RoomNotFound, "There is no such room.")),
            OwnerRequest::ListRooms => Ok(OwnerReply::Rooms(vec![])),
            OwnerRequest::ListInvites(_) => Ok(OwnerReply::Invites(vec![])),
            _ => Ok(OwnerReply::Done {}),
        }
    }

    async fn live_viewers(&self, viewers: BTreeMap<RoomId, u32>) {
        self.0.lock().unwrap().viewers.send_replace(viewers);
    }

    fn is_full(&self) -> bool {
        self.0.lock().unwrap().is_full
    }

    async fn grant(&self, token: Option<String>, room: Option<RoomId>) -> Result<Grant, Failure> {
        let token = token.ok_or(Failure::new(Code::InviteRequired, "This room needs an invite."))?;
        let revoked = *self.0.lock().unwrap().revocations.borrow() > 0;
        match (token.as_str(), room.as_ref().map(RoomId::as_str)) {
            (OWNER, _) => Ok(Grant { invite: None, may_publish: true, seats: usize::MAX }),
            ("guest-of-show", None | Some("show")) if revoked => {
                Err(Failure::new(Code::InviteRevoked, "The host took this invite link back."))
            }
            ("guest-of-show", None | Some("show")) => {
                let invite = Some(wire::InviteId(Uuid::from_u128(1)));
                Ok(Grant { invite, may_publish: true, seats: 5 })
            }
            ("guest-of-show", _) => Err(Failure::new(Code::InviteOtherRoom, "Another room's.")),
            _ => Err(Failure::new(Code::InviteInvalid, "This invite link is not valid.")),
        }
    }

    async fn support_bundle(&self) -> Result<Vec<u8>, Failure> {
        Ok(b"PK".to_vec())
    }

    async fn metrics(&self) -> Result<String, Failure> {
        Ok("# TYPE up gauge\nup 1\n".into())
    }

    fn revocations(&self) -> watch::Receiver<u64> {
        self.0.lock().unwrap().revocations.subscribe()
    }

    fn is_owner_token(&self, token: &str) -> bool {
        token == OWNER
    }

    async fn health(&self) -> Health {
        let healthy = self.0.lock().unwrap().healthy;
        Health {
            status: if healthy { "ok" } else { "unhealthy" }.into(),
            reasons: if healthy { vec![] } else { vec!["the media worker is away".into()] },
            version: "0".into(),
            uptime_secs: 1,
            rooms: 0,
            peers: self.0.lock().unwrap().peers.len(),
            workers: 1,
            recovered: None,
        }
    }

    async fn rooms(&self) -> Result<Vec<RoomSummary>, Failure> {
        let mut rooms = HashMap::<RoomId, usize>::new();
        for peer in self.0.lock().unwrap().peers.values() {
            *rooms.entry(peer.room.clone()).or_default() += 1;
        }
        let is_private = |id: &RoomId| id.as_str().starts_with("private");
        Ok(rooms
            .into_iter()
            .map(|(id, peers)| RoomSummary { is_private: is_private(&id), id, peers })
            .collect())
    }

    async fn room(&self, room: RoomId) -> Result<RoomDetails, Failure> {
        match room.as_str() {
            "missing" => Err(Failure::new(Code::RoomNotFound, "There is no such room.")),
            name => Ok(RoomDetails {
                is_private: name.starts_with("private"),
                id: room,
                title: "t".into(),
                status: RoomStatus::Live,
                peers: vec![],
            }),
        }
    }

    async fn dashboard(&self) -> Result<DashboardFeed, Failure> {
        let (previews_in, previews) = mpsc::channel(4);
        let mut state = self.0.lock().unwrap();
        state.previews = Some(previews_in);
        Ok(DashboardFeed { snapshot: state.snapshot.subscribe(), levels: state.levels.subscribe(), previews })
    }
}

pub fn limits() -> Limits {
    Limits::default()
}

pub async fn start(studio: &Studio) -> Server {
    start_with(studio, |_| {}).await
}

pub async fn start_with(studio: &Studio, change: impl FnOnce(&mut Config)) -> Server {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap());
    change(&mut config);
    Server::start(config, studio.clone()).await.expect("the server starts")
}

/// A Socket.IO client over one WebSocket: engine.io 4 frames by hand.
pub struct Client<S = TcpStream> {
    socket: WebSocketStream<S>,
    pub events: VecDeque<(String, Value)>,
    next_ack: u64,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_as(address, "", &[]).await
    }

    /// `auth` is the JSON after `40`, or nothing.
    pub async fn connect_as(address: SocketAddr, auth: &str, headers: &[(&'static str, &str)]) -> Self {
        let mut client =
            Self::open(address, "EIO=4&transport=websocket", headers).await.expect("is upgraded");
        client.send(&format!("40{auth}")).await;
        let answer = client.packet().await.expect("an answer");
        assert!(answer.starts_with("40"), "{answer}");
        client
    }

    /// The engine.io handshake only.
    pub async fn open(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::open_over(stream, &address.to_string(), query, headers).await
    }

    /// A WebSocket for a session that polls; no packet comes by itself.
    pub async fn try_upgrade(
        address: SocketAddr,
        query: &str,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::upgrade_over(stream, &address.to_string(), query, &[]).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub async fn open_over(
        stream: S,
        host: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let mut client = Self::upgrade_over(stream, host, query, headers).await?;
        let open = client.frame().await.expect("an open packet");
        assert!(open.starts_with("0{"), "{open}");
        Ok(client)
    }

    async fn upgrade_over(
        stream: S,
        host: &str,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let mut request = format!("ws://{host}/socket.io/?{query}").into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (socket, _) = client_async(request, stream).await?;
        Ok(Client { socket, events: VecDeque::new(), next_ack: 0 })
    }

    pub async fn send(&mut self, frame: &str) {
        self.socket.send(Message::text(frame)).await.unwrap();
    }

    pub async fn try_send(&mut self, message: Message) -> bool {
        self.socket.send(message).await.is_ok()
    }

    /// Sends and does not wait: the ack's number.
    pub async fn start(&mut self, event: &str, payload: &str) -> u64 {
        let ack = self.next_ack;
        self.next_ack += 1;
        self.send(&format!("42{ack}[{event:?},{payload}]")).await;
        ack
    }

    pub async fn emit(&mut self, event: &str, payload: &str) {
        self.send(&format!("42[{event:?},{payload}]")).await;
    }

    pub async fn ask(&mut self, event: &str, payload: &str) -> Value {
        let ack = self.start(event, payload).await;
        self.answer(ack).await
    }

    /// With the number that its callback has.
    pub async fn ask_with(&mut self, ack: u64, event: &str, payload: &str) -> Value {
        self.next_ack = ack;
        self.ask(event, payload).await
    }

    /// The next Engine.IO packet, heartbeats included.
    pub async fn raw(&mut self) -> Option<String> {
        self.frame().await
    }

    /// The code of a refusal.
    pub async fn refusal(&mut self, event: &str, payload: &str) -> String {
        let answer = self.ask(event, payload).await;
        assert!(answer["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{event} {answer}");
        answer["code"].as_str().expect("a code").to_owned()
    }

    pub async fn answer(&mut self, ack: u64) -> Value {
        let head = format!("43{ack}[");
        loop {
            let packet = self.packet().await.expect("the answer comes before the end");
            if packet.starts_with(&head) {
                let values: Vec<Value> = serde_json::from_str(&packet[head.len() - 1..]).unwrap();
                assert_eq!(values.len(), 1, "one payload per ack");
                return values.into_iter().next().unwrap();
            }
            self.keep_event(&packet);
        }
    }

    pub async fn event(&mut self, name: &str) -> Value {
        loop {
            if let Some(at) = self.events.iter().position(|(event, _)| event == name) {
                return self.events.remove(at).unwrap().1;
            }
            let packet = self.packet().await.unwrap_or_else(|| panic!("{name} comes before the end"));
            self.keep_event(&packet);
        }
    }

    /// Reads until the server disconnects or hangs up; events stay in `events`.
    pub async fn end(&mut self) {
        while let Some(packet) = self.packet().await {
            if packet == "41" {
                return;
            }
            self.keep_event(&packet);
        }
    }

    fn keep_event(&mut self, packet: &str) {
        if let Some(json) = packet.strip_prefix("42") {
            let values: Vec<Value> = serde_json::from_str(json).unwrap();
            self.events.push_back((values[0].as_str().unwrap().to_owned(), values[1].clone()));
        }
    }

    /// The next Socket.IO packet; heartbeats are answered on the way.
    pub async fn packet(&mut self) -> Option<String> {
        loop {
            let frame = self.frame().await?;
            match frame.as_str() {
                // It may have hung up since; what it said before that can still be read, and then its end.
                "2" => drop(self.try_send(Message::text("3")).await),
                "1" => return None,
                _ => return Some(frame),
            }
        }
    }

    async fn frame(&mut self) -> Option<String> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next())
                .await
                .expect("something comes in time")?
            {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}

/// A plain WebSocket with JSON messages that have a `type`.
pub struct Plain {
    socket: WebSocketStream<TcpStream>,
    /// What came while something else was waited for.
    pub heard: VecDeque<Value>,
}

impl Plain {
    /// The status, when it is not upgraded.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<Self, u16> {
        use tokio_tungstenite::tungstenite::Error;
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        for (name, value) in headers {
            request
                .headers_mut()
                .insert(name.to_lowercase().parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self { socket, heard: VecDeque::new() }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn try_say(&mut self, text: &str) -> bool {
        self.socket.send(Message::text(text)).await.is_ok()
    }

    /// The next message of that type.
    pub async fn hear(&mut self, kind: &str) -> Value {
        loop {
            if let Some(at) = self.heard.iter().position(|said| said["type"] == kind) {
                return self.heard.remove(at).unwrap();
            }
            match tokio::time::timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Text(text)))) => {
                    self.heard.push_back(serde_json::from_str(&text).unwrap())
                }
                Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
                other => panic!("{kind} comes: {other:?}, after {:?}", self.heard),
            }
        }
    }

    /// Reads until so many pings have come; each is answered with the next thing that is read.
    pub async fn answer_pings(&mut self, count: usize) {
        let mut seen = 0;
        while seen < count {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await {
                Ok(Some(Ok(Message::Ping(_)))) => seen += 1,
                Ok(Some(Ok(Message::Text(text)))) => {
                    self.heard.push_back(serde_json::from_str(&text).unwrap())
                }
                other => panic!("a ping comes: {other:?}"),
            }
        }
    }

    /// Reads until the end; the code it was closed with.
    pub async fn end(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("it ends in time") {
                Some(Ok(Message::Text(text))) => self.heard.push_back(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}

/// Opens a WebSocket, says one thing, and nothing more, pongs neither: what it hears until the end, handshake and all.
pub async fn mute_after(address: SocketAddr, path: &str, message: &Value) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = message.to_string();
    assert!(text.len() < 126);
    // A masked text frame; with a mask of zeros it is what it says (RFC 6455 §5.3).
    let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    stream.write_all(&frame).await.unwrap();
    let mut heard = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
    end.expect("it ends in time").unwrap();
    heard
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// One request, written out; the Host is the address's unless given.
pub async fn http(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    http_over(stream, &address.to_string(), method, path, headers, body).await
}

pub async fn http_over<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    host: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request += &format!("Host: {host}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    request += "\r\n";
    request += body;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The server may reset the connection after its answer when it did not read the whole body.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer in time");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub const BEARER: (&str, &str) = ("Authorization", "Bearer owner-token-of-the-tests");
pub const JSON: (&str, &str) = ("Content-Type", "application/json");
