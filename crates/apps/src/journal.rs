//! Written before each start, so that a weappd that was killed finds and ends what it left
//! running, and nothing else.
//!
//! Each start has a *marker*: a random text in the process's environment and the name of
//! its journal file. Whoever carries the marker was started by that process, even if it
//! left the process group. The leader is also known by pid and start time, for programs
//! that wipe their environment; both mean nothing after a reboot, which is checked.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::procfs::{self, ProcessEntry, ProcessIdentity};

/// The environment variable that holds the marker.
pub(crate) const MARKER: &str = "WEAPPD_RUN";

/// How long a killed process may take to vanish: it may hang in the kernel.
const REAP_TIMEOUT: Duration = Duration::from_millis(500);

/// The folder of markers, locked against a second weappd.
#[derive(Debug)]
pub(crate) struct RunJournal {
    dir: PathBuf,
    boot: String,
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct JournalRecord {
    app: String,
    boot: String,
    /// Pid and start time of the process; `None` if weappd fell before it knew them.
    leader: Option<(i32, u64)>,
}

impl RunJournal {
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("run");
        fs::create_dir_all(&dir).map_err(|source| Error::MakeDirectory {
            path: dir.clone(),
            source,
        })?;
        let path = dir.join("lock");
        let lock_error = |source| Error::LockDataDir {
            path: path.clone(),
            source,
        };
        let lock = (File::options().create(true).append(true).open(&path)).map_err(lock_error)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = data_dir.to_owned();
                return Err(Error::DataDirInUse { path });
            }
            Err(TryLockError::Error(source)) => return Err(lock_error(source)),
        }
        Ok(Self {
            dir,
            boot: procfs::boot_id(),
            _lock: lock,
        })
    }

    /// Where the start with this marker is written down.
    fn path(&self, marker: &str) -> PathBuf {
        self.dir.join(format!("{marker}.json"))
    }

    /// Writes a start down: before it happens without, then with its leader.
    pub(crate) fn write(
        &self,
        marker: &str,
        app: &str,
        leader: Option<ProcessIdentity>,
    ) -> io::Result<()> {
        let record = JournalRecord {
            app: app.to_owned(),
            boot: self.boot.clone(),
            leader: leader.map(|leader| (leader.pid, leader.start)),
        };
        let path = self.path(marker);
        let new = path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&record)?)?;
        fs::rename(new, path)
    }

    /// Strikes out a start whose processes are gone.
    pub(crate) fn forget(&self, marker: &str) {
        // A file that stays is found at the next start of weappd, and means nobody then.
        drop(fs::remove_file(self.path(marker)));
    }

    /// Ends what earlier runs of weappd left: asks first, kills after `grace`. Blocks.
    /// Returns (app, processes ended).
    pub(crate) fn end_leftovers(&self, grace: Duration) -> Vec<(String, usize)> {
        let Ok(folder) = fs::read_dir(&self.dir) else {
            return Vec::new();
        };
        let table = procfs::table();
        let mut ended = Vec::new();
        let mut all = Vec::new();
        for path in folder.flatten().map(|entry| entry.path()) {
            if path
                .extension()
                .is_none_or(|end| end != "json" && end != "new")
            {
                continue;
            }
            let record = fs::read(&path)
                .ok()
                .and_then(|bytes| serde_json::from_slice::<JournalRecord>(&bytes).ok());
            let marker = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some(record), Some(marker)) = (record, marker)
                && record.boot == self.boot
            {
                let found = belonging(&table, marker, record.leader);
                if !found.is_empty() {
                    ended.push((record.app, found.len()));
                }
                all.extend(found);
            }
            drop(fs::remove_file(&path));
        }
        end_all(&all, grace);
        ended
    }

    /// Kills whoever carries the marker and left the process group. Blocks.
    pub(crate) fn kill_escaped(marker: &str, since: u64) -> usize {
        let young: Vec<ProcessEntry> = (procfs::table().into_iter())
            .filter(|entry| entry.identity.start >= since)
            .collect();
        let escaped = belonging(&young, marker, None);
        end_all(&escaped, Duration::ZERO);
        escaped.len()
    }
}

/// The living processes of one start.
fn belonging(
    table: &[ProcessEntry],
    marker: &str,
    leader: Option<(i32, u64)>,
) -> Vec<ProcessIdentity> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    // The group is the leader's only while the leader is the one that was started.
    let group = leader.filter(|&(pid, start)| {
        let leader = ProcessIdentity { pid, start };
        table.iter().any(|entry| entry.identity == leader)
    });
    (table.iter())
        .filter(|entry| !entry.zombie && !entry.kernel && entry.identity.pid != own)
        .filter(|entry| {
            group.is_some_and(|(pid, _)| entry.group == pid) || carries(entry.identity.pid, marker)
        })
        .map(|entry| entry.identity)
        .collect()
}

/// Whether the process carries the marker. One that is just changing its program is asked
/// again for a moment.
fn carries(pid: i32, marker: &str) -> bool {
    for _ in 0..5 {
        match procfs::has_variable(pid, MARKER, marker) {
            Some(carries) => return carries,
            None => thread::sleep(Duration::from_micros(500)),
        }
    }
    false
}

fn end_all(all: &[ProcessIdentity], grace: Duration) {
    if !grace.is_zero() {
        for &one in all {
            // Already gone is as good as ended.
            drop(procfs::signal(one, Signal::TERM));
            drop(procfs::signal(one, Signal::CONT));
        }
        wait_gone(all, grace);
    }
    for &one in all {
        drop(procfs::signal(one, Signal::KILL));
    }
    wait_gone(all, REAP_TIMEOUT);
}

fn wait_gone(all: &[ProcessIdentity], most: Duration) {
    const STEP: Duration = Duration::from_millis(2);
    let mut left = most;
    while !left.is_zero() && all.iter().any(|&one| lives(one)) {
        thread::sleep(STEP);
        left = left.saturating_sub(STEP);
    }
}

fn lives(one: ProcessIdentity) -> bool {
    procfs::entry(one.pid).is_some_and(|entry| entry.identity == one && !entry.zombie)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::procfs::tests::Sleeper;

    fn sleeper(marker: Option<&str>) -> Sleeper {
        Sleeper::start(marker.map(|marker| (MARKER, marker)))
    }

    #[test]
    fn leftovers_are_ended_and_innocents_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let journal = RunJournal::open(dir.path()).expect("a journal");
        let mut marked = sleeper(Some("m1"));
        let mut plain = sleeper(None);
        let mut innocent = sleeper(Some("m9"));
        let leader = plain.identity;
        let recycled = ProcessIdentity {
            start: innocent.identity.start - 1,
            ..innocent.identity
        };
        journal.write("m1", "by-marker", None).expect("written");
        journal
            .write("m2", "by-leader", Some(leader))
            .expect("written");
        journal
            .write("m3", "recycled-pid", Some(recycled))
            .expect("written");
        fs::write(journal.path("m4"), "{half").expect("written");

        let mut ended = journal.end_leftovers(Duration::from_secs(5));
        ended.sort();
        assert_eq!(
            ended,
            [("by-leader".to_owned(), 1), ("by-marker".to_owned(), 1)]
        );
        marked.child.wait().expect("reaped");
        plain.child.wait().expect("reaped");
        assert!(innocent.runs());
        let left: Vec<_> = fs::read_dir(dir.path().join("run"))
            .expect("a folder")
            .flatten()
            .map(|entry| entry.file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }

    #[test]
    fn a_reboot_makes_a_journal_meaningless() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut journal = RunJournal::open(dir.path()).expect("a journal");
        let mut child = sleeper(Some("m5"));
        let leader = child.identity;
        journal.boot = "another boot".to_owned();
        journal.write("m5", "a", Some(leader)).expect("written");
        journal.boot = procfs::boot_id();
        assert_eq!(journal.end_leftovers(Duration::ZERO), []);
        assert!(child.runs());
    }

    #[test]
    fn one_data_directory_has_one_master() {
        let dir = tempfile::tempdir().expect("a directory");
        let first = RunJournal::open(dir.path()).expect("a journal");
        let second = RunJournal::open(dir.path()).expect_err("locked");
        assert!(matches!(second, Error::DataDirInUse { .. }));
        drop(first);
        // A child that another test is just starting may hold the lock for a moment.
        let free = || RunJournal::open(dir.path()).is_ok();
        assert!((0..1_000).any(|_| {
            thread::sleep(Duration::from_millis(1));
            free()
        }));
    }
}
