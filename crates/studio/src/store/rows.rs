//! Records to rows and back. Enumerations are kept by their wire names, which never change.

use super::StoreError;
use rooms::{Change, Invite, Muted, RoomRecord, Saved, Seat, SeatId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub fn apply(connection: &mut Connection, changes: &[Change]) -> Result<(), StoreError> {
    let transaction = connection.transaction()?;
    for change in changes {
        match change {
            Change::Room(room) => write_room(&transaction, room)?,
            Change::RoomDeleted(id) => {
                transaction.execute("DELETE FROM room WHERE id = ?1", [id.as_str()])?;
            }
            Change::InviteDeleted(id) => {
                transaction.execute("DELETE FROM seat WHERE invite = ?1", [id.to_string()])?;
                transaction.execute("DELETE FROM invite WHERE id = ?1", [id.to_string()])?;
            }
            Change::Invite(invite) => write_invite(&transaction, invite)?,
            Change::Seat(seat) => write_seat(&transaction, seat)?,
        }
    }
    Ok(transaction.commit()?)
}

pub fn read_all(connection: &Connection) -> Result<Saved, StoreError> {
    Ok(Saved {
        rooms: read(connection, "SELECT * FROM room ORDER BY created_ms", room)?,
        invites: read(connection, "SELECT * FROM invite ORDER BY created_ms", invite)?,
        seats: read(connection, "SELECT * FROM seat", seat)?,
    })
}

fn read<T>(
    connection: &Connection,
    sql: &str,
    row: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    let mut query = connection.prepare(sql)?;
    let rows = query.query_map([], row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn write_room(to: &Transaction<'_>, room: &RoomRecord) -> Result<(), StoreError> {
    to.prepare_cached(
        "INSERT INTO room VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (id) DO UPDATE SET
         title = ?2, is_private = ?3, status = ?4, stream_key = ?5, started_ms = ?7, ended_ms = ?8, max_viewers = ?9,
         used_ms = ?10",
    )?
    .execute(params![
        room.id.as_str(),
        room.title,
        room.is_private,
        word(&room.status),
        room.stream_key,
        room.created_ms as i64,
        room.started_ms.map(|ms| ms as i64),
        room.ended_ms.map(|ms| ms as i64),
        room.max_viewers,
        room.used_ms as i64,
    ])?;
    Ok(())
}

fn write_invite(to: &Transaction<'_>, invite: &Invite) -> Result<(), StoreError> {
    to.prepare_cached(
        "INSERT INTO invite VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO UPDATE SET
         uses = ?8, revoked = ?9, expires_ms = ?6, max_uses = ?7",
    )?
    .execute(params![
        invite.id.to_string(),
        invite.room.as_str(),
        word(&invite.role),
        invite.display_name.as_ref().map(|name| name.as_str()),
        invite.created_ms as i64,
        invite.expires_ms as i64,
        invite.max_uses,
        invite.uses,
        invite.revoked,
    ])?;
    Ok(())
}

fn write_seat(to: &Transaction<'_>, seat: &Seat) -> Result<(), StoreError> {
    to.prepare_cached(
        "INSERT INTO seat VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (id) DO UPDATE SET
         role = ?4, name = ?5, admitted = ?6, slot = ?7, muted_audio = ?8, muted_video = ?9, present = ?10, removed = ?11",
    )?
    .execute(params![
        seat.id.0.to_string(),
        seat.room.as_str(),
        seat.invite.map(|id| id.to_string()),
        word(&seat.role),
        seat.name.as_str(),
        seat.admitted,
        seat.slot.map(|slot| slot.number()),
        seat.muted.audio,
        seat.muted.video,
        seat.present,
        seat.removed,
    ])?;
    Ok(())
}

fn room(row: &Row<'_>) -> rusqlite::Result<RoomRecord> {
    Ok(RoomRecord {
        id: parsed(row, 0)?,
        title: row.get(1)?,
        is_private: row.get(2)?,
        status: parsed(row, 3)?,
        stream_key: row.get(4)?,
        created_ms: milliseconds(row.get(5)?),
        started_ms: row.get::<_, Option<i64>>(6)?.map(milliseconds),
        ended_ms: row.get::<_, Option<i64>>(7)?.map(milliseconds),
        max_viewers: row.get(8)?,
        used_ms: milliseconds(row.get(9)?),
    })
}

fn invite(row: &Row<'_>) -> rusqlite::Result<Invite> {
    Ok(Invite {
        id: parsed(row, 0)?,
        room: parsed(row, 1)?,
        role: parsed(row, 2)?,
        display_name: parsed_option(row, 3)?,
        created_ms: milliseconds(row.get(4)?),
        expires_ms: milliseconds(row.get(5)?),
        max_uses: row.get(6)?,
        uses: row.get(7)?,
        revoked: row.get(8)?,
    })
}

fn seat(row: &Row<'_>) -> rusqlite::Result<Seat> {
    let slot = row
        .get::<_, Option<u8>>(6)?
        .map(|number| number.try_into().map_err(|e| conversion(6, e)))
        .transpose()?;
    Ok(Seat {
        id: SeatId(parsed(row, 0)?),
        room: parsed(row, 1)?,
        invite: parsed_option(row, 2)?,
        role: parsed(row, 3)?,
        name: parsed(row, 4)?,
        admitted: row.get(5)?,
        slot,
        muted: Muted { audio: row.get(7)?, video: row.get(8)? },
        present: row.get(9)?,
        removed: row.get(10)?,
    })
}

/// A column that holds a type's wire form.
fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_value(Value::String(row.get(column)?)).map_err(|e| conversion(column, e))
}

fn parsed_option<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    if row.get_ref(column)?.data_type() == Type::Null { Ok(None) } else { parsed(row, column).map(Some) }
}

/// An enumeration's wire name.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        other => unreachable!("an enumeration without data serialises as a string, not {other:?}"),
    }
}

fn milliseconds(kept: i64) -> u64 {
    u64::try_from(kept).unwrap_or(0)
}

fn conversion(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}
