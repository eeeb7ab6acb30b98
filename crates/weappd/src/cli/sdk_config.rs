//! `weappd sdk-config`: what points an old Wafer business server at this weappd.
//!
//! The file is what the vendor's console used to write: Wafer 1 business servers read it as
//! `/etc/qcloud/sdk.config`, Wafer 2's demo as `/data/release/sdk.config.json`. Read in the
//! two Node server SDKs: the first wants its keys in capitals, and drops others without a
//! word; the second wants more of them, and names none that is missing.

use std::path::Path;

use serde_json::{Value, json};
use weappd_base::language::pick;
use weappd_base::words;
use weappd_tunnel::BusinessConfig;

use crate::cli::{check, say, serve};
use crate::config::{self, Config};
use crate::exit::ExitFailure;
use crate::host_lookup;

/// What is printed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum SdkFormat {
    /// sdk.config, JSON: the file that old servers read
    File,
    /// A module for Node, with the names each SDK has for them
    Js,
    /// The variables that apps under weappd find
    Env,
}

/// Values that Wafer 2's SDK insists on and weappd has no use for.
const UNUSED: &str = "placeholder: weappd does not use it";
/// The keys of such values in the file.
const PLACEHOLDERS: [&str; 4] = [
    "qcloudAppId",
    "qcloudSecretId",
    "qcloudSecretKey",
    "wxMessageToken",
];

/// What every format tells.
struct SdkAnswers {
    server_host: String,
    auth_url: String,
    tunnel_url: String,
    key: String,
    appid: Option<String>,
}

pub(super) fn run(file: &Path, host: Option<&str>, format: SdkFormat) -> Result<(), ExitFailure> {
    // The secrets are in the shell of the weappd that serves; nothing of them is printed.
    let config = serve::told(config::load_addresses(
        file,
        &check::variable,
        &host_lookup::addresses,
    ))?
    .config;
    let answers = answers(&config, host)?;
    let (text, hint) = match format {
        SdkFormat::File => (
            format!("{:#}", as_file(&answers)),
            pick(FILE_HINT, FILE_HINT_ZH),
        ),
        SdkFormat::Js => (as_js(&answers), pick(JS_HINT, JS_HINT_ZH)),
        SdkFormat::Env => (as_env(&answers), pick(ENV_HINT, ENV_HINT_ZH)),
    };
    say(text);
    tell(hint);
    Ok(())
}

const FILE_HINT: &str = "\
This is sdk.config; it holds the tunnel key, so keep it private. It goes to
  /etc/qcloud/sdk.config          Wafer 1: qcloud-weapp-server-sdk for Node, PHP, Java, C#
  /data/release/sdk.config.json   Wafer 2: wafer-node-sdk and its demo
as in `weappd sdk-config > /etc/qcloud/sdk.config`. Values that begin with \"placeholder\" are
only there because wafer-node-sdk refuses to start without them. --format js and env print the
same for programs that are set up otherwise.
";
const FILE_HINT_ZH: &str = "\
这是 sdk.config 的内容；里面有信道密钥，请勿外传。请存为下面的文件：
  /etc/qcloud/sdk.config          Wafer 1：Node、PHP、Java、C# 的 qcloud-weapp-server-sdk
  /data/release/sdk.config.json   Wafer 2：wafer-node-sdk 和它的 demo
例如 `weappd sdk-config > /etc/qcloud/sdk.config`。以 \"placeholder\" 开头的值不会被用到，
但缺了它们 wafer-node-sdk 会拒绝启动。用其他方式配置的程序可以用 --format js 或 env。
";
const JS_HINT_ZH: &str = "\
这是 Node 模块；里面有信道密钥，请勿外传。请存到你的业务服务器代码旁边：
`weappd sdk-config --format js > sdk.config.js`。开头几行说明了用法。
";
const ENV_HINT_ZH: &str = "\
这些是环境变量；其中有信道密钥，请勿外传。weappd 启动的应用已经有这些变量；其他程序可以用
`weappd sdk-config --format env > weappd.env`，再用 systemd 的 EnvironmentFile=、
`docker run --env-file`，或 `set -a; . ./weappd.env`。
";
const JS_HINT: &str = "\
This is a module for Node; it holds the tunnel key, so keep it private. Save it beside your
server: `weappd sdk-config --format js > sdk.config.js`. Its first lines say how it is used.
";
const ENV_HINT: &str = "\
These are variables; one is the tunnel key, so keep them private. Programs that weappd runs have
them already; for others: `weappd sdk-config --format env > weappd.env`, then systemd's
EnvironmentFile=, `docker run --env-file`, or `set -a; . ./weappd.env`.
";

/// Says where the output goes, beside it: the output itself goes into a file.
#[expect(
    clippy::print_stderr,
    reason = "words for the person who called, not for the file"
)]
fn tell(hint: &str) {
    eprint!("{hint}");
}

/// Where it is written to keeps what is there already.
const NO_KEY_HINT: &str = "`openssl rand -hex 32` prints one; write it into weappd.toml, then \
restart weappd:\n    [tunnel]\n    key = \"what openssl printed\"";

const NO_KEY_HINT_ZH: &str = "用 `openssl rand -hex 32` 生成一个，写进 weappd.toml，\
然后重启 weappd：\n    [tunnel]\n    key = \"openssl 输出的内容\"";

fn answers(config: &Config, host: Option<&str>) -> Result<SdkAnswers, ExitFailure> {
    let hosts: Vec<&str> = config
        .sites
        .iter()
        .flat_map(|site| &site.hosts)
        .map(String::as_str)
        .collect();
    let host = match host {
        Some(host) if hosts.contains(&host) => host,
        Some(host) => {
            return Err(ExitFailure::say(
                words!("no site is called {host}", "没有域名为 {host} 的站点"),
                &words!("the sites are {}", "现有的站点：{}", hosts.join(", ")),
            ));
        }
        None => hosts.first().copied().unwrap_or_default(),
    };
    let businesses = &config.tunnel.businesses;
    let has_key = |business: &&BusinessConfig| business.host == host && !business.key.is_empty();
    let Some(business) = businesses.iter().find(has_key) else {
        return Err(ExitFailure::say(
            words!("{host} has no tunnel key", "{host} 没有信道密钥"),
            pick(NO_KEY_HINT, NO_KEY_HINT_ZH),
        ));
    };
    let mut sites = config.sites.iter();
    let site = sites.find(|site| site.hosts.iter().any(|name| name == host));
    let appid = site.and_then(|site| site.appids.first());
    let internal = format!("http://{}", config.internal);
    // Where there are several mini programs the path says which: the site's first one, since
    // these servers know of no other.
    let part = appid.filter(|_| config.mini_apps.len() > 1);
    let part = part.map(|appid| format!("{appid}/")).unwrap_or_default();
    Ok(SdkAnswers {
        server_host: host.to_owned(),
        auth_url: format!("{internal}/mina_auth/{part}"),
        tunnel_url: internal,
        key: business.key.expose().to_owned(),
        appid: appid.cloned(),
    })
}

fn as_file(answers: &SdkAnswers) -> Value {
    let mut file = json!({
        "serverHost": answers.server_host,
        "authServerUrl": answers.auth_url,
        "tunnelServerUrl": answers.tunnel_url,
        "tunnelSignatureKey": answers.key,
        "networkTimeout": 30_000,
    });
    for key in PLACEHOLDERS {
        file[key] = json!(UNUSED);
    }
    file
}

fn as_js(answers: &SdkAnswers) -> String {
    let SdkAnswers {
        server_host,
        auth_url,
        tunnel_url,
        key,
        appid,
    } = answers;
    let text = |value: &str| json!(value).to_string();
    let appid = text(appid.as_deref().unwrap_or("placeholder: your AppID"));
    let unused = text(UNUSED);
    let (host, auth) = (text(server_host), text(auth_url));
    let (tunnel, key) = (text(tunnel_url), text(key));
    format!(
        "// Points a Wafer business server at weappd. Wafer 1:
//   require('qcloud-weapp-server-sdk').config(require('./sdk.config.js').wafer1);
// Wafer 2, with your own values after it (mysql is where its own sessions are):
//   require('wafer-node-sdk')({{ ...require('./sdk.config.js').wafer2, mysql: {{ ... }} }});
exports.wafer1 = {{
  ServerHost: {host},
  AuthServerUrl: {auth},
  TunnelServerUrl: {tunnel},
  TunnelSignatureKey: {key},
  NetworkTimeout: 30000,
}};

exports.wafer2 = {{
  rootPathname: '',
  appId: {appid},
  appSecret: process.env.WEAPP_SECRET || 'placeholder: your AppSecret',
  useQcloudLogin: false,
  serverHost: {host},
  tunnelServerUrl: {tunnel},
  tunnelSignatureKey: {key},
  mysql: {{
    host: '127.0.0.1',
    port: 3306,
    user: 'root',
    pass: process.env.MYSQL_PASSWORD || 'placeholder: your database password',
    db: 'cAuth',
    char: 'utf8mb4',
  }},
  // The SDK does not start without the rest: its own uploads and pushed messages, which
  // weappd has at /weapp/upload and /weapp/message.
  qcloudAppId: {unused},
  qcloudSecretId: {unused},
  qcloudSecretKey: {unused},
  wxMessageToken: {unused},
  cos: {{ region: {unused}, fileBucket: {unused}, uploadFolder: '' }},
}};"
    )
}

fn as_env(answers: &SdkAnswers) -> String {
    format!(
        "WEAPPD_SERVER_HOST={}\nWEAPPD_TUNNEL_KEY={}\nWEAPPD_INTERNAL_URL={}",
        quoted(&answers.server_host),
        quoted(&answers.key),
        quoted(&answers.tunnel_url)
    )
}

/// A value that a shell and systemd read alike. Docker takes quotes for a part of it, so
/// there are none where none are needed.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,[]".contains(c);
    if value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_secret_but_the_tunnel_key() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("weappd.toml");
        let load = |tunnel: &str| {
            let text = format!(
                "domain = \"a.com\"\ntls = \"off\"\n[app]\nrun = \"sh x\"\n\
                 env = {{ DB_PASSWORD = {{ env = \"UNSET\" }} }}\n\
                 [miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = {{ env = \"UNSET\" }}\n\
                 message_token = {{ env = \"UNSET\" }}\n\
                 encoding_aes_key = {{ env = \"UNSET\" }}\n\
                 [miniapp.api_security]\nsymmetric_key = {{ env = \"UNSET\" }}\n\
                 [internal]\ntoken = {{ env = \"UNSET\" }}\n{tunnel}"
            );
            std::fs::write(&file, text).expect("written");
            config::load_addresses(&file, &|_| None, &|_| Vec::new())
        };
        let loaded = load("[tunnel]\nkey = \"9f338d1f0ecc37d25ac7b161c1d7bf72\"\n");
        let loaded = loaded.unwrap_or_else(|found| unreachable!("{found:#?}"));
        let answers = answers(&loaded.config, None).unwrap_or_else(|_| unreachable!("a key"));
        assert_eq!(answers.appid.as_deref(), Some("wx1234567890abcdef"));
        assert_eq!(answers.key, "9f338d1f0ecc37d25ac7b161c1d7bf72");
        // What is printed must be there.
        let found = load("[tunnel]\nkey = { env = \"NO_KEY\" }\n").expect_err("no key");
        let told: Vec<_> = found.iter().map(|p| p.message.as_str()).collect();
        assert!(told.contains(&"the environment variable NO_KEY is not set"));
        assert!(
            !told.iter().any(|words| words.contains("UNSET")),
            "{told:?}"
        );
        // Who serves needs them all.
        let served = config::load(&file, &|_| None, &|_| Vec::new()).expect_err("no secrets");
        assert!(
            served
                .iter()
                .any(|p| p.message.contains("UNSET is not set"))
        );
    }

    #[test]
    fn without_a_tunnel_key_the_lines_to_write_are_told() {
        for words in ["openssl rand -hex 32", "[tunnel]\n", "key = \""] {
            assert!(NO_KEY_HINT.contains(words), "{words}");
        }
    }

    #[test]
    fn values_are_quoted_where_a_shell_would_read_more_than_a_value() {
        for (value, written) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("http://[::1]:8081", "http://[::1]:8081"),
            ("a b$c", "'a b$c'"),
            ("it's", "'it'\\''s'"),
        ] {
            assert_eq!(quoted(value), written);
        }
    }
}
