//! Everything that must stand before a number can be measured.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::bench::build::{self, Programs};
use crate::bench::machine::Machine;
use crate::bench::options::Options;
use crate::bench::process::{Process, free_port, pinned};
use crate::bench::users::{self, User};
use crate::bench::{procfs, stack, weappd};
use crate::run::{root, run, say};

/// What every server needs.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) machine: Machine,
    pub(super) programs: Programs,
    /// Where everything lives; made anew by every run.
    pub(super) dir: PathBuf,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    /// Another build of weappd, to be measured in the same rounds.
    pub(super) beside: Option<String>,
}

/// The prepared servers.
#[derive(Debug)]
pub(super) struct World {
    pub(super) base: Base,
    /// With its default settings.
    pub(super) weappd: weappd::Home,
    /// The same without an access log, as nginx is measured.
    pub(super) weappd_quiet: weappd::Home,
    /// The same on MariaDB.
    pub(super) weappd_mariadb: weappd::Home,
    pub(super) stack: stack::Home,
    /// Somebody logged in at weappd.
    pub(super) somebody: User,
    /// Somebody logged in at the stack.
    pub(super) somebody_at_stack: User,
    /// One answer of weappd, for the bare server to give.
    body: PathBuf,
    /// One user file line, for the same.
    bare_users: PathBuf,
}

/// A server that runs, of one process or several.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) name: &'static str,
    /// Where it answers HTTPS.
    pub(super) port: u16,
    /// Its users.
    pub(super) users_file: PathBuf,
    /// Its files.
    pub(super) dir: PathBuf,
    pub(super) processes: Vec<(&'static str, Process)>,
}

impl Running {
    /// CPU used so far, by process.
    pub(super) fn ticks(&self) -> Vec<(&'static str, u64)> {
        let all = self.processes.iter();
        all.map(|(name, process)| (*name, procfs::ticks(process.id())))
            .collect()
    }

    /// Memory held, by process.
    pub(super) fn pss(&self) -> Result<Vec<(&'static str, u64)>, String> {
        let all = self.processes.iter();
        all.map(|(name, process)| Ok((*name, procfs::pss(process.id())?)))
            .collect()
    }

    /// Whether the port belongs to one of the processes that are measured.
    pub(super) fn owns_its_port(&self) -> bool {
        let mut all = self.processes.iter();
        all.any(|(_, process)| procfs::listens(process.id(), self.port))
    }
}

impl World {
    /// Builds the programs, starts everything once, logs the users in, stops everything.
    pub(super) fn prepare(options: &Options) -> Result<Self, String> {
        let base = Base::prepare(options)?;
        let (_simulate, wechat) = weappd::simulate(&base)?;
        let weappd = weappd::Home::prepare(&base, wechat)?;
        let weappd_mariadb = weappd::Home::prepare_on_mariadb(&base, wechat)?;
        let stack = stack::Home::prepare(&base, wechat)?;
        say(&format!("logging {} users in at weappd", users::USERS));
        let running = weappd.start(&base)?;
        let at_weappd = users::log_in(weappd.http, wechat)?;
        let first = at_weappd.first().cloned().ok_or("no users")?;
        let body = base.dir.join("answer.json");
        let answer = users::who_am_i(weappd.http, &first)?;
        fs::write(&body, answer).map_err(|error| error.to_string())?;
        drop(running);
        let beside = weappd::Home::prepare_beside(&base, wechat)?;
        for (name, home) in [
            ("weappd on MariaDB", Some(&weappd_mariadb)),
            ("weappd's other build", beside.as_ref()),
        ] {
            let Some(home) = home else { continue };
            say(&format!("logging {} users in at {name}", users::USERS));
            let running = home.start(&base)?;
            users::write(&users::log_in(home.http, wechat)?, &home.users_file)?;
            drop(running);
        }
        say(&format!("logging {} users in at the stack", users::USERS));
        let running = stack.start(&base)?;
        let at_stack = users::log_in(stack.koa, wechat)?;
        let somebody_at_stack = at_stack.first().cloned().ok_or("no users")?;
        users::who_am_i(stack.koa, &somebody_at_stack)?;
        drop(running);
        users::write(&at_weappd, &weappd.users_file)?;
        users::write(&at_stack, &stack.users_file)?;
        // The bare server says the same whoever asks; wrk does the same work.
        let bare_users = base.dir.join("bare-users.tsv");
        let same: Vec<User> = at_weappd
            .into_iter()
            .map(|user| User {
                openid: first.openid.clone(),
                ..user
            })
            .collect();
        users::write(&same, &bare_users)?;
        Ok(Self {
            weappd_quiet: weappd.without_access_log(&base)?,
            weappd,
            weappd_mariadb,
            stack,
            somebody: first,
            somebody_at_stack,
            body,
            bare_users,
            base,
        })
    }

    /// Starts the bare hyper + rustls server with weappd's very answer.
    pub(super) fn start_bare(&self) -> Result<Running, String> {
        let base = &self.base;
        let dir = base.dir.join("bare");
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let port = free_port()?;
        let mut command = pinned(base.machine.server_cores, &base.programs.bare_hello);
        command
            .arg(port.to_string())
            .args([&base.cert, &base.key, &self.body])
            .arg(base.machine.server_threads.to_string());
        let mut process = Process::start("bare", &mut command, &dir)?;
        process.wait_until(Duration::from_millis(5), |process| {
            procfs::listens(process.id(), port)
        })?;
        Ok(Running {
            name: "bare hyper + rustls",
            port,
            users_file: self.bare_users.clone(),
            dir,
            processes: vec![("bare", process)],
        })
    }
}

impl Base {
    fn prepare(options: &Options) -> Result<Self, String> {
        let machine = Machine::inspect(&options.profile);
        let programs = build::all(&options.profile)?;
        let beside = options.beside.as_ref().map(fs::canonicalize).transpose();
        let beside = beside.map_err(|error| format!("--beside: {error}"))?;
        let beside = beside.map(|file| file.display().to_string());
        let dir = root().join("target/bench/run");
        drop(fs::remove_dir_all(&dir));
        fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        let shown = |path: &PathBuf| path.display().to_string();
        run(&programs.tools, &["cert", &shown(&cert), &shown(&key)])?;
        Ok(Self {
            machine,
            programs,
            dir,
            cert,
            key,
            beside,
        })
    }
}
