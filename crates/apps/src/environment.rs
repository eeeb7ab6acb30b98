//! The environment a process gets: weappd's own without its secrets, then what the app is
//! given.

use std::collections::BTreeMap;
use std::ffi::OsString;

use weappd_base::secret::{Secret, is_secret_name};

/// Environment variables and their values.
pub type EnvVariables = BTreeMap<String, Secret>;

/// Names that are never passed on unless the app asks for them with `pass_env`. `*` stands
/// for any text; case does not matter.
pub const DENY_ENV: [&str; 12] = [
    "*SECRET*",
    "*PASSWORD*",
    "*PASSWD*",
    "*TOKEN*",
    "*CREDENTIAL*",
    "*PRIVATE_KEY*",
    "*ACCESS_KEY*",
    "*API_KEY*",
    "*APIKEY*",
    "*AES_KEY*",
    "*SIGNATURE_KEY*",
    "WEAPP_*",
];

/// What a service manager tells weappd itself; a child that took it for its own would
/// speak in weappd's name.
const NEVER_PASSED: [&str; 7] = [
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "INVOCATION_ID",
];

/// Variables of weappd's own settings: that an app does not get them needs no word.
const OWN_SETTINGS: &str = "WEAPP_*";

/// What a process gets of weappd's environment.
#[derive(Debug, Default)]
pub(crate) struct InheritedEnv {
    pub(crate) kept: Vec<(OsString, OsString)>,
    /// The names of what looks secret and may have been meant for it.
    pub(crate) withheld: Vec<String>,
}

/// Leaves out of `own` what looks secret, matches `deny`, or belongs to weappd alone; keeps
/// what `pass` names.
pub(crate) fn inherited(
    own: &[(OsString, OsString)],
    deny: &[String],
    pass: &[String],
) -> InheritedEnv {
    let mut found = InheritedEnv::default();
    for (variable, value) in own {
        let name = variable.to_string_lossy();
        if NEVER_PASSED.contains(&name.as_ref()) {
            continue;
        }
        let denied = is_secret_name(&name)
            || (DENY_ENV.iter().copied())
                .chain(deny.iter().map(String::as_str))
                .any(|pattern| matches(pattern, &name));
        if !denied || pass.iter().any(|passed| matches_exactly(passed, &name)) {
            found.kept.push((variable.clone(), value.clone()));
        } else if !matches(OWN_SETTINGS, &name) {
            found.withheld.push(name.into_owned());
        }
    }
    found.withheld.sort_unstable();
    found
}

/// A name is meant as it is written; with `*` in it, it is a pattern.
fn matches_exactly(pattern: &str, name: &str) -> bool {
    pattern == name || (pattern.contains('*') && matches(pattern, name))
}

/// Whether `name` is of the shape `pattern`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_uppercase(), name.to_ascii_uppercase());
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = parts.as_slice() else {
        return pattern == name;
    };
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(own: &[&str], deny: &[&str], pass: &[&str]) -> Vec<String> {
        let own: Vec<_> = (own.iter())
            .map(|name| (OsString::from(name), OsString::from("x")))
            .collect();
        let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        (inherited(&own, &texts(deny), &texts(pass)).kept.into_iter())
            .map(|(name, _)| name.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn secrets_of_weappd_stay_with_weappd() {
        let own = [
            "PATH",
            "HOME",
            "WEAPP_SECRET",
            "MY_APP_secret_2",
            "GITHUB_TOKEN",
            "SKEY",
            "NOTIFY_SOCKET",
            "MYSQL_PASSWORD",
            "LANG",
            "AWS_ACCESS_KEY_ID",
            "KEYBOARD",
        ];
        assert_eq!(names(&own, &[], &[]), ["PATH", "HOME", "LANG", "KEYBOARD"]);
    }

    #[test]
    fn more_may_be_denied_and_some_allowed_again() {
        let own = ["PATH", "DB_PASSWORD", "DB_URL", "NOTIFY_SOCKET"];
        let pass = ["DB_PASSWORD", "NOTIFY_SOCKET"];
        assert_eq!(names(&own, &["DB_URL"], &pass), ["PATH", "DB_PASSWORD"]);
        let own = [
            "DB_PASSWORD",
            "DB_TOKEN",
            "db_password",
            "CI_TOKEN",
            "WEAPP_SECRET",
        ];
        assert_eq!(
            names(&own, &[], &["DB_*"]),
            ["DB_PASSWORD", "DB_TOKEN", "db_password"]
        );
        assert_eq!(names(&own, &[], &["db_password"]), ["db_password"]);
        assert_eq!(names(&own, &[], &["*"]), own);
    }

    #[test]
    fn what_is_withheld_is_named() {
        let own = [
            "PATH",
            "MYSQL_PASSWORD",
            "ACCESS_TOKEN",
            "WEAPP_SECRET",
            "LISTEN_FDS",
            "COS_KEY",
        ];
        let own = own.map(|name| (OsString::from(name), OsString::from("x")));
        let found = inherited(&own, &["COS_KEY".to_owned()], &[]);
        assert_eq!(
            found.withheld,
            ["ACCESS_TOKEN", "COS_KEY", "MYSQL_PASSWORD"]
        );
        let found = inherited(&own, &[], &["*_TOKEN".to_owned()]);
        assert_eq!(found.withheld, ["MYSQL_PASSWORD"]);
    }

    #[test]
    fn patterns() {
        let table = [
            ("A", "a", true),
            ("A", "AB", false),
            ("*SECRET*", "SECRET", true),
            ("*SECRET*", "MY_SECRETS", true),
            ("A*B*C", "AxBxC", true),
            ("A*B*C", "AxC", false),
            ("A*A", "A", false),
            ("*", "", true),
        ];
        for (pattern, name, is) in table {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
