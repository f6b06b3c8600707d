//! Where a packet of a producer goes in a consumer's stream: sequence number, timestamp and picture id.
//!
//! A consumer sees one unbroken stream although its source pauses, resumes and changes layers, and layers it does not
//! get leave no gaps. Each stretch between seams is an [`Epoch`]; a retransmission asked for later finds the same numbers
//! again.

mod numbers;
mod selection;
#[cfg(test)]
mod tests;

use crate::layering::{Described, Layering};
use crate::layers::Layers;
use numbers::{Numbers, Place};
use rtp::codec::vp8::PictureId;
use rtp::codec::{VideoCodec, vp8, vp9};
use rtp::dependency::{Descriptor, Structure};
use selection::Selection;
use std::collections::VecDeque;
use std::mem::offset_of;

/// A stretch of one stream forwarded without seams.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Epoch {
    stream: u8,
    tl0_shift: u8,
    timestamp_shift: u32,
    pictures: Pictures,
    packets: Numbers<8>,
}

/// How pictures are numbered anew, in their codec's way.
#[derive(Clone, Copy, Debug)]
enum Pictures {
    /// They carry no numbers.
    None,
    /// VP8's receivers take a gap in the picture ids for a loss: what is left out must not show.
    Close { newest: u64, ids: Numbers<2> },
    /// VP9 and the dependency descriptor name references by distance: gaps stay, and mean nothing.
    Shift(u16),
}

/// How to rewrite one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Extended; its low 16 bits go on the wire, the rest into SRTP.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// Nothing but the number is to be sent: its place was kept free for a packet that is not wanted.
    pub is_empty: bool,
    picture_shift: u16,
    tl0_shift: u8,
    /// Decode targets to announce instead of those the packet announces.
    active_targets: Option<u32>,
}

impl Placed {
    /// Rewrites what the payload itself says of its place.
    pub fn edit_payload(&self, codec: Option<VideoCodec>, payload: &mut [u8]) {
        if self.picture_shift == 0 && self.tl0_shift == 0 {
            return;
        }
        let shifted = |id: PictureId| id.value().wrapping_add(self.picture_shift) & id.mask();
        match codec {
            Some(VideoCodec::Vp8) => {
                let Some(descriptor) = vp8::Descriptor::parse(payload) else { return };
                if let Some(id) = descriptor.picture_id {
                    descriptor.set_picture_id(payload, shifted(id));
                }
                if let Some(index) = descriptor.tl0_pic_idx {
                    descriptor.set_tl0_pic_idx(payload, index.wrapping_add(self.tl0_shift));
                }
            }
            Some(VideoCodec::Vp9) => {
                let Some(descriptor) = vp9::Descriptor::parse(payload) else { return };
                if let Some(id) = descriptor.picture_id {
                    descriptor.set_picture_id(payload, shifted(id));
                }
                if let Some(index) = descriptor.layers.and_then(|layers| layers.tl0_pic_idx) {
                    descriptor.set_tl0_pic_idx(payload, index.wrapping_add(self.tl0_shift));
                }
            }
            Some(VideoCodec::H264 | VideoCodec::Av1) | None => {}
        }
    }

    /// The packet's dependency descriptor as this receiver is to see it; `data` as it came, or written into `out`.
    pub fn edit_dependency<'b>(
        &self,
        described: &Described,
        data: &'b [u8],
        out: &'b mut [u8; 255],
    ) -> Option<&'b [u8]> {
        let Layering::Dependency(descriptor) = &described.layering else { return None };
        if self.active_targets.is_none() && self.picture_shift == 0 {
            return Some(data);
        }
        let len = match self.active_targets {
            Some(targets) => descriptor.write_with_active_targets(data, targets, out)?,
            None => {
                out.get_mut(..data.len())?.copy_from_slice(data);
                data.len()
            }
        };
        Descriptor::set_frame_number(out, descriptor.frame_number.wrapping_add(self.picture_shift));
        Some(&out[..len])
    }
}

/// One accepted packet of a producer, as a forwarder sees it.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Which of the producer's encodings.
    pub stream: u8,
    /// Extended.
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub described: &'a Described,
    /// What the stream's dependency descriptors refer to.
    pub structure: Option<&'a Structure>,
}

/// A packet that was sent under some number.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub stream: u8,
    /// Extended, the producer's.
    pub original: u64,
    sequence: u64,
    /// How many epochs ago.
    epoch: usize,
}

/// What a spatial layer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An encoding of its own.
    Simulcast,
    /// A part of the only one.
    Single,
}

/// One consumer's (or tap's) place in the stream. In the order of use: see [`crate::consumer::Consumer`].
#[derive(Debug)]
#[repr(C)]
pub struct Forwarder {
    codec: Option<VideoCodec>,
    kind: Kind,
    /// See [`Self::for_tap`].
    keeps_numbers: bool,
    /// The layers wanted; the current ones go on until these can be had.
    target: Layers,
    /// Set by a pause: the next packet opens an epoch.
    seam: bool,
    last_tl0: u8,
    /// Of the newest picture, as it went out.
    last_picture: u16,
    last_timestamp: u32,
    next_out: u64,
    /// The latest.
    epoch: Option<Epoch>,
    selection: Selection,
    /// Those before it, the latest last.
    past: VecDeque<Epoch>,
}

impl Forwarder {
    /// How many of its octets [`Self::place`] touches: the first.
    pub const TOUCHED: usize = offset_of!(Self, past);

    /// `first_out` is the extended sequence number of the first packet.
    pub fn new(codec: Option<VideoCodec>, kind: Kind, first_out: u64) -> Self {
        Self {
            codec,
            kind,
            keeps_numbers: false,
            target: Layers::default(),
            seam: true,
            last_tl0: 0,
            last_picture: 0,
            last_timestamp: 0,
            next_out: first_out,
            epoch: None,
            selection: Selection::default(),
            past: VecDeque::new(),
        }
    }

    /// For somebody who takes packets as they are: any packet begins, and the first layer keeps its own numbers, so
    /// that what was lost before the beginning still finds its place.
    pub fn for_tap(codec: Option<VideoCodec>, kind: Kind) -> Self {
        let mut tap = Self::new(codec, kind, 0);
        tap.keeps_numbers = true;
        tap
    }

    pub fn target(&self) -> Layers {
        self.target
    }

    pub fn set_target(&mut self, layers: Layers) {
        self.target = layers;
    }

    /// The layers being forwarded; none before the first packet and after a pause. A temporal layer above all there are
    /// means every one.
    pub fn current(&self) -> Option<Layers> {
        let epoch = self.epoch.as_ref().filter(|_| !self.seam)?;
        let chosen = self.selection.layers();
        Some(match self.kind {
            Kind::Simulcast => Layers { spatial: epoch.stream, ..chosen },
            Kind::Single => chosen,
        })
    }

    /// Whether a keyframe of the target layers is needed to go on.
    pub fn wants_keyframe(&self) -> bool {
        let Some(current) = self.current() else { return self.codec.is_some() };
        let (now, wanted) = (current.spatial, self.target.spatial);
        let has_way_down = self.kind == Kind::Single && !self.selection.skips_lower();
        self.codec.is_some() && (wanted > now || (wanted < now && !has_way_down))
    }

    /// Which of the producer's encodings has the target layers.
    pub fn target_stream(&self) -> u8 {
        match self.kind {
            Kind::Simulcast => self.target.spatial,
            Kind::Single => 0,
        }
    }

    /// Whose keyframe repairs what the receiver sees.
    pub fn keyframe_stream(&self) -> u8 {
        match &self.epoch {
            Some(epoch) if !self.seam => epoch.stream,
            _ => self.target_stream(),
        }
    }

    /// Forwarding stops; it begins again as at the start, but the stream's numbers go on.
    pub fn pause(&mut self) {
        self.seam = true;
    }

    /// Packets from `sequence` on were placed and not sent: their numbers are given again, after a pause.
    pub fn take_back(&mut self, sequence: u64) {
        if sequence < self.next_out {
            self.next_out = sequence;
            while self.epoch.as_ref().is_some_and(|epoch| epoch.packets.out_start() >= sequence) {
                self.epoch = self.past.pop_back();
            }
        }
        self.seam = true;
    }

    /// Where `packet` goes; `None`: nowhere. `aligned` gives the timestamp that the previous stream would have had at
    /// this packet's moment; asked only at a change of streams.
    pub fn place(
        &mut self,
        packet: &Incoming<'_>,
        aligned: impl FnOnce(u8) -> Option<u32>,
    ) -> Option<Placed> {
        let goes_on = !self.seam && self.epoch.as_ref().is_some_and(|epoch| epoch.stream == packet.stream);
        if !goes_on {
            let may_begin = packet.described.starts_picture_alone || self.may_start_anywhere();
            if packet.stream != self.target_stream() || !may_begin {
                return None;
            }
            self.open_epoch(packet, aligned);
        }
        let wish = self.wish_within_stream();
        let epoch = self.epoch.as_mut()?;
        let is_new = epoch.packets.is_new(packet.sequence);
        if is_new {
            self.selection.consider(packet, wish);
        }
        let wanted = self.selection.wants(packet);
        if is_new {
            epoch.pictures.note(packet, wanted);
        }
        let place = epoch.packets.place(packet.sequence, wanted);
        let placed = self.placed(self.epoch.as_ref()?, packet, place)?;
        if placed.sequence >= self.next_out {
            self.next_out = placed.sequence + 1;
            self.last_timestamp = placed.timestamp;
            self.note_picture(packet, &placed);
        }
        Some(placed)
    }

    fn may_start_anywhere(&self) -> bool {
        self.codec.is_none() || (self.keeps_numbers && self.epoch.is_none())
    }

    fn wish_within_stream(&self) -> Layers {
        match self.kind {
            Kind::Simulcast => Layers { spatial: u8::MAX, ..self.target },
            Kind::Single => self.target,
        }
    }

    fn open_epoch(&mut self, packet: &Incoming<'_>, aligned: impl FnOnce(u8) -> Option<u32>) {
        let previous = self.epoch.as_ref();
        let is_first = previous.is_none();
        let timestamp_shift = match previous {
            None => 0,
            Some(previous) if previous.stream == packet.stream => previous.timestamp_shift,
            Some(previous) => {
                let wanted = aligned(previous.stream).map(|t| t.wrapping_add(previous.timestamp_shift));
                // The new picture must be later than the last one, else a receiver takes it for old.
                let earliest = self.last_timestamp.wrapping_add(MIN_STEP);
                let timestamp = wanted.filter(|t| t.wrapping_sub(earliest) as i32 >= 0).unwrap_or(earliest);
                timestamp.wrapping_sub(packet.timestamp)
            }
        };
        let packets = match is_first && self.keeps_numbers {
            true => Numbers::new(0, 0),
            false => Numbers::new(packet.sequence, self.next_out),
        };
        let next = (!is_first).then(|| self.last_picture.wrapping_add(1));
        let tl0 = tl0_pic_idx(packet.described).filter(|_| !is_first);
        let epoch = Epoch {
            stream: packet.stream,
            packets,
            timestamp_shift,
            pictures: Pictures::new(packet.described, next),
            tl0_shift: tl0.map_or(0, |index| self.last_tl0.wrapping_add(1).wrapping_sub(index)),
        };
        self.seam = false;
        self.selection.begin(packet.sequence, self.wish_within_stream());
        if let Some(previous) = self.epoch.replace(epoch) {
            if self.past.len() == MAX_PAST {
                self.past.pop_front();
            }
            self.past.push_back(previous);
        }
    }

    fn placed(&self, epoch: &Epoch, packet: &Incoming<'_>, place: Place) -> Option<Placed> {
        let (sequence, is_empty) = match place {
            Place::Out(sequence) => (sequence, false),
            Place::Hole(sequence) => (sequence, true),
            Place::None => return None,
        };
        Some(Placed {
            sequence,
            timestamp: packet.timestamp.wrapping_add(epoch.timestamp_shift),
            marker: !is_empty && self.selection.ends_picture(packet),
            is_empty,
            picture_shift: epoch.pictures.shift(packet.described),
            tl0_shift: epoch.tl0_shift,
            active_targets: self.selection.targets_to_tell(packet),
        })
    }

    fn note_picture(&mut self, packet: &Incoming<'_>, placed: &Placed) {
        if let Some((number, mask)) = picture_number(packet.described) {
            self.last_picture = number.wrapping_add(placed.picture_shift) & mask;
        }
        if let Some(index) = tl0_pic_idx(packet.described) {
            self.last_tl0 = index.wrapping_add(placed.tl0_shift);
        }
    }

    /// Which packet was sent as `sequence`.
    pub fn find_sent(&self, sequence: u16) -> Option<Sent> {
        let behind = (self.next_out as u16).wrapping_sub(sequence);
        let out =
            self.next_out.checked_sub(u64::from(behind)).filter(|_| (1..=MAX_BEHIND).contains(&behind))?;
        let epochs = self.epoch.iter().chain(self.past.iter().rev());
        let (epoch, Epoch { stream, packets, .. }) =
            epochs.enumerate().find(|(_, epoch)| epoch.packets.out_start() <= out)?;
        Some(Sent { stream: *stream, original: packets.find_sent(out)?, sequence: out, epoch })
    }

    /// How a packet was rewritten when it was sent, to be sent again.
    pub fn place_again(&self, sent: &Sent, packet: &Incoming<'_>) -> Option<Placed> {
        let epoch = self.epoch.iter().chain(self.past.iter().rev()).nth(sent.epoch)?;
        // Choices of earlier epochs are forgotten; all that was sent then was wanted.
        let is_current = sent.epoch == 0;
        let place = match !is_current || self.selection.wants(packet) {
            true => Place::Out(sent.sequence),
            false => Place::Hole(sent.sequence),
        };
        self.placed(epoch, packet, place)
    }

    /// The stream being forwarded and what is added to its timestamps, for sender reports.
    pub fn timestamp_offset(&self) -> Option<(u8, u32)> {
        self.epoch.as_ref().map(|e| (e.stream, e.timestamp_shift))
    }
}

impl Pictures {
    /// Numbering that goes on with `next`, or keeps the numbers it finds.
    fn new(described: &Described, next: Option<u16>) -> Self {
        let Some((number, _)) = picture_number(described) else { return Self::None };
        match described.layering {
            Layering::Vp8(_) => {
                let newest = PICTURE_BASE + u64::from(number);
                let ids = match next {
                    Some(next) => Numbers::new(newest, PICTURE_BASE + u64::from(next)),
                    None => Numbers::new(0, 0),
                };
                Self::Close { newest, ids }
            }
            _ => Self::Shift(next.map_or(0, |next| next.wrapping_sub(number))),
        }
    }

    /// A packet ahead of all others begins or goes on with a picture.
    fn note(&mut self, packet: &Incoming<'_>, wanted: bool) {
        let Some((id, mask)) = picture_number(packet.described) else { return };
        if let Self::Close { newest, ids } = self {
            let number = extend(*newest, id, mask);
            if ids.is_new(number) {
                *newest = number;
                ids.place(number, wanted);
            }
        }
    }

    /// What to add to the number of the packet's picture.
    fn shift(&self, described: &Described) -> u16 {
        let Some((id, mask)) = picture_number(described) else { return 0 };
        match self {
            Self::None => 0,
            Self::Shift(shift) => *shift,
            Self::Close { newest, ids } => {
                let number = extend(*newest, id, mask);
                ids.find(number).map_or(0, |out| (out as u16).wrapping_sub(number as u16))
            }
        }
    }
}

/// The number of the packet's picture (of its frame, with the dependency descriptor) and the bits it has.
fn picture_number(described: &Described) -> Option<(u16, u16)> {
    let id = match &described.layering {
        Layering::Plain => None,
        Layering::Vp8(descriptor) => descriptor.picture_id,
        Layering::Vp9(descriptor) => descriptor.picture_id,
        Layering::Dependency(descriptor) => return Some((descriptor.frame_number, u16::MAX)),
    };
    id.map(|id| (id.value(), id.mask()))
}

fn tl0_pic_idx(described: &Described) -> Option<u8> {
    match &described.layering {
        Layering::Vp8(descriptor) => descriptor.tl0_pic_idx,
        Layering::Vp9(descriptor) => descriptor.layers.and_then(|layers| layers.tl0_pic_idx),
        Layering::Plain | Layering::Dependency(_) => None,
    }
}

/// The number nearest to `newest` that ends in `id`.
fn extend(newest: u64, id: u16, mask: u16) -> u64 {
    let ahead = id.wrapping_sub(newest as u16) & mask;
    if ahead <= mask / 2 {
        newest + u64::from(ahead)
    } else {
        newest.saturating_sub(u64::from(mask - ahead) + 1)
    }
}

/// Retransmission reaches back a second; nobody pauses or changes streams this often in one.
const MAX_PAST: usize = 7;
/// As many as the ring can hold.
const MAX_BEHIND: u16 = 512;
/// A hundredth of a second of a 90 kHz clock.
const MIN_STEP: u32 = 900;
/// A multiple of every picture id's range, so that extended ids end in the ids themselves; and far enough up that none
/// goes below zero.
const PICTURE_BASE: u64 = 1 << 32;
