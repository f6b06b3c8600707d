//! Socket.IO on the root namespace: requests with acks, and notices.

use crate::ids::*;
use crate::name::{DisplayName, RoomId, SlotId};
use crate::ortc::*;
use crate::stats::{ConsumerScore, Quality, StatsReport, StreamScore};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ts_rs::TS;

/// What a peer may do. Ordered from most to least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Role {
    /// The streamer: everything.
    Host,
    /// Sends and receives at once; lets in, moves, silences and removes those below.
    CoHost,
    /// Sends and receives, waits until admitted.
    Guest,
    /// Receives at once; asks to send by raising a hand, and sends once the host lets them onto the stage.
    Performer,
    /// Receives only.
    Viewer,
}

/// Where a peer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[ts(export)]
pub enum PeerState {
    Live,
    /// In the green room.
    Waiting,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct JoinRoom {
    pub room_id: RoomId,
    pub token: Option<String>,
    pub display_name: Option<DisplayName>,
    pub role: Option<Role>,
    pub resume_token: Option<String>,
}

/// The answer to `join-room`, also emitted as `room-joined`.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct Joined {
    pub peer_id: PeerId,
    pub room_id: RoomId,
    pub role: Role,
    pub state: PeerState,
    pub display_name: DisplayName,
    /// The room's title, for the guest page.
    pub title: String,
    pub router_rtp_capabilities: RtpCapabilities,
    pub peers: Vec<PeerInfo>,
    pub producers: Vec<ProducerInfo>,
    pub data_producers: Vec<DataProducerInfo>,
    /// In the green room: for those who may let them in, empty for others.
    pub waiting: Vec<PeerInfo>,
    /// Whether this peer may send now; a performer once `admitted`.
    pub may_send: bool,
    pub ice_servers: Vec<IceServer>,
    pub resume_token: String,
    /// True when `resumeToken` took a running session over: transports and producers still stand.
    pub resumed: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PeerInfo {
    pub peer_id: PeerId,
    pub display_name: DisplayName,
    pub role: Role,
    pub hand_raised: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ProducerInfo {
    pub producer_id: ProducerId,
    pub peer_id: PeerId,
    pub kind: MediaKind,
    pub paused: bool,
    #[ts(type = "Record<string, unknown>")]
    pub app_data: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataProducerInfo {
    pub data_producer_id: DataProducerId,
    pub peer_id: PeerId,
    pub label: String,
    pub protocol: String,
    #[ts(type = "Record<string, unknown>")]
    pub app_data: Map<String, Value>,
}

/// Everything a joined peer may ask for. One variant per event; the event's name is the variant's in kebab-case.
#[derive(Clone, Debug)]
pub enum PeerRequest {
    GetRouterRtpCapabilities,
    CreateWebrtcTransport(CreateTransport),
    ConnectTransport(ConnectTransport),
    AddIceCandidate(AddIceCandidate),
    RestartIce(TransportRef),
    Produce(Produce),
    Consume(Consume),
    ResumeConsumer(ConsumerRef),
    PauseConsumer(ConsumerRef),
    CloseConsumer(ConsumerRef),
    PauseProducer(ProducerRef),
    ResumeProducer(ProducerRef),
    CloseProducer(ProducerRef),
    SetPreferredLayers(SetPreferredLayers),
    RequestKeyFrame(ConsumerRef),
    ProduceData(ProduceData),
    ConsumeData(ConsumeData),
    PauseDataConsumer(DataConsumerRef),
    ResumeDataConsumer(DataConsumerRef),
    CloseDataConsumer(DataConsumerRef),
    CloseDataProducer(DataProducerRef),
    GetStats(GetStats),
    Admit(AdmitPeer),
    AssignSlot(AdmitPeer),
    MutePeer(SilencePeer),
    RemovePeer(PeerRef),
    Chat(Chat),
    RaiseHand(RaiseHand),
    SetDisplayName(SetDisplayName),
    Signal(Signal),
    LeaveRoom,
}

/// The ack of a [`PeerRequest`]; each variant serialises as the bare payload the protocol documents.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum PeerReply {
    Capabilities(RtpCapabilities),
    Transport(Box<TransportOptions>),
    Connected {
        connected: bool,
    },
    #[serde(rename_all = "camelCase")]
    IceRestarted {
        ice_parameters: IceParameters,
    },
    Produced {
        id: ProducerId,
    },
    Consumer(Box<ConsumerReply>),
    DataProduced {
        id: DataProducerId,
    },
    DataConsumer(Box<DataConsumerReply>),
    Stats(Box<StatsReport>),
    Done {},
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export, optional_fields)]
#[derive(Default)]
pub struct CreateTransport {
    pub direction: Option<Direction>,
    /// Older dashboards say this instead of `direction: "send"`.
    pub producing: Option<bool>,
    /// Older dashboards say this instead of `direction: "recv"`.
    pub consuming: Option<bool>,
    pub force_tcp: Option<bool>,
    /// `false`: no data channels on it. Default: they are possible.
    pub enable_sctp: Option<bool>,
    #[ts(type = "Record<string, unknown>")]
    pub sctp_capabilities: Option<Map<String, Value>>,
}

impl CreateTransport {
    /// The direction asked for in either dialect; `None` when neither was said.
    pub fn direction(&self) -> Option<Direction> {
        self.direction
            .or_else(|| self.producing.unwrap_or(false).then_some(Direction::Send))
            .or_else(|| self.consuming.unwrap_or(false).then_some(Direction::Recv))
    }
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ConnectTransport {
    pub transport_id: TransportId,
    pub dtls_parameters: DtlsParameters,
    /// The client's, if it knows them: the engine then checks the path from its side, too.
    pub ice_parameters: Option<IceParameters>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct AddIceCandidate {
    pub transport_id: TransportId,
    pub candidate: RemoteCandidate,
    /// As in [`ConnectTransport`]; after an ICE restart, the new ones.
    pub ice_parameters: Option<IceParameters>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct TransportRef {
    pub transport_id: TransportId,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct Produce {
    pub transport_id: TransportId,
    pub kind: MediaKind,
    pub rtp_parameters: RtpParameters,
    #[serde(default)]
    #[ts(type = "Record<string, unknown>")]
    pub app_data: Map<String, Value>,
    pub paused: Option<bool>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct Consume {
    pub producer_id: ProducerId,
    pub rtp_capabilities: RtpCapabilities,
    /// Default: the peer's receiving transport.
    pub transport_id: Option<TransportId>,
    /// Default: true.
    pub paused: Option<bool>,
}

#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ConsumerReply {
    #[serde(flatten)]
    pub options: ConsumerOptions,
    pub peer_id: PeerId,
    #[ts(type = "Record<string, unknown>")]
    pub app_data: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ConsumerRef {
    pub consumer_id: ConsumerId,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ProducerRef {
    pub producer_id: ProducerId,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct SetPreferredLayers {
    pub consumer_id: ConsumerId,
    pub spatial_layer: u8,
    pub temporal_layer: Option<u8>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ProduceData {
    pub transport_id: TransportId,
    pub sctp_stream_parameters: SctpStreamParameters,
    /// At most 255 octets.
    #[serde(default)]
    pub label: String,
    /// At most 255 octets.
    #[serde(default)]
    pub protocol: String,
    #[serde(default)]
    #[ts(type = "Record<string, unknown>")]
    pub app_data: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ConsumeData {
    pub data_producer_id: DataProducerId,
    /// Default: the peer's receiving transport.
    pub transport_id: Option<TransportId>,
    /// Default: false. What is said while it is paused is not kept for it.
    pub paused: Option<bool>,
}

#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataConsumerReply {
    #[serde(flatten)]
    pub options: DataConsumerOptions,
    pub peer_id: PeerId,
    #[ts(type = "Record<string, unknown>")]
    pub app_data: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataProducerRef {
    pub data_producer_id: DataProducerId,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataConsumerRef {
    pub data_consumer_id: DataConsumerId,
}

/// At most one of them; none means the whole peer.
#[derive(Clone, Debug, Default, Deserialize, TS)]
#[serde(rename_all = "camelCase", default)]
#[ts(export, optional_fields)]
pub struct GetStats {
    pub transport_id: Option<TransportId>,
    pub producer_id: Option<ProducerId>,
    pub consumer_id: Option<ConsumerId>,
    pub data_producer_id: Option<DataProducerId>,
    pub data_consumer_id: Option<DataConsumerId>,
}

impl GetStats {
    pub fn named(&self) -> usize {
        let Self { transport_id, producer_id, consumer_id, data_producer_id, data_consumer_id } = self;
        let named = [
            transport_id.is_some(),
            producer_id.is_some(),
            consumer_id.is_some(),
            data_producer_id.is_some(),
            data_consumer_id.is_some(),
        ];
        named.into_iter().filter(|named| *named).count()
    }
}

/// `admit` and `assign-slot`, of a host or co-host.
#[derive(Clone, Copy, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct AdmitPeer {
    pub peer_id: PeerId,
    /// `admit`: default the first free slot. `assign-slot`: none takes the peer out of the show.
    pub slot: Option<SlotId>,
}

/// `mute-peer`, of a host or co-host.
#[derive(Clone, Copy, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SilencePeer {
    pub peer_id: PeerId,
    pub kind: MediaKind,
    pub muted: bool,
}

/// `remove-peer`, of a host or co-host.
#[derive(Clone, Copy, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct PeerRef {
    pub peer_id: PeerId,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Chat {
    /// 1 to 2,000 characters; control characters other than line feed are refused.
    pub text: String,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[ts(export)]
pub struct RaiseHand {
    pub raised: bool,
}

#[derive(Clone, Debug, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct SetDisplayName {
    pub display_name: DisplayName,
}

/// For the peer `to` alone; the server does not look into it.
#[derive(Clone, Debug, Deserialize, TS)]
#[ts(export)]
pub struct Signal {
    pub to: PeerId,
    /// simple-peer's objects, or any other JSON.
    #[ts(type = "unknown")]
    pub signal: Value,
}

/// What the server tells a peer unasked. The event's name is the variant's in kebab-case ([`Notice::event`]).
#[derive(Clone, Debug, Serialize, TS)]
#[serde(tag = "event", content = "data", rename_all = "kebab-case", rename_all_fields = "camelCase")]
#[ts(export)]
pub enum Notice {
    RoomJoined(Box<Joined>),
    PeerJoined(PeerInfo),
    /// Somebody is in the green room: to those who may let them in.
    PeerWaiting(PeerInfo),
    PeerLeft {
        peer_id: PeerId,
        reason: String,
    },
    PeerRenamed {
        peer_id: PeerId,
        display_name: DisplayName,
    },
    NewProducer {
        producer_id: ProducerId,
        peer_id: PeerId,
        kind: MediaKind,
        #[ts(type = "Record<string, unknown>")]
        app_data: Map<String, Value>,
    },
    ProducerClosed {
        producer_id: ProducerId,
        peer_id: PeerId,
    },
    ProducerPaused {
        producer_id: ProducerId,
        peer_id: PeerId,
    },
    ProducerResumed {
        producer_id: ProducerId,
        peer_id: PeerId,
    },
    ConsumerClosed {
        consumer_id: ConsumerId,
        producer_id: ProducerId,
        reason: String,
    },
    ConsumerPaused {
        consumer_id: ConsumerId,
    },
    ConsumerResumed {
        consumer_id: ConsumerId,
    },
    /// With everything on it. Make a new one: the peer's place in the room stands.
    TransportClosed {
        transport_id: TransportId,
        reason: String,
    },
    ConsumerLayersChanged {
        consumer_id: ConsumerId,
        spatial_layer: Option<u8>,
        temporal_layer: Option<u8>,
    },
    NewDataProducer {
        data_producer_id: DataProducerId,
        peer_id: PeerId,
        label: String,
        protocol: String,
        #[ts(type = "Record<string, unknown>")]
        app_data: Map<String, Value>,
    },
    /// To the others; to its owner when the engine ended it.
    DataProducerClosed {
        data_producer_id: DataProducerId,
        peer_id: PeerId,
        reason: String,
    },
    DataConsumerClosed {
        data_consumer_id: DataConsumerId,
        data_producer_id: DataProducerId,
        reason: String,
    },
    /// Who has the floor; nobody, after a silence. `volume`: dBov, −127 to 0.
    ActiveSpeaker {
        peer_id: Option<PeerId>,
        volume: i8,
    },
    /// Who was heard in the last half second, the loudest first, at most eight; empty once when silence falls.
    Volumes {
        volumes: Vec<Volume>,
    },
    Quality(Quality),
    /// Of one's own producer: each encoding that has begun.
    ProducerScore {
        producer_id: ProducerId,
        score: Vec<StreamScore>,
    },
    ConsumerScore {
        consumer_id: ConsumerId,
        score: ConsumerScore,
    },
    /// The host let the peer in; what a waiting peer was not told comes with it.
    Admitted {
        slot: Option<SlotId>,
        peers: Vec<PeerInfo>,
        producers: Vec<ProducerInfo>,
        data_producers: Vec<DataProducerInfo>,
    },
    SlotChanged {
        slot: Option<SlotId>,
    },
    /// The host silenced (or gave back) this peer's microphone or camera.
    MutedByHost {
        kind: MediaKind,
        muted: bool,
    },
    Tally {
        state: Tally,
    },
    Chat {
        peer_id: PeerId,
        display_name: DisplayName,
        text: String,
        #[ts(type = "number")]
        at: u64,
    },
    HandRaised {
        peer_id: PeerId,
        raised: bool,
    },
    /// As the peer `from` sent it.
    Signal {
        from: PeerId,
        #[ts(type = "unknown")]
        signal: Value,
    },
    Kicked {
        reason: String,
    },
    RoomClosed {
        reason: String,
    },
    ServerClosing {
        #[ts(type = "number")]
        resume_in_ms: u64,
    },
}

/// How loud one peer is, in dBov: 0 is the loudest, −127 silence (RFC 6464).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct Volume {
    pub peer_id: PeerId,
    pub volume: i8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum Tally {
    Program,
    Preview,
    Off,
}

impl Notice {
    /// The Socket.IO event's name and its payload.
    pub fn into_event(self) -> (String, Value) {
        let Ok(Value::Object(mut tagged)) = serde_json::to_value(self) else {
            unreachable!("a notice serialises as an object")
        };
        let name = tagged.get("event").and_then(Value::as_str).unwrap_or_default().to_owned();
        (name, tagged.remove("data").unwrap_or(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_becomes_its_documented_event() {
        let (name, data) = Notice::Tally { state: Tally::Program }.into_event();
        assert_eq!((name.as_str(), data["state"].as_str()), ("tally", Some("program")));
        let (name, data) = Notice::ServerClosing { resume_in_ms: 5 }.into_event();
        assert_eq!((name.as_str(), data["resumeInMs"].as_u64()), ("server-closing", Some(5)));
    }
}
