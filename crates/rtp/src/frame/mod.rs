//! Whole pictures out of ordered packets, each marked with whether all it refers to was delivered.
//!
//! Decoders show pictures built on missing references without a word, so [`Frame::continuous`] is the only gate there
//! is: a picture for which it is false must not reach a decoder. Depacketising: RFC 7741, RFC 9628,
//! RFC 6184, RTP Payload Format for AV1.

mod av1;
mod continuity;
mod h264;
mod vp8;
mod vp9;

use crate::codec::VideoCodec;
use crate::ext::VideoOrientation;
use crate::packet::Packet;
use crate::sequence::TimestampExtender;

/// Larger pictures are dropped: 4K key frames of a conference stay below a tenth of this.
pub const MAX_FRAME_LEN: usize = 4 << 20;
pub const MAX_FRAME_PACKETS: u32 = 4_096;

/// One complete picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// VP8 and VP9: the frame as the encoder made it (several spatial layers of VP9 as one superframe; a decoder that
    /// gives several pictures for it means the last). H.264: Annex B, with parameter sets in front of key pictures.
    /// AV1: a temporal unit of OBUs with sizes.
    pub data: Vec<u8>,
    /// RTP timestamp, extended.
    pub timestamp: u64,
    pub keyframe: bool,
    /// Everything this picture refers to was delivered as a continuous frame before. After a gap this stays false until
    /// a key frame, or until VP8's or VP9's temporal layering proves independence.
    pub continuous: bool,
    pub first_arrival_ns: u64,
    pub last_arrival_ns: u64,
    pub orientation: VideoOrientation,
    /// Width and height, if this is a key frame.
    pub size: Option<(u32, u32)>,
    pub packets: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssemblerStats {
    pub frames: u64,
    /// Complete pictures marked as not continuous.
    pub withheld: u64,
    /// Pictures of which packets were missing, malformed, or too many.
    pub broken: u64,
    /// Packets at or before one already taken.
    pub out_of_order: u64,
}

/// Joins the packets of one stream into [`Frame`]s. Ends with the stream; a change of codec needs a new one.
///
/// Holds at most one unfinished picture of [`MAX_FRAME_LEN`]; when full, the picture is dropped to its end and what
/// refers to it is withheld.
#[derive(Debug)]
pub struct FrameAssembler {
    codec: VideoCodec,
    orientation_id: Option<u8>,
    orientation: VideoOrientation,
    timestamps: TimestampExtender,
    last_sequence: Option<u64>,
    /// Packets are missing, or were wasted, since the last picture that was finished whole.
    gap: bool,
    /// The last packet of that picture.
    finished_sequence: u64,
    assembly: Assembly,
    gate: continuity::Gate,
    parameter_sets: h264::ParameterSets,
    stats: AssemblerStats,
    typical_len: usize,
}

#[derive(Debug)]
enum Assembly {
    /// Between pictures.
    Idle,
    Building(Box<Building>),
    /// In the middle of a picture that cannot be saved: packets of this timestamp are stepped over.
    Skipping {
        timestamp: u64,
    },
}

#[derive(Debug)]
struct Building {
    timestamp: u64,
    /// Packets right before the first one here are missing.
    after_gap: bool,
    first_sequence: u64,
    last_sequence: u64,
    packets: u32,
    first_arrival_ns: u64,
    last_arrival_ns: u64,
    data: Vec<u8>,
    picture: Picture,
}

#[derive(Debug)]
enum Picture {
    Vp8(vp8::Picture),
    Vp9(vp9::Picture),
    H264(h264::Picture),
    Av1(av1::Picture),
}

/// The picture cannot be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken;

/// What is known of a picture once it is whole.
#[derive(Clone, Copy, Debug)]
struct Finished {
    keyframe: bool,
    size: Option<(u32, u32)>,
    dependencies: continuity::Dependencies,
}

impl FrameAssembler {
    /// `orientation_id`: the header extension id of `urn:3gpp:video-orientation`, if negotiated.
    pub fn new(codec: VideoCodec, orientation_id: Option<u8>) -> Self {
        Self {
            codec,
            orientation_id,
            orientation: VideoOrientation::default(),
            timestamps: TimestampExtender::new(),
            last_sequence: None,
            gap: true,
            finished_sequence: 0,
            assembly: Assembly::Idle,
            gate: continuity::Gate::default(),
            parameter_sets: h264::ParameterSets::default(),
            stats: AssemblerStats::default(),
            typical_len: 0,
        }
    }

    /// Takes the next packet in order of its extended sequence number; numbers left out are packets lost for good.
    /// Gives the pictures this completes: rarely two, when one ended without a marker.
    pub fn push(
        &mut self,
        sequence: u64,
        arrival_ns: u64,
        packet: &Packet,
    ) -> impl Iterator<Item = Frame> + use<> {
        let frames =
            if self.follow(sequence) { self.take(sequence, arrival_ns, packet) } else { [None, None] };
        frames.into_iter().flatten()
    }

    /// The decoder has lost its state: nothing is continuous until the next key frame.
    pub fn require_keyframe(&mut self) {
        self.gate.require_keyframe();
    }

    /// Only a key frame can make pictures continuous again: time to ask for one.
    pub fn needs_keyframe(&self) -> bool {
        self.gate.needs_keyframe()
    }

    pub fn stats(&self) -> AssemblerStats {
        self.stats
    }

    /// Notes a gap before this packet; false if the packet comes too late.
    fn follow(&mut self, sequence: u64) -> bool {
        if let Some(last) = self.last_sequence {
            if sequence <= last {
                self.stats.out_of_order += 1;
                return false;
            }
            if sequence != last + 1 {
                self.gap = true;
                self.break_off();
            }
        }
        self.last_sequence = Some(sequence);
        true
    }

    fn take(&mut self, sequence: u64, arrival_ns: u64, packet: &Packet) -> [Option<Frame>; 2] {
        let payload = packet.payload();
        if payload.is_empty() {
            // Padding probes the path; it belongs to no picture.
            return [None, None];
        }
        if let Some(data) = self.orientation_id.and_then(|id| packet.extension(id)) {
            self.orientation = VideoOrientation::parse(data).unwrap_or(self.orientation);
        }
        let timestamp = self.timestamps.extend(packet.timestamp());
        let ended_unmarked = self.end_older_than(timestamp);
        self.append(sequence, timestamp, arrival_ns, payload);
        let ended = if packet.marker() { self.end() } else { None };
        [ended_unmarked, ended]
    }

    /// A new timestamp ends the picture before it: the marker is a hint some senders forget.
    fn end_older_than(&mut self, timestamp: u64) -> Option<Frame> {
        match &mut self.assembly {
            Assembly::Building(building) if building.timestamp != timestamp => {
                if building.picture.is_preamble() {
                    building.timestamp = timestamp;
                    return None;
                }
                self.end()
            }
            Assembly::Skipping { timestamp: skipped } if *skipped != timestamp => {
                self.assembly = Assembly::Idle;
                None
            }
            _ => None,
        }
    }

    fn append(&mut self, sequence: u64, timestamp: u64, arrival_ns: u64, payload: &[u8]) {
        if matches!(self.assembly, Assembly::Idle) {
            self.assembly = Assembly::Building(Box::new(Building {
                timestamp,
                after_gap: self.gap,
                first_sequence: sequence,
                last_sequence: sequence,
                packets: 0,
                first_arrival_ns: arrival_ns,
                last_arrival_ns: arrival_ns,
                data: Vec::with_capacity(self.typical_len),
                picture: Picture::new(self.codec),
            }));
        }
        let Assembly::Building(building) = &mut self.assembly else { return };
        building.packets += 1;
        building.last_sequence = sequence;
        building.first_arrival_ns = building.first_arrival_ns.min(arrival_ns);
        building.last_arrival_ns = building.last_arrival_ns.max(arrival_ns);
        let room =
            building.data.len() + payload.len() <= MAX_FRAME_LEN && building.packets <= MAX_FRAME_PACKETS;
        let first = building.packets == 1;
        let appended = building.picture.append(payload, first, &mut building.data, &mut self.parameter_sets);
        if appended.is_err() || !room {
            self.break_off();
            self.gap = true;
        }
    }

    /// Gives the picture up; whatever still follows of it is of no use.
    fn break_off(&mut self) {
        if let Assembly::Building(building) = &self.assembly {
            self.assembly = Assembly::Skipping { timestamp: building.timestamp };
            self.stats.broken += 1;
        }
    }

    /// The current picture has all its packets.
    fn end(&mut self) -> Option<Frame> {
        match std::mem::replace(&mut self.assembly, Assembly::Idle) {
            Assembly::Building(building) if building.picture.is_preamble() => {
                self.assembly = Assembly::Building(building);
                None
            }
            Assembly::Building(building) => self.finish(*building),
            Assembly::Idle | Assembly::Skipping { .. } => None,
        }
    }

    fn finish(&mut self, mut building: Building) -> Option<Frame> {
        let Ok(finished) =
            building.picture.finish(&mut building.data, building.after_gap, &self.parameter_sets)
        else {
            self.stats.broken += 1;
            self.gap = true;
            return None;
        };
        let unseen = building.first_sequence.saturating_sub(self.finished_sequence + 1);
        let missing = if self.gap { unseen.max(1) } else { 0 };
        let continuous = self.gate.admit(&finished.dependencies, finished.keyframe, missing);
        self.gap = false;
        self.finished_sequence = building.last_sequence;
        self.stats.frames += 1;
        self.stats.withheld += u64::from(!continuous);
        // A quarter more than the last difference frame spares most reallocations.
        if !finished.keyframe {
            self.typical_len = building.data.len() + building.data.len() / 4;
        }
        Some(Frame {
            data: building.data,
            timestamp: building.timestamp,
            keyframe: finished.keyframe,
            continuous,
            first_arrival_ns: building.first_arrival_ns,
            last_arrival_ns: building.last_arrival_ns,
            orientation: self.orientation,
            size: finished.size,
            packets: building.packets,
        })
    }
}

impl Picture {
    fn new(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::Vp8 => Self::Vp8(vp8::Picture::default()),
            VideoCodec::Vp9 => Self::Vp9(vp9::Picture::default()),
            VideoCodec::H264 => Self::H264(h264::Picture::default()),
            VideoCodec::Av1 => Self::Av1(av1::Picture::default()),
        }
    }

    fn append(
        &mut self,
        payload: &[u8],
        first: bool,
        data: &mut Vec<u8>,
        sets: &mut h264::ParameterSets,
    ) -> Result<(), Broken> {
        match self {
            Self::Vp8(picture) => picture.append(payload, first, data),
            Self::Vp9(picture) => picture.append(payload, first, data),
            Self::H264(picture) => picture.append(payload, data, sets),
            Self::Av1(picture) => picture.append(payload, first, data),
        }
    }

    /// Holds no picture yet, only what precedes one.
    fn is_preamble(&self) -> bool {
        matches!(self, Self::H264(picture) if !picture.has_slice())
    }

    fn finish(
        &mut self,
        data: &mut Vec<u8>,
        after_gap: bool,
        sets: &h264::ParameterSets,
    ) -> Result<Finished, Broken> {
        match self {
            Self::Vp8(picture) => picture.finish(data),
            Self::Vp9(picture) => picture.finish(data),
            Self::H264(picture) => picture.finish(data, after_gap, sets),
            Self::Av1(picture) => picture.finish(data),
        }
    }
}

#[cfg(test)]
mod tests;
