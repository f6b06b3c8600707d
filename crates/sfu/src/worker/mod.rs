//! The worker: all transports, producers, consumers and taps of one thread, and the commands upon them.
//!
//! This file holds the state and the commands of signaling. What arrives is in [`datagrams`] and [`media`], RTCP in
//! [`reports`], time in [`timers`].

mod datagrams;
mod media;
mod reports;
mod timers;

use crate::clock::{Clock, Millis};
use crate::consumer::Consumer;
use crate::dtls::{Certificate, Peer, Role};
use crate::egress::{Egress, Transmit};
use crate::error::Error;
use crate::forward::Forwarder;
use crate::ice::{Agent, Credentials};
use crate::ortc::codec::Codec;
use crate::ortc::{Extension, consume, produce, router_capabilities};
use crate::producer::{Producer, video_codec};
use crate::receive::Stream;
use crate::transport::{MAX_SOURCES, Security, Source, Traffic, Transport};
use crate::transport_feedback::ArrivalLog;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;
use uuid::Uuid;
use wire::ortc::{
    ConsumerOptions, Direction, DtlsParameters, DtlsRole, IceCandidate, IceParameters, MediaKind,
    RemoteCandidate, RtpCapabilities, RtpCodecParameters, RtpParameters, TransportOptions,
};
use wire::{ConsumerId, ProducerId, RouterId, TapId, TransportId};

/// What a worker is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// UDP candidates to offer, best first.
    pub announced: Vec<SocketAddr>,
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
}

/// Takes what taps hear, on the worker's thread: it must not block.
pub trait TapSink {
    /// A packet in the clear, in order of arrival, in the producer's numbers.
    fn rtp(&mut self, tag: u32, arrival: Instant, packet: &[u8]);
    /// The sender's clocks: NTP time (32.32 fixed point) and RTP timestamp of one moment.
    fn sender_report(&mut self, tag: u32, arrival: Instant, ntp: u64, rtp_timestamp: u32);
}

/// What somebody who decodes a producer in this process must know of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TapFormat {
    pub kind: MediaKind,
    pub codec: RtpCodecParameters,
    /// Header extension ids in the packets a tap gets.
    pub orientation_id: Option<u8>,
    pub audio_level_id: Option<u8>,
}

struct Tap {
    id: TapId,
    producer: usize,
    tag: u32,
    forwarder: Forwarder,
}

/// Datagrams that are no media: STUN answers and DTLS, each to its own address (bounded; when full they are dropped,
/// as the network might).
#[derive(Default)]
struct ControlQueue {
    bytes: Vec<u8>,
    entries: Vec<(SocketAddr, usize)>,
    dropped: u64,
}

impl ControlQueue {
    fn push(&mut self, destination: SocketAddr, datagram: &[u8]) {
        if self.entries.len() >= MAX_CONTROL {
            self.dropped += 1;
            return;
        }
        self.bytes.extend_from_slice(datagram);
        self.entries.push((destination, datagram.len()));
    }

    fn flush(&mut self, send: &mut dyn FnMut(Transmit<'_>)) {
        let mut rest = self.bytes.as_slice();
        for (destination, len) in self.entries.drain(..) {
            let (contents, tail) = rest.split_at(len);
            send(Transmit { destination, contents, segment_size: len.max(1) });
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
    certificate: Certificate,
    routers: HashMap<RouterId, ()>,
    transports: Slab<Transport>,
    producers: Slab<Producer>,
    consumers: Slab<Consumer>,
    taps: Slab<Tap>,
    transport_keys: HashMap<TransportId, usize>,
    producer_keys: HashMap<ProducerId, usize>,
    consumer_keys: HashMap<ConsumerId, usize>,
    tap_keys: HashMap<TapId, usize>,
    /// Transports by our user name fragment.
    by_fragment: HashMap<String, usize>,
    /// Transports by an address that passed a check.
    by_address: HashMap<SocketAddr, usize>,
    control: ControlQueue,
    /// Transports with something to flush.
    dirty: Vec<usize>,
    events: VecDeque<Event>,
    next_tick: Millis,
    /// Reused for each compound packet.
    compound: Vec<u8>,
    lost: Vec<u16>,
    /// Datagrams of nobody's: counted, dropped.
    discarded: u64,
}

impl Worker {
    pub fn new(config: Config, now: Instant) -> Result<Self, Error> {
        Ok(Self {
            random: StdRng::from_seed(config.seed),
            config,
            clock: Clock::new(now),
            now,
            certificate: Certificate::generate()?,
            routers: HashMap::new(),
            transports: Slab::new(),
            producers: Slab::new(),
            consumers: Slab::new(),
            taps: Slab::new(),
            transport_keys: HashMap::new(),
            producer_keys: HashMap::new(),
            consumer_keys: HashMap::new(),
            tap_keys: HashMap::new(),
            by_fragment: HashMap::new(),
            by_address: HashMap::new(),
            control: ControlQueue::default(),
            dirty: Vec::new(),
            events: VecDeque::new(),
            next_tick: 0,
            compound: Vec::with_capacity(2_048),
            lost: Vec::with_capacity(256),
            discarded: 0,
        })
    }

    pub fn create_router(&mut self) -> RouterId {
        let id = RouterId(self.uuid());
        self.routers.insert(id, ());
        id
    }

    /// Closes everything in it; producers and consumers are told of as events.
    pub fn close_router(&mut self, router: RouterId) {
        self.routers.remove(&router);
        let ids: Vec<_> =
            self.transports.iter().filter(|(_, t)| t.router == router).map(|(_, t)| t.id).collect();
        ids.into_iter().for_each(|id| self.close_transport(id));
    }

    pub fn router_rtp_capabilities(&self) -> RtpCapabilities {
        router_capabilities()
    }

    pub fn create_transport(
        &mut self,
        now: Instant,
        router: RouterId,
        direction: Direction,
    ) -> Result<TransportOptions, Error> {
        if !self.routers.contains_key(&router) {
            return Err(Error::NotFound("router"));
        }
        if self.transports.len() >= MAX_TRANSPORTS {
            return Err(Error::Limit("transports"));
        }
        if self.transports.is_empty() {
            self.next_tick = self.clock.ms(now) + TICK;
        }
        let id = TransportId(self.uuid());
        let credentials = self.credentials();
        let entry = self.transports.vacant_entry();
        let key = entry.key();
        self.by_fragment.insert(credentials.username_fragment.clone(), key);
        let ice_parameters = ice_parameters(&credentials);
        entry.insert(Transport {
            id,
            router,
            direction,
            ice: Agent::new(credentials),
            security: Security::Waiting { early: Vec::new() },
            sources: HashMap::new(),
            producers: Vec::new(),
            consumers: Vec::new(),
            sinks: HashMap::new(),
            next_mid: 0,
            cname: random_text(&mut self.random, 16),
            rtcp_ssrc: self.random.random_range(1..u32::MAX),
            egress: Egress::default(),
            is_dirty: false,
            urgent: false,
            arrivals: None,
            transport_sequence: self.random.random_range(0..0x8000),
            available_bitrate: None,
            round_trip: None,
            traffic: Traffic::default(),
            next_report: self.clock.ms(now) + self.random.random_range(0..timers::REPORT_INTERVAL),
            next_feedback: 0,
        });
        self.transport_keys.insert(id, key);
        Ok(TransportOptions {
            id,
            ice_parameters,
            ice_candidates: candidates(&self.config.announced),
            dtls_parameters: DtlsParameters {
                role: DtlsRole::Auto,
                fingerprints: vec![self.certificate.fingerprint().clone()],
            },
            // Data channels are not carried yet; without these a client does not open any.
            sctp_parameters: None,
            ice_servers: Vec::new(),
        })
    }

    /// The client's side of DTLS. May come before or after its first check.
    pub fn connect_transport(
        &mut self,
        now: Instant,
        transport: TransportId,
        parameters: DtlsParameters,
    ) -> Result<(), Error> {
        let key = self.transport_key(transport)?;
        let peer = Peer::parse(&parameters)?;
        let transport = &mut self.transports[key];
        let Security::Waiting { early } = &mut transport.security else {
            return Err(Error::AlreadyConnected);
        };
        let early = std::mem::take(early);
        if peer.our_role == Role::Client && transport.ice.selected().is_none() {
            transport.security = Security::Ready(peer);
            return Ok(());
        }
        self.start_handshake(now, key, peer);
        for datagram in early {
            self.handle_handshake(now, key, &datagram);
        }
        Ok(())
    }

    /// New ICE credentials; the old ones work until the new ones are used.
    pub fn restart_ice(&mut self, transport: TransportId) -> Result<IceParameters, Error> {
        let key = self.transport_key(transport)?;
        let credentials = self.credentials();
        let parameters = ice_parameters(&credentials);
        self.by_fragment.insert(credentials.username_fragment.clone(), key);
        if let Some(useless) = self.transports[key].ice.restart(credentials) {
            self.by_fragment.remove(&useless);
        }
        Ok(parameters)
    }

    /// Checks a candidate that a client reports. Nothing is sent to it yet: a lite agent waits for checks.
    pub fn add_ice_candidate(
        &mut self,
        _now: Instant,
        transport: TransportId,
        candidate: RemoteCandidate,
    ) -> Result<(), Error> {
        self.transport_key(transport)?;
        crate::candidate::parse(&candidate.candidate).map(|_| ())
    }

    pub fn close_transport(&mut self, transport: TransportId) {
        let Some(key) = self.transport_keys.remove(&transport) else { return };
        for producer in self.transports[key].producers.clone() {
            let id = self.producers[producer].id;
            self.remove_producer(producer);
            self.emit(Event::ProducerClosed { producer: id });
        }
        for consumer in self.transports[key].consumers.clone() {
            self.remove_consumer(consumer);
        }
        let transport = self.transports.remove(key);
        self.by_fragment.retain(|_, k| *k != key);
        self.by_address.retain(|_, k| *k != key);
        self.dirty.retain(|k| *k != key);
        if let (Some(to), Security::Connected { mut dtls, .. }) =
            (transport.ice.selected(), transport.security)
        {
            // close_notify, so that the peer knows at once.
            dtls.close(self.now);
            while let Some(datagram) = dtls.poll_transmit() {
                self.control.push(to, &datagram);
            }
        }
    }

    pub fn produce(
        &mut self,
        _now: Instant,
        transport: TransportId,
        kind: MediaKind,
        parameters: RtpParameters,
        paused: bool,
    ) -> Result<ProducerId, Error> {
        let key = self.transport_key(transport)?;
        let agreed = produce::produce(kind, parameters)?;
        let id = ProducerId(self.uuid());
        let transport = &mut self.transports[key];
        if transport.direction != Direction::Send {
            return Err(Error::invalid("media is produced on a send transport"));
        }
        let new_sources = agreed.encodings.len() * 2;
        let known: usize = transport.producers.iter().map(|p| self.producers[*p].streams.len() * 2).sum();
        if transport.producers.len() >= MAX_PER_TRANSPORT || known + new_sources > MAX_SOURCES {
            return Err(Error::Limit("producers"));
        }
        let ssrcs = || agreed.encodings.iter().flat_map(|e| [e.ssrc, e.rtx_ssrc]).flatten();
        if ssrcs().any(|ssrc| transport.sources.contains_key(&ssrc)) {
            return Err(Error::invalid("an SSRC is already in use on this transport"));
        }
        if let Some(mid) = &agreed.mid
            && transport.producers.iter().any(|p| self.producers[*p].agreed.mid.as_ref() == Some(mid))
        {
            return Err(Error::invalid("the mid is already in use on this transport"));
        }
        if transport.producers.is_empty()
            && let Some(cname) = &agreed.cname
        {
            // Consumers that exist already keep the name they were given.
            transport.cname.clone_from(cname);
        }
        if agreed.supports.transport_cc && transport.arrivals.is_none() {
            transport.arrivals = Some(Box::new(ArrivalLog::new()));
        }
        let clock_rate = agreed.parameters.clock_rate;
        let streams = agreed
            .encodings
            .iter()
            .map(|e| Stream::new(e.ssrc, e.rtx_ssrc, e.rid.clone(), clock_rate, agreed.supports.nack))
            .collect();
        let producer = self.producers.insert(Producer {
            id,
            router: transport.router,
            transport: key,
            agreed,
            paused,
            streams,
            consumers: Vec::new(),
            taps: Vec::new(),
            audio_level: None,
        });
        transport.producers.push(producer);
        for (layer, encoding) in (0u8..).zip(&self.producers[producer].agreed.encodings) {
            for (ssrc, is_rtx) in [(encoding.ssrc, false), (encoding.rtx_ssrc, true)] {
                if let Some(ssrc) = ssrc {
                    transport.sources.insert(ssrc, Source { producer, layer, is_rtx });
                }
            }
        }
        transport.next_report = 0;
        self.producer_keys.insert(id, producer);
        Ok(id)
    }

    pub fn pause_producer(&mut self, _now: Instant, producer: ProducerId) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        let producer = &mut self.producers[key];
        producer.paused = true;
        producer.audio_level = None;
        for &consumer in &producer.consumers {
            self.consumers[consumer].forwarder.pause();
        }
        Ok(())
    }

    pub fn resume_producer(&mut self, now: Instant, producer: ProducerId) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        self.producers[key].paused = false;
        self.request_wanted_keyframes(now, key);
        Ok(())
    }

    pub fn close_producer(&mut self, _now: Instant, producer: ProducerId) -> Result<(), Error> {
        let key = self.producer_key(producer)?;
        self.remove_producer(key);
        Ok(())
    }

    pub fn consume(
        &mut self,
        now: Instant,
        transport: TransportId,
        producer: ProducerId,
        capabilities: &RtpCapabilities,
        paused: bool,
    ) -> Result<ConsumerOptions, Error> {
        let key = self.transport_key(transport)?;
        let producer_key = self.producer_key(producer)?;
        let source = &self.producers[producer_key];
        let cname = self.transports[source.transport].cname.clone();
        let transport = &self.transports[key];
        if transport.direction != Direction::Recv {
            return Err(Error::invalid("media is consumed on a receive transport"));
        }
        if transport.router != source.router {
            return Err(Error::NotFound("producer"));
        }
        if transport.consumers.len() >= MAX_PER_TRANSPORT {
            return Err(Error::Limit("consumers"));
        }
        let ssrc = loop {
            let ssrc = self.random.random_range(1..u32::MAX - 1);
            if !transport.sinks.contains_key(&ssrc) && !transport.sinks.contains_key(&(ssrc + 1)) {
                break ssrc;
            }
        };
        let place =
            consume::Placement { mid: transport.next_mid.to_string(), ssrc, rtx_ssrc: ssrc + 1, cname };
        let agreed = consume::consume(&source.agreed, capabilities, place)?;
        let codec = video_codec(agreed.codec);
        // Below 2^15, so that losing the first packets cannot lose a roll-over (RFC 3711 §3.3.1).
        let first_out = self.random.random_range(1..0x7000);
        let mut forwarder = Forwarder::new(codec, first_out);
        forwarder.set_target(source.best_layer(None, self.clock.ms(now)).unwrap_or(0));
        let id = ConsumerId(uuid::Builder::from_random_bytes(self.random.random()).into_uuid());
        let options = ConsumerOptions {
            id,
            producer_id: producer,
            kind: source.agreed.kind,
            consumer_type: agreed.consumer_type,
            rtp_parameters: agreed.parameters.clone(),
            producer_paused: source.paused,
        };
        let rtx_ssrc = agreed.rtx.map(|(_, ssrc)| ssrc);
        let rtx_sequence = self.random.random_range(1..0x7000);
        let consumer = self.consumers.insert(Consumer::new(
            id,
            producer_key,
            key,
            agreed,
            paused,
            forwarder,
            rtx_sequence,
        ));
        self.producers[producer_key].consumers.push(consumer);
        let transport = &mut self.transports[key];
        transport.next_mid += 1;
        transport.consumers.push(consumer);
        transport.sinks.insert(ssrc, consumer);
        if let Some(rtx_ssrc) = rtx_ssrc {
            transport.sinks.insert(rtx_ssrc, consumer);
        }
        self.consumer_keys.insert(id, consumer);
        if !paused {
            self.request_wanted_keyframes(now, producer_key);
        }
        Ok(options)
    }

    pub fn pause_consumer(&mut self, _now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        let consumer = &mut self.consumers[key];
        consumer.paused = true;
        consumer.forwarder.pause();
        Ok(())
    }

    /// The next packet (sound) or keyframe (pictures; asked for at once) goes out.
    pub fn resume_consumer(&mut self, now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        let consumer = &mut self.consumers[key];
        if consumer.paused {
            consumer.paused = false;
            consumer.forwarder.pause();
            let producer = consumer.producer;
            self.request_wanted_keyframes(now, producer);
        }
        Ok(())
    }

    pub fn close_consumer(&mut self, _now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        self.remove_consumer(key);
        Ok(())
    }

    pub fn request_key_frame(&mut self, now: Instant, consumer: ConsumerId) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        let consumer = &self.consumers[key];
        let layer = consumer.forwarder.target();
        self.request_keyframe_of(now, consumer.producer, layer);
        Ok(())
    }

    /// Simulcast: the best layer to send. Temporal layers are not dropped yet.
    pub fn set_preferred_layers(
        &mut self,
        consumer: ConsumerId,
        spatial: u8,
        _temporal: Option<u8>,
    ) -> Result<(), Error> {
        let key = self.consumer_key(consumer)?;
        self.consumers[key].preferred_layer = Some(spatial);
        Ok(())
    }

    /// Begins to hand a producer's packets to the caller's [`TapSink`] under `tag`, and asks for a keyframe.
    pub fn tap(&mut self, now: Instant, producer: ProducerId, tag: u32) -> Result<TapId, Error> {
        let key = self.producer_key(producer)?;
        if self.taps.len() >= MAX_TAPS {
            return Err(Error::Limit("taps"));
        }
        let id = TapId(self.uuid());
        let source = &mut self.producers[key];
        let mut forwarder = Forwarder::for_tap(source.video_codec());
        forwarder.set_target(source.best_layer(None, self.clock.ms(now)).unwrap_or(0));
        let tap = self.taps.insert(Tap { id, producer: key, tag, forwarder });
        source.taps.push(tap);
        self.tap_keys.insert(id, tap);
        self.tap_key_frame(now, id);
        Ok(id)
    }

    pub fn untap(&mut self, tap: TapId) {
        let Some(key) = self.tap_keys.remove(&tap) else { return };
        let tap = self.taps.remove(key);
        self.producers[tap.producer].taps.retain(|t| *t != key);
    }

    pub fn tap_key_frame(&mut self, now: Instant, tap: TapId) {
        if let Some(tap) = self.tap_keys.get(&tap).and_then(|key| self.taps.get(*key)) {
            let (producer, layer) = (tap.producer, tap.forwarder.target());
            self.request_keyframe_of(now, producer, layer);
        }
    }

    pub fn producer_codec(&self, producer: ProducerId) -> Option<RtpCodecParameters> {
        let key = self.producer_keys.get(&producer)?;
        Some(self.producers[*key].agreed.parameters.clone())
    }

    pub fn tap_format(&self, producer: ProducerId) -> Option<TapFormat> {
        let agreed = &self.producers[*self.producer_keys.get(&producer)?].agreed;
        Some(TapFormat {
            kind: agreed.kind,
            codec: agreed.parameters.clone(),
            orientation_id: agreed.extensions.get(Extension::VideoOrientation),
            audio_level_id: agreed.extensions.get(Extension::AudioLevel),
        })
    }

    /// The next event, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends everything that waits. Call it after each batch of datagrams, after commands and after timeouts.
    pub fn flush(&mut self, now: Instant, send: &mut dyn FnMut(Transmit<'_>)) {
        self.now = self.now.max(now);
        self.control.flush(send);
        let mut dirty = std::mem::take(&mut self.dirty);
        for &key in &dirty {
            if self.transports[key].urgent {
                self.write_feedback(now, key);
            }
            let transport = &mut self.transports[key];
            transport.is_dirty = false;
            match transport.ice.selected() {
                Some(destination) => transport.egress.flush(destination, send),
                None => transport.egress.clear(),
            }
        }
        dirty.clear();
        // Writing feedback marks nothing dirty that is not on the list already.
        self.dirty = dirty;
    }

    fn remove_producer(&mut self, key: usize) {
        let producer = self.producers.remove(key);
        self.producer_keys.remove(&producer.id);
        let transport = &mut self.transports[producer.transport];
        transport.producers.retain(|p| *p != key);
        transport.sources.retain(|_, source| source.producer != key);
        for consumer in producer.consumers {
            let id = self.consumers[consumer].id;
            self.forget_consumer(consumer);
            self.emit(Event::ConsumerClosed { consumer: id, producer: producer.id });
        }
        for tap in producer.taps {
            let tap = self.taps.remove(tap);
            self.tap_keys.remove(&tap.id);
        }
    }

    fn remove_consumer(&mut self, key: usize) {
        let producer = self.consumers[key].producer;
        self.producers[producer].consumers.retain(|c| *c != key);
        self.forget_consumer(key);
    }

    /// Removes a consumer that its producer no longer lists.
    fn forget_consumer(&mut self, key: usize) {
        let consumer = self.consumers.remove(key);
        self.consumer_keys.remove(&consumer.id);
        let transport = &mut self.transports[consumer.transport];
        transport.consumers.retain(|c| *c != key);
        transport.sinks.retain(|_, c| *c != key);
    }

    /// Asks for the keyframes without which some consumer of `producer` cannot begin or change layers.
    fn request_wanted_keyframes(&mut self, now: Instant, producer: usize) {
        let source = &self.producers[producer];
        let wanted = source
            .consumers
            .iter()
            .map(|c| &self.consumers[*c])
            .filter(|c| !c.paused && c.forwarder.wants_keyframe())
            .map(|c| c.forwarder.target())
            .chain(
                source
                    .taps
                    .iter()
                    .map(|t| &self.taps[*t].forwarder)
                    .filter_map(|f| f.wants_keyframe().then_some(f.target())),
            )
            .fold(0u32, |set, layer| set | 1 << layer.min(31));
        for layer in (0..32).filter(|layer| wanted & 1 << layer != 0) {
            self.request_keyframe_of(now, producer, layer);
        }
    }

    fn request_keyframe_of(&mut self, _now: Instant, producer: usize, layer: u8) {
        let source = &mut self.producers[producer];
        if source.paused || source.agreed.codec == Codec::Opus {
            return;
        }
        let transport = source.transport;
        if let Some(stream) = source.streams.get_mut(usize::from(layer)) {
            stream.keyframes.request();
            self.transports[transport].urgent = true;
            self.mark_dirty(transport);
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
        uuid::Builder::from_random_bytes(self.random.random()).into_uuid()
    }

    /// 128 bits of password (RFC 8445 §5.3 asks for that many), and a fragment nobody else has.
    fn credentials(&mut self) -> Credentials {
        loop {
            let fragment = random_text(&mut self.random, 16);
            if !self.by_fragment.contains_key(&fragment) {
                return Credentials::new(fragment, random_text(&mut self.random, 32));
            }
        }
    }
}

/// Looking things up, for statistics.
impl Worker {
    pub(crate) fn ms(&self, now: Instant) -> Millis {
        self.clock.ms(now)
    }

    pub(crate) fn transport(&self, id: TransportId) -> Option<&Transport> {
        self.transports.get(*self.transport_keys.get(&id)?)
    }

    pub(crate) fn producer(&self, id: ProducerId) -> Option<&Producer> {
        self.producers.get(*self.producer_keys.get(&id)?)
    }

    pub(crate) fn consumer(&self, id: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(*self.consumer_keys.get(&id)?)
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
}

fn mark_dirty(dirty: &mut Vec<usize>, transport: &mut Transport, key: usize) {
    if !transport.is_dirty {
        transport.is_dirty = true;
        dirty.push(key);
    }
}

fn random_text(random: &mut StdRng, len: usize) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    (0..len).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())])).collect()
}

fn ice_parameters(credentials: &Credentials) -> IceParameters {
    IceParameters {
        username_fragment: credentials.username_fragment.clone(),
        password: credentials.password.clone(),
        ice_lite: Some(true),
    }
}

/// Host candidates, the first preferred (RFC 8445 §5.1.2.1).
fn candidates(announced: &[SocketAddr]) -> Vec<IceCandidate> {
    let describe = |(index, address): (usize, &SocketAddr)| {
        let local_preference = 65_535 - index.min(65_535) as u32;
        IceCandidate {
            foundation: format!("udp{index}"),
            priority: 126 << 24 | local_preference << 8 | 255,
            ip: address.ip().to_string(),
            address: address.ip().to_string(),
            protocol: "udp".into(),
            port: address.port(),
            kind: "host".into(),
            tcp_type: None,
        }
    };
    announced.iter().enumerate().map(describe).collect()
}

/// How often timers are looked at while there is any transport.
const TICK: Millis = 25;
/// A thousand guests' worth.
const MAX_TRANSPORTS: usize = 4_096;
/// More tracks than any page shows.
const MAX_PER_TRANSPORT: usize = 256;
const MAX_TAPS: usize = 1_024;
const MAX_EVENTS: usize = 16_384;
const MAX_CONTROL: usize = 1_024;
