//! An access token, and how WeChat is asked for one.

use std::borrow::Cow;
use std::fmt;

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixMillis;
use weappd_wechat::AppCredential;

use crate::api_client::{ApiClient, OutBody, whole};
use crate::config::TokenMode;
use crate::proxy_error::ProxyError;
use crate::query::encode;

/// WeChat renews a stable token in its last five minutes, when both are good.
const OVERLAP: Duration = Duration::from_mins(5);
/// A token about to end is not sent on a way it may not survive.
const LAST: Duration = Duration::from_secs(5);
/// The longest life that is believed.
const LONGEST: Duration = Duration::from_hours(24 * 30);
/// What two nodes' notion of one moment may differ.
const BLUR: Duration = Duration::from_secs(3);

/// An access token and its times.
#[derive(Debug)]
pub(crate) struct AccessToken {
    /// The token itself.
    pub(crate) text: Secret,
    expires_at: UnixMillis,
    renew_at: UnixMillis,
    /// It has no more left than this, unless the clock was set back.
    life: Duration,
}

impl AccessToken {
    /// A token fetched at `now` that is good for `expires_in` seconds.
    pub(crate) fn new(text: Secret, expires_in: i64, now: UnixMillis) -> Self {
        let secs = u64::try_from(expires_in).unwrap_or(0);
        let life = Duration::from_secs(secs).min(LONGEST);
        let ahead = OVERLAP.min(Duration::from_secs(secs / 4));
        Self {
            text,
            expires_at: now + life,
            renew_at: now + life - ahead,
            life,
        }
    }

    /// A token that another node fetched.
    pub(crate) fn known(text: Secret, renew_at: UnixMillis, expires_at: UnixMillis) -> Self {
        let earliest = expires_at - LONGEST;
        Self {
            text,
            expires_at,
            renew_at: renew_at.clamp(earliest, expires_at),
            life: LONGEST,
        }
    }

    /// Whether it was fetched before `other`. Nodes that lost sight of each other for a while
    /// fetch their own, and what they shared before is no better than what was rejected since.
    pub(crate) fn is_older_than(&self, other: &Self) -> bool {
        self.expires_at + BLUR < other.expires_at
    }

    pub(crate) fn renew_at(&self) -> UnixMillis {
        self.renew_at
    }

    pub(crate) fn expires_at(&self) -> UnixMillis {
        self.expires_at
    }

    /// Whether it may still be sent.
    pub(crate) fn is_good(&self, now: UnixMillis) -> bool {
        let left = self.expires_at.since(now);
        let last = LAST.min(self.expires_at.since(self.renew_at) / 2);
        left <= self.life + BLUR && now < self.expires_at - last
    }

    /// Whether it is time to fetch the next one.
    pub(crate) fn is_due(&self, now: UnixMillis) -> bool {
        now >= self.renew_at
    }

    /// The seconds it has left.
    pub(crate) fn left_secs(&self, now: UnixMillis) -> u64 {
        self.expires_at.since(now).as_secs()
    }
}

/// The question for a token.
pub(crate) fn question(
    api: &ApiClient,
    credential: &AppCredential,
    mode: TokenMode,
    force: bool,
) -> Option<Request<OutBody>> {
    let (appid, secret) = (&credential.appid, credential.secret.expose());
    let request = match mode {
        TokenMode::Stable => {
            let body = json!({
                "grant_type": "client_credential",
                "appid": appid,
                "secret": secret,
                "force_refresh": force,
            });
            Request::builder()
                .method(Method::POST)
                .uri(api.uri("/cgi-bin/stable_token")?)
                .header(header::CONTENT_TYPE, "application/json")
                .body(whole(Bytes::from(body.to_string())))
        }
        TokenMode::Classic => {
            let path = format!(
                "/cgi-bin/token?grant_type=client_credential&appid={}&secret={}",
                encode(appid),
                encode(secret)
            );
            Request::builder()
                .uri(api.uri(path)?)
                .body(whole(Bytes::new()))
        }
    };
    request.ok()
}

/// Reads WeChat's answer, come at `now`.
pub(crate) fn read(answer: &[u8], now: UnixMillis) -> Result<AccessToken, ProxyError> {
    let fields: Value = serde_json::from_slice(answer).map_err(|_| ProxyError::TokenUnreadable)?;
    if let Some(errcode) = number(fields.get("errcode")).filter(|code| *code != 0) {
        let errmsg = fields.get("errmsg").and_then(Value::as_str);
        return Err(ProxyError::TokenRefused {
            errcode,
            errmsg: errmsg.unwrap_or_default().to_owned(),
        });
    }
    let text = fields.get("access_token").and_then(Value::as_str);
    let text = text
        .filter(|text| !text.is_empty())
        .ok_or(ProxyError::TokenUnreadable)?;
    let expires_in = number(fields.get("expires_in")).ok_or(ProxyError::TokenUnreadable)?;
    Ok(AccessToken::new(Secret::new(text), expires_in, now))
}

/// The `errcode` of an answer, if it is a JSON object with one.
pub(crate) fn errcode(answer: &[u8]) -> Option<i64> {
    let mut answer = serde_json::Deserializer::from_slice(answer);
    let given = answer.deserialize_map(ErrcodeField).ok()?;
    answer.end().ok()?;
    number(given.as_ref())
}

/// Reads `errcode` of an object and passes over the rest.
struct ErrcodeField;

impl<'de> Visitor<'de> for ErrcodeField {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut errcode = None;
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            if name == "errcode" {
                errcode = Some(fields.next_value()?);
            } else {
                let IgnoredAny = fields.next_value()?;
            }
        }
        Ok(errcode)
    }
}

/// WeChat writes some numbers as texts.
pub(crate) fn number(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: i64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    #[test]
    fn a_token_is_renewed_in_its_last_five_minutes() {
        let token = AccessToken::new(Secret::new("t"), 7200, at(0));
        assert!(!token.is_due(at(6_899_999)) && token.is_due(at(6_900_000)));
        assert!(token.is_good(at(7_194_999)) && !token.is_good(at(7_195_000)));
        assert_eq!(token.left_secs(at(100_000)), 7100);
        let short = AccessToken::new(Secret::new("t"), 4, at(0));
        assert!(short.is_good(at(3000)) && short.is_due(at(3000)) && !short.is_good(at(3500)));
        assert!(!AccessToken::new(Secret::new("t"), -5, at(0)).is_good(at(0)));
    }

    #[test]
    fn a_clock_set_back_makes_no_token_live_longer() {
        let fast = at(1_800_003_600_000);
        let token = AccessToken::new(Secret::new("t"), 7200, fast);
        assert!(
            token.is_good(fast - Duration::from_millis(900)),
            "a moment of disorder"
        );
        for back in [5000, 90_000, 3_600_000] {
            assert!(
                !token.is_good(fast - Duration::from_millis(back)),
                "{back} ms back"
            );
        }
    }

    #[test]
    fn answers_are_read_as_wechat_writes_them() {
        let good = read(br#"{"access_token":"abc","expires_in":"7200"}"#, at(0)).expect("a token");
        assert!(good.text.is("abc"));
        let refused = read(br#"{"errcode":"40164","errmsg":"invalid ip"}"#, at(0)).expect_err("no");
        assert_eq!(refused.errcode(), 40164);
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"access_token":"","expires_in":1}"#,
            "<html>",
        ] {
            let refused = read(bad.as_bytes(), at(0)).expect_err(bad);
            assert_eq!(refused, ProxyError::TokenUnreadable, "{bad}");
        }
        assert_eq!(errcode(br#"{"errcode":42001}"#), Some(42001));
        assert_eq!(errcode(b"[42001]"), None);
        let nested = br#"{"data":{"errcode":1},"x":["\u5fae"],"errcode":"40001","y":null}"#;
        assert_eq!(errcode(nested), Some(40001));
        for other in [
            "",
            "{}",
            "null",
            r#"{"errcode":null}"#,
            r#"{"errcode":1} x"#,
            r#"{"errcode":1"#,
        ] {
            assert_eq!(errcode(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>, now: i32) {
            drop(read(&bytes, at(now.into())));
            prop_assert!(errcode(&bytes).is_none() || !bytes.is_empty());
        }

        #[test]
        fn no_lifetime_panics(expires_in: i64) {
            let token = AccessToken::new(Secret::new("t"), expires_in, at(0));
            let most = u64::try_from(expires_in).unwrap_or(0);
            prop_assert!(token.left_secs(at(0)) <= most);
        }
    }
}
