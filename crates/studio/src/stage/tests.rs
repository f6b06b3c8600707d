//! The stage with a real forwarding plane and a real store, asked as signaling asks.

use super::*;
use crate::doors::{DoorPlan, Doors};
use crate::monitoring::MonitorSwitch;
use crate::obs_control::ObsSteering;
use crate::obs_install::ObsInstall;
use crate::obs_watch::ObsWatch;
use crate::store::Opened;
use crate::worker::WorkerConfig;
use ::rooms::{Limits, OwnerToken, Setup};
use ::signaling::backend::OUTBOX_CAPACITY;
use ::signaling::{Backend, Caller, SessionId};
use serde_json::json;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;
use uuid::Uuid;
use wire::link::{FromWorker, Place, Scene, Subject, Use, Who};
use wire::ortc::{Direction, TransportOptions};
use wire::rest::*;
use wire::sfu::*;
use wire::{ProducerId, RoomId, SlotId, TransportId};

/// An engine without HTTP, and the folder it keeps things in.
struct Engine {
    handle: StudioHandle,
    stage: JoinHandle<()>,
    workers: WorkerPool,
    folder: PathBuf,
    owner: OwnerToken,
    /// Speaks as a media worker would.
    media: mpsc::Sender<FromWorker>,
    /// Whether it is short.
    memory: watch::Sender<bool>,
}

impl Engine {
    async fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("greenroom-stage-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let engine = Self::start(&folder).await;
        let room = CreateRoom { room_id: room(), title: Some("Friday".into()), is_private: None };
        engine.handle.owner(OwnerRequest::CreateRoom(room)).await.unwrap();
        engine
    }

    async fn start(folder: &Path) -> Self {
        let Opened { store, saved, secrets, .. } = open(folder).await;
        let clock = Clock::start();
        let owner = OwnerToken::new(secrets.owner_token);
        let limits = Limits::default();
        let setup = Setup {
            limits,
            provider: None,
            slot_count: 2,
            key: secrets.signing_key,
            owner: owner.clone(),
            seed: rand::random(),
        };
        let announced = vec![IpAddr::from([127, 0, 0, 1])];
        let config =
            WorkerConfig { ports: vec![0], announced, max_incoming_bitrate: 4_000_000, gather: true };
        let (workers, worker_events) = WorkerPool::start(&config, 2).unwrap();
        // No media worker: the stage must not care.
        let (program, socket_path) = (folder.join("no-such-program"), folder.join("obs.sock"));
        let media = ::outputs::obs::Config { program, socket_path, slot_count: 2, hardware_decoding: false };
        let (media, mut media_events) = ::outputs::obs::start(media, Box::new(drop));
        let (say, said) = mpsc::channel(16);
        media_events.events = said;
        let (obs, obs_seen) = ObsWatch::start(ObsInstall::new(None));
        let (steering, obs_control) = ObsSteering::start(store.clone(), 2, obs.running()).await;
        let (monitor, monitoring) = MonitorSwitch::start(store.clone(), media.clone()).await;
        let lan = "127.0.0.1:0".parse().unwrap();
        let plan =
            DoorPlan { lan_listen: lan, announced: Vec::new(), certificate: None, data_dir: folder.into() };
        let (doors, addresses) = Doors::new(plan, store.clone());
        let rooms = Rooms::restore(setup, saved, clock.now());
        let (memory, is_full) = watch::channel(false);
        let ice_servers = Vec::new();
        let alarms = super::AlarmParts {
            rules: Default::default(),
            tally: signaling::Tally::default(),
            connection_limit: 10,
            host: tokio::sync::watch::channel(Default::default()).1,
        };
        let parts = Parts {
            rooms,
            clock,
            store,
            workers: workers.clone(),
            worker_events,
            media,
            media_events,
            addresses,
            obs: obs_seen,
            obs_control,
            monitoring,
            is_full: is_full.clone(),
            provider: None,
            ice_servers,
            srs: Default::default(),
            recovered: None,
            send_limits: super::SendLimits { usual: 4_000_000, on_air: 9_000_000 },
            alarms,
            webhooks: Default::default(),
            debug_until: tokio::sync::watch::Sender::new(None).subscribe(),
        };
        let tally = signaling::Tally::default();
        let settings = crate::support::Settings::of(&crate::config::Config::defaults_in(folder.into()));
        let outside =
            Outside { doors, obs, steering, monitor, tally, connection_limit: 10, is_full, settings };
        let (stage, handle) = Stage::new(parts, owner.clone(), outside).await.unwrap();
        let stage = tokio::spawn(stage.run());
        Self { handle, stage, workers, folder: folder.into(), owner, media: say, memory }
    }

    /// Nothing is said to anybody, nothing is finished.
    async fn kill(self) -> PathBuf {
        self.stage.abort();
        let _ = self.stage.await;
        self.folder
    }

    /// What the media worker says of OBS.
    async fn obs(&self, places: &[(Place, Scene)]) {
        let used = |(place, scene): &(Place, Scene)| Use { place: place.clone(), scene: *scene, height: 0 };
        self.media.send(FromWorker::Used { places: places.iter().map(used).collect() }).await.unwrap();
    }

    async fn invite(&self) -> InviteCreated {
        match self.handle.owner(OwnerRequest::CreateInvite(room(), CreateInvite::default())).await.unwrap() {
            OwnerReply::InviteCreated(invite) => *invite,
            other => panic!("no invite: {other:?}"),
        }
    }

    async fn join(&self, name: &str, token: &str) -> Client {
        self.try_join(name, Some(token), None).await.unwrap()
    }

    async fn try_join(
        &self,
        name: &str,
        token: Option<&str>,
        resume: Option<&str>,
    ) -> Result<Client, Failure> {
        self.enter(&room(), name, token, resume).await
    }

    async fn enter(
        &self,
        room: &RoomId,
        name: &str,
        token: Option<&str>,
        resume: Option<&str>,
    ) -> Result<Client, Failure> {
        let session = SessionId(Uuid::new_v4());
        let (outbox, notices) = mpsc::channel(OUTBOX_CAPACITY);
        // The token comes with the handshake, as it does from the guest page.
        let caller = Caller { session, address: [127, 0, 0, 1].into(), token: token.map(str::to_owned) };
        let request = serde_json::from_value(json!({
            "roomId": room, "displayName": name, "resumeToken": resume,
        }));
        let joined = self.handle.join(caller, request.unwrap(), outbox).await?;
        Ok(Client { handle: self.handle.clone(), session, joined, notices })
    }

    async fn admit(&self, client: &Client) {
        let admit = OwnerRequest::Admit(room(), client.joined.peer_id, AssignSlot { slot: None });
        self.handle.owner(admit).await.unwrap();
    }

    /// The first snapshot in which the guest is as wished.
    async fn sees(&self, name: &str, wish: impl Fn(&wire::dashboard::GuestView) -> bool) {
        let mut feed = self.handle.dashboard().await.unwrap();
        let seen = feed.snapshot.wait_for(|snapshot| {
            let mut guests = snapshot.rooms.iter().flat_map(|room| &room.guests);
            guests.any(|guest| guest.display_name.as_str() == name && wish(guest))
        });
        tokio::time::timeout(PATIENCE, seen).await.expect("the dashboard shows it in time").unwrap();
    }

    async fn monitors(&self, wanted: &wire::monitor::Monitoring, state: &wire::monitor::MonitorState) {
        let mut feed = self.handle.dashboard().await.unwrap();
        let seen = feed.snapshot.wait_for(|snapshot| {
            snapshot.monitoring.wanted == *wanted && snapshot.monitoring.state == *state
        });
        tokio::time::timeout(PATIENCE, seen).await.expect("the dashboard shows it in time").unwrap();
    }
}

/// A killed engine's storage thread lets go of the folder a moment later.
async fn open(folder: &Path) -> Opened {
    for _ in 0..500 {
        match Store::open(folder) {
            Ok(opened) => return opened,
            Err(crate::store::StoreError::InUse { .. }) => {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the folder stays in use");
}

/// One joined session.
struct Client {
    handle: StudioHandle,
    session: SessionId,
    joined: Joined,
    notices: mpsc::Receiver<Box<Notice>>,
}

impl Client {
    async fn ask(&self, request: PeerRequest) -> Result<PeerReply, Failure> {
        self.handle.request(self.session, request).await
    }

    async fn transport(&self, direction: Direction) -> TransportOptions {
        let asked = CreateTransport { direction: Some(direction), ..CreateTransport::default() };
        match self.ask(PeerRequest::CreateWebrtcTransport(asked)).await.unwrap() {
            PeerReply::Transport(options) => *options,
            other => panic!("no transport: {other:?}"),
        }
    }

    async fn produce(&self, transport: TransportId, what: serde_json::Value) -> Result<ProducerId, Failure> {
        let mut produce = json!({ "transportId": transport });
        produce.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        match self.ask(PeerRequest::Produce(serde_json::from_value(produce).unwrap())).await? {
            PeerReply::Produced { id } => Ok(id),
            other => panic!("not produced: {other:?}"),
        }
    }

    async fn consume(&self, producer: ProducerId) -> Result<ConsumerReply, Failure> {
        let rtp_capabilities = self.joined.router_rtp_capabilities.clone();
        let consume = Consume { producer_id: producer, rtp_capabilities, transport_id: None, paused: None };
        match self.ask(PeerRequest::Consume(consume)).await? {
            PeerReply::Consumer(reply) => Ok(*reply),
            other => panic!("not consumed: {other:?}"),
        }
    }

    /// Waits until they are told that.
    async fn is_told(&mut self, state: Tally) {
        loop {
            let notice = tokio::time::timeout(PATIENCE, self.notices.recv()).await.expect("is told in time");
            if matches!(*notice.expect("is not disconnected"), Notice::Tally { state: told } if told == state)
            {
                return;
            }
        }
    }

    /// The next notice but the regular ones.
    async fn hears(&mut self) -> String {
        loop {
            let notice =
                tokio::time::timeout(PATIENCE, self.notices.recv()).await.expect("is told something in time");
            let (event, _) = notice.expect("is not disconnected").into_event();
            if event != "quality" {
                return event;
            }
        }
    }
}

fn camera() -> serde_json::Value {
    json!({ "kind": "video", "appData": { "source": "camera" }, "rtpParameters": {
        "mid": "0",
        "codecs": [
            { "mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000, "rtcpFeedback": [{ "type": "nack" }, { "type": "nack", "parameter": "pli" }] },
            { "mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000, "parameters": { "apt": 96 } },
        ],
        "headerExtensions": [{ "uri": "urn:ietf:params:rtp-hdrext:sdes:mid", "id": 1 }],
        "encodings": [{ "ssrc": 1111, "rtx": { "ssrc": 1112 } }],
        "rtcp": { "cname": "guest", "reducedSize": true },
    }})
}

fn room() -> RoomId {
    RoomId::parse("show").unwrap()
}

fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> Code {
    result.unwrap_err().code
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_memory_newcomers_are_refused_and_the_dashboard_says_why() {
    let engine = Engine::new("memory").await;
    let invite = engine.invite().await;
    engine.memory.send_replace(true);
    let says = async |text: &str| {
        let mut feed = engine.handle.dashboard().await.unwrap();
        let seen =
            feed.snapshot.wait_for(|snapshot| snapshot.notes.iter().any(|note| note.text.contains(text)));
        tokio::time::timeout(PATIENCE, seen).await.expect("the dashboard says it in time").unwrap();
    };
    says("limits.memory_percent").await;
    assert!(engine.handle.is_full());
    assert_eq!(code(engine.try_join("Ada", Some(&invite.token), None).await.map(drop)), Code::ServerFull);
    engine.memory.send_replace(false);
    says("guests can join").await;
    engine.join("Ada", &invite.token).await;
}

#[tokio::test]
async fn a_guest_waits_is_let_in_and_is_received() {
    let engine = Engine::new("in").await;
    let mut host = engine.join("Mira", engine.owner.reveal()).await;
    let invite = engine.invite().await;
    let mut ada = engine.join("Ada", &invite.token).await;
    assert_eq!((ada.joined.state, ada.joined.title.as_str()), (PeerState::Waiting, "Friday"));
    assert!(ada.joined.peers.is_empty());

    let sending = ada.transport(Direction::Send).await;
    assert!(!sending.ice_candidates.is_empty());
    let producer = ada.produce(sending.id, camera()).await.unwrap();
    host.transport(Direction::Recv).await;
    assert_eq!(code(host.consume(producer).await), Code::NotFound, "still in the green room");
    engine
        .sees("Ada", |ada| ada.state == PeerState::Waiting && ada.camera == wire::dashboard::TrackView::On)
        .await;

    engine.admit(&ada).await;
    assert_eq!(ada.hears().await, "admitted");
    assert_eq!([host.hears().await, host.hears().await], ["peer-waiting", "peer-joined"]);
    assert_eq!(host.hears().await, "new-producer");
    let reply = host.consume(producer).await.unwrap();
    assert_eq!((reply.peer_id, reply.app_data["source"].as_str()), (ada.joined.peer_id, Some("camera")));
    assert_eq!(reply.options.rtp_parameters.codecs[0].mime_type, "video/VP8");
    host.ask(PeerRequest::ResumeConsumer(ConsumerRef { consumer_id: reply.options.id })).await.unwrap();
    let slot = SlotId::try_from(1).unwrap();
    engine.sees("Ada", move |ada| ada.slot == Some(slot)).await;

    ada.ask(PeerRequest::LeaveRoom).await.unwrap();
    let heard = [host.hears().await, host.hears().await, host.hears().await];
    assert_eq!(heard, ["consumer-closed", "producer-closed", "peer-left"]);
    assert!(ada.notices.recv().await.is_none_or(|_| ada.notices.is_closed()), "nothing more is said to Ada");
}

#[tokio::test]
async fn a_guest_on_air_may_send_more() {
    let engine = Engine::new("on-air").await;
    let mut ada = engine.join("Ada", &engine.invite().await.token).await;
    let before = ada.transport(Direction::Send).await;
    engine.admit(&ada).await;
    assert_eq!(ada.hears().await, "admitted");
    let after = ada.transport(Direction::Send).await;
    let limits = async |ada: &mut Client| {
        let Ok(PeerReply::Stats(stats)) = ada.ask(PeerRequest::GetStats(GetStats::default())).await else {
            panic!("no statistics");
        };
        let limit = |id| {
            let found = stats.transports.iter().find(|t| t.transport_id == id);
            found.map(|transport| transport.max_incoming_bitrate)
        };
        [limit(before.id), limit(after.id)]
    };
    assert_eq!(limits(&mut ada).await, [Some(9_000_000); 2], "before and after");
    let off_air = OwnerRequest::AssignSlot(room(), ada.joined.peer_id, AssignSlot { slot: None });
    engine.handle.owner(off_air).await.unwrap();
    assert_eq!(limits(&mut ada).await, [Some(4_000_000); 2]);
}

#[tokio::test]
async fn guests_are_told_whether_the_audience_sees_them() {
    let engine = Engine::new("tally").await;
    let invite = engine.invite().await;
    let (mut ada, mut ben) =
        (engine.join("Ada", &invite.token).await, engine.join("Ben", &engine.invite().await.token).await);
    engine.admit(&ada).await;
    engine.admit(&ben).await;
    let slot = |number: u8| Place::Slot(SlotId::try_from(number).unwrap());
    engine.obs(&[(slot(1), Scene::Program), (slot(2), Scene::Preview)]).await;
    ada.is_told(Tally::Program).await;
    ben.is_told(Tally::Preview).await;
    // By name, besides the slot: the better of the two counts.
    let by_name = Place::Subject(Subject { who: Who::Person("ben".into()), stand_in: None });
    engine.obs(&[(slot(2), Scene::Preview), (by_name, Scene::Program)]).await;
    ada.is_told(Tally::Off).await;
    ben.is_told(Tally::Program).await;
    engine.sees("Ben", |ben| ben.tally == Some(Tally::Program)).await;
    engine.obs(&[]).await;
    ben.is_told(Tally::Off).await;
}

#[tokio::test]
async fn a_guest_is_as_steady_as_the_streamer_says_also_after_leaving_and_a_restart() {
    use wire::link::Steadiness;
    let mut engine = Engine::new("steady").await;
    let ada = engine.join("Ada", &engine.invite().await.token).await;
    engine.sees("Ada", |ada| ada.steadiness == Steadiness::Balanced).await;
    let set = |peer, steadiness| {
        engine.handle.owner(OwnerRequest::SetSteadiness(room(), peer, SetSteadiness { steadiness }))
    };
    set(ada.joined.peer_id, Steadiness::Instant).await.unwrap();
    engine.sees("Ada", |ada| ada.steadiness == Steadiness::Instant).await;
    let nobody = wire::PeerId(Uuid::new_v4());
    assert_eq!(code(set(nobody, Steadiness::Steady).await), Code::NotFound);
    ada.ask(PeerRequest::LeaveRoom).await.unwrap();
    assert_eq!(code(set(ada.joined.peer_id, Steadiness::Steady).await), Code::NotFound);
    // With another link, and in another spelling.
    engine.join("ada", &engine.invite().await.token).await;
    engine.sees("ada", |ada| ada.steadiness == Steadiness::Instant).await;
    drop(ada);
    engine = Engine::start(&engine.kill().await).await;
    engine.join("Ada", &engine.invite().await.token).await;
    engine.sees("Ada", |ada| ada.steadiness == Steadiness::Instant).await;
}

#[tokio::test]
async fn the_streamer_hears_guests_as_they_like_and_that_they_do_is_kept() {
    use wire::monitor::{Hearing, MonitorReport, MonitorState, Monitoring, VolumePercent};
    let engine = Engine::new("monitoring").await;
    let ada = engine.join("Ada", &engine.invite().await.token).await;
    let softer = Hearing { volume: VolumePercent::try_from(30).unwrap(), muted: false };
    let set = |peer| engine.handle.owner(OwnerRequest::SetHearing(room(), peer, softer));
    set(ada.joined.peer_id).await.unwrap();
    engine.sees("Ada", |ada| ada.hearing == softer).await;
    assert_eq!(code(set(wire::PeerId(Uuid::new_v4())).await), Code::NotFound);

    let wanted = Monitoring { on: true, device: Some("usb".to_owned().try_into().unwrap()) };
    engine.handle.owner(OwnerRequest::SetMonitoring(wanted.clone())).await.unwrap();
    let state = MonitorState::Playing { device: "Headset".into() };
    let report = MonitorReport { state: state.clone(), devices: Vec::new() };
    engine.media.send(FromWorker::Monitor(report)).await.unwrap();
    engine.monitors(&wanted, &state).await;

    drop(ada);
    let engine = Engine::start(&engine.kill().await).await;
    engine.monitors(&wanted, &MonitorState::Off).await;
    engine.join("Ada", &engine.invite().await.token).await;
    engine.sees("Ada", |ada| ada.hearing == softer).await;
}

#[tokio::test]
async fn data_channels_are_agreed_upon_as_tracks_are() {
    let engine = Engine::new("data").await;
    let mut host = engine.join("Mira", engine.owner.reveal()).await;
    let mut ada = engine.join("Ada", &engine.invite().await.token).await;
    engine.admit(&ada).await;
    assert_eq!(ada.hears().await, "admitted");
    assert_eq!([host.hears().await, host.hears().await], ["peer-waiting", "peer-joined"]);
    let (sending, receiving) = (ada.transport(Direction::Send).await, host.transport(Direction::Recv).await);
    let offered = serde_json::to_value(&sending.sctp_parameters).unwrap();
    assert_eq!((offered["port"].as_u64(), offered["MIS"].as_u64()), (Some(5000), Some(1024)));
    assert_eq!(offered["maxMessageSize"].as_u64(), Some(262_144));

    let produce = |transport: TransportId, stream: u16| {
        let asked = json!({
            "transportId": transport, "label": "game", "protocol": "json", "appData": { "a": 1 },
            "sctpStreamParameters": { "streamId": stream, "ordered": false, "maxRetransmits": 0 },
        });
        PeerRequest::ProduceData(serde_json::from_value(asked).unwrap())
    };
    let Ok(PeerReply::DataProduced { id }) = ada.ask(produce(sending.id, 0)).await else {
        panic!("not produced")
    };
    assert_eq!(host.hears().await, "new-data-producer");
    assert_eq!(code(ada.ask(produce(sending.id, 0)).await), Code::InvalidRequest, "the stream is taken");
    assert_eq!(code(ada.ask(produce(sending.id, 1024)).await), Code::InvalidRequest);
    assert_eq!(code(ada.ask(produce(receiving.id, 1)).await), Code::NotFound, "another's transport");

    let consume = || ConsumeData { data_producer_id: id, transport_id: None, paused: None };
    let reply = host.ask(PeerRequest::ConsumeData(consume())).await.unwrap();
    let reply = serde_json::to_value(&reply).unwrap();
    assert_eq!(reply["dataProducerId"], json!(id));
    assert_eq!(
        reply["sctpStreamParameters"],
        json!({ "streamId": 0, "ordered": false, "maxRetransmits": 0 })
    );
    assert_eq!((reply["label"].as_str(), reply["protocol"].as_str()), (Some("game"), Some("json")));
    assert_eq!((&reply["peerId"], &reply["appData"]["a"]), (&json!(ada.joined.peer_id), &json!(1)));
    ada.transport(Direction::Recv).await;
    assert_eq!(code(ada.ask(PeerRequest::ConsumeData(consume())).await), Code::CannotConsume);
    let consumer = DataConsumerRef { data_consumer_id: serde_json::from_value(reply["id"].clone()).unwrap() };
    host.ask(PeerRequest::PauseDataConsumer(consumer.clone())).await.unwrap();
    host.ask(PeerRequest::ResumeDataConsumer(consumer.clone())).await.unwrap();
    assert_eq!(code(ada.ask(PeerRequest::CloseDataConsumer(consumer)).await), Code::NotFound);
    let Ok(PeerReply::Stats(stats)) = host.ask(PeerRequest::GetStats(GetStats::default())).await else {
        panic!("no statistics");
    };
    assert_eq!((stats.data_consumers.len(), stats.data_consumers[0].data_producer_id), (1, id));
    assert_eq!(stats.transports[0].sctp_state.as_deref(), Some("new"));

    // Who comes later finds it; when its owner goes, it goes.
    let late = engine.join("Mira's phone", engine.owner.reveal()).await;
    assert_eq!(late.joined.data_producers[0].label, "game");
    assert_eq!(host.hears().await, "peer-joined");
    ada.ask(PeerRequest::LeaveRoom).await.unwrap();
    let heard = [host.hears().await, host.hears().await, host.hears().await];
    assert_eq!(heard, ["data-consumer-closed", "data-producer-closed", "peer-left"]);

    let without = CreateTransport {
        direction: Some(Direction::Recv),
        enable_sctp: Some(false),
        ..CreateTransport::default()
    };
    let Ok(PeerReply::Transport(plain)) = host.ask(PeerRequest::CreateWebrtcTransport(without)).await else {
        panic!("no transport");
    };
    assert_eq!(plain.sctp_parameters, None);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let engine = Engine::new("kill").await;
    let invite = engine.invite().await;
    let ada = engine.join("Ada", &invite.token).await;
    engine.admit(&ada).await;
    let resume = ada.joined.resume_token.clone();
    drop(ada);
    let folder = engine.kill().await;

    let engine = Engine::start(&folder).await;
    engine.sees("Ada", |ada| !ada.connected && ada.slot.is_some()).await;
    assert_eq!(code(engine.try_join("Eve", Some(&invite.token), None).await.map(|_| ())), Code::InviteUsedUp);
    let ada = engine.try_join("Ada", Some(&invite.token), Some(&resume)).await.unwrap();
    assert_eq!((ada.joined.state, ada.joined.resumed), (PeerState::Live, false));
    engine.sees("Ada", |ada| ada.connected && ada.slot.is_some()).await;
    // The transports are new, so are the tracks.
    let sending = ada.transport(Direction::Send).await;
    ada.produce(sending.id, camera()).await.unwrap();
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_codes() {
    let engine = Engine::new("bad").await;
    let host = engine.join("Mira", engine.owner.reveal()).await;
    let ada = engine.join("Ada", &engine.invite().await.token).await;
    engine.admit(&ada).await;
    let sending = ada.transport(Direction::Send).await.id;
    let nobody = Uuid::nil();

    assert_eq!(code(host.produce(sending, camera()).await), Code::NotFound, "another's transport");
    let mut alien = camera();
    alien["rtpParameters"]["codecs"] =
        json!([{ "mimeType": "video/AV9", "payloadType": 96, "clockRate": 90000 }]);
    assert_eq!(code(ada.produce(sending, alien).await), Code::UnsupportedCodec);
    let mut twisted = camera();
    twisted["kind"] = "audio".into();
    assert!(ada.produce(sending, twisted).await.is_err());
    assert_eq!(code(ada.consume(ProducerId(nobody)).await), Code::NotFound);
    let chat = |text: &str| PeerRequest::Chat(Chat { text: text.into() });
    assert_eq!(code(ada.ask(chat("\u{7}")).await), Code::InvalidRequest);
    let restart = PeerRequest::RestartIce(TransportRef { transport_id: TransportId(nobody) });
    assert_eq!(code(ada.ask(restart).await), Code::NotFound);
    let directionless = PeerRequest::CreateWebrtcTransport(CreateTransport::default());
    assert_eq!(code(ada.ask(directionless).await), Code::InvalidRequest);
    let two = GetStats {
        transport_id: Some(sending),
        producer_id: Some(ProducerId(nobody)),
        ..GetStats::default()
    };
    assert_eq!(code(ada.ask(PeerRequest::GetStats(two)).await), Code::InvalidRequest);
    let stranger = engine.handle.request(SessionId(nobody), PeerRequest::LeaveRoom).await;
    assert_eq!(code(stranger), Code::NotJoined);
    assert_eq!(code(engine.try_join("Eve", None, None).await.map(|_| ())), Code::InviteRequired);

    // None of it disturbed anybody.
    ada.produce(sending, camera()).await.unwrap();
    ada.ask(PeerRequest::GetStats(GetStats::default())).await.unwrap();
}

#[tokio::test]
async fn who_does_not_read_is_disconnected_and_may_resume() {
    let engine = Engine::new("slow").await;
    let host = engine.join("Mira", engine.owner.reveal()).await;
    let ada = engine.join("Ada", &engine.invite().await.token).await;
    engine.admit(&ada).await;
    for _ in 0..OUTBOX_CAPACITY {
        host.ask(PeerRequest::Chat(Chat { text: "hello".into() })).await.unwrap();
    }
    engine.sees("Ada", |ada| !ada.connected).await;
    let resumed = engine.try_join("Ada", None, Some(&ada.joined.resume_token)).await.unwrap();
    assert_eq!(resumed.joined.peer_id, ada.joined.peer_id);
}

#[tokio::test]
async fn a_caller_who_gave_up_waiting_is_not_counted_as_connected() {
    let engine = Engine::new("gave-up").await;
    let (outbox, _notices) = mpsc::channel(OUTBOX_CAPACITY);
    let invite = engine.invite().await;
    let caller = Caller {
        session: SessionId(Uuid::new_v4()),
        address: [127, 0, 0, 1].into(),
        token: Some(invite.token),
    };
    let request = serde_json::from_value(json!({ "roomId": "show", "displayName": "Ada" })).unwrap();
    let join = engine.handle.join(caller, request, outbox);
    // Polled once: the request is sent, the answer never taken.
    tokio::select! {
        biased;
        _ = join => {}
        () = std::future::ready(()) => {}
    }
    engine.sees("Ada", |ada| !ada.connected).await;
}

#[tokio::test]
async fn a_closing_engine_says_so_and_lets_nobody_in() {
    let engine = Engine::new("closing").await;
    let mut host = engine.join("Mira", engine.owner.reveal()).await;
    engine.handle.say_goodbye(Duration::from_secs(2)).await;
    assert_eq!(host.hears().await, "server-closing");
    let late = engine.try_join("Late", Some(engine.owner.reveal()), None).await;
    assert_eq!(code(late.map(|_| ())), Code::ServerClosing);
}

#[tokio::test]
async fn a_worker_that_panics_takes_only_its_rooms_and_they_come_back() {
    let engine = Engine::new("panic").await;
    let other = RoomId::parse("other").unwrap();
    let create = CreateRoom { room_id: other.clone(), title: None, is_private: None };
    engine.handle.owner(OwnerRequest::CreateRoom(create)).await.unwrap();

    let mut host = engine.join("Mira", engine.owner.reveal()).await;
    let mut ada = engine.join("Ada", &engine.invite().await.token).await;
    engine.admit(&ada).await;
    assert_eq!(ada.hears().await, "admitted");
    assert_eq!([host.hears().await, host.hears().await], ["peer-waiting", "peer-joined"]);
    let sending = ada.transport(Direction::Send).await;
    let producer = ada.produce(sending.id, camera()).await.unwrap();
    assert_eq!(host.hears().await, "new-producer");
    host.transport(Direction::Recv).await;
    host.consume(producer).await.unwrap();
    let bystander = engine.enter(&other, "Mira", Some(engine.owner.reveal()), None).await.unwrap();
    let elsewhere = bystander.transport(Direction::Send).await;
    let own = bystander.produce(elsewhere.id, camera()).await.unwrap();
    let home = |id: TransportId| engine.workers.home_index(id.0);
    assert_ne!(home(sending.id), home(elsewhere.id), "rooms are spread");

    let port = engine.workers.home(sending.id.0).media_address().port();
    let failed = engine.workers.home(sending.id.0).call(|_, _| panic!("a fault of this test's")).await;
    assert_eq!(failed, Err::<(), _>(WorkerGone::Failed));
    assert_eq!(
        (host.hears().await, host.hears().await),
        ("transport-closed".into(), "producer-closed".into())
    );
    assert_eq!(ada.hears().await, "transport-closed");

    // Nobody lost their place, and everything can be made again, on the same port.
    engine.sees("Ada", |ada| ada.connected && ada.slot.is_some()).await;
    let again = ada.transport(Direction::Send).await;
    assert_eq!(engine.workers.home(again.id.0).media_address().port(), port);
    assert_ne!(again.dtls_parameters.fingerprints, sending.dtls_parameters.fingerprints);
    let producer = ada.produce(again.id, camera()).await.unwrap();
    assert_eq!(host.hears().await, "new-producer");
    host.transport(Direction::Recv).await;
    host.consume(producer).await.unwrap();
    let health = engine.handle.health().await;
    assert_eq!(health.workers, 2);

    // The other room's never stopped.
    let stats = GetStats { producer_id: Some(own), ..GetStats::default() };
    bystander.ask(PeerRequest::GetStats(stats)).await.unwrap();
    bystander.ask(PeerRequest::RestartIce(TransportRef { transport_id: elsewhere.id })).await.unwrap();
}

#[tokio::test]
async fn a_media_worker_that_cannot_start_is_the_streamers_news_and_no_guests() {
    let engine = Engine::new("no-media").await;
    let mut feed = engine.handle.dashboard().await.unwrap();
    let failed =
        feed.snapshot.wait_for(|snapshot| matches!(snapshot.media_worker, OutputStatus::Failed { .. }));
    tokio::time::timeout(PATIENCE, failed).await.expect("in time").unwrap();
    let health = engine.handle.health().await;
    assert_eq!(health.status, "unhealthy");
    assert_eq!(health.workers, 2);
    engine.join("Mira", engine.owner.reveal()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_replayed_by_a_hundred_at_once_lets_one_in() {
    let engine = Engine::new("replay").await;
    let invite = engine.invite().await;
    let mut knocks = tokio::task::JoinSet::new();
    for knock in 0..100 {
        // The link and the JWT of one invite are one grant.
        let token = if knock % 2 == 0 { &invite.token } else { &invite.jwt };
        let (handle, token) = (engine.handle.clone(), token.clone());
        knocks.spawn(async move {
            let (outbox, _notices) = mpsc::channel(OUTBOX_CAPACITY);
            let session = SessionId(Uuid::new_v4());
            let caller = Caller { session, address: IpAddr::from([127, 0, 0, 1]), token: Some(token) };
            let request =
                JoinRoom { room_id: room(), token: None, display_name: None, role: None, resume_token: None };
            handle.join(caller, request, outbox).await.map(|joined| joined.peer_id)
        });
    }
    let answers = knocks.join_all().await;
    let (inside, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(inside.len(), 1);
    assert!(refused.into_iter().all(|answer| answer.unwrap_err().code == Code::InviteUsedUp));
    engine.kill().await;
}
