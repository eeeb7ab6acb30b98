//! The dialects: how logins, users and refusals are said on the wire.
//!
//! To add one: a file here with pure functions from what happened to bytes, a line in the
//! list below, and its routes in `http.rs`. Every failed login reaches a dialect as a
//! [`LoginFailure`]; its `match` has no `_`, so that a new failure does not compile until each
//! dialect has words for it.

pub(crate) mod native;
pub(crate) mod rpc;
pub(crate) mod wafer1;
pub(crate) mod wafer2;

use std::fmt;

use crate::error::Error;
use crate::login_app::AppChoiceError;

/// Why a login failed, as far as it concerns the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LoginFailure {
    /// The request lacks something or is beyond a limit.
    Input(&'static str),
    /// There is no such mini program here.
    NoApp,
    /// The login names a mini program, and none of the site's.
    Stray(AppChoiceError),
    /// WeChat could not be asked.
    Net { timed_out: bool },
    /// WeChat said no.
    Refused { errcode: i64, errmsg: String },
    /// WeChat's answer makes no sense.
    Answer,
    /// The encrypted data does not open, or is of somebody else.
    Data(String),
    /// The signature beside the user data does not fit.
    Signature,
    /// The address or the user logs in too often.
    TooMany { retry_secs: u64 },
    /// Too much of what the user brought did not open.
    TooManyFailures { retry_secs: u64 },
    /// weappd itself failed.
    Internal,
}

impl From<&Error> for LoginFailure {
    fn from(err: &Error) -> Self {
        use weappd_wechat::Error as Wechat;
        match err {
            Error::Input(what) => Self::Input(what),
            Error::UnknownApp { .. } => Self::NoApp,
            Error::Exchange(cause) => match &**cause {
                Wechat::Timeout { .. } => Self::Net { timed_out: true },
                Wechat::Unreachable(_)
                | Wechat::CutShort(_)
                | Wechat::TrustRoots(_)
                | Wechat::Endpoint(_) => Self::Net { timed_out: false },
                Wechat::Refused { errcode, errmsg } => Self::Refused {
                    errcode: *errcode,
                    errmsg: errmsg.clone(),
                },
                // The rest tells of answers that are not WeChat's contract.
                _ => Self::Answer,
            },
            Error::Unopened => Self::Data(err.to_string()),
            Error::Encoding(cause) => Self::Data(cause.to_string()),
            Error::Unsigned => Self::Signature,
            Error::TooManyFailures { retry_secs } => Self::TooManyFailures {
                retry_secs: *retry_secs,
            },
            Error::TooManyLogins { retry_secs } => Self::TooMany {
                retry_secs: *retry_secs,
            },
            // No login makes such a call.
            Error::Call(_)
            | Error::StoreKind(_)
            | Error::CreateStore { .. }
            | Error::OpenStore { .. }
            | Error::ForeignStore { .. }
            | Error::NewerStore { .. }
            | Error::ReadStore { .. }
            | Error::WriteStore { .. }
            | Error::StoreSilent { .. }
            | Error::KeyFile { .. }
            | Error::WhichApp { .. }
            | Error::OtherApp { .. }
            | Error::OtherKeyFile { .. }
            | Error::Closed
            | Error::CutShort(_) => Self::Internal,
        }
    }
}

impl fmt::Display for LoginFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(what) => f.write_str(what),
            Self::NoApp => f.write_str("no mini program is configured here"),
            Self::Stray(stray) => stray.fmt(f),
            Self::Net { timed_out: true } => f.write_str("WeChat did not answer in time"),
            Self::Net { timed_out: false } => f.write_str("WeChat could not be reached"),
            Self::Refused { errcode, errmsg } => {
                write!(f, "WeChat refused the login: {errcode} {errmsg}")
            }
            Self::Answer => f.write_str("WeChat's answer was not understood"),
            Self::Data(why) => write!(f, "the user data cannot be used: {why}"),
            Self::Signature => f.write_str(
                "the signature does not fit: rawData is not WeChat's, or older than the code",
            ),
            Self::TooMany { retry_secs } => {
                write!(f, "too many logins, try again in {retry_secs} s")
            }
            Self::TooManyFailures { retry_secs } => write!(
                f,
                "too much data of this user did not open: nothing is opened for {retry_secs} s; log in with a code alone"
            ),
            Self::Internal => f.write_str("the session store failed, try again"),
        }
    }
}

/// A JSON value as bytes.
fn bytes(value: &serde_json::Value) -> bytes::Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use weappd_base::unix_time::UnixSecs;

    use super::*;
    use crate::identity::UserIdentity;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn read(body: &[u8]) -> Value {
        serde_json::from_slice(body).expect("JSON")
    }

    proptest! {
        #[test]
        fn every_envelope_round_trips(id in ".*", skey in ".*", name in ".*", n in any::<i64>()) {
            let info = json!({"openId": id, "nickName": name, "n": n});
            let text = info.to_string();
            let body = read(&wafer1::logged_in(&id, &skey));
            prop_assert_eq!(&body["session"], &json!({"id": id, "skey": skey}));
            let body = read(&wafer1::user(&text));
            prop_assert_eq!(&body["data"]["userInfo"], &info);
            let body = read(&wafer2::logged_in(&skey, &text));
            prop_assert_eq!(&body["data"], &json!({"userinfo": info, "skey": skey}));
            prop_assert_eq!(&read(&wafer2::user(&text))["data"], &info);
            prop_assert_eq!(&read(&rpc::decrypted(&name))["returnData"], &json!(name));
            let identity = UserIdentity {
                appid: id.clone(),
                openid: id.clone(),
                unionid: Some(name.clone()),
                id: id.clone(),
                user_info_json: text,
            };
            let body = read(&native::session(Some(&skey), UnixSecs::new(n), &identity, None));
            let user = json!({
                "id": id, "appid": id, "openid": id, "unionid": name, "info": info,
            });
            prop_assert_eq!(body, json!({"skey": skey, "expires_at": n, "user": user}));
        }

        #[test]
        fn every_refusal_is_json_in_every_dialect(errcode in any::<i64>(), errmsg in ".*") {
            let fault = LoginFailure::Refused { errcode, errmsg: errmsg.clone() };
            let message = read(&wafer1::login_failed(&fault))["message"].clone();
            prop_assert!(message.as_str().is_some_and(|text| text.contains(&errmsg)));
            let error = read(&wafer2::login_failed(&fault))["error"].clone();
            let told = error.as_str().and_then(|text| text.split_once('\n')).expect("two lines");
            prop_assert_eq!(read(told.1.as_bytes()), json!({"errcode": errcode, "errmsg": errmsg}));
            let (_, body) = native::login_failed(&fault);
            prop_assert_eq!(&read(&body)["error"]["errcode"], &json!(errcode));
        }
    }
}
