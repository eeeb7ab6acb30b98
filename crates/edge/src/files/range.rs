//! Which part of a file answers a request: conditions first, then one range (RFC 9110, 13
//! and 14). Several ranges at once are answered with the whole file, as the RFC allows.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// What to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RangeChoice {
    Whole,
    Part {
        from: u64,
        to: u64,
    },
    NotModified,
    /// A precondition does not hold.
    Failed,
    /// The range lies outside of the file.
    Outside,
}

impl RangeChoice {
    pub(crate) fn content_range(self, len: u64) -> Option<HeaderValue> {
        let text = match self {
            Self::Part { from, to } => format!("bytes {from}-{to}/{len}"),
            Self::Outside => format!("bytes */{len}"),
            _ => return None,
        };
        HeaderValue::try_from(text).ok()
    }

    pub(crate) fn has_content(self) -> bool {
        matches!(self, Self::Whole | Self::Part { .. })
    }
}

/// What answers a request with these headers for a file as it is now.
pub(crate) fn decide(
    headers: &HeaderMap,
    etag: &HeaderValue,
    modified: SystemTime,
    len: u64,
) -> RangeChoice {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let later_than = |date: &str| {
        let date = httpdate::parse_http_date(date).ok()?;
        Some(seconds(modified) > seconds(date))
    };
    if let Some(list) = text(header::IF_MATCH) {
        if !names(list, etag, false) {
            return RangeChoice::Failed;
        }
    } else if text(header::IF_UNMODIFIED_SINCE).and_then(later_than) == Some(true) {
        return RangeChoice::Failed;
    }
    if let Some(list) = text(header::IF_NONE_MATCH) {
        if names(list, etag, true) {
            return RangeChoice::NotModified;
        }
    } else if text(header::IF_MODIFIED_SINCE).and_then(later_than) == Some(false) {
        return RangeChoice::NotModified;
    }
    let Some(range) = text(header::RANGE) else {
        return RangeChoice::Whole;
    };
    if let Some(condition) = text(header::IF_RANGE) {
        let same = condition.as_bytes() == etag.as_bytes()
            || httpdate::parse_http_date(condition)
                .is_ok_and(|date| seconds(date) == seconds(modified));
        if !same {
            return RangeChoice::Whole;
        }
    }
    part(range, len)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}

/// Whether a list of entity tags names this one.
fn names(list: &str, etag: &HeaderValue, weak: bool) -> bool {
    list.split(',').map(str::trim).any(|one| {
        let one = if weak {
            one.strip_prefix("W/").unwrap_or(one)
        } else {
            one
        };
        one == "*" || one.as_bytes() == etag.as_bytes()
    })
}

/// A single `bytes` range; anything else is not for us and ignored.
fn part(range: &str, len: u64) -> RangeChoice {
    let Some(spec) = range.strip_prefix("bytes=").map(str::trim) else {
        return RangeChoice::Whole;
    };
    let Some((from, to)) = spec.split_once('-').filter(|_| !spec.contains(',')) else {
        return RangeChoice::Whole;
    };
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (number(from), number(to)) {
        (None, Some(0)) if from.is_empty() => RangeChoice::Outside,
        (None, Some(last)) if from.is_empty() && len > 0 => RangeChoice::Part {
            from: len.saturating_sub(last),
            to: len - 1,
        },
        (None, Some(_)) if from.is_empty() => RangeChoice::Outside,
        (Some(from), None) if to.is_empty() && from < len => {
            RangeChoice::Part { from, to: len - 1 }
        }
        (Some(from), Some(to)) if from <= to && from < len => RangeChoice::Part {
            from,
            to: to.min(len - 1),
        },
        (Some(from), None) if to.is_empty() && from >= len => RangeChoice::Outside,
        (Some(from), Some(to)) if from <= to => RangeChoice::Outside,
        _ => RangeChoice::Whole,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn ranges() {
        let p = |from, to| RangeChoice::Part { from, to };
        for (text, choice) in [
            ("bytes=0-0", p(0, 0)),
            ("bytes=2-5", p(2, 5)),
            ("bytes=5-", p(5, 9)),
            ("bytes=-3", p(7, 9)),
            ("bytes=-30", p(0, 9)),
            ("bytes=5-99", p(5, 9)),
            ("bytes=5-99999999999999999999999", p(5, 9)),
            ("bytes=10-", RangeChoice::Outside),
            ("bytes=10-11", RangeChoice::Outside),
            ("bytes=-0", RangeChoice::Outside),
            ("bytes=5-2", RangeChoice::Whole),
            ("bytes=0-1,3-4", RangeChoice::Whole),
            ("bytes=a-b", RangeChoice::Whole),
            ("bytes=-", RangeChoice::Whole),
            ("lines=1-2", RangeChoice::Whole),
        ] {
            assert_eq!(part(text, 10), choice, "{text}");
        }
        assert_eq!(part("bytes=0-", 0), RangeChoice::Outside);
        assert_eq!(part("bytes=-1", 0), RangeChoice::Outside);
    }

    #[test]
    fn conditions_come_before_ranges() {
        let etag = HeaderValue::from_static("\"e\"");
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_500);
        let same = httpdate::fmt_http_date(modified);
        let older = httpdate::fmt_http_date(modified - Duration::from_secs(10));
        let ask = |lines: &[(HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.insert(name, value.parse().expect("a value"));
            }
            decide(&headers, &etag, modified, 10)
        };
        let range = || (header::RANGE, "bytes=0-1");
        let part = RangeChoice::Part { from: 0, to: 1 };
        assert_eq!(ask(&[]), RangeChoice::Whole);
        assert_eq!(
            ask(&[(header::IF_NONE_MATCH, "\"x\", W/\"e\"")]),
            RangeChoice::NotModified
        );
        assert_eq!(
            ask(&[(header::IF_NONE_MATCH, "*")]),
            RangeChoice::NotModified
        );
        assert_eq!(
            ask(&[
                (header::IF_NONE_MATCH, "\"x\""),
                (header::IF_MODIFIED_SINCE, &same)
            ]),
            RangeChoice::Whole
        );
        assert_eq!(
            ask(&[(header::IF_MODIFIED_SINCE, &same)]),
            RangeChoice::NotModified
        );
        assert_eq!(
            ask(&[(header::IF_MODIFIED_SINCE, &older)]),
            RangeChoice::Whole
        );
        assert_eq!(ask(&[(header::IF_MATCH, "\"x\"")]), RangeChoice::Failed);
        assert_eq!(
            ask(&[(header::IF_UNMODIFIED_SINCE, &older)]),
            RangeChoice::Failed
        );
        assert_eq!(ask(&[range()]), part);
        assert_eq!(ask(&[range(), (header::IF_RANGE, "\"e\"")]), part);
        assert_eq!(
            ask(&[range(), (header::IF_RANGE, "\"x\"")]),
            RangeChoice::Whole
        );
        assert_eq!(ask(&[range(), (header::IF_RANGE, &same)]), part);
        assert_eq!(
            ask(&[range(), (header::IF_RANGE, &older)]),
            RangeChoice::Whole
        );
    }
}
