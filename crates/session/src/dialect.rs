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

use weappd_base::language::{Language, pick};
use weappd_base::words;

use crate::error::{Error, UNOPENED, UNOPENED_ZH};
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
            Self::Input(what) => f.write_str(input_words(what)),
            Self::NoApp => f.write_str(pick(
                "no mini program is configured here",
                "这里没有配置小程序",
            )),
            Self::Stray(stray) => stray.fmt(f),
            Self::Net { timed_out: true } => f.write_str(pick("WeChat did not answer in time", "微信响应超时")),
            Self::Net { timed_out: false } => f.write_str(pick("WeChat could not be reached", "无法连接微信")),
            Self::Refused { errcode, errmsg } => {
                f.write_str(&words!(
                    "WeChat refused the login: {errcode} {errmsg}",
                    "微信拒绝了这次登录：{errcode} {errmsg}"
                ))
            }
            Self::Answer => f.write_str(pick("WeChat's answer was not understood", "无法识别微信返回的内容")),
            Self::Data(why) => f.write_str(&words!(
                "the user data cannot be used: {}",
                "用户数据无效：{}",
                input_words(why)
            )),
            Self::Signature => f.write_str(pick(
                "the signature does not fit: rawData is not WeChat's, or older than the code",
                "签名不符：rawData 不是微信返回的，或早于这个 code",
            )),
            Self::TooMany { retry_secs } => {
                f.write_str(&words!(
                    "too many logins, try again in {retry_secs} s",
                    "登录太频繁，请 {retry_secs} 秒后再试"
                ))
            }
            Self::TooManyFailures { retry_secs } => f.write_str(&words!(
                "too much data of this user did not open: nothing is opened for {retry_secs} s; log in with a code alone",
                "这个用户有太多数据无法解密：{retry_secs} 秒内不再解密；请只用 code 登录"
            )),
            Self::Internal => f.write_str(pick(
                "the session store failed, try again",
                "会话存储出现故障，请重试",
            )),
        }
    }
}

/// What may be wrong with a request, in Chinese: it is found deep inside, where nobody knows
/// who reads it.
const INPUTS: [(&str, &str); 12] = [
    (UNOPENED, UNOPENED_ZH),
    ("the request lacks X-WX-Code", "请求缺少 X-WX-Code"),
    (
        "X-WX-Encrypted-Data and X-WX-IV belong together",
        "X-WX-Encrypted-Data 和 X-WX-IV 必须同时提供",
    ),
    (
        "encryptedData and iv belong together",
        "encryptedData 和 iv 必须同时提供",
    ),
    (
        "rawData and signature belong together",
        "rawData 和 signature 必须同时提供",
    ),
    (
        "bring the code of the phone-number button, or encryptedData with its iv",
        "请带上 getPhoneNumber 按钮返回的 code，或 encryptedData 和 iv",
    ),
    ("rawData holds no JSON object", "rawData 不是 JSON 对象"),
    ("the code is longer than 512 bytes", "code 超过 512 字节"),
    ("the login brings no code", "登录请求没有带 code"),
    (
        "the encrypted data is longer than 32 KiB",
        "encryptedData 超过 32 KiB",
    ),
    ("rawData is longer than 32 KiB", "rawData 超过 32 KiB"),
    ("the name of a shared value is too long", "名字太长"),
];

/// What is wrong with a request, in the language that is spoken here.
pub(crate) fn input_words(english: &str) -> &str {
    if Language::current() == Language::English {
        return english;
    }
    let known = INPUTS.iter().find(|(known, _)| *known == english);
    known.map_or(english, |(_, chinese)| chinese)
}

/// A JSON value as bytes.
fn bytes(value: &serde_json::Value) -> bytes::Bytes {
    value.to_string().into()
}

#[cfg(test)]
mod tests {
    use weappd_base::unix_time::UnixSecs;

    use super::*;
    use crate::identity::{AuthError, UserIdentity};
    use crate::open_data_error::OpenDataError;
    use crate::picture_store::PictureError;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn is_chinese(told: &dyn fmt::Display) -> bool {
        let told = Language::Chinese.speak(|| told.to_string());
        told.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
    }

    #[test]
    fn every_failure_is_told_in_chinese_too() {
        let logins = [
            LoginFailure::Input("the login brings no code"),
            LoginFailure::NoApp,
            LoginFailure::Stray(AppChoiceError::Torn),
            LoginFailure::Stray(AppChoiceError::Unreadable),
            LoginFailure::Stray(AppChoiceError::Named("wx1".to_owned())),
            LoginFailure::Stray(AppChoiceError::Referer("wx1".to_owned())),
            LoginFailure::Net { timed_out: true },
            LoginFailure::Net { timed_out: false },
            LoginFailure::Refused {
                errcode: 40029,
                errmsg: "invalid code".to_owned(),
            },
            LoginFailure::Answer,
            LoginFailure::Data(UNOPENED.to_owned()),
            LoginFailure::Signature,
            LoginFailure::TooMany { retry_secs: 1 },
            LoginFailure::TooManyFailures { retry_secs: 1 },
            LoginFailure::Internal,
        ];
        for fault in &logins {
            assert!(is_chinese(fault), "{fault}");
        }
        let data = [
            OpenDataError::NoKey,
            OpenDataError::KeyGone,
            OpenDataError::Unopened,
            OpenDataError::ProvenByCode,
            OpenDataError::Stale,
            OpenDataError::Unsigned,
            OpenDataError::BadCode { errcode: 1 },
            OpenDataError::ForeignCode { errcode: 1 },
            OpenDataError::TooMany { retry_secs: 1 },
            OpenDataError::TooManyFailures { retry_secs: 1 },
            OpenDataError::NoCalls,
            OpenDataError::Call(weappd_wechat::CallError::Timeout),
            OpenDataError::Call(weappd_wechat::CallError::Unreachable),
        ];
        for fault in &data {
            assert!(is_chinese(fault), "{fault}");
        }
        for denied in [AuthError::Missing, AuthError::Unknown, AuthError::Expired] {
            assert!(is_chinese(&denied), "{denied}");
        }
        let pictures = [
            PictureError::TooLarge { limit: 1 },
            PictureError::NotOne {
                found: "text".to_owned(),
            },
            PictureError::TooSlow,
            PictureError::Full,
            PictureError::Internal,
        ];
        for fault in &pictures {
            assert!(is_chinese(fault), "{fault}");
        }
    }

    #[test]
    fn every_sentence_about_a_request_has_a_chinese_one() {
        let sources = [
            include_str!("login.rs"),
            include_str!("data.rs"),
            include_str!("phone.rs"),
            include_str!("shared_values.rs"),
            include_str!("http/public.rs"),
            include_str!("dialect/native.rs"),
        ];
        let mut found = 0;
        for source in sources {
            let code = source.split("mod tests").next().unwrap_or_default();
            for before in ["Input(\"", "Err(\""] {
                for rest in code.split(before).skip(1) {
                    let (sentence, _) = rest.split_once('"').expect("a literal");
                    assert!(
                        INPUTS.iter().any(|(known, _)| *known == sentence),
                        "{sentence}"
                    );
                    found += 1;
                }
            }
        }
        assert!(found >= INPUTS.len() - 1, "{found} of {}", INPUTS.len());
    }

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
