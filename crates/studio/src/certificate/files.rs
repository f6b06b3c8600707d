//! A certificate of the streamer's own, from PEM files that another program keeps fresh.

use super::{Certificate, Shown};
use crate::watched::Stamp;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use x509_parser::pem::Pem;

/// Where the files are, and what to call this computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, this computer's own certificate first.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// What invite links call this computer; otherwise what the certificate does.
    pub name: Option<String>,
}

/// Why the files cannot be used, with what to do.
#[derive(Debug, Error)]
pub enum FilesError {
    #[error("{} cannot be read ({source}): check the path, and let the user that runs Greenroom read it", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} may be read or changed by others on this computer: run `chmod u=rw,g=r,o= {}`, and have a new key made if somebody else uses this computer", .0.display(), .0.display()
    )]
    Open(PathBuf),
    #[error(
        "{} holds no certificate: give a PEM file, this computer's own certificate first and then its authorities' (`fullchain.pem`)", .0.display()
    )]
    NoCertificate(PathBuf),
    #[error("{} holds no private key: give a PEM file with a line that says BEGIN PRIVATE KEY", .0.display())]
    NoKey(PathBuf),
    #[error("{} is locked with a password: give an unlocked key (`openssl pkey -in LOCKED -out UNLOCKED`)", .0.display())]
    Locked(PathBuf),
}

impl CertificateFiles {
    pub fn stamp(&self) -> Stamp {
        Stamp::of(&[&self.certificate, &self.key])
    }

    /// Both files as they are now. That the key belongs to the certificate is for TLS to say.
    pub fn read(&self) -> Result<(Certificate, Shown), FilesError> {
        let certificate_pem = text(&self.certificate)?;
        let shown =
            Shown::of(&certificate_pem).ok_or_else(|| FilesError::NoCertificate(self.certificate.clone()))?;
        let key_pem = self.read_key()?;
        Ok((Certificate { certificate_pem, key_pem }, shown))
    }

    fn read_key(&self) -> Result<String, FilesError> {
        let key = text(&self.key)?;
        let mode = fs::metadata(&self.key).map(|meta| meta.permissions().mode());
        if mode.map_err(|source| FilesError::Read { path: self.key.clone(), source })? & NOBODY_ELSES != 0 {
            return Err(FilesError::Open(self.key.clone()));
        }
        let labels = Pem::iter_from_buffer(key.as_bytes()).filter_map(Result::ok).map(|pem| pem.label);
        let labels: Vec<_> = labels.filter(|label| label.ends_with("PRIVATE KEY")).collect();
        match labels.first().map(String::as_str) {
            None => Err(FilesError::NoKey(self.key.clone())),
            Some("ENCRYPTED PRIVATE KEY") => Err(FilesError::Locked(self.key.clone())),
            Some(_) => Ok(key),
        }
    }
}

fn text(path: &Path) -> Result<String, FilesError> {
    let read = || -> io::Result<String> {
        let length = fs::metadata(path)?.len();
        if length > LONGEST {
            return Err(io::Error::other("far too large for a certificate or a key"));
        }
        Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
    };
    read().map_err(|source| FilesError::Read { path: path.into(), source })
}

/// Others may neither read nor write a key, a group not write it: Debian's `ssl-cert` lets a group of servers read.
const NOBODY_ELSES: u32 = 0o027;
/// A chain of ten certificates has 20 kB.
const LONGEST: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("greenroom-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    /// A leaf for these names, its authority, and the leaf's key.
    fn signed(names: &[&str]) -> (String, String, String) {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.distinguished_name.push(rcgen::DnType::CommonName, "An authority");
        let root = authority.self_signed(&authority_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
        (leaf.pem(), root.pem(), key.serialize_pem())
    }

    #[test]
    fn a_chain_and_its_key_are_read_with_what_they_say() {
        let folder = Folder::new("files-read");
        let (leaf, root, key) = signed(&["studio.example.com", "*.example.com", "192.0.2.7"]);
        let files = CertificateFiles {
            certificate: folder.write("fullchain.pem", &(leaf.clone() + &root), 0o644),
            key: folder.write("privkey.pem", &key, 0o640),
            name: None,
        };
        let (certificate, shown) = files.read().unwrap();
        assert_eq!(certificate.key_pem, key);
        assert_eq!(shown.names, ["studio.example.com", "*.example.com"]);
        assert!(!shown.is_self_signed && !shown.lacks_authority);

        folder.write("fullchain.pem", &leaf, 0o644);
        assert!(files.read().unwrap().1.lacks_authority);
        folder.write("fullchain.pem", &root, 0o644);
        assert!(files.read().unwrap().1.is_self_signed);
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_what_to_do() {
        let folder = Folder::new("files-refused");
        let (leaf, root, key) = signed(&["studio.example.com"]);
        let files = CertificateFiles {
            certificate: folder.write("chain.pem", &(leaf + &root), 0o644),
            key: folder.0.join("key.pem"),
            name: None,
        };
        let refused = |expected: &str| {
            let error = files.read().map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused("key.pem cannot be read (No such file or directory (os error 2)): check the path");
        folder.write("key.pem", &key, 0o644);
        refused("run `chmod u=rw,g=r,o= ");
        folder.write("key.pem", &key, 0o660);
        refused("may be read or changed by others");
        folder.write("key.pem", &root, 0o600);
        refused("holds no private key");
        folder.write(
            "key.pem",
            &key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE")
                .replace("END PRIVATE", "END ENCRYPTED PRIVATE"),
            0o600,
        );
        refused("locked with a password");
        folder.write("key.pem", &key, 0o600);
        folder.write("chain.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0o644);
        refused("holds no certificate");
        folder.write("chain.pem", &"x".repeat(LONGEST as usize + 1), 0o644);
        refused("far too large");
    }

    #[test]
    fn a_renewal_shows_whether_files_are_written_or_links_are_turned() {
        let folder = Folder::new("files-renewed");
        let target = |n: u32| folder.write(&format!("fullchain{n}.pem"), &format!("{n}"), 0o644);
        let (first, second) = (target(1), target(2));
        let link = folder.0.join("fullchain.pem");
        std::os::unix::fs::symlink(&first, &link).unwrap();
        let files = CertificateFiles {
            certificate: link.clone(),
            key: folder.write("privkey.pem", "", 0o600),
            name: None,
        };
        let before = files.stamp();
        assert_eq!(files.stamp(), before);
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(&second, &link).unwrap();
        let turned = files.stamp();
        assert_ne!(turned, before);
        folder.write("privkey.pem", "another", 0o600);
        assert_ne!(files.stamp(), turned);
    }
}
