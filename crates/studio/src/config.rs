//! Settings in two stages: [`RawConfig`] (what file, environment and flags said) becomes [`Config`] (validated, typed, complete).
//!
//! `config.example.toml` at the top of the repository documents every key; a test holds it equal to [`Config::default`].

mod alarms;
mod auth;
mod limits;
mod listen;
mod srs;
mod webhooks;

pub use auth::{AuthConfig, RawAuth};
pub use listen::RawListen;
pub use srs::{RawSrs, SrsConfig};

pub(crate) use self::listen::control_address;

use self::alarms::RawAlarms;
use self::limits::{PerPeer, RawLimits, RawSwarm};
use self::webhooks::RawWebhook;
use crate::certificate::CertificateFiles;
use crate::logging;
use crate::worker::MAX_WORKERS;
use operations::{AlarmRules, WebhookConfig};
use serde::Deserialize;
use signaling::{Limits, SwarmAccess};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use wire::SlotId;
use wire::ortc::IceServer;

/// Everything the engine was told, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the dashboard, the REST API and guests on this machine connect. Loopback only.
    pub control_listen: SocketAddr,
    /// Where guests on the local network connect, over HTTPS, once LAN access is on.
    pub lan_listen: SocketAddr,
    /// What guests' browsers are shown there; `None`: one made on this computer.
    pub certificate: Option<CertificateFiles>,
    /// Forwarding threads, each with a port of its own.
    pub workers: usize,
    /// Whether packets of a busy room may gather for up to two milliseconds before they are sent.
    pub gather: bool,
    /// Ports to try for media (UDP, and TCP on the same number), in order; each forwarding thread takes the first that is free.
    pub media_ports: Vec<u16>,
    /// Addresses offered to clients; empty means all of this machine's.
    pub announced: Vec<IpAddr>,
    pub ice_servers: Vec<IceServer>,
    /// Origins of other dashboards that may connect, e.g. `https://dashboard.example.com`.
    pub allowed_origins: Vec<String>,
    pub max_incoming_bitrate: u64,
    /// Of a guest in a slot.
    pub max_incoming_bitrate_on_air: u64,
    /// Whose tokens open rooms besides this install's own.
    pub auth: Option<AuthConfig>,
    pub max_rooms: usize,
    pub max_peers_per_room: usize,
    pub max_streams_per_room: usize,
    /// `None`: rooms are kept for ever.
    pub idle_rooms: Option<Duration>,
    pub srs: SrsConfig,
    pub grace: Duration,
    pub slot_count: u8,
    pub hardware_decoding: bool,
    pub data_dir: PathBuf,
    pub obs: ObsConfig,
    /// Who is introduced to others that want the same file.
    pub swarm: SwarmAccess,
    /// What one caller may cost in signaling.
    pub limits: Limits,
    /// What one peer of a room may have.
    pub per_peer: PerPeer,
    /// The share of this computer's memory above which nobody new is let in.
    pub memory_percent: u64,
    pub alarms: AlarmRules,
    pub webhooks: Vec<WebhookConfig>,
    /// What is logged, as `RUST_LOG` would say it.
    pub log_filter: String,
}

/// Where the parts around OBS are found; `None` means the usual place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObsConfig {
    pub media_worker: Option<PathBuf>,
    pub plugin: Option<PathBuf>,
    pub socket: Option<PathBuf>,
}

/// What a file may say. Unknown keys are errors: a misspelt setting must not be silently without effect.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    pub listen: RawListen,
    pub media: RawMedia,
    pub auth: RawAuth,
    pub srs: RawSrs,
    pub rooms: RawRooms,
    pub storage: RawStorage,
    pub obs: RawObs,
    pub swarm: RawSwarm,
    pub limits: RawLimits,
    pub alarms: RawAlarms,
    pub webhooks: Vec<RawWebhook>,
    pub logging: RawLogging,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLogging {
    pub filter: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawMedia {
    pub port: Option<u16>,
    pub fallback_ports: Option<u16>,
    pub workers: Option<usize>,
    pub gather: Option<bool>,
    pub announced: Option<Vec<String>>,
    pub max_incoming_bitrate: Option<u64>,
    pub max_incoming_bitrate_on_air: Option<u64>,
    pub ice_servers: Option<Vec<RawIceServer>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawIceServer {
    pub urls: Vec<String>,
    pub username: Option<String>,
    pub credential: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawRooms {
    pub max_rooms: Option<usize>,
    pub max_peers: Option<usize>,
    pub max_streams: Option<usize>,
    pub idle_days: Option<u64>,
    pub grace_secs: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawStorage {
    pub data_dir: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawObs {
    pub slots: Option<u8>,
    pub hardware_decoding: Option<bool>,
    pub media_worker: Option<PathBuf>,
    pub plugin: Option<PathBuf>,
    pub socket: Option<PathBuf>,
}

/// Why a configuration was refused: which key, and what it may be.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Syntax { path: PathBuf, source: toml::de::Error },
    #[error("`{key}` is `{value}`, but must be {allowed}")]
    Value { key: &'static str, value: String, allowed: &'static str },
    #[error("cannot tell where to keep data: set `storage.data_dir`, or the environment's HOME")]
    NoHome,
}

impl RawConfig {
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.into(), source })?;
        toml::from_str(&text).map_err(|source| ConfigError::Syntax { path: path.into(), source })
    }
}

impl Config {
    /// The defaults, for a data folder.
    pub fn defaults_in(data_dir: PathBuf) -> Self {
        Self {
            control_listen: SocketAddr::from(([127, 0, 0, 1], 3002)),
            lan_listen: SocketAddr::from(([0, 0, 0, 0], 3443)),
            certificate: None,
            workers: 1,
            gather: true,
            media_ports: ports(MEDIA_PORT, FALLBACK_PORTS),
            announced: Vec::new(),
            ice_servers: Vec::new(),
            allowed_origins: Vec::new(),
            max_incoming_bitrate: 2_000_000,
            max_incoming_bitrate_on_air: 6_000_000,
            auth: None,
            max_rooms: 100,
            max_peers_per_room: 15,
            max_streams_per_room: 50,
            idle_rooms: Some(Duration::from_secs(30 * DAY_SECS)),
            srs: SrsConfig::default(),
            grace: Duration::from_secs(30),
            slot_count: 6,
            hardware_decoding: true,
            data_dir,
            obs: ObsConfig::default(),
            swarm: SwarmAccess::default(),
            limits: Limits::default(),
            per_peer: PerPeer::default(),
            memory_percent: 50,
            alarms: AlarmRules::default(),
            webhooks: Vec::new(),
            log_filter: logging::DEFAULT_FILTER.to_owned(),
        }
    }

    /// Checks what was said and fills in the rest.
    pub fn from_raw(raw: RawConfig) -> Result<Self, ConfigError> {
        let data_dir = raw.storage.data_dir.or_else(default_data_dir).ok_or(ConfigError::NoHome)?;
        let mut config = Self::defaults_in(data_dir);
        raw.listen.check_into(&mut config)?;
        config.media_ports =
            ports(raw.media.port.unwrap_or(MEDIA_PORT), raw.media.fallback_ports.unwrap_or(FALLBACK_PORTS));
        if let Some(workers) = raw.media.workers {
            config.workers = within("media.workers", workers, 1..=MAX_WORKERS, "1 to 64")?;
        }
        config.gather = raw.media.gather.unwrap_or(config.gather);
        for text in raw.media.announced.unwrap_or_default() {
            let ip = text.parse().map_err(|_| value("media.announced", &text, "a list of IP addresses"))?;
            config.announced.push(ip);
        }
        for server in raw.media.ice_servers.unwrap_or_default() {
            config.ice_servers.push(ice_server(server)?);
        }
        if let Some(bitrate) = raw.media.max_incoming_bitrate {
            config.max_incoming_bitrate = send_limit("media.max_incoming_bitrate", bitrate)?;
        }
        if let Some(bitrate) = raw.media.max_incoming_bitrate_on_air {
            config.max_incoming_bitrate_on_air = send_limit("media.max_incoming_bitrate_on_air", bitrate)?;
        }
        config.auth = AuthConfig::from_raw(raw.auth)?;
        if let Some(peers) = raw.rooms.max_peers {
            config.max_peers_per_room = within("rooms.max_peers", peers, 1..=500, "1 to 500")?;
        }
        if let Some(rooms) = raw.rooms.max_rooms {
            config.max_rooms = within("rooms.max_rooms", rooms, 1..=10_000, "1 to 10000")?;
        }
        if let Some(streams) = raw.rooms.max_streams {
            config.max_streams_per_room = within("rooms.max_streams", streams, 1..=1000, "1 to 1000")?;
        }
        if let Some(days) = raw.rooms.idle_days {
            let days = within("rooms.idle_days", days, 0..=3650, "0 to 3650 (days; 0: never)")?;
            config.idle_rooms = (days > 0).then(|| Duration::from_secs(days * DAY_SECS));
        }
        config.srs = SrsConfig::from_raw(raw.srs)?;
        if let Some(secs) = raw.rooms.grace_secs {
            config.grace =
                Duration::from_secs(within("rooms.grace_secs", secs, 0..=600, "0 to 600 (seconds)")?);
        }
        if let Some(slots) = raw.obs.slots {
            config.slot_count = within("obs.slots", slots, 1..=SlotId::MAX, "1 to 16")?;
        }
        if let Some(wanted) = raw.obs.hardware_decoding {
            config.hardware_decoding = wanted;
        }
        config.obs =
            ObsConfig { media_worker: raw.obs.media_worker, plugin: raw.obs.plugin, socket: raw.obs.socket };
        config.swarm = raw.swarm.check_into(&mut config.limits)?;
        raw.limits.check_into(&mut config)?;
        config.alarms = raw.alarms.check()?;
        config.webhooks = webhooks::check(raw.webhooks)?;
        if let Some(filter) = raw.logging.filter {
            let allowed = "directives like \"info,greenroom_studio=debug\"";
            logging::check(&filter).map_err(|_| value("logging.filter", &filter, allowed))?;
            config.log_filter = filter;
        }
        config.limits.live.grace = config.grace;
        Ok(config)
    }
}

fn ice_server(raw: RawIceServer) -> Result<IceServer, ConfigError> {
    for url in &raw.urls {
        if !["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(value("media.ice_servers.urls", url, "stun:, stuns:, turn: or turns: addresses"));
        }
    }
    Ok(IceServer { urls: raw.urls, username: raw.username, credential: raw.credential })
}

/// The first port and those tried when it is taken. Port 0 lets the system choose.
fn ports(first: u16, fallback: u16) -> Vec<u16> {
    if first == 0 { vec![0] } else { (first..=first.saturating_add(fallback)).collect() }
}

fn send_limit(key: &'static str, bitrate: u64) -> Result<u64, ConfigError> {
    within(key, bitrate, 100_000..=100_000_000, "100000 to 100000000 (bit/s)")
}

fn within<T: PartialOrd + ToString>(
    key: &'static str,
    number: T,
    range: std::ops::RangeInclusive<T>,
    allowed: &'static str,
) -> Result<T, ConfigError> {
    if range.contains(&number) { Ok(number) } else { Err(value(key, &number.to_string(), allowed)) }
}

fn value(key: &'static str, value: &str, allowed: &'static str) -> ConfigError {
    ConfigError::Value { key, value: value.to_owned(), allowed }
}

/// `$XDG_DATA_HOME/greenroom`, else `~/.local/share/greenroom` (XDG Base Directory Specification).
fn default_data_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_DATA_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".local/share")))
        .map(|dir| dir.join("greenroom"))
}

const DAY_SECS: u64 = 24 * 3600;
/// The first of the ports that WebRTC servers commonly ask to have opened.
const MEDIA_PORT: u16 = 10_000;
/// Tried after it when another program has it: up to 10100.
const FALLBACK_PORTS: u16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let mut raw: RawConfig = toml::from_str(text).map_err(|e| e.to_string())?;
        raw.storage.data_dir.get_or_insert_with(|| PathBuf::from("/data"));
        Config::from_raw(raw).map_err(|e| e.to_string())
    }

    #[test]
    fn the_documented_example_is_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config.example.toml");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(parse(&text).unwrap(), Config::defaults_in("/data".into()));
        // Every key is there, also those whose default is "not set": uncommented, the file must parse too.
        let all: String =
            text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
        let config = parse(&all).unwrap();
        assert!(
            config.obs.plugin.is_some() && config.obs.media_worker.is_some() && config.obs.socket.is_some()
        );
        assert!(config.certificate.is_some_and(|files| files.name.is_some()));
        assert!(!config.ice_servers.is_empty() && !config.announced.is_empty() && config.auth.is_some());
        assert!(!config.webhooks.is_empty());
        assert!(config.srs.rtmp.is_some() && config.srs.http.is_some() && config.srs.api.is_some());
    }

    #[test]
    fn errors_name_the_key_and_what_it_may_be() {
        for (text, expected) in [
            ("[listen]\ncontrol = 'x'", "`listen.control` is `x`"),
            ("[listen]\ncontrol = '0.0.0.0:3002'", "a loopback address"),
            ("[listen]\nallowed_origins = ['dashboard']", "`listen.allowed_origins` is `dashboard`"),
            ("[listen]\ncertificate = 'chain.pem'", "`listen.key`"),
            ("[listen]\nname = 'studio.example.com'", "`listen.certificate`"),
            ("[listen]\ncertificate = 'c'\nkey = 'k'\nname = 'https://a/'", "`listen.name` is `https://a/`"),
            ("[media]\nannounced = ['here']", "`media.announced` is `here`"),
            ("[media]\nworkers = 0", "1 to 64"),
            ("[media]\nmax_incoming_bitrate = 5", "100000 to 100000000"),
            ("[media]\nmax_incoming_bitrate_on_air = 5", "100000 to 100000000"),
            ("[[media.ice_servers]]\nurls = ['http://x']", "stun:"),
            ("[auth]\nissuer = 'x'", "`auth.jwks`"),
            ("[srs]\nrtmp = 'http://x/live'", "`srs.rtmp` is `http://x/live`"),
            ("[srs]\napi = 'http://a b'", "`srs.api`"),
            ("[rooms]\nmax_streams = 0", "1 to 1000"),
            ("[obs]\nslots = 0", "1 to 16"),
            ("[rooms]\nmax_peer = 3", "unknown field `max_peer`"),
            ("[swarm]\naccess = 'all'", "`swarm.access` is `all`"),
            ("[limits]\nmemory_percent = 0", "`limits.memory_percent` is `0`, but must be 1 to 95"),
            ("[limits]\ntransports_per_peer = 1", "`limits.transports_per_peer`"),
            ("[alarms]\ncpu_percent = 5", "20 to 100"),
            ("[[webhooks]]\nurl = 'ftp://x'\nsecret = 'y'", "`webhooks.url` is `…`"),
            ("[[webhooks]]\nurl = 'http://x'\nsecret = 'geheim'", "`webhooks.secret` is `…`"),
            ("[logging]\nfilter = 'a=loud'", "`logging.filter` is `a=loud`"),
            ("[limits]\nrefusals = 0", "`limits.refusals` is `0`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
