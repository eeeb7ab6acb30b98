//! A private MariaDB for one test: own data directory, socket and loopback port.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{PATIENCE, WeappdProcess, free_port};

/// The account every test uses; it may do anything on this private server.
pub(crate) const USER: &str = "weappd";
/// Its password.
pub(crate) const PASSWORD: &str = "for-tests-only";

/// How often a lost race for the port is run again.
const STARTS: usize = 3;

/// A running MariaDB server, stopped and deleted at drop.
pub(crate) struct MariaDb {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    // Before `home`: the server ends before its files go.
    server: WeappdProcess,
    home: TempDir,
}

impl MariaDb {
    /// Starts a server with the empty databases `databases`, UTF-8 all through.
    ///
    /// Needs Debian's `mariadb-server` (and `mariadb-client`, which comes with it); works
    /// as root and as anybody.
    pub(crate) fn start(databases: &[&str]) -> Self {
        Self::start_with(databases, &[])
    }

    /// The same with further options of the server.
    pub(crate) fn start_with(databases: &[&str], more: &[&str]) -> Self {
        let home = tempfile::tempdir().expect("a temp dir");
        let data = home.path().join("data");
        let installed = Command::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ])
            .arg(format!("--datadir={}", data.display()))
            .args(as_root())
            // Two that start at once in one directory delete each other's files.
            .env("TMPDIR", home.path())
            .output()
            .expect("mariadb-install-db (Debian package mariadb-server)");
        assert!(
            installed.status.success(),
            "mariadb-install-db: {}{}",
            String::from_utf8_lossy(&installed.stdout),
            String::from_utf8_lossy(&installed.stderr)
        );
        fs::write(home.path().join("init.sql"), init_sql(databases)).expect("init.sql");
        for _ in 0..STARTS {
            let port = free_port();
            let mut server = spawn_server(&home, port, more);
            if is_ready(&mut server, &home) {
                return Self { port, server, home };
            }
            assert!(
                server.last_transcript().contains("Address already in use"),
                "mariadbd does not start\n{}",
                server.transcript()
            );
        }
        panic!("mariadbd lost the race for a port {STARTS} times");
    }

    /// The URL of `database` over TCP, as a store setting wants it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!(
            "mysql://{USER}:{PASSWORD}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Sends the server a signal: to stop it for a while, and to let it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        self.server.signal_leader(signal);
    }

    /// Kills the server, with no time to tidy up.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        assert!(self.server.wait(PATIENCE).is_some(), "nobody survives it");
    }

    /// Starts it again on the same files and the same port, with further options, and waits
    /// until it answers.
    pub(crate) fn start_again(&mut self, more: &[&str]) {
        self.server = spawn_server(&self.home, self.port, more);
        assert!(
            is_ready(&mut self.server, &self.home),
            "mariadbd does not come back\n{}",
            self.server.transcript()
        );
    }

    /// Its unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("s")
    }

    /// Runs SQL; columns are separated by tabs, rows by newlines, no headings.
    pub(crate) fn query(&self, database: &str, sql: &str) -> String {
        let answer = client(&self.socket())
            .args(["--batch", "--skip-column-names", database, "--execute", sql])
            .output()
            .expect("the mariadb client");
        assert!(
            answer.status.success(),
            "{sql}: {}",
            String::from_utf8_lossy(&answer.stderr)
        );
        String::from_utf8_lossy(&answer.stdout)
            .trim_end()
            .to_owned()
    }
}

/// mariadbd refuses to run as root unless told so.
fn as_root() -> Option<&'static str> {
    rustix::process::geteuid()
        .is_root()
        .then_some("--user=root")
}

fn init_sql(databases: &[&str]) -> String {
    let made = databases.iter().map(|database| {
        format!("CREATE DATABASE IF NOT EXISTS `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci;")
    });
    let account = [
        format!("CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';"),
        format!("GRANT ALL ON *.* TO '{USER}'@'127.0.0.1';\n"),
    ];
    // One statement a line: that is how an init file is read.
    made.chain(account).collect::<Vec<_>>().join("\n")
}

fn spawn_server(home: &TempDir, port: u16, more: &[&str]) -> WeappdProcess {
    let at = |name: &str| home.path().join(name).display().to_string();
    // Debian keeps it in /usr/sbin, which is not on everybody's PATH.
    let program = ["/usr/sbin/mariadbd", "/usr/sbin/mysqld"]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false))
        .unwrap_or("mariadbd");
    WeappdProcess::spawn(
        "mariadbd",
        Command::new(program)
            .arg("--no-defaults")
            .args(as_root())
            .arg(format!("--datadir={}", at("data")))
            .arg(format!("--socket={}", at("s")))
            .arg(format!("--pid-file={}", at("pid")))
            .arg(format!("--init-file={}", at("init.sql")))
            .env("TMPDIR", home.path())
            .arg(format!("--port={port}"))
            .args([
                "--bind-address=127.0.0.1",
                "--skip-name-resolve",
                "--skip-log-bin",
                "--character-set-server=utf8mb4",
                "--innodb-buffer-pool-size=32M",
                "--innodb-flush-log-at-trx-commit=2",
            ])
            .args(more),
    )
}

fn client(socket: &std::path::Path) -> Command {
    let mut command = Command::new("mariadb");
    command
        .arg("--no-defaults")
        .arg(format!("--socket={}", socket.display()))
        .args(["--user=root", "--default-character-set=utf8mb4"]);
    command
}

/// Waits until the server answers (its init file has run by then) or has ended.
fn is_ready(server: &mut WeappdProcess, home: &TempDir) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if server.wait(Duration::from_millis(50)).is_some() {
            return false;
        }
        let asked = client(&home.path().join("s"))
            .args(["--execute", "SELECT 1"])
            .output();
        if asked.is_ok_and(|answer| answer.status.success()) {
            return true;
        }
    }
    false
}

#[test]
fn two_servers_live_side_by_side_and_keep_chinese() {
    let (one, two) = (
        MariaDb::start(&["cAuth"]),
        MariaDb::start(&["cAuth", "more"]),
    );
    assert_ne!(one.port, two.port);
    one.query(
        "cAuth",
        "CREATE TABLE t (word varchar(9)); INSERT INTO t VALUES ('三木')",
    );
    assert_eq!(
        one.query("cAuth", "SELECT word, char_length(word) FROM t"),
        "三木\t2"
    );
    assert_eq!(two.query("cAuth", "SHOW TABLES"), "");
    assert!(
        one.url("cAuth")
            .ends_with(&format!("@127.0.0.1:{}/cAuth", one.port))
    );
}
