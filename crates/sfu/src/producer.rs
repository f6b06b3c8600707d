//! One track a client sends, as the router sees it.

use crate::bandwidth::Class;
use crate::clock::Millis;
use crate::forward::{Incoming, Kind};
use crate::layering::Described;
use crate::layers::{Ladder, LayerMeter, Layers, Rung};
use crate::ortc::codec::Codec;
use crate::ortc::produce::Produced;
use crate::receive::Stream;
use crate::score::Scores;
use crate::speakers::Voice;
use rtp::codec::VideoCodec;
use rtp::packet::Packet;
use wire::{ProducerId, RouterId};

pub struct Producer {
    pub id: ProducerId,
    pub router: RouterId,
    pub transport: usize,
    pub agreed: Produced,
    pub paused: bool,
    /// Who speaks, or is on air: its receivers get it first.
    pub is_important: bool,
    /// One per encoding, worst first as simulcast lists them.
    pub streams: Vec<Stream>,
    /// Of pictures.
    pub layers: Option<Box<LayerMeter>>,
    pub receivers: Vec<Receiver>,
    pub taps: Vec<usize>,
    /// Loudest packet of the last while, −127 to 0 dBov (RFC 6464).
    pub audio_level: Option<i8>,
    /// What signaling was told of last.
    pub told_scores: Scores,
    /// While it is observed.
    pub voice: Option<Box<Voice>>,
}

/// A consumer, and whose it is: all that handing out a packet needs to know of it.
#[derive(Clone, Copy, Debug)]
pub struct Receiver {
    pub consumer: u32,
    pub transport: u32,
}

impl Producer {
    /// The keys of its consumers.
    pub fn consumers(&self) -> impl Iterator<Item = usize> + '_ {
        self.receivers.iter().map(|receiver| receiver.consumer as usize)
    }

    /// Fetches what a packet of encoding `stream` touches behind this producer's pointers.
    pub fn prefetch_boxes(&self, stream: u8) {
        if let Some(meter) = &self.layers {
            meter.prefetch(stream);
        }
        if let Some(stream) = self.streams.get(usize::from(stream)) {
            prefetch::all(stream);
        }
        prefetch::start(&self.receivers[..], FIRST_RECEIVERS * size_of::<Receiver>());
        prefetch::all(&self.taps[..]);
    }

    pub fn class(&self) -> Class {
        if self.is_important { Class::Important } else { Class::Ordinary }
    }

    pub fn video_codec(&self) -> Option<VideoCodec> {
        video_codec(self.agreed.codec)
    }

    /// One of its packets, as forwarders look at it.
    pub fn incoming<'a>(
        &'a self,
        stream: u8,
        sequence: u64,
        packet: &Packet<'_>,
        described: &'a Described,
    ) -> Incoming<'a> {
        let structure = self.streams.get(usize::from(stream)).and_then(|s| s.structure.as_deref());
        let (timestamp, marker) = (packet.timestamp(), packet.marker());
        Incoming { stream, sequence, timestamp, marker, described, structure }
    }

    /// What flows, and what each choice costs. Empty while nothing flows: a still screen sends nothing for long, and its
    /// receivers should stay where they are.
    pub fn ladder(&self, ms: Millis) -> Ladder {
        if let Some(meter) = &self.layers {
            return meter.ladder(ms);
        }
        let mut ladder = Ladder::default();
        for stream in self.streams.iter().filter(|s| s.is_flowing(ms)) {
            let bitrate = stream.rate.bitrate(ms);
            ladder.push(Rung { layers: Layers::default(), bitrate, usual: bitrate });
        }
        ladder
    }

    /// What its spatial layers are.
    pub fn layer_kind(&self) -> Kind {
        if self.streams.len() > 1 { Kind::Simulcast } else { Kind::Single }
    }

    /// What a receiver who may have `wish` is to aim at; `None` while nothing flows.
    ///
    /// Spatially a layer that is there; in time all that is allowed, since a layer more may come with any picture.
    pub fn aim(&self, ladder: &Ladder, wish: Layers) -> Option<Layers> {
        let spatial = ladder.best_within(wish)?.layers.spatial;
        let temporal = if spatial < wish.spatial { u8::MAX } else { wish.temporal };
        Some(Layers { spatial, temporal })
    }

    /// The highest spatial layer that flows or was announced.
    pub fn top_spatial(&self, ms: Millis) -> u8 {
        let flowing = self.ladder(ms).rungs().last().map_or(0, |rung| rung.layers.spatial);
        flowing.max(self.agreed.spatial_layers.saturating_sub(1))
    }

    /// Where a receiver begins: as the layers flow, or before they do as they were announced.
    pub fn first_aim(&self, wish: Layers, ms: Millis) -> Layers {
        let announced = match self.layer_kind() {
            // Nobody knows which of them will come.
            Kind::Simulcast => 0,
            Kind::Single => self.agreed.spatial_layers.saturating_sub(1).min(wish.spatial),
        };
        self.aim(&self.ladder(ms), wish).unwrap_or(Layers::new(announced, wish.temporal))
    }

    /// The timestamp layer `to` would show at the moment layer `from` shows `timestamp`, by what the sender's reports
    /// say of both clocks.
    pub fn translate_timestamp(&self, from: u8, timestamp: u32, to: u8) -> Option<u32> {
        let source = self.streams.get(usize::from(from))?;
        let target = self.streams.get(usize::from(to))?;
        let (a, b) = (source.sender_clock?, target.sender_clock?);
        // NTP time of the packet, relative to the target's report, in timestamp units.
        let since_report = timestamp.wrapping_sub(a.rtp_timestamp) as i32;
        let ntp_apart = a.ntp.wrapping_sub(b.ntp) as i64;
        let apart = (i128::from(ntp_apart) * i128::from(source.clock_rate())) >> 32;
        Some(b.rtp_timestamp.wrapping_add(apart as u32).wrapping_add(since_report as u32))
    }
}

/// That are fetched ahead; of longer lists the processor itself fetches the rest.
const FIRST_RECEIVERS: usize = 64;

pub fn video_codec(codec: Codec) -> Option<VideoCodec> {
    match codec {
        Codec::Opus => None,
        Codec::Vp8 => Some(VideoCodec::Vp8),
        Codec::Vp9 => Some(VideoCodec::Vp9),
        Codec::H264 => Some(VideoCodec::H264),
        Codec::Av1 => Some(VideoCodec::Av1),
    }
}
