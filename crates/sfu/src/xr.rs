//! The two blocks of RTCP XR (RFC 3611) that let one who only receives learn the round trip.

pub const PACKET_TYPE: u8 = 207;
const REFERENCE_TIME: u8 = 4;
const DLRR: u8 = 5;

/// One answer to our reference time (RFC 3611 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whom it answers.
    pub ssrc: u32,
    /// Compact NTP time of the reference it answers; 0 is none.
    pub last: u32,
    /// In 1/65,536 s.
    pub delay: u32,
}

/// All answers in an XR packet's body.
pub fn replies(body: &[u8]) -> impl Iterator<Item = Reply> + '_ {
    let mut rest = body.get(4..).unwrap_or_default();
    let mut block: &[u8] = &[];
    std::iter::from_fn(move || {
        loop {
            if let Some((entry, tail)) = block.split_at_checked(12) {
                block = tail;
                let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|i| entry[at + i]));
                return Some(Reply { ssrc: word(0), last: word(4), delay: word(8) });
            }
            let header = rest.get(..4)?;
            let len = 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
            let content = rest.get(4..4 + len)?;
            block = if header[0] == DLRR { content } else { &[] };
            rest = &rest[4 + len..];
        }
    })
}

/// A receiver reference time report (RFC 3611 §4.4): "answer this with what you know of it".
pub fn write_reference_time(out: &mut Vec<u8>, ssrc: u32, ntp: u64) {
    out.extend_from_slice(&[0x80, PACKET_TYPE, 0, 4]);
    out.extend_from_slice(&ssrc.to_be_bytes());
    out.extend_from_slice(&[REFERENCE_TIME, 0, 0, 2]);
    out.extend_from_slice(&ntp.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_among_other_blocks_and_lies_end_the_search() {
        let mut body = vec![0, 0, 0, 9];
        body.extend([REFERENCE_TIME, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
        body.extend([DLRR, 0, 0, 6]);
        for n in 0..6u32 {
            body.extend(n.to_be_bytes());
        }
        let found: Vec<_> = replies(&body).collect();
        assert_eq!(found, [Reply { ssrc: 0, last: 1, delay: 2 }, Reply { ssrc: 3, last: 4, delay: 5 }]);
        for len in 0..body.len() {
            assert!(replies(&body[..len]).count() == 0);
        }
        body[6] = 0xFF;
        assert_eq!(replies(&body).count(), 0);
    }
}
