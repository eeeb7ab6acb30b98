//! What can go wrong between weappd and WeChat, in words that hold no secret.

use weappd_base::language::pick;
use weappd_outbound::{ExchangeError, SendError, TrustRootsError};

use crate::errcode;

/// What is wrong with a key of the API signature, in the language that is spoken here.
fn key_words(english: &'static str) -> &'static str {
    let chinese = match english {
        "the symmetric key is not 32 bytes of base64" => "对称密钥不是 32 字节的 base64",
        "a key's number is not letters and digits" => "密钥编号只能是字母和数字",
        "the private key is not an RSA key of 2048 bits or more in PEM" => {
            "私钥不是 PEM 格式、2048 位以上的 RSA 密钥"
        }
        "the other side's key is no certificate or public key in PEM" => {
            "开放平台的公钥不是 PEM 格式的证书或公钥"
        }
        other => other,
    };
    pick(english, chinese)
}

/// A call, an encrypted text or a pushed message that could not be used.
///
/// No variant carries a secret, a code or a session key: errors may be logged as they are.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configured endpoint cannot be called.
    #[error("the WeChat endpoint cannot be called: {0}")]
    Endpoint(&'static str),
    /// The machine's trusted certificates could not be read.
    #[error("WeChat's certificate could not be checked")]
    TrustRoots(#[source] TrustRootsError),
    /// No connection to WeChat, or it was closed before the answer began.
    #[error("WeChat could not be reached")]
    Unreachable(#[source] SendError),
    /// The answer did not come in time.
    #[error("WeChat did not answer within {after_ms} ms")]
    Timeout {
        /// The configured limit.
        after_ms: u64,
    },
    /// The answer broke off in the middle.
    #[error("WeChat's answer broke off")]
    CutShort(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is longer than any answer of WeChat's.
    #[error("WeChat's answer is longer than {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: usize,
    },
    /// The answer is not what WeChat's contract says.
    #[error("WeChat's answer (HTTP {status}) {what}")]
    Malformed {
        /// The HTTP status it came with.
        status: u16,
        /// What is wrong with it.
        what: &'static str,
    },
    /// WeChat understood and said no.
    #[error("WeChat refused: {errcode} {errmsg}")]
    Refused {
        /// WeChat's number; [`errcode::explain`] tells a person what to do.
        errcode: i64,
        /// WeChat's text, with its trace id (`rid: ...`).
        errmsg: String,
    },

    /// The session key is not 16 bytes of base64 (official demo: -41001).
    #[error("the session key is not 16 bytes of base64")]
    SessionKey,
    /// The iv is not 16 bytes of base64 (-41002).
    #[error("the iv is not 16 bytes of base64")]
    Iv,
    /// The encrypted data is not base64 (-41004).
    #[error("the encrypted data is not base64")]
    EncryptedData,
    /// The data does not open with this session key, or what it holds is not data of this
    /// mini program (-41003). One word for all of it: whoever could tell the one from the
    /// other could forge data. Mostly the phone took the data before the login that changed
    /// the key.
    #[error("the data does not open with this session key, or is not data of this mini program")]
    Decrypt,
    /// The message was made for another mini program (-40005).
    #[error("this was made for another mini program")]
    OtherApp,

    /// The `EncodingAESKey` is not 43 characters of base64 (-40004).
    #[error("the EncodingAESKey is not 43 characters of base64")]
    EncodingAesKey,
    /// The pushed message is not signed with our token (-40001).
    #[error("the message signature is wrong")]
    MessageSignature,
    /// The pushed body holds no `Encrypt` (-40002).
    #[error("the pushed body is neither JSON nor XML with an Encrypt field")]
    Envelope,
    /// The pushed message does not decrypt with this key (-40007).
    #[error("the message does not decrypt with this EncodingAESKey")]
    Message,

    /// A key of the API signature cannot be used.
    #[error("{}", key_words(.0))]
    ApiKey(&'static str),
    /// A call could not be encrypted or signed.
    #[error("the call could not be encrypted and signed")]
    ApiSeal,
    /// It was signed with a key of another number than the configured one.
    #[error("it is signed with a key whose number is not the configured one")]
    ApiSerial,
    /// It was signed more than five minutes ago, or in the future.
    #[error("the signature's time is more than 300 s from now")]
    ApiTime,
    /// The signature is wrong.
    #[error("the API signature is wrong")]
    ApiSignature,
    /// What was signed does not decrypt, or was made for another call.
    #[error("the encrypted body cannot be opened with this symmetric key")]
    ApiData,
}

impl Error {
    /// What ended a call to WeChat.
    pub(crate) fn of_exchange(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Unreachable(cause) => Self::Unreachable(cause),
            ExchangeError::CutShort(cause) => Self::CutShort(cause),
            ExchangeError::TooLong { limit } => Self::TooLong { limit },
            ExchangeError::Timeout { after_ms } => Self::Timeout { after_ms },
        }
    }

    /// Whether the network or WeChat's health is to blame, not what was asked: another try
    /// with a fresh code may succeed.
    pub fn is_network(&self) -> bool {
        matches!(
            self,
            Self::Unreachable(_)
                | Self::Timeout { .. }
                | Self::CutShort(_)
                | Self::Refused { errcode: -1, .. }
        )
    }

    /// What a person can do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Refused { errcode, .. } => errcode::explain(*errcode).map(|known| known.advice),
            Self::Endpoint(_) => Some("set wechat.endpoint to https://api.weixin.qq.com"),
            Self::TrustRoots(_) => Some("install the system's CA certificates (ca-certificates)"),
            Self::Unreachable(_) | Self::Timeout { .. } | Self::CutShort(_) => {
                Some("check that this machine reaches WeChat: DNS, firewall, proxy")
            }
            Self::Decrypt => Some(
                "the phone must call wx.login first, send the code, and only then fetch the data",
            ),
            Self::OtherApp => Some("check that the appid configured here is the phone's"),
            Self::MessageSignature => {
                Some("compare the Token here with the one set in WeChat's console")
            }
            Self::EncodingAesKey | Self::Message => {
                Some("compare the EncodingAESKey here with the one set in WeChat's console")
            }
            Self::ApiSerial | Self::ApiSignature => Some(
                "compare WeChat's certificate and its number here with the console's (API 安全)",
            ),
            Self::ApiData => {
                Some("compare the symmetric key and its number with the console's (API 安全)")
            }
            Self::ApiTime => Some("set this machine's clock"),
            _ => None,
        }
    }
}
