//! What the numbers were measured on: processor, kernel, versions, load, and which cores.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench::mariadb::sbin;
use crate::run::output;

/// The machine and the software on it.
#[derive(Debug)]
pub(super) struct Machine {
    /// The cores servers run on, as `taskset` takes them.
    pub(super) server_cores: &'static str,
    /// How many those are.
    pub(super) server_threads: usize,
    /// The cores wrk runs on.
    pub(super) client_cores: &'static str,
    /// How many those are.
    pub(super) client_threads: usize,
    profile: String,
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// Looks around.
    pub(super) fn inspect(profile: &str) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (server_cores, client_cores, threads) = match cores {
            4.. => ("0,1", "2,3", 2),
            2 | 3 => ("0", "1", 1),
            _ => ("0", "0", 1),
        };
        let facts = vec![
            ("cpu", format!("{} x {}", cores, cpu())),
            ("kernel", file("/proc/sys/kernel/osrelease")),
            ("rustc", version("rustc", "--version", 1)),
            ("weappd", commit()),
            ("nginx", version(&sbin("nginx"), "-V", 2)),
            ("openssl", nginx_openssl()),
            ("node", version("node", "--version", 0)),
            ("mariadb", mariadb()),
            ("wrk", version("wrk", "--version", 1)),
            ("load average before", load_average()),
        ];
        Self {
            server_cores,
            server_threads: threads,
            client_cores,
            client_threads: threads,
            profile: profile.to_owned(),
            facts,
        }
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let facts: Vec<String> = self
            .facts
            .iter()
            .map(|(name, value)| format!("- {name}: {value}\n"))
            .collect();
        format!(
            "{}- servers on cores {}, wrk on cores {}; built with profile {}\n",
            facts.concat(),
            self.server_cores,
            self.client_cores,
            self.profile
        )
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let mut all = json!({
            "server_cores": self.server_cores,
            "client_cores": self.client_cores,
            "profile": self.profile,
        });
        for (name, value) in &self.facts {
            all[*name] = json!(value);
        }
        all
    }
}

fn file(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().to_owned()
}

/// Over one, five and fifteen minutes.
fn load_average() -> String {
    let text = file("/proc/loadavg");
    let three: Vec<&str> = text.split(' ').take(3).collect();
    three.join(" ")
}

fn cpu() -> String {
    let text = file("/proc/cpuinfo");
    let model = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches([' ', '\t', ':']);
    if model.is_empty() {
        std::env::consts::ARCH.to_owned()
    } else {
        model.to_owned()
    }
}

/// The commit, and whether something is not committed.
fn commit() -> String {
    let head = output("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    let status = output("git", &["status", "--porcelain", "--untracked-files=no"]);
    let is_clean = status.is_some_and(|lines| lines.is_empty());
    let mark = if is_clean { "" } else { " with changes" };
    format!("{}{mark}", head.trim())
}

/// The word at `at` of what a program says about itself; some say it on standard error, some
/// with a failure.
fn version(program: &str, flag: &str, at: usize) -> String {
    let word = words(program, flag)
        .split_whitespace()
        .nth(at)
        .map(str::to_owned);
    word.unwrap_or_else(|| "?".to_owned())
}

fn words(program: &str, flag: &str) -> String {
    let said = Command::new(program).arg(flag).output();
    said.map(|said| {
        let both = [said.stdout, said.stderr].concat();
        String::from_utf8_lossy(&both).into_owned()
    })
    .unwrap_or_default()
}

fn nginx_openssl() -> String {
    let said = words(&sbin("nginx"), "-V");
    let built = said.lines().find(|line| line.contains("OpenSSL"));
    built.unwrap_or("?").trim().to_owned()
}

fn mariadb() -> String {
    let said = words(&sbin("mariadbd"), "--version");
    let version = said
        .split_whitespace()
        .find(|word| word.contains("MariaDB"));
    version.unwrap_or("?").to_owned()
}
