//! weappd under test: a prepared directory, and `weappd serve` in it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::bench::process::{Process, free_port, pinned};
use crate::bench::world::{Base, Running};
use crate::bench::{files, http, mariadb};

/// The simulated mini program.
pub(super) const APPID: &str = "wxbe00000000000001";

/// The AppSecret that `weappd simulate` takes when it is told none.
pub(super) const APP_SECRET: &str = "secret";

/// Where the other build's users logged in.
const BESIDE_DIR: &str = "weappd-beside";

/// A directory with a weappd.toml and a database.
#[derive(Clone, Debug)]
pub(super) struct Home {
    name: &'static str,
    dir: PathBuf,
    /// Its plain HTTP port, for logging users in.
    pub(super) http: u16,
    pub(super) https: u16,
    /// Where it answers business servers.
    pub(super) internal: u16,
    pub(super) users_file: PathBuf,
    /// The URL of the WeChat it calls.
    wechat: String,
    mariadb: Option<mariadb::Home>,
    access_log: bool,
    /// Another build than the one of this checkout.
    program: Option<String>,
    /// Whether users log in so often that they must be allowed to.
    hasty: bool,
    /// What the site has beside weappd's own paths, as its line of the file.
    serves: String,
}

impl Home {
    /// Makes the directory and the configuration of the usual one: on SQLite.
    pub(super) fn prepare(base: &Base, wechat: u16) -> Result<Self, String> {
        let home = Self::new(base, wechat, ("weappd", "weappd"))?;
        home.write(base)?;
        Ok(home)
    }

    /// The same on a MariaDB of its own.
    pub(super) fn prepare_on_mariadb(base: &Base, wechat: u16) -> Result<Self, String> {
        let mut home = Self::new(base, wechat, ("weappd on MariaDB", "weappd-mariadb"))?;
        home.mariadb = Some(mariadb::Home::prepare(home.dir.join("mariadb"))?);
        home.write(base)?;
        Ok(home)
    }

    fn new(base: &Base, wechat: u16, (name, dir): (&'static str, &str)) -> Result<Self, String> {
        Ok(Self {
            name,
            dir: base.dir.join(dir),
            http: free_port()?,
            https: free_port()?,
            internal: free_port()?,
            users_file: base.dir.join(format!("{dir}-users.tsv")),
            wechat: format!("http://127.0.0.1:{wechat}"),
            mariadb: None,
            access_log: true,
            program: None,
            hasty: false,
            serves: String::new(),
        })
    }

    /// The same users in another directory, with its access log switched off.
    pub(super) fn without_access_log(&self, base: &Base) -> Result<Self, String> {
        let quiet = Self {
            name: "weappd, access log off",
            // Nobody logs in there any more, so WeChat may be anywhere.
            wechat: "http://127.0.0.1:9".to_owned(),
            access_log: false,
            ..self.copy(base, "weappd-quiet")?
        };
        quiet.write(base)?;
        Ok(quiet)
    }

    /// The same users in another directory, with another WeChat, and free to log in a
    /// thousand times a second.
    pub(super) fn elsewhere(&self, base: &Base, name: &str, wechat: &str) -> Result<Self, String> {
        let home = Self {
            wechat: wechat.to_owned(),
            hasty: true,
            ..self.copy(base, name)?
        };
        home.write(base)?;
        Ok(home)
    }

    /// Another site: `serves` is its line of the file, as `proxy = 3000`.
    pub(super) fn serving(&self, base: &Base, name: &str, serves: String) -> Result<Self, String> {
        let home = Self {
            serves,
            ..self.copy(base, name)?
        };
        home.write(base)?;
        Ok(home)
    }

    /// The home of another build, if there is one to measure beside: an older one cannot read
    /// this one's database, so it logs its users in itself.
    pub(super) fn prepare_beside(base: &Base, wechat: u16) -> Result<Option<Self>, String> {
        let Some(program) = base.beside.clone() else {
            return Ok(None);
        };
        let home = Self {
            program: Some(program),
            ..Self::new(base, wechat, ("weappd, other build", BESIDE_DIR))?
        };
        home.write(base)?;
        Ok(Some(home))
    }

    /// The same server from another build with that build's users, if there is one to measure
    /// beside.
    pub(super) fn beside(
        &self,
        base: &Base,
        (name, dir): (&'static str, &str),
    ) -> Result<Option<Self>, String> {
        let Some(program) = base.beside.clone() else {
            return Ok(None);
        };
        let first = Self {
            dir: base.dir.join(BESIDE_DIR),
            users_file: base.dir.join(format!("{BESIDE_DIR}-users.tsv")),
            mariadb: None,
            ..self.clone()
        };
        let home = Self {
            name,
            program: Some(program),
            ..first.copy(base, dir)?
        };
        home.write(base)?;
        Ok(Some(home))
    }

    fn copy(&self, base: &Base, name: &str) -> Result<Self, String> {
        let dir = base.dir.join(name);
        files::copy(&self.dir, &dir).map_err(|error| format!("{name}: {error}"))?;
        let mariadb = (self.mariadb.is_some())
            .then(|| mariadb::Home::at_copy(dir.join("mariadb")))
            .transpose()?;
        Ok(Self {
            http: free_port()?,
            https: free_port()?,
            internal: free_port()?,
            mariadb,
            dir,
            ..self.clone()
        })
    }

    fn write(&self, base: &Base) -> Result<(), String> {
        let store = self.mariadb.as_ref();
        let store = store.map(|db| format!("store = \"{}\"\n", db.url()));
        // Counted as usual, and never reached.
        let limit = (self.hasty).then_some("logins_per_minute_per_user = 60000\n");
        let text = format!(
            "domain = \"localhost\"\n\
             cert = \"{cert}\"\n\
             key = \"{key}\"\n\
             {serves}\n\
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
             endpoint = \"{wechat}\"\n\n\
             [session]\n{store}{limit}",
            cert = base.cert.display(),
            key = base.key.display(),
            http = self.http,
            https = self.https,
            threads = base.machine.server_threads,
            access_log = self.access_log,
            internal = self.internal,
            wechat = self.wechat,
            serves = self.serves,
            store = store.unwrap_or_default(),
            limit = limit.unwrap_or_default(),
        );
        let file = self.dir.join("weappd.toml");
        fs::create_dir_all(&self.dir)
            .and_then(|()| fs::write(&file, text))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    /// Starts it, without waiting for weappd itself.
    pub(super) fn spawn(&self, base: &Base) -> Result<Running, String> {
        let mariadb = self.mariadb.as_ref();
        let mariadb = mariadb.map(|db| db.start(base)).transpose()?;
        let own = base.programs.weappd.as_str();
        let program = self.program.as_deref().unwrap_or(own);
        let mut command = pinned(base.machine.server_cores, program);
        command
            .args(["serve", "--config", "weappd.toml"])
            // For a simulated WeChat with TLS.
            .env("SSL_CERT_FILE", &base.cert)
            .current_dir(&self.dir);
        let weappd = Process::start("weappd", &mut command, &self.dir)?;
        let mut processes = vec![("weappd", weappd)];
        processes.extend(mariadb.map(|db| ("mariadbd", db)));
        Ok(Running {
            name: self.name,
            port: self.https,
            users_file: self.users_file.clone(),
            dir: self.dir.clone(),
            processes,
        })
    }

    /// Starts it and waits until it answers.
    pub(super) fn start(&self, base: &Base) -> Result<Running, String> {
        let mut running = self.spawn(base)?;
        for (_, process) in running.processes.iter_mut().take(1) {
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
