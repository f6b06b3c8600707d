//! What must not leave this computer with a support bundle: everybody's name in this engine's life, and the rooms' keys.

use super::Stage;
use operations::redact::Known;
use std::collections::{BTreeSet, VecDeque};

/// Names that were said, also of those who have gone and of those who chose another: the log may hold them. *State* kind: the oldest go
/// when there are too many.
#[derive(Default)]
pub(super) struct Names {
    known: BTreeSet<String>,
    order: VecDeque<String>,
}

impl Names {
    pub fn note(&mut self, name: &str) {
        if !self.known.insert(name.to_owned()) {
            return;
        }
        self.order.push_back(name.to_owned());
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Stage {
    pub(super) fn known(&self) -> Known {
        let mut names = self.rooms.names();
        names.extend(self.names.known.iter().cloned());
        let keys = self.rooms.live_rooms().into_iter().filter_map(|room| room.stream_key);
        Known { secrets: keys.collect(), names, folders: Vec::new() }
    }
}

/// Far more than a log of this length can name.
const MOST: usize = 10_000;
