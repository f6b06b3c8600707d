//! What one packet says of its picture's place among the layers; read once, however many receivers it has.

use crate::layers::Layers;
use rtp::codec::{VideoCodec, av1, h264, vp8, vp9};
use rtp::dependency::{Descriptor, Indication, Structure};

/// A packet's word on layers, in its codec's way.
#[derive(Clone, Copy, Debug)]
pub enum Layering {
    /// Nothing: sound, or a stream whose layers nobody tells.
    Plain,
    Vp8(vp8::Descriptor),
    Vp9(vp9::Descriptor),
    /// The dependency descriptor header extension; with AV1, and with H.264 where a sender adds it.
    Dependency(Descriptor),
}

/// A packet as a forwarder looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    pub layering: Layering,
    /// A receiver may begin here.
    pub starts_picture_alone: bool,
}

impl Described {
    /// Sound.
    pub const SOUND: Self = Self { layering: Layering::Plain, starts_picture_alone: false };

    /// Reads a packet of pictures. `dependency` is its dependency descriptor, if it has one; `structure` what the stream's
    /// descriptors refer to, and is replaced when a packet brings a new one.
    pub fn read(
        codec: VideoCodec,
        payload: &[u8],
        dependency: Option<&[u8]>,
        structure: &mut Option<Box<Structure>>,
    ) -> Self {
        let dependency = dependency.filter(|_| uses_dependency(codec));
        let dependency = dependency.and_then(|data| Descriptor::parse(data, structure));
        Self::of(codec, payload, dependency)
    }

    /// The same for a packet that was read before.
    pub fn read_again(
        codec: VideoCodec,
        payload: &[u8],
        dependency: Option<&[u8]>,
        structure: Option<&Structure>,
    ) -> Self {
        let dependency = dependency.filter(|_| uses_dependency(codec));
        Self::of(codec, payload, dependency.and_then(|data| Descriptor::parse_again(data, structure?)))
    }

    fn of(codec: VideoCodec, payload: &[u8], dependency: Option<Descriptor>) -> Self {
        let (layering, starts_picture_alone) = match codec {
            VideoCodec::Vp8 => match vp8::Descriptor::parse(payload) {
                Some(descriptor) => (Layering::Vp8(descriptor), descriptor.is_keyframe_start(payload)),
                None => (Layering::Plain, false),
            },
            VideoCodec::Vp9 => match vp9::Descriptor::parse(payload) {
                Some(descriptor) => (Layering::Vp9(descriptor), descriptor.is_keyframe_start()),
                None => (Layering::Plain, false),
            },
            VideoCodec::H264 => {
                let starts = h264::Payload::parse(payload).is_some_and(|p| p.is_keyframe_start());
                (dependency.map_or(Layering::Plain, Layering::Dependency), starts)
            }
            VideoCodec::Av1 => match dependency {
                Some(descriptor) => {
                    let starts = descriptor.has_structure && descriptor.start_of_frame;
                    (Layering::Dependency(descriptor), starts)
                }
                None => {
                    let starts = av1::Payload::parse(payload).is_some_and(|p| p.is_keyframe_start());
                    (Layering::Plain, starts)
                }
            },
        };
        Self { layering, starts_picture_alone }
    }

    /// The layers the packet belongs to, within its stream.
    pub fn layers(&self) -> Layers {
        match &self.layering {
            Layering::Plain => Layers::default(),
            Layering::Vp8(descriptor) => Layers::new(0, descriptor.tid.unwrap_or(0)),
            Layering::Vp9(descriptor) => Layers::new(descriptor.sid(), descriptor.tid()),
            Layering::Dependency(descriptor) => Layers::new(descriptor.spatial, descriptor.temporal),
        }
    }

    /// Whether receivers of a higher spatial layer do without this packet; `None` where there is no such layer, or the
    /// packet does not tell.
    pub fn is_not_for_upper_layers(&self, structure: Option<&Structure>) -> Option<bool> {
        match &self.layering {
            Layering::Plain | Layering::Vp8(_) => None,
            Layering::Vp9(descriptor) => descriptor.layers.map(|_| descriptor.not_for_upper_layers),
            Layering::Dependency(descriptor) => {
                let targets = (0u8..).zip(structure?.targets());
                let (n, target) = targets.max_by_key(|(_, t)| (t.spatial, t.temporal))?;
                let is_left_out = descriptor.indication(n) == Indication::NotPresent;
                (target.spatial > descriptor.spatial).then_some(is_left_out)
            }
        }
    }
}

/// VP8 and VP9 tell enough in their payloads.
pub fn uses_dependency(codec: VideoCodec) -> bool {
    matches!(codec, VideoCodec::Av1 | VideoCodec::H264)
}
