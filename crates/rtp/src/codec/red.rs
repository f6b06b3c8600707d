//! Redundant audio: older packets of sound in front of the newest, in one payload (RFC 2198 §3).

use crate::bytes::be_u24;

/// One packet of sound within a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: u8,
    /// How much older it is than the payload, on the RTP clock; 0 for the newest.
    pub timestamp_offset: u32,
    pub data: &'a [u8],
}

/// The packets in a payload, oldest first; the last is the newest, which is never empty. `None`: malformed.
pub fn blocks(payload: &[u8]) -> Option<impl Iterator<Item = Block<'_>>> {
    let (mut headers, mut redundant) = (0, 0);
    // Four octets for each older block: F, payload type, 14 bits of time, 10 bits of length.
    while *payload.get(headers)? & MORE != 0 {
        redundant += length(be_u24(payload, headers + 1)?);
        headers += OLDER_HEADER;
    }
    let mut rest = payload.get(headers + 1..).filter(|rest| rest.len() > redundant)?;
    let mut at = 0;
    Some(std::iter::from_fn(move || {
        let octet = *payload.get(at).filter(|_| at <= headers)?;
        let (timestamp_offset, len) = match be_u24(payload, at + 1).filter(|_| at < headers) {
            Some(word) => (word >> 10, length(word)),
            None => (0, rest.len()),
        };
        at += OLDER_HEADER;
        let (data, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(Block { payload_type: octet & !MORE, timestamp_offset, data })
    }))
}

/// Payload type and data of the newest packet. `None`: malformed.
pub fn primary(payload: &[u8]) -> Option<(u8, &[u8])> {
    blocks(payload)?.last().map(|block| (block.payload_type, block.data))
}

/// Gives every block that payload type: a receiver's number for the codec is not the sender's.
pub fn set_payload_types(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    while let Some(octet) = payload.get_mut(at) {
        *octet = *octet & MORE | payload_type & !MORE;
        if *octet & MORE == 0 {
            return;
        }
        at += OLDER_HEADER;
    }
}

fn length(word: u32) -> usize {
    (word & 0x3ff) as usize
}

/// The bit F: another block header follows.
const MORE: u8 = 0x80;
const OLDER_HEADER: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Two older blocks, of 1,920 and 960 samples ago, of two and three octets; and the newest.
    const THREE: [u8; 17] =
        [0x80 | 111, 0x1e, 0x00, 2, 0x80 | 111, 0x0f, 0x00, 3, 111, 1, 1, 2, 2, 2, 9, 8, 7];

    #[test]
    fn blocks_are_told_apart_and_the_newest_is_the_last() {
        let block = |timestamp_offset, data| Block { payload_type: 111, timestamp_offset, data };
        let found: Vec<_> = blocks(&THREE).unwrap().collect();
        assert_eq!(found, [block(1_920, &[1, 1][..]), block(960, &[2, 2, 2]), block(0, &[9, 8, 7])]);
        assert_eq!(primary(&THREE), Some((111, &[9, 8, 7][..])));
        assert_eq!(primary(&[111, 1, 2]), Some((111, &[1, 2][..])));
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        for len in 0..THREE.len() - 2 {
            assert_eq!(primary(&THREE[..len]), None, "{len}");
        }
        assert_eq!(primary(&[111]), None);
        assert_eq!(primary(&[0xff; 64]), None);
    }

    #[test]
    fn payload_types_change_and_nothing_else() {
        let mut renumbered = THREE;
        set_payload_types(&mut renumbered, 100);
        assert_eq!(blocks(&renumbered).unwrap().map(|b| b.payload_type).collect::<Vec<_>>(), [100; 3]);
        set_payload_types(&mut renumbered, 111);
        assert_eq!(renumbered, THREE);
        set_payload_types(&mut [0xff; 9], 100);
    }
}
