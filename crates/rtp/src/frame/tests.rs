//! Streams with known references, disturbed; the gate must never let through a picture whose references are missing.

use super::*;
use crate::packet::FixedHeader;
use crate::prng::Prng;
use std::collections::HashSet;

/// One RTP packet and its place in the stream.
#[derive(Clone)]
struct Sent {
    sequence: u64,
    bytes: Vec<u8>,
}

/// Numbers and stamps packets.
struct Sender {
    sequence: u64,
    timestamp: u32,
}

impl Sender {
    fn new() -> Self {
        Self { sequence: 65_530, timestamp: u32::MAX - 20_000 }
    }

    fn packet(&mut self, marker: bool, payload: &[u8]) -> Sent {
        let sequence = self.sequence;
        self.sequence += 1;
        let header = FixedHeader {
            marker,
            payload_type: 96,
            sequence_number: sequence as u16,
            timestamp: self.timestamp,
            ssrc: 1,
        };
        let mut bytes = header.to_bytes(false).to_vec();
        bytes.extend_from_slice(payload);
        Sent { sequence, bytes }
    }

    fn frame(&mut self, payloads: &[Vec<u8>]) -> Vec<Sent> {
        self.timestamp = self.timestamp.wrapping_add(3_000);
        let last = payloads.len() - 1;
        payloads.iter().enumerate().map(|(i, payload)| self.packet(i == last, payload)).collect()
    }
}

fn feed(assembler: &mut FrameAssembler, packets: &[Sent]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for sent in packets {
        let packet = Packet::parse(&sent.bytes).unwrap();
        frames.extend(assembler.push(sent.sequence, sent.sequence * 1_000, &packet));
    }
    frames
}

/// `tag` rides in the data, so that a test knows which picture came out.
fn vp8_data(keyframe: bool, tag: u16) -> Vec<u8> {
    let mut data = if keyframe {
        vec![0x50, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]
    } else {
        vec![0x51, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    };
    data.extend_from_slice(&tag.to_be_bytes());
    data
}

fn tag(frame: &Frame) -> u16 {
    u16::from_be_bytes([frame.data[10], frame.data[11]])
}

#[derive(Clone, Copy)]
struct Layer {
    tid: u8,
    tl0: u8,
    sync: bool,
}

fn vp8_payloads(keyframe: bool, tag: u16, layer: Option<Layer>, packets: usize) -> Vec<Vec<u8>> {
    let data = vp8_data(keyframe, tag);
    (0..packets)
        .map(|i| {
            let mut payload = vec![0x80 | if i == 0 { 0x10 } else { 0 }];
            payload.push(0x80 | if layer.is_some() { 0x60 } else { 0 });
            payload.extend_from_slice(&(0x8000 | tag).to_be_bytes());
            if let Some(layer) = layer {
                payload.extend_from_slice(&[layer.tl0, layer.tid << 6 | u8::from(layer.sync) << 5]);
            }
            let part = data.len().div_ceil(packets);
            payload.extend(data.iter().skip(i * part).take(part));
            payload
        })
        .collect()
}

#[test]
fn packets_become_a_frame() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    assert!(assembler.needs_keyframe());
    let packets = sender.frame(&vp8_payloads(true, 7, None, 3));
    let frames = feed(&mut assembler, &packets);
    let [frame] = &frames[..] else { panic!() };
    assert_eq!(frame.data, vp8_data(true, 7));
    assert!(frame.keyframe && frame.continuous);
    assert_eq!((frame.size, frame.packets), (Some((1280, 720)), 3));
    assert_eq!((frame.first_arrival_ns, frame.last_arrival_ns), (65_530_000, 65_532_000));
    assert!(!assembler.needs_keyframe());
    let next = feed(&mut assembler, &sender.frame(&vp8_payloads(false, 8, None, 1)));
    assert!(next[0].continuous && !next[0].keyframe);
    assert_eq!(next[0].timestamp, frame.timestamp + 3_000);
}

#[test]
fn a_lost_packet_withholds_everything_until_a_key_frame() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    let mut packets = sender.frame(&vp8_payloads(true, 0, None, 2));
    for tag in 1..10 {
        packets.extend(sender.frame(&vp8_payloads(tag == 6, tag, None, 3)));
    }
    packets.remove(6);
    let frames = feed(&mut assembler, &packets);
    let seen: Vec<_> = frames.iter().map(|frame| (tag(frame), frame.continuous)).collect();
    assert_eq!(
        seen,
        [
            (0, true),
            (1, true),
            (3, false),
            (4, false),
            (5, false),
            (6, true),
            (7, true),
            (8, true),
            (9, true)
        ]
    );
    assert_eq!(assembler.stats(), AssemblerStats { frames: 9, withheld: 3, broken: 1, out_of_order: 0 });
}

#[test]
fn lost_padding_is_no_loss() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    feed(&mut assembler, &sender.frame(&vp8_payloads(true, 0, None, 1)));
    sender.sequence += 5;
    // Between two frames, consecutive picture ids show that it was only padding that got lost.
    assert!(feed(&mut assembler, &sender.frame(&vp8_payloads(false, 1, None, 1)))[0].continuous);
    let padding = sender.packet(false, &[]);
    feed(&mut assembler, &[padding]);
    assert!(feed(&mut assembler, &sender.frame(&vp8_payloads(false, 2, None, 1)))[0].continuous);
}

#[test]
fn a_narrow_picture_id_that_went_round_proves_nothing() {
    let payload = |keyframe: bool, id: u8| {
        let mut payload = vec![0x90, 0x80, id];
        payload.extend(vp8_data(keyframe, 0));
        vec![payload]
    };
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    feed(&mut assembler, &sender.frame(&payload(true, 5)));
    sender.sequence += 128;
    assert!(!feed(&mut assembler, &sender.frame(&payload(false, 6)))[0].continuous);
}

#[test]
fn a_decoder_reset_asks_for_a_key_frame() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    feed(&mut assembler, &sender.frame(&vp8_payloads(true, 0, None, 1)));
    assembler.require_keyframe();
    assert!(assembler.needs_keyframe());
    assert!(!feed(&mut assembler, &sender.frame(&vp8_payloads(false, 1, None, 1)))[0].continuous);
    assert!(feed(&mut assembler, &sender.frame(&vp8_payloads(true, 2, None, 1)))[0].continuous);
}

#[test]
fn duplicates_and_stragglers_are_ignored() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    let packets = sender.frame(&vp8_payloads(true, 0, None, 2));
    let again = [packets[0].clone(), packets[0].clone(), packets[1].clone(), packets[0].clone()];
    let frames = feed(&mut assembler, &again);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].data, vp8_data(true, 0));
    assert_eq!(assembler.stats().out_of_order, 2);
}

#[test]
fn a_frame_without_marker_ends_with_the_next_timestamp() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    let mut packets = sender.frame(&vp8_payloads(true, 0, None, 2));
    packets[1].bytes[1] &= 0x7f;
    assert!(feed(&mut assembler, &packets).is_empty());
    let frames = feed(&mut assembler, &sender.frame(&vp8_payloads(false, 1, None, 1)));
    assert_eq!(
        frames.iter().map(|frame| (tag(frame), frame.continuous)).collect::<Vec<_>>(),
        [(0, true), (1, true)]
    );
}

#[test]
fn orientation_holds_until_changed() {
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, Some(4));
    let mut sender = Sender::new();
    let mut packets = sender.frame(&vp8_payloads(true, 0, None, 1));
    packets[0].bytes[0] |= 0x10;
    packets[0].bytes.splice(12..12, [0xbe, 0xde, 0, 1, 0x40, 0x01, 0, 0]);
    packets.extend(sender.frame(&vp8_payloads(false, 1, None, 1)));
    let turns: Vec<_> =
        feed(&mut assembler, &packets).iter().map(|frame| frame.orientation.rotation.degrees()).collect();
    assert_eq!(turns, [90, 90]);
}

#[test]
fn oversized_pictures_are_dropped_to_their_end() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    feed(&mut assembler, &sender.frame(&vp8_payloads(true, 0, None, 1)));
    let mut payloads = vp8_payloads(false, 1, None, 1);
    payloads.resize(5_000, vec![0x80, 0x80, 0x80, 1, 9]);
    assert!(feed(&mut assembler, &sender.frame(&payloads)).is_empty());
    let mut payloads = vp8_payloads(false, 2, None, 1);
    let mut chunk = vec![0x80, 0x80, 0x80, 2];
    chunk.resize(60_000, 9);
    payloads.resize(100, chunk);
    assert!(feed(&mut assembler, &sender.frame(&payloads)).is_empty());
    assert_eq!(assembler.stats().broken, 2);
    assert!(!feed(&mut assembler, &sender.frame(&vp8_payloads(false, 3, None, 1)))[0].continuous);
}

/// A picture with what it truly refers to.
struct Truth {
    packets: Vec<Sent>,
    references: Vec<u16>,
    keyframe: bool,
}

/// Loses packets at random, then checks every promise against the truth. Answers how many pictures got through.
fn check_promises(codec: VideoCodec, stream: &[Truth], random: &mut Prng, loss_percent: u64) -> usize {
    let mut assembler = FrameAssembler::new(codec, None);
    let mut delivered = HashSet::new();
    for truth in stream {
        let arrived: Vec<Sent> =
            truth.packets.iter().filter(|_| !random.chance(loss_percent)).cloned().collect();
        let complete = arrived.len() == truth.packets.len();
        for frame in feed(&mut assembler, &arrived) {
            let tag = match codec {
                VideoCodec::Vp8 => tag(&frame),
                _ => u16::from_be_bytes([frame.data[20], frame.data[21]]),
            };
            let own = &stream[usize::from(tag)];
            assert!(complete, "an incomplete picture came out");
            assert_eq!(frame.keyframe, own.keyframe);
            if frame.continuous {
                for reference in &own.references {
                    assert!(
                        delivered.contains(reference),
                        "{tag} refers to {reference}, which was not delivered"
                    );
                }
                delivered.insert(tag);
            }
        }
    }
    delivered.len()
}

/// Libvpx's pattern of three temporal layers, each upper picture referring to the latest of its own and lower layers
/// unless it synchronises.
fn vp8_layers(random: &mut Prng, pictures: u16) -> Vec<Truth> {
    let mut sender = Sender::new();
    let mut latest: [Option<u16>; 3] = [None; 3];
    let mut tl0 = 250u8;
    (0..pictures)
        .map(|tag| {
            let keyframe = tag % 500 == 0;
            let tid = [0u8, 2, 1, 2][usize::from(tag % 4)];
            let sync = tid > 0 && (latest[usize::from(tid)].is_none() || random.chance(15));
            if tid == 0 {
                tl0 = tl0.wrapping_add(1);
            }
            let references: Vec<u16> = match (keyframe, sync) {
                (true, _) => vec![],
                (_, true) => latest[0].into_iter().collect(),
                _ => latest[..=usize::from(tid)].iter().flatten().copied().collect(),
            };
            if keyframe {
                latest = [None; 3];
            }
            latest[usize::from(tid)] = Some(tag);
            let packets = 1 + random.below(3) as usize;
            let layer = Layer { tid, tl0, sync };
            Truth {
                packets: sender.frame(&vp8_payloads(keyframe, tag, Some(layer), packets)),
                references,
                keyframe,
            }
        })
        .collect()
}

#[test]
fn vp8_layers_keep_every_promise_under_loss() {
    let mut random = Prng(10);
    let (mut layered, mut total) = (0, 0);
    for round in 0..100 {
        let stream = vp8_layers(&mut random, 1_500);
        layered += check_promises(VideoCodec::Vp8, &stream, &mut random, [0, 1, 3, 10, 40][round % 5]);
        total += stream.len();
    }
    // Layering must also be worth something: losing upper layers leaves the base running.
    assert!(layered * 100 / total > 25, "{layered} of {total}");
}

#[test]
fn losing_an_upper_layer_leaves_the_base_running() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp8, None);
    let layer = |tid, tl0, sync| Some(Layer { tid, tl0, sync });
    let mut send = |tag, keyframe, layer| sender.frame(&vp8_payloads(keyframe, tag, layer, 1));
    feed(&mut assembler, &send(0, true, layer(0, 1, false)));
    let _lost = send(1, false, layer(2, 1, true));
    assert!(!feed(&mut assembler, &send(2, false, layer(2, 1, false)))[0].continuous);
    assert!(!assembler.needs_keyframe());
    assert!(feed(&mut assembler, &send(3, false, layer(1, 1, true)))[0].continuous);
    assert!(feed(&mut assembler, &send(4, false, layer(0, 2, false)))[0].continuous);
    // A lost picture of the base is the end until a key frame.
    let _lost = send(5, false, layer(0, 3, false));
    assert!(!feed(&mut assembler, &send(6, false, layer(0, 4, false)))[0].continuous);
    assert!(assembler.needs_keyframe());
}

/// A VP9 layer frame whose bytes 20 and 21 hold the tag.
fn vp9_data(keyframe: bool, tag: u16) -> Vec<u8> {
    let mut data = vec![0u8; 22];
    // Frame marker 2, profile 0, no existing frame; frame type; shown.
    data[0] = 0b1000_0010 | if keyframe { 0 } else { 0b100 };
    if keyframe {
        // Sync code, colour space 2, and 640×360 in 16 bits each behind four bits.
        data[1..4].copy_from_slice(&[0x49, 0x83, 0x42]);
        let size = 0b0100u64 << 60 | 639u64 << 44 | 359u64 << 28;
        data[4..12].copy_from_slice(&size.to_be_bytes());
    }
    data[20..22].copy_from_slice(&tag.to_be_bytes());
    data
}

fn vp9_packets(
    sender: &mut Sender,
    descriptor: &[u8],
    keyframe: bool,
    tag: u16,
    random: &mut Prng,
) -> Vec<Sent> {
    let data = vp9_data(keyframe, tag);
    let packets = 1 + random.below(3) as usize;
    let part = data.len().div_ceil(packets);
    let payloads: Vec<Vec<u8>> = data
        .chunks(part)
        .enumerate()
        .map(|(i, chunk)| {
            let mut payload = descriptor.to_vec();
            payload[0] |= if i == 0 { 0x08 } else { 0 };
            payload[0] |= if (i + 1) * part >= data.len() { 0x04 } else { 0 };
            payload.extend_from_slice(chunk);
            payload
        })
        .collect();
    sender.frame(&payloads)
}

/// Non-flexible mode, three temporal layers; a picture that says "switching up" resets what upper layers refer to.
fn vp9_layers(random: &mut Prng, pictures: u16) -> Vec<Truth> {
    let mut sender = Sender::new();
    let mut latest: [Option<u16>; 3] = [None; 3];
    let mut tl0 = 0u8;
    (0..pictures)
        .map(|tag| {
            let keyframe = tag % 400 == 0;
            let tid = [0u8, 2, 1, 2][usize::from(tag % 4)];
            tl0 = tl0.wrapping_add(u8::from(tid == 0));
            let references = if keyframe {
                vec![]
            } else {
                latest[..=usize::from(tid)].iter().flatten().copied().collect()
            };
            let up = keyframe || random.chance(20);
            if up {
                latest[usize::from(tid) + 1..].fill(None);
            }
            latest[usize::from(tid)] = Some(tag);
            let id = (0x8000 | tag).to_be_bytes();
            let first = 0xa0 | if keyframe { 0 } else { 0x40 };
            let descriptor = [first, id[0], id[1], tid << 5 | u8::from(up) << 4, tl0];
            Truth {
                packets: vp9_packets(&mut sender, &descriptor, keyframe, tag, random),
                references,
                keyframe,
            }
        })
        .collect()
}

/// Flexible mode: each picture refers to one to three of the ten before it.
fn vp9_flexible(random: &mut Prng, pictures: u16) -> Vec<Truth> {
    let mut sender = Sender::new();
    (0..pictures)
        .map(|tag| {
            let keyframe = tag % 300 == 0;
            let since_key = u64::from(tag % 300);
            let distances: Vec<u8> = (0..if keyframe { 0 } else { 1 + random.below(3) })
                .map(|_| 1 + random.below(since_key.min(10)) as u8)
                .collect();
            let references = distances.iter().map(|distance| tag - u16::from(*distance)).collect();
            let id = (0x8000 | tag).to_be_bytes();
            let mut descriptor = vec![0x90 | if keyframe { 0 } else { 0x40 }, id[0], id[1]];
            for (i, distance) in distances.iter().enumerate() {
                descriptor.push(distance << 1 | u8::from(i + 1 < distances.len()));
            }
            Truth {
                packets: vp9_packets(&mut sender, &descriptor, keyframe, tag, random),
                references,
                keyframe,
            }
        })
        .collect()
}

#[test]
fn vp9_keeps_every_promise_under_loss() {
    let mut random = Prng(11);
    for (name, make) in
        [("layers", vp9_layers as fn(&mut Prng, u16) -> Vec<Truth>), ("flexible", vp9_flexible)]
    {
        let (mut through, mut total) = (0, 0);
        for round in 0..50 {
            let stream = make(&mut random, 1_200);
            let loss = [0, 1, 3, 10, 40][round % 5];
            let delivered = check_promises(VideoCodec::Vp9, &stream, &mut random, loss);
            assert!(loss > 0 || delivered == stream.len(), "{name}: a clean stream comes through whole");
            through += delivered;
            total += stream.len();
        }
        assert!(through * 100 / total > 25, "{name}: {through} of {total}");
    }
}

#[test]
fn spatial_layers_become_a_superframe() {
    let mut sender = Sender::new();
    let layer = |sid: u8, start: bool, octets: &[u8]| {
        let mut payload = vec![0xa0 | u8::from(start) << 3, 5, sid << 1 | u8::from(sid > 0), 1];
        payload.extend_from_slice(octets);
        payload
    };
    let base = vp9_data(true, 0);
    let payloads = [layer(0, true, &base), layer(1, true, &[1, 2]), layer(1, false, &[3])];
    let mut assembler = FrameAssembler::new(VideoCodec::Vp9, None);
    let frames = feed(&mut assembler, &sender.frame(&payloads));
    let mut expected = base.clone();
    expected.extend_from_slice(&[1, 2, 3, 0xd9, 22, 0, 0, 0, 3, 0, 0, 0, 0xd9]);
    assert_eq!(frames[0].data, expected);
    assert_eq!((frames[0].keyframe, frames[0].size), (true, Some((640, 360))));
}

const SPS_640: &[u8] = &[0x67, 0x42, 0xc0, 0x1f, 0xda, 0x02, 0x80, 0xf6, 0x84];
const PPS_0: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

fn stap(units: &[&[u8]]) -> Vec<u8> {
    let mut payload = vec![0x78];
    for unit in units {
        payload.extend_from_slice(&(unit.len() as u16).to_be_bytes());
        payload.extend_from_slice(unit);
    }
    payload
}

fn annex_b(units: &[&[u8]]) -> Vec<u8> {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
}

const IDR_SLICE: &[u8] = &[0x65, 0x88, 1, 2, 3, 4];
const SLICE_0: &[u8] = &[0x41, 0x9a, 5, 6];

fn idr_fragments() -> Vec<Vec<u8>> {
    vec![vec![0x7c, 0x85, 0x88, 1], vec![0x7c, 0x05, 2, 3], vec![0x7c, 0x45, 4]]
}

#[test]
fn h264_becomes_annex_b() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::H264, None);
    let mut payloads = vec![stap(&[SPS_640, PPS_0])];
    payloads.extend(idr_fragments());
    let frames = feed(&mut assembler, &sender.frame(&payloads));
    assert_eq!(frames[0].data, annex_b(&[SPS_640, PPS_0, IDR_SLICE]));
    assert_eq!((frames[0].keyframe, frames[0].continuous, frames[0].size), (true, true, Some((640, 480))));
    let frames = feed(&mut assembler, &sender.frame(&[SLICE_0.to_vec()]));
    assert_eq!(frames[0].data, annex_b(&[SLICE_0]));
    assert!(frames[0].continuous && !frames[0].keyframe);
}

#[test]
fn parameter_sets_sent_apart_are_put_in_front() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::H264, None);
    // With a timestamp and a marker of their own, as some encoders do.
    assert!(feed(&mut assembler, &sender.frame(&[SPS_640.to_vec(), PPS_0.to_vec()])).is_empty());
    let frames = feed(&mut assembler, &sender.frame(&idr_fragments()));
    assert_eq!(frames[0].data, annex_b(&[SPS_640, PPS_0, IDR_SLICE]));
    assert!(frames[0].continuous);
    // A later key picture without any takes those remembered.
    let frames = feed(&mut assembler, &sender.frame(&idr_fragments()));
    assert_eq!(frames[0].data, annex_b(&[SPS_640, PPS_0, IDR_SLICE]));
    assert_eq!(frames[0].size, Some((640, 480)));
}

#[test]
fn an_idr_without_parameter_sets_is_no_key_frame() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::H264, None);
    feed(&mut assembler, &sender.frame(&[SLICE_0.to_vec()]));
    let frames = feed(&mut assembler, &sender.frame(&idr_fragments()));
    assert!(!frames[0].keyframe && !frames[0].continuous);
}

#[test]
fn after_a_gap_an_h264_key_picture_must_show_its_beginning() {
    let check = |lost: usize, expected: Option<bool>| {
        let mut sender = Sender::new();
        let mut assembler = FrameAssembler::new(VideoCodec::H264, None);
        let mut first = vec![stap(&[SPS_640, PPS_0])];
        first.extend(idr_fragments());
        feed(&mut assembler, &sender.frame(&first));
        let _lost_picture = sender.frame(&[SLICE_0.to_vec()]);
        let second_slice = vec![0x65, 0x40, 9];
        let mut packets = sender.frame(&[&first[..], &[second_slice]].concat());
        packets.drain(..lost);
        let frames = feed(&mut assembler, &packets);
        assert_eq!(frames.first().map(|frame| frame.continuous), expected, "first {lost} lost");
    };
    check(0, Some(true));
    check(1, None);
    check(2, None);
    check(4, None);
}

#[test]
fn an_interrupted_fragment_is_never_patched_together() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::H264, None);
    let mut first = vec![stap(&[SPS_640, PPS_0])];
    first.extend(idr_fragments());
    feed(&mut assembler, &sender.frame(&first));
    // Another unit begins before the fragments ended; then a fragment nobody began.
    for payloads in [[vec![0x7c, 0x81, 0x9a], SLICE_0.to_vec()], [SLICE_0.to_vec(), vec![0x7c, 0x41, 9]]] {
        assert!(feed(&mut assembler, &sender.frame(&payloads)).is_empty());
    }
    assert_eq!(assembler.stats().broken, 2);
    assert!(!feed(&mut assembler, &sender.frame(&[SLICE_0.to_vec()]))[0].continuous);
}

#[test]
fn noise_never_panics() {
    let mut random = Prng(12);
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264] {
        let mut assembler = FrameAssembler::new(codec, Some(1));
        let mut sender = Sender::new();
        for _ in 0..100_000 {
            let payload = random.bytes(30);
            sender.timestamp =
                sender.timestamp.wrapping_add(if random.chance(40) { random.next() as u32 } else { 0 });
            sender.sequence += u64::from(random.chance(10));
            let sent = sender.packet(random.chance(40), &payload);
            feed(&mut assembler, &[sent]);
        }
    }
}

/// A sequence header of 1280×720 (reduced form) as an OBU, then a key frame's first octets.
const AV1_SEQUENCE: [u8; 6] = [0x08, 0x19, 0x6a, 0x67, 0xfd, 0x9e];

#[test]
fn av1_units_come_out_whole_with_their_sizes() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Av1, None);
    // Delimiter, sequence header, and a frame in three pieces, the last of them beside a tile group.
    let head =
        [&[0x30 | 0x08, 1, 0x10, AV1_SEQUENCE.len() as u8][..], &AV1_SEQUENCE, &[0x30, 0x10, 1]].concat();
    let payloads =
        [[&[head[0] | 0x40][..], &head[1..]].concat(), vec![0xd0, 2, 3], vec![0xa0, 1, 4, 0x20, 9]];
    let frames = feed(&mut assembler, &sender.frame(&payloads));
    let [frame] = &frames[..] else { panic!("{frames:?}") };
    assert!(frame.keyframe && frame.continuous);
    assert_eq!(frame.size, Some((1280, 720)));
    let expected =
        [&[0x12, 0, 0x0a, 5][..], &AV1_SEQUENCE[1..], &[0x32, 5, 0x10, 1, 2, 3, 4, 0x22, 1, 9]].concat();
    assert_eq!(frame.data, expected);
    let next = feed(&mut assembler, &sender.frame(&[vec![0x10, 0x30, 0x30, 1]]));
    assert!(next[0].continuous && !next[0].keyframe);

    // A piece is lost: nothing more until a key frame.
    let mut cut = sender.frame(&[vec![0x50, 0x30, 0x30], vec![0xd0, 1], vec![0x90, 2]]);
    cut.remove(1);
    assert!(feed(&mut assembler, &cut).is_empty());
    let next = feed(&mut assembler, &sender.frame(&[vec![0x10, 0x30, 0x30, 1]]));
    assert!(!next[0].continuous && assembler.needs_keyframe());
    let again = feed(&mut assembler, &sender.frame(&payloads));
    assert!(again[0].continuous && again[0].keyframe);

    // An OBU that is continued though nothing was open, one that never ends, and nothing but a delimiter.
    for bad in [vec![0x90, 1], vec![0x50, 0x30], vec![0x10, 0x10]] {
        assert!(feed(&mut assembler, &sender.frame(&[bad])).is_empty());
    }
}

#[test]
fn vp9_pictures_may_lack_lower_layers_that_nothing_needs() {
    let mut sender = Sender::new();
    let mut assembler = FrameAssembler::new(VideoCodec::Vp9, None);
    let layer = |inter_picture: bool, sid: u8, inter_layer: bool, picture: u8| {
        let first = 0x80 | u8::from(inter_picture) << 6 | 0x20 | 0x08 | 0x04;
        let frame = if inter_picture { 0x84 } else { 0x82 };
        let layers = sid << 1 | u8::from(inter_layer);
        vec![first, picture, layers, picture, frame, 0x49, 0x83, 0x42, 0x00, 0x4f, 0xf0, 0x2c, 0xf0]
    };
    let key = feed(&mut assembler, &sender.frame(&[layer(false, 0, false, 1), layer(false, 1, true, 1)]));
    assert!(key[0].keyframe);
    let upper = feed(&mut assembler, &sender.frame(&[layer(true, 1, false, 2)]));
    assert!(upper[0].continuous, "between key pictures the lower layer was left out on purpose");
    assert!(feed(&mut assembler, &sender.frame(&[layer(true, 1, true, 3)])).is_empty(), "here it was lost");
}
