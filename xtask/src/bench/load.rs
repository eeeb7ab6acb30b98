//! One turn of wrk against one server: who used how much CPU, and was every answer right.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bench::machine::Machine;
use crate::bench::process::{Process, pinned};
use crate::bench::procfs;
use crate::bench::stats::float;
use crate::bench::world::Running;

/// How many connections wrk keeps.
pub(super) const CONNECTIONS: u32 = 64;

const SCRIPT: &str = include_str!("check.lua");

/// How wrk is driven.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mode {
    /// A thread for each connection: every answer is held against its very request.
    Exact,
    /// As few threads as cores: the measured one.
    Measured,
}

/// What a turn gave.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub(super) requests_a_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// CPU of all processes of the server for one request, in microseconds.
    pub(super) cpu_us: f64,
    /// The same by process.
    pub(super) split: Vec<(&'static str, f64)>,
    /// Cores the server kept busy.
    pub(super) server_cores: f64,
    /// Cores the load generator kept busy.
    pub(super) client_cores: f64,
    /// Cores the simulated WeChat kept busy.
    pub(super) wechat_cores: f64,
    /// Cores that somebody else on this machine kept busy.
    pub(super) other_cores: f64,
    requests: u64,
}

impl Turn {
    /// The raw row.
    pub(super) fn json(&self, server: &str, round: u32) -> Value {
        let split = self.split.iter();
        let split: serde_json::Map<_, _> = split
            .map(|(name, us)| ((*name).to_owned(), json!(us)))
            .collect();
        json!({
            "server": server,
            "round": round,
            "requests": self.requests,
            "requests_a_second": self.requests_a_second,
            "p50_ms": self.p50_ms,
            "p99_ms": self.p99_ms,
            "cpu_us_a_request": self.cpu_us,
            "cpu_us_a_request_by_process": split,
            "server_cores_busy": self.server_cores,
            "client_cores_busy": self.client_cores,
            "wechat_cores_busy": self.wechat_cores,
            "other_cores_busy": self.other_cores,
            "bad_answers": 0,
        })
    }
}

/// Drives wrk against `server` for `seconds`.
pub(super) fn turn(
    machine: &Machine,
    server: &Running,
    mode: Mode,
    seconds: u32,
) -> Result<Turn, String> {
    measure(server, None, || wrk(machine, server, mode, seconds))
}

/// Holds the clocks of everybody against what `load` says it did; `wechat` is the one the
/// server calls, which counts for nobody.
pub(super) fn measure(
    server: &Running,
    wechat: Option<&Process>,
    load: impl FnOnce() -> Result<Value, String>,
) -> Result<Turn, String> {
    if !server.owns_its_port() {
        return Err(format!(
            "port {} does not belong to {}",
            server.port, server.name
        ));
    }
    let before = Clocks::read(server, wechat);
    let result = load()?;
    let after = Clocks::read(server, wechat);
    let wrong = ["bad", "errors", "status"];
    if wrong.iter().any(|name| result[name] != json!(0)) {
        return Err(format!("{} gave wrong answers: {result}", server.name));
    }
    let count = |name: &str| result[name].as_u64().unwrap_or_default();
    let requests = count("requests");
    if requests == 0 {
        return Err(format!("{} answered nothing", server.name));
    }
    let tick_us = 1e6 / float(procfs::ticks_a_second());
    let wall_us = float(count("us"));
    let split: Vec<(&'static str, f64)> = after
        .server
        .iter()
        .zip(&before.server)
        .map(|((name, after), (_, before))| {
            (*name, float(after - before) * tick_us / float(requests))
        })
        .collect();
    let cpu_us: f64 = split.iter().map(|(_, us)| us).sum();
    let server_us = cpu_us * float(requests);
    let client_us = float(after.own - before.own) * tick_us;
    let wechat_us = float(after.wechat - before.wechat) * tick_us;
    let busy_us = float(after.machine - before.machine) * tick_us;
    let others_us = busy_us - server_us - client_us - wechat_us;
    Ok(Turn {
        requests_a_second: float(requests) * 1e6 / wall_us,
        p50_ms: float(count("p50_us")) / 1e3,
        p99_ms: float(count("p99_us")) / 1e3,
        cpu_us,
        split,
        server_cores: server_us / wall_us,
        client_cores: client_us / wall_us,
        wechat_cores: wechat_us / wall_us,
        other_cores: (others_us / wall_us).max(0.0),
        requests,
    })
}

/// CPU used so far.
struct Clocks {
    server: Vec<(&'static str, u64)>,
    /// xtask and what it waited for: the load generator.
    own: u64,
    wechat: u64,
    machine: u64,
}

impl Clocks {
    fn read(server: &Running, wechat: Option<&Process>) -> Self {
        Self {
            server: server.ticks(),
            own: procfs::own_ticks(),
            wechat: wechat.map_or(0, |wechat| procfs::ticks(wechat.id())),
            machine: procfs::busy_ticks(),
        }
    }
}

/// What the script says at the end.
fn wrk(machine: &Machine, server: &Running, mode: Mode, seconds: u32) -> Result<Value, String> {
    let script: PathBuf = server.dir.join("check.lua");
    fs::write(&script, SCRIPT).map_err(|error| format!("{}: {error}", script.display()))?;
    let threads = match mode {
        Mode::Exact => CONNECTIONS.to_string(),
        Mode::Measured => machine.client_threads.to_string(),
    };
    let mut command = pinned(machine.client_cores, "wrk");
    command
        .args(["--threads", &threads])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .args(["--timeout", "10s", "--latency", "--script"])
        .arg(&script)
        .arg(format!("https://localhost:{}/weapp/user", server.port))
        .arg("--")
        .arg(&server.users_file);
    let said = Process::start("wrk", &mut command, &server.dir)?.finish()?;
    result(&said)
}

/// The line `RESULT {...}` among what a load generator said.
pub(super) fn result(said: &str) -> Result<Value, String> {
    let line = said.lines().find_map(|line| line.strip_prefix("RESULT "));
    let mut result: Value = serde_json::from_str(line.unwrap_or_default())
        .map_err(|error| format!("no result ({error})\n{said}"))?;
    let example = said.lines().find(|line| line.starts_with("a bad answer"));
    if let Some(example) = example {
        result["example"] = json!(example);
    }
    Ok(result)
}
