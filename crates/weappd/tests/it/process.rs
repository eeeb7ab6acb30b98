//! Child processes of the tests: one group each, read line by line, gone at drop.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long anything a test waits for may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// How long a child may take to end by itself after SIGTERM.
const GOODBYE: Duration = Duration::from_secs(5);

/// A running child. Dropping it ends its whole process group.
pub(crate) struct WeappdProcess {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Receiver<String>,
    said: Arc<Mutex<Vec<String>>>,
    /// Hangs up when both pipes were read to their ends.
    ended: Receiver<()>,
}

impl WeappdProcess {
    /// Starts `command` with all three streams piped; `name` is for error messages.
    pub(crate) fn spawn(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name} ({command:?}): {e}"));
        let said = Arc::new(Mutex::new(Vec::new()));
        let (sender, stdout) = channel();
        let out = child.stdout.take().expect("a piped stdout");
        let err = child.stderr.take().expect("a piped stderr");
        let (reading, ended) = channel();
        read_lines(out, "", Arc::clone(&said), Some(sender), reading.clone());
        read_lines(err, "! ", Arc::clone(&said), None, reading);
        Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            stdout,
            said,
            ended,
        }
    }

    /// The process id, which is also the id of its group.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes one line to the child's stdin.
    pub(crate) fn send_line(&mut self, line: &str) {
        let sent = self
            .stdin
            .as_mut()
            .map(|stdin| writeln!(stdin, "{line}").and_then(|()| stdin.flush()));
        assert!(
            matches!(sent, Some(Ok(()))),
            "{} does not listen to {line}\n{}",
            self.name,
            self.transcript()
        );
    }

    /// The next stdout line, or `None` when `deadline` passes or the child hangs up.
    pub(crate) fn next_line(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.stdout.recv_timeout(left).ok()
    }

    /// Reads stdout until `pick` takes something from a line; panics with everything the
    /// child said when it does not come in time.
    pub(crate) fn expect_line<T>(
        &mut self,
        what: &str,
        mut pick: impl FnMut(&str) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_line(deadline) {
            if let Some(found) = pick(&line) {
                return found;
            }
        }
        panic!("{} never said {what}\n{}", self.name, self.transcript());
    }

    /// Everything the child said so far; stderr lines begin with `! `.
    pub(crate) fn transcript(&self) -> String {
        self.said.lock().expect("a whole transcript").join("\n")
    }

    /// Everything a child that ended has said: what it wrote last may still be in its pipes.
    pub(crate) fn last_transcript(&self) -> String {
        self.ended.recv_timeout(PATIENCE).ok();
        self.transcript()
    }

    /// Sends a signal to the whole group. A group that is gone already is fine.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).ok();
    }

    /// Sends a signal to the process alone, as an operator does.
    pub(crate) fn signal_leader(&self, signal: Signal) {
        signal_process(self.pid(), signal);
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end at most `patience`.
    pub(crate) fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Sends `pid` a signal. SIGSTOP returns before the process stands still: a thread that
/// runs on another processor goes on for a moment, so that is waited for.
pub(crate) fn signal_process(pid: Pid, signal: Signal) {
    if kill_process(pid, signal).is_err() || signal != Signal::STOP {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    while !is_stopped(pid) {
        assert!(Instant::now() < deadline, "process {pid:?} does not stop");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Whether no thread of `pid` runs.
fn is_stopped(pid: Pid) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())) else {
        return true;
    };
    threads.flatten().all(|thread| {
        // A thread that has ended has no file.
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name before the state may contain anything.
        let state = stat
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next());
        matches!(state, None | Some('T' | 't' | 'Z' | 'X'))
    })
}

impl Drop for WeappdProcess {
    #[expect(
        clippy::print_stderr,
        reason = "a failed test shows what its children said"
    )]
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {} said:\n{}", self.name, self.transcript());
        }
        self.stdin = None;
        self.signal(Signal::TERM);
        if self.wait(GOODBYE).is_none() {
            self.signal(Signal::KILL);
            drop(self.child.wait());
        }
    }
}

fn read_lines(
    from: impl Read + Send + 'static,
    mark: &'static str,
    said: Arc<Mutex<Vec<String>>>,
    to: Option<Sender<String>>,
    reading: Sender<()>,
) {
    thread::spawn(move || {
        let _reading = reading;
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            said.lock()
                .expect("a whole transcript")
                .push(format!("{mark}{line}"));
            // A test that no longer reads is no reason to stop the child's pipe.
            drop(to.as_ref().map(|to| to.send(line)));
        }
    });
}

/// Below the ports that Linux gives to outgoing connections and to listeners that let it
/// choose, and below those that weappd gives to its apps: none of these can take the port
/// between the moment it is given and the moment it is listened on.
const FREE_PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A loopback port that nobody listens on and that no other test here is given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let count = u16::try_from(FREE_PORTS.len()).expect("fewer than all ports");
    // Two runs at a time begin at different ports.
    let begin = u16::try_from(std::process::id() * 97 % u32::from(count)).expect("below count");
    for _ in 0..count {
        let step = GIVEN.fetch_add(1, Ordering::Relaxed) % count;
        let port = FREE_PORTS.start + (begin + step) % count;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {FREE_PORTS:?}");
}

/// Several of them, no two alike.
pub(crate) fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    [(); COUNT].map(|()| free_port())
}

#[test]
fn a_dropped_process_takes_its_children_along() {
    let mut shell = WeappdProcess::spawn(
        "a shell with a child",
        Command::new("sh").args(["-c", "sleep 600 & echo $!; wait"]),
    );
    let grandchild: i32 = shell.expect_line("the child's id", |line| line.parse().ok());
    let grandchild = Pid::from_raw(grandchild).expect("a process id");
    assert!(rustix::process::test_kill_process(grandchild).is_ok());
    drop(shell);
    let deadline = Instant::now() + PATIENCE;
    while rustix::process::test_kill_process(grandchild).is_ok() && !is_zombie(grandchild) {
        assert!(Instant::now() < deadline, "the grandchild lives on");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the process is dead but not yet reaped, as under an init that never reaps.
fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| rest.starts_with(" Z"))
    })
}
