//! What a source asks to be shown, as a value and as bytes. The table is in the crate's documentation.

use crate::layout::{put_u16, u16_at};
use crate::message::MAX_NAME;
use crate::slot_label;

/// Somebody or something, and the slot that stands in for it meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub who: Who,
    /// Shown while `who` is away: not there, without a picture, or out of reach.
    pub stand_in: Option<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Whoever is in this slot; 1 for "Guest 1".
    Slot(u8),
    /// Whoever of the slots speaks.
    Speaker { sensitivity: Sensitivity, hold_ms: u16 },
    /// The screen that somebody of the slots shares; the newest, if several do.
    Screen,
    /// The guest of this name, in a slot or not.
    Person(String),
}

/// How soon somebody who speaks is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sensitivity {
    /// After a sentence.
    Low,
    #[default]
    Normal,
    /// At the first word.
    High,
}

impl Sensitivity {
    pub const ALL: [Self; 3] = [Self::Low, Self::Normal, Self::High];
}

impl Subject {
    pub fn slot(number: u8) -> Self {
        Self { who: Who::Slot(number), stand_in: None }
    }

    /// The slot, if that is all there is to it: no host needs to know more than version 1.0 for that.
    pub fn plain_slot(&self) -> Option<u8> {
        match (&self.who, self.stand_in) {
            (Who::Slot(number), None) => Some(*number),
            _ => None,
        }
    }

    /// What it is called as long as nobody is there.
    pub fn label(&self) -> String {
        match &self.who {
            Who::Slot(number) => slot_label(*number),
            Who::Speaker { .. } => "Active speaker".into(),
            Who::Screen => "Screen share".into(),
            Who::Person(name) => name.clone(),
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes[1] = self.stand_in.unwrap_or_default();
        match &self.who {
            Who::Slot(number) => (bytes[0], bytes[2]) = (1, *number),
            Who::Speaker { sensitivity, hold_ms } => {
                bytes[0] = 2;
                bytes[2] = *sensitivity as u8;
                put_u16(&mut bytes, 3, *hold_ms);
            }
            Who::Screen => bytes[0] = 3,
            Who::Person(name) => {
                bytes[0] = 4;
                bytes.extend_from_slice(crate::message::bounded(name).as_bytes());
            }
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, name) = bytes.split_at_checked(HEAD)?;
        let who = match (head[0], head[2], name) {
            (1, number @ 1.., []) => Who::Slot(number),
            (2, sensitivity, []) => Who::Speaker {
                sensitivity: *Sensitivity::ALL.get(usize::from(sensitivity))?,
                hold_ms: u16_at(head, 3),
            },
            (3, _, []) => Who::Screen,
            (4, _, name) if (1..=MAX_NAME).contains(&name.len()) => {
                let name = std::str::from_utf8(name).ok()?;
                Who::Person((!name.chars().any(char::is_control)).then(|| name.to_owned())?)
            }
            _ => return None,
        };
        Some(Self { who, stand_in: Some(head[1]).filter(|slot| *slot > 0) })
    }
}

/// What stands before a name.
const HEAD: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_survive_the_wire_and_nonsense_is_none() {
        let speaker = Who::Speaker { sensitivity: Sensitivity::High, hold_ms: 2_500 };
        for who in [Who::Slot(16), speaker, Who::Screen, Who::Person("Zoë".into())] {
            for stand_in in [None, Some(2)] {
                let subject = Subject { who: who.clone(), stand_in };
                assert_eq!(Subject::decode(&subject.encode()), Some(subject));
            }
        }
        let bad: [&[u8]; 9] = [
            &[],
            &[1, 0, 1, 0],
            &[1, 0, 0, 0, 0],
            &[1, 0, 1, 0, 0, b'a'],
            &[2, 0, 3, 0, 0],
            &[4, 0, 0, 0, 0],
            &[4, 0, 0, 0, 0, 0xff],
            &[4, 0, 0, 0, 0, b'\n'],
            &[5, 0, 0, 0, 0],
        ];
        for bytes in bad {
            assert_eq!(Subject::decode(bytes), None, "{bytes:?}");
        }
    }
}
