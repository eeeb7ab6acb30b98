//! What a file is that should be a certificate or a key and is not, and the command that
//! makes of it what is wanted.

use std::path::{Path, PathBuf};
use weappd_base::language::pick;
use weappd_base::words;

use rustls_pki_types::PrivateKeyDer;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::pem::PemBlock;

/// What a file should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantedFile {
    Certificate,
    Key,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FileContent {
    Certificate,
    Key,
    EncryptedKey,
    PublicKey,
    Request,
    /// Certificate and key under a pass phrase, and whether by ciphers that OpenSSL 3 takes
    /// out of its box only when told.
    Pfx {
        is_legacy: bool,
    },
    P7b,
    JavaStore,
    Ssh,
    Utf16,
    Archive,
    Page,
    /// Base64 without its first and last line.
    Bare,
    Empty,
    Unknown,
}

/// What binary data is.
pub(crate) fn of_der(bytes: &[u8]) -> FileContent {
    const PKCS7: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x07\x02";
    let head = bytes.get(..32.min(bytes.len())).unwrap_or_default();
    if bytes.first() != Some(&0x30) {
        return FileContent::Unknown;
    }
    if X509Certificate::from_der(bytes).is_ok() {
        return FileContent::Certificate;
    }
    if memchr::memmem::find(head, PKCS7).is_some() {
        return FileContent::P7b;
    }
    // PFX ::= SEQUENCE { version INTEGER 3, authSafe SEQUENCE ... }
    if memchr::memmem::find(head, b"\x02\x01\x03\x30").is_some() {
        return FileContent::Pfx {
            is_legacy: has_legacy_cipher(bytes),
        };
    }
    if X509CertificationRequest::from_der(bytes).is_ok() {
        return FileContent::Request;
    }
    if SubjectPublicKeyInfo::from_der(bytes).is_ok_and(|(rest, _)| rest.is_empty()) {
        return FileContent::PublicKey;
    }
    if PrivateKeyDer::try_from(bytes).is_ok() {
        return FileContent::Key;
    }
    // EncryptedPrivateKeyInfo: its algorithm is one of PKCS#5 or PKCS#12.
    let encrypted = [
        &b"\x2A\x86\x48\x86\xF7\x0D\x01\x05"[..],
        b"\x2A\x86\x48\x86\xF7\x0D\x01\x0C\x01",
    ];
    if encrypted
        .iter()
        .any(|oid| memchr::memmem::find(head, oid).is_some())
    {
        return FileContent::EncryptedKey;
    }
    FileContent::Unknown
}

/// RC2 and RC4, with which Windows and old Javas seal certificates in a PFX.
fn has_legacy_cipher(bytes: &[u8]) -> bool {
    [1, 2, 5, 6].into_iter().any(|cipher| {
        let oid = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x0C, 0x01, cipher];
        memchr::memmem::find(bytes, &oid).is_some()
    })
}

/// What a PEM block is.
pub(crate) fn of_block(block: &PemBlock) -> FileContent {
    match block.label.as_str() {
        "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => match of_der(&block.der) {
            FileContent::Unknown => FileContent::Certificate,
            // Windows wraps anything in this label.
            other => other,
        },
        "PKCS7" | "CMS" => FileContent::P7b,
        label if label.starts_with("PKCS #7") => FileContent::P7b,
        label if label.ends_with("CERTIFICATE REQUEST") => FileContent::Request,
        label if label.ends_with("PUBLIC KEY") => FileContent::PublicKey,
        "ENCRYPTED PRIVATE KEY" => FileContent::EncryptedKey,
        "OPENSSH PRIVATE KEY" => FileContent::Ssh,
        label if label.ends_with("PRIVATE KEY") && block.is_encrypted => FileContent::EncryptedKey,
        label if label.ends_with("PRIVATE KEY") => FileContent::Key,
        _ => FileContent::Unknown,
    }
}

/// What a file without any PEM block is.
pub(crate) fn of_file(bytes: &[u8]) -> FileContent {
    let trimmed = bytes.trim_ascii();
    let starts = |words: &[&[u8]]| words.iter().any(|word| bytes.starts_with(word));
    let nulls = bytes.iter().take(64).filter(|b| **b == 0).count();
    if trimmed.is_empty() {
        FileContent::Empty
    } else if starts(&[b"\xFE\xED\xFE\xED", b"\xCE\xCE\xCE\xCE"]) {
        FileContent::JavaStore
    } else if starts(&[b"\xFF\xFE", b"\xFE\xFF"])
        || (nulls > 16 && memchr::memmem::find(bytes, b"-\0-\0-").is_some())
    {
        FileContent::Utf16
    } else if starts(&[b"PK\x03\x04", b"\x1F\x8B", b"Rar!", b"7z\xBC\xAF"]) {
        FileContent::Archive
    } else if bytes.first() == Some(&0x30) && std::str::from_utf8(bytes).is_err() {
        of_der(bytes)
    } else if trimmed.starts_with(b"<") {
        FileContent::Page
    } else if trimmed.starts_with(b"ssh-") || trimmed.starts_with(b"ecdsa-sha2-") {
        FileContent::PublicKey
    } else if trimmed.len() > 64
        && trimmed
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n".contains(b))
    {
        FileContent::Bare
    } else {
        match of_der(bytes) {
            FileContent::Unknown if memchr::memmem::find(bytes, b"\0").is_some() => {
                FileContent::Unknown
            }
            other => other,
        }
    }
}

/// What is wrong with `path`, which holds this and should hold something else, and what to
/// do; `is_pem` says whether it is text.
pub(crate) fn complaint(
    content: &FileContent,
    wanted: WantedFile,
    path: &Path,
    is_pem: bool,
) -> (String, String) {
    let is = name(content, wanted, is_pem);
    let says_what_lacks = matches!(
        content,
        FileContent::Certificate
            | FileContent::Key
            | FileContent::EncryptedKey
            | FileContent::PublicKey
            | FileContent::Pfx { .. }
            | FileContent::JavaStore
            | FileContent::P7b
    );
    let what = if says_what_lacks {
        is.to_owned()
    } else {
        words!("holds no {}: it {is}", "没有{}：它{is}", wanted.thing())
    };
    (what, remedy(content, wanted, path, is_pem))
}

impl WantedFile {
    fn thing(self) -> &'static str {
        match self {
            Self::Certificate => pick("certificate", "证书"),
            Self::Key => pick("private key", "私钥"),
        }
    }

    /// `-----BEGIN` and so on.
    fn lines(self) -> (String, String) {
        // Tools read these: they are no words for people.
        let label = match self {
            Self::Certificate => "CERTIFICATE",
            Self::Key => "PRIVATE KEY",
        };
        let line = |word: &str| format!("-----{word} {label}-----");
        (line("BEGIN"), line("END"))
    }
}

/// What people call it.
fn name(content: &FileContent, wanted: WantedFile, is_pem: bool) -> &'static str {
    let key = wanted == WantedFile::Key;
    match content {
        FileContent::Pfx { .. } => pick(
            "is a PFX (PKCS#12): certificate and key in one file under a pass phrase",
            "是 PFX（PKCS#12）：证书和私钥在同一个文件里，并有密码保护",
        ),
        FileContent::JavaStore => pick("is a Java key store (JKS)", "是 Java 密钥库（JKS）"),
        FileContent::P7b if key => pick(
            "is a PKCS#7 bundle (.p7b), which holds certificates and no private key",
            "是 PKCS#7 证书链文件（.p7b），只有证书，没有私钥",
        ),
        FileContent::P7b => pick(
            "is a PKCS#7 bundle (.p7b), not PEM",
            "是 PKCS#7 证书链文件（.p7b），不是 PEM",
        ),
        FileContent::Request => pick(
            "is a certificate signing request (CSR)",
            "是证书签名请求（CSR）",
        ),
        FileContent::PublicKey if key => {
            pick("is a public key, not the private one", "是公钥，不是私钥")
        }
        FileContent::PublicKey => pick(
            "holds a public key and no certificate",
            "只有公钥，没有证书",
        ),
        FileContent::Certificate if key && is_pem => pick(
            "holds a certificate and no private key",
            "只有证书，没有私钥",
        ),
        FileContent::Certificate if key => pick(
            "holds a certificate in binary form (DER) and no private key",
            "只有二进制（DER）证书，没有私钥",
        ),
        FileContent::Certificate => pick(
            "is a certificate in binary form (DER), not text (PEM)",
            "是二进制（DER）证书，不是文本（PEM）",
        ),
        FileContent::Key | FileContent::EncryptedKey if !key => pick(
            "holds a private key and no certificate",
            "只有私钥，没有证书",
        ),
        FileContent::Key => pick(
            "is a key in binary form (DER), not text (PEM)",
            "是二进制（DER）私钥，不是文本（PEM）",
        ),
        FileContent::EncryptedKey => pick("is encrypted with a pass phrase", "用密码加密了"),
        FileContent::Ssh => pick(
            "is a key of SSH, which belongs to no certificate",
            "是 SSH 密钥，与任何证书都不配套",
        ),
        FileContent::Utf16 => pick(
            "is text in UTF-16, as Windows programs save it",
            "是 UTF-16 文本，Windows 程序常这样保存",
        ),
        FileContent::Archive => pick("is an archive", "是压缩包"),
        FileContent::Page => pick("is a web page or XML", "是网页或 XML"),
        FileContent::Bare => pick(
            "is base64 without its first and last line",
            "是 base64，缺少第一行和最后一行",
        ),
        FileContent::Empty => pick("is empty", "是空文件"),
        FileContent::Unknown => pick("is of no kind that weappd knows", "不是 weappd 认识的格式"),
    }
}

/// What to do.
fn remedy(content: &FileContent, wanted: WantedFile, path: &Path, is_pem: bool) -> String {
    let key = wanted == WantedFile::Key;
    let inform = if is_pem { "" } else { " -inform der" };
    let file = quoted(path);
    let new = quoted(&beside(path, if key { "key" } else { "crt" }));
    let (begin, end) = wanted.lines();
    let words = match content {
        FileContent::Pfx { is_legacy } => return take_apart(path, *is_legacy),
        FileContent::JavaStore => return java_store(path),
        FileContent::P7b if !key => {
            return format!("openssl pkcs7{inform} -in {file} -print_certs -out {new}");
        }
        FileContent::Certificate if !key => {
            return format!("openssl x509 -inform der -in {file} -out {new}");
        }
        FileContent::Key if key => {
            return format!("openssl pkey -inform der -in {file} -out {new}");
        }
        FileContent::EncryptedKey if key && is_pem => {
            return words!(
                "{}: openssl pkey -in {file} -out {new}",
                "{}：openssl pkey -in {file} -out {new}",
                decrypt_hint()
            );
        }
        FileContent::EncryptedKey if key => {
            return words!(
                "{}: openssl pkcs8 -inform der -in {file} -out {new}",
                "{}：openssl pkcs8 -inform der -in {file} -out {new}",
                decrypt_hint()
            );
        }
        FileContent::Utf16 => return format!("iconv -f UTF-16 -t UTF-8 {file} > {new}"),
        FileContent::Bare => {
            return words!(
                "put {begin} before it and {end} behind it",
                "请在前面加一行 {begin}，在后面加一行 {end}"
            );
        }
        FileContent::Unknown => {
            return words!(
                "it should hold lines between {begin} and {end}",
                "文件里应有 {begin} 和 {end}，内容在这两行之间"
            );
        }
        FileContent::Certificate | FileContent::Key | FileContent::EncryptedKey => pick(
            "were cert and key exchanged?",
            "是不是把 cert 和 key 写反了？",
        ),
        FileContent::Request if !key => pick(
            "give what the vendor sent back for it: the certificate and its bundle",
            "请用证书服务商据此签发的文件：证书和证书链",
        ),
        FileContent::Archive => pick(
            "unpack it and take what is meant for nginx: the bundle (.crt or .pem) and the .key",
            "请解压它，用其中 Nginx 版的两个文件：证书链（.crt 或 .pem）和私钥（.key）",
        ),
        FileContent::Page => pick(
            "a download went wrong: get the file again",
            "下载出了问题：请重新下载这个文件",
        ),
        FileContent::PublicKey | FileContent::Empty | FileContent::Ssh if !key => chain_hint(),
        FileContent::P7b
        | FileContent::Request
        | FileContent::PublicKey
        | FileContent::Empty
        | FileContent::Ssh => key_file_hint(),
    };
    words.to_owned()
}

fn decrypt_hint() -> &'static str {
    pick(
        "decrypt it, and let only weappd's user read what comes out",
        "请把它解密，解密后的文件只让运行 weappd 的用户读取",
    )
}

fn key_file_hint() -> &'static str {
    pick(
        "give the .key file that was made together with the signing request",
        "请用与证书签名请求（CSR）一起生成的 .key 文件",
    )
}

fn chain_hint() -> &'static str {
    pick(
        "give the certificate chain that the vendor sent, in its form for nginx",
        "请用证书服务商给的证书链，Nginx 版的那份",
    )
}

/// The commands that take a PFX apart.
fn take_apart(path: &Path, is_legacy: bool) -> String {
    let file = quoted(path);
    let (cert, key) = (quoted(&beside(path, "crt")), quoted(&beside(path, "key")));
    let (legacy, old) = if is_legacy {
        (
            " -legacy",
            pick(
                " (OpenSSL before 3 takes no -legacy)",
                "（OpenSSL 3 以前的版本没有 -legacy）",
            ),
        )
    } else {
        ("", "")
    };
    words!(
        "take it apart, and give the two files as cert and key{old}: \
         openssl pkcs12{legacy} -in {file} -nokeys -out {cert} && \
         openssl pkcs12{legacy} -in {file} -nocerts -nodes -out {key}",
        "请把它拆开，两个文件分别填到 cert 和 key{old}：openssl pkcs12{legacy} -in {file} -nokeys -out {cert} && openssl pkcs12{legacy} -in {file} -nocerts -nodes -out {key}"
    )
}

fn java_store(path: &Path) -> String {
    let pfx = beside(path, "p12");
    words!(
        "make a PFX of it first: keytool -importkeystore -srckeystore {} -destkeystore {} \
         -deststoretype PKCS12; then {}",
        "请先把它转成 PFX：keytool -importkeystore -srckeystore {} -destkeystore {} -deststoretype PKCS12；然后{}",
        quoted(path),
        quoted(&pfx),
        take_apart(&pfx, false)
    )
}

/// A name for what is made of a file, beside it and not taken yet.
fn beside(path: &Path, extension: &str) -> PathBuf {
    let first = path.with_extension(extension);
    if !first.exists() && first != path {
        return first;
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-pem.{extension}"))
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) && !text.starts_with('-') {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_tools_read_are_the_same_in_every_language() {
        let told = || {
            complaint(
                &FileContent::Bare,
                WantedFile::Key,
                Path::new("a.key"),
                true,
            )
        };
        for language in weappd_base::language::Language::ALL {
            let (_, hint) = language.speak(told);
            for line in ["-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"] {
                assert!(hint.contains(line), "{hint}");
            }
        }
    }

    #[test]
    fn files_that_are_no_pem_are_known() {
        let utf16: Vec<u8> = "-----BEGIN CERTIFICATE-----\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let long = "QUJD\n".repeat(40);
        for (bytes, content) in [
            (&b""[..], FileContent::Empty),
            (b" \r\n", FileContent::Empty),
            (b"\xFE\xED\xFE\xED\0\0\0\x02", FileContent::JavaStore),
            (b"\xFF\xFE-\0", FileContent::Utf16),
            (&utf16, FileContent::Utf16),
            (b"PK\x03\x04...", FileContent::Archive),
            (b"<!DOCTYPE html><html>", FileContent::Page),
            (long.as_bytes(), FileContent::Bare),
            (b"domain = \"a\"", FileContent::Unknown),
            (b"0", FileContent::Unknown),
            (b"ssh-rsa AAAA me", FileContent::PublicKey),
        ] {
            assert_eq!(of_file(bytes), content, "{bytes:?}");
        }
    }

    #[test]
    fn commands_can_be_typed() {
        assert_eq!(quoted(Path::new("/etc/a_b-1.pfx")), "/etc/a_b-1.pfx");
        assert_eq!(quoted(Path::new("证书.pfx")), "证书.pfx");
        assert_eq!(quoted(Path::new("a (1).pfx")), "'a (1).pfx'");
        assert_eq!(quoted(Path::new("it's.pfx")), "'it'\\''s.pfx'");
        assert_eq!(quoted(Path::new("-x.pfx")), "'-x.pfx'");
        assert_eq!(
            beside(Path::new("x/a.crt"), "crt"),
            Path::new("x/a-pem.crt")
        );
        let pfx = FileContent::Pfx { is_legacy: true };
        let (what, hint) = complaint(&pfx, WantedFile::Certificate, Path::new("x/a.pfx"), false);
        assert!(what.contains("PFX"), "{what}");
        assert!(
            hint.contains("openssl pkcs12 -legacy -in x/a.pfx -nokeys -out x/a.crt && "),
            "{hint}"
        );
    }
}
