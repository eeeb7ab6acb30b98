//! Which paths of WeChat's API apps may call.

use crate::refusal::Refusal;

/// Calls that prove themselves with the AppSecret, not with a token.
const WITHOUT_TOKEN: [&str; 4] = [
    "/sns/jscode2session",
    "/cgi-bin/token",
    "/cgi-bin/stable_token",
    "/cgi-bin/clear_quota/v2",
];

/// The beginnings of all paths of WeChat's server API for mini programs.
const PREFIXES: [&str; 16] = [
    "/cgi-bin",
    "/cityservice",
    "/customservice",
    "/cv",
    "/datacube",
    "/intp",
    "/marketing",
    "/product",
    "/redpacketcover",
    "/retail",
    "/sns",
    "/tcb",
    "/wxa",
    "/wxaapi",
    "/wxadrama",
    "/xpay",
];

/// Whether the gateway adds an access token to calls of `path`.
pub(crate) fn takes_token(path: &str) -> bool {
    !WITHOUT_TOKEN.contains(&path)
}

/// Whether `path` is one of WeChat's, as told by how it begins.
pub(crate) fn is_wechats(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| covers(prefix, path))
}

/// Says no to paths that are not allowed, or that another server might read as another.
pub(crate) fn check(path: &str, allow: &[String]) -> Result<(), Refusal> {
    let parts = path.strip_prefix('/').ok_or(Refusal::BadPath)?.split('/');
    let sly = |part: &str| matches!(part, "" | "." | "..") || part.contains(['%', '\\', ';']);
    if parts.clone().any(sly) {
        return Err(Refusal::BadPath);
    }
    if allow.is_empty() || allow.iter().any(|prefix| covers(prefix, path)) {
        return Ok(());
    }
    Err(Refusal::NotAllowed {
        path: path.to_owned(),
    })
}

fn covers(prefix: &str, path: &str) -> bool {
    let rest = path.strip_prefix(prefix.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_whole_parts() {
        let allow = ["/wxa".to_owned(), "/cgi-bin/message/".to_owned()];
        for good in ["/wxa/x", "/wxa", "/cgi-bin/message/custom/send"] {
            assert_eq!(check(good, &allow), Ok(()), "{good}");
            assert_eq!(check(good, &[]), Ok(()), "{good}");
        }
        for bad in ["/wxaapi/x", "/cgi-bin/messages", "/sns/x"] {
            let refused = check(bad, &allow);
            assert!(matches!(refused, Err(Refusal::NotAllowed { .. })), "{bad}");
        }
    }

    #[test]
    fn sly_paths_are_refused_even_when_all_is_allowed() {
        for bad in [
            "/wxa/../cgi-bin/token",
            "/wxa/%2e%2e/cgi-bin",
            "/wxa//x",
            "/wxa/./x",
            "/wxa\\..\\x",
            "/wxa/x/",
            "wxa",
            "/",
            "",
        ] {
            assert_eq!(check(bad, &[]), Err(Refusal::BadPath), "{bad}");
        }
    }

    #[test]
    fn wechats_paths_are_known() {
        assert!(is_wechats("/wxa/msg_sec_check"));
        assert!(!is_wechats("/weapp/user") && !is_wechats("/wxapp"));
        assert!(takes_token("/wxa/checksession") && !takes_token("/cgi-bin/token"));
    }
}
