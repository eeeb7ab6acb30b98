//! Which route a path takes. Pure: no request, no target.

use std::cmp::Ordering;

use crate::route::path_spelling;

/// The pattern of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoutePattern {
    exact: bool,
    path: String,
}

impl RoutePattern {
    /// Reads `/prefix`, `/folder/`, `/folder/*` or `= /exact`.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let (exact, text) = match text.strip_prefix('=') {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        let text = match text.strip_suffix("/*") {
            Some(folder) if !exact => format!("{folder}/"),
            _ => text.to_owned(),
        };
        if !text.starts_with('/') {
            return Err("a route's path begins with / (or with = for exactly that path)");
        }
        if text.contains('*') {
            return Err("* may only stand at the end, as in /folder/*");
        }
        let path = path_spelling::normal(&text)
            .map_err(|_| "the path climbs out of the site or is not spelt right")?
            .into_owned();
        Ok(Self { exact, path })
    }

    /// The path that was written down, in its one spelling.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.exact
    }

    /// Whether `path`, in its one spelling, takes this route.
    pub(crate) fn matches(&self, path: &str) -> bool {
        if self.exact {
            return path == self.path;
        }
        match path.strip_prefix(self.path.as_str()) {
            None => false,
            Some(rest) => rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'),
        }
    }
}

/// Most specific first: exact before prefix, longer before shorter, then by text, so that
/// no two different patterns are equal.
impl Ord for RoutePattern {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |p: &Self| (!p.exact, usize::MAX - p.path.len());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.path.cmp(&other.path))
    }
}

impl PartialOrd for RoutePattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The routes of one site, most specific first.
#[derive(Debug)]
pub(crate) struct RouteTable<T>(Vec<(RoutePattern, T)>);

impl<T> RouteTable<T> {
    /// Sorts the routes; on error, the index of a route that another one already is.
    pub(crate) fn new(routes: Vec<(RoutePattern, T)>) -> Result<Self, usize> {
        for (index, (pattern, _)) in routes.iter().enumerate() {
            if routes.iter().take(index).any(|(p, _)| p == pattern) {
                return Err(index);
            }
        }
        let mut routes = routes;
        routes.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self(routes))
    }

    /// The most specific route that `path` takes.
    pub(crate) fn find(&self, path: &str) -> Option<&(RoutePattern, T)> {
        self.0.iter().find(|(pattern, _)| pattern.matches(path))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &(RoutePattern, T)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(paths: &[&str]) -> RouteTable<String> {
        let routes = paths
            .iter()
            .map(|p| (RoutePattern::parse(p).expect("a pattern"), (*p).to_owned()))
            .collect();
        RouteTable::new(routes).expect("no two alike")
    }

    #[test]
    fn the_most_specific_route_wins_in_any_order() {
        let table = table(&[
            "/",
            "/api/*",
            "/api",
            "= /api/login",
            "/api/login",
            "/static/",
        ]);
        for (path, route) in [
            ("/", "/"),
            ("/apix", "/"),
            ("/api", "/api"),
            ("/api/", "/api/*"),
            ("/api/user", "/api/*"),
            ("/api/login", "= /api/login"),
            ("/api/login/x", "/api/login"),
            ("/static", "/"),
            ("/static/a.js", "/static/"),
        ] {
            let found = table.find(path).map(|(_, name)| name.as_str());
            assert_eq!(found, Some(route), "{path}");
        }
    }

    #[test]
    fn without_a_root_route_unknown_paths_find_nothing() {
        assert_eq!(table(&["/api"]).find("/other"), None);
    }

    #[test]
    fn the_same_route_twice_is_told() {
        let twice = ["/a/b", "/a/./b"]
            .iter()
            .map(|p| (RoutePattern::parse(p).expect("a pattern"), ()))
            .collect();
        assert_eq!(RouteTable::new(twice).err(), Some(1));
    }

    #[test]
    fn bad_patterns_are_told() {
        for bad in ["api", "", "= api", "/a*b", "/../a"] {
            assert!(RoutePattern::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(texts in prop::collection::vec("=?(/[ab.]{1,2}){1,3}/?", 3)) {
            let all: Vec<_> = texts.iter().filter_map(|t| RoutePattern::parse(t).ok()).collect();
            for a in &all {
                for b in &all {
                    prop_assert_eq!(a.cmp(b), b.cmp(a).reverse());
                    prop_assert_eq!(a == b, a.cmp(b) == Ordering::Equal);
                    for c in &all {
                        if a <= b && b <= c {
                            prop_assert!(a <= c);
                        }
                    }
                }
            }
        }
    }
}
