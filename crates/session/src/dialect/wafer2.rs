//! Wafer 2, between phone and business server: `{code, data}` and `{code, error}`.
//!
//! Read in `wafer-node-sdk` 1.4.5 (`lib/auth`) and `wafer2-client-sdk` 2.1.0: the client
//! takes `code` -1 or HTTP 401 for a bad session, clears it, logs in with a code alone and
//! tries once more.

use bytes::Bytes;
use serde_json::json;

use crate::dialect::{LoginFailure, bytes};
use crate::identity::AuthError;

/// The answer to a login; `user_info` is JSON text.
pub(crate) fn logged_in(skey: &str, user_info: &str) -> Bytes {
    let skey = json!(skey);
    format!(r#"{{"code":0,"data":{{"userinfo":{user_info},"skey":{skey}}}}}"#).into()
}

/// The answer to a login without a code.
pub(crate) fn header_missed() -> Bytes {
    failed("ERR_HEADER_MISSED")
}

/// The answer to a failed login.
pub(crate) fn login_failed(fault: &LoginFailure) -> Bytes {
    let text = match fault {
        LoginFailure::Refused { errcode, errmsg } => {
            let answer = json!({"errcode": errcode, "errmsg": errmsg});
            format!("ERR_GET_SESSION_KEY\n{answer}")
        }
        LoginFailure::NoApp
        | LoginFailure::Stray(_)
        | LoginFailure::Net { .. }
        | LoginFailure::Answer => {
            let answer = json!({"errmsg": fault.to_string()});
            format!("ERR_GET_SESSION_KEY\n{answer}")
        }
        LoginFailure::Data(why) => format!("ERR_IN_DECRYPT_DATA\n{why}"),
        LoginFailure::Signature | LoginFailure::TooManyFailures { .. } => {
            format!("ERR_IN_DECRYPT_DATA\n{fault}")
        }
        LoginFailure::Input(what) => format!("ERR_HEADER_MISSED\n{what}"),
        LoginFailure::TooMany { .. } => format!("ERR_TOO_MANY_LOGINS\n{fault}"),
        LoginFailure::Internal => format!("ERR_WHEN_INSERT_TO_DB\n{fault}"),
    };
    failed(&text)
}

/// The answer of `GET /weapp/user`; `user_info` is JSON text.
pub(crate) fn user(user_info: &str) -> Bytes {
    format!(r#"{{"code":0,"data":{user_info}}}"#).into()
}

/// The answer of `GET /weapp/user` to a session that does not hold.
pub(crate) fn user_denied(denied: &AuthError) -> Bytes {
    match denied {
        AuthError::Expired => Bytes::from_static(br#"{"code":-1,"data":{}}"#),
        AuthError::Missing | AuthError::Unknown | AuthError::Failed(_) => self::denied(denied),
    }
}

/// The answer to a request that needs a session.
pub(crate) fn denied(denied: &AuthError) -> Bytes {
    match denied {
        AuthError::Missing | AuthError::Unknown | AuthError::Expired => failed("ERR_SKEY_INVALID"),
        // Any code but -1: the phone must not throw away a session that may be good.
        AuthError::Failed(_) => bytes(&json!({"code": -2, "error": "ERR_SESSION_STORE"})),
    }
}

fn failed(text: &str) -> Bytes {
    bytes(&json!({"code": -1, "error": text}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn envelopes_are_byte_for_byte_the_originals() {
        let user_info = r#"{"openId":"o"}"#;
        assert_eq!(
            logged_in("s", user_info),
            r#"{"code":0,"data":{"userinfo":{"openId":"o"},"skey":"s"}}"#
        );
        assert_eq!(user(user_info), r#"{"code":0,"data":{"openId":"o"}}"#);
        assert_eq!(
            user_denied(&AuthError::Unknown),
            r#"{"code":-1,"error":"ERR_SKEY_INVALID"}"#
        );
        assert_eq!(user_denied(&AuthError::Expired), r#"{"code":-1,"data":{}}"#);
        assert_eq!(
            header_missed(),
            r#"{"code":-1,"error":"ERR_HEADER_MISSED"}"#
        );
        let refused = LoginFailure::Refused {
            errcode: 40029,
            errmsg: "invalid code".to_owned(),
        };
        assert_eq!(
            login_failed(&refused),
            r#"{"code":-1,"error":"ERR_GET_SESSION_KEY\n{\"errcode\":40029,\"errmsg\":\"invalid code\"}"}"#
        );
    }

    #[test]
    fn a_failed_store_does_not_log_the_phone_out() {
        assert_eq!(
            user_denied(&AuthError::Failed(Error::Closed)),
            r#"{"code":-2,"error":"ERR_SESSION_STORE"}"#
        );
    }
}
