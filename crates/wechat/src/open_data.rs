//! Data that WeChat encrypts for the server through the phone's hands.
//!
//! `wx.getUserInfo` and its kin give the phone `encryptedData` and `iv`: AES-128-CBC with
//! PKCS#7, keyed by the user's session key. Beside it stands `signature`, the SHA-1 of
//! `rawData` and the session key *as text*. (Source: the official page on checking and
//! decrypting open data; its demo gave the test vectors.)

use std::borrow::Cow;

use aes::Aes128;
use aes::cipher::block_padding::{NoPadding, Pkcs7};
use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use weappd_base::secret::{Secret, same_bytes};
use weappd_base::unix_time::UnixSecs;

use crate::error::Error;
use crate::lenient::lenient_json;
use crate::lenient_base64;

/// What a phone brings: `encryptedData` and its iv, read from base64.
///
/// AES-CBC proves nothing of what it hides. Whoever can tell *why* something does not open
/// (the padding, the letters, the JSON, the watermark) can, in some thousand tries, decrypt
/// and make up data of his own. So there is one answer, [`Error::Decrypt`], for all that is
/// only known after decrypting, and much the same work is done for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedData {
    bytes: Vec<u8>,
    iv: Option<[u8; 16]>,
}

/// Data that opened.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenedData {
    /// As WeChat wrote it.
    pub text: String,
    /// The JSON object it is.
    pub data: Value,
}

impl SealedData {
    /// Reads the base64. Without an iv it is the oldest form, whose iv is the key.
    pub fn parse(encrypted_data: &str, iv: Option<&str>) -> Result<Self, Error> {
        let iv = match iv {
            Some(iv) => Some(lenient_base64::decode_exactly(iv).ok_or(Error::Iv)?),
            None => None,
        };
        let bytes = lenient_base64::decode(encrypted_data).ok_or(Error::EncryptedData)?;
        Ok(Self { bytes, iv })
    }

    /// Decrypts, and makes sure by the watermark that it was made for `appid`. The oldest
    /// form is older than the watermark and may have none.
    pub fn open(&self, appid: &str, session_key: &Secret) -> Result<OpenedData, Error> {
        let (text, is_text) = self.decrypt(session_key)?;
        // Read whether or not it is text: the time it takes tells little.
        let data = lenient_json(&text).unwrap_or_default();
        let mark = data.get("watermark");
        let made_for = mark.and_then(|mark| mark.get("appid"));
        let is_ours = match (made_for, mark, self.iv) {
            (Some(made_for), ..) => made_for == appid,
            (None, Some(_), _) | (None, None, Some(_)) => false,
            (None, None, None) => true,
        };
        if is_text & is_ours & data.is_object() {
            Ok(OpenedData { text, data })
        } else {
            Err(Error::Decrypt)
        }
    }

    /// The plain text, and whether it is one: padded as it must be, and UTF-8.
    fn decrypt(&self, session_key: &Secret) -> Result<(String, bool), Error> {
        let key = key_bytes(session_key)?;
        let iv = self.iv.unwrap_or(key);
        let plain = cbc::Decryptor::<Aes128>::new(&key.into(), &iv.into())
            .decrypt_padded_vec::<NoPadding>(&self.bytes)
            .map_err(|_| Error::Decrypt)?;
        let (plain, is_padded) = unpad(&plain);
        let text = String::from_utf8_lossy(plain);
        let is_utf8 = matches!(text, Cow::Borrowed(_));
        Ok((text.into_owned(), is_padded & is_utf8))
    }
}

/// Takes PKCS#7 padding off, and says whether there was one. Looks at the same bytes
/// whatever they are.
fn unpad(plain: &[u8]) -> (&[u8], bool) {
    let Some((_, block)) = plain.split_last_chunk::<16>() else {
        return (plain, false);
    };
    let [.., pad] = *block;
    let mut wrong = u8::from(pad == 0) | u8::from(pad > 16);
    for (place, byte) in (1..=16_u8).rev().zip(block) {
        wrong |= u8::from(place <= pad) * (*byte ^ pad);
    }
    let end = plain.len() - usize::from(pad.min(16));
    (plain.get(..end).unwrap_or(plain), wrong == 0)
}

/// Decrypts `encryptedData`. Without an iv it is the oldest form, whose iv is the key.
pub fn decrypt(
    session_key: &Secret,
    encrypted_data: &str,
    iv: Option<&str>,
) -> Result<String, Error> {
    let (text, is_text) = SealedData::parse(encrypted_data, iv)?.decrypt(session_key)?;
    if is_text {
        Ok(text)
    } else {
        Err(Error::Decrypt)
    }
}

/// Decrypts `encryptedData` and checks by its watermark that it was made for `appid`.
pub fn open(
    appid: &str,
    session_key: &Secret,
    encrypted_data: &str,
    iv: Option<&str>,
) -> Result<Value, Error> {
    let sealed = SealedData::parse(encrypted_data, iv)?;
    Ok(sealed.open(appid, session_key)?.data)
}

/// When WeChat made the data, from its watermark.
pub fn made_at(data: &Value) -> Option<UnixSecs> {
    let secs = data.pointer("/watermark/timestamp")?.as_i64()?;
    Some(UnixSecs::new(secs))
}

/// Encrypts as WeChat does: the other end of [`decrypt`], for the simulator and for tests.
/// Gives `encryptedData`; `iv` goes beside it in base64 ([`iv_text`]).
pub fn encrypt(session_key: &Secret, plain: &str, iv: [u8; 16]) -> Result<String, Error> {
    let key = key_bytes(session_key)?;
    let data = cbc::Encryptor::<Aes128>::new(&key.into(), &iv.into())
        .encrypt_padded_vec::<Pkcs7>(plain.as_bytes());
    Ok(lenient_base64::encode(&data))
}

/// An iv as it stands beside `encryptedData`.
pub fn iv_text(iv: [u8; 16]) -> String {
    lenient_base64::encode(&iv)
}

/// A session key of WeChat's shape out of 16 random bytes.
pub fn session_key_text(bytes: [u8; 16]) -> Secret {
    Secret::new(lenient_base64::encode(&bytes))
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
pub fn login_state_signature(session_key: &Secret, body: &str) -> String {
    user_signature(session_key, body.as_bytes())
}

/// The same of any bytes (用户态签名), as virtual payments and user storage want it.
#[expect(clippy::expect_used, reason = "HMAC takes a key of any length")]
pub fn user_signature(session_key: &Secret, text: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(session_key.expose().as_bytes())
        .expect("HMAC takes a key of any length");
    mac.update(text);
    hex::encode(mac.finalize().into_bytes())
}

fn key_bytes(session_key: &Secret) -> Result<[u8; 16], Error> {
    lenient_base64::decode_exactly(session_key.expose()).ok_or(Error::SessionKey)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vectors::{secret, text};

    const APPID: &str = "wx4f4bc4dec97d474b";

    struct Sealed {
        key: Secret,
        data: String,
        iv: String,
    }

    fn official() -> Sealed {
        Sealed {
            key: secret("/wxbizdatacrypt/session_key"),
            data: text("/wxbizdatacrypt/encryptedData"),
            iv: text("/wxbizdatacrypt/iv"),
        }
    }

    impl Sealed {
        fn open(&self) -> Result<Value, Error> {
            open(APPID, &self.key, &self.data, Some(&self.iv))
        }
    }

    #[test]
    fn the_official_example_opens_and_closes_again() {
        let sealed = official();
        let plain = decrypt(&sealed.key, &sealed.data, Some(&sealed.iv)).expect("it decrypts");
        assert_eq!(plain, text("/wxbizdatacrypt/plaintext"));
        let iv = lenient_base64::decode_exactly(&sealed.iv).expect("an iv");
        assert_eq!(encrypt(&sealed.key, &plain, iv).ok(), Some(sealed.data));
        assert_eq!(iv_text(iv), sealed.iv);
    }

    #[test]
    fn the_watermark_tells_app_and_time() {
        assert_eq!(text("/wxbizdatacrypt/appid"), APPID);
        let data = official().open().expect("it is ours");
        assert_eq!(data["nickName"], "Band");
        assert_eq!(made_at(&data), Some(UnixSecs::new(1_477_314_187)));
    }

    #[test]
    fn names_beyond_ascii_survive() {
        let plain = decrypt(
            &secret("/senparc_userinfo/session_key"),
            &text("/senparc_userinfo/encryptedData"),
            Some(&text("/senparc_userinfo/iv")),
        );
        assert_eq!(plain.ok(), Some(text("/senparc_userinfo/plaintext")));
    }

    #[test]
    fn form_decoded_pluses_and_line_breaks_do_no_harm() {
        let mut sealed = official();
        assert!(sealed.data.contains('+'));
        sealed.data = sealed.data.replace('+', " ");
        sealed.data.insert_str(76, "\r\n");
        assert!(sealed.open().is_ok());
    }

    #[test]
    fn anothers_data_is_refused() {
        let sealed = official();
        let opened = open(
            "wx0000000000000000",
            &sealed.key,
            &sealed.data,
            Some(&sealed.iv),
        );
        assert!(matches!(opened, Err(Error::Decrypt)));
    }

    #[test]
    fn tampered_data_is_refused() {
        let sealed = official();
        let mut bytes = lenient_base64::decode(&sealed.data).expect("base64");
        // The first block damaged decrypts, but to no JSON; the last breaks the padding.
        for at in [0, bytes.len() - 1] {
            bytes[at] ^= 0x80;
            let opened = Sealed {
                data: lenient_base64::encode(&bytes),
                ..official()
            }
            .open();
            bytes[at] ^= 0x80;
            assert!(
                matches!(opened, Err(Error::Decrypt)),
                "byte {at}: {opened:?}"
            );
        }
        let cut = Sealed {
            data: lenient_base64::encode(&bytes[..bytes.len() - 1]),
            ..official()
        };
        assert!(matches!(cut.open(), Err(Error::Decrypt)));
    }

    #[test]
    fn each_part_is_named_when_it_is_wrong() {
        let mut sealed = official();
        sealed.iv = "r7BXXKkLb8qrSNn05n0q".to_owned();
        assert!(matches!(sealed.open(), Err(Error::Iv)));
        let mut sealed = official();
        sealed.key = Secret::new("short");
        assert!(matches!(sealed.open(), Err(Error::SessionKey)));
        let mut sealed = official();
        sealed.data = "*".to_owned();
        assert!(matches!(sealed.open(), Err(Error::EncryptedData)));
        sealed.data = String::new();
        assert!(matches!(sealed.open(), Err(Error::Decrypt)));
    }

    #[test]
    fn another_users_key_does_not_open() {
        let mut sealed = official();
        sealed.key = secret("/rawdata_signature/session_key");
        assert!(sealed.open().is_err());
    }

    #[test]
    fn data_without_a_watermark_is_refused() {
        let key = session_key_text([7; 16]);
        for plain in ["{}", "[]", "not json", r#"{"watermark":{"appid":7}}"#] {
            let data = encrypt(&key, plain, [1; 16]).expect("it encrypts");
            let opened = open("wx", &key, &data, Some(&iv_text([1; 16])));
            assert!(matches!(opened, Err(Error::Decrypt)), "{plain}");
        }
    }

    #[test]
    fn the_oldest_form_may_lack_a_watermark_but_not_have_anothers() {
        let key = session_key_text([7; 16]);
        for (plain, opens) in [
            (r#"{"nickName":"a"}"#, true),
            (r#"{"nickName":"a","watermark":{"appid":"wx"}}"#, true),
            (r#"{"nickName":"a","watermark":{"appid":"wy"}}"#, false),
            (r#"{"nickName":"a","watermark":{}}"#, false),
            ("[]", false),
        ] {
            let data = encrypt(&key, plain, [7; 16]).expect("it encrypts");
            assert_eq!(open("wx", &key, &data, None).is_ok(), opens, "{plain}");
        }
    }

    #[test]
    fn padding_is_whole_or_none() {
        for pad in 0..=255_u8 {
            let mut block = [pad; 32];
            block[0] = 0;
            let (plain, is_padded) = unpad(&block);
            assert_eq!(is_padded, (1..=16).contains(&pad), "{pad}");
            assert!(!is_padded || plain.len() == 32 - usize::from(pad));
            for at in 16..31 {
                let mut damaged = block;
                damaged[at] ^= 1;
                let counts = usize::from(pad) + at >= 32;
                let (_, is_padded) = unpad(&damaged);
                assert_eq!(is_padded, (1..=16).contains(&pad) && !counts, "{pad} {at}");
            }
        }
        assert!(!unpad(&[]).1);
    }

    #[test]
    fn the_oldest_form_has_the_key_as_iv() {
        let key = session_key_text([7; 16]);
        let data = encrypt(&key, "plain", [7; 16]).expect("it encrypts");
        assert_eq!(decrypt(&key, &data, None).ok().as_deref(), Some("plain"));
    }

    #[test]
    fn raw_data_is_signed_with_the_keys_text() {
        for vector in ["/rawdata_signature", "/rawdata_signature_utf8"] {
            let raw = text(&format!("{vector}/rawData"));
            let key = secret(&format!("{vector}/session_key"));
            let signature = text(&format!("{vector}/signature"));
            assert_eq!(raw_data_signature(&raw, &key), signature);
            assert!(is_raw_data_signed(&raw, &key, &signature));
            assert!(!is_raw_data_signed(&format!("{raw} "), &key, &signature));
            assert!(!is_raw_data_signed(&raw, &key, &signature[1..]));
        }
    }

    #[test]
    fn the_login_state_is_signed_with_the_keys_text() {
        let key = secret("/login_state_signature/session_key");
        let sign = |body: &str| login_state_signature(&key, body);
        assert_eq!(
            sign(&text("/login_state_signature/post_data")),
            text("/login_state_signature/signature")
        );
        assert_eq!(sign(""), text("/login_state_signature/empty_signature"));
    }

    proptest! {
        #[test]
        fn what_was_encrypted_decrypts(key: [u8; 16], iv: [u8; 16], plain: String) {
            let key = session_key_text(key);
            let data = encrypt(&key, &plain, iv).expect("it encrypts");
            let back = decrypt(&key, &data, Some(&iv_text(iv)));
            prop_assert_eq!(back.ok(), Some(plain));
        }

        #[test]
        fn no_input_panics(key: String, data: String, iv in proptest::option::of(".*")) {
            drop(open("wx", &Secret::new(key), &data, iv.as_deref()));
        }

        #[test]
        fn no_bytes_panic(key: [u8; 16], data: Vec<u8>, iv: [u8; 16]) {
            let data = lenient_base64::encode(&data);
            drop(open("wx", &session_key_text(key), &data, Some(&iv_text(iv))));
        }
    }
}
