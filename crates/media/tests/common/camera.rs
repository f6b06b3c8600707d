//! A camera whose pictures carry their number in black and white bars, encoded and cut into RTP packets.

pub use ffmpeg::color;
pub use ffmpeg::format::Pixel;
use ffmpeg::{Dictionary, Rational, codec, frame, picture};
use ffmpeg_the_third as ffmpeg;
use rtp::codec::VideoCodec;
use rtp::ext::ExtensionWriter;
use rtp::packet::FixedHeader;

/// Encodes numbered pictures.
pub struct Camera {
    codec: VideoCodec,
    size: (u32, u32),
    format: Pixel,
    encoder: codec::encoder::Video,
    colours: Option<Colours>,
    number: u16,
    sequence: u16,
    picture_id: u16,
    pub timestamp: u32,
    /// Sent as video orientation with extension id [`ORIENTATION_ID`], if any.
    pub orientation: Option<u8>,
    /// Sent as colour space with extension id [`COLOUR_ID`] with the last packet of each picture, if any.
    pub told_colours: Option<[u8; 4]>,
    /// How many octets of each picture are sent, if not all.
    pub cut: Option<usize>,
}

/// What a stream says of its colours.
#[derive(Clone, Copy, Debug)]
pub struct Colours {
    pub space: color::Space,
    pub range: color::Range,
}

pub const PAYLOAD_TYPE: u8 = 96;
pub const ORIENTATION_ID: u8 = 4;
pub const COLOUR_ID: u8 = 13;

impl Camera {
    pub fn new(codec: VideoCodec, width: u32, height: u32) -> Self {
        Self::with_format(codec, Pixel::YUV420P, width, height)
    }

    pub fn with_format(codec: VideoCodec, format: Pixel, width: u32, height: u32) -> Self {
        Self::open(codec, format, (width, height), None)
    }

    /// One that says of its colours what they are, and spares no bits on them.
    pub fn with_colours(codec: VideoCodec, colours: Colours) -> Self {
        Self::open(codec, Pixel::YUV420P, (320, 180), Some(colours))
    }

    fn open(codec: VideoCodec, format: Pixel, size: (u32, u32), colours: Option<Colours>) -> Self {
        let encoder = open(codec, format, size, colours);
        let sequence = 65_500;
        Self {
            codec,
            size,
            format,
            encoder,
            colours,
            number: 0,
            sequence,
            picture_id: 32_700,
            timestamp: u32::MAX - 90_000,
            orientation: None,
            told_colours: None,
            cut: None,
        }
    }

    /// Takes another size, as a browser does when the network gets worse.
    pub fn resize(&mut self, width: u32, height: u32) {
        self.size = (width, height);
        self.encoder = open(self.codec, self.format, self.size, self.colours);
    }

    /// Goes on as another, under the same numbers and the same payload type.
    pub fn become_codec(&mut self, codec: VideoCodec) {
        self.codec = codec;
        self.encoder = open(self.codec, self.format, self.size, self.colours);
    }

    /// Takes another chroma format, and with it another profile.
    pub fn reformat(&mut self, format: Pixel) {
        self.format = format;
        self.encoder = open(self.codec, self.format, self.size, self.colours);
    }

    /// The next picture, `after_ms` after the one before: its number and its packets.
    pub fn shoot(&mut self, after_ms: u32, keyframe: bool) -> (u16, Vec<Vec<u8>>) {
        self.number += 1;
        self.timestamp = self.timestamp.wrapping_add(after_ms * 90);
        let mut picture = draw(self.number, self.format, self.size);
        picture.set_pts(Some(i64::from(self.number)));
        picture.set_kind(if keyframe { picture::Type::I } else { picture::Type::None });
        self.encoder.send_frame(&picture).unwrap();
        let mut packet = ffmpeg::Packet::empty();
        self.encoder.receive_packet(&mut packet).expect("an encoder without delay");
        let mut data = packet.data().unwrap().to_vec();
        if let Some(cut) = self.cut {
            data.truncate(1 + cut % data.len());
        }
        (self.number, self.packetise(&data, packet.is_key()))
    }

    fn packetise(&mut self, data: &[u8], keyframe: bool) -> Vec<Vec<u8>> {
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
        let id = [0x80 | (self.picture_id >> 8) as u8, self.picture_id as u8];
        let pieces: Vec<_> = data.chunks(MTU).collect();
        let last = pieces.len() - 1;
        let payloads: Vec<Vec<u8>> = match self.codec {
            // RFC 7741 §4.2: X; I with a 15 bit picture id; S in the first.
            VideoCodec::Vp8 => pieces
                .iter()
                .enumerate()
                .map(|(i, piece)| [&[0x80 | u8::from(i == 0) << 4, 0x80, id[0], id[1]], *piece].concat())
                .collect(),
            // RFC 9628 §4.2: I, P, B, E.
            VideoCodec::Vp9 => pieces
                .iter()
                .enumerate()
                .map(|(i, piece)| {
                    let first =
                        0x80 | u8::from(!keyframe) << 6 | u8::from(i == 0) << 3 | u8::from(i == last) << 2;
                    [&[first, id[0], id[1]], *piece].concat()
                })
                .collect(),
            VideoCodec::H264 => nal_units(data).into_iter().flat_map(packetise_nal).collect(),
            VideoCodec::Av1 => packetise_obus(data, keyframe),
        };
        let count = payloads.len();
        payloads.iter().enumerate().map(|(i, payload)| self.packet(i + 1 == count, payload)).collect()
    }

    fn packet(&mut self, marker: bool, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let header = FixedHeader {
            marker,
            payload_type: PAYLOAD_TYPE,
            sequence_number: self.sequence,
            timestamp: self.timestamp,
            ssrc: 7,
        };
        let mut extension = [0; 64];
        let told = self.told_colours.filter(|_| marker);
        let mut writer = ExtensionWriter::new(&mut extension);
        if let Some(orientation) = self.orientation {
            writer.push(ORIENTATION_ID, &[orientation]).unwrap();
        }
        if let Some(told) = told {
            writer.push(COLOUR_ID, &told).unwrap();
        }
        let some = self.orientation.is_some() || told.is_some();
        let length = if some { writer.finish().unwrap() } else { 0 };
        [&header.to_bytes(length > 0)[..], &extension[..length], payload].concat()
    }
}

/// The number in a picture's luma. `None`: a bar is neither black nor white.
pub fn read_number(luma: &[u8], stride: usize, width: u32, height: u32) -> Option<u16> {
    let (width, height) = (width as usize, height as usize);
    (0..16).try_fold(0, |number, bar| {
        let x = (2 * bar + 1) * width / 32;
        let bit = match luma[height / 2 * stride + x] {
            0..=80 => 0,
            175..=255 => 1,
            _ => return None,
        };
        Some(number << 1 | bit)
    })
}

fn draw(number: u16, format: Pixel, (width, height): (u32, u32)) -> frame::Video {
    let mut picture = frame::Video::new(format, width, height);
    let stride = picture.stride(0);
    for (y, row) in picture.data_mut(0).chunks_mut(stride).enumerate() {
        for (x, luma) in row.iter_mut().take(width as usize).enumerate() {
            let bit = number >> (15 - (x * 16 / width as usize).min(15)) & 1;
            // A little texture, so that difference pictures are not empty.
            let noise = ((x * 7 + y * 13 + usize::from(number) * 29) % 11) as u8;
            *luma = if bit == 1 { 225 + noise } else { 20 + noise };
        }
    }
    picture.data_mut(1).fill(BLUE);
    picture.data_mut(2).fill(RED);
    picture
}

pub const BLUE: u8 = 90;
pub const RED: u8 = 160;

fn open(
    codec: VideoCodec,
    format: Pixel,
    (width, height): (u32, u32),
    colours: Option<Colours>,
) -> codec::encoder::Video {
    let (name, options): (_, &[_]) = match codec {
        VideoCodec::Vp8 => ("libvpx", &[("deadline", "realtime"), ("cpu-used", "8"), ("lag-in-frames", "0")]),
        VideoCodec::Vp9 => {
            ("libvpx-vp9", &[("deadline", "realtime"), ("cpu-used", "8"), ("lag-in-frames", "0")])
        }
        VideoCodec::H264 => ("libx264", if format == Pixel::YUV420P { &H264[..] } else { &H264[1..] }),
        VideoCodec::Av1 => (
            "libaom-av1",
            &[("usage", "realtime"), ("cpu-used", "8"), ("lag-in-frames", "0"), ("threads", "1")],
        ),
    };
    let found = codec::encoder::find_by_name(name).expect("an encoder for tests");
    let mut video = codec::Context::new_with_codec(found).encoder().video().unwrap();
    video.set_width(width);
    video.set_height(height);
    video.set_format(format);
    video.set_time_base(Rational(1, 30));
    video.set_bit_rate(1_500_000);
    if let Some(Colours { space, range }) = colours {
        video.set_bit_rate(20_000_000);
        video.set_colorspace(space);
        video.set_color_range(range);
    }
    video.set_gop(10_000);
    video.set_max_b_frames(0);
    let mut dictionary = Dictionary::new();
    for (key, value) in options {
        dictionary.set(key, value);
    }
    video.open_as_with(found, dictionary).unwrap()
}

fn nal_units(annex_b: &[u8]) -> Vec<&[u8]> {
    let mut starts: Vec<usize> =
        annex_b.windows(3).enumerate().filter(|(_, w)| *w == [0, 0, 1]).map(|(i, _)| i + 3).collect();
    starts.push(annex_b.len() + 3);
    starts
        .windows(2)
        .map(|pair| {
            let unit = &annex_b[pair[0]..pair[1] - 3];
            let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
            &unit[..unit.len() - zeros]
        })
        .collect()
}

/// RFC 6184: single NAL unit packets, and FU-A for what is longer.
fn packetise_nal(nal: &[u8]) -> Vec<Vec<u8>> {
    if nal.len() <= MTU {
        return vec![nal.to_vec()];
    }
    let pieces: Vec<_> = nal[1..].chunks(MTU).collect();
    let last = pieces.len() - 1;
    let fragment = |(i, piece): (usize, &&[u8])| {
        let header = u8::from(i == 0) << 7 | u8::from(i == last) << 6 | nal[0] & 0x1f;
        [&[nal[0] & 0xe0 | 28, header], *piece].concat()
    };
    pieces.iter().enumerate().map(fragment).collect()
}

/// RTP Payload Format for AV1 §4.4: each OBU in packets of its own, without its size.
fn packetise_obus(mut unit: &[u8], keyframe: bool) -> Vec<Vec<u8>> {
    let mut payloads: Vec<Vec<u8>> = Vec::new();
    while !unit.is_empty() {
        let header = unit[0];
        assert_eq!(header & 0x06, 0x02, "no layers, with a size");
        let (mut len, mut at) = (0, 1);
        // Of one that was cut short, what is there.
        while at < unit.len() {
            len |= usize::from(unit[at] & 0x7f) << (7 * (at - 1));
            at += 1;
            if unit[at - 1] & 0x80 == 0 {
                break;
            }
        }
        let (data, rest) = unit[at..].split_at(len.min(unit.len() - at));
        unit = rest;
        if header >> 3 & 0x0f == rtp::codec::av1::TEMPORAL_DELIMITER {
            continue;
        }
        let obu = [&[header & !0x02], data].concat();
        let pieces: Vec<_> = obu.chunks(MTU).collect();
        for (i, piece) in pieces.iter().enumerate() {
            let (continues, is_continued) = (i > 0, i + 1 < pieces.len());
            let new_sequence = keyframe && payloads.is_empty();
            let aggregation =
                u8::from(continues) << 7 | u8::from(is_continued) << 6 | 0x10 | u8::from(new_sequence) << 3;
            payloads.push([&[aggregation], *piece].concat());
        }
    }
    payloads
}

/// The first is for 4:2:0 alone.
const H264: [(&str, &str); 4] =
    [("profile", "baseline"), ("preset", "ultrafast"), ("tune", "zerolatency"), ("forced-idr", "1")];
const MTU: usize = 1_000;
