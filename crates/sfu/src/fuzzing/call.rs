//! A whole worker in a call, fed with datagrams: of a handshake that is not finished, or of clients who hold the keys.

use crate::dtls::Dtls;
use crate::path::Path;
use crate::srtp::{Keys, Profile};
use crate::stun::{self, Kind, Role, Writer};
use crate::worker::{Config, TapSink, Worker};
use rtp::fuzzing::records;
use rtp::packet::Packet;
use serde_json::json;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::ortc::*;
use wire::{ProducerId, TransportId};

struct Deaf;

impl TapSink for Deaf {
    fn rtp(&mut self, _: u32, _: Instant, packet: &[u8]) {
        black_box(packet);
    }
    fn sender_report(&mut self, _: u32, _: Instant, _: u64, _: u32) {}
    fn round_trip(&mut self, _: u32, _: Instant, _: u32) {}
}

/// A worker and its time.
pub struct Call {
    pub worker: Worker,
    pub now: Instant,
}

impl Call {
    #[allow(clippy::disallowed_methods)]
    pub fn new() -> Self {
        // Any instant will do; it never moves but by hand.
        let now = Instant::now();
        let config = Config {
            announced: Vec::new(),
            announced_tcp: Vec::new(),
            max_incoming_bitrate: 2_000_000,
            seed: [3; 32],
        };
        Self { worker: Worker::new(config, now).expect("a worker"), now }
    }

    /// A transport whose client has proven to be at `from`.
    pub fn transport(&mut self, direction: Direction, from: Path) -> TransportOptions {
        let known = self.worker.routers().next();
        let router = known.unwrap_or_else(|| self.worker.create_router());
        let options = self.worker.create_transport(self.now, router, direction).expect("a transport");
        let IceParameters { username_fragment, password, .. } = &options.ice_parameters;
        let mut buffer = [0; stun::CAPACITY];
        let mut check = Writer::new(&mut buffer, Kind::Request, &[1; 12])
            .username(&format!("{username_fragment}:them"))
            .priority(1)
            .role(Role::Controlling, 1)
            .use_candidate()
            .finish(&stun::integrity_key(password))
            .to_vec();
        self.handle(from, &mut check);
        options
    }

    /// And whose handshake has come to its end; with the client's keys.
    pub fn secured(&mut self, direction: Direction, from: Path) -> (TransportOptions, Keys) {
        let options = self.transport(direction, from);
        let material: Vec<u8> = (0..Profile::AeadAes128Gcm.keying_len() as u8).collect();
        let pair =
            |we_are_client| Keys::from_dtls(Profile::AeadAes128Gcm, &material, we_are_client).expect("keys");
        self.worker.secure(self.now, options.id, pair(false));
        (options, pair(true))
    }

    pub fn produce(
        &mut self,
        transport: TransportId,
        kind: MediaKind,
        parameters: RtpParameters,
    ) -> ProducerId {
        self.worker.produce(self.now, transport, kind, parameters, false).expect("a producer")
    }

    pub fn handle(&mut self, from: Path, datagram: &mut [u8]) {
        self.worker.handle_datagram(self.now, from, datagram, &mut Deaf);
    }

    pub fn pass(&mut self, duration: Duration) {
        self.pass_and_see(duration, |_, sent| _ = black_box(sent.len()));
    }

    /// Lets time pass, and shows each datagram that goes out.
    pub fn pass_and_see(&mut self, duration: Duration, mut see: impl FnMut(Path, &[u8])) {
        self.now += duration;
        self.worker.handle_timeout(self.now);
        self.worker.flush(self.now, &mut |transmit| {
            let to = Path { protocol: transmit.protocol, address: transmit.destination };
            transmit.contents.chunks(transmit.segment_size).for_each(|datagram| see(to, datagram));
        });
        while self.worker.poll_event().is_some() {}
    }
}

/// Datagrams of a client whose address is known and whose certificate is not: each record is one. The first octet says
/// who is the DTLS client.
pub fn handshake(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut call = Call::new();
    let from = Path::from(SocketAddr::from(([198, 51, 100, 1], 5_000)));
    let transport = call.transport(Direction::Send, from).id;
    let role = if choice & 1 == 0 { DtlsRole::Client } else { DtlsRole::Server };
    let fingerprint = DtlsFingerprint { algorithm: "sha-256".into(), value: ["AB"; 32].join(":") };
    let parameters = DtlsParameters { role, fingerprints: vec![fingerprint] };
    call.worker.connect_transport(call.now, transport, parameters).expect("they are valid");
    for (control, body) in records(rest) {
        // What classification would drop says nothing of DTLS.
        let mut datagram = body.to_vec();
        if let Some(first) = datagram.first_mut().filter(|_| control & 1 == 0) {
            *first = 20 + *first % 44;
        }
        call.handle(from, &mut datagram);
        call.pass(Duration::from_millis(u64::from(control >> 4) * 30));
    }
}

/// Packets of two clients who hold the keys, so that everything behind decryption is reached. The first octet chooses
/// the codec, each record's first what it is.
pub fn media(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let mut call = Call::new();
    let paths = [1, 2].map(|n| Path::from(SocketAddr::from(([198, 51, 100, n], 5_000))));
    let (sender, senders_keys) = call.secured(Direction::Send, paths[0]);
    let (receiver, receivers_keys) = call.secured(Direction::Recv, paths[1]);
    let mut keys = [senders_keys, receivers_keys];
    let video = video(*choice);
    let payload_type = video.codecs[0].payload_type;
    let producers = [(MediaKind::Audio, opus()), (MediaKind::Video, video)]
        .map(|(kind, parameters)| call.produce(sender.id, kind, parameters));
    let mut ssrcs = Vec::new();
    for producer in producers {
        let mut capabilities = call.worker.router_rtp_capabilities();
        if choice & 0x40 != 0 {
            capabilities.codecs.push(serde_json::from_value(red()).expect("a valid capability"));
        }
        let consumer =
            call.worker.consume(call.now, receiver.id, producer, &capabilities, false).expect("a consumer");
        ssrcs.extend(consumer.rtp_parameters.encodings.iter().filter_map(|e| e.ssrc));
        call.worker.tap(call.now, producer, 1).expect("a tap");
    }
    let mut sequences = [0u64; 256];
    for (control, body) in records(rest) {
        let [client, kind] = [control & 1, control >> 1 & 3].map(usize::from);
        let mut packet = match kind {
            // A packet of a stream that is known, with extensions and payload of the fuzzer's.
            0 => well_formed(body, payload_type, &mut sequences),
            1 => body.to_vec(),
            2 => {
                let mut compound = body.to_vec();
                // About something we sent: of that nobody knows the number by chance.
                if let (Some(about), true) = (compound.get_mut(8..12), control & 8 != 0) {
                    about.copy_from_slice(&ssrcs[usize::from(control >> 4) % ssrcs.len()].to_be_bytes());
                }
                if keys[client].outbound.protect_rtcp(&mut compound, 0).is_ok() {
                    call.handle(paths[client], &mut compound);
                }
                continue;
            }
            _ => {
                call.pass(Duration::from_millis(u64::from(control >> 3) * 8));
                continue;
            }
        };
        let Ok(header) = Packet::parse_header(&packet) else { continue };
        let (header_len, index) = (header.header_len(), u64::from(header.sequence_number()));
        packet.resize(packet.len() + keys[client].outbound.rtp_overhead(), 0);
        if keys[client].outbound.protect_rtp(&mut packet, header_len, index).is_ok() {
            call.handle(paths[client], &mut packet);
        }
    }
    call.pass(Duration::from_millis(50));
}

/// `[stream and marker, step of the sequence number, step of the timestamp, length of extensions, extensions …, payload …]`.
fn well_formed(body: &[u8], video: u8, sequences: &mut [u64; 256]) -> Vec<u8> {
    let [stream, step, tick, words, rest @ ..] = body else { return Vec::new() };
    let (ssrc, payload_type) =
        [(11u32, 111), (21, video), (22, video + 1), (0, video)][usize::from(stream & 3)];
    let payload_type = if ssrc == 11 && stream & 0x10 != 0 { 63 } else { payload_type };
    // Without an SSRC told before, it is learnt from extensions.
    let ssrc = if ssrc == 0 { 30 + u32::from(stream >> 4) } else { ssrc };
    let sequence = &mut sequences[ssrc as usize];
    *sequence = sequence.wrapping_add_signed(i64::from(*step as i8));
    let (extensions, payload) = rest.split_at(usize::from(words % 16 * 4).min(rest.len() / 4 * 4));
    let profile = if stream & 8 == 0 { 0xBEDEu16 } else { 0x1000 };
    let mut packet = vec![0x90, payload_type | (stream << 5 & 0x80)];
    packet.extend((*sequence as u16).to_be_bytes());
    packet.extend((*sequence as u32).wrapping_mul(u32::from(*tick)).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(profile.to_be_bytes());
    packet.extend((extensions.len() as u16 / 4).to_be_bytes());
    packet.extend_from_slice(extensions);
    packet.extend_from_slice(payload);
    packet
}

/// Somebody with these capabilities wants everything there is.
pub fn consume_with(capabilities: &RtpCapabilities) {
    let mut call = Call::new();
    let path = Path::from(SocketAddr::from(([198, 51, 100, 1], 5_000)));
    let sender = call.transport(Direction::Send, path).id;
    let receiver = call.transport(Direction::Recv, path).id;
    for (kind, parameters) in
        [(MediaKind::Audio, opus()), (MediaKind::Video, video(0)), (MediaKind::Video, video(2))]
    {
        if let Ok(producer) = call.worker.produce(call.now, sender, kind, parameters, false) {
            black_box(call.worker.consume(call.now, receiver, producer, capabilities, false).is_ok());
        }
    }
}

/// Somebody says that this is what they send; who receives it gets parameters made from it.
pub fn produce_and_consume(kind: MediaKind, parameters: &RtpParameters) {
    let mut call = Call::new();
    let path = Path::from(SocketAddr::from(([198, 51, 100, 1], 5_000)));
    let sender = call.transport(Direction::Send, path).id;
    let receiver = call.transport(Direction::Recv, path).id;
    let producer = call.worker.produce(call.now, sender, kind, parameters.clone(), false);
    if let Ok(producer) = producer {
        let capabilities = call.worker.router_rtp_capabilities();
        black_box(call.worker.consume(call.now, receiver, producer, &capabilities, false).is_ok());
        black_box(call.worker.producer_stats(call.now, producer).len());
        call.pass(Duration::from_secs(1));
    }
}

fn extensions() -> serde_json::Value {
    json!([
        { "uri": rtp::ext::MID, "id": 4 },
        { "uri": rtp::ext::ABS_SEND_TIME, "id": 2 },
        { "uri": rtp::ext::TRANSPORT_CC, "id": 3 },
        { "uri": rtp::ext::RTP_STREAM_ID, "id": 10 },
        { "uri": rtp::ext::REPAIRED_RTP_STREAM_ID, "id": 11 },
        { "uri": rtp::ext::DEPENDENCY_DESCRIPTOR, "id": 12 },
        { "uri": rtp::ext::SSRC_AUDIO_LEVEL, "id": 1 },
        { "uri": rtp::ext::VIDEO_ORIENTATION, "id": 13 },
        { "uri": rtp::ext::PLAYOUT_DELAY, "id": 5 },
        { "uri": rtp::ext::ABS_CAPTURE_TIME, "id": 6 },
    ])
}

pub fn opus() -> RtpParameters {
    let value = json!({
        "mid": "0",
        "codecs": [{ "mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2,
            "rtcpFeedback": [{ "type": "transport-cc" }, { "type": "nack" }] }, red()],
        "headerExtensions": extensions(), "encodings": [{ "ssrc": 11 }], "rtcp": { "cname": "guest" },
    });
    serde_json::from_value(value).expect("valid parameters")
}

fn red() -> serde_json::Value {
    json!({ "kind": "audio", "mimeType": "audio/red", "payloadType": 63, "clockRate": 48000, "channels": 2 })
}

/// VP8, VP9, H.264 and AV1, each as one stream and as simulcast.
fn video(choice: u8) -> RtpParameters {
    let (mime, parameters) = match choice % 4 {
        0 => ("video/VP8", json!({})),
        1 => ("video/VP9", json!({ "profile-id": 0 })),
        2 => (
            "video/H264",
            json!({ "level-asymmetry-allowed": 1, "packetization-mode": 1, "profile-level-id": "42e01f" }),
        ),
        _ => ("video/AV1", json!({})),
    };
    let encodings = match choice & 4 {
        0 => json!([{ "ssrc": 21, "rtx": { "ssrc": 22 }, "scalabilityMode": "L3T3" }]),
        _ => json!([{ "rid": "a" }, { "rid": "b" }, { "rid": "c" }]),
    };
    let value = json!({
        "mid": "1",
        "codecs": [
            { "mimeType": mime, "payloadType": 96, "clockRate": 90000, "parameters": parameters, "rtcpFeedback": [
                { "type": "goog-remb" }, { "type": "transport-cc" }, { "type": "ccm", "parameter": "fir" },
                { "type": "nack" }, { "type": "nack", "parameter": "pli" }] },
            { "mimeType": "video/rtx", "payloadType": 97, "clockRate": 90000, "parameters": { "apt": 96 } },
        ],
        "headerExtensions": extensions(), "encodings": encodings, "rtcp": { "cname": "guest" },
    });
    serde_json::from_value(value).expect("valid parameters")
}

impl Worker {
    /// As if the client's handshake had come to an end with these keys.
    fn secure(&mut self, now: Instant, transport: TransportId, keys: Keys) {
        let fingerprint = DtlsFingerprint { algorithm: "sha-256".into(), value: ["AB"; 32].join(":") };
        let parameters = DtlsParameters { role: DtlsRole::Client, fingerprints: vec![fingerprint] };
        let peer = crate::dtls::Peer::parse(&parameters).expect("they are valid");
        let dtls = Dtls::new(self.certificate(), peer, now, 0).expect("an association");
        self.adopt_keys(now, transport, dtls, keys);
    }
}
