//! The one JSON shape of weappd's own errors. The old dialects and WeChat's API keep theirs.

use serde_json::{Value, json};

/// What a refused request is told: a code for programs, a sentence for people, and, where
/// it helps, what to do and the number WeChat gave.
///
/// ```
/// # use weappd_base::error_body::ErrorBody;
/// let body = ErrorBody::new("no_space", "the disk is full").hint("free some space");
/// assert_eq!(
///     body.to_string(),
///     r#"{"error":{"code":"no_space","message":"the disk is full","hint":"free some space"}}"#
/// );
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorBody(Value);

impl ErrorBody {
    /// `{"error": {"code", "message"}}`; `code` is snake case and never changes its meaning.
    pub fn new(code: &str, message: &str) -> Self {
        Self(json!({"error": {"code": code, "message": message}}))
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(self, hint: &str) -> Self {
        self.with("hint", hint.into())
    }

    /// WeChat's number, where WeChat was who refused.
    #[must_use]
    pub fn errcode(self, errcode: i64) -> Self {
        self.with("errcode", errcode.into())
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0["error"][name] = value;
        self
    }
}

impl std::fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_in_one_order() {
        let body = ErrorBody::new("a", "\"b\"").errcode(40029).hint("c");
        let text = r#"{"error":{"code":"a","message":"\"b\"","errcode":40029,"hint":"c"}}"#;
        assert_eq!(body.to_string(), text);
    }
}
