//! Wafer 1, between phone and business server: the envelopes that carry the magic key.
//!
//! Read in `wafer-node-server-sdk` 0.8.2 (`lib/auth`) and `wafer-client-sdk` 0.8.4: the
//! client takes every answer with the magic key for the SDK's own, clears its session, and
//! after `ERR_INVALID_SESSION` logs in anew and tries once more.

use bytes::Bytes;
use serde_json::json;

use crate::dialect::{LoginFailure, bytes};
use crate::identity::AuthError;

/// The key that marks an answer as the SDK's.
pub(crate) const MAGIC: &str = "F2C224D4-2BCE-4C64-AF9F-A6D872000D1A";

/// The answer to a login.
pub(crate) fn logged_in(id: &str, skey: &str) -> Bytes {
    bytes(&json!({MAGIC: 1, "session": {"id": id, "skey": skey}}))
}

/// The answer to a failed login.
pub(crate) fn login_failed(fault: &LoginFailure) -> Bytes {
    failed("ERR_LOGIN_FAILED", &fault.to_string())
}

/// The answer to a request whose session does not hold.
pub(crate) fn denied(denied: &AuthError) -> Bytes {
    let word = match denied {
        AuthError::Unknown | AuthError::Expired => "ERR_INVALID_SESSION",
        AuthError::Missing | AuthError::Failed(_) => "ERR_CHECK_LOGIN_FAILED",
    };
    failed(word, &denied.to_string())
}

/// The answer of `GET /user`; `user_info` is JSON text.
pub(crate) fn user(user_info: &str) -> Bytes {
    format!(r#"{{"code":0,"message":"ok","data":{{"userInfo":{user_info}}}}}"#).into()
}

fn failed(word: &str, message: &str) -> Bytes {
    bytes(&json!({MAGIC: 1, "error": word, "message": message}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_byte_for_byte_the_originals() {
        assert_eq!(
            logged_in("i", "s"),
            r#"{"F2C224D4-2BCE-4C64-AF9F-A6D872000D1A":1,"session":{"id":"i","skey":"s"}}"#
        );
        assert_eq!(
            denied(&AuthError::Expired),
            r#"{"F2C224D4-2BCE-4C64-AF9F-A6D872000D1A":1,"error":"ERR_INVALID_SESSION","message":"the session has expired"}"#
        );
        assert_eq!(
            user(r#"{"nickName":"Band"}"#),
            r#"{"code":0,"message":"ok","data":{"userInfo":{"nickName":"Band"}}}"#
        );
    }

    #[test]
    fn only_a_session_that_does_not_hold_makes_the_phone_log_in_anew() {
        for (why, invalid) in [
            (AuthError::Unknown, true),
            (AuthError::Expired, true),
            (AuthError::Missing, false),
            (AuthError::Failed(crate::error::Error::Closed), false),
        ] {
            let body = String::from_utf8(denied(&why).to_vec()).expect("text");
            assert_eq!(body.contains("ERR_INVALID_SESSION"), invalid, "{body}");
            assert_eq!(body.contains("ERR_CHECK_LOGIN_FAILED"), !invalid, "{body}");
        }
    }
}
