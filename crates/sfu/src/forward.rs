//! Where a packet of a producer goes in a consumer's stream: sequence number, timestamp and picture id.
//!
//! A consumer sees one unbroken stream although its source pauses, resumes and changes layers. Each stretch between
//! such seams is an [`Epoch`] with constant offsets, so a retransmission asked for later is rewritten the same way.

use crate::layers::Layers;
use rtp::codec::VideoCodec;
use rtp::codec::vp8;
use std::collections::VecDeque;

/// A stretch of one layer forwarded without seams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    pub layer: u8,
    in_start: u64,
    out_start: u64,
    timestamp_offset: u32,
    picture_offset: u16,
    tl0_offset: u8,
}

/// How to rewrite one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Extended; its low 16 bits go on the wire, the rest into SRTP.
    pub sequence: u64,
    pub timestamp: u32,
    picture_offset: u16,
    tl0_offset: u8,
}

impl Placed {
    /// Rewrites what the payload itself says of its place.
    pub fn edit_payload(&self, codec: Option<VideoCodec>, payload: &mut [u8]) {
        if codec != Some(VideoCodec::Vp8) || (self.picture_offset == 0 && self.tl0_offset == 0) {
            return;
        }
        let Some(descriptor) = vp8::Descriptor::parse(payload) else { return };
        if let Some(id) = descriptor.picture_id {
            descriptor.set_picture_id(payload, id.value().wrapping_add(self.picture_offset) & id.mask());
        }
        if let Some(index) = descriptor.tl0_pic_idx {
            descriptor.set_tl0_pic_idx(payload, index.wrapping_add(self.tl0_offset));
        }
    }
}

/// One accepted packet of a producer, as a forwarder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub layer: u8,
    /// Extended.
    pub sequence: u64,
    pub timestamp: u32,
    pub payload: &'a [u8],
    /// A receiver may begin here.
    pub starts_picture_alone: bool,
}

/// One consumer's (or tap's) place in the stream.
#[derive(Debug)]
pub struct Forwarder {
    codec: Option<VideoCodec>,
    /// See [`Self::for_tap`].
    keeps_numbers: bool,
    /// The layers wanted; the current ones go on until these can be had.
    target: Layers,
    /// Set by a pause: the next packet opens an epoch.
    seam: bool,
    epochs: VecDeque<Epoch>,
    next_out: u64,
    last_timestamp: u32,
    last_picture: u16,
    last_tl0: u8,
}

impl Forwarder {
    /// `first_out` is the extended sequence number of the first packet.
    pub fn new(codec: Option<VideoCodec>, first_out: u64) -> Self {
        Self {
            codec,
            keeps_numbers: false,
            target: Layers::default(),
            seam: true,
            epochs: VecDeque::with_capacity(MAX_EPOCHS),
            next_out: first_out,
            last_timestamp: 0,
            last_picture: 0,
            last_tl0: 0,
        }
    }

    /// For somebody who takes packets as they are: any packet begins, and the first layer keeps its own numbers, so
    /// that what was lost before the beginning still finds its place.
    pub fn for_tap(codec: Option<VideoCodec>) -> Self {
        let mut tap = Self::new(codec, 0);
        tap.keeps_numbers = true;
        tap
    }

    pub fn target(&self) -> Layers {
        self.target
    }

    pub fn set_target(&mut self, layers: Layers) {
        self.target = layers;
    }

    /// The layers being forwarded; none before the first packet and after a pause.
    pub fn current(&self) -> Option<Layers> {
        let epoch = self.epochs.back().filter(|_| !self.seam)?;
        Some(Layers { spatial: epoch.layer, temporal: self.target.temporal })
    }

    /// Whether a keyframe of the target layer is needed to go on.
    pub fn wants_keyframe(&self) -> bool {
        self.codec.is_some() && self.current().map(|c| c.spatial) != Some(self.target.spatial)
    }

    /// Forwarding stops; it begins again as at the start, but the stream's numbers go on.
    pub fn pause(&mut self) {
        self.seam = true;
    }

    /// Where `packet` goes; `None`: nowhere. `aligned` gives the timestamp that the previous layer would have had at
    /// this packet's moment; asked only at a change of layers.
    pub fn place(
        &mut self,
        packet: &Incoming<'_>,
        aligned: impl FnOnce(u8) -> Option<u32>,
    ) -> Option<Placed> {
        let may_begin =
            packet.layer == self.target.spatial && (packet.starts_picture_alone || self.may_start_anywhere());
        let epoch = match self.epochs.back() {
            Some(epoch) if !self.seam && (epoch.layer == packet.layer || !may_begin) => *epoch,
            _ if may_begin => self.open_epoch(packet, aligned),
            _ => return None,
        };
        if epoch.layer != packet.layer {
            return None;
        }
        let placed = epoch.place(packet.sequence, packet.timestamp)?;
        if placed.sequence >= self.next_out {
            self.next_out = placed.sequence + 1;
            self.last_timestamp = placed.timestamp;
            self.note_picture(packet.payload, &placed);
        }
        Some(placed)
    }

    fn may_start_anywhere(&self) -> bool {
        self.codec.is_none() || (self.keeps_numbers && self.epochs.is_empty())
    }

    fn open_epoch(&mut self, packet: &Incoming<'_>, aligned: impl FnOnce(u8) -> Option<u32>) -> Epoch {
        let mut epoch = Epoch {
            layer: packet.layer,
            in_start: packet.sequence,
            out_start: self.next_out,
            timestamp_offset: 0,
            picture_offset: 0,
            tl0_offset: 0,
        };
        if self.epochs.is_empty() && self.keeps_numbers {
            (epoch.in_start, epoch.out_start) = (0, 0);
        }
        if let Some(previous) = self.epochs.back().copied() {
            epoch.timestamp_offset = if previous.layer == packet.layer {
                previous.timestamp_offset
            } else {
                let wanted = aligned(previous.layer).map(|t| t.wrapping_add(previous.timestamp_offset));
                // The new picture must be later than the last one, else a receiver takes it for old.
                let earliest = self.last_timestamp.wrapping_add(MIN_STEP);
                let timestamp = wanted.filter(|t| t.wrapping_sub(earliest) as i32 >= 0).unwrap_or(earliest);
                timestamp.wrapping_sub(packet.timestamp)
            };
            if let Some(descriptor) = self.vp8(packet.payload) {
                let next = self.last_picture.wrapping_add(1);
                epoch.picture_offset = descriptor.picture_id.map_or(0, |id| next.wrapping_sub(id.value()));
                let next = self.last_tl0.wrapping_add(1);
                epoch.tl0_offset = descriptor.tl0_pic_idx.map_or(0, |index| next.wrapping_sub(index));
            }
        }
        self.seam = false;
        if self.epochs.len() == MAX_EPOCHS {
            self.epochs.pop_front();
        }
        self.epochs.push_back(epoch);
        epoch
    }

    fn vp8(&self, payload: &[u8]) -> Option<vp8::Descriptor> {
        if self.codec == Some(VideoCodec::Vp8) { vp8::Descriptor::parse(payload) } else { None }
    }

    fn note_picture(&mut self, payload: &[u8], placed: &Placed) {
        if let Some(descriptor) = self.vp8(payload) {
            if let Some(id) = descriptor.picture_id {
                self.last_picture = id.value().wrapping_add(placed.picture_offset) & id.mask();
            }
            if let Some(index) = descriptor.tl0_pic_idx {
                self.last_tl0 = index.wrapping_add(placed.tl0_offset);
            }
        }
    }

    /// Which packet of which layer was sent as `sequence`: layer, extended sequence number and its rewriting. The
    /// timestamp of the result is the offset to add.
    pub fn find_sent(&self, sequence: u16) -> Option<(u8, u64, Placed)> {
        let behind = (self.next_out as u16).wrapping_sub(sequence);
        let out =
            self.next_out.checked_sub(u64::from(behind)).filter(|_| (1..=MAX_BEHIND).contains(&behind))?;
        let epoch = self.epochs.iter().rev().find(|e| e.out_start <= out)?;
        let original = epoch.in_start + (out - epoch.out_start);
        Some((epoch.layer, original, epoch.place(original, 0)?))
    }

    /// The offset of the current epoch's timestamps, for sender reports.
    pub fn timestamp_offset(&self) -> Option<(u8, u32)> {
        self.epochs.back().map(|e| (e.layer, e.timestamp_offset))
    }
}

impl Epoch {
    fn place(&self, sequence: u64, timestamp: u32) -> Option<Placed> {
        Some(Placed {
            sequence: self.out_start + sequence.checked_sub(self.in_start)?,
            timestamp: timestamp.wrapping_add(self.timestamp_offset),
            picture_offset: self.picture_offset,
            tl0_offset: self.tl0_offset,
        })
    }
}

/// Retransmission reaches back a second; nobody pauses or changes layers this often in one.
const MAX_EPOCHS: usize = 8;
/// As many as the ring can hold.
const MAX_BEHIND: u16 = 512;
/// A hundredth of a second of a 90 kHz clock.
const MIN_STEP: u32 = 900;

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(layer: u8, sequence: u64, timestamp: u32, key: bool) -> Incoming<'static> {
        Incoming { layer, sequence, timestamp, payload: &[0x10, 0], starts_picture_alone: key }
    }

    fn none(_: u8) -> Option<u32> {
        None
    }

    #[test]
    fn pictures_begin_with_a_keyframe_and_keep_their_order() {
        let mut forwarder = Forwarder::new(Some(VideoCodec::H264), 1000);
        assert!(forwarder.wants_keyframe());
        assert_eq!(forwarder.place(&packet(0, 70_000, 5, false), none), None);
        let out = |f: &mut Forwarder, n, key| f.place(&packet(0, n, 5, key), none).map(|p| p.sequence);
        assert_eq!(out(&mut forwarder, 70_001, true), Some(1000));
        assert!(!forwarder.wants_keyframe());
        assert_eq!(out(&mut forwarder, 70_003, false), Some(1002));
        assert_eq!(out(&mut forwarder, 70_002, false), Some(1001), "late, in its place");
        assert_eq!(out(&mut forwarder, 70_000, false), None, "from before the start");
    }

    #[test]
    fn a_pause_leaves_no_gap() {
        let mut forwarder = Forwarder::new(None, 10);
        for n in 0..5 {
            assert_eq!(forwarder.place(&packet(0, 100 + n, 0, false), none).unwrap().sequence, 10 + n);
        }
        forwarder.pause();
        assert_eq!(forwarder.place(&packet(0, 900, 0, false), none).unwrap().sequence, 15);
        assert_eq!(forwarder.place(&packet(0, 105, 0, false), none), None, "late, from before the pause");
        assert_eq!(forwarder.find_sent(14).map(|(_, n, _)| n), Some(104));
        assert_eq!(forwarder.find_sent(15).map(|(_, n, _)| n), Some(900));
        assert_eq!(forwarder.find_sent(16), None, "not sent yet");
        assert_eq!(forwarder.find_sent(9), None, "before the first");
    }

    #[test]
    fn layers_change_at_a_keyframe_and_time_goes_on() {
        let mut forwarder = Forwarder::new(Some(VideoCodec::Vp8), 10);
        assert_eq!(forwarder.place(&packet(0, 100, 1_000, true), none).unwrap().timestamp, 1_000);
        forwarder.set_target(Layers::new(1, 0));
        assert!(forwarder.wants_keyframe());
        assert!(forwarder.place(&packet(1, 500, 7_000_000, false), none).is_none());
        assert_eq!(forwarder.place(&packet(0, 101, 4_000, false), none).unwrap().sequence, 11);
        let switched = forwarder.place(&packet(1, 501, 7_003_000, true), |_| Some(7_000)).unwrap();
        assert_eq!((switched.sequence, switched.timestamp), (12, 7_000));
        assert!(forwarder.place(&packet(0, 102, 7_000, false), none).is_none());
        let next = forwarder.place(&packet(1, 502, 7_006_000, false), none).unwrap();
        assert_eq!((next.sequence, next.timestamp), (13, 10_000));
        forwarder.set_target(Layers::new(0, 0));
        let back = forwarder.place(&packet(0, 110, 13_000, true), |_| None).unwrap();
        assert_eq!(
            (back.sequence, back.timestamp),
            (14, 10_900),
            "never backwards, even when nothing is known"
        );
    }

    #[test]
    fn vp8_picture_ids_stay_continuous_over_a_change_of_layers() {
        let mut forwarder = Forwarder::new(Some(VideoCodec::Vp8), 0);
        // X; I and L; 15-bit picture id; TL0PICIDX; then a key frame's first octet.
        let payload = |id: u16, tl0: u8| vec![0x90, 0xC0, 0x80 | (id >> 8) as u8, id as u8, tl0, 0];
        let mut send = |layer, sequence, id, tl0, target| {
            forwarder.set_target(Layers::new(target, 0));
            let mut bytes = payload(id, tl0);
            let incoming = Incoming {
                layer,
                sequence,
                timestamp: 0,
                payload: &bytes.clone(),
                starts_picture_alone: true,
            };
            let placed = forwarder.place(&incoming, |_| None)?;
            placed.edit_payload(Some(VideoCodec::Vp8), &mut bytes);
            let descriptor = vp8::Descriptor::parse(&bytes)?;
            Some((descriptor.picture_id?.value(), descriptor.tl0_pic_idx?))
        };
        assert_eq!(send(0, 100, 0x7FFE, 254, 0), Some((0x7FFE, 254)));
        assert_eq!(send(0, 101, 0x7FFF, 255, 0), Some((0x7FFF, 255)));
        assert_eq!(send(1, 900, 77, 9, 1), Some((0, 0)));
        assert_eq!(send(1, 901, 78, 10, 1), Some((1, 1)));
    }
}
