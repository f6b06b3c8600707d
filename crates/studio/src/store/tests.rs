//! What was acknowledged is there after the next start.

use super::*;
use rooms::{Invite, Muted, RoomRecord, Seat, SeatId};
use uuid::Uuid;
use wire::rest::RoomStatus;
use wire::sfu::Role;
use wire::{DisplayName, InviteId, RoomId};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("greenroom-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn room(id: &str) -> RoomRecord {
    RoomRecord {
        id: RoomId::parse(id).unwrap(),
        title: "A show".into(),
        is_private: true,
        status: RoomStatus::Preparing,
        stream_key: "key".into(),
        created_ms: 5,
        started_ms: None,
        ended_ms: None,
        max_viewers: 0,
    }
}

fn invite(room: &RoomRecord) -> Invite {
    Invite {
        id: InviteId(Uuid::from_u128(1)),
        room: room.id.clone(),
        role: Role::Guest,
        display_name: Some(DisplayName::parse("Ada").unwrap()),
        created_ms: 6,
        expires_ms: 7,
        max_uses: 2,
        uses: 1,
        revoked: false,
    }
}

fn seat(room: &RoomRecord, invite: &Invite) -> Seat {
    Seat {
        id: SeatId(Uuid::from_u128(2)),
        room: room.id.clone(),
        invite: Some(invite.id),
        role: Role::Guest,
        name: DisplayName::parse("Ada").unwrap(),
        admitted: true,
        slot: Some(3.try_into().unwrap()),
        muted: Muted { audio: true, video: false },
        present: true,
        removed: false,
    }
}

/// The thread lets go of the folder a moment after its last handle is dropped.
fn reopen(folder: &Folder) -> Opened {
    for _ in 0..10_000 {
        match Store::open(&folder.0) {
            Err(StoreError::InUse { .. }) => thread::yield_now(),
            other => return other.unwrap(),
        }
    }
    panic!("the folder stayed locked");
}

#[tokio::test]
async fn everything_kept_is_there_after_a_restart() {
    let folder = Folder::new("restart");
    let mut show = room("show");
    let (invite, mut seat) = (invite(&show), seat(&show, &invite(&show)));
    let opened = Store::open(&folder.0).unwrap();
    let token = opened.secrets.owner_token.clone();
    opened
        .store
        .apply(vec![Change::Room(show.clone()), Change::Invite(invite.clone()), Change::Seat(seat.clone())])
        .await
        .unwrap();
    show.status = RoomStatus::Live;
    show.started_ms = Some(9);
    seat.slot = None;
    opened.store.apply(vec![Change::Room(show.clone()), Change::Seat(seat.clone())]).await.unwrap();
    opened.store.write_setting("lan", "on".into()).await.unwrap();
    drop(opened);

    let again = reopen(&folder);
    assert_eq!(again.secrets.owner_token, token);
    assert_eq!(again.saved.rooms, [show.clone()]);
    assert_eq!(again.saved.invites, [invite]);
    assert_eq!(again.saved.seats, [seat]);
    assert_eq!(again.store.read_setting("lan").await.unwrap().as_deref(), Some("on"));

    again.store.apply(vec![Change::RoomDeleted(show.id)]).await.unwrap();
    drop(again);
    let last = reopen(&folder).saved;
    assert!(last.rooms.is_empty() && last.invites.is_empty() && last.seats.is_empty());
}

#[tokio::test]
async fn a_failed_transaction_changes_nothing() {
    let folder = Folder::new("atomic");
    let opened = Store::open(&folder.0).unwrap();
    let orphan = invite(&room("missing"));
    assert!(opened.store.apply(vec![Change::Room(room("show")), Change::Invite(orphan)]).await.is_err());
    drop(opened);
    assert!(reopen(&folder).saved.rooms.is_empty());
}

#[test]
fn a_folder_serves_one_engine_and_one_user() {
    let folder = Folder::new("lock");
    let _opened = Store::open(&folder.0).unwrap();
    assert!(matches!(Store::open(&folder.0), Err(StoreError::InUse { .. })));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.0), mode(&folder.0.join("greenroom.db"))), (0o700, 0o600));
}

#[test]
fn a_newer_database_is_left_alone() {
    let folder = Folder::new("newer");
    fs::create_dir_all(&folder.0).unwrap();
    let connection = Connection::open(folder.0.join("greenroom.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    assert!(matches!(Store::open(&folder.0), Err(StoreError::Newer { found: 99, .. })));
}
