//! The one JSON shape of weappd's own errors. The old dialects and WeChat's API keep theirs.

use serde_json::{Value, json};

use crate::request_id::RequestId;

/// What a refused request is told: a code for programs, a sentence for people, and, where
/// it helps, what to do and the number WeChat gave. Where a phone's request is answered, its
/// id is added, by which the log tells more.
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
        let body = Self(json!({"error": {"code": code, "message": message}}));
        match RequestId::current() {
            Some(id) => body.request_id(&id),
            None => body,
        }
    }

    /// Which request it was.
    #[must_use]
    pub fn request_id(self, id: &RequestId) -> Self {
        self.with("request_id", id.to_string().into())
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

    #[tokio::test]
    async fn the_request_that_is_answered_is_named() {
        let id = RequestId::taken("abc").expect("plain");
        let body = id.scope(async { ErrorBody::new("a", "b").hint("c") }).await;
        let text = r#"{"error":{"code":"a","message":"b","request_id":"abc","hint":"c"}}"#;
        assert_eq!(body.to_string(), text);
    }
}
