//! The client's side of DTLS-SRTP: a handshake that ends in keys (RFC 5764).

use crate::srtp::Keys;
use anyhow::{Context, Result, bail, ensure};
use dimpl::certificate::{calculate_fingerprint, format_fingerprint, generate_self_signed_certificate};
use dimpl::{Config, Dtls, DtlsCertificate, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One certificate for all clients of a run.
pub struct Identity {
    certificate: DtlsCertificate,
    config: Arc<Config>,
}

impl Identity {
    pub fn generate() -> Result<Self> {
        let certificate = generate_self_signed_certificate().ok().context("cannot make a certificate")?;
        let config = Config::builder().flight_start_rto(Duration::from_millis(200)).build()?;
        Ok(Self { certificate, config: Arc::new(config) })
    }

    /// SHA-256, upper-case hexadecimal pairs joined by colons (RFC 8122).
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint_str()
    }
}

/// One association, until it has its keys.
pub struct DtlsClient {
    dtls: Dtls,
    expected: String,
    verified: bool,
    buffer: Vec<u8>,
}

/// What the association wants done.
pub enum Step {
    Send(Vec<u8>),
    Connected(Box<Keys>),
    Wait,
}

impl DtlsClient {
    /// `expected` is the server's SHA-256 fingerprint as signaling told it.
    pub fn new(identity: &Identity, expected: &str, now: Instant) -> Result<Self> {
        let mut dtls = Dtls::new_12(identity.config.clone(), identity.certificate.clone(), now);
        dtls.set_active(true);
        dtls.handle_timeout(now)?;
        Ok(Self { dtls, expected: expected.to_uppercase(), verified: false, buffer: vec![0; 4096] })
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Result<()> {
        self.dtls.handle_timeout(now)?;
        Ok(self.dtls.handle_packet(datagram)?)
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Result<()> {
        Ok(self.dtls.handle_timeout(now)?)
    }

    pub fn poll(&mut self) -> Result<Step> {
        loop {
            match self.dtls.poll_output(&mut self.buffer) {
                Output::Packet(datagram) => return Ok(Step::Send(datagram.to_vec())),
                Output::BufferTooSmall { needed } => self.buffer.resize(needed, 0),
                Output::PeerCert(der) => {
                    let theirs = format_fingerprint(&calculate_fingerprint(der));
                    ensure!(theirs == self.expected, "the server's certificate is not the one announced");
                    self.verified = true;
                }
                Output::KeyingMaterial(material, profile) => {
                    ensure!(self.verified, "keys before the server's certificate");
                    return Ok(Step::Connected(Box::new(Keys::from_dtls(profile, &material)?)));
                }
                Output::CloseNotify => bail!("the server ended DTLS"),
                Output::Timeout(_) => return Ok(Step::Wait),
                _ => {}
            }
        }
    }
}
