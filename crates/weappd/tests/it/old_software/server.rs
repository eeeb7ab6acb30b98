//! The two business servers, as weappd.toml names them: apps under weappd's supervisor.

use std::path::Path;

use super::production::{APP_SECRET, APPID};
use super::{OldSoftware, fixture};
use crate::mariadb::{self, MariaDb};

/// A business server of those years. weappd chooses its port.
pub(crate) enum OldAppServer<'a> {
    /// Express and `qcloud-weapp-server-sdk` 0.8.2; sessions at weappd's session server.
    Wafer1,
    /// Koa and `wafer-node-sdk` 1.4.5; sessions in a table of its own, which it makes in
    /// the database `cAuth`.
    Wafer2(&'a MariaDb),
}

impl OldAppServer<'_> {
    /// What the smallest file says besides. A Wafer 2 server logs its users in by itself, so
    /// weappd speaks no dialect there.
    pub(super) fn site(&self) -> &'static str {
        match self {
            Self::Wafer1 => "",
            Self::Wafer2(_) => "dialects = []",
        }
    }

    /// What Node runs.
    pub(super) fn script(&self) -> &'static str {
        match self {
            Self::Wafer1 => "wafer1-server.js",
            Self::Wafer2(_) => "wafer2-server.js",
        }
    }

    /// The `[app]` section.
    pub(super) fn app_section(
        &self,
        software: &OldSoftware,
        sdk_config: &Path,
        wechat_url: &str,
    ) -> String {
        format!(
            "[app]\nrun = \"node '{}'\"\nenv = {}",
            fixture(self.script()).display(),
            self.env(software, sdk_config, wechat_url, APP_SECRET)
        )
    }

    /// Its environment, as weappd.toml has it.
    pub(super) fn env(
        &self,
        software: &OldSoftware,
        sdk_config: &Path,
        wechat_url: &str,
        app_secret: &str,
    ) -> String {
        let mut env = vec![
            ("NODE_PATH", software.modules().display().to_string()),
            ("SDK_CONFIG", sdk_config.display().to_string()),
        ];
        if let Self::Wafer2(store) = self {
            let elsewhere = fixture("wechat-elsewhere.js");
            env.extend([
                ("NODE_OPTIONS", format!("--require {}", elsewhere.display())),
                ("WECHAT_URL", wechat_url.to_owned()),
                ("WX_APPID", APPID.to_owned()),
                ("WX_APPSECRET", app_secret.to_owned()),
                ("MYSQL_PORT", store.port.to_string()),
                ("MYSQL_USER", mariadb::USER.to_owned()),
                ("MYSQL_PASS", mariadb::PASSWORD.to_owned()),
            ]);
        }
        let env = env.iter().map(|(name, text)| format!("{name} = '{text}'"));
        format!("{{ {} }}", env.collect::<Vec<_>>().join(", "))
    }
}
