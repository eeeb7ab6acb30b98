//! Sites behind a TLS proxy of the operator's: a word for those whose proxy is not named.

use crate::config::{checker::ConfigChecker, document::PathStep, resolve::Config};
use weappd_base::language::pick;
use weappd_base::words;

/// Says where a proxy is to be named; `trusted_proxies = []` says that there is none.
pub(crate) fn tell(checker: &ConfigChecker<'_>, config: &Config) {
    if checker.says(&["edge".into(), "trusted_proxies".into()]) {
        return;
    }
    for site in config.sites.iter().filter(|site| site.tls.is_none()) {
        let name = site
            .hosts
            .first()
            .map_or(pick("the site", "该站点"), String::as_str);
        let own: [PathStep<'_>; 3] = ["sites".into(), name.into(), "tls".into()];
        let short: [PathStep<'_>; 1] = ["tls".into()];
        let place: &[PathStep<'_>] = if checker.says(&own) { &own } else { &short };
        checker.note(
            place,
            words!(
                "{name} has no TLS of its own: if a TLS proxy stands in front, name it as \
                 [edge] trusted_proxies = [\"loopback\"] (or its address), or apps see it, and \
                 plain http, in place of the client", "{name} 自己没有 TLS：如果前面有 TLS 代理，请写 [edge] trusted_proxies = [\"loopback\"]（或它的地址），否则应用看到的是代理的地址和 http，而不是客户端的"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{ProblemSeverity, load};

    fn notes(text: &str) -> usize {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weappd.toml");
        std::fs::write(&path, text).expect("written");
        let loaded = load(Path::new(&path), &|_| None, &|_| Vec::new()).expect("a fine file");
        let about = loaded.warnings.iter().filter(|note| {
            let words = note.message.contains("trusted_proxies");
            assert!(!words || note.severity == ProblemSeverity::Note);
            words
        });
        about.count()
    }

    #[test]
    fn a_site_without_tls_is_asked_for_its_proxy() {
        let short = "domain = \"a.com\"\ntls = \"off\"\nproxy = 1937\n";
        assert_eq!(notes(short), 1);
        let long = "[sites.\"a.com\"]\ntls = \"off\"\nproxy = 1\n[sites.\"b.com\"]\ntls = \"off\"\nproxy = 1\n";
        assert_eq!(notes(long), 2);
        for named in ["[\"loopback\"]", "[\"10.0.0.0/8\", \"private\"]", "[]"] {
            let named = format!("{short}[edge]\ntrusted_proxies = {named}\n");
            assert_eq!(notes(&named), 0, "{named}");
        }
    }
}
