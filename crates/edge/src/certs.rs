//! Certificate files as vendors issue them, and which of them answers a name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::Error;
use crate::site::CertFiles;
use crate::tls_stream::note_sni;

/// Something about a certificate that clients will stumble over, though it can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertWarning {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub hint: &'static str,
}

/// A certificate that can be served.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) key: Arc<CertifiedKey>,
    pub(crate) warnings: Vec<CertWarning>,
}

/// Reads a certificate chain and its key, as `weappd check` and the edge do.
///
/// Errors are what cannot be served; the warnings are what WeChat and browsers refuse:
/// an expired certificate, a missing intermediate one, a host it does not cover.
pub fn check_certificate(
    files: &CertFiles,
    hosts: &[String],
    unix_secs: i64,
) -> Result<Vec<CertWarning>, Error> {
    load(files, hosts, unix_secs).map(|loaded| loaded.warnings)
}

pub(crate) fn load(files: &CertFiles, hosts: &[String], unix_secs: i64) -> Result<Loaded, Error> {
    let mut chain = read_chain(&files.cert)?;
    let der = read_key(&files.key)?;
    let key = any_supported_type(&der).map_err(|_| Error::Certificate {
        path: files.key.clone(),
        what: "holds a key of a kind that TLS does not use".to_owned(),
        hint: "use an ECDSA P-256 or an RSA key of at least 2048 bits",
    })?;
    let is_leaf = |cert: &CertificateDer<'static>| {
        CertifiedKey::new(vec![cert.clone()], Arc::clone(&key))
            .keys_match()
            .is_ok()
    };
    let Some(at) = chain.iter().position(is_leaf) else {
        return Err(Error::Certificate {
            path: files.key.clone(),
            what: format!(
                "does not belong to the certificate in {}",
                files.cert.display()
            ),
            hint: "take the .key file that came with this .crt; after a renewal both change",
        });
    };
    // Some vendors put the root first; clients want the site's own certificate there.
    chain.swap(0, at);
    let warnings = inspect(&files.cert, &chain, hosts, unix_secs)?;
    Ok(Loaded {
        key: Arc::new(CertifiedKey::new(chain, key)),
        warnings,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::ReadFile {
        path: path.to_owned(),
        source,
    })?;
    // Windows editors put a byte-order mark before the first line.
    Ok(bytes
        .strip_prefix(b"\xEF\xBB\xBF")
        .map(<[u8]>::to_vec)
        .unwrap_or(bytes))
}

fn wrong(path: &Path, what: &str, hint: &'static str) -> Error {
    Error::Certificate {
        path: path.to_owned(),
        what: what.to_owned(),
        hint,
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Err(_) => Err(wrong(
            path,
            "is damaged: a PEM block does not decode",
            "copy the file again, in text mode and as a whole",
        )),
        Ok(_) if bytes.first() == Some(&0x30) => Err(wrong(
            path,
            "is a certificate in binary form (DER), not text (PEM)",
            "convert it: openssl x509 -inform der -in FILE -out FILE.pem",
        )),
        Ok(_) if contains(&bytes, b"PRIVATE KEY-----") => Err(wrong(
            path,
            "holds a private key and no certificate",
            "were cert and key exchanged?",
        )),
        Ok(_) => Err(wrong(
            path,
            "holds no certificate",
            "it should hold lines between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----",
        )),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let bytes = read(path)?;
    if contains(&bytes, b"BEGIN ENCRYPTED PRIVATE KEY") || contains(&bytes, b"4,ENCRYPTED") {
        return Err(wrong(
            path,
            "is encrypted with a pass phrase",
            "decrypt it: openssl pkey -in FILE -out FILE.open, and let only weappd's user read it",
        ));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        if bytes.first() == Some(&0x30) {
            wrong(
                path,
                "is a key in binary form (DER), not text (PEM)",
                "convert it: openssl pkey -inform der -in FILE -out FILE.pem",
            )
        } else if contains(&bytes, b"BEGIN CERTIFICATE") {
            wrong(
                path,
                "holds a certificate and no private key",
                "were cert and key exchanged?",
            )
        } else {
            wrong(
                path,
                "holds no private key",
                "it should hold lines between -----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----",
            )
        }
    })
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// What clients will stumble over.
fn inspect(
    path: &Path,
    chain: &[CertificateDer<'static>],
    hosts: &[String],
    unix_secs: i64,
) -> Result<Vec<CertWarning>, Error> {
    let mut warnings = Vec::new();
    let mut warn = |what: String, hint| {
        warnings.push(CertWarning {
            path: path.to_owned(),
            what,
            hint,
        });
    };
    let Some(Ok((_, leaf))) = chain.first().map(|der| X509Certificate::from_der(der)) else {
        return Err(wrong(
            path,
            "holds a certificate that cannot be read",
            "ask the vendor for the nginx form of the certificate",
        ));
    };
    let validity = leaf.validity();
    let days = (validity.not_after.timestamp() - unix_secs).div_euclid(86_400);
    if days < 0 {
        warn(
            format!("expired {} days ago", -days),
            "renew it: WeChat and browsers refuse it",
        );
    } else if days < 7 {
        warn(format!("expires in {days} days"), "renew it now");
    }
    if validity.not_before.timestamp() > unix_secs {
        warn(
            "is not valid yet".to_owned(),
            "is this machine's clock right?",
        );
    }
    if chain.len() == 1 && leaf.issuer() != leaf.subject() {
        warn(
            "holds the site's certificate alone, without the intermediate one".to_owned(),
            "use the bundle of the vendor (1_..._bundle.crt): phones do not fetch what is missing",
        );
    }
    let names = names_of(&leaf);
    for host in hosts.iter().filter(|host| *host != "*") {
        if !names.iter().any(|name| covers(name, host)) {
            warn(
                format!("does not cover {host}"),
                "order a certificate with this name, or take the name out of the site's hosts",
            );
        }
    }
    Ok(warnings)
}

fn names_of(leaf: &X509Certificate<'_>) -> Vec<String> {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for name in &names.value.general_names {
        match name {
            GeneralName::DNSName(name) => all.push(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                    all.push(std::net::Ipv4Addr::from(v4).to_string());
                } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                    all.push(std::net::Ipv6Addr::from(v6).to_string());
                }
            }
            _ => {}
        }
    }
    all
}

/// Whether a certificate's name stands for `host`; `*` stands for one label.
fn covers(name: &str, host: &str) -> bool {
    if name == host {
        return true;
    }
    match (name.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((_, parent))) => rest == parent,
        _ => false,
    }
}

/// Which certificate answers which name. Replaced as a whole by a reload.
#[derive(Debug, Default)]
pub(crate) struct CertTable {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows `*.`.
    wild: HashMap<String, Arc<CertifiedKey>>,
    /// For clients that name no host, or one that no site has: the first site's.
    first: Option<Arc<CertifiedKey>>,
}

impl CertTable {
    pub(crate) fn add(&mut self, host: &str, key: &Arc<CertifiedKey>) {
        if self.first.is_none() {
            self.first = Some(Arc::clone(key));
        }
        let key = Arc::clone(key);
        if let Some(parent) = host.strip_prefix("*.") {
            drop(self.wild.insert(parent.to_owned(), key));
        } else {
            drop(self.exact.insert(host.to_owned(), key));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The certificate for a name (lower case), or the first site's.
    pub(crate) fn find(&self, host: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        host.and_then(|host| {
            self.exact
                .get(host)
                .or_else(|| self.wild.get(host.split_once('.')?.1))
        })
        .or(self.first.as_ref())
    }
}

/// Answers the TLS library's question for a certificate.
#[derive(Debug, Default)]
pub(crate) struct Resolver(pub(crate) ArcSwap<CertTable>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        note_sni(hello.server_name());
        self.0.load().find(hello.server_name()).map(Arc::clone)
    }
}
