//! Guests who send: packets of a camera in time, sealed and stamped with the moment they leave.

use crate::camera::Sizes;
use crate::connection::Connection;
use crate::process::{ntp, realtime_ns};
use anyhow::Result;
use rtp::rtcp::{SenderInfo, write_sender_report};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One guest's camera.
pub struct Publisher {
    pub connection: Connection,
    pub ssrc: u32,
    pub payload_type: u8,
    /// Header extension ids as this publisher's m-section numbers them.
    pub mid_id: u8,
    pub transport_cc_id: Option<u8>,
    sequence: u64,
    transport_sequence: u16,
    moment: u64,
    picture: u16,
    packet: Vec<u8>,
}

impl Publisher {
    pub fn new(connection: Connection, ssrc: u32, payload_type: u8, transport_cc_id: Option<u8>) -> Self {
        Self {
            connection,
            ssrc,
            payload_type,
            mid_id: MID_ID,
            transport_cc_id,
            sequence: 1,
            transport_sequence: 0,
            moment: 0,
            picture: 0,
            packet: Vec::with_capacity(2048),
        }
    }

    pub fn packets_sent(&self) -> u64 {
        self.sequence - 1
    }

    /// Sends all of this moment.
    pub fn send_moment(&mut self, sizes: Sizes) -> Result<()> {
        let period = Duration::from_nanos(sizes.interval_ns());
        // Who consumes waits for a keyframe, and nobody here answers requests.
        let keyframe_every = (KEYFRAMES.as_nanos() / period.as_nanos()) as u64;
        let frame = Frame {
            is_key: self.moment.is_multiple_of(keyframe_every),
            // 90 kHz.
            timestamp: (self.moment * sizes.interval_ns() * 9 / 100_000) as u32,
        };
        let mut rest = sizes.packets(self.moment).peekable();
        let mut is_first = true;
        while let Some(size) = rest.next() {
            self.send_packet(&frame, is_first, rest.peek().is_none(), size)?;
            is_first = false;
        }
        self.moment += 1;
        self.picture = (self.picture + 1) & 0x7FFF;
        Ok(())
    }

    fn send_packet(&mut self, frame: &Frame, is_first: bool, is_last: bool, size: usize) -> Result<()> {
        let index = self.sequence;
        self.sequence += 1;
        self.packet.clear();
        let marker = u8::from(is_last) << 7;
        self.packet.extend_from_slice(&[0x90, marker | self.payload_type]);
        self.packet.extend_from_slice(&(index as u16).to_be_bytes());
        self.packet.extend_from_slice(&frame.timestamp.to_be_bytes());
        self.packet.extend_from_slice(&self.ssrc.to_be_bytes());
        // One-byte extensions (RFC 8285 §4.2).
        match self.transport_cc_id {
            Some(id) => {
                let [high, low] = self.transport_sequence.to_be_bytes();
                self.transport_sequence = self.transport_sequence.wrapping_add(1);
                let block = [0xBE, 0xDE, 0, 2, self.mid_id << 4, b'0', id << 4 | 1, high, low, 0, 0, 0];
                self.packet.extend_from_slice(&block);
            }
            None => self.packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, self.mid_id << 4, b'0', 0, 0]),
        }
        let header_len = self.packet.len();
        self.write_payload(frame, is_first, size);
        self.connection.keys.seal(&mut self.packet, header_len, index)?;
        // A full socket is the machine's fault, and shows as loss.
        let _ = self.connection.socket.send(&self.packet);
        Ok(())
    }

    /// VP8 (RFC 7741 §4.2) as libwebrtc describes it: picture id, TL0PICIDX, TID. Then the moment of leaving.
    fn write_payload(&mut self, frame: &Frame, is_first: bool, size: usize) {
        let end = self.packet.len() + size;
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        self.packet.extend_from_slice(&[0x80 | u8::from(is_first) << 4, 0xE0, high, low, low, 0]);
        if is_first {
            // Frame tag and, in a keyframe, start code and size (RFC 6386 §9.1).
            self.packet.extend_from_slice(&[0x10 | u8::from(!frame.is_key), 0, 0]);
            if frame.is_key {
                self.packet.extend_from_slice(&[0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68, 0x01]);
            }
        }
        self.packet.resize(end.max(self.packet.len()), 0x5A);
        let at = end - STAMP;
        self.packet[at..end].copy_from_slice(&realtime_ns().to_be_bytes());
    }

    /// A check, a report, and whatever the server said is read away.
    pub fn look_after(&mut self, sizes: Sizes) -> Result<()> {
        let check = self.connection.ice.check();
        let _ = self.connection.socket.send(&check);
        let info = SenderInfo {
            ntp: ntp(realtime_ns()),
            rtp_timestamp: (self.moment * sizes.interval_ns() * 9 / 100_000) as u32,
            packet_count: self.packets_sent() as u32,
            octet_count: 0,
        };
        let mut report = Vec::new();
        write_sender_report(&mut report, self.ssrc, &info, &[]);
        let sealed = self.connection.keys.seal_rtcp(report)?;
        let _ = self.connection.socket.send(&sealed);
        let mut buffer = [0; 2048];
        while self.connection.socket.recv(&mut buffer).is_ok() {}
        Ok(())
    }
}

struct Frame {
    is_key: bool,
    timestamp: u32,
}

/// Sends until told to stop: the publishers take turns, evenly spread over their common period.
pub fn run(publishers: &mut [Publisher], sizes: Sizes, stop: &AtomicBool) -> Result<()> {
    let start = Instant::now();
    let step = Duration::from_nanos(sizes.interval_ns() / publishers.len().max(1) as u64);
    let mut care_at = start;
    for turn in 0u32.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let wait = (start + step * turn).saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        let index = turn as usize % publishers.len();
        publishers[index].send_moment(sizes)?;
        if Instant::now() >= care_at {
            care_at += CARE;
            for publisher in publishers.iter_mut() {
                publisher.look_after(sizes)?;
            }
        }
    }
    Ok(())
}

/// How the publishers number the MID extension.
pub const MID_ID: u8 = 4;
/// Octets at a payload's end that say when it left.
pub const STAMP: usize = 8;
const KEYFRAMES: Duration = Duration::from_secs(2);
/// Within the rhythm of browsers' checks (2.5 s) and reports (1 s for video).
const CARE: Duration = Duration::from_secs(1);
