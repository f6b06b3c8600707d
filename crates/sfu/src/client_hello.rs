//! A first look at a ClientHello (RFC 6347 §4.2, RFC 5246 §7.4.1.2): which SRTP profiles does the client offer?
//!
//! The DTLS library answers with the client's favourite. Browsers put AES-CM with HMAC-SHA1 first, which costs four
//! times what AES-GCM does, so we look before it does and offer GCM alone to those who have it.

/// Gathers the fragments of the first handshake message.
#[derive(Debug, Default)]
pub struct FirstLook {
    message: Vec<u8>,
    /// Fragments seen: where each begins and ends.
    pieces: Vec<(usize, usize)>,
}

/// What the look found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// More fragments must come.
    Nothing,
    /// The whole message: does it offer the profile?
    Offer(bool),
    /// No ClientHello that we understand.
    Unreadable,
}

impl FirstLook {
    /// Reads the records of one datagram.
    pub fn look(&mut self, datagram: &[u8], profile: u16) -> Found {
        let mut rest = datagram;
        while let Some(header) = rest.get(..RECORD_HEADER) {
            let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
            let Some(body) = rest.get(RECORD_HEADER..RECORD_HEADER + length) else {
                return Found::Unreadable;
            };
            rest = &rest[RECORD_HEADER + length..];
            if header[0] != HANDSHAKE || self.gather(body).is_none() {
                return Found::Unreadable;
            }
        }
        if !self.is_whole() {
            return Found::Nothing;
        }
        offers(&self.message, profile).map_or(Found::Unreadable, Found::Offer)
    }

    fn gather(&mut self, fragment: &[u8]) -> Option<()> {
        let header = fragment.get(..HANDSHAKE_HEADER)?;
        let u24 =
            |at: usize| header[at..at + 3].iter().fold(0, |value, octet| value << 8 | usize::from(*octet));
        let (length, offset, len) = (u24(1), u24(6), u24(9));
        let data = fragment.get(HANDSHAKE_HEADER..HANDSHAKE_HEADER + len)?;
        if header[0] != CLIENT_HELLO || length > MAX_MESSAGE || self.pieces.len() >= MAX_PIECES {
            return None;
        }
        if self.message.is_empty() {
            self.message = vec![0; length];
        }
        if self.message.len() != length {
            return None;
        }
        self.message.get_mut(offset..offset + len)?.copy_from_slice(data);
        self.pieces.push((offset, offset + len));
        Some(())
    }

    fn is_whole(&mut self) -> bool {
        self.pieces.sort_unstable();
        let reached = self
            .pieces
            .iter()
            .try_fold(0, |reached, (start, end)| (*start <= reached).then_some(reached.max(*end)));
        !self.message.is_empty() && reached == Some(self.message.len())
    }
}

/// Walks to the use_srtp extension (RFC 5764 §4.1.1).
fn offers(hello: &[u8], profile: u16) -> Option<bool> {
    // client_version, random; then session_id, cookie, cipher_suites, compression_methods.
    let mut rest = hello.get(2 + 32..)?;
    for length_octets in [1, 1, 2, 1] {
        rest = skip_vector(rest, length_octets)?;
    }
    let mut extensions = take_vector(rest, 2)?;
    while let Some(kind) = extensions.get(..2) {
        let data = take_vector(&extensions[2..], 2)?;
        if kind == USE_SRTP.to_be_bytes() {
            let profiles = take_vector(data, 2)?;
            return Some(profiles.chunks_exact(2).any(|p| p == profile.to_be_bytes()));
        }
        extensions = skip_vector(&extensions[2..], 2)?;
    }
    Some(false)
}

fn take_vector(bytes: &[u8], length_octets: usize) -> Option<&[u8]> {
    let length = bytes.get(..length_octets)?.iter().fold(0, |value, octet| value << 8 | usize::from(*octet));
    bytes.get(length_octets..length_octets + length)
}

fn skip_vector(bytes: &[u8], length_octets: usize) -> Option<&[u8]> {
    let skipped = length_octets + take_vector(bytes, length_octets)?.len();
    bytes.get(skipped..)
}

const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const USE_SRTP: u16 = 14;
const MAX_MESSAGE: usize = 8 * 1024;
const MAX_PIECES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(profiles: &[u16]) -> Vec<u8> {
        let mut message = vec![0xFE, 0xFD];
        message.extend([7; 32]);
        message.extend([0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
        let mut extensions = vec![0, 23, 0, 0, 0, 14];
        extensions.extend((profiles.len() as u16 * 2 + 3).to_be_bytes());
        extensions.extend((profiles.len() as u16 * 2).to_be_bytes());
        profiles.iter().for_each(|p| extensions.extend(p.to_be_bytes()));
        extensions.push(0);
        message.extend((extensions.len() as u16).to_be_bytes());
        message.extend(extensions);
        message
    }

    fn record(message: &[u8], from: usize, to: usize) -> Vec<u8> {
        let u24 = |n: usize| [(n >> 16) as u8, (n >> 8) as u8, n as u8];
        let mut body = vec![CLIENT_HELLO];
        body.extend(u24(message.len()));
        body.extend([0, 0]);
        body.extend(u24(from));
        body.extend(u24(to - from));
        body.extend(&message[from..to]);
        let mut record = vec![HANDSHAKE, 0xFE, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    #[test]
    fn the_offer_is_found_in_one_piece_or_several_in_any_order() {
        let message = hello(&[1, 8, 7]);
        assert_eq!(FirstLook::default().look(&record(&message, 0, message.len()), 7), Found::Offer(true));
        assert_eq!(FirstLook::default().look(&record(&message, 0, message.len()), 5), Found::Offer(false));
        let mut look = FirstLook::default();
        assert_eq!(look.look(&record(&message, 20, message.len()), 7), Found::Nothing);
        assert_eq!(look.look(&record(&message, 20, message.len()), 7), Found::Nothing, "repeated");
        assert_eq!(look.look(&record(&message, 0, 25), 7), Found::Offer(true));
    }

    #[test]
    fn anything_else_is_unreadable_and_nothing_panics() {
        let message = hello(&[1, 7]);
        let whole = record(&message, 0, message.len());
        for len in 1..whole.len() {
            let found = FirstLook::default().look(&whole[..len], 7);
            assert!(found != Found::Offer(true), "{len}");
            let mut changed = whole.clone();
            changed[len] ^= 0xFF;
            let _ = FirstLook::default().look(&changed, 7);
        }
        for len in 0..message.len() {
            let cut = &message[..len];
            let _ = FirstLook::default().look(&record(cut, 0, len), 7);
        }
    }
}
