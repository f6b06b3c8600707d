//! What the streamer chose for a source, and how its thread comes to know.

use frame_ipc::{Look, Scene, Sensitivity, Subject, Who};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// What to show while there is no guest to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// The last picture.
    Hold,
    /// A card with the name, or the streamer's own picture.
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

/// Whom a source shows, as its list offers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Slot,
    Speaker,
    Screen,
    Person,
}

impl Choice {
    pub const ALL: [Self; 4] = [Self::Slot, Self::Speaker, Self::Screen, Self::Person];

    /// As it stands in a scene collection: never rename.
    pub fn key(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::Speaker => "speaker",
            Self::Screen => "screen",
            Self::Person => "person",
        }
    }

    /// Anything unknown, as in scenes from before there was a choice, is a slot.
    pub fn from_key(key: &str) -> Self {
        Self::ALL.into_iter().find(|choice| choice.key() == key).unwrap_or(Self::Slot)
    }
}

/// A source's settings as they stand in a scene collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    pub choice: Choice,
    pub slot: i64,
    pub person: String,
    /// 0 to 2.
    pub sensitivity: i64,
    pub hold_ms: i64,
    /// 0: none.
    pub stand_in: i64,
    pub away: Away,
    /// Seconds.
    pub away_after: i64,
    /// 0xAABBGGRR, as libobs keeps colours.
    pub ground: i64,
    pub image: String,
    pub audio: bool,
}

/// What a source's thread is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wishes {
    pub subject: Subject,
    /// False: a source of sound alone.
    pub picture: bool,
    pub audio: bool,
    pub away: Away,
    /// How long the last picture stays before that.
    pub away_after_ns: u64,
    pub card: CardStyle,
}

/// What the card of somebody who is away looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardStyle {
    /// Red, green, blue.
    pub ground: [u8; 3],
    /// A file to show instead of the name; empty: none.
    pub image: String,
}

impl Default for CardStyle {
    fn default() -> Self {
        Self { ground: GROUND, image: String::new() }
    }
}

impl Raw {
    /// Whatever stands there, something sensible comes out. `picture`: false for a source of sound alone.
    pub fn wishes(self, picture: bool) -> Wishes {
        let slot = |number: i64| u8::try_from(number).ok().filter(|number| *number > 0);
        let own = slot(self.slot).unwrap_or(1);
        let name = self.person.trim();
        let who = match self.choice {
            Choice::Speaker => Who::Speaker {
                sensitivity: *usize::try_from(self.sensitivity)
                    .ok()
                    .and_then(|index| Sensitivity::ALL.get(index))
                    .unwrap_or(&Sensitivity::Normal),
                hold_ms: self.hold_ms.clamp(0, MAX_HOLD_MS) as u16,
            },
            Choice::Screen => Who::Screen,
            Choice::Person if !name.is_empty() => Who::Person(name.to_owned()),
            Choice::Slot | Choice::Person => Who::Slot(own),
        };
        let stand_in = slot(self.stand_in).filter(|number| who != Who::Slot(*number));
        // The sound of whoever happens to be on screen would cut everybody else's off.
        let audio = self.audio && matches!(who, Who::Slot(_) | Who::Person(_));
        let [red, green, blue, _] = (self.ground as u32).to_le_bytes();
        Wishes {
            subject: Subject { who, stand_in },
            picture,
            audio,
            away: self.away,
            away_after_ns: self.away_after.clamp(0, MAX_AWAY_AFTER).unsigned_abs() * 1_000_000_000,
            card: CardStyle { ground: [red, green, blue], image: self.image },
        }
    }
}

/// Wishes on their way from OBS's threads to the source's own, none of which waits for the other: `update` runs on the
/// graphics thread.
///
/// Settings are of the *request* kind: should the thread not have taken the last [`CHANGES`] of them, the newest is
/// refused, and stands in the scene until the next. Whether the source is on screen is of the *state* kind.
pub struct Board {
    changes: SyncSender<Wishes>,
    /// The slot chosen last, for the list in the properties.
    slot: AtomicU8,
    scene: AtomicU8,
    height: AtomicU16,
    stop: AtomicBool,
    wake: OwnedFd,
}

impl Board {
    /// The board, and where its thread finds the settings.
    pub fn new() -> io::Result<(Self, Receiver<Wishes>)> {
        let (changes, taken) = sync_channel(CHANGES);
        let board = Self {
            changes,
            slot: AtomicU8::new(1),
            scene: AtomicU8::new(0),
            height: AtomicU16::new(0),
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        Ok((board, taken))
    }

    /// False: refused.
    pub fn set(&self, wishes: Wishes) -> bool {
        if let Who::Slot(slot) = wishes.subject.who {
            self.slot.store(slot, Ordering::Relaxed);
        }
        let taken = match self.changes.try_send(wishes) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.ring();
        taken
    }

    pub fn slot(&self) -> u8 {
        self.slot.load(Ordering::Relaxed)
    }

    /// It is drawn somewhere, for the audience or not.
    pub fn set_shown(&self, shown: bool) {
        self.mark(SHOWN, shown);
    }

    /// It is in what the audience sees.
    pub fn set_active(&self, active: bool) {
        self.mark(ACTIVE, active);
    }

    fn mark(&self, bit: u8, on: bool) {
        if on {
            self.scene.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.scene.fetch_and(!bit, Ordering::Relaxed);
        }
        self.ring();
    }

    /// How high it is drawn, in pixels of the canvas; 0: not known.
    pub fn set_height(&self, height: u16) {
        if self.height.swap(height, Ordering::Relaxed) != height {
            self.ring();
        }
    }

    pub fn look(&self) -> Look {
        let scene = match self.scene.load(Ordering::Relaxed) {
            scene if scene & SHOWN == 0 => return Look::HIDDEN,
            scene if scene & ACTIVE == 0 => Scene::Preview,
            _ => Scene::Program,
        };
        Look { scene, height: self.height.load(Ordering::Relaxed) }
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.ring();
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
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

const SHOWN: u8 = 1;
const ACTIVE: u8 = 2;
/// Far more than anybody changes in the milliseconds until the thread looks.
const CHANGES: usize = 64;
pub const MAX_HOLD_MS: i64 = 60_000;
/// Seconds.
pub const MAX_AWAY_AFTER: i64 = 3_600;
/// A dark grey.
pub const GROUND: [u8; 3] = [16, 16, 16];

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(choice: Choice) -> Raw {
        Raw {
            choice,
            slot: 3,
            person: " Ada ".into(),
            sensitivity: 2,
            hold_ms: 2_000,
            stand_in: 0,
            away: Away::Slate,
            away_after: 5,
            ground: 0xff_30_20_10,
            image: String::new(),
            audio: true,
        }
    }

    #[test]
    fn settings_become_wishes() {
        let wishes = raw(Choice::Slot).wishes(true);
        assert_eq!(wishes.subject, Subject::slot(3));
        assert_eq!((wishes.away_after_ns, wishes.card.ground), (5_000_000_000, [0x10, 0x20, 0x30]));
        let person = raw(Choice::Person).wishes(true);
        assert_eq!((person.subject.who, person.audio), (Who::Person("Ada".into()), true));
        let speaker = raw(Choice::Speaker).wishes(true);
        let expected = Who::Speaker { sensitivity: Sensitivity::High, hold_ms: 2_000 };
        assert_eq!((speaker.subject.who, speaker.audio), (expected, false), "pictures of whoever speaks");
    }

    #[test]
    fn nothing_in_a_scene_collection_is_too_odd() {
        let odd = Raw {
            slot: -1,
            person: " ".into(),
            sensitivity: 77,
            hold_ms: i64::MAX,
            stand_in: 1,
            away_after: i64::MIN,
            ground: -1,
            ..raw(Choice::Person)
        };
        let wishes = odd.clone().wishes(true);
        assert_eq!(wishes.subject, Subject::slot(1), "nobody's name; and nobody stands in for themselves");
        assert_eq!(wishes.away_after_ns, 0);
        let speaker = Raw { choice: Choice::Speaker, stand_in: 999, ..odd }.wishes(true);
        let who = Who::Speaker { sensitivity: Sensitivity::Normal, hold_ms: 60_000 };
        assert_eq!(speaker.subject, Subject { who, stand_in: None });
        for away in Away::ALL {
            assert_eq!(Away::from_key(away.key()), away);
        }
        for choice in Choice::ALL {
            assert_eq!(Choice::from_key(choice.key()), choice);
        }
        assert_eq!(Away::from_key("from the future"), Away::Slate);
        assert_eq!(Choice::from_key(""), Choice::Slot);
    }

    #[test]
    fn what_is_on_air_is_told_from_what_is_only_shown() {
        let (board, _taken) = Board::new().unwrap();
        board.set_height(720);
        assert_eq!(board.look(), Look::HIDDEN);
        board.set_active(true);
        board.set_shown(true);
        assert_eq!(board.look(), Look { scene: Scene::Program, height: 720 });
        board.set_active(false);
        assert_eq!(board.look(), Look { scene: Scene::Preview, height: 720 });
        board.set_shown(false);
        assert_eq!(board.look(), Look::HIDDEN);
    }

    #[test]
    fn a_thread_that_never_looks_makes_nobody_wait() {
        let (board, _taken) = Board::new().unwrap();
        let taken = (0..CHANGES + 3).filter(|_| board.set(raw(Choice::Slot).wishes(true))).count();
        assert_eq!((taken, board.slot()), (CHANGES, 3));
    }
}
