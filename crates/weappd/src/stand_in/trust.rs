//! The certificate of the stand-in: for WeChat's API by all its names, made on this machine,
//! believed only by programs that are told to.
//!
//! The authority that signs it may sign no other names, and its key is never written down:
//! it signs once and is forgotten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use weappd_certs::CertFiles;
use weappd_wechat::API_HOSTS;

use crate::exit::ExitFailure;

/// Where the stand-in's files are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StandInTrust {
    /// The folder of all of them.
    pub(crate) dir: PathBuf,
    /// Whom programs must trust.
    pub(crate) authority: PathBuf,
    /// The certificate and its key.
    pub(crate) cert: CertFiles,
}

/// Finds the files under `data_dir`, or makes all of them.
pub(crate) fn find_or_make(data_dir: &Path) -> Result<StandInTrust, ExitFailure> {
    let place = data_dir.join("wechat-https");
    // Apps have other working directories.
    let dir = std::path::absolute(&place).unwrap_or(place);
    let trust = StandInTrust {
        authority: dir.join("ca.pem"),
        cert: CertFiles {
            cert: dir.join("cert.pem"),
            key: dir.join("key.pem"),
        },
        dir,
    };
    let CertFiles { cert, key } = &trust.cert;
    if [&trust.authority, key].iter().all(|file| file.exists()) && is_whole(cert) {
        return Ok(trust);
    }
    make(&trust).map_err(|error| {
        ExitFailure::new(
            &TrustError(trust.dir.clone(), error),
            "make the data directory writable",
        )
    })?;
    Ok(trust)
}

/// The first line of the certificate's file: for whom it is.
fn heading() -> String {
    format!("For {}\n", API_HOSTS.join(", "))
}

/// Whether a certificate is there, for all names: one of an older weappd has fewer.
fn is_whole(cert: &Path) -> bool {
    fs::read_to_string(cert).is_ok_and(|text| text.starts_with(&heading()))
}

/// The authority's certificate is written last: without it everything is made anew.
fn make(trust: &StandInTrust) -> io::Result<()> {
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o700).create(&trust.dir)?;
    let (root, signer) = authority().map_err(io::Error::other)?;
    let (leaf, key) = signed(&signer, &API_HOSTS).map_err(io::Error::other)?;
    write(&trust.cert.key, 0o600, &key.serialize_pem())?;
    let chain = heading() + &leaf.pem() + &root.pem();
    write(&trust.cert.cert, 0o644, &chain)?;
    let unfinished = trust.dir.join("ca.pem.new");
    write(&unfinished, 0o644, &root.pem())?;
    fs::rename(unfinished, &trust.authority)
}

/// Writes a file anew, with nobody else's permissions.
pub(crate) fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())
}

/// An authority for WeChat's names and its key, which dies with the value.
fn authority() -> Result<(rcgen::Certificate, Issuer<'static, KeyPair>), rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = DistinguishedName::new();
    let name = "weappd (api.weixin.qq.com, this machine only)";
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: API_HOSTS
            .map(|name| GeneralSubtree::DnsName(name.to_owned()))
            .to_vec(),
        // A list of names says nothing of addresses: those are excluded one and all.
        excluded_subtrees: vec![
            GeneralSubtree::IpAddress(CidrSubnet::V4([0; 4], [0; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6([0; 16], [0; 16])),
        ],
    });
    let key = KeyPair::generate()?;
    let root = params.self_signed(&key)?;
    Ok((root, Issuer::new(params, key)))
}

fn signed(
    signer: &Issuer<'_, KeyPair>,
    names: &[&str],
) -> Result<(rcgen::Certificate, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new(
        names
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>(),
    )?;
    params.distinguished_name = DistinguishedName::new();
    let name = names.first().copied().unwrap_or_default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Strict clients want to be told who signed.
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, signer)?, key))
}

#[derive(Debug, thiserror::Error)]
#[error("the certificate for api.weixin.qq.com could not be made in {0}")]
struct TrustError(PathBuf, #[source] io::Error);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;

    #[test]
    fn it_is_made_once_and_only_the_leafs_key_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let trust = find_or_make(dir.path()).unwrap();
        let first = fs::read_to_string(&trust.authority).unwrap();
        assert_eq!(find_or_make(dir.path()).unwrap(), trust);
        assert_eq!(fs::read_to_string(&trust.authority).unwrap(), first);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&trust.dir), mode(&trust.cert.key)), (0o700, 0o600));
        let files = fs::read_dir(&trust.dir).unwrap().map(|file| {
            let path = file.unwrap().path();
            (fs::read_to_string(&path).unwrap(), path)
        });
        let files: Vec<_> = files.collect();
        assert_eq!(files.len(), 3, "{files:?}");
        let keys = files
            .iter()
            .filter(|(text, _)| text.contains("PRIVATE KEY"));
        let keys: Vec<_> = keys.map(|(_, path)| path.clone()).collect();
        assert_eq!(keys, std::slice::from_ref(&trust.cert.key));

        // Half a set is no set.
        fs::remove_file(&trust.cert.cert).unwrap();
        find_or_make(dir.path()).unwrap();
        assert_ne!(fs::read_to_string(&trust.authority).unwrap(), first);
        assert_eq!(mode(&trust.cert.key), 0o600);

        // Nor is one that an older weappd made, for fewer names.
        let (_, signer) = authority().unwrap();
        let (old, _) = signed(&signer, &API_HOSTS[..1]).unwrap();
        fs::write(&trust.cert.cert, old.pem()).unwrap();
        find_or_make(dir.path()).unwrap();
        assert!(is_whole(&trust.cert.cert));
    }

    /// Whether a client that trusts `root` takes `leaf` for `name`.
    fn is_taken(
        root: &rcgen::Certificate,
        leaf: &(rcgen::Certificate, KeyPair),
        name: &str,
    ) -> bool {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(leaf.1.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.0.der().clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name).unwrap();
        let mut wire = Vec::new();
        while client.is_handshaking() {
            wire.clear();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            let mut rest = wire.as_slice();
            while !rest.is_empty() {
                client.read_tls(&mut rest).unwrap();
                if client.process_new_packets().is_err() {
                    return false;
                }
            }
        }
        true
    }

    #[test]
    fn the_authority_is_believed_for_wechats_names_only() {
        let (root, signer) = authority().unwrap();
        let leaf = |name: &str| signed(&signer, &[name]).unwrap();
        let whole = signed(&signer, &API_HOSTS).unwrap();
        for name in API_HOSTS {
            assert!(is_taken(&root, &leaf(name), name), "{name}");
            assert!(is_taken(&root, &whole, name), "{name}");
        }
        for other in [
            "mp.weixin.qq.com",
            "api3.weixin.qq.com",
            "qq.com",
            "127.0.0.1",
        ] {
            assert!(!is_taken(&root, &leaf(other), other), "{other}");
        }
        let (stranger, _) = authority().unwrap();
        assert!(!is_taken(&stranger, &leaf(API_HOSTS[0]), API_HOSTS[0]));
    }
}
