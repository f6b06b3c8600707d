//! Decides whether a picture's references have all been delivered.
//!
//! Three sources of proof, in order of strength: VP9's explicit reference list (RFC 9628 §4.2, flexible mode); temporal
//! layering, where layer 0 is counted by TL0PICIDX and upper layers name their way back in (RFC 7741 §4.2 "Y",
//! RFC 9628 §4.2 "U"); consecutive picture ids, which show that what is missing was no picture (padding). Without proof
//! a gap ends continuity until a key frame.

use crate::codec::vp8::PictureId;

/// What a picture says about its references.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dependencies {
    pub picture_id: Option<PictureId>,
    pub layering: Option<Layering>,
    /// Bit n: refers to the picture n before.
    pub references: Option<u128>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Layering {
    pub tid: u8,
    pub tl0_pic_idx: u8,
    /// Refers to the picture of layer 0 that `tl0_pic_idx` names, and to nothing else.
    pub base_only: bool,
    /// Later pictures of higher layers refer to none of those layers from before this one.
    pub switching_up: bool,
}

#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Bit n: all of temporal layer n that a later picture may refer to was delivered. Without bit 0 only a key frame
    /// helps.
    sound_layers: u8,
    last_picture_id: Option<PictureId>,
    last_tl0_pic_idx: Option<u8>,
    /// Bit n: the picture n before the last one was delivered.
    delivered: u128,
}

const ALL_LAYERS: u8 = u8::MAX;

/// TL0PICIDX wraps at 256: past half of that, equality proves nothing.
const MAX_TRUSTED_DISTANCE: u16 = 127;

impl Gate {
    pub fn require_keyframe(&mut self) {
        self.sound_layers = 0;
        self.delivered = 0;
    }

    pub fn needs_keyframe(&self) -> bool {
        self.sound_layers & 1 == 0
    }

    /// Judges the next complete picture in order; `missing`: how many packets between it and the one before did not end
    /// up in a picture. What is answered with true counts as delivered from here on.
    pub fn admit(&mut self, picture: &Dependencies, keyframe: bool, missing: u64) -> bool {
        let distance = self.distance_to(picture, missing);
        if keyframe {
            self.sound_layers = ALL_LAYERS;
            self.delivered = 0;
        } else if missing > 0 && distance != Some(1) {
            self.note_missing_pictures(picture, distance);
        }
        self.delivered = match distance {
            Some(distance) if (1..128).contains(&distance) => self.delivered << distance,
            _ => 0,
        };
        let continuous = keyframe || self.judge(picture);
        self.delivered |= u128::from(continuous);
        if continuous && picture.references.is_some() {
            self.sound_layers |= 1;
        }
        self.last_picture_id = picture.picture_id;
        if let Some(layering) = picture.layering {
            self.note_layer(&layering, continuous);
        }
        continuous
    }

    /// In pictures. A picture takes a packet at least: where more packets are missing than the id can count, it may have
    /// gone round and says nothing.
    fn distance_to(&self, picture: &Dependencies, missing: u64) -> Option<u16> {
        let id = picture.picture_id?;
        let distance = self.last_picture_id?.distance_to(id);
        (missing < u64::from(id.mask())).then_some(distance)
    }

    /// Pictures are missing: upper layers are doubtful, and layer 0 too unless its count shows that none of it is.
    fn note_missing_pictures(&mut self, picture: &Dependencies, distance: Option<u16>) {
        let believable = distance.is_some_and(|distance| (1..=MAX_TRUSTED_DISTANCE).contains(&distance));
        let base_intact = match (picture.layering, self.last_tl0_pic_idx) {
            (Some(now), Some(last)) if now.tid == 0 => now.tl0_pic_idx == last.wrapping_add(1),
            (Some(now), Some(last)) => now.tl0_pic_idx == last,
            _ => false,
        };
        self.sound_layers &= u8::from(believable && base_intact);
    }

    fn judge(&self, picture: &Dependencies) -> bool {
        if let (Some(references), Some(_)) = (picture.references, picture.picture_id) {
            // `delivered` already counts from this picture.
            return references & !self.delivered == 0;
        }
        let Some(layering) = picture.layering else { return self.sound_layers == ALL_LAYERS };
        let needed = match layering.tid {
            tid if tid >= 7 => ALL_LAYERS,
            tid => (1 << (tid + 1)) - 1,
        };
        let follows_base = self.last_tl0_pic_idx == Some(layering.tl0_pic_idx);
        let way_back_in =
            layering.base_only && layering.tid > 0 && follows_base && self.sound_layers & 1 == 1;
        way_back_in || self.sound_layers & needed == needed
    }

    fn note_layer(&mut self, layering: &Layering, continuous: bool) {
        if layering.tid == 0 {
            self.last_tl0_pic_idx = Some(layering.tl0_pic_idx);
        }
        let layer = 1u8.checked_shl(layering.tid.into()).unwrap_or(0);
        if continuous {
            self.sound_layers |= layer;
            if layering.switching_up {
                self.sound_layers |= !(layer | layer.wrapping_sub(1));
            }
        } else {
            self.sound_layers &= !layer;
        }
    }
}
