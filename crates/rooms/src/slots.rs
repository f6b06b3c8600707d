//! The show's places: each shows at most one peer, over all rooms.

use crate::Refusal;
use std::collections::BTreeMap;
use wire::{PeerId, SlotId};

#[derive(Debug)]
pub(crate) struct Slots {
    count: u8,
    taken: BTreeMap<SlotId, PeerId>,
}

impl Slots {
    pub fn new(count: u8) -> Self {
        Self { count: count.min(SlotId::MAX), taken: BTreeMap::new() }
    }

    pub fn count(&self) -> u8 {
        self.count
    }

    pub fn of(&self, peer: PeerId) -> Option<SlotId> {
        self.taken.iter().find(|(_, p)| **p == peer).map(|(slot, _)| *slot)
    }

    pub fn first_free(&self) -> Option<SlotId> {
        SlotId::all(self.count).find(|slot| !self.taken.contains_key(slot))
    }

    /// `Ok` when `peer` may have `slot`: it exists, and nobody else is in it.
    pub fn check(&self, slot: SlotId, peer: PeerId) -> Result<(), Refusal> {
        if slot.number() > self.count {
            return Err(Refusal::NoSuchSlot { slot, count: self.count });
        }
        match self.taken.get(&slot) {
            Some(other) if *other != peer => Err(Refusal::SlotTaken(slot)),
            _ => Ok(()),
        }
    }

    /// Puts `peer` into a slot that [`Slots::check`] allowed, out of the one it had.
    pub fn put(&mut self, slot: SlotId, peer: PeerId) -> Option<SlotId> {
        let before = self.take_out(peer);
        self.taken.insert(slot, peer);
        before
    }

    pub fn take_out(&mut self, peer: PeerId) -> Option<SlotId> {
        let slot = self.of(peer)?;
        self.taken.remove(&slot);
        Some(slot)
    }

    #[cfg(test)]
    pub fn all(&self) -> impl Iterator<Item = (SlotId, PeerId)> + '_ {
        self.taken.iter().map(|(s, p)| (*s, *p))
    }
}
