//! Commands upon routers and transports.

use super::{Event, TICK, Worker};
use crate::bandwidth::IncomingLimit;
use crate::candidate::{self, Remote, offered};
use crate::dtls::{Peer, Role};
use crate::egress::Egress;
use crate::error::Error;
use crate::ice::{Agent, Credentials};
use crate::ortc::router_capabilities;
use crate::path::Path;
use crate::transport::{Presence, Security, Traffic, Transport};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;
use wire::ortc::{
    Direction, DtlsParameters, DtlsRole, IceParameters, RemoteCandidate, RtpCapabilities, TransportOptions,
};
use wire::{RouterId, TransportId};

impl Worker {
    pub fn create_router(&mut self) -> RouterId {
        let id = RouterId(self.uuid());
        self.routers.insert(id, super::audio::Router::new());
        id
    }

    /// Whether it was made here and not closed since.
    pub fn has_router(&self, router: RouterId) -> bool {
        self.routers.contains_key(&router)
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
            presence: Presence::Here,
            id,
            router,
            direction,
            ice: Agent::new(credentials, self.random.random()),
            security: Security::Waiting { early: Vec::new() },
            checked: 0,
            sources: HashMap::new(),
            producers: Vec::new(),
            consumers: Vec::new(),
            sinks: HashMap::new(),
            next_mid: 0,
            cname: random_text(&mut self.random, 16),
            rtcp_ssrc: self.random.random_range(1..u32::MAX),
            egress: Egress::new(self.gathers),
            data: None,
            is_dirty: false,
            urgent: false,
            arrivals: None,
            transport_sequence: self.random.random_range(0..0x8000),
            outgoing: None,
            round_trip: None,
            traffic: Traffic::default(),
            next_report: self.clock.ms(now) + self.random.random_range(0..super::timers::REPORT_INTERVAL),
            next_feedback: 0,
            incoming: IncomingLimit::new(self.config.max_incoming_bitrate),
            wanted: 0,
            next_sharing: 0,
        });
        self.transport_keys.insert(id, key);
        Ok(TransportOptions {
            id,
            ice_parameters,
            ice_candidates: offered(&self.config, self.reflexive.addresses()),
            dtls_parameters: DtlsParameters {
                role: DtlsRole::Auto,
                fingerprints: vec![self.certificate.fingerprint().clone()],
            },
            // See `enable_sctp`; without these a client opens no data channels.
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

    /// The client's side of ICE, if it tells: from now on it is checked, too, and asked for its consent. The same
    /// again changes nothing; others are those of an ICE restart.
    pub fn set_remote_ice(
        &mut self,
        now: Instant,
        transport: TransportId,
        parameters: &IceParameters,
    ) -> Result<(), Error> {
        let key = self.transport_key(transport)?;
        self.transports[key].ice.set_remote(now, Credentials::parse(parameters)?);
        Ok(())
    }

    /// Where a client says it may be reached. Names of multicast DNS, TCP, and addresses that no guest has are
    /// ignored: a check of the client's own may still come.
    pub fn add_ice_candidate(
        &mut self,
        transport: TransportId,
        candidate: &RemoteCandidate,
    ) -> Result<(), Error> {
        let key = self.transport_key(transport)?;
        if let Some(Remote { address, priority }) = candidate::parse(&candidate.candidate)? {
            let fragment = candidate.username_fragment.as_deref();
            self.transports[key].ice.add_candidate(address.into(), priority, fragment);
        }
        Ok(())
    }

    /// STUN servers (UDP) that may be asked how guests elsewhere reach us; at most four are. What they say is offered to
    /// transports made from then on.
    pub fn set_stun_servers(&mut self, now: Instant, servers: &[SocketAddr]) {
        self.reflexive.set_servers(now, servers);
    }

    /// A connection the path stood for was closed.
    pub fn handle_disconnect(&mut self, path: Path) {
        if let Some(key) = self.by_path.remove(&path) {
            self.transports[key].ice.forget(path);
        }
    }

    /// Whether some transport's client has proven to be at the other end of `path`.
    pub fn knows(&self, path: Path) -> bool {
        self.by_path.contains_key(&path)
    }

    pub fn close_transport(&mut self, transport: TransportId) {
        let Some(key) = self.transport_keys.remove(&transport) else { return };
        self.queue_arrived();
        for producer in self.transports[key].producers.clone() {
            let id = self.producers[producer].id;
            self.remove_producer(producer);
            self.emit(Event::ProducerClosed { producer: id });
        }
        for consumer in self.transports[key].consumers.clone() {
            self.remove_consumer(consumer);
        }
        self.close_data_of(key);
        let transport = self.transports.remove(key);
        self.past.add_transport(&transport);
        self.by_fragment.retain(|_, k| *k != key);
        self.by_path.retain(|_, k| *k != key);
        self.dirty.retain(|k| *k != key);
        self.data_dirty.retain(|k| *k != key);
        self.timed.retain(|k| *k != key);
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

/// A thousand guests' worth.
const MAX_TRANSPORTS: usize = 4_096;
