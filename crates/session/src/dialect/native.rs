//! weappd's own dialect at `/weapp/session`: HTTP statuses, and errors with a code for
//! programs and a sentence for people.

use axum::http::StatusCode;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use weappd_base::error_body::ErrorBody;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::CallError;

use crate::data_kind::DataKind;
use crate::dialect::LoginFailure;
use crate::identity::{AuthError, UserIdentity};
use crate::login::{EncryptedProfile, SignedProfile};
use crate::open_data_error::OpenDataError;
use crate::phone::{PhoneProof, VerifiedPhone};
use crate::picture_store::PictureError;
use crate::session::CachedSession;

/// The body of `POST /weapp/session`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LoginBody {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) encrypted_data: Option<String>,
    #[serde(default)]
    pub(crate) iv: Option<String>,
    #[serde(default)]
    pub(crate) raw_data: Option<String>,
    #[serde(default)]
    pub(crate) signature: Option<String>,
}

impl LoginBody {
    /// The user data beside the code, encrypted and signed. A field may be there and empty.
    pub(crate) fn brought(
        self,
    ) -> Result<(Option<EncryptedProfile>, Option<SignedProfile>), &'static str> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let data = match (some(self.encrypted_data), some(self.iv)) {
            (None, None) => None,
            (Some(encrypted), Some(iv)) => Some(EncryptedProfile {
                encrypted,
                iv: Some(iv),
            }),
            _ => return Err("encryptedData and iv belong together"),
        };
        let signed = match (some(self.raw_data), some(self.signature)) {
            (None, None) => None,
            (Some(raw_data), Some(signature)) => Some(SignedProfile {
                raw_data,
                signature,
            }),
            _ => return Err("rawData and signature belong together"),
        };
        Ok((data, signed))
    }
}

/// The body of `POST /weapp/session/decrypt`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DecryptBody {
    pub(crate) encrypted_data: String,
    pub(crate) iv: String,
    /// What it is expected to be.
    #[serde(default)]
    pub(crate) kind: Option<DataKind>,
}

/// The body of `POST /weapp/session/phone`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PhoneBody {
    code: Option<String>,
    encrypted_data: Option<String>,
    iv: Option<String>,
}

impl PhoneBody {
    /// What the phone-number button gave: a code, or the older form. Where it gave both, the
    /// code is the better proof.
    pub(crate) fn brought(self) -> Result<PhoneProof, &'static str> {
        match (self.code, self.encrypted_data, self.iv) {
            (Some(code), _, _) if !code.is_empty() => Ok(PhoneProof::Code(code)),
            (_, Some(encrypted), Some(iv)) => Ok(PhoneProof::Sealed { encrypted, iv }),
            _ => Err("bring the code of the phone-number button, or encryptedData with its iv"),
        }
    }
}

#[derive(Serialize)]
struct SessionBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    skey: Option<&'a str>,
    expires_at: UnixSecs,
    user: UserBody<'a>,
}

#[derive(Serialize)]
struct UserBody<'a> {
    id: &'a str,
    appid: &'a str,
    openid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    unionid: Option<&'a str>,
    info: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<&'a VerifiedPhone>,
}

/// A session, for the phone that has just opened it.
pub(crate) fn logged_in(
    skey: &str,
    session: &CachedSession,
    phone: Option<&VerifiedPhone>,
) -> Bytes {
    self::session(Some(skey), session.expires_at(), &session.identity, phone)
}

/// A session, for the phone or the server that asks who it is.
pub(crate) fn shown(session: &CachedSession, phone: Option<&VerifiedPhone>) -> Bytes {
    self::session(None, session.expires_at(), &session.identity, phone)
}

/// A session: with its skey to the phone that logged in, without it to one that asks.
pub(crate) fn session(
    skey: Option<&str>,
    expires_at: UnixSecs,
    identity: &UserIdentity,
    phone: Option<&VerifiedPhone>,
) -> Bytes {
    let body = SessionBody {
        skey,
        expires_at,
        user: UserBody {
            id: &identity.id,
            appid: &identity.appid,
            openid: &identity.openid,
            unionid: identity.unionid.as_deref(),
            info: serde_json::from_str(&identity.user_info_json).ok(),
            phone,
        },
    };
    // Texts, numbers and JSON that was parsed just now: nothing that cannot be written.
    serde_json::to_vec(&body).unwrap_or_default().into()
}

/// The status and body for a failed login.
pub(crate) fn login_failed(fault: &LoginFailure) -> (StatusCode, Bytes) {
    let (status, code) = match fault {
        LoginFailure::Input(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        LoginFailure::NoApp => (StatusCode::NOT_FOUND, "no_mini_program"),
        LoginFailure::Stray(_) => (StatusCode::FORBIDDEN, "wrong_mini_program"),
        LoginFailure::Net { timed_out: true } => (StatusCode::GATEWAY_TIMEOUT, "wechat_timeout"),
        LoginFailure::Net { timed_out: false } => (StatusCode::BAD_GATEWAY, "wechat_unreachable"),
        LoginFailure::Answer => (StatusCode::BAD_GATEWAY, "wechat_malformed"),
        LoginFailure::Data(_) => (StatusCode::BAD_REQUEST, "bad_user_data"),
        LoginFailure::Signature => (StatusCode::BAD_REQUEST, "bad_signature"),
        LoginFailure::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_logins"),
        LoginFailure::TooManyFailures { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "too_many_failures")
        }
        LoginFailure::Internal => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
        LoginFailure::Refused { errcode, .. } => refused(*errcode),
    };
    let mut body = ErrorBody::new(code, &fault.to_string());
    if let LoginFailure::Refused { errcode, .. } = fault {
        body = body.errcode(*errcode);
    }
    (status, body.to_string().into())
}

/// WeChat's numbers for a login (the page on code2Session).
fn refused(errcode: i64) -> (StatusCode, &'static str) {
    match errcode {
        40029 | 40163 | 41008 => (StatusCode::UNAUTHORIZED, "bad_code"),
        40226 => (StatusCode::FORBIDDEN, "user_blocked"),
        45011 => (StatusCode::TOO_MANY_REQUESTS, "too_many_logins"),
        -1 => (StatusCode::SERVICE_UNAVAILABLE, "wechat_busy"),
        _ => (StatusCode::BAD_GATEWAY, "wechat_refused"),
    }
}

/// The status and body for a request whose session does not hold.
pub(crate) fn denied(denied: &AuthError) -> (StatusCode, Bytes) {
    let (status, code) = match denied {
        AuthError::Missing => (StatusCode::UNAUTHORIZED, "session_missing"),
        AuthError::Unknown => (StatusCode::UNAUTHORIZED, "session_unknown"),
        AuthError::Expired => (StatusCode::UNAUTHORIZED, "session_expired"),
        AuthError::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
    };
    (status, error(code, &denied.to_string()))
}

/// The status and body for user data that was not taken, and for a call to WeChat that
/// failed on its behalf. Never 401, which says that the session does not hold.
pub(crate) fn data_refused(fault: &OpenDataError) -> (StatusCode, Bytes) {
    let (status, code) = match fault {
        OpenDataError::Input(_) | OpenDataError::Encoding(_) => {
            (StatusCode::BAD_REQUEST, "bad_request")
        }
        OpenDataError::NoKey => (StatusCode::CONFLICT, "no_session_key"),
        OpenDataError::KeyGone => (StatusCode::CONFLICT, "session_key_expired"),
        OpenDataError::Unopened => (StatusCode::CONFLICT, "bad_user_data"),
        OpenDataError::ProvenByCode => (StatusCode::CONFLICT, "proven_by_code"),
        OpenDataError::Kind { .. } => (StatusCode::BAD_REQUEST, "wrong_kind"),
        OpenDataError::Stale => (StatusCode::BAD_REQUEST, "stale_user_data"),
        OpenDataError::Unsigned => (StatusCode::BAD_REQUEST, "bad_signature"),
        OpenDataError::BadCode { .. } => (StatusCode::BAD_REQUEST, "bad_code"),
        OpenDataError::ForeignCode { .. } => (StatusCode::BAD_REQUEST, "foreign_code"),
        OpenDataError::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_calls"),
        OpenDataError::TooManyFailures { .. } => {
            (StatusCode::TOO_MANY_REQUESTS, "too_many_failures")
        }
        OpenDataError::NoCalls => (StatusCode::NOT_IMPLEMENTED, "no_access_token"),
        OpenDataError::Call(err) => called(err),
        OpenDataError::Internal(_) => {
            let why = LoginFailure::Internal.to_string();
            return (StatusCode::SERVICE_UNAVAILABLE, error("store_failed", &why));
        }
    };
    let mut body = ErrorBody::new(code, &fault.to_string());
    if let Some(errcode) = fault.errcode() {
        body = body.errcode(errcode);
    }
    (status, body.to_string().into())
}

/// A call of WeChat's API that gave no answer. The numbers are those of the pages on
/// getPhoneNumber, checkSessionKey and resetUserSessionKey.
fn called(err: &CallError) -> (StatusCode, &'static str) {
    match err {
        CallError::Refused { errcode, .. } => match errcode {
            45009 | 45011 => (StatusCode::TOO_MANY_REQUESTS, "too_many_calls"),
            -1 => (StatusCode::SERVICE_UNAVAILABLE, "wechat_busy"),
            _ => (StatusCode::BAD_GATEWAY, "wechat_refused"),
        },
        CallError::Unreachable => (StatusCode::BAD_GATEWAY, "wechat_unreachable"),
        CallError::Timeout => (StatusCode::GATEWAY_TIMEOUT, "wechat_timeout"),
        CallError::Malformed => (StatusCode::BAD_GATEWAY, "wechat_malformed"),
        CallError::NoToken => (StatusCode::NOT_IMPLEMENTED, "no_access_token"),
        CallError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
    }
}

/// The status and body for a picture that was not kept.
pub(crate) fn picture_refused(fault: &PictureError) -> (StatusCode, Bytes) {
    let (status, code) = match fault {
        PictureError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "picture_too_large"),
        PictureError::NotOne { .. } => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_a_picture"),
        PictureError::Form(_) => (StatusCode::BAD_REQUEST, "bad_request"),
        PictureError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
        PictureError::Full => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
        PictureError::Internal => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
    };
    (status, error(code, &fault.to_string()))
}

/// `{"error": {...}}`
pub(crate) fn error(code: &str, message: &str) -> Bytes {
    ErrorBody::new(code, message).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_session_is_shown_with_its_user() {
        let identity = UserIdentity {
            appid: "wx1".to_owned(),
            openid: "o".to_owned(),
            unionid: None,
            id: "i".to_owned(),
            user_info_json: r#"{"nickName":"Band"}"#.to_owned(),
        };
        assert_eq!(
            session(Some("s"), UnixSecs::new(7), &identity, None),
            r#"{"skey":"s","expires_at":7,"user":{"id":"i","appid":"wx1","openid":"o","info":{"nickName":"Band"}}}"#
        );
        assert!(session(None, UnixSecs::new(7), &identity, None).starts_with(br#"{"expires_at""#));
    }

    #[test]
    fn wechats_refusals_have_statuses_of_their_own() {
        for (errcode, status, code) in [
            (40029, 401, "bad_code"),
            (40163, 401, "bad_code"),
            (40226, 403, "user_blocked"),
            (45011, 429, "too_many_logins"),
            (-1, 503, "wechat_busy"),
            (40125, 502, "wechat_refused"),
        ] {
            let (found, body) = login_failed(&LoginFailure::Refused {
                errcode,
                errmsg: "no".to_owned(),
            });
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(found.as_u16(), status);
            assert_eq!(body["error"]["code"], code);
            assert_eq!(body["error"]["errcode"], errcode);
        }
    }

    /// JSON that looks like the bodies of this dialect, or nearly.
    fn any_body() -> impl Strategy<Value = String> {
        let names = prop::sample::select(vec![
            "code",
            "encryptedData",
            "iv",
            "rawData",
            "signature",
            "kind",
            "other",
        ]);
        let value = prop_oneof![
            any::<String>().prop_map(serde_json::Value::from),
            Just("".into()),
            Just("werun".into()),
            any::<i64>().prop_map(serde_json::Value::from),
            Just(serde_json::Value::Null),
        ];
        prop::collection::btree_map(names, value, 0..6).prop_map(|map| json!(map).to_string())
    }

    proptest! {
        #[test]
        fn no_body_panics_and_halves_are_refused(
            noise in prop::collection::vec(any::<u8>(), 0..100), text in any_body(),
        ) {
            drop(serde_json::from_slice::<LoginBody>(&noise).map(LoginBody::brought));
            drop(serde_json::from_slice::<PhoneBody>(&noise).map(PhoneBody::brought));
            drop(serde_json::from_slice::<DecryptBody>(&noise));
            drop(serde_json::from_str::<DecryptBody>(&text));
            let told: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let has = |name: &str| told[name].as_str().is_some_and(|text| !text.is_empty());
            if let Ok(body) = serde_json::from_str::<LoginBody>(&text) {
                let whole = has("encryptedData") == has("iv") && has("rawData") == has("signature");
                prop_assert_eq!(body.brought().is_ok(), whole);
            }
            if let Ok(body) = serde_json::from_str::<PhoneBody>(&text) {
                match body.brought() {
                    Ok(PhoneProof::Code(code)) => prop_assert_eq!(&told["code"], &json!(code)),
                    Ok(PhoneProof::Sealed { iv, .. }) => prop_assert_eq!(&told["iv"], &json!(iv)),
                    Err(_) => prop_assert!(!has("code")),
                }
            }
        }

        #[test]
        fn a_session_with_a_phone_number_round_trips(
            country in "[0-9]{1,4}", pure in "[0-9]{4,20}", at in any::<i64>(), name in ".*",
        ) {
            let info = json!({
                "phoneNumber": pure, "purePhoneNumber": pure, "countryCode": country,
            });
            let phone = VerifiedPhone::read(&info, UnixSecs::new(at), crate::phone::PhoneSource::Code).expect("a phone number");
            let identity = UserIdentity {
                appid: "wx1".to_owned(),
                openid: "o".to_owned(),
                unionid: None,
                id: "i".to_owned(),
                user_info_json: json!({"nickName": name}).to_string(),
            };
            let body = session(None, UnixSecs::new(7), &identity, Some(&phone));
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            let told = json!({
                "phone_number": format!("+{country}{pure}"), "pure_phone_number": pure,
                "country_code": country, "verified_at": at, "source": "code",
            });
            prop_assert_eq!(&body["user"]["phone"], &told);
            prop_assert_eq!(&body["user"]["info"]["nickName"], &name);
            // What the tap draws.
            let drawn = crate::tap::body(body.to_string().as_bytes()).to_string();
            prop_assert!(pure.len() < 8 || !drawn.contains(&pure), "{}", drawn);
        }

        #[test]
        fn every_refusal_of_user_data_is_json_with_a_code(errcode in any::<i64>(), errmsg in ".*") {
            let refused = CallError::Refused { errcode, errmsg };
            for fault in [
                OpenDataError::Call(refused.clone()),
                OpenDataError::Call(refused).of_code(),
                OpenDataError::KeyGone,
                OpenDataError::Unopened,
                OpenDataError::ProvenByCode,
                OpenDataError::TooManyFailures { retry_secs: 1 },
                OpenDataError::TooMany { retry_secs: 1 },
                OpenDataError::Call(CallError::Closed),
            ] {
                let told = fault.errcode();
                let (status, body) = data_refused(&fault);
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                prop_assert!(body["error"]["code"].is_string());
                prop_assert_eq!(body["error"]["errcode"].as_i64(), told);
                prop_assert!(!status.is_success() && status != StatusCode::UNAUTHORIZED);
            }
        }
    }
}
