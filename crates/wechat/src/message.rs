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
use weappd_base::unix_time::UnixSecs;

use crate::envelope::{self, BodyFormat};
use crate::error::Error;
use crate::lenient_base64;

/// What WeChat pads to: not AES's 16, but 32.
const PAD_BLOCK: usize = 32;
/// `random(16) | length(4)`.
const HEAD_LEN: usize = 20;

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
        lenient_base64::decode_exactly(text)
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
    let mut plain = Vec::with_capacity(HEAD_LEN + message.len() + appid.len() + PAD_BLOCK);
    plain.extend_from_slice(&random);
    plain.extend_from_slice(&length.to_be_bytes());
    plain.extend_from_slice(message.as_bytes());
    plain.extend_from_slice(appid.as_bytes());
    let pad = PAD_BLOCK - plain.len() % PAD_BLOCK;
    plain.resize(plain.len() + pad, u8::try_from(pad).unwrap_or_default());
    let data = cbc::Encryptor::<Aes256>::new(&key.0.into(), &key.iv().into())
        .encrypt_padded_vec::<NoPadding>(&plain);
    lenient_base64::encode(&data)
}

/// Decrypts the text of `Encrypt` and checks that it was made for `appid`.
pub fn decrypt(key: &MessageKey, appid: &str, encrypt: &str) -> Result<String, Error> {
    let data = lenient_base64::decode(encrypt).ok_or(Error::Message)?;
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
    let (head, rest) = body.split_at_checked(HEAD_LEN).ok_or(Error::Message)?;
    let length = head[16..]
        .iter()
        .fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
    rest.split_at_checked(length).ok_or(Error::Message)
}

/// One mini program's side of message push: its token, its key, its appid.
#[derive(Clone, Debug)]
pub struct MessageCodec {
    /// The mini program the messages are for.
    pub appid: String,
    /// The token set in WeChat's console.
    pub token: Secret,
    /// The `EncodingAESKey` set there.
    pub key: MessageKey,
}

/// What stands in the query of an encrypted push.
#[derive(Clone, Copy, Debug)]
pub struct PushSignature<'a> {
    /// `timestamp`.
    pub timestamp: &'a str,
    /// `nonce`.
    pub nonce: &'a str,
    /// `msg_signature`; `signature` does not cover the message.
    pub msg_signature: &'a str,
}

impl MessageCodec {
    /// Checks and decrypts a pushed body, JSON or XML.
    pub fn open(&self, stamp: PushSignature<'_>, body: &str) -> Result<String, Error> {
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
        format: BodyFormat,
        message: &str,
        (timestamp, nonce): (UnixSecs, &str),
        random: [u8; 16],
    ) -> String {
        let encrypt = encrypt(&self.key, &self.appid, message, random);
        let signature = msg_signature(&self.token, &timestamp.to_string(), nonce, &encrypt);
        envelope::write(format, &encrypt, &signature, (timestamp, nonce))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::vectors::{secret, text};

    fn mailbox(vector: &str) -> MessageCodec {
        MessageCodec {
            appid: text(&format!("{vector}/appid")),
            token: secret(&format!("{vector}/token")),
            key: MessageKey::parse(&secret(&format!("{vector}/encoding_aes_key"))).expect("a key"),
        }
    }

    fn random(pointer: &str) -> [u8; 16] {
        text(pointer).into_bytes().try_into().expect("16 bytes")
    }

    fn key(bytes: [u8; 32]) -> MessageKey {
        MessageKey(bytes)
    }

    #[test]
    fn url_checks_and_plain_pushes_are_signed_with_the_token() {
        let token = secret("/message_push/token");
        for vector in ["get", "plain", "safe"] {
            let of = |name: &str| text(&format!("/message_push/{vector}/{name}"));
            let (timestamp, nonce, given) = (of("timestamp"), of("nonce"), of("signature"));
            assert!(is_signed(&token, &timestamp, &nonce, &given), "{vector}");
            assert!(!is_signed(&token, &nonce, "1", &given), "{vector}");
            assert!(!is_signed(
                &Secret::new("BBBBB"),
                &timestamp,
                &nonce,
                &given
            ));
            assert!(!is_signed(&token, &timestamp, &nonce, ""), "{vector}");
        }
    }

    /// The push of the official page: padded with 19 bytes, which no 16-byte block has.
    #[test]
    fn the_official_json_push_opens() {
        let of = |name: &str| text(&format!("/message_push/safe/{name}"));
        let body = json!({"ToUserName": "gh_97417a04a28d", "Encrypt": of("encrypt")}).to_string();
        let (timestamp, nonce, msg_signature) = (of("timestamp"), of("nonce"), of("msg_signature"));
        let stamp = PushSignature {
            timestamp: &timestamp,
            nonce: &nonce,
            msg_signature: &msg_signature,
        };
        let mailbox = mailbox("/message_push");
        assert_eq!(mailbox.open(stamp, &body).ok(), Some(of("msg")));

        let again = encrypt(
            &mailbox.key,
            &mailbox.appid,
            &of("msg"),
            random("/message_push/safe/random"),
        );
        assert_eq!(again, of("encrypt"));
        let length = lenient_base64::decode(&again).expect("base64").len();
        assert_eq!(
            length - (HEAD_LEN + of("msg").len() + mailbox.appid.len()),
            19
        );

        // `signature` stands beside `msg_signature` in the query and must not do for it.
        let plain = of("signature");
        let wrong = PushSignature {
            msg_signature: &plain,
            ..stamp
        };
        let refused = mailbox.open(wrong, &body);
        assert!(matches!(refused, Err(Error::MessageSignature)));
        let late = PushSignature {
            timestamp: "1714112446",
            ..stamp
        };
        assert!(matches!(
            mailbox.open(late, &body),
            Err(Error::MessageSignature)
        ));
    }

    #[test]
    fn the_official_reply_is_sealed_letter_by_letter() {
        let of = |name: &str| text(&format!("/message_push/reply/{name}"));
        let timestamp = UnixSecs::new(of("timestamp").parse().expect("a number"));
        let sealed = mailbox("/message_push").seal(
            BodyFormat::Json,
            &of("msg"),
            (timestamp, &of("nonce")),
            random("/message_push/reply/random"),
        );
        let sealed: Value = serde_json::from_str(&sealed).expect("JSON");
        assert_eq!(
            sealed,
            json!({
                "Encrypt": of("encrypt"),
                "MsgSignature": of("msg_signature"),
                "TimeStamp": timestamp,
                "Nonce": of("nonce"),
            })
        );
    }

    #[test]
    fn the_classic_xml_examples_hold_both_ways() {
        let mailbox = mailbox("/wxbizmsgcrypt_classic");
        for vector in ["enc1", "enc2", "dec"] {
            let of = |name: &str| text(&format!("/wxbizmsgcrypt_classic/{vector}/{name}"));
            let back = decrypt(&mailbox.key, &mailbox.appid, &of("encrypt"));
            assert_eq!(back.ok(), Some(of("msg")), "{vector}");
            let random = random(&format!("/wxbizmsgcrypt_classic/{vector}/random"));
            let again = encrypt(&mailbox.key, &mailbox.appid, &of("msg"), random);
            assert_eq!(again, of("encrypt"), "{vector}");
        }
    }

    #[test]
    fn the_classic_xml_push_opens() {
        let of = |name: &str| text(&format!("/wxbizmsgcrypt_classic/dec/{name}"));
        let body = format!(
            "<xml><ToUserName><![CDATA[asdasdasd]]></ToUserName>\n\
             <Encrypt><![CDATA[{}]]></Encrypt></xml>",
            of("encrypt")
        );
        let (timestamp, nonce, msg_signature) = (of("timestamp"), of("nonce"), of("msg_signature"));
        let stamp = PushSignature {
            timestamp: &timestamp,
            nonce: &nonce,
            msg_signature: &msg_signature,
        };
        let opened = mailbox("/wxbizmsgcrypt_classic").open(stamp, &body);
        assert_eq!(opened.ok(), Some(of("msg")));
    }

    #[test]
    fn a_sealed_answer_opens_in_both_formats() {
        let mailbox = mailbox("/wxbizmsgcrypt_classic");
        for format in [BodyFormat::Json, BodyFormat::Xml] {
            let body = mailbox.seal(
                format,
                "微信 ]]> & <b>",
                (UnixSecs::new(1), "n]]>1"),
                [5; 16],
            );
            let encrypt = envelope::read(&body).expect("an envelope").encrypt;
            let signature = msg_signature(&mailbox.token, "1", "n]]>1", &encrypt);
            let stamp = PushSignature {
                timestamp: "1",
                nonce: "n]]>1",
                msg_signature: &signature,
            };
            let opened = mailbox.open(stamp, &body);
            assert_eq!(opened.ok().as_deref(), Some("微信 ]]> & <b>"), "{format:?}");
        }
    }

    #[test]
    fn a_message_for_another_app_is_refused() {
        let mailbox = mailbox("/message_push");
        let encrypt = text("/message_push/safe/encrypt");
        for appid in ["wxba5fad812f8e6fb8", "", "wxba5fad812f8e6fb9x"] {
            let refused = decrypt(&mailbox.key, appid, &encrypt);
            assert!(matches!(refused, Err(Error::OtherApp)), "{appid}");
        }
    }

    #[test]
    fn tampered_messages_are_refused() {
        let mailbox = mailbox("/message_push");
        let mut bytes =
            lenient_base64::decode(&text("/message_push/safe/encrypt")).expect("base64");
        let last = bytes.len() - 1;
        // The second block holds the length.
        for at in [16, last] {
            bytes[at] ^= 0x40;
            let refused = decrypt(
                &mailbox.key,
                &mailbox.appid,
                &lenient_base64::encode(&bytes),
            );
            bytes[at] ^= 0x40;
            assert!(refused.is_err(), "byte {at}");
        }
        for short in [&bytes[..last], &bytes[..16], &[]] {
            let refused = decrypt(&mailbox.key, &mailbox.appid, &lenient_base64::encode(short));
            assert!(
                matches!(refused, Err(Error::Message)),
                "{} bytes",
                short.len()
            );
        }
    }

    #[test]
    fn padding_is_one_to_thirty_two_and_all_alike() {
        assert_eq!(unpad(&[9, 1]).ok(), Some(&[9][..]));
        assert_eq!(unpad(&[32; 32]).ok(), Some(&[][..]));
        for bad in [&[9, 0][..], &[33; 33], &[2], &[1, 3, 3], &[]] {
            assert!(unpad(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_message_is_refused() {
        let mut body = [0; 24];
        body[16] = 0xFF;
        assert!(unpack(&body).is_err());
        assert!(unpack(&body[..19]).is_err());
    }

    #[test]
    fn a_key_is_43_characters() {
        for bad in ["", "A", &"A".repeat(42), &"A".repeat(44), &"-".repeat(43)] {
            let refused = MessageKey::parse(&Secret::new(bad));
            assert!(matches!(refused, Err(Error::EncodingAesKey)), "{bad}");
        }
        let key = MessageKey::parse(&Secret::new("A".repeat(43))).expect("a key");
        assert_eq!(format!("{key:?}"), "***");
    }

    proptest! {
        #[test]
        fn what_was_encrypted_decrypts(
            bytes: [u8; 32],
            random: [u8; 16],
            appid: String,
            message: String,
        ) {
            let sealed = encrypt(&key(bytes), &appid, &message, random);
            prop_assert_eq!(lenient_base64::decode(&sealed).expect("base64").len() % PAD_BLOCK, 0);
            prop_assert_eq!(decrypt(&key(bytes), &appid, &sealed).ok(), Some(message));
        }

        #[test]
        fn every_envelope_round_trips(
            is_json: bool,
            message: String,
            nonce: String,
            timestamp: i64,
            random: [u8; 16],
        ) {
            let mailbox = mailbox("/message_push");
            let format = if is_json { BodyFormat::Json } else { BodyFormat::Xml };
            let body = mailbox.seal(format, &message, (UnixSecs::new(timestamp), &nonce), random);
            let read = envelope::read(&body).expect("an envelope");
            prop_assert_eq!(read.format, format);
            let timestamp = timestamp.to_string();
            let signature = msg_signature(&mailbox.token, &timestamp, &nonce, &read.encrypt);
            let stamp = PushSignature { timestamp: &timestamp, nonce: &nonce, msg_signature: &signature };
            prop_assert_eq!(mailbox.open(stamp, &body).ok(), Some(message));
        }

        #[test]
        fn no_bytes_panic(bytes: [u8; 32], data: Vec<u8>) {
            drop(decrypt(&key(bytes), "wx", &lenient_base64::encode(&data)));
            drop(unpad(&data).and_then(unpack));
        }
    }
}
