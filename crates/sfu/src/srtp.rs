//! SRTP and SRTCP (RFC 3711, RFC 7714) on slices: nothing here allocates once the keys are derived.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac};

use crate::replay::ReplayWindow;

/// The protection profiles we speak, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// RFC 7714.
    AeadAes128Gcm,
    /// RFC 3711 with an 80-bit tag.
    Aes128CmSha1_80,
}

impl Profile {
    pub fn name(self) -> &'static str {
        match self {
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::Aes128CmSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        }
    }

    fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 12,
            Self::Aes128CmSha1_80 => 14,
        }
    }

    /// Octets DTLS must export: two keys, two salts (RFC 5764 §4.2).
    pub fn keying_len(self) -> usize {
        2 * (KEY + self.salt_len())
    }

    fn tag_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => GCM_TAG,
            Self::Aes128CmSha1_80 => SHA1_TAG,
        }
    }
}

/// A packet that is not authentic, or too short to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAuthentic;

/// Both directions of one association.
pub struct Keys {
    pub outbound: Outbound,
    pub inbound: Inbound,
}

impl Keys {
    /// Fetches what leads to the key for what we receive.
    pub fn prefetch_inbound(&self) {
        prefetch::all(&self.inbound);
        self.inbound.rtp.prefetch();
    }

    /// The same for what we send.
    pub fn prefetch_outbound(&self) {
        prefetch::all(&self.outbound);
        self.outbound.rtp.prefetch();
    }

    /// Splits what DTLS exported: client key, server key, client salt, server salt.
    pub fn from_dtls(profile: Profile, material: &[u8], we_are_client: bool) -> Option<Self> {
        let salt_len = profile.salt_len();
        let (client_key, rest) = material.split_at_checked(KEY)?;
        let (server_key, rest) = rest.split_at_checked(KEY)?;
        let (client_salt, rest) = rest.split_at_checked(salt_len)?;
        let server_salt = rest.get(..salt_len)?;
        let client = || Master::new(client_key, client_salt);
        let server = || Master::new(server_key, server_salt);
        let (ours, theirs) = if we_are_client { (client()?, server()?) } else { (server()?, client()?) };
        Some(Self {
            outbound: Outbound {
                rtp: Cipher::derive(profile, &ours, Labels::RTP)?,
                rtcp: Cipher::derive(profile, &ours, Labels::RTCP)?,
                rtcp_index: 0,
            },
            inbound: Inbound {
                rtp: Cipher::derive(profile, &theirs, Labels::RTP)?,
                rtcp: Cipher::derive(profile, &theirs, Labels::RTCP)?,
                rtcp_replay: Vec::new(),
            },
        })
    }
}

/// What we send.
pub struct Outbound {
    rtp: Cipher,
    rtcp: Cipher,
    rtcp_index: u32,
}

impl Outbound {
    /// What protection adds to an RTP packet.
    pub fn rtp_overhead(&self) -> usize {
        self.rtp.profile().tag_len()
    }

    /// Protects the packet in place. Its last [`Self::rtp_overhead`] octets are room for the tag. `index` is the
    /// extended sequence number; one index must never be used for two different packets.
    pub fn protect_rtp(&self, packet: &mut [u8], header_len: usize, index: u64) -> Result<(), NotAuthentic> {
        let ssrc = read_u32(packet, 8)?;
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let body_len = packet.len().checked_sub(GCM_TAG).ok_or(NotAuthentic)?;
                let (body, tag) = packet.split_at_mut(body_len);
                let (header, payload) = body.split_at_mut_checked(header_len).ok_or(NotAuthentic)?;
                let sealed = key
                    .seal_in_place_separate_tag(
                        gcm_rtp_nonce(salt, ssrc, index),
                        Aad::from(&*header),
                        payload,
                    )
                    .map_err(|_| NotAuthentic)?;
                tag.copy_from_slice(sealed.as_ref());
            }
            Cipher::Cm { key, salt, auth } => {
                let body_len = packet.len().checked_sub(SHA1_TAG).ok_or(NotAuthentic)?;
                let (body, tag) = packet.split_at_mut(body_len);
                let payload = body.get_mut(header_len..).ok_or(NotAuthentic)?;
                key_stream(key, cm_iv(salt, ssrc, index), payload)?;
                tag.copy_from_slice(&rtp_tag(auth, body, index));
            }
        }
        Ok(())
    }

    /// Protects the compound packet that begins at `start` of `out`, appending trailer and tag.
    pub fn protect_rtcp(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), NotAuthentic> {
        let packet = out.get_mut(start..).ok_or(NotAuthentic)?;
        let ssrc = read_u32(packet, 4)?;
        let index = self.rtcp_index;
        // 2^31 compound packets are a century of them; the index must not wrap (RFC 3711 §9.2).
        self.rtcp_index = index.checked_add(1).filter(|next| next & E_FLAG == 0).ok_or(NotAuthentic)?;
        let trailer = (index | E_FLAG).to_be_bytes();
        match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let mut aad = [0; RTCP_HEADER + 4];
                let (header, payload) = packet.split_at_mut_checked(RTCP_HEADER).ok_or(NotAuthentic)?;
                aad[..RTCP_HEADER].copy_from_slice(header);
                aad[RTCP_HEADER..].copy_from_slice(&trailer);
                let tag = key
                    .seal_in_place_separate_tag(gcm_rtcp_nonce(salt, ssrc, index), Aad::from(aad), payload)
                    .map_err(|_| NotAuthentic)?;
                out.extend_from_slice(tag.as_ref());
                out.extend_from_slice(&trailer);
            }
            Cipher::Cm { key, salt, auth } => {
                let payload = packet.get_mut(RTCP_HEADER..).ok_or(NotAuthentic)?;
                key_stream(key, cm_iv(salt, ssrc, u64::from(index)), payload)?;
                out.extend_from_slice(&trailer);
                let tag = hmac::sign(auth, &out[start..]);
                out.extend_from_slice(&tag.as_ref()[..SHA1_TAG]);
            }
        }
        Ok(())
    }
}

/// What we receive. Replay of RTP is the stream's business, as it knows the extended sequence numbers.
pub struct Inbound {
    rtp: Cipher,
    rtcp: Cipher,
    /// By sender SSRC, each of which counts for itself (RFC 3711 §3.2.3); at most [`MAX_RTCP_SENDERS`].
    rtcp_replay: Vec<(u32, ReplayWindow<2>)>,
}

impl Inbound {
    /// Checks and decrypts in place; the plaintext is the packet's first so many octets.
    pub fn unprotect_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        index: u64,
    ) -> Result<usize, NotAuthentic> {
        let ssrc = read_u32(packet, 8)?;
        let body_len = packet.len().checked_sub(self.rtp.profile().tag_len()).ok_or(NotAuthentic)?;
        if body_len < header_len {
            return Err(NotAuthentic);
        }
        match &self.rtp {
            Cipher::Gcm { key, salt } => {
                let (header, sealed) = packet.split_at_mut(header_len);
                key.open_in_place(gcm_rtp_nonce(salt, ssrc, index), Aad::from(&*header), sealed)
                    .map_err(|_| NotAuthentic)?;
            }
            Cipher::Cm { key, salt, auth } => {
                let (body, tag) = packet.split_at_mut(body_len);
                constant_time::verify_slices_are_equal(&rtp_tag(auth, body, index), tag)
                    .map_err(|_| NotAuthentic)?;
                key_stream(key, cm_iv(salt, ssrc, index), &mut body[header_len..])?;
            }
        }
        Ok(body_len)
    }

    /// Checks and decrypts a compound packet in place. One that was seen before is not authentic.
    pub fn unprotect_rtcp<'p>(&mut self, packet: &'p mut [u8]) -> Result<&'p [u8], NotAuthentic> {
        let ssrc = read_u32(packet, 4)?;
        let len = packet.len();
        let trailer_at = match &self.rtcp {
            Cipher::Gcm { .. } => len.checked_sub(4),
            Cipher::Cm { .. } => len.checked_sub(4 + SHA1_TAG),
        };
        let trailer_at = trailer_at.filter(|at| *at >= RTCP_HEADER).ok_or(NotAuthentic)?;
        let word = read_u32(packet, trailer_at)?;
        let (encrypted, index) = (word & E_FLAG != 0, word & !E_FLAG);
        let seen = self.rtcp_replay.iter().position(|(sender, _)| *sender == ssrc);
        let is_new = match seen {
            Some(at) => self.rtcp_replay[at].1.is_new(u64::from(index)),
            None => self.rtcp_replay.len() < MAX_RTCP_SENDERS,
        };
        if !is_new {
            return Err(NotAuthentic);
        }
        let plain_len = match &self.rtcp {
            Cipher::Gcm { key, salt } => {
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                let (body, trailer) = packet.split_at_mut(trailer_at);
                let plain_len =
                    trailer_at.checked_sub(GCM_TAG).filter(|n| *n >= RTCP_HEADER).ok_or(NotAuthentic)?;
                if encrypted {
                    let mut aad = [0; RTCP_HEADER + 4];
                    let (header, sealed) = body.split_at_mut(RTCP_HEADER);
                    aad[..RTCP_HEADER].copy_from_slice(header);
                    aad[RTCP_HEADER..].copy_from_slice(trailer);
                    key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| NotAuthentic)?;
                } else {
                    // Everything is associated data, in two pieces that are not neighbours (RFC 7714 §9.3). No
                    // browser sends this; refusing is simpler than copying.
                    return Err(NotAuthentic);
                }
                plain_len
            }
            Cipher::Cm { key, salt, auth } => {
                let (covered, tag) = packet.split_at_mut(trailer_at + 4);
                let expected = hmac::sign(auth, covered);
                constant_time::verify_slices_are_equal(&expected.as_ref()[..SHA1_TAG], tag)
                    .map_err(|_| NotAuthentic)?;
                if encrypted {
                    key_stream(
                        key,
                        cm_iv(salt, ssrc, u64::from(index)),
                        &mut covered[RTCP_HEADER..trailer_at],
                    )?;
                }
                trailer_at
            }
        };
        let at = seen.unwrap_or_else(|| {
            self.rtcp_replay.push((ssrc, ReplayWindow::default()));
            self.rtcp_replay.len() - 1
        });
        self.rtcp_replay[at].1.accept(u64::from(index));
        packet.get(..plain_len).ok_or(NotAuthentic)
    }
}

/// Session keys of one direction of one protocol.
enum Cipher {
    Gcm { key: Box<LessSafeKey>, salt: [u8; 12] },
    Cm { key: Box<EncryptingKey>, salt: [u8; 14], auth: Box<hmac::Key> },
}

/// Key derivation labels (RFC 3711 §4.3.2).
struct Labels {
    encryption: u8,
    authentication: u8,
    salt: u8,
}

impl Labels {
    const RTP: Self = Self { encryption: 0, authentication: 1, salt: 2 };
    const RTCP: Self = Self { encryption: 3, authentication: 4, salt: 5 };
}

impl Cipher {
    fn derive(profile: Profile, master: &Master, labels: Labels) -> Option<Self> {
        let key: [u8; KEY] = master.derive(labels.encryption)?;
        match profile {
            Profile::AeadAes128Gcm => {
                let key = Box::new(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?));
                Some(Self::Gcm { key, salt: master.derive(labels.salt)? })
            }
            Profile::Aes128CmSha1_80 => {
                let auth: [u8; 20] = master.derive(labels.authentication)?;
                Some(Self::Cm {
                    key: Box::new(EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, &key).ok()?).ok()?),
                    salt: master.derive(labels.salt)?,
                    auth: Box::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth)),
                })
            }
        }
    }

    fn prefetch(&self) {
        match self {
            Self::Gcm { key, .. } => prefetch::all(key.as_ref()),
            Self::Cm { key, .. } => prefetch::all(key.as_ref()),
        }
    }

    fn profile(&self) -> Profile {
        match self {
            Self::Gcm { .. } => Profile::AeadAes128Gcm,
            Self::Cm { .. } => Profile::Aes128CmSha1_80,
        }
    }
}

/// A master key and its salt, padded to 112 bits on the right (RFC 7714 §11).
struct Master {
    key: EncryptingKey,
    salt: [u8; 14],
}

impl Master {
    fn new(key: &[u8], salt: &[u8]) -> Option<Self> {
        let mut padded = [0; 14];
        padded.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(Self { key: EncryptingKey::ctr(UnboundCipherKey::new(&AES_128, key).ok()?).ok()?, salt: padded })
    }

    /// The AES-CM pseudo-random function with a key derivation rate of zero (RFC 3711 §4.3.3).
    fn derive<const N: usize>(&self, label: u8) -> Option<[u8; N]> {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        iv[7] ^= label;
        let mut out = [0; N];
        key_stream(&self.key, iv, &mut out).ok()?;
        Some(out)
    }
}

fn key_stream(key: &EncryptingKey, iv: [u8; 16], data: &mut [u8]) -> Result<(), NotAuthentic> {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(iv))).map_err(|_| NotAuthentic)?;
    Ok(())
}

/// RFC 3711 §4.1.1; for SRTCP `index` is the SRTCP index.
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    xor(&mut iv[4..8], &ssrc.to_be_bytes());
    xor(&mut iv[8..14], &index.to_be_bytes()[2..]);
    iv
}

/// RFC 7714 §8.1.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.1.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[8..12], &index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

/// The tag of an RTP packet covers the roll-over counter too (RFC 3711 §4.2).
fn rtp_tag(auth: &hmac::Key, body: &[u8], index: u64) -> [u8; SHA1_TAG] {
    let mut context = hmac::Context::with_key(auth);
    context.update(body);
    context.update(&((index >> 16) as u32).to_be_bytes());
    let mut tag = [0; SHA1_TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..SHA1_TAG]);
    tag
}

fn xor(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(octet, other)| *octet ^= other);
}

fn read_u32(packet: &[u8], at: usize) -> Result<u32, NotAuthentic> {
    let bytes = packet.get(at..at + 4).ok_or(NotAuthentic)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

const KEY: usize = 16;
const GCM_TAG: usize = 16;
const SHA1_TAG: usize = 10;
/// First RTCP header word and the sender's SSRC stay in clear.
const RTCP_HEADER: usize = 8;
/// What RTCP protection adds at most.
pub const RTCP_OVERHEAD: usize = GCM_TAG + 4;
/// A browser reports with one SSRC for each m-section.
const MAX_RTCP_SENDERS: usize = 512;
const E_FLAG: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|p| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn keys_are_derived_as_in_rfc_3711_b3() {
        let master =
            Master::new(&hex("E1F97A0D3E018BE0D64FA32C06DE4139"), &hex("0EC675AD498AFEEBB6960B3AABE6"))
                .unwrap();
        assert_eq!(master.derive::<16>(0).unwrap()[..], hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(master.derive::<14>(2).unwrap()[..], hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(master.derive::<20>(1).unwrap()[..], hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4"));
    }

    #[test]
    fn gcm_is_as_in_rfc_7714_16_1() {
        let key = hex("000102030405060708090a0b0c0d0e0f");
        let salt = *b"Quid pro quo";
        let rtp = || Cipher::Gcm {
            key: Box::new(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap())),
            salt,
        };
        let plain = hex("8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120
                         696e2070 61727465 73207472 6573");
        let sealed = hex("8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f
                          42a5f47a 51c7d19b 36de3adf 8833 899d7f27 beb16a91 52cf765e e4390cce");
        let outbound = Outbound { rtp: rtp(), rtcp: rtp(), rtcp_index: 0 };
        let mut packet = [&plain[..], &[0; 16]].concat();
        outbound.protect_rtp(&mut packet, 12, 0xf17b).unwrap();
        assert_eq!(packet, sealed);
        let inbound = Inbound { rtp: rtp(), rtcp: rtp(), rtcp_replay: Vec::new() };
        let len = inbound.unprotect_rtp(&mut packet, 12, 0xf17b).unwrap();
        assert_eq!(packet[..len], plain);
    }

    fn pair(profile: Profile) -> (Keys, Keys) {
        let material: Vec<u8> = (0..profile.keying_len() as u8).collect();
        (
            Keys::from_dtls(profile, &material, true).unwrap(),
            Keys::from_dtls(profile, &material, false).unwrap(),
        )
    }

    #[test]
    fn both_profiles_carry_rtp_and_rtcp_and_refuse_changes() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
            let (mut client, mut server) = pair(profile);
            let mut rtp = vec![0x80, 96, 0, 7, 0, 0, 0, 1, 1, 2, 3, 4];
            rtp.extend_from_slice(b"payload of an RTP packet");
            let plain = rtp.clone();
            rtp.resize(rtp.len() + client.outbound.rtp_overhead(), 0);
            client.outbound.protect_rtp(&mut rtp, 12, 0x5_0007).unwrap();
            for at in 0..rtp.len() {
                let mut changed = rtp.clone();
                changed[at] ^= 1;
                assert!(
                    server.inbound.unprotect_rtp(&mut changed, 12, 0x5_0007).is_err(),
                    "{profile:?} {at}"
                );
            }
            assert!(
                server.inbound.unprotect_rtp(&mut rtp.clone(), 12, 0x6_0007).is_err(),
                "roll-over counter"
            );
            let len = server.inbound.unprotect_rtp(&mut rtp, 12, 0x5_0007).unwrap();
            assert_eq!(rtp[..len], plain);

            let mut rtcp = vec![0xFF, 0x80, 201, 0, 1, 1, 2, 3, 4];
            let plain = rtcp[1..].to_vec();
            client.outbound.protect_rtcp(&mut rtcp, 1).unwrap();
            let sealed = rtcp[1..].to_vec();
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(server.inbound.unprotect_rtcp(&mut changed).is_err(), "{profile:?} {at}");
            }
            assert_eq!(server.inbound.unprotect_rtcp(&mut sealed.clone()).unwrap(), plain);
            assert!(server.inbound.unprotect_rtcp(&mut sealed.clone()).is_err(), "replayed");

            // Another SSRC of the same client counts from zero again.
            client.outbound.rtcp_index = 0;
            let mut other = vec![0x80, 201, 0, 1, 5, 5, 5, 5];
            client.outbound.protect_rtcp(&mut other, 0).unwrap();
            assert!(server.inbound.unprotect_rtcp(&mut other).is_ok());
        }
    }

    #[test]
    fn short_packets_are_refused() {
        for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
            let (mut client, _) = pair(profile);
            for len in 0..40 {
                let mut packet = vec![0x80; len];
                assert!(client.inbound.unprotect_rtp(&mut packet, 12, 0).is_err());
                assert!(client.inbound.unprotect_rtcp(&mut packet).is_err());
                let mut out = vec![0x80; len];
                let _ = client.outbound.protect_rtp(&mut out, 12, 0);
                let _ = client.outbound.protect_rtcp(&mut out, 0);
            }
        }
    }
}
