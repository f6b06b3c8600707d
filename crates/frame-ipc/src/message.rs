//! The notes on the socket, as values and as bytes. The tables are in the crate's documentation.

use crate::layout::{put_u16, put_u32, put_u64, u16_at, u32_at, u64_at};
use crate::subject::Subject;

/// What readers are told about a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotState {
    /// The name of who is in the slot. `None`: nobody.
    pub occupant: Option<String>,
    /// Pictures are coming, or should be.
    pub video_live: bool,
    pub audio_live: bool,
    /// What comes cannot be shown on this computer, so no pictures will.
    pub video_unsupported: bool,
    /// Changes with the occupant: what belongs to another epoch is not shown.
    pub epoch: u32,
}

/// What a reader reports about once a second. Counts are since the last report, times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub delivered: u32,
    /// Announced, but already overwritten, or overtaken by the next one.
    pub skipped: u32,
    /// Overwritten while being copied.
    pub torn: u32,
    /// Timestamps out of bounds.
    pub refused: u32,
    pub handover_p50_us: u32,
    pub handover_max_us: u32,
    pub arrival_p50_us: u32,
    pub arrival_p95_us: u32,
    pub arrival_p99_us: u32,
}

/// Where a reader's picture is seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    pub scene: Scene,
    /// How high it is drawn there, in pixels of the canvas; 0: not known.
    pub height: u16,
}

/// What a reader's picture is part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scene {
    /// Nothing that is drawn.
    #[default]
    Hidden,
    /// Something the streamer sees, and the audience does not.
    Preview,
    Program,
}

impl Look {
    pub const HIDDEN: Self = Self { scene: Scene::Hidden, height: 0 };
    pub const PREVIEW: Self = Self { scene: Scene::Preview, height: 0 };
    pub const PROGRAM: Self = Self { scene: Scene::Program, height: 0 };

    pub fn is_shown(self) -> bool {
        self.scene != Scene::Hidden
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToHost {
    Hello {
        major: u8,
        minor: u8,
    },
    Subscribe {
        slot: u8,
    },
    /// All that version 1.0 has to say of a [`Look`].
    Shown(bool),
    Report(Report),
    Follow(Subject),
    Look(Look),
}

impl ToHost {
    pub(crate) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello { major, minor } => [[1, *major, *minor, 0], *b"GRIP"].concat(),
            Self::Subscribe { slot } => vec![2, *slot],
            Self::Shown(shown) => vec![3, u8::from(*shown)],
            Self::Report(report) => {
                let mut bytes = vec![0; REPORT_LENGTH];
                bytes[0] = 4;
                for (i, value) in report.fields().into_iter().enumerate() {
                    put_u32(&mut bytes, 4 + 4 * i, value);
                }
                bytes
            }
            Self::Follow(subject) => [&[5][..], &subject.encode()].concat(),
            Self::Look(look) => {
                let mut bytes = vec![6, look.scene as u8, 0, 0];
                put_u16(&mut bytes, 2, look.height);
                bytes
            }
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match *bytes {
            [1, major, minor, 0, b'G', b'R', b'I', b'P'] => Self::Hello { major, minor },
            [2, slot] => Self::Subscribe { slot },
            [3, shown @ (0 | 1)] => Self::Shown(shown == 1),
            [4, 0, 0, 0, ..] if bytes.len() == REPORT_LENGTH => {
                Self::Report(Report::from_fields(std::array::from_fn(|i| u32_at(bytes, 4 + 4 * i))))
            }
            [5, ref subject @ ..] => Self::Follow(Subject::decode(subject)?),
            [6, scene @ 0..3, _, _] => Self::Look(Look {
                scene: [Scene::Hidden, Scene::Preview, Scene::Program][usize::from(scene)],
                height: u16_at(bytes, 2),
            }),
            _ => return None,
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToReader {
    Welcome {
        major: u8,
        minor: u8,
        slots: u8,
    },
    Ring {
        slot: u8,
        generation: u32,
        length: u64,
    },
    State {
        slot: u8,
        state: SlotState,
    },
    Video {
        slot: u8,
        still: bool,
        number: u64,
    },
    Audio {
        slot: u8,
        number: u64,
    },
    Refused(Refusal),
    /// From a newer host.
    Unknown,
}

/// Which of two that do not understand each other is to be updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    Host,
    Reader,
}

/// Why a host turns a reader away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    /// Said by hosts up to 1.1; later ones answer a reader of another major version with their own.
    Version,
    NoSuchSlot,
}

impl ToReader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbered = |kind, slot, flags, number| {
            let mut bytes = vec![0; 16];
            bytes[..3].copy_from_slice(&[kind, slot, flags]);
            put_u64(&mut bytes, 8, number);
            bytes
        };
        match self {
            Self::Welcome { major, minor, slots } => vec![1, *major, *minor, *slots],
            Self::Ring { slot, generation, length } => {
                let mut bytes = numbered(2, *slot, 0, *length);
                put_u32(&mut bytes, 4, *generation);
                bytes
            }
            Self::State { slot, state } => {
                let name = bounded(state.occupant.as_deref().unwrap_or_default());
                let flags = u8::from(state.video_live)
                    | u8::from(state.audio_live) << 1
                    | u8::from(state.occupant.is_some()) << 2
                    | u8::from(state.video_unsupported) << 3;
                let mut bytes = vec![3, *slot, flags, name.len() as u8, 0, 0, 0, 0];
                put_u32(&mut bytes, 4, state.epoch);
                bytes.extend_from_slice(name.as_bytes());
                bytes
            }
            Self::Video { slot, still, number } => numbered(4, *slot, u8::from(*still), *number),
            Self::Audio { slot, number } => numbered(5, *slot, 0, *number),
            Self::Refused(why) => vec![6, *why as u8 + 1],
            Self::Unknown => vec![255],
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match *bytes {
            [1, major, minor, slots] => Self::Welcome { major, minor, slots },
            [2, slot, 0, 0, ..] if bytes.len() == 16 => {
                Self::Ring { slot, generation: u32_at(bytes, 4), length: u64_at(bytes, 8) }
            }
            [3, slot, flags @ 0..16, length, _, _, _, _, ref name @ ..]
                if name.len() == usize::from(length) =>
            {
                let name =
                    std::str::from_utf8(name).ok().filter(|name| !name.chars().any(char::is_control))?;
                let occupied = flags & 4 != 0;
                Self::State {
                    slot,
                    state: SlotState {
                        occupant: occupied.then(|| name.to_owned()),
                        video_live: flags & 1 != 0,
                        audio_live: flags & 2 != 0,
                        video_unsupported: flags & 8 != 0,
                        epoch: u32_at(bytes, 4),
                    },
                }
            }
            [4, slot, flags @ 0..2, ..] if bytes.len() == 16 => {
                Self::Video { slot, still: flags == 1, number: u64_at(bytes, 8) }
            }
            [5, slot, ..] if bytes.len() == 16 => Self::Audio { slot, number: u64_at(bytes, 8) },
            [6, 1] => Self::Refused(Refusal::Full),
            [6, 2] => Self::Refused(Refusal::Version),
            [6, 3] => Self::Refused(Refusal::NoSuchSlot),
            [7..=255, ..] => Self::Unknown,
            _ => return None,
        })
    }
}

impl Report {
    fn fields(&self) -> [u32; 9] {
        [
            self.delivered,
            self.skipped,
            self.torn,
            self.refused,
            self.handover_p50_us,
            self.handover_max_us,
            self.arrival_p50_us,
            self.arrival_p95_us,
            self.arrival_p99_us,
        ]
    }

    fn from_fields(
        [
            delivered,
            skipped,
            torn,
            refused,
            handover_p50_us,
            handover_max_us,
            arrival_p50_us,
            arrival_p95_us,
            arrival_p99_us,
        ]: [u32; 9],
    ) -> Self {
        Self {
            delivered,
            skipped,
            torn,
            refused,
            handover_p50_us,
            handover_max_us,
            arrival_p50_us,
            arrival_p95_us,
            arrival_p99_us,
        }
    }
}

/// What a reader of that minor version may be told of a slot.
pub(crate) fn for_minor(state: &SlotState, minor: u8) -> SlotState {
    SlotState { video_unsupported: state.video_unsupported && minor >= 2, ..state.clone() }
}

/// A name as it may stand in a STATE message: plain, at most [`MAX_NAME`] bytes.
pub(crate) fn bounded(name: &str) -> String {
    let mut plain = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if plain.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        plain.push(c);
    }
    plain
}

pub(crate) const MAJOR: u8 = 1;
/// 1: FOLLOW and LOOK. 2: what cannot be shown, in STATE.
pub(crate) const MINOR: u8 = 3;
pub(crate) const MAX_TO_HOST: usize = 320;
pub(crate) const MAX_TO_READER: usize = 512;
pub(crate) const MAX_NAME: usize = 255;
const REPORT_LENGTH: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::Who;

    #[test]
    fn messages_survive_the_wire() {
        for message in [
            ToHost::Hello { major: 1, minor: 2 },
            ToHost::Subscribe { slot: 3 },
            ToHost::Shown(true),
            ToHost::Look(Look { scene: Scene::Program, height: 1080 }),
            ToHost::Follow(Subject { who: Who::Screen, stand_in: Some(2) }),
            ToHost::Report(Report { delivered: 30, arrival_p99_us: 9, ..Report::default() }),
        ] {
            let bytes = message.encode();
            assert!(bytes.len() <= MAX_TO_HOST);
            assert_eq!(ToHost::decode(&bytes), Some(message));
        }
        let occupied = SlotState {
            occupant: Some("Zoë".into()),
            video_live: true,
            audio_live: false,
            video_unsupported: true,
            epoch: 7,
        };
        for message in [
            ToReader::Welcome { major: 1, minor: 1, slots: 16 },
            ToReader::Ring { slot: 1, generation: 2, length: 1 << 30 },
            ToReader::State { slot: 1, state: occupied },
            ToReader::State { slot: 1, state: SlotState::default() },
            ToReader::Video { slot: 1, still: true, number: u64::MAX },
            ToReader::Audio { slot: 1, number: 0 },
            ToReader::Refused(Refusal::NoSuchSlot),
        ] {
            let bytes = message.encode();
            assert!(bytes.len() <= MAX_TO_READER);
            assert_eq!(ToReader::decode(&bytes), Some(message));
        }
    }

    #[test]
    fn an_old_reader_is_told_only_what_it_knows() {
        let state = SlotState { video_live: true, video_unsupported: true, ..SlotState::default() };
        assert_eq!(for_minor(&state, MINOR), state);
        assert_eq!(for_minor(&state, 1), SlotState { video_unsupported: false, ..state });
    }

    #[test]
    fn malformed_messages_are_none() {
        let bad_for_host: [&[u8]; 11] = [
            &[],
            &[0],
            &[1, 1],
            &[1, 1, 1, 0, 0, 0, 0, 0],
            &[2],
            &[3, 2],
            &[4, 0],
            &[5],
            &[6, 3, 0, 0],
            &[6, 1, 0],
            &[9, 9],
        ];
        for bytes in bad_for_host {
            assert_eq!(ToHost::decode(bytes), None, "{bytes:?}");
        }
        let bad_for_reader: [&[u8]; 9] = [
            &[],
            &[0],
            &[1, 1],
            &[2, 1, 0, 0],
            &[3, 1, 4, 5, 0, 0, 0, 0, b'a'],
            &[3, 1, 4, 1, 0, 0, 0, 0, 0xff],
            &[3, 1, 4, 1, 0, 0, 0, 0, 7],
            &[4, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[6, 9],
        ];
        for bytes in bad_for_reader {
            assert_eq!(ToReader::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn names_are_cut_at_a_character_and_lose_their_control_characters() {
        assert_eq!(bounded("A\u{0}d\na"), "Ada");
        let long = bounded(&"é".repeat(400));
        assert_eq!(long.len(), 254);
    }
}
