//! Coded frames into RTP payloads, as browsers cut them.

use crate::camera::split;
use crate::recording::{Codec, nal_units};

/// Cuts one track's frames.
pub struct Packetiser {
    codec: Codec,
    picture: u16,
}

impl Packetiser {
    pub fn new(codec: Codec) -> Self {
        Self { codec, picture: 0 }
    }

    /// The payloads of one frame, in order.
    pub fn cut(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.picture = (self.picture + 1) & 0x7FFF;
        match self.codec {
            Codec::Opus => vec![frame.to_vec()],
            Codec::Vp8 => self.vp8(frame),
            Codec::H264 => nal_units(frame).flat_map(h264).collect(),
        }
    }

    /// RFC 7741 §4.2 as libwebrtc does it: picture id, TL0PICIDX, TID.
    fn vp8(&self, frame: &[u8]) -> Vec<Vec<u8>> {
        let [high, low] = (self.picture | 0x8000).to_be_bytes();
        let descriptor = |first: bool| [0x80 | u8::from(first) << 4, 0xE0, high, low, low, 0];
        pieces(frame)
            .enumerate()
            .map(|(index, piece)| [&descriptor(index == 0)[..], piece].concat())
            .collect()
    }
}

/// A unit that fits is a packet; of others fragments are made (RFC 6184 §5.6, §5.8).
fn h264(nal: &[u8]) -> Vec<Vec<u8>> {
    let Some((header, body)) = nal.split_first() else { return Vec::new() };
    let count = pieces(body).count();
    if count <= 1 {
        return vec![nal.to_vec()];
    }
    let fragment = |(index, piece): (usize, &[u8])| {
        let (start, end) = (u8::from(index == 0) << 7, u8::from(index + 1 == count) << 6);
        [&[header & 0xE0 | FU_A, start | end | header & 0x1F][..], piece].concat()
    };
    pieces(body).enumerate().map(fragment).collect()
}

fn pieces(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frame;
    split(frame.len()).map(move |size| {
        let (piece, after) = rest.split_at(size);
        rest = after;
        piece
    })
}

const FU_A: u8 = 28;

#[cfg(test)]
mod tests {
    use super::*;
    use rtp::codec::VideoCodec;
    use rtp::frame::FrameAssembler;
    use rtp::packet::Packet;

    /// What our own depacketiser makes of it.
    fn check(codec: Codec, assembled_by: VideoCodec, frame: &[u8]) {
        let payloads = Packetiser::new(codec).cut(frame);
        assert!(payloads.iter().all(|payload| payload.len() <= 1_200));
        let mut assembler = FrameAssembler::new(assembled_by, None);
        let mut frames = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let marker = u8::from(index + 1 == payloads.len()) << 7;
            let mut packet = vec![0x80, marker | 96, 0, index as u8, 0, 0, 0, 9, 0, 0, 0, 1];
            packet.extend_from_slice(payload);
            let parsed = Packet::parse(&packet).expect("it is a packet");
            frames.extend(assembler.push(index as u64, 0, &parsed));
        }
        assert_eq!(frames.len(), 1);
        assert!(frames[0].keyframe && frames[0].continuous);
        assert!(frames[0].data == frame, "{codec:?}");
    }

    #[test]
    fn what_is_cut_is_joined_again() {
        let body = (0..5_000_u32).map(|i| (i % 251 + 1) as u8);
        // Frame tag of a keyframe, start code and 64 × 48 (RFC 6386 §9.1).
        let vp8: Vec<u8> =
            [0x10, 0, 0, 0x9D, 0x01, 0x2A, 64, 0, 48, 0].into_iter().chain(body.clone()).collect();
        check(Codec::Vp8, VideoCodec::Vp8, &vp8);
        // A parameter set of 640 × 480, one that refers to it, and a slice of a key picture.
        let nals = [
            vec![0x67, 0x42, 0xC0, 0x1F, 0xDA, 0x02, 0x80, 0xF6, 0x84],
            vec![0x68, 0xCE, 0x3C, 0x80],
            [0x65, 0x88].into_iter().chain(body).collect(),
        ];
        let h264 = nals.map(|nal| [&[0, 0, 0, 1][..], &nal].concat()).concat();
        check(Codec::H264, VideoCodec::H264, &h264);
    }
}
