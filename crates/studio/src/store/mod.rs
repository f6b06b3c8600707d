//! What outlives the process: rooms, invites, seats, settings and the install's keys, in one SQLite file.
//!
//! One named thread owns the connection. A transaction that was answered is on disk (WAL, `synchronous=FULL`): a kill
//! at any moment loses nothing acknowledged.

mod rows;
mod schema;

use rooms::{Change, Saved, SigningKey};
use rusqlite::{Connection, OptionalExtension};
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;
use std::thread;
use thiserror::Error;
use tokio::sync::oneshot;

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot use the data folder {}: {source}; choose another with --data-dir", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("another Greenroom is using {}; end it first, or choose another folder with --data-dir", path.display())]
    InUse { path: PathBuf },
    #[error(
        "the database is from a newer Greenroom (schema {found}, this one knows {known}); install that version again"
    )]
    Newer { found: i64, known: i64 },
    #[error("the database refused: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("the database is damaged ({0}); put a copy of it back, or choose another folder with --data-dir")]
    Damaged(String),
    #[error("the storage thread has ended")]
    Gone,
    #[error("storage is busy")]
    Busy,
}

/// This install's secrets, made on the first start.
#[derive(Clone)]
pub struct Secrets {
    pub owner_token: String,
    pub signing_key: SigningKey,
}

/// What a start finds.
pub struct Opened {
    pub store: Store,
    pub saved: Saved,
    pub secrets: Secrets,
    /// The last run did not end in order: it was killed, or the power went.
    pub was_cut: bool,
}

/// A cloneable way to the storage thread. Dropping every clone ends it.
#[derive(Clone)]
pub struct Store {
    /// *Request* kind: when full, [`StoreError::Busy`].
    requests: std_mpsc::SyncSender<Request>,
}

enum Request {
    Apply(Vec<Change>, oneshot::Sender<Result<(), StoreError>>),
    ReadSetting(&'static str, oneshot::Sender<Result<Option<String>, StoreError>>),
    WriteSetting(&'static str, String, oneshot::Sender<Result<(), StoreError>>),
    Close(oneshot::Sender<Result<(), StoreError>>),
}

impl Store {
    /// Opens (or makes) the folder's database and reads everything. The folder is this user's alone.
    pub fn open(data_dir: &Path) -> Result<Opened, StoreError> {
        let folder = |source| StoreError::Folder { path: data_dir.into(), source };
        fs::create_dir_all(data_dir).map_err(folder)?;
        fs::set_permissions(data_dir, fs::Permissions::from_mode(0o700)).map_err(folder)?;
        let lock = lock(data_dir)?;
        let path = data_dir.join("greenroom.db");
        // Made with its permissions before anything secret is in it.
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(folder)?;
        let mut connection = Connection::open(&path)?;
        schema::prepare(&mut connection)?;
        let was_cut = read_setting(&connection, RUN)?.as_deref() == Some(RUNNING);
        if was_cut {
            check(&connection)?;
        }
        write_setting(&connection, RUN, RUNNING)?;
        let saved = rows::read_all(&connection)?;
        let secrets = secrets(&connection)?;
        let (requests, inbox) = std_mpsc::sync_channel(CAPACITY);
        thread::Builder::new()
            .name("storage".into())
            .spawn(move || {
                let closed = serve(connection, inbox);
                drop(lock);
                if let Some(answer) = closed {
                    let _ = answer.send(Ok(()));
                }
            })
            .map_err(folder)?;
        Ok(Opened { store: Store { requests }, saved, secrets, was_cut })
    }

    /// Keeps the changes of one command, all or none; they are on disk when this returns.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        self.ask(|answer| Request::Apply(changes, answer)).await
    }

    pub async fn read_setting(&self, name: &'static str) -> Result<Option<String>, StoreError> {
        self.ask(|answer| Request::ReadSetting(name, answer)).await
    }

    pub async fn write_setting(&self, name: &'static str, value: String) -> Result<(), StoreError> {
        self.ask(|answer| Request::WriteSetting(name, value, answer)).await
    }

    /// Lets go of the folder, whoever else still holds a clone; they are told [`StoreError::Gone`] from now on.
    pub async fn close(&self) {
        // Gone already is as good.
        let _ = self.ask(Request::Close).await;
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Request,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(request(answer)).map_err(|e| match e {
            std_mpsc::TrySendError::Full(_) => StoreError::Busy,
            std_mpsc::TrySendError::Disconnected(_) => StoreError::Gone,
        })?;
        answered.await.map_err(|_| StoreError::Gone)?
    }
}

/// Until nobody can ask any more, or somebody who waits for the end does. Nobody waits for an answer they dropped, so
/// sending to them may fail.
fn serve(
    mut connection: Connection,
    inbox: std_mpsc::Receiver<Request>,
) -> Option<oneshot::Sender<Result<(), StoreError>>> {
    for request in inbox {
        match request {
            Request::Apply(changes, answer) => drop(answer.send(rows::apply(&mut connection, &changes))),
            Request::ReadSetting(name, answer) => drop(answer.send(read_setting(&connection, name))),
            Request::WriteSetting(name, value, answer) => {
                drop(answer.send(write_setting(&connection, name, &value)))
            }
            Request::Close(answer) => {
                // Not written, the next start looks more closely: no harm.
                let _ = write_setting(&connection, RUN, ENDED);
                return Some(answer);
            }
        }
    }
    None
}

/// Takes milliseconds for a file of this size.
fn check(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged(verdict)) }
}

fn read_setting(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut query = connection.prepare_cached("SELECT value FROM setting WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}

fn write_setting(connection: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO setting VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (name, value),
    )?;
    Ok(())
}

fn secrets(connection: &Connection) -> Result<Secrets, StoreError> {
    Ok(Secrets {
        owner_token: hex(&secret(connection, "owner-token")?),
        signing_key: SigningKey::new(secret(connection, "signing-key")?),
    })
}

/// A kept random secret, made the first time.
fn secret(connection: &Connection, name: &str) -> Result<[u8; 32], StoreError> {
    connection.execute("INSERT OR IGNORE INTO secret VALUES (?1, ?2)", (name, rand::random::<[u8; 32]>()))?;
    Ok(connection.query_row("SELECT value FROM secret WHERE name = ?1", [name], |row| row.get(0))?)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One engine a folder: two would hand out the same slots. The lock ends with the process, however it ends.
fn lock(data_dir: &Path) -> Result<fs::File, StoreError> {
    let path = data_dir.join("lock");
    let folder = |source| StoreError::Folder { path: path.clone(), source };
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(folder)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(StoreError::InUse { path: data_dir.into() }),
        Err(fs::TryLockError::Error(source)) => Err(folder(source)),
    }
}

/// The setting that says whether somebody works with the file.
const RUN: &str = "run";
const RUNNING: &str = "running";
const ENDED: &str = "ended";
/// Room for a burst of commands; each waits for its answer.
const CAPACITY: usize = 256;

#[cfg(test)]
mod tests;
