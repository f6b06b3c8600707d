//! The tables, and how older ones become these.

use super::StoreError;
use rusqlite::Connection;

/// Durability settings, then every migration the file has not had, each in its own transaction.
pub fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    prepare_to(connection, MIGRATIONS.len())
}

/// As an older version left it.
pub(super) fn prepare_to(connection: &mut Connection, version_wanted: usize) -> Result<(), StoreError> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(StoreError::Newer { found: version, known });
    }
    for (number, migration) in (1..).zip(MIGRATIONS).take(version_wanted).skip(version as usize) {
        let step = connection.transaction()?;
        step.execute_batch(migration)?;
        step.pragma_update(None, "user_version", number)?;
        step.commit()?;
    }
    Ok(())
}

/// Never change one that was released: add another.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE room (
        id TEXT PRIMARY KEY, title TEXT NOT NULL, is_private INTEGER NOT NULL, status TEXT NOT NULL,
        stream_key TEXT NOT NULL, created_ms INTEGER NOT NULL, started_ms INTEGER, ended_ms INTEGER,
        max_viewers INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE invite (
        id TEXT PRIMARY KEY, room TEXT NOT NULL REFERENCES room ON DELETE CASCADE, role TEXT NOT NULL,
        display_name TEXT, created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, max_uses INTEGER NOT NULL,
        uses INTEGER NOT NULL, revoked INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX invite_of_room ON invite (room);
    CREATE TABLE seat (
        id TEXT PRIMARY KEY, room TEXT NOT NULL REFERENCES room ON DELETE CASCADE, invite TEXT, role TEXT NOT NULL,
        name TEXT NOT NULL, admitted INTEGER NOT NULL, slot INTEGER, muted_audio INTEGER NOT NULL,
        muted_video INTEGER NOT NULL, present INTEGER NOT NULL, removed INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX seat_of_room ON seat (room);
    CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
", "
    ALTER TABLE room ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0;
    UPDATE room SET used_ms = coalesce(ended_ms, started_ms, created_ms);
"];
