//! The `[session]` section, and the mini programs the sessions belong to.

use std::fmt;
use std::path::{Path, PathBuf};
use weappd_base::language::pick;
use weappd_base::words;

use serde::Deserialize;
use sqlx::mysql::MySqlConnectOptions;
use weappd_base::secret::Secret;
use weappd_base::setting_problem::SettingProblem;

use crate::error::Error;

/// The `[session]` section of weappd.toml.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where users and sessions are kept: `sqlite:FILE` (a relative file stands in the
    /// data directory), or `mysql://USER:PASSWORD@HOST:PORT/DATABASE` for MySQL and
    /// MariaDB. A database of the PHP session server or of Wafer 2 (`cAuth`) is used in
    /// place, as it is.
    pub store: String,
    /// How long, in milliseconds, a request waits for a MySQL or MariaDB database that is
    /// slow or gone, before it is answered that the store failed. Sessions in memory are
    /// checked meanwhile.
    pub store_wait_ms: u64,
    /// How many connections to a MySQL or MariaDB database are held for reading; one more
    /// writes.
    pub store_connections: u32,
    /// For how many seconds a session in memory is believed before a MySQL or MariaDB
    /// database is asked again: so long may a session live on here after another weappd,
    /// or the old server, ended it.
    pub recheck_secs: u64,
    /// The time zone of the times in a `cAuth` database, as an offset such as `+08:00`. If
    /// it is empty: `+08:00` for the PHP session server's, which always writes Beijing's
    /// time; the database server's own for Wafer 2's.
    pub cauth_time_zone: String,
    /// The key itself in place of `key_file`: 64 hex digits, as in
    /// `{ env = "WEAPPD_SESSION_KEY" }`. Nothing is then written to `key_file`.
    pub key: Secret,
    /// The file with the key that protects session keys, phone numbers and registered
    /// secrets in the database; made in the data directory at the first run. Nodes that share a database need the same.
    pub key_file: PathBuf,
    /// How many of WeChat's session keys are kept for each user, so that data encrypted
    /// just before a new login still opens.
    pub session_keys_kept: u32,
    /// How old, in seconds, encrypted data may be that a phone brings to
    /// `/weapp/session/decrypt`, by the time WeChat wrote into it; 0 takes any.
    pub open_data_max_age_secs: u64,
    /// How many logins a minute one address may try; 0 sets no limit. Loopback addresses
    /// are not counted: a proxy stands there.
    pub logins_per_minute_per_ip: u32,
    /// How many logins a minute one user may make, and how often weappd asks WeChat for the
    /// user's phone number or session key; 0 sets no limit.
    pub logins_per_minute_per_user: u32,
    /// How often an hour one user may bring encrypted data that does not open, before it is
    /// refused without a look; 0 sets no limit, and lets whoever has time decrypt and forge.
    pub decrypt_failures_per_hour_per_user: u32,
    /// The same of one address, whoever its users are; 0 sets no limit. Loopback addresses
    /// are not counted.
    pub decrypt_failures_per_hour_per_ip: u32,
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
            store_wait_ms: 5000,
            store_connections: 8,
            recheck_secs: 2,
            cauth_time_zone: String::new(),
            key: Secret::default(),
            key_file: PathBuf::from("session.key"),
            session_keys_kept: 3,
            open_data_max_age_secs: 3600,
            logins_per_minute_per_ip: 600,
            logins_per_minute_per_user: 60,
            decrypt_failures_per_hour_per_user: 10,
            decrypt_failures_per_hour_per_ip: 200,
            wafer1: false,
            wafer2: true,
            max_sessions_per_user: 8,
            cache_bytes: 64 * 1024 * 1024,
            rpc_initdata: false,
        }
    }
}

/// Where the store is.
pub(crate) enum StorePlace {
    Sqlite(PathBuf),
    Mysql(Box<MySqlConnectOptions>),
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("store", &without_password(&self.store))
            .finish_non_exhaustive()
    }
}

impl Config {
    /// What is wrong with the section.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if let Err(err) = self.place(Path::new(".")) {
            problems.push(SettingProblem::new(
                "store",
                err.to_string(),
                pick("write sqlite:FILE, for example sqlite:weappd.db, or mysql://user:password@host:3306/database", "请写 sqlite:文件，例如 sqlite:weappd.db，或 mysql://用户:密码@主机:3306/数据库"),
            ));
        }
        let key = self.key.expose();
        if !key.is_empty() && (key.len() != 64 || !key.bytes().all(|c| c.is_ascii_hexdigit())) {
            problems.push(SettingProblem::new(
                "key",
                pick("is no key", "不是密钥"),
                pick(
                    "64 hex digits, as `openssl rand -hex 32` makes them; or leave it out",
                    "应为 64 位十六进制字符，可用 `openssl rand -hex 32` 生成；或删掉这一行",
                ),
            ));
        }
        if self.key_file.as_os_str().is_empty() {
            problems.push(SettingProblem::new(
                "key_file",
                pick("names no file", "没有写文件名"),
                pick(
                    "leave it out for session.key in the data directory",
                    "删掉这一行则默认为数据目录里的 session.key",
                ),
            ));
        }
        let limits = [
            ("cache_bytes", self.cache_bytes, 64 * 1024, 1 << 40),
            ("store_wait_ms", self.store_wait_ms, 100, 60_000),
            ("store_connections", self.store_connections.into(), 1, 1000),
            ("recheck_secs", self.recheck_secs, 1, 3600),
            ("session_keys_kept", self.session_keys_kept.into(), 1, 100),
        ];
        for (field, value, least, most) in limits {
            if !(least..=most).contains(&value) {
                problems.push(SettingProblem::new(
                    field,
                    words!("{value} is out of bounds", "{value} 超出范围"),
                    words!(
                        "write a number from {least} to {most}",
                        "请写 {least} 到 {most} 之间的数"
                    ),
                ));
            }
        }
        if !is_offset(&self.cauth_time_zone) {
            problems.push(SettingProblem::new(
                "cauth_time_zone",
                pick("is no offset", "不是时区偏移"),
                pick(
                    "write an offset such as +08:00, or leave it out",
                    "请写 +08:00 这样的时区偏移，或删掉这一行",
                ),
            ));
        }
        if self.max_sessions_per_user == 0 {
            problems.push(SettingProblem::new(
                "max_sessions_per_user",
                pick(
                    "nobody could ever be logged in",
                    "这样所有用户都无法保持登录",
                ),
                pick(
                    "allow at least 1 session per user (default 8)",
                    "每个用户至少允许 1 个会话（默认 8）",
                ),
            ));
        }
        problems
    }

    /// Whether the store is one that several nodes can share.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.store.starts_with("mysql://") || self.store.starts_with("mariadb://")
    }

    /// Where the store is, with relative paths taken from `data_dir`.
    pub(crate) fn place(&self, data_dir: &Path) -> Result<StorePlace, Error> {
        if !self.is_shared() {
            return self.sqlite_file(data_dir).map(StorePlace::Sqlite);
        }
        let refused = || Error::StoreKind(without_password(&self.store));
        let options: MySqlConnectOptions = self.store.parse().map_err(|_| refused())?;
        match options.get_database() {
            Some(name) if !name.is_empty() => Ok(StorePlace::Mysql(Box::new(options))),
            _ => Err(refused()),
        }
    }

    /// The database file, with relative paths taken from `data_dir`.
    fn sqlite_file(&self, data_dir: &Path) -> Result<PathBuf, Error> {
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

/// `+08:00`, or nothing.
fn is_offset(text: &str) -> bool {
    let digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    text.is_empty()
        || text.len() == 6
            && text.starts_with(['+', '-'])
            && text.get(3..4) == Some(":")
            && [1, 2, 4, 5].into_iter().all(digit)
}

/// The store's URL without what stands before its `@`: errors must not show a password,
/// least of all where a slash was forgotten.
fn without_password(url: &str) -> String {
    let is_scheme = |text: &str| text.bytes().all(|c| c.is_ascii_alphanumeric());
    let Some((before, place)) = url.rsplit_once('@') else {
        // Where the @ itself was forgotten, a password may be anywhere but in the name.
        return match url.split_once(':') {
            Some((scheme, rest)) if scheme != "sqlite" && is_scheme(scheme) => {
                let rest = rest.trim_start_matches('/');
                let name = rest.rsplit_once('/').map_or("", |(_, name)| name);
                format!("{scheme}://***/{name}")
            }
            _ => url.to_owned(),
        };
    };
    match before.split_once(':').map(|(scheme, _)| scheme) {
        Some(scheme) if is_scheme(scheme) => format!("{scheme}://***@{place}"),
        _ => format!("***@{place}"),
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
        let err = file("redis://root:pa@ss@db/cAuth").expect_err("not sqlite");
        assert!(!err.to_string().contains("pa@ss"), "{err}");
        assert!(!err.to_string().contains("root"), "{err}");
        for typo in ["mysql:root:pa@ss@db/cAuth", "mysql:/root:pa@ss@db/cAuth"] {
            let err = file(typo).expect_err("not sqlite").to_string();
            assert!(!err.contains("pa@ss") && err.contains("db/cAuth"), "{err}");
        }
        for typo in [
            "mysql://root:pa-ss/cAuth",
            "mysql:root:pa-ss",
            "mysql:pa-ss/",
        ] {
            let err = file(typo).expect_err("not sqlite").to_string();
            assert!(
                !err.contains("pa-ss") && err.contains("mysql://***/"),
                "{err}"
            );
        }
        for store in ["", "sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro"] {
            assert!(file(store).is_err(), "{store}");
        }
    }

    #[test]
    fn a_database_server_is_named_with_its_database_and_never_shows_its_password() {
        let config = |store: &str| Config {
            store: store.to_owned(),
            ..Config::default()
        };
        let good = config("mysql://root:pa%40ss@db:3307/cAuth");
        match good.place(Path::new("/data")).expect("a place") {
            StorePlace::Mysql(options) => assert_eq!(options.get_port(), 3307),
            StorePlace::Sqlite(_) => panic!("no file"),
        }
        assert!(!format!("{good:?}").contains("pa%40ss"), "{good:?}");
        for store in ["mysql://root:pass@db", "mysql://root:pass@db/", "mysql:x"] {
            let Err(err) = config(store).place(Path::new("/data")) else {
                panic!("{store} is a place");
            };
            assert!(!err.to_string().contains("pass"), "{err}");
        }
    }

    #[test]
    fn bounds_and_offsets_are_checked() {
        let config = Config {
            store_wait_ms: 0,
            recheck_secs: 0,
            session_keys_kept: 0,
            cauth_time_zone: "Asia/Shanghai".to_owned(),
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        let expected = [
            "store_wait_ms",
            "recheck_secs",
            "session_keys_kept",
            "cauth_time_zone",
        ];
        assert_eq!(fields, expected);
        assert!(is_offset("+08:00") && is_offset("-03:30") && !is_offset("+8:000"));
    }

    #[test]
    fn the_default_has_no_problem_and_no_sessions_is_one() {
        assert!(Config::default().problems().is_empty());
        let config = Config {
            max_sessions_per_user: 0,
            store: "redis://x".to_owned(),
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["store", "max_sessions_per_user"]);
    }

    #[test]
    fn unknown_keys_are_refused() {
        let section = serde_json::json!({"wafer3": true});
        assert!(serde_json::from_value::<Config>(section).is_err());
    }
}
