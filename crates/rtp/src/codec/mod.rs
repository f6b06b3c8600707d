//! What a forwarder and a depacketiser need to know of payloads, codec by codec.

pub mod av1;
pub mod h264;
pub mod opus;
pub mod red;
pub mod vp8;
pub mod vp9;

/// Codecs of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    Vp8,
    Vp9,
    H264,
    Av1,
}

impl VideoCodec {
    /// Whether this packet begins a picture that stands alone: the place where a forwarder may switch a receiver in.
    /// An H.264 key picture begins with its parameter sets, so those count and a bare IDR slice does too.
    pub fn is_keyframe_start(self, payload: &[u8]) -> bool {
        match self {
            Self::Vp8 => vp8::Descriptor::parse(payload).is_some_and(|d| d.is_keyframe_start(payload)),
            Self::Vp9 => vp9::Descriptor::parse(payload).is_some_and(|d| d.is_keyframe_start()),
            Self::H264 => h264::Payload::parse(payload).is_some_and(|p| p.is_keyframe_start()),
            Self::Av1 => av1::Payload::parse(payload).is_some_and(|p| p.is_keyframe_start()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prng::Prng;

    #[test]
    fn noise_never_panics() {
        let mut random = Prng(6);
        for _ in 0..300_000 {
            let mut bytes = random.bytes(48);
            for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Av1] {
                let _ = codec.is_keyframe_start(&bytes);
            }
            if let Some(descriptor) = vp8::Descriptor::parse(&bytes) {
                let _ = vp8::FrameHeader::parse(&bytes[descriptor.len..]);
                descriptor.set_picture_id(&mut bytes, 1);
                descriptor.set_tl0_pic_idx(&mut bytes, 1);
                assert_eq!(vp8::Descriptor::parse(&bytes).map(|again| again.len), Some(descriptor.len));
            }
            if let Some(descriptor) = vp9::Descriptor::parse(&bytes) {
                let _ = vp9::FrameHeader::parse(&bytes[descriptor.len..]);
            }
            if let Some(payload) = h264::Payload::parse(&bytes) {
                for nal in payload.units() {
                    let _ = h264::first_slice_of_picture(nal);
                }
            }
            let _ = h264::Sps::parse(&bytes);
            if let Some(payload) = av1::Payload::parse(&bytes) {
                assert!(payload.elements().filter_map(av1::Obu::parse).all(|obu| obu.data.len() <= 48));
            }
            let _ = av1::SequenceHeader::parse(&bytes);
            let _ = opus::Packet::parse(&bytes);
            let _ = red::primary(&bytes);
        }
    }
}
