//! One VP8 picture being put together: partitions back to back, RFC 7741 §4.

use super::continuity::{Dependencies, Layering};
use super::{Broken, Finished};
use crate::codec::vp8::{Descriptor, FrameHeader};

#[derive(Debug, Default)]
pub(super) struct Picture {
    first: Option<Descriptor>,
}

impl Picture {
    pub fn append(&mut self, payload: &[u8], first: bool, data: &mut Vec<u8>) -> Result<(), Broken> {
        let descriptor = Descriptor::parse(payload).ok_or(Broken)?;
        if descriptor.is_start_of_frame() != first {
            return Err(Broken);
        }
        if first {
            self.first = Some(descriptor);
        }
        data.extend_from_slice(&payload[descriptor.len..]);
        Ok(())
    }

    pub fn finish(&self, data: &[u8]) -> Result<Finished, Broken> {
        let descriptor = self.first.ok_or(Broken)?;
        let header = FrameHeader::parse(data).ok_or(Broken)?;
        let layering = descriptor.tl0_pic_idx.zip(descriptor.tid).map(|(tl0_pic_idx, tid)| Layering {
            tid,
            tl0_pic_idx,
            base_only: descriptor.layer_sync,
            switching_up: false,
        });
        Ok(Finished {
            keyframe: header.keyframe,
            size: header.size.map(|(width, height)| (width.into(), height.into())),
            dependencies: Dependencies { picture_id: descriptor.picture_id, layering, references: None },
        })
    }
}
