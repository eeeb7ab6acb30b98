//! The world of a test: a real weappd process, a simulated WeChat, phones with users.
//!
//! `TestWorld::dev().await` runs `weappd dev` in a directory of its own, on free ports;
//! `WorldRecipe::new()` with some lines of weappd.toml and `.serve()` runs `weappd serve`
//! beside a `weappd simulate`. `world.phone("alice").log_in().await` is a deed of an actor.
//! Dropping the world ends the processes and everything they started.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use weappd_base::fair_timer::FairTimer;

use crate::cert::{self, KeyForm};
use crate::http::{self, HttpAnswer, TestClient};
use crate::process::{PATIENCE, WeappdProcess, free_ports};

/// The binary under test.
pub(crate) const WEAPPD: &str = env!("CARGO_BIN_EXE_weappd");

/// The mini program of a [`WorldRecipe`].
pub(crate) const APPID: &str = "wx0123456789abcdef";
/// Its AppSecret.
pub(crate) const APP_SECRET: &str = "5ec2e70f7e57a99000000000c0ffee11";

/// A running `weappd dev` or `weappd serve`.
pub(crate) struct TestWorld {
    process: WeappdProcess,
    // After `process`: weappd may still ask WeChat while it ends.
    _simulator: Option<WeappdProcess>,
    dir: TempDir,
    ca: PathBuf,
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) internal: SocketAddr,
    pub(crate) wechat: SocketAddr,
}

impl TestWorld {
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
        let mut process = WeappdProcess::spawn("weappd dev", &mut command);
        let mut address = |name: &str| {
            process.expect_line(name, |line| {
                let rest = line.trim_start().strip_prefix(name)?;
                let url = rest.split_whitespace().next()?;
                let authority = url.split("://").nth(1)?.split('/').next()?;
                authority.parse::<SocketAddr>().ok()
            })
        };
        let world = Self {
            http: address("Phones"),
            https: address("HTTPS"),
            internal: address("Internal"),
            wechat: address("WeChat"),
            process,
            _simulator: None,
            ca: dir.path().join(".weappd/dev-cert.pem"),
            dir,
        };
        world.app_ready().await;
        world
    }

    /// Waits until an app is ready.
    pub(crate) async fn app_ready(&self) {
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

    /// The same with the AppSecret in its environment, as `serve` has it.
    pub(crate) fn command_with_secret(&self, args: &[&str]) -> std::process::Output {
        Command::new(WEAPPD)
            .current_dir(self.dir.path())
            .args(args)
            .env("WEAPP_SECRET", APP_SECRET)
            .output()
            .expect("weappd runs")
    }

    /// The directory it runs in.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whom its clients trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.ca.clone()
    }

    /// What it printed.
    pub(crate) fn transcript(&self) -> String {
        self.process.transcript()
    }

    /// The process.
    pub(crate) fn process(&mut self) -> &mut WeappdProcess {
        &mut self.process
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends the process alone a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        self.process.signal_leader(signal);
    }

    /// What weappd takes of the machine's memory for its data, in KiB. Its program's pages do
    /// not count: their share grows when a weappd of another test ends.
    pub(crate) fn pss_kib(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.process.id());
        let text = fs::read_to_string(path).expect("weappd runs");
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:"));
        let pss = pss.and_then(|rest| rest.split_whitespace().next());
        pss.and_then(|kib| kib.parse().ok()).expect("a size")
    }

    /// Waits until weappd has logged or printed `what`.
    pub(crate) async fn says(&self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.transcript().contains(what) {
            assert!(
                Instant::now() < deadline,
                "weappd never said {what}\n{}",
                self.transcript()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the process with `signal` and gives its directory to the next world. How long
    /// it took is the second part.
    pub(crate) fn end(mut self, signal: rustix::process::Signal) -> (TempDir, Duration) {
        let asked = FairTimer::start();
        self.process.signal_leader(signal);
        assert!(
            self.process.wait(PATIENCE).is_some(),
            "weappd did not end\n{}",
            self.transcript()
        );
        (self.dir, asked.fair())
    }

    /// Starts a killed `weappd serve` again in its directory. Its ports are other ones:
    /// somebody may have taken the old ones meanwhile.
    pub(crate) fn restart(&mut self) {
        assert!(self.process.wait(PATIENCE).is_some(), "weappd still runs");
        let file = self.dir.path().join("weappd.toml");
        let mut words = String::new();
        for _ in 0..STARTS {
            let mut toml = fs::read_to_string(&file).expect("weappd.toml");
            let doors = [&mut self.http, &mut self.https, &mut self.internal];
            for (door, port) in doors.into_iter().zip(fresh()) {
                toml = toml.replace(&format!("\"{door}\""), &format!("\"{port}\""));
                *door = port;
            }
            fs::write(&file, toml).expect("weappd.toml");
            match start(self.dir.path(), &[]) {
                Ok(process) => {
                    self.process = process;
                    return;
                }
                Err(said) => words = said,
            }
        }
        panic!("weappd lost the race for a port {STARTS} times\n{words}");
    }

    /// A client of the site over HTTPS.
    pub(crate) fn site(&self) -> TestClient {
        TestClient::https(self.https, "localhost", &self.ca())
    }

    /// A client of the site over plain HTTP.
    pub(crate) fn plain(&self) -> TestClient {
        TestClient::http(self.http, &self.http.to_string())
    }

    /// A client of the internal API.
    pub(crate) fn api(&self) -> TestClient {
        TestClient::http(self.internal, &self.internal.to_string())
    }

    /// A user with a phone.
    pub(crate) fn phone(&self, user: &str) -> TestPhone {
        TestPhone {
            user: user.to_owned(),
            site: self.site(),
            wechat: TestClient::http(self.wechat, &self.wechat.to_string()),
            skey: None,
        }
    }
}

/// What a `weappd serve` shall be made of, in lines of weappd.toml.
///
/// Given without asking: `domain = "localhost"` with a vendor's certificate, the mini
/// program [`APPID`] of a simulated WeChat, and free ports.
pub(crate) struct WorldRecipe {
    dir: TempDir,
    simulator: WeappdProcess,
    /// Where the simulated WeChat listens.
    pub(crate) wechat: SocketAddr,
    endpoint: SocketAddr,
    is_long: bool,
    /// A file of somebody's own, in place of the short form.
    whole: Option<String>,
    miniapp: String,
    site: String,
    edge: String,
    internal: String,
    sections: String,
    log: String,
    env: Vec<(String, String)>,
}

impl WorldRecipe {
    /// Starts the simulated WeChat and an empty directory.
    pub(crate) fn new() -> Self {
        Self::simulating(&[])
    }

    /// The same with further options of `weappd simulate`.
    pub(crate) fn simulating(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let secret = dir.path().join("wechat.secret");
        fs::write(&secret, APP_SECRET).expect("wechat.secret");
        let mut command = Command::new(WEAPPD);
        command
            .args(["simulate", "--port", "0", "--appid", APPID, "--secret-file"])
            .arg(&secret)
            .args(more);
        let mut simulator = WeappdProcess::spawn("weappd simulate", &mut command);
        let wechat = simulator.expect_line("its address", |line| {
            let (_, rest) = line.split_once("http://")?;
            rest.split(['/', ' ']).next()?.parse().ok()
        });
        cert::issue(dir.path(), &["localhost"], KeyForm::default());
        Self {
            dir,
            simulator,
            wechat,
            endpoint: wechat,
            is_long: false,
            whole: None,
            miniapp: String::new(),
            site: String::new(),
            edge: String::new(),
            internal: String::new(),
            sections: String::new(),
            log: "info".to_owned(),
            env: Vec::new(),
        }
    }

    /// Lines of the site: `proxy`, `root`, `routes` ...
    pub(crate) fn site(mut self, lines: &str) -> Self {
        self.site = format!("{}{lines}\n", self.site);
        self
    }

    /// Neither the site nor the mini program is given: the sections say all of it.
    pub(crate) fn long_form(mut self) -> Self {
        self.is_long = true;
        self
    }

    /// The file is `text`, with the ports and the simulated WeChat of the test added. The
    /// certificate is `1_..._bundle.crt` and `2_....key`, as vendors name them.
    pub(crate) fn whole(mut self, text: &str) -> Self {
        self.whole = Some(text.to_owned());
        let name = |ending: &str| {
            let quoted = text.split('"').find(|word| word.ends_with(ending));
            quoted.map(|name| self.dir.path().join(name))
        };
        for (ours, ending) in [("site.crt", "_bundle.crt"), ("site.key", ".key")] {
            if let Some(path) = name(ending) {
                fs::copy(self.dir.path().join(ours), path).expect("a copy");
            }
        }
        self
    }

    /// Lines of `[miniapp]`.
    pub(crate) fn miniapp(mut self, lines: &str) -> Self {
        self.miniapp = format!("{}{lines}\n", self.miniapp);
        self
    }

    /// Lines of `[edge]`.
    pub(crate) fn edge(mut self, lines: &str) -> Self {
        self.edge = format!("{}{lines}\n", self.edge);
        self
    }

    /// Lines of `[internal]`.
    pub(crate) fn internal(mut self, lines: &str) -> Self {
        self.internal = format!("{}{lines}\n", self.internal);
        self
    }

    /// Further sections.
    pub(crate) fn sections(mut self, lines: &str) -> Self {
        self.sections = format!("{}{lines}\n", self.sections);
        self
    }

    /// What is logged; `info` unless told.
    pub(crate) fn log(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log);
        self
    }

    /// A variable of weappd's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file beside weappd.toml.
    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.dir.path().join(name);
        let folder = path.parent().expect("a folder");
        fs::create_dir_all(folder).expect("a folder");
        fs::write(path, content).expect("a file");
        self
    }

    /// A folder beside weappd.toml that lies elsewhere.
    pub(crate) fn folder(self, name: &str, target: &Path) -> Self {
        std::os::unix::fs::symlink(target, self.dir.path().join(name)).expect("a link");
        self
    }

    /// Another form of the certificate's key.
    pub(crate) fn key(self, form: KeyForm) -> Self {
        cert::issue(self.dir.path(), &["localhost"], form);
        self
    }

    /// WeChat is asked by way of `endpoint`.
    pub(crate) fn wechat_by(mut self, endpoint: SocketAddr) -> Self {
        self.endpoint = endpoint;
        self
    }

    /// weappd.toml for these ports.
    fn toml(&self, [http, https, internal]: [SocketAddr; 3]) -> String {
        let Self {
            endpoint,
            miniapp,
            site,
            edge,
            internal: more,
            sections,
            log,
            ..
        } = self;
        let short = if let Some(whole) = &self.whole {
            format!("{whole}\n")
        } else if self.is_long {
            String::new()
        } else {
            format!(
                "domain = \"localhost\"\ncert = \"site.crt\"\nkey = \"site.key\"\n{site}\n\
                 [miniapp]\nappid = \"{APPID}\"\nsecret = {{ env = \"WEAPP_SECRET\" }}\n{miniapp}\n"
            )
        };
        format!(
            "{short}\
             [wechat]\nendpoint = \"http://{endpoint}\"\n\n\
             [log]\nlevel = \"{log}\"\n\n\
             [internal]\nlisten = \"{internal}\"\n{more}\n\
             [edge]\nhttp = \"{http}\"\nhttps = \"{https}\"\nthreads = 2\n{edge}\n{sections}"
        )
    }

    /// Serves it.
    pub(crate) fn serve(self) -> TestWorld {
        let mut words = String::new();
        for _ in 0..STARTS {
            let ports = fresh();
            let file = self.dir.path().join("weappd.toml");
            fs::write(&file, self.toml(ports)).expect("weappd.toml");
            match start(self.dir.path(), &self.env) {
                Ok(process) => return self.world(process, ports),
                Err(said) => words = said,
            }
        }
        panic!("weappd lost the race for a port {STARTS} times\n{words}");
    }

    /// Runs it where it cannot serve: how it ended, and what it said.
    pub(crate) fn fails(&self) -> (Option<i32>, String) {
        let ports = free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        fs::write(self.dir.path().join("weappd.toml"), self.toml(ports)).expect("weappd.toml");
        let mut command = Command::new(WEAPPD);
        command
            .arg("serve")
            .current_dir(self.dir.path())
            .env("WEAPP_SECRET", APP_SECRET);
        let mut process = WeappdProcess::spawn("weappd serve", &mut command);
        let status = process.wait(PATIENCE);
        let said = process.last_transcript();
        (status.and_then(|status| status.code()), said)
    }

    fn world(self, process: WeappdProcess, [http, https, internal]: [SocketAddr; 3]) -> TestWorld {
        TestWorld {
            process,
            _simulator: Some(self.simulator),
            ca: self.dir.path().join("ca.pem"),
            dir: self.dir,
            http,
            https,
            internal,
            wechat: self.wechat,
        }
    }
}

/// How often a lost race for a port is run again.
const STARTS: usize = 3;

/// Free addresses for the two public doors and the internal one.
fn fresh() -> [SocketAddr; 3] {
    free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
}

/// `weappd serve` in a directory, once it is open; or what it said of a port that is taken.
fn start(dir: &Path, env: &[(String, String)]) -> Result<WeappdProcess, String> {
    let mut command = Command::new(WEAPPD);
    command
        .arg("serve")
        .current_dir(dir)
        .env("WEAPP_SECRET", APP_SECRET)
        .envs(env.iter().map(|(name, value)| (name, value)));
    let mut process = WeappdProcess::spawn("weappd serve", &mut command);
    let deadline = Instant::now() + PATIENCE;
    while let Some(line) = process.next_line(deadline) {
        if line.trim_start().starts_with("Internal") {
            return Ok(process);
        }
    }
    let words = process.transcript();
    assert!(
        words.contains("another program already does"),
        "weappd does not serve\n{words}"
    );
    Err(words)
}

/// A user with a phone that runs the mini program.
pub(crate) struct TestPhone {
    user: String,
    site: TestClient,
    wechat: TestClient,
    pub(crate) skey: Option<String>,
}

impl TestPhone {
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

    /// The same in the dialect of `path`: the session, `{skey}` or `{id, skey}`.
    pub(crate) async fn log_in_at(&mut self, path: &str) -> Value {
        let code = self.code().await;
        let data = self.wx("user_info", &json!({})).await;
        let login = self.site.get(path).header("x-wx-code", &code);
        let login = login
            .header("x-wx-encrypted-data", text(&data["encryptedData"]))
            .header("x-wx-iv", text(&data["iv"]));
        let mut answer = http::json(&login.send().await);
        let session = if path == "/login" {
            &mut answer["session"]
        } else {
            &mut answer["data"]
        };
        let session = session.take();
        self.skey = Some(text(&session["skey"]).to_owned());
        session
    }

    /// A request with the session header.
    pub(crate) async fn get(&self, path: &str) -> HttpAnswer {
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
