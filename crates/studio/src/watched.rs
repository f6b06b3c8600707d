//! Files that other programs replace while Greenroom runs: certificates, key sets.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// What the system says of some files; another once one of them was written, replaced, removed or linked elsewhere. It is
/// looked at every [`INTERVAL`]: renewals replace links in folders that change too (certbot's `live`), which a watch on a
/// file never hears of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp(Vec<Option<FileStamp>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds, of contents and of everything.
    written: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub fn of(paths: &[&Path]) -> Self {
        Self(paths.iter().map(|path| fs::metadata(path).ok().map(|meta| FileStamp::of(&meta))).collect())
    }
}

impl FileStamp {
    fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            written: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Two calls of `stat` cost microseconds, and nobody waits for a renewal.
pub const INTERVAL: Duration = Duration::from_secs(5);
