//! Guests whose camera and microphone are recordings: they join by an invite, wait to be let in, and send in time.

use crate::connection::Connection;
use crate::dtls_client::Identity;
use crate::greenroom::{FEEDBACK, TRANSPORT_CC_ID, connect};
use crate::packetise::Packetiser;
use crate::process::{ntp, realtime_ns};
use crate::publisher::MID_ID;
use crate::recording::{Codec, Recording};
use crate::socket_io::SocketIo;
use anyhow::Result;
use rtp::rtcp::{SenderInfo, write_sender_report};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where to go and as whom.
#[derive(Clone, Debug)]
pub struct Invitation {
    pub control: SocketAddr,
    pub room: String,
    pub token: String,
    pub name: String,
}

/// Somebody with a camera and a microphone.
pub struct RecordedGuest {
    signaling: SocketIo,
    connection: Connection,
    transport_sequence: u16,
    tracks: Vec<Track>,
}

/// One recording on its way out, over and over.
struct Track {
    recording: Arc<Recording>,
    packetiser: Packetiser,
    payload_type: u8,
    ssrc: u32,
    mid: u8,
    sequence: u64,
    octets: u32,
    next_frame: usize,
    /// Frames sent, also of earlier rounds.
    sent: u32,
    begin: Instant,
}

impl RecordedGuest {
    pub fn join(to: &Invitation, number: u32, tracks: &[Arc<Recording>]) -> Result<Self> {
        let mut signaling = SocketIo::connect(to.control)?;
        let join = json!({ "roomId": to.room, "token": to.token, "displayName": to.name });
        signaling.ask("join-room", join)?;
        let (transport, connection) = connect(&mut signaling, &Identity::generate()?, "send")?;
        let tracks: Vec<Track> =
            (0..).zip(tracks).map(|(mid, recording)| Track::new(recording.clone(), number, mid)).collect();
        for track in &tracks {
            let request = json!({
                "transportId": transport, "kind": track.kind(), "appData": {},
                "rtpParameters": track.parameters(&format!("recorded-{number}")),
            });
            signaling.ask("produce", request)?;
        }
        Ok(Self { signaling, connection, transport_sequence: 0, tracks })
    }

    fn send_due(&mut self, now: Instant) -> Result<()> {
        for track in &mut self.tracks {
            while track.due() <= now {
                track.send(&mut self.connection, &mut self.transport_sequence)?;
            }
        }
        Ok(())
    }

    fn next_due(&self) -> Option<Instant> {
        self.tracks.iter().map(Track::due).min()
    }

    /// Reports and a check; what the server said is read away.
    fn look_after(&mut self) -> Result<()> {
        let check = self.connection.ice.check();
        let _ = self.connection.socket.send(&check);
        for track in &self.tracks {
            let sealed = self.connection.keys.seal_rtcp(track.report())?;
            let _ = self.connection.socket.send(&sealed);
        }
        let mut buffer = [0; 2048];
        while self.connection.socket.recv(&mut buffer).is_ok() {}
        self.signaling.keep_alive()
    }
}

impl Track {
    fn new(recording: Arc<Recording>, guest: u32, mid: u8) -> Self {
        let codec = recording.codec;
        let payload_type = match codec {
            Codec::Opus => 111,
            Codec::Vp8 => 96,
            Codec::H264 => 102,
        };
        Self {
            recording,
            packetiser: Packetiser::new(codec),
            payload_type,
            ssrc: 0x2000_0000 + guest * 16 + u32::from(mid),
            mid,
            sequence: 1,
            octets: 0,
            next_frame: 0,
            sent: 0,
            begin: Instant::now(),
        }
    }

    fn kind(&self) -> &'static str {
        if self.recording.codec == Codec::Opus { "audio" } else { "video" }
    }

    fn clock_rate(&self) -> u32 {
        if self.recording.codec == Codec::Opus { 48_000 } else { 90_000 }
    }

    fn parameters(&self, cname: &str) -> Value {
        let feedback = FEEDBACK.map(|(kind, parameter)| json!({ "type": kind, "parameter": parameter }));
        let codecs = match self.recording.codec {
            Codec::Opus => json!([{
                "mimeType": "audio/opus", "payloadType": self.payload_type, "clockRate": 48_000, "channels": 2,
                "parameters": { "minptime": 10, "useinbandfec": 1 },
                "rtcpFeedback": [{ "type": "transport-cc", "parameter": "" }],
            }]),
            Codec::Vp8 => json!([{
                "mimeType": "video/VP8", "payloadType": self.payload_type, "clockRate": 90_000, "rtcpFeedback": feedback,
            }]),
            Codec::H264 => json!([{
                "mimeType": "video/H264", "payloadType": self.payload_type, "clockRate": 90_000, "rtcpFeedback": feedback,
                "parameters": { "packetization-mode": 1, "profile-level-id": "42e01f", "level-asymmetry-allowed": 1 },
            }]),
        };
        json!({
            "mid": self.mid.to_string(),
            "codecs": codecs,
            "headerExtensions": [
                { "uri": rtp::ext::MID, "id": MID_ID },
                { "uri": rtp::ext::TRANSPORT_CC, "id": TRANSPORT_CC_ID },
            ],
            "encodings": [{ "ssrc": self.ssrc }],
            "rtcp": { "cname": cname, "reducedSize": true },
        })
    }

    fn due(&self) -> Instant {
        self.begin + self.recording.period * self.sent
    }

    /// On the stream's clock, which began with 0.
    fn timestamp(&self, since: Duration) -> u32 {
        (since.as_nanos() * u128::from(self.clock_rate()) / 1_000_000_000) as u32
    }

    fn send(&mut self, connection: &mut Connection, transport_sequence: &mut u16) -> Result<()> {
        let timestamp = self.timestamp(self.recording.period * self.sent);
        let payloads = self.packetiser.cut(&self.recording.frames[self.next_frame]);
        let count = payloads.len();
        for (index, payload) in payloads.iter().enumerate() {
            // Of a picture the last packet is marked; of sound only the first after silence would be.
            let marked = self.recording.codec != Codec::Opus && index + 1 == count;
            self.send_packet(connection, transport_sequence, marked, timestamp, payload)?;
        }
        self.next_frame = (self.next_frame + 1) % self.recording.frames.len();
        self.sent += 1;
        Ok(())
    }

    fn send_packet(
        &mut self,
        connection: &mut Connection,
        transport_sequence: &mut u16,
        marked: bool,
        timestamp: u32,
        payload: &[u8],
    ) -> Result<()> {
        let index = self.sequence;
        self.sequence += 1;
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let mut packet = vec![0x90, u8::from(marked) << 7 | self.payload_type];
        packet.extend_from_slice(&(index as u16).to_be_bytes());
        packet.extend_from_slice(&timestamp.to_be_bytes());
        packet.extend_from_slice(&self.ssrc.to_be_bytes());
        // One-byte extensions (RFC 8285 §4.2).
        let [high, low] = transport_sequence.to_be_bytes();
        *transport_sequence = transport_sequence.wrapping_add(1);
        let mid = b'0' + self.mid;
        let block = [0xBE, 0xDE, 0, 2, MID_ID << 4, mid, TRANSPORT_CC_ID << 4 | 1, high, low, 0, 0, 0];
        packet.extend_from_slice(&block);
        let header_len = packet.len();
        packet.extend_from_slice(payload);
        connection.keys.seal(&mut packet, header_len, index)?;
        // A full socket is the machine's fault, and shows as loss.
        let _ = connection.socket.send(&packet);
        Ok(())
    }

    fn report(&self) -> Vec<u8> {
        let info = SenderInfo {
            ntp: ntp(realtime_ns()),
            rtp_timestamp: self.timestamp(self.begin.elapsed()),
            packet_count: (self.sequence - 1) as u32,
            octet_count: self.octets,
        };
        let mut report = Vec::new();
        write_sender_report(&mut report, self.ssrc, &info, &[]);
        report
    }
}

/// Sends until told to stop; guests begin evenly spread over a picture's period, as people do not start together.
pub fn run(guests: &mut [RecordedGuest], stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let count = guests.len().max(1) as u32;
    for (number, guest) in (0..).zip(guests.iter_mut()) {
        for track in &mut guest.tracks {
            track.begin = start + track.recording.period * number / count;
        }
    }
    let mut care_at = start;
    while !stop.load(Ordering::Relaxed) {
        let next = guests.iter().filter_map(RecordedGuest::next_due).min().unwrap_or(care_at).min(care_at);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let now = Instant::now();
        for guest in guests.iter_mut() {
            guest.send_due(now)?;
        }
        if now >= care_at {
            care_at += CARE;
            guests.iter_mut().try_for_each(RecordedGuest::look_after)?;
        }
    }
    Ok(())
}

/// Within the rhythm of browsers' checks (2.5 s) and reports (1 s for video).
const CARE: Duration = Duration::from_secs(1);
