//! Owns one child and its process group.
//!
//! The child is the leader of a group of its own. Its death is learnt from `SIGCHLD`, and
//! it is left unreaped until the whole group was killed: until then no other process can
//! get its id, so a signal to the group reaches nobody else.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal as Sig, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::process::{ChildStderr, ChildStdout};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use weappd_base::tasks::{Stop, Work};

use crate::app::ExitReason;
use crate::config::StopSignal;
use crate::procfs::{self, ProcessIdentity};
use crate::start_plan::StartedProcess;

/// How long a killed process may take to vanish: it may hang in the kernel.
const REAP_TIMEOUT: Duration = Duration::from_secs(2);

/// A running child. Dropped, it kills the group.
#[derive(Debug)]
pub(crate) struct ChildProcess {
    child: Child,
    group: Option<Pid>,
    pub(crate) identity: ProcessIdentity,
    pub(crate) port: Option<u16>,
    sigchld: Option<Signal>,
    reaped: bool,
}

impl ChildProcess {
    pub(crate) fn adopt(started: StartedProcess) -> Self {
        Self {
            group: Pid::from_raw(started.identity.pid),
            child: started.child,
            identity: started.identity,
            port: started.port,
            sigchld: None,
            reaped: false,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The two ends of its output, once.
    pub(crate) fn output(&mut self) -> io::Result<Option<(ChildStdout, ChildStderr)>> {
        let (Some(out), Some(err)) = (self.child.stdout.take(), self.child.stderr.take()) else {
            return Ok(None);
        };
        let out = ChildStdout::from_std(out)?;
        Ok(Some((out, ChildStderr::from_std(err)?)))
    }

    /// Waits until the child is dead; does not reap it. May be dropped and called again.
    pub(crate) async fn exited(&mut self) {
        if self.sigchld.is_none() {
            // Listening begins before the first look, so no death falls between.
            self.sigchld = signal(SignalKind::child()).ok();
        }
        while !self.is_dead() {
            match &mut self.sigchld {
                Some(sigchld) => drop(sigchld.recv().await),
                None => sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn is_dead(&self) -> bool {
        let Some(pid) = self.group.filter(|_| !self.reaped) else {
            return true;
        };
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(pid), look), Ok(None))
    }

    /// Sends a signal to the child and everything in its group.
    fn send_signal(&self, sig: Sig) {
        if let Some(group) = self.group.filter(|_| !self.reaped) {
            // An error means that nobody is left to hear it.
            let _: Result<_, _> = kill_process_group(group, sig);
        }
    }

    /// After [`exited`](Self::exited): kills what is left of the group, and tells how the
    /// child ended.
    pub(crate) fn reap(mut self) -> ExitReason {
        self.send_signal(Sig::KILL);
        self.reaped = true;
        match self.child.wait() {
            Ok(status) => ending(status),
            Err(_) => ExitReason::Killed,
        }
    }

    /// Asks the group to end; kills whoever lives after `grace`, or when `stop` is forced.
    pub(crate) async fn stop(
        mut self,
        sig: StopSignal,
        grace: Duration,
        stop: &Stop,
        work: &Work,
    ) -> ExitReason {
        self.send_signal(number(sig));
        // A paused process would sleep through its grace.
        self.send_signal(Sig::CONT);
        let polite = tokio::select! {
            polite = self.group_ends(Instant::now() + grace, work) => polite,
            () = stop.forced() => false,
        };
        self.send_signal(Sig::KILL);
        if timeout(REAP_TIMEOUT, self.exited()).await.is_err() {
            return ExitReason::Killed;
        }
        drop(self.reap());
        if polite {
            ExitReason::Stopped
        } else {
            ExitReason::Killed
        }
    }

    /// Whether the whole group is gone by `deadline`.
    async fn group_ends(&mut self, deadline: Instant, work: &Work) -> bool {
        if timeout_at(deadline, self.exited()).await.is_err() {
            return false;
        }
        // Grandchildren tell nobody of their death; only while one outlives the child does
        // this look again and again.
        let Some(group) = self.group else { return true };
        loop {
            let lives = work.run_blocking(move || procfs::group_lives(group)).await;
            if !lives.unwrap_or(false) {
                return true;
            }
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.reaped {
            return;
        }
        self.send_signal(Sig::KILL);
        for _ in 0..50 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn ending(status: ExitStatus) -> ExitReason {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitReason::Exited { code },
        (None, Some(signal)) => ExitReason::Signalled { signal },
        (None, None) => ExitReason::Killed,
    }
}

fn number(sig: StopSignal) -> Sig {
    match sig {
        StopSignal::Term => Sig::TERM,
        StopSignal::Int => Sig::INT,
        StopSignal::Quit => Sig::QUIT,
        StopSignal::Hup => Sig::HUP,
        StopSignal::Usr1 => Sig::USR1,
        StopSignal::Usr2 => Sig::USR2,
    }
}
