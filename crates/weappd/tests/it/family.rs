//! Who descends from a process, and whether they are gone.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::process::PATIENCE;

/// A process as it was seen: a pid alone may be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FamilyProcess {
    pid: u32,
    started: u64,
    command: String,
}

impl FamilyProcess {
    /// The name of its program, as the kernel keeps it.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }
}

/// Everybody who descends from `pid` now.
pub(crate) fn of(pid: u32) -> Vec<FamilyProcess> {
    let mut children: HashMap<u32, Vec<FamilyProcess>> = HashMap::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some((parent, member)) = look(pid) {
            children.entry(parent).or_default().push(member);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![pid];
    while let Some(pid) = next.pop() {
        let members = children.remove(&pid).unwrap_or_default();
        next.extend(members.iter().map(|member| member.pid));
        found.extend(members);
    }
    found
}

/// Waits until none of them runs; a dead one that nobody buried counts as gone.
pub(crate) async fn gone(members: &[FamilyProcess]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<_> = members.iter().filter(|member| runs(member)).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "they live on: {left:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn runs(member: &FamilyProcess) -> bool {
    look(member.pid).is_some_and(|(_, now)| now.started == member.started)
}

/// A process that is not a zombie: its parent and itself.
fn look(pid: u32) -> Option<(u32, FamilyProcess)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    if fields.first()?.starts_with('Z') {
        return None;
    }
    let member = FamilyProcess {
        pid,
        started: fields.get(19)?.parse().ok()?,
        command: head.split_once('(')?.1.to_owned(),
    };
    Some((fields.get(1)?.parse().ok()?, member))
}

#[tokio::test]
async fn a_family_is_seen_and_its_end_too() {
    use std::process::Command;

    use rustix::process::Signal;

    use crate::process::WeappdProcess;

    let mut shell = Command::new("sh");
    shell.args(["-c", "sh -c 'sleep 600 & wait' & echo up; wait"]);
    let mut process = WeappdProcess::spawn("a family", &mut shell);
    process.expect_line("up", |line| (line == "up").then_some(()));
    let deadline = Instant::now() + PATIENCE;
    let mut members = of(process.id());
    while !members.iter().any(|member| member.command() == "sleep") {
        assert!(Instant::now() < deadline, "{members:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        members = of(process.id());
    }
    assert!(members.iter().all(runs), "{members:?}");
    process.signal(Signal::KILL);
    gone(&members).await;
}
