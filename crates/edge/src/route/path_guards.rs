//! Paths that want a session, in every spelling that an app might take for one of them.
//!
//! A route is chosen by the one spelling that is forwarded. Apps fold what stays apart
//! there: Express knows no case and no last slash, others decode `%2F` or cut off `;v=1`.
//! So a path that no route protects is read again as such apps would read it, and if any
//! reading is of a protected path, it wants a session too. It is forwarded as it came.

use std::borrow::Cow;

use crate::route::route_table::RoutePattern;

/// How many readings of a path are looked at, and of how many bytes in all they may be made.
/// A path that has more is no honest one.
const READINGS_MAX: usize = 32;
const FOLDED_BYTES_MAX: usize = 48 * 1024;

/// One thing that apps do to a path. They may do several, in any order.
type PathFold = fn(&str) -> Cow<'_, str>;
const FOLDS: [PathFold; 5] = [decoded, slashed, without_parameters, cut, resolved];

/// The routes of one site, folded; empty if none of them wants a session.
#[derive(Debug, Default)]
pub(crate) struct PathGuards(Vec<FoldedRoute>);

#[derive(Debug)]
struct FoldedRoute {
    exact: bool,
    /// Without a slash at its end.
    path: String,
    strict: bool,
}

impl PathGuards {
    /// Of all routes whose targets read paths themselves, and whether each wants a session.
    pub(crate) fn new<'a>(routes: impl Iterator<Item = (&'a RoutePattern, bool)>) -> Self {
        let mut all: Vec<FoldedRoute> = routes
            .map(|(pattern, strict)| {
                let whole = lower(&resolved(&slashed(&decoded(pattern.path())))).into_owned();
                FoldedRoute {
                    exact: pattern.is_exact(),
                    path: whole.trim_end_matches('/').to_owned(),
                    strict,
                }
            })
            .collect();
        if !all.iter().any(|route| route.strict) {
            return Self::default();
        }
        // Most specific first; of two that became one, the strict one.
        all.sort_by_key(|route| (!route.exact, usize::MAX - route.path.len(), !route.strict));
        Self(all)
    }

    /// Whether any path wants a session.
    pub(crate) fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether any reading of `path`, which is in its one spelling, wants a session.
    pub(crate) fn require_session(&self, path: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        if is_folded(path.as_bytes()) {
            return self.protect(path);
        }
        let mut readings = vec![lower(path).into_owned()];
        let (mut at, mut work) = (0, 0);
        while let Some(reading) = readings.get(at) {
            work += reading.len() * FOLDS.len();
            if work > FOLDED_BYTES_MAX || self.protect(reading) {
                return true;
            }
            for fold in FOLDS {
                let next = readings.get(at).map(|reading| fold(reading));
                let Some(next) = next.map(|next| lower(&next).into_owned()) else {
                    break;
                };
                if readings.contains(&next) {
                    continue;
                }
                if readings.len() == READINGS_MAX {
                    return true;
                }
                readings.push(next);
            }
            at += 1;
        }
        false
    }

    fn protect(&self, path: &str) -> bool {
        let path = path.strip_suffix('/').unwrap_or(path);
        let covers = |route: &&FoldedRoute| match path.strip_prefix(route.path.as_str()) {
            None => false,
            Some(rest) => rest.is_empty() || !route.exact && rest.starts_with('/'),
        };
        self.0.iter().find(covers).is_some_and(|route| route.strict)
    }
}

/// Whether no fold changes a path: so it is for nearly every request.
fn is_folded(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let folds = byte.is_ascii_uppercase() || matches!(byte, b'%' | b';');
        if folds || (byte == b'/' && before == b'.') {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

/// No letter counts as two: the Kelvin sign is a k, the long s an s.
fn lower(path: &str) -> Cow<'_, str> {
    if path.is_ascii() {
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Cow::Owned(path.to_ascii_lowercase());
        }
        return Cow::Borrowed(path);
    }
    Cow::Owned(path.to_uppercase().to_lowercase())
}

fn decoded(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Backslashes are slashes, blanks and control characters are nothing.
fn slashed(path: &str) -> Cow<'_, str> {
    let nothing = |c: char| c <= ' ' || c == '\x7F';
    if !path.contains(|c| c == '\\' || nothing(c)) {
        return Cow::Borrowed(path);
    }
    let kept = path.chars().filter(|c| !nothing(*c));
    Cow::Owned(kept.map(|c| if c == '\\' { '/' } else { c }).collect())
}

/// `/a;v=1/b` is `/a/b`.
fn without_parameters(path: &str) -> Cow<'_, str> {
    if !path.contains(';') {
        return Cow::Borrowed(path);
    }
    let names = path.split('/').map(|part| part.split(';').next());
    let names: Vec<&str> = names.map(Option::unwrap_or_default).collect();
    Cow::Owned(names.join("/"))
}

/// What once was escaped ends the path after a second look.
fn cut(path: &str) -> Cow<'_, str> {
    let end = path.find([';', '?', '#']).unwrap_or(path.len());
    Cow::Borrowed(path.get(..end).unwrap_or(path))
}

/// No empty parts, no dots; above the root is the root. Dots at a name's end are nothing.
fn resolved(path: &str) -> Cow<'_, str> {
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => drop(kept.pop()),
            _ => kept.extend(Some(part.trim_end_matches('.')).filter(|name| !name.is_empty())),
        }
    }
    let mut whole = String::with_capacity(path.len() + 1);
    for name in kept {
        whole.push('/');
        whole.push_str(name);
    }
    if whole == path.strip_suffix('/').unwrap_or(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::path_spelling::normal;

    fn guards(routes: &[(&str, bool)]) -> PathGuards {
        let patterns: Vec<(RoutePattern, bool)> = routes
            .iter()
            .map(|(text, strict)| (RoutePattern::parse(text).expect("a pattern"), *strict))
            .collect();
        PathGuards::new(patterns.iter().map(|(pattern, strict)| (pattern, *strict)))
    }

    #[test]
    fn every_reading_of_a_protected_path_is_protected() {
        let guards = guards(&[
            ("/", false),
            ("/admin/*", true),
            ("= /account", true),
            ("/管理", true),
            ("/my%20files", true),
        ]);
        for path in [
            "/admin",
            "/admin/x",
            "/admin%2Fx",
            "/admin%5cx",
            "/admin%252fx",
            "/admin%25252fx",
            "/ADMIN/x",
            "/Admin",
            "/admin;x",
            "/admin;/x",
            "/admin;v=1/x",
            "/admin%3Bx",
            "/admin%3fx",
            "/admin%23",
            "/admin%20/x",
            "/admin%0a",
            "/admin./x",
            "/%61dmin/x",
            "/%2561dmin/x",
            "/x%252f..%252fadmin/x",
            "/x%255c..%255cadmin",
            "/.;/admin/x",
            "/x;/../ADMIN",
            "//admin//x",
            "/x/../admin/",
            "/account",
            "/account/",
            "/ACCOUNT/",
            "/account;jsessionid=1",
            "/%e7%ae%a1%E7%90%86/x",
            "/MY%20files",
            "/adm%C4%B1n/x",
        ] {
            let one = normal(path).expect(path);
            assert!(guards.require_session(&one), "{path} as {one}");
        }
        for path in [
            "/",
            "/admins",
            "/admin-x",
            "/admin.html",
            "/x/admin",
            "/accounts",
            "/account/x",
            "/api/getUser",
            "/a%2Fb",
            "/x;/admin.js",
            "/%E4%B8%AD%E6%96%87/%E9%A1%B5",
        ] {
            let one = normal(path).expect(path);
            assert!(!guards.require_session(&one), "{path} as {one}");
        }
    }

    #[test]
    fn what_is_open_inside_stays_open_in_the_same_spelling() {
        let guards = guards(&[("/admin", true), ("= /admin/login", false), ("/", false)]);
        assert!(!guards.require_session("/admin/login"));
        assert!(!guards.require_session("/ADMIN/Login/"));
        assert!(guards.require_session("/ADMIN/Login/x"));
        assert!(guards.require_session("/ADMIN/login%252F..%252Fx"));
        assert!(guards.require_session("/admin%2Flogin%2Fx"));
    }

    #[test]
    fn sites_without_sessions_and_endless_escapes() {
        assert!(!guards(&[("/", false), ("/a", false)]).require_session("/A%2Fb"));
        let guards = guards(&[("/", false), ("/a", true)]);
        assert!(guards.require_session(&format!("/%{}61", "25".repeat(2000))));
    }

    /// The bytes that `want` folds are bounded, not its time: a test has no clock.
    #[test]
    fn a_long_path_of_many_readings_wants_a_session() {
        let guards = guards(&[("/", false), ("/admin", true)]);
        for part in ["a;b.%5C%3Bx%2e/", "%252541;/", "A%5Cb;c./", "x%2F..;%20/"] {
            let one = format!("/{}", part.repeat(8000 / part.len()));
            assert!(guards.require_session(&one), "{part}");
        }
        // An honest one: a long name in Chinese, and a long plain path.
        let name = "%E4%B8%AD%E6%96%87".repeat(40);
        assert!(!guards.require_session(&format!("/files/{name}.pdf")));
        assert!(!guards.require_session(&format!("/{}", "a/".repeat(4000))));
    }

    /// What an app may do to a path, written down for itself.
    fn apply(step: u8, path: &str) -> String {
        match step {
            0 => {
                let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            1 => path.to_lowercase(),
            2 => path.replace('\\', "/"),
            3 => {
                let mut out = String::new();
                let mut skips = false;
                for c in path.chars() {
                    skips = c != '/' && (skips || c == ';');
                    if !skips {
                        out.push(c);
                    }
                }
                out
            }
            4 => path.split(['?', '#', ';']).next().unwrap_or("").to_owned(),
            5 => {
                let mut out: Vec<&str> = Vec::new();
                for part in path.split('/') {
                    match part {
                        "" | "." => {}
                        ".." => drop(out.pop()),
                        name => out.push(name),
                    }
                }
                format!("/{}", out.join("/"))
            }
            6 => path
                .trim_end_matches(['/', '.', ' ', '\n', '\0'])
                .to_owned(),
            _ => path.to_uppercase(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5_000))]
        #[test]
        fn no_spelling_reaches_a_protected_path_unseen(
            parts in prop::collection::vec(prop::sample::select(vec![
                "/", "/", "admin", "ADMIN", "adm", "in", "%61dmin", "%2561", "dmin", ".", "..", "%2f",
                "%2F", "%5c", "%252f", "%255C", "%25", ";", ";x=1", "%3b", "%3F", "%23", "%20", "%0a",
                "x", "public", "%2e%2e", "%252e", "//", "Ad%4din",
            ]), 0..8),
            steps in prop::collection::vec(0..8u8, 0..7),
        ) {
            let path = format!("/{}", parts.concat());
            let Ok(one) = normal(&path) else { return Ok(()) };
            let seen = steps.iter().fold(one.clone().into_owned(), |path, step| apply(*step, &path));
            let protects = |path: &str| {
                let path = path.trim_end_matches('/').to_lowercase();
                path == "/admin" || path.starts_with("/admin/")
            };
            let guards = guards(&[("/", false), ("/admin/*", true)]);
            prop_assert!(!protects(&seen) || guards.require_session(&one), "{path} is {seen} after {steps:?}");
        }

        #[test]
        fn any_path_is_read(path in "/\\PC{0,60}") {
            let guards = guards(&[("/", false), ("/a;b/*", true)]);
            if let Ok(one) = normal(&path) {
                let wanted = guards.require_session(&one);
                let plain = one.strip_prefix("/a;b").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                prop_assert!(wanted || !plain);
            }
        }
    }
}
