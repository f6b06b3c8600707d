//! DTLS for one transport, and the only file that knows who supplies it (`rtc-dtls`).
//!
//! The supplier is young and parses a stranger's bytes, so it is fenced: handshake input is bounded before it sees
//! it, and a panic inside it ends this association only. It also stops its retransmission timer when a repeated or
//! partial flight arrives (`handshaker.rs`, `wait`), after which a lost flight of ours would never be sent again. So
//! its timer is set to never, and flights are repeated here (RFC 6347 §4.2.4).

mod association;
mod certificate;

pub use certificate::Certificate;

use crate::client_hello::{FirstLook, Found};
use crate::error::Error;
use crate::srtp::{Keys, Profile};
use association::Association;
use bytes::BytesMut;
use certificate::{ALL_PROFILES, Fingerprint};
use rtc_dtls::config::HandshakeConfig;
use rtc_dtls::endpoint::EndpointEvent;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};
use thiserror::Error as ThisError;
use wire::ortc::{DtlsParameters, DtlsRole};

/// Which side of the handshake we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Client,
    Server,
}

/// What a client said of its side in `connect-transport`, parsed.
#[derive(Clone, Debug)]
pub struct Peer {
    pub our_role: Role,
    fingerprints: Vec<Fingerprint>,
}

impl Peer {
    pub fn parse(parameters: &DtlsParameters) -> Result<Self, Error> {
        if parameters.fingerprints.len() > MAX_FINGERPRINTS {
            return Err(Error::Limit("DTLS fingerprints"));
        }
        let fingerprints = parameters
            .fingerprints
            .iter()
            .filter_map(|f| Fingerprint::parse(f).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        if fingerprints.is_empty() {
            return Err(Error::invalid("dtlsParameters need a sha-256, sha-384 or sha-512 fingerprint"));
        }
        let our_role = match parameters.role {
            DtlsRole::Client | DtlsRole::Auto => Role::Server,
            DtlsRole::Server => Role::Client,
        };
        Ok(Self { our_role, fingerprints })
    }

    fn owns(&self, certificate: &[u8]) -> bool {
        self.fingerprints.iter().any(|f| f.matches(certificate))
    }
}

/// What an association tells its transport.
pub enum Event {
    /// The handshake is done and the certificate is the announced one.
    Connected { profile: Profile, keys: Box<Keys> },
    /// The peer closed it in order.
    Closed,
}

/// Why an association is over.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
pub enum Failure {
    #[error("the peer's certificate is not the one its signaling announced")]
    WrongFingerprint,
    #[error("no SRTP profile in common")]
    NoSrtp,
    #[error("the handshake failed: {0}")]
    Handshake(String),
    #[error("the handshake sent more than a handshake needs")]
    Flood,
}

/// One association. After an error it is to be dropped.
pub struct Dtls {
    association: Association,
    peer: Peer,
    connected: bool,
    /// Handshake octets still accepted.
    allowance: usize,
    /// Until the client's first message is whole: what came of it.
    first_look: Option<(FirstLook, Vec<Box<[u8]>>)>,
    gcm_server: Arc<HandshakeConfig>,
    outgoing: VecDeque<BytesMut>,
    /// Application data of the datagram in hand.
    received: VecDeque<BytesMut>,
    flight: Flight,
    /// Octets we may send before the peer has shown that it gets them; `None` once it has. Whoever forges an address
    /// must not make us send there more than it has sent us.
    credit: Option<usize>,
    /// Numbers of plaintext records. They are ours, not the supplier's, because a repeated record needs a new one;
    /// nothing authenticates them (RFC 6347 §4.1.2.1 begins with epoch 1).
    next_record: u64,
}

/// What we said last, until the peer answers it.
#[derive(Default)]
struct Flight {
    datagrams: Vec<BytesMut>,
    repeat_at: Option<Instant>,
    repeats: u32,
}

impl Dtls {
    /// `checked`: octets of the peer's checks so far; see [`Self::note_check`].
    pub fn new(certificate: &Certificate, peer: Peer, now: Instant, checked: usize) -> Result<Self, Failure> {
        let server = (peer.our_role == Role::Server).then(|| certificate.server.clone());
        let mut association =
            Association::new(server, certificate.client.clone(), certificate.provider.clone());
        if peer.our_role == Role::Client {
            association.connect(now)?;
        }
        let first_look = (peer.our_role == Role::Server).then(Default::default);
        let gcm_server = certificate.gcm_server.clone();
        let mut dtls = Self {
            association,
            peer,
            connected: false,
            allowance: HANDSHAKE_ALLOWANCE,
            first_look,
            gcm_server,
            outgoing: VecDeque::new(),
            received: VecDeque::new(),
            flight: Flight::default(),
            credit: Some(0),
            next_record: 0,
        };
        dtls.note_check(checked);
        dtls.collect(now);
        Ok(dtls)
    }

    /// An authentic check of the peer's: where we speak first, we may say more. Its own answer is no longer than itself,
    /// and comes out of the same credit.
    pub fn note_check(&mut self, octets: usize) {
        if self.peer.our_role == Role::Client {
            self.earn(octets, MAX_AMPLIFICATION - 1);
        }
    }

    fn earn(&mut self, octets: usize, factor: usize) {
        self.credit = self.credit.map(|left| left.saturating_add(octets.saturating_mul(factor)));
    }

    /// Takes one datagram. Answers go to [`Self::poll_transmit`].
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<Event>, Failure> {
        let factor = if self.peer.our_role == Role::Client { MAX_AMPLIFICATION } else { 1 };
        self.earn(datagram.len(), factor);
        if self.connected && is_handshake(datagram) {
            self.repeat_final_flight(now);
            return Ok(None);
        }
        if self.association.is_packed() && !is_sealed(datagram) {
            return Ok(None);
        }
        if !self.admit(datagram)? {
            return Ok(None);
        }
        let Some((look, held)) = &mut self.first_look else { return self.read(now, datagram) };
        held.push(datagram.into());
        match look.look(datagram, ALL_PROFILES[0] as u16) {
            Found::Nothing => return Ok(None),
            Found::Offer(true) => self.association.set_server_config(self.gcm_server.clone()),
            Found::Offer(false) | Found::Unreadable => {}
        }
        let held = self.first_look.take().map(|(_, held)| held).unwrap_or_default();
        let mut outcome = None;
        for datagram in held {
            outcome = self.read(now, &datagram)?.or(outcome);
        }
        Ok(outcome)
    }

    fn read(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<Event>, Failure> {
        let events = self.association.read(now, datagram);
        let outcome = self.handle_events(events);
        // Whatever came of it: an alert that explains a failure goes out, too.
        self.collect(now);
        if let Ok(Some(Event::Connected { .. })) = outcome {
            self.association.pack();
        }
        outcome
    }

    fn handle_events(
        &mut self,
        events: Result<Vec<EndpointEvent>, Failure>,
    ) -> Result<Option<Event>, Failure> {
        let events = match events {
            Ok(events) => events,
            // Once established, a record that does not fit is dropped, whoever made it (RFC 6347 §4.1.2.7).
            Err(Failure::Handshake(_)) if self.connected && self.association.is_open() => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let mut outcome = None;
        for event in events {
            match event {
                EndpointEvent::HandshakeComplete => outcome = Some(self.complete()?),
                EndpointEvent::PeerClosed => outcome = Some(Event::Closed),
                // Before the certificate was checked it is nobody's.
                EndpointEvent::ApplicationData(data) if self.connected => self.received.push_back(data),
                _ => {}
            }
        }
        Ok(outcome)
    }

    /// Takes what the supplier wants sent; while the handshake goes on, that is a new flight.
    fn collect(&mut self, now: Instant) {
        let mut datagrams = Vec::new();
        while let Some(datagram) = self.association.poll_transmit() {
            datagrams.push(datagram);
        }
        if datagrams.is_empty() {
            return;
        }
        // Whatever follows the first words needs something of ours that only its addressee knows: the cookie, or the
        // random that the server signs (RFC 6347 §4.2.1, RFC 5246 §7.4.3).
        if datagrams.iter().any(|datagram| !is_first_words(datagram)) {
            self.credit = None;
        }
        for datagram in &datagrams {
            self.send(datagram.clone());
        }
        let first_repeat = if self.connected { FINAL_PAUSE } else { FIRST_REPEAT };
        self.flight = Flight { datagrams, repeat_at: Some(now + first_repeat), repeats: 0 };
    }

    fn send(&mut self, mut datagram: BytesMut) {
        if let Some(credit) = &mut self.credit {
            let Some(left) = credit.checked_sub(datagram.len()) else { return };
            *credit = left;
        }
        number_plaintext_records(&mut datagram, &mut self.next_record);
        self.outgoing.push_back(datagram);
    }

    /// Whether the supplier may see these records. A handshake is a few kilobytes; what goes on beyond that, or comes
    /// in crumbs that make reassembly dear, is an attack on memory or time.
    fn admit(&mut self, datagram: &[u8]) -> Result<bool, Failure> {
        let mut rest = datagram;
        while let Some(header) = rest.get(..RECORD_HEADER) {
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some(body) = rest.get(RECORD_HEADER..RECORD_HEADER + length) else { return Ok(false) };
            if is_plaintext_handshake(rest) && is_crumb(body) {
                return Ok(false);
            }
            if !self.connected {
                self.allowance = self.allowance.checked_sub(RECORD_HEADER + length).ok_or(Failure::Flood)?;
            }
            rest = &rest[RECORD_HEADER + length..];
        }
        Ok(rest.is_empty() && !datagram.is_empty())
    }

    fn complete(&mut self) -> Result<Event, Failure> {
        let state =
            self.association.state().ok_or_else(|| Failure::Handshake("the association vanished".into()))?;
        let certificate = state.peer_certificates.first().ok_or(Failure::WrongFingerprint)?;
        if !self.peer.owns(certificate) {
            return Err(Failure::WrongFingerprint);
        }
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => Profile::Aes128CmSha1_80,
            _ => return Err(Failure::NoSrtp),
        };
        // RFC 5764 §4.2.
        let material =
            fence(|| state.export_keying_material("EXTRACTOR-dtls_srtp", &[], profile.keying_len()))?;
        let keys = Keys::from_dtls(profile, material.as_ref(), self.peer.our_role == Role::Client)
            .ok_or(Failure::NoSrtp)?;
        self.connected = true;
        Ok(Event::Connected { profile, keys: Box::new(keys) })
    }

    /// The client repeats its last flight, so ours was lost (RFC 6347 §4.2.4).
    fn repeat_final_flight(&mut self, now: Instant) {
        let is_early = self.flight.repeat_at.is_some_and(|at| now < at);
        if self.peer.our_role == Role::Client || is_early || self.flight.repeats >= MAX_REPEATS {
            return;
        }
        self.flight.repeats += 1;
        self.flight.repeat_at = Some(now + FINAL_PAUSE);
        self.repeat();
    }

    fn repeat(&mut self) {
        for index in 0..self.flight.datagrams.len() {
            self.send(self.flight.datagrams[index].clone());
        }
    }

    /// Repeats the last flight when its answer is late.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), Failure> {
        let is_due = self.flight.repeat_at.is_some_and(|at| at <= now);
        if self.connected || !is_due {
            return Ok(());
        }
        if self.flight.repeats >= MAX_REPEATS {
            return Err(Failure::Handshake("the client did not answer".into()));
        }
        self.flight.repeats += 1;
        self.flight.repeat_at =
            Some(now + (FIRST_REPEAT * (1 << self.flight.repeats.min(8))).min(LAST_REPEAT));
        self.repeat();
        Ok(())
    }

    /// The next datagram for the peer.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.outgoing.pop_front()
    }

    /// The next record of application data, in the clear. To be emptied after each datagram: one brings no more than it
    /// is long.
    pub fn poll_application_data(&mut self) -> Option<BytesMut> {
        self.received.pop_front()
    }

    /// Seals one record of application data into [`Self::poll_transmit`].
    pub fn send_application_data(&mut self, now: Instant, data: &[u8]) -> Result<(), Failure> {
        if !self.connected {
            return Ok(());
        }
        self.association.write(now, data)?;
        while let Some(datagram) = self.association.poll_transmit() {
            self.send(datagram);
        }
        Ok(())
    }

    /// Says goodbye; the last datagrams are in [`Self::poll_transmit`].
    pub fn close(&mut self, now: Instant) {
        self.association.close(now);
        self.collect(now);
    }
}

/// Whether the datagram begins with a handshake record, in the clear or sealed: nothing is ever negotiated again.
fn is_handshake(datagram: &[u8]) -> bool {
    matches!(datagram, [22, ..])
}

/// Whether it begins with an alert or application data under keys.
fn is_sealed(datagram: &[u8]) -> bool {
    matches!(datagram, [21 | 23, _, _, high, low, ..] if (*high, *low) != (0, 0))
}

/// Whether the datagram begins with a handshake record of epoch 0.
fn is_plaintext_handshake(datagram: &[u8]) -> bool {
    matches!(datagram, [22, _, _, 0, 0, ..])
}

/// Whether the datagram is a ClientHello or a HelloVerifyRequest.
fn is_first_words(datagram: &[u8]) -> bool {
    is_plaintext_handshake(datagram) && matches!(datagram.get(RECORD_HEADER), Some(1 | 3))
}

/// Gives each record of epoch 0 the next number. Encrypted ones keep theirs: it is part of their nonce.
fn number_plaintext_records(datagram: &mut [u8], next: &mut u64) {
    let mut rest = datagram;
    while let Some(header) = rest.get_mut(..RECORD_HEADER) {
        if header[3..5] == [0, 0] {
            header[5..11].copy_from_slice(&next.to_be_bytes()[2..]);
            *next += 1;
        }
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        rest = rest.get_mut(RECORD_HEADER + length..).unwrap_or_default();
    }
}

/// Whether a handshake record holds a fragment so small that only somebody wasting our time would send it: less than
/// [`MIN_FRAGMENT`] octets, and not the tail of its message.
fn is_crumb(mut body: &[u8]) -> bool {
    let u24 = |b: &[u8]| b.iter().fold(0, |value, octet| value << 8 | usize::from(*octet));
    while let Some(header) = body.get(..HANDSHAKE_HEADER) {
        let (length, offset, fragment) = (u24(&header[1..4]), u24(&header[6..9]), u24(&header[9..12]));
        if length > MAX_HANDSHAKE_MESSAGE || offset + fragment > length {
            return true;
        }
        if fragment < MIN_FRAGMENT && offset + fragment != length {
            return true;
        }
        let Some(rest) = body.get(HANDSHAKE_HEADER + fragment..) else { return true };
        body = rest;
    }
    !body.is_empty()
}

/// Runs the supplier's code; its panic is this association's failure.
fn fence<T, E: std::fmt::Display>(run: impl FnOnce() -> Result<T, E>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::Handshake(error.to_string())),
        Err(_) => Err(Failure::Handshake("the DTLS library panicked".into())),
    }
}

/// RFC 6347 §4.2.4.1 suggests a second; in a call people are waiting, and browsers begin with 50 ms.
const FIRST_REPEAT: Duration = Duration::from_millis(100);
const LAST_REPEAT: Duration = Duration::from_millis(1_600);
/// A flight repeated in several datagrams is answered once.
const FINAL_PAUSE: Duration = Duration::from_millis(30);
/// About 20 s.
const MAX_REPEATS: u32 = 14;
/// Four times what Chromium needs with its post-quantum ClientHello, two certificates and some repetition.
const HANDSHAKE_ALLOWANCE: usize = 64 * 1024;
const MAX_HANDSHAKE_MESSAGE: usize = 16 * 1024;
/// No path is so narrow that fragments must be smaller.
const MIN_FRAGMENT: usize = 32;
const MAX_FINGERPRINTS: usize = 16;
/// How much more we may say than an address has, while nothing proves that it listens: QUIC's measure (RFC 9000 §8.1).
/// It is for clients who let us speak first; to a ClientHello we answer with less than itself.
const MAX_AMPLIFICATION: usize = 3;
const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;

#[cfg(test)]
mod tests {
    use super::certificate::hex_pairs;
    use super::*;
    use wire::ortc::DtlsFingerprint;

    fn parameters(fingerprints: &[(&str, &str)]) -> DtlsParameters {
        let fingerprints = fingerprints
            .iter()
            .map(|(algorithm, value)| DtlsFingerprint {
                algorithm: (*algorithm).into(),
                value: (*value).into(),
            })
            .collect();
        DtlsParameters { role: DtlsRole::Client, fingerprints }
    }

    #[test]
    fn fingerprints_are_parsed_or_refused() {
        let good = hex_pairs(&[0xAB; 32]);
        assert!(Peer::parse(&parameters(&[("sha-256", &good)])).is_ok());
        assert!(Peer::parse(&parameters(&[("SHA-256", &good.to_lowercase())])).is_ok());
        assert!(Peer::parse(&parameters(&[("sha-1", "AB:CD"), ("sha-256", &good)])).is_ok());
        for bad in [
            &[][..],
            &[("sha-1", "AB:CD")],
            &[("sha-256", "AB:CD")],
            &[("sha-256", "")],
            &[("sha-512", &good)],
        ] {
            assert!(Peer::parse(&parameters(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    // Where the story begins; nothing in it takes time.
    #[allow(clippy::disallowed_methods)]
    fn an_association_is_packed_after_its_handshake_and_wakes_for_what_is_sealed() {
        let now = Instant::now();
        let make = |ours: &Certificate, theirs: &Certificate, role| {
            let their = DtlsParameters { role, fingerprints: vec![theirs.fingerprint().clone()] };
            // Checked enough for everything it has to say.
            Dtls::new(ours, Peer::parse(&their).unwrap(), now, 4_096).unwrap()
        };
        let [ours, theirs] = [Certificate::generate().unwrap(), Certificate::generate().unwrap()];
        let mut server = make(&ours, &theirs, DtlsRole::Client);
        let mut client = make(&theirs, &ours, DtlsRole::Server);
        let pass = |from: &mut Dtls, to: &mut Dtls| {
            let mut events = Vec::new();
            while let Some(datagram) = from.poll_transmit() {
                events.extend(to.handle_datagram(now, &datagram).unwrap());
            }
            events
        };
        let mut connected = 0;
        for _ in 0..6 {
            connected += pass(&mut client, &mut server).len() + pass(&mut server, &mut client).len();
        }
        assert_eq!(connected, 2);
        assert!(server.association.is_packed() && client.association.is_packed());
        // A repeated last flight, in the clear or sealed, and somebody's plaintext wake nobody.
        for bytes in [&[22, 254, 253, 0, 0][..], &[22, 254, 253, 0, 1], &[21, 254, 253, 0, 0], &[23], &[]] {
            server.handle_datagram(now, bytes).unwrap();
        }
        assert!(server.association.is_packed());
        for round in 0..3u8 {
            client.send_application_data(now, &[round; 40]).unwrap();
            pass(&mut client, &mut server);
            assert_eq!(server.poll_application_data().unwrap()[..], [round; 40]);
            server.send_application_data(now, &[round; 30]).unwrap();
            pass(&mut server, &mut client);
            assert_eq!(client.poll_application_data().unwrap()[..], [round; 30]);
        }
        // Seen before.
        client.send_application_data(now, b"once").unwrap();
        let record = client.poll_transmit().unwrap();
        for expected in [true, false] {
            server.handle_datagram(now, &record).unwrap();
            assert_eq!(server.poll_application_data().is_some(), expected);
        }
        server.association.pack();
        server.close(now);
        assert!(matches!(pass(&mut server, &mut client)[..], [Event::Closed]));
    }

    #[test]
    fn crumbs_are_told_from_tails() {
        let fragment = |length: usize, offset: usize, len: usize| {
            let mut bytes =
                vec![1, 0, (length >> 8) as u8, length as u8, 0, 0, 0, (offset >> 8) as u8, offset as u8];
            bytes.extend([0, (len >> 8) as u8, len as u8]);
            bytes.extend(std::iter::repeat_n(0, len));
            bytes
        };
        assert!(!is_crumb(&fragment(300, 0, 300)));
        assert!(!is_crumb(&fragment(300, 0, 200)));
        assert!(!is_crumb(&fragment(300, 290, 10)));
        assert!(is_crumb(&fragment(300, 0, 10)));
        assert!(is_crumb(&fragment(300, 200, 200)));
        assert!(is_crumb(&[1, 2, 3]));
    }
}
