//! Media records on their way to the media worker, written from the forwarding thread without ever blocking it.

use super::WorkerCounters;
use outputs::record::{encode_round_trip_record, encode_rtp_record, encode_sender_report_record};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wire::link::MAX_RECORD;

/// *Media* kind: when the pipe is full, records are dropped and counted; the media worker sees the gap and asks
/// for a keyframe.
pub struct MediaPipe {
    fd: Option<OwnedFd>,
    record: [u8; MAX_RECORD],
    /// Records of this round that wait for [`Self::flush`]: one write, and one wake-up of the reader, for several.
    gathered: [u8; PIPE_BUF],
    filled: usize,
    count: u64,
    counters: Arc<WorkerCounters>,
    /// The same moment on both clocks: `Instant` cannot be turned into CLOCK_MONOTONIC nanoseconds.
    epoch: Instant,
    epoch_ns: u64,
}

impl MediaPipe {
    pub fn new(counters: Arc<WorkerCounters>) -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let epoch_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        Self {
            fd: None,
            record: [0; MAX_RECORD],
            gathered: [0; PIPE_BUF],
            filled: 0,
            count: 0,
            counters,
            epoch: Instant::now(),
            epoch_ns,
        }
    }

    pub fn attach(&mut self, fd: OwnedFd) {
        self.fd = Some(fd);
    }

    /// Writes what has gathered. Called at the end of each round of packets.
    pub fn flush(&mut self) {
        let (length, count) = (std::mem::take(&mut self.filled), std::mem::take(&mut self.count));
        let (Some(fd), Some(records)) = (&self.fd, self.gathered.get(..length)) else { return };
        if records.is_empty() {
            return;
        }
        match rustix::io::write(fd, records) {
            Ok(_) => {}
            Err(Errno::PIPE) => self.fd = None,
            Err(_) => {
                self.counters.records_dropped.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    fn gather(&mut self, length: Option<usize>) {
        let Some(length) = length else { return };
        if self.filled + length > PIPE_BUF {
            self.flush();
        }
        let room = self.gathered.get_mut(self.filled..self.filled + length);
        if let (Some(room), Some(record)) = (room, self.record.get(..length)) {
            room.copy_from_slice(record);
            (self.filled, self.count) = (self.filled + length, self.count + 1);
        }
    }

    fn monotonic_ns(&self, at: Instant) -> u64 {
        self.epoch_ns + at.saturating_duration_since(self.epoch).as_nanos() as u64
    }
}

impl sfu::TapSink for MediaPipe {
    fn rtp(&mut self, tag: u32, arrival: Instant, packet: &[u8]) {
        if self.fd.is_some() {
            let at = self.monotonic_ns(arrival);
            let length = encode_rtp_record(&mut self.record, tag, at, packet);
            self.gather(length);
        }
    }

    fn sender_report(&mut self, tag: u32, arrival: Instant, ntp: u64, rtp_timestamp: u32) {
        let at = self.monotonic_ns(arrival);
        let length = Some(encode_sender_report_record(&mut self.record, tag, at, ntp, rtp_timestamp));
        self.gather(length);
    }

    fn round_trip(&mut self, tag: u32, now: Instant, ms: u32) {
        let at = self.monotonic_ns(now);
        let length = Some(encode_round_trip_record(&mut self.record, tag, at, ms));
        self.gather(length);
    }
}

/// As much as one write to a pipe puts there whole, whoever else writes (POSIX demands 512; Linux has a page).
const PIPE_BUF: usize = 4096;
