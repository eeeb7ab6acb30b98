//! The paths WeChat documents for mini programs' servers, and the method of each.
//!
//! `data/endpoints.tsv` holds the list of the official documentation, 2026-11.

use std::collections::HashMap;
use std::sync::LazyLock;

use http::Method;

const LISTED: &str = include_str!("../data/endpoints.tsv");

/// Paths the list lacks and servers use.
const UNLISTED: [(&str, &str); 3] = [
    ("/cgi-bin/token", "GET"),
    ("/cgi-bin/stable_token", "POST"),
    // Older pages' name of `/cgi-bin/message/custom/business/typing`.
    ("/cgi-bin/message/custom/typing", "POST"),
];

static ALL: LazyLock<HashMap<&'static str, Method>> = LazyLock::new(|| {
    let listed = LISTED.lines().filter_map(|line| line.split_once('\t'));
    listed
        .chain(UNLISTED)
        .map(|(path, method)| {
            let get = method.trim() == "GET";
            (path, if get { Method::GET } else { Method::POST })
        })
        .collect()
});

/// The method of a documented path.
pub(crate) fn method_of(path: &str) -> Option<&'static Method> {
    ALL.get(path)
}

/// Every documented path with its method.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static Method)> {
    ALL.iter().map(|(path, method)| (*path, method))
}

/// How many paths are known.
#[cfg(test)]
pub(crate) fn count() -> usize {
    ALL.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole() {
        assert_eq!(LISTED.lines().count(), 432);
        assert!((432..=435).contains(&count()));
        assert_eq!(method_of("/sns/jscode2session"), Some(&Method::GET));
        assert_eq!(method_of("/wxa/msg_sec_check"), Some(&Method::POST));
        assert_eq!(method_of("/cgi-bin/token"), Some(&Method::GET));
        assert_eq!(method_of("/wxa/nothing"), None);
    }
}
