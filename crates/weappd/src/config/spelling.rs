//! Guesses what somebody meant to write.

use weappd_base::words;
/// What nginx, pm2 and the Wafer SDKs call things, and what weappd calls them.
const ELSEWHERE: [(&str, &str); 19] = [
    ("server_name", "domain"),
    ("host", "domain"),
    ("domains", "domain"),
    ("ssl_certificate", "cert"),
    ("certificate", "cert"),
    ("ssl_certificate_key", "key"),
    ("proxy_pass", "proxy"),
    ("upstream", "proxy"),
    ("location", "path"),
    ("return", "redirect"),
    ("app_id", "appid"),
    ("appsecret", "secret"),
    ("app_secret", "secret"),
    ("token", "message_token"),
    ("aes_key", "encoding_aes_key"),
    ("encodingaeskey", "encoding_aes_key"),
    ("script", "run"),
    ("command", "run"),
    ("cwd", "dir"),
];

/// The nearest of `known`, or all of them if there are few.
pub(crate) fn hint<'a>(written: &str, known: impl IntoIterator<Item = &'a &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().copied().collect();
    nearest(written, &known).unwrap_or_else(|| match known.len() {
        1..=24 => words!("known here: {}", "可以写：{}", known.join(", ")),
        _ => String::new(),
    })
}

/// The nearest of `known`, if one is near.
pub(crate) fn nearest(written: &str, known: &[&str]) -> Option<String> {
    let lower = written.to_lowercase();
    let foreign = ELSEWHERE
        .iter()
        .find(|(theirs, ours)| *theirs == lower && known.contains(ours))
        .map(|(_, ours)| *ours);
    let similar = || {
        known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(&lower, known), *known))
            .filter(|(distance, known)| *distance <= (known.len() / 3).clamp(1, 3))
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, known)| known)
    };
    let meant = foreign.or_else(similar)?;
    Some(words!("did you mean `{meant}`?", "是不是想写 `{meant}`？"))
}

/// `"a", "b" or "c"`.
pub(crate) fn one_of(choices: &[&str]) -> String {
    let mut quoted: Vec<String> = choices
        .iter()
        .map(|choice| format!("\"{choice}\""))
        .collect();
    let Some(last) = quoted.pop() else {
        return String::new();
    };
    if quoted.is_empty() {
        last
    } else {
        words!("{} or {last}", "{} 或 {last}", quoted.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guesses_are_near_or_none() {
        let known = ["domain", "cert", "key", "proxy"];
        let hint = |written| hint(written, known.iter());
        assert_eq!(hint("domian"), "did you mean `domain`?");
        assert_eq!(hint("Proxy"), "did you mean `proxy`?");
        assert_eq!(hint("ssl_certificate_key"), "did you mean `key`?");
        assert_eq!(hint("zebra"), "known here: domain, cert, key, proxy");
        assert_eq!(one_of(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
    }
}
