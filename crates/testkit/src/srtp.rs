//! SRTP and SRTCP with AES-GCM from the client's side (RFC 3711, RFC 7714).

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use dimpl::SrtpProfile;

/// A client's session keys: what it sends with, and what it reads with.
pub struct Keys {
    rtp_out: Cipher,
    rtp_in: Cipher,
    rtcp_out: Cipher,
    rtcp_index: u32,
}

struct Cipher {
    key: LessSafeKey,
    salt: [u8; SALT],
}

impl Keys {
    /// Splits what DTLS exported (RFC 5764 §4.2): client key, server key, client salt, server salt.
    pub fn from_dtls(profile: SrtpProfile, material: &[u8]) -> Result<Self> {
        let key_len = match profile {
            SrtpProfile::AEAD_AES_128_GCM => 16,
            SrtpProfile::AEAD_AES_256_GCM => 32,
            other => bail!("the server chose {other}; the load generator speaks AES-GCM"),
        };
        ensure!(material.len() == 2 * (key_len + SALT), "a strange length of keys");
        let (keys, salts) = material.split_at(2 * key_len);
        let (client, server) = ((&keys[..key_len], &salts[..SALT]), (&keys[key_len..], &salts[SALT..]));
        Ok(Self {
            rtp_out: Cipher::derive(client, 0)?,
            rtp_in: Cipher::derive(server, 0)?,
            rtcp_out: Cipher::derive(client, 3)?,
            rtcp_index: 0,
        })
    }

    /// Encrypts everything of `packet` after the header and appends the tag. `index` is the extended number.
    pub fn seal(&self, packet: &mut Vec<u8>, header_len: usize, index: u64) -> Result<()> {
        let nonce = self.rtp_out.rtp_nonce(ssrc_of(packet, 8)?, index);
        let (header, payload) = packet.split_at_mut(header_len);
        let sealed = self.rtp_out.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
        packet.extend_from_slice(sealed.ok().context("cannot encrypt")?.as_ref());
        Ok(())
    }

    /// Checks and decrypts in place; the payload's length.
    pub fn open(&self, packet: &mut [u8], header_len: usize, index: u64) -> Option<usize> {
        let nonce = self.rtp_in.rtp_nonce(ssrc_of(packet, 8).ok()?, index);
        let (header, payload) = packet.split_at_mut_checked(header_len)?;
        let plain = self.rtp_in.key.open_in_place(nonce, Aad::from(&*header), payload).ok()?;
        Some(plain.len())
    }

    /// Encrypts a compound RTCP packet.
    pub fn seal_rtcp(&mut self, mut packet: Vec<u8>) -> Result<Vec<u8>> {
        let ssrc = ssrc_of(&packet, 4)?;
        let trailer = (self.rtcp_index | 1 << 31).to_be_bytes();
        let mut nonce = self.rtcp_out.salt;
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[8..12], &self.rtcp_index.to_be_bytes());
        self.rtcp_index += 1;
        let (header, payload) = packet.split_at_mut(8);
        let mut aad = [0; 12];
        aad[..8].copy_from_slice(header);
        aad[8..].copy_from_slice(&trailer);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let sealed = self.rtcp_out.key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload);
        packet.extend_from_slice(sealed.ok().context("cannot encrypt")?.as_ref());
        packet.extend_from_slice(&trailer);
        Ok(packet)
    }
}

impl Cipher {
    /// Session key and salt for `label` and `label + 2` (RFC 3711 §4.3.2, RFC 7714 §11).
    fn derive((master, salt): (&[u8], &[u8]), label: u8) -> Result<Self> {
        let (counter, algorithm) =
            if master.len() == 16 { (&AES_128, &AES_128_GCM) } else { (&AES_256, &AES_256_GCM) };
        let prf = EncryptingKey::ctr(UnboundCipherKey::new(counter, master)?)?;
        let derive = |label: u8, out: &mut [u8]| {
            let mut iv = [0; 16];
            iv[..SALT].copy_from_slice(salt);
            iv[7] ^= label;
            prf.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv))).map(|_| ())
        };
        let mut key = vec![0; master.len()];
        derive(label, &mut key)?;
        let mut session_salt = [0; SALT];
        derive(label + 2, &mut session_salt)?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::new(algorithm, &key)?), salt: session_salt })
    }

    /// RFC 7714 §8.1.
    fn rtp_nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = self.salt;
        xor(&mut nonce[2..6], &ssrc.to_be_bytes());
        xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
        Nonce::assume_unique_for_key(nonce)
    }
}

fn ssrc_of(packet: &[u8], at: usize) -> Result<u32> {
    let bytes = packet.get(at..at + 4).context("too short")?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn xor(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(octet, other)| *octet ^= other);
}

const SALT: usize = 12;
/// What GCM adds to a packet.
pub const TAG: usize = 16;
