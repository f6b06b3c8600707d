//! The bounds of signaling, and who is introduced to whom: what a file may say of them.

use super::{Config, ConfigError, value, within};
use serde::Deserialize;
use signaling::{Limits, SwarmAccess};
use std::time::Duration;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawSwarm {
    access: Option<String>,
    swarms: Option<usize>,
    peers: Option<usize>,
    per_peer: Option<usize>,
}

impl RawSwarm {
    pub(super) fn check_into(&self, limits: &mut Limits) -> Result<SwarmAccess, ConfigError> {
        set("swarm.swarms", &mut limits.swarm.swarms, self.swarms, 1_000_000)?;
        set("swarm.peers", &mut limits.swarm.peers_per_swarm, self.peers, 10_000)?;
        set("swarm.per_peer", &mut limits.swarm.swarms_per_peer, self.per_peer, 1_000)?;
        match self.access.as_deref() {
            None => Ok(SwarmAccess::default()),
            Some("off") => Ok(SwarmAccess::Off),
            Some("local") => Ok(SwarmAccess::Local),
            Some("open") => Ok(SwarmAccess::Open),
            Some(other) => Err(value("swarm.access", other, "\"off\", \"local\" or \"open\"")),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawLimits {
    events_per_second: Option<u32>,
    event_burst: Option<u32>,
    bytes_per_second: Option<u32>,
    byte_burst: Option<u32>,
    message_bytes: Option<usize>,
    refusals: Option<u32>,
    queued_requests: Option<usize>,
    connections: Option<usize>,
    connections_per_address: Option<usize>,
    joins_per_minute: Option<u32>,
    join_burst: Option<u32>,
    request_secs: Option<u32>,
    answer_secs: Option<u32>,
    hello_secs: Option<u32>,
    live_seats: Option<usize>,
    live_seats_per_room: Option<usize>,
    heartbeat_secs: Option<u32>,
    memory_percent: Option<u64>,
    transports_per_peer: Option<usize>,
    producers_per_peer: Option<usize>,
    consumers_per_peer: Option<usize>,
    data_producers_per_peer: Option<usize>,
    data_consumers_per_peer: Option<usize>,
}

/// What one peer of a room may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerPeer {
    pub transports: usize,
    pub producers: usize,
    pub consumers: usize,
    pub data_producers: usize,
    pub data_consumers: usize,
}

impl Default for PerPeer {
    fn default() -> Self {
        let limits = rooms::Limits::default();
        Self {
            transports: limits.transports_per_peer,
            producers: limits.producers_per_peer,
            consumers: limits.consumers_per_peer,
            data_producers: limits.data_producers_per_peer,
            data_consumers: limits.data_consumers_per_peer,
        }
    }
}

impl RawLimits {
    pub(super) fn check_into(&self, config: &mut Config) -> Result<(), ConfigError> {
        if let Some(percent) = self.memory_percent {
            config.memory_percent = within("limits.memory_percent", percent, 1..=95, "1 to 95 (percent)")?;
        }
        if let Some(transports) = self.transports_per_peer {
            let allowed = "2 to 64: one each way is the least";
            config.per_peer.transports = within("limits.transports_per_peer", transports, 2..=64, allowed)?;
        }
        let per_peer = &mut config.per_peer;
        set("limits.producers_per_peer", &mut per_peer.producers, self.producers_per_peer, 1_000)?;
        set("limits.consumers_per_peer", &mut per_peer.consumers, self.consumers_per_peer, 1_000)?;
        let data = (self.data_producers_per_peer, self.data_consumers_per_peer);
        set("limits.data_producers_per_peer", &mut per_peer.data_producers, data.0, 1_000)?;
        set("limits.data_consumers_per_peer", &mut per_peer.data_consumers, data.1, 1_000)?;
        let limits = &mut config.limits;
        seconds("limits.heartbeat_secs", &mut limits.heartbeat, self.heartbeat_secs)?;
        set("limits.events_per_second", &mut limits.events_per_second, self.events_per_second, 1_000_000)?;
        set("limits.event_burst", &mut limits.event_burst, self.event_burst, 1_000_000)?;
        set("limits.bytes_per_second", &mut limits.bytes_per_second, self.bytes_per_second, MOST)?;
        set("limits.byte_burst", &mut limits.byte_burst, self.byte_burst, MOST)?;
        set("limits.message_bytes", &mut limits.message_bytes, self.message_bytes, 1024 * 1024)?;
        set("limits.refusals", &mut limits.refusals, self.refusals, 1_000_000)?;
        set("limits.queued_requests", &mut limits.queued_requests, self.queued_requests, 10_000)?;
        set("limits.connections", &mut limits.connections, self.connections, 100_000)?;
        let per_address = &mut limits.connections_per_address;
        set("limits.connections_per_address", per_address, self.connections_per_address, 100_000)?;
        set("limits.joins_per_minute", &mut limits.joins_per_minute, self.joins_per_minute, 1_000_000)?;
        set("limits.join_burst", &mut limits.join_burst, self.join_burst, 1_000_000)?;
        seconds("limits.request_secs", &mut limits.request_time, self.request_secs)?;
        seconds("limits.answer_secs", &mut limits.answer_time, self.answer_secs)?;
        seconds("limits.hello_secs", &mut limits.hello_time, self.hello_secs)?;
        set("limits.live_seats", &mut limits.live.seats, self.live_seats, 100_000)?;
        set("limits.live_seats_per_room", &mut limits.live.seats_per_room, self.live_seats_per_room, 10_000)
    }
}

fn set<T: PartialOrd + ToString + From<u8> + Copy>(
    key: &'static str,
    to: &mut T,
    said: Option<T>,
    most: T,
) -> Result<(), ConfigError> {
    if let Some(number) = said {
        *to = within(key, number, T::from(1)..=most, "1 or more, and less than harms this computer")?;
    }
    Ok(())
}

fn seconds(key: &'static str, to: &mut Duration, said: Option<u32>) -> Result<(), ConfigError> {
    if let Some(seconds) = said {
        *to = Duration::from_secs(within(key, seconds, 1..=600, "1 to 600 (seconds)")?.into());
    }
    Ok(())
}

/// 1 GB.
const MOST: u32 = 1_000_000_000;
