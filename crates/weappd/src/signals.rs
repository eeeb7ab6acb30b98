//! Signals: those that end weappd, and those that must not.
//!
//! Ctrl-C, SIGTERM and SIGQUIT: the first asks to stop, the second insists. A terminal that
//! is closed (SIGHUP) asks too, but never insists: shell and kernel both send it. SIGHUP
//! without a closed terminal is what operators send for a changed configuration, and SIGUSR1
//! and SIGUSR2 are what log rotation of other servers sends: neither may end a server.

use std::io::{IsTerminal as _, stderr, stdin, stdout};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::ExitFailure;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignalWish {
    /// The end.
    Stop,
    /// The configuration read anew.
    Reload,
}

/// What a SIGHUP means while the terminal is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangupMeaning {
    /// The end, as for every command of a terminal: `dev`, `simulate`.
    Ends,
    /// A wish to read the configuration again: `serve`.
    Reload,
}

/// The signals that weappd hears.
#[derive(Debug)]
pub(crate) struct ShutdownSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Option<Signal>,
    users: [Signal; 2],
    meaning: HangupMeaning,
    had_terminal: bool,
    has_hung_up: bool,
}

impl ShutdownSignals {
    /// Starts listening; from now on the signals no longer kill.
    pub(crate) fn listen(meaning: HangupMeaning) -> Result<Self, ExitFailure> {
        let on = |kind| signal(kind).map_err(|error| ExitFailure::new(&error, ""));
        // Under `nohup` a command of a terminal is meant to outlive it.
        let is_deaf = meaning == HangupMeaning::Ends && ignores_hangup();
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            quit: on(SignalKind::quit())?,
            hangup: (!is_deaf).then(|| on(SignalKind::hangup())).transpose()?,
            users: [
                on(SignalKind::user_defined1())?,
                on(SignalKind::user_defined2())?,
            ],
            meaning,
            had_terminal: has_terminal(),
            has_hung_up: false,
        })
    }

    /// Waits for the next one that asks to stop.
    pub(crate) async fn stop(&mut self) {
        while self.next().await != SignalWish::Stop {}
    }

    /// Waits for the next one that asks for something.
    pub(crate) async fn next(&mut self) -> SignalWish {
        loop {
            let [first, second] = &mut self.users;
            tokio::select! {
                _ = self.interrupt.recv() => return SignalWish::Stop,
                _ = self.terminate.recv() => return SignalWish::Stop,
                _ = self.quit.recv() => return SignalWish::Stop,
                () = heard(self.hangup.as_mut()) => {
                    if let Some(wish) = self.hangs_up() {
                        return wish;
                    }
                }
                _ = first.recv() => tracing::debug!("SIGUSR1 means nothing to weappd"),
                _ = second.recv() => tracing::debug!("SIGUSR2 means nothing to weappd"),
            }
        }
    }

    /// What this SIGHUP asks for.
    fn hangs_up(&mut self) -> Option<SignalWish> {
        let is_end = self.meaning == HangupMeaning::Ends || (self.had_terminal && !has_terminal());
        if is_end {
            let is_first = !std::mem::replace(&mut self.has_hung_up, true);
            return is_first.then_some(SignalWish::Stop);
        }
        Some(SignalWish::Reload)
    }
}

async fn heard(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether any of the three streams is a terminal. One that was closed is none any more.
fn has_terminal() -> bool {
    stdin().is_terminal() || stdout().is_terminal() || stderr().is_terminal()
}

/// Whether whoever started weappd had SIGHUP ignored.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status).is_some_and(|mask| mask & 1 != 0)
}

/// The mask of ignored signals; the first bit is signal 1.
fn ignored(status: &str) -> Option<u64> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    u64::from_str_radix(mask?.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        let status = "Name:\tweappd\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored(status), Some(0x1001));
        assert_eq!(ignored("Name:\tweappd\n"), None);
    }
}
