//! Chains with gaps, and files that are no certificates: each is told apart, with the way out.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use weappd_base::unix_time::UnixSecs;
use weappd_certs::{CertFiles, CertSeverity, CertWarning, check_certificate};

const NOW: UnixSecs = UnixSecs::new(1_800_000_000);

/// `leaf` is signed by `two`, that by `one`, that by `root`; `foreign` by nobody of them.
struct Family {
    dir: tempfile::TempDir,
    key: KeyPair,
    leaf: String,
    two: String,
    one: String,
    root: String,
    foreign: String,
    /// Called like `two`, with another key.
    namesake: String,
}

fn authority(name: &str, from: i32, to: i32) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(to, 1, 1);
    params
}

impl Family {
    fn new(two_ends: i32) -> Self {
        let key = || KeyPair::generate().expect("a key");
        let root_params = authority("the root", 2020, 2040);
        let root_key = key();
        let root = root_params.self_signed(&root_key).expect("signed").pem();
        let root_issuer = Issuer::new(root_params, root_key);
        let (one_params, one_key) = (authority("one", 2020, 2040), key());
        let one = one_params
            .signed_by(&one_key, &root_issuer)
            .expect("signed");
        let one_issuer = Issuer::new(one_params, one_key);
        let (two_params, two_key) = (authority("two", 2020, two_ends), key());
        let two = two_params.signed_by(&two_key, &one_issuer).expect("signed");
        let namesake = two_params.signed_by(&key(), &one_issuer).expect("signed");
        let two_issuer = Issuer::new(two_params, two_key);
        let leaf_key = key();
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("params");
        params
            .distinguished_name
            .push(DnType::CommonName, "a.example");
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2028, 1, 1);
        let leaf = params.signed_by(&leaf_key, &two_issuer).expect("signed");
        let foreign = authority("a stranger", 2020, 2040).self_signed(&key());
        Self {
            dir: tempfile::tempdir().expect("a folder"),
            key: leaf_key,
            leaf: leaf.pem(),
            two: two.pem(),
            one: one.pem(),
            root,
            foreign: foreign.expect("signed").pem(),
            namesake: namesake.pem(),
        }
    }

    fn files(&self, cert: &[u8], key: &[u8]) -> CertFiles {
        let files = CertFiles {
            cert: self.dir.path().join("site.crt"),
            key: self.dir.path().join("site.key"),
        };
        std::fs::write(&files.cert, cert).expect("written");
        std::fs::write(&files.key, key).expect("written");
        files
    }

    fn check(&self, cert: &str) -> Vec<CertWarning> {
        let files = self.files(cert.as_bytes(), self.key.serialize_pem().as_bytes());
        check_certificate(&files, &["a.example".to_owned()], NOW).expect("usable")
    }
}

fn words(warnings: &[CertWarning], severity: CertSeverity) -> Vec<String> {
    let alike = warnings
        .iter()
        .filter(|warning| warning.severity == severity);
    alike.map(|warning| warning.what.clone()).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_gap_in_the_chain_is_named() {
    let family = Family::new(2040);
    let Family {
        leaf: l,
        two,
        one,
        root,
        foreign,
        namesake,
        ..
    } = &family;
    for (name, cert, warning, note) in [
        (
            "whole",
            format!("{l}{two}{one}{root}"),
            "leads to `the root`, an authority that phones do not know",
            "",
        ),
        (
            "no root",
            format!("{l}{two}{one}"),
            "`the root`, which issued `one`, is missing",
            "",
        ),
        (
            "no one",
            format!("{l}{two}"),
            "`one`, which issued `two`, is missing",
            "",
        ),
        (
            "alone",
            l.clone(),
            "alone, without the intermediate one: `two`, which issued `a.example`",
            "",
        ),
        (
            "twice",
            format!("{l}{l}"),
            "alone, without the intermediate one: `two`",
            "again in line",
        ),
        (
            "root only",
            format!("{l}{root}"),
            "`a.example` was issued by `two`, which the file does not hold",
            "`the root` in line",
        ),
        (
            "foreign",
            format!("{l}{foreign}"),
            "`a.example` was issued by `two`",
            "`a stranger` in line",
        ),
        (
            "no two",
            format!("{l}{one}"),
            "`a.example` was issued by `two`",
            "`one` in line",
        ),
        (
            "no two, but root",
            format!("{l}{one}{root}"),
            "`a.example` was issued by `two`",
            "`one` in line",
        ),
        (
            "no one, but root",
            format!("{l}{two}{root}"),
            "`two` was issued by `one`",
            "`the root` in line",
        ),
        (
            "namesake",
            format!("{l}{namesake}{one}"),
            "the certificate of that name in line",
            "`two` in line",
        ),
        (
            "other order",
            format!("{two}{l}"),
            "`one`, which issued `two`, is missing",
            "not in order",
        ),
        (
            "backwards",
            format!("{root}{one}{two}{l}"),
            "leads to `the root`",
            "not in order",
        ),
        (
            "with a stranger",
            format!("{l}{two}{foreign}{one}{root}"),
            "leads to `the root`",
            "`a stranger` in line",
        ),
    ] {
        for cert in [
            cert.clone(),
            cert.replace('\n', "\r\n"),
            cert.replace("-----\n-----BEGIN", "----------BEGIN"),
            cert.replace(
                "-----BEGIN",
                "\nBag Attributes\n    localKeyID: 01\n-----BEGIN",
            ),
        ] {
            let told = family.check(&cert);
            let warnings = words(&told, CertSeverity::Warning);
            assert_eq!(warnings.len(), 1, "{name}: {told:?}");
            assert!(warnings[0].contains(warning), "{name}: {warnings:?}");
            let notes = words(&told, CertSeverity::Note).join("; ");
            assert!(notes.contains(note), "{name}: {notes}");
            assert_eq!(notes.is_empty(), note.is_empty(), "{name}: {notes}");
            assert!(
                told.iter()
                    .all(|t| t.severity == CertSeverity::Note || !t.hint.is_empty())
            );
        }
    }
}

#[test]
fn an_intermediate_that_phones_refuse_is_told() {
    let family = Family::new(2026);
    let Family {
        leaf,
        two,
        one,
        root,
        ..
    } = &family;
    let told = family.check(&format!("{leaf}{two}{one}{root}"));
    let warnings = words(&told, CertSeverity::Warning).join("; ");
    assert!(
        warnings.contains("`two` in line") && warnings.contains("expired"),
        "{warnings}"
    );
}

#[test]
fn one_that_signs_itself_is_served_with_a_warning() {
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).expect("made");
    let family = Family::new(2040);
    let files = family.files(
        made.cert.pem().as_bytes(),
        made.signing_key.serialize_pem().as_bytes(),
    );
    let told = check_certificate(&files, &["a.example".to_owned()], NOW).expect("usable");
    let warnings = words(&told, CertSeverity::Warning);
    assert_eq!(warnings.len(), 1, "{told:?}");
    assert!(warnings[0].contains("signed by itself"), "{told:?}");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn a_file_that_is_no_certificate_or_key_is_called_by_its_name() {
    let family = Family::new(2040);
    let bundle = format!("{}{}", family.leaf, family.two);
    let key = family.key.serialize_pem();
    let utf16 = |text: &str| -> Vec<u8> {
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        [0xFF, 0xFE].into_iter().chain(units).collect()
    };
    let wrap = |label: &str, text: &str| {
        let body: String = text
            .lines()
            .filter(|line| !line.starts_with("-----"))
            .collect();
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    };
    let request = CertificateParams::new(vec!["a.example".to_owned()])
        .and_then(|params| params.serialize_request(&family.key)?.pem())
        .expect("a request");
    // What a PFX begins with, and the cipher that OpenSSL 3 refuses.
    let pfx = |cipher: u8| {
        let mut pfx = b"\x30\x82\x09\x00\x02\x01\x03\x30\x82\x08\xC0\x06\x09".to_vec();
        pfx.extend(b"\x2A\x86\x48\x86\xF7\x0D\x01\x07\x01....\x2A\x86\x48\x86\xF7\x0D\x01\x0C\x01");
        pfx.push(cipher);
        pfx.resize(3000, 0xA5);
        pfx
    };
    let mut p7b = b"\x30\x82\x09\x00\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x02\xA0\x82".to_vec();
    p7b.resize(2000, 0x5A);
    let public = family.key.public_key_pem();
    let bare: String = bundle
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    for (cert, what, hint) in [
        (pfx(3), "is a PFX", "openssl pkcs12 -in "),
        (pfx(6), "is a PFX", "openssl pkcs12 -legacy -in "),
        (
            b"\xFE\xED\xFE\xED\0\0\0\x02".to_vec(),
            "Java key store",
            "keytool -importkeystore",
        ),
        (p7b.clone(), "PKCS#7", "openssl pkcs7 -inform der -in "),
        (
            wrap("PKCS7", &family.leaf).into_bytes(),
            "PKCS#7",
            "openssl pkcs7 -in ",
        ),
        (request.clone().into_bytes(), "signing request", "sent back"),
        (
            wrap("CERTIFICATE", &request).into_bytes(),
            "signing request",
            "sent back",
        ),
        (utf16(&bundle), "UTF-16", "iconv -f UTF-16"),
        (
            bare.into_bytes(),
            "without its first and last line",
            "-----BEGIN CERTIFICATE-----",
        ),
        (
            key.clone().into_bytes(),
            "private key and no certificate",
            "exchanged",
        ),
        (
            public.clone().into_bytes(),
            "public key and no certificate",
            "vendor",
        ),
        (b"<html>expired</html>".to_vec(), "web page", "again"),
        (b"PK\x03\x04zip".to_vec(), "archive", "unpack"),
        (
            bundle.replace("-----BEGIN", "--BEGIN").into_bytes(),
            "five hyphens",
            "copy",
        ),
    ] {
        let files = family.files(&cert, key.as_bytes());
        let errors = check_certificate(&files, &[], NOW).expect_err(what);
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        let error = &errors[0];
        let (told, way_out) = (error.to_string(), error.hint().unwrap_or_default());
        assert!(
            told.contains("site.crt") && told.contains(what),
            "{what}: {told}"
        );
        assert!(way_out.contains(hint), "{what}: {way_out}");
    }
    for (key, what, hint) in [
        (pfx(6), "is a PFX", "-nocerts -nodes"),
        (
            b"\xFE\xED\xFE\xED\0\0\0\x02".to_vec(),
            "Java key store",
            "keytool",
        ),
        (p7b, "no private key", ".key file"),
        (request.into_bytes(), "signing request", ".key file"),
        (
            public.into_bytes(),
            "public key, not the private one",
            ".key file",
        ),
        (utf16(&key), "UTF-16", "iconv"),
        (bundle.clone().into_bytes(), "no private key", "exchanged"),
        (
            family.key.serialize_der(),
            "DER",
            "openssl pkey -inform der",
        ),
        (
            wrap("OPENSSH PRIVATE KEY", &key).into_bytes(),
            "SSH",
            ".key file",
        ),
        (
            wrap("ENCRYPTED PRIVATE KEY", &key).into_bytes(),
            "pass phrase",
            "openssl pkey -in ",
        ),
    ] {
        let files = family.files(bundle.as_bytes(), &key);
        let errors = check_certificate(&files, &[], NOW).expect_err(what);
        assert_eq!(errors.len(), 1, "{what}: {errors:?}");
        let error = &errors[0];
        let (told, way_out) = (error.to_string(), error.hint().unwrap_or_default());
        assert!(
            told.contains("site.key") && told.contains(what),
            "{what}: {told}"
        );
        assert!(way_out.contains(hint), "{what}: {way_out}");
    }
}
