//! Stories of whole calls, in memory and in virtual time: scripted clients with real ICE, DTLS and SRTP.

mod allocation;
mod attacks;
mod audio;
mod bandwidth;
mod browser_sctp;
mod client;
mod connecting;
mod cost;
mod data;
mod data_hostile;
mod data_pressure;
mod forwarding;
mod hostile;
mod late_thread;
mod layers;
mod loss;
mod reaching;
mod reports;
mod simulcast;
mod stats;

use crate::Error;
use crate::path::Path;
use crate::worker::{Config, Event, TapSink, Worker};
use client::{Client, Role};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::ortc::*;
use wire::{ConsumerId, ProducerId, RouterId, TransportId};

/// What taps heard.
#[derive(Default)]
pub struct Heard {
    pub packets: Vec<(u32, Vec<u8>)>,
    pub reports: Vec<(u32, u64, u32)>,
    /// The latest.
    pub round_trip_ms: Option<u32>,
}

impl TapSink for Heard {
    fn rtp(&mut self, tag: u32, _arrival: Instant, packet: &[u8]) {
        self.packets.push((tag, packet.to_vec()));
    }

    fn sender_report(&mut self, tag: u32, _arrival: Instant, ntp: u64, rtp_timestamp: u32) {
        self.reports.push((tag, ntp, rtp_timestamp));
    }

    fn round_trip(&mut self, _tag: u32, _now: Instant, ms: u32) {
        self.round_trip_ms = Some(ms);
    }
}

/// A worker, its clients and the time they share. Datagrams arrive at once, unless the story loses them.
pub struct World {
    pub now: Instant,
    pub worker: Worker,
    pub router: RouterId,
    pub clients: Vec<Client>,
    pub heard: Heard,
    pub events: Vec<Event>,
    /// Datagrams and octets the worker sent to addresses of no client.
    pub astray: Vec<(SocketAddr, Vec<u8>)>,
    pub sent_datagrams: usize,
    /// Percent of datagrams lost, each way; checks always arrive.
    pub loss_percent: u32,
    pub dice: StdRng,
    /// We sit behind a NAT that lets nobody in whom we have not written to. It knows these.
    pub nat: Option<HashSet<Path>>,
    /// One octet in so many of DTLS to the worker is changed.
    pub mangle: Option<u32>,
}

#[allow(clippy::disallowed_methods)]
pub fn epoch() -> Instant {
    // Any instant will do; it never moves but by hand.
    Instant::now()
}

impl World {
    pub fn new() -> Self {
        let now = epoch();
        let config = Config {
            announced: vec!["192.0.2.10:4000".parse().unwrap(), "[2001:db8::1]:4000".parse().unwrap()],
            announced_tcp: vec!["192.0.2.10:4000".parse().unwrap()],
            max_incoming_bitrate: 2_000_000,
            seed: [7; 32],
        };
        let mut worker = Worker::new(config, now).unwrap();
        let router = worker.create_router();
        Self {
            now,
            worker,
            router,
            clients: Vec::new(),
            heard: Heard::default(),
            events: Vec::new(),
            astray: Vec::new(),
            sent_datagrams: 0,
            loss_percent: 0,
            dice: StdRng::seed_from_u64(1),
            nat: None,
            mangle: None,
        }
    }

    /// A client with a transport, not yet connected.
    pub fn join(&mut self, direction: Direction, role: Role) -> usize {
        let options = self.worker.create_transport(self.now, self.router, direction).unwrap();
        let address = SocketAddr::from(([198, 51, 100, self.clients.len() as u8 + 1], 5_000));
        self.clients.push(Client::new(address, options, role, self.now));
        self.clients.len() - 1
    }

    pub fn connect(&mut self, client: usize) {
        let parameters = self.clients[client].dtls_parameters();
        self.worker.connect_transport(self.now, self.clients[client].transport, parameters).unwrap();
        self.check(client);
        self.settle();
        assert!(self.clients[client].is_connected(), "client {client}");
    }

    pub fn sender(&mut self) -> usize {
        let client = self.join(Direction::Send, Role::Client);
        self.connect(client);
        client
    }

    pub fn receiver(&mut self) -> usize {
        let client = self.join(Direction::Recv, Role::Client);
        self.connect(client);
        client
    }

    /// One connectivity check from the client's present address.
    pub fn check(&mut self, client: usize) {
        let request = self.clients[client].check(true);
        self.send(client, request);
    }

    /// A datagram from the client.
    pub fn send(&mut self, client: usize, datagram: Vec<u8>) {
        let from = self.clients[client].address;
        self.send_from(from, datagram);
    }

    pub fn send_from(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        self.send_over(from.into(), datagram);
    }

    pub fn send_over(&mut self, from: Path, mut datagram: Vec<u8>) {
        if self.nat.as_ref().is_some_and(|known| !known.contains(&from)) {
            return;
        }
        self.worker.handle_datagram(self.now, from, &mut datagram, &mut self.heard);
    }

    /// Carries datagrams to and fro until nobody has anything to say.
    pub fn settle(&mut self) {
        loop {
            let mut sent: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
            self.worker.flush(self.now, &mut |transmit| {
                if let Some(known) = &mut self.nat {
                    known.insert(Path { protocol: transmit.protocol, address: transmit.destination });
                }
                for segment in transmit.contents.chunks(transmit.segment_size) {
                    sent.push((transmit.destination, segment.to_vec()));
                }
            });
            while let Some(event) = self.worker.poll_event() {
                self.events.push(event);
            }
            self.sent_datagrams += sent.len();
            let mut answers = Vec::new();
            for (to, datagram) in sent {
                if self.is_lost(&datagram) {
                    continue;
                }
                match self.clients.iter_mut().find(|c| c.address == to) {
                    Some(client) => {
                        client.handle(self.now, datagram);
                        answers.extend(client.poll().map(|answer| (to, answer)));
                    }
                    None => self.astray.push((to, datagram)),
                }
            }
            for client in &mut self.clients {
                let from = client.address;
                answers.extend(client.poll().map(|answer| (from, answer)));
            }
            if answers.is_empty() {
                return;
            }
            for (from, mut answer) in answers {
                if let Some(mangle) = self.mangle {
                    let dice = &mut self.dice;
                    for octet in &mut answer {
                        *octet = if dice.random_range(0..mangle) == 0 { dice.random() } else { *octet };
                    }
                }
                if !self.is_lost(&answer) {
                    self.send_from(from, answer);
                }
            }
        }
    }

    fn is_lost(&mut self, datagram: &[u8]) -> bool {
        datagram.first().is_some_and(|first| *first > 3) && self.dice.random_range(0..100) < self.loss_percent
    }

    /// Lets time pass as the worker's caller would.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.worker.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.worker.handle_timeout(self.now);
            self.clients.iter_mut().for_each(|c| c.handle_timeout(self.now));
            self.settle();
        }
        self.now = end;
    }

    pub fn pass_ms(&mut self, ms: u64) {
        self.pass(Duration::from_millis(ms));
    }

    pub fn produce(&mut self, client: usize, kind: MediaKind, parameters: RtpParameters) -> ProducerId {
        let transport = self.clients[client].transport;
        self.worker.produce(self.now, transport, kind, parameters, false).unwrap()
    }

    pub fn consume(&mut self, client: usize, producer: ProducerId) -> ConsumerOptions {
        self.consume_as(client, producer, self.worker.router_rtp_capabilities())
    }

    /// By a device that tells nothing of its path: nobody shares out bandwidth.
    pub fn consume_unmeasured(&mut self, client: usize, producer: ProducerId) -> ConsumerOptions {
        let mut capabilities = self.worker.router_rtp_capabilities();
        capabilities.header_extensions.retain(|e| e.uri != rtp::ext::TRANSPORT_CC);
        self.consume_as(client, producer, capabilities)
    }

    pub fn consume_as(
        &mut self,
        client: usize,
        producer: ProducerId,
        capabilities: RtpCapabilities,
    ) -> ConsumerOptions {
        let transport = self.clients[client].transport;
        let options = self.worker.consume(self.now, transport, producer, &capabilities, true).unwrap();
        self.worker.resume_consumer(self.now, options.id).unwrap();
        self.settle();
        options
    }
}

/// Chromium's numbers for extensions.
pub const MID_ID: u8 = 4;
pub const LEVEL_ID: u8 = 1;
pub const ORIENTATION_ID: u8 = 13;
pub const ABS_SEND_TIME_ID: u8 = 2;
pub const TRANSPORT_CC_ID: u8 = 3;
/// The router's number of it, which consumers get.
pub const CONSUMED_TRANSPORT_CC_ID: u8 = 5;
pub const RID_ID: u8 = 10;
pub const REPAIRED_RID_ID: u8 = 11;

fn extensions() -> serde_json::Value {
    json!([
        { "uri": rtp::ext::MID, "id": MID_ID },
        { "uri": rtp::ext::ABS_SEND_TIME, "id": ABS_SEND_TIME_ID },
        { "uri": rtp::ext::TRANSPORT_CC, "id": TRANSPORT_CC_ID },
        { "uri": rtp::ext::RTP_STREAM_ID, "id": RID_ID },
        { "uri": rtp::ext::REPAIRED_RTP_STREAM_ID, "id": REPAIRED_RID_ID },
        { "uri": rtp::ext::SSRC_AUDIO_LEVEL, "id": LEVEL_ID },
        { "uri": rtp::ext::VIDEO_ORIENTATION, "id": ORIENTATION_ID },
    ])
}

fn feedback() -> serde_json::Value {
    json!([
        { "type": "goog-remb" }, { "type": "transport-cc" }, { "type": "ccm", "parameter": "fir" },
        { "type": "nack" }, { "type": "nack", "parameter": "pli" },
    ])
}

pub const VIDEO_SSRC: u32 = 3_110_999_129;
pub const RTX_SSRC: u32 = 3_525_168_694;
pub const AUDIO_SSRC: u32 = 3_791_156_566;

/// Video as Chromium sends it, payload types 96 and 97.
pub fn vp8() -> RtpParameters {
    serde_json::from_value(json!({
        "mid": "1",
        "codecs": [
            { "mimeType": "video/VP8", "payloadType": 96, "clockRate": 90000, "rtcpFeedback": feedback() },
            { "mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000, "parameters": { "apt": 96 } },
        ],
        "headerExtensions": extensions(),
        "encodings": [{ "ssrc": VIDEO_SSRC, "rtx": { "ssrc": RTX_SSRC } }],
        "rtcp": { "cname": "guest", "reducedSize": true },
        "msid": "stream track",
    }))
    .unwrap()
}

/// Two layers without SSRCs.
pub fn simulcast() -> RtpParameters {
    let mut parameters = vp8();
    parameters.mid = Some("2".into());
    let layer = |rid: &str| RtpEncodingParameters { rid: Some(rid.into()), ..Default::default() };
    parameters.encodings = vec![layer("r0"), layer("r1")];
    parameters
}

pub fn opus() -> RtpParameters {
    serde_json::from_value(json!({
        "mid": "0",
        "codecs": [{ "mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2,
            "parameters": { "minptime": 10, "useinbandfec": 1 }, "rtcpFeedback": [{ "type": "transport-cc" }] }],
        "headerExtensions": extensions(),
        "encodings": [{ "ssrc": AUDIO_SSRC }],
        "rtcp": { "cname": "guest" },
    }))
    .unwrap()
}

/// A VP8 payload: descriptor with 15-bit picture id, then the first octets of a key or delta frame.
pub fn vp8_payload(picture: u16, key: bool, len: usize) -> Vec<u8> {
    let mut payload = vec![0x90, 0x80, 0x80 | (picture >> 8) as u8, picture as u8, u8::from(!key)];
    payload.extend((0..len).map(|n| (n * 7 + usize::from(picture)) as u8));
    payload
}

/// A picture in one packet, 30 a second.
pub fn vp8_packet(sequence: u64, key: bool, len: usize) -> client::Outgoing {
    client::Outgoing {
        ssrc: VIDEO_SSRC,
        payload_type: 96,
        sequence,
        timestamp: sequence as u32 * 3_000,
        payload: vp8_payload(sequence as u16, key, len),
        ..Default::default()
    }
}
