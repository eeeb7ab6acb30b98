//! Why data that a phone brings is not taken.

use std::sync::Arc;

use weappd_base::language::pick;
use weappd_base::words;
use weappd_wechat::CallError;

use crate::data_kind::DataKind;
use crate::dialect::input_words;
use crate::error::{Error, UNOPENED, UNOPENED_ZH};

/// Why what a phone brought is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenDataError {
    #[error("{}", input_words(.0))]
    Input(&'static str),
    /// The user has no session key that this weappd can read.
    #[error(
        "{}",
        pick(
            "no session key of this user is kept: log in again",
            "这里没有这个用户的 session_key：请重新登录"
        )
    )]
    NoKey,
    /// WeChat has another session key by now, or encrypted with one it gave to nobody here.
    #[error(
        "{}",
        pick(
            "WeChat no longer uses the session keys kept of this user: log in again, then ask the phone for the data anew",
            "这里保存的该用户的 session_key 已失效：请重新登录，再让手机重新获取数据"
        )
    )]
    KeyGone,
    /// One word for whatever is wrong with encrypted data.
    #[error("{}", pick(UNOPENED, UNOPENED_ZH))]
    Unopened,
    /// It is not even encoded as it must be.
    #[error("{0}")]
    Encoding(Arc<weappd_wechat::Error>),
    /// A number that was proven better is kept.
    #[error(
        "{}",
        pick(
            "the user's number was proven by a code: prove another one by a code too, or DELETE it first",
            "这个用户的手机号是用 code 验证的：换号也要用 code 验证，或先用 DELETE 删除"
        )
    )]
    ProvenByCode,
    #[error("{}", words!("the data is of the kind {}, not {}", "这是 {} 类的数据，不是 {} 类", .found, .wanted))]
    Kind { found: DataKind, wanted: DataKind },
    #[error(
        "{}",
        pick(
            "the data is older than the configuration allows",
            "数据太旧，超过了配置允许的时间"
        )
    )]
    Stale,
    #[error(
        "{}",
        pick(
            "the signature does not fit: rawData is not WeChat's, or of an older login",
            "签名不符：rawData 不是微信返回的，或属于更早的一次登录"
        )
    )]
    Unsigned,
    /// WeChat does not take the code.
    #[error(
        "{}",
        pick(
            "WeChat does not take the code: it was used, is older than 5 minutes, or is not of the phone-number button",
            "微信不接受这个 code：它已使用过、已超过 5 分钟，或不是 getPhoneNumber 按钮返回的"
        )
    )]
    BadCode { errcode: i64 },
    #[error(
        "{}",
        pick(
            "the code is of another user or another mini program",
            "这个 code 属于别的用户或别的小程序"
        )
    )]
    ForeignCode { errcode: i64 },
    #[error("{}", words!("too many calls for this user, try again in {} s", "这个用户的请求太多，请 {} 秒后再试", .retry_secs))]
    TooMany { retry_secs: u64 },
    #[error("{}", words!("too much data of this user did not open: nothing is opened for {} s", "这个用户有太多数据无法解密：{} 秒内不再解密", .retry_secs))]
    TooManyFailures { retry_secs: u64 },
    #[error(
        "{}",
        pick(
            "this weappd has no access_token to ask WeChat with",
            "这个 weappd 没有用来调用微信接口的 access_token"
        )
    )]
    NoCalls,
    #[error(transparent)]
    Call(CallError),
    #[error(transparent)]
    Internal(Error),
}

impl From<Error> for OpenDataError {
    fn from(err: Error) -> Self {
        match err {
            Error::Call(err) => Self::Call(err),
            Error::TooManyLogins { retry_secs } => Self::TooMany { retry_secs },
            Error::TooManyFailures { retry_secs } => Self::TooManyFailures { retry_secs },
            Error::Unopened => Self::Unopened,
            Error::Encoding(err) => Self::Encoding(err),
            err => Self::Internal(err),
        }
    }
}

impl OpenDataError {
    /// The same where WeChat's numbers speak of a code.
    pub(crate) fn of_code(self) -> Self {
        match self {
            Self::Call(CallError::Refused { errcode, .. }) if is_bad_code(errcode) => {
                Self::BadCode { errcode }
            }
            Self::Call(CallError::Refused { errcode, .. }) if is_foreign(errcode) => {
                Self::ForeignCode { errcode }
            }
            other => other,
        }
    }

    /// WeChat's number, if it gave one.
    pub(crate) fn errcode(&self) -> Option<i64> {
        match self {
            Self::BadCode { errcode }
            | Self::ForeignCode { errcode }
            | Self::Call(CallError::Refused { errcode, .. }) => Some(*errcode),
            _ => None,
        }
    }
}

/// Invalid, used, missing.
fn is_bad_code(errcode: i64) -> bool {
    matches!(errcode, 40029 | 40163 | 41008)
}

/// The wrong openid, the wrong mini program.
fn is_foreign(errcode: i64) -> bool {
    matches!(errcode, 40003 | 40013 | 43104)
}
