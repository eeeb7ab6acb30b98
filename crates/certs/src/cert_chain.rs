//! A site's certificate and those that lead from it to a root that phones know.
//!
//! Phones fetch nothing that is missing (PC browsers and the developer tools often do), so
//! each certificate must have been signed by the next one, and the last one by a root.

use std::path::Path;
use weappd_base::language::pick;
use weappd_base::words;

use rustls_pki_types::CertificateDer;
use weappd_base::unix_time::UnixSecs;
use x509_parser::error::X509Error;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use crate::cert_warning::{CertSeverity, CertWarning};
use crate::file_content::quoted;
use crate::pem::PemBlock;

/// Roots that phones know and Mozilla has dropped.
const DROPPED_ROOTS: [&str; 10] = [
    "AAA Certificate Services",
    "Baltimore CyberTrust Root",
    "Certum CA",
    "DigiCert Assured ID Root CA",
    "DigiCert Global Root CA",
    "DigiCert High Assurance EV Root CA",
    "Entrust Root Certification Authority - G2",
    "GTS Root R2",
    "GlobalSign Root CA",
    "SecureTrust CA",
];

/// A certificate of a file, read.
struct ChainLink<'a> {
    cert: X509Certificate<'a>,
    der: &'a [u8],
    /// The line it begins in.
    line: usize,
}

/// What to send, and what phones will stumble over.
pub(crate) struct CertChain {
    pub(crate) certs: Vec<CertificateDer<'static>>,
    pub(crate) warnings: Vec<CertWarning>,
}

/// Sorts the certificates of `path`, of which `is_leaf` knows the site's own. `None` if
/// there is none; on error, what cannot be read.
pub(crate) fn sort(
    path: &Path,
    blocks: &[PemBlock],
    is_leaf: impl Fn(&[u8]) -> bool,
    now: UnixSecs,
) -> Result<Option<CertChain>, String> {
    let mut notes = Vec::new();
    let links = read(blocks, &mut notes)?;
    let own: Vec<usize> = (0..links.len())
        .filter(|at| links.get(*at).is_some_and(|link| is_leaf(link.der)))
        .collect();
    let is_valid = |at: &&usize| links.get(**at).is_some_and(|link| is_valid(link, now));
    let Some(leaf) = own.iter().find(is_valid).or(own.first()) else {
        return Ok(None);
    };
    let mut sorter = ChainSorter {
        path,
        used: vec![false; links.len()],
        links,
        sorted: Vec::new(),
        warnings: notes.into_iter().map(|what| note(path, what)).collect(),
    };
    sorter.take(*leaf);
    sorter.follow();
    sorter.look_at_rest();
    sorter.look_at_dates(now);
    let certs = sorter.sorted.iter().filter_map(|at| sorter.links.get(*at));
    Ok(Some(CertChain {
        certs: certs
            .map(|link| CertificateDer::from(link.der.to_vec()))
            .collect(),
        warnings: sorter.warnings,
    }))
}

/// Reads every certificate; one that stands there again is noted and left out.
fn read<'a>(blocks: &'a [PemBlock], notes: &mut Vec<String>) -> Result<Vec<ChainLink<'a>>, String> {
    let mut links: Vec<ChainLink<'a>> = Vec::new();
    for block in blocks {
        let der = block.der.as_slice();
        let Ok((_, cert)) = X509Certificate::from_der(der) else {
            return Err(match length(der) {
                Some(length) if length > der.len() => words!(
                    "the certificate in line {} is cut off: it has {} of {length} bytes",
                    "第 {} 行的证书不完整：只有 {} 字节，应有 {length} 字节",
                    block.line,
                    der.len()
                ),
                _ => words!(
                    "the certificate in line {} cannot be read",
                    "第 {} 行的证书无法读取",
                    block.line
                ),
            });
        };
        // What OpenSSL appends to a TRUSTED CERTIFICATE is no part of it.
        let der = der.get(..length(der).unwrap_or(der.len())).unwrap_or(der);
        if let Some(first) = links.iter().find(|link| link.der == der) {
            notes.push(words!(
                "holds the certificate of line {} again in line {}: it is sent once",
                "第 {} 行的证书在第 {} 行又出现了一次：只会发送一次",
                first.line,
                block.line
            ));
            continue;
        }
        let line = block.line;
        links.push(ChainLink { cert, der, line });
    }
    Ok(links)
}

/// The bytes that a DER element says it has.
fn length(der: &[u8]) -> Option<usize> {
    let first = usize::from(*der.get(1)?);
    if first < 0x80 {
        return Some(first + 2);
    }
    let count = first & 0x7F;
    if !(1..=4).contains(&count) {
        return None;
    }
    let digits = der.get(2..2 + count)?;
    let length = digits.iter().fold(0, |all, b| all << 8 | usize::from(*b));
    Some(length + 2 + count)
}

struct ChainSorter<'a> {
    path: &'a Path,
    links: Vec<ChainLink<'a>>,
    used: Vec<bool>,
    /// From the site's own certificate on.
    sorted: Vec<usize>,
    warnings: Vec<CertWarning>,
}

impl ChainSorter<'_> {
    fn take(&mut self, at: usize) {
        self.sorted.push(at);
        if let Some(used) = self.used.get_mut(at) {
            *used = true;
        }
    }

    fn warn(&mut self, what: String, hint: String) {
        self.warnings.push(CertWarning {
            path: self.path.to_owned(),
            what,
            hint,
            severity: CertSeverity::Warning,
        });
    }

    /// Goes from each certificate to the one that signed it.
    fn follow(&mut self) {
        while let Some(last) = self.sorted.last().and_then(|at| self.links.get(*at)) {
            if is_self_signed(&last.cert) {
                return self.end_at_root();
            }
            let unused = |at: &usize| self.used.get(*at) == Some(&false);
            let named = |at: &usize| {
                let link = self.links.get(*at);
                link.is_some_and(|link| link.cert.subject() == last.cert.issuer())
            };
            let signers: Vec<usize> = (0..self.links.len()).filter(unused).filter(named).collect();
            let signed_by = |at: &&usize| {
                let link = self.links.get(**at);
                link.is_some_and(|link| is_signed_by(&last.cert, &link.cert))
            };
            let is_crossed = |at: &&usize| {
                let link = self.links.get(**at);
                link.is_some_and(|link| !is_self_signed(&link.cert))
            };
            // The longer way leads to an older root, which more phones know.
            let good: Vec<usize> = signers.iter().filter(signed_by).copied().collect();
            match good.iter().find(is_crossed).or(good.first()) {
                Some(next) => {
                    let next = *next;
                    self.look_at_signer(next);
                    self.take(next);
                }
                None => return self.end_without_root(signers.first().copied()),
            }
        }
    }

    fn look_at_signer(&mut self, at: usize) {
        let Some(link) = self.links.get(at) else {
            return;
        };
        if !link.cert.is_ca() {
            let what = words!(
                "has {} in line {} as the issuer of another certificate, which it may not be",
                "其中的 {}（第 {} 行）签发了另一张证书，但它不是 CA 证书，无权签发",
                title(link.cert.subject()),
                link.line
            );
            self.warn(what, bundle_hint().to_owned());
        }
    }

    /// The last certificate is its own issuer.
    fn end_at_root(&mut self) {
        let Some(root) = self.sorted.last().and_then(|at| self.links.get(*at)) else {
            return;
        };
        let name = title(root.cert.subject());
        let key = root.cert.public_key().raw;
        if is_known(root.cert.subject(), Some(key)) {
            return;
        }
        if self.sorted.len() == 1 {
            return self.warn(
                pick(
                    "is signed by itself: phones and WeChat do not trust it",
                    "是自签名的：手机和微信都不信任它",
                )
                .to_owned(),
                pick(
                    "good for tests in the developer tools; for phones, order one from a vendor",
                    "可以在开发者工具里测试；要给手机用，请向证书服务商申请一张",
                )
                .to_owned(),
            );
        }
        self.warn(
            words!(
                "leads to {name}, an authority that phones do not know",
                "由 {name} 签发，手机不信任这个颁发机构"
            ),
            pick(
                "good for machines that were told to trust it; for phones, order one from a vendor",
                "只适合已设置信任它的机器；要给手机用，请向证书服务商申请一张",
            )
            .to_owned(),
        );
    }

    /// Nothing in the file signed the last certificate; `namesake` has the right name only.
    fn end_without_root(&mut self, namesake: Option<usize>) {
        let Some(last) = self.sorted.last().and_then(|at| self.links.get(*at)) else {
            return;
        };
        let issuer = last.cert.issuer();
        if namesake.is_none() && is_known(issuer, None) {
            return;
        }
        let (subject, issuer_name) = (title(last.cert.subject()), title(issuer));
        let namesake = namesake.and_then(|at| self.links.get(at));
        let what = if let Some(other) = namesake {
            words!(
                "has a gap: {subject} was signed by {issuer_name}, but the certificate of that \
                 name in line {} has another key",
                "证书链断了：{subject} 由 {issuer_name} 签发，但第 {} 行那张同名证书的密钥不同",
                other.line
            )
        } else if self.links.len() == 1 {
            words!(
                "holds the site's certificate alone, without the intermediate one: {issuer_name}, \
                 which issued {subject}, is missing",
                "只有服务器证书，没有中间证书：缺少签发 {subject} 的 {issuer_name}"
            )
        } else if self.sorted.len() == self.links.len() {
            words!(
                "ends too early: {issuer_name}, which issued {subject}, is missing, and is no \
                 root that phones know",
                "证书链不完整：缺少签发 {subject} 的 {issuer_name}，而它不是手机信任的根证书"
            )
        } else {
            words!(
                "has a gap: {subject} was issued by {issuer_name}, which the file does not hold",
                "证书链断了：{subject} 由 {issuer_name} 签发，文件里没有它"
            )
        };
        let hint = match issuer_url(&last.cert) {
            Some(url) => words!(
                "phones do not fetch what is missing. Use the bundle of the vendor \
                 (1_..._bundle.crt), or: curl -fsSL '{url}' | openssl x509 -inform der >> {}",
                "手机不会自己下载缺少的证书。请用证书服务商给的证书链文件（1_..._bundle.crt），或执行：curl -fsSL '{url}' | openssl x509 -inform der >> {}",
                quoted(self.path)
            ),
            None => bundle_hint().to_owned(),
        };
        self.warn(what, hint);
    }

    /// Tells what is not sent, and what is sent in another order.
    fn look_at_rest(&mut self) {
        if !self.sorted.is_sorted() || self.sorted.first() != Some(&0) {
            let what = pick(
                "is not in order: weappd sends the site's certificate first, then each \
                        one's issuer",
                "证书顺序不对：weappd 会先发服务器证书，再依次发各自的签发者",
            );
            self.warnings.push(note(self.path, what.to_owned()));
        }
        for at in 0..self.links.len() {
            let Some(link) = self
                .links
                .get(at)
                .filter(|_| self.used.get(at) == Some(&false))
            else {
                continue;
            };
            let mut sent = self.sorted.iter().filter_map(|at| self.links.get(*at));
            if sent.any(|sent| is_signed_by(&sent.cert, &link.cert)) {
                // Another way to a root; which one a phone takes is its own choice.
                self.take(at);
            } else {
                let what = words!(
                    "holds {} in line {}, which signed none of the others: it is not sent",
                    "其中的 {}（第 {} 行）没有签发其他任何一张证书：不会发送",
                    title(link.cert.subject()),
                    link.line
                );
                self.warnings.push(note(self.path, what));
            }
        }
    }

    /// The dates of the intermediate certificates; the site's own are looked at elsewhere.
    fn look_at_dates(&mut self, now: UnixSecs) {
        let late: Vec<String> = (self.sorted.iter().skip(1))
            .filter_map(|at| self.links.get(*at))
            .filter(|link| !is_valid(link, now) && !is_self_signed(&link.cert))
            .map(|link| {
                words!(
                    "holds {} in line {}, which has expired or is not valid yet",
                    "其中的 {}（第 {} 行）已过期或尚未生效",
                    title(link.cert.subject()),
                    link.line
                )
            })
            .collect();
        for what in late {
            self.warn(what, bundle_hint().to_owned());
        }
    }
}

fn bundle_hint() -> &'static str {
    pick(
        "phones do not fetch what is missing: use the bundle that the vendor sent for nginx (1_..._bundle.crt), whole",
        "手机不会自己下载缺少的证书：请用证书服务商给的完整证书链文件，Nginx 版（1_..._bundle.crt）",
    )
}

fn note(path: &Path, what: String) -> CertWarning {
    CertWarning {
        path: path.to_owned(),
        what,
        hint: String::new(),
        severity: CertSeverity::Note,
    }
}

fn is_valid(link: &ChainLink<'_>, now: UnixSecs) -> bool {
    let validity = link.cert.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now.get())
}

fn is_self_signed(cert: &X509Certificate<'_>) -> bool {
    cert.issuer() == cert.subject() && is_signed_by(cert, cert)
}

/// Whether the signature verifies. One of an algorithm that is not known here is believed.
fn is_signed_by(cert: &X509Certificate<'_>, signer: &X509Certificate<'_>) -> bool {
    cert.issuer() == signer.subject()
        && matches!(
            cert.verify_signature(Some(signer.public_key())),
            Ok(()) | Err(X509Error::SignatureUnsupportedAlgorithm)
        )
}

/// Whether phones know a root of this name, and of this key if it is given.
fn is_known(name: &X509Name<'_>, key: Option<&[u8]>) -> bool {
    let whole = name.as_raw();
    let inner = |der: &[u8]| contents(der).map(<[u8]>::to_vec);
    let (Some(subject), key) = (inner(whole), key.map(inner)) else {
        return false;
    };
    let known = webpki_roots::TLS_SERVER_ROOTS.iter().any(|root| {
        root.subject.as_ref() == subject
            && key
                .as_ref()
                .is_none_or(|key| key.as_deref() == Some(root.subject_public_key_info.as_ref()))
    });
    known || common_name(name).is_some_and(|name| DROPPED_ROOTS.contains(&name))
}

/// What is inside of a DER element.
fn contents(der: &[u8]) -> Option<&[u8]> {
    let head = match *der.get(1)? {
        short if short < 0x80 => 2,
        long => 2 + usize::from(long & 0x7F),
    };
    der.get(head..)
}

fn common_name<'a>(name: &'a X509Name<'_>) -> Option<&'a str> {
    name.iter_common_name().next()?.as_str().ok()
}

/// What people call it.
fn title(name: &X509Name<'_>) -> String {
    let text = match common_name(name) {
        Some(common) => common.to_owned(),
        None => name.to_string(),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(100).collect();
    format!("`{text}`")
}

/// Where the issuer's certificate can be had; it goes into a command, so only what is plain.
fn issuer_url(cert: &X509Certificate<'_>) -> Option<String> {
    let access =
        cert.extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityInfoAccess(access) => Some(access),
                _ => None,
            })?;
    let mut urls = access.accessdescs.iter().filter_map(|place| {
        let is_issuer = place.access_method == OID_PKIX_ACCESS_DESCRIPTOR_CA_ISSUERS;
        match &place.access_location {
            GeneralName::URI(url) if is_issuer => Some(*url),
            _ => None,
        }
    });
    let plain = |url: &&str| {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b"/:.-_~%?=&+".contains(&b);
        url.starts_with("http") && url.len() < 200 && url.bytes().all(letters)
    };
    urls.find(plain).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_of_phones_are_known_by_name_and_key() {
        let root = webpki_roots::TLS_SERVER_ROOTS
            .iter()
            .find(|root| root.subject.as_ref().len() < 128)
            .expect("a root");
        let length = u8::try_from(root.subject.as_ref().len()).expect("short");
        let der = [&[0x30, length], root.subject.as_ref()].concat();
        let (_, name) = X509Name::from_der(&der).expect("a name");
        assert!(is_known(&name, None));
        assert!(!is_known(&name, Some(b"\x30\x01\x00")));
    }

    #[test]
    fn lengths_are_read() {
        for (der, told) in [
            (&b"\x30\x03abc"[..], Some(5)),
            (b"\x30\x82\x01\x00", Some(260)),
            (b"\x30\x80", None),
            (b"\x30", None),
        ] {
            assert_eq!(length(der), told);
        }
    }
}
