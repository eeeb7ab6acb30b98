//! Secrets at rest: sealed with a key that stands beside the database, not in it.
//!
//! XChaCha20-Poly1305 with a random nonce before each sealed text; what it is and whose is
//! bound in, so that a row copied to another user opens nothing.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::small_file;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::identity::UserIdentity;

/// The length of the nonce before each sealed key.
const NONCE: usize = 24;

/// Seals and opens session keys, phone numbers and the secrets of mini programs.
pub(crate) struct SecretVault {
    cipher: XChaCha20Poly1305,
    master: Zeroizing<[u8; 32]>,
    tokens: RandomSource,
}

/// Whose secret it is.
#[derive(Clone, Copy)]
pub(crate) struct SecretOwner<'a> {
    pub(crate) appid: &'a str,
    /// Empty where it is the mini program's own.
    pub(crate) openid: &'a str,
}

impl<'a> SecretOwner<'a> {
    pub(crate) fn of(who: &'a UserIdentity) -> Self {
        Self {
            appid: &who.appid,
            openid: &who.openid,
        }
    }

    /// The mini program itself.
    pub(crate) fn app(appid: &'a str) -> Self {
        Self { appid, openid: "" }
    }
}

/// What kind of secret it is: one never opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SecretKind {
    SessionKey,
    Phone,
    AppSecret,
    /// What all nodes share; the name of the value stands in the AppID's place.
    Shared,
}

impl SecretKind {
    fn name(self, owner: SecretOwner<'_>) -> Vec<u8> {
        // No openid holds a zero byte.
        let what: &[u8] = match self {
            Self::SessionKey => b"",
            Self::Phone => b"\0phone",
            Self::AppSecret => b"\0AppSecret",
            Self::Shared => b"\0shared",
        };
        [owner.appid.as_bytes(), b"\0", owner.openid.as_bytes(), what].concat()
    }
}

impl SecretVault {
    /// Takes the key from `file`, and makes both if there is no such file.
    pub(crate) fn open(file: &Path, tokens: RandomSource) -> Result<Self, Error> {
        let failed = |hint: &'static str| {
            move |source: std::io::Error| Error::KeyFile {
                place: file.display().to_string(),
                hint,
                source: Arc::new(source),
            }
        };
        make(file, &tokens).map_err(failed("give weappd the right to write there"))?;
        let text = small_file::read_text(file, 4096).map(Zeroizing::new);
        let damaged = failed("it must hold 64 hex digits; restore it from a backup");
        let text = text.map_err(|error| match error.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::FileTooLarge => {
                damaged(error)
            }
            _ => failed("give weappd the right to read it")(error),
        })?;
        let master = digits(&text).ok_or_else(|| damaged(ErrorKind::InvalidData.into()))?;
        Ok(Self::new(*master, tokens))
    }

    /// Sealed with `key`, 64 hex digits, or if it is empty with the one in `file`.
    pub(crate) fn of(key: &Secret, file: &Path, tokens: RandomSource) -> Result<Self, Error> {
        if key.is_empty() {
            return Self::open(file, tokens);
        }
        let master = digits(key.expose()).ok_or_else(|| Error::KeyFile {
            place: "[session] key".to_owned(),
            hint: "it must be 64 hex digits",
            source: Arc::new(std::io::ErrorKind::InvalidData.into()),
        })?;
        Ok(Self::new(*master, tokens))
    }

    fn new(master: [u8; 32], tokens: RandomSource) -> Self {
        Self {
            cipher: XChaCha20Poly1305::new(&Key::from(master)),
            master: Zeroizing::new(master),
            tokens,
        }
    }

    /// The text as it may stand in a database; empty, which opens nothing, if the cipher
    /// refuses, which it does for gigabytes only.
    pub(crate) fn seal(
        &self,
        matter: SecretKind,
        owner: SecretOwner<'_>,
        text: &Secret,
    ) -> Vec<u8> {
        let nonce: [u8; NONCE] = self.tokens.bytes();
        let payload = Payload {
            msg: text.expose().as_bytes(),
            aad: &matter.name(owner),
        };
        match self.cipher.encrypt(&XNonce::from(nonce), payload) {
            Ok(sealed) => [nonce.as_slice(), &sealed].concat(),
            Err(_) => Vec::new(),
        }
    }

    /// The text again; nothing if it was sealed for somebody else, as something else or
    /// with another key file.
    pub(crate) fn unseal(
        &self,
        matter: SecretKind,
        owner: SecretOwner<'_>,
        sealed: &[u8],
    ) -> Option<Secret> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let payload = Payload {
            msg: sealed,
            aad: &matter.name(owner),
        };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).ok()?;
        String::from_utf8(plain).ok().map(Secret::new)
    }

    /// A text nobody can guess.
    pub(crate) fn random(&self) -> String {
        self.tokens.hex256()
    }

    /// A name for a key that tells nothing of it: the same key is kept once.
    pub(crate) fn fingerprint(&self, key: &Secret) -> [u8; 16] {
        let mut sha = Sha256::new();
        sha.update(b"fingerprint of a session key");
        sha.update(self.master.as_slice());
        sha.update(key.expose().as_bytes());
        let digest: [u8; 32] = sha.finalize().into();
        let (halves, _) = digest.as_chunks::<16>();
        halves.first().copied().unwrap_or_default()
    }
}

/// 64 hex digits as bytes.
fn digits(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut master = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), master.as_mut_slice()).ok()?;
    Some(master)
}

/// Makes the key file, whole or not at all, readable for nobody else.
fn make(file: &Path, tokens: &RandomSource) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if file.exists() {
        return Ok(());
    }
    if let Some(dir) = file.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let draft = file.with_file_name(format!(".{name}.{}", tokens.hex256()));
    let mut out = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&draft)?;
    let written = writeln!(out, "{}", tokens.hex256())
        .and_then(|()| out.sync_all())
        // Another weappd that was first keeps its key.
        .and_then(|()| match std::fs::hard_link(&draft, file) {
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    std::fs::remove_file(&draft)?;
    written
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn vault() -> SecretVault {
        SecretVault::new([7; 32], RandomSource::seeded(1))
    }

    #[test]
    fn a_sealed_key_opens_for_its_owner_only() {
        use SecretKind::{AppSecret, Phone, SessionKey, Shared};
        let vault = vault();
        let owner = SecretOwner {
            appid: "wx1",
            openid: "o1",
        };
        let key = Secret::new("tiihtNczf5v6AKRyjwEUhQ==");
        let sealed = vault.seal(SessionKey, owner, &key);
        assert!(
            vault
                .unseal(SessionKey, owner, &sealed)
                .is_some_and(|k| k == key)
        );
        assert!(!sealed.windows(8).any(|part| part == b"tiihtNcz"));
        assert_ne!(
            sealed,
            vault.seal(SessionKey, owner, &key),
            "a nonce of its own"
        );
        let other = SecretOwner {
            openid: "o2",
            ..owner
        };
        assert!(vault.unseal(SessionKey, other, &sealed).is_none());
        for matter in [Phone, AppSecret, Shared] {
            assert!(vault.unseal(matter, owner, &sealed).is_none(), "{matter:?}");
        }
        let stranger = SecretVault::new([8; 32], RandomSource::seeded(1));
        assert!(stranger.unseal(SessionKey, owner, &sealed).is_none());
        for cut in 0..sealed.len() {
            assert!(vault.unseal(SessionKey, owner, &sealed[..cut]).is_none());
        }
        assert_eq!(vault.fingerprint(&key), vault.fingerprint(&key));
        assert_ne!(vault.fingerprint(&key), stranger.fingerprint(&key));
    }

    #[test]
    fn a_key_that_is_given_needs_no_file() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let file = dir.path().join("session.key");
        let text = "0a".repeat(32);
        let given = SecretVault::of(&Secret::new(text.clone()), &file, RandomSource::system())
            .expect("a key");
        assert!(!file.exists());
        std::fs::write(&file, text).expect("writes");
        let none = Secret::default();
        let read = SecretVault::of(&none, &file, RandomSource::system()).expect("reads it");
        assert_eq!(*given.master, *read.master);
        let Err(err) = SecretVault::of(&Secret::new("0a"), &file, RandomSource::system()) else {
            panic!("no key was taken for one");
        };
        assert!(err.to_string().contains("[session] key"), "{err}");
    }

    #[test]
    fn the_key_file_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::TempDir::new().expect("a directory");
        let file = dir.path().join("new/session.key");
        let first = SecretVault::open(&file, RandomSource::system()).expect("makes it");
        let again = SecretVault::open(&file, RandomSource::system()).expect("reads it");
        assert_eq!(*first.master, *again.master);
        let mode = std::fs::metadata(&file).expect("a file").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(file.parent().expect("a parent"))
                .expect("reads")
                .count(),
            1
        );
        std::fs::write(&file, "no key").expect("writes");
        let Err(err) = SecretVault::open(&file, RandomSource::system()) else {
            panic!("no key was taken for one");
        };
        assert!(err.to_string().contains("64 hex digits"), "{err}");
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_and_nothing_damaged_does(
            appid in "[a-z0-9]{0,20}",
            openid in "[^\0]{0,30}",
            text in ".{0,200}",
            at: prop::sample::Index,
            change in 1..=255_u8,
            noise: Vec<u8>,
        ) {
            let vault = vault();
            let owner = SecretOwner { appid: &appid, openid: &openid };
            let text = Secret::new(text);
            for matter in [SecretKind::SessionKey, SecretKind::Phone, SecretKind::AppSecret, SecretKind::Shared] {
                let mut sealed = vault.seal(matter, owner, &text);
                prop_assert_eq!(vault.unseal(matter, owner, &sealed), Some(text.clone()));
                let at = at.index(sealed.len());
                sealed[at] ^= change;
                prop_assert_eq!(vault.unseal(matter, owner, &sealed), None);
                prop_assert_eq!(vault.unseal(matter, owner, &noise), None);
            }
        }
    }
}
