//! The worker: all transports, producers, consumers and taps of one thread, and the commands upon them.
//!
//! This file holds the state. Commands of signaling are in [`transports`], [`tracks`] and [`channels`], what arrives in
//! [`datagrams`], [`media`] and [`messages`] ([`backpressure`] keeps those back), RTCP in [`reports`], time in [`timers`]; [`pacing`] lets packets out,
//! [`sharing`] says how much of what, [`audio`] who speaks.

mod ahead;
mod arriving;
mod audio;
mod backpressure;
mod channels;
mod datagrams;
mod fan_out;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod media;
mod messages;
mod pacing;
mod reports;
mod scores;
mod sharing;
mod timers;
mod tracks;
mod transports;

use crate::bandwidth::Claim;
use crate::clock::{Clock, Millis};
use crate::consumer::Consumer;
use crate::data::{DataConsumer, DataProducer};
use crate::dtls::Certificate;
use crate::egress::Transmit;
use crate::error::Error;
use crate::forward::Forwarder;
use crate::ice::Reflexive;
use crate::layers::Layers;
use crate::path::{Path, Protocol};
use crate::producer::Producer;
use crate::totals::{Census, Drops, Totals};
use crate::transport::Transport;
use fan_out::FanOut;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;
use uuid::Uuid;
use wire::ortc::{MediaKind, RtpCodecParameters};
use wire::stats::{ConsumerScore, StreamScore};
use wire::{ConsumerId, DataConsumerId, DataProducerId, ProducerId, RouterId, TapId, TransportId};

pub use datagrams::Datagram;

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP candidates to offer, best first.
    pub announced: Vec<SocketAddr>,
    /// TCP candidates to offer, all passive (RFC 6544 §4.1).
    pub announced_tcp: Vec<SocketAddr>,
    /// What one transport's client may send, bit/s; told by REMB.
    pub max_incoming_bitrate: u64,
    /// Ids, credentials and first numbers come from here. Keys do not: they are the operating system's.
    pub seed: [u8; 32],
}

/// What happened that signaling should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are up, for the first time or again.
    TransportConnected { transport: TransportId },
    /// Silence for [`crate::ice::DISCONNECTED_AFTER`]; may come back.
    TransportDisconnected { transport: TransportId },
    /// Silence for [`crate::ice::FAILED_AFTER`], or the handshake failed.
    TransportFailed { transport: TransportId, reason: String },
    /// The peer ended DTLS in order.
    TransportClosed { transport: TransportId },
    /// Its transport or router was closed.
    ProducerClosed { producer: ProducerId },
    /// Its producer went.
    ConsumerClosed { consumer: ConsumerId, producer: ProducerId },
    /// Its transport or router was closed, or its transport's association was lost.
    DataProducerClosed { data_producer: DataProducerId, reason: String },
    /// Its producer went, its association was lost, or its client does not keep up.
    DataConsumerClosed { data_consumer: DataConsumerId, data_producer: DataProducerId, reason: String },
    /// What a consumer is sent changed; `None`: nothing, for want of bandwidth.
    ConsumerLayersChanged { consumer: ConsumerId, layers: Option<Layers> },
    /// Another has the floor among the router's observed producers, or nobody has. `volume`: dBov, −127 to 0.
    ActiveSpeaker { router: RouterId, producer: Option<ProducerId>, volume: i8 },
    /// The quality of what a client sends changed, encoding by encoding.
    ProducerScore { producer: ProducerId, score: Vec<StreamScore> },
    /// The quality of what a client receives changed, or of what its producer sends.
    ConsumerScore { consumer: ConsumerId, score: ConsumerScore },
    /// Who was heard in the last half second and how loud on average, dBov; the loudest first, at most eight. Empty once
    /// when silence falls.
    Volumes { router: RouterId, volumes: Vec<(ProducerId, i8)> },
}

/// Takes what taps hear, on the worker's thread: it must not block.
pub trait TapSink {
    /// A packet in the clear, in order of arrival, in the producer's numbers.
    fn rtp(&mut self, tag: u32, arrival: Instant, packet: &[u8]);
    /// The sender's clocks: NTP time (32.32 fixed point) and RTP timestamp of one moment.
    fn sender_report(&mut self, tag: u32, arrival: Instant, ntp: u64, rtp_timestamp: u32);
    /// How long it takes to the sender and back; told with each report.
    fn round_trip(&mut self, tag: u32, now: Instant, ms: u32);
}

/// What somebody who decodes a producer in this process must know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TapFormat {
    pub kind: MediaKind,
    pub codec: RtpCodecParameters,
    /// Packets may come as redundant audio (RFC 2198), blocks of which are of `codec`.
    pub red_payload_type: Option<u8>,
    /// Header extension ids in the packets a tap gets.
    pub orientation_id: Option<u8>,
    pub audio_level_id: Option<u8>,
    /// abs-capture-time: when what a packet carries was captured, where the sender tells.
    pub capture_time_id: Option<u8>,
    pub color_space_id: Option<u8>,
}

struct Tap {
    id: TapId,
    producer: usize,
    tag: u32,
    /// See [`Worker::set_tap_layers`].
    wish: Layers,
    forwarder: Forwarder,
}

/// Datagrams that are no media: STUN answers and DTLS, each to its own address (bounded; when full they are dropped,
/// as the network might).
#[derive(Default)]
struct ControlQueue {
    bytes: Vec<u8>,
    entries: Vec<(Path, usize)>,
    dropped: u64,
}

impl ControlQueue {
    fn push(&mut self, path: Path, datagram: &[u8]) {
        if self.entries.len() >= MAX_CONTROL {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(datagram);
        self.entries.push((path, datagram.len()));
    }

    fn flush(&mut self, send: &mut dyn FnMut(Transmit<'_>)) {
        let mut rest = self.bytes.as_slice();
        for (path, len) in self.entries.drain(..) {
            let (contents, tail) = rest.split_at(len);
            let Path { protocol, address } = path;
            send(Transmit { protocol, destination: address, contents, segment_size: len.max(1) });
            rest = tail;
        }
        self.bytes.clear();
    }
}

/// The media plane of one thread. All time and all datagrams come from its caller.
pub struct Worker {
    config: Config,
    clock: Clock,
    /// The latest time anybody told; commands without a time of their own use it.
    now: Instant,
    random: StdRng,
    mark: u8,
    certificate: Certificate,
    routers: audio::Routers,
    transports: Slab<Transport>,
    producers: Slab<Producer>,
    /// Each in a place of its own, so that one can be fetched without looking at it: see [`ahead`].
    consumers: Slab<Box<Consumer>>,
    taps: Slab<Tap>,
    data_producers: Slab<DataProducer>,
    data_consumers: Slab<DataConsumer>,
    transport_keys: HashMap<TransportId, usize>,
    producer_keys: HashMap<ProducerId, usize>,
    consumer_keys: HashMap<ConsumerId, usize>,
    tap_keys: HashMap<TapId, usize>,
    data_producer_keys: HashMap<DataProducerId, usize>,
    data_consumer_keys: HashMap<DataConsumerId, usize>,
    /// Transports by our user name fragment.
    by_fragment: HashMap<String, usize>,
    /// Transports by a path that passed a check.
    by_path: HashMap<Path, usize>,
    /// What STUN servers say of our address.
    reflexive: Reflexive,
    control: ControlQueue,
    fan_out: FanOut,
    /// Transports with something to flush.
    dirty: Vec<usize>,
    /// Transports whose association has something to send.
    data_dirty: Vec<usize>,
    /// Data producers whose consumers have no room, longest first.
    waiting_producers: VecDeque<usize>,
    /// Transports where packets wait for their time.
    timed: Vec<usize>,
    /// Reused for each sharing.
    claims: Vec<Claim>,
    events: VecDeque<Event>,
    next_tick: Millis,
    next_sampling: Millis,
    /// See [`Self::set_gathering`].
    gathers: bool,
    /// Reused for each compound packet.
    compound: Vec<u8>,
    lost: Vec<u16>,
    /// Datagrams of nobody's: counted, dropped.
    discarded: u64,
    /// Checks that may still be sent before the next tick; see [`timers`].
    checks_left: u32,
    /// Of what has been closed.
    past: Totals,
}

impl Worker {
    pub fn new(config: Config, now: Instant) -> Result<Self, Error> {
        Ok(Self {
            random: StdRng::from_seed(config.seed),
            mark: 0,
            config,
            clock: Clock::new(now),
            now,
            certificate: Certificate::generate()?,
            routers: audio::Routers::new(),
            transports: Slab::new(),
            producers: Slab::new(),
            consumers: Slab::new(),
            taps: Slab::new(),
            data_producers: Slab::new(),
            data_consumers: Slab::new(),
            transport_keys: HashMap::new(),
            producer_keys: HashMap::new(),
            consumer_keys: HashMap::new(),
            tap_keys: HashMap::new(),
            data_producer_keys: HashMap::new(),
            data_consumer_keys: HashMap::new(),
            by_fragment: HashMap::new(),
            by_path: HashMap::new(),
            reflexive: Reflexive::default(),
            control: ControlQueue::default(),
            fan_out: FanOut::default(),
            dirty: Vec::new(),
            data_dirty: Vec::new(),
            waiting_producers: VecDeque::new(),
            timed: Vec::new(),
            claims: Vec::new(),
            events: VecDeque::new(),
            next_tick: 0,
            next_sampling: 0,
            gathers: false,
            compound: Vec::with_capacity(2_048),
            lost: Vec::with_capacity(256),
            discarded: 0,
            checks_left: 0,
            past: Totals::default(),
        })
    }

    /// Every id this worker makes ends with `mark`: whoever runs several workers reads in an id whose it is
    /// ([`mark_of`]). The other 114 random bits are left.
    pub fn marked(mut self, mark: u8) -> Self {
        self.mark = mark;
        self
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether the caller lets datagrams gather before it flushes. Then large packets are padded a little, so that
    /// those of one picture have one size and go out in one piece.
    pub fn set_gathering(&mut self, gathers: bool) {
        if self.gathers == gathers {
            return;
        }
        self.gathers = gathers;
        self.transports.iter_mut().for_each(|(_, transport)| transport.egress.evens_out = gathers);
    }

    /// Sends everything that waits. Call it after each batch of datagrams, after commands and after timeouts.
    pub fn flush(&mut self, now: Instant, send: &mut dyn FnMut(Transmit<'_>)) {
        self.flush_timed(now, &mut |transmit| {
            send(transmit);
            now
        });
    }

    /// The same for a caller whose sending takes time: `send` answers what time it is afterwards. A large room's last
    /// client is sent to many milliseconds after its first, and must not take that for a queue on its path.
    pub fn flush_timed(&mut self, now: Instant, send: &mut dyn FnMut(Transmit<'_>) -> Instant) {
        self.now = self.now.max(now);
        self.flush_data(now);
        let mut at = now;
        self.control.flush(&mut |transmit| at = send(transmit));
        at = self.flush_transports(at, send);
        if !self.dirty.is_empty() {
            // Somebody's keyframe was asked for meanwhile.
            self.flush_transports(at, send);
        }
    }

    fn mark_dirty(&mut self, key: usize) {
        mark_dirty(&mut self.dirty, &mut self.transports[key], key);
    }

    /// *State* kind, as a list: when it is full the newest is dropped, which takes thousands of closed things that
    /// nobody polls for.
    fn emit(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        }
    }

    /// News of a moment, which the next will replace: what must not get lost has half of the room for itself.
    fn emit_passing(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS / 2 {
            self.events.push_back(event);
        }
    }

    fn transport_key(&self, id: TransportId) -> Result<usize, Error> {
        self.transport_keys.get(&id).copied().ok_or(Error::NotFound("transport"))
    }

    fn producer_key(&self, id: ProducerId) -> Result<usize, Error> {
        self.producer_keys.get(&id).copied().ok_or(Error::NotFound("producer"))
    }

    fn consumer_key(&self, id: ConsumerId) -> Result<usize, Error> {
        self.consumer_keys.get(&id).copied().ok_or(Error::NotFound("consumer"))
    }

    fn uuid(&mut self) -> Uuid {
        marked_uuid(&mut self.random, self.mark)
    }
}

/// Looking things up, for statistics.
impl Worker {
    pub(crate) fn ms(&self, now: Instant) -> Millis {
        self.clock.ms(now)
    }

    pub(crate) fn us(&self, now: Instant) -> u64 {
        self.clock.us(now)
    }

    pub(crate) fn transport(&self, id: TransportId) -> Option<&Transport> {
        self.transports.get(*self.transport_keys.get(&id)?)
    }

    pub(crate) fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(*self.producer_keys.get(&id)?)
    }

    pub(crate) fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(*self.consumer_keys.get(&id)?).map(Box::as_ref)
    }

    /// Our addresses, as clients are told them.
    pub(crate) fn offered(&self, protocol: Protocol) -> impl Iterator<Item = SocketAddr> + '_ {
        let offered = match protocol {
            Protocol::Udp => &self.config.announced,
            Protocol::Tcp => &self.config.announced_tcp,
        };
        offered.iter().copied()
    }

    pub(crate) fn transport_at(&self, key: usize) -> &Transport {
        &self.transports[key]
    }

    pub(crate) fn producer_at(&self, key: usize) -> &Producer {
        &self.producers[key]
    }

    pub(crate) fn consumer_at(&self, key: usize) -> &Consumer {
        &self.consumers[key]
    }

    /// What it has done, without what is still there.
    pub(crate) fn past(&self) -> Totals {
        let dropped = Drops { stray: self.discarded, control: self.control.dropped, ..self.past.dropped };
        Totals { dropped, ..self.past }
    }

    pub(crate) fn each_transport(&self) -> impl Iterator<Item = &Transport> {
        self.transports.iter().map(|(_, transport)| transport)
    }

    pub(crate) fn each_producer(&self) -> impl Iterator<Item = &Producer> {
        self.producers.iter().map(|(_, producer)| producer)
    }

    pub(crate) fn each_consumer(&self) -> impl Iterator<Item = &Consumer> {
        self.consumers.iter().map(|(_, consumer)| consumer.as_ref())
    }

    pub(crate) fn each_data_consumer(&self) -> impl Iterator<Item = &DataConsumer> {
        self.data_consumers.iter().map(|(_, consumer)| consumer)
    }

    pub(crate) fn there(&self) -> Census {
        Census {
            transports: self.transports.len(),
            producers: self.producers.len(),
            consumers: self.consumers.len(),
            taps: self.taps.len(),
            data_producers: self.data_producers.len(),
            data_consumers: self.data_consumers.len(),
        }
    }
}

#[cfg(test)]
impl Worker {
    /// How many of each thing there are.
    pub(crate) fn census(&self) -> [usize; 18] {
        [
            self.transports.len(),
            self.producers.len(),
            self.consumers.len(),
            self.taps.len(),
            self.transport_keys.len(),
            self.producer_keys.len(),
            self.consumer_keys.len(),
            self.tap_keys.len(),
            self.by_fragment.len(),
            self.by_path.len(),
            self.dirty.len(),
            self.control.entries.len(),
            self.data_producers.len(),
            self.data_consumers.len(),
            self.data_producer_keys.len(),
            self.data_consumer_keys.len(),
            self.data_dirty.len(),
            self.waiting_producers.len(),
        ]
    }
}

/// The [`Worker::marked`] of the worker that made this id.
pub fn mark_of(id: Uuid) -> u8 {
    id.as_bytes()[15]
}

fn marked_uuid(random: &mut StdRng, mark: u8) -> Uuid {
    let mut bytes: [u8; 16] = random.random();
    // Neither version nor variant stands in the last octet (RFC 9562 §5.4).
    bytes[15] = mark;
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

fn mark_dirty(dirty: &mut Vec<usize>, transport: &mut Transport, key: usize) {
    if !transport.is_dirty {
        transport.is_dirty = true;
        dirty.push(key);
    }
}

/// As [`mark_dirty`], for what [`Worker::handle_timeout`] is to look at before the next tick.
fn mark_timed(timed: &mut Vec<usize>, transport: &mut Transport, key: usize) {
    if let Some(outgoing) = &mut transport.outgoing
        && !outgoing.is_timed
    {
        outgoing.is_timed = true;
        timed.push(key);
    }
}

/// How often timers are looked at while there is any transport.
const TICK: Millis = 25;
const MAX_EVENTS: usize = 16_384;
const MAX_CONTROL: usize = 1_024;
