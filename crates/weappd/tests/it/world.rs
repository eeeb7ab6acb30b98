//! The world of a test: a real weappd process, a simulated WeChat, phones with users.
//!
//! `World::dev().await` runs `weappd dev` in a directory of its own, on free ports;
//! `world.phone("alice").log_in().await` is a deed of an actor. Dropping the world ends the
//! process and everything it started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::{self, Answer, Client};
use crate::process::{PATIENCE, Process};

/// The binary under test.
pub(crate) const WEAPPD: &str = env!("CARGO_BIN_EXE_weappd");

/// A running `weappd dev`.
pub(crate) struct World {
    process: Process,
    dir: TempDir,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) wechat: SocketAddr,
}

impl World {
    /// `weappd dev` with the chat room, ready.
    pub(crate) async fn dev() -> Self {
        Self::dev_in(tempfile::tempdir().expect("a temporary directory"), &[]).await
    }

    /// The same in a directory that exists, with further arguments.
    pub(crate) async fn dev_in(dir: TempDir, more: &[&str]) -> Self {
        let mut command = Command::new(WEAPPD);
        command
            .current_dir(dir.path())
            .args(["dev", "--http", "0", "--https", "0", "--internal", "0"])
            .args(["--wechat", "0", "--log", "warn,weappd=info"])
            .args(more);
        let mut process = Process::spawn("weappd dev", &mut command);
        let mut address = |name: &str| {
            process.expect_line(name, |line| {
                let rest = line.trim_start().strip_prefix(name)?;
                let url = rest.split_whitespace().next()?;
                let authority = url.split("://").nth(1)?.trim_end_matches('/');
                authority.parse::<SocketAddr>().ok()
            })
        };
        let world = Self {
            http: address("Phones"),
            https: address("HTTPS"),
            internal: address("Internal"),
            wechat: address("WeChat"),
            process,
            dir,
        };
        world.app_ready().await;
        world
    }

    /// Waits until the business server answers through the edge.
    async fn app_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.command(&["app", "list", "--json"]);
            if String::from_utf8_lossy(&list.stdout).contains("\"ready\"") {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the app never became ready\n{}",
                self.transcript()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs another weappd command in the same directory.
    pub(crate) fn command(&self, args: &[&str]) -> std::process::Output {
        Command::new(WEAPPD)
            .current_dir(self.dir.path())
            .args(args)
            .output()
            .expect("weappd runs")
    }

    /// The directory it runs in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join(".weappd/dev-cert.pem")
    }

    /// What it printed.
    pub(crate) fn transcript(&self) -> String {
        self.process.transcript()
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Ends the process with `signal` and gives its directory to the next world. How long
    /// it took is the second part.
    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> (TempDir, Duration) {
        let asked = Instant::now();
        self.process.signal_leader(signal);
        assert!(
            self.process.wait(PATIENCE).is_some(),
            "weappd did not end\n{}",
            self.transcript()
        );
        (self.dir, asked.elapsed())
    }

    /// A client of the site over HTTPS.
    pub(crate) fn site(&self) -> Client {
        Client::https(self.https, "localhost", &self.ca())
    }

    /// A client of the site over plain HTTP.
    pub(crate) fn plain(&self) -> Client {
        Client::http(self.http, &self.http.to_string())
    }

    /// A client of the internal API.
    pub(crate) fn api(&self) -> Client {
        Client::http(self.internal, &self.internal.to_string())
    }

    /// A user with a phone.
    pub(crate) fn phone(&self, user: &str) -> Phone {
        Phone {
            user: user.to_owned(),
            site: self.site(),
            wechat: Client::http(self.wechat, &self.wechat.to_string()),
            skey: None,
        }
    }
}

/// A user with a phone that runs the mini program.
pub(crate) struct Phone {
    user: String,
    site: Client,
    wechat: Client,
    pub(crate) skey: Option<String>,
}

impl Phone {
    /// Asks the simulated WeChat for something only a phone can ask.
    pub(crate) async fn wx(&self, what: &str, body: &Value) -> Value {
        let path = format!("/phone/{}/{what}", self.user);
        let answer = self.wechat.post(&path).json(body).send().await;
        http::json(&answer)
    }

    /// `wx.login`: a fresh code.
    pub(crate) async fn code(&self) -> String {
        let login = self.wx("login", &json!({})).await;
        login["code"].as_str().expect("a code").to_owned()
    }

    /// `wx.login` and `wx.getUserInfo`, then `GET /weapp/login`, as the Wafer 2 client does.
    pub(crate) async fn log_in(&mut self) -> Value {
        let code = self.code().await;
        let data = self.wx("user_info", &json!({})).await;
        let answer = self
            .site
            .get("/weapp/login")
            .header("x-wx-code", &code)
            .header("x-wx-encrypted-data", text(&data["encryptedData"]))
            .header("x-wx-iv", text(&data["iv"]))
            .send()
            .await;
        let answer = http::json(&answer);
        assert_eq!(answer["code"], 0, "{answer}");
        self.skey = Some(text(&answer["data"]["skey"]).to_owned());
        answer
    }

    /// A request with the session header.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let skey = self.skey.as_deref().unwrap_or_default();
        self.site.get(path).header("x-wx-skey", skey).send().await
    }

    /// `GET /weapp/user`.
    pub(crate) async fn user(&self) -> Value {
        http::json(&self.get("/weapp/user").await)
    }
}

/// A JSON string's text.
pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("a string, not {value}"))
}
