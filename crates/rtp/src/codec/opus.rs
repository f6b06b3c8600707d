//! Opus packets from outside: duration, mode, silence and whether the packet before can be rebuilt from this one.
//!
//! Table of contents and framing: RFC 6716 §3. Low bit-rate redundancy flags: §4.2.4.

/// Opus counts time at 48 kHz whatever it encodes, RFC 7587 §4.1.
pub const CLOCK_RATE: u32 = 48_000;
/// 120 ms, RFC 6716 §3.2.5.
pub const MAX_SAMPLES: u32 = 5_760;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Silk,
    Hybrid,
    Celt,
}

/// What the first octets of a packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub mode: Mode,
    pub stereo: bool,
    /// Samples at 48 kHz in the whole packet.
    pub samples: u32,
    /// The encoder says "silence goes on" (discontinuous transmission): nothing to hear in it.
    pub dtx: bool,
    /// The packet carries a coarse copy of the one before it: in-band forward error correction.
    pub has_fec: bool,
}

impl Packet {
    /// `None` if no decoder would accept it.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let toc = *packet.first()?;
        let config = toc >> 3;
        let (mode, frame_samples) = match config {
            0..=11 => (Mode::Silk, [480, 960, 1920, 2880][usize::from(config % 4)]),
            12..=15 => (Mode::Hybrid, [480, 960][usize::from(config % 2)]),
            _ => (Mode::Celt, [120, 240, 480, 960][usize::from(config % 4)]),
        };
        let frames = match toc & 3 {
            0 => 1,
            1 | 2 => 2,
            _ => u32::from(packet.get(1)? & 0x3f),
        };
        let samples = frames * frame_samples;
        if samples == 0 || samples > MAX_SAMPLES {
            return None;
        }
        let stereo = toc & 4 != 0;
        // Encoders mark "nothing changes" with frames of at most one octet (RFC 6716 §2.1.9, §3.1).
        let dtx = packet.len() <= 2;
        let has_fec =
            mode != Mode::Celt && !dtx && redundancy(packet, frame_samples, stereo).unwrap_or(false);
        Some(Self { mode, stereo, samples, dtx, has_fec })
    }

    pub fn duration_ns(&self) -> u64 {
        u64::from(self.samples) * 1_000_000_000 / u64::from(CLOCK_RATE)
    }
}

/// The LBRR flags follow the voice activity flags at the very front of the first SILK frame, each an even-odds bit, so
/// they are plain bits of its first octet (RFC 6716 §4.2.3, §4.2.4).
fn redundancy(packet: &[u8], frame_samples: u32, stereo: bool) -> Option<bool> {
    let octet = u32::from(*first_frame(packet)?.first()?);
    let silk_frames = (frame_samples / 960).max(1);
    let mid = octet >> (7 - silk_frames) & 1 == 1;
    let side = stereo && octet >> (6u32.checked_sub(2 * silk_frames)?) & 1 == 1;
    Some(mid || side)
}

/// Where the first compressed frame lies, RFC 6716 §3.2.
fn first_frame(packet: &[u8]) -> Option<&[u8]> {
    let mut rest = packet.get(1..)?;
    match packet[0] & 3 {
        0 => {}
        1 => rest = rest.get(..rest.len() / 2)?,
        2 => {
            let len = take_length(&mut rest)?;
            rest = rest.get(..len)?;
        }
        _ => {
            let (header, after) = rest.split_first()?;
            rest = after;
            if header & 0x40 != 0 {
                let padding = take_padding(&mut rest)?;
                rest = rest.get(..rest.len().checked_sub(padding)?)?;
            }
            let frames = usize::from(header & 0x3f);
            if header & 0x80 == 0 {
                rest = rest.get(..rest.len().checked_div(frames)?)?;
            } else {
                let len = take_length(&mut rest)?;
                for _ in 2..frames {
                    take_length(&mut rest)?;
                }
                if frames > 1 {
                    rest = rest.get(..len)?;
                }
            }
        }
    }
    Some(rest)
}

/// One or two octets, RFC 6716 §3.2.1.
fn take_length(rest: &mut &[u8]) -> Option<usize> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    if *first < 252 {
        return Some(usize::from(*first));
    }
    let (second, after) = rest.split_first()?;
    *rest = after;
    Some(4 * usize::from(*second) + usize::from(*first))
}

/// Octets of 255 stand for 254 and go on, RFC 6716 §3.2.5.
fn take_padding(rest: &mut &[u8]) -> Option<usize> {
    let mut padding = 0;
    loop {
        let (octet, after) = rest.split_first()?;
        *rest = after;
        if *octet < 255 {
            return Some(padding + usize::from(*octet));
        }
        padding += 254;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |bytes: &[u8], mode: Mode, samples: u32| {
            let packet = Packet::parse(bytes).unwrap();
            assert_eq!((packet.mode, packet.samples), (mode, samples), "{bytes:?}");
        };
        check(&[0 << 3, 0, 0], Mode::Silk, 480);
        check(&[1 << 3, 0, 0], Mode::Silk, 960);
        check(&[11 << 3, 0, 0], Mode::Silk, 2_880);
        check(&[13 << 3, 0, 0], Mode::Hybrid, 960);
        check(&[16 << 3, 0, 0], Mode::Celt, 120);
        check(&[31 << 3, 0, 0], Mode::Celt, 960);
        check(&[31 << 3 | 1, 0, 0], Mode::Celt, 1_920);
        check(&[31 << 3 | 3, 6, 0], Mode::Celt, 5_760);
        check(&[16 << 3 | 3, 48, 0], Mode::Celt, 5_760);
        assert_eq!(Packet::parse(&[31 << 3, 0, 0]).unwrap().duration_ns(), 20_000_000);
    }

    #[test]
    fn impossible_packets_are_refused() {
        for bytes in [&[][..], &[31 << 3 | 3], &[31 << 3 | 3, 0], &[31 << 3 | 3, 7], &[3 << 3 | 3, 3]] {
            assert_eq!(Packet::parse(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn silence_is_known_by_its_size() {
        assert!(Packet::parse(&[0x78]).unwrap().dtx);
        assert!(Packet::parse(&[0x08, 0xff]).unwrap().dtx);
        assert!(!Packet::parse(&[0x08, 0xff, 0]).unwrap().dtx);
    }

    #[test]
    fn redundancy_is_found_behind_the_activity_flags() {
        let check = |bytes: &[u8], expected: bool| {
            assert_eq!(Packet::parse(bytes).unwrap().has_fec, expected, "{bytes:?}");
        };
        let mono_20 = 1 << 3;
        check(&[mono_20, 0b1100_0000, 0], true);
        check(&[mono_20, 0b1000_0000, 0], false);
        check(&[mono_20, 0b0100_0000, 0], true);
        // Three activity flags in 60 ms.
        check(&[3 << 3, 0b1110_0000, 0], false);
        check(&[3 << 3, 0b1111_0000, 0], true);
        // Stereo: the side channel's flags follow.
        check(&[mono_20 | 4, 0b1010_0000, 0], false);
        check(&[mono_20 | 4, 0b1001_0000, 0], true);
        // Two frames with a length, and three with padding and lengths.
        check(&[mono_20 | 2, 1, 0b0100_0000, 0], true);
        check(&[mono_20 | 3, 0xc3, 1, 1, 1, 0b0100_0000, 0, 0, 0], true);
        check(&[mono_20 | 3, 0x03, 0b0100_0000, 0, 0], true);
        check(&[31 << 3, 0xff, 0xff], false);
    }
}
