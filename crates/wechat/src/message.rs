//! Messages WeChat pushes to the server: signatures, encryption, envelopes.
//!
//! Everything is signed with the SHA-1 of sorted texts; in safe mode the message is
//! AES-256-CBC under the `EncodingAESKey`, whose first 16 bytes are the iv, padded to
//! blocks of 32: `random(16) | length(4, big endian) | message | appid`. (Source: the
//! official page on message push; its examples are the test vectors.)

use aes::Aes256;
use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use sha1::{Digest, Sha1};
use weappd_base::secret::{Secret, same_bytes};

use crate::armour;
use crate::envelope::{self, Format};
use crate::error::Error;

/// What WeChat pads to: not AES's 16, but 32.
const PAD_BLOCK: usize = 32;
/// `random(16) | length(4)`.
const HEAD: usize = 20;

/// `signature` of a URL check or a plain push.
pub fn signature(token: &Secret, timestamp: &str, nonce: &str) -> String {
    sorted_sha1([token.expose(), timestamp, nonce])
}

/// `msg_signature` of an encrypted push or answer.
pub fn msg_signature(token: &Secret, timestamp: &str, nonce: &str, encrypt: &str) -> String {
    sorted_sha1([token.expose(), timestamp, nonce, encrypt])
}

/// Whether `given` signs a URL check or a plain push, in constant time.
pub fn is_signed(token: &Secret, timestamp: &str, nonce: &str, given: &str) -> bool {
    same_bytes(
        signature(token, timestamp, nonce).as_bytes(),
        given.as_bytes(),
    )
}

/// Whether `given` is the `msg_signature` of `encrypt`, in constant time.
pub fn is_encrypt_signed(
    token: &Secret,
    timestamp: &str,
    nonce: &str,
    encrypt: &str,
    given: &str,
) -> bool {
    same_bytes(
        msg_signature(token, timestamp, nonce, encrypt).as_bytes(),
        given.as_bytes(),
    )
}

fn sorted_sha1<const N: usize>(mut parts: [&str; N]) -> String {
    parts.sort_unstable();
    let mut sha = Sha1::new();
    for part in parts {
        sha.update(part.as_bytes());
    }
    hex::encode(sha.finalize())
}

/// The 32 bytes behind an `EncodingAESKey`.
#[derive(Clone)]
pub struct MessageKey([u8; 32]);

impl std::fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl MessageKey {
    /// Reads the 43 characters WeChat's console shows.
    pub fn parse(encoding_aes_key: &Secret) -> Result<Self, Error> {
        let text = encoding_aes_key.expose();
        if text.len() != 43 {
            return Err(Error::EncodingAesKey);
        }
        armour::decode_exactly(text)
            .map(Self)
            .ok_or(Error::EncodingAesKey)
    }

    fn iv(&self) -> [u8; 16] {
        let mut iv = [0; 16];
        iv.copy_from_slice(&self.0[..16]);
        iv
    }
}

/// Encrypts a message: gives the text of `Encrypt`. `random` must be fresh random bytes.
pub fn encrypt(key: &MessageKey, appid: &str, message: &str, random: [u8; 16]) -> String {
    // A message of 4 GiB cannot be held, let alone sent; the length field says as much.
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut plain = Vec::with_capacity(HEAD + message.len() + appid.len() + PAD_BLOCK);
    plain.extend_from_slice(&random);
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(message.as_bytes());
    plain.extend_from_slice(appid.as_bytes());
    let pad = PAD_BLOCK - plain.len() % PAD_BLOCK;
    plain.resize(plain.len() + pad, u8::try_from(pad).unwrap_or_default());
    let data = cbc::Encryptor::<Aes256>::new(&key.0.into(), &key.iv().into())
        .encrypt_padded_vec::<NoPadding>(&plain);
    armour::encode(&data)
}

/// Decrypts the text of `Encrypt` and checks that it was made for `appid`.
pub fn decrypt(key: &MessageKey, appid: &str, encrypt: &str) -> Result<String, Error> {
    let data = armour::decode(encrypt).ok_or(Error::Message)?;
    let plain = cbc::Decryptor::<Aes256>::new(&key.0.into(), &key.iv().into())
        .decrypt_padded_vec::<NoPadding>(&data)
        .map_err(|_| Error::Message)?;
    let (message, made_for) = unpack(unpad(&plain)?)?;
    if made_for != appid.as_bytes() {
        return Err(Error::OtherApp);
    }
    String::from_utf8(message.to_vec()).map_err(|_| Error::Message)
}

/// Takes off 1 to 32 bytes of padding, each telling their number.
fn unpad(plain: &[u8]) -> Result<&[u8], Error> {
    let pad = usize::from(*plain.last().ok_or(Error::Message)?);
    if pad == 0 || pad > PAD_BLOCK || pad > plain.len() {
        return Err(Error::Message);
    }
    let (body, padding) = plain.split_at(plain.len() - pad);
    if padding.iter().all(|byte| usize::from(*byte) == pad) {
        Ok(body)
    } else {
        Err(Error::Message)
    }
}

/// Splits `random(16) | length(4) | message | appid` into message and appid.
fn unpack(body: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let (head, rest) = body.split_at_checked(HEAD).ok_or(Error::Message)?;
    let length = head[16..]
        .iter()
        .fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length).ok_or(Error::Message)
}

/// One mini program's side of message push: its token, its key, its appid.
#[derive(Clone, Debug)]
pub struct Mailbox {
    /// The mini program the messages are for.
    pub appid: String,
    /// The token set in WeChat's console.
    pub token: Secret,
    /// The `EncodingAESKey` set there.
    pub key: MessageKey,
}

/// What stands in the query of an encrypted push.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// `timestamp`.
    pub timestamp: &'a str,
    /// `nonce`.
    pub nonce: &'a str,
    /// `msg_signature`; `signature` does not cover the message.
    pub msg_signature: &'a str,
}

impl Mailbox {
    /// Checks and decrypts a pushed body, JSON or XML.
    pub fn open(&self, stamp: Stamp<'_>, body: &str) -> Result<String, Error> {
        let envelope = envelope::read(body)?;
        if !is_encrypt_signed(
            &self.token,
            stamp.timestamp,
            stamp.nonce,
            &envelope.encrypt,
            stamp.msg_signature,
        ) {
            return Err(Error::MessageSignature);
        }
        decrypt(&self.key, &self.appid, &envelope.encrypt)
    }

    /// Encrypts and signs an answer, as a body to send back. `random` must be fresh.
    pub fn seal(
        &self,
        format: Format,
        message: &str,
        (timestamp, nonce): (i64, &str),
        random: [u8; 16],
    ) -> String {
        let encrypt = encrypt(&self.key, &self.appid, message, random);
        let signature = msg_signature(&self.token, &timestamp.to_string(), nonce, &encrypt);
        envelope::write(format, &encrypt, &signature, (timestamp, nonce))
    }
}
