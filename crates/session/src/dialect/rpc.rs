//! The session server's RPC (`mina_auth`): what a business server of Wafer 1 calls.
//!
//! Read in tencentyun/wafer-session-server and in the calls of `wafer-node-server-sdk`
//! 0.8.2: a JSON body of any content type, HTTP 200 always, the outcome in `returnCode`.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Value};

use crate::dialect::LoginFailure;
use crate::error::Error;
use crate::identity::AuthError;

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RpcCall {
    /// `qcloud.cam.id_skey`
    LogIn {
        code: String,
        encrypt_data: String,
        iv: Option<String>,
    },
    /// `qcloud.cam.auth`
    Check { id: String, skey: String },
    /// `qcloud.cam.decrypt`
    Decrypt {
        id: String,
        skey: String,
        encrypt_data: String,
        iv: Option<String>,
    },
    /// `qcloud.cam.initdata`
    Register { appid: String, secret: String },
}

/// A return code and its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RpcError(pub(crate) i64, pub(crate) &'static str);

pub(crate) const MYSQL_ERR: RpcError = RpcError(1001, "MYSQL_ERR");
pub(crate) const NO_INTERFACENAME_PARA: RpcError = RpcError(1002, "NO_INTERFACENAME_PARA");
pub(crate) const PARA_ERR: RpcError = RpcError(1003, "PARA_ERR");
pub(crate) const WEIXIN_NET_ERR: RpcError = RpcError(1005, "WEIXIN_NET_ERR");
pub(crate) const CHANGE_SESSION_ERR: RpcError = RpcError(1006, "CHANGE_SESSION_ERR");
pub(crate) const WEIXIN_RETURN_ERR: RpcError = RpcError(1007, "WEIXIN_RETURN_ERR");
pub(crate) const REQUEST_IS_NOT_JSON: RpcError = RpcError(1009, "REQUEST_IS_NOT_JSON");
/// Ours: the original had no limit.
pub(crate) const REQUEST_TOO_LARGE: RpcError = RpcError(1009, "REQUEST_TOO_LARGE");
/// Ours: the original waited.
pub(crate) const REQUEST_TOO_SLOW: RpcError = RpcError(1009, "REQUEST_TOO_SLOW");
pub(crate) const INTERFACENAME_PARA_ERR: RpcError = RpcError(1010, "INTERFACENAME_PARA_ERR");
pub(crate) const NO_PARA: RpcError = RpcError(1011, "NO_PARA");
pub(crate) const NO_APPID: RpcError = RpcError(1012, "NO_APPID");
pub(crate) const INIT_APPINFO_FAIL: RpcError = RpcError(1013, "INIT_APPINFO_FAIL");
pub(crate) const WEIXIN_CODE_ERR: RpcError = RpcError(40029, "WEIXIN_CODE_ERR");
pub(crate) const AUTH_FAIL: RpcError = RpcError(60012, "AUTH_FAIL");
pub(crate) const DECRYPT_FAIL: RpcError = RpcError(60021, "DECRYPT_FAIL");
pub(crate) const GET_SESSION_KEY_FAIL: RpcError = RpcError(60021, "GET_SESSION_KEY_FAIL");
pub(crate) const STILL_NOT_DECRYPTED: RpcError =
    RpcError(60021, "GET_SESSION_KEY_SUCCESS_BUT_DECRYPT_FAIL");

/// Reads a call, with the original's checks in the original's order.
pub(crate) fn read(body: &[u8]) -> Result<RpcCall, RpcError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| REQUEST_IS_NOT_JSON)?;
    let interface = body.get("interface");
    let set = |name: &str| {
        let value = interface.and_then(|interface| interface.get(name));
        value.filter(|value| !value.is_null())
    };
    let name = set("interfaceName").ok_or(NO_INTERFACENAME_PARA)?;
    let para = set("para").ok_or(NO_PARA)?;
    let para = RpcParams(para.as_object());
    match name.as_str() {
        Some("qcloud.cam.id_skey") => Ok(RpcCall::LogIn {
            code: para.text("code")?,
            encrypt_data: para.text("encrypt_data")?,
            // The original's name for having none.
            iv: para.optional("iv").filter(|iv| iv != "old"),
        }),
        Some("qcloud.cam.auth") => Ok(RpcCall::Check {
            id: para.text("id")?,
            skey: para.text("skey")?,
        }),
        Some("qcloud.cam.decrypt") => Ok(RpcCall::Decrypt {
            id: para.text("id")?,
            skey: para.text("skey")?,
            encrypt_data: para.text("encrypt_data")?,
            iv: para.optional("iv"),
        }),
        // The original also demanded its database's address and the server's: they are
        // accepted and not looked at.
        Some("qcloud.cam.initdata") => Ok(RpcCall::Register {
            appid: para.text("appid")?,
            secret: para.text("secret")?,
        }),
        _ => Err(INTERFACENAME_PARA_ERR),
    }
}

/// Which mini program a call means, if it says so itself: `interface.appid`.
pub(crate) fn named_app(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let appid = body.get("interface")?.get("appid")?.as_str()?;
    (!appid.is_empty()).then(|| appid.to_owned())
}

struct RpcParams<'a>(Option<&'a Map<String, Value>>);

impl RpcParams<'_> {
    fn text(&self, name: &str) -> Result<String, RpcError> {
        self.optional(name).ok_or(PARA_ERR)
    }

    /// A parameter as the text PHP makes of it.
    fn optional(&self, name: &str) -> Option<String> {
        match self.0?.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(is_true) => Some(if *is_true { "1" } else { "" }.to_owned()),
            Value::Array(_) | Value::Object(_) => Some("Array".to_owned()),
        }
    }
}

impl From<&LoginFailure> for RpcError {
    fn from(fault: &LoginFailure) -> Self {
        match fault {
            LoginFailure::Input(_) => PARA_ERR,
            LoginFailure::NoApp | LoginFailure::Stray(_) => NO_APPID,
            LoginFailure::Net { .. } => WEIXIN_NET_ERR,
            // WeChat's own limit, 45011, is told by the same number.
            LoginFailure::Refused { .. } | LoginFailure::TooMany { .. } => WEIXIN_CODE_ERR,
            LoginFailure::Answer => WEIXIN_RETURN_ERR,
            // The limit is told by the words of what it limits.
            LoginFailure::Data(_)
            | LoginFailure::Signature
            | LoginFailure::TooManyFailures { .. } => DECRYPT_FAIL,
            LoginFailure::Internal => CHANGE_SESSION_ERR,
        }
    }
}

impl From<&Error> for RpcError {
    fn from(err: &Error) -> Self {
        match err {
            // To the original, a status was part of the way there.
            Error::Exchange(cause) if is_not_ok(cause) => WEIXIN_NET_ERR,
            err => Self::from(&LoginFailure::from(err)),
        }
    }
}

fn is_not_ok(err: &weappd_wechat::Error) -> bool {
    matches!(err, weappd_wechat::Error::Malformed { status, .. } if *status != 200)
}

impl From<&AuthError> for RpcError {
    fn from(denied: &AuthError) -> Self {
        match denied {
            AuthError::Missing | AuthError::Unknown | AuthError::Expired => AUTH_FAIL,
            // Not the user's fault: the business server must not log the user out.
            AuthError::Failed(_) => MYSQL_ERR,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RpcResponse<'a, T> {
    return_code: i64,
    return_message: &'a str,
    return_data: T,
    version: u8,
    component_name: &'a str,
}

#[derive(Serialize)]
struct RpcLoginData<'a> {
    id: &'a str,
    skey: &'a str,
    user_info: Option<Value>,
    /// In seconds.
    duration: u64,
}

#[derive(Serialize)]
struct RpcCheckData {
    user_info: Option<Value>,
}

/// The answer to `qcloud.cam.id_skey`; `user_info` is JSON text.
pub(crate) fn logged_in(
    is_new_user: bool,
    (id, skey): (&str, &str),
    user_info: &str,
    lifetime: Duration,
) -> Bytes {
    let message = if is_new_user {
        "NEW_SESSION_SUCCESS"
    } else {
        "UPDATE_SESSION_SUCCESS"
    };
    let data = RpcLoginData {
        id,
        skey,
        user_info: serde_json::from_str(user_info).ok(),
        duration: lifetime.as_secs(),
    };
    answer(0, message, data)
}

/// The answer to `qcloud.cam.auth`; `user_info` is JSON text.
pub(crate) fn checked(user_info: &str) -> Bytes {
    let user_info = serde_json::from_str(user_info).ok();
    answer(0, "AUTH_SUCCESS", RpcCheckData { user_info })
}

/// The answer to `qcloud.cam.decrypt`: the decrypted text, as a text.
pub(crate) fn decrypted(text: &str) -> Bytes {
    answer(0, "DECRYPT_SUCCESS", text)
}

/// The answer to `qcloud.cam.initdata`.
pub(crate) fn registered() -> Bytes {
    answer(0, "INIT_APPINFO_SUCCESS", "")
}

/// The answer to a call that failed.
pub(crate) fn refused(refusal: RpcError) -> Bytes {
    answer(refusal.0, refusal.1, "")
}

fn answer<T: Serialize>(code: i64, message: &str, data: T) -> Bytes {
    let body = RpcResponse {
        return_code: code,
        return_message: message,
        return_data: data,
        version: 1,
        component_name: "MA",
    };
    let mut text = Vec::with_capacity(512);
    let mut writer = serde_json::Serializer::with_formatter(&mut text, PhpFormatter);
    // Texts, numbers and JSON, into memory: nothing that cannot be written.
    drop(body.serialize(&mut writer));
    text.into()
}

/// Writes JSON the way PHP does: in ASCII, with a backslash before each slash.
struct PhpFormatter;

impl Formatter for PhpFormatter {
    fn write_f64<W>(&mut self, writer: &mut W, value: f64) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // Beyond this PHP takes to exponents, as everybody does.
        if value.fract() == 0.0 && value.abs() < 1e15 {
            return write!(writer, "{value:.0}");
        }
        write!(writer, "{}", serde_json::json!(value))
    }

    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let is_plain = |letter: char| letter.is_ascii() && letter != '/';
        let mut rest = fragment;
        while let Some(at) = rest.find(|letter| !is_plain(letter)) {
            let (plain, odd) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let mut letters = odd.chars();
            match letters.next() {
                Some('/') => writer.write_all(b"\\/")?,
                Some(letter) => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
                None => {}
            }
            rest = letters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn call(name: &str, para: &Value) -> Result<RpcCall, RpcError> {
        let body = json!({
            "version": 1, "componentName": "MA",
            "interface": {"interfaceName": name, "para": para},
        });
        read(body.to_string().as_bytes())
    }

    #[test]
    fn the_checks_come_in_the_originals_order() {
        for (body, refusal) in [
            ("", REQUEST_IS_NOT_JSON),
            ("{", REQUEST_IS_NOT_JSON),
            ("\u{feff}{}", REQUEST_IS_NOT_JSON),
            ("7", NO_INTERFACENAME_PARA),
            ("{}", NO_INTERFACENAME_PARA),
            (r#"{"interface":{"para":{}}}"#, NO_INTERFACENAME_PARA),
            (
                r#"{"interface":{"interfaceName":null,"para":{}}}"#,
                NO_INTERFACENAME_PARA,
            ),
            (r#"{"interface":{"interfaceName":"nobody"}}"#, NO_PARA),
            (
                r#"{"interface":{"interfaceName":"nobody","para":{}}}"#,
                INTERFACENAME_PARA_ERR,
            ),
            (
                r#"{"interface":{"interfaceName":7,"para":{}}}"#,
                INTERFACENAME_PARA_ERR,
            ),
            (
                r#"{"interface":{"interfaceName":"qcloud.cam.auth","para":[]}}"#,
                PARA_ERR,
            ),
        ] {
            assert_eq!(read(body.as_bytes()), Err(refusal), "{body}");
        }
    }

    #[test]
    fn every_parameter_is_demanded() {
        for (name, para) in [
            (
                "qcloud.cam.id_skey",
                json!({"code": "c", "encrypt_data": "d"}),
            ),
            ("qcloud.cam.auth", json!({"id": "i", "skey": "s"})),
            (
                "qcloud.cam.decrypt",
                json!({"id": "i", "skey": "s", "encrypt_data": "d"}),
            ),
            ("qcloud.cam.initdata", json!({"appid": "a", "secret": "s"})),
        ] {
            assert!(call(name, &para).is_ok(), "{name}");
            for field in para.as_object().expect("an object").keys() {
                let mut less = para.clone();
                less.as_object_mut().expect("an object").remove(field);
                assert_eq!(call(name, &less), Err(PARA_ERR), "{name} without {field}");
                less[field] = json!(null);
                assert_eq!(call(name, &less), Err(PARA_ERR), "{name}, null {field}");
            }
        }
    }

    #[test]
    fn parameters_are_made_texts_as_php_makes_them() {
        for (given, text) in [
            (json!("x"), "x"),
            (json!(7), "7"),
            (json!(1.5), "1.5"),
            (json!(true), "1"),
            (json!(false), ""),
            (json!([]), "Array"),
            (json!({"a": 1}), "Array"),
        ] {
            let para = json!({"id": given, "skey": "s"});
            let (id, skey) = (text.to_owned(), "s".to_owned());
            assert_eq!(
                call("qcloud.cam.auth", &para),
                Ok(RpcCall::Check { id, skey })
            );
        }
        let para = json!({"code": "c", "encrypt_data": "d", "iv": "old"});
        let read = call("qcloud.cam.id_skey", &para);
        assert!(
            matches!(read, Ok(RpcCall::LogIn { iv: None, .. })),
            "{read:?}"
        );
    }

    #[test]
    fn envelopes_are_byte_for_byte_the_originals() {
        assert_eq!(
            logged_in(
                true,
                ("i", "s"),
                r#"{"nickName":"Band"}"#,
                Duration::from_hours(30 * 24)
            ),
            r#"{"returnCode":0,"returnMessage":"NEW_SESSION_SUCCESS","returnData":{"id":"i","skey":"s","user_info":{"nickName":"Band"},"duration":2592000},"version":1,"componentName":"MA"}"#
        );
        assert_eq!(
            checked("{}"),
            r#"{"returnCode":0,"returnMessage":"AUTH_SUCCESS","returnData":{"user_info":{}},"version":1,"componentName":"MA"}"#
        );
        assert_eq!(
            checked(r#"{"n": "木/\u00e9\\😀"}"#),
            r#"{"returnCode":0,"returnMessage":"AUTH_SUCCESS","returnData":{"user_info":{"n":"\u6728\/\u00e9\\\ud83d\ude00"}},"version":1,"componentName":"MA"}"#
        );
        assert_eq!(
            decrypted(r#"{"a":1}"#),
            r#"{"returnCode":0,"returnMessage":"DECRYPT_SUCCESS","returnData":"{\"a\":1}","version":1,"componentName":"MA"}"#
        );
        assert_eq!(
            refused(AUTH_FAIL),
            r#"{"returnCode":60012,"returnMessage":"AUTH_FAIL","returnData":"","version":1,"componentName":"MA"}"#
        );
    }

    proptest! {
        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..400)) {
            drop(read(&body));
        }

        #[test]
        fn logins_round_trip(code in ".*", data in ".*", iv in proptest::option::of(".*")) {
            let mut para = json!({"code": code, "encrypt_data": data});
            if let Some(iv) = &iv {
                para["iv"] = json!(iv);
            }
            prop_assert_eq!(
                call("qcloud.cam.id_skey", &para),
                Ok(RpcCall::LogIn { code, encrypt_data: data, iv })
            );
        }

        #[test]
        fn answers_round_trip(id in ".*", skey in ".*", name in ".*") {
            let info = json!({"nickName": name});
            let body = logged_in(false, (&id, &skey), &info.to_string(), Duration::from_secs(7));
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            prop_assert_eq!(&body["returnData"]["id"], &json!(id));
            prop_assert_eq!(&body["returnData"]["skey"], &json!(skey));
            prop_assert_eq!(&body["returnData"]["user_info"], &info);
        }
    }
}
