//! STUN messages as ICE uses them (RFC 8489, RFC 8445 §7).
//!
//! A parsed [`Message`] borrows the datagram. [`Writer`] fills a buffer of the caller's; nothing allocates.

use aws_lc_rs::{constant_time, hmac};
use std::net::{IpAddr, SocketAddr};

pub type TransactionId = [u8; 12];

const MAGIC_COOKIE: u32 = 0x2112_A442;
const HEADER: usize = 20;

/// The message types ICE knows (RFC 8489 §5, method Binding).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Indication,
    Success,
    Failure,
}

impl Kind {
    fn from_bits(bits: u16) -> Option<Self> {
        match bits {
            0x0001 => Some(Self::Request),
            0x0011 => Some(Self::Indication),
            0x0101 => Some(Self::Success),
            0x0111 => Some(Self::Failure),
            _ => None,
        }
    }

    fn bits(self) -> u16 {
        match self {
            Self::Request => 0x0001,
            Self::Indication => 0x0011,
            Self::Success => 0x0101,
            Self::Failure => 0x0111,
        }
    }
}

/// Which side decides what path is used (RFC 8445 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Controlling,
    Controlled,
}

mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802A;
    /// draft-thatcher-ice-renomination, as libwebrtc numbers it.
    pub const NOMINATION: u16 = 0xC001;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fingerprint {
    Demanded,
    Optional,
}

/// One binding message with a correct fingerprint. Its integrity is not yet checked.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    bytes: &'a [u8],
    pub kind: Kind,
    pub transaction: TransactionId,
    pub username: Option<&'a str>,
    /// Where the MESSAGE-INTEGRITY attribute begins.
    integrity_at: Option<usize>,
    pub use_candidate: bool,
    pub nomination: Option<u32>,
    pub priority: Option<u32>,
    /// The role the sender believes to have, and its tie-breaker.
    pub role: Option<(Role, u64)>,
    /// The first attribute that must be understood and is not (RFC 8489 §14).
    pub unknown_attribute: Option<u16>,
    pub mapped_address: Option<SocketAddr>,
    pub error_code: Option<u16>,
}

impl<'a> Message<'a> {
    /// Answers `None` to anything but a whole binding message that ends in a correct FINGERPRINT, which ICE demands
    /// of every message (RFC 8445 §7.1).
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes, Fingerprint::Demanded)
    }

    /// An answer of a public server, which may come without a fingerprint (RFC 8489 §7).
    pub fn parse_public(bytes: &'a [u8]) -> Option<Self> {
        Self::read(bytes, Fingerprint::Optional)
    }

    fn read(bytes: &'a [u8], fingerprint: Fingerprint) -> Option<Self> {
        if bytes.len() < HEADER || read_u32(bytes, 4)? != MAGIC_COOKIE {
            return None;
        }
        let kind = Kind::from_bits(read_u16(bytes, 0)?)?;
        let length = usize::from(read_u16(bytes, 2)?);
        if length % 4 != 0 || HEADER + length != bytes.len() {
            return None;
        }
        let mut message = Self {
            bytes,
            kind,
            transaction: bytes.get(8..HEADER)?.try_into().ok()?,
            username: None,
            integrity_at: None,
            use_candidate: false,
            nomination: None,
            priority: None,
            role: None,
            unknown_attribute: None,
            mapped_address: None,
            error_code: None,
        };
        let mut at = HEADER;
        while at < bytes.len() {
            let (id, len) = (read_u16(bytes, at)?, usize::from(read_u16(bytes, at + 2)?));
            let value = bytes.get(at + 4..at + 4 + len)?;
            let next = at + 4 + len.next_multiple_of(4);
            if id == attribute::FINGERPRINT {
                let is_last = next == bytes.len();
                let sum = crc32(bytes.get(..at)?) ^ FINGERPRINT_XOR;
                return (is_last && value == sum.to_be_bytes()).then_some(message);
            }
            // Whatever follows the integrity is not covered by it and does not count (RFC 8489 §14.5).
            if message.integrity_at.is_none() {
                message.read_attribute(id, value, at)?;
            }
            at = next;
        }
        (fingerprint == Fingerprint::Optional && at == bytes.len()).then_some(message)
    }

    fn read_attribute(&mut self, id: u16, value: &'a [u8], at: usize) -> Option<()> {
        match id {
            // 513 octets at most (RFC 8489 §14.3).
            attribute::USERNAME if value.len() <= 513 => {
                self.username = Some(std::str::from_utf8(value).ok()?)
            }
            attribute::MESSAGE_INTEGRITY if value.len() == 20 => self.integrity_at = Some(at),
            attribute::USE_CANDIDATE => self.use_candidate = true,
            attribute::PRIORITY => self.priority = Some(read_u32(value, 0)?),
            attribute::NOMINATION => self.nomination = Some(read_u32(value, 0)?),
            attribute::ICE_CONTROLLED => self.role = Some((Role::Controlled, read_u64(value)?)),
            attribute::ICE_CONTROLLING => self.role = Some((Role::Controlling, read_u64(value)?)),
            attribute::XOR_MAPPED_ADDRESS => self.mapped_address = Some(self.read_address(value)?),
            attribute::ERROR_CODE => {
                self.error_code = Some(u16::from(value.get(2)? & 7) * 100 + u16::from(*value.get(3)?));
            }
            attribute::UNKNOWN_ATTRIBUTES => {}
            0x0000..=0x7FFF if self.unknown_attribute.is_none() => self.unknown_attribute = Some(id),
            _ => {}
        }
        Some(())
    }

    fn read_address(&self, value: &[u8]) -> Option<SocketAddr> {
        let port = read_u16(value, 2)? ^ (MAGIC_COOKIE >> 16) as u16;
        let mask = address_mask(&self.transaction);
        let address = value.get(4..)?;
        let ip = match (value.get(1)?, address.len()) {
            (1, 4) => IpAddr::from(std::array::from_fn::<u8, 4, _>(|i| address[i] ^ mask[i])),
            (2, 16) => IpAddr::from(std::array::from_fn::<u8, 16, _>(|i| address[i] ^ mask[i])),
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the message carries a MESSAGE-INTEGRITY made with `key` (RFC 8489 §14.5).
    pub fn is_authentic(&self, key: &hmac::Key) -> bool {
        let Some(at) = self.integrity_at else { return false };
        let Some(tag) = self.bytes.get(at + 4..at + 24) else { return false };
        let expected = integrity(key, &self.bytes[..at]);
        constant_time::verify_slices_are_equal(expected.as_ref(), tag).is_ok()
    }
}

/// The key of short-term credentials is the password itself (RFC 8489 §9.1.1).
pub fn integrity_key(password: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes())
}

/// The HMAC of `covered` as if the message ended behind its MESSAGE-INTEGRITY attribute.
fn integrity(key: &hmac::Key, covered: &[u8]) -> hmac::Tag {
    let length = (covered.len() + 24 - HEADER) as u16;
    let mut context = hmac::Context::with_key(key);
    context.update(&covered[..2]);
    context.update(&length.to_be_bytes());
    context.update(&covered[4..]);
    context.sign()
}

/// Messages of ours fit in this: a check with the longest names has 356 octets.
pub const CAPACITY: usize = 384;

/// Writes one message. Attributes that do not fit make the message empty, which no caller sends.
pub struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    pub fn new(buf: &'b mut [u8; CAPACITY], kind: Kind, transaction: &TransactionId) -> Self {
        buf[..2].copy_from_slice(&kind.bits().to_be_bytes());
        buf[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        buf[8..HEADER].copy_from_slice(transaction);
        Self { buf, len: HEADER }
    }

    fn attribute(mut self, id: u16, value: &[u8]) -> Self {
        let padded = value.len().next_multiple_of(4);
        if let Some(room) = self.buf.get_mut(self.len..self.len + 4 + padded) {
            room[..2].copy_from_slice(&id.to_be_bytes());
            room[2..4].copy_from_slice(&(value.len() as u16).to_be_bytes());
            room[4..4 + value.len()].copy_from_slice(value);
            room[4 + value.len()..].fill(0);
            self.len += 4 + padded;
        }
        self
    }

    pub fn mapped_address(self, address: SocketAddr) -> Self {
        let transaction: TransactionId = std::array::from_fn(|i| self.buf[8 + i]);
        let mask = address_mask(&transaction);
        let mut value = [0; 20];
        let port = address.port() ^ (MAGIC_COOKIE >> 16) as u16;
        value[2..4].copy_from_slice(&port.to_be_bytes());
        match address.ip() {
            IpAddr::V4(ip) => {
                value[1] = 1;
                value[4..8].copy_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                value[1] = 2;
                value[4..].copy_from_slice(&ip.octets());
            }
        }
        let len = if address.is_ipv4() { 8 } else { 20 };
        value[4..len].iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &value[..len])
    }

    pub fn error(self, code: u16) -> Self {
        self.attribute(attribute::ERROR_CODE, &[0, 0, (code / 100) as u8, (code % 100) as u8])
    }

    pub fn unknown_attribute(self, id: u16) -> Self {
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &id.to_be_bytes())
    }

    pub fn username(self, username: &str) -> Self {
        self.attribute(attribute::USERNAME, username.as_bytes())
    }

    pub fn priority(self, priority: u32) -> Self {
        self.attribute(attribute::PRIORITY, &priority.to_be_bytes())
    }

    pub fn role(self, role: Role, tie_breaker: u64) -> Self {
        let id = match role {
            Role::Controlling => attribute::ICE_CONTROLLING,
            Role::Controlled => attribute::ICE_CONTROLLED,
        };
        self.attribute(id, &tie_breaker.to_be_bytes())
    }

    pub fn use_candidate(self) -> Self {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    #[cfg(test)]
    pub fn nomination(self, value: u32) -> Self {
        self.attribute(attribute::NOMINATION, &value.to_be_bytes())
    }

    /// Seals the message with integrity and fingerprint.
    pub fn finish(self, key: &hmac::Key) -> &'b [u8] {
        let tag = integrity(key, &self.buf[..self.len]);
        self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref()).finish_open()
    }

    /// Ends a message that nobody needs to believe: with a fingerprint alone.
    pub fn finish_open(mut self) -> &'b [u8] {
        // The fingerprint covers a length that already counts itself (RFC 8489 §14.7).
        let length = (self.len + 8 - HEADER) as u16;
        self.buf[2..4].copy_from_slice(&length.to_be_bytes());
        let sum = crc32(&self.buf[..self.len]) ^ FINGERPRINT_XOR;
        self = self.attribute(attribute::FINGERPRINT, &sum.to_be_bytes());
        let Self { buf, len } = self;
        &buf[..len]
    }
}

/// Gives any message the integrity it ought to have.
#[cfg(any(test, feature = "fuzzing"))]
pub fn sign(message: &mut Vec<u8>, key: &hmac::Key) {
    message.resize(message.len().max(HEADER).next_multiple_of(4), 0);
    message[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    let tag = integrity(key, message);
    message.extend(attribute::MESSAGE_INTEGRITY.to_be_bytes());
    message.extend([0, 20]);
    message.extend(tag.as_ref());
}

/// Gives any message the length and fingerprint it ought to have, so that fuzzing gets past them.
#[cfg(any(test, feature = "fuzzing"))]
pub fn seal(message: &mut Vec<u8>) {
    message.resize(message.len().max(HEADER).next_multiple_of(4), 0);
    let length = (message.len() + 8 - HEADER) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    message[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    let sum = crc32(message) ^ FINGERPRINT_XOR;
    message.extend(attribute::FINGERPRINT.to_be_bytes());
    message.extend([0, 4]);
    message.extend(sum.to_be_bytes());
}

/// What X-addresses are XORed with: cookie, then transaction (RFC 8489 §14.2).
fn address_mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(transaction);
    mask
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?))
}

/// "STUN" (RFC 8489 §14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554E;

/// ITU-T V.42's CRC-32.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| crc >> 8 ^ CRC_TABLE[usize::from(crc as u8 ^ byte)])
}

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut entry = i as u32;
        let mut bit = 0;
        while bit < 8 {
            entry = if entry & 1 == 1 { entry >> 1 ^ 0xEDB8_8320 } else { entry >> 1 };
            bit += 1;
        }
        table[i] = entry;
        i += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5769 §2.1: a sample binding request.
    const SAMPLE: &[u8] = &[
        0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa,
        0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e, 0x20, 0x74, 0x65, 0x73, 0x74, 0x20,
        0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24, 0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00,
        0x08, 0x93, 0x2f, 0xf9, 0xb1, 0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a,
        0x3a, 0x68, 0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c, 0xbf,
        0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5, 0x71, 0xa2, 0x80, 0x28,
        0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
    ];

    #[test]
    fn the_sample_of_rfc_5769_is_read_and_authentic() {
        let message = Message::parse(SAMPLE).unwrap();
        assert_eq!(message.kind, Kind::Request);
        assert_eq!(message.username, Some("evtj:h6vY"));
        assert_eq!(message.priority, Some(0x6e00_01ff));
        assert_eq!(message.role, Some((Role::Controlled, 0x932f_f9b1_5126_3b36)));
        assert!(!message.use_candidate);
        assert!(message.is_authentic(&integrity_key("VOkJxbRl1RmTxUk/WvJxBt")));
        assert!(!message.is_authentic(&integrity_key("VOkJxbRl1RmTxUk/WvJxBT")));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let key = integrity_key("password");
        for address in ["192.0.2.7:4000", "[2001:db8::5]:65535"] {
            let address: SocketAddr = address.parse().unwrap();
            let mut buf = [0; CAPACITY];
            let written =
                Writer::new(&mut buf, Kind::Success, &[7; 12]).mapped_address(address).finish(&key).to_vec();
            let message = Message::parse(&written).unwrap();
            assert_eq!(message.mapped_address, Some(address));
            assert!(message.is_authentic(&key));
        }
    }

    #[test]
    fn any_changed_octet_is_noticed() {
        let key = integrity_key("VOkJxbRl1RmTxUk/WvJxBt");
        for at in 0..SAMPLE.len() {
            let mut bytes = SAMPLE.to_vec();
            bytes[at] ^= 0x10;
            assert!(!Message::parse(&bytes).is_some_and(|m| m.is_authentic(&key)), "octet {at}");
        }
        for len in 0..SAMPLE.len() {
            assert!(Message::parse(&SAMPLE[..len]).is_none());
        }
    }
}
