//! The call log: what was asked, answered and pushed lately, without secrets.

use std::collections::VecDeque;

use serde::Serialize;
use serde_json::Value;
use weappd_base::secret::{is_secret_name, mask, mask_json};
use weappd_base::unix_time::UnixMillis;

/// The most calls kept.
pub(crate) const MAX_CALLS: usize = 500;
/// The longest text kept of any field.
const MAX_TEXT: usize = 500;
/// The most of one body that is kept, in texts and numbers.
const MAX_ITEMS: usize = 100;

/// Who called whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallKind {
    /// A server called WeChat.
    Api,
    /// A mini program on a phone called WeChat.
    Phone,
    /// WeChat called a server.
    Push,
}

/// One call with its answer.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CallRecord {
    /// Counts from 1.
    pub(crate) seq: u64,
    /// The simulator's time.
    pub(crate) at: UnixMillis,
    pub(crate) kind: CallKind,
    pub(crate) method: String,
    pub(crate) path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) appid: Option<String>,
    /// The query and the body of the question.
    pub(crate) asked: Value,
    pub(crate) status: u16,
    /// WeChat's number, 0 where it gave none.
    pub(crate) errcode: i64,
    pub(crate) answer: Value,
    /// What a reader should know, such as that the answer is a general one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
    pub(crate) took_ms: u64,
}

impl CallRecord {
    /// The entry without secrets and without what is long.
    pub(crate) fn tidy(mut self) -> Self {
        tidy(&mut self.asked);
        tidy(&mut self.answer);
        self
    }
}

/// The last calls, oldest first.
#[derive(Debug, Default)]
pub(crate) struct CallLog {
    entries: VecDeque<CallRecord>,
    last: u64,
}

impl CallLog {
    /// Adds a call that is [`CallRecord::tidy`].
    pub(crate) fn add(&mut self, mut entry: CallRecord) {
        self.last += 1;
        entry.seq = self.last;
        if self.entries.len() >= MAX_CALLS {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// The calls after number `after`, oldest first, of one path if asked.
    pub(crate) fn after(&self, after: u64, path: Option<&str>) -> Vec<CallRecord> {
        let fits = |entry: &&CallRecord| entry.seq > after && path.is_none_or(|p| p == entry.path);
        self.entries.iter().filter(fits).cloned().collect()
    }

    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// A query as JSON, its secrets masked.
pub(crate) fn query_json(query: &[(String, String)]) -> Value {
    let pairs = query.iter().map(|(name, value)| {
        let value = if is_secret_name(name) {
            mask(value)
        } else {
            value.clone()
        };
        (name.clone(), Value::String(value))
    });
    Value::Object(pairs.collect())
}

/// A body as JSON where it is JSON, else as what it is.
pub(crate) fn body_json(body: &[u8], content_type: Option<&str>) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    if body.len() <= 1024 * 1024
        && let Ok(json) = serde_json::from_slice(body)
    {
        return json;
    }
    let kind = content_type.unwrap_or("bytes");
    Value::String(format!("{} bytes of {kind}", body.len()))
}

/// Masks secrets and cuts what is long.
fn tidy(value: &mut Value) {
    mask_json(value);
    cut(value, &mut { MAX_ITEMS });
}

fn cut(value: &mut Value, room: &mut usize) {
    if *room == 0 {
        *value = Value::String("…".to_owned());
        return;
    }
    *room -= 1;
    match value {
        Value::String(text) => {
            if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
                let count = text.chars().count();
                text.truncate(end);
                *text = format!("{text}…({count})");
            }
        }
        Value::Array(items) => {
            items.truncate(*room + 1);
            for item in items {
                cut(item, room);
            }
        }
        Value::Object(fields) => fields.values_mut().for_each(|field| cut(field, room)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(path: &str, asked: Value) -> CallRecord {
        CallRecord {
            seq: 0,
            at: UnixMillis::default(),
            kind: CallKind::Api,
            method: "GET".to_owned(),
            path: path.to_owned(),
            appid: None,
            asked,
            status: 200,
            errcode: 0,
            answer: Value::Null,
            note: None,
            took_ms: 0,
        }
    }

    #[test]
    fn the_log_is_bounded_and_numbered() {
        let mut log = CallLog::default();
        for _ in 0..=MAX_CALLS {
            log.add(entry("/a", Value::Null));
        }
        log.add(entry("/b", Value::Null));
        let all = log.after(0, None);
        assert_eq!(all.len(), MAX_CALLS);
        assert_eq!(all.last().map(|entry| entry.seq), Some(log.last()));
        assert_eq!(log.after(log.last() - 1, None).len(), 1);
        assert_eq!(log.after(0, Some("/b")).len(), 1);
        log.clear();
        assert!(log.after(0, None).is_empty());
    }

    #[test]
    fn secrets_are_masked_and_long_texts_cut() {
        let mut log = CallLog::default();
        let asked = json!({
            "query": query_json(&[("access_token".to_owned(), "a token of length".to_owned())]),
            "body": {"secret": "the app's secret", "content": "x".repeat(5000), "list": vec![1; 1000]},
        });
        log.add(entry("/a", asked).tidy());
        let kept = serde_json::to_string(&log.after(0, None)).expect("JSON");
        assert!(!kept.contains("of length") && !kept.contains("app's secret"));
        assert!(kept.contains("…(5000)"));
        assert!(kept.len() < 2000, "{}", kept.len());
    }

    #[test]
    fn bodies_that_are_not_json_are_counted() {
        assert_eq!(body_json(b"", None), Value::Null);
        assert_eq!(body_json(b"{\"a\":1}", None), json!({"a": 1}));
        let told = body_json(&[255, 0], Some("image/png"));
        assert_eq!(told, json!("2 bytes of image/png"));
    }
}
