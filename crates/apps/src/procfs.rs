//! What the kernel tells of running processes, and ending exactly the right ones.
//!
//! Elsewhere than on Linux `/proc` does not exist: nothing is found, and nothing is ended.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Pid, Signal};

/// A process, named so that no later process can be taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    pub(crate) pid: i32,
    /// Clock ticks from boot to its start.
    pub(crate) start: u64,
}

/// One line of the process table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProcessEntry {
    pub(crate) identity: ProcessIdentity,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    /// Dead, and only waiting to be reaped.
    pub(crate) zombie: bool,
    /// A thread of the kernel.
    pub(crate) kernel: bool,
    pub(crate) cpu_ms: u64,
    pub(crate) memory_bytes: u64,
}

/// All processes this user can see.
pub(crate) fn table() -> Vec<ProcessEntry> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    (folder.flatten())
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(entry)
        .collect()
}

/// One process, if it exists.
pub(crate) fn entry(pid: i32) -> Option<ProcessEntry> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(pid, &stat)
}

/// Reads `/proc/pid/stat`. The name in parentheses may hold anything, parentheses too.
pub(crate) fn parse_stat(pid: i32, stat: &str) -> Option<ProcessEntry> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let ticks = number(11)?.saturating_add(number(12)?);
    Some(ProcessEntry {
        identity: ProcessIdentity {
            pid,
            start: number(19)?,
        },
        parent: fields.get(1)?.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        // Only the kernel's own threads have no memory of their own; nor have zombies.
        kernel: number(20)? == 0,
        cpu_ms: ticks.saturating_mul(1_000) / rustix::param::clock_ticks_per_second().max(1),
        memory_bytes: number(21)?.saturating_mul(rustix::param::page_size() as u64),
    })
}

/// Whether the process was given the variable `name` with the value `value`. `None` if that
/// cannot be seen at this moment: while it changes its program, it shows no environment.
pub(crate) fn has_variable(pid: i32, name: &str, value: &str) -> Option<bool> {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else {
        return Some(false);
    };
    if environment.is_empty() {
        return None;
    }
    let wanted = format!("{name}={value}");
    Some((environment.split(|&byte| byte == 0)).any(|line| line == wanted.as_bytes()))
}

/// A name for this run of the kernel: process ids of another run mean nothing.
pub(crate) fn boot_id() -> String {
    let id = fs::read_to_string(Path::new("/proc/sys/kernel/random/boot_id"));
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Sends a signal to exactly this process, never to a later one with the same id.
#[cfg(target_os = "linux")]
pub(crate) fn signal(identity: ProcessIdentity, signal: Signal) -> io::Result<()> {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};

    let pid = Pid::from_raw(identity.pid).ok_or(io::ErrorKind::NotFound)?;
    // The handle is taken first, then checked: from here on it cannot change its meaning.
    let handle = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Some(handle),
        Err(rustix::io::Errno::NOSYS) => None,
        Err(error) => return Err(error.into()),
    };
    if entry(identity.pid).is_none_or(|now| now.identity != identity) {
        return Err(io::ErrorKind::NotFound.into());
    }
    match handle {
        Some(handle) => pidfd_send_signal(handle, signal)?,
        None => rustix::process::kill_process(pid, signal)?,
    }
    Ok(())
}

/// Without `/proc` no process can be told from a later one: nothing is sent.
#[cfg(not(target_os = "linux"))]
pub(crate) fn signal(_identity: ProcessIdentity, _signal: Signal) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a process of the group still runs, zombies aside.
pub(crate) fn group_lives(group: Pid) -> bool {
    let group = group.as_raw_nonzero().get();
    (table().iter()).any(|entry| entry.group == group && !entry.zombie)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};

    #[test]
    fn a_name_full_of_parentheses_is_read_past() {
        let stat = "42 (a) b (c)) S 1 40 40 0 -1 0 0 0 0 0 7 3 0 0 20 0 1 0 999 1000 5 18446744";
        let entry = parse_stat(42, stat).expect("an entry");
        assert_eq!(
            entry.identity,
            ProcessIdentity {
                pid: 42,
                start: 999
            }
        );
        assert_eq!((entry.parent, entry.group), (1, 40));
        assert!(!entry.zombie);
        assert_eq!(entry.memory_bytes, 5 * rustix::param::page_size() as u64);
        assert!(parse_stat(42, "42 (a) S").is_none());
        // More time than can be counted is still only a number.
        let most = stat.replace(" 7 3 ", " 18446744073709551615 3 ");
        assert!(parse_stat(42, &most).is_some());
        assert!(parse_stat(42, "").is_none());
    }

    #[test]
    fn only_the_very_process_is_signalled() {
        let mut sleeper = Sleeper::start(Some(("WEAPPD_TEST", "it")));
        let identity = sleeper.identity;
        assert_eq!(has_variable(identity.pid, "WEAPPD_TEST", "it"), Some(true));
        assert_eq!(has_variable(identity.pid, "WEAPPD_TEST", "i"), Some(false));
        let later = ProcessIdentity {
            start: identity.start + 1,
            ..identity
        };
        let refused = signal(later, Signal::KILL).expect_err("another process");
        assert_eq!(refused.kind(), io::ErrorKind::NotFound);
        assert!(sleeper.runs());
        signal(identity, Signal::KILL).expect("sent");
        sleeper.child.wait().expect("reaped");
        assert!(signal(identity, Signal::KILL).is_err());
    }

    /// A process that only sleeps, in a group of its own; it does not outlive the test.
    pub(crate) struct Sleeper {
        pub(crate) child: Child,
        pub(crate) identity: ProcessIdentity,
    }

    impl Sleeper {
        pub(crate) fn start(variable: Option<(&str, &str)>) -> Self {
            let child = Command::new("sleep")
                .arg("600")
                .envs(variable)
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sleep starts");
            let pid = i32::try_from(child.id()).expect("a pid");
            let identity = entry(pid).expect("it runs").identity;
            // The kernel shows the new environment a moment after the start.
            if let Some((name, value)) = variable {
                let seen = || has_variable(pid, name, value) == Some(true);
                assert!((0..1_000).any(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    seen()
                }));
            }
            Self { child, identity }
        }

        pub(crate) fn runs(&mut self) -> bool {
            matches!(self.child.try_wait(), Ok(None))
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}
