//! Data that WeChat encrypts for the server through the phone's hands.
//!
//! `wx.getUserInfo` and its kin give the phone `encryptedData` and `iv`: AES-128-CBC with
//! PKCS#7, keyed by the user's session key. Beside it stands `signature`, the SHA-1 of
//! `rawData` and the session key *as text*. (Source: the official page on checking and
//! decrypting open data; its demo gave the test vectors.)

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use weappd_base::secret::{Secret, same_bytes};

use crate::armour;
use crate::error::Error;

/// Decrypts `encryptedData`. Without an iv it is the oldest form, whose iv is the key.
pub fn decrypt(
    session_key: &Secret,
    encrypted_data: &str,
    iv: Option<&str>,
) -> Result<String, Error> {
    let key = key_bytes(session_key)?;
    let iv = match iv {
        Some(iv) => armour::decode_exactly(iv).ok_or(Error::Iv)?,
        None => key,
    };
    let data = armour::decode(encrypted_data).ok_or(Error::EncryptedData)?;
    let plain = cbc::Decryptor::<Aes128>::new(&key.into(), &iv.into())
        .decrypt_padded_vec::<Pkcs7>(&data)
        .map_err(|_| Error::Decrypt)?;
    String::from_utf8(plain).map_err(|_| Error::Decrypt)
}

/// Decrypts `encryptedData` and checks by its watermark that it was made for `appid`.
pub fn open(
    appid: &str,
    session_key: &Secret,
    encrypted_data: &str,
    iv: Option<&str>,
) -> Result<Value, Error> {
    let text = decrypt(session_key, encrypted_data, iv)?;
    let data: Value = serde_json::from_str(&text).map_err(|_| Error::Watermark)?;
    match data.pointer("/watermark/appid").and_then(Value::as_str) {
        Some(made_for) if made_for == appid => Ok(data),
        Some(_) => Err(Error::OtherApp),
        None => Err(Error::Watermark),
    }
}

/// When WeChat made the data: seconds since 1970, from its watermark.
pub fn made_at(data: &Value) -> Option<i64> {
    data.pointer("/watermark/timestamp")?.as_i64()
}

/// Encrypts as WeChat does: the other end of [`decrypt`], for the simulator and for tests.
/// Gives `encryptedData`; `iv` goes beside it in base64 ([`iv_text`]).
pub fn encrypt(session_key: &Secret, plain: &str, iv: [u8; 16]) -> Result<String, Error> {
    let key = key_bytes(session_key)?;
    let data = cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into())
        .encrypt_padded_vec::<Pkcs7>(plain.as_bytes());
    Ok(armour::encode(&data))
}

/// An iv as it stands beside `encryptedData`.
pub fn iv_text(iv: [u8; 16]) -> String {
    armour::encode(&iv)
}

/// A session key of WeChat's shape out of 16 random bytes.
pub fn session_key_text(bytes: [u8; 16]) -> Secret {
    Secret::new(armour::encode(&bytes))
}

/// `signature` beside `rawData`: SHA-1 of the text and the session key's text, in hex.
pub fn raw_data_signature(raw_data: &str, session_key: &Secret) -> String {
    let mut sha = Sha1::new();
    sha.update(raw_data.as_bytes());
    sha.update(session_key.expose().as_bytes());
    hex::encode(sha.finalize())
}

/// Whether `signature` belongs to `raw_data`, in constant time.
pub fn is_raw_data_signed(raw_data: &str, session_key: &Secret, signature: &str) -> bool {
    same_bytes(
        raw_data_signature(raw_data, session_key).as_bytes(),
        signature.as_bytes(),
    )
}

/// The user's login-state signature: HMAC-SHA-256 of the body (empty for GET), keyed by
/// the session key's *text*, in hex.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub fn login_state_signature(session_key: &Secret, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(session_key.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn key_bytes(session_key: &Secret) -> Result<[u8; 16], Error> {
    armour::decode_exactly(session_key.expose()).ok_or(Error::SessionKey)
}
