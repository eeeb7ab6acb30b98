//! Reads a certificate file and its key, and says what clients will stumble over.

use std::path::Path;
use std::sync::Arc;
use weappd_base::language::pick;
use weappd_base::words;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use weappd_base::small_file;
use weappd_base::unix_time::UnixSecs;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::cert_chain;
use crate::cert_files::CertFiles;
use crate::cert_warning::{CertSeverity, CertWarning};
use crate::error::Error;
use crate::file_content::{self, FileContent, WantedFile};
use crate::pem::{self, PemBlock};

/// A certificate that can be served.
#[derive(Debug)]
pub struct LoadedCert {
    /// The chain and its key.
    pub key: Arc<CertifiedKey>,
    /// What clients will stumble over.
    pub warnings: Vec<CertWarning>,
}

/// Reads a certificate chain and its key, as `weappd check` and the edge do.
///
/// Errors are what cannot be served; the warnings are what WeChat and browsers refuse:
/// an expired certificate, a gap in the chain, a host it does not cover. What is wrong with
/// either file is told at once.
pub fn check_certificate(
    files: &CertFiles,
    hosts: &[String],
    now: UnixSecs,
) -> Result<Vec<CertWarning>, Vec<Error>> {
    match (read_certificates(&files.cert), read_key(&files.key)) {
        (Ok(blocks), Ok(key)) => match join(files, &blocks, key, hosts, now) {
            Ok(loaded) => Ok(loaded.warnings),
            Err(error) => Err(vec![error]),
        },
        (cert, key) => Err(cert.err().into_iter().chain(key.err()).collect()),
    }
}

/// Reads a certificate chain and its key to serve them; on error, the first that is wrong.
pub fn load(files: &CertFiles, hosts: &[String], now: UnixSecs) -> Result<LoadedCert, Error> {
    let blocks = read_certificates(&files.cert)?;
    let key = read_key(&files.key)?;
    join(files, &blocks, key, hosts, now)
}

/// Sorts a certificate's chain, and proves that the key is its own.
fn join(
    files: &CertFiles,
    blocks: &[PemBlock],
    key: Arc<dyn SigningKey>,
    hosts: &[String],
    now: UnixSecs,
) -> Result<LoadedCert, Error> {
    let is_leaf = |der: &[u8]| {
        CertifiedKey::new(vec![der.to_vec().into()], Arc::clone(&key))
            .keys_match()
            .is_ok()
    };
    let sorted = cert_chain::sort(&files.cert, blocks, is_leaf, now);
    let Some(chain) = sorted.map_err(|what| damaged(&files.cert, &what))? else {
        return Err(Error::Certificate {
            path: files.key.clone(),
            what: words!(
                "does not belong to the certificate in {}",
                "与 {} 里的证书不匹配",
                files.cert.display()
            ),
            hint: pick(
                "take the .key file that came with this .crt; after a renewal both change",
                "请用与这个 .crt 配套的 .key 文件；续期后两个文件都会变",
            )
            .to_owned(),
        });
    };
    let mut warnings = chain.warnings;
    warnings.extend(inspect(&files.cert, &chain.certs, hosts, now)?);
    Ok(LoadedCert {
        key: Arc::new(CertifiedKey::new(chain.certs, key)),
        warnings,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    small_file::read(path, small_file::MAX_BYTES).map_err(|source| Error::ReadFile {
        path: path.to_owned(),
        source,
    })
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Certificate {
        path: path.to_owned(),
        what: words!("is damaged: {what}", "已损坏：{what}"),
        hint: pick(
            "copy the file again, in text mode and as a whole",
            "请以文本方式重新复制整个文件",
        )
        .to_owned(),
    }
}

fn is_not(path: &Path, content: &FileContent, wanted: WantedFile, is_pem: bool) -> Error {
    let (what, hint) = file_content::complaint(content, wanted, path, is_pem);
    Error::Certificate {
        path: path.to_owned(),
        what,
        hint,
    }
}

/// The blocks of a file, of which there is one at least.
fn read_blocks(path: &Path, wanted: WantedFile) -> Result<Vec<PemBlock>, Error> {
    let bytes = read(path)?;
    let blocks = pem::blocks(&bytes).map_err(|faults| {
        let told = faults.iter().take(3);
        let told: Vec<_> = told
            .map(|fault| words!("line {}: {}", "第 {} 行：{}", fault.line, fault.what))
            .collect();
        damaged(path, &told.join("; "))
    })?;
    if blocks.is_empty() {
        return Err(is_not(path, &file_content::of_file(&bytes), wanted, false));
    }
    Ok(blocks)
}

fn read_certificates(path: &Path) -> Result<Vec<PemBlock>, Error> {
    let blocks = read_blocks(path, WantedFile::Certificate)?;
    let kinds: Vec<FileContent> = blocks.iter().map(file_content::of_block).collect();
    if !kinds.contains(&FileContent::Certificate) {
        let told = kinds.iter().find(|kind| **kind != FileContent::Unknown);
        let told = told.unwrap_or(&FileContent::Unknown);
        return Err(is_not(path, told, WantedFile::Certificate, true));
    }
    if kinds.contains(&FileContent::P7b) {
        // Beside certificates, one more of which may be in there.
        return Err(is_not(
            path,
            &FileContent::P7b,
            WantedFile::Certificate,
            true,
        ));
    }
    let both = blocks.into_iter().zip(kinds);
    Ok(both
        .filter(|(_, kind)| *kind == FileContent::Certificate)
        .map(|(block, _)| block)
        .collect())
}

fn read_key(path: &Path) -> Result<Arc<dyn SigningKey>, Error> {
    let blocks = read_blocks(path, WantedFile::Key)?;
    let kinds: Vec<FileContent> = blocks.iter().map(file_content::of_block).collect();
    let Some(block) = blocks
        .iter()
        .zip(&kinds)
        .find(|(_, kind)| **kind == FileContent::Key)
        .map(|(block, _)| block)
    else {
        let first =
            |kind: &&FileContent| !matches!(kind, FileContent::Unknown | FileContent::Certificate);
        let told = kinds.iter().find(first).or(kinds.first());
        let told = told.unwrap_or(&FileContent::Unknown);
        return Err(is_not(path, told, WantedFile::Key, true));
    };
    let der = block.der.clone();
    let der: PrivateKeyDer<'static> = match block.label.as_str() {
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der).into(),
        _ => PrivatePkcs8KeyDer::from(der).into(),
    };
    any_supported_type(&der).map_err(|_| Error::Certificate {
        path: path.to_owned(),
        what: pick(
            "holds a key of a kind that TLS does not use",
            "其中的私钥类型不能用于 TLS",
        )
        .to_owned(),
        hint: pick(
            "use an ECDSA P-256 or an RSA key of at least 2048 bits",
            "请用 ECDSA P-256 私钥，或至少 2048 位的 RSA 私钥",
        )
        .to_owned(),
    })
}

/// What clients will stumble over in the site's own certificate.
fn inspect(
    path: &Path,
    chain: &[CertificateDer<'static>],
    hosts: &[String],
    now: UnixSecs,
) -> Result<Vec<CertWarning>, Error> {
    let mut warnings = Vec::new();
    let mut warn = |what: String, hint: &str| {
        warnings.push(CertWarning {
            path: path.to_owned(),
            what,
            hint: hint.to_owned(),
            severity: CertSeverity::Warning,
        });
    };
    let Some(Ok((_, leaf))) = chain.first().map(|der| X509Certificate::from_der(der)) else {
        return Err(damaged(
            path,
            pick("its certificate cannot be read", "其中的证书无法读取"),
        ));
    };
    let validity = leaf.validity();
    let days = (validity.not_after.timestamp().saturating_sub(now.get())).div_euclid(86_400);
    if days < 0 {
        warn(
            words!("expired {} days ago", "已过期 {} 天", -days),
            pick(
                "renew it: WeChat and browsers refuse it",
                "请续期：微信和浏览器会拒绝它",
            ),
        );
    } else if days < 7 {
        warn(
            words!("expires in {days} days", "{days} 天后过期"),
            pick("renew it now", "请尽快续期"),
        );
    }
    if validity.not_before.timestamp() > now.get() {
        warn(
            pick("is not valid yet", "尚未生效").to_owned(),
            pick("is this machine's clock right?", "这台机器的时间准吗？"),
        );
    }
    let names = names_of(&leaf);
    for host in hosts.iter().filter(|host| *host != "*") {
        if !names.iter().any(|name| covers(name, host)) {
            let of = match names.as_slice() {
                [] => pick("it names no host at all", "它没有绑定任何域名").to_owned(),
                names => {
                    let shown: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
                    words!("it is for {}", "它绑定的是 {}", shown.join(", "))
                }
            };
            warn(
                words!("does not cover {host}: {of}", "不包含域名 {host}：{of}"),
                pick(
                    "order a certificate with this name, or take the name out of the site's `domain` or `aliases`",
                    "请申请一张包含这个域名的证书，或把这个域名从站点的 `domain` 或 `aliases` 里删掉",
                ),
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
