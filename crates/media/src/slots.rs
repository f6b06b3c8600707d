//! Who writes into which slot, and what its readers are told of them.

use crate::audio::{CHUNK, Chunk, SAMPLE_RATE};
use crate::locked;
use frame_ipc::{FOLLOWED, Host, Lender, SlotState, SlotWriter, VideoFrame, now_ns};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use wire::PeerId;
use wire::link::Occupant;
use wire::ortc::MediaKind;

/// All the slots; written by the threads of whoever is in them.
pub struct Slots {
    /// Who is where; a copy of what the slots know, so that nobody waits for another guest's picture to be copied.
    authors: RwLock<Vec<Authors>>,
    /// Whose pictures cannot be shown; at most as many as there are feeds. A lock, because each is found out on its own
    /// thread. Held for a look.
    unsupported: Mutex<Vec<Author>>,
    /// Locks, because a slot's occupant writes from two threads and is replaced from a third. Held for one copy of a
    /// picture at most.
    slots: Vec<Mutex<Slot>>,
}

/// Where pictures come from: somebody's camera, or their screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    pub peer: PeerId,
    pub screen: bool,
}

/// Who is in a slot, and who is to follow.
#[derive(Clone, Copy, Default)]
struct Authors {
    now: Option<Author>,
    next: Option<Author>,
}

struct Slot {
    writer: SlotWriter,
    occupant: Option<Occupant>,
    /// Takes the occupant's place with the first picture, or when the time is up.
    next: Option<(Occupant, u64)>,
    video_live: bool,
    audio_live: bool,
    video_unsupported: bool,
    epoch: u32,
    /// When its picture was last seen to be on screen.
    shown_ns: Option<u64>,
}

impl Slots {
    /// Takes the writers of `host`'s slots, of which `count` have a number that people know.
    pub fn new(host: &Host, count: u8) -> Self {
        let writers = (1..=count.saturating_add(FOLLOWED)).map_while(|number| host.slot(number));
        let slots: Vec<_> = writers
            .map(|writer| {
                Mutex::new(Slot {
                    writer,
                    occupant: None,
                    next: None,
                    video_live: false,
                    audio_live: false,
                    video_unsupported: false,
                    epoch: 0,
                    shown_ns: None,
                })
            })
            .collect();
        let authors = RwLock::new(vec![Authors::default(); slots.len()]);
        Self { authors, unsupported: Mutex::default(), slots }
    }

    /// Puts somebody, or nobody, into slot `number`. Another person begins with nothing on screen.
    pub fn bind(&self, number: u8, occupant: Option<Occupant>) {
        self.change(number, |slot| {
            slot.next = None;
            slot.seat(occupant, Begins::WithoutPicture);
        });
    }

    /// Puts somebody, or nobody, into slot `number`, whose present picture stays until the first of theirs.
    pub fn follow(&self, number: u8, occupant: Option<Occupant>) {
        self.change(number, |slot| match occupant {
            Some(next) if slot.video_live && slot.occupant.as_ref().map(author) != Some(author(&next)) => {
                let until = now_ns() + NEXT_WITHIN_NS;
                slot.next = Some((next, until));
            }
            occupant => {
                slot.next = None;
                slot.seat(occupant, Begins::WithoutPicture);
            }
        });
    }

    /// Those whose first picture did not come in time are shown without. Called many times a second.
    pub fn seat_late(&self) {
        let waiting = |authors: &Authors| authors.next.is_some();
        let numbers: Vec<u8> = {
            let all = self.authors.read().unwrap_or_else(PoisonError::into_inner);
            (1..).zip(all.iter()).filter(|(_, authors)| waiting(authors)).map(|(number, _)| number).collect()
        };
        for number in numbers {
            self.change(number, |slot| {
                if slot.next.as_ref().is_some_and(|(_, until)| now_ns() >= *until) {
                    slot.seat_next(Begins::WithoutPicture);
                }
            });
        }
    }

    fn change(&self, number: u8, how: impl FnOnce(&mut Slot)) {
        let Some(index) = usize::from(number).checked_sub(1) else { return };
        let Some(cell) = self.slots.get(index) else { return };
        let mut slot = locked(cell);
        how(&mut slot);
        let now = slot.occupant.as_ref().map(author);
        slot.set_unsupported(now.is_some_and(|now| locked(&self.unsupported).contains(&now)));
        self.note(index, &slot);
    }

    /// Whether this author's pictures can be shown here: what their slots' readers are told.
    pub fn set_unsupported(&self, who: Author, unsupported: bool) {
        {
            let mut all = locked(&self.unsupported);
            all.retain(|other| *other != who);
            if unsupported {
                all.push(who);
            }
        }
        self.each_of(who, |_, slot| {
            if slot.occupant.as_ref().map(author) == Some(who) {
                slot.set_unsupported(unsupported);
            }
        });
    }

    fn note(&self, index: usize, slot: &Slot) {
        let now = slot.occupant.as_ref().map(author);
        let next = slot.next.as_ref().map(|(next, _)| author(next));
        if let Some(entry) = self.authors.write().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            *entry = Authors { now, next };
        }
    }

    /// Whether anybody sees this author's picture, or did a moment ago: who goes from scene to scene and back does not
    /// begin anew with a keyframe.
    pub fn is_seen(&self, who: Author) -> bool {
        let mut seen = false;
        self.each_of(who, |_, slot| {
            if slot.writer.is_shown() {
                slot.shown_ns = Some(now_ns());
            }
            seen |= slot.shown_ns.is_some_and(|at| now_ns().saturating_sub(at) < LINGER_NS);
        });
        seen
    }

    /// Memory in which this author's pictures are best made: that of a slot that shows them.
    pub fn lender(&self, who: Author) -> Option<Lender> {
        let mut lender = None;
        self.each_of(who, |_, slot| {
            if lender.is_none() && slot.writer.is_shown() {
                lender = Some(slot.writer.lender());
            }
        });
        lender
    }

    /// Writes a picture to each slot of this author. `active`: whether the track may still be seen; asked while nobody
    /// can say otherwise, so that nothing is written after [`Slots::set_live`] said that it ended.
    pub fn write_video(&self, who: Author, picture: &VideoFrame<'_>, active: &AtomicBool) {
        self.each_of(who, |index, slot| {
            if !active.load(Ordering::Acquire) {
                return;
            }
            if slot.next.as_ref().is_some_and(|(next, _)| author(next) == who) {
                slot.seat_next(Begins::WithPicture);
                self.note(index, slot);
            }
            slot.set_live(MediaKind::Video, true);
            if let Err(error) = slot.writer.write_video(picture) {
                tracing::debug!(%error, "a picture was not written");
            }
        });
    }

    /// Writes 10 ms of sound to each slot of this peer; `active` as above.
    pub fn write_audio(&self, peer: PeerId, chunk: &Chunk, timestamp_ns: u64, active: &AtomicBool) {
        let channels = [&chunk[0][..], &chunk[1][..]];
        let who = Author { peer, screen: false };
        self.each_of(who, |_, slot| {
            if active.load(Ordering::Acquire) && slot.occupant.as_ref().map(author) == Some(who) {
                slot.set_live(MediaKind::Audio, true);
                if let Err(error) = slot.writer.write_audio(&channels, CHUNK, SAMPLE_RATE, timestamp_ns) {
                    tracing::debug!(%error, "a chunk of sound was not written");
                }
            }
        });
    }

    /// Whether anything of this kind comes from the author: what their slots' readers are told. What is written is
    /// live anyway. `active` as above.
    pub fn set_live(&self, who: Author, kind: MediaKind, active: &AtomicBool, comes: bool) {
        self.each_of(who, |_, slot| {
            if slot.occupant.as_ref().map(author) == Some(who) {
                slot.set_live(kind, comes && active.load(Ordering::Acquire));
            }
        });
    }

    fn each_of(&self, who: Author, mut act: impl FnMut(usize, &mut Slot)) {
        for index in 0..self.slots.len() {
            let authors = self.authors.read().unwrap_or_else(PoisonError::into_inner).get(index).copied();
            let here = authors.is_some_and(|authors| [authors.now, authors.next].contains(&Some(who)));
            let Some(slot) = self.slots.get(index).filter(|_| here) else { continue };
            let mut slot = locked(slot);
            // Somebody else may have been let in meanwhile.
            let next = slot.next.as_ref().map(|(next, _)| author(next));
            if [slot.occupant.as_ref().map(author), next].contains(&Some(who)) {
                act(index, &mut slot);
            }
        }
    }
}

/// What readers are told in the same breath as who it is: a reader quick enough to see a state between the two would
/// show the name's card in it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Begins {
    WithPicture,
    WithoutPicture,
}

fn author(occupant: &Occupant) -> Author {
    Author { peer: occupant.peer, screen: occupant.screen }
}

impl Slot {
    fn seat_next(&mut self, begins: Begins) {
        if let Some((next, _)) = self.next.take() {
            self.seat(Some(next), begins);
        }
    }

    fn seat(&mut self, occupant: Option<Occupant>, begins: Begins) {
        if self.occupant.as_ref().map(author) != occupant.as_ref().map(author) {
            self.epoch = self.epoch.wrapping_add(1);
            (self.video_live, self.audio_live, self.video_unsupported) = (false, false, false);
        }
        self.video_live |= begins == Begins::WithPicture;
        self.occupant = occupant;
        self.publish();
    }

    fn set_live(&mut self, kind: MediaKind, live: bool) {
        let flag = match kind {
            MediaKind::Video => &mut self.video_live,
            MediaKind::Audio => &mut self.audio_live,
        };
        if *flag != live {
            *flag = live;
            self.publish();
        }
    }

    fn set_unsupported(&mut self, unsupported: bool) {
        if self.video_unsupported != unsupported {
            self.video_unsupported = unsupported;
            self.publish();
        }
    }

    fn publish(&mut self) {
        self.writer.set_state(SlotState {
            occupant: self.occupant.as_ref().map(|occupant| occupant.name.as_str().to_owned()),
            video_live: self.video_live,
            audio_live: self.audio_live,
            video_unsupported: self.video_unsupported,
            epoch: self.epoch,
        });
    }
}

/// A keyframe takes a round trip and a moment; somebody without a camera is shown by name after this.
const NEXT_WITHIN_NS: u64 = 1_200_000_000;
/// As long as the engine keeps taking the whole picture of somebody who was on screen.
const LINGER_NS: u64 = 4_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use frame_ipc::{Event, Matrix, PixelFormat, Plane, Reader, Rotation, Subject};
    use std::time::{Duration, Instant};
    use uuid::Uuid;

    fn someone(number: u128, name: &str) -> Occupant {
        Occupant {
            peer: PeerId(Uuid::from_u128(number)),
            name: name.to_owned().try_into().unwrap(),
            screen: false,
        }
    }

    fn show_one_picture(slots: &Slots, of: &Occupant) {
        let bytes = [90; 16 * 16];
        let planes = [16, 8, 8].map(|stride| Plane { data: &bytes, stride });
        let picture = VideoFrame {
            format: PixelFormat::I420,
            width: 16,
            height: 16,
            planes: &planes,
            timestamp_ns: now_ns(),
            arrival_ns: now_ns(),
            full_range: false,
            matrix: Matrix::Bt601,
            rotation: Rotation::None,
        };
        slots.write_video(author(of), &picture, &AtomicBool::new(true));
    }

    /// Every state up to that of whom `last` names with a picture.
    fn states_until(reader: &mut Reader, last: &str) -> Vec<SlotState> {
        let patience = Instant::now() + Duration::from_secs(10);
        let mut seen = Vec::new();
        while Instant::now() < patience {
            let Some(Event::State(state)) = reader.next(now_ns()).unwrap() else { continue };
            seen.push(state);
            if seen.last().is_some_and(|state| state.video_live && state.occupant.as_deref() == Some(last)) {
                return seen;
            }
        }
        panic!("{last} has no picture: {seen:?}");
    }

    #[test]
    fn of_the_next_one_readers_hear_with_the_first_picture_and_not_a_moment_before() {
        let folder = std::env::temp_dir().join(format!("greenroom-slots-{}", std::process::id()));
        let path = folder.join("obs.sock");
        let host = Host::bind(&path, 1).unwrap();
        let slots = Slots::new(&host, 1);
        let mut reader = Reader::connect(&path, Subject::slot(1)).unwrap();
        let (ada, ben) = (someone(1, "Ada"), someone(2, "Ben"));
        slots.bind(1, Some(ada.clone()));
        show_one_picture(&slots, &ada);
        states_until(&mut reader, "Ada");

        slots.follow(1, Some(ben.clone()));
        show_one_picture(&slots, &ada);
        show_one_picture(&slots, &ben);
        for state in states_until(&mut reader, "Ben") {
            assert!(state.video_live, "between the two pictures there would be a card: {state:?}");
        }
        drop((slots, host));
        let _ = std::fs::remove_dir_all(folder);
    }
}
