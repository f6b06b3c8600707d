//! Our certificate, and the mark by which signaling announces the peer's.

use super::Role;
use super::association::PEER;
use crate::error::Error;
use aws_lc_rs::{constant_time, digest};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::{Certificate as DtlsCertificate, CryptoPrivateKey};
use rtc_dtls::crypto_provider::{RTCCryptoProvider, default_provider};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use std::sync::Arc;
use std::time::Duration;
use wire::ortc::DtlsFingerprint;

/// Our certificate, shared by every transport of a worker.
pub struct Certificate {
    pub(super) server: Arc<HandshakeConfig>,
    /// For clients that offer AES-GCM: takes nothing else.
    pub(super) gcm_server: Arc<HandshakeConfig>,
    pub(super) client: Arc<HandshakeConfig>,
    pub(super) provider: Arc<dyn RTCCryptoProvider>,
    fingerprint: DtlsFingerprint,
}

impl Certificate {
    /// A fresh self-signed ECDSA P-256 certificate. Keys come from the operating system, not from the seed.
    pub fn generate() -> Result<Self, Error> {
        Self::generate_for(&ALL_PROFILES)
    }

    fn generate_for(profiles: &[SrtpProtectionProfile]) -> Result<Self, Error> {
        let failed = |e: &dyn std::fmt::Display| Error::Crypto(e.to_string());
        let provider = default_provider().map_err(|e| failed(&e))?;
        let key = rcgen::KeyPair::generate().map_err(|e| failed(&e))?;
        let mut params = rcgen::CertificateParams::new([]).map_err(|e| failed(&e))?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key).map_err(|e| failed(&e))?;
        let private_key = CryptoPrivateKey::from_key_pair(&key, provider.crypto()).map_err(|e| failed(&e))?;
        let value = hex_pairs(digest::digest(&digest::SHA256, certificate.der()).as_ref());
        let own = DtlsCertificate { certificate: vec![certificate.der().clone()], private_key };
        Ok(Self {
            server: Arc::new(handshake_config(&own, provider.clone(), Role::Server, profiles)?),
            gcm_server: Arc::new(handshake_config(&own, provider.clone(), Role::Server, &profiles[..1])?),
            client: Arc::new(handshake_config(&own, provider.clone(), Role::Client, profiles)?),
            provider,
            fingerprint: DtlsFingerprint { algorithm: "sha-256".into(), value },
        })
    }

    /// Of a client without AES-GCM.
    #[cfg(test)]
    pub fn generate_without_gcm() -> Self {
        Self::generate_for(&ALL_PROFILES[1..]).expect("a certificate")
    }

    pub fn fingerprint(&self) -> &DtlsFingerprint {
        &self.fingerprint
    }
}

fn handshake_config(
    own: &DtlsCertificate,
    provider: Arc<dyn RTCCryptoProvider>,
    role: Role,
    profiles: &[SrtpProtectionProfile],
) -> Result<HandshakeConfig, Error> {
    ConfigBuilder::default()
        .with_crypto_provider(provider)
        .with_certificates(vec![own.clone()])
        .with_srtp_protection_profiles(profiles.to_vec())
        // Certificates are checked against the signaled fingerprint, not against an authority (RFC 8827 §6.5).
        .with_client_auth(ClientAuthType::RequireAnyClientCert)
        .with_insecure_skip_verify(true)
        .with_extended_master_secret(ExtendedMasterSecretType::Require)
        .with_flight_interval(FLIGHT_INTERVAL)
        .with_replay_protection_window(256)
        .build(role == Role::Client, Some(PEER))
        .map_err(|e| Error::Crypto(e.to_string()))
}

/// The peer's certificate as signaling announced it (RFC 8122 §5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    algorithm: FingerprintAlgorithm,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FingerprintAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl FingerprintAlgorithm {
    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl Fingerprint {
    /// `None` for an algorithm we do not accept; an error for a value that is not what its algorithm says.
    pub(super) fn parse(fingerprint: &DtlsFingerprint) -> Result<Option<Self>, Error> {
        let algorithm = match fingerprint.algorithm.to_ascii_lowercase().as_str() {
            "sha-256" => FingerprintAlgorithm::Sha256,
            "sha-384" => FingerprintAlgorithm::Sha384,
            "sha-512" => FingerprintAlgorithm::Sha512,
            _ => return Ok(None),
        };
        let pairs = fingerprint.value.split(':').map(|pair| match pair.len() {
            2 => u8::from_str_radix(pair, 16).ok(),
            _ => None,
        });
        match pairs.collect::<Option<Vec<u8>>>() {
            Some(value) if value.len() == algorithm.digest().output_len() => {
                Ok(Some(Self { algorithm, value }))
            }
            _ => Err(Error::invalid("a DTLS fingerprint is not the hexadecimal digest its algorithm makes")),
        }
    }

    pub(super) fn matches(&self, certificate: &[u8]) -> bool {
        let digest = digest::digest(self.algorithm.digest(), certificate);
        constant_time::verify_slices_are_equal(digest.as_ref(), &self.value).is_ok()
    }
}

pub(super) fn hex_pairs(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02X}")).collect::<Vec<_>>().join(":")
}

/// Best first.
pub(super) const ALL_PROFILES: [SrtpProtectionProfile; 2] =
    [SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm, SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80];
/// Never: flights are repeated by [`super::Dtls`].
const FLIGHT_INTERVAL: Duration = Duration::from_secs(1 << 20);
