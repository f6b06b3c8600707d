//! WebSocket frames (RFC 6455 §5) as a server reads and writes them: no buffer of its own, no socket.

use std::io::Cursor;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// A client's frame at the beginning of a buffer, its payload unmasked in place.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub is_final: bool,
    pub opcode: OpCode,
    /// Where its payload stands.
    pub from: usize,
    /// Where the next frame begins.
    pub to: usize,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Violation {
    Protocol,
    NotUtf8,
    TooBig,
}

impl Violation {
    /// RFC 6455 §7.4.1.
    pub(crate) fn close_code(self) -> u16 {
        match self {
            Violation::Protocol => 1002,
            Violation::NotUtf8 => 1007,
            Violation::TooBig => 1009,
        }
    }
}

/// `None`: it is not whole yet. A payload longer than `most` is refused before it has come.
pub(crate) fn read(bytes: &mut [u8], most: usize) -> Result<Option<Frame>, Violation> {
    let mut cursor = Cursor::new(&*bytes);
    let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol)? else {
        return Ok(None);
    };
    let from = cursor.position() as usize;
    // No extension is agreed to, so the reserved bits mean nothing (§5.2); clients mask all they send (§5.1).
    let reserved = header.rsv1 || header.rsv2 || header.rsv3;
    let Some(mask) = header.mask.filter(|_| !reserved) else { return Err(Violation::Protocol) };
    match header.opcode {
        OpCode::Data(Data::Continue | Data::Text | Data::Binary) => {}
        OpCode::Control(Control::Close | Control::Ping | Control::Pong)
            if header.is_final && length <= MAX_CONTROL => {}
        _ => return Err(Violation::Protocol),
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= most).ok_or(Violation::TooBig)?;
    let to = from + length;
    let Some(payload) = bytes.get_mut(from..to) else { return Ok(None) };
    unmask(payload, mask);
    Ok(Some(Frame { is_final: header.is_final, opcode: header.opcode, from, to }))
}

/// §5.3, eight octets at a time.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = payload.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (octet, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *octet ^= mask;
    }
}

/// Appends a whole message as one frame.
pub(crate) fn write(opcode: OpCode, payload: &[u8], output: &mut Vec<u8>) {
    let header = FrameHeader { opcode, ..FrameHeader::default() };
    output.reserve(header.len(payload.len() as u64) + payload.len());
    // Writing into memory does not fail.
    let _ = header.format(payload.len() as u64, output);
    output.extend_from_slice(payload);
}

/// §5.5.
const MAX_CONTROL: u64 = 125;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0xa5, 0x5a, 0x0f, 0x81];
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length @ 126..=65_535 => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask));
        frame
    }

    #[test]
    fn what_a_client_masked_is_read_at_every_length() {
        for length in [0, 1, 3, 7, 8, 9, 125, 126, 127, 65_535, 65_536] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let mut bytes = client(0x82, &payload);
            let whole = bytes.len();
            for cut in [0, 1, 5, whole - 1] {
                assert_eq!(read(&mut bytes[..cut].to_vec(), 70_000), Ok(None), "{cut} of {whole}");
            }
            bytes.extend_from_slice(b"next");
            let frame = read(&mut bytes, 70_000).unwrap().unwrap();
            assert_eq!((frame.to, frame.is_final), (whole, true));
            assert_eq!(bytes[frame.from..frame.to], payload);
        }
    }

    #[test]
    fn what_is_against_the_rules_is_refused() {
        let refused = |bytes: &[u8]| read(&mut bytes.to_vec(), 1_000).unwrap_err();
        assert_eq!(refused(&[0x81, 0x01, b'a']), Violation::Protocol, "it is not masked");
        assert_eq!(refused(&client(0xc1, b"a")), Violation::Protocol, "a reserved bit");
        assert_eq!(refused(&client(0x83, b"a")), Violation::Protocol, "an opcode that means nothing");
        assert_eq!(refused(&client(0x8b, b"a")), Violation::Protocol, "a control frame that means nothing");
        assert_eq!(refused(&client(0x09, b"a")), Violation::Protocol, "a ping in parts");
        assert_eq!(refused(&client(0x89, &[0; 126])), Violation::Protocol, "a ping that is too long");
        assert_eq!(refused(&client(0x81, &[0; 1_001])[..14]), Violation::TooBig, "before it has come");
        let endless = [0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(refused(&endless), Violation::TooBig);
    }

    #[test]
    fn what_we_write_is_not_masked() {
        let mut output = Vec::new();
        write(OpCode::Data(Data::Text), b"hi", &mut output);
        write(OpCode::Data(Data::Text), &[b'x'; 300], &mut output);
        assert_eq!(output[..4], [0x81, 2, b'h', b'i']);
        assert_eq!(output[4..8], [0x81, 126, 1, 44]);
        assert_eq!(output.len(), 4 + 4 + 300);
    }
}
