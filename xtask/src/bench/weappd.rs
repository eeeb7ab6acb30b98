//! weappd under test: a prepared directory, and `weappd serve` in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bench::http;
use crate::bench::process::{Process, free_port, pinned};
use crate::bench::world::{Base, Running};

/// The simulated mini program.
pub(super) const APPID: &str = "wxbe00000000000001";

/// The AppSecret that `weappd simulate` takes when it is told none.
pub(super) const APP_SECRET: &str = "secret";

/// A directory with a weappd.toml and a database.
#[derive(Clone, Debug)]
pub(super) struct Home {
    name: &'static str,
    dir: PathBuf,
    /// Its plain HTTP port, for logging users in.
    pub(super) http: u16,
    pub(super) https: u16,
    pub(super) users_file: PathBuf,
}

impl Home {
    /// Makes the directory and the configuration.
    pub(super) fn prepare(base: &Base, wechat: u16) -> Result<Self, String> {
        let home = Self {
            name: "weappd",
            dir: base.dir.join("weappd"),
            http: free_port()?,
            https: free_port()?,
            users_file: base.dir.join("weappd-users.tsv"),
        };
        home.write(base, wechat, true)?;
        Ok(home)
    }

    /// The same users in a second directory, with its access log switched off.
    pub(super) fn without_access_log(&self, base: &Base) -> Result<Self, String> {
        let quiet = Self {
            name: "weappd, access log off",
            dir: base.dir.join("weappd-quiet"),
            http: free_port()?,
            https: free_port()?,
            users_file: self.users_file.clone(),
        };
        copy(&self.dir, &quiet.dir).map_err(|error| format!("weappd-quiet: {error}"))?;
        // Nobody logs in there any more, so WeChat may be anywhere.
        quiet.write(base, 9, false)?;
        Ok(quiet)
    }

    fn write(&self, base: &Base, wechat: u16, access_log: bool) -> Result<(), String> {
        let text = format!(
            "domain = \"localhost\"\n\
             cert = \"{cert}\"\n\
             key = \"{key}\"\n\n\
             [miniapp]\n\
             appid = \"{APPID}\"\n\
             secret = \"{APP_SECRET}\"\n\n\
             [edge]\n\
             http = \"127.0.0.1:{http}\"\n\
             https = \"127.0.0.1:{https}\"\n\
             redirect = false\n\
             threads = {threads}\n\
             access_log = {access_log}\n\n\
             [internal]\n\
             listen = \"127.0.0.1:{internal}\"\n\n\
             [wechat]\n\
             endpoint = \"http://127.0.0.1:{wechat}\"\n",
            cert = base.cert.display(),
            key = base.key.display(),
            http = self.http,
            https = self.https,
            threads = base.machine.server_threads,
            internal = free_port()?,
        );
        let file = self.dir.join("weappd.toml");
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Starts it, without waiting.
    pub(super) fn spawn(&self, base: &Base) -> Result<Running, String> {
        let mut command = pinned(base.machine.server_cores, &base.programs.weappd);
        command
            .args(["serve", "--config", "weappd.toml"])
            .current_dir(&self.dir);
        Ok(Running {
            name: self.name,
            port: self.https,
            users_file: self.users_file.clone(),
            dir: self.dir.clone(),
            processes: vec![("weappd", Process::start("weappd", &mut command, &self.dir)?)],
        })
    }

    /// Starts it and waits until it answers.
    pub(super) fn start(&self, base: &Base) -> Result<Running, String> {
        let mut running = self.spawn(base)?;
        for (_, process) in &mut running.processes {
            process.wait_until(Duration::from_millis(5), |_| {
                http::json(self.http, "GET", "/weapp/user", &[]).is_ok()
            })?;
        }
        Ok(running)
    }
}

/// `weappd simulate`: the fake WeChat for both servers.
pub(super) fn simulate(base: &Base) -> Result<(Process, u16), String> {
    let port = free_port()?;
    let mut command = pinned(base.machine.client_cores, &base.programs.weappd);
    command.args(["simulate", "--appid", APPID, "--port", &port.to_string()]);
    let mut process = Process::start("simulate", &mut command, &base.dir)?;
    process.wait_until(Duration::from_millis(5), |_| {
        http::json(port, "GET", "/phone/u0000", &[]).is_ok()
    })?;
    Ok((process, port))
}

fn copy(from: &Path, to: &Path) -> Result<(), std::io::Error> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            // A socket left behind is nothing to copy.
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
