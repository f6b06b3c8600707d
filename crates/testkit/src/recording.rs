//! Recorded tracks, frame by frame: H.264 as Annex B, VP8 as IVF, Opus as Ogg.

use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::time::Duration;

/// What a recording is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    H264,
    Vp8,
    Opus,
}

/// One recorded track; played again from the start when it is over, so it has to begin with a keyframe.
pub struct Recording {
    pub codec: Codec,
    /// One coded picture each, or one packet of sound.
    pub frames: Vec<Vec<u8>>,
    pub period: Duration,
}

impl Recording {
    /// By the file's ending. Pictures are taken to be 30 a second, packets of sound 20 ms.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let (codec, frames) = match path.extension().and_then(|ending| ending.to_str()) {
            Some("h264") => (Codec::H264, access_units(&bytes)),
            Some("ivf") => (Codec::Vp8, ivf(&bytes)?),
            Some("opus") => (Codec::Opus, ogg(&bytes)?),
            _ => bail!("{}: neither .h264 nor .ivf nor .opus", path.display()),
        };
        ensure!(!frames.is_empty(), "{} is empty", path.display());
        let period = match codec {
            Codec::Opus => Duration::from_millis(20),
            Codec::H264 | Codec::Vp8 => Duration::from_nanos(1_000_000_000 / 30),
        };
        Ok(Self { codec, frames, period })
    }
}

/// The NAL units of a byte stream, without start codes (ITU-T H.264 annex B).
pub fn nal_units(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(bytes);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = unit.windows(3).position(|w| w == START_CODE);
        rest = end.map(|at| &unit[at + START_CODE.len()..]);
        let unit = &unit[..end.unwrap_or(unit.len())];
        // The zero before a start code of four octets, and trailing zeros, belong to no unit.
        let length = unit.iter().rposition(|octet| *octet != 0).map_or(0, |last| last + 1);
        Some(&unit[..length])
    })
}

fn after_start_code(bytes: &[u8]) -> Option<&[u8]> {
    let at = bytes.windows(3).position(|w| w == START_CODE)?;
    Some(&bytes[at + START_CODE.len()..])
}

/// Cuts where a picture's first slice follows another's last. What no receiver needs is left out.
fn access_units(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut complete = true;
    for nal in nal_units(bytes) {
        let Some(kind) = nal.first().map(|first| first & 0x1F) else { continue };
        if kind == SEI || kind == DELIMITER {
            continue;
        }
        let is_slice = (1..=5).contains(&kind);
        // `first_mb_in_slice` is an Exp-Golomb number; 0 is a single set bit (§7.3.3).
        let is_first_slice = is_slice && nal.get(1).is_some_and(|octet| octet & 0x80 != 0);
        if complete && (!is_slice || is_first_slice) {
            units.push(Vec::new());
        }
        complete = is_slice;
        if let Some(unit) = units.last_mut() {
            unit.extend_from_slice(&[0, 0, 0, 1]);
            unit.extend_from_slice(nal);
        }
    }
    units
}

fn ivf(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    ensure!(bytes.get(..4) == Some(b"DKIF"), "no IVF");
    let mut rest = bytes.get(32..).context("no IVF header")?;
    let mut frames = Vec::new();
    while let Some((header, body)) = rest.split_at_checked(12) {
        let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let (frame, after) = body.split_at_checked(length).context("the last frame is cut off")?;
        frames.push(frame.to_vec());
        rest = after;
    }
    Ok(frames)
}

/// Packets of one logical stream (RFC 3533 §6), without the two of RFC 7845 §3 that describe it.
fn ogg(bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
    let mut packets = vec![Vec::new()];
    let mut rest = bytes;
    while let Some((header, body)) = rest.split_at_checked(27) {
        ensure!(&header[..4] == b"OggS", "no Ogg page");
        let (lacing, mut body) = body.split_at_checked(usize::from(header[26])).context("a cut page")?;
        for length in lacing {
            let (segment, after) = body.split_at_checked(usize::from(*length)).context("a cut page")?;
            body = after;
            packets.last_mut().context("no packet")?.extend_from_slice(segment);
            if *length < 255 {
                packets.push(Vec::new());
            }
        }
        rest = body;
    }
    packets.pop();
    Ok(packets.into_iter().skip(2).collect())
}

const START_CODE: [u8; 3] = [0, 0, 1];
const SEI: u8 = 6;
const DELIMITER: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_stream_is_cut_into_pictures() {
        let mut stream = Vec::new();
        // SEI, SPS, PPS, an IDR picture of two slices, two pictures of one.
        for nal in
            [&[6, 9][..], &[0x67, 1], &[0x68, 2], &[0x65, 0x88], &[0x65, 0x18], &[0x41, 0x9A], &[0x41, 0x9B]]
        {
            stream.extend_from_slice(&[0, 0, 0, 1]);
            stream.extend_from_slice(nal);
        }
        let units = access_units(&stream);
        let kinds: Vec<Vec<u8>> =
            units.iter().map(|unit| nal_units(unit).map(|nal| nal[0] & 0x1F).collect()).collect();
        assert_eq!(kinds, [vec![7, 8, 5, 5], vec![1], vec![1]]);
    }

    #[test]
    fn packets_of_sound_span_segments_and_pages() {
        let page = |lacing: &[u8]| {
            let mut page = b"OggS".to_vec();
            page.resize(26, 0);
            page.push(lacing.len() as u8);
            page.extend_from_slice(lacing);
            page.resize(page.len() + lacing.iter().map(|length| usize::from(*length)).sum::<usize>(), 7);
            page
        };
        let stream = [page(&[19]), page(&[30]), page(&[80, 255, 3, 255]), page(&[1, 60])].concat();
        let packets = ogg(&stream).expect("it is well formed");
        assert_eq!(packets.iter().map(Vec::len).collect::<Vec<_>>(), [80, 258, 256, 60]);
    }
}
