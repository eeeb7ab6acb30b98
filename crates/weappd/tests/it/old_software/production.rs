//! A weappd as an old team would put it before its business server: `weappd serve` with
//! HTTPS, the server as its app, and a simulated WeChat beside it.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::server::OldAppServer;
use super::{OldEndpoint, OldSoftware};
use crate::http::TestClient;
use crate::process::{PATIENCE, WeappdProcess, free_ports};
use crate::world::WEAPPD;

pub(super) const APPID: &str = "wx0123456789abcdef";
/// What `weappd simulate` knows without being told.
pub(super) const APP_SECRET: &str = "secret";
const TUNNEL_KEY: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";

/// A running `weappd serve` and the old business server under its supervisor.
pub(crate) struct ProductionServer {
    /// Where it is reached.
    pub(crate) endpoint: OldEndpoint,
    // In this order: the reader of the log, weappd with its app, WeChat, their files.
    log: WeappdProcess,
    internal: u16,
    _weappd: WeappdProcess,
    _wechat: WeappdProcess,
    home: AppFolder,
}

impl ProductionServer {
    /// Serves `localhost` with `server` behind it, which has nothing but its sdk.config
    /// changed.
    pub(crate) fn start(software: &OldSoftware, server: &OldAppServer) -> Self {
        Self::start_with(software, server, "")
    }

    /// The same with more sections of weappd.toml.
    pub(crate) fn start_with(
        software: &OldSoftware,
        server: &OldAppServer,
        sections: &str,
    ) -> Self {
        Self::start_on(software, server, server.site(), sections)
    }

    /// The same with lines of the site.
    pub(crate) fn start_on(
        software: &OldSoftware,
        server: &OldAppServer,
        site: &str,
        sections: &str,
    ) -> Self {
        let home = AppFolder(tempfile::tempdir().expect("a temp dir"));
        let ports = free_ports();
        let [_, https, internal, wechat] = ports;
        let wechat_url = format!("http://127.0.0.1:{wechat}");
        let ca = make_certificate(home.path());
        let sdk_config = home.path().join("sdk.config");
        let app = server.app_section(software, &sdk_config, &wechat_url);
        let toml = weappd_toml(ports, site, &app) + sections;
        fs::write(home.path().join("weappd.toml"), toml).expect("weappd.toml");
        fs::write(&sdk_config, home.weappd(&["sdk-config"]).stdout).expect("sdk.config");

        let mut command = Command::new(WEAPPD);
        command.args(["simulate", "--appid", APPID, "--port", &wechat.to_string()]);
        let mut simulator = WeappdProcess::spawn("weappd simulate", &mut command);
        simulator.expect_line("its address", |line| {
            line.contains(&wechat_url).then_some(())
        });

        let mut command = Command::new(WEAPPD);
        let mut weappd = WeappdProcess::spawn(
            "weappd serve",
            command.arg("serve").current_dir(home.path()),
        );
        weappd.expect_line("its internal API", |line| {
            line.trim_start().starts_with("Internal").then_some(())
        });
        home.app_ready(None);
        let mut command = Command::new(WEAPPD);
        command
            .args(["app", "logs", "app", "-f", "-n", "1000"])
            .current_dir(home.path());
        let log = WeappdProcess::spawn("weappd app logs -f", &mut command);
        Self {
            endpoint: OldEndpoint {
                site_url: format!("https://localhost:{https}"),
                wechat_url,
                ca_pem_path: Some(ca),
            },
            log,
            internal,
            _weappd: weappd,
            _wechat: simulator,
            home,
        }
    }

    /// The site, as phones reach it.
    pub(crate) fn site(&self) -> TestClient {
        let host = self.endpoint.site_url.trim_start_matches("https://");
        let port = host.rsplit(':').next().and_then(|port| port.parse().ok());
        let addr = (Ipv4Addr::LOCALHOST, port.expect("a port")).into();
        let ca = self.endpoint.ca_pem_path.as_deref();
        TestClient::https(addr, host, ca.expect("a certificate"))
    }

    /// The internal API.
    pub(crate) fn api(&self) -> TestClient {
        let addr = (Ipv4Addr::LOCALHOST, self.internal).into();
        TestClient::http(addr, &format!("127.0.0.1:{}", self.internal))
    }

    /// The simulated WeChat and its phones.
    pub(crate) fn wechat(&self) -> TestClient {
        let host = self.endpoint.wechat_url.trim_start_matches("http://");
        TestClient::http(host.parse().expect("an address"), host)
    }

    /// Another weappd command, which must do what it is asked.
    pub(crate) fn weappd(&self, args: &[&str]) -> Output {
        self.home.weappd(args)
    }

    /// Waits until the business server logs a line with `text` (`connect NAME`, `leave
    /// NAME` ...).
    pub(crate) fn expect_log(&mut self, text: &str) {
        self.log
            .expect_line(text, |line| line.contains(text).then_some(()));
    }

    /// Kills the business server without a word, and waits until weappd has put another
    /// one in its place.
    pub(crate) fn kill_server(&mut self) {
        let killed = self.home.app_ready(None);
        kill_process(killed, Signal::KILL).expect("a running server");
        let next = self.home.app_ready(Some(killed));
        assert_ne!(next, killed);
        // The one before said so too.
        self.expect_log("listening on");
        self.expect_log("listening on");
    }
}

/// The directory everything of a team lies in.
struct AppFolder(TempDir);

impl AppFolder {
    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Another weappd command, which must do what it is asked.
    fn weappd(&self, args: &[&str]) -> Output {
        let mut command = Command::new(WEAPPD);
        let done = command.args(args).current_dir(self.path()).output();
        let done = done.expect("weappd runs");
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "weappd {args:?}: {words}");
        done
    }

    /// Waits until the business server is ready and no longer `killed`; its process.
    fn app_ready(&self, killed: Option<Pid>) -> Pid {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let list = self.weappd(&["app", "list", "--json"]).stdout;
            let apps: Value = serde_json::from_slice(&list).expect("JSON");
            let server = &apps[0]["instances"][0];
            let pid = server["pid"]
                .as_i64()
                .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
            if let Some(pid) = pid.filter(|pid| Some(*pid) != killed)
                && server["summary"] == "ready"
            {
                return pid;
            }
            assert!(
                Instant::now() < deadline,
                "the business server is not ready: {server}\n{}",
                String::from_utf8_lossy(&self.weappd(&["app", "logs", "app"]).stdout)
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The smallest file there is, with the ports of the test.
fn weappd_toml([http, https, internal, wechat]: [u16; 4], site: &str, app: &str) -> String {
    format!(
        r#"
domain = "localhost"
cert = "site.pem"
key = "site.key"
{site}

[miniapp]
appid = "{APPID}"
secret = "{APP_SECRET}"

{app}

[tunnel]
key = "{TUNNEL_KEY}"

[wechat]
endpoint = "http://127.0.0.1:{wechat}"

[edge]
http = "127.0.0.1:{http}"
https = "127.0.0.1:{https}"

[internal]
listen = "127.0.0.1:{internal}"
"#
    )
}

/// A certificate for `localhost` that signs itself, as `site.pem` and `site.key`.
fn make_certificate(dir: &Path) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let pem = dir.join("site.pem");
    fs::write(&pem, made.cert.pem()).expect("site.pem");
    fs::write(dir.join("site.key"), made.signing_key.serialize_pem()).expect("site.key");
    pem
}
