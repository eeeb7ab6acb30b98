//! What answers a request for bytes: conditions first, then one range (RFC 9110, 13 and 14).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::meta::ContentMeta;

/// What to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentChoice {
    /// Everything.
    Whole,
    /// The bytes from `from` to `to`, both included.
    Part {
        /// The first byte.
        from: u64,
        /// The last byte.
        to: u64,
    },
    /// The asker has it already.
    NotModified,
    /// A precondition does not hold.
    Failed,
    /// The range lies outside of the bytes.
    Outside,
}

impl ContentChoice {
    /// What answers a request of this method with these headers.
    pub fn of(method: &Method, headers: &HeaderMap, meta: &ContentMeta) -> Self {
        if let Some(refused) = unmet(headers, meta) {
            return refused;
        }
        let text = |name| text(headers, name);
        let range = text(header::RANGE).filter(|_| *method == Method::GET);
        let Some(range) = range else {
            return Self::Whole;
        };
        if let Some(condition) = text(header::IF_RANGE) {
            let same = condition.as_bytes() == meta.etag.as_bytes()
                || httpdate::parse_http_date(condition)
                    .is_ok_and(|date| seconds(date) == seconds(meta.modified));
            if !same {
                return Self::Whole;
            }
        }
        part(range, meta.len)
    }

    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part { .. } => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::Failed => StatusCode::PRECONDITION_FAILED,
            Self::Outside => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }

    /// Which bytes the answer has: the first one and how many; none if it has no content.
    pub fn bytes(self, len: u64) -> Option<(u64, u64)> {
        match self {
            Self::Whole => Some((0, len)),
            Self::Part { from, to } => Some((from, (to - from).saturating_add(1))),
            Self::NotModified | Self::Failed | Self::Outside => None,
        }
    }

    /// The headers about the bytes: which part, the tag, the time, and that parts are given.
    pub fn write_headers(self, meta: &ContentMeta, headers: &mut HeaderMap) {
        if let Some(value) = self.content_range(meta.len) {
            headers.insert(header::CONTENT_RANGE, value);
        }
        headers.insert(header::ETAG, meta.etag.clone());
        headers.insert(header::LAST_MODIFIED, meta.last_modified.clone());
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }

    /// Which part the answer is, or how many bytes there are where it is none of them.
    pub fn content_range(self, len: u64) -> Option<HeaderValue> {
        let text = match self {
            Self::Part { from, to } => format!("bytes {from}-{to}/{len}"),
            Self::Outside => format!("bytes */{len}"),
            _ => return None,
        };
        HeaderValue::try_from(text).ok()
    }
}

/// What answers a request whose conditions do not hold.
fn unmet(headers: &HeaderMap, meta: &ContentMeta) -> Option<ContentChoice> {
    let later_than = |date: &str| {
        let date = httpdate::parse_http_date(date).ok()?;
        Some(seconds(meta.modified) > seconds(date))
    };
    let text = |name| text(headers, name);
    if headers.contains_key(header::IF_MATCH) {
        if !names(headers, header::IF_MATCH, &meta.etag) {
            return Some(ContentChoice::Failed);
        }
    } else if text(header::IF_UNMODIFIED_SINCE).and_then(later_than) == Some(true) {
        return Some(ContentChoice::Failed);
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if names(headers, header::IF_NONE_MATCH, &meta.etag) {
            return Some(ContentChoice::NotModified);
        }
    } else if text(header::IF_MODIFIED_SINCE).and_then(later_than) == Some(false) {
        return Some(ContentChoice::NotModified);
    }
    None
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Whether the lists of entity tags under `name` hold this one. A weak tag is as good where the
/// asker has the bytes already, and good for nothing where they must be the very same.
fn names(headers: &HeaderMap, name: HeaderName, etag: &HeaderValue) -> bool {
    let weak = name == header::IF_NONE_MATCH;
    let lists = headers.get_all(name).iter();
    let tags = lists.filter_map(|list| list.to_str().ok());
    tags.flat_map(|list| list.split(','))
        .map(str::trim)
        .any(|tag| {
            let tag = match tag.strip_prefix("W/") {
                Some(strong) if weak => strong,
                _ => tag,
            };
            tag == "*" || tag.as_bytes() == etag.as_bytes()
        })
}

/// A single `bytes` range; anything else is not for us and ignored.
fn part(range: &str, len: u64) -> ContentChoice {
    let Some(spec) = range.strip_prefix("bytes=").map(str::trim) else {
        return ContentChoice::Whole;
    };
    let Some((from, to)) = spec.split_once('-').filter(|_| !spec.contains(',')) else {
        return ContentChoice::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(from), number(to)) {
        (None, Some(0)) if from.is_empty() => ContentChoice::Outside,
        (None, Some(last)) if from.is_empty() && len > 0 => ContentChoice::Part {
            from: len.saturating_sub(last),
            to: len - 1,
        },
        (None, Some(_)) if from.is_empty() => ContentChoice::Outside,
        (Some(from), None) if to.is_empty() && from < len => {
            ContentChoice::Part { from, to: len - 1 }
        }
        (Some(from), Some(to)) if from <= to && from < len => ContentChoice::Part {
            from,
            to: to.min(len - 1),
        },
        (Some(from), None) if to.is_empty() && from >= len => ContentChoice::Outside,
        (Some(from), Some(to)) if from <= to => ContentChoice::Outside,
        _ => ContentChoice::Whole,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ranges() {
        let p = |from, to| ContentChoice::Part { from, to };
        for (text, choice) in [
            ("bytes=0-0", p(0, 0)),
            ("bytes=2-5", p(2, 5)),
            ("bytes=5-", p(5, 9)),
            ("bytes=-3", p(7, 9)),
            ("bytes=-30", p(0, 9)),
            ("bytes=5-99", p(5, 9)),
            ("bytes=5-99999999999999999999999", p(5, 9)),
            ("bytes=10-", ContentChoice::Outside),
            ("bytes=10-11", ContentChoice::Outside),
            ("bytes=-0", ContentChoice::Outside),
            ("bytes=5-2", ContentChoice::Whole),
            ("bytes=0-1,3-4", ContentChoice::Whole),
            ("bytes=a-b", ContentChoice::Whole),
            ("bytes=-", ContentChoice::Whole),
            ("lines=1-2", ContentChoice::Whole),
        ] {
            assert_eq!(part(text, 10), choice, "{text}");
        }
        assert_eq!(part("bytes=0-", 0), ContentChoice::Outside);
        assert_eq!(part("bytes=-1", 0), ContentChoice::Outside);
    }

    fn meta(modified: SystemTime) -> ContentMeta {
        ContentMeta {
            len: 10,
            modified,
            etag: HeaderValue::from_static("\"e\""),
            last_modified: HeaderValue::from_static(""),
        }
    }

    #[test]
    fn conditions_come_before_ranges() {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_500);
        let same = httpdate::fmt_http_date(modified);
        let older = httpdate::fmt_http_date(modified - Duration::from_secs(10));
        let ask = |lines: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(name, value.parse().expect("a value"));
            }
            ContentChoice::of(&Method::GET, &headers, &meta(modified))
        };
        let range = || (header::RANGE, "bytes=0-1");
        let part = ContentChoice::Part { from: 0, to: 1 };
        assert_eq!(ask(&[]), ContentChoice::Whole);
        assert_eq!(
            ask(&[(header::IF_NONE_MATCH, "\"x\", W/\"e\"")]),
            ContentChoice::NotModified
        );
        assert_eq!(
            ask(&[(header::IF_NONE_MATCH, "*")]),
            ContentChoice::NotModified
        );
        assert_eq!(
            ask(&[
                (header::IF_NONE_MATCH, "\"x\""),
                (header::IF_MODIFIED_SINCE, &same)
            ]),
            ContentChoice::Whole
        );
        assert_eq!(
            ask(&[(header::IF_MODIFIED_SINCE, &same)]),
            ContentChoice::NotModified
        );
        assert_eq!(
            ask(&[(header::IF_MODIFIED_SINCE, &older)]),
            ContentChoice::Whole
        );
        assert_eq!(ask(&[(header::IF_MATCH, "\"x\"")]), ContentChoice::Failed);
        assert_eq!(
            ask(&[(header::IF_UNMODIFIED_SINCE, &older)]),
            ContentChoice::Failed
        );
        assert_eq!(ask(&[range()]), part);
        assert_eq!(ask(&[range(), (header::IF_RANGE, "\"e\"")]), part);
        assert_eq!(
            ask(&[range(), (header::IF_RANGE, "\"x\"")]),
            ContentChoice::Whole
        );
        assert_eq!(ask(&[range(), (header::IF_RANGE, &same)]), part);
        assert_eq!(
            ask(&[range(), (header::IF_RANGE, &older)]),
            ContentChoice::Whole
        );
    }

    #[test]
    fn tags_may_stand_in_several_lines() {
        let mut headers = HeaderMap::new();
        headers.append(header::IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
        headers.append(
            header::IF_NONE_MATCH,
            HeaderValue::from_static("\"y\", W/\"e\""),
        );
        let meta = meta(SystemTime::UNIX_EPOCH);
        let choice = ContentChoice::of(&Method::GET, &headers, &meta);
        assert_eq!(choice, ContentChoice::NotModified);
        let weak = headers.remove(header::IF_NONE_MATCH).expect("a tag");
        headers.insert(header::IF_MATCH, weak);
        headers.append(header::IF_MATCH, HeaderValue::from_static("W/\"e\""));
        let choice = ContentChoice::of(&Method::GET, &headers, &meta);
        assert_eq!(
            choice,
            ContentChoice::Failed,
            "a weak tag is not the very same"
        );
    }

    #[test]
    fn a_range_is_for_get_alone() {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
        let meta = meta(SystemTime::UNIX_EPOCH);
        let part = ContentChoice::of(&Method::GET, &headers, &meta);
        assert_eq!(
            (part.bytes(10), part.status().as_u16()),
            (Some((1, 2)), 206)
        );
        let whole = ContentChoice::of(&Method::HEAD, &headers, &meta);
        assert_eq!(
            (whole.bytes(10), whole.status().as_u16()),
            (Some((0, 10)), 200)
        );
    }
}
