//! One client's ICE + DTLS association and everything that goes over it.

use crate::bandwidth::{IncomingLimit, Micros, Outgoing};
use crate::clock::Millis;
use crate::data::DataPath;
use crate::dtls::{Dtls, Peer};
use crate::egress::Egress;
use crate::ice::Agent;
use crate::rate::{RateMeter, SampledRate};
use crate::srtp::{Keys, Profile};
use crate::transport_feedback::ArrivalLog;
use std::collections::HashMap;
use std::mem::offset_of;
use wire::ortc::Direction;
use wire::{RouterId, TransportId};

/// Where the secured part of a transport stands.
pub enum Security {
    /// `connect_transport` has not come. The client may be ahead of its signaling: a few datagrams wait.
    Waiting {
        early: Vec<Box<[u8]>>,
    },
    /// The client's side is known; its first check has not come, and we are to speak first.
    Ready(Peer),
    Handshaking(Box<Dtls>),
    Connected {
        dtls: Box<Dtls>,
        keys: Box<Keys>,
        profile: Profile,
    },
    Failed,
    /// The peer said goodbye.
    Closed,
}

impl Security {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "new",
            Self::Ready(_) | Self::Handshaking(_) => "connecting",
            Self::Connected { .. } => "connected",
            Self::Failed => "failed",
            Self::Closed => "closed",
        }
    }
}

/// Whose packets an SSRC carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    pub producer: usize,
    /// Index of the encoding.
    pub layer: u8,
    pub is_rtx: bool,
}

/// Octets of one kind.
#[derive(Default)]
pub struct Flow {
    pub octets: u64,
    pub rate: RateMeter,
}

impl Flow {
    pub fn record(&mut self, ms: Millis, octets: usize) {
        self.octets += octets as u64;
        self.rate.record(ms, octets);
    }
}

/// Counters a client's quality is judged by. Media is what is left of everything without the rest: so that nothing more
/// is counted for each forwarded packet.
#[derive(Default)]
#[repr(C)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
    pub receive_rate: RateMeter,
    pub send_rate: SampledRate,
    pub rtx_received: Flow,
    pub rtx_sent: Flow,
    /// What only probes the path.
    pub padding_sent: Flow,
    /// RTCP, DTLS and what is in it.
    pub control_received: Flow,
    pub control_sent: Flow,
    /// Unknown, undecryptable, replayed, malformed.
    pub discarded: u64,
    pub unknown_ssrc: u64,
}

impl Traffic {
    /// RTCP or DTLS was queued.
    pub fn note_control_sent(&mut self, ms: Millis, len: usize) {
        self.sent += len as u64;
        self.control_sent.record(ms, len);
    }
}

/// What every round touches stands first, in few cache lines; see [`crate::consumer::Consumer`].
#[repr(C, align(64))]
pub struct Transport {
    pub presence: Presence,
    pub security: Security,
    /// A receive transport's path; made with its first consumer.
    pub outgoing: Option<Box<Outgoing>>,
    pub transport_sequence: u64,
    /// Already on the worker's list of transports to flush.
    pub is_dirty: bool,
    /// NACK or PLI wait to be written.
    pub urgent: bool,
    pub egress: Egress,
    /// By SSRC; at most [`MAX_SOURCES`].
    pub sources: HashMap<u32, Source>,
    /// Some codec of this transport negotiated transport-wide feedback.
    pub arrivals: Option<Box<ArrivalLog>>,
    /// What its client may send.
    pub incoming: IncomingLimit,
    pub ice: Agent,
    pub traffic: Traffic,
    pub id: TransportId,
    pub router: RouterId,
    pub direction: Direction,
    /// Octets of authentic checks so far.
    pub checked: usize,
    pub producers: Vec<usize>,
    pub consumers: Vec<usize>,
    /// Consumers by the SSRCs they send with, media and RTX.
    pub sinks: HashMap<u32, usize>,
    pub next_mid: u32,
    /// One for all producers of this transport.
    pub cname: String,
    pub rtcp_ssrc: u32,
    /// Data channels, where the client was offered any.
    pub data: Option<Box<DataPath>>,
    /// Smoothed, from reports of either direction.
    pub round_trip: Option<Millis>,
    /// The estimate at which all its consumers would get what they ask for, bit/s.
    pub wanted: u64,
    pub next_sharing: Millis,
    pub next_report: Millis,
    pub next_feedback: Millis,
}

/// What a slab looks at to see that a place is taken. In 64 bits that have no other use, it is the field the compiler chooses for
/// that: one that is nowhere near the others would have to be fetched from memory for each packet.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Presence {
    Here,
}

impl Transport {
    /// Fetches what a packet touches, in either direction.
    pub fn prefetch(&self) {
        prefetch::start(self, offset_of!(Self, ice) + Agent::TOUCHED);
        prefetch::start(&self.traffic, offset_of!(Traffic, send_rate));
    }

    /// Fetches what a received packet touches behind this transport's pointers.
    pub fn prefetch_receiving(&self) {
        if let Security::Connected { keys, .. } = &self.security {
            keys.prefetch_inbound();
        }
        if let Some(arrivals) = &self.arrivals {
            arrivals.prefetch();
        }
    }

    /// The same for a packet to be sent.
    pub fn prefetch_sending(&self) {
        if let Security::Connected { keys, .. } = &self.security {
            keys.prefetch_outbound();
        }
        if let Some(outgoing) = &self.outgoing {
            outgoing.prefetch();
        }
    }

    pub fn is_connected(&self) -> bool {
        matches!(self.security, Security::Connected { .. })
    }

    /// Connected, and the peer still wants to hear from us.
    pub fn may_send(&self) -> bool {
        self.is_connected() && self.ice.has_consent()
    }

    /// An authentic check of `len` octets has come.
    pub fn note_check(&mut self, len: usize) {
        self.checked = self.checked.saturating_add(len);
        if let Security::Handshaking(dtls) = &mut self.security {
            dtls.note_check(len);
        }
    }

    /// A packet of `len` octets was queued; `is_numbered`: with this transport's next sequence number.
    pub fn note_sent(&mut self, len: usize, is_numbered: bool) {
        self.traffic.sent += len as u64;
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.pacer.charge(len);
            if is_numbered {
                outgoing.controller.note_sent(self.transport_sequence, len);
            }
        }
        self.transport_sequence += u64::from(is_numbered);
    }

    /// What the path to the client carries, bit/s.
    pub fn available_bitrate(&self, us: Micros) -> Option<u64> {
        self.outgoing.as_ref()?.controller.estimate(us)
    }

    pub fn note_round_trip(&mut self, sample: Millis) {
        self.round_trip = Some(self.round_trip.map_or(sample, |old| (old * 7 + sample) / 8));
    }
}

/// Encodings and their RTX streams of every producer; SSRCs learned from extensions are bounded by them.
pub const MAX_SOURCES: usize = 512;
