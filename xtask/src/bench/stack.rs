//! What people run today: nginx before Koa with the real `wafer-node-sdk`, before MariaDB.
//!
//! The business server is the one of weappd's own tests
//! (`crates/weappd/tests/it/old_software`), from the same lock file.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::bench::files;
use crate::bench::mariadb;
use crate::bench::nginx::{self, Nginx};
use crate::bench::process::{Process, free_port, pinned};
use crate::bench::weappd::{APP_SECRET, APPID};
use crate::bench::world::{Base, Running};
use crate::run::{root, say};

/// How often a server is asked whether it is up.
const EVERY: Duration = Duration::from_millis(1);

/// The prepared directories of all three.
#[derive(Clone, Debug)]
pub(super) struct Home {
    dir: PathBuf,
    npm: PathBuf,
    /// nginx's port.
    pub(super) https: u16,
    /// Koa's port, for logging users in.
    pub(super) koa: u16,
    mariadb: mariadb::Home,
    wechat: u16,
    pub(super) users_file: PathBuf,
}

impl Home {
    /// Installs the packages, makes an empty database and all configuration.
    pub(super) fn prepare(base: &Base, wechat: u16) -> Result<Self, String> {
        let dir = base.dir.join("stack");
        fs::create_dir_all(&dir).map_err(|error| format!("the stack: {error}"))?;
        let home = Self {
            npm: npm(),
            https: free_port()?,
            koa: free_port()?,
            mariadb: mariadb::Home::prepare(dir.join("mariadb"))?,
            wechat,
            users_file: base.dir.join("stack-users.tsv"),
            dir,
        };
        home.install_packages()?;
        home.configure()?;
        Ok(home)
    }

    /// The same users in another directory, with another WeChat.
    pub(super) fn elsewhere(&self, base: &Base, name: &str, wechat: u16) -> Result<Self, String> {
        let dir = base.dir.join(name);
        files::copy(&self.dir, &dir).map_err(|error| format!("{name}: {error}"))?;
        let home = Self {
            https: free_port()?,
            koa: free_port()?,
            mariadb: mariadb::Home::at_copy(dir.join("mariadb"))?,
            wechat,
            dir,
            ..self.clone()
        };
        home.configure()?;
        Ok(home)
    }

    fn configure(&self) -> Result<(), String> {
        self.write(
            "sdk.config.json",
            "{\"serverHost\":\"localhost\",\"tunnelServerUrl\":\"http://127.0.0.1:9\",\
             \"tunnelSignatureKey\":\"unused\",\"networkTimeout\":30000}\n",
        )
    }

    fn write(&self, name: &str, text: &str) -> Result<(), String> {
        let file = self.dir.join(name);
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    }

    /// `npm ci` by the tests' lock file, again only when that changed.
    fn install_packages(&self) -> Result<(), String> {
        let done = self.npm.join("complete");
        let mut wanted = String::new();
        for name in ["package.json", "package-lock.json"] {
            wanted += &fs::read_to_string(fixture(name)).map_err(|e| format!("{name}: {e}"))?;
        }
        if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        say("installing wafer-node-sdk and Koa from npm");
        let cannot = |error| format!("{}: {error}", self.npm.display());
        fs::create_dir_all(&self.npm).map_err(cannot)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(fixture(name), self.npm.join(name)).map_err(cannot)?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&self.npm);
        Process::start("npm", &mut npm, &self.npm)?.finish()?;
        fs::write(done, wanted).map_err(cannot)
    }

    fn nginx(&self, base: &Base) -> Result<Nginx, String> {
        let front = nginx::front(base, self.https, self.koa, "");
        let on = (base.machine.server_cores, base.machine.server_threads);
        Nginx::prepare(&self.dir, on, self.https, &front)
    }

    /// Starts all three in the order they need each other. nginx may come before Koa: it
    /// answers 502 until then.
    pub(super) fn spawn(&self, base: &Base) -> Result<Running, String> {
        let mariadb = self.mariadb.start(base)?;
        let node = Process::start("node", &mut self.node(base), &self.dir)?;
        let nginx = self.nginx(base)?.spawn()?;
        Ok(Running {
            name: "nginx + Koa + MariaDB",
            port: self.https,
            users_file: self.users_file.clone(),
            dir: self.dir.clone(),
            // The first to start is the last to stop.
            processes: vec![("nginx", nginx), ("node", node), ("mariadbd", mariadb)],
        })
    }

    /// Starts all three and waits for them.
    pub(super) fn start(&self, base: &Base) -> Result<Running, String> {
        let mut running = self.spawn(base)?;
        for (name, process) in &mut running.processes {
            process.wait_until(EVERY, |process| match *name {
                "node" => process.said().contains("listening on"),
                "nginx" => TcpStream::connect(("127.0.0.1", self.https)).is_ok(),
                _ => true,
            })?;
        }
        Ok(running)
    }

    fn node(&self, base: &Base) -> Command {
        let mut command = pinned(base.machine.server_cores, "node");
        command
            .arg("--require")
            .arg(fixture("wechat-elsewhere.js"))
            .arg(fixture("wafer2-server.js"))
            .env("NODE_PATH", self.npm.join("node_modules"))
            .env("NODE_ENV", "production")
            .env("PORT", self.koa.to_string())
            .env("SDK_CONFIG", self.dir.join("sdk.config.json"))
            .env("WECHAT_URL", format!("http://127.0.0.1:{}", self.wechat))
            .env("WX_APPID", APPID)
            .env("WX_APPSECRET", APP_SECRET)
            .env("WX_LOGIN_EXPIRES", "2592000")
            .env("MYSQL_PORT", self.mariadb.port.to_string())
            .env("MYSQL_USER", mariadb::USER)
            .env("MYSQL_PASS", mariadb::PASSWORD);
        command
    }
}

/// Where the packages of npm are.
pub(super) fn npm() -> PathBuf {
    root().join("target/bench/npm")
}

fn fixture(name: &str) -> PathBuf {
    root()
        .join("crates/weappd/tests/it/old_software")
        .join(name)
}
