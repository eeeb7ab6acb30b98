//! Why data that a phone brings is not taken.

use std::sync::Arc;

use weappd_wechat::CallError;

use crate::data_kind::DataKind;
use crate::error::{Error, UNOPENED};

/// Why what a phone brought is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenDataError {
    #[error("{0}")]
    Input(&'static str),
    /// The user has no session key that this weappd can read.
    #[error("no session key of this user is kept: log in again")]
    NoKey,
    /// WeChat has another session key by now, or encrypted with one it gave to nobody here.
    #[error(
        "WeChat no longer uses the session keys kept of this user: log in again, then ask the phone for the data anew"
    )]
    KeyGone,
    /// One word for whatever is wrong with encrypted data.
    #[error("{UNOPENED}")]
    Unopened,
    /// It is not even encoded as it must be.
    #[error("{0}")]
    Encoding(Arc<weappd_wechat::Error>),
    /// A number that was proven better is kept.
    #[error(
        "the user's number was proven by a code: prove another one by a code too, or DELETE it first"
    )]
    ProvenByCode,
    #[error("the data is of the kind {found}, not {wanted}")]
    Kind { found: DataKind, wanted: DataKind },
    #[error("the data is older than the configuration allows")]
    Stale,
    #[error("the signature does not fit: rawData is not WeChat's, or of an older login")]
    Unsigned,
    /// WeChat does not take the code.
    #[error(
        "WeChat does not take the code: it was used, is older than 5 minutes, or is not of the phone-number button"
    )]
    BadCode { errcode: i64 },
    #[error("the code is of another user or another mini program")]
    ForeignCode { errcode: i64 },
    #[error("too many calls for this user, try again in {retry_secs} s")]
    TooMany { retry_secs: u64 },
    #[error("too much data of this user did not open: nothing is opened for {retry_secs} s")]
    TooManyFailures { retry_secs: u64 },
    #[error("this weappd has no access_token to ask WeChat with")]
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
