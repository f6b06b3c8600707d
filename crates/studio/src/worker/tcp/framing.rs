//! Datagrams on a stream: each behind its length in two octets (RFC 4571 §2). Both directions are bounded.

use std::io::{self, ErrorKind, Read, Write};

/// What arrived of a frame whose rest has not.
#[derive(Default)]
pub struct FrameReader {
    /// Less than one frame.
    pending: Vec<u8>,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing more just now.
    All,
    /// So many octets; there may be more.
    Some(usize),
}

impl FrameReader {
    /// Reads once, at most what `scratch` holds, and hands each whole datagram on. After an error the stream is of no
    /// use: it has ended, or what it carries are no frames of ours.
    pub fn read(
        &mut self,
        stream: &mut impl Read,
        scratch: &mut [u8; SCRATCH],
        mut handle: impl FnMut(&mut [u8]),
    ) -> io::Result<Heard> {
        let kept = self.pending.len();
        scratch[..kept].copy_from_slice(&self.pending);
        let octets = match stream.read(&mut scratch[kept..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(octets) => octets,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::All),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Heard::Some(0)),
            Err(error) => return Err(error),
        };
        let end = kept + octets;
        let mut at = 0;
        while let Some(header) = scratch[at..end].first_chunk() {
            let length = usize::from(u16::from_be_bytes(*header));
            if length > MAX_FRAME {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(frame) = scratch[at..end].get_mut(HEADER..HEADER + length) else { break };
            handle(frame);
            at += HEADER + length;
        }
        self.pending.clear();
        self.pending.extend_from_slice(&scratch[at..end]);
        Ok(Heard::Some(octets))
    }
}

/// Frames on their way out (*media* kind: when it is full, whole datagrams are dropped, as a network would; the caller
/// counts).
#[derive(Default)]
pub struct FrameWriter {
    bytes: Vec<u8>,
    sent: usize,
}

impl FrameWriter {
    /// Appends one datagram; false when there is no room for it.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        if datagram.len() > MAX_FRAME || self.waiting() + HEADER + datagram.len() > MAX_WAITING {
            return false;
        }
        if self.sent > MAX_WAITING / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        self.bytes.extend((datagram.len() as u16).to_be_bytes());
        self.bytes.extend_from_slice(datagram);
        true
    }

    pub fn waiting(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Writes what the stream takes; false when it takes no more for now.
    pub fn write(&mut self, stream: &mut impl Write) -> io::Result<bool> {
        while self.waiting() > 0 {
            match stream.write(&self.bytes[self.sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(octets) => self.sent += octets,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.sent = 0;
        Ok(true)
    }
}

const HEADER: usize = 2;
/// No datagram of STUN, DTLS or SRTP is longer: UDP would not carry it over Ethernet.
const MAX_FRAME: usize = 2_048;
/// What is read at once from one connection; a frame kept from before fits beside.
pub const SCRATCH: usize = 16 * 1024;
/// Half a second at 2 Mbit/s: room for a keyframe, too little for delay to grow.
const MAX_WAITING: usize = 128 * 1024;
const KEPT: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives or takes a few octets at a time, then says that it would block.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len());
            if n == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            buf[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.1);
            if n == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            self.0.extend_from_slice(&bytes[..n]);
            self.1 -= n;
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn datagrams_come_out_as_they_went_in_however_the_stream_is_cut() {
        let sent: Vec<Vec<u8>> = (0..20usize).map(|n| vec![n as u8; n * 97 % 1_500]).collect();
        let mut writer = FrameWriter::default();
        assert!(sent.iter().all(|datagram| writer.push(datagram)));
        let mut stream = Full(Vec::new(), usize::MAX);
        assert!(writer.write(&mut stream).unwrap());
        for pace in [1, 2, 3, 700, 50_000] {
            let mut slow = Slow(&stream.0, pace);
            let (mut reader, mut heard) = (FrameReader::default(), Vec::new());
            while reader.read(&mut slow, &mut [0; SCRATCH], |d| heard.push(d.to_vec())).unwrap() != Heard::All
            {
            }
            assert_eq!(heard, sent, "{pace}");
        }
    }

    #[test]
    fn a_frame_no_client_sends_ends_the_connection() {
        let mut reader = FrameReader::default();
        let mut handle = |_: &mut [u8]| panic!("there is no datagram");
        let error =
            reader.read(&mut Slow(b"GET / HTTP/1.1", 100), &mut [0; SCRATCH], &mut handle).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let end = FrameReader::default().read(&mut &b""[..], &mut [0; SCRATCH], handle).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn noise_ends_the_connection_or_is_cut_as_it_says_and_little_of_it_is_kept() {
        let mut state = 9u32;
        let mut dice = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        for _ in 0..2_000 {
            // Lengths that may be right, so that not every stream ends at once.
            let mask = if dice() & 1 == 0 { 0x07 } else { 0xFF };
            let noise: Vec<u8> = (0..dice() % 5_000)
                .map(|n| if n % 3 == 0 { dice() as u8 & mask } else { dice() as u8 })
                .collect();
            let mut slow = Slow(&noise, dice() as usize % 3_000 + 1);
            let (mut reader, mut handed) = (FrameReader::default(), 0);
            let mut count = |datagram: &mut [u8]| handed += HEADER + datagram.len();
            while let Ok(Heard::Some(_)) = reader.read(&mut slow, &mut [0; SCRATCH], &mut count) {}
            assert!(handed <= noise.len() && reader.pending.len() < HEADER + MAX_FRAME);
        }
    }

    #[test]
    fn a_client_that_does_not_read_loses_whole_datagrams() {
        let mut writer = FrameWriter::default();
        let mut stream = Full(Vec::new(), 1_000);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..1_000 {
            if writer.push(&[7; 1_200]) {
                taken += 1
            } else {
                refused += 1
            }
            assert!(!writer.write(&mut stream).unwrap() || taken == 0);
        }
        assert!(refused > 800 && writer.waiting() <= MAX_WAITING);
        stream.1 = usize::MAX;
        assert!(writer.write(&mut stream).unwrap());
        assert_eq!(stream.0.len(), taken * 1_202);
    }
}
