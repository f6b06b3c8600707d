//! The client's side of ICE: checks, and answers to them (RFC 8445, RFC 8489).

use aws_lc_rs::hmac;
use std::net::SocketAddr;

/// A user name fragment and its password.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub fragment: String,
    pub password: String,
}

impl Credentials {
    pub fn random() -> Self {
        let letters = |count| (0..count).map(|_| char::from(b'a' + rand::random::<u8>() % 26)).collect();
        Self { fragment: letters(8), password: letters(24) }
    }
}

/// Which side chooses the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We do: every check nominates.
    Controlling,
    Controlled,
}

/// One path's checks.
pub struct IceClient {
    role: Role,
    username: String,
    key: hmac::Key,
    own_key: hmac::Key,
    transaction: u64,
}

impl IceClient {
    pub fn new(role: Role, local: &Credentials, remote: &Credentials) -> Self {
        Self {
            role,
            username: format!("{}:{}", remote.fragment, local.fragment),
            key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, remote.password.as_bytes()),
            own_key: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, local.password.as_bytes()),
            transaction: rand::random(),
        }
    }

    /// What to answer when the server, being no lite one, checks us. Who asks is not verified: this is a load.
    pub fn answer(&self, request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
        let id = request.get(..20).filter(|head| head[..2] == [0x00, 0x01])?;
        let SocketAddr::V4(from) = from else { return None };
        let mut message = id.to_vec();
        message[0] = 0x01;
        message[1] = 0x01;
        let port = from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
        let mut mapped = vec![0, 1];
        mapped.extend_from_slice(&port.to_be_bytes());
        mapped.extend(from.ip().octets().iter().zip(COOKIE).map(|(octet, cookie)| octet ^ cookie));
        attribute(&mut message, XOR_MAPPED_ADDRESS, &mapped);
        finish(&mut message, &self.own_key);
        Some(message)
    }

    /// The next check, which also renews consent (RFC 7675).
    pub fn check(&mut self) -> Vec<u8> {
        self.transaction = self.transaction.wrapping_add(1);
        let mut message = vec![0x00, 0x01, 0, 0];
        message.extend_from_slice(&COOKIE);
        message.extend_from_slice(&[0; 4]);
        message.extend_from_slice(&self.transaction.to_be_bytes());
        attribute(&mut message, USERNAME, self.username.as_bytes());
        attribute(&mut message, PRIORITY, &0x6E7F_1EFFu32.to_be_bytes());
        match self.role {
            Role::Controlling => {
                attribute(&mut message, ICE_CONTROLLING, &TIE_BREAKER.to_be_bytes());
                attribute(&mut message, USE_CANDIDATE, &[]);
            }
            Role::Controlled => attribute(&mut message, ICE_CONTROLLED, &TIE_BREAKER.to_be_bytes()),
        }
        finish(&mut message, &self.key);
        message
    }

    /// Whether the datagram answers our latest check with success, by somebody who knows the password.
    pub fn is_success(&self, datagram: &[u8]) -> bool {
        let ours = datagram.get(..2) == Some(&[0x01, 0x01])
            && datagram.get(12..20) == Some(&self.transaction.to_be_bytes());
        ours && self.is_authentic(datagram)
    }

    fn is_authentic(&self, datagram: &[u8]) -> bool {
        let mut at = 20;
        while let Some(head) = datagram.get(at..at + 4) {
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            if head[..2] == MESSAGE_INTEGRITY.to_be_bytes() {
                let mut covered = datagram[..at].to_vec();
                set_length(&mut covered, 24);
                let tag = datagram.get(at + 4..at + 4 + length).unwrap_or_default();
                return hmac::verify(&self.key, &covered, tag).is_ok();
            }
            at += 4 + length.next_multiple_of(4);
        }
        false
    }
}

pub fn is_stun(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| *first < 4) && datagram.get(4..8) == Some(&COOKIE)
}

fn finish(message: &mut Vec<u8>, key: &hmac::Key) {
    // The length covers the attribute that is being computed (RFC 8489 §14.5, §14.7).
    set_length(message, 24);
    let tag = hmac::sign(key, message);
    attribute(message, MESSAGE_INTEGRITY, tag.as_ref());
    set_length(message, 8);
    let crc = crc32(message) ^ 0x5354_554E;
    attribute(message, FINGERPRINT, &crc.to_be_bytes());
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_length(message, 0);
}

/// Of what follows the header, and `more` octets yet to come.
fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - 20 + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// ISO 3309, as the FINGERPRINT wants it.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802A;
const TIE_BREAKER: u64 = 0x6772_6565_6E72_6F6F;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_iso_3309() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn only_an_authentic_answer_to_the_latest_check_counts() {
        let (local, remote) = (Credentials::random(), Credentials::random());
        let mut client = IceClient::new(Role::Controlling, &local, &remote);
        let mut answer = client.check();
        assert!(is_stun(&answer));
        assert!(!client.is_success(&answer), "a request is no answer");
        answer[0] = 1;
        assert!(!client.is_success(&answer), "what is covered was changed");
        answer.truncate(answer.len() - 8 - 24);
        set_length(&mut answer, 24);
        let tag = hmac::sign(&client.key, &answer);
        attribute(&mut answer, MESSAGE_INTEGRITY, tag.as_ref());
        assert!(client.is_success(&answer));
        client.check();
        assert!(!client.is_success(&answer), "it is for the check before");
    }
}
