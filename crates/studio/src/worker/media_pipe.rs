//! Media records on their way to the media worker, written from the forwarding thread without ever blocking it.

use super::WorkerCounters;
use outputs::record::{encode_round_trip_record, encode_rtp_record, encode_sender_report_record};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use wire::link::MAX_RECORD;

/// *Media* kind: when the pipe is full the record is dropped and counted; the media worker sees the gap and asks
/// for a keyframe.
pub struct MediaPipe {
    fd: Option<OwnedFd>,
    buffer: [u8; MAX_RECORD],
    counters: Arc<WorkerCounters>,
    /// The same moment on both clocks: `Instant` cannot be turned into CLOCK_MONOTONIC nanoseconds.
    epoch: Instant,
    epoch_ns: u64,
}

impl MediaPipe {
    pub fn new(counters: Arc<WorkerCounters>) -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let epoch_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        Self { fd: None, buffer: [0; MAX_RECORD], counters, epoch: Instant::now(), epoch_ns }
    }

    pub fn attach(&mut self, fd: OwnedFd) {
        self.fd = Some(fd);
    }

    fn write(&mut self, length: Option<usize>) {
        let (Some(fd), Some(record)) = (&self.fd, length.and_then(|n| self.buffer.get(..n))) else { return };
        match rustix::io::write(fd, record) {
            Ok(_) => {}
            Err(Errno::PIPE) => self.fd = None,
            Err(_) => {
                self.counters.records_dropped.fetch_add(1, Ordering::Relaxed);
            }
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
            let length = encode_rtp_record(&mut self.buffer, tag, at, packet);
            self.write(length);
        }
    }

    fn sender_report(&mut self, tag: u32, arrival: Instant, ntp: u64, rtp_timestamp: u32) {
        let at = self.monotonic_ns(arrival);
        let length = Some(encode_sender_report_record(&mut self.buffer, tag, at, ntp, rtp_timestamp));
        self.write(length);
    }

    fn round_trip(&mut self, tag: u32, now: Instant, ms: u32) {
        let at = self.monotonic_ns(now);
        let length = Some(encode_round_trip_record(&mut self.buffer, tag, at, ms));
        self.write(length);
    }
}
