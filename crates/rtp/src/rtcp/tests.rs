//! Round trips of every kind, hand-made diagrams, lies and noise.

use super::*;
use crate::prng::Prng;

fn one(bytes: &[u8]) -> Rtcp<'_> {
    let mut compound = parse(bytes);
    let packet = compound.next().unwrap().unwrap();
    assert!(compound.next().is_none());
    packet
}

const BLOCK: ReportBlock = ReportBlock {
    ssrc: 7,
    fraction_lost: 12,
    cumulative_lost: -3,
    highest_sequence: 0x0001_ffff,
    jitter: 90,
    last_sr: 0x1234_5678,
    delay_since_last_sr: 65_536,
};

#[test]
fn reports_round_trip() {
    let info = SenderInfo { ntp: 0x0123_4567_89ab_cdef, rtp_timestamp: 1, packet_count: 2, octet_count: 3 };
    let mut bytes = Vec::new();
    write_sender_report(&mut bytes, 5, &info, &[BLOCK, ReportBlock::default()]);
    let Rtcp::SenderReport(report) = one(&bytes) else { panic!() };
    assert_eq!((report.ssrc, report.info), (5, info));
    assert_eq!(report.reports.collect::<Vec<_>>(), [BLOCK, ReportBlock::default()]);
    assert_eq!(info.compact_ntp(), 0x4567_89ab);

    bytes.clear();
    write_receiver_report(&mut bytes, 6, &[BLOCK; 40]);
    let Rtcp::ReceiverReport(report) = one(&bytes) else { panic!() };
    assert_eq!((report.ssrc, report.reports.count()), (6, 31));
}

#[test]
fn round_trip_time_is_what_is_left_after_the_delay() {
    assert_eq!(BLOCK.round_trip_ns(0x1234_5678 + 65_536 + 6_554), Some(100_006_103));
    assert_eq!(BLOCK.round_trip_ns(0x1234_5678), None);
    assert_eq!(ReportBlock::default().round_trip_ns(1), None);
}

#[test]
fn names_and_goodbyes_round_trip() {
    for len in 0..9 {
        let cname = &b"abcdefghi"[..len];
        let mut bytes = Vec::new();
        write_sdes_cname(&mut bytes, 5, cname);
        let Rtcp::Sdes(sdes) = one(&bytes) else { panic!() };
        assert_eq!(sdes.chunks().collect::<Vec<_>>(), [SdesChunk { ssrc: 5, cname: Some(cname) }]);

        bytes.clear();
        write_bye(&mut bytes, &[1, 2], cname);
        let Rtcp::Bye(bye) = one(&bytes) else { panic!() };
        assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(bye.reason(), (!cname.is_empty()).then_some(cname));
    }
}

#[test]
fn nacks_round_trip() {
    let check = |lost: &[u16], entries: usize| {
        let mut bytes = Vec::new();
        write_nack(&mut bytes, 1, 2, lost);
        assert_eq!(bytes.len(), 12 + 4 * entries);
        let Rtcp::Nack(nack) = one(&bytes) else { panic!() };
        assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
        assert_eq!(nack.lost().collect::<Vec<_>>(), lost);
    };
    check(&[5], 1);
    check(&[5, 6, 21], 1);
    check(&[5, 22], 2);
    check(&[65_535, 0, 15], 1);
    check(&[9, 3], 2);
    let mut bytes = Vec::new();
    write_nack(&mut bytes, 1, 2, &[]);
    assert!(bytes.is_empty());
}

#[test]
fn picture_requests_and_bitrates_round_trip() {
    let mut bytes = Vec::new();
    write_pli(&mut bytes, 1, 2);
    assert!(matches!(one(&bytes), Rtcp::Pli(Pli { sender_ssrc: 1, media_ssrc: 2 })));

    bytes.clear();
    let entries = [FirEntry { ssrc: 2, sequence: 3 }, FirEntry { ssrc: 4, sequence: 255 }];
    write_fir(&mut bytes, 1, &entries);
    let Rtcp::Fir(fir) = one(&bytes) else { panic!() };
    assert_eq!(fir.entries().collect::<Vec<_>>(), entries);

    let check = |rate: u64, expected: u64| {
        let mut bytes = Vec::new();
        write_remb(&mut bytes, 1, rate, &[8, 9]);
        let Rtcp::Remb(remb) = one(&bytes) else { panic!() };
        assert_eq!(remb.bitrate_bps, expected);
        assert_eq!(remb.ssrcs().collect::<Vec<_>>(), [8, 9]);
    };
    check(0, 0);
    check(262_143, 262_143);
    check(262_145, 262_144);
    check(2_500_000, 2_500_000);
    check(u64::MAX, 0x3_ffff << 46);
}

#[test]
fn an_absurd_bitrate_saturates() {
    let mut bytes = Vec::new();
    write_remb(&mut bytes, 1, 1_000, &[]);
    bytes[17..20].fill(0xff);
    let Rtcp::Remb(remb) = one(&bytes) else { panic!() };
    assert_eq!(remb.bitrate_bps, u64::MAX);
}

#[test]
fn a_compound_is_walked_in_order() {
    let mut bytes = Vec::new();
    write_receiver_report(&mut bytes, 1, &[]);
    write_sdes_cname(&mut bytes, 1, b"ada");
    bytes.extend_from_slice(&[0x82, 204, 0, 1, 0, 0, 0, 1]);
    write_pli(&mut bytes, 1, 2);
    let kinds: Vec<_> = parse(&bytes).map(|packet| std::mem::discriminant(&packet.unwrap())).collect();
    assert_eq!(kinds.len(), 4);
    let Some(Ok(Rtcp::Unknown { packet_type: 204, count: 2, body })) = parse(&bytes).nth(2) else { panic!() };
    assert_eq!(body, [0, 0, 0, 1]);
}

#[test]
fn padding_is_taken_off() {
    let bytes = [0xa1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4];
    assert!(matches!(one(&bytes), Rtcp::Pli(Pli { sender_ssrc: 1, media_ssrc: 2 })));
}

#[test]
fn lies_are_refused() {
    let check = |bytes: &[u8], expected: RtcpError| {
        let items: Vec<_> = parse(bytes).collect();
        assert_eq!(items.len(), 1, "an error is the last item");
        assert_eq!(*items[0].as_ref().unwrap_err(), expected, "{bytes:?}");
    };
    check(&[0x80], RtcpError::Truncated);
    check(&[0x80, 200, 0, 9, 0, 0, 0, 0], RtcpError::Truncated);
    check(&[0x40, 200, 0, 0], RtcpError::Version(1));
    check(&[0xa0, 201, 0, 1, 0, 0, 0, 0], RtcpError::Padding);
    check(&[0xa0, 201, 0, 1, 0, 0, 0, 5], RtcpError::Padding);
    check(&[0xa0, 201, 0, 0], RtcpError::Padding);
    check(&[0x81, 201, 0, 1, 0, 0, 0, 1], RtcpError::Malformed(201));
    check(&[0x80, 200, 0, 1, 0, 0, 0, 1], RtcpError::Malformed(200));
    check(&[0x82, 202, 0, 2, 0, 0, 0, 1, 1, 9, 9, 9], RtcpError::Malformed(202));
    check(&[0x82, 203, 0, 1, 0, 0, 0, 1], RtcpError::Malformed(203));
    check(&[0x81, 203, 0, 2, 0, 0, 0, 1, 9, 0, 0, 0], RtcpError::Malformed(203));
    check(&[0x81, 205, 0, 1, 0, 0, 0, 1], RtcpError::Malformed(205));
    check(&[0x84, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], RtcpError::Malformed(206));
    let remb_of_three = [0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 3, 0, 0, 0];
    check(&remb_of_three, RtcpError::Malformed(206));
    // One large delta announced, none present.
    let no_delta = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 1, 0, 0, 0, 0, 0x40, 1, 0, 0];
    assert!(parse(&no_delta).next().unwrap().is_ok(), "two octets of padding serve as the delta");
    let no_room = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0, 9, 0, 0, 0, 0, 0x40, 9, 0, 0];
    check(&no_room, RtcpError::Malformed(205));
    let no_chunks = [0x8f, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 2, 0, 1, 0xff, 0xff, 0, 0, 0, 0];
    check(&no_chunks, RtcpError::Malformed(205));
}

/// The draft's own vocabulary: a one-bit vector, a run, a two-bit vector; deltas small, large and negative.
#[test]
fn every_kind_of_chunk_is_read() {
    let bytes = [
        0x8f,
        205,
        0,
        9,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        2, //
        0xff,
        0xff,
        0,
        21,
        0xff,
        0xff,
        0xff,
        3, // base 65535, 21 statuses, reference −1
        0b1010_0000,
        0b0000_0001, // one bit: first and last of fourteen
        0b0010_0000,
        3, // run of three small
        0b1101_1000,
        0, // two bits: 01 10 00 00, four of them wanted
        4,
        8,
        1,
        1,
        1,
        2,
        0xff,
        0xfc, // deltas
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let Rtcp::TransportFeedback(feedback) = one(&bytes) else { panic!() };
    assert_eq!((feedback.feedback_count, feedback.reference_time), (3, -1));
    let statuses: Vec<_> = feedback.packets().collect();
    assert_eq!(statuses.len(), 21);
    assert_eq!(statuses[0], PacketStatus { sequence: 65_535, arrival_us: Some(-64_000 + 1_000) });
    assert_eq!(statuses[1], PacketStatus { sequence: 0, arrival_us: None });
    let arrived: Vec<_> = statuses.iter().filter_map(|status| status.arrival_us).collect();
    assert_eq!(arrived, [-63_000, -61_000, -60_750, -60_500, -60_250, -59_750, -60_750]);
}

fn report(arrivals: &[Arrival], max_len: usize) -> Vec<PacketStatus> {
    let mut left = arrivals;
    let mut statuses = Vec::new();
    while !left.is_empty() {
        let mut bytes = Vec::new();
        let written =
            write_transport_feedback(&mut bytes, &TransportFeedbackHeader::default(), left, max_len);
        assert!(written > 0 && bytes.len() <= max_len, "{written} in {}", bytes.len());
        left = &left[written..];
        let Rtcp::TransportFeedback(feedback) = one(&bytes) else { panic!() };
        statuses.extend(feedback.packets());
    }
    statuses
}

#[test]
fn feedback_round_trips() {
    let mut random = Prng(4);
    for round in 0..2_000 {
        let mut sequence = random.below(1 << 20);
        let mut now = random.below(1 << 40);
        let arrivals: Vec<Arrival> = (0..1 + random.below(300))
            .map(|_| {
                sequence += 1 + if random.chance(10) { random.below(40) } else { 0 };
                now += if random.chance(3) { random.below(9_000_000_000) } else { random.below(30_000_000) };
                // Reordering on the way shows as arrival times that step back.
                let arrival_ns = now - if random.chance(5) { random.below(10_000_000).min(now) } else { 0 };
                Arrival { sequence, arrival_ns }
            })
            .collect();
        let max_len = if round % 2 == 0 { 1_200 } else { 100 };
        let received: Vec<_> =
            report(&arrivals, max_len).into_iter().filter(|status| status.arrival_us.is_some()).collect();
        assert_eq!(received.len(), arrivals.len());
        // The reference time wraps at 2^24 × 64 ms.
        let wrap = 64_000i64 << 24;
        for (status, arrival) in received.iter().zip(&arrivals) {
            assert_eq!(status.sequence, arrival.sequence as u16);
            let expected = (arrival.arrival_ns / 250_000 * 250) as i64;
            assert_eq!((status.arrival_us.unwrap() - expected).rem_euclid(wrap), 0);
        }
    }
}

#[test]
fn feedback_of_long_gaps_and_nonsense() {
    let at = |sequence, arrival_ns| Arrival { sequence, arrival_ns };
    assert_eq!(report(&[at(0, 0), at(30_000, 1)], 64).len(), 30_001);
    // Out of order, repeated and more than a message's reach apart: several messages, none lost.
    let received =
        |arrivals: &[Arrival]| report(arrivals, 64).iter().filter(|s| s.arrival_us.is_some()).count();
    assert_eq!(received(&[at(9, 0), at(3, 0), at(3, 0), at(100_000, 0), at(100_001, 1 << 60)]), 5);
    let mut bytes = Vec::new();
    assert_eq!(write_transport_feedback(&mut bytes, &TransportFeedbackHeader::default(), &[], 1_200), 0);
    assert_eq!(write_transport_feedback(&mut bytes, &TransportFeedbackHeader::default(), &[at(1, 1)], 20), 0);
    assert!(bytes.is_empty());
}

#[test]
fn noise_never_panics() {
    let mut random = Prng(5);
    let types = [200, 201, 202, 203, 204, 205, 206, 207];
    for _ in 0..200_000 {
        let mut bytes = random.bytes(80);
        if bytes.len() >= 4 {
            bytes[0] = bytes[0] & 0x1f | 0x80 | if random.chance(20) { 0x20 } else { 0 };
            bytes[1] = types[random.below(8) as usize];
            bytes[2] = 0;
            bytes[3] = random.below(bytes.len() as u64 / 4) as u8;
        }
        if random.chance(30) && bytes.len() >= 16 {
            bytes[0] = 0x8f;
            bytes[12..16].copy_from_slice(b"REMB");
        }
        for packet in parse(&bytes).flatten() {
            match packet {
                Rtcp::SenderReport(report) => drop(report.reports.count()),
                Rtcp::ReceiverReport(report) => drop(report.reports.count()),
                Rtcp::Sdes(sdes) => drop(sdes.chunks().count()),
                Rtcp::Bye(bye) => drop(bye.ssrcs().count()),
                Rtcp::Nack(nack) => drop(nack.lost().count()),
                Rtcp::Fir(fir) => drop(fir.entries().count()),
                Rtcp::Remb(remb) => drop(remb.ssrcs().count()),
                Rtcp::TransportFeedback(feedback) => {
                    assert_eq!(feedback.packets().count(), usize::from(feedback.status_count));
                }
                Rtcp::Pli(_) | Rtcp::Unknown { .. } => {}
            }
        }
    }
}
