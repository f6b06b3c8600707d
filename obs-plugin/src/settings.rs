//! What the streamer chose for a source, and how its thread comes to know.

use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What to show while there is no guest to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// The last picture.
    Hold,
    /// A card with the name.
    Slate,
    /// Nothing at all.
    Transparent,
}

impl Away {
    pub const ALL: [Self; 3] = [Self::Hold, Self::Slate, Self::Transparent];

    /// As it stands in a scene collection: never rename.
    pub fn key(self) -> &'static str {
        match self {
            Self::Hold => "hold",
            Self::Slate => "slate",
            Self::Transparent => "transparent",
        }
    }

    /// Anything unknown, from a newer version perhaps, is the slate.
    pub fn from_key(key: &str) -> Self {
        Self::ALL.into_iter().find(|away| away.key() == key).unwrap_or(Self::Slate)
    }
}

/// A source's settings and whether it is on screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wishes {
    /// 1 for "Guest 1".
    pub slot: u8,
    pub away: Away,
    pub audio: bool,
    pub shown: bool,
}

/// Wishes on their way from OBS's threads to the source's own: each is overwritten, none is waited for. Atomics,
/// because `update` runs on the graphics thread, which must not wait for anybody.
pub struct Board {
    slot: AtomicU8,
    away: AtomicU8,
    audio: AtomicBool,
    shown: AtomicBool,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl Board {
    pub fn new(wishes: Wishes) -> io::Result<Self> {
        let board = Self {
            slot: AtomicU8::new(1),
            away: AtomicU8::new(0),
            audio: AtomicBool::new(true),
            shown: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        board.set(wishes.slot, wishes.away, wishes.audio);
        board.set_shown(wishes.shown);
        Ok(board)
    }

    pub fn set(&self, slot: u8, away: Away, audio: bool) {
        self.slot.store(slot.max(1), Ordering::Relaxed);
        self.away.store(away as u8, Ordering::Relaxed);
        self.audio.store(audio, Ordering::Relaxed);
        self.ring();
    }

    pub fn set_shown(&self, shown: bool) {
        self.shown.store(shown, Ordering::Relaxed);
        self.ring();
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ring();
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub fn wishes(&self) -> Wishes {
        let away = usize::from(self.away.load(Ordering::Relaxed));
        Wishes {
            slot: self.slot.load(Ordering::Relaxed),
            away: Away::ALL.get(away).copied().unwrap_or(Away::Slate),
            audio: self.audio.load(Ordering::Relaxed),
            shown: self.shown.load(Ordering::Relaxed),
        }
    }

    /// Readable when a wish has changed.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    pub fn clear_wake(&self) {
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    // The write to the eventfd orders what was stored before it.
    fn ring(&self) {
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_survive_the_board_and_the_scene_collection() {
        for away in Away::ALL {
            let wishes = Wishes { slot: 3, away, audio: false, shown: true };
            assert_eq!(Board::new(wishes).unwrap().wishes(), wishes);
            assert_eq!(Away::from_key(away.key()), away);
        }
        assert_eq!(Away::from_key("from the future"), Away::Slate);
        let nowhere = Wishes { slot: 0, away: Away::Hold, audio: true, shown: false };
        assert_eq!(Board::new(nowhere).unwrap().wishes().slot, 1);
    }
}
