//! The certificate of `weappd dev`: made on first run, for loopback names only.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use weappd_certs::CertFiles;

use crate::exit::ExitFailure;

/// Finds the development certificate under `data_dir`, or makes it.
pub(crate) fn find_or_make(data_dir: &Path) -> Result<CertFiles, ExitFailure> {
    let files = CertFiles {
        cert: data_dir.join("dev-cert.pem"),
        key: data_dir.join("dev-key.pem"),
    };
    if files.cert.exists() && files.key.exists() {
        return Ok(files);
    }
    make(&files).map_err(|error| {
        ExitFailure::new(
            &DevCertError(files.cert.display().to_string(), error),
            "make the data directory writable, or give --data-dir another one",
        )
    })?;
    Ok(files)
}

fn make(files: &CertFiles) -> io::Result<()> {
    let mut params =
        CertificateParams::new(vec!["localhost".to_owned()]).map_err(io::Error::other)?;
    params.subject_alt_names.extend([
        SanType::IpAddress([127, 0, 0, 1].into()),
        SanType::IpAddress(std::net::Ipv6Addr::LOCALHOST.into()),
    ]);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "weappd dev (this machine only)");
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let cert = params.self_signed(&key).map_err(io::Error::other)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&files.key)?;
    file.write_all(key.serialize_pem().as_bytes())?;
    fs::write(&files.cert, cert.pem())
}

#[derive(Debug, thiserror::Error)]
#[error("the development certificate {0} could not be made")]
struct DevCertError(String, #[source] io::Error);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_made_once_and_the_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let files = find_or_make(dir.path()).unwrap();
        let first = fs::read(&files.cert).unwrap();
        assert_eq!(find_or_make(dir.path()).unwrap(), files);
        assert_eq!(fs::read(&files.cert).unwrap(), first);
        let mode = fs::metadata(&files.key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
