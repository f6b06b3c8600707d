//! One AV1 temporal unit being put together: its OBUs, whole and with their sizes, as a decoder takes them
//! (RTP Payload Format for AV1 §4; AV1 bitstream specification §5.2 and §7.5).

use super::continuity::Dependencies;
use super::{Broken, Finished};
use crate::codec::av1::{self, Obu, Payload, SequenceHeader};

#[derive(Debug, Default)]
pub(super) struct Picture {
    /// The OBU whose pieces are arriving; empty between OBUs.
    open: Vec<u8>,
    has_sequence_header: bool,
    /// The type of the first frame in it: 0 is a key frame.
    frame_type: Option<u8>,
    size: Option<(u32, u32)>,
}

impl Picture {
    pub fn append(&mut self, payload: &[u8], first: bool, data: &mut Vec<u8>) -> Result<(), Broken> {
        let payload = Payload::parse(payload).ok_or(Broken)?;
        if first {
            data.extend_from_slice(&DELIMITER);
        }
        if payload.continues == self.open.is_empty() {
            return Err(Broken);
        }
        let mut elements = payload.elements().enumerate().peekable();
        while let Some((n, element)) = elements.next() {
            let continues = n == 0 && payload.continues;
            let is_continued = elements.peek().is_none() && payload.is_continued;
            if !continues && !is_continued {
                self.take(element, data)?;
                continue;
            }
            self.open.extend_from_slice(element);
            if !is_continued {
                let whole = std::mem::take(&mut self.open);
                self.take(&whole, data)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, obu: &[u8], data: &mut Vec<u8>) -> Result<(), Broken> {
        if obu.is_empty() {
            return Ok(());
        }
        let obu = Obu::parse(obu).ok_or(Broken)?;
        match obu.obu_type() {
            av1::SEQUENCE_HEADER => {
                self.has_sequence_header = true;
                self.size = SequenceHeader::parse(obu.data).map(|header| (header.width, header.height));
            }
            av1::FRAME | av1::FRAME_HEADER if self.frame_type.is_none() => {
                // show_existing_frame, then two bits of frame_type (§5.9.2); showing one again is no key frame here.
                let first = *obu.data.first().ok_or(Broken)?;
                self.frame_type = Some(if first & 0x80 == 0 { first >> 5 & 3 } else { u8::MAX });
            }
            _ => {}
        }
        if obu.is_for_decoder() {
            obu.write(data);
        }
        Ok(())
    }

    pub fn finish(&self, data: &[u8]) -> Result<Finished, Broken> {
        if !self.open.is_empty() || data.len() == DELIMITER.len() {
            return Err(Broken);
        }
        let keyframe = self.has_sequence_header && self.frame_type == Some(av1::KEY_FRAME);
        Ok(Finished { keyframe, size: self.size.filter(|_| keyframe), dependencies: Dependencies::default() })
    }
}

/// An empty temporal delimiter: RTP leaves it out, a bitstream begins with it.
const DELIMITER: [u8; 2] = [av1::TEMPORAL_DELIMITER << 3 | 0x02, 0];
