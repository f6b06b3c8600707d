//! What `get-stats`, `/rooms/:roomId` and the dashboard say of a connection.

use crate::ids::*;
use crate::ortc::MediaKind;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// One peer's connection in a few numbers. Bitrates in bit/s over the last second; "send" is from the
/// engine to the peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct Quality {
    /// 0 (unusable) to 10 (nothing to notice); the rule is in docs/signaling.md.
    pub score: u8,
    /// From RTCP sender and receiver reports (RFC 3550 §6.4.1), or STUN; absent until measured.
    pub rtt_ms: Option<f64>,
    pub packet_loss_pct: f64,
    pub jitter_ms: f64,
    #[ts(type = "number")]
    pub send_bitrate: u64,
    #[ts(type = "number")]
    pub recv_bitrate: u64,
    #[ts(type = "number | null")]
    pub available_bitrate: Option<u64>,
}

#[derive(Clone, Debug, Default, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct StatsReport {
    pub quality: Quality,
    pub transports: Vec<TransportStats>,
    pub producers: Vec<ProducerStats>,
    pub consumers: Vec<ConsumerStats>,
    pub data_producers: Vec<DataProducerStats>,
    pub data_consumers: Vec<DataConsumerStats>,
}

#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct TransportStats {
    pub transport_id: TransportId,
    /// `new`, `connected`, `disconnected`, `failed`, `closed`.
    pub ice_state: String,
    /// `new`, `connecting`, `connected`, `failed`, `closed`.
    pub dtls_state: String,
    pub remote_address: Option<String>,
    /// `udp` or `tcp`, of the path in use.
    pub protocol: Option<String>,
    pub srtp_profile: Option<String>,
    /// `new`, `connecting`, `connected`, `closed`; absent without data channels.
    pub sctp_state: Option<String>,
    #[ts(type = "number")]
    pub bytes_received: u64,
    #[ts(type = "number")]
    pub bytes_sent: u64,
    #[ts(type = "number")]
    pub recv_bitrate: u64,
    #[ts(type = "number")]
    pub send_bitrate: u64,
    pub rtt_ms: Option<f64>,
    /// What the path to the client carries, as estimated; absent while nothing speaks for any limit.
    #[ts(type = "number | null")]
    pub available_outgoing_bitrate: Option<u64>,
    /// What the client is told it may send; absent while it sends nothing.
    #[ts(type = "number | null")]
    pub available_incoming_bitrate: Option<u64>,
    #[ts(type = "number")]
    pub max_incoming_bitrate: u64,
    /// Datagrams counted and dropped: not ours, undecryptable, replayed, malformed, beyond what its client may send.
    #[ts(type = "number")]
    pub packets_discarded: u64,
}

/// One received stream (one encoding of a producer).
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ProducerStats {
    pub producer_id: ProducerId,
    pub kind: MediaKind,
    pub mime_type: String,
    pub rid: Option<String>,
    pub ssrc: u32,
    #[ts(type = "number")]
    pub packet_count: u64,
    #[ts(type = "number")]
    pub byte_count: u64,
    #[ts(type = "number")]
    pub packets_lost: i64,
    pub fraction_lost: u8,
    #[ts(type = "number")]
    pub packets_repaired: u64,
    #[ts(type = "number")]
    pub nack_count: u64,
    #[ts(type = "number")]
    pub pli_count: u64,
    pub jitter_ms: f64,
    #[ts(type = "number")]
    pub bitrate: u64,
    pub rtt_ms: Option<f64>,
}

/// One sent stream.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ConsumerStats {
    pub consumer_id: ConsumerId,
    pub producer_id: ProducerId,
    pub kind: MediaKind,
    pub mime_type: String,
    pub ssrc: u32,
    #[ts(type = "number")]
    pub packet_count: u64,
    #[ts(type = "number")]
    pub byte_count: u64,
    /// As the receiver reports it.
    #[ts(type = "number")]
    pub packets_lost: i64,
    pub fraction_lost: u8,
    #[ts(type = "number")]
    pub packets_retransmitted: u64,
    /// Waited for the path until they were too old.
    #[ts(type = "number")]
    pub packets_dropped: u64,
    #[ts(type = "number")]
    pub nack_count: u64,
    #[ts(type = "number")]
    pub pli_count: u64,
    pub jitter_ms: f64,
    #[ts(type = "number")]
    pub bitrate: u64,
    pub rtt_ms: Option<f64>,
}

/// One data channel the client sends on.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataProducerStats {
    pub data_producer_id: DataProducerId,
    pub label: String,
    pub protocol: String,
    #[ts(type = "number")]
    pub messages_received: u64,
    #[ts(type = "number")]
    pub bytes_received: u64,
}

/// One data channel the client receives on.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataConsumerStats {
    pub data_consumer_id: DataConsumerId,
    pub data_producer_id: DataProducerId,
    pub label: String,
    pub protocol: String,
    #[ts(type = "number")]
    pub messages_sent: u64,
    #[ts(type = "number")]
    pub bytes_sent: u64,
    /// Not sent: paused, not yet connected, or too much was waiting.
    #[ts(type = "number")]
    pub messages_dropped: u64,
    /// Octets not yet acknowledged, as of the last message.
    #[ts(type = "number")]
    pub buffered_amount: u64,
}
