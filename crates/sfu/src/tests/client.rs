//! A client as simple as can be: full ICE's checks, DTLS, SRTP, and packets made by hand.

use super::browser_sctp::Chromium;
use crate::dtls::{self, Certificate, Dtls, Peer};
use crate::sctp::{self, Association, Event};
use crate::srtp::Keys;
use crate::stun::{self, Kind, Message, Writer};
use crate::transport_feedback::ArrivalLog;
use rtp::ext::{ExtensionWriter, transport_sequence};
use rtp::packet::{Class, FixedHeader, Packet, classify};
use rtp::rtcp::{self, Rtcp};
use rtp::sequence::SequenceExtender;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;
use wire::TransportId;
use wire::ortc::{DtlsParameters, DtlsRole, IceParameters, TransportOptions};

pub use crate::dtls::Role;

/// One received packet, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub payload: Vec<u8>,
}

/// A packet to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    pub ssrc: u32,
    pub payload_type: u8,
    pub sequence: u64,
    pub timestamp: u32,
    pub extensions: Vec<(u8, Vec<u8>)>,
    pub payload: Vec<u8>,
}

pub struct Client {
    pub address: SocketAddr,
    born: Instant,
    pub transport: TransportId,
    pub options: TransportOptions,
    pub certificate: Certificate,
    role: Role,
    dtls: Option<Dtls>,
    pub keys: Option<Box<Keys>>,
    transaction: u8,
    pub outbox: VecDeque<Vec<u8>>,
    pub received: Vec<Received>,
    /// Packets without content, which only try out the path.
    pub padding: usize,
    /// When packets with a transport-wide number (of this extension id) arrived, for those clients that tell.
    pub arrivals: Option<(u8, ArrivalLog)>,
    pub rtcp: Vec<Vec<u8>>,
    pub stun_answers: Vec<Vec<u8>>,
    /// Its own side of ICE. While there is none, it is not to be checked.
    pub ice: Option<IceParameters>,
    /// Checks and indications of the worker's.
    pub checks: Vec<Vec<u8>>,
    pub answers_checks: bool,
    pub undecryptable: usize,
    pub extenders: HashMap<u32, SequenceExtender>,
    pub dtls_failure: Option<dtls::Failure>,
    pub is_closed: bool,
    now: Instant,
    pub sctp: Option<Box<dyn Association>>,
    /// SCTP packets that went and came, for those who forge some.
    pub sctp_sent: Vec<Vec<u8>>,
    pub sctp_received: Vec<Vec<u8>>,
    pub messages: Vec<(u16, sctp::Message)>,
    pub sctp_events: Vec<Event>,
    /// Hears nothing any more.
    pub is_deaf: bool,
    /// Keeps what it hears for later: see [`Self::wake`].
    pub is_asleep: bool,
    unheard: Vec<Vec<u8>>,
}

impl Client {
    pub fn new(address: SocketAddr, options: TransportOptions, role: Role, now: Instant) -> Self {
        Self {
            address,
            born: now,
            transport: options.id,
            options,
            certificate: Certificate::generate().unwrap(),
            role,
            dtls: None,
            keys: None,
            transaction: 0,
            outbox: VecDeque::new(),
            received: Vec::new(),
            padding: 0,
            arrivals: None,
            rtcp: Vec::new(),
            stun_answers: Vec::new(),
            ice: None,
            checks: Vec::new(),
            answers_checks: true,
            undecryptable: 0,
            extenders: HashMap::new(),
            dtls_failure: None,
            is_closed: false,
            now,
            sctp: None,
            sctp_sent: Vec::new(),
            sctp_received: Vec::new(),
            messages: Vec::new(),
            sctp_events: Vec::new(),
            is_deaf: false,
            is_asleep: false,
            unheard: Vec::new(),
        }
    }

    pub fn dtls_parameters(&self) -> DtlsParameters {
        let role = if self.role == Role::Client { DtlsRole::Client } else { DtlsRole::Server };
        DtlsParameters { role, fingerprints: vec![self.certificate.fingerprint().clone()] }
    }

    pub fn is_connected(&self) -> bool {
        self.keys.is_some()
    }

    pub fn check(&mut self, nominate: bool) -> Vec<u8> {
        self.check_with(&self.options.ice_parameters.password.clone(), |w| {
            if nominate { w.use_candidate() } else { w }
        })
    }

    pub fn check_with<'a>(
        &mut self,
        password: &str,
        edit: impl for<'b> FnOnce(Writer<'b>) -> Writer<'b> + 'a,
    ) -> Vec<u8> {
        self.transaction = self.transaction.wrapping_add(1);
        let username = format!("{}:theirs", self.options.ice_parameters.username_fragment);
        let mut buffer = [0; stun::CAPACITY];
        let writer = Writer::new(&mut buffer, Kind::Request, &[self.transaction; 12]);
        let writer = edit(writer.username(&username).priority(1).role(stun::Role::Controlling, 99));
        writer.finish(&stun::integrity_key(password)).to_vec()
    }

    pub fn start_dtls(&mut self, now: Instant) {
        if self.dtls.is_none() {
            let mut theirs = self.options.dtls_parameters.clone();
            theirs.role = if self.role == Role::Client { DtlsRole::Server } else { DtlsRole::Client };
            self.dtls =
                Some(Dtls::new(&self.certificate, Peer::parse(&theirs).unwrap(), now, usize::MAX).unwrap());
        }
    }

    /// Begins to speak SCTP, as a browser does with its first data channel.
    pub fn start_sctp(&mut self) {
        self.sctp = Some(Box::new(Chromium::connect(self.now)));
    }

    pub fn sctp(&mut self) -> &mut dyn Association {
        self.sctp.as_deref_mut().unwrap()
    }

    /// Sends any octets as if SCTP had made them.
    pub fn send_application_data(&mut self, data: &[u8]) {
        self.dtls.as_mut().unwrap().send_application_data(self.now, data).unwrap();
    }

    /// Hears what came while it was asleep.
    pub fn wake(&mut self, now: Instant) {
        self.is_asleep = false;
        for datagram in std::mem::take(&mut self.unheard) {
            self.handle(now, datagram);
        }
    }

    pub fn handle(&mut self, now: Instant, mut datagram: Vec<u8>) {
        self.now = now;
        if self.is_deaf {
            return;
        }
        if self.is_asleep {
            return self.unheard.push(datagram);
        }
        match classify(&datagram) {
            Class::Stun => {
                let message = Message::parse(&datagram).unwrap();
                if matches!(message.kind, Kind::Request | Kind::Indication) {
                    return self.handle_check(datagram);
                }
                assert!(message.is_authentic(&stun::integrity_key(&self.options.ice_parameters.password)));
                if message.kind == Kind::Success {
                    assert_eq!(message.mapped_address, Some(self.address));
                    self.start_dtls(now);
                }
                self.stun_answers.push(datagram);
            }
            Class::Dtls => {
                let Some(dtls) = &mut self.dtls else { return };
                match dtls.handle_datagram(now, &datagram) {
                    Ok(Some(dtls::Event::Connected { keys, .. })) => self.keys = Some(keys),
                    Ok(Some(dtls::Event::Closed)) => self.is_closed = true,
                    Ok(None) => {}
                    Err(failure) => self.dtls_failure = Some(failure),
                }
                while let Some(packet) = dtls.poll_application_data() {
                    self.sctp_received.push(packet.to_vec());
                    if let Some(sctp) = &mut self.sctp {
                        sctp.handle_datagram(now, packet.freeze());
                    }
                }
            }
            Class::Rtp => self.handle_rtp(now, &mut datagram),
            Class::Rtcp => {
                let keys = self.keys.as_mut().unwrap();
                match keys.inbound.unprotect_rtcp(&mut datagram) {
                    Ok(plain) => self.rtcp.push(plain.to_vec()),
                    Err(_) => self.undecryptable += 1,
                }
            }
            Class::Other => panic!("{datagram:?}"),
        }
    }

    fn handle_check(&mut self, datagram: Vec<u8>) {
        let check = Message::parse(&datagram).unwrap();
        if let (Some(ice), Kind::Request) = (&self.ice, check.kind) {
            let ours = &self.options.ice_parameters.username_fragment;
            assert_eq!(check.username, Some(&*format!("{}:{ours}", ice.username_fragment)));
            let key = stun::integrity_key(&ice.password);
            assert!(check.is_authentic(&key));
            if self.answers_checks {
                let mut buffer = [0; stun::CAPACITY];
                let writer = Writer::new(&mut buffer, Kind::Success, &check.transaction);
                let answer = writer.mapped_address("192.0.2.10:4000".parse().unwrap()).finish(&key).to_vec();
                self.outbox.push_back(answer);
            }
        }
        self.checks.push(datagram);
    }

    fn handle_rtp(&mut self, now: Instant, datagram: &mut [u8]) {
        let header = Packet::parse_header(datagram).unwrap();
        let extender = self.extenders.entry(header.ssrc()).or_default();
        let index = extender.extend(header.sequence_number()) - 65_536;
        let header_len = header.header_len();
        let keys = self.keys.as_ref().unwrap();
        let Ok(len) = keys.inbound.unprotect_rtp(datagram, header_len, index) else {
            self.undecryptable += 1;
            return;
        };
        let packet = Packet::parse(&datagram[..len]).unwrap();
        if let Some((id, log)) = &mut self.arrivals
            && let Some(number) = packet.extension(*id).and_then(transport_sequence)
        {
            // A clock of its own.
            let at = 77_000_000_000 + now.saturating_duration_since(self.born).as_nanos() as u64;
            log.note(number, at, None, packet.ssrc());
        }
        if datagram[0] & 0x20 != 0 && packet.payload().is_empty() {
            self.padding += 1;
            return;
        }
        self.received.push(Received {
            ssrc: packet.ssrc(),
            payload_type: packet.payload_type(),
            sequence: packet.sequence_number(),
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            extensions: packet.extensions().map(|e| (e.id, e.data.to_vec())).collect(),
            payload: packet.payload().to_vec(),
        });
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if let Some(sctp) = &mut self.sctp {
            sctp.handle_timeout(now);
        }
        if let Some(dtls) = &mut self.dtls
            && let Err(failure) = dtls.handle_timeout(now)
        {
            self.dtls_failure = Some(failure);
        }
    }

    /// What the client has to say by itself.
    pub fn poll(&mut self) -> impl Iterator<Item = Vec<u8>> + use<> {
        let mut out: Vec<Vec<u8>> = self.outbox.drain(..).collect();
        if let Some(dtls) = &mut self.dtls {
            while let Some(packet) = self.sctp.as_mut().and_then(|sctp| sctp.poll_transmit(self.now)) {
                dtls.send_application_data(self.now, &packet).unwrap();
                self.sctp_sent.push(packet.to_vec());
            }
            while let Some(event) = self.sctp.as_mut().and_then(|sctp| sctp.poll_event()) {
                match event {
                    Event::Message { stream, message } => self.messages.push((stream, message)),
                    event => self.sctp_events.push(event),
                }
            }
            while let Some(datagram) = dtls.poll_transmit() {
                out.push(datagram.to_vec());
            }
        }
        out.into_iter()
    }

    pub fn rtp(&self, packet: &Outgoing) -> Vec<u8> {
        let mut block = [0; 128];
        let mut writer = ExtensionWriter::new(&mut block);
        for (id, data) in &packet.extensions {
            writer.push(*id, data).unwrap();
        }
        let block_len = writer.finish().unwrap();
        let fixed = FixedHeader {
            marker: false,
            payload_type: packet.payload_type,
            sequence_number: packet.sequence as u16,
            timestamp: packet.timestamp,
            ssrc: packet.ssrc,
        };
        let mut bytes = fixed.to_bytes(block_len > 0).to_vec();
        bytes.extend_from_slice(&block[..block_len]);
        let header_len = bytes.len();
        bytes.extend_from_slice(&packet.payload);
        let keys = self.keys.as_ref().unwrap();
        bytes.resize(bytes.len() + keys.outbound.rtp_overhead(), 0);
        keys.outbound.protect_rtp(&mut bytes, header_len, packet.sequence).unwrap();
        bytes
    }

    /// Transport-wide feedback on what has come since the last.
    pub fn feedback(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while let Some((_, log)) = &mut self.arrivals {
            let mut compound = Vec::new();
            if !log.write(&mut compound, 1) {
                break;
            }
            messages.push(self.protect_rtcp(&compound));
        }
        messages
    }

    pub fn protect_rtcp(&mut self, compound: &[u8]) -> Vec<u8> {
        let mut bytes = compound.to_vec();
        self.keys.as_mut().unwrap().outbound.protect_rtcp(&mut bytes, 0).unwrap();
        bytes
    }

    /// All RTCP packets received so far that `pick` likes.
    pub fn rtcp_of<T>(&self, mut pick: impl FnMut(Rtcp<'_>) -> Option<T>) -> Vec<T> {
        self.rtcp.iter().flat_map(|compound| rtcp::parse(compound)).filter_map(|p| pick(p.unwrap())).collect()
    }

    pub fn nacked(&self) -> Vec<u16> {
        self.rtcp_of(|p| if let Rtcp::Nack(n) = p { Some(n.lost().collect::<Vec<_>>()) } else { None })
            .concat()
    }

    pub fn plis(&self) -> usize {
        self.rtcp_of(|p| if let Rtcp::Pli(_) = p { Some(()) } else { None }).len()
    }
}
