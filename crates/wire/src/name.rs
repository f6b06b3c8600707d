//! Strings that strangers choose, parsed once.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use thiserror::Error;
use ts_rs::TS;

/// A room's name in URLs: 1 to 64 of `A–Z a–z 0–9 - _`. Never used as a path.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(try_from = "String", into = "String")]
#[ts(export, type = "string")]
pub struct RoomId(String);

/// Why a room id was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a room id is 1 to {MAX_ROOM_ID} letters, digits, '-' or '_'")]
pub struct BadRoomId;

impl RoomId {
    pub fn parse(text: &str) -> Result<Self, BadRoomId> {
        let fits = !text.is_empty() && text.len() <= MAX_ROOM_ID;
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(BadRoomId) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RoomId {
    type Error = BadRoomId;
    fn try_from(text: String) -> Result<Self, BadRoomId> {
        Self::parse(&text)
    }
}

impl From<RoomId> for String {
    fn from(id: RoomId) -> String {
        id.0
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person's name as shown to others: trimmed, 1 to 64 characters, none of them a control or
/// text-direction character, white space folded to single blanks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(try_from = "String", into = "String")]
#[ts(export, type = "string")]
pub struct DisplayName(String);

/// Why a display name was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadName {
    #[error("a name cannot be empty")]
    Empty,
    #[error("a name has at most {MAX_NAME} characters")]
    TooLong,
    #[error("a name cannot contain control characters")]
    Control,
}

impl DisplayName {
    pub fn parse(text: &str) -> Result<Self, BadName> {
        // Bound the work before looking at any character.
        if text.len() > MAX_NAME * 4 * 2 {
            return Err(BadName::TooLong);
        }
        if text.chars().any(is_control) {
            return Err(BadName::Control);
        }
        let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
        match folded.chars().count() {
            0 => Err(BadName::Empty),
            n if n > MAX_NAME => Err(BadName::TooLong),
            _ => Ok(Self(folded)),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters, and the bidirectional controls that let a name rewrite the text around it.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl TryFrom<String> for DisplayName {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        Self::parse(&text)
    }
}

impl From<DisplayName> for String {
    fn from(name: DisplayName) -> String {
        name.0
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A place in the show, 1 to [`SlotId::MAX`]; OBS sources are bound to it. Shown as "Guest 1".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, TS)]
#[serde(try_from = "u8", into = "u8")]
#[ts(export, type = "number")]
pub struct SlotId(u8);

/// Why a slot number was refused.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a slot is a number from 1 to {}", SlotId::MAX)]
pub struct BadSlot;

impl SlotId {
    pub const MAX: u8 = 16;

    pub fn number(self) -> u8 {
        self.0
    }

    pub fn all(count: u8) -> impl Iterator<Item = SlotId> {
        (1..=count.min(Self::MAX)).map(SlotId)
    }
}

impl TryFrom<u8> for SlotId {
    type Error = BadSlot;
    fn try_from(number: u8) -> Result<Self, BadSlot> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(BadSlot) }
    }
}

impl From<SlotId> for u8 {
    fn from(slot: SlotId) -> u8 {
        slot.0
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guest {}", self.0)
    }
}

/// What openapi.json says of a type that is parsed by hand.
macro_rules! schema {
    ($($name:ident $schema:tt)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )*};
}

schema! {
    RoomId { "type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$" }
    DisplayName { "type": "string", "minLength": 1, "maxLength": 64 }
    SlotId { "type": "integer", "minimum": 1, "maximum": 16 }
}

const MAX_ROOM_ID: usize = 64;
const MAX_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_bounded_and_plain() {
        let check = |text: &str, expected: Result<&str, BadName>| {
            assert_eq!(
                DisplayName::parse(text).as_ref().map(DisplayName::as_str),
                expected.as_ref().copied()
            );
        };
        check("  Ada   Lovelace ", Ok("Ada Lovelace"));
        check("Zoë 🎤", Ok("Zoë 🎤"));
        check("   ", Err(BadName::Empty));
        check("a\u{0}b", Err(BadName::Control));
        check("a\nb", Err(BadName::Control));
        check("evil \u{202e}txt", Err(BadName::Control));
        check(&"x".repeat(65), Err(BadName::TooLong));
        check(&"x".repeat(10_240), Err(BadName::TooLong));
    }

    #[test]
    fn room_ids_can_never_be_paths() {
        for bad in ["", "..", "a/b", "a\\b", "a b", "é", "a%2e", &"x".repeat(65)] {
            assert_eq!(RoomId::parse(bad), Err(BadRoomId), "{bad}");
        }
        assert_eq!(RoomId::parse("my-show_1").unwrap().as_str(), "my-show_1");
    }
}
