//! Media records as they come out of the pipe; the layout is in `wire::link`.

use std::io::{self, Read};
use wire::link::{FeedId, MAX_RECORD, RECORD_HEADER, RECORD_ROUND_TRIP, RECORD_RTP, RECORD_SENDER_REPORT};

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub feed: FeedId,
    /// `CLOCK_MONOTONIC`.
    pub arrival_ns: u64,
    pub content: Content<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    Rtp(&'a [u8]),
    SenderReport {
        ntp: u64,
        rtp_timestamp: u32,
    },
    /// Milliseconds to the guest and back.
    RoundTrip(u32),
    /// Of a newer engine.
    Unknown,
}

/// Cuts the pipe's bytes into records: each was written whole, but reading keeps no borders.
pub struct Records<R> {
    pipe: R,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<R: Read> Records<R> {
    pub fn new(pipe: R) -> Self {
        Self { pipe, buffer: vec![0; READ_SIZE].into(), start: 0, end: 0 }
    }

    /// No whole record is left: the next one has to come out of the pipe.
    pub fn is_empty(&self) -> bool {
        let left = &self.buffer[self.start..self.end];
        left.first_chunk::<2>().is_none_or(|length| left.len() < usize::from(u16::from_le_bytes(*length)))
    }

    /// The next record; `None` at the end of the pipe. A length no record can have is an error: what follows it
    /// cannot be made sense of.
    pub fn next_record(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            let available = self.end - self.start;
            if let Some(length) = self.buffer[self.start..self.end].first_chunk::<2>() {
                let length = usize::from(u16::from_le_bytes(*length));
                if !(RECORD_HEADER..=MAX_RECORD).contains(&length) {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "a media record of impossible length",
                    ));
                }
                if length <= available {
                    let record = self.start..self.start + length;
                    self.start = record.end;
                    return Ok(Some(parse(&self.buffer[record])));
                }
            }
            if self.start + MAX_RECORD > self.buffer.len() {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, available);
            }
            match self.pipe.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(None),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// `bytes` has at least [`RECORD_HEADER`] of them.
fn parse(bytes: &[u8]) -> Record<'_> {
    let (header, rest) = bytes.split_at(RECORD_HEADER);
    let content = match header[2] {
        RECORD_RTP => Content::Rtp(rest),
        RECORD_SENDER_REPORT => {
            match (rest.first_chunk::<8>(), rest.get(8..).and_then(|rest| rest.first_chunk::<4>())) {
                (Some(ntp), Some(rtp_timestamp)) => Content::SenderReport {
                    ntp: u64::from_le_bytes(*ntp),
                    rtp_timestamp: u32::from_le_bytes(*rtp_timestamp),
                },
                _ => Content::Unknown,
            }
        }
        RECORD_ROUND_TRIP => match rest.first_chunk::<4>() {
            Some(ms) => Content::RoundTrip(u32::from_le_bytes(*ms)),
            None => Content::Unknown,
        },
        _ => Content::Unknown,
    };
    Record {
        feed: u32::from_le_bytes([header[4], header[5], header[6], header[7]]),
        arrival_ns: header[8..16].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        content,
    }
}

/// Sixteen of the largest records at once.
const READ_SIZE: usize = 16 * MAX_RECORD;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes a few at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(into.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn records_survive_however_the_pipe_cuts_them() {
        let mut buffer = [0; MAX_RECORD];
        let mut bytes = Vec::new();
        for i in 0..200_u32 {
            let packet = vec![i as u8; (i as usize * 37) % (MAX_RECORD - RECORD_HEADER + 1)];
            let length =
                outputs::record::encode_rtp_record(&mut buffer, i, u64::from(i) << 33, &packet).unwrap();
            bytes.extend_from_slice(&buffer[..length]);
            let length = outputs::record::encode_sender_report_record(&mut buffer, i, 5, 1 << 63 | 1, 77);
            bytes.extend_from_slice(&buffer[..length]);
            let length = outputs::record::encode_round_trip_record(&mut buffer, i, 6, 1_000 + i);
            bytes.extend_from_slice(&buffer[..length]);
        }
        for step in [1, 7, 4096, 1 << 20] {
            let mut records = Records::new(Trickle(&bytes, step));
            for i in 0..200_u32 {
                let record = records.next_record().unwrap().unwrap();
                assert_eq!((record.feed, record.arrival_ns), (i, u64::from(i) << 33));
                let length = (i as usize * 37) % (MAX_RECORD - RECORD_HEADER + 1);
                assert_eq!(record.content, Content::Rtp(&vec![i as u8; length]));
                let report = records.next_record().unwrap().unwrap();
                assert_eq!(report.content, Content::SenderReport { ntp: 1 << 63 | 1, rtp_timestamp: 77 });
                let round_trip = records.next_record().unwrap().unwrap();
                assert_eq!(round_trip.content, Content::RoundTrip(1_000 + i));
            }
            assert_eq!(records.next_record().unwrap(), None);
        }
    }

    #[test]
    fn nonsense_is_an_error_or_unknown_and_never_a_panic() {
        for bytes in [vec![0, 0, 0], vec![15, 0, 0], vec![0xff; 100]] {
            assert!(Records::new(&bytes[..]).next_record().is_err());
        }
        for kind in [RECORD_SENDER_REPORT, RECORD_ROUND_TRIP] {
            let mut short = vec![17, 0, kind];
            short.resize(17, 0);
            let mut records = Records::new(&short[..]);
            assert_eq!(records.next_record().unwrap().unwrap().content, Content::Unknown);
        }
        let mut future = vec![16, 0, 9];
        future.resize(16, 0);
        assert_eq!(Records::new(&future[..]).next_record().unwrap().unwrap().content, Content::Unknown);
    }
}
