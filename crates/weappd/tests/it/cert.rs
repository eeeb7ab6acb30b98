//! Certificates as vendors issue them: a root the client knows, an intermediate it does
//! not, a leaf; keys in each form that is found in the field.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256, RsaKeySize,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

/// How a private key is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// `BEGIN PRIVATE KEY`.
    #[default]
    Pkcs8,
    /// `BEGIN RSA PRIVATE KEY`, what most vendors send.
    Pkcs1,
    /// `BEGIN EC PRIVATE KEY`, what `openssl ecparam` writes.
    Sec1,
}

/// Writes `site.crt` (leaf and intermediate), `site.key` and `ca.pem` for `names` into
/// `dir`; gives the path of the last.
pub(crate) fn issue(dir: &Path, names: &[&str], form: KeyForm) -> PathBuf {
    let root_key = KeyPair::generate().expect("a key");
    let root_params = authority("a test root");
    let root_cert = root_params.self_signed(&root_key).expect("a root");
    let root = Issuer::new(root_params, root_key);

    let middle_key = KeyPair::generate().expect("a key");
    let middle_params = authority("a test intermediate");
    let middle_cert = middle_params.signed_by(&middle_key, &root);
    let middle_cert = middle_cert.expect("an intermediate");
    let middle = Issuer::new(middle_params, middle_key);

    let key = match form {
        KeyForm::Pkcs1 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyForm::Pkcs8 | KeyForm::Sec1 => KeyPair::generate(),
    };
    let key = key.expect("a key");
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).expect("names");
    let leaf = leaf.signed_by(&key, &middle).expect("a leaf");

    let ca = dir.join("ca.pem");
    let bundle = leaf.pem() + &middle_cert.pem();
    // Vendors' files come from Windows.
    fs::write(dir.join("site.crt"), bundle.replace('\n', "\r\n")).expect("site.crt");
    fs::write(dir.join("site.key"), private(&key, form)).expect("site.key");
    fs::write(&ca, root_cert.pem()).expect("ca.pem");
    ca
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// The key as PEM.
fn private(key: &KeyPair, form: KeyForm) -> String {
    let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(key.serialize_pem().as_bytes());
    let pkcs8 = pkcs8.expect("PKCS#8");
    // SEQUENCE { version, SEQUENCE { algorithm, parameters }, OCTET STRING { the old form } }
    let (_, whole, _) = element(pkcs8.secret_pkcs8_der());
    let (_, _, rest) = element(whole);
    let (_, algorithm, rest) = element(rest);
    let (_, inner, _) = element(rest);
    match form {
        KeyForm::Pkcs8 => key.serialize_pem(),
        KeyForm::Pkcs1 => pem("RSA PRIVATE KEY", inner),
        KeyForm::Sec1 => {
            // PKCS#8 names the curve outside, SEC1 inside.
            let (_, _, curve) = element(algorithm);
            let (_, fields, _) = element(inner);
            let (_, _, after_version) = element(fields);
            let (_, _, public) = element(after_version);
            let (head, public) = fields.split_at(fields.len() - public.len());
            let all = [head, &wrap(0xA0, curve), public].concat();
            pem("EC PRIVATE KEY", &wrap(0x30, &all))
        }
    }
}

/// The first DER element: its tag, its content, and what follows it.
fn element(der: &[u8]) -> (u8, &[u8], &[u8]) {
    let (length, head) = match der[1] {
        short @ ..=0x7F => (usize::from(short), 2),
        0x81 => (usize::from(der[2]), 3),
        0x82 => (usize::from(der[2]) << 8 | usize::from(der[3]), 4),
        other => panic!("a length of {other:#x}"),
    };
    let (content, rest) = der[head..].split_at(length);
    (der[0], content, rest)
}

/// A DER element.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a short element");
    let mut der = match length {
        ..=0x7F => vec![tag, length],
        _ => vec![tag, 0x81, length],
    };
    der.extend_from_slice(content);
    der
}

/// DER as PEM.
fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .map(|at| &body[at..body.len().min(at + 64)])
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}
