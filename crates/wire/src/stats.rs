//! What `get-stats`, `/rooms/:roomId` and the dashboard say of a connection.

use crate::ids::*;
use crate::ortc::MediaKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use ts_rs::TS;

/// One peer's connection in a few numbers. Bitrates in bit/s over the last second; "send" is from the
/// engine to the peer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, TS, JsonSchema)]
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

/// Which of mediasoup's statistics it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, TS, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[ts(export)]
pub enum StatsType {
    WebrtcTransport,
    InboundRtp,
    OutboundRtp,
    DataProducer,
    DataConsumer,
}

/// Names and units are those of mediasoup's `WebRtcTransport.getStats()`, with a few more: octets, bit/s over the last
/// second, milliseconds.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct TransportStats {
    #[serde(rename = "type")]
    pub stats_type: StatsType,
    pub transport_id: TransportId,
    /// On a clock that only goes forward.
    #[ts(type = "number")]
    pub timestamp: u64,
    /// `new`, `connected`, `disconnected`, `failed`, `closed`.
    pub ice_state: String,
    /// Always `controlled`: a lite agent (RFC 8445 §6.1.1).
    pub ice_role: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ice_selected_tuple: Option<IceTuple>,
    /// `new`, `connecting`, `connected`, `failed`, `closed`.
    pub dtls_state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_address: Option<String>,
    /// `udp` or `tcp`, of the path in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub srtp_profile: Option<String>,
    /// `new`, `connecting`, `connected`, `closed`; absent without data channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sctp_state: Option<String>,
    #[ts(type = "number")]
    pub bytes_received: u64,
    #[ts(type = "number")]
    pub bytes_sent: u64,
    #[ts(type = "number")]
    pub recv_bitrate: u64,
    #[ts(type = "number")]
    pub send_bitrate: u64,
    /// Media without retransmissions, as datagrams.
    #[ts(type = "number")]
    pub rtp_bytes_received: u64,
    #[ts(type = "number")]
    pub rtp_recv_bitrate: u64,
    #[ts(type = "number")]
    pub rtp_bytes_sent: u64,
    #[ts(type = "number")]
    pub rtp_send_bitrate: u64,
    #[ts(type = "number")]
    pub rtx_bytes_received: u64,
    #[ts(type = "number")]
    pub rtx_recv_bitrate: u64,
    #[ts(type = "number")]
    pub rtx_bytes_sent: u64,
    #[ts(type = "number")]
    pub rtx_send_bitrate: u64,
    /// What was sent only to see how much the path carries.
    #[ts(type = "number")]
    pub probation_bytes_sent: u64,
    #[ts(type = "number")]
    pub probation_send_bitrate: u64,
    /// What the path to the client carries, as estimated; absent while nothing speaks for any limit.
    #[ts(type = "number | null")]
    pub available_outgoing_bitrate: Option<u64>,
    /// What the client is told it may send; absent while it sends nothing.
    #[ts(type = "number | null")]
    pub available_incoming_bitrate: Option<u64>,
    #[ts(type = "number")]
    pub max_incoming_bitrate: u64,
    /// From 0 to 1, over the last report interval; absent while nothing is received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtp_packet_loss_received: Option<f64>,
    /// From 0 to 1, as the receiver reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtp_packet_loss_sent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Datagrams counted and dropped: not ours, undecryptable, replayed, malformed, beyond what its client may send.
    #[ts(type = "number")]
    pub packets_discarded: u64,
}

/// The path in use. `local_address` is the first address of its family that we offer: which of them the client took is
/// not seen from inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct IceTuple {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_port: Option<u16>,
    pub remote_ip: String,
    pub remote_port: u16,
    /// `udp` or `tcp`.
    pub protocol: String,
}

/// One received stream (one encoding of a producer). Names and units are those of mediasoup's `Producer.getStats()`:
/// `fractionLost` in 256ths, `jitter` in timestamp units, `roundTripTime` in milliseconds.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ProducerStats {
    #[serde(rename = "type")]
    pub stats_type: StatsType,
    pub producer_id: ProducerId,
    #[ts(type = "number")]
    pub timestamp: u64,
    pub kind: MediaKind,
    pub mime_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    pub ssrc: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtx_ssrc: Option<u32>,
    #[ts(type = "number")]
    pub packet_count: u64,
    #[ts(type = "number")]
    pub byte_count: u64,
    #[ts(type = "number")]
    pub packets_lost: i64,
    pub fraction_lost: u8,
    /// Came twice, could not be decrypted, or beyond what its client may send.
    #[ts(type = "number")]
    pub packets_discarded: u64,
    /// Retransmissions that came.
    #[ts(type = "number")]
    pub packets_retransmitted: u64,
    /// Lost packets that they brought back.
    #[ts(type = "number")]
    pub packets_repaired: u64,
    /// Retransmissions that brought back nothing that was missing.
    #[ts(type = "number")]
    pub rtx_packets_discarded: u64,
    #[ts(type = "number")]
    pub nack_count: u64,
    /// Packets that NACKs asked for.
    #[ts(type = "number")]
    pub nack_packet_count: u64,
    #[ts(type = "number")]
    pub pli_count: u64,
    #[ts(type = "number")]
    pub fir_count: u64,
    /// 0 to 10; the rule is in docs/signaling.md.
    pub score: u8,
    pub jitter: u32,
    pub jitter_ms: f64,
    #[ts(type = "number")]
    pub bitrate: u64,
    /// What each layer takes with everything it needs, by "spatial.temporal"; empty for a stream without layers.
    #[ts(type = "Record<string, number>")]
    pub bitrate_by_layer: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
}

/// One sent stream, as mediasoup's `Consumer.getStats()` has it. Losses and jitter are the receiver's words.
#[derive(Clone, Debug, Serialize, TS, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct ConsumerStats {
    #[serde(rename = "type")]
    pub stats_type: StatsType,
    pub consumer_id: ConsumerId,
    pub producer_id: ProducerId,
    #[ts(type = "number")]
    pub timestamp: u64,
    pub kind: MediaKind,
    pub mime_type: String,
    pub ssrc: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtx_ssrc: Option<u32>,
    #[ts(type = "number")]
    pub packet_count: u64,
    #[ts(type = "number")]
    pub byte_count: u64,
    #[ts(type = "number")]
    pub packets_lost: i64,
    pub fraction_lost: u8,
    /// Waited for the path until they were too old.
    #[ts(type = "number")]
    pub packets_discarded: u64,
    #[ts(type = "number")]
    pub packets_dropped: u64,
    #[ts(type = "number")]
    pub packets_retransmitted: u64,
    /// The same, each packet counted once.
    #[ts(type = "number")]
    pub packets_repaired: u64,
    #[ts(type = "number")]
    pub nack_count: u64,
    #[ts(type = "number")]
    pub nack_packet_count: u64,
    #[ts(type = "number")]
    pub pli_count: u64,
    #[ts(type = "number")]
    pub fir_count: u64,
    /// 0 to 10; the rule is in docs/signaling.md.
    pub score: u8,
    pub jitter_ms: f64,
    #[ts(type = "number")]
    pub bitrate: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round_trip_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
}

/// The quality of one encoding of a producer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export, optional_fields)]
pub struct StreamScore {
    pub encoding_idx: u32,
    pub ssrc: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// 0 to 10.
    pub score: u8,
}

/// The quality of what a consumer gets, and of what its producer sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct ConsumerScore {
    pub score: u8,
    /// Of the encoding it gets.
    pub producer_score: u8,
    /// Of each encoding.
    pub producer_scores: Vec<u8>,
}

/// One data channel the client sends on.
#[derive(Clone, Debug, Serialize, TS)]
#[serde(rename_all = "camelCase")]
#[ts(export)]
pub struct DataProducerStats {
    #[serde(rename = "type")]
    pub stats_type: StatsType,
    #[ts(type = "number")]
    pub timestamp: u64,
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
    #[serde(rename = "type")]
    pub stats_type: StatsType,
    #[ts(type = "number")]
    pub timestamp: u64,
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
