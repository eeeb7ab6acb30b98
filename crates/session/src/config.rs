//! The `[session]` section, and the mini programs the sessions belong to.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use weappd_base::secret::Secret;

use crate::error::Error;

/// The `[session]` section of weappd.toml.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where users and sessions are kept: `sqlite:FILE`. A relative file stands in the
    /// data directory.
    pub store: String,
    /// Whether sites answer the Wafer 1 dialect at `/login` and `/user`.
    pub wafer1: bool,
    /// Whether sites answer the Wafer 2 dialect at `/weapp/login` and `/weapp/user`.
    pub wafer2: bool,
    /// How many sessions one user may hold at once; the oldest leaves when another is
    /// opened.
    pub max_sessions_per_user: u32,
    /// How many bytes of memory may be spent on remembering sessions, so that a check
    /// needs no trip to the database.
    pub cache_bytes: u64,
    /// Whether `qcloud.cam.initdata` may register a mini program over the session-server
    /// RPC, as the original installer did. Without it the call is refused.
    pub rpc_initdata: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: "sqlite:weappd.db".to_owned(),
            wafer1: false,
            wafer2: true,
            max_sessions_per_user: 8,
            cache_bytes: 64 * 1024 * 1024,
            rpc_initdata: false,
        }
    }
}

impl Config {
    /// What is wrong with the section: field, message, hint.
    pub fn problems(&self) -> Vec<(&'static str, String, String)> {
        let mut problems = Vec::new();
        if let Err(err) = self.sqlite_file(Path::new(".")) {
            problems.push((
                "store",
                err.to_string(),
                "write sqlite:FILE, for example sqlite:weappd.db".to_owned(),
            ));
        }
        if self.max_sessions_per_user == 0 {
            problems.push((
                "max_sessions_per_user",
                "nobody could ever be logged in".to_owned(),
                "allow at least 1 session per user (default 8)".to_owned(),
            ));
        }
        problems
    }

    /// The database file, with relative paths taken from `data_dir`.
    pub fn sqlite_file(&self, data_dir: &Path) -> Result<PathBuf, Error> {
        let path = match self.store.split_once(':') {
            Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
            // A drive or scheme of any other kind is not a file name of ours.
            Some(_) => return Err(Error::StoreKind(without_password(&self.store))),
            None => &self.store,
        };
        if path.is_empty() || path.contains('?') || path == ":memory:" {
            return Err(Error::StoreKind(without_password(&self.store)));
        }
        Ok(data_dir.join(path))
    }
}

/// The store's URL without what stands before its `@`: errors must not show a password.
fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        _ => url.to_owned(),
    }
}

/// One mini program whose users may log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MiniApp {
    /// The AppID, `wx...`.
    pub appid: String,
    /// The AppSecret.
    pub secret: Secret,
    /// How many days after its login a session ends, however busy it is.
    pub login_duration_days: u32,
    /// How many seconds a session lives without a visit.
    pub session_duration_secs: u64,
}

impl MiniApp {
    /// A mini program with the original's durations: 30 days, and 30 days unused.
    pub fn new(appid: impl Into<String>, secret: Secret) -> Self {
        Self {
            appid: appid.into(),
            secret,
            login_duration_days: 30,
            session_duration_secs: 2_592_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(store: &str) -> Result<PathBuf, Error> {
        Config {
            store: store.to_owned(),
            ..Config::default()
        }
        .sqlite_file(Path::new("/data"))
    }

    #[test]
    fn relative_files_stand_in_the_data_directory() {
        for (store, path) in [
            ("sqlite:weappd.db", "/data/weappd.db"),
            ("sqlite://weappd.db", "/data/weappd.db"),
            ("weappd.db", "/data/weappd.db"),
            ("sqlite:/var/lib/w.db", "/var/lib/w.db"),
            ("sqlite:///var/lib/w.db", "/var/lib/w.db"),
        ] {
            assert_eq!(file(store).expect(store), Path::new(path), "{store}");
        }
    }

    #[test]
    fn other_stores_are_refused_without_showing_a_password() {
        let err = file("mysql://root:pa@ss@db/cAuth").expect_err("not sqlite");
        assert!(!err.to_string().contains("pa@ss"), "{err}");
        assert!(!err.to_string().contains("root"), "{err}");
        for store in ["", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro"] {
            assert!(file(store).is_err(), "{store}");
        }
    }

    #[test]
    fn the_default_has_no_problem_and_no_sessions_is_one() {
        assert!(Config::default().problems().is_empty());
        let config = Config {
            max_sessions_per_user: 0,
            store: "redis://x".to_owned(),
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.0).collect();
        assert_eq!(fields, ["store", "max_sessions_per_user"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let section = serde_json::json!({"wafer3": true});
        assert!(serde_json::from_value::<Config>(section).is_err());
    }
}
