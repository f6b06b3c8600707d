//! One VP9 picture being put together: its spatial layers' frames, RFC 9628 §4.2, as one superframe.

use super::continuity::{Dependencies, Layering};
use super::{Broken, Finished};
use crate::codec::vp9::{Descriptor, FrameHeader};

/// VP9 bitstream specification annex B.
const MAX_LAYER_FRAMES: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Picture {
    first: Option<Descriptor>,
    /// Where each layer frame begins in the data.
    starts: [usize; MAX_LAYER_FRAMES],
    layer_frames: usize,
    /// Flexible mode: bit n set for a reference n pictures back, of any layer frame.
    references: u128,
    largest: Option<(u16, u16)>,
}

impl Picture {
    pub fn append(&mut self, payload: &[u8], first: bool, data: &mut Vec<u8>) -> Result<(), Broken> {
        let descriptor = Descriptor::parse(payload).ok_or(Broken)?;
        if first && !descriptor.start_of_layer_frame {
            return Err(Broken);
        }
        if first {
            self.first = Some(descriptor);
        }
        if descriptor.start_of_layer_frame {
            *self.starts.get_mut(self.layer_frames).ok_or(Broken)? = data.len();
            self.layer_frames += 1;
            for distance in descriptor.references {
                self.references |= 1 << distance;
            }
        }
        self.largest = descriptor.structure_size.or(self.largest);
        data.extend_from_slice(&payload[descriptor.len..]);
        Ok(())
    }

    pub fn finish(&self, data: &mut Vec<u8>) -> Result<Finished, Broken> {
        let descriptor = self.first.ok_or(Broken)?;
        // A picture may come without its lower spatial layers, where nothing needs them (a forwarder drops those between
        // key pictures); where the lowest one here builds on one that is not, that one was lost.
        if descriptor.sid() > 0 && descriptor.layers.is_some_and(|l| l.inter_layer) {
            return Err(Broken);
        }
        let header = FrameHeader::parse(data).ok_or(Broken)?;
        let keyframe = header.keyframe && !descriptor.inter_picture;
        let size = match self.largest {
            Some((width, height)) if self.layer_frames > 1 => Some((width.into(), height.into())),
            _ => header.size,
        };
        if self.layer_frames > 1 {
            self.write_superframe_index(data)?;
        }
        let layering = descriptor.layers.and_then(|layers| {
            Some(Layering {
                tid: layers.tid,
                tl0_pic_idx: layers.tl0_pic_idx?,
                base_only: false,
                switching_up: layers.switching_up,
            })
        });
        // Zeros fill the unused places: no picture refers to itself.
        let references = self.references & !1;
        // An intra-only picture lists nothing and yet leans on the decoder's saved contexts: the strict rule is for it.
        let references = (descriptor.flexible && references != 0).then_some(references);
        Ok(Finished {
            keyframe,
            size: if keyframe { size } else { None },
            dependencies: Dependencies { picture_id: descriptor.picture_id, layering, references },
        })
    }

    /// Annex B: without it a decoder that is handed the layers together sees only the first.
    fn write_superframe_index(&self, data: &mut Vec<u8>) -> Result<(), Broken> {
        const SIZE_OCTETS: usize = 4;
        let count = self.layer_frames as u8;
        let marker = 0b1100_0000 | (SIZE_OCTETS as u8 - 1) << 3 | (count - 1);
        let end = data.len();
        data.push(marker);
        for layer in 0..self.layer_frames {
            let next = if layer + 1 < self.layer_frames { self.starts[layer + 1] } else { end };
            let size = u32::try_from(next - self.starts[layer]).map_err(|_| Broken)?;
            data.extend_from_slice(&size.to_le_bytes());
        }
        data.push(marker);
        Ok(())
    }
}
