//! Where this user's OBS listens for obs-websocket, and with which password, from its own configuration files.

use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The way in. Never logged.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Access {
    pub port: u16,
    pub password: Option<String>,
}

/// Why there is none; the words are for the streamer.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Closed {
    #[error("OBS has no WebSocket settings yet. {HOW_TO_ENABLE}")]
    Unknown,
    #[error("OBS does not let other programs steer it. {HOW_TO_ENABLE}")]
    Disabled,
    #[error("OBS's settings cannot be read ({0}). Add sources in OBS by hand.")]
    Unreadable(String),
}

/// The open ones of these configuration folders (`…/obs-studio`), in their order.
pub(super) fn find(folders: &[PathBuf]) -> Result<Vec<Access>, Closed> {
    let mut open = Vec::new();
    let mut closed = Closed::Unknown;
    for folder in folders {
        match settings(folder) {
            Ok(Some(Settings { enabled: true, access })) => open.push(access),
            Ok(Some(_)) => closed = Closed::Disabled,
            Ok(None) => {}
            Err(error) => closed = Closed::Unreadable(error.to_string()),
        }
    }
    if open.is_empty() { Err(closed) } else { Ok(open) }
}

struct Settings {
    enabled: bool,
    access: Access,
}

/// Since OBS 30.2 in a file of obs-websocket's own, which it makes from what stood in OBS's; before, in OBS's.
fn settings(folder: &Path) -> io::Result<Option<Settings>> {
    if let Some(text) = read(&folder.join("plugin_config/obs-websocket/config.json"))? {
        let json: Value = serde_json::from_str(&text)?;
        return Ok(Some(from_json(&json)));
    }
    Ok(read(&folder.join("global.ini"))?.map(|text| from_ini(&text)))
}

fn from_json(json: &Value) -> Settings {
    let password = json["server_password"].as_str().unwrap_or_default();
    Settings {
        enabled: json["server_enabled"].as_bool().unwrap_or(false),
        access: Access {
            port: json["server_port"].as_u64().and_then(|port| port.try_into().ok()).unwrap_or(DEFAULT_PORT),
            password: json["auth_required"].as_bool().unwrap_or(true).then(|| password.to_owned()),
        },
    }
}

/// What is not said there has obs-websocket's defaults: off, port 4455, with a password.
fn from_ini(text: &str) -> Settings {
    let (mut enabled, mut port, mut locked, mut password) = (false, DEFAULT_PORT, true, String::new());
    let mut ours = false;
    for line in text.trim_start_matches('\u{feff}').lines() {
        if line.starts_with('[') {
            ours = line.trim_end() == "[OBSWebSocket]";
        } else if let (true, Some((key, value))) = (ours, line.split_once('=')) {
            match key.trim() {
                "ServerEnabled" => enabled = value.trim() == "true",
                "ServerPort" => port = value.trim().parse().unwrap_or(DEFAULT_PORT),
                "AuthRequired" => locked = value.trim() != "false",
                "ServerPassword" => password = unescaped(value),
                _ => {}
            }
        }
    }
    Settings { enabled, access: Access { port, password: locked.then_some(password) } }
}

/// As libobs writes values (`util/config-file.c`): backslash, and the ends of lines.
fn unescaped(value: &str) -> String {
    let mut out = String::new();
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        let meant = if letter == '\\' { letters.next() } else { Some(letter) };
        out.extend(match (letter, meant) {
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            (_, meant) => meant,
        });
    }
    out
}

/// A small text file; `None`: there is none.
fn read(path: &Path) -> io::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.port)
    }
}

const DEFAULT_PORT: u16 = 4455;
const MAX_FILE: u64 = 1024 * 1024;
pub(super) const HOW_TO_ENABLE: &str =
    "In OBS, open Tools → WebSocket Server Settings, tick “Enable WebSocket server” and press OK.";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("greenroom-find-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for (path, text) in files {
            fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            fs::write(folder.join(path), text).unwrap();
        }
        folder
    }

    const JSON: &str = "plugin_config/obs-websocket/config.json";

    #[test]
    fn each_age_of_obs_is_understood() {
        let check = |name: &str, file: &str, text: &str, expected: Result<(u16, Option<&str>), Closed>| {
            let folder = folder(name, &[(file, text)]);
            let found = find(std::slice::from_ref(&folder));
            let expected =
                expected.map(|(port, password)| vec![Access { port, password: password.map(str::to_owned) }]);
            assert_eq!(found, expected, "{text}");
            fs::remove_dir_all(folder).unwrap();
        };
        let old = |keys: &str| {
            format!("[General]\nServerEnabled=false\n\n[OBSWebSocket]\n{keys}\n\n[Basic]\nServerPort=1\n")
        };
        let ini = |name, keys: &str, expected| check(name, "global.ini", &old(keys), expected);
        ini("a", "ServerEnabled=true\nServerPort=4477\nServerPassword=a\\\\b=c", Ok((4477, Some("a\\b=c"))));
        ini("b", "ServerEnabled=true\nAuthRequired=false\nServerPassword=x", Ok((4455, None)));
        ini("c", "ServerEnabled=true\nServerPort=99999", Ok((4455, Some(""))));
        ini("d", "ServerEnabled=false", Err(Closed::Disabled));
        ini("e", "FirstLoad=false", Err(Closed::Disabled));
        check(
            "f",
            JSON,
            r#"{"server_enabled":true,"server_port":4460,"auth_required":true,"server_password":"p"}"#,
            Ok((4460, Some("p"))),
        );
        check("g", JSON, r#"{"server_enabled":true,"auth_required":false}"#, Ok((4455, None)));
        check("h", JSON, r#"{"server_enabled":"yes"}"#, Err(Closed::Disabled));
        check("i", "other.ini", "", Err(Closed::Unknown));
    }

    #[test]
    fn a_file_of_its_own_goes_before_that_of_obs_and_the_flatpak_is_found_too() {
        let ini = "[OBSWebSocket]\nServerEnabled=true\nServerPort=1111\nAuthRequired=false\n";
        let new = folder("new", &[("global.ini", ini), (JSON, r#"{"server_enabled":false}"#)]);
        assert_eq!(find(std::slice::from_ref(&new)), Err(Closed::Disabled));
        let flatpak = folder("flatpak", &[("global.ini", ini)]);
        let open = Access { port: 1111, password: None };
        assert_eq!(find(&[new.clone(), flatpak.clone()]), Ok(vec![open]));
        fs::write(new.join(JSON), "{ nonsense").unwrap();
        assert!(matches!(find(std::slice::from_ref(&new)), Err(Closed::Unreadable(_))));
        assert_eq!(find(&[]), Err(Closed::Unknown));
        for folder in [new, flatpak] {
            fs::remove_dir_all(folder).unwrap();
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let access = Access { port: 4455, password: Some("hush".into()) };
        assert!(!format!("{access:?}").contains("hush"));
    }
}
