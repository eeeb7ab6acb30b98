//! A weappd as an old team would put it before its business server: `weappd serve` with a
//! weappd.toml and HTTPS, and a simulated WeChat of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::Endpoint;
use crate::process::{Process, free_port};
use crate::world::WEAPPD;

const APPID: &str = "wx0123456789abcdef";
/// What `weappd simulate` knows without being told.
const APP_SECRET: &str = "secret";
const TUNNEL_KEY: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";

/// A running `weappd serve`.
pub(crate) struct Production {
    /// Where it is reached.
    pub(crate) endpoint: Endpoint,
    _weappd: Process,
    _wechat: Process,
    _home: TempDir,
}

impl Production {
    /// Serves `localhost`; `paths` go to the business server on 127.0.0.1:`app`, its
    /// callbacks to the last of them.
    pub(crate) fn start(app: u16, paths: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temp dir");
        let [http, https, internal, wechat] = [(); 4].map(|()| free_port());
        let wechat_url = format!("http://127.0.0.1:{wechat}");
        let ca = make_certificate(home.path());
        let config = home.path().join("weappd.toml");
        fs::write(
            &config,
            weappd_toml(app, paths, [http, https, internal, wechat]),
        )
        .expect("weappd.toml");

        let mut command = Command::new(WEAPPD);
        command.args(["simulate", "--appid", APPID, "--port", &wechat.to_string()]);
        let mut simulator = Process::spawn("weappd simulate", &mut command);
        simulator.expect_line("its address", |line| {
            line.contains(&wechat_url).then_some(())
        });

        let mut command = Command::new(WEAPPD);
        command
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .current_dir(&home);
        let mut weappd = Process::spawn("weappd serve", &mut command);
        weappd.expect_line("its internal API", |line| {
            line.trim_start().starts_with("Internal").then_some(())
        });

        let mut command = Command::new(WEAPPD);
        let printed = command
            .arg("sdk-config")
            .arg("--config")
            .arg(&config)
            .output();
        let printed = printed.expect("weappd sdk-config");
        assert!(
            printed.status.success(),
            "{}",
            String::from_utf8_lossy(&printed.stderr)
        );
        let endpoint = Endpoint {
            site_url: format!("https://localhost:{https}"),
            wechat_url,
            internal_url: format!("http://127.0.0.1:{internal}"),
            ca_pem_path: Some(ca),
            sdk_config: Some(String::from_utf8_lossy(&printed.stdout).into_owned()),
            server_host: "localhost".to_owned(),
            tunnel_key: TUNNEL_KEY.to_owned(),
            appid: APPID.to_owned(),
            app_secret: APP_SECRET.to_owned(),
        };
        Self {
            endpoint,
            _weappd: weappd,
            _wechat: simulator,
            _home: home,
        }
    }
}

fn weappd_toml(app: u16, paths: &[&str], [http, https, internal, wechat]: [u16; 4]) -> String {
    let routes: Vec<_> = paths
        .iter()
        .map(|path| format!("  {{ path = \"= {path}\", proxy = {app} }},"))
        .collect();
    let receive = paths.last().expect("the tunnel's path");
    format!(
        r#"
domain = "localhost"
cert = "site.pem"
key = "site.key"
routes = [
{routes}
]

[miniapp]
appid = "{APPID}"
secret = "{APP_SECRET}"

[tunnel]
key = "{TUNNEL_KEY}"
receive = "http://127.0.0.1:{app}{receive}"
public_url = "wss://localhost:{https}"
allow_http_receive = true

[wechat]
endpoint = "http://127.0.0.1:{wechat}"

[edge]
http = "127.0.0.1:{http}"
https = "127.0.0.1:{https}"

[internal]
listen = "127.0.0.1:{internal}"
"#,
        routes = routes.join("\n"),
    )
}

/// A certificate for `localhost` that signs itself, as `site.pem` and `site.key`.
fn make_certificate(dir: &Path) -> std::path::PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let pem = dir.join("site.pem");
    fs::write(&pem, made.cert.pem()).expect("site.pem");
    fs::write(dir.join("site.key"), made.signing_key.serialize_pem()).expect("site.key");
    pem
}
