//! A MariaDB of one's own, with its default settings: the same for everybody who needs one.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::bench::process::{Process, free_port, pinned};
use crate::bench::world::Base;
use crate::run::output;

pub(super) const USER: &str = "bench";
pub(super) const PASSWORD: &str = "for-benchmarks-only";

/// How often the server is asked whether it is up.
const EVERY: Duration = Duration::from_millis(1);

/// A directory with its data.
#[derive(Clone, Debug)]
pub(super) struct Home {
    dir: PathBuf,
    pub(super) port: u16,
}

impl Home {
    /// Makes the data directory, with nothing in it.
    pub(super) fn prepare(dir: PathBuf) -> Result<Self, String> {
        let home = Self {
            dir,
            port: free_port()?,
        };
        fs::create_dir_all(&home.dir).map_err(|error| format!("MariaDB: {error}"))?;
        let mut install = Command::new("mariadb-install-db");
        install
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .arg("--skip-test-db")
            .arg(format!("--datadir={}", home.at("data")))
            .args(as_root());
        Process::start("mariadb-install-db", &mut install, &home.dir)?.finish()?;
        // One statement a line: that is how an init file is read, at every start.
        let init = format!(
            "CREATE DATABASE IF NOT EXISTS cAuth CHARACTER SET utf8mb4;\n\
             CREATE DATABASE IF NOT EXISTS weappd CHARACTER SET utf8mb4;\n\
             CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO '{USER}'@'127.0.0.1';\n"
        );
        fs::write(home.at("init.sql"), init).map_err(|error| format!("MariaDB: {error}"))?;
        Ok(home)
    }

    /// One whose data were copied to `dir`.
    pub(super) fn at_copy(dir: PathBuf) -> Result<Self, String> {
        let port = free_port()?;
        Ok(Self { dir, port })
    }

    /// What weappd's `[session] store` says.
    pub(super) fn url(&self) -> String {
        format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{}/weappd", self.port)
    }

    /// Starts it and waits until it speaks.
    pub(super) fn start(&self, base: &Base) -> Result<Process, String> {
        let mut command = pinned(base.machine.server_cores, &sbin("mariadbd"));
        command
            .arg("--no-defaults")
            .args(as_root())
            .arg(format!("--datadir={}", self.at("data")))
            // Relative to the data directory: a socket's path must be short.
            .args(["--socket=s", "--bind-address=127.0.0.1"])
            .args(["--skip-name-resolve", "--character-set-server=utf8mb4"])
            // The default, said aloud: a COMMIT is on the disk when it is answered.
            .arg("--innodb-flush-log-at-trx-commit=1")
            .arg(format!("--pid-file={}", self.at("mariadbd.pid")))
            .arg(format!("--init-file={}", self.at("init.sql")))
            .arg(format!("--port={}", self.port));
        let mut mariadb = Process::start("mariadbd", &mut command, &self.dir)?;
        mariadb.wait_until(EVERY, |_| greets(self.port))?;
        Ok(mariadb)
    }

    fn at(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

/// Whether MariaDB speaks first, as it does once its init file has run.
fn greets(port: u16) -> bool {
    let Ok(mut tcp) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let patience = tcp.set_read_timeout(Some(Duration::from_secs(10)));
    patience.is_ok() && matches!(tcp.read(&mut [0; 1]), Ok(1))
}

/// mariadbd refuses to run as root unless told so.
fn as_root() -> Option<&'static str> {
    output("id", &["-u"])
        .is_some_and(|id| id.trim() == "0")
        .then_some("--user=root")
}

/// Debian keeps servers where not everybody's PATH looks.
pub(super) fn sbin(program: &str) -> String {
    let path = format!("/usr/sbin/{program}");
    if fs::exists(&path).unwrap_or(false) {
        path
    } else {
        program.to_owned()
    }
}
