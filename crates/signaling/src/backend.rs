//! What signaling asks of the engine. `studio` implements it; handlers parse, call one method, and answer.

use rooms::Grant;
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;
use wire::dashboard::{Level, Snapshot};
use wire::rest::{Health, OwnerReply, OwnerRequest, RoomDetails, RoomSummary};
use wire::sfu::{JoinRoom, Joined, Notice, PeerReply, PeerRequest};
use wire::{Code, Failure, RoomId};

/// One socket's connection. A peer outlives it by its grace time, and is taken over by another session with
/// its resume token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);

/// Who calls, as far as the socket shows it.
#[derive(Clone, Debug)]
pub struct Caller {
    pub session: SessionId,
    pub address: IpAddr,
    /// The token of the Socket.IO handshake (`auth.token` or the query); `join-room` may carry its own.
    pub token: Option<String>,
}

/// Where notices to one session go (*request* kind: bounded; when full, the session is too slow and is
/// disconnected, and may resume). Boxed, because a channel makes room for 32 at once, and most are empty.
pub type Outbox = mpsc::Sender<Box<Notice>>;

/// Room for this many unsent notices per session.
pub const OUTBOX_CAPACITY: usize = 256;

/// A JPEG of about 320 × 180 pixels.
#[derive(Clone, Debug)]
pub struct Preview {
    /// A peer, for their camera; a producer, for the screen it carries.
    pub of: Uuid,
    pub jpeg: Arc<[u8]>,
}

/// What one dashboard connection is fed.
pub struct DashboardFeed {
    /// *State*: overwritten.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// *State*: overwritten.
    pub levels: watch::Receiver<Arc<Vec<Level>>>,
    /// *Media*: when full, pictures are dropped. Previews are made while any of these receivers lives.
    pub previews: mpsc::Receiver<Preview>,
}

/// The engine, as signaling sees it.
pub trait Backend: Clone + Send + Sync + 'static {
    /// Enter a room, or take a session over with a resume token. Notices flow to `outbox` from then on;
    /// the engine closes it (drops the sender) when the peer is removed, after a last notice saying why.
    fn join(
        &self,
        caller: Caller,
        request: JoinRoom,
        outbox: Outbox,
    ) -> impl Future<Output = Result<Joined, Failure>> + Send;

    /// Anything else a joined peer asks; `not-joined` before `join`.
    fn request(
        &self,
        session: SessionId,
        request: PeerRequest,
    ) -> impl Future<Output = Result<PeerReply, Failure>> + Send;

    /// The socket is gone; the peer's grace time begins.
    fn disconnected(&self, session: SessionId) -> impl Future<Output = ()> + Send;

    /// A request of the owner; the caller has checked [`Backend::is_owner_token`].
    fn owner(&self, request: OwnerRequest) -> impl Future<Output = Result<OwnerReply, Failure>> + Send;

    /// Compares in constant time.
    fn is_owner_token(&self, token: &str) -> bool;

    /// What a token opens: that room, or, without one, whether it counts at all. Uses nothing up.
    fn grant(
        &self,
        token: Option<String>,
        room: Option<RoomId>,
    ) -> impl Future<Output = Result<Grant, Failure>> + Send;

    /// How many watch each room by `/signaling`; whole, all rooms that have any.
    fn live_viewers(&self, viewers: BTreeMap<RoomId, u32>) -> impl Future<Output = ()> + Send;

    /// Whether this computer has no memory left for newcomers.
    fn is_full(&self) -> bool;

    /// Changes whenever a token may have ceased to count: an invite was revoked, a room ended.
    fn revocations(&self) -> watch::Receiver<u64>;

    fn health(&self) -> impl Future<Output = Health> + Send;

    fn rooms(&self) -> impl Future<Output = Result<Vec<RoomSummary>, Failure>> + Send;

    fn room(&self, room: RoomId) -> impl Future<Output = Result<RoomDetails, Failure>> + Send;

    /// Figures, as Prometheus reads them.
    fn metrics(&self) -> impl Future<Output = Result<String, Failure>> + Send;

    /// What somebody needs who is asked for help, as a zip without secrets.
    fn support_bundle(&self) -> impl Future<Output = Result<Vec<u8>, Failure>> + Send;

    fn dashboard(&self) -> impl Future<Output = Result<DashboardFeed, Failure>> + Send;
}

/// The engine's answer, or a refusal when it takes too long.
pub(crate) async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(time, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::new(Code::Busy, "The engine did not answer in time. Try again.")),
    }
}
