//! One H.264 picture being put together as an Annex B byte stream, and the parameter sets it may need.

use super::continuity::Dependencies;
use super::{Broken, Finished};
use crate::codec::h264::{
    IDR, PPS, Payload, SLICE, SPS, START_CODE, Sps, first_slice_of_picture, nal_type, pps_ids,
};

#[derive(Debug, Default)]
pub(super) struct Picture {
    has_slice: bool,
    has_idr: bool,
    has_sps: bool,
    has_pps: bool,
    /// The slice that begins at the picture's first macroblock was seen.
    has_first_slice: bool,
    /// Header octet of the NAL unit whose fragments are arriving.
    open_fragment: Option<u8>,
    size: Option<(u32, u32)>,
}

impl Picture {
    pub fn has_slice(&self) -> bool {
        self.has_slice
    }

    pub fn append(
        &mut self,
        payload: &[u8],
        data: &mut Vec<u8>,
        sets: &mut ParameterSets,
    ) -> Result<(), Broken> {
        match Payload::parse(payload).ok_or(Broken)? {
            Payload::Fragment(fragment) => {
                if fragment.start {
                    let head = [fragment.nal_header, fragment.data[0]];
                    self.begin_unit(&head, data)?;
                    data.push(fragment.nal_header);
                    self.open_fragment = Some(fragment.nal_header);
                } else if self.open_fragment != Some(fragment.nal_header) {
                    return Err(Broken);
                }
                data.extend_from_slice(fragment.data);
                if fragment.end {
                    self.open_fragment = None;
                }
            }
            whole => {
                for nal in whole.units() {
                    self.begin_unit(nal, data)?;
                    data.extend_from_slice(nal);
                    if sets.remember(nal) && nal_type(nal) == SPS {
                        self.size = Sps::parse(nal).map(|sps| (sps.width, sps.height));
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_unit(&mut self, nal: &[u8], data: &mut Vec<u8>) -> Result<(), Broken> {
        if self.open_fragment.is_some() {
            return Err(Broken);
        }
        match nal_type(nal) {
            // Data partitioning (2–4) is for the extended profile alone.
            SLICE..=IDR => {
                self.has_slice = true;
                self.has_idr |= nal_type(nal) == IDR;
                self.has_first_slice |= first_slice_of_picture(nal);
            }
            SPS => self.has_sps = true,
            PPS => self.has_pps = true,
            _ => {}
        }
        data.extend_from_slice(&START_CODE);
        Ok(())
    }

    /// Right behind a gap nothing says where the picture began: it must show its first slice, and as a key picture its
    /// own parameter sets, since those just lost may have been new ones.
    pub fn finish(
        &self,
        data: &mut Vec<u8>,
        after_gap: bool,
        sets: &ParameterSets,
    ) -> Result<Finished, Broken> {
        let whole = self.open_fragment.is_none() && self.has_slice;
        if !whole || after_gap && !(self.has_first_slice && (!self.has_idr || self.has_sps)) {
            return Err(Broken);
        }
        let mut keyframe = self.has_idr;
        let mut size = self.size;
        if self.has_idr && !(self.has_sps && self.has_pps) {
            // A picture whose parameter sets never came cannot be decoded, so it is no key frame to anybody.
            keyframe = sets.are_complete();
            size = size.or(sets.size());
            data.splice(..0, sets.annex_b(!self.has_sps, !self.has_pps));
        }
        Ok(Finished {
            keyframe,
            size: if keyframe { size } else { None },
            dependencies: Dependencies::default(),
        })
    }
}

/// The latest parameter sets of each id. At most [`Self::MAX_EACH`] of a kind, of at most [`Self::MAX_LEN`] octets; when
/// full, the oldest is forgotten.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    sps: Vec<(u32, Vec<u8>)>,
    pps: Vec<(u32, Vec<u8>)>,
}

impl ParameterSets {
    const MAX_EACH: usize = 8;
    const MAX_LEN: usize = 1024;

    /// Keeps the unit if it is a sound parameter set.
    fn remember(&mut self, nal: &[u8]) -> bool {
        if nal.len() > Self::MAX_LEN {
            return false;
        }
        let (list, id) = match nal_type(nal) {
            SPS => (&mut self.sps, Sps::parse(nal).map(|sps| sps.id)),
            PPS => (&mut self.pps, pps_ids(nal).map(|(id, _)| id)),
            _ => return false,
        };
        let Some(id) = id else { return false };
        if let Some((_, known)) = list.iter_mut().find(|(other, _)| *other == id) {
            if known != nal {
                *known = nal.to_vec();
            }
            return true;
        }
        if list.len() == Self::MAX_EACH {
            list.remove(0);
        }
        list.push((id, nal.to_vec()));
        true
    }

    fn are_complete(&self) -> bool {
        !self.sps.is_empty() && !self.pps.is_empty()
    }

    fn size(&self) -> Option<(u32, u32)> {
        let (_, nal) = self.sps.last()?;
        Sps::parse(nal).map(|sps| (sps.width, sps.height))
    }

    fn annex_b(&self, with_sps: bool, with_pps: bool) -> Vec<u8> {
        let sps = self.sps.iter().filter(|_| with_sps);
        let pps = self.pps.iter().filter(|_| with_pps);
        sps.chain(pps).flat_map(|(_, nal)| START_CODE.iter().chain(nal).copied()).collect()
    }
}
