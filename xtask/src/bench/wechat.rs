//! The WeChat that servers call while they are measured (`bench_wechat`): it keeps nothing,
//! so that each answer costs it the same; and what phones bring to log in.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::bench::process::{Process, free_port, pinned};
use crate::bench::procfs;
use crate::bench::replay::{List, Order};
use crate::bench::weappd::APPID;
use crate::bench::world::Base;
use crate::run::run;

/// How many users log in.
pub(super) const USERS: usize = 4000;

/// How many session keys each has, one after the other.
pub(super) const KEYS: usize = 4;

/// The running stand-in.
#[derive(Debug)]
pub(super) struct Wechat {
    pub(super) process: Process,
    pub(super) port: u16,
}

impl Wechat {
    /// Starts it, on the cores of the load.
    pub(super) fn start(base: &Base, tls: bool) -> Result<Self, String> {
        let port = free_port()?;
        let mut command = pinned(base.machine.client_cores, &base.programs.wechat);
        command
            .args(["serve", &port.to_string()])
            .arg(base.machine.client_threads.to_string());
        if tls {
            command.args([&base.cert, &base.key]);
        }
        let mut process = Process::start("wechat", &mut command, &base.dir)?;
        process.wait_until(Duration::from_millis(5), |process| {
            procfs::listens(process.id(), port)
        })?;
        Ok(Self { process, port })
    }
}

/// What a phone brings to log in.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) openid: String,
    code: String,
    pub(super) data: String,
    pub(super) iv: String,
}

/// Every user with the first key, then every user with the next one, and so on; made now, as
/// servers want fresh data.
pub(super) fn logins(base: &Base) -> Result<Vec<Login>, String> {
    let file = logins_file(base);
    let numbers = [USERS.to_string(), KEYS.to_string()];
    let [users, keys] = &numbers;
    let shown = file.display().to_string();
    run(
        &base.programs.wechat,
        &["logins", APPID, users, keys, &shown],
    )?;
    let text = fs::read_to_string(&file).map_err(|error| format!("{shown}: {error}"))?;
    let login = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        Some(Login {
            openid: fields.next()?,
            code: fields.next()?,
            data: fields.next()?,
            iv: fields.next()?,
        })
    };
    Ok(text.lines().filter_map(login).collect())
}

/// Where [`logins`] are.
pub(super) fn logins_file(base: &Base) -> PathBuf {
    base.dir.join("logins.tsv")
}

impl Login {
    /// The login as the Wafer 2 client sends it.
    fn order(&self) -> String {
        let headers = [
            ("X-WX-Code", self.code.as_str()),
            ("X-WX-Encrypted-Data", &self.data),
            ("X-WX-IV", &self.iv),
        ];
        Order {
            asks: ("GET", "/weapp/login"),
            headers: &headers,
            body: "",
            expected: &["{\"code\":0,", "\"skey\":\"", &named(&self.openid)],
        }
        .line()
    }
}

/// As the user object names its user.
pub(super) fn named(openid: &str) -> String {
    format!("\"openId\":\"{openid}\"")
}

/// The list of these logins.
pub(super) fn login_list(base: &Base, name: &str, logins: &[Login]) -> Result<List, String> {
    List::write(base.dir.join(name), logins.iter().map(Login::order))
}
