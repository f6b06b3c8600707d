//! The certificate of the LAN listener: made here, self-signed, kept, and made anew before it expires, unless the
//! streamer has [`files`] of a better one.
//!
//! Browsers warn about ours once; `getUserMedia` needs HTTPS on every address but loopback.

mod files;

pub use files::{CertificateFiles, FilesError};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

/// A certificate chain and its key, PEM.
#[derive(Clone)]
pub struct Certificate {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Host names, as they stand there; addresses are not among them.
    pub names: Vec<String>,
    pub expires: SystemTime,
    /// Browsers warn about it: nobody they trust vouches for it.
    pub is_self_signed: bool,
    /// Somebody does, but who that is is missing behind it. Some browsers know or find out, others warn.
    pub lacks_authority: bool,
}

impl Shown {
    /// Of the first certificate of a PEM chain, if that is one.
    pub fn of(pem: &str) -> Option<Self> {
        let mut chain = Pem::iter_from_buffer(pem.as_bytes());
        let first = chain.next()?.ok()?;
        let leaf = first.parse_x509().ok()?;
        let names = leaf.subject_alternative_name().ok().flatten();
        let names = names.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let expires = u64::try_from(leaf.validity().not_after.timestamp()).unwrap_or_default();
        let is_self_signed = leaf.issuer() == leaf.subject();
        Some(Self {
            names: names.collect(),
            expires: SystemTime::UNIX_EPOCH + Duration::from_secs(expires),
            is_self_signed,
            lacks_authority: !is_self_signed && chain.next().is_none(),
        })
    }
}

#[derive(Debug, Error)]
pub enum CertificateError {
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    #[error("cannot keep the certificate in the data folder: {0}")]
    Keep(#[from] io::Error),
}

/// The kept certificate, or a new one when there is none, when it is old, or when the machine's addresses changed.
pub fn load_or_make(
    data_dir: &Path,
    addresses: &[IpAddr],
    now: SystemTime,
) -> Result<Certificate, CertificateError> {
    let paths = [data_dir.join("lan.crt.pem"), data_dir.join("lan.key.pem"), data_dir.join("lan.addresses")];
    let names = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join("\n");
    let young = fs::metadata(&paths[0])
        .and_then(|meta| meta.modified())
        .is_ok_and(|made| now.duration_since(made).unwrap_or_default() < RENEW_AFTER);
    if young
        && fs::read_to_string(&paths[2]).is_ok_and(|kept| kept == names)
        && let (Ok(certificate_pem), Ok(key_pem)) =
            (fs::read_to_string(&paths[0]), fs::read_to_string(&paths[1]))
    {
        return Ok(Certificate { certificate_pem, key_pem });
    }
    let made = make(addresses, now)?;
    write_private(&paths[1], &made.key_pem)?;
    write_private(&paths[0], &made.certificate_pem)?;
    write_private(&paths[2], &names)?;
    Ok(made)
}

fn make(addresses: &[IpAddr], now: SystemTime) -> Result<Certificate, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "greenroom.local".to_owned()])?;
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "Greenroom on this network");
    params.distinguished_name = name;
    // A day of slack for guests whose clocks are behind.
    params.not_before = (now - Duration::from_secs(86_400)).into();
    params.not_after = (now + LIFETIME).into();
    let certificate = params.self_signed(&key)?;
    Ok(Certificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Apple's limit for certificates that users trust by hand is 825 days; 397 is what public ones may have.
const LIFETIME: Duration = Duration::from_secs(397 * 86_400);
const RENEW_AFTER: Duration = Duration::from_secs(300 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_is_kept_until_an_address_changes_or_it_grows_old() {
        let dir = std::env::temp_dir().join(format!("greenroom-certificate-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let here = [IpAddr::from([192, 0, 2, 7])];
        let elsewhere = [IpAddr::from([192, 0, 2, 8])];
        let now = SystemTime::now();
        let pem = |addresses: &[IpAddr], at| load_or_make(&dir, addresses, at).unwrap().certificate_pem;
        let first = pem(&here, now);
        assert_eq!(first, pem(&here, now));
        let moved = pem(&elsewhere, now);
        assert_ne!(first, moved);
        assert_ne!(moved, pem(&elsewhere, now + RENEW_AFTER * 2));
        let shown = Shown::of(&first).unwrap();
        assert!(shown.is_self_signed && shown.names == ["localhost", "greenroom.local"]);
        let lifetime = shown.expires.duration_since(now).unwrap();
        assert!(lifetime <= LIFETIME && lifetime > LIFETIME - Duration::from_secs(2), "{lifetime:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
