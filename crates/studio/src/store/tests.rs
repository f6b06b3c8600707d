//! What was acknowledged is there after the next start.

use super::*;
use std::io::{BufRead, BufReader};

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
        used_ms: 5,
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

#[tokio::test]
async fn a_run_that_did_not_end_in_order_is_noticed_by_the_next_one() {
    let folder = Folder::new("cut");
    let first = Store::open(&folder.0).unwrap();
    assert!(!first.was_cut, "there was none before");
    drop(first);
    let second = reopen(&folder);
    assert!(second.was_cut);
    second.store.close().await;
    assert!(!reopen(&folder).was_cut);
}

#[test]
fn an_older_database_is_brought_up_to_date() {
    let folder = Folder::new("older");
    fs::create_dir_all(&folder.0).unwrap();
    let mut connection = Connection::open(folder.0.join("greenroom.db")).unwrap();
    schema::prepare_to(&mut connection, 1).unwrap();
    let old = "INSERT INTO room VALUES ('show', 'A show', 1, 'live', 'key', 5, 8, NULL, 3)";
    connection.execute(old, []).unwrap();
    drop(connection);
    let opened = Store::open(&folder.0).unwrap();
    let expected = RoomRecord {
        status: RoomStatus::Live,
        started_ms: Some(8),
        max_viewers: 3,
        used_ms: 8,
        ..room("show")
    };
    assert_eq!(opened.saved.rooms, [expected]);
}

/// Killed processes cannot be played by threads: this test starts itself again as the one to be killed.
#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    for round in 0..6 {
        let folder = Folder::new(&format!("kill-{round}"));
        let mut writer = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::keeps_writing_when_told_to", "--nocapture"])
            .env(WRITE_TO, &folder.0)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut acknowledged = Vec::new();
        for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
            // The last line may be cut off in the middle.
            let Ok(line) = line else { break };
            let Some(id) = line.strip_prefix("kept ").and_then(|line| line.strip_suffix('.')) else {
                continue;
            };
            acknowledged.push(id.to_owned());
            if acknowledged.len() == 1 + round * 7 {
                writer.kill().unwrap();
            }
        }
        writer.wait().unwrap();
        assert!(acknowledged.len() > round * 7);
        let opened = reopen(&folder);
        assert!(opened.was_cut);
        let found: Vec<&str> = opened.saved.rooms.iter().map(|room| room.id.as_str()).collect();
        for id in &acknowledged {
            assert!(found.contains(&id.as_str()), "{id} was acknowledged and is lost");
        }
        assert!(
            found.len() <= acknowledged.len() + 1,
            "what was not acknowledged is at most what was on its way"
        );
    }
}

#[test]
fn keeps_writing_when_told_to() {
    let Some(folder) = std::env::var_os(WRITE_TO) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let opened = Store::open(Path::new(&folder)).unwrap();
        for number in 0..10_000 {
            let id = format!("room-{number}");
            let (show, invite) = (room(&id), invite(&room(&id)));
            let invite = Invite { id: InviteId(Uuid::from_u128(1000 + number)), ..invite };
            opened.store.apply(vec![Change::Room(show), Change::Invite(invite)]).await.unwrap();
            println!("kept {id}.");
        }
    });
}

const WRITE_TO: &str = "GREENROOM_TEST_WRITE_TO";
