//! One spelling for each path: what is matched is what is forwarded.
//!
//! Percent-encoded letters, digits and `-._~` are decoded, all other escapes are kept in
//! upper case, `.` and `..` are resolved, slashes are merged. A path that climbs out of
//! the root, even one that would only after a second decoding of its slashes, is refused.

use std::borrow::Cow;

/// A path that is not acceptable in any spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPath;

/// Bytes that stand for themselves in a path: RFC 3986 `pchar` and `/`, without `%`.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let b = byte as u8;
        plain[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'/' | b'-'
                    | b'.'
                    | b'_'
                    | b'~'
                    | b'!'
                    | b'$'
                    | b'&'
                    | b'\''
                    | b'('
                    | b')'
                    | b'*'
                    | b'+'
                    | b','
                    | b';'
                    | b'='
                    | b':'
                    | b'@'
            );
        byte += 1;
    }
    plain
};

fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or_default()
}

/// The one spelling of `path`.
pub(crate) fn normal(path: &str) -> Result<Cow<'_, str>, BadPath> {
    if !path.starts_with('/') {
        return Err(BadPath);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    resolve(&respell(path.as_bytes())?).map(Cow::Owned)
}

/// Whether there is certainly nothing to do: so it is for nearly every request.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        if !is_plain(byte) || (before == b'/' && (byte == b'/' || byte == b'.')) {
            return false;
        }
        before = byte;
    }
    true
}

fn respell(path: &[u8]) -> Result<String, BadPath> {
    let mut spelt = String::with_capacity(path.len() + 16);
    let mut bytes = path.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = bytes.next().and_then(hex).ok_or(BadPath)?;
                let low = bytes.next().and_then(hex).ok_or(BadPath)?;
                match high * 16 + low {
                    0 => return Err(BadPath),
                    b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => {
                        spelt.push(char::from(b));
                    }
                    b => escape(&mut spelt, b),
                }
            }
            b'\\' | 0..=b' ' | 0x7F => return Err(BadPath),
            b if is_plain(b) => spelt.push(char::from(b)),
            b => escape(&mut spelt, b),
        }
    }
    Ok(spelt)
}

fn resolve(path: &str) -> Result<String, BadPath> {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for segment in path.split('/').skip(1) {
        ends_in_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop().ok_or(BadPath)?),
            _ if climbs(segment) => return Err(BadPath),
            _ => kept.push(segment),
        }
    }
    let mut whole = String::with_capacity(path.len());
    for segment in &kept {
        whole.push('/');
        whole.push_str(segment);
    }
    if ends_in_folder || kept.is_empty() {
        whole.push('/');
    }
    Ok(whole)
}

/// Whether a segment holds `..` for a server that decodes `%2F`, `%5C` and `%3B` or cuts
/// off what stands behind a semicolon.
fn climbs(segment: &str) -> bool {
    if !segment.contains("..") {
        return false;
    }
    segment
        .split("%2F")
        .flat_map(|part| part.split("%5C"))
        .filter_map(|part| part.split(';').next())
        .any(|part| part.split("%3B").next() == Some(".."))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn escape(spelt: &mut String, byte: u8) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    spelt.push('%');
    for digit in [byte >> 4, byte & 15] {
        spelt.extend(DIGITS.get(usize::from(digit)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_paths_are_left_alone() {
        for path in ["/", "/weapp/login", "/a/b.c/d;e=f", "/a/", "/a.", "/a..b"] {
            assert!(
                matches!(normal(path), Ok(Cow::Borrowed(p)) if p == path),
                "{path}"
            );
        }
    }

    #[test]
    fn every_spelling_becomes_one() {
        for (given, one) in [
            ("//get/wsurl", "/get/wsurl"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/%61pi/%7euser", "/api/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/%2e/a", "/a"),
            (
                "/.well-known/acme-challenge/x",
                "/.well-known/acme-challenge/x",
            ),
            ("/%252e%252e/a", "/%252e%252e/a"),
            ("/中文", "/%E4%B8%AD%E6%96%87"),
            ("/%e4%b8%ad", "/%E4%B8%AD"),
            ("/a{b}\"", "/a%7Bb%7D%22"),
        ] {
            assert_eq!(normal(given).as_deref(), Ok(one), "{given}");
        }
    }

    #[test]
    fn climbing_and_broken_paths_are_refused() {
        for bad in [
            "",
            "a",
            "*",
            "/..",
            "/../etc/passwd",
            "/a/../../etc/passwd",
            "/%2e%2e/etc/passwd",
            "/.%2E/x",
            "/a/..%2f..%2fetc",
            "/a/..%5c..%5cetc",
            "/a\\..\\b",
            "/a%00b",
            "/a%2",
            "/a%zz",
            "/a%",
            "/x/..;/admin",
            "/x/..%3B/admin",
            "/x/%2F..%3Bv=1/admin",
            "/x/%2e%2e;y/admin",
            "/a b",
        ] {
            assert_eq!(normal(bad), Err(BadPath), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn normal_is_a_fixed_point_and_never_climbs(
            parts in prop::collection::vec(prop::sample::select(vec![
                "/", "/", "a", ".", "..", "%2e", "%2E", "%2f", "%5c", "%25", "%", "2e", ";", "b", "中", "\\", "%00", "~",
            ]), 0..16),
        ) {
            let path = format!("/{}", parts.concat());
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once), Ok(Cow::Borrowed(&*once)));
                prop_assert!(once.starts_with('/') && !once.contains("//"));
                prop_assert!(once.split('/').all(|s| s != ".." && s != "."));
            }
        }

        #[test]
        fn any_text_is_handled(path in "/\\PC{0,40}") {
            if let Ok(once) = normal(&path) {
                prop_assert_eq!(normal(&once), Ok(Cow::Borrowed(&*once)));
            }
        }
    }
}
