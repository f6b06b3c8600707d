//! Streams made by hand, and what a receiver makes of them.

use super::*;
use rtp::dependency::Descriptor;

/// One packet of some stream.
#[derive(Clone, Debug)]
struct Packet {
    stream: u8,
    sequence: u64,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    dependency: Option<Vec<u8>>,
}

/// A forwarder, and what a producer keeps beside it.
struct Rig {
    codec: VideoCodec,
    forwarder: Forwarder,
    structure: Option<Box<Structure>>,
}

impl Rig {
    fn new(codec: VideoCodec, kind: Kind, target: Layers) -> Self {
        let mut forwarder = Forwarder::new(Some(codec), kind, 1_000);
        forwarder.set_target(target);
        Self { codec, forwarder, structure: None }
    }

    fn place_aligned(&mut self, packet: &Packet, aligned: Option<u32>) -> Option<(Placed, Described)> {
        let dependency = packet.dependency.as_deref();
        let described = Described::read(self.codec, &packet.payload, dependency, &mut self.structure);
        let incoming = incoming(packet, &described, self.structure.as_deref());
        Some((self.forwarder.place(&incoming, |_| aligned)?, described))
    }

    fn place(&mut self, packet: &Packet) -> Option<Placed> {
        self.place_aligned(packet, None).map(|(placed, _)| placed)
    }

    /// The payload as it goes out, and the rest.
    fn send(&mut self, packet: &Packet) -> Option<(Placed, Vec<u8>)> {
        let placed = self.place(packet)?;
        let mut payload = packet.payload.clone();
        placed.edit_payload(Some(self.codec), &mut payload);
        Some((placed, payload))
    }

    fn place_again(&self, number: u64, packets: &[Packet]) -> Option<(u64, Placed)> {
        let sent = self.forwarder.find_sent(number as u16)?;
        let packet = packets.iter().find(|p| p.sequence == sent.original && p.stream == sent.stream)?;
        let dependency = packet.dependency.as_deref();
        let described =
            Described::read_again(self.codec, &packet.payload, dependency, self.structure.as_deref());
        let incoming = incoming(packet, &described, self.structure.as_deref());
        Some((sent.original, self.forwarder.place_again(&sent, &incoming)?))
    }
}

fn incoming<'a>(packet: &Packet, described: &'a Described, structure: Option<&'a Structure>) -> Incoming<'a> {
    let Packet { stream, sequence, timestamp, marker, .. } = *packet;
    Incoming { stream, sequence, timestamp, marker, described, structure }
}

fn plain(stream: u8, sequence: u64, timestamp: u32, key: bool) -> Packet {
    let payload = if key { vec![0x65, 0x88] } else { vec![0x41, 0x9a] };
    Packet { stream, sequence, timestamp, marker: true, payload, dependency: None }
}

#[test]
fn pictures_begin_with_a_keyframe_and_keep_their_order() {
    let mut rig = Rig::new(VideoCodec::H264, Kind::Single, Layers::default());
    assert!(rig.forwarder.wants_keyframe());
    assert_eq!(rig.place(&plain(0, 70_000, 5, false)), None);
    let mut out = |n, key| rig.place(&plain(0, n, 5, key)).map(|p| p.sequence);
    assert_eq!(out(70_001, true), Some(1_000));
    assert_eq!(out(70_003, false), Some(1_002));
    assert_eq!(out(70_002, false), Some(1_001), "late, in its place");
    assert_eq!(out(70_000, false), None, "from before the start");
    assert!(!rig.forwarder.wants_keyframe());
}

#[test]
fn a_pause_leaves_no_gap() {
    let mut forwarder = Forwarder::new(None, Kind::Single, 10);
    let place = |f: &mut Forwarder, sequence| {
        let described = Described::SOUND;
        let packet = Incoming {
            stream: 0,
            sequence,
            timestamp: 0,
            marker: false,
            described: &described,
            structure: None,
        };
        f.place(&packet, |_| None).map(|p| p.sequence)
    };
    for n in 0..5 {
        assert_eq!(place(&mut forwarder, 100 + n), Some(10 + n));
    }
    forwarder.pause();
    assert_eq!(place(&mut forwarder, 900), Some(15));
    assert_eq!(place(&mut forwarder, 105), None, "late, from before the pause");
    let original = |n| forwarder.find_sent(n).map(|sent| sent.original);
    assert_eq!([14, 15].map(original), [Some(104), Some(900)]);
    assert_eq!(original(16), None, "not sent yet");
    assert_eq!(original(9), None, "before the first");
}

#[test]
fn streams_change_at_a_keyframe_and_time_goes_on() {
    let mut rig = Rig::new(VideoCodec::H264, Kind::Simulcast, Layers::default());
    assert_eq!(rig.place(&plain(0, 100, 1_000, true)).unwrap().timestamp, 1_000);
    rig.forwarder.set_target(Layers::new(1, 0));
    assert!(rig.forwarder.wants_keyframe());
    assert_eq!(rig.place(&plain(1, 500, 7_000_000, false)), None);
    assert_eq!(rig.place(&plain(0, 101, 4_000, false)).unwrap().sequence, 1_001);
    let (switched, _) = rig.place_aligned(&plain(1, 501, 7_003_000, true), Some(7_000)).unwrap();
    assert_eq!((switched.sequence, switched.timestamp), (1_002, 7_000));
    assert_eq!(rig.forwarder.current(), Some(Layers::new(1, 0)));
    assert_eq!(rig.place(&plain(0, 102, 7_000, false)), None);
    let next = rig.place(&plain(1, 502, 7_006_000, false)).unwrap();
    assert_eq!((next.sequence, next.timestamp), (1_003, 10_000));
    rig.forwarder.set_target(Layers::new(0, 0));
    let back = rig.place(&plain(0, 110, 13_000, true)).unwrap();
    assert_eq!(
        (back.sequence, back.timestamp),
        (1_004, 10_900),
        "never backwards, even when nothing is known"
    );
}

/// A VP8 picture of one packet, as an encoder of three temporal layers makes them: 0 2 1 2, each upper layer beginning
/// anew with every eighth picture.
fn vp8(stream: u8, n: u64) -> Packet {
    let tid = [0u8, 2, 1, 2][n as usize % 4];
    let sync = n % 8 == 1 || n % 8 == 2;
    let (id, tl0) = ((n + 32_760) as u16 & 0x7fff, (n / 4 + 250) as u8);
    let first = u8::from(n != 0);
    let layers = tid << 6 | u8::from(sync) << 5;
    let payload = vec![0x90, 0xe0, 0x80 | (id >> 8) as u8, id as u8, tl0, layers, first];
    Packet {
        stream,
        sequence: 70_000 + n,
        timestamp: n as u32 * 3_000,
        marker: true,
        payload,
        dependency: None,
    }
}

fn vp8_ids(payload: &[u8]) -> (u16, u8, u8) {
    let descriptor = vp8::Descriptor::parse(payload).unwrap();
    (descriptor.picture_id.unwrap().value(), descriptor.tl0_pic_idx.unwrap(), descriptor.tid.unwrap())
}

#[test]
fn vp8_ids_stay_continuous_over_a_change_of_streams() {
    let mut rig = Rig::new(VideoCodec::Vp8, Kind::Simulcast, Layers::new(0, 9));
    let payload = |id: u16, tl0: u8| vec![0x90, 0xC0, 0x80 | (id >> 8) as u8, id as u8, tl0, 0];
    let mut send = |stream, sequence, id, tl0| {
        rig.forwarder.set_target(Layers::new(stream, 9));
        let (payload, marker) = (payload(id, tl0), false);
        let (_, payload) =
            rig.send(&Packet { stream, sequence, timestamp: 0, marker, payload, dependency: None })?;
        let descriptor = vp8::Descriptor::parse(&payload)?;
        Some((descriptor.picture_id?.value(), descriptor.tl0_pic_idx?))
    };
    assert_eq!(send(0, 100, 0x7FFE, 254), Some((0x7FFE, 254)));
    assert_eq!(send(0, 101, 0x7FFF, 255), Some((0x7FFF, 255)));
    assert_eq!(send(1, 900, 77, 9), Some((0, 0)));
    assert_eq!(send(1, 901, 78, 10), Some((1, 1)));
}

#[test]
fn temporal_layers_of_vp8_come_and_go_without_a_gap() {
    let mut rig = Rig::new(VideoCodec::Vp8, Kind::Single, Layers::new(0, u8::MAX));
    let mut packets = Vec::new();
    let mut sent: Vec<(u64, u64, (u16, u8, u8))> = Vec::new();
    for n in 0..64 {
        match n {
            12 => rig.forwarder.set_target(Layers::new(0, 0)),
            29 => rig.forwarder.set_target(Layers::new(0, u8::MAX)),
            _ => {}
        }
        let packet = vp8(0, n);
        if let Some((placed, payload)) = rig.send(&packet) {
            assert!(placed.marker && !placed.is_empty);
            sent.push((n, placed.sequence, vp8_ids(&payload)));
        }
        packets.push(packet);
    }
    for pair in sent.windows(2) {
        assert_eq!(pair[1].1, pair[0].1 + 1, "sequence numbers");
        assert_eq!(pair[1].2.0, (pair[0].2.0 + 1) & 0x7fff, "picture ids");
    }
    let tids = |range: std::ops::Range<u64>| -> Vec<u8> {
        sent.iter().filter(|(n, ..)| range.contains(n)).map(|(_, _, (_, _, tid))| *tid).collect()
    };
    assert_eq!(tids(0..12), [0, 2, 1, 2, 0, 2, 1, 2, 0, 2, 1, 2]);
    assert_eq!(tids(12..29), [0; 5]);
    // Up only where a layer leans on nothing that was left out: layer 1 with picture 34, layer 2 with 41.
    assert_eq!(tids(29..48), [0, 1, 0, 1, 0, 2, 1, 2, 0, 2, 1, 2]);
    // Whatever is asked for again is the same packet with the same numbers.
    for (n, sequence, ids) in &sent {
        let (original, placed) = rig.place_again(*sequence, &packets).unwrap();
        assert_eq!(original, 70_000 + n);
        let mut payload = packets[*n as usize].payload.clone();
        placed.edit_payload(Some(VideoCodec::Vp8), &mut payload);
        assert_eq!((placed.sequence, vp8_ids(&payload)), (*sequence, *ids), "picture {n}");
    }
}

#[test]
fn what_was_lost_before_a_dropped_layer_comes_back_in_its_place_or_is_filled() {
    let mut rig = Rig::new(VideoCodec::Vp8, Kind::Single, Layers::new(0, 0));
    let place = |rig: &mut Rig, n| rig.place(&vp8(0, n)).map(|p| (p.sequence, p.is_empty));
    assert_eq!(place(&mut rig, 0), Some((1_000, false)));
    // Lost: 1 (layer 2), 2 (layer 1), 4 (layer 0). Only the last will be wanted, but nobody knows that now.
    assert_eq!(place(&mut rig, 3), None);
    assert_eq!(place(&mut rig, 5), None);
    assert_eq!(place(&mut rig, 8), Some((1_006, false)));
    assert_eq!(place(&mut rig, 2), Some((1_002, true)), "not wanted: its place is filled");
    assert_eq!(place(&mut rig, 4), Some((1_003, false)));
    assert_eq!(place(&mut rig, 3), None, "left out, and here again");
    assert_eq!(place(&mut rig, 12), Some((1_010, false)));
    let packets: Vec<_> = (0..13).map(|n| vp8(0, n)).collect();
    assert_eq!(rig.place_again(1_002, &packets).map(|(n, p)| (n, p.is_empty)), Some((70_002, true)));
    assert_eq!(rig.place_again(1_003, &packets).map(|(n, p)| (n, p.is_empty)), Some((70_004, false)));
}

/// A VP9 picture of three spatial layers, two packets each.
#[derive(Clone, Copy)]
struct Vp9 {
    key: bool,
    tid: u8,
    /// Layers build on each other in every picture, or in key pictures only.
    full: bool,
    switching_up: bool,
}

fn vp9(n: u64, picture: Vp9, layers: u8) -> Vec<Packet> {
    let (id, tl0) = (n as u16 & 0x7fff, n as u8);
    let mut packets = Vec::new();
    for sid in 0..layers {
        for part in 0..2u8 {
            let uses_lower = sid > 0 && (picture.key || picture.full);
            let feeds_upper = picture.key || picture.full;
            let first = 0xa0
                | u8::from(!picture.key) << 6
                | u8::from(part == 0) << 3
                | u8::from(part == 1) << 2
                | u8::from(!feeds_upper || sid == 2);
            let layer =
                picture.tid << 5 | u8::from(picture.switching_up) << 4 | sid << 1 | u8::from(uses_lower);
            packets.push(Packet {
                stream: 0,
                sequence: 70_000 + n * 2 * u64::from(layers) + u64::from(sid * 2 + part),
                timestamp: n as u32 * 3_000,
                marker: sid + 1 == layers && part == 1,
                payload: vec![first, 0x80 | (id >> 8) as u8, id as u8, layer, tl0, 0x55],
                dependency: None,
            });
        }
    }
    packets
}

/// What arrives of one picture: spatial layers, and whether a marker ends it.
fn seen(rig: &mut Rig, packets: &[Packet], last: &mut u64) -> (Vec<u8>, bool) {
    let mut sids = Vec::new();
    let mut marker = false;
    for packet in packets {
        let Some((placed, payload)) = rig.send(packet) else { continue };
        assert_eq!(placed.sequence, *last + 1);
        assert!(!marker, "nothing comes behind the marker");
        *last = placed.sequence;
        marker = placed.marker;
        sids.push(vp9::Descriptor::parse(&payload).unwrap().sid());
    }
    sids.dedup();
    (sids, marker)
}

#[test]
fn spatial_layers_of_vp9_that_lean_on_each_other_at_key_pictures_only() {
    let mut rig = Rig::new(VideoCodec::Vp9, Kind::Single, Layers::new(2, 9));
    let mut last = 999;
    let delta = Vp9 { key: false, tid: 0, full: false, switching_up: true };
    let key = Vp9 { key: true, ..delta };
    let mut picture = |rig: &mut Rig, n, shape| seen(rig, &vp9(n, shape, 3), &mut last);
    assert_eq!(picture(&mut rig, 0, delta), (vec![], false), "not before a key picture");
    assert_eq!(picture(&mut rig, 1, key), (vec![0, 1, 2], true));
    assert_eq!(picture(&mut rig, 2, delta), (vec![2], true));
    rig.forwarder.set_target(Layers::new(1, 9));
    assert!(rig.forwarder.wants_keyframe(), "the layer below was not sent");
    assert_eq!(picture(&mut rig, 3, delta), (vec![2], true));
    assert_eq!(picture(&mut rig, 4, key), (vec![0, 1], true));
    assert!(!rig.forwarder.wants_keyframe());
    assert_eq!(rig.forwarder.current(), Some(Layers::new(1, 9)));
    assert_eq!(picture(&mut rig, 5, delta), (vec![1], true));
    rig.forwarder.set_target(Layers::new(2, 9));
    assert!(rig.forwarder.wants_keyframe());
    assert_eq!(picture(&mut rig, 6, delta), (vec![1], true));
    assert_eq!(picture(&mut rig, 7, key), (vec![0, 1, 2], true));
}

#[test]
fn spatial_layers_of_vp9_that_always_lean_on_each_other() {
    let mut rig = Rig::new(VideoCodec::Vp9, Kind::Single, Layers::new(2, 9));
    let mut last = 999;
    let delta = Vp9 { key: false, tid: 0, full: true, switching_up: true };
    let mut picture = |rig: &mut Rig, n, shape| seen(rig, &vp9(n, shape, 3), &mut last);
    assert_eq!(picture(&mut rig, 1, Vp9 { key: true, ..delta }), (vec![0, 1, 2], true));
    rig.forwarder.set_target(Layers::new(0, 9));
    assert!(!rig.forwarder.wants_keyframe(), "down is always possible");
    assert_eq!(picture(&mut rig, 2, delta), (vec![0], true));
    rig.forwarder.set_target(Layers::new(1, 9));
    assert!(rig.forwarder.wants_keyframe());
    assert_eq!(picture(&mut rig, 3, delta), (vec![0], true));
    assert_eq!(picture(&mut rig, 4, Vp9 { key: true, ..delta }), (vec![0, 1], true));
}

#[test]
fn a_spatial_layer_that_never_came_is_not_waited_for() {
    let mut rig = Rig::new(VideoCodec::Vp9, Kind::Single, Layers::new(2, 9));
    let delta = Vp9 { key: false, tid: 0, full: false, switching_up: true };
    let mut last = 999;
    let mut picture = |rig: &mut Rig, n, shape, layers| seen(rig, &vp9(n, shape, layers), &mut last);
    assert_eq!(picture(&mut rig, 1, Vp9 { key: true, ..delta }, 2), (vec![0, 1], true));
    assert_eq!(picture(&mut rig, 2, delta, 2), (vec![1], true));
    assert_eq!(rig.forwarder.current(), Some(Layers::new(1, 9)));
}

#[test]
fn temporal_layers_of_vp9_rise_at_switching_points() {
    let mut rig = Rig::new(VideoCodec::Vp9, Kind::Single, Layers::new(0, 0));
    let mut last = 999;
    let mut tids = Vec::new();
    for n in 0..24u64 {
        if n == 10 {
            rig.forwarder.set_target(Layers::new(0, 2));
        }
        let tid = [0, 2, 1, 2][n as usize % 4];
        // Every other picture of layer 0 is a switching point.
        let shape = Vp9 { key: n == 0, tid, full: true, switching_up: n % 8 == 0 };
        if !seen(&mut rig, &vp9(n, shape, 1), &mut last).0.is_empty() {
            tids.push((n, tid));
        }
    }
    let expected: Vec<_> =
        [0, 4, 8, 12].into_iter().chain(16..24).map(|n| (n, [0, 2, 1, 2][n as usize % 4])).collect();
    assert_eq!(tids, expected);
}

/// Two spatial layers of two temporal layers, S0 T0 T1, S1 T0 T1, four decode targets, two chains: the descriptor's
/// templates are 5 key, 6 S0T0, 7 S0T1, 8 S1 key, 9 S1T0, 10 S1T1.
fn l2t2(n: u64, key: bool) -> Vec<Packet> {
    let structure = [
        "000101 00011 00 01 10 00 01 11",
        "10101010 10101110 00010001 00001010 00001010 00000001",
        "0 100110 100010 100000 10011100000 10001100000",
        "10 0 0 1 1",
        "00000000 01000011 00100001 00010001 00010001 00110010 0",
    ];
    let is_base = n.is_multiple_of(2);
    let templates = match (key, is_base) {
        (true, _) => [5, 8],
        (false, true) => [6, 9],
        (false, false) => [7, 10],
    };
    let mut packets = Vec::new();
    for (sid, template) in (0u64..).zip(templates) {
        for part in 0..2u64 {
            let frame = n * 2 + sid;
            let start = format!("{}{} {template:06b} {frame:016b}", 1 - part, part);
            let is_first = key && sid == 0 && part == 0;
            let bits = if is_first { format!("{start} 10000 {}", structure.concat()) } else { start };
            packets.push(Packet {
                stream: 0,
                sequence: 70_000 + n * 4 + sid * 2 + part,
                timestamp: n as u32 * 3_000,
                marker: sid == 1 && part == 1,
                payload: vec![0x10, 0x30, 1],
                dependency: Some(pack(&bits)),
            });
        }
    }
    packets
}

fn pack(bits: &str) -> Vec<u8> {
    let digits: Vec<u8> = bits.bytes().filter(|c| *c != b' ').map(|c| c - b'0').collect();
    digits
        .chunks(8)
        .map(|byte| byte.iter().enumerate().fold(0, |out, (i, bit)| out | bit << (7 - i)))
        .collect()
}

/// Frame numbers that come through, and the decode targets announced.
fn frames(rig: &mut Rig, packets: &[Packet], last: &mut u64) -> (Vec<u16>, Option<u32>) {
    let (mut numbers, mut told) = (Vec::new(), None);
    for (i, packet) in packets.iter().enumerate() {
        let Some((placed, described)) = rig.place_aligned(packet, None) else { continue };
        assert_eq!(placed.sequence, *last + 1);
        *last = placed.sequence;
        let mut out = [0; 255];
        let data = packet.dependency.as_deref().unwrap();
        let edited = placed.edit_dependency(&described, data, &mut out).unwrap();
        let mut structure = rig.structure.clone();
        let descriptor = Descriptor::parse(edited, &mut structure).unwrap();
        told = descriptor.active_targets.or(told);
        numbers.push(descriptor.frame_number);
        let is_last = i % 2 == 1 && descriptor.spatial == rig.forwarder.current().unwrap().spatial;
        assert_eq!(placed.marker, is_last || packet.marker);
    }
    numbers.dedup();
    (numbers, told)
}

#[test]
fn decode_targets_change_where_the_sender_allows_it() {
    let mut rig = Rig::new(VideoCodec::Av1, Kind::Single, Layers::new(1, 9));
    let mut last = 999;
    let mut unit = |rig: &mut Rig, n, key| frames(rig, &l2t2(n, key), &mut last);
    assert_eq!(unit(&mut rig, 0, true), (vec![0, 1], Some(0b1111)));
    assert_eq!(unit(&mut rig, 1, false), (vec![2, 3], None));
    rig.forwarder.set_target(Layers::new(1, 0));
    assert_eq!(unit(&mut rig, 2, false), (vec![4, 5], Some(0b0101)), "a switch: said so");
    assert_eq!(unit(&mut rig, 3, false), (vec![], None), "the upper temporal layer");
    rig.forwarder.set_target(Layers::new(0, 9));
    assert!(!rig.forwarder.wants_keyframe());
    assert_eq!(unit(&mut rig, 4, false), (vec![8], Some(0b0011)), "down in space, up in time");
    assert_eq!(unit(&mut rig, 5, false), (vec![10], None));
    assert_eq!(rig.forwarder.current(), Some(Layers::new(0, 1)));
    rig.forwarder.set_target(Layers::new(1, 9));
    assert!(rig.forwarder.wants_keyframe(), "the chain of the upper layer is broken");
    assert_eq!(unit(&mut rig, 6, false), (vec![12], None));
    assert_eq!(unit(&mut rig, 7, false), (vec![14], None));
    assert_eq!(unit(&mut rig, 8, true), (vec![16, 17], Some(0b1111)));
    rig.forwarder.pause();
    assert_eq!(unit(&mut rig, 9, false), (vec![], None));
    assert_eq!(unit(&mut rig, 20, true), (vec![18, 19], Some(0b1111)), "frame numbers go on");
    let packets: Vec<_> = (0..21).flat_map(|n| l2t2(n, matches!(n, 0 | 8 | 20))).collect();
    for number in 1_000..=last {
        let (_, placed) = rig.place_again(number, &packets).unwrap();
        assert_eq!(placed.sequence, number);
    }
}

#[test]
fn numbers_and_layers_of_any_stream_stay_in_order() {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};
    let mut dice = StdRng::seed_from_u64(9);
    for run in 0..60u64 {
        let mut rig = Rig::new(VideoCodec::Vp8, Kind::Simulcast, Layers::new(0, 9));
        let mut packets: Vec<Packet> = Vec::new();
        for n in 0..400 {
            for stream in 0..2 {
                let mut packet = vp8(stream, n);
                packet.payload[6] = u8::from(n % 50 != 0);
                packets.push(packet);
            }
        }
        // Some are late by a few places, some never come.
        for _ in 0..40 {
            let at = dice.random_range(0..packets.len() - 12);
            let packet = packets.remove(at);
            if dice.random_range(0..2) == 0 {
                packets.insert(at + dice.random_range(1..10), packet);
            }
        }
        let mut out = std::collections::BTreeMap::new();
        for packet in &packets {
            if dice.random_range(0..60) == 0 {
                rig.forwarder.set_target(Layers::new(dice.random_range(0..2), dice.random_range(0..3)));
            }
            if dice.random_range(0..300) == 0 {
                rig.forwarder.pause();
            }
            let Some((placed, payload)) = rig.send(packet) else { continue };
            let ids = (!placed.is_empty).then(|| vp8_ids(&payload));
            let place = (packet.stream, packet.sequence, placed, ids);
            assert!(out.insert(placed.sequence, place).is_none(), "a number is used once, run {run}");
        }
        let newest = *out.last_key_value().unwrap().0;
        for (sequence, (stream, original, placed, _)) in out.range(newest - 60..) {
            let Some(sent) = rig.forwarder.find_sent(*sequence as u16) else { continue };
            assert_eq!((sent.stream, sent.original), (*stream, *original), "run {run}");
            assert_eq!(placed.sequence, *sequence);
        }
    }
}
