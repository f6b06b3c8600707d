//! Text that people write and others read, parsed once.

use crate::Refusal;

/// A line of chat: 1 to 2,000 characters, no control characters but line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatText(String);

impl ChatText {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let fits = text.len() <= MAX_CHAT * 4 && (1..=MAX_CHAT).contains(&text.chars().count());
        let plain = !text.chars().any(|c| c.is_control() && c != '\n');
        if fits && plain && !text.trim().is_empty() {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::BadChat)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A room's title: trimmed, 1 to 200 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(String);

impl Title {
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        let fits = text.len() <= MAX_TITLE * 4 && (1..=MAX_TITLE).contains(&text.chars().count());
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Refusal::BadTitle)
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) const MAX_CHAT: usize = 2000;
pub(crate) const MAX_TITLE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chat_is_bounded_and_plain() {
        let check = |text: &str, ok: bool| assert_eq!(ChatText::parse(text).is_ok(), ok, "{text:.20?}");
        check("hello", true);
        check("two\nlines", true);
        check("", false);
        check(" \n ", false);
        check("bell\u{7}", false);
        check(&"é".repeat(2000), true);
        check(&"é".repeat(2001), false);
        check(&"x".repeat(100_000), false);
    }

    #[test]
    fn titles_are_trimmed_and_bounded() {
        assert_eq!(Title::parse("  My show ").map(|t| t.as_str().to_owned()), Ok("My show".into()));
        assert_eq!(Title::parse(" "), Err(Refusal::BadTitle));
        assert_eq!(Title::parse("a\tb"), Err(Refusal::BadTitle));
        assert_eq!(Title::parse(&"x".repeat(201)), Err(Refusal::BadTitle));
    }
}
