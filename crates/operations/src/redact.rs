//! Takes out of a text what is nobody else's concern: secrets, addresses, names.
//!
//! What is known to be secret goes wherever it stands; what only looks like it goes too. The rest is for whoever is asked for help,
//! so ids and times stay.

use regex::{Captures, Regex};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;
use uuid::Uuid;

/// What must not be told, by value.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Tokens, keys, passwords: removed even within words.
    pub secrets: Vec<String>,
    /// What people call themselves and their rooms: removed as whole words.
    pub names: Vec<String>,
    /// Folders that tell whose computer it is, and what to call them.
    pub folders: Vec<(String, &'static str)>,
}

/// Made once for many texts.
pub struct Redactor {
    secrets: Option<Regex>,
    names: Option<Regex>,
    folders: Vec<(String, &'static str)>,
}

impl Redactor {
    pub fn new(known: &Known) -> Self {
        let mut folders: Vec<_> =
            known.folders.iter().filter(|(folder, _)| folder.len() > 1).cloned().collect();
        folders.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        Self {
            secrets: any_of(&known.secrets, regex::escape),
            names: any_of(&known.names, whole_word),
            folders,
        }
    }

    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(secrets) = &self.secrets {
            text = secrets.replace_all(&text, "[secret]").into_owned();
        }
        for (folder, name) in &self.folders {
            text = text.replace(folder.as_str(), name);
        }
        for (pattern, by) in RULES.iter() {
            text = pattern.replace_all(&text, |found: &Captures<'_>| by(found)).into_owned();
        }
        match &self.names {
            Some(names) => names.replace_all(&text, "[name]").into_owned(),
            None => text,
        }
    }
}

/// The longest first, so that none leaves a part of another. As they are and as JSON or `Debug` writes them.
fn any_of(texts: &[String], pattern: impl Fn(&str) -> String) -> Option<Regex> {
    let mut all: Vec<String> = Vec::new();
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        all.push(text.to_owned());
        all.push(text.escape_debug().to_string());
        all.push(percent_encoded(text));
    }
    all.sort_by_key(|text| std::cmp::Reverse(text.len()));
    all.dedup();
    let alternatives: Vec<String> = all.iter().map(|text| pattern(text)).collect();
    // One that grows too large is a mistake of ours: then nothing is told at all.
    (!alternatives.is_empty()).then(|| {
        regex::RegexBuilder::new(&alternatives.join("|"))
            .case_insensitive(true)
            .size_limit(64 << 20)
            .build()
            .unwrap_or_else(|_| EVERYTHING.clone())
    })
}

/// An escaped line break may stand before a word, and looks like a letter of it.
fn whole_word(text: &str) -> String {
    let is_word = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
    let before = if is_word(text.chars().next()) { r"(?:\\[nrt]|\b|_)" } else { "" };
    let after = if is_word(text.chars().next_back()) { r"(?:\b|_)" } else { "" };
    format!("{before}{}{after}", regex::escape(text))
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

type By = fn(&Captures<'_>) -> String;

/// In this order: what is larger before what may be a part of it.
static RULES: LazyLock<Vec<(Regex, By)>> = LazyLock::new(|| {
    let rules: &[(&str, By)] = &[
        // ICE: a line of an SDP or a field of JSON, whole; then what belongs to it.
        (r"candidate:[^\r\n\x22]*", |_| "candidate:[address]".into()),
        (r"(?i)\b(ice-pwd|ice-ufrag|fingerprint)(:\s*)[^\s\x22\\]+(?: [0-9a-f:]{20,})?", |found| {
            format!("{}{}[secret]", &found[1], &found[2])
        }),
        (r"(?i)\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.local\b", |_| "[address]".into()),
        (r"(?i)\b([a-z][a-z0-9+.-]*://)([^\s\x22'<>)\]}]*)", |found| {
            format!("{}{}", &found[1], bare(&found[2]))
        }),
        (r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", |_| "[jwt]".into()),
        (r"\bwhsec_[A-Za-z0-9+/=_-]*", |_| "[secret]".into()),
        (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}", |found| format!("{} [secret]", &found[1])),
        (
            r"(?i)\b((?:[a-z_-]*(?:token|secret|password|passwd|credential|api_?key|stream_?key|signing_?key))(?:\\?\x22)?\s*[:=]\s*(?:Some\(\s*)?(?:\\?\x22)?)([^\s\x22\\,;&)}\]]+)",
            |found| match &found[2] {
                // What says that there is none.
                "None" | "null" | "[secret" => found[0].to_owned(),
                _ => format!("{}[secret]", &found[1]),
            },
        ),
        (r"(?i)\b(?:[0-9a-f]{2}:){7,}[0-9a-f]{2}\b", |_| "[fingerprint]".into()),
        (r"(?i)\b[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}\b", |_| "[address]".into()),
        (
            r"(?i)(^|\\[nrt]|[^0-9a-z_])((?:[0-9a-f]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}\b|[0-9a-f]{1,4}\b|)(?:%[0-9a-z_.-]+)?)",
            |found| format!("{}{}", &found[1], v6(&found[2])),
        ),
        (r"(\\[nrt]|\b)(\d{1,3}(?:\.\d{1,3}){3})\b", |found| format!("{}{}", &found[1], v4(&found[2]))),
        (r"/(home|Users)/[^/\s\x22':,]+", |found| format!("/{}/[name]", &found[1])),
        (r"\b[A-Za-z0-9_-]{24,}={0,2}", |found| token(&found[0])),
    ];
    rules.iter().map(|(pattern, by)| (Regex::new(pattern).expect("a rule of ours"), *by)).collect()
});

static EVERYTHING: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s).+").expect("a rule of ours"));

/// Of an address after its `://`: without whoever logs in, without query and fragment.
fn bare(rest: &str) -> String {
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host =
        authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("[secret]@{host}"));
    let cut =
        |text: &str| text.find(['?', '#']).map(|at| format!("{}{}[removed]", &text[..at], &text[at..=at]));
    match cut(&host) {
        Some(host) => host,
        None => host + &cut(path).unwrap_or_else(|| path.to_owned()),
    }
}

/// Loopback and "any" are the same on every computer.
fn v4(text: &str) -> String {
    match text.parse::<Ipv4Addr>() {
        Ok(address) if address.is_loopback() || address.is_unspecified() => text.to_owned(),
        _ => "[address]".into(),
    }
}

fn v6(text: &str) -> String {
    let plain = text.split('%').next().unwrap_or_default();
    // A colon may end a sentence or stand before a port.
    let tail = if plain.ends_with(':') && !plain.ends_with("::") { ":" } else { "" };
    match plain.trim_end_matches(tail).parse::<Ipv6Addr>() {
        Ok(address) if address.is_loopback() || address.is_unspecified() => text.to_owned(),
        Ok(_) => format!("[address]{tail}"),
        // A time of day, or something of a language.
        Err(_) => text.to_owned(),
    }
}

/// Long, of letters and digits: nobody says such a word. Ids of ours stay: without them nothing fits together.
fn token(text: &str) -> String {
    let is_mixed = text.bytes().any(|b| b.is_ascii_digit()) && text.bytes().any(|b| b.is_ascii_alphabetic());
    let is_plain = Uuid::try_parse(text).is_ok() && text.contains('-');
    if is_mixed && !is_plain { "[secret]".into() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_or_an_address_goes_and_the_rest_stays() {
        let redactor = Redactor::new(&Known::default());
        for (text, expected) in [
            ("from 192.0.2.7:4000 to 10.0.0.1", "from [address]:4000 to [address]"),
            ("listens on 127.0.0.1:3002 and 0.0.0.0:3443", "listens on 127.0.0.1:3002 and 0.0.0.0:3443"),
            (
                "[2001:db8::7]:443, fe80::1%eth0, ::1, ::ffff:192.0.2.7",
                "[[address]]:443, [address], ::1, [address]",
            ),
            (
                "at 12:34:56 in greenroom_studio::stage::effects",
                "at 12:34:56 in greenroom_studio::stage::effects",
            ),
            (r"x\n192.0.2.7\n2001:db8::7", r"x\n[address]\n[address]"),
            ("2026-11-21T17:49:45.123456Z  INFO", "2026-11-21T17:49:45.123456Z  INFO"),
            ("hw 00:1a:2b:3c:4d:5e or 00-1A-2B-3C-4D-5E", "hw [address] or [address]"),
            ("a=candidate:1 1 udp 2122 192.0.2.7 4000 typ host\r\nnext", "a=candidate:[address]\r\nnext"),
            (
                "{\"candidate\":\"candidate:1 1 udp 1 x.local 9 typ host\"}",
                "{\"candidate\":\"candidate:[address]\"}",
            ),
            ("a=ice-pwd:abcdef\na=ice-ufrag:xyz", "a=ice-pwd:[secret]\na=ice-ufrag:[secret]"),
            ("https://user:pass@host.example/a?token=1#x", "https://[secret]@host.example/a?[removed]"),
            ("rtmp://192.0.2.7/live/room?key=abc end", "rtmp://[address]/live/room?[removed] end"),
            ("http://host.example?x=1", "http://host.example?[removed]"),
            ("jwt eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoieCJ9.c2ln.", "jwt [jwt]."),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[secret]"),
            ("authorization: Bearer abcdefgh12", "authorization: Bearer [secret]"),
            (
                "token=abc, \"streamKey\":\"k1\" credential: Some(\"pw\")",
                "token=[secret], \"streamKey\":\"[secret]\" credential: Some(\"[secret]\")",
            ),
            ("credential: None", "credential: None"),
            ("/home/ada/x and /Users/ben/y", "/home/[name]/x and /Users/[name]/y"),
            ("peer 6f1c2a90-1b2c-4d3e-8f90-123456789abc", "peer 6f1c2a90-1b2c-4d3e-8f90-123456789abc"),
            ("0123456789abcdef0123456789abcdef", "[secret]"),
            ("the_forwarding_worker_cannot_wait", "the_forwarding_worker_cannot_wait"),
        ] {
            assert_eq!(redactor.redact(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_known_goes_in_every_dress() {
        let known = Known {
            secrets: vec!["hunter2/+".into(), "hunter2".into()],
            names: vec!["Ada L.".into(), "Al".into(), "Zoë \"Z\"".into()],
            folders: vec![("/srv/data/greenroom".into(), "[data]"), ("/srv".into(), "[home]")],
        };
        let redactor = Redactor::new(&known);
        for (text, expected) in [
            ("xhunter2/+y HUNTER2 hunter2%2F%2B", "x[secret]y [secret] [secret]"),
            (r"text: \nAl (Al) _Al_", r"text: [name] ([name]) [name]"),
            ("Ada L. left; Al is here, also Albert", "[name] left; [name] is here, also Albert"),
            ("name=\"Zoë \\\"Z\\\"\" and Zo%C3%AB%20%22Z%22", "name=\"[name]\" and [name]"),
            ("/srv/data/greenroom/greenroom.db in /srv/x", "[data]/greenroom.db in [home]/x"),
        ] {
            assert_eq!(redactor.redact(text), expected, "{text}");
        }
    }
}
