//! WeChat's "API security" (API 安全): calls to its server encrypted and signed, and its
//! answers read the same way.
//!
//! A body becomes `{"iv","data","authtag"}`, AES-256-GCM under a key both sides have, bound
//! to `url|appid|timestamp|key number`. Over `url\nappid\ntimestamp\nbody` stands an
//! RSASSA-PSS signature (SHA-256, salt of 32). (Source: the official page on calling the
//! server API, 开发前必读; its example is the test vector.) The other suite, SM4 and SM2, is
//! not spoken here.

use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use rustls::server::ParsedCertificate;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

use crate::error::Error;
use crate::lenient_base64;

/// What every signed address begins with, wherever the call really goes.
pub const ORIGIN: &str = "https://api.weixin.qq.com";
/// Header: the mini program.
pub const APPID_HEADER: &str = "wechatmp-appid";
/// Header: the second it was signed in.
pub const TIMESTAMP_HEADER: &str = "wechatmp-timestamp";
/// Header: the signature.
pub const SIGNATURE_HEADER: &str = "wechatmp-signature";
/// Header of an answer: the number of the key that signed.
pub const SERIAL_HEADER: &str = "wechatmp-serial";
/// Header of an answer while WeChat changes its key: the old key's number.
pub const OLD_SERIAL_HEADER: &str = "wechatmp-serial-deprecated";
/// Header of an answer while WeChat changes its key: the old key's signature.
pub const OLD_SIGNATURE_HEADER: &str = "wechatmp-signature-deprecated";

/// How far the clocks of both sides may be apart.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(5);
/// Fields of the encrypted object that belong to the envelope.
const ENVELOPE_FIELDS: [&str; 3] = ["_n", "_appid", "_timestamp"];

/// The keys of one side, as WeChat's console shows and takes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTexts {
    /// The mini program.
    pub appid: String,
    /// The symmetric key, 32 bytes of base64.
    pub symmetric_key: Secret,
    /// Its number.
    pub symmetric_key_sn: String,
    /// This side's RSA private key, PEM.
    pub private_key: Secret,
    /// Its number.
    pub private_key_sn: String,
    /// The other side's certificate or public key, PEM.
    pub their_key: String,
    /// Its number: the one of WeChat's console, not the certificate's own.
    pub their_key_sn: String,
}

/// One side of the talk: seals what it says, opens what it hears.
pub struct SealedChannel {
    appid: String,
    symmetric: LessSafeKey,
    symmetric_sn: String,
    signer: RsaKeyPair,
    signer_sn: String,
    theirs: Vec<u8>,
    theirs_sn: String,
}

/// Bytes nobody used before.
#[derive(Clone, Copy, Debug)]
pub struct FreshBytes {
    /// The iv.
    pub iv: [u8; 12],
    /// What becomes `_n`.
    pub n: [u8; 16],
}

/// A sealed body and what goes into the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBody {
    /// The body.
    pub body: String,
    /// `Wechatmp-AppId`.
    pub appid: String,
    /// `Wechatmp-TimeStamp`.
    pub timestamp: UnixSecs,
    /// `Wechatmp-Signature`.
    pub signature: String,
    /// `Wechatmp-Serial`, which only answers carry.
    pub serial: String,
}

/// The headers of what is to be opened, as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignatureHeaders<'a> {
    /// `Wechatmp-AppId`.
    pub appid: &'a str,
    /// `Wechatmp-TimeStamp`.
    pub timestamp: &'a str,
    /// `Wechatmp-Signature`.
    pub signature: &'a str,
    /// `Wechatmp-Serial`; calls need none.
    pub serial: Option<&'a str>,
    /// `Wechatmp-Serial-Deprecated` and `Wechatmp-Signature-Deprecated`.
    pub old: Option<(&'a str, &'a str)>,
}

/// A body on the wire.
#[derive(Serialize, Deserialize)]
struct GcmBody {
    iv: String,
    data: String,
    authtag: String,
}

impl SealedChannel {
    /// Reads the keys.
    pub fn new(keys: &KeyTexts) -> Result<Self, Error> {
        let symmetric = lenient_base64::decode_exactly::<32>(keys.symmetric_key.expose())
            .and_then(|key| UnboundKey::new(&AES_256_GCM, &key).ok())
            .ok_or(Error::ApiKey("the symmetric key is not 32 bytes of base64"))?;
        for sn in [
            &keys.symmetric_key_sn,
            &keys.private_key_sn,
            &keys.their_key_sn,
        ] {
            if sn.is_empty() || !sn.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return Err(Error::ApiKey("a key's number is not letters and digits"));
            }
        }
        Ok(Self {
            appid: keys.appid.clone(),
            symmetric: LessSafeKey::new(symmetric),
            symmetric_sn: keys.symmetric_key_sn.clone(),
            signer: read_private_key(&keys.private_key)?,
            signer_sn: keys.private_key_sn.clone(),
            theirs: read_public_key(&keys.their_key)?,
            theirs_sn: keys.their_key_sn.clone(),
        })
    }

    /// The mini program.
    pub fn appid(&self) -> &str {
        &self.appid
    }

    /// This side's public key, as DER.
    pub fn public_key(&self) -> &[u8] {
        self.signer.public_key().as_ref()
    }

    /// Encrypts and signs what goes to or comes from `path`.
    pub fn seal(
        &self,
        path: &str,
        fields: Map<String, Value>,
        now: UnixSecs,
        fresh: FreshBytes,
    ) -> Result<SealedBody, Error> {
        let n = lenient_base64::encode(&fresh.n);
        let mut all = Map::new();
        all.insert("_n".to_owned(), Value::from(n.trim_end_matches('=')));
        all.insert("_appid".to_owned(), Value::from(self.appid.as_str()));
        all.insert("_timestamp".to_owned(), Value::from(now.get()));
        let theirs = |name: &String| !ENVELOPE_FIELDS.contains(&name.as_str());
        all.extend(fields.into_iter().filter(|(name, _)| theirs(name)));
        let mut data = Value::Object(all).to_string().into_bytes();
        let nonce = Nonce::assume_unique_for_key(fresh.iv);
        let tag = self
            .symmetric
            .seal_in_place_separate_tag(nonce, Aad::from(self.bound_to(path, now)), &mut data)
            .map_err(|_| Error::ApiSeal)?;
        let envelope = GcmBody {
            iv: lenient_base64::encode(&fresh.iv),
            data: lenient_base64::encode(&data),
            authtag: lenient_base64::encode(tag.as_ref()),
        };
        let body = serde_json::to_string(&envelope).map_err(|_| Error::ApiSeal)?;
        let mut signature = vec![0; self.signer.public_modulus_len()];
        self.signer
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                self.signed(path, now, &body).as_bytes(),
                &mut signature,
            )
            .map_err(|_| Error::ApiSeal)?;
        Ok(SealedBody {
            body,
            appid: self.appid.clone(),
            timestamp: now,
            signature: lenient_base64::encode(&signature),
            serial: self.signer_sn.clone(),
        })
    }

    /// Checks the signature and the time of what came, decrypts it, and gives its fields.
    pub fn open(
        &self,
        path: &str,
        stamp: SignatureHeaders<'_>,
        body: &str,
        now: UnixSecs,
    ) -> Result<Map<String, Value>, Error> {
        if stamp.appid != self.appid {
            return Err(Error::OtherApp);
        }
        let signature = match (stamp.serial, stamp.old) {
            (Some(serial), _) if serial == self.theirs_sn => stamp.signature,
            (None, _) => stamp.signature,
            (_, Some((serial, signature))) if serial == self.theirs_sn => signature,
            _ => return Err(Error::ApiSerial),
        };
        let timestamp = stamp.timestamp.parse().map_err(|_| Error::ApiTime)?;
        let timestamp = UnixSecs::new(timestamp);
        if now.distance(timestamp) > CLOCK_TOLERANCE {
            return Err(Error::ApiTime);
        }
        let signature = lenient_base64::decode(signature).ok_or(Error::ApiSignature)?;
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &self.theirs)
            .verify(self.signed(path, timestamp, body).as_bytes(), &signature)
            .map_err(|_| Error::ApiSignature)?;
        let mut fields = self.decrypt(path, timestamp, body)?;
        if fields.get("_appid").and_then(Value::as_str) != Some(&self.appid)
            || fields.get("_timestamp").and_then(Value::as_i64) != Some(timestamp.get())
        {
            return Err(Error::ApiData);
        }
        fields.retain(|name, _| !ENVELOPE_FIELDS.contains(&name.as_str()));
        Ok(fields)
    }

    fn decrypt(
        &self,
        path: &str,
        timestamp: UnixSecs,
        body: &str,
    ) -> Result<Map<String, Value>, Error> {
        let envelope: GcmBody = serde_json::from_str(body).map_err(|_| Error::ApiData)?;
        let iv = lenient_base64::decode_exactly(&envelope.iv).ok_or(Error::ApiData)?;
        let tag: [u8; 16] =
            lenient_base64::decode_exactly(&envelope.authtag).ok_or(Error::ApiData)?;
        let mut data = lenient_base64::decode(&envelope.data).ok_or(Error::ApiData)?;
        data.extend_from_slice(&tag);
        let plain = self
            .symmetric
            .open_in_place(
                Nonce::assume_unique_for_key(iv),
                Aad::from(self.bound_to(path, timestamp)),
                &mut data,
            )
            .map_err(|_| Error::ApiData)?;
        serde_json::from_slice(plain).map_err(|_| Error::ApiData)
    }

    /// What the encryption is bound to.
    fn bound_to(&self, path: &str, timestamp: UnixSecs) -> String {
        format!(
            "{ORIGIN}{path}|{}|{timestamp}|{}",
            self.appid, self.symmetric_sn
        )
    }

    /// What is signed: four lines, without the key's number and without an end of line.
    fn signed(&self, path: &str, timestamp: UnixSecs, body: &str) -> String {
        format!("{ORIGIN}{path}\n{}\n{timestamp}\n{body}", self.appid)
    }
}

impl std::fmt::Debug for SealedChannel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("appid", &self.appid)
            .finish_non_exhaustive()
    }
}

fn read_private_key(pem: &Secret) -> Result<RsaKeyPair, Error> {
    let bad = || Error::ApiKey("the private key is not an RSA key of 2048 bits or more in PEM");
    let key = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| bad())?;
    match &key {
        PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(bad()),
    }
    .map_err(|_| bad())
}

/// The key of a certificate, or a bare public key, as DER.
fn read_public_key(pem: &str) -> Result<Vec<u8>, Error> {
    let bad = || Error::ApiKey("the other side's key is no certificate or public key in PEM");
    let bytes = pem.as_bytes();
    if let Ok(key) = SubjectPublicKeyInfoDer::from_pem_slice(bytes) {
        return Ok(key.as_ref().to_vec());
    }
    let certificate = CertificateDer::from_pem_slice(bytes).map_err(|_| bad())?;
    let parsed = ParsedCertificate::try_from(&certificate).map_err(|_| bad())?;
    Ok(parsed.subject_public_key_info().as_ref().to_vec())
}

#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/wechat/api_sign.rs"]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
