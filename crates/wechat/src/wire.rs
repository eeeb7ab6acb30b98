//! WeChat's answers, read as loosely as WeChat writes them.
//!
//! Success often has no `errcode`; some pages show it as a string; neither the HTTP status
//! nor the content type tells anything. Values are taken out by hand, so that no parser's
//! message can carry a session key into a log.

use serde_json::{Map, Value};
use weappd_base::secret::Secret;

use crate::error::Error;
use crate::lenient::lenient_json;

/// Who logged in, as WeChat says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WechatLogin {
    /// The user's id in this mini program.
    pub openid: String,
    /// The key that the user's open data is encrypted and signed with.
    pub session_key: Secret,
    /// The user's id in the Open Platform account, if the mini program is bound to one.
    pub unionid: Option<String>,
    /// Seconds the session key lives; WeChat no longer sends it.
    pub expires_in: Option<i64>,
}

/// The answer's fields, if it is a JSON object that tells no error.
pub(crate) fn read_answer(status: u16, body: &[u8]) -> Result<Map<String, Value>, Error> {
    let malformed = |what| Error::Malformed { status, what };
    let Ok(answer) = lenient_json(&String::from_utf8_lossy(body)) else {
        return Err(malformed("is not JSON"));
    };
    let Value::Object(fields) = answer else {
        return Err(malformed("is not a JSON object"));
    };
    match read_number(fields.get("errcode")) {
        Ok(None | Some(0)) => Ok(fields),
        Ok(Some(errcode)) => Err(Error::Refused {
            errcode,
            errmsg: fields
                .get("errmsg")
                .and_then(Value::as_str)
                .map(tidy)
                .unwrap_or_default(),
        }),
        Err(()) => Err(malformed("has an errcode that is no number")),
    }
}

/// Reads the answer of `jscode2session`.
pub(crate) fn read_login(
    status: u16,
    mut fields: Map<String, Value>,
) -> Result<WechatLogin, Error> {
    let malformed = |what| Error::Malformed { status, what };
    let mut text = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let openid = text("openid").ok_or(malformed("has no openid"))?;
    let session_key = text("session_key").ok_or(malformed("has no session_key"))?;
    let unionid = text("unionid");
    Ok(WechatLogin {
        openid,
        session_key: Secret::new(session_key),
        unionid,
        expires_in: read_number(fields.get("expires_in")).unwrap_or(None),
    })
}

/// A number, a number in quotes, or nothing.
fn read_number(value: Option<&Value>) -> Result<Option<i64>, ()> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => number.as_i64().map(Some).ok_or(()),
        Some(Value::String(text)) => text.trim().parse().map(Some).map_err(|_| ()),
        Some(_) => Err(()),
    }
}

/// One line of at most 300 characters: it goes to logs.
fn tidy(errmsg: &str) -> String {
    errmsg
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(body: &str) -> Result<WechatLogin, Error> {
        read_answer(200, body.as_bytes()).and_then(|fields| read_login(200, fields))
    }

    #[test]
    fn errcode_absent_null_zero_and_quoted_zero_are_success() {
        for errcode in [
            "",
            r#""errcode":null,"#,
            r#""errcode":0,"#,
            r#""errcode":"0","#,
        ] {
            let got = login(&format!(
                r#"{{{errcode}"openid":"o1","session_key":"k","unionid":"","expires_in":"7200"}}"#
            ));
            let want = WechatLogin {
                openid: "o1".to_owned(),
                session_key: Secret::new("k"),
                unionid: None,
                expires_in: Some(7200),
            };
            assert_eq!(got.ok(), Some(want), "{errcode}");
        }
    }

    #[test]
    fn errcode_may_be_a_string() {
        let refused = login(r#"{"errcode":"40029","errmsg":"invalid code,\nrid: 1-2-3"}"#);
        assert!(matches!(
            refused,
            Err(Error::Refused { errcode: 40029, errmsg }) if errmsg == "invalid code, rid: 1-2-3"
        ));
    }

    #[test]
    fn half_an_answer_is_malformed_and_tells_no_secret() {
        for body in [
            "",
            "<html>bad gateway</html>",
            "[]",
            r#"{"openid":"o1"}"#,
            r#"{"session_key":"tiihtNczf5v6AKRyjwEUhQ=="}"#,
            r#"{"openid":7,"session_key":"tiihtNczf5v6AKRyjwEUhQ=="}"#,
            r#"{"openid":"o1","session_key":["tiihtNczf5v6AKRyjwEUhQ=="]}"#,
            r#"{"errcode":{"a":1},"openid":"o1","session_key":"tiihtNczf5v6AKRyjwEUhQ=="}"#,
            r#"{"openid":"o1","session_key":"tiihtNczf5v6AKRyjwEUhQ=="#,
        ] {
            let error = login(body).expect_err(body);
            assert!(
                matches!(error, Error::Malformed { status: 200, .. }),
                "{body}"
            );
            assert!(!format!("{error} {error:?}").contains("tiiht"), "{body}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_obstacle() {
        assert!(login("\u{feff}{\"openid\":\"o\",\"session_key\":\"k\"}").is_ok());
    }
}
