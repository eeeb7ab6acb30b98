//! Paths at which an app takes requests of weappd itself only.

use http::Method;

use crate::error::Error;
use crate::route::path_guards::PathGuards;
use crate::route::route_table::RoutePattern;

/// Paths at which an app takes requests of weappd itself only.
#[derive(Debug)]
pub(crate) struct ReservedPaths {
    paths: PathGuards,
    /// The site's root, if it is one.
    root: PathGuards,
}

impl ReservedPaths {
    pub(crate) fn new(host: &str, paths: &[String]) -> Result<Self, Error> {
        let patterns = paths.iter().filter(|path| *path != "/").map(|path| {
            RoutePattern::parse(path).map_err(|what| Error::Route {
                host: host.to_owned(),
                path: path.clone(),
                what: what.to_owned(),
            })
        });
        let patterns: Vec<RoutePattern> = patterns.collect::<Result<_, _>>()?;
        let root = paths.iter().any(|path| path == "/");
        let root = root.then(|| RoutePattern::parse("= /").ok()).flatten();
        Ok(Self {
            paths: PathGuards::new(patterns.iter().map(|pattern| (pattern, true))),
            root: PathGuards::new(root.iter().map(|pattern| (pattern, true))),
        })
    }

    /// Whether an app might take `path`, which is in its one spelling, for one of them.
    pub(crate) fn holds(&self, method: &Method, path: &str) -> bool {
        let asks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        !asks && self.root.require_session(path) || self.paths.require_session(path)
    }
}
