//! What is known of the bytes: how many, since when, and under which tag.

use std::fs::Metadata;
use std::io;
use std::time::{Duration, SystemTime};

use http::HeaderValue;

/// The end of the year 9999: HTTP has no words for what is later, nor for what was before 1970.
const LAST_HTTP_DATE: Duration = Duration::from_secs(253_402_300_799);

/// What is known of the bytes. The headers are made once, so that an answer only clones them.
#[derive(Clone, Debug)]
pub struct ContentMeta {
    /// How many bytes there are.
    pub len: u64,
    /// When they were last changed.
    pub modified: SystemTime,
    /// Changes with them.
    pub etag: HeaderValue,
    /// `modified` as a header.
    pub last_modified: HeaderValue,
}

impl ContentMeta {
    /// Of a file as it is now.
    pub fn of_file(state: &Metadata) -> io::Result<Self> {
        let (len, modified) = (state.len(), state.modified()?);
        let since = modified.duration_since(SystemTime::UNIX_EPOCH);
        let since = since.unwrap_or_default();
        let shown = SystemTime::UNIX_EPOCH + since.min(LAST_HTTP_DATE);
        let etag = format!(
            "\"{:x}-{:x}-{len:x}\"",
            since.as_secs(),
            since.subsec_nanos()
        );
        let header = |text: String| HeaderValue::try_from(text).map_err(io::Error::other);
        Ok(Self {
            len,
            modified,
            etag: header(etag)?,
            last_modified: header(httpdate::fmt_http_date(shown))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn another_length_or_time_is_another_tag() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let time = SystemTime::UNIX_EPOCH + Duration::new(784_111_777, 5);
        let meta = |text: &str, time| {
            fs::write(&path, text).expect("written");
            let file = fs::File::options()
                .append(true)
                .open(&path)
                .expect("a file");
            file.set_modified(time).expect("set");
            ContentMeta::of_file(&file.metadata().expect("known")).expect("a meta")
        };
        let first = meta("abc", time);
        assert_eq!(
            (first.len, first.etag.as_bytes()),
            (3, &b"\"2ebc98a1-5-3\""[..])
        );
        assert_eq!(first.last_modified, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(meta("xyz", time).etag, first.etag);
        assert_ne!(meta("abcd", time).etag, first.etag);
        assert_ne!(meta("abc", time + Duration::from_nanos(1)).etag, first.etag);
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(9);
        assert_eq!(
            meta("abc", before).last_modified,
            "Thu, 01 Jan 1970 00:00:00 GMT"
        );
    }
}
