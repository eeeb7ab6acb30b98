//! The two business servers, started by the test itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use tempfile::TempDir;

use super::{Endpoint, OldSoftware, fixture};
use crate::mariadb::{self, MariaDb};
use crate::process::Process;

/// Express and `qcloud-weapp-server-sdk` 0.8.2; sessions at weappd's session server.
pub(crate) struct Wafer1Server(Server);

/// Koa and `wafer-node-sdk` 1.4.5; sessions in its own MariaDB table.
pub(crate) struct Wafer2Server(Server);

struct Server {
    process: Process,
    _home: TempDir,
}

impl Wafer1Server {
    /// Starts it on 127.0.0.1:`port`, with an `sdk.config` that points at `endpoint`.
    pub(crate) fn start(software: &OldSoftware, endpoint: &Endpoint, port: u16) -> Self {
        let home = tempfile::tempdir().expect("a temp dir");
        let config = write_sdk_config(home.path(), endpoint);
        let mut command = software.node("wafer1-server.js");
        command.env("SDK_CONFIG", config);
        Self(Server::start("wafer1-server", command, port, home))
    }

    /// Waits until it logs a line with `text` (`connect NAME`, `leave NAME` ...).
    pub(crate) fn expect_log(&mut self, text: &str) {
        self.0.expect_log(text);
    }
}

impl Wafer2Server {
    /// Starts it on 127.0.0.1:`port`; its table is made in the database `cAuth` of `store`.
    pub(crate) fn start(
        software: &OldSoftware,
        endpoint: &Endpoint,
        store: &MariaDb,
        port: u16,
    ) -> Self {
        let home = tempfile::tempdir().expect("a temp dir");
        let config = write_sdk_config(home.path(), endpoint);
        let mut command = software.node("wafer2-server.js");
        command
            .env("SDK_CONFIG", config)
            .env(
                "NODE_OPTIONS",
                format!("--require {}", fixture("wechat-elsewhere.js").display()),
            )
            .env("WECHAT_URL", &endpoint.wechat_url)
            .env("WX_APPID", &endpoint.appid)
            .env("WX_APPSECRET", &endpoint.app_secret)
            .env("MYSQL_PORT", store.port.to_string())
            .env("MYSQL_USER", mariadb::USER)
            .env("MYSQL_PASS", mariadb::PASSWORD);
        Self(Server::start("wafer2-server", command, port, home))
    }

    /// Waits until it logs a line with `text` (`connect NAME`, `leave NAME` ...).
    pub(crate) fn expect_log(&mut self, text: &str) {
        self.0.expect_log(text);
    }
}

impl Server {
    fn start(name: &str, mut command: Command, port: u16, home: TempDir) -> Self {
        let mut process = Process::spawn(name, command.env("PORT", port.to_string()));
        let ready = format!("listening on {port}");
        process.expect_line(&ready, |line| (line == ready).then_some(()));
        Self {
            process,
            _home: home,
        }
    }

    fn expect_log(&mut self, text: &str) {
        self.process
            .expect_line(text, |line| line.contains(text).then_some(()));
    }
}

/// The one file an old business server has to have changed.
pub(crate) fn write_sdk_config(dir: &Path, endpoint: &Endpoint) -> PathBuf {
    let path = dir.join("sdk.config");
    let config = json!({
        "serverHost": endpoint.server_host,
        "authServerUrl": format!("{}/mina_auth/", endpoint.internal_url),
        "tunnelServerUrl": endpoint.internal_url,
        "tunnelSignatureKey": endpoint.tunnel_key,
        "networkTimeout": 30_000,
    });
    let config = endpoint
        .sdk_config
        .clone()
        .unwrap_or_else(|| config.to_string());
    fs::write(&path, config).expect("sdk.config");
    path
}
