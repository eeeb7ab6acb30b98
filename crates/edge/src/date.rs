//! The `Date` of answers, written once for all answers of a second.
//!
//! hyper writes one where none stands, but renews its text at a later time only: after the
//! machine's clock was set back it would write the old hour until that comes again.

use std::cell::RefCell;
use std::time::UNIX_EPOCH;

use http::header::DATE;
use http::{HeaderMap, HeaderValue};
use weappd_base::unix_time::UnixSecs;

thread_local! {
    static LAST: RefCell<Option<(UnixSecs, HeaderValue)>> = const { RefCell::new(None) };
}

/// Writes the time of the answer, unless the business server wrote its own.
pub(crate) fn stamp(headers: &mut HeaderMap, now: UnixSecs) {
    if headers.contains_key(DATE) {
        return;
    }
    if let Some(date) = LAST.with_borrow_mut(|last| text(last, now)) {
        headers.insert(DATE, date);
    }
}

fn text(last: &mut Option<(UnixSecs, HeaderValue)>, now: UnixSecs) -> Option<HeaderValue> {
    if let Some((second, date)) = last
        && *second == now
    {
        return Some(date.clone());
    }
    let date = httpdate::fmt_http_date(UNIX_EPOCH + now.since(UnixSecs::default()));
    let date = HeaderValue::try_from(date).ok()?;
    *last = Some((now, date.clone()));
    Some(date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_goes_back_with_the_clock_and_an_apps_own_stays() {
        for (secs, date) in [
            (1_800_003_600, "Fri, 15 Jan 2027 09:00:00 GMT"),
            (1_800_000_000, "Fri, 15 Jan 2027 08:00:00 GMT"),
            (1_800_000_000, "Fri, 15 Jan 2027 08:00:00 GMT"),
            (-5, "Thu, 01 Jan 1970 00:00:00 GMT"),
        ] {
            let mut headers = HeaderMap::new();
            stamp(&mut headers, UnixSecs::new(secs));
            assert_eq!(headers[DATE], date);
            stamp(&mut headers, UnixSecs::new(secs + 60));
            assert_eq!(headers[DATE], date, "one is enough");
        }
    }
}
