//! SCTP packets as octets: reading their chunks, and making the few packets that the supplier does not.

use bytes::Bytes;

/// A chunk with its padding taken off (RFC 9260 §3.2).
pub struct Chunk<'a> {
    pub kind: u8,
    pub value: &'a [u8],
}

/// The chunks of a packet; `None` ends it where it is malformed.
pub fn chunks(packet: &[u8]) -> impl Iterator<Item = Option<Chunk<'_>>> {
    let mut rest = packet.get(COMMON_HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let length = u16_at(rest, 2).map(usize::from).filter(|length| *length >= CHUNK_HEADER);
        let Some(value) = length.and_then(|length| rest.get(CHUNK_HEADER..length)) else {
            rest = &[];
            return Some(None);
        };
        let kind = rest[0];
        let padded = (CHUNK_HEADER + value.len()).next_multiple_of(4);
        rest = rest.get(padded..).unwrap_or_default();
        Some(Some(Chunk { kind, value }))
    })
}

/// Ports and verification tag of a packet: what an answer on the same way begins with (RFC 9260 §3.1).
pub type Route = [u8; 8];

pub fn route(packet: &[u8]) -> Option<Route> {
    packet.get(..8)?.try_into().ok()
}

/// Passes a packet on in pieces of at most [`MAX_PACKET`] octets: the supplier counts neither headers nor padding when
/// it bundles short messages. A SACK is cut, which RFC 9260 §6.2.1 allows; another chunk that is longer by itself (a
/// FORWARD TSN over hundreds of streams) goes alone.
pub fn split(packet: Bytes, mut emit: impl FnMut(Bytes)) {
    let (Some(route), true) = (route(&packet), packet.len() > MAX_PACKET) else {
        return emit(packet);
    };
    let mut piece = Writer::new(route);
    let mut rest = &packet[COMMON_HEADER..];
    while let Some(length) =
        u16_at(rest, 2).map(usize::from).filter(|n| (CHUNK_HEADER..=rest.len()).contains(n))
    {
        let (chunk, value) = (&rest[..length], &rest[CHUNK_HEADER..length]);
        let cut = (chunk[0] == SACK && COMMON_HEADER + length > MAX_PACKET).then(|| cut_sack(value, None));
        let (header, value) = match &cut {
            Some(value) => ([SACK, 0], &value[..]),
            None => ([chunk[0], chunk[1]], value),
        };
        if !piece.is_empty() && piece.len_with(value) > MAX_PACKET {
            emit(std::mem::replace(&mut piece, Writer::new(route)).finish());
        }
        piece.push(header, value);
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    if !piece.is_empty() {
        emit(piece.finish());
    }
}

/// The end of an association, with the reason in words: protocol violation (RFC 9260 §§3.3.7, 3.3.10.13).
pub fn abort(route: Route, reason: &str) -> Bytes {
    let reason = reason.as_bytes();
    let reason = &reason[..reason.len().min(MAX_REASON)];
    let mut cause = PROTOCOL_VIOLATION.to_be_bytes().to_vec();
    cause.extend((CHUNK_HEADER as u16 + reason.len() as u16).to_be_bytes());
    cause.extend(reason);
    let mut packet = Writer::new(route);
    packet.push([ABORT, 0], &cause);
    packet.finish()
}

/// The packet's SACK again, with another window and without its duplicates.
pub fn with_window(packet: &[u8], window: u32) -> Option<Bytes> {
    let sack = chunks(packet).flatten().find(|chunk| chunk.kind == SACK)?;
    let mut again = Writer::new(route(packet)?);
    again.push([SACK, 0], &cut_sack(sack.value, Some(window)));
    Some(again.finish())
}

/// A SACK's value without duplicates, and with as many gap blocks as fit a packet.
fn cut_sack(value: &[u8], window: Option<u32>) -> Vec<u8> {
    let gaps = usize::from(u16_at(value, 8).unwrap_or(0))
        .min(MAX_GAPS)
        .min(value.len().saturating_sub(SACK_HEADER) / 4);
    let mut cut = value[..(SACK_HEADER + 4 * gaps).min(value.len())].to_vec();
    if cut.len() >= SACK_HEADER {
        if let Some(window) = window {
            cut[4..8].copy_from_slice(&window.to_be_bytes());
        }
        cut[8..10].copy_from_slice(&(gaps as u16).to_be_bytes());
        cut[10..12].fill(0);
    }
    cut
}

/// A packet in the making.
struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn new(route: Route) -> Self {
        let mut bytes = Vec::with_capacity(MAX_PACKET);
        bytes.extend(route);
        bytes.extend([0; 4]);
        Self { bytes }
    }

    fn is_empty(&self) -> bool {
        self.bytes.len() == COMMON_HEADER
    }

    fn len_with(&self, value: &[u8]) -> usize {
        self.bytes.len() + (CHUNK_HEADER + value.len()).next_multiple_of(4)
    }

    fn push(&mut self, header: [u8; 2], value: &[u8]) {
        self.bytes.extend(header);
        self.bytes.extend((CHUNK_HEADER as u16 + value.len() as u16).to_be_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Bytes {
        seal(&mut self.bytes);
        self.bytes.into()
    }
}

/// Writes the checksum of a packet, which has a whole common header.
pub fn seal(packet: &mut [u8]) {
    packet[8..12].fill(0);
    let checksum = crc32c(packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
}

/// Over a packet whose checksum field is zero (RFC 9260 §6.8, Appendix A).
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| CRC_TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8))
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ CASTAGNOLI } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

/// The polynomial, bits reversed.
const CASTAGNOLI: u32 = 0x82f6_3b78;

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

pub const COMMON_HEADER: usize = 12;
pub const CHUNK_HEADER: usize = 4;
pub const SACK_HEADER: usize = 12;
pub const DATA: u8 = 0;
pub const INIT: u8 = 1;
pub const INIT_ACK: u8 = 2;
pub const SACK: u8 = 3;
pub const ABORT: u8 = 6;
pub const SHUTDOWN: u8 = 7;
pub const SHUTDOWN_ACK: u8 = 8;
pub const ERROR: u8 = 9;
pub const SHUTDOWN_COMPLETE: u8 = 14;
const PROTOCOL_VIOLATION: u16 = 13;

/// A datagram of 1,280 octets, the least that IPv6 carries (RFC 8200 §5), without the headers of IPv6 (40), UDP (8)
/// and a DTLS 1.2 record under AES-GCM (13 + 8 + 16); a multiple of four.
pub const MAX_PACKET: usize = 1_192;
const MAX_GAPS: usize = (MAX_PACKET - COMMON_HEADER - CHUNK_HEADER - SACK_HEADER) / 4;
const MAX_REASON: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = [0x13, 0x88, 0x13, 0x88, 1, 2, 3, 4];

    fn packet(chunks: &[(u8, Vec<u8>)]) -> Bytes {
        let mut writer = Writer::new(ROUTE);
        chunks.iter().for_each(|(kind, value)| writer.push([*kind, 3], value));
        writer.finish()
    }

    fn is_valid(packet: &[u8]) -> bool {
        let mut zeroed = packet.to_vec();
        zeroed[8..12].fill(0);
        packet[8..12] == crc32c(&zeroed).to_le_bytes()
    }

    fn pieces(packet: Bytes) -> Vec<Bytes> {
        let mut pieces = Vec::new();
        split(packet, |piece| pieces.push(piece));
        pieces
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 3720 §B.4.
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn bundles_of_short_messages_are_split_and_nothing_else_is_changed() {
        let short: Vec<(u8, Vec<u8>)> = (0..68u8).map(|n| (DATA, vec![n; 13])).collect();
        let long = packet(&short);
        assert!(long.len() > MAX_PACKET);
        let pieces = pieces(long);
        assert!(
            pieces
                .iter()
                .all(|piece| piece.len() <= MAX_PACKET && is_valid(piece) && route(piece) == Some(ROUTE))
        );
        assert_eq!(pieces.len(), 2);
        let values = |piece: &Bytes| chunks(piece).map(|c| c.unwrap().value.to_vec()).collect::<Vec<_>>();
        assert_eq!(
            pieces.iter().flat_map(values).collect::<Vec<_>>(),
            short.into_iter().map(|(_, v)| v).collect::<Vec<_>>()
        );
        // The flags are kept.
        assert_eq!(pieces[1][COMMON_HEADER + 1], 3);

        let usual = packet(&[(DATA, vec![1; 1_156])]);
        assert_eq!(super::tests::pieces(usual.clone()), [usual]);
        let alone = packet(&[(192, vec![0; 2_000]), (DATA, vec![1; 20])]);
        assert_eq!(super::tests::pieces(alone).iter().map(Bytes::len).collect::<Vec<_>>(), [2_016, 36]);
    }

    #[test]
    fn long_acknowledgements_are_cut() {
        let mut value = vec![0; 12];
        value[8..10].copy_from_slice(&600u16.to_be_bytes());
        value[10..12].copy_from_slice(&9u16.to_be_bytes());
        value.extend(
            (0..600u16).flat_map(|n| [(2 + 3 * n).to_be_bytes(), (3 + 3 * n).to_be_bytes()].concat()),
        );
        value.extend([7; 36]);
        let [piece] = &pieces(packet(&[(SACK, value)]))[..] else { panic!() };
        assert!(piece.len() <= MAX_PACKET && is_valid(piece));
        let sack = chunks(piece).next().unwrap().unwrap();
        assert_eq!((u16_at(sack.value, 8), u16_at(sack.value, 10)), (Some(MAX_GAPS as u16), Some(0)));
        assert_eq!(sack.value.len(), SACK_HEADER + 4 * MAX_GAPS);
    }

    #[test]
    fn a_window_can_be_opened_and_an_end_told() {
        let value = [
            &7u32.to_be_bytes()[..],
            &[0; 4],
            &1u16.to_be_bytes(),
            &1u16.to_be_bytes(),
            &[0, 2, 0, 5],
            &[9; 4],
        ];
        let sack = packet(&[(DATA, vec![5; 3]), (SACK, value.concat())]);
        let again = with_window(&sack, 262_144).unwrap();
        assert!(is_valid(&again));
        let [Some(sack)] = &chunks(&again).collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!(sack.value, [&[0, 0, 0, 7][..], &[0, 4, 0, 0], &[0, 1, 0, 0], &[0, 2, 0, 5]].concat());
        assert!(with_window(&packet(&[(DATA, vec![5; 3])]), 1).is_none());

        let end = abort(ROUTE, "no such stream");
        assert!(is_valid(&end));
        let chunk = chunks(&end).next().unwrap().unwrap();
        assert_eq!((chunk.kind, chunk.value), (ABORT, &b"\x00\x0d\x00\x12no such stream"[..]));
    }
}
