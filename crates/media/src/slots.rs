//! Who writes into which slot, and what its readers are told of them.

use crate::audio::{CHUNK, Chunk, SAMPLE_RATE};
use crate::locked;
use frame_ipc::{Host, SlotState, SlotWriter, VideoFrame};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use wire::link::Occupant;
use wire::ortc::MediaKind;
use wire::{PeerId, SlotId};

/// All the slots; written by the threads of whoever is in them.
pub struct Slots {
    /// Who is where; a copy of what the slots know, so that nobody waits for another guest's picture to be copied.
    occupants: RwLock<Vec<Option<PeerId>>>,
    /// Locks, because a slot's occupant writes from two threads and is replaced from a third. Held for one copy of a
    /// picture at most.
    slots: Vec<Mutex<Slot>>,
}

struct Slot {
    writer: SlotWriter,
    occupant: Option<Occupant>,
    video_live: bool,
    audio_live: bool,
    epoch: u32,
}

impl Slots {
    /// Takes the writers of `host`'s slots.
    pub fn new(host: &Host, count: u8) -> Self {
        let writers = SlotId::all(count).map_while(|slot| host.slot(slot.number()));
        let slots: Vec<_> = writers
            .map(|writer| {
                Mutex::new(Slot { writer, occupant: None, video_live: false, audio_live: false, epoch: 0 })
            })
            .collect();
        Self { occupants: RwLock::new(vec![None; slots.len()]), slots }
    }

    /// Puts somebody, or nobody, into a slot. Another person begins with nothing on screen.
    pub fn bind(&self, slot: SlotId, occupant: Option<Occupant>) {
        let index = usize::from(slot.number()) - 1;
        let Some(cell) = self.slots.get(index) else { return };
        let mut slot = locked(cell);
        let peer = occupant.as_ref().map(|occupant| occupant.peer);
        if slot.occupant.as_ref().map(|occupant| occupant.peer) != peer {
            slot.epoch = slot.epoch.wrapping_add(1);
            (slot.video_live, slot.audio_live) = (false, false);
        }
        slot.occupant = occupant;
        slot.publish();
        if let Some(entry) = self.occupants.write().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            *entry = peer;
        }
    }

    pub fn has(&self, peer: PeerId) -> bool {
        self.occupants.read().unwrap_or_else(PoisonError::into_inner).contains(&Some(peer))
    }

    /// Writes a picture to each slot of this peer. `active`: whether its track may still be seen; asked while nobody
    /// can say otherwise, so that nothing is written after [`Slots::rest`].
    pub fn write_video(&self, peer: PeerId, picture: &VideoFrame<'_>, active: &AtomicBool) {
        self.each_of(peer, |slot| {
            if active.load(Ordering::Acquire) {
                slot.set_live(MediaKind::Video, true);
                if let Err(error) = slot.writer.write_video(picture) {
                    tracing::debug!(%error, "a picture was not written");
                }
            }
        });
    }

    /// Writes 10 ms of sound to each slot of this peer; `active` as above.
    pub fn write_audio(&self, peer: PeerId, chunk: &Chunk, timestamp_ns: u64, active: &AtomicBool) {
        let channels = [&chunk[0][..], &chunk[1][..]];
        self.each_of(peer, |slot| {
            if active.load(Ordering::Acquire) {
                slot.set_live(MediaKind::Audio, true);
                if let Err(error) = slot.writer.write_audio(&channels, CHUNK, SAMPLE_RATE, timestamp_ns) {
                    tracing::debug!(%error, "a chunk of sound was not written");
                }
            }
        });
    }

    /// Nothing of this kind comes from the peer any more, until it is written again.
    pub fn rest(&self, peer: PeerId, kind: MediaKind) {
        self.each_of(peer, |slot| slot.set_live(kind, false));
    }

    fn each_of(&self, peer: PeerId, mut act: impl FnMut(&mut Slot)) {
        for index in 0..self.slots.len() {
            let here =
                self.occupants.read().unwrap_or_else(PoisonError::into_inner).get(index) == Some(&Some(peer));
            let Some(slot) = self.slots.get(index).filter(|_| here) else { continue };
            let mut slot = locked(slot);
            // Somebody else may have been let in meanwhile.
            if slot.occupant.as_ref().is_some_and(|occupant| occupant.peer == peer) {
                act(&mut slot);
            }
        }
    }
}

impl Slot {
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

    fn publish(&mut self) {
        self.writer.set_state(SlotState {
            occupant: self.occupant.as_ref().map(|occupant| occupant.name.as_str().to_owned()),
            video_live: self.video_live,
            audio_live: self.audio_live,
            epoch: self.epoch,
        });
    }
}
