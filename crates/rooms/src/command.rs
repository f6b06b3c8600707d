//! What goes into [`Rooms`](crate::Rooms) and what comes out.

use crate::record::{Change, RoomRecord};
use crate::text::{ChatText, Title};
use serde_json::{Map, Value};
use uuid::Uuid;
use wire::dashboard::Severity;
use wire::link::Occupant;
use wire::ortc::{Direction, MediaKind};
use wire::rest::RoomStatus;
use wire::sfu::{DataProducerInfo, Notice, PeerInfo, PeerState, ProducerInfo, Role};
use wire::webhook::Happening;
use wire::{
    ConsumerId, DataConsumerId, DataProducerId, DisplayName, InviteId, PeerId, ProducerId, RoomId, SlotId,
    TransportId,
};

/// One connection's voice. A peer outlives it by its grace time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub Uuid);

#[derive(Clone, Debug)]
pub enum Command {
    Join(Join),
    /// The session's connection is gone; its peer's grace time begins.
    Disconnected(SessionId),
    Peer(SessionId, PeerCommand),
    Owner(OwnerCommand),
}

#[derive(Clone, Debug)]
pub struct Join {
    pub session: SessionId,
    pub room: RoomId,
    /// An invite's token or the owner's.
    pub token: Option<String>,
    pub resume_token: Option<String>,
    pub display_name: Option<DisplayName>,
    /// Can only lower what the token grants.
    pub role: Option<Role>,
}

/// What a joined peer does. Media ids were made by the forwarding plane, after the matching `may_…` question.
#[derive(Clone, Debug)]
pub enum PeerCommand {
    AddTransport {
        id: TransportId,
        direction: Direction,
    },
    AddProducer {
        transport: TransportId,
        id: ProducerId,
        kind: MediaKind,
        app_data: Map<String, Value>,
        paused: bool,
    },
    AddConsumer {
        transport: TransportId,
        id: ConsumerId,
        producer: ProducerId,
        paused: bool,
    },
    PauseProducer(ProducerId),
    ResumeProducer(ProducerId),
    CloseProducer(ProducerId),
    PauseConsumer(ConsumerId),
    ResumeConsumer(ConsumerId),
    CloseConsumer(ConsumerId),
    AddDataProducer {
        transport: TransportId,
        id: DataProducerId,
        label: String,
        protocol: String,
        app_data: Map<String, Value>,
    },
    AddDataConsumer {
        transport: TransportId,
        id: DataConsumerId,
        producer: DataProducerId,
    },
    CloseDataProducer(DataProducerId),
    CloseDataConsumer(DataConsumerId),
    /// As the owner's commands of the same names, to somebody in the same room.
    Admit {
        peer: PeerId,
        slot: Option<SlotId>,
    },
    AssignSlot {
        peer: PeerId,
        slot: Option<SlotId>,
    },
    Mute {
        peer: PeerId,
        kind: MediaKind,
        muted: bool,
    },
    Remove(PeerId),
    Chat(ChatText),
    RaiseHand(bool),
    SetDisplayName(DisplayName),
    Signal {
        to: PeerId,
        signal: Value,
    },
    Leave,
}

#[derive(Clone, Debug)]
pub enum OwnerCommand {
    CreateRoom {
        id: RoomId,
        title: Option<Title>,
        is_private: bool,
    },
    UpdateRoom {
        id: RoomId,
        status: Option<RoomStatus>,
        title: Option<Title>,
        is_private: Option<bool>,
    },
    DeleteRoom(RoomId),
    CreateInvite {
        room: RoomId,
        role: Role,
        expires_in_secs: u64,
        max_uses: u32,
        display_name: Option<DisplayName>,
    },
    RevokeInvite {
        room: RoomId,
        invite: InviteId,
        end_peers: bool,
    },
    /// Out of the green room, or from the audience onto the stage; to a slot or the first free one.
    Admit {
        room: RoomId,
        peer: PeerId,
        slot: Option<SlotId>,
    },
    /// `None` takes the guest out of the show but leaves them in the room; a performer watches again.
    AssignSlot {
        room: RoomId,
        peer: PeerId,
        slot: Option<SlotId>,
    },
    Mute {
        room: RoomId,
        peer: PeerId,
        kind: MediaKind,
        muted: bool,
    },
    Remove {
        room: RoomId,
        peer: PeerId,
    },
}

#[derive(Clone, Debug)]
pub enum Reply {
    Done,
    Joined(Box<JoinReply>),
    Room(Box<RoomRecord>),
    Invite(Box<NewInvite>),
}

/// The people's part of the answer to `join-room`.
#[derive(Clone, Debug)]
pub struct JoinReply {
    pub peer: PeerId,
    pub room: RoomId,
    pub title: String,
    pub role: Role,
    pub state: PeerState,
    pub display_name: DisplayName,
    /// Empty while waiting: the green room looks at nobody.
    pub peers: Vec<PeerInfo>,
    pub producers: Vec<ProducerInfo>,
    pub data_producers: Vec<DataProducerInfo>,
    /// In the green room: for those who may let them in.
    pub waiting: Vec<PeerInfo>,
    /// Whether this peer may send picture, sound and data now.
    pub may_send: bool,
    pub resume_token: String,
    /// The peer never left: its transports and producers still stand.
    pub resumed: bool,
}

/// A new invite. The token is here and nowhere else.
#[derive(Clone, Debug)]
pub struct NewInvite {
    pub id: InviteId,
    pub token: String,
    /// The same invite for programs that read tokens: an HS256 JWT.
    pub jwt: String,
    pub expires_ms: u64,
}

/// What has to happen elsewhere, in this order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Keep it, before the command that caused it is answered.
    Keep(Change),
    Notify {
        session: SessionId,
        notice: Notice,
    },
    /// Nothing more is said to this session; its last notice said why.
    CloseSession(SessionId),
    /// With everything on it.
    CloseTransport(TransportId),
    PauseProducer(ProducerId),
    ResumeProducer(ProducerId),
    CloseProducer(ProducerId),
    CloseConsumer(ConsumerId),
    CloseDataProducer(DataProducerId),
    CloseDataConsumer(DataConsumerId),
    /// Who is in the slot now.
    Bind {
        slot: SlotId,
        occupant: Option<Occupant>,
    },
    /// The room takes nobody any more, and nobody is in it.
    RoomClosed(RoomId),
    /// A plain sentence for the streamer.
    Note {
        severity: Severity,
        text: String,
    },
    /// Something that programs of the streamer's may want to know.
    Happened(Happening),
    /// Something the dashboard shows changed; said once after any number of changes.
    RosterChanged,
}
