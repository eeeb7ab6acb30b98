//! Gives kept files back: whole, in part, or not at all if the phone has them already.

use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc, time::UNIX_EPOCH};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use weappd_base::tasks::Work;

use crate::{error::Error, file_name::FileName, file_type, files::Files};

/// How much is read from disk at once.
const READ_BYTES: u64 = 128 * 1024;

/// Answers a download.
pub(crate) async fn give(
    files: &Files,
    name: FileName,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<Body>, Error> {
    let mime = file_type::mime_of(name.extension());
    let shown = if file_type::may_show_inline(mime) {
        "inline"
    } else {
        "attachment"
    };
    let disposition = format!("{shown}; filename=\"{name}\"");
    let file = files.find(name).await?;
    let facts = file.metadata().map_err(Error::OpenFile)?;
    let etag = etag(&facts);
    let whole = facts.len();

    let mut answer = Response::new(Body::empty());
    let out = answer.headers_mut();
    put(out, header::ETAG, &etag);
    put(
        out,
        header::CACHE_CONTROL,
        &format!("public, max-age={}, immutable", files.config().cache_secs),
    );
    if none_match(headers, &etag) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(answer);
    }
    put(out, header::CONTENT_TYPE, mime);
    put(out, header::CONTENT_DISPOSITION, &disposition);
    put(out, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    put(
        out,
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; sandbox",
    );
    put(out, header::ACCEPT_RANGES, "bytes");

    let asked = if *method == Method::GET && range_holds(headers, &etag) {
        ByteRange::of(headers, whole)
    } else {
        ByteRange::Whole
    };
    let (from, to) = match asked {
        ByteRange::Whole => (0, whole),
        ByteRange::Part { from, to } => {
            let range = format!("bytes {from}-{}/{whole}", to - 1);
            put(out, header::CONTENT_RANGE, &range);
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            (from, to)
        }
        ByteRange::Nothing => {
            put(out, header::CONTENT_RANGE, &format!("bytes */{whole}"));
            put(out, header::CONTENT_LENGTH, "0");
            *answer.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            return Ok(answer);
        }
    };
    put(
        answer.headers_mut(),
        header::CONTENT_LENGTH,
        &(to - from).to_string(),
    );
    if *method != Method::HEAD {
        *answer.body_mut() = stream(files.work().clone(), file, from, to);
    }
    Ok(answer)
}

/// Names are never given twice, so size and time tell two contents apart.
fn etag(facts: &std::fs::Metadata) -> String {
    let changed = facts
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_nanos());
    format!("\"{:x}-{changed:x}\"", facts.len())
}

fn put(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Whether the asker already has this content.
fn none_match(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether a range may be given: with `If-Range`, only of the same content.
fn range_holds(headers: &HeaderMap, etag: &str) -> bool {
    headers
        .get(header::IF_RANGE)
        .is_none_or(|value| value.as_bytes() == etag.as_bytes())
}

/// What a `Range` header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ByteRange {
    /// Everything: no range, several ranges, or one that makes no sense.
    Whole,
    /// The bytes from `from` up to, not including, `to`.
    Part { from: u64, to: u64 },
    /// A range outside of the file.
    Nothing,
}

impl ByteRange {
    fn of(headers: &HeaderMap, whole: u64) -> Self {
        headers
            .get(header::RANGE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("bytes="))
            .and_then(|range| Self::parse(range.trim(), whole))
            .unwrap_or(Self::Whole)
    }

    pub(crate) fn parse(range: &str, whole: u64) -> Option<Self> {
        let (first, last) = range.split_once('-')?;
        let (from, to) = match (first, last) {
            ("", count) => (whole.saturating_sub(number(count)?), whole),
            (from, "") => (number(from)?, whole),
            (from, last) => {
                let (from, last) = (number(from)?, number(last)?);
                if last < from {
                    return None;
                }
                (from, last.saturating_add(1).min(whole))
            }
        };
        Some(if from < to {
            Self::Part { from, to }
        } else {
            Self::Nothing
        })
    }
}

/// A number of digits only; one too large for the machine is as good as the largest.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

/// Reads a file piece by piece, off the edge threads.
fn stream(work: Work, file: File, from: u64, to: u64) -> Body {
    let file = Arc::new(file);
    let pieces = futures_util::stream::try_unfold(from, move |at| {
        let (work, file) = (work.clone(), Arc::clone(&file));
        async move {
            if at >= to {
                return Ok(None);
            }
            let count = usize::try_from(READ_BYTES.min(to - at)).unwrap_or(usize::MAX);
            let piece = work
                .run_blocking(move || {
                    let mut piece = vec![0; count];
                    file.read_exact_at(&mut piece, at).map(|()| piece)
                })
                .await
                .map_err(io::Error::other)??;
            let next = at + piece.len() as u64;
            Ok::<_, io::Error>(Some((Bytes::from(piece), next)))
        }
    });
    Body::from_stream(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str, whole: u64) -> ByteRange {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().expect("a header value"));
        ByteRange::of(&headers, whole)
    }

    #[test]
    fn single_ranges() {
        let part = |from, to| ByteRange::Part { from, to };
        assert_eq!(asked("bytes=0-0", 10), part(0, 1));
        assert_eq!(asked("bytes=2-5", 10), part(2, 6));
        assert_eq!(asked("bytes=2-", 10), part(2, 10));
        assert_eq!(asked("bytes=2-99", 10), part(2, 10));
        assert_eq!(asked("bytes=-3", 10), part(7, 10));
        assert_eq!(asked("bytes=-99", 10), part(0, 10));
        assert_eq!(asked("bytes=2-18446744073709551616", 10), part(2, 10));
    }

    #[test]
    fn outside_and_suffix_zero_are_unsatisfiable() {
        for range in [
            "bytes=10-",
            "bytes=10-12",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(asked(range, 10), ByteRange::Nothing, "{range}");
        }
        assert_eq!(asked("bytes=0-", 0), ByteRange::Nothing);
    }

    #[test]
    fn many_ranges_and_nonsense_give_the_whole() {
        let thousand = format!("bytes={}", vec!["0-1"; 1000].join(","));
        for range in [
            thousand.as_str(),
            "bytes=0-1,3-4",
            "bytes=5-2",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=1-2",
            "bytes",
        ] {
            assert_eq!(asked(range, 10), ByteRange::Whole, "{range}");
        }
    }

    #[test]
    fn if_none_match_takes_lists_and_weak_tags() {
        let mut headers = HeaderMap::new();
        assert!(!none_match(&headers, "\"a\""));
        headers.append(
            header::IF_NONE_MATCH,
            HeaderValue::from_static("\"b\", W/\"a\""),
        );
        assert!(none_match(&headers, "\"a\""));
        assert!(!none_match(&headers, "\"c\""));
    }
}
