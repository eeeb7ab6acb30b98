//! Values that must not reach a log, an error or a client.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// A text that prints as `***`, compares in constant time and is wiped when dropped.
///
/// It has no `Display` and no `Serialize`: sending it anywhere takes a visible
/// [`expose`](Secret::expose).
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for the one place that must send or hash it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether no secret was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares without telling by its time where the texts differ.
    pub fn is(&self, other: &str) -> bool {
        same_bytes(self.0.as_bytes(), other.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Secret {}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// Whether two byte strings are the same, in constant time for equal lengths.
pub fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Shows enough of a secret-like text to recognise it, never enough to use it:
/// `e3b0…(64)`.
pub fn mask(text: &str) -> String {
    let count = text.chars().count();
    if count <= 8 {
        return format!("…({count})");
    }
    let head: String = text.chars().take(4).collect();
    format!("{head}…({count})")
}

/// Nothing that is a name has so many letters in a row: skeys, keys and the tokens in
/// addresses do. An openid has 28, a tunnelId 36.
const TOKEN_LEN: usize = 40;

/// Masks every run of 40 or more letters, digits, `-` and `_` in a text: whatever it is, it
/// can be used by whoever reads it.
pub fn mask_tokens(text: &str) -> Cow<'_, str> {
    let is_token_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let mut runs = text.as_bytes().split(|b| !is_token_byte(b));
    if text.len() < TOKEN_LEN || runs.all(|run| run.len() < TOKEN_LEN) {
        return Cow::Borrowed(text);
    }
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_token) {
        let (before, from) = rest.split_at(at);
        let end = from.find(|c| !is_token(c)).unwrap_or(from.len());
        let (run, after) = from.split_at(end);
        masked.push_str(before);
        if run.len() >= TOKEN_LEN {
            masked.push_str(&mask(run));
        } else {
            masked.push_str(run);
        }
        rest = after;
    }
    masked.push_str(rest);
    Cow::Owned(masked)
}

/// Names, lower case without `-` and `_`, whose values are secrets wherever they stand.
const SECRET_NAMES: [&str; 16] = [
    "accesstoken",
    "appsecret",
    "authorization",
    "code",
    "cookie",
    "encodingaeskey",
    "jscode",
    "messagetoken",
    // Nobody's business but the user's.
    "phonenumber",
    "purephonenumber",
    "secret",
    "sessionkey",
    "skey",
    "tckey",
    "xwxcode",
    "xwxskey",
];

/// Whether a header, query or JSON name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .map(|c| c.to_ascii_lowercase())
        .collect();
    SECRET_NAMES.contains(&plain.as_str())
}

/// Masks every secret text in a JSON tree, by the name it stands under, and whatever looks
/// like a token wherever it stands.
pub fn mask_json(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    serde_json::Value::String(text) if is_secret_name(name) => *text = mask(text),
                    other => mask_json(other),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(mask_json),
        serde_json::Value::String(text) if text.len() >= TOKEN_LEN => {
            *text = mask_tokens(text).into_owned();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("session_key");
        assert_eq!(format!("{secret:?}"), "***");
        assert!(secret.is("session_key"));
        assert!(!secret.is("session_kez"));
        assert!(!secret.is("session_ke"));
    }

    #[test]
    fn a_mask_never_shows_more_than_four_letters() {
        assert_eq!(mask("short"), "…(5)");
        assert_eq!(mask("0123456789"), "0123…(10)");
        assert_eq!(mask("微信小程序服务器端"), "微信小程…(9)");
    }

    #[test]
    fn json_is_masked_by_name_at_any_depth() {
        let mut json = serde_json::json!({
            "code": 0,
            "data": [{"skey": "0123456789abcdef", "nickName": "Band"}],
            "X-WX-Skey": "0123456789abcdef",
        });
        mask_json(&mut json);
        assert_eq!(
            json,
            serde_json::json!({
                "code": 0,
                "data": [{"skey": "0123…(16)", "nickName": "Band"}],
                "X-WX-Skey": "0123…(16)",
            })
        );
    }

    #[test]
    fn a_token_is_masked_under_any_name() {
        let token = "a-b_".repeat(11);
        let url = format!("wss://www.example.com/weapp/ws/{token}?x=1");
        let mut json = serde_json::json!({ "connectUrl": url, "openId": "o".repeat(28) });
        mask_json(&mut json);
        assert_eq!(
            json,
            serde_json::json!({
                "connectUrl": "wss://www.example.com/weapp/ws/a-b_…(44)?x=1",
                "openId": "o".repeat(28),
            })
        );
        assert_eq!(mask_tokens("微信 short-name 微信"), "微信 short-name 微信");
    }
}
