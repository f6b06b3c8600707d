//! Media records as the forwarding thread writes them into the worker's pipe; the layout is in `wire::link`.

use wire::link::{FeedId, MAX_RECORD, RECORD_HEADER, RECORD_ROUND_TRIP, RECORD_RTP, RECORD_SENDER_REPORT};

/// Puts one RTP packet into `buffer` and says how many bytes to write. `None`: the packet is larger than a record
/// may be (no sane path MTU lets that happen).
pub fn encode_rtp_record(
    buffer: &mut [u8; MAX_RECORD],
    feed: FeedId,
    arrival_ns: u64,
    packet: &[u8],
) -> Option<usize> {
    let length = RECORD_HEADER + packet.len();
    buffer.get_mut(RECORD_HEADER..length)?.copy_from_slice(packet);
    put_header(buffer, length as u16, RECORD_RTP, feed, arrival_ns);
    Some(length)
}

/// Puts what a sender report says of the clocks (RFC 3550 §6.4.1) into `buffer` and says how many bytes to write.
pub fn encode_sender_report_record(
    buffer: &mut [u8; MAX_RECORD],
    feed: FeedId,
    arrival_ns: u64,
    ntp: u64,
    rtp_timestamp: u32,
) -> usize {
    put_header(buffer, SENDER_REPORT_LENGTH as u16, RECORD_SENDER_REPORT, feed, arrival_ns);
    buffer[16..24].copy_from_slice(&ntp.to_le_bytes());
    buffer[24..28].copy_from_slice(&rtp_timestamp.to_le_bytes());
    SENDER_REPORT_LENGTH
}

/// Puts the time to the guest and back into `buffer` and says how many bytes to write.
pub fn encode_round_trip_record(
    buffer: &mut [u8; MAX_RECORD],
    feed: FeedId,
    arrival_ns: u64,
    round_trip_ms: u32,
) -> usize {
    put_header(buffer, ROUND_TRIP_LENGTH as u16, RECORD_ROUND_TRIP, feed, arrival_ns);
    buffer[16..20].copy_from_slice(&round_trip_ms.to_le_bytes());
    ROUND_TRIP_LENGTH
}

fn put_header(buffer: &mut [u8; MAX_RECORD], length: u16, kind: u8, feed: FeedId, arrival_ns: u64) {
    buffer[0..2].copy_from_slice(&length.to_le_bytes());
    buffer[2] = kind;
    buffer[3] = 0;
    buffer[4..8].copy_from_slice(&feed.to_le_bytes());
    buffer[8..16].copy_from_slice(&arrival_ns.to_le_bytes());
}

const SENDER_REPORT_LENGTH: usize = RECORD_HEADER + 12;
const ROUND_TRIP_LENGTH: usize = RECORD_HEADER + 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_laid_out_as_the_link_says() {
        let mut buffer = [0xff; MAX_RECORD];
        let length = encode_rtp_record(&mut buffer, 7, 0x0102_0304_0506_0708, &[0x80, 96, 0, 1]).unwrap();
        assert_eq!(
            &buffer[..length],
            &[20, 0, RECORD_RTP, 0, 7, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 0x80, 96, 0, 1]
        );
        let length = encode_sender_report_record(&mut buffer, 7, 0, 1 << 32, 9);
        assert_eq!(length, 28);
        assert_eq!(&buffer[16..28], &[0, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
        let length = encode_round_trip_record(&mut buffer, 7, 0, 0x0102);
        assert_eq!((length, buffer[2], &buffer[16..20]), (20, RECORD_ROUND_TRIP, &[2, 1, 0, 0][..]));
    }

    #[test]
    fn a_packet_that_would_not_be_written_in_one_piece_is_refused() {
        let mut buffer = [0; MAX_RECORD];
        assert_eq!(encode_rtp_record(&mut buffer, 1, 0, &[0; MAX_RECORD - RECORD_HEADER]), Some(MAX_RECORD));
        assert_eq!(encode_rtp_record(&mut buffer, 1, 0, &[0; MAX_RECORD - RECORD_HEADER + 1]), None);
    }
}
