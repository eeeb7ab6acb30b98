//! Which paths of WeChat's API apps may call.

use crate::proxy_error::ProxyError;

/// Calls that prove themselves with an AppSecret, a ticket or a token of a user's or of a
/// third-party platform's: all logins (`/sns/oauth2/access_token`, `/sns/userinfo` ...), and
/// the platform's own.
const WITHOUT_TOKEN: [&str; 5] = [
    "/sns",
    "/cgi-bin/component",
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
    !WITHOUT_TOKEN.iter().any(|own| covers(own, path))
}

/// Whether `path` is one of WeChat's, as told by how it begins.
pub(crate) fn is_wechats(path: &str) -> bool {
    PREFIXES.iter().any(|prefix| covers(prefix, path))
}

/// Whether `path` belongs to 微信云托管 itself, not to WeChat's API.
pub(crate) fn is_clouds(path: &str) -> bool {
    covers("/_", path)
}

/// Says no to 微信云托管's own paths, and what there is instead.
pub(crate) fn check_cloud(path: &str) -> Result<(), ProxyError> {
    let instead = if covers("/_/pay", path) {
        "call api.mch.weixin.qq.com with your merchant's own key and certificate"
    } else if covers("/_/cos", path) {
        "upload to weappd (POST /weapp/upload), or ask your object storage for a temporary key"
    } else if is_clouds(path) {
        "see docs/wire/gateway.md"
    } else {
        return Ok(());
    };
    Err(ProxyError::CloudOnly { instead })
}

/// Says no to paths that are not allowed, or that another server might read as another.
pub(crate) fn check(path: &str, allow: &[String]) -> Result<(), ProxyError> {
    let parts = path
        .strip_prefix('/')
        .ok_or(ProxyError::BadPath)?
        .split('/');
    let sly = |part: &str| matches!(part, "" | "." | "..") || part.contains(['%', '\\', ';']);
    if parts.clone().any(sly) {
        return Err(ProxyError::BadPath);
    }
    if allow.is_empty() || allow.iter().any(|prefix| covers(prefix, path)) {
        return Ok(());
    }
    Err(ProxyError::NotAllowed {
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
            assert!(
                matches!(refused, Err(ProxyError::NotAllowed { .. })),
                "{bad}"
            );
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
            assert_eq!(check(bad, &[]), Err(ProxyError::BadPath), "{bad}");
        }
    }

    #[test]
    fn the_clouds_own_paths_are_told_what_there_is_instead() {
        for (path, words) in [
            ("/_/pay/unifiedOrder", "api.mch.weixin.qq.com"),
            ("/_/cos/getauth", "/weapp/upload"),
            ("/_/cos/metaid/encode", "/weapp/upload"),
            ("/_/payment", "docs/wire/gateway.md"),
            ("/_", "docs/wire/gateway.md"),
        ] {
            let Err(refusal) = check_cloud(path) else {
                panic!("{path} is answered");
            };
            assert!(refusal.errmsg().contains(words), "{path}");
            assert!(is_clouds(path) && !is_wechats(path), "{path}");
        }
        for path in ["/wxa/x", "/_x/pay", "/pay", "/"] {
            assert_eq!(check_cloud(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn wechats_paths_are_known() {
        assert!(is_wechats("/wxa/msg_sec_check"));
        assert!(!is_wechats("/weapp/user") && !is_wechats("/wxapp"));
        assert!(takes_token("/wxa/checksession") && !takes_token("/cgi-bin/token"));
    }
}
