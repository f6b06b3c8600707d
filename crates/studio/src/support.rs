//! The support bundle of this engine: what it is made of, and where it is put.

use crate::config::Config;
use operations::bundle::{Part, pack};
use operations::redact::{Known, Redactor};
use std::path::{Path, PathBuf};
use wire::dashboard::Snapshot;
use wire::{Code, Failure};

/// What of the settings goes in, and what must not.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    text: String,
    secrets: Vec<String>,
    data_dir: PathBuf,
}

impl Settings {
    pub fn of(config: &Config) -> Self {
        let servers = config.ice_servers.iter();
        let secrets =
            servers.flat_map(|server| [server.username.clone(), server.credential.clone()]).flatten();
        Self { text: format!("{config:#?}\n"), secrets: secrets.collect(), data_dir: config.data_dir.clone() }
    }
}

/// Everything, packed. `known`: what the stage knows to be secret, and everybody's names.
pub(crate) fn bundle(
    settings: &Settings,
    mut known: Known,
    snapshot: &Snapshot,
    metrics: String,
    log: String,
) -> Result<Vec<u8>, Failure> {
    known.secrets.extend(settings.secrets.iter().cloned());
    known.folders.push((settings.data_dir.display().to_string(), "[data]"));
    if let Some(home) = std::env::var_os("HOME") {
        known.folders.push((home.to_string_lossy().into_owned(), "[home]"));
    }
    let json = |value: serde_json::Result<String>| value.unwrap_or_else(|error| error.to_string());
    let parts = vec![
        Part { name: "README.txt", text: README.into() },
        Part { name: "about.txt", text: about(snapshot) },
        Part { name: "settings.txt", text: settings.text.clone() },
        Part { name: "alarms.json", text: json(serde_json::to_string_pretty(&snapshot.alarms)) },
        Part { name: "dashboard.json", text: json(serde_json::to_string_pretty(snapshot)) },
        Part { name: "metrics.txt", text: metrics },
        Part { name: "log.txt", text: log },
    ];
    pack(parts, &Redactor::new(&known)).map_err(|error| {
        tracing::error!(%error, "cannot write a support bundle");
        Failure::new(Code::Internal, "The support bundle could not be made: try again.")
    })
}

/// Versions of everything that takes part.
fn about(snapshot: &Snapshot) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let system = read("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("?");
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or("?");
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Greenroom {version}\nsystem: {system}\nkernel: {kernel}\nprocessors: {processors}\n{memory}\nOBS: {obs:?}\n",
        version = snapshot.version,
        kernel = read("/proc/version").trim(),
        obs = snapshot.obs,
    )
}

/// Puts a bundle where its owner finds it; answers where that is.
pub(crate) fn save(settings: &Settings, zip: &[u8], at: &str) -> std::io::Result<PathBuf> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let folder = downloads().unwrap_or_else(|| settings.data_dir.clone());
    let stamp: String = at.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let path = folder.join(format!("greenroom-support-{}.zip", stamp.trim_matches('-')));
    // Never over a file that is there, and for this user alone.
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(zip)?;
    Ok(path)
}

/// The user's folder for downloads (xdg-user-dirs), or the usual one, or home.
fn downloads() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("HOME")?);
    let config = std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
    let said = std::fs::read_to_string(config.join("user-dirs.dirs")).unwrap_or_default();
    let named = said.lines().find_map(|line| line.trim().strip_prefix("XDG_DOWNLOAD_DIR="));
    let named = named.map(|path| match path.trim_matches('"').strip_prefix("$HOME/") {
        Some(below) => home.join(below),
        None => PathBuf::from(path.trim_matches('"')),
    });
    named.into_iter().chain([home.join("Downloads"), home]).find(|folder: &PathBuf| Path::is_dir(folder))
}

const README: &str = "\
What somebody needs who is asked for help with Greenroom. Names, addresses, tokens, keys and passwords were taken out; look through it
before you give it away all the same. about.txt: versions. settings.txt: the settings in force. alarms.json, dashboard.json: what the
dashboard shows. metrics.txt: figures. log.txt: the last lines of the log.
";

#[cfg(test)]
mod tests {
    use super::*;
    use operations::{EventFilter, Secret, WebhookConfig, WebhookUrl};
    use std::io::{Cursor, Read};
    use wire::alarm::{AlarmKind, AlarmView};
    use wire::dashboard::{LanView, Note, Severity};

    /// What must be nowhere in a bundle, wherever it was before.
    const HIDDEN: [&str; 17] = [
        "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00",
        "turn-user",
        "turn-pass",
        "stream-key-1",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "hook-path",
        "Ada Lovelace",
        "Zoë",
        "203.0.113.7",
        "192.0.2.9",
        "2001:db8::7",
        "fe80::1",
        "00:1a:2b:3c:4d:5e",
        "eyJhbGciOiJIUzI1NiJ9.eyJyb29tIjoieCJ9.c2ln",
        "srs-user",
        "secretquery",
        "/somewhere/data",
    ];

    #[test]
    fn nothing_that_is_known_or_looks_like_a_secret_is_in_a_bundle() {
        let mut config = Config::defaults_in("/somewhere/data".into());
        config.announced = vec!["203.0.113.7".parse().unwrap()];
        config.ice_servers = vec![wire::ortc::IceServer {
            urls: vec!["turn:192.0.2.9:3478".into()],
            username: Some("turn-user".into()),
            credential: Some("turn-pass".into()),
        }];
        config.srs.rtmp = Some("rtmp://srs-user:x@srs.example/live?k=secretquery".into());
        config.webhooks = vec![WebhookConfig {
            url: WebhookUrl::parse("https://bot.example/hook-path?secretquery").unwrap(),
            secret: Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            events: EventFilter::default(),
        }];
        let known = Known {
            secrets: vec![HIDDEN[0].into(), "stream-key-1".into()],
            names: vec!["Ada Lovelace".into(), "Zoë".into()],
            folders: Vec::new(),
        };
        // What nobody can know goes where it stands as such.
        let knowable = ["hook-path", "srs-user", "secretquery", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
        let told: Vec<&str> = HIDDEN.into_iter().filter(|hidden| !knowable.contains(hidden)).collect();
        let everything = format!(
            "{} and whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw and http://srs-user:p@host.example/x?secretquery",
            told.join(" and ")
        );
        let snapshot = Snapshot {
            lan: LanView { on: true, addresses: vec!["https://192.0.2.9:3443".into()], ..LanView::default() },
            notes: vec![Note { at: "now".into(), text: everything.clone(), severity: Severity::Info }],
            alarms: vec![AlarmView {
                id: wire::AlarmId(uuid::Uuid::nil()),
                kind: AlarmKind::GuestQuality,
                severity: Severity::Warning,
                raised_at: "now".into(),
                what: "Ada Lovelace's connection has been bad.".into(),
                todo: everything.clone(),
                room_id: None,
                peer_id: None,
            }],
            ..Snapshot::default()
        };
        let log = format!(
            "INFO text=\"Zoë left\" addr=192.0.2.9:4000 {everything}\nINFO kept: worker 0 is ready\n"
        );
        let zip = bundle(&Settings::of(&config), known, &snapshot, everything, log).unwrap();
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).unwrap();
        let mut all = String::new();
        for at in 0..archive.len() {
            archive.by_index(at).unwrap().read_to_string(&mut all).unwrap();
        }
        for hidden in HIDDEN {
            assert!(
                !all.to_lowercase().contains(&hidden.to_lowercase()),
                "{hidden} is in the bundle:\n{all}"
            );
        }
        for kept in [
            "kept: worker 0 is ready",
            "max_rooms: 100",
            "Greenroom",
            "bot.example",
            "connection has been bad",
        ] {
            assert!(all.contains(kept), "{kept} is missing:\n{all}");
        }
    }
}
