//! Packets from the specification's diagrams, lies, and random bytes.

use super::*;
use crate::prng::Prng;

const HEADER: [u8; 12] = [0x80, 0xe0, 0x12, 0x34, 0xaa, 0xbb, 0xcc, 0xdd, 1, 2, 3, 4];

fn with(first: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = HEADER.to_vec();
    packet[0] = first;
    packet.extend_from_slice(rest);
    packet
}

#[test]
fn the_fixed_header_is_read() {
    let bytes = with(0x80, b"hello");
    let packet = Packet::parse(&bytes).unwrap();
    assert!(packet.marker());
    assert_eq!(packet.payload_type(), 96);
    assert_eq!(packet.sequence_number(), 0x1234);
    assert_eq!(packet.timestamp(), 0xaabb_ccdd);
    assert_eq!(packet.ssrc(), 0x0102_0304);
    assert_eq!(packet.payload(), b"hello");
    assert_eq!(packet.header_len(), 12);
    assert_eq!(packet.extensions().count(), 0);
}

#[test]
fn csrcs_padding_and_extension_are_taken_off() {
    let bytes = with(0xb1, &[9, 9, 9, 9, 0xbe, 0xde, 0, 1, 0x10, 0x55, 0, 0, b'x', 0, 0, 3]);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!(packet.csrcs().collect::<Vec<_>>(), [0x0909_0909]);
    assert_eq!(packet.extension(1), Some(&[0x55][..]));
    assert_eq!(packet.extension_range(1), Some(21..22));
    assert_eq!(packet.payload(), b"x");
    assert_eq!(packet.padding_len(), 3);
}

#[test]
fn a_packet_may_consist_of_padding() {
    let bytes = with(0xa0, &[0, 0, 0, 4]);
    assert_eq!(Packet::parse(&bytes).unwrap().payload(), b"");
}

#[test]
fn extension_elements_in_both_forms() {
    let check = |profile: [u8; 2], data: &[u8], expected: &[(u8, &[u8])]| {
        assert_eq!(data.len() % 4, 0);
        let mut rest = profile.to_vec();
        rest.extend_from_slice(&((data.len() / 4) as u16).to_be_bytes());
        rest.extend_from_slice(data);
        let bytes = with(0x90, &rest);
        let packet = Packet::parse(&bytes).unwrap();
        let seen: Vec<(u8, &[u8])> = packet.extensions().map(|element| (element.id, element.data)).collect();
        assert_eq!(seen, expected);
        for (id, data) in expected {
            assert_eq!(&bytes[packet.extension_range(*id).unwrap()], *data);
        }
    };
    let one = [0xbe, 0xde];
    check(one, &[0x10, 7, 0x21, 8, 9, 0, 0, 0], &[(1, &[7]), (2, &[8, 9])]);
    check(one, &[0, 0x10, 7, 0], &[(1, &[7])]);
    check(one, &[0x10, 7, 0xf0, 1, 0x20, 8, 0, 0], &[(1, &[7])]);
    // The second element claims more than there is.
    check(one, &[0x10, 7, 0x2f, 8], &[(1, &[7])]);
    check(one, &[], &[]);
    let two = [0x10, 0x05];
    check(two, &[1, 0, 2, 3, 7, 8, 9, 0], &[(1, &[]), (2, &[7, 8, 9])]);
    check(two, &[0, 200, 1, 7], &[(200, &[7])]);
    check(two, &[0, 0, 0, 4], &[]);
    check(two, &[1, 9, 9, 9], &[]);
    check([0x20, 0x00], &[0x10, 7, 0, 0], &[]);
}

#[test]
fn lying_packets_are_refused() {
    let check = |bytes: &[u8], expected: PacketError| assert_eq!(Packet::parse(bytes).unwrap_err(), expected);
    check(&[], PacketError::Truncated);
    check(&HEADER[..11], PacketError::Truncated);
    check(&with(0x40, &[]), PacketError::Version(1));
    check(&with(0x8f, &[0; 59]), PacketError::Truncated);
    check(&with(0x90, &[0xbe, 0xde, 0]), PacketError::Truncated);
    check(&with(0x90, &[0xbe, 0xde, 0, 2, 0, 0, 0, 0]), PacketError::Truncated);
    check(&with(0xa0, &[0]), PacketError::Padding);
    check(&with(0xa0, &[2]), PacketError::Padding);
    // The header's last octet is no padding count.
    check(&with(0xa0, &[]), PacketError::Padding);
}

#[test]
fn an_encrypted_packet_shows_its_header() {
    let bytes = with(0xa0, &[200, 201]);
    assert_eq!(Packet::parse_header(&bytes).unwrap().payload(), &[200, 201]);
}

#[test]
fn setters_change_only_their_field() {
    let mut bytes = FixedHeader::default().to_bytes(false);
    set_payload_type(&mut bytes, 0xff);
    set_marker(&mut bytes, false);
    set_sequence_number(&mut bytes, 7);
    set_timestamp(&mut bytes, 8);
    set_ssrc(&mut bytes, 9);
    let packet = Packet::parse(&bytes).unwrap();
    assert_eq!((packet.payload_type(), packet.marker()), (127, false));
    assert_eq!((packet.sequence_number(), packet.timestamp(), packet.ssrc()), (7, 8, 9));
    set_ssrc(&mut [1, 2], 9);
}

#[test]
fn datagrams_are_told_apart() {
    let check = |bytes: &[u8], expected: Class| assert_eq!(classify(bytes), expected, "{bytes:?}");
    check(&[], Class::Other);
    check(&[0, 1], Class::Stun);
    check(&[3], Class::Stun);
    check(&[4], Class::Other);
    check(&[20], Class::Dtls);
    check(&[63], Class::Dtls);
    check(&[64, 0], Class::Other);
    check(&[0x80, 96], Class::Rtp);
    check(&[0x80, 0xe0], Class::Rtp);
    check(&[0x80, 200], Class::Rtcp);
    check(&[0x81, 192], Class::Rtcp);
    check(&[0x81, 223], Class::Rtcp);
    check(&[0x80, 191], Class::Rtp);
    check(&[0x80, 224], Class::Rtp);
    check(&[0x80], Class::Rtp);
    check(&[192, 200], Class::Other);
}

#[test]
fn retransmissions_unwrap() {
    let bytes = with(0x80, &[0xab, 0xcd, 1, 2]);
    assert_eq!(Packet::parse(&bytes).unwrap().rtx(), Some((0xabcd, &[1, 2][..])));
    assert_eq!(Packet::parse(&with(0x80, &[1])).unwrap().rtx(), None);
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Prng(2);
    for _ in 0..200_000 {
        let mut bytes = random.bytes(64);
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x3f | 0x80;
        }
        if random.chance(50) && bytes.len() > 14 {
            bytes[0] &= 0xf0;
            bytes[12..14].copy_from_slice(if random.chance(50) { &[0xbe, 0xde] } else { &[0x10, 0] });
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            for element in packet.extensions() {
                assert!(packet.extension_range(element.id).is_some());
            }
            assert!(packet.payload().len() + packet.header_len() + packet.padding_len() == bytes.len());
            let _ = packet.csrcs().count();
        }
        let _ = classify(&bytes);
    }
}
