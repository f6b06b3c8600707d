//! Sources that follow somebody: what they ask for, as the engine says it, and whom the engine says they get.

use crate::slots::Slots;
use frame_ipc::{Followed, Host, SlotReaders};
use std::collections::BTreeMap;
use wire::SlotId;
use wire::link::{Occupant, Place, Scene, Sensitivity, Subject, Use, Who};

/// Which subject is in which slot above the numbered ones, and who is it.
#[derive(Default)]
pub struct Followers {
    /// Slots that were given a subject, as the host said last.
    seated: BTreeMap<u8, Subject>,
    /// At most one for each subject the engine was ever told of and has not withdrawn.
    occupants: BTreeMap<Subject, Occupant>,
}

impl Followers {
    /// The engine says who `subject` is.
    pub fn bind(&mut self, host: &Host, slots: &Slots, subject: Subject, occupant: Option<Occupant>) {
        match occupant.clone() {
            Some(occupant) => self.occupants.insert(subject.clone(), occupant),
            None => self.occupants.remove(&subject),
        };
        self.follow(host, slots);
        for slot in self.seated.iter().filter(|(_, seated)| **seated == subject).map(|(slot, _)| *slot) {
            slots.follow(slot, occupant.clone());
        }
    }

    /// Readers may have come or gone.
    pub fn follow(&mut self, host: &Host, slots: &Slots) {
        let followed = host.followed();
        let mut wanted: BTreeMap<u8, Subject> = BTreeMap::new();
        wanted.extend(
            followed.iter().filter_map(|Followed { slot, subject }| Some((*slot, in_words(subject)?))),
        );
        for slot in self.seated.keys().filter(|slot| wanted.get(slot) != self.seated.get(slot)) {
            slots.bind(*slot, None);
        }
        for (slot, subject) in wanted.iter().filter(|(slot, subject)| self.seated.get(slot) != Some(subject))
        {
            slots.bind(*slot, self.occupants.get(subject).cloned());
        }
        self.seated = wanted;
    }

    /// What the engine is told of `readers`.
    pub fn uses(&self, slot_count: u8, readers: &[SlotReaders]) -> Vec<Use> {
        let place = |reader: &SlotReaders| match self.seated.get(&reader.slot) {
            Some(subject) => Some(Place::Subject(subject.clone())),
            None if reader.slot <= slot_count => SlotId::try_from(reader.slot).ok().map(Place::Slot),
            None => None,
        };
        let used = |reader: &SlotReaders| {
            let scene = match reader.look.scene {
                frame_ipc::Scene::Hidden => Scene::Hidden,
                frame_ipc::Scene::Preview => Scene::Preview,
                frame_ipc::Scene::Program => Scene::Program,
            };
            let place = place(reader)?;
            let matters = scene != Scene::Hidden || matches!(place, Place::Subject(_));
            matters.then_some(Use { place, scene, height: reader.look.height })
        };
        readers.iter().filter_map(used).collect()
    }
}

/// `None`: slots that cannot be.
fn in_words(subject: &frame_ipc::Subject) -> Option<Subject> {
    let slot = |number: u8| SlotId::try_from(number).ok();
    let who = match &subject.who {
        frame_ipc::Who::Slot(number) => Who::Slot(slot(*number)?),
        frame_ipc::Who::Speaker { sensitivity, hold_ms } => {
            let sensitivity = match sensitivity {
                frame_ipc::Sensitivity::Low => Sensitivity::Low,
                frame_ipc::Sensitivity::Normal => Sensitivity::Normal,
                frame_ipc::Sensitivity::High => Sensitivity::High,
            };
            Who::Speaker { sensitivity, hold_ms: *hold_ms }
        }
        frame_ipc::Who::Screen => Who::Screen,
        frame_ipc::Who::Person(name) => Who::Person(name.clone()),
    };
    Some(Subject { who, stand_in: subject.stand_in.and_then(slot) })
}
