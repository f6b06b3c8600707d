//! What arrives on the socket, told apart: checks, handshakes, media (RFC 7983).

use super::ahead::TOGETHER;
use super::{Event, TapSink, Worker};
use crate::dtls::{self, Dtls, Peer};
use crate::ice;
use crate::path::{Path, Protocol};
use crate::stun::{self, Kind, Message};
use crate::transport::Security;
use rtp::packet::{Class, classify};
use std::time::{Duration, Instant};

/// One of a batch: which way it came, and what it is.
pub type Datagram<'d> = (Path, &'d mut [u8]);

impl Worker {
    /// Takes one datagram; it is decrypted in place. Whatever is not authentic is counted and dropped.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: impl Into<Path>,
        datagram: &mut [u8],
        taps: &mut dyn TapSink,
    ) {
        self.handle_datagram_over(now, from.into(), datagram, taps);
    }

    /// The same for datagrams that came together, which costs less: see [`super::ahead`].
    pub fn handle_datagrams(&mut self, now: Instant, datagrams: &mut [Datagram<'_>], taps: &mut dyn TapSink) {
        for some in datagrams.chunks_mut(TOGETHER) {
            self.prefetch_received(some);
            for (from, datagram) in some {
                self.handle_datagram_over(now, *from, datagram, taps);
            }
        }
    }

    fn handle_datagram_over(
        &mut self,
        now: Instant,
        from: Path,
        datagram: &mut [u8],
        taps: &mut dyn TapSink,
    ) {
        self.now = self.now.max(now);
        let class = classify(datagram);
        if class == Class::Stun {
            return self.handle_stun(now, from, datagram);
        }
        let Some(&key) = self.by_path.get(&from) else {
            self.discarded += 1;
            return;
        };
        let transport = &mut self.transports[key];
        transport.ice.note_source(from);
        transport.traffic.received += datagram.len() as u64;
        let ms = self.clock.ms(now);
        transport.traffic.receive_rate.record(ms, datagram.len());
        if matches!(class, Class::Rtcp | Class::Dtls) {
            transport.traffic.control_received.record(ms, datagram.len());
        }
        match class {
            Class::Rtp => self.handle_rtp(now, key, datagram, taps),
            Class::Rtcp => self.handle_rtcp(now, key, datagram, taps),
            Class::Dtls => self.handle_dtls(now, key, datagram),
            Class::Stun | Class::Other => self.transports[key].traffic.discarded += 1,
        }
    }

    fn handle_stun(&mut self, now: Instant, from: Path, datagram: &[u8]) {
        let Some(message) = Message::parse(datagram) else {
            self.discarded += u64::from(!self.is_reflexive_answer(now, from, datagram));
            return;
        };
        match message.kind {
            Kind::Request => self.handle_check(now, from, &message),
            Kind::Success | Kind::Failure => {
                if !self.is_reflexive_answer(now, from, datagram) {
                    self.handle_check_answer(now, from, &message);
                }
            }
            // Keepalives (RFC 8445 §11) prove nothing.
            Kind::Indication => {}
        }
    }

    /// Takes what a STUN server answers.
    fn is_reflexive_answer(&mut self, now: Instant, from: Path, datagram: &[u8]) -> bool {
        from.protocol == Protocol::Udp && self.reflexive.handle(now, from.address, datagram)
    }

    fn handle_check(&mut self, now: Instant, from: Path, request: &Message<'_>) {
        let key =
            request.username.and_then(|u| u.split_once(':')).and_then(|(ours, _)| self.by_fragment.get(ours));
        let Some(key) = key.copied() else {
            self.discarded += 1;
            return;
        };
        if !self.transports[key].ice.is_authentic(request) || self.is_taken(now, from, key) {
            self.transports[key].traffic.discarded += 1;
            return;
        }
        let mut buffer = [0; stun::CAPACITY];
        let transport = &mut self.transports[key];
        transport.note_check(request.len());
        let (reply, effects) = transport.ice.handle_request(now, from, request, &mut buffer);
        self.control.push(from, reply);
        self.on_ice_effects(now, key, effects);
    }

    /// The answer to a check of ours; its transaction says of which transport ([`Self::tick_ice`]).
    fn handle_check_answer(&mut self, now: Instant, from: Path, answer: &Message<'_>) {
        let [a, b, c, d, ..] = answer.transaction;
        let key = u32::from_be_bytes([a, b, c, d]) as usize;
        let is_free = !self.is_taken(now, from, key);
        let effects = self
            .transports
            .get_mut(key)
            .filter(|_| is_free)
            .and_then(|t| t.ice.handle_answer(now, from, answer));
        match effects {
            Some(effects) => self.on_ice_effects(now, key, effects),
            None => self.discarded += 1,
        }
    }

    fn on_ice_effects(&mut self, now: Instant, key: usize, effects: ice::Effects) {
        if let Some(path) = effects.forgotten {
            self.by_path.remove(&path);
        }
        if let Some(path) = effects.validated
            && let Some(other) = self.by_path.insert(path, key)
            && other != key
        {
            self.transports[other].ice.forget(path);
        }
        if let Some(fragment) = effects.retired {
            self.by_fragment.remove(&fragment);
        }
        if effects.state_changed {
            self.on_ice_alive(now, key);
        }
    }

    /// A path that another transport used moments ago is not given away: somebody may be forging its address.
    fn is_taken(&self, now: Instant, from: Path, key: usize) -> bool {
        let Some(&other) = self.by_path.get(&from).filter(|other| **other != key) else { return false };
        let ice = &self.transports[other].ice;
        let used_recently =
            ice.last_check(from).is_some_and(|at| now.saturating_duration_since(at) < RELEASE_AFTER);
        used_recently && ice.state() == ice::State::Connected
    }

    /// The path works, for the first time or again.
    pub(super) fn on_ice_alive(&mut self, now: Instant, key: usize) {
        let transport = &mut self.transports[key];
        if let Security::Ready(peer) = &transport.security {
            let peer = peer.clone();
            self.start_handshake(now, key, peer);
        } else if transport.is_connected() {
            self.on_media_possible(now, key);
        }
    }

    fn handle_dtls(&mut self, now: Instant, key: usize, datagram: &[u8]) {
        match &mut self.transports[key].security {
            Security::Waiting { early } if early.len() < MAX_EARLY && datagram.len() <= MAX_EARLY_LEN => {
                early.push(datagram.into());
            }
            Security::Handshaking(_) | Security::Connected { .. } => {
                self.handle_handshake(now, key, datagram)
            }
            _ => self.transports[key].traffic.discarded += 1,
        }
    }

    pub(super) fn start_handshake(&mut self, now: Instant, key: usize, peer: Peer) {
        match Dtls::new(&self.certificate, peer, now, self.transports[key].checked) {
            Ok(dtls) => {
                self.transports[key].security = Security::Handshaking(Box::new(dtls));
                self.send_handshake(key);
            }
            Err(failure) => self.on_dtls_failure(key, &failure),
        }
    }

    pub(super) fn handle_handshake(&mut self, now: Instant, key: usize, datagram: &[u8]) {
        let transport = &mut self.transports[key];
        let (Security::Handshaking(dtls) | Security::Connected { dtls, .. }) = &mut transport.security else {
            return;
        };
        let outcome = dtls.handle_datagram(now, datagram);
        self.send_handshake(key);
        match outcome {
            Ok(None) => self.handle_application_data(now, key),
            Ok(Some(dtls::Event::Connected { profile, keys })) => {
                let transport = &mut self.transports[key];
                let before = std::mem::replace(&mut transport.security, Security::Failed);
                if let Security::Handshaking(dtls) = before {
                    transport.security = Security::Connected { dtls, keys, profile };
                    self.on_media_possible(now, key);
                    self.handle_application_data(now, key);
                }
            }
            Ok(Some(dtls::Event::Closed)) => {
                self.transports[key].security = Security::Closed;
                let transport = self.transports[key].id;
                self.emit(Event::TransportClosed { transport });
            }
            Err(failure) => self.on_dtls_failure(key, &failure),
        }
    }

    /// Sends what the handshake has to say.
    pub(super) fn send_handshake(&mut self, key: usize) {
        let transport = &mut self.transports[key];
        let to = transport.ice.selected();
        let (Security::Handshaking(dtls) | Security::Connected { dtls, .. }) = &mut transport.security else {
            return;
        };
        while let Some(datagram) = dtls.poll_transmit() {
            if let Some(to) = to {
                self.control.push(to, &datagram);
            }
        }
    }

    pub(super) fn on_dtls_failure(&mut self, key: usize, failure: &dtls::Failure) {
        let transport = &mut self.transports[key];
        transport.security = Security::Failed;
        let (transport, reason) = (transport.id, failure.to_string());
        tracing::debug!(%transport, %reason, "DTLS failed");
        self.emit(Event::TransportFailed { transport, reason });
    }

    fn on_media_possible(&mut self, now: Instant, key: usize) {
        let transport = &mut self.transports[key];
        transport.next_report = 0;
        let id = transport.id;
        self.emit(Event::TransportConnected { transport: id });
        // Consumers that were resumed before missed their keyframe.
        let transport = &self.transports[key];
        let producers: Vec<usize> = transport.consumers.iter().map(|c| self.consumers[*c].producer).collect();
        for producer in producers {
            self.request_wanted_keyframes(now, producer);
        }
    }
}

/// Two checks of Chromium's slowest pace.
const RELEASE_AFTER: Duration = Duration::from_secs(5);
/// A ClientHello in two pieces, and its repetition.
const MAX_EARLY: usize = 4;
const MAX_EARLY_LEN: usize = 2_048;
