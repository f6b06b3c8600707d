//! Each parser of this crate, fed with anything: entry points of the fuzz targets, and of the test that replays what
//! they found (`fuzz/`).

use crate::codec::{VideoCodec, av1, h264, opus, red, vp8, vp9};
use crate::dependency::Descriptor;
use crate::frame::FrameAssembler;
use crate::jitter::{JitterBuffer, JitterConfig, Popped};
use crate::packet::{Packet, classify};
use crate::{ext, rtcp};
use std::hint::black_box;
use std::path::Path;

/// A name, and what the input goes to.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 4] =
    [("rtp", packet), ("rtcp", compound), ("payload", payload), ("dependency", dependency)];

/// One RTP packet, and every extension read as each kind.
pub fn packet(data: &[u8]) {
    black_box(classify(data));
    let _ = black_box(Packet::parse_header(data).map(|header| header.header_len()));
    let Ok(packet) = Packet::parse(data) else { return };
    black_box((packet.rtx(), packet.payload(), packet.csrcs().count(), packet.extension_profile()));
    for extension in packet.extensions() {
        let data = extension.data;
        let range = packet.extension_range(extension.id);
        assert_eq!(range.map(|range| &packet.as_bytes()[range]), packet.extension(extension.id));
        black_box((
            ext::AudioLevel::parse(data),
            ext::VideoOrientation::parse(data),
            ext::ColorSpace::parse(data),
            ext::AbsSendTime::parse(data),
        ));
        black_box((ext::transport_sequence(data), ext::stream_name(data), ext::transmission_offset(data)));
        black_box((ext::PlayoutDelay::parse(data), ext::AbsCaptureTime::parse(data)));
    }
}

/// One RTCP datagram, walked to its end.
pub fn compound(data: &[u8]) {
    use rtcp::Rtcp;
    for packet in rtcp::parse(data) {
        let Ok(packet) = packet else { return };
        match packet {
            Rtcp::SenderReport(report) => drop(black_box(report.reports.count())),
            Rtcp::ReceiverReport(report) => drop(black_box(report.reports.count())),
            Rtcp::Sdes(sdes) => drop(black_box(sdes.chunks().count())),
            Rtcp::Bye(bye) => drop(black_box((bye.ssrcs().count(), bye.reason()))),
            Rtcp::Nack(nack) => drop(black_box(nack.lost().count())),
            Rtcp::Fir(fir) => drop(black_box(fir.entries().count())),
            Rtcp::Remb(remb) => drop(black_box(remb.ssrcs().count())),
            Rtcp::TransportFeedback(feedback) => drop(black_box(feedback.packets().count())),
            Rtcp::Pli(_) | Rtcp::Unknown { .. } => {}
        }
    }
}

/// Payloads of one codec, the first octet says which: as a forwarder sees them one by one, and put together to
/// pictures. The second octet of each record moves the sequence number and ends pictures.
pub fn payload(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else { return };
    let codec =
        [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Av1][usize::from(choice % 4)];
    let mut assembler = FrameAssembler::new(codec, Some(13));
    let mut buffer = JitterBuffer::new(JitterConfig::video());
    let (mut sequence, mut timestamp, mut now) = (0u16, 0u32, 0u64);
    for (control, body) in records(rest) {
        one_payload(body);
        sequence = sequence.wrapping_add(u16::from(control & 0x0F));
        timestamp = timestamp.wrapping_add(if control & 0x10 != 0 { 3_000 } else { 0 });
        now += u64::from(control >> 6) * 20_000_000;
        let mut bytes = vec![0x80, 96 | control << 2 & 0x80];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend([0, 0, 0, 1]);
        bytes.extend_from_slice(body);
        buffer.insert(now, sequence, timestamp, bytes);
        while let Some(popped) = buffer.pop(now) {
            let Popped::Packet { sequence, item } = popped else { continue };
            if let Ok(packet) = Packet::parse(&item) {
                assembler.push(sequence, now, &packet).for_each(|frame| drop(black_box(frame)));
            }
        }
    }
}

fn one_payload(body: &[u8]) {
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Av1] {
        black_box(codec.is_keyframe_start(body));
    }
    let mut copy = body.to_vec();
    if let Some(descriptor) = vp8::Descriptor::parse(body) {
        descriptor.set_picture_id(&mut copy, 0x7FFF);
        descriptor.set_tl0_pic_idx(&mut copy, 7);
        black_box(vp8::Descriptor::parse(&copy));
    }
    if let Some(descriptor) = vp9::Descriptor::parse(body) {
        descriptor.set_picture_id(&mut copy, 0x7FFF);
        descriptor.set_tl0_pic_idx(&mut copy, 7);
        black_box(vp9::Descriptor::parse(&copy));
    }
    black_box((vp8::FrameHeader::parse(body), vp9::FrameHeader::parse(body)));
    if let Some(payload) = h264::Payload::parse(body) {
        for unit in payload.units() {
            black_box((h264::Sps::parse(unit), h264::pps_ids(unit), h264::first_slice_of_picture(unit)));
        }
    }
    if let Some(payload) = av1::Payload::parse(body) {
        for element in payload.elements() {
            black_box((av1::obu_type(element), av1::Obu::parse(element).map(|obu| obu.obu_type())));
        }
    }
    black_box(av1::SequenceHeader::parse(body));
    black_box(opus::Packet::parse(body).map(|packet| packet.duration_ns()));
    black_box(red::blocks(body).map(|blocks| blocks.map(|block| block.data.len()).sum::<usize>()));
    red::set_payload_types(&mut copy, 100);
}

/// Dependency descriptors of one stream, each against the structures before it, and written anew.
pub fn dependency(data: &[u8]) {
    let mut structure = None;
    for (control, body) in records(data) {
        let Some(descriptor) = Descriptor::parse(body, &mut structure) else { continue };
        for n in 0..=32 {
            black_box((descriptor.indication(n), descriptor.chain_distance(n)));
        }
        black_box(descriptor.references().iter().count());
        let mut out = [0; 255];
        if let Some(len) = descriptor.write_with_active_targets(body, control.into(), &mut out) {
            let mut copy = structure.clone();
            let read = Descriptor::parse(&out[..len], &mut copy).expect("what is written can be read");
            assert_eq!(read.frame_number, descriptor.frame_number);
        }
        if let Some(structure) = &structure {
            black_box((structure.targets().len(), structure.sizes().count(), structure.all_targets()));
        }
    }
}

/// Cuts input into records: an octet of control, a length in two, so many octets.
pub fn records(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&control, rest) = data.split_first()?;
        let (&len, rest) = rest.split_first_chunk()?;
        let (body, rest) = rest.split_at(usize::from(u16::from_be_bytes(len)).min(rest.len()));
        data = rest;
        Some((control, body))
    })
}

/// Feeds a target what fuzzing kept, and what it once broke (`fuzz/corpus` and `fuzz/crashes`); how many inputs that were.
///
/// # Panics
///
/// If a file cannot be read.
pub fn replay((name, target): Target) -> usize {
    let mut count = 0;
    for folder in ["corpus", "crashes"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(folder).join(name);
        for file in std::fs::read_dir(folder).into_iter().flatten() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            count += 1;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fuzzing_found_is_harmless() {
        for target in TARGETS {
            assert!(replay(target) > 0, "there is no corpus of {}", target.0);
        }
    }
}
