//! Processes the benchmark starts: pinned to cores, their words in a file, gone at drop.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::run::found;

/// How long anything may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a process may take to end by itself.
const GOODBYE: Duration = Duration::from_secs(20);

/// A running process.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// `program`, kept to `cores`, and ended by the system should the benchmark be killed.
pub(super) fn pinned(cores: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["--cpu-list", cores]);
    if found("setpriv") {
        command.args(["setpriv", "--pdeathsig", "TERM"]);
    }
    command.arg(program);
    command
}

impl Process {
    /// Starts `command`; what it says goes to a file in `dir`.
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        dir: &Path,
    ) -> Result<Self, String> {
        let log = dir.join(format!("{name}.log"));
        let cannot = |error| format!("{name} could not be started: {error}");
        let out = File::create(&log).map_err(cannot)?;
        let err = out.try_clone().map_err(cannot)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .map_err(cannot)?;
        Ok(Self { name, child, log })
    }

    /// Its process id; `taskset` and `setpriv` become the program and leave no process.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it said so far.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says so; a process that ends first is an error with its words.
    pub(super) fn wait_until(
        &mut self,
        every: Duration,
        mut ready: impl FnMut(&Self) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while !ready(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended ({status})\n{}", self.name, self.tail()));
            }
            if Instant::now() > deadline {
                return Err(format!("{} is not ready\n{}", self.name, self.tail()));
            }
            sleep(every);
        }
        Ok(())
    }

    /// Waits for its end.
    pub(super) fn finish(mut self) -> Result<String, String> {
        match self.ended(PATIENCE) {
            Some(status) if status.success() => Ok(self.said()),
            Some(status) => Err(format!("{} failed ({status})\n{}", self.name, self.tail())),
            None => Err(format!("{} does not end\n{}", self.name, self.tail())),
        }
    }

    fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        // The standard library can only kill; servers deserve a SIGTERM first.
        let asked = Command::new("sh")
            .args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()])
            .status();
        if asked.is_err() || self.ended(GOODBYE).is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Below the ports that Linux gives to outgoing connections: those come and go while a
/// server is down, and a client that tries one again and again may even meet itself.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A loopback port that nobody has and that this function did not give before.
pub(super) fn free_port() -> Result<u16, String> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let count = u16::try_from(PORTS.len()).unwrap_or(u16::MAX);
    // Two runs at a time begin at different ports.
    let begin = u16::try_from(std::process::id() % u32::from(count)).unwrap_or_default();
    for _ in 0..count {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed) % count;
        let port = PORTS.start + (begin + step) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err("no free port".to_owned())
}

/// Time since 1970, which other processes measure too.
#[expect(clippy::disallowed_methods, reason = "nobody moves a benchmark's time")]
pub(super) fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::procfs;

    #[test]
    fn no_port_is_given_twice() {
        let ports: Vec<u16> = (0..50).map(|_| free_port().unwrap()).collect();
        let mut different = ports.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), ports.len());
        assert!(ports.iter().all(|port| PORTS.contains(port)));
    }

    #[test]
    fn a_dropped_process_is_gone_and_its_words_are_kept() {
        let dir = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo here; exec sleep 600"]);
        let mut process = Process::start("shell", &mut shell, &dir).unwrap();
        process
            .wait_until(Duration::from_millis(1), |p| p.said() == "here\n")
            .unwrap();
        let id = process.id();
        assert!(procfs::pss(id).is_ok());
        drop(process);
        assert!(procfs::pss(id).is_err());
        let fails = Process::start("false", &mut Command::new("false"), &dir).unwrap();
        assert!(fails.finish().unwrap_err().contains("false failed"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
